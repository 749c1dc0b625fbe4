package cluster

import (
	"errors"
	"strings"
)

// The errors that callers tell apart with errors.Is. A refusal by the state is a *fsm.Refusal instead.
var (
	// ErrNoLeader says that the command reached nobody who could append it: it did not and will not happen.
	ErrNoLeader = errors.New("no leader")
	// ErrUnknownOutcome says that the command may or may not have happened, or may still happen: the answer was lost.
	ErrUnknownOutcome = errors.New("outcome unknown")
	// ErrLagging says that the command happened, but this member has not applied it before the context ended.
	ErrLagging = errors.New("committed, not yet applied here")
	// ErrEntryVersion says that some member does not understand this kind of command yet.
	ErrEntryVersion = errors.New("not every member understands this command")
	// ErrClosed says that the cluster was closed here.
	ErrClosed = errors.New("cluster is closed")
	// ErrStalled says that this member's disk does not answer.
	ErrStalled = errors.New("disk stalled")
	// ErrQuorum says that a membership change would leave raft without a quorum of live voters.
	ErrQuorum = errors.New("the change would lose the quorum")
	// ErrUnknownMember says that raft's configuration has no such member.
	ErrUnknownMember = errors.New("no such member in raft's configuration")
	// ErrTransfer says that the leadership did not move as asked.
	ErrTransfer = errors.New("leadership not transferred")
)

// errNotAppended marks an attempt that certainly left nothing in the log: it is tried again.
var errNotAppended = errors.New("not appended")

// NoLeaderError is ErrNoLeader with the members that were asked.
type NoLeaderError struct {
	Asked []string // "id (reason)"; empty: no leader was known
}

// Error names who was asked.
func (e *NoLeaderError) Error() string {
	if len(e.Asked) == 0 {
		return "no leader: none is known here"
	}
	return "no leader: asked " + strings.Join(e.Asked, ", ")
}

// Is makes it ErrNoLeader.
func (e *NoLeaderError) Is(target error) bool { return target == ErrNoLeader }

// ConfigError is a configuration that cannot be opened, with what to do about it.
type ConfigError struct {
	Message string
	Hint    string
}

// Error returns message and hint.
func (e *ConfigError) Error() string { return e.Message + " (" + e.Hint + ")" }

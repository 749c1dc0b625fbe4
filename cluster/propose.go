package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"roundtable/fsm"
)

// Option changes one proposal.
type Option func(*proposal)

type proposal struct{ key string }

// WithKey gives a proposal an idempotency key: the state applies it at most once, so that a lost answer is no longer
// ambiguous and the proposal is tried again until ctx ends. The state remembers the newest 256 keys.
func WithKey(key string) Option { return func(p *proposal) { p.key = key } }

const (
	// proposeTimeout bounds a call whose context has no deadline.
	proposeTimeout = 10 * time.Second
	// leaderWaits is how many election timeouts a call waits for somebody to lead.
	leaderWaits = 10
)

// Propose asks the group to apply a command. It stamps time and proposer, checks that every member knows the kind,
// forwards it once where this member does not lead, and returns when the entry is applied on this member, with the index
// under which it took effect (an earlier one where the key was seen before).
//
// The error is a *fsm.Refusal where the state refused it; ErrNoLeader, ErrEntryVersion or ErrClosed where it certainly
// did not happen; ErrUnknownOutcome where that cannot be told; ErrLagging (with the index) where it happened and is not
// applied here yet. It may be called from any goroutine; a ctx without a deadline gets 10 s.
func (c *Cluster) Propose(ctx context.Context, cmd fsm.Command, opts ...Option) (uint64, error) {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	var p proposal
	for _, o := range opts {
		o(&p)
	}
	c.count.proposals.Add(1)
	if err := c.known(cmd); err != nil {
		return 0, err
	}
	entry := fsm.Entry{At: c.cfg.Now().UnixMilli(), By: c.cfg.ID, Key: p.key, Actor: Actor(ctx), Command: cmd}
	if state, _ := c.View(); !state.NamesActor(cmd) {
		entry.Actor = ""
	}
	index, err := c.deliver(ctx, p.key != "", func(s *standing) (uint64, error) {
		if s.leading {
			return c.appendEntry(ctx, entry)
		}
		body, err := fsm.Encode(entry)
		if err != nil {
			return 0, err
		}
		return c.askLeader(ctx, s, request{Op: opPropose, Entry: body})
	})
	var refusal *fsm.Refusal
	switch {
	case errors.As(err, &refusal):
		c.count.refused.Add(refusal.Rule, 1)
	case err != nil:
		return 0, err
	}
	if werr := c.WaitIndex(ctx, index); werr != nil && err == nil {
		return index, fmt.Errorf("%w: index %d: %w", ErrLagging, index, werr)
	}
	return index, err
}

// deliver tries until an attempt gives a definite answer. An attempt that left nothing in the log is repeated while a
// leader may be found; one with an unknown outcome only if repeating it is harmless.
func (c *Cluster) deliver(ctx context.Context, harmless bool, try func(*standing) (uint64, error)) (uint64, error) {
	patience := time.NewTimer(leaderWaits * c.cfg.Election)
	defer patience.Stop()
	var asked []string
	var unknown error
	for {
		s := c.leadership.now.Load()
		if s.leading || s.leader != "" && s.leader != c.cfg.ID {
			index, err := try(s)
			switch {
			case errors.Is(err, errNotAppended):
				asked = appendAsked(asked, fmt.Sprintf("%s (%v)", s.leader, errors.Unwrap(err)))
			case errors.Is(err, ErrUnknownOutcome) && harmless:
				unknown = err
			default:
				return index, err
			}
		}
		giveUp := error(&NoLeaderError{Asked: asked})
		if unknown != nil {
			giveUp = unknown
		}
		pause := time.NewTimer(retryPause / 4)
		select {
		case <-ctx.Done():
			pause.Stop()
			return 0, giveUp
		case <-c.ctx.Done():
			pause.Stop()
			return 0, ErrClosed
		case <-patience.C:
			if unknown == nil {
				pause.Stop()
				return 0, giveUp
			}
		case <-s.changed:
		case <-pause.C:
		}
		pause.Stop()
	}
}

func appendAsked(list []string, s string) []string {
	for _, o := range list {
		if o == s {
			return list
		}
	}
	return append(list, s)
}

// notAppended marks an error of an attempt that left nothing in the log.
func notAppended(err error) error { return &uncertain{errNotAppended, err} }

// unknownOutcome marks an error of an attempt that may have taken effect.
func unknownOutcome(err error) error { return &uncertain{ErrUnknownOutcome, err} }

// uncertain is an attempt's failure: what it means for the outcome, and its cause.
type uncertain struct{ kind, cause error }

// Error returns both.
func (u *uncertain) Error() string { return u.kind.Error() + ": " + u.cause.Error() }

// Is compares with the kind.
func (u *uncertain) Is(target error) bool { return target == u.kind }

// Unwrap returns the cause.
func (u *uncertain) Unwrap() error { return u.cause }

// appendEntry appends an entry here, on the leader, and waits for its result.
func (c *Cluster) appendEntry(ctx context.Context, e fsm.Entry) (uint64, error) {
	if err := c.known(e.Command); err != nil {
		return 0, err
	}
	if c.cfg.Admit != nil {
		cmd, err := c.cfg.Admit(e.Command)
		if err != nil {
			return 0, err
		}
		e.Command = cmd
	}
	if set, ok := e.Command.(fsm.SetMember); ok && set.Nonvoter != nil && *set.Nonvoter {
		if err := c.mayLoseVote(ctx, set.ID); err != nil {
			return 0, err
		}
	}
	if state, _ := c.View(); !state.NamesActor(e.Command) {
		e.Actor = "" // the proposer's state was another one
	}
	data, err := fsm.Encode(e)
	if err != nil {
		return 0, err
	}
	start := time.Now()
	var f raft.ApplyFuture
	err = c.wait(ctx, func() raft.Future {
		f = c.raft.Apply(data, c.cfg.StallAfter)
		return f
	})
	switch {
	case err == nil:
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrEnqueueTimeout), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return 0, notAppended(err)
	default: // leadership lost, shutdown, ctx: it may be in the log
		return 0, unknownOutcome(err)
	}
	c.count.apply.Observe(time.Since(start))
	a := f.Response().(applied)
	if errors.Is(a.Err, errBroken) {
		return 0, unknownOutcome(a.Err)
	}
	c.transport.commit(f.Index(), a.term)
	return a.Index, a.Err
}

// known refuses a command that some member does not understand.
func (c *Cluster) known(cmd fsm.Command) error {
	state, _ := c.View()
	return checkVersion(cmd.Kind(), fsm.Needs(cmd), state.EntryVersion())
}

// checkVersion is the gate before new kinds of entries. Version 1 is what every program understands: a member's record
// with a lower one must not block its own correction.
func checkVersion(kind string, needs, everybody uint32) error {
	switch {
	case needs == 0:
		return fmt.Errorf("%w: %q is no command of this program", ErrEntryVersion, kind)
	case needs > max(1, everybody):
		return fmt.Errorf("%w: %q needs entry version %d, every member knows %d: upgrade the others first", ErrEntryVersion, kind, needs, everybody)
	}
	return nil
}

// Barrier returns once everything that was committed when it was called is applied here: what View shows then is not the
// state of a member that lags. An error says that this cannot be told now.
func (c *Cluster) Barrier(ctx context.Context) error {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	index, err := c.deliver(ctx, true, func(s *standing) (uint64, error) {
		if s.leading {
			return 0, c.barrier(ctx)
		}
		return c.askLeader(ctx, s, request{Op: opBarrier})
	})
	if err != nil {
		return err
	}
	return c.WaitIndex(ctx, index)
}

// WaitIndex waits until the entry at index, as Propose returned it, is applied here.
func (c *Cluster) WaitIndex(ctx context.Context, index uint64) error {
	for {
		state, changed := c.View()
		if state.Index >= index {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-c.ctx.Done():
			return ErrClosed
		case <-changed:
		}
	}
}

// View returns the applied state, which is never changed, and a channel that is closed at the next change. Lock-free.
func (c *Cluster) View() (*fsm.State, <-chan struct{}) {
	v := c.machine.view.Load()
	return v.state, v.changed
}

// bounded gives a context without a deadline one.
func (c *Cluster) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, proposeTimeout)
}

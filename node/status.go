package node

import (
	"encoding/json"
	"time"
)

// State is what the supervised process does.
type State string

// The states of a Supervisor.
const (
	StateStopped  State = "stopped"  // asked to be down
	StateStarting State = "starting" // the process runs, HTTP does not answer yet (replay can take hours)
	StateRunning  State = "running"  // HTTP answers
	StateStopping State = "stopping" // SIGTERM was sent
	StateBackoff  State = "backoff"  // it ended by itself and will be started again at Next
	StateFailed   State = "failed"   // it ended too often, or must not be started; stays down until Start
)

// Status is a moment of a Supervisor. It is immutable; do not change what LastExit points to.
type Status struct {
	State     State     `json:"state"`
	Since     time.Time `json:"since"`         // of State
	PID       int       `json:"pid,omitempty"` // 0 without a process
	Tag       string    `json:"tag,omitempty"` // of the Program that runs, or ran last
	Path      string    `json:"path,omitempty"`
	StartedAt time.Time `json:"started_at"` // of the process, or of the last one
	Starts    int       `json:"starts"`     // processes started so far
	Restarts  int       `json:"restarts"`   // of these, those after an exit nobody asked for
	Replaying bool      `json:"replaying"`  // this run was started with --replay-blockchain by the recovery
	LastExit  *Exit     `json:"last_exit,omitempty"`
	Reason    string    `json:"reason,omitempty"` // why it is down or in backoff
	Hint      string    `json:"hint,omitempty"`
	Next      time.Time `json:"next"` // when a backoff ends

	Sidecars []SidecarStatus `json:"sidecars,omitempty"` // of the present run, or the last one

	served  uint64 // the order this status answers
	restart uint64 // the restart order the present process belongs to
	over    bool   // Run has returned
}

// String is the status as JSON, for logs and tests.
func (s Status) String() string {
	b, _ := json.Marshal(s)
	return string(b)
}

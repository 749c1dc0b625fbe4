package manager

import (
	"os"
	"strings"
	"time"
)

// EnvHold names an environment variable that only a sandbox honours: the path of a file that holds a step of an operation
// ("stop", say). While it is there, a manager that comes to this step waits instead of doing it, and says so in a file of the
// same name with ".held" added, so that a test can end a process exactly there.
const EnvHold = "ROUNDTABLE_SANDBOX_HOLD"

// EnvClock names an environment variable that only a sandbox honours: the path of a file by which the drill moves this
// manager's wall clock (package clock).
const EnvClock = "ROUNDTABLE_SANDBOX_CLOCK"

// EnvStall names an environment variable that only a sandbox honours: the path of a file. While it is there, no write of
// the raft log comes to its end, nor of term and vote, nor the canary's: a disk that does not answer.
const EnvStall = "ROUNDTABLE_SANDBOX_STALL"

const stallLook = 10 * time.Millisecond

// stallFile is cluster.Config.Hold by such a file; nil without one.
func stallFile(file string) func() {
	if file == "" {
		return nil
	}
	return func() {
		for {
			if _, err := os.Stat(file); err != nil {
				return
			}
			<-time.After(stallLook)
		}
	}
}

// holdFile is control.Config.Hold by such a file; nil without one.
func holdFile(file string) func(step string) bool {
	if file == "" {
		return nil
	}
	return func(step string) bool {
		held, err := os.ReadFile(file)
		if err != nil || strings.TrimSpace(string(held)) != step {
			return false
		}
		_ = os.WriteFile(file+".held", held, 0o600)
		return true
	}
}

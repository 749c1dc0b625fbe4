package manager

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"roundtable/chain"
	"roundtable/clock"
	"roundtable/pulse"
)

// clockEvery is how often the machine's clocks are compared: once a slot.
const clockEvery = chain.SlotMillis * time.Millisecond

// watchClocks returns an error when the machine's clocks jump against each other, as check says: only a new process, with a new
// incarnation, may sign or lead again [S9].
func watchClocks(ctx context.Context, check func() time.Duration) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		timer.Reset(pulse.Next(clockEvery))
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
			if jump := check(); jump != 0 {
				return fmt.Errorf("%w by %v", errClockJump, jump.Round(time.Millisecond))
			}
		}
	}
}

var errClockJump = errors.New("the wall clock jumped against the time since boot")

// clocks compares the machine's clocks for a witness, which has no gate to do it; any goroutine may ask. A witness signs
// nothing, but where it leads it grants slots by its clock.
type clocks struct {
	mu     sync.Mutex
	jumps  *clock.Jumps
	jumped time.Duration
}

// check returns the first jump that was ever seen; 0 for none.
func (c *clocks) check() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	jump := c.jumps.Look()
	c.jumped = cmp.Or(c.jumped, jump)
	return c.jumped
}

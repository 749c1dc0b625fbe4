package sim_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"roundtable/chain"
	"roundtable/clock"
	"roundtable/pulse"
)

// machineClock is what a machine's manager and node read: the virtual time, moved as a sandbox moves a real clock. A step
// moves the calendar only; what is measured between two looks stays true.
type machineClock struct {
	*clock.Clock
	path string
}

// machineClocks are the members', for all runs, which come one after the other: a mapping stays for as long as the process.
var machineClocks [3]machineClock

func openClocks(dir string) error {
	for i := range machineClocks {
		path := filepath.Join(dir, strconv.Itoa(i))
		c, err := clock.Open(path)
		if err != nil {
			return err
		}
		machineClocks[i] = machineClock{c, path}
	}
	return nil
}

func (c machineClock) set(offset time.Duration) error { return clock.Write(c.path, offset, 0) }

// step moves the clock, on top of what others moved it.
func (c machineClock) step(by time.Duration) error { return c.set(c.Shift() + by) }

var errClockJump = errors.New("the clock jumped")

// watchClock has a process end itself when its machine's clock jumps, as package manager does; it looks once a slot.
func watchClock(ctx context.Context, frozen *freezer, g *gate, fatal func(error)) {
	for ctx.Err() == nil {
		pause(ctx, pulse.Next(chain.SlotMillis*time.Millisecond))
		frozen.wait()
		if jump := g.checkClocks(); jump != 0 {
			fatal(fmt.Errorf("%w by %v", errClockJump, jump))
			return
		}
	}
}

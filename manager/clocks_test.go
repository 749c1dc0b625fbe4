package manager

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"roundtable/clock"
)

// TestAJumpOfTheClocksEndsTheProcess: looked at every slot, and whoever else looks first takes nothing away from it.
func TestAJumpOfTheClocksEndsTheProcess(t *testing.T) {
	for _, asked := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			var shift atomic.Int64
			c := &clocks{jumps: clock.Compare(func() (wall, boot time.Duration) {
				passed := time.Since(start)
				return passed + time.Duration(shift.Load()), passed
			})}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			ended := make(chan error, 1)
			go func() { ended <- watchClocks(ctx, c.check) }()
			time.Sleep(10 * time.Second)
			synctest.Wait()
			select {
			case err := <-ended:
				t.Fatalf("nothing jumped: %v", err)
			default:
			}
			shift.Store(int64(-time.Second))
			if asked && c.check() != -time.Second {
				t.Error("who asks first is not told")
			}
			jumped := time.Now()
			if err := <-ended; !errors.Is(err, errClockJump) || time.Since(jumped) > clockEvery {
				t.Errorf("%v after %v", err, time.Since(jumped))
			}
		})
	}
}

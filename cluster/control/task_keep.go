package control

import (
	"context"
	"time"

	"roundtable/logkey"
)

// keeping is a run of the housekeeping: what operations that have ended left on this member is removed.
type keeping struct {
	cancel context.CancelFunc
	done   chan struct{}
}

// keepEvery is how often it runs, and at once after a job.
const keepEvery = time.Minute

// keep starts the housekeeping where it is due and nothing else is to be done, and returns when it is due next.
func (c *taskMember) keep(ctx context.Context) time.Duration {
	if c.vault == nil {
		return 0
	}
	if c.keeping != nil {
		select {
		case <-c.keeping.done:
			c.keeping = nil
		default:
			return 0
		}
	}
	if wait := keepEvery - c.now().Sub(c.kept); wait > 0 {
		return wait
	}
	c.kept = c.now()
	ctx, cancel := context.WithCancel(ctx)
	k := &keeping{cancel: cancel, done: make(chan struct{})}
	c.keeping = k
	go func() {
		defer c.beat()
		defer close(k.done)
		defer cancel()
		if !c.upToDate(ctx) {
			return // an old state may not know what is needed
		}
		if err := c.vault.Forget(ctx, c.needed); err != nil && ctx.Err() == nil {
			c.log.Warn("what ended operations on backups left here is not removed", logkey.Err, err)
		}
	}()
	return 0
}

// needed reports whether an operation of this member that has not ended is about a backup.
func (c *taskMember) needed(backup string) bool {
	s, _ := c.cluster.View()
	for _, o := range s.RunningOperations() {
		if o.Task != nil && o.Task.Backup == backup && o.Task.Member == c.id {
			return true
		}
	}
	return false
}

// endKeeping ends the housekeeping, for something else is to be done, and reports whether it has ended; if not its end wakes the
// controller.
func (c *taskMember) endKeeping() bool {
	if c.keeping == nil {
		return true
	}
	c.keeping.cancel()
	select {
	case <-c.keeping.done:
		c.keeping = nil
		return true
	default:
		return false
	}
}

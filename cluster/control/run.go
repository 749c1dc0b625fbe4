package control

import (
	"context"
	"errors"
	"time"

	"roundtable/fsm"
)

// Controller reconciles one concern.
type Controller interface {
	Name() string
	// Reconcile brings the world nearer to the state. again says when to run at the latest although nothing changed;
	// 0 is the default. An error is logged and tried again at the next run.
	Reconcile(ctx context.Context, s *fsm.State) (again time.Duration, err error)
}

const (
	resync    = time.Second            // when nothing changed
	retryWait = 100 * time.Millisecond // after an error: a changing state must not spin a failing controller
)

// run runs a controller until ctx ends: at every change of the state, at every wake and on a timer.
func (m *Manager) run(ctx context.Context, c Controller, wakes ...func() <-chan struct{}) {
	cl, log := m.cluster, m.log.With("controller", c.Name())
	defer m.turns.ended(c.Name())
	timer := time.NewTimer(0)
	defer timer.Stop()
	last := ""
	for ctx.Err() == nil {
		m.turns.turned(c.Name())
		state, changed := cl.View()
		channels := [mostWakes + 1]<-chan struct{}{changed}
		for i, w := range wakes {
			channels[i+1] = w() // taken before the world is read: no change is missed
		}
		again, err := c.Reconcile(ctx, state)
		if ctx.Err() != nil {
			return
		}
		if again <= 0 {
			again = resync
		}
		if err != nil {
			if msg := err.Error(); msg != last { // one line per new trouble, not one per try
				log.Warn("reconcile failed", "err", err)
				last = msg
			}
			if !sleep(ctx, retryWait) {
				return
			}
			again = min(again, resync)
		} else {
			last = ""
		}
		timer.Reset(again)
		wait(ctx, timer.C, channels)
	}
}

// mostWakes is how many wakes a controller may have.
const mostWakes = 2

// wait returns at the first of ctx's end, the timer, or any of the channels; nil is none.
func wait(ctx context.Context, timer <-chan time.Time, channels [mostWakes + 1]<-chan struct{}) {
	select {
	case <-ctx.Done():
	case <-timer:
	case <-channels[0]:
	case <-channels[1]:
	case <-channels[2]:
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// refused reports whether the state refused a command: its view of the world was old, and the next run sees a newer one.
func refused(err error) bool {
	var r *fsm.Refusal
	return errors.As(err, &r)
}

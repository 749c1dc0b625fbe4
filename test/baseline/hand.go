package baseline

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// hand makes the node do what the role says: it resumes or pauses it on each change, and looks again on every poll, for a
// node that was restarted is paused and a request may have failed.
type hand struct {
	node    *nodeos
	leads   func() bool // the role: this member is to produce
	poll    time.Duration
	log     *slog.Logger
	changed chan struct{} // capacity 1
	failed  atomic.Int32  // times in a row that the node did not answer, once it had
	up      bool          // it has answered; the loop's

	// mu makes deciding and asking the node one step, so that a resume decided earlier cannot overtake a release's pause.
	mu       sync.Mutex
	released bool // production is given up for a planned handoff, whatever the role says
}

// lastBlock is how long after a pause a block may still come: a slot, and its way to the others.
const lastBlock = slot + 200*time.Millisecond

func newHand(n *nodeos, leads func() bool, poll time.Duration, log *slog.Logger) *hand {
	return &hand{node: n, leads: leads, poll: poll, log: log, changed: make(chan struct{}, 1)}
}

// holds reports whether this member means to produce.
func (h *hand) holds() bool { return h.leads() }

// poke tells that the role has changed.
func (h *hand) poke() {
	select {
	case h.changed <- struct{}{}:
	default:
	}
}

func (h *hand) run(ctx context.Context) {
	tick := time.NewTicker(h.poll)
	defer tick.Stop()
	for {
		changed := false
		select {
		case <-ctx.Done():
			return
		case <-h.changed:
			changed = true
		case <-tick.C:
		}
		if err := h.apply(ctx, changed); err != nil {
			if h.up && h.failed.Add(1) == 1 { // before, it is still starting
				h.log.Warn("the node does not obey", "err", err)
			}
			continue
		}
		h.up = true
		h.failed.Store(0)
	}
}

// apply resumes or pauses the node. Unless the role has changed it is asked first how it is.
func (h *hand) apply(ctx context.Context, changed bool) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !changed {
		paused, err := h.node.paused(ctx)
		if err != nil || paused == !h.wants() {
			return err
		}
	}
	if h.wants() {
		h.log.Info("resume")
		return h.node.resume(ctx)
	}
	h.log.Info("pause")
	return h.node.pause(ctx)
}

func (h *hand) wants() bool { return h.leads() && !h.released }

// stop pauses the node and sees that it is paused. Whatever the outcome, it is not resumed until keep.
func (h *hand) stop(ctx context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.released = true
	if err := h.node.pause(ctx); err != nil {
		return err
	}
	paused, err := h.node.paused(ctx)
	if err == nil && !paused {
		err = errors.New("baseline: nodeos was paused and is not")
	}
	return err
}

// release stops the node for a planned handoff, and waits for the block under way, which a pause does not stop. After an
// error the role decides again; otherwise after keep.
func (h *hand) release(ctx context.Context) error {
	if err := h.stop(ctx); err != nil {
		h.keep()
		return err
	}
	wait(ctx, lastBlock)
	return ctx.Err()
}

// keep lets the role decide again.
func (h *hand) keep() {
	h.mu.Lock()
	h.released = false
	h.mu.Unlock()
	h.poke()
}

package sim_test

import (
	"context"
	"errors"
	"math"
	"slices"
	"sync"

	"github.com/anishathalye/porcupine"

	"roundtable/chain"
	"roundtable/cluster"
	"roundtable/fsm"
)

// history records what was asked of the lease and what was answered, in the order in which it happened. It does not look
// at the log.
type history struct {
	mu       sync.Mutex
	off      bool
	clock    int64
	ops      []porcupine.Operation
	clients  map[string]int
	admitted map[fsm.Command][]fsm.Command // what leaders made of a proposal by their clamp [L6]
	dropped  int                           // proposals that certainly did not happen
	unknown  int
}

func newHistory() *history {
	return &history{clients: map[string]int{}, admitted: map[fsm.Command][]fsm.Command{}}
}

// What is done with the lease.
type (
	// call is a proposal: a Grant, Extend, Release or Transfer, and what leaders may have made of it.
	call struct{ any []fsm.Command }
	// look is a read of the lease behind a barrier.
	look struct{}
	// sign is a gate that commits itself to a slot: it says that the slot is in the epoch's range now.
	sign struct {
		epoch uint64
		slot  chain.Slot
	}
)

// The outcome of a call.
type outcome struct {
	rule    string // of the refusal; "" for accepted
	unknown bool
}

func (h *history) tick() int64 { h.clock++; return h.clock }

func (h *history) client(name string) int {
	id, ok := h.clients[name]
	if !ok {
		id = len(h.clients)
		h.clients[name] = id
	}
	return id
}

// proposes notes a proposal about the lease; done takes the answer.
func (h *history) proposes(by string, c fsm.Command) (done func(error)) {
	switch c.(type) {
	case fsm.Grant, fsm.Extend, fsm.Release, fsm.Transfer:
	default:
		return func(error) {}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.off {
		return func(error) {}
	}
	begun := h.tick()
	return func(err error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		op := porcupine.Operation{ClientId: h.client(by), Input: call{[]fsm.Command{c}}, Call: begun, Return: h.tick()}
		var refusal *fsm.Refusal
		switch {
		case err == nil, errors.Is(err, cluster.ErrLagging) && !errors.As(err, &refusal):
			op.Output = outcome{}
		case errors.As(err, &refusal):
			op.Output = outcome{rule: refusal.Rule}
		case errors.Is(err, cluster.ErrNoLeader), errors.Is(err, cluster.ErrEntryVersion), errors.Is(err, cluster.ErrClosed):
			h.dropped++ // the contract: it did not and will not happen
			return
		default:
			h.unknown++
			op.Output, op.Return = outcome{unknown: true}, math.MaxInt64
		}
		h.ops = append(h.ops, op)
	}
}

// admits notes the leader's last look at a command.
func (h *history) admits(before, after fsm.Command) {
	switch before.(type) {
	case fsm.Grant, fsm.Extend, fsm.Transfer: // the others may not even be comparable
	default:
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.off || before == after || slices.Contains(h.admitted[before], after) {
		return
	}
	h.admitted[before] = append(h.admitted[before], after)
}

// signs notes that a gate recorded a slot; the gate's lock is held.
func (h *history) signs(by string, epoch uint64, slot chain.Slot) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.off {
		return
	}
	h.ops = append(h.ops, porcupine.Operation{ClientId: h.client("gate " + by), Input: sign{epoch, slot}, Call: h.tick(), Output: nil, Return: h.tick()})
}

// reads reads the lease behind a barrier.
func (h *history) reads(ctx context.Context, by string, c *cluster.Cluster) {
	h.mu.Lock()
	begun := h.tick()
	h.mu.Unlock()
	if err := c.Barrier(ctx); err != nil {
		return
	}
	s, _ := c.View()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, porcupine.Operation{ClientId: h.client("reader " + by), Input: look{}, Call: begun, Output: s.Lease, Return: h.tick()})
}

// operations is the history, with what leaders made of each proposal.
func (h *history) operations() []porcupine.Operation {
	h.mu.Lock()
	defer h.mu.Unlock()
	ops := slices.Clone(h.ops)
	for i, op := range ops {
		c, ok := op.Input.(call)
		if !ok {
			continue
		}
		for _, after := range h.admitted[c.any[0]] {
			c.any = append(slices.Clone(c.any), after)
		}
		ops[i].Input = c
		if op.Return == math.MaxInt64 {
			ops[i].Return = h.clock + 1
		}
	}
	return ops
}

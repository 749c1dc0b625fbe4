package sim_test

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	"roundtable/chain"
	"roundtable/clock"
	"roundtable/cluster/control"
)

// gate is a signing gate of the model kind: the decisions of package node/gate, without sockets, pipes and keys.
type gate struct {
	id      string
	frozen  *freezer // of its manager
	history *history
	bug     string

	mu      sync.Mutex
	epoch   uint64
	first   chain.Slot
	last    chain.Slot
	view    control.GateView
	dead    bool          // its process is gone
	mute    bool          // the key does not answer: what is asked for is recorded, and not signed
	slow    time.Duration // how long the key takes
	jumps   *clock.Jumps
	jumped  time.Duration // the first jump of the machine's clock, for good
	changed chan struct{}
}

// The guards that a schedule may take away.
const (
	bugRange   = "gate without its range"
	bugRelease = "release before the gate is closed"
)

// signerTimeout is how long nodeos waits for a signature (keosd-provider-timeout).
const signerTimeout = 400 * time.Millisecond

func newGate(id string, frozen *freezer, shift func() time.Duration, h *history, bug string) *gate {
	return &gate{id: id, frozen: frozen, history: h, bug: bug, jumps: clock.Compare(func() (wall, boot time.Duration) { return shift(), 0 }), changed: make(chan struct{})}
}

func (g *gate) beat() { close(g.changed); g.changed = make(chan struct{}) }

// Permit implements control.Gate.
func (g *gate) Permit(epoch uint64, first, last chain.Slot) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if epoch == 0 && g.bug == bugRange {
		return
	}
	if g.view.Permitted != epoch {
		g.beat()
	}
	g.epoch, g.first, g.last = epoch, first, last
	g.view.Permitted = epoch
}

// Close implements control.Gate.
func (g *gate) Close(epoch uint64) control.Record {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.bug != bugRelease {
		g.view.Closed = max(g.view.Closed, epoch)
	}
	g.beat()
	if g.view.Signed.Epoch == epoch {
		return g.view.Signed
	}
	return control.Record{Epoch: epoch}
}

// Seal implements control.Gate.
func (g *gate) Seal(reason string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.seal(reason)
}

// seal is Seal with g.mu held: the first reason stays.
func (g *gate) seal(reason string) {
	g.view.Sealed = cmp.Or(g.view.Sealed, reason)
	g.beat()
}

// checkClocks seals the gate if the machine's clock jumped, and returns the first jump that was ever seen, by whoever looked.
func (g *gate) checkClocks() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.look()
}

// look is checkClocks with g.mu held.
func (g *gate) look() time.Duration {
	if jump := g.jumps.Look(); jump != 0 {
		g.jumped = cmp.Or(g.jumped, jump)
		g.seal(fmt.Sprintf("the clock jumped by %v", jump))
	}
	return g.jumped
}

// View implements control.Gate.
func (g *gate) View() control.GateView {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.view
}

// Changed implements control.Gate.
func (g *gate) Changed() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.changed
}

// start is nodeos' line that a block is begun.
func (g *gate) start(slot chain.Slot) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.view.Started = slot
	g.beat()
}

// sign is nodeos' request. The slot is recorded before the key is asked [S4]. A frozen manager does not answer, and what
// nodeos asked and gave up on is not looked at after the thaw [S6].
func (g *gate) sign(ctx context.Context, b chain.Block) bool {
	asked := time.Now()
	if !g.frozen.waitFor(ctx, signerTimeout) {
		return false
	}
	slow, ok := g.record(b)
	if !ok {
		return false
	}
	if slow > 0 {
		pause(ctx, min(slow, signerTimeout))
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.mute || g.dead || time.Since(asked) >= signerTimeout {
		return false
	}
	g.view.Given = max(g.view.Given, b.Slot)
	g.beat()
	return true
}

func (g *gate) record(b chain.Block) (slow time.Duration, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.dead {
		return 0, false
	}
	defer g.beat()
	g.look()
	if g.view.Sealed != "" || g.epoch == 0 || g.epoch <= g.view.Closed || b.Slot <= g.view.Signed.Block.Slot {
		return 0, false
	}
	if (b.Slot < g.first || b.Slot > g.last) && g.bug != bugRange {
		return 0, false
	}
	g.view.Signed = control.Record{Epoch: g.epoch, Block: b}
	g.history.signs(g.id, g.epoch, b.Slot)
	return g.slow, true
}

// produced is nodeos' line that tells the id of what was signed.
func (g *gate) produced(b chain.Block) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.view.Signed.Block.Slot == b.Slot {
		g.view.Signed.Block = b
		g.beat()
	}
}

// signer sets how the key behaves.
func (g *gate) signer(mute bool, slow time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mute, g.slow = mute, slow
}

// die ends the gate's process: nothing is signed any more.
func (g *gate) die() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.dead = true
}

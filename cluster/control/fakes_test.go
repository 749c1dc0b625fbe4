package control

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"roundtable/chain"
	"roundtable/cluster/health"
	"roundtable/fsm"
)

// group is a raft group of the model kind: one log that every member has applied, the real state machine behind it.
type group struct {
	mu      sync.Mutex
	state   *fsm.State
	changed chan struct{}
	peers   map[string]health.Peer
	stalled bool
	// before is called with each proposal, before it is applied; an error is the answer, and nothing is applied.
	before func(fsm.Command) error
	admit  func(fsm.Command) (fsm.Command, error) // the leader's last look; nil: none
	log    []fsm.Command                          // what was applied
	signed map[string][]chain.Block               // what members answer; of the others nobody is reached
	told   health.Report                          // the newest report before the last proposal
	said   health.Report                          // the newest report
	// barrier is called by Barrier, which brings a member that has just started up to date; nil: nothing was missing.
	barrier func()
}

var errLost = errors.New("the answer was lost")

func newGroup(s *fsm.State, peers map[string]health.Peer) *group {
	return &group{state: s, peers: peers, changed: make(chan struct{})}
}

func (g *group) View() (*fsm.State, <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.state, g.changed
}

func (g *group) Propose(_ context.Context, c fsm.Command, key string) (uint64, error) {
	if g.before != nil {
		if err := g.before(c); err != nil {
			return 0, err
		}
	}
	if g.admit != nil {
		var err error
		if c, err = g.admit(c); err != nil {
			return 0, err
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.told = g.said
	next, result := g.state.Apply(fsm.Entry{Index: g.state.Index + 1, At: testNow.UnixMilli(), Key: key, Command: c})
	if result.Err == nil {
		g.log = append(g.log, c)
	}
	g.state = next
	close(g.changed)
	g.changed = make(chan struct{})
	return result.Index, result.Err
}

// set changes the state as no entry could, for a test's beginning.
func (g *group) set(f func(*fsm.State)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	next := *g.state
	f(&next)
	g.state = &next
}

func (g *group) Peers() map[string]health.Peer {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.peers
}

func (g *group) Barrier(context.Context) error {
	if g.barrier != nil {
		g.barrier()
	}
	return nil
}

func (g *group) Publish(r health.Report) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.said = r
}

func (g *group) IsLeader() bool                                   { return true }
func (g *group) Leader() (id, addr string)                        { return "a", "a:1" }
func (g *group) TransferLeadership(context.Context, string) error { return nil }
func (g *group) Signed(_ context.Context, member string, slot chain.Slot) ([]chain.Block, error) {
	blocks, ok := g.signed[member]
	if !ok {
		return nil, errLost
	}
	return slices.DeleteFunc(slices.Clone(blocks), func(b chain.Block) bool { return b.Slot != slot }), nil
}

func (g *group) Stalled() bool { return g.stalled }

// signer is a gate of the model kind that a test asks in nodeos' place.
type signer struct {
	mu          sync.Mutex
	epoch       uint64
	first, last chain.Slot
	view        GateView
	changed     chan struct{}
}

func newSigner() *signer { return &signer{changed: make(chan struct{})} }

func (g *signer) Permit(epoch uint64, first, last chain.Slot) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.epoch, g.first, g.last = epoch, first, last
	g.view.Permitted = epoch
	close(g.changed)
	g.changed = make(chan struct{})
}

func (g *signer) Close(epoch uint64) Record {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.view.Closed = max(g.view.Closed, epoch)
	if g.view.Signed.Epoch == epoch {
		return g.view.Signed
	}
	return Record{}
}

func (g *signer) Seal(reason string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.view.Sealed = reason
}

func (g *signer) View() GateView {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.view
}

func (g *signer) Changed() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.changed
}

// may reports whether a block of that slot would be signed.
func (g *signer) may(slot chain.Slot) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.view.Sealed == "" && g.epoch > g.view.Closed && slot >= g.first && slot <= g.last && slot > g.view.Signed.Block.Slot
}

// sign is nodeos' request for a block of that slot.
func (g *signer) sign(slot chain.Slot) bool {
	if !g.may(slot) {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.view.Signed = Record{Epoch: g.epoch, Block: blockOf(slot)}
	g.view.Given = slot
	return true
}

// blockOf is the block of a slot, where no slot is missed.
func blockOf(slot chain.Slot) chain.Block {
	return chain.Block{Slot: slot, Num: uint32(slot), ID: fmt.Sprintf("%08x%056x", slot, sha256.Sum224([]byte{byte(slot)}))}
}

// nodeos is a node of the model kind: a flag and the blocks that it has.
type nodeos struct {
	mu     sync.Mutex
	view   NodeView
	blocks map[uint32]chain.Block
	calls  []string
}

func newNodeos() *nodeos {
	return &nodeos{view: NodeView{State: "running", Run: 1, Healthy: true, Paused: true, PausedKnown: true}, blocks: map[uint32]chain.Block{}}
}

func (n *nodeos) View() NodeView {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.view
}

func (n *nodeos) Changed() <-chan struct{} { return nil }

func (n *nodeos) tell(paused bool, call string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.view.Paused, n.view.PausedKnown = paused, true
	n.calls = append(n.calls, call)
	return nil
}

func (n *nodeos) Pause(context.Context) error  { return n.tell(true, "pause") }
func (n *nodeos) Resume(context.Context) error { return n.tell(false, "resume") }

func (n *nodeos) Block(_ context.Context, num uint32) (chain.Block, bool, error) {
	b, ok := n.blocks[num]
	return b, ok, nil
}

func (n *nodeos) Signed(chain.Slot, chain.Slot) (int, bool) { return 0, false }

// machine is one member of a group whose clock a test sets: its controllers are called by hand.
type machine struct {
	*Manager
	group  *group
	gate   *signer
	node   *nodeos
	slot   chain.Slot // by its clock
	offset time.Duration
}

// newMachine is member id as process incarnation.
func newMachine(t *testing.T, g *group, id, incarnation string) *machine {
	t.Helper()
	m := &machine{group: g, gate: newSigner(), node: newNodeos(), slot: 103}
	m.Manager = NewManager(Config{
		Record: fsm.Member{ID: id, Incarnation: incarnation, EntryVersion: fsm.EntryVersion}, Cluster: g, Node: m.node, Gate: m.gate,
		Now: func() time.Time { return time.UnixMilli(m.slot.UnixMilli()).Add(m.offset) },
	})
	return m
}

// reconcile runs a controller once.
func (m *machine) reconcile(t *testing.T, c Controller) {
	t.Helper()
	s, _ := m.group.View()
	if _, err := c.Reconcile(t.Context(), s); err != nil && !errors.Is(err, errLost) {
		t.Fatalf("%s: %v", c.Name(), err)
	}
}

// permit lets the gate follow the state.
func (m *machine) permit(t *testing.T) {
	t.Helper()
	m.reconcile(t, &permitController{m.Manager})
}

func (m *machine) production() *productionController {
	return &productionController{Manager: m.Manager, log: slog.New(slog.DiscardHandler)}
}

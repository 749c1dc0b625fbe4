package control

import (
	"context"
	"slices"
	"sync"
	"time"

	"roundtable/chain"
	"roundtable/cluster/health"
	"roundtable/fsm"
)

// reportEvery is how often a member tells the others about itself; changes that matter are told at once.
const reportEvery = chain.SlotMillis * time.Millisecond

// chainDigits is how much of the chain id a report carries.
const chainDigits = 16

// reportController publishes this member's health.
type reportController struct {
	*Manager
	told health.Report
	slot chain.Slot // in which it was told
}

// Name is the controller's.
func (*reportController) Name() string { return "report" }

// Reconcile publishes a report once a slot, and at once where it says what others decide by.
func (c *reportController) Reconcile(_ context.Context, s *fsm.State) (time.Duration, error) {
	c.observeClocks(c.cluster.Peers())
	r, now := c.report(s), c.slotNow()
	if now != c.slot || turned(r, c.told) {
		c.told, c.slot = r, now
		c.cluster.Publish(r)
	}
	return c.untilSlot(now + 1), nil
}

// turned reports whether two reports differ in more than what each block changes.
func turned(a, b health.Report) bool {
	return a.Node != b.Node || a.Fit != b.Fit || a.Reason != b.Reason || a.Paused != b.Paused || a.Sealed != b.Sealed ||
		a.Stalled != b.Stalled || a.Doubled != b.Doubled || a.Chain != b.Chain
}

func (m *Manager) report(s *fsm.State) health.Report {
	r := health.Report{Member: m.id, Incarnation: m.incarnation, At: m.now().UnixMilli(), Node: "none", Stalled: m.cluster.Stalled(), Doubled: m.doubled.Load()}
	ahead, _, _ := m.clocks.judge(m.now())
	r.OffsetMs = ahead.Milliseconds()
	if m.node == nil {
		r.Reason = "witness"
		return r
	}
	r.Repositories = m.tellRepositories()
	n, g := m.node.View(), m.gate.View()
	r.Chain = n.ChainID[:min(len(n.ChainID), chainDigits)]
	r.Node, r.Fit, r.Reason = n.State, n.Healthy, n.Reason
	r.Head, r.LIB, r.Paused, r.Peers = n.Head, n.LIB, n.Paused || !n.PausedKnown, n.Peers
	m.said.add(g.Signed.Block)
	m.said.add(g.Confirmed)
	r.Started, r.Signed, r.Confirmed, r.Sealed, r.Finalizers = g.Started, g.Signed.Block, g.Confirmed, g.Sealed, n.Finalizers
	if r.Fit && lonely(s, n) {
		r.Fit, r.Reason = false, "its node has no p2p peers"
	}
	if m.busy.Load() {
		r.Fit, r.Reason = false, "its node is being restarted"
	}
	if m.stopping.Load() {
		r.Fit, r.Reason = false, "its manager stops"
	}
	return r
}

// toldRepositories is how many bytes the names of repositories may take in a report.
const toldRepositories = 160

// tellRepositories are the names of the repositories here; nil where they would make a report too long.
func (m *Manager) tellRepositories() []string {
	names := []string{}
	if m.vault != nil {
		names = append(names, m.vault.Repositories()...)
	}
	size := 0
	for _, name := range names {
		size += len(name) + 3
	}
	if size > toldRepositories {
		return nil
	}
	return names
}

// lonely reports whether a node has no p2p peers where it should have some: missing peers that are members themselves do not
// count [L7].
func lonely(s *fsm.State, n NodeView) bool {
	members := memberPeers(s)
	return n.Peers == 0 && slices.ContainsFunc(n.Configured, func(p string) bool { return !slices.Contains(members, p) })
}

// said are the newest blocks that this member told the others it signed. Any goroutine may use it.
type said struct {
	mu     sync.Mutex
	blocks []chain.Block
}

// keptSaid bounds it: the others look at a block for recentBlocks slots.
const keptSaid = 4 * recentBlocks

func (s *said) add(b chain.Block) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b.Slot == 0 || slices.Contains(s.blocks, b) {
		return
	}
	if len(s.blocks) >= keptSaid {
		s.blocks = slices.Delete(s.blocks, 0, 1)
	}
	s.blocks = append(s.blocks, b)
}

// Said are the blocks that this member told the others it signed in a slot.
func (m *Manager) Said(slot chain.Slot) []chain.Block {
	m.said.mu.Lock()
	defer m.said.mu.Unlock()
	var list []chain.Block
	for _, b := range m.said.blocks {
		if b.Slot == slot {
			list = append(list, b)
		}
	}
	return list
}

// memberPeers lists the p2p addresses of the members' nodes, and of those that a recovery removed and that did not join again.
func memberPeers(s *fsm.State) []string {
	var list []string
	for _, m := range s.Members {
		if m.P2P != "" {
			list = append(list, m.P2P)
		}
	}
	for _, p2p := range s.Lost {
		list = append(list, p2p)
	}
	return list
}

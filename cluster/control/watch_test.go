package control

import (
	"strings"
	"testing"

	"roundtable/chain"
	"roundtable/cluster/health"
	"roundtable/fsm"
)

// TestWhatClosesAGateForGood: a block of ours that the cluster did not sign does, or that this gate signed differently [S10].
// What somebody says by gossip does not: in the name of a member that may have signed the slot it is counted and an alarm, else
// nothing at all.
func TestWhatClosesAGateForGood(t *testing.T) {
	other := blockOf(103)
	other.Num = 1
	says := func(id, incarnation string, b chain.Block) func(map[string]health.Peer) {
		return func(peers map[string]health.Peer) {
			peers[id] = health.Peer{Alive: true, Seen: testNow, Report: health.Report{Member: id, Incarnation: incarnation, Signed: b}}
		}
	}
	for _, c := range []struct {
		name    string
		block   chain.Block
		gossip  func(map[string]health.Peer)
		asked   []chain.Block // what the holder says, asked itself
		doubled uint64
		sealed  string
	}{
		{name: "a good one", block: blockOf(103), gossip: says("a", incA, blockOf(103))},
		{name: "the holder says it signed another", block: blockOf(103), gossip: says("a", incA, other), doubled: 1},
		{name: "the holder stands by it", block: blockOf(103), gossip: says("a", incA, other), asked: []chain.Block{blockOf(102), other}, doubled: 1, sealed: "member a signed block 1"},
		{name: "the holder does not stand by it", block: blockOf(103), gossip: says("a", incA, other), asked: []chain.Block{blockOf(103)}, doubled: 1},
		{name: "the holder said it before its restart", block: blockOf(103), gossip: says("a", incB, other)},
		{name: "a member that could not sign says it did", block: blockOf(103), gossip: says("c", incC, other)},
		{name: "a stranger says it signed", block: blockOf(103), gossip: says("ghost", incA, other)},
		{name: "nobody could sign it", block: blockOf(90), gossip: says("a", incA, other), doubled: 1, sealed: "no epoch could sign it"},
		{name: "this gate signed another", block: blockOf(99), gossip: says("a", incA, blockOf(99)), doubled: 1, sealed: "this gate signed block 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, peers := world()
			s.Past = []fsm.Lease{{Epoch: 1, Holder: "c", Incarnation: incC, First: 80, Last: 84, Released: true}, {Epoch: 2, Holder: "b", Incarnation: incB, First: 95, Last: 99, Released: true}}
			m := newMachine(t, newGroup(s, peers), "b", incB)
			m.slot = 110
			m.gate.view.Signed = Record{Epoch: 2, Block: chain.Block{Slot: 99, Num: 1}}
			if c.asked != nil {
				m.group.signed = map[string][]chain.Block{"a": c.asked}
			}
			m.Saw(c.block, "bp")
			m.reconcile(t, m.watch)
			c.gossip(peers) // the others tell a little later
			for range 3 {
				m.reconcile(t, m.watch)
			}
			sealed := m.gate.View().Sealed
			if m.Doubled() != c.doubled || (sealed == "") != (c.sealed == "") || !strings.Contains(sealed, c.sealed) {
				t.Errorf("doubled %d, sealed %q", m.Doubled(), sealed)
			}
			alarms := 0
			for _, e := range m.group.state.History {
				if e.Kind == "alarm.doubled" {
					alarms++
				}
			}
			if alarms != int(c.doubled) {
				t.Errorf("%d alarms: %v", alarms, m.group.state.History)
			}
		})
	}
}

// TestSaid: a member stands by what it told, slot by slot, for a while.
func TestSaid(t *testing.T) {
	s, peers := world()
	m := newMachine(t, newGroup(s, peers), "b", incB)
	for slot := chain.Slot(1); slot <= keptSaid+1; slot++ {
		m.gate.view.Signed.Block, m.gate.view.Confirmed = blockOf(slot), chain.Block{}
		m.report(s)
		m.report(s)
	}
	if got := m.Said(1); len(got) != 0 {
		t.Errorf("still known: %v", got)
	}
	for slot := chain.Slot(2); slot <= keptSaid+1; slot++ {
		if got := m.Said(slot); len(got) != 1 || got[0] != blockOf(slot) {
			t.Errorf("slot %d: %v", slot, got)
		}
	}
}

// TestHearsayIsAnAlarmNowAndThen: a forged report for each block does not fill the history.
func TestHearsayIsAnAlarmNowAndThen(t *testing.T) {
	s, peers := world()
	m := newMachine(t, newGroup(s, peers), "b", incB)
	for slot := chain.Slot(100); slot <= 104; slot++ {
		forged := blockOf(slot)
		forged.Num = 1
		peers["a"] = health.Peer{Alive: true, Seen: testNow, Report: health.Report{Member: "a", Incarnation: incA, Signed: forged}}
		m.slot = slot
		m.Saw(blockOf(slot), "bp")
		m.reconcile(t, m.watch)
	}
	if alarms := len(m.group.state.History); m.Doubled() != 5 || alarms != 1 || m.gate.View().Sealed != "" {
		t.Errorf("%d counted, %d lines in the history, sealed %q", m.Doubled(), alarms, m.gate.View().Sealed)
	}
}

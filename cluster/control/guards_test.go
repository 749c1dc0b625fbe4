package control

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"roundtable/chain"
	"roundtable/fsm"
)

// What a member may rely on whatever the clocks and the network do: the tests here ask the controllers of one member,
// with the real state machine behind it, for what design/lease.md promises. test/mutation shows that each is needed.

// TestNothingIsGivenBackThatMayBeSigned: at the moment when a release or a transfer is proposed, the gate signs nothing
// more of what is given back, whatever it signed before [S1, S4]; and the next one is told the last block [L2].
func TestNothingIsGivenBackThatMayBeSigned(t *testing.T) {
	for _, kind := range []string{"release", "handoff"} {
		for ahead := range chain.Slot(3) { // nodeos signs up to two slots ahead of the clock, or nothing yet
			t.Run(fmt.Sprintf("%s, %d slots signed", kind, ahead), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { givesBack(t, kind, ahead) }) // a handoff waits for the instant after a block
			})
		}
	}
}

func givesBack(t *testing.T, kind string, ahead chain.Slot) {
	s, peers := world()
	g := newGroup(s, peers)
	m := newMachine(t, g, "a", incA)
	m.permit(t)
	for slot := m.slot; slot < m.slot+ahead; slot++ {
		if !m.gate.sign(slot) {
			t.Fatalf("the holder's gate refuses slot %d", slot)
		}
	}
	told := false
	g.before = func(c fsm.Command) error {
		var signed chain.Slot
		var block chain.Block
		switch c := c.(type) {
		case fsm.Release:
			signed, block = c.Signed, c.Block
		case fsm.Transfer:
			signed, block = c.Signed, c.Block
		default:
			return nil
		}
		told = true
		for slot := signed + 1; slot <= 130; slot++ { // the proposal is under way, and the state still says "yours"
			m.permit(t)
			if m.gate.may(slot) {
				t.Errorf("slots beyond %d are given back, and the gate would sign %d", signed, slot)
			}
		}
		last := m.gate.View().Signed.Block
		if last.Slot > signed {
			t.Errorf("slots beyond %d are given back, %d is signed", signed, last.Slot)
		}
		if block != last {
			t.Errorf("the next holder shall wait for block %+v, the last one signed is %+v", block, last)
		}
		return nil
	}
	if kind == "release" {
		g.stalled = true
		m.reconcile(t, &releaseController{Manager: m.Manager, log: slog.New(slog.DiscardHandler)})
	} else {
		m.handoff(t, g, 3)
	}
	if !told {
		t.Fatal("nothing was proposed")
	}
	if l := g.state.Lease; l.Epoch == 3 && !l.Released {
		t.Errorf("the lease is still open: %+v", l)
	}
}

// handoff does the holder's step of a handoff from a to b that was started in an epoch.
func (m *machine) handoff(t *testing.T, g *group, epoch uint64) {
	t.Helper()
	g.set(func(s *fsm.State) {
		s.Operations = []fsm.Operation{{
			ID: 1, Kind: fsm.KindHandoff, Handoff: &fsm.Handoff{To: "b", When: "now", From: "a", Epoch: epoch}, Outcome: fsm.Running,
			Steps: []fsm.Step{{Name: fsm.StepStop, Assignee: "a"}}, Deadline: 1 << 50,
		}}
	})
	m.reconcile(t, &handoffMember{m.Manager, slog.New(slog.DiscardHandler)})
}

// TestAHandoffOfAnOldEpochStopsNothing: an operation that a failover has overtaken must not touch the gate of the lease
// that came after.
func TestAHandoffOfAnOldEpochStopsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, peers := world()
		g := newGroup(s, peers)
		m := newMachine(t, g, "a", incA)
		m.permit(t)
		m.handoff(t, g, 2)
		m.permit(t)
		if !m.gate.sign(103) || g.state.Lease != s.Lease {
			t.Errorf("epoch 3 is over by a handoff of epoch 2: %+v, %+v", m.gate.View(), g.state.Lease)
		}
	})
}

// TestALostAnswerIsNoWayBack: a holder whose release got no answer never signs in that epoch again [S1], and goes on
// telling so until the state knows.
func TestALostAnswerIsNoWayBack(t *testing.T) {
	s, peers := world()
	g := newGroup(s, peers)
	m := newMachine(t, g, "a", incA)
	c := &releaseController{Manager: m.Manager, log: slog.New(slog.DiscardHandler)}
	m.permit(t)
	g.stalled = true
	g.before = func(fsm.Command) error { return errLost }
	m.reconcile(t, c)
	g.stalled = false // all is well again
	for range 3 {
		m.permit(t)
		if m.gate.may(m.slot + 1) {
			t.Fatal("the gate opened again")
		}
		m.reconcile(t, c)
	}
	g.before = nil
	m.reconcile(t, c)
	if !g.state.Lease.Released || g.state.Lease.Epoch != 3 {
		t.Errorf("the lease is kept by a gate that is closed for it: %+v", g.state.Lease)
	}
}

// TestANewProcessHasNoLease: what an earlier process of this member was granted is not this one's, whose gate knows
// nothing of what was signed [S2].
func TestANewProcessHasNoLease(t *testing.T) {
	s, peers := world()
	g := newGroup(s, peers)
	m := newMachine(t, g, "a", incC[:31]+"1")
	p := m.production()
	for _, joined := range []bool{false, true} { // its own record may be there before the next grant is
		if joined {
			m.reconcile(t, &memberController{Manager: m.Manager, log: slog.New(slog.DiscardHandler)})
		}
		m.permit(t)
		m.reconcile(t, p)
		for slot := chain.Slot(95); slot < 120; slot++ {
			if m.gate.may(slot) {
				t.Errorf("joined %v: slot %d may be signed, which an earlier process was granted", joined, slot)
			}
		}
		if !m.node.View().Paused {
			t.Errorf("joined %v: the node runs", joined)
		}
	}
	m.slot = 105
	m.reconcile(t, &extendController{m.Manager, slog.New(slog.DiscardHandler)})
	if g.state.Lease.Last != 104 {
		t.Errorf("a lease of an earlier process was extended to %d", g.state.Lease.Last)
	}
}

// TestAnUnpausedNodeMaySign walks a member through random leases, clocks, closed gates and flags that somebody else set.
// After each look the node runs only where its gate would sign the slot that is being built; whatever it is told, the
// dead range of a closed gate is not extended [L1].
func TestAnUnpausedNodeMaySign(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 1))
	ran := 0
	for range 300 {
		s, peers := world()
		g := newGroup(s, peers)
		m := newMachine(t, g, "a", incA)
		p := m.production()
		for range 30 {
			l := fsm.Lease{Epoch: s.Lease.Epoch + uint64(random.IntN(3)), Holder: "a", Incarnation: incA}
			l.First = m.slot + chain.Slot(random.IntN(8)) - 4
			l.Last, l.Released = l.First+chain.Slot(random.IntN(6)), random.IntN(6) == 0
			switch random.IntN(8) {
			case 0:
				l.Holder, l.Incarnation = "b", incB
			case 1:
				l.Incarnation = incC
			case 2:
				m.gate.Close(l.Epoch)
			}
			g.set(func(s *fsm.State) { s.Lease = l })
			s = g.state
			m.slot += chain.Slot(random.IntN(3))
			m.node.view.Healthy = random.IntN(10) > 0
			if random.IntN(3) == 0 {
				m.node.view.Paused = !m.node.view.Paused // by hand
			}
			m.permit(t)
			m.reconcile(t, p)
			if n := m.node.View(); !n.Paused {
				ran++
				if next := max(m.slot, l.First); next > m.slot+1 || !m.gate.may(next) {
					t.Fatalf("slot %d: the node runs, its gate would refuse: lease %+v, gate %+v", m.slot, l, m.gate.View())
				}
				if !n.Healthy {
					t.Fatalf("a sick node runs under %+v", l)
				}
			}
			m.reconcile(t, &extendController{m.Manager, slog.New(slog.DiscardHandler)})
			if g.state.Lease.Last != l.Last && m.gate.View().Closed >= l.Epoch {
				t.Fatalf("epoch %d, which the gate has given up, was extended", l.Epoch)
			}
		}
	}
	if ran < 500 {
		t.Fatalf("the node ran %d times only: the walk tries nothing", ran)
	}
}

// TestResumeWaitsForTheLastBlock: after a transfer the target's node stays paused until its chain holds the very block
// that the source signed last, or for one slot [L2].
func TestResumeWaitsForTheLastBlock(t *testing.T) {
	for _, c := range []struct {
		name    string
		release bool // the source released, and the leader granted
	}{{"a transfer", false}, {"a release and a grant", true}} {
		t.Run(c.name, func(t *testing.T) {
			s, peers := world()
			g := newGroup(s, peers)
			last := blockOf(103)
			var commands []fsm.Command
			if c.release {
				commands = []fsm.Command{
					fsm.Release{Epoch: 3, Incarnation: incA, Signed: 103, Block: last},
					fsm.Grant{Epoch: 4, Holder: "b", Incarnation: incB, First: 104, Last: 107},
				}
			} else {
				commands = []fsm.Command{fsm.Transfer{Epoch: 3, Incarnation: incA, Signed: 103, Block: last, To: "b", ToIncarnation: incB, Last: 107}}
			}
			for _, e := range commands {
				if _, err := g.Propose(t.Context(), e, ""); err != nil {
					t.Fatal(err)
				}
			}
			for _, waits := range []bool{true, false} {
				m := newMachine(t, g, "b", incB)
				p := m.production()
				m.permit(t)
				look := func() bool { m.reconcile(t, p); return !m.node.View().Paused }
				if look() {
					t.Fatal("the node runs, and its chain has no such block")
				}
				other := last
				other.ID = blockOf(99).ID
				m.node.blocks[last.Num] = other
				if look() {
					t.Fatal("the node runs on another block at that height")
				}
				if waits {
					m.offset = 499 * time.Millisecond
					if look() {
						t.Fatal("the patience is less than a slot")
					}
					m.offset = 500 * time.Millisecond
					if !look() {
						t.Fatal("the block never comes, and nobody produces")
					}
					continue
				}
				m.node.blocks[last.Num] = last
				if !look() {
					t.Fatal("the block is there, and the node does not run")
				}
			}
		})
	}
}

// election is what a new leader sees: the range of a living holder, whose extensions go on arriving one slot after the
// new leader's barrier, for its last proposal went to the old one.
func election(t *testing.T, lasts chain.Slot, phase int) (before, after fsm.Lease) {
	t.Helper()
	s, peers := world()
	s.Lease.Holder, s.Lease.Incarnation = "c", incC // not who sorts first
	now := chain.Slot(100)
	extend := func() {
		if reach := planExtend(s.Lease, s.Cluster.Slots, now, 0); reach != 0 {
			next, r := s.Apply(fsm.Entry{Index: s.Index + 1, Command: fsm.Extend{Epoch: s.Lease.Epoch, Incarnation: s.Lease.Incarnation, Last: reach}})
			if r.Err != nil {
				t.Fatal(r.Err)
			}
			s = next
		}
	}
	for range 12 + phase {
		now++
		extend()
	}
	before = s.Lease
	now += lasts // nobody leads
	since := now
	heard := map[string]time.Duration{"a": 0, "c": 0} // the others' clocks: the grace alone is what it waits for
	for ; now < since+6; now++ {
		at := time.UnixMilli(now.UnixMilli())
		for id, p := range peers {
			p.Seen, p.Report.Head.Slot = at, now
			peers[id] = p
		}
		if d := planLease(leaseInput{state: s, peers: peers, now: now, at: at, since: since, offsets: heard}); d.grant != nil {
			next, r := s.Apply(fsm.Entry{Index: s.Index + 1, Command: *d.grant})
			if r.Err != nil {
				t.Fatalf("the state refuses what the leader plans: %v", r.Err)
			}
			s = next
		}
		if now > since {
			extend()
		}
	}
	return before, s.Lease
}

// TestAnElectionMovesNothing: with a living holder an election that is no longer than L less 2 slots changes nothing,
// not even the epoch; a longer one may cost an epoch, and never moves production [L5].
func TestAnElectionMovesNothing(t *testing.T) {
	for lasts := range chain.Slot(8) {
		for phase := range 12 {
			before, after := election(t, lasts, phase)
			if after.Holder != before.Holder {
				t.Fatalf("an election of %d slots moved production from %s to %s", lasts, before.Holder, after.Holder)
			}
			if lasts <= 4 && after.Epoch != before.Epoch {
				t.Fatalf("an election of %d slots gave a living holder's lease the epoch %d, it had %d", lasts, after.Epoch, before.Epoch)
			}
		}
	}
}

// TestALivingHolderIsTheFirstChoice: whatever the others offer, a fit holder whose manager was restarted gets the next range.
// One that kept silent although it could have extended does not: it cannot hear.
func TestALivingHolderIsTheFirstChoice(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 1))
	for range 2000 {
		s, peers := world()
		holder := []string{"a", "b", "c"}[random.IntN(3)]
		silent := random.IntN(2) == 0
		s.Lease.Holder, s.Lease.Incarnation = holder, "of its last life"
		if silent {
			s.Lease.Incarnation = s.Members[holder].Incarnation
		}
		for id, m := range s.Members {
			m.Priority = random.IntN(5)
			s.Members[id] = m
			p := peers[id]
			p.Report.Head.Slot = chain.Slot(100 + random.IntN(3)) // all near enough
			peers[id] = p
		}
		now := chain.Slot(104 + random.IntN(40))
		d := planLease(leaseInput{state: s, peers: peers, now: now, at: testNow, since: 10})
		if d.grant == nil || (d.grant.Holder == holder) == silent {
			t.Fatalf("slot %d: %s holds and is fit, silent %v, and the leader plans %+v: %s", now, holder, silent, d.grant, d.reason)
		}
		if !silent {
			continue
		}
		for id, p := range peers {
			p.Alive = id == holder
			peers[id] = p
		}
		if d := planLease(leaseInput{state: s, peers: peers, now: now, at: testNow, since: 10}); d.grant == nil || d.grant.Holder != holder {
			t.Fatalf("slot %d: nobody but %s is left, and the leader plans %+v: %s", now, holder, d.grant, d.reason)
		}
	}
}

// TestTheGraceIsCountedFromTheBarrier runs a leader's controllers: with a holder that is silent and whose range is used up
// nothing is granted before 2 slots after the barrier, and then it is.
func TestTheGraceIsCountedFromTheBarrier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Hour) // away from slot 0
		s, peers := world()
		begun := time.Now()
		now := chain.SlotAt(begun.UnixMilli())
		s.Lease.First, s.Lease.Last = now-10, now
		for id, p := range peers {
			p.Seen, p.Report.Head.Slot = begun.Add(3*time.Second), now // fresh for as long as this takes
			p.Report.At = p.Seen.UnixMilli()                           // and heard at once: the grace alone is what it waits for
			peers[id] = p
		}
		g := newGroup(s, peers)
		g.before = func(fsm.Command) error { // one grant is all that is looked at
			if v, _ := g.View(); v.Lease.Epoch != 3 {
				return errLost
			}
			return nil
		}
		m := NewManager(Config{Record: fsm.Member{ID: "b", Incarnation: incB}, Cluster: g, Node: newNodeos(), Gate: newSigner()})
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		done := make(chan struct{})
		go func() { defer close(done); m.Lead(ctx, begun) }()
		var granted time.Duration
		for granted == 0 && ctx.Err() == nil {
			time.Sleep(10 * time.Millisecond)
			if v, _ := g.View(); v.Lease.Epoch != 3 {
				granted = time.Since(begun)
			}
		}
		cancel()
		<-done
		if granted == 0 || granted < 2*chain.SlotMillis*time.Millisecond {
			t.Errorf("granted %v after the barrier", granted)
		}
	})
}

// TestTheReachStaysBounded: a holder whose clock runs far ahead extends its lease slot by slot, and the leader keeps its
// reach within MaxLease of the leader's own now [L6]: it may cost these slots if the holder dies, and no more.
func TestTheReachStaysBounded(t *testing.T) {
	s, peers := world()
	g := newGroup(s, peers)
	leader := newMachine(t, g, "b", incB)
	g.admit = leader.Admit
	for _, fast := range []chain.Slot{0, 3, 20, 1000} {
		holder := newMachine(t, g, "a", incA)
		c := &extendController{holder.Manager, slog.New(slog.DiscardHandler)}
		for range 40 {
			leader.slot++
			holder.slot = leader.slot + fast
			holder.permit(t)
			holder.reconcile(t, c)
			if last := g.state.Lease.Last; last > leader.slot+fsm.MaxLease {
				t.Fatalf("a clock %d slots ahead: the range reaches to %d, the leader's slot is %d", fast, last, leader.slot)
			}
		}
		if last := g.state.Lease.Last; last < leader.slot+4 {
			t.Fatalf("a clock %d slots ahead: the holder lost its lease at %d, the leader's slot is %d", fast, last, leader.slot)
		}
	}
}

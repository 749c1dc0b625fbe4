package control

import (
	"log/slog"
	"testing"
	"time"

	"roundtable/chain"
	"roundtable/fsm"
)

// TestPlanClock: a leader that may grant nothing does not keep the leadership from one that may.
func TestPlanClock(t *testing.T) {
	const fast, slow = 3 * time.Second, -3 * time.Second
	s, _ := world()
	released := *s
	released.Lease.Released = true
	at := func(slot chain.Slot, ahead time.Duration) time.Time {
		return time.UnixMilli(slot.UnixMilli()).Add(ahead)
	}
	for _, c := range []struct {
		name          string
		state         *fsm.State
		now           time.Time
		ahead         time.Duration
		wrong, jumped bool
		want          bool
	}{
		{"a good clock", s, at(s.Lease.Last, 0), 0, false, false, false},
		{"a good clock, the range used up", s, at(s.Lease.Last+1, 0), 0, false, false, false},
		{"a good clock, released", &released, at(s.Lease.First, 0), 0, false, false, false},
		{"fast, the holder extends", s, at(s.Lease.Last, fast), fast, false, false, false},
		{"slow, the holder extends", s, at(s.Lease.Last, slow), slow, false, false, false},
		{"fast for a while", s, at(s.Lease.First, fast), fast, true, false, true},
		{"fast, the range used up", s, at(s.Lease.Last+1, fast), fast, false, false, true},
		{"slow, the range used up", s, at(s.Lease.Last+1, slow), slow, false, false, true},
		{"slow, released", &released, at(s.Lease.First, slow), slow, false, false, true},
		{"so slow that it clamps what the holder asks for", s, at(s.Lease.Last, 2*slow), 2 * slow, false, false, true},
		{"as fast", s, at(s.Lease.Last, 2*fast), 2 * fast, false, false, false},
		{"jumped", s, at(s.Lease.First, 0), 0, false, true, true},
	} {
		if reason := planClock(c.state, c.now, c.ahead, c.wrong, c.jumped); (reason != "") != c.want {
			t.Errorf("%s: %q", c.name, reason)
		}
	}
}

// TestAWrongClockEndsNothing: a leader whose clock is ahead would end steps whose time is not over.
func TestAWrongClockEndsNothing(t *testing.T) {
	for _, off := range []time.Duration{0, 3 * time.Second} {
		for _, handoff := range []bool{false, true} {
			w := rolls(fsm.KindRestart, fsm.StepRestart, "b").later(time.Minute) // its deadline has passed
			if handoff {
				w.op = fsm.Operation{ID: rolledID, Kind: fsm.KindHandoff, Outcome: fsm.Running, Handoff: &fsm.Handoff{To: "b", From: "a", Epoch: w.s.Lease.Epoch}, Steps: []fsm.Step{{Name: fsm.StepAwait, Assignee: "a"}}, Deadline: testNow.UnixMilli() - 1}
			}
			w.s.Operations = append(w.s.Operations, w.op)
			g := newGroup(w.s, w.peers)
			m := newMachine(t, g, "a", incA)
			m.now = func() time.Time { return w.at.Add(off) }
			others := map[string]peerClock{"b": {incB, 1, -off}, "c": {incC, 1, -off}}
			m.clocks.observe(others, w.at)
			if handoff {
				m.reconcile(t, &handoffLeader{m.Manager, m.log})
			} else {
				m.reconcile(t, &operationLeader{Manager: m.Manager, log: m.log, since: w.since, said: map[uint64]string{}})
			}
			if got := len(g.log) > 0; got != (off == 0) {
				t.Errorf("%s ahead, handoff %v: %+v", off, handoff, g.log)
			}
		}
	}
}

func TestClocks(t *testing.T) {
	now := time.UnixMilli(chain.Slot(1000).UnixMilli())
	var k clocks
	beat, life := int64(0), "first"
	say := func(offsets map[string]time.Duration) {
		beat++
		now = now.Add(500 * time.Millisecond)
		seen := map[string]peerClock{}
		for id, o := range offsets {
			seen[id] = peerClock{life, beat, o}
		}
		k.observe(seen, now)
	}
	say(map[string]time.Duration{"b": -2 * time.Millisecond, "c": 3 * time.Millisecond})
	say(map[string]time.Duration{"b": -505 * time.Millisecond, "c": -502 * time.Millisecond}) // everything was read late
	if ahead, _, wrong := k.judge(now); ahead.Abs() > 10*time.Millisecond || wrong {
		t.Errorf("one stall counts as a wrong clock: %v, %v", ahead, wrong)
	}
	for range clockSamples { // our clock was set forward
		say(map[string]time.Duration{"b": -700 * time.Millisecond, "c": -705 * time.Millisecond})
	}
	if ahead, _, wrong := k.judge(now); ahead < 700*time.Millisecond || wrong {
		t.Errorf("%v, %v: a clock is given up only after a while", ahead, wrong)
	}
	for range 7 {
		say(map[string]time.Duration{"b": -700 * time.Millisecond, "c": -705 * time.Millisecond})
	}
	if _, _, wrong := k.judge(now); !wrong {
		t.Error("a clock that stays wrong is not noticed")
	}
	for range clockSamples {
		say(map[string]time.Duration{"b": -5 * time.Millisecond, "c": 5 * time.Millisecond})
	}
	if _, _, wrong := k.judge(now); wrong {
		t.Error("a mended clock still counts as wrong")
	}
	life = "second"
	say(map[string]time.Duration{"b": -5 * time.Millisecond, "c": -800 * time.Millisecond})
	if off := k.offsets(0); off["c"] != -800*time.Millisecond {
		t.Errorf("a member that was started again with a wrong clock is judged by its life before: %v", off)
	}
	say(map[string]time.Duration{"b": 900 * time.Millisecond}) // one is left
	if ahead, apart, _ := k.judge(now); ahead != 0 || apart != 900*time.Millisecond {
		t.Errorf("two clocks: ahead %v, apart %v", ahead, apart)
	}
}

// TestARestartedClockIsJudgedAtOnce: the report that makes a member fit to be given the lease also tells its clock.
func TestARestartedClockIsJudgedAtOnce(t *testing.T) {
	s, peers := world()
	now := time.UnixMilli((s.Lease.Last + 1).UnixMilli())
	s.Lease.Incarnation = incA[:len(incA)-1] + "0" // the holder's life before this one
	for id, p := range peers {
		p.Seen, p.Report.At = now, now.UnixMilli()
		if id == "a" {
			p.Report.At -= 3000
		}
		peers[id] = p
	}
	g := newGroup(s, peers)
	m := NewManager(Config{Record: fsm.Member{ID: "c", Incarnation: incC}, Cluster: g, Now: func() time.Time { return now }})
	if _, err := (&leaseController{Manager: m, log: slog.New(slog.DiscardHandler)}).Reconcile(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if l := g.state.Lease; l.Epoch != s.Lease.Epoch+1 || l.Holder != "b" {
		t.Errorf("granted to %q in epoch %d", l.Holder, l.Epoch)
	}
}

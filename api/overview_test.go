package api

import (
	"strings"
	"testing"
	"time"

	"roundtable/cluster/health"
	"roundtable/fsm"
)

// TestAlarms: each trouble gives its sentence, in its place, and a healthy cluster gives none.
func TestAlarms(t *testing.T) {
	lease := func(f func(l *fsm.Lease)) func(t *testing.T, w *world) {
		return func(_ *testing.T, w *world) {
			s := *w.state
			f(&s.Lease)
			w.state = &s
		}
	}
	peer := func(id string, f func(p *health.Peer)) func(*testing.T, *world) {
		return func(_ *testing.T, w *world) { w.peer(id, f) }
	}
	for _, tc := range []struct {
		name   string
		change func(t *testing.T, w *world)
		want   []string // the beginnings of all alarms, in order
	}{
		{"healthy", func(*testing.T, *world) {}, nil},
		{"doubled here", func(_ *testing.T, w *world) { w.doubled = 2 }, []string{"DOUBLED: member a saw 2 blocks"}},
		{"doubled there", peer("c", func(p *health.Peer) { p.Report.Doubled = 1 }), []string{"DOUBLED: member c saw 1 blocks"}},
		{"alarm in the history", func(t *testing.T, w *world) {
			w.apply(t, fsm.RaiseAlarm{Name: "doubled", Subject: "alice", Text: "block 5"})
		}, []string{"DOUBLED at 2026-11-21T12:00:00.000Z: alice block 5"}},
		{"sealed", peer("b", func(p *health.Peer) { p.Report.Sealed = "a jump of the clock" }), []string{"the gate of member b is closed until it is restarted: a jump"}},
		{"no leader", func(_ *testing.T, w *world) { w.leader, w.leading = "", false }, []string{"no raft leader is known here"}},
		{"no lease yet", lease(func(l *fsm.Lease) { *l = fsm.Lease{} }), []string{"nobody may sign: there was no lease yet"}},
		{"released", lease(func(l *fsm.Lease) { l.Released = true }), []string{"nobody may sign: a released the lease"}},
		{"used up", func(t *testing.T, w *world) {
			lease(func(l *fsm.Lease) { l.Last = slotNow - 1 })(t, w)
			w.leader, w.leading = "b", false
			for _, id := range []string{"a", "b", "c"} {
				w.unfit(id, "is not alive in gossip")
			}
			w.unfit("c", "the node is backoff: exit code 1: a long story")
		}, []string{"nobody may sign: the lease of a ended with slot", "member a is not fit: is not alive in gossip", "member b is not fit: is not alive in gossip",
			"member c is not fit: the node is waiting to be started again: exit code 1: a long story"}},
		{"holder restarted", lease(func(l *fsm.Lease) { l.Incarnation = strings.Repeat("0", 32) }), []string{"nobody may sign"}},
		{"holder unfit", func(_ *testing.T, w *world) { w.unfit("a", "disk stalled") }, []string{"the holder a is not fit: disk stalled"}},
		{"holder paused", peer("a", func(p *health.Peer) { p.Report.Paused = true }), []string{"production is paused on the node of the holder a"}},
		{"member gone", func(_ *testing.T, w *world) {
			w.peer("c", func(p *health.Peer) { p.Alive, p.Seen = false, now.Add(-12*time.Second) })
			w.unfit("c", "is not alive in gossip")
		}, []string{"member c is not alive: last heard 12 s ago", "3 of 4 members are alive: one more loss"}},
		{"two members gone", func(_ *testing.T, w *world) {
			for _, id := range []string{"b", "c"} {
				w.peer(id, func(p *health.Peer) { p.Alive, p.Seen = false, time.Time{} })
				w.unfit(id, "is not alive in gossip")
			}
			w.peer("w", func(p *health.Peer) { p.Alive = true })
		}, []string{"member b is not alive: nothing was heard", "member c is not alive", "no fit standby", "2 of 4 members are alive, which is no majority"}},
		{"holder silent", func(_ *testing.T, w *world) {
			w.leader, w.leading = "b", false
			s := *w.state
			s.Lease.Holder, s.Lease.Incarnation = "b", strings.Repeat("b", 32)
			w.state = &s
			w.peer("b", func(p *health.Peer) { p.Seen = now.Add(-3 * time.Second) })
			w.unfit("b", "its last report is 3.0 s old")
		}, []string{"holder b not heard for 3 s; its range ends in 4 slots, then failover"}},
		{"holder gone", func(_ *testing.T, w *world) {
			s := *w.state
			s.Lease.Holder, s.Lease.Incarnation, s.Lease.Last = "b", strings.Repeat("b", 32), slotNow+1
			w.state = &s
			w.peer("b", func(p *health.Peer) { p.Alive, p.Seen = false, time.Time{} })
			w.unfit("b", "is not alive in gossip")
		}, []string{"holder b not heard since this manager started; its range ends in 1 slot, then failover", "3 of 4 members are alive"}},
		{"a member without a vote", func(_ *testing.T, w *world) { w.voteless = []string{"c"} }, []string{"3 of 4 members vote, not c: the cluster survives the loss of 1 of the voters"}},
		{"unfit standby", func(_ *testing.T, w *world) { w.unfit("b", "its head is 9 slots behind") }, []string{"standby b is not fit: its head is 9 slots behind"}},
		{"not in the schedule", func(t *testing.T, w *world) {
			w.apply(t, fsm.PutRound{Version: 8, Schedule: []string{"bob"}, Producers: map[string]fsm.ProducerRound{"alice": {State: fsm.NotProducing}}, Window: slotNow.Window()})
		}, []string{"producer alice is not in the schedule"}},
		{"missed", func(t *testing.T, w *world) {
			w.apply(t, fsm.PutWindow{Window: fsm.Window{Producer: "alice", First: slotNow.WindowFirst(), Due: 12, Signed: 10, Missed: 2}})
		}, []string{"2 of the last 24 slots were missed"}},
		{"weak fence and maintenance", func(t *testing.T, w *world) {
			m := w.state.Members["b"]
			m.Fence = "pause"
			w.apply(t, fsm.PutMember{Member: m})
			c := w.state.Cluster
			c.Maintenance = true
			w.apply(t, fsm.SetCluster{Cluster: c})
		}, []string{"member b fences by pausing", "maintenance is on"}},
		{"a vote taken", func(t *testing.T, w *world) {
			yes := true
			w.voteless = []string{"b", "c"}
			w.apply(t, fsm.SetMember{ID: "c", Nonvoter: &yes})
		}, []string{"2 of 4 members vote, not b, c: the cluster survives the loss of 0 of the voters", "an operator took the vote of c: the cluster survives"}},
		{"a member in maintenance", func(t *testing.T, w *world) {
			yes := true
			w.apply(t, fsm.SetMember{ID: "b", Maintenance: &yes})
		}, []string{"member b is in maintenance"}},
		{"a removed member that goes on", func(t *testing.T, w *world) {
			w.apply(t, fsm.RemoveMember{ID: "c", Ban: true})
		}, []string{"member c was removed by an operator and still runs"}},
		{"the worst first", func(_ *testing.T, w *world) {
			w.leader, w.leading, w.doubled = "", false, 1
			w.peer("c", func(p *health.Peer) { p.Alive = false })
		}, []string{"DOUBLED", "no raft leader", "member c is not alive"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t)
			tc.change(t, w)
			got := w.server(t).look().alarms()
			if len(got) != len(tc.want) {
				t.Fatalf("%q, want %q", got, tc.want)
			}
			for i := range got {
				if !strings.HasPrefix(got[i], tc.want[i]) {
					t.Errorf("%q, want %q", got[i], tc.want[i])
				}
			}
		})
	}
}

// TestReason: a follower says what it can see; it does not repeat what it decided when it last led.
func TestReason(t *testing.T) {
	w := newWorld(t)
	w.leader, w.leading, w.reason = "b", false, "an old one"
	if r := w.server(t).look().reason(); r != "the lease is held" {
		t.Error(r)
	}
	s := *w.state
	s.Lease.Last = slotNow - 1
	w.state = &s
	if r := w.server(t).look().reason(); r != "the leader is about to grant it" {
		t.Error(r)
	}
	for _, id := range []string{"a", "b", "c"} {
		w.unfit(id, "is down")
	}
	if r := w.server(t).look().reason(); r != "no fit candidate" {
		t.Error(r)
	}
	w.leader, w.leading, w.reason = "a", true, "no fit candidate: a is down; b is down"
	if r := w.server(t).look().reason(); r != "no fit candidate" {
		t.Error(r)
	}
	w.leader, w.leading = "", false
	if r := w.server(t).look().reason(); r != "no leader is known that could grant it" {
		t.Error(r)
	}
}

// TestSilence: a holder that is not heard is not said to hold the lease as if all were well.
func TestSilence(t *testing.T) {
	held := func(f func(w *world, s *fsm.State)) string {
		w := newWorld(t)
		s := *w.state
		s.Lease.Holder, s.Lease.Incarnation = "b", strings.Repeat("b", 32)
		w.peer("b", func(p *health.Peer) { p.Seen = now.Add(-silent - time.Millisecond) })
		f(w, &s)
		w.state = &s
		return w.server(t).look().lease().Reason
	}
	for want, f := range map[string]func(w *world, s *fsm.State){
		"holder b not heard for 1 s; its range ends in 4 slots, then failover":                             func(*world, *fsm.State) {},
		"holder b not heard for 1 s; its range ends with this slot, then failover":                         func(_ *world, s *fsm.State) { s.Lease.Last = slotNow },
		"holder b not heard for 1 s; its range ends in 4 slots, and in maintenance there is no failover":   func(_ *world, s *fsm.State) { s.Cluster.Maintenance = true },
		"holder b not heard for 1 s; its range ends in 4 slots, and without a leader there is no failover": func(w *world, _ *fsm.State) { w.leader, w.leading = "", false },
		"the lease is held":               func(w *world, _ *fsm.State) { w.peer("b", func(p *health.Peer) { p.Seen = now.Add(-silent) }) },
		"the leader is about to grant it": func(w *world, s *fsm.State) { w.leading, w.leader, s.Lease.Last = false, "c", slotNow-1 },
	} {
		if got := held(f); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestNobodyProduces: while nobody may sign, no producer is said to be producing.
func TestNobodyProduces(t *testing.T) {
	w := newWorld(t)
	if p := w.server(t).look().round().Producers[0]; p.State != fsm.ProducingNow {
		t.Errorf("%+v", p)
	}
	w.apply(t, fsm.Release{Epoch: 1, Incarnation: strings.Repeat("a", 32), Signed: slotNow - 1})
	v := w.server(t).look()
	if p := v.round().Producers[0]; p.State != fsm.NotProducing || !p.InSchedule || len(v.alarms()) == 0 {
		t.Errorf("%+v, %q", p, v.alarms())
	}
}

// TestVotersOnABadDisk: the status shows what was known while raft's folder does not answer.
func TestVotersOnABadDisk(t *testing.T) {
	w := newWorld(t)
	stalled := make(chan struct{})
	w.raft, w.voteless = func() { <-stalled }, []string{"c"}
	s := w.server(t)
	if got := s.look().alarms(); len(got) != 0 {
		t.Errorf("%q", got)
	}
	close(stalled)
	s.voters.mu.Lock()
	asking := s.voters.asking
	s.voters.mu.Unlock()
	if asking != nil {
		<-asking
	}
	if got := s.look().alarms(); len(got) != 1 || !strings.HasPrefix(got[0], "3 of 4 members vote") {
		t.Errorf("%q", got)
	}
}

package control

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"roundtable/cluster/health"
	"roundtable/fsm"
)

// inMaintenance is world with the cluster in maintenance.
func inMaintenance() (*group, *fsm.State) {
	s, peers := world()
	s.Cluster.Maintenance = true
	g := newGroup(s, peers)
	return g, s
}

// TestMaintenanceMovesNothing asks every path by which the lease moves, while the cluster is in maintenance.
func TestMaintenanceMovesNothing(t *testing.T) {
	t.Run("the running holder extends", func(t *testing.T) {
		g, _ := inMaintenance()
		m := newMachine(t, g, "a", incA)
		m.permit(t)
		m.reconcile(t, &extendController{m.Manager, slog.New(slog.DiscardHandler)})
		if g.state.Lease.Last != 107 {
			t.Errorf("%+v", g.state.Lease)
		}
	})
	t.Run("the holder dies: nobody, and it is said", func(t *testing.T) {
		g, s := inMaintenance()
		g.peers["a"] = health.Peer{}
		for _, released := range []bool{false, true} {
			s.Lease.Released = released
			d := planLease(leaseInput{state: s, peers: g.peers, now: 300, at: testNow, since: 10, offsets: map[string]time.Duration{"b": 0, "c": 0}})
			if d.grant != nil || !strings.Contains(d.reason, "maintenance") {
				t.Errorf("released %v: %+v", released, d)
			}
		}
	})
	t.Run("the holder is back: it, not a better one", func(t *testing.T) {
		g, s := inMaintenance()
		a, c := s.Members["a"], s.Members["c"]
		a.Incarnation, c.Priority = strings.Repeat("e", 32), 9
		s.Members["a"], s.Members["c"] = a, c
		p := g.peers["a"]
		p.Report.Incarnation = a.Incarnation
		g.peers["a"] = p
		s.Lease.Released = true
		d := planLease(leaseInput{state: s, peers: g.peers, now: 110, at: testNow, since: 10, offsets: map[string]time.Duration{"b": 0, "c": 0}})
		if d.grant == nil || d.grant.Holder != "a" {
			t.Errorf("%+v", d)
		}
	})
	t.Run("the holder stops: it gives up, and hands to nobody", func(t *testing.T) {
		g, _ := inMaintenance()
		m := newMachine(t, g, "a", incA)
		m.permit(t)
		if err := m.StepAside(t.Context()); err != nil {
			t.Fatal(err)
		}
		if l := g.state.Lease; !l.Released || l.Holder != "a" || len(g.state.Operations) != 0 {
			t.Errorf("%+v, %d operations", l, len(g.state.Operations))
		}
		if r := g.told; r.Fit || r.Reason != "its manager stops" { // or the leader would give it back at once
			t.Errorf("told before: %+v", r)
		}
	})
	t.Run("the holder is cut off: it keeps what nobody would take over", func(t *testing.T) {
		for _, on := range []bool{true, false} {
			g, s := inMaintenance()
			s.Cluster.Maintenance = on
			for _, id := range []string{"b", "c"} {
				p := g.peers[id]
				p.Report.Head.Slot = 120
				g.peers[id] = p
			}
			m := newMachine(t, g, "a", incA)
			c := &releaseController{Manager: m.Manager, log: slog.New(slog.DiscardHandler)}
			m.permit(t)
			m.reconcile(t, c)
			m.offset = cutOffTime
			for id, p := range g.peers {
				p.Seen = m.now()
				g.peers[id] = p
			}
			m.reconcile(t, c)
			if released := g.state.Lease.Released; released == on {
				t.Errorf("maintenance %v: released %v", on, released)
			}
		}
	})
	t.Run("a planned handoff goes", func(t *testing.T) {
		g, _ := inMaintenance()
		m := newMachine(t, g, "a", incA)
		for _, to := range []string{"b", ""} {
			id, err := m.Handoff(t.Context(), to, "now", "")
			if err != nil {
				t.Fatalf("to %q: %v", to, err)
			}
			if _, err := m.Cancel(t.Context(), id, ""); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestAMemberInMaintenance: it gets nothing by itself, takes a planned handoff, and as the holder goes on.
func TestAMemberInMaintenance(t *testing.T) {
	s, peers := world()
	for _, id := range []string{"a", "b"} {
		m := s.Members[id]
		m.Maintenance = true
		s.Members[id] = m
	}
	g := newGroup(s, peers)
	m := newMachine(t, g, "a", incA)
	m.permit(t)
	m.reconcile(t, &extendController{m.Manager, slog.New(slog.DiscardHandler)})
	if g.state.Lease.Last != 107 {
		t.Errorf("the holder does not extend: %+v", g.state.Lease)
	}
	m.reconcile(t, &releaseController{Manager: m.Manager, log: slog.New(slog.DiscardHandler)})
	if g.state.Lease.Released {
		t.Error("the holder gave the lease up for its maintenance")
	}
	d := planLease(leaseInput{state: s, peers: peers, now: 110, at: testNow, since: 10, offsets: map[string]time.Duration{"b": 0, "c": 0}})
	if d.grant == nil || d.grant.Holder != "c" {
		t.Errorf("the range was used up: %+v", d)
	}
	if _, err := m.Handoff(t.Context(), "b", "now", ""); err != nil {
		t.Errorf("planned: %v", err)
	}
}

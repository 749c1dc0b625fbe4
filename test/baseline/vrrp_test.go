package baseline

import (
	"testing"
	"time"
)

// group is three machines and a wire between them, in virtual time.
type group struct {
	now time.Time
	all []*vrrp
	cut map[string]bool // whose adverts are lost, both ways
}

func newGroup() *group {
	g := &group{now: time.Unix(1000, 0), cut: map[string]bool{}}
	for i, id := range []string{"m1", "m2", "m3"} {
		g.all = append(g.all, newVRRP(id, 200-20*i, 500*time.Millisecond, g.now))
	}
	return g
}

func (g *group) send(from *vrrp, priority int) {
	for _, v := range g.all {
		if v != from && !g.cut[v.id] && !g.cut[from.id] && v.receive(advert{from.id, priority}, g.now) {
			g.send(v, v.priority)
		}
	}
}

func (g *group) pass(d time.Duration) {
	for end := g.now.Add(d); g.now.Before(end); g.now = g.now.Add(10 * time.Millisecond) {
		for _, v := range g.all {
			if v.tick(g.now) {
				g.send(v, v.priority)
			}
		}
	}
}

func (g *group) masters() (list string) {
	for _, v := range g.all {
		if v.role == master {
			list += v.id
		}
	}
	return list
}

func (g *group) want(t *testing.T, what, masters string) {
	t.Helper()
	if got := g.masters(); got != masters {
		t.Errorf("%s: masters %q, want %q", what, got, masters)
	}
}

func TestVRRPElectsByPriority(t *testing.T) {
	g := newGroup()
	g.pass(1500 * time.Millisecond)
	g.want(t, "before Master_Down_Interval", "")
	g.pass(200 * time.Millisecond) // its skew is 500 * 56/256 = 109 ms
	g.want(t, "after it", "m1")
	g.pass(time.Minute)
	g.want(t, "a minute on", "m1")
	for _, v := range g.all {
		if v.master != "m1" {
			t.Errorf("%s takes %q for the master", v.id, v.master)
		}
	}
}

func TestVRRPPartition(t *testing.T) {
	g := newGroup()
	g.pass(2 * time.Second)
	g.cut["m1"] = true
	g.pass(1100 * time.Millisecond) // its last advert was up to 500 ms before
	g.want(t, "before the others miss it", "m1")
	g.pass(600 * time.Millisecond)
	g.want(t, "cut off: it does not know, and another takes over", "m1m2")
	g.cut["m1"] = false
	g.pass(600 * time.Millisecond)
	g.want(t, "healed: the higher priority stays", "m1")
}

func TestVRRPGoodbyeAndNoPreemption(t *testing.T) {
	g := newGroup()
	g.pass(2 * time.Second)
	if !g.all[0].health(false, g.now) {
		t.Error("a master with a fault does not say goodbye")
	}
	g.send(g.all[0], 0)
	g.pass(160 * time.Millisecond)
	g.want(t, "a goodbye, and m2's skew", "m2")
	if g.all[0].health(true, g.now) {
		t.Error("a goodbye of a member that is well")
	}
	g.pass(time.Minute)
	g.want(t, "m1 is well again and does not preempt", "m2")
	g.all[2].become(g.now)
	g.all[1].resign(g.now)
	g.pass(time.Minute)
	g.want(t, "a takeover by the lowest priority", "m3")
}

func TestCheckFallsAndRisesByTwo(t *testing.T) {
	c := check{well: true}
	for i, step := range []struct{ good, changed, well bool }{
		{false, false, true}, {true, false, true}, {false, false, true}, {false, true, false}, {false, false, false},
		{true, false, false}, {false, false, false}, {true, false, false}, {true, true, true},
	} {
		if changed := c.add(step.good); changed != step.changed || c.well != step.well {
			t.Errorf("step %d: changed %v, well %v", i, changed, c.well)
		}
	}
}

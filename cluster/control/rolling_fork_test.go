package control

import (
	"maps"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"roundtable/fsm"
)

// toFork is b before the block of a hard fork, 1000, its node at 900.
func toFork(t *testing.T, change ...func(*atWork)) *atWork {
	t.Helper()
	w := rolls(fsm.KindUpgrade, fsm.StepFork, "a", "b", "c")
	w.op.Roll.Upgrade.HardFork, w.op.Roll.Upgrade.AtBlock = true, 1000
	return works(t, w, append([]func(*atWork){func(a *atWork) { a.at(900) }}, change...)...)
}

// at gives all nodes a head.
func (a *atWork) at(num uint32) {
	a.nodeChanges(func(v *NodeView) { v.Head.Num = num })
	a.heard(num, "a", "b", "c")
}

// heard gives members a head, as they say.
func (a *atWork) heard(num uint32, ids ...string) {
	a.group.mu.Lock()
	defer a.group.mu.Unlock()
	peers := maps.Clone(a.group.peers)
	for _, id := range ids {
		p := peers[id]
		p.Report.Head.Num = num
		peers[id] = p
	}
	a.group.peers = peers
}

func (a *atWork) nodeChanges(change func(*NodeView)) {
	a.node.mu.Lock()
	defer a.node.mu.Unlock()
	change(&a.node.view)
}

// TestANodeIsToldAgain where to stop, whenever it may have forgotten: that is at each start, and when it is resumed.
func TestANodeIsToldAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := toFork(t)
		want := func(calls ...string) {
			t.Helper()
			time.Sleep(time.Second)
			if got := a.home.said(); !slices.Equal(got, calls) {
				t.Fatalf("asked %q, want %q", got, calls)
			}
		}
		want("arm")
		a.nodeChanges(func(v *NodeView) { v.State = "backoff" })
		want("arm")
		a.nodeChanges(func(v *NodeView) { v.State, v.Run = "running", 2 })
		want("arm", "arm")
		a.resumes.Add(1)
		want("arm", "arm", "arm")
		a.at(1000)
		want("arm", "arm", "arm", "become v2,")
		if r := a.last(); !r.Ended || r.Fault != "" {
			t.Errorf("%+v", r)
		}
	})
}

// TestALeaseThatComesAtTheFork is given up, whenever it comes.
func TestALeaseThatComesAtTheFork(t *testing.T) {
	for name, moment := range map[string]time.Duration{"before the block": 0, "while the others get it": time.Second, "when its node is to be stopped": spreadTime + time.Second} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var free atomic.Bool
				a := toFork(t, func(a *atWork) {
					a.hold = func(step string) bool { return !free.Load() && step == "stop "+fsm.StepFork }
				})
				give := func() {
					s, _ := a.group.View()
					l := s.Lease
					if !l.Released {
						if err := mustSet(t, a.group, fsm.Release{Epoch: l.Epoch, Incarnation: l.Incarnation, Signed: l.Last}); err != nil {
							t.Fatal(err)
						}
					}
					if err := mustSet(t, a.group, fsm.Grant{Epoch: l.Epoch + 1, Holder: "b", Incarnation: incB, First: l.Last + 1, Last: l.Last + 4}); err != nil {
						t.Fatal(err)
					}
				}
				if moment == 0 {
					give()
				}
				a.at(1000)
				if moment == time.Second {
					a.heard(999, "c")
				}
				time.Sleep(moment)
				if moment > 0 {
					give()
				}
				free.Store(true)
				time.Sleep(spreadTime + time.Second)
				if s, _ := a.group.View(); !s.Lease.Released {
					t.Errorf("%+v", s.Lease)
				}
				if r := a.last(); !r.Ended || r.Fault != "" {
					t.Errorf("%+v", r)
				}
			})
		})
	}
}

// TestWhoHasTheVersionWaits for the block all the same: that it is through means that the block is there.
func TestWhoHasTheVersionWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := toFork(t, func(a *atWork) { a.home.view.Tag, a.home.view.Runs = "v2", "v2" })
		time.Sleep(time.Second)
		if r := a.last(); r.Ended {
			t.Errorf("before the block: %+v", r)
		}
		a.at(1000)
		time.Sleep(time.Second)
		if r := a.last(); !r.Ended || r.Fault != "" {
			t.Errorf("at the block: %+v", r)
		}
		if got := a.home.said(); !slices.Equal(got, []string{"disarm"}) {
			t.Errorf("asked %q", got)
		}
	})
}

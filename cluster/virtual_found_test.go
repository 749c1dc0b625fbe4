package cluster_test

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"roundtable/cluster"
)

// permissions says how often each member's was taken away.
type permissions map[string]*atomic.Int32

// laidOut runs a scenario with members that know the addresses of each other; those named have a permission to found the group.
// None is open.
func laidOut(t *testing.T, n int, permitted []string, scenario func(w *world, founded permissions) error) {
	t.Helper()
	var verdict error
	synctest.Test(t, func(*testing.T) {
		w := makeWorld(7)
		founded := permissions{}
		for i := range n {
			w.ids = append(w.ids, fmt.Sprintf("m%d", i+1))
		}
		for _, id := range w.ids {
			cfg := w.hub.Config(id)
			for _, other := range w.ids {
				if other != id {
					cfg.Join = append(cfg.Join, w.hub.GossipAddr(other))
				}
			}
			founded[id] = new(atomic.Int32)
			cfg.Founded = func() error { founded[id].Add(1); return nil }
			w.configs[id] = cfg
		}
		for _, id := range permitted {
			w.permit(id)
		}
		err := scenario(w, founded)
		verdict = errors.Join(err, w.close())
	})
	if verdict != nil {
		t.Fatal(verdict)
	}
}

func (w *world) permit(id string) {
	cfg := w.configs[id]
	cfg.Found = true
	w.configs[id] = cfg
}

// empty gives a closed member empty stores, as a lost disk does.
func (w *world) empty(id string) {
	cfg := w.configs[id]
	cfg.Stores = cluster.MemoryStores()
	w.configs[id] = cfg
}

// begins opens members some time apart.
func (w *world) begins(ids ...string) error {
	for _, id := range ids {
		if err := w.open(id); err != nil {
			return err
		}
		time.Sleep(time.Duration(w.rand.IntN(8000)) * time.Millisecond)
	}
	return nil
}

// settled waits until all members that are open vote in one group.
func (w *world) settled() error {
	return w.until("all vote in one group", func() bool {
		for id, c := range w.members {
			if !w.recorded(id) {
				return false
			}
			voters := 0
			for _, p := range c.Raft().Peers {
				if p.Suffrage == "voter" {
					voters++
				}
			}
			if leader, _ := c.Leader(); voters != len(w.members) || leader == "" {
				return false
			}
		}
		return len(w.groups()) == 1
	})
}

// groups are the groups of the open members.
func (w *world) groups() map[string]bool {
	groups := map[string]bool{}
	for _, c := range w.members {
		groups[c.Raft().Group] = true
	}
	return groups
}

// quiet wants nobody to be in any of the groups but those named, and nobody to lead, for a minute.
func (w *world) quiet(groups ...string) error {
	for range 600 {
		time.Sleep(100 * time.Millisecond)
		now := w.groups()
		for _, g := range append(groups, "") {
			delete(now, g)
		}
		if l := w.leader(); l != "" || len(now) > 0 {
			return fmt.Errorf("%q leads, groups %v", l, now)
		}
	}
	return nil
}

// TestVirtualFounding: members that were laid out together found one group, whoever starts first, and not before all are heard.
func TestVirtualFounding(t *testing.T) {
	for _, order := range [][]string{{"m1", "m2", "m3"}, {"m3", "m2", "m1"}, {"m2", "m1", "m3"}} {
		laidOut(t, 3, []string{"m1"}, func(w *world, founded permissions) error {
			if err := w.begins(order[:2]...); err != nil {
				return err
			}
			if err := w.quiet(); err != nil {
				return fmt.Errorf("%v, the last one is silent: %w", order, err)
			}
			if err := errors.Join(w.begins(order[2]), w.settled()); err != nil {
				return fmt.Errorf("%v: %w", order, err)
			}
			if founded["m1"].Load() != 1 || founded["m2"].Load() != 0 || founded["m3"].Load() != 0 {
				return fmt.Errorf("%v: a permission was taken away that was none", order)
			}
			// Any two go on when the founder is lost.
			if err := w.crash("m1"); err != nil {
				return err
			}
			return errors.Join(w.propose("m2", "without the founder", cluster.WithKey("once")), w.equal())
		})
	}
}

// TestVirtualFoundingTwice: of two members with a permission, by mistake, one founds.
func TestVirtualFoundingTwice(t *testing.T) {
	for _, order := range [][]string{{"m1", "m2", "m3"}, {"m3", "m2", "m1"}} {
		laidOut(t, 3, []string{"m1", "m2"}, func(w *world, founded permissions) error {
			if err := errors.Join(w.begins(order...), w.settled()); err != nil {
				return err
			}
			return w.until("both permissions are taken away", func() bool { return founded["m1"].Load() == 1 && founded["m2"].Load() == 1 })
		})
	}
}

// TestVirtualLaidOutAgain loses the founder's disk; it comes back with its permission, as a volume does that is laid out from its
// seed. It joins the others, and while they are silent it does nothing.
func TestVirtualLaidOutAgain(t *testing.T) {
	laidOut(t, 3, []string{"m1"}, func(w *world, founded permissions) error {
		if err := errors.Join(w.begins(w.ids...), w.settled(), w.propose("m1", "first")); err != nil {
			return err
		}
		group := w.members["m1"].Raft().Group
		if err := w.crash("m1"); err != nil {
			return err
		}
		w.empty("m1")
		w.hub.Isolate("m1")
		if err := w.open("m1"); err != nil {
			return err
		}
		for range 600 {
			time.Sleep(100 * time.Millisecond)
			if m1 := w.members["m1"]; m1.IsLeader() || m1.Raft().Group != "" {
				return fmt.Errorf("alone, it is in %q", m1.Raft().Group)
			}
		}
		w.hub.Heal()
		if err := errors.Join(w.settled(), w.equal()); err != nil {
			return err
		}
		if now := w.members["m1"].Raft().Group; now != group {
			return fmt.Errorf("in %q, not %q", now, group)
		}
		return w.until("the permission is taken away", func() bool { return founded["m1"].Load() == 2 })
	})
}

// TestVirtualTwoLaidOutAgain loses two of three disks, the founder's among them: one member has kept its log, so nobody founds,
// and nobody leads: that one may lack what the other two had committed. It is what recover is for.
func TestVirtualTwoLaidOutAgain(t *testing.T) {
	laidOut(t, 3, []string{"m1"}, func(w *world, founded permissions) error {
		if err := errors.Join(w.begins(w.ids...), w.settled()); err != nil {
			return err
		}
		group := w.members["m1"].Raft().Group
		for _, id := range w.ids {
			if err := w.crash(id); err != nil {
				return err
			}
		}
		w.empty("m1")
		w.empty("m2")
		if err := w.begins("m1", "m2"); err != nil {
			return err
		}
		if err := w.quiet(); err != nil {
			return fmt.Errorf("the third is silent: %w", err)
		}
		if err := w.begins("m3"); err != nil {
			return err
		}
		if err := w.quiet(group); err != nil {
			return fmt.Errorf("the third has its log: %w", err)
		}
		if founded["m1"].Load() != 2 {
			return errors.New("the permission was not taken away")
		}
		return nil
	})
}

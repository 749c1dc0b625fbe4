package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"roundtable/cluster"
)

// emptied opens a member again that was closed, with nothing of its log, as another process.
func (w *world) emptied(id string) error {
	w.empty(id)
	cfg := w.configs[id]
	cfg.Incarnation = fmt.Sprintf("%016x%016x", w.rand.Uint64(), w.rand.Uint64())
	cfg.Found, cfg.Join = false, nil
	for _, other := range w.ids {
		if other != id {
			cfg.Join = append(cfg.Join, w.hub.GossipAddr(other))
		}
	}
	w.configs[id] = cfg
	return w.open(id)
}

// leads makes a member the leader.
func (w *world) leads(id string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if l := w.leader(); l != id {
		return w.members[w.other(id)].TransferLeadership(ctx, id)
	}
	return nil
}

// TestVirtualEmptiedVoter commits something with two of three members, of which one then loses its disk and the other one dies. The
// third, which lacks it, must not be elected with the vote of the emptied one, over any restarts; with the dead one back all
// is there, and the emptied one votes again.
func TestVirtualEmptiedVoter(t *testing.T) {
	for seed := range seeds {
		virtual(t, seed, func(w *world) error {
			if err := w.leads("m1"); err != nil {
				return err
			}
			if err := w.crash("m3"); err != nil {
				return err
			}
			if err := w.propose("m1", "of m1 and m2"); err != nil {
				return err
			}
			if err := errors.Join(w.crash("m2"), w.crash("m1"), w.open("m3"), w.emptied("m2")); err != nil {
				return err
			}
			for range 3 {
				for range 200 {
					time.Sleep(100 * time.Millisecond)
					if l := w.leader(); l != "" {
						return fmt.Errorf("%s leads with the vote of an emptied one", l)
					}
				}
				if err := errors.Join(w.crash("m2"), w.open("m2")); err != nil {
					return err
				}
			}
			if err := w.open("m1"); err != nil {
				return err
			}
			if err := w.until("all have regained it", func() bool { return w.recorded("m2") && w.count("of m1 and m2") == 1 }); err != nil {
				return err
			}
			if err := errors.Join(w.equal(), w.crash("m1")); err != nil {
				return err
			}
			start := time.Now()
			if err := w.until("m2 and m3 elect one", func() bool { return w.leader() != "" }); err != nil {
				return err
			}
			if d := time.Since(start); d > 5*time.Second {
				return fmt.Errorf("the election took %v", d)
			}
			return w.propose("m2", "of m2 and m3", cluster.WithKey("once"))
		})
	}
}

// TestVirtualFillingDoesNotVote has a member that lost its disk take all of the log, with its former record in it, from the
// leader. Before its new record is there it votes for nobody and takes no leadership.
func TestVirtualFillingDoesNotVote(t *testing.T) {
	virtual(t, 2, func(w *world) error {
		if err := errors.Join(w.leads("m1"), w.crash("m2"), w.emptied("m2")); err != nil {
			return err
		}
		m1, m2 := w.members["m1"], w.members["m2"]
		if err := w.until("m2 has the log", func() bool { return m2.Raft().AppliedIndex >= m1.Raft().AppliedIndex }); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := m1.TransferLeadership(ctx, "m2"); !errors.Is(err, cluster.ErrTransfer) {
			return fmt.Errorf("it was given the leadership: %s", fmt.Sprint(err))
		}
		if err := w.leads("m1"); err != nil {
			return err
		}
		if err := w.crash("m1"); err != nil {
			return err
		}
		for range 200 {
			time.Sleep(100 * time.Millisecond)
			if l := w.leader(); l != "" {
				return fmt.Errorf("%s leads", l)
			}
		}
		if err := w.open("m1"); err != nil {
			return err
		}
		if err := w.until("m2 has its record", func() bool { return w.recorded("m2") }); err != nil {
			return err
		}
		return errors.Join(w.leads("m2"), w.propose("m2", "of the new leader", cluster.WithKey("once")), w.equal())
	})
}

// TestVirtualHalfFilled stops the founder while it regains its log: what it has says that it is the only voter, as it was when
// it founded the group. It must not lead by that.
func TestVirtualHalfFilled(t *testing.T) {
	virtual(t, 3, func(w *world) error {
		if err := w.crash("m1"); err != nil {
			return err
		}
		whole := w.configs["m1"].Stores
		if err := w.emptied("m1"); err != nil { // and it is marked as such
			return err
		}
		if err := w.crash("m1"); err != nil {
			return err
		}
		half := w.configs["m1"].Stores
		for index := uint64(1); index <= 2; index++ {
			var l raft.Log
			if err := errors.Join(whole.Log.GetLog(index, &l), half.Log.StoreLog(&l)); err != nil {
				return err
			}
		}
		group, err := whole.Stable.Get([]byte("roundtable/group"))
		if err := errors.Join(err, half.Stable.Set([]byte("roundtable/group"), group), half.Stable.SetUint64([]byte("CurrentTerm"), 2)); err != nil {
			return err
		}
		w.hub.Isolate("m1")
		if err := w.open("m1"); err != nil {
			return err
		}
		for range 300 {
			time.Sleep(100 * time.Millisecond)
			if now := w.members["m1"].Raft(); now.State != "follower" || now.Term > 2 {
				return fmt.Errorf("it is %s in term %d, of %v", now.State, now.Term, now.Peers)
			}
		}
		w.hub.Heal()
		if err := w.until("it has regained it", func() bool { return w.recorded("m1") }); err != nil {
			return err
		}
		return errors.Join(w.equal(), w.leads("m1"))
	})
}

// TestVirtualFrozenLeader has a leader that does not know that it was replaced, by the votes of a member that lost its disk since.
// What the two of them then agree on is nothing: it is not the majority that it seems.
func TestVirtualFrozenLeader(t *testing.T) {
	virtual(t, 5, func(w *world) error {
		old := w.configs["m1"]
		old.Heartbeat, old.Election, old.LeaderLease = time.Hour, time.Hour, time.Hour // a frozen one that thaws has not looked at its timers
		w.configs["m1"] = old
		if err := errors.Join(w.crash("m1"), w.open("m1")); err != nil {
			return err
		}
		if err := w.until("m1 is back", func() bool { return w.propose("m1", "back") == nil }); err != nil {
			return err
		}
		if err := w.leads("m1"); err != nil {
			return err
		}
		w.hub.Isolate("m1")
		if err := w.until("m2 and m3 have another leader", func() bool {
			return w.members["m2"].IsLeader() || w.members["m3"].IsLeader()
		}); err != nil {
			return err
		}
		if err := w.propose("m2", "of m2 and m3", cluster.WithKey("once")); err != nil {
			return err
		}
		if err := errors.Join(w.crash("m3"), w.crash("m2")); err != nil {
			return err
		}
		w.hub.Heal()
		if err := w.emptied("m3"); err != nil {
			return err
		}
		m1, m3 := w.members["m1"], w.members["m3"]
		for range 20 {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			err := m1.Barrier(ctx)
			cancel()
			if err == nil || m3.Raft().LastIndex > 0 {
				return fmt.Errorf("m1, in term %d, commits with the emptied m3, which has %d entries: %s", m1.Raft().Term, m3.Raft().LastIndex, fmt.Sprint(err))
			}
		}
		if !m1.IsLeader() {
			return errors.New("m1 is no frozen leader: this tells nothing")
		}
		if err := w.open("m2"); err != nil {
			return err
		}
		if err := w.until("m3 has regained it", func() bool { return w.leader() != "" && w.recorded("m3") }); err != nil {
			return err
		}
		if n := w.count("of m2 and m3"); n != 1 {
			return fmt.Errorf("what was committed is there %d times", n)
		}
		return w.equal()
	})
}

package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"roundtable/cluster"
	"roundtable/fsm"
)

func (w *world) put(id string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_, err := w.members[w.leader()].Propose(ctx, fsm.PutMember{Member: fsm.Member{ID: id, Incarnation: w.configs[id].Incarnation, Raft: w.hub.RaftAddr(id), EntryVersion: fsm.EntryVersion}})
	return err
}

func (w *world) remove(asked, id string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return w.members[asked].Remove(ctx, id)
}

// voters lists what the leader's raft has.
func (w *world) voters() string {
	out := ""
	for _, p := range w.members[w.leader()].Raft().Peers {
		out += p.ID + " " + p.Suffrage + ","
	}
	return out
}

func TestVirtualRemove(t *testing.T) {
	virtual(t, 3, func(w *world) error {
		for _, id := range w.ids {
			if err := w.put(id); err != nil {
				return err
			}
		}
		// The leader removes itself, asked of a follower; it lives on and stays out.
		gone := w.leader()
		if err := w.remove(w.other(gone), gone); err != nil {
			return err
		}
		time.Sleep(time.Minute)
		if err := w.until("a leader among the others", func() bool { l := w.leader(); return l != "" && l != gone }); err != nil {
			return err
		}
		if peers := w.members[w.leader()].Raft().Peers; len(peers) != 2 {
			return fmt.Errorf("after the removal: %v", peers)
		}
		if err := w.propose(w.other(gone), "without it"); err != nil {
			return err
		}
		// It is out for good: neither its record nor a stream of its own nor gossip brings it back.
		if err := w.put(gone); !errors.Is(err, fsm.ErrRemoved) {
			return fmt.Errorf("its record was taken: %w", err)
		}
		if _, heard := w.members[w.leader()].Nodes()[gone]; heard {
			return errors.New("gossip still listens to it")
		}
		if err := w.propose(gone, "from outside"); !errors.Is(err, cluster.ErrNoLeader) {
			return fmt.Errorf("it was heard: %w", err)
		}
		// It is invited, and the invite used: now it may come, and gossip brings it back.
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		invite := fsm.Invite{ID: "i1", Member: gone, Hash: strings.Repeat("0", 64), Expires: time.Now().Add(time.Hour).UnixMilli()}
		if _, err := w.members[w.leader()].Propose(ctx, fsm.PutInvite{Invite: invite}); err != nil {
			return err
		}
		time.Sleep(10 * time.Second) // an invite that nobody used lets nobody in
		if err := w.put(gone); !errors.Is(err, fsm.ErrRemoved) || len(w.members[w.leader()].Raft().Peers) != 2 {
			return fmt.Errorf("it was let in by an invite that nobody used: %w", err)
		}
		if _, err := w.members[w.leader()].Propose(ctx, fsm.UseInvite{ID: "i1", Hash: invite.Hash, Member: gone}); err != nil {
			return err
		}
		if err := w.until("it is back", func() bool { return len(w.members[gone].Raft().Peers) == 3 }); err != nil {
			return err
		}
		if err := w.put(gone); err != nil {
			return err
		}
		if err := w.until("it is back", func() bool { return len(w.members[gone].Raft().Peers) == 3 }); err != nil {
			return err
		}
		time.Sleep(10 * time.Second)
		if err := w.equal(); err != nil {
			return err
		}
		// With one member away, a live one cannot be removed.
		leader := w.leader()
		away := w.other(leader)
		w.hub.Isolate(away)
		time.Sleep(30 * time.Second)
		if err := w.remove(leader, w.other(leader, away)); !errors.Is(err, cluster.ErrQuorum) {
			return fmt.Errorf("removing the last live follower: %w", err)
		}
		if err := w.remove(leader, "nobody"); !errors.Is(err, cluster.ErrUnknownMember) {
			return fmt.Errorf("removing nobody: %w", err)
		}
		w.hub.Heal()
		return nil
	})
}

func TestVirtualReplacedMember(t *testing.T) {
	virtual(t, 4, func(w *world) error {
		lost := w.other(w.leader())
		if err := w.crash(lost); err != nil {
			return err
		}
		// A new member on the old one's machine: other id, empty folder, same addresses.
		cfg := w.configs[lost]
		cfg.ID, cfg.Stores, cfg.Join = "m4", cluster.MemoryStores(), []string{w.hub.GossipAddr(w.leader())}
		cfg.Incarnation = strings.Repeat("4", 32)
		w.configs["m4"] = cfg
		if err := w.open("m4"); err != nil {
			return err
		}
		if err := w.until("the new one votes, the old one is gone", func() bool {
			v := w.voters()
			return w.recorded("m4") && len(v) == len("m1 voter,")*3 && !containsID(w, lost) && containsID(w, "m4")
		}); err != nil {
			return fmt.Errorf("%w: %s", err, w.voters())
		}
		return w.equal()
	})
}

func containsID(w *world, id string) bool {
	for _, p := range w.members[w.leader()].Raft().Peers {
		if p.ID == id {
			return true
		}
	}
	return false
}

// TestVirtualStranger has a manager that lost its disk and founds a group of its own by mistake: it must not disturb the
// old one.
func TestVirtualStranger(t *testing.T) {
	virtual(t, 5, func(w *world) error {
		if err := w.crash("m1"); err != nil {
			return err
		}
		if err := w.until("another leader", func() bool { return w.leader() != "" }); err != nil {
			return err
		}
		cfg := w.configs["m1"]
		cfg.Stores, cfg.Join = cluster.MemoryStores(), nil
		w.configs["m1"] = cfg
		if err := w.open("m1"); err != nil {
			return err
		}
		term := w.members["m2"].Raft().Term
		for i := range 10 {
			if err := w.propose("m2", fmt.Sprintf("undisturbed %d", i)); err != nil {
				return err
			}
			time.Sleep(5 * time.Second)
		}
		if now := w.members["m2"].Raft().Term; now != term {
			return fmt.Errorf("the stranger moved the term from %d to %d", term, now)
		}
		if n := len(w.members["m1"].Raft().Peers); n != 1 {
			return fmt.Errorf("the stranger has %d servers", n)
		}
		return nil
	})
}

// stallingLog hangs in writes while it is stalled.
type stallingLog struct {
	raft.LogStore
	gate chan chan struct{} // holds the channel to wait for; nil channel inside: go on
}

func newStallingLog(l raft.LogStore) *stallingLog {
	s := &stallingLog{l, make(chan chan struct{}, 1)}
	s.gate <- nil
	return s
}

func (s *stallingLog) set(c chan struct{}) { <-s.gate; s.gate <- c }

func (s *stallingLog) StoreLogs(logs []*raft.Log) error {
	c := <-s.gate
	s.gate <- c
	if c != nil {
		<-c
	}
	return s.LogStore.StoreLogs(logs)
}

func TestVirtualStalledCanary(t *testing.T) {
	stall := make(chan struct{})
	virtualOf(t, 6, func(w *world) {
		stall = make(chan struct{})
		gate := stall
		hang := make(chan struct{}) // closed: canaries hang
		w.prepare = func(cfg *cluster.Config) {
			if cfg.ID == "m1" {
				cfg.Canary = func() error {
					select {
					case <-hang:
						<-gate
					default:
					}
					return nil
				}
			}
		}
		w.stall = func() { close(hang) }
	}, func(w *world) error {
		defer close(stall)
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if w.leader() != "m1" {
			return fmt.Errorf("the founder does not lead")
		}
		w.stall()
		start := time.Now()
		if err := w.until("another leader", func() bool { l := w.leader(); return l != "" && l != "m1" }); err != nil {
			return err
		}
		if d := time.Since(start); d > 3*time.Second {
			return fmt.Errorf("the leadership moved after %v", d)
		}
		if !w.members["m1"].Stalled() || !w.members["m1"].Raft().Stalled {
			return errors.New("not shown as stalled")
		}
		_, err := w.members["m2"].Propose(ctx, fsm.RaiseAlarm{Name: "after"})
		return err
	})
}

func TestVirtualStuckLog(t *testing.T) {
	var stall chan struct{}
	var fatal chan error
	virtualOf(t, 7, func(w *world) {
		stall, fatal = make(chan struct{}), make(chan error, 1)
		w.prepare = func(cfg *cluster.Config) {
			if cfg.ID == "m1" {
				log := newStallingLog(cfg.Stores.Log)
				cfg.Stores.Log = log
				cfg.OnFatal = func(err error) { fatal <- err }
				gate := stall
				w.stall = func() { log.set(gate) }
			}
		}
	}, func(w *world) error {
		if w.leader() != "m1" {
			return fmt.Errorf("the founder does not lead")
		}
		w.stall()
		start := time.Now()
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		if _, err := w.members["m1"].Propose(ctx, fsm.RaiseAlarm{Name: "stuck"}); !errors.Is(err, cluster.ErrUnknownOutcome) && !errors.Is(err, cluster.ErrNoLeader) {
			return fmt.Errorf("a proposal to a stuck leader: %w", err)
		}
		if err := <-fatal; !errors.Is(err, cluster.ErrStalled) {
			return fmt.Errorf("fatal: %w", err)
		}
		if w.members["m1"].IsLeader() {
			return errors.New("still calls itself the leader")
		}
		w.hub.Isolate("m1") // as its process's end would do
		if err := w.until("another leader", func() bool { return w.leader() != "" }); err != nil {
			return err
		}
		if d := time.Since(start); d > 5*time.Second {
			return fmt.Errorf("another leader after %v", d)
		}
		if err := w.propose("m2", "after"); err != nil {
			return err
		}
		close(stall) // so that this test's process can end, too
		w.hub.Heal()
		return w.equal()
	})
}

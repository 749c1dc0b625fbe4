// Package wiring_test asks for the guards that stand where packages meet: what a whole manager wires together, in this
// process and without a node. test/mutation shows that each is needed.
package wiring_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"roundtable/chain"
	"roundtable/cluster"
	"roundtable/cluster/clustertest"
	"roundtable/cmd/roundtable/config"
	"roundtable/fsm"
	"roundtable/manager"
)

// TestANewLeaderHasAppliedAll: what was committed under the leader before is applied when the new leader's work begins,
// although nobody told the followers that it was committed: the old leader is cut off at that very moment. Without the
// barrier the new one would decide by a lease that lacks the last extensions [L5].
func TestANewLeaderHasAppliedAll(t *testing.T) {
	for seed := range uint64(8) {
		var verdict error
		synctest.Test(t, func(*testing.T) { verdict = lead(seed) })
		if verdict != nil {
			t.Errorf("seed %d: %v", seed, verdict)
		}
	}
}

// lead is one election in virtual time. Nothing in a bubble may end the goroutine: it returns what is wrong.
func lead(seed uint64) (verdict error) {
	hub := clustertest.New(seed, 5*time.Millisecond)
	members, incarnations := map[string]*cluster.Cluster{}, map[string]string{}
	ctx, cancel := context.WithCancel(context.Background())
	defer func() {
		cancel()
		for id, c := range members {
			now, hurry := context.WithCancel(context.Background())
			hurry()
			if err := c.Close(now); err != nil {
				verdict = errors.Join(verdict, fmt.Errorf("close %s: %w", id, err))
			}
		}
		time.Sleep(time.Minute) // goroutines that still sleep when a bubble ends are a panic
	}()
	for _, id := range []string{"m1", "m2", "m3"} {
		c := hub.Config(id)
		c.Found = id == "m1"
		if id != "m1" {
			c.Join = []string{hub.GossipAddr("m1")}
		}
		m, err := cluster.Open(ctx, c)
		if err != nil {
			return err
		}
		members[id], incarnations[id] = m, c.Incarnation
	}
	voters := func() int {
		n := 3
		for _, c := range members {
			has := 0
			for _, p := range c.Raft().Peers {
				if p.Suffrage == "voter" {
					has++
				}
			}
			n = min(n, has)
		}
		return n
	}
	for i := 0; voters() < 3; i++ {
		if i > 600 {
			return errors.New("three members never became three voters")
		}
		for id, c := range members { // its record: without it, it is given no vote
			if s, _ := c.View(); s.Members[id].Incarnation != incarnations[id] {
				_, _ = c.Propose(ctx, fsm.PutMember{Member: fsm.Member{ID: id, Incarnation: incarnations[id], EntryVersion: fsm.EntryVersion}})
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	const text = "the last that was committed"
	type beginning struct {
		id   string
		knew bool
	}
	begun := make(chan beginning, 16)
	for id, c := range members {
		go func() {
			_ = c.Lead(ctx, func(ctx context.Context, _ time.Time) {
				s, _ := c.View()
				begun <- beginning{id, slices.ContainsFunc(s.History, func(e fsm.Event) bool { return e.Text == text })}
				<-ctx.Done()
			})
		}()
	}
	first := <-begun
	if _, err := members[first.id].Propose(ctx, fsm.RaiseAlarm{Name: "test", Text: text}); err != nil {
		return err
	}
	hub.Isolate(first.id)
	next := <-begun
	hub.Heal()
	if next.id == first.id || !next.knew {
		return fmt.Errorf("after %s it is %s that leads; when its work began it knew what was committed: %v", first.id, next.id, next.knew)
	}
	return nil
}

// witness is a manager without a node on ports of its own, in this process, and a raft member that looks at its group
// and proposes what a test wants: a member of an older or a broken program.
type witness struct {
	t      *testing.T
	config *config.Config
	stop   func()
	probe  *cluster.Cluster
}

// probing is the incarnation of the probe, whose record it proposes itself: without it, it does not vote.
var probing = strings.Repeat("0123", 8)

func newWitness(t *testing.T) *witness {
	t.Helper()
	c := config.Default()
	c.Sandbox = true
	c.Manager.ID, c.Manager.Home, c.Manager.Witness = "w1", t.TempDir(), true
	for _, address := range []*string{&c.Manager.API, &c.Manager.Raft, &c.Manager.Gossip} {
		l, err := net.Listen("tcp", "127.0.0.1:0") // a port that is free now
		if err != nil {
			t.Fatal(err)
		}
		*address = l.Addr().String()
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	c.Cluster.Name, c.Cluster.Producers = "t", []string{"bp"}
	if err := manager.PermitFounding(c.Manager.Home); err != nil {
		t.Fatal(err)
	}
	w := &witness{t: t, config: c}
	w.start()
	t.Cleanup(func() { w.stop() })
	var err error
	w.probe, err = cluster.Open(t.Context(), cluster.Config{
		ID: "probe", Name: "t", Incarnation: probing, Dir: t.TempDir(), RaftBind: "127.0.0.1:0", GossipBind: "127.0.0.1:0", Join: []string{c.Manager.Gossip},
		OnFatal: func(err error) { t.Errorf("the probe: %v", err) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := w.probe.Close(ctx); err != nil {
			t.Errorf("the probe's end: %v", err)
		}
	})
	w.await("the manager in the state that the probe has applied", func() error {
		if s, _ := w.probe.View(); s.Members["w1"].Incarnation == "" || s.Cluster.Name == "" {
			return fmt.Errorf("%d members, cluster %q", len(s.Members), s.Cluster.Name)
		}
		return nil
	})
	if err := w.propose(fsm.PutMember{Member: fsm.Member{ID: "probe", Incarnation: probing, EntryVersion: fsm.EntryVersion}}); err != nil {
		t.Fatal(err)
	}
	return w
}

// start runs the manager until stop is called.
func (w *witness) start() {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- manager.Run(ctx, ctx, w.config, manager.Options{Ready: func(manager.Live) { close(ready) }})
	}()
	select {
	case <-ready:
	case err := <-ended:
		cancel()
		w.t.Fatal(err)
	}
	stopped := false
	w.stop = func() {
		cancel()
		if !stopped {
			stopped = true
			// How it ends in a group that has lost its quorum is not what is tried here.
			w.t.Logf("the manager ended: %v", <-ended)
		}
	}
}

// await polls until f gives no error.
func (w *witness) await(what string, f func() error) {
	w.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("%s: not within 20 s: %v", what, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// propose proposes by the probe, once more where nobody leads yet.
func (w *witness) propose(c fsm.Command) error {
	ctx, cancel := context.WithTimeout(w.t.Context(), 10*time.Second)
	defer cancel()
	_, err := w.probe.Propose(ctx, c)
	return err
}

// TestEveryStartIsAnIncarnation starts a manager twice on one home: what the first one was granted must not be the
// second one's, whose gate does not know what was signed [S2].
func TestEveryStartIsAnIncarnation(t *testing.T) {
	w := newWitness(t)
	s, _ := w.probe.View()
	before := s.Members["w1"].Incarnation
	w.stop()
	w.start()
	w.await("another incarnation", func() error {
		s, _ := w.probe.View()
		if now := s.Members["w1"].Incarnation; now == before || len(now) != 32 {
			return fmt.Errorf("it is %q, as before", now)
		}
		return nil
	})
}

// TestTheLeaderBoundsTheReach proposes, as a member with a wrong clock would, leases that lie and reach far ahead: a whole
// manager that leads cuts them to MaxLease from its own now [L6].
func TestTheLeaderBoundsTheReach(t *testing.T) {
	w := newWitness(t)
	w.await("the manager to lead", func() error {
		if id, _ := w.probe.Leader(); id != "w1" {
			return fmt.Errorf("%q leads", id)
		}
		return nil
	})
	first := chain.SlotAt(time.Now().UnixMilli()) + 100
	if err := w.propose(fsm.Grant{Epoch: 1, Holder: "probe", Incarnation: probing, First: first, Last: first + fsm.MaxLease - 1}); err != nil {
		t.Fatal(err)
	}
	if s, _ := w.probe.View(); s.Lease.Last != first {
		t.Errorf("a grant far ahead reaches from %d to %d, must be cut to one slot", s.Lease.First, s.Lease.Last)
	}
	err := w.propose(fsm.Extend{Epoch: 1, Incarnation: probing, Last: first + fsm.MaxLease})
	if s, _ := w.probe.View(); !errors.Is(err, fsm.ErrRange) || s.Lease.Last > first {
		t.Errorf("an extension far ahead: %v, the range reaches to %d", err, s.Lease.Last)
	}
}

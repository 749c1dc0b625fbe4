package cluster_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"roundtable/cluster"
	"roundtable/cluster/clustertest"
	"roundtable/cluster/health"
	"roundtable/fsm"
)

// seeds is how many runs each scenario has here; package test has more.
const seeds = uint64(6)

// world is three members in virtual time. Its methods return errors: inside a bubble nothing may end the goroutine.
type world struct {
	hub     *clustertest.Hub
	rand    *rand.Rand
	members map[string]*cluster.Cluster
	configs map[string]cluster.Config
	ids     []string
	prepare func(*cluster.Config) // may change a configuration; nil: none
	stall   func()                // what prepare left to be called
}

func makeWorld(seed uint64) *world {
	return &world{hub: clustertest.New(seed, time.Millisecond), rand: rand.New(rand.NewPCG(seed, 2)), members: map[string]*cluster.Cluster{}, configs: map[string]cluster.Config{}}
}

// grow opens n members and waits until all of them vote.
func (w *world) grow(n int) error {
	for i := range n {
		id := fmt.Sprintf("m%d", i+1)
		cfg := w.hub.Config(id)
		cfg.Found = i == 0
		if i > 0 {
			cfg.Join = []string{w.hub.GossipAddr(w.ids[w.rand.IntN(i)])}
		}
		if w.prepare != nil {
			w.prepare(&cfg)
		}
		w.ids = append(w.ids, id)
		w.configs[id] = cfg
		if err := w.open(id); err != nil {
			return err
		}
	}
	return w.until("voters", func() bool {
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
			if id, _ := c.Leader(); voters != n || id == "" {
				return false
			}
		}
		return true
	})
}

// recorded reports whether a member has its record, and proposes it otherwise, as its manager does at each start: without it,
// it does not vote.
func (w *world) recorded(id string) bool {
	own := w.configs[id].Incarnation
	if s, _ := w.members[id].View(); s.Members[id].Incarnation == own {
		return true
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_, err := w.members[id].Propose(ctx, fsm.PutMember{Member: fsm.Member{ID: id, Incarnation: own, Raft: w.hub.RaftAddr(id), EntryVersion: fsm.EntryVersion}})
	return err == nil
}

func (w *world) open(id string) error {
	cfg := w.configs[id]
	if os.Getenv("CLUSTER_LOG") != "" {
		cfg.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("me", id)
	}
	c, err := cluster.Open(context.Background(), cfg)
	if err == nil {
		w.members[id] = c
	}
	return err
}

func (w *world) crash(id string) error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	err := w.members[id].Close(ctx)
	delete(w.members, id)
	return err
}

func (w *world) close() error {
	var first error
	for id, c := range w.members {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		if err := c.Close(ctx); err != nil && first == nil {
			first = fmt.Errorf("%s: %w", id, err)
		}
		cancel()
	}
	time.Sleep(time.Minute) // goroutines that still sleep when a bubble ends are a panic
	return first
}

func (w *world) until(what string, ok func() bool) error {
	for range 3000 {
		if ok() {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("never within a virtual minute: %s", what)
}

func (w *world) leader() string {
	for id, c := range w.members {
		if c.IsLeader() {
			return id
		}
	}
	return ""
}

// other is a member that is none of those named.
func (w *world) other(not ...string) string {
next:
	for _, id := range w.ids {
		for _, n := range not {
			if id == n {
				continue next
			}
		}
		return id
	}
	return ""
}

func (w *world) propose(id, text string, opts ...cluster.Option) error {
	return propose(w.members[id], text, opts...)
}

func propose(c *cluster.Cluster, text string, opts ...cluster.Option) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	index, err := c.Propose(ctx, fsm.RaiseAlarm{Name: "test", Text: text}, opts...)
	if err != nil {
		return fmt.Errorf("propose %q: %w", text, err)
	}
	if s, _ := c.View(); s.Index < index {
		return fmt.Errorf("applied %d, not %d", s.Index, index)
	}
	return nil
}

func (w *world) equal() error {
	return w.until("byte-equal states", func() bool {
		var first []byte
		for _, c := range w.members {
			s, _ := c.View()
			b, err := s.Marshal()
			if err != nil || first != nil && !bytes.Equal(first, b) {
				return false
			}
			first = b
		}
		return true
	})
}

func (w *world) count(text string) int {
	n := 0
	for _, c := range w.members {
		s, _ := c.View()
		for _, e := range s.History {
			if e.Text == text {
				n++
			}
		}
		return n
	}
	return 0
}

// virtual runs a scenario in a bubble and fails outside of it.
func virtual(t *testing.T, seed uint64, scenario func(w *world) error) {
	t.Helper()
	virtualOf(t, seed, func(*world) {}, scenario)
}

func virtualOf(t *testing.T, seed uint64, prepare func(w *world), scenario func(w *world) error) {
	t.Helper()
	var verdict error
	synctest.Test(t, func(*testing.T) {
		w := makeWorld(seed)
		prepare(w)
		err := w.grow(3)
		if err == nil {
			err = scenario(w)
		}
		if cerr := w.close(); err == nil {
			err = cerr
		}
		verdict = err
	})
	if verdict != nil {
		t.Fatalf("seed %d: %v", seed, verdict)
	}
}

func TestVirtualPartitions(t *testing.T) {
	for seed := range seeds {
		virtual(t, seed, func(w *world) error {
			if err := w.propose("m1", "first"); err != nil {
				return err
			}
			for _, oneWay := range []string{"out", "in", "both"} {
				lost := w.leader()
				switch oneWay {
				case "both":
					w.hub.Isolate(lost)
				case "out":
					w.hub.Cut(lost, w.other(lost))
					w.hub.Cut(lost, w.other(lost, w.other(lost)))
				case "in":
					w.hub.Cut(w.other(lost), lost)
					w.hub.Cut(w.other(lost, w.other(lost)), lost)
				}
				asked := w.other(lost)
				if err := w.propose(asked, "cut "+oneWay, cluster.WithKey(fmt.Sprintf("key %s", oneWay))); err != nil {
					return fmt.Errorf("leader %s cut off %s: %w", lost, oneWay, err)
				}
				time.Sleep(time.Duration(w.rand.IntN(20_000)) * time.Millisecond)
				w.hub.Heal()
				start := time.Now()
				if err := w.equal(); err != nil {
					return err
				}
				if d := time.Since(start); d > 5*time.Second {
					return fmt.Errorf("%s caught up %v after the heal", lost, d)
				}
				if err := w.propose(lost, "healed "+oneWay); err != nil {
					return err
				}
				if n := w.count("cut " + oneWay); n != 1 {
					return fmt.Errorf("a keyed proposal took effect %d times", n)
				}
			}
			return w.equal()
		})
	}
}

func TestVirtualCrashes(t *testing.T) {
	for seed := range seeds {
		virtual(t, seed, func(w *world) error {
			for i := range 3 {
				lost := w.leader()
				asked := w.members[w.other(lost)]
				answer := make(chan error, 1)
				go func() {
					answer <- propose(asked, fmt.Sprintf("during crash %d", i), cluster.WithKey(fmt.Sprintf("key %d", i)))
				}()
				time.Sleep(time.Duration(w.rand.IntN(4000)) * time.Microsecond)
				if err := w.crash(lost); err != nil {
					return err
				}
				if err := <-answer; err != nil {
					return err
				}
				time.Sleep(time.Duration(w.rand.IntN(40_000)) * time.Millisecond)
				if err := w.open(lost); err != nil {
					return err
				}
				start := time.Now()
				if err := w.propose(lost, "back"); err != nil {
					return err
				}
				if d := time.Since(start); d > 3*time.Second {
					return fmt.Errorf("%s needed %v to be back", lost, d)
				}
				if n := w.count(fmt.Sprintf("during crash %d", i)); n != 1 {
					return fmt.Errorf("a keyed proposal took effect %d times", n)
				}
			}
			return w.equal()
		})
	}
}

func TestVirtualLead(t *testing.T) {
	virtual(t, 1, func(w *world) error {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		type event struct {
			id    string
			begin bool
		}
		events := make(chan event, 100)
		ended := make(chan error, 3)
		for id, c := range w.members {
			go func() {
				ended <- c.Lead(ctx, func(ctx context.Context, since time.Time) {
					events <- event{id, true}
					<-ctx.Done()
					events <- event{id, false}
				})
			}()
		}
		if e := <-events; !e.begin || e.id != w.leader() {
			return fmt.Errorf("first leadership: %+v, the leader is %s", e, w.leader())
		}
		to := w.other(w.leader())
		if err := w.members[w.other(to, w.leader())].TransferLeadership(ctx, to); err != nil {
			return err
		}
		seen := map[bool]string{}
		for range 2 {
			e := <-events
			seen[e.begin] = e.id
		}
		if seen[true] != to || seen[false] == to {
			return fmt.Errorf("leadership moved %q to %q, asked for %s", seen[false], seen[true], to)
		}
		cancel()
		for range 3 {
			if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
				return err
			}
		}
		return nil
	})
}

func TestVirtualReports(t *testing.T) {
	virtual(t, 1, func(w *world) error {
		w.hub.SetLatency(20 * time.Millisecond)
		publish := func(d time.Duration) {
			for range int(d / (500 * time.Millisecond)) {
				for id, c := range w.members {
					c.Publish(health.Report{Node: "running of " + id})
				}
				time.Sleep(500 * time.Millisecond)
			}
		}
		publish(10 * time.Second)
		for _, c := range w.members {
			for id, p := range c.Peers() {
				if !p.Alive || p.Report.Node != "running of "+id || p.Report.Member != id {
					return fmt.Errorf("peer %s: %+v", id, p)
				}
				if off := p.Offset(); off < -30*time.Millisecond || off > 30*time.Millisecond {
					return fmt.Errorf("offset of %s is %v, rtt %v", id, off, p.RTT)
				}
			}
		}
		lost := w.other(w.leader())
		w.hub.Isolate(lost)
		publish(4 * time.Second)
		watcher := w.members[w.other(lost)]
		if watcher.Peers()[lost].Alive || !watcher.Peers()[w.leader()].Alive {
			return fmt.Errorf("after a cut: %+v", watcher.Peers())
		}
		w.hub.Heal()
		if err := w.until("alive again", func() bool { publish(500 * time.Millisecond); return watcher.Peers()[lost].Alive }); err != nil {
			return err
		}
		return nil
	})
}

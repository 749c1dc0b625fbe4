package sim_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"roundtable/chain"
	"roundtable/cluster"
	"roundtable/cluster/clustertest"
	"roundtable/cluster/control"
	"roundtable/fsm"
)

const producer = "bp"

// member is one machine: manager, gate and node.
type member struct {
	id          string
	config      cluster.Config // with its stores, which outlive the manager
	clock       machineClock
	disk        disk
	thawed      time.Time // when its stall ended; under world.mu
	frozen      *freezer  // its manager's
	icy         bool      // frozen now
	incarnation string    // of its manager
	node        *node
	gate        *gate
	home        *homeDisk
	homeNow     *home            // of this life
	cluster     *cluster.Cluster // nil while down
	process     *process
	manager     *control.Manager
	end         context.CancelFunc
	done        chan struct{}
	exited      atomic.Bool // it ended itself: its disk does not answer, or its clock jumped
}

// up reports whether its manager runs.
func (m *member) up() bool { return m.cluster != nil && !m.icy && !m.exited.Load() }

// world is three members on one network in virtual time. Its methods return errors: in a bubble nothing may end the
// goroutine.
type world struct {
	rand    *rand.Rand
	sched   schedule
	hub     *clustertest.Hub
	peers   *peers
	members []*member
	history *history
	log     log
	level   slog.Level
	nodes   context.Context // the production loops
	endAll  context.CancelFunc
	wg      sync.WaitGroup

	mu      sync.Mutex
	cuts    map[[2]string]int // how many troubles cut a way
	p2pCuts map[[2]string]int // the same, for the nodes alone
	slow    map[[2]string]clustertest.Path
	fatal   error

	active []trouble
	store  *store    // the repository that all members have; nil: none has any
	hold   moment    // of an operation, at which a process is kept
	gone   chan life // members that ended themselves and are to be started again
	events []event
}

// log keeps what the members logged, for a seed that fails.
type log struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func makeWorld(s schedule) *world {
	w := &world{
		rand: rand.New(rand.NewPCG(s.Seed, 11)), sched: s, hub: clustertest.New(s.Seed, time.Duration(s.Wire)), history: newHistory(),
		cuts: map[[2]string]int{}, p2pCuts: map[[2]string]int{}, slow: map[[2]string]clustertest.Path{},
		gone: make(chan life, 16),
	}
	w.peers = &peers{delay: w.p2pDelay, cut: w.isCut, ledger: map[chain.Slot][]string{}}
	w.nodes, w.endAll = context.WithCancel(context.Background())
	time.Sleep(time.Hour + time.Duration(s.Phase)) // away from slot 0, anywhere in a window
	genesis := &block{Block: chain.Block{Slot: chain.SlotAt(time.Now().UnixMilli()), Num: 1, ID: strings.Repeat("0", 64)}}
	for i := range 3 {
		m := &member{id: fmt.Sprintf("m%d", i+1)}
		m.config = w.hub.Config(m.id)
		m.config.Found = i == 0
		if i > 0 {
			m.config.Join = []string{w.hub.GossipAddr("m1")}
		}
		m.clock = machineClocks[i]
		if err := m.clock.set(time.Duration(s.Skew[i])); err != nil {
			w.fail(err)
		}
		m.node = newNode(m.id, w.peers, m.clock.Now, genesis)
		m.home = newHomeDisk()
		w.members = append(w.members, m)
	}
	for _, m := range w.members {
		w.wg.Go(func() { m.node.run(w.nodes) })
	}
	return w
}

func (w *world) note(format string, args ...any) {
	fmt.Fprintf(&w.log, "%s === "+format+"\n", append([]any{time.Now().Format("15:04:05.000")}, args...)...)
}

// read reads the lease now and then, as a client of this member would.
func (w *world) read(ctx context.Context, id string, c *cluster.Cluster, frozen *freezer) {
	if w.history.off {
		return
	}
	for ctx.Err() == nil {
		pause(ctx, 1900*time.Millisecond)
		frozen.wait()
		try, cancel := context.WithTimeout(ctx, time.Second)
		w.history.reads(try, id, c)
		cancel()
	}
}

// close ends everything.
func (w *world) close() error {
	var errs error
	for _, m := range w.members {
		m.disk.thaw()
		m.frozen.thaw()
		w.hub.Thaw(m.id)
	}
	for _, m := range w.members {
		if m.cluster != nil {
			m.end()
			<-m.done
		}
	}
	for _, m := range w.members {
		if m.cluster != nil {
			errs = errors.Join(errs, w.kill(m))
		}
	}
	w.endAll()
	w.wg.Wait()
	time.Sleep(2 * time.Minute) // goroutines that still sleep when a bubble ends are a panic
	return errs
}

func (w *world) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fatal == nil {
		w.fatal = err
	}
}

func (w *world) isCut(from, to string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	way := [2]string{from, to}
	return w.cuts[way] > 0 || w.p2pCuts[way] > 0
}

func (w *world) p2pDelay(from, to string) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	d := time.Duration(w.sched.P2P)
	if p, ok := w.slow[[2]string{from, to}]; ok {
		d += p.Latency
	}
	return d
}

// cut stops raft, gossip and p2p from one member to another, one way; heal ends one such trouble.
func (w *world) cut(from, to *member) {
	w.mu.Lock()
	w.cuts[[2]string{from.id, to.id}]++
	w.mu.Unlock()
	w.hub.Cut(from.id, to.id)
}

func (w *world) heal(from, to *member) {
	w.mu.Lock()
	way := [2]string{from.id, to.id}
	w.cuts[way]--
	healed := w.cuts[way] == 0
	w.mu.Unlock()
	if healed {
		w.hub.Mend(from.id, to.id)
		w.peers.meet()
	}
}

// others are the members that are not m.
func (w *world) others(m *member) []*member {
	return slices.DeleteFunc(slices.Clone(w.members), func(o *member) bool { return o == m })
}

// named is a member by its id; nil for none.
func (w *world) named(id string) *member {
	for _, m := range w.members {
		if m.id == id {
			return m
		}
	}
	return nil
}

// who resolves a step's word for a member; nil for none.
func (w *world) who(word string) *member {
	holder, leader := w.holder(), w.leader()
	if holder == nil {
		holder = w.members[0]
	}
	rest := w.others(holder)
	if leader == rest[1] { // the standby that leads comes first
		rest[0], rest[1] = rest[1], rest[0]
	}
	switch word {
	case "holder":
		return holder
	case "leader":
		return leader
	case "standby":
		return rest[0]
	case "other":
		return rest[1]
	}
	return w.named(word)
}

// holder is the holder as the member that lags least has it; nil for none.
func (w *world) holder() *member {
	s := w.newest()
	if s == nil || !s.Lease.Open() {
		return nil
	}
	return w.named(s.Lease.Holder)
}

func (w *world) newest() *fsm.State {
	var newest *fsm.State
	for _, m := range w.members {
		if !m.up() {
			continue
		}
		if s, _ := m.cluster.View(); newest == nil || s.Index > newest.Index {
			newest = s
		}
	}
	return newest
}

// leader is the leader as a majority knows it; nil for none.
func (w *world) leader() *member {
	votes := map[string]int{}
	for _, m := range w.members {
		if !m.up() {
			continue
		}
		if id, _ := m.cluster.Leader(); id != "" {
			if votes[id]++; votes[id] > 1 {
				return w.named(id)
			}
		}
	}
	return nil
}

package sim_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"roundtable/cluster"
	"roundtable/cluster/control"
	"roundtable/fsm"
)

// life is one life of a member's processes: the manager's, and its node's with it (PR_SET_PDEATHSIG).
type life struct {
	of *member
	*process
}

// start starts a member's manager and node.
func (w *world) start(m *member) error {
	logger := slog.New(slog.NewTextHandler(&w.log, &slog.HandlerOptions{Level: w.level})).With("me", m.id)
	c := m.config
	m.incarnation = fmt.Sprintf("%016x%016x", w.rand.Uint64(), w.rand.Uint64())
	m.frozen, m.icy = &freezer{}, false
	m.exited.Store(false)
	m.process = &process{disk: &m.disk, frozen: m.frozen, dead: make(chan struct{})}
	c.Stores, c.Canary = m.process.on(c.Stores), m.process.canary
	c.Incarnation = m.incarnation
	c.Now, c.Log = m.clock.Now, logger
	m.gate = newGate(m.id, m.frozen, m.clock.Shift, w.history, w.sched.Bug)
	g, now := m.gate, life{m, m.process}
	c.OnFatal = func(err error) { w.exits(now, g, err) }
	conf := control.Config{
		Record: fsm.Member{ID: m.id, Incarnation: c.Incarnation, Raft: c.RaftBind, API: "http://" + m.id, P2P: m.id + ":9876", EntryVersion: fsm.EntryVersion, Fence: "gate", Started: m.clock.Now().UnixMilli()},
		Node:   m.node, Gate: m.gate, Now: m.clock.Now, Log: logger, Jumped: func() bool { return g.checkClocks() != 0 },
	}
	m.homeNow = newHome(m)
	conf.Home = m.homeNow
	if w.store != nil {
		conf.Vault = newVault(w.store, m.homeNow, m.frozen)
	}
	conf.Hold = func(step string) bool { return w.hold.holds(m.id, step) }
	if m == w.members[0] {
		conf.First = fsm.Cluster{Name: "sim", Producers: []string{producer}, Slots: fsm.DefaultSlots}
	}
	m.manager = control.NewManager(conf)
	frozen, admit := m.frozen, m.manager.Admit
	c.Admit = func(before fsm.Command) (fsm.Command, error) {
		frozen.wait()
		after, err := admit(before)
		if err == nil {
			w.history.admits(before, after)
		}
		return after, err
	}
	m.homeNow.boot()
	var err error
	if m.cluster, err = cluster.Open(context.Background(), c); err != nil {
		return err
	}
	m.manager.SetCluster(group{m.cluster, m.id, m.frozen, w.history})
	m.config.Join = nil // from its second start on it knows the others, as from the file that it would have in a folder
	for _, o := range w.others(m) {
		m.config.Join = append(m.config.Join, o.config.GossipBind)
	}
	ctx, cancel := context.WithCancel(context.Background())
	m.end, m.done = cancel, make(chan struct{})
	manager, raft, done, id := m.manager, m.cluster, m.done, m.id
	go func() {
		defer close(done)
		var wg sync.WaitGroup
		wg.Go(func() { _ = raft.Lead(ctx, manager.Lead) })
		wg.Go(func() { manager.Run(ctx) })
		wg.Go(func() { w.read(ctx, id, raft, frozen) })
		wg.Go(func() { watchClock(ctx, frozen, g, c.OnFatal) })
		wg.Wait()
	}()
	return nil
}

// exits is a manager's word that it must end, and its node with it: for a stalled disk it may, and for a clock that jumped.
func (w *world) exits(l life, g *gate, err error) {
	m := l.of
	select {
	case <-l.dead:
		return
	default:
	}
	w.mu.Lock()
	lately := time.Since(m.thawed) < 5*time.Second // it was frozen itself when its disk's stall ended
	w.mu.Unlock()
	stalled := errors.Is(err, cluster.ErrStalled) && (m.disk.frozen() != nil || lately)
	if !errors.Is(err, errClockJump) && !stalled {
		w.fail(fmt.Errorf("%s: fatal: %w", m.id, err))
		return
	}
	w.note("%s ends: %v", m.id, err)
	m.exited.Store(true)
	g.die()
	m.node.die()
	w.hub.Unplug(m.id)
	if errors.Is(err, errClockJump) || m.disk.frozen() == nil { // who ends for the disk would do so again: its trouble's end brings it back
		w.gone <- l
	}
}

// reviveTime is how long the service manager of a machine waits before it starts again what ended itself.
const reviveTime = 500 * time.Millisecond

// revive starts a member again, unless something else did, or will.
func (w *world) revive(l life) error {
	m := l.of
	if m.process != l.process || m.cluster == nil || m.disk.frozen() != nil {
		return nil
	}
	if err := w.kill(m); err != nil {
		return err
	}
	return w.start(m)
}

// kill ends a member's processes as SIGKILL does.
func (w *world) kill(m *member) error {
	m.gate.die()
	m.node.die()
	w.hub.Unplug(m.id)
	close(m.process.dead)
	m.frozen.thaw()
	w.hub.Thaw(m.id)
	m.end()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	err := m.cluster.Close(ctx)
	<-m.done
	m.cluster, m.icy = nil, false
	w.hub.Plug(m.id)
	return err
}

// stop ends a member's processes as SIGTERM does.
func (w *world) stop(m *member) error {
	if m.exited.Load() {
		return w.kill(m) // only what it left is to be cleared away
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err := m.manager.StepAside(ctx)
	m.end()
	<-m.done
	err = errors.Join(err, m.cluster.Close(ctx))
	m.gate.die()
	m.node.die()
	m.cluster = nil
	return err
}

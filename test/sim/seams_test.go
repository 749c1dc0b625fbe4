package sim_test

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"roundtable/cluster"
	"roundtable/cluster/control"
	"roundtable/cluster/health"
	"roundtable/fsm"
)

// freezer stops a manager as SIGSTOP does, as near as one process can: each goroutine stops at its next touch with what is
// outside of it (network, disk, state, signing requests). What a goroutine does without any of these goes on, which for
// raft is to note that time passed: with prevote that has no effect before the thaw.
type freezer struct {
	mu sync.Mutex
	ch chan struct{} // nil: it runs
}

func (f *freezer) freeze() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ch == nil {
		f.ch = make(chan struct{})
	}
}

func (f *freezer) thaw() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ch != nil {
		close(f.ch)
		f.ch = nil
	}
}

// frozen is closed at the thaw; nil: it runs.
func (f *freezer) frozen() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ch
}

func (f *freezer) wait() {
	for ch := f.frozen(); ch != nil; ch = f.frozen() {
		<-ch
	}
}

// waitFor waits no longer than d, and tells whether it runs.
func (f *freezer) waitFor(ctx context.Context, d time.Duration) bool {
	ch := f.frozen()
	if ch == nil {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return false
	case <-ch:
		return true
	}
}

// group is the raft group as the controllers of one process see it: it stops with a frozen process, and its proposals
// about the lease are written down.
type group struct {
	*cluster.Cluster
	id      string
	frozen  *freezer
	history *history
}

var _ control.Cluster = group{}

// Propose passes the idempotency key on.
func (g group) Propose(ctx context.Context, c fsm.Command, key string) (uint64, error) {
	g.frozen.wait()
	done := g.history.proposes(g.id, c)
	var index uint64
	var err error
	if key == "" {
		index, err = g.Cluster.Propose(ctx, c)
	} else {
		index, err = g.Cluster.Propose(ctx, c, cluster.WithKey(key))
	}
	done(err)
	g.frozen.wait()
	return index, err
}

// View implements control.Cluster.
func (g group) View() (*fsm.State, <-chan struct{}) { g.frozen.wait(); return g.Cluster.View() }

// Barrier implements control.Cluster.
func (g group) Barrier(ctx context.Context) error { g.frozen.wait(); return g.Cluster.Barrier(ctx) }

// Peers implements control.Cluster.
func (g group) Peers() map[string]health.Peer { g.frozen.wait(); return g.Cluster.Peers() }

// Publish implements control.Cluster.
func (g group) Publish(r health.Report) { g.frozen.wait(); g.Cluster.Publish(r) }

// Leader implements control.Cluster.
func (g group) Leader() (id, addr string) { g.frozen.wait(); return g.Cluster.Leader() }

// TransferLeadership implements control.Cluster.
func (g group) TransferLeadership(ctx context.Context, to string) error {
	g.frozen.wait()
	return g.Cluster.TransferLeadership(ctx, to)
}

// disk is a member's disk, which may stall: what is written then waits.
type disk struct{ freezer }

// process is one life of a manager on a disk: its writes wait while the disk stalls or the process is frozen, and no
// longer than until it is dead, when what it had under way comes to its end before the next life begins.
type process struct {
	disk   *disk
	frozen *freezer
	dead   chan struct{}
}

func (p *process) write() {
	p.frozen.wait()
	for ch := p.disk.frozen(); ch != nil; ch = p.disk.frozen() {
		select {
		case <-ch:
		case <-p.dead:
			return
		}
	}
	p.frozen.wait()
}

func (p *process) canary() error { p.write(); return nil }

// on lays the process' writes over a member's stores.
func (p *process) on(s cluster.Stores) cluster.Stores {
	s.Log, s.Stable = slowLog{s.Log, p}, slowStable{s.Stable, p}
	return s
}

type slowLog struct {
	raft.LogStore
	*process
}

// StoreLog implements raft.LogStore.
func (s slowLog) StoreLog(l *raft.Log) error { s.write(); return s.LogStore.StoreLog(l) }

// StoreLogs implements raft.LogStore.
func (s slowLog) StoreLogs(l []*raft.Log) error { s.write(); return s.LogStore.StoreLogs(l) }

// DeleteRange implements raft.LogStore.
func (s slowLog) DeleteRange(first, last uint64) error {
	s.write()
	return s.LogStore.DeleteRange(first, last)
}

type slowStable struct {
	raft.StableStore
	*process
}

// Set implements raft.StableStore.
func (s slowStable) Set(key, val []byte) error { s.write(); return s.StableStore.Set(key, val) }

// SetUint64 implements raft.StableStore.
func (s slowStable) SetUint64(key []byte, val uint64) error {
	s.write()
	return s.StableStore.SetUint64(key, val)
}

package cluster

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"roundtable/fsm"
)

// view is one published state and the channel that its successor closes.
type view struct {
	state   *fsm.State
	changed chan struct{}
}

// machine is raft's FSM: it applies entries to the immutable state and publishes each one. Apply, Snapshot and Restore
// come from raft's one FSM goroutine; the view may be read from anywhere.
type machine struct {
	view   atomic.Pointer[view]
	broken atomic.Bool // an entry could not be decoded: nothing may be applied after it
	fatal  func(error)

	threshold uint64        // entries between snapshots
	since     uint64        // entries applied since the last one was wanted; Apply's
	wanted    chan struct{} // capacity 1: a snapshot is wanted
}

// applied is what Apply hands back to the leader's future.
type applied struct {
	fsm.Result
	term uint64
}

var errBroken = errors.New("cluster: an earlier entry could not be decoded, nothing is applied any more")

func newMachine(threshold uint64, fatal func(error)) *machine {
	m := &machine{fatal: fatal, threshold: threshold, wanted: make(chan struct{}, 1)}
	m.view.Store(&view{fsm.New(), make(chan struct{})})
	return m
}

func (m *machine) publish(s *fsm.State) {
	old := m.view.Swap(&view{s, make(chan struct{})})
	close(old.changed)
}

// Apply implements raft.FSM.
func (m *machine) Apply(l *raft.Log) any {
	if m.broken.Load() {
		return applied{fsm.Result{Index: l.Index, Err: errBroken}, l.Term}
	}
	e, err := fsm.Decode(l.Data)
	if err != nil {
		// Skipping it would make the members diverge: stop here, and have the process exit.
		m.broken.Store(true)
		m.fatal(fmt.Errorf("entry %d: %w", l.Index, err))
		return applied{fsm.Result{Index: l.Index, Err: errBroken}, l.Term}
	}
	e.Index = l.Index
	next, result := m.view.Load().state.Apply(e)
	m.publish(next)
	if m.since++; m.since >= m.threshold {
		m.since = 0
		poke(m.wanted)
	}
	return applied{result, l.Term}
}

// Snapshot implements raft.FSM: a pointer is all it takes.
func (m *machine) Snapshot() (raft.FSMSnapshot, error) {
	if m.broken.Load() {
		return nil, errBroken // raft's index is beyond the state
	}
	return stateSnapshot{m.view.Load().state}, nil
}

// Restore implements raft.FSM.
func (m *machine) Restore(r io.ReadCloser) error {
	b, err := io.ReadAll(r)
	if err = errors.Join(err, r.Close()); err != nil {
		return err
	}
	s, err := fsm.Unmarshal(b)
	if err != nil {
		return err
	}
	m.publish(s)
	return nil
}

type stateSnapshot struct{ state *fsm.State }

// Persist implements raft.FSMSnapshot.
func (s stateSnapshot) Persist(sink raft.SnapshotSink) error {
	b, err := s.state.Marshal()
	if err == nil {
		_, err = sink.Write(b)
	}
	if err != nil {
		return errors.Join(err, sink.Cancel())
	}
	return sink.Close()
}

// Release implements raft.FSMSnapshot.
func (stateSnapshot) Release() {}

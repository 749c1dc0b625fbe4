package sim_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"roundtable/cluster/control"
	"roundtable/fsm"
)

// moment keeps the first process that comes to a named moment of an operation (control.Config.Hold) there.
type moment struct {
	mu   sync.Mutex
	name string
	by   string // who is kept
}

// at asks for a moment.
func (h *moment) at(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.name, h.by = name, ""
}

// let lets everybody go on.
func (h *moment) let() { h.at("") }

func (h *moment) holds(id, step string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.name == "" || step != h.name || h.by != "" && h.by != id {
		return false
	}
	h.by = id
	return true
}

func (h *moment) who() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.by
}

// reached waits until a process is kept.
func (w *world) reached(d time.Duration) (*member, error) {
	for until := time.Now().Add(d); time.Now().Before(until); {
		if id := w.hold.who(); id != "" {
			return w.named(id), nil
		}
		if err := w.pass(10 * time.Millisecond); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("nobody came to %q within %s", w.hold.name, d)
}

// The moments of the operations' steps, of the leader ("plan ..."), of the members and of the handoff that belongs to them.
var (
	ofHandoff  = []string{"validate", "await window", "stop", "transfer", "start", "verify"}
	ofRestart  = []string{"plan validate", "plan restart", "plan hand over", "restart", "stop restart", "prove restart", "after restart"}
	ofUpgrade  = []string{"plan validate", "plan stage", "plan chain snapshot", "plan switch", "plan hand over", "stage", "after stage", "chain snapshot", "after chain snapshot", "switch", "stop switch", "prove switch", "after switch"}
	ofRollback = []string{"plan roll back", "roll back", "stop roll back", "prove roll back", "after roll back"}
)

// victims are who is killed at a moment.
var victims = []string{"leader", "worker", "target", "holder"}

// victim names the member, nil where there is none at this moment.
func (w *world) victim(who string, id uint64, kept *member) *member {
	s, _ := w.someone().cluster.View()
	o, _ := s.Operation(id)
	switch who {
	case "worker": // whose part it is, or who does the step
		for _, p := range o.Current().Parts {
			if p.Ended == 0 {
				return w.named(p.Member)
			}
		}
		return kept
	case "target": // of the handoff
		for _, c := range s.RunningOperations() {
			if c.Parent == id && c.Handoff != nil {
				return w.named(c.Handoff.To)
			}
		}
		return nil
	}
	return w.who(who)
}

// lostProducer is what it may cost to lose who produces, or is about to.
const lostProducer = 6

// fatalMoment starts an operation, kills somebody at a moment of it, brings it back after a while, or never, and asks that the
// operation ends in its time as it would have without that (who is gone for good makes it fail), that the cluster is whole, and that
// the next operation is done.
func (w *world) fatalMoment(name, who string, back bool, outcome fsm.Outcome, begin func() (uint64, error)) error {
	w.hold.at(name)
	from := uint64(w.peers.next())
	id, err := begin()
	if err != nil {
		return err
	}
	kept, err := w.reached(5 * time.Minute)
	if err != nil {
		return err
	}
	m := w.victim(who, id, kept)
	if m == nil {
		w.hold.let()
		return nil
	}
	w.note("%s: %s is killed", name, m.id)
	limit := 0
	if m == w.who("holder") || m == w.victim("target", id, kept) {
		limit = lostProducer
	}
	if err := w.kill(m); err != nil {
		return err
	}
	w.hold.let()
	if err := w.pass(2 * time.Second); err != nil {
		return err
	}
	if back {
		if err := w.start(m); err != nil {
			return err
		}
	}
	o, err := w.await(id, 3*time.Minute, over)
	if err != nil {
		return err
	}
	w.note("operation %d: %s: %s", id, o.Outcome, o.Reason)
	want := outcome
	if !back && outcome == fsm.Done {
		want = fsm.Failed
	}
	if o.Outcome != want {
		return fmt.Errorf("operation %d: %s: %s", id, o.Outcome, o.Reason)
	}
	if !back {
		if err := w.start(m); err != nil {
			return err
		}
	}
	if err := w.settle(); err != nil {
		return err
	}
	if err := w.mended(); err != nil {
		return err
	}
	if missed := w.missedSince(from); len(missed) > limit {
		return fmt.Errorf("missed %v, the most is %d", missed, limit)
	}
	next, err := w.restart(control.RestartRequest{Member: m.id})
	if err != nil {
		return fmt.Errorf("the next operation: %w", err)
	}
	return w.ends(next, fsm.Done, "")
}

// mended waits until every node runs what the state wants it to run.
func (w *world) mended() error {
	for range 3000 {
		s, _ := w.someone().cluster.View()
		why := ""
		for _, m := range w.members {
			if h, v := s.Homes[m.id], m.homeNow.View(); h.Tag != "" && h.Tag != v.Runs {
				why = fmt.Sprintf("%s runs %s, wanted is %s", m.id, v.Runs, h.Tag)
			}
		}
		if why == "" && len(s.RunningOperations()) == 0 {
			return nil
		}
		if err := w.pass(100 * time.Millisecond); err != nil {
			return err
		}
	}
	return errors.New("a node runs for five minutes what it is not to run")
}

// TestAnyProcessDiesAtAnyMoment kills, one at a time, the leader, the member at work, the target of the handoff and the holder at
// each moment of each operation, and brings it back, or not.
func TestAnyProcessDiesAtAnyMoment(t *testing.T) {
	type walk struct {
		name    string
		outcome fsm.Outcome
		moments []string
		begin   func(w *world) (uint64, error)
	}
	restart := func(w *world) (uint64, error) {
		return w.restart(control.RestartRequest{Limit: 20 * time.Second})
	}
	upgrade := func(tag string) func(w *world) (uint64, error) {
		return func(w *world) (uint64, error) { return w.upgrade(fsm.Upgrade{Tag: tag, Snapshot: true, UndoAll: true}) }
	}
	for _, c := range []walk{
		{"restart", fsm.Done, append(ofRestart, ofHandoff...), restart},
		{"upgrade", fsm.Done, append(ofUpgrade, ofHandoff...), upgrade(newVersion)},
		{"upgrade that fails", fsm.Failed, ofRollback, upgrade(brokenVersion)},
	} {
		for _, name := range thinned(c.moments) {
			for _, who := range victims {
				for _, back := range []bool{true, false} {
					if raced && (!back || who == "holder" || who == "target") {
						continue // too slow with the race detector, and nothing new to it
					}
					t.Run(fmt.Sprintf("%s/%s/%s, back %v", c.name, name, who, back), func(t *testing.T) {
						play(t, 3, func(w *world) error {
							if who != "holder" { // who is the leader, too, unless it is moved
								m2 := w.members[1]
								if err := m2.cluster.TransferLeadership(context.Background(), m2.id); err != nil {
									return err
								}
								if err := w.settle(); err != nil {
									return err
								}
							}
							return w.fatalMoment(name, who, back, c.outcome, func() (uint64, error) { return c.begin(w) })
						})
					})
				}
			}
		}
	}
}

// thinned is every second one of what is tried at each moment, where the race detector looks on: it makes everything ten times as slow, and sees the
// same code at the others. Without it all of them are tried (make sim).
func thinned[T any](list []T) []T {
	if !raced {
		return list
	}
	var some []T
	for i := 0; i < len(list); i += 2 {
		some = append(some, list[i])
	}
	return some
}

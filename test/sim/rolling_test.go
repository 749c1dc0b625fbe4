package sim_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"roundtable/cluster/control"
	"roundtable/fsm"
)

// play runs a script with a cluster of three in virtual time, and asks afterwards what must hold whatever happened. A script's
// failure is returned: in a bubble nothing may end the goroutine.
func play(t *testing.T, seed uint64, script func(w *world) error) {
	t.Helper()
	var w *world
	var err error
	bubble(t, func() {
		w = makeWorld(schedule{Seed: seed, P2P: span(5 * time.Millisecond), Wire: span(time.Millisecond)})
		w.history.off = true
		for _, m := range w.members {
			err = errors.Join(err, w.start(m))
		}
		if err == nil {
			err = w.settle()
		}
		if err == nil {
			err = script(w)
		}
		err = errors.Join(err, w.safe())
		err = errors.Join(err, w.close())
	})
	if err != nil {
		t.Errorf("%v\nlog of the members:\n%s", err, w.log.buf.String())
	}
}

// someone is a member that is up, the leader where there is one.
func (w *world) someone() *member {
	if l := w.leader(); l != nil && l.up() {
		return l
	}
	for _, m := range w.members {
		if m.up() {
			return m
		}
	}
	return nil
}

// await waits until an operation of a member's state is as asked, and returns it.
func (w *world) await(id uint64, d time.Duration, is func(fsm.Operation) bool) (fsm.Operation, error) {
	for until := time.Now().Add(d); ; {
		m := w.someone()
		s, _ := m.cluster.View()
		o, ok := s.Operation(id)
		if ok && is(o) {
			return o, nil
		}
		if time.Now().After(until) {
			return o, fmt.Errorf("operation %d after %s: %s at %q, %+v; %s", id, d, o.Outcome, o.Current().Name, o.Current(), m.manager.OperationReason(id))
		}
		if err := w.pass(20 * time.Millisecond); err != nil {
			return o, err
		}
	}
}

func over(o fsm.Operation) bool { return o.Outcome != fsm.Running }

// ends waits for an operation's end and for a whole cluster.
func (w *world) ends(id uint64, outcome fsm.Outcome, reason string) error {
	o, err := w.await(id, 10*time.Minute, over)
	switch {
	case err != nil:
		return err
	case o.Outcome != outcome || !strings.Contains(o.Reason, reason):
		return fmt.Errorf("operation %d: %s: %s, want %s: %s\n%+v", id, o.Outcome, o.Reason, outcome, reason, o)
	}
	return w.settle()
}

// missed counts the slots without a block from a slot on.
func (w *world) missedSince(slot uint64) (list []uint64) {
	w.events = []event{{at: slot}}
	w.count()
	return w.events[0].missed
}

func (w *world) restart(r control.RestartRequest) (uint64, error) {
	return w.someone().manager.Restart(context.Background(), r, "")
}

func (w *world) upgrade(u fsm.Upgrade) (uint64, error) {
	return w.someone().manager.Upgrade(context.Background(), control.UpgradeRequest{Upgrade: u}, "")
}

// runAll says whose node does not run a version.
func (w *world) runAll(tag string) error {
	for _, m := range w.members {
		if v := m.homeNow.View(); v.Runs != tag || v.Tag != tag {
			return fmt.Errorf("%s runs %s, current is %s, and not %s", m.id, v.Runs, v.Tag, tag)
		}
	}
	return nil
}

// TestRollingRestart: all nodes are restarted, the holder's last, and no slot is missed.
func TestRollingRestart(t *testing.T) {
	play(t, 1, func(w *world) error {
		before := map[string]uint64{}
		for _, m := range w.members {
			before[m.id] = m.node.View().Run
		}
		holder := w.who("holder").id
		from := uint64(w.peers.next())
		id, err := w.restart(control.RestartRequest{})
		if err == nil {
			err = w.ends(id, fsm.Done, "")
		}
		if err != nil {
			return err
		}
		for _, m := range w.members {
			if n := m.node.View().Run - before[m.id]; n != 1 {
				err = errors.Join(err, fmt.Errorf("the node of %s was started %d times", m.id, n))
			}
		}
		s, _ := w.someone().cluster.View()
		o, _ := s.Operation(id)
		if done := o.Roll.Done; len(done) != 3 || done[2] != holder {
			err = errors.Join(err, fmt.Errorf("in the order %v, the holder was %s", done, holder))
		}
		if missed := w.missedSince(from); len(missed) > 0 {
			err = errors.Join(err, fmt.Errorf("missed %v", missed))
		}
		return err
	})
}

// TestUpgradeThereAndBack: two upgrades, the second one a downgrade.
func TestUpgradeThereAndBack(t *testing.T) {
	play(t, 2, func(w *world) error {
		from := uint64(w.peers.next())
		for _, tag := range []string{newVersion, oldVersion, newVersion} {
			id, err := w.upgrade(fsm.Upgrade{Tag: tag, Snapshot: tag == oldVersion})
			if err == nil {
				err = w.ends(id, fsm.Done, "")
			}
			if err == nil {
				err = w.runAll(tag)
			}
			if err != nil {
				return err
			}
		}
		if missed := w.missedSince(from); len(missed) > 0 {
			return fmt.Errorf("missed %v", missed)
		}
		return nil
	})
}

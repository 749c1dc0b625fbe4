package sim_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"roundtable/fsm"
)

// TestHandoffWhileANodeIsAtWork: an operator moves production between the others while a node is being switched.
func TestHandoffWhileANodeIsAtWork(t *testing.T) {
	play(t, 24, func(w *world) error {
		from := uint64(w.peers.next())
		id, err := w.upgrade(fsm.Upgrade{Tag: deafVersion}) // never proved: until the limit
		if err != nil {
			return err
		}
		o, err := w.await(id, time.Minute, func(o fsm.Operation) bool { return o.Current().Name == fsm.StepSwitch })
		if err != nil {
			return err
		}
		before := w.who("holder").id
		m := w.someone().manager
		if _, err := m.Handoff(context.Background(), o.Current().Assignee, "now", ""); err == nil {
			return fmt.Errorf("production was to be handed to %s, which is at work", o.Current().Assignee)
		}
		handoff, err := m.Handoff(context.Background(), "", "now", "key")
		if err != nil {
			return err
		}
		if h, err := w.await(handoff, time.Minute, over); err != nil || h.Outcome != fsm.Done || w.who("holder").id == before {
			return fmt.Errorf("%w, %s: %s", err, h.Outcome, h.Reason)
		}
		if err := w.ends(id, fsm.Failed, "rolled back: "+o.Current().Assignee); err != nil {
			return err
		}
		return w.gapless(from)
	})
}

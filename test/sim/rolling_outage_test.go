package sim_test

import (
	"fmt"
	"testing"
	"time"

	"roundtable/fsm"
)

// TestAllNodesAreDown: the power fails everywhere, and no node starts with the configuration that it finds. When that is mended it is
// rolled out, one after another, although nobody produces and nobody could take production over.
func TestAllNodesAreDown(t *testing.T) {
	play(t, 25, func(w *world) error {
		for _, m := range w.members {
			if err := w.kill(m); err != nil {
				return err
			}
			m.home.mu.Lock()
			m.home.config, m.home.offers = badConfig, badConfig
			m.home.mu.Unlock()
		}
		for _, m := range w.members {
			if err := w.start(m); err != nil {
				return err
			}
		}
		if err := w.pass(30 * time.Second); err != nil {
			return err
		}
		for _, m := range w.members {
			if m.node.View().State == "running" {
				return fmt.Errorf("the node of %s runs", m.id)
			}
		}
		w.offerAll("c2")
		if err := w.pass(2 * time.Minute); err != nil {
			return err
		}
		list := w.rollouts()
		if len(list) != 1 || list[0].Outcome != fsm.Done || len(list[0].Roll.Done) != len(w.members) {
			return fmt.Errorf("%+v; %s", list, w.someone().manager.LeaseReason())
		}
		return w.settle()
	})
}

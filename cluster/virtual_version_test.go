package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"roundtable/cluster"
	"roundtable/fsm"
)

// TestVirtualNothingNewIsProposed: while one member knows no entries of version 4, nobody proposes any, whatever it is and whoever is asked, and
// the log has none. A member that could not read it would end.
func TestVirtualNothingNewIsProposed(t *testing.T) {
	due := int64(1 << 40)
	task := fsm.Task{Repository: "main", Copies: fsm.CopiesData, Backup: "b1", Limit: 1000}
	start := fsm.StartOperation{Name: fsm.KindBackup, Task: &task}
	plan := task
	plan.Backup = ""
	commands := []fsm.Command{
		start, fsm.PutBackup{}, fsm.SetBackup{}, fsm.ExpireBackup{}, fsm.DropBackup{}, fsm.SetPlan{}, fsm.RemovePlan{}, fsm.FirePlan{},
		fsm.PutPlan{Plan: fsm.Plan{ID: "p", Name: fsm.KindBackup, Task: plan, Every: 1000, Due: due}},
		fsm.ReportOperation{Stored: &fsm.Stored{}}, fsm.ReportOperation{Damaged: true},
	}
	virtual(t, 3, func(w *world) error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := errors.Join(w.put("m1"), w.put("m2")); err != nil {
			return err
		}
		old := fsm.Member{ID: "m3", Incarnation: w.configs["m3"].Incarnation, EntryVersion: 3}
		if _, err := w.members["m3"].Propose(ctx, fsm.PutMember{Member: old}); err != nil {
			return err
		}
		for _, id := range []string{"m1", "m2", "m3"} { // of which one leads
			for _, c := range commands {
				if _, err := w.members[id].Propose(ctx, c); !errors.Is(err, cluster.ErrEntryVersion) {
					return fmt.Errorf("%s asked of %s while m3 is at version 3: %w", c.Kind(), id, err)
				}
			}
		}
		if s, _ := w.members["m1"].View(); s.Level != 0 || len(s.Operations)+len(s.Plans) != 0 {
			return fmt.Errorf("level %d: no way back", s.Level)
		}
		if err := w.put("m3"); err != nil { // it was upgraded
			return err
		}
		if err := w.members["m2"].Barrier(ctx); err != nil {
			return err
		}
		for _, c := range commands {
			var refusal *fsm.Refusal
			if _, err := w.members["m2"].Propose(ctx, c); err != nil && !errors.As(err, &refusal) {
				return fmt.Errorf("%s when all know it: %w", c.Kind(), err)
			}
		}
		if s, _ := w.members["m2"].View(); s.Level != 4 {
			return fmt.Errorf("level %d", s.Level)
		}
		return nil
	})
}

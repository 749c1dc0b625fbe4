package backup

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"roundtable/api"
	"roundtable/drill"
	"roundtable/fsm"
	"roundtable/test/box"
)

// TestPlans: a plan that is due every two seconds fires once for each time that it was due, while one leader after another is killed, and one
// by blocks for each so many blocks. What was due while nobody led is left out, or made up for once.
func TestPlans(t *testing.T) {
	t.Parallel()
	b := layOut(t, drill.Options{}, inFolder(t)).up()
	b.backup(fsm.CopiesSnapshot, nil)
	const every = 2 * time.Second
	often := b.plan(box.Fields{"id": "often", "action": "sweep", "every": every.String(), "late": "30s", "limit": "15s"}) // what a dead member is at ends then
	blocks := b.plan(box.Fields{"id": "blocks", "action": "backup", "kind": fsm.CopiesSnapshot, "blocks": 8, "limit": "15s"})
	for range 3 {
		leader := b.Get(b.View().Leader)
		n := b.planned("often").Count
		if err := b.KillMember(t.Context(), leader); err != nil {
			t.Fatal(err)
		}
		b.Eventually(endTime, "the plan fires under the next leader", func(context.Context) error {
			if now := b.planned("often"); now.Count < n+2 {
				return fmt.Errorf("it fired %d times, and %d before: %+v", now.Count, n, now)
			}
			return nil
		})
		if err := b.StartMember(leader); err != nil {
			t.Fatal(err)
		}
		b.fit()
	}
	b.Eventually(endTime, "the plan by blocks", func(context.Context) error {
		if now := b.planned("blocks"); now.Count < 3 {
			return fmt.Errorf("it fired %d times: %s", now.Count, now.Why)
		}
		return nil
	})
	for _, id := range []string{"often", "blocks"} {
		b.Send(http.MethodPatch, "/cluster/plans/"+id, box.Fields{"disabled": true}, http.StatusOK, nil)
	}
	b.Whole()
	now := b.planned("often")
	due, err := time.Parse(time.RFC3339, often.Due)
	if err != nil {
		t.Fatal(err)
	}
	// What is due next after a firing is behind that in time: so two for one time would be less than that apart.
	b.once(now, fsm.KindSweep, func(o api.Operation) string {
		at, err := time.Parse(time.RFC3339, o.Started)
		if err != nil || at.Before(due) {
			t.Errorf("operation %s was started at %s, and due at %s first: %v", o.ID, o.Started, often.Due, err)
		}
		return fmt.Sprint(at.Sub(due) / every)
	})
	b.once(b.planned("blocks"), fsm.KindBackup, func(o api.Operation) string {
		if o.Outcome != "done" { // it was at the member that was killed, and a sweep may have taken it away since
			return ""
		}
		if one := b.record(o.Backup); one.Plan != "blocks" || one.Head < blocks.DueBlock {
			t.Errorf("backup %s of plan %q is of block %d; the first one was due at %d", one.ID, one.Plan, one.Head, blocks.DueBlock)
		}
		return ""
	})
	if most := (b.Head()-blocks.DueBlock)/8 + 1; b.planned("blocks").Count > uint64(most) {
		t.Errorf("the plan by blocks fired more than %d times", most)
	}
	t.Run("missed", func(t *testing.T) {
		b := b.in(t)
		for id, policy := range map[string]string{"made-up": api.CatchUp, "left-out": api.SkipLate} {
			b.plan(box.Fields{"id": id, "action": "sweep", "every": "10s", "late": "1s", "missed": policy})
		}
		b.Eventually(20*time.Second, "that all know of them", func(ctx context.Context) error {
			for _, m := range b.Members {
				if status, text, err := b.Ask(ctx, m, http.MethodGet, "/cluster/plans/left-out", nil); err != nil || status != http.StatusOK {
					return fmt.Errorf("%d %s %w", status, text, err)
				}
			}
			return nil
		})
		due, err := time.Parse(time.RFC3339, b.planned("made-up").Due)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range b.Members {
			if err := b.KillMember(t.Context(), m); err != nil {
				t.Fatal(err)
			}
		}
		pause(t.Context(), time.Until(due)+3*time.Second) // nobody is there when it is due
		if err := b.Start(); err != nil {
			t.Fatal(err)
		}
		b.Whole()
		b.Eventually(endTime, "what was missed", func(context.Context) error {
			if up, out := b.planned("made-up"), b.planned("left-out"); up.Count+up.Skipped == 0 || out.Count+out.Skipped == 0 {
				return errors.New("nothing became of it")
			}
			return nil
		})
		if up := b.planned("made-up"); up.Count < 1 || up.Skipped > 0 {
			t.Errorf("what is to be made up for fired %d times, and was skipped %d times: %s", up.Count, up.Skipped, up.Why)
		}
		if out := b.planned("left-out"); out.Skipped != 1 || !strings.Contains(out.Why, "due at") {
			t.Errorf("what is to be left out fired %d times, and was skipped %d times: %s", out.Count, out.Skipped, out.Why)
		}
	})
	b.Judge(true)
}

// fit waits until all members are, whatever else is under way.
func (b *sandbox) fit() {
	b.T.Helper()
	b.Eventually(endTime, "all members fit", func(ctx context.Context) error {
		o, err := b.Overview(ctx)
		if err != nil {
			return err
		}
		for _, m := range o.Members {
			if !m.Fit || !m.Alive {
				return fmt.Errorf("%s is not: %s", m.ID, m.Reason)
			}
		}
		return nil
	})
}

// plan adds a plan and returns it.
func (b *sandbox) plan(body box.Fields) api.Plan {
	b.T.Helper()
	var set api.PlanSet
	b.Send(http.MethodPost, "/cluster/plans", with(box.Fields{"limit": limit}, body), http.StatusCreated, &set)
	return set.Plan
}

// planned is a plan as it stands.
func (b *sandbox) planned(id string) (p api.Plan) {
	b.T.Helper()
	b.Send(http.MethodGet, "/cluster/plans/"+id, nil, http.StatusOK, &p)
	return p
}

// once fails the test where a plan did not start one operation for each time that it fired, or two for the same time, which due tells of an
// operation; "" is not known.
func (b *sandbox) once(p api.Plan, kind string, due func(api.Operation) string) {
	b.T.Helper()
	n, seen := uint64(0), map[string]string{}
	for _, o := range b.Listed(kind) {
		if o.Plan != p.ID {
			continue
		}
		n++
		if at := due(o); at != "" && seen[at] != "" {
			b.T.Errorf("%s fired twice for %s: operations %s and %s", p.ID, at, seen[at], o.ID)
		} else {
			seen[at] = o.ID
		}
	}
	if n != p.Count {
		b.T.Errorf("%s fired %d times, and started %d operations", p.ID, p.Count, n)
	}
	b.T.Logf("%s fired %d times, and was skipped %d times: %s", p.ID, p.Count, p.Skipped, p.Why)
}

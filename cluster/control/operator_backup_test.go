package control

import (
	"errors"
	"strings"
	"testing"
	"time"

	"roundtable/fsm"
)

// vaulted is member a of a world of three that all have a repository.
func vaulted(t *testing.T, change func(*rolled)) *machine {
	t.Helper()
	w := tasks(fsm.KindBackup, fsm.CopiesData, fsm.StepValidate, "")
	w.s.Backups = map[string]fsm.Backup{"done": {ID: "done", Copies: fsm.CopiesData, Repository: "main", State: fsm.BackupDone, Of: someStored, Created: 1}}
	if change != nil {
		change(w)
	}
	m := newMachine(t, newGroup(w.s, w.peers), "a", incA)
	m.now, m.vault = func() time.Time { return testNow }, newFakeVault()
	return m
}

// TestBackupsThatAreRefused before anything changes, with why of each member.
func TestBackupsThatAreRefused(t *testing.T) {
	sick := func(ids ...string) func(*rolled) {
		return func(w *rolled) {
			for _, id := range ids {
				w.sick(id)
			}
		}
	}
	data := func(m *machine) (uint64, error) {
		return m.Backup(t.Context(), BackupRequest{Copies: fsm.CopiesData}, "")
	}
	restore := func(id, backup string) func(*machine) (uint64, error) {
		return func(m *machine) (uint64, error) {
			return m.Restore(t.Context(), RestoreRequest{Backup: backup, Member: id}, "")
		}
	}
	for name, c := range map[string]struct {
		change func(*rolled)
		ask    func(*machine) (uint64, error)
		rule   *fsm.Refusal // nil: it is begun
		why    string
	}{
		"data":                     {nil, data, nil, ""},
		"nobody is fit":            {sick("b", "c"), data, ErrBackupRefused, "a holds the lease; b is sick; c is sick"},
		"no other standby":         {sick("c"), data, ErrBackupRefused, "no fit standby would be left while the node of b is stopped"},
		"nobody produces":          {sick("a"), data, ErrBackupRefused, "the holder, a, is sick"},
		"a restore of a standby":   {nil, restore("b", "done"), nil, ""},
		"a restore of the holder":  {nil, restore("a", "done"), ErrBackupRefused, "a holds the lease"},
		"of what there is not":     {nil, restore("b", "none"), fsm.ErrNoBackup, "none"},
		"of nobody's node":         {nil, restore("x", "done"), fsm.ErrMember, "x"},
		"a repository nobody has":  {nil, func(m *machine) (uint64, error) { return m.Scan(t.Context(), ScanRequest{Repository: "y"}, "") }, ErrBackupRefused, `has no repository "y"`},
		"a sweep":                  {nil, func(m *machine) (uint64, error) { return m.Sweep(t.Context(), SweepRequest{}, "") }, nil, ""},
		"a verification":           {nil, func(m *machine) (uint64, error) { return m.Verify(t.Context(), VerifyRequest{Backup: "done"}, "") }, nil, ""},
		"a plan that is run":       {nil, func(m *machine) (uint64, error) { return m.RunPlan(t.Context(), "p", "") }, nil, ""},
		"and nobody is fit for it": {sick("b", "c"), func(m *machine) (uint64, error) { return m.RunPlan(t.Context(), "p", "") }, ErrBackupRefused, "nobody is fit"},
		"a plan that there is not": {nil, func(m *machine) (uint64, error) { return m.RunPlan(t.Context(), "q", "") }, fsm.ErrNoPlan, "q"},
	} {
		t.Run(name, func(t *testing.T) {
			m := vaulted(t, c.change)
			if _, err := m.PutPlan(t.Context(), fsm.Plan{ID: "p", Name: fsm.KindBackup, Task: fsm.Task{Copies: fsm.CopiesData}, Every: 60_000}); err != nil {
				t.Fatal(err)
			}
			id, err := c.ask(m)
			if c.rule != nil {
				if !errors.Is(err, c.rule) || !strings.Contains(err.Error(), c.why) || len(m.group.state.Operations) != 0 {
					t.Errorf("%v, want %s: %s", err, c.rule.Rule, c.why)
				}
				return
			}
			o, _ := m.group.state.Operation(id)
			if err != nil || o.Current().Name != fsm.StepValidate || o.Task.Repository != "main" || o.Task.Limit == 0 {
				t.Errorf("%v: %+v", err, o)
			}
		})
	}
}

// TestPutPlan computes when it is due, and leaves that where the rhythm stays.
func TestPutPlan(t *testing.T) {
	m := vaulted(t, nil)
	put := func(p fsm.Plan) (fsm.Plan, error) {
		p.ID, p.Name, p.Task.Copies = "p", fsm.KindBackup, fsm.CopiesData
		return m.PutPlan(t.Context(), p)
	}
	p, err := put(fsm.Plan{Every: 3_600_000})
	if err != nil || p.Due != testNow.Add(time.Hour).UnixMilli() || p.Task.Repository != "main" || p.Task.Limit != 0 {
		t.Fatalf("%v: %+v", err, p)
	}
	m.now = func() time.Time { return testNow.Add(20 * time.Minute) }
	if q, err := put(fsm.Plan{Every: 3_600_000, Tries: 2}); err != nil || q.Due != p.Due || q.Tries != 2 {
		t.Errorf("the rhythm stays: %v: %+v", err, q)
	}
	if q, err := put(fsm.Plan{Every: 7_200_000}); err != nil || q.Due != testNow.Add(140*time.Minute).UnixMilli() {
		t.Errorf("another rhythm: %v: %+v", err, q)
	}
	m.now = func() time.Time { return testNow } // when the heads were heard
	if q, err := put(fsm.Plan{Blocks: 100}); err != nil || q.DueBlock != 150 || q.Due != 0 {
		t.Errorf("by blocks: %v: %+v", err, q)
	}
	if _, err := put(fsm.Plan{Cron: "0 0 31 2 *"}); !errors.Is(err, fsm.ErrPlan) {
		t.Errorf("never: %v", err)
	}
	if err := m.SetPlan(t.Context(), "p", true); err != nil || !m.group.state.Plans["p"].Disabled {
		t.Errorf("switched off: %v", err)
	}
	if err := m.SetPlan(t.Context(), "p", false); err != nil || m.group.state.Plans["p"].Disabled || m.group.state.Plans["p"].DueBlock != 150 {
		t.Errorf("switched on: %v: %+v", err, m.group.state.Plans["p"])
	}
	if err := m.RemovePlan(t.Context(), "p"); err != nil || len(m.group.state.Plans) != 0 {
		t.Errorf("removed: %v", err)
	}
}

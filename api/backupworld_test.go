package api

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"roundtable/cluster/control"
	"roundtable/fsm"
)

// The part of a world that is about backups: what control does, as far as the API can see.

// chainID is that of the backups here.
var chainID = strings.Repeat("c", 64)

// task starts an operation on a backup, as control does; what is asked for is noted.
func (w *world) task(ctx context.Context, kind string, t fsm.Task, limit, queue time.Duration, key string) (uint64, error) {
	w.calls.Lock()
	w.calls.limit, w.calls.queue = limit, queue
	w.calls.Unlock()
	state, _ := w.View()
	t.Limit = cmp.Or(limit, 6*time.Hour).Milliseconds()
	if t.Repository == "" {
		t.Repository = cmp.Or(state.Backups[t.Backup].Repository, "default")
	}
	if kind == fsm.KindBackup {
		t.Backup = fmt.Sprintf("b-%04d", state.Index+1)
	}
	deadline := now.Add(time.Minute)
	if queue > 0 {
		deadline = now.Add(queue)
	}
	return w.propose(ctx, fsm.StartOperation{Name: kind, Task: &t, Queue: queue > 0, Deadline: deadline.UnixMilli()}, key)
}

func (w *world) Backup(ctx context.Context, r control.BackupRequest, key string) (uint64, error) {
	if w.unfitFor != "" {
		return 0, &fsm.Refusal{Rule: control.ErrBackupRefused.Rule, Message: control.ErrBackupRefused.Message + ": " + w.unfitFor, Hint: "look at: roundtable status"}
	}
	return w.task(ctx, fsm.KindBackup, fsm.Task{Copies: r.Copies, Member: r.Member, Repository: r.Repository, Keep: r.Keep.Milliseconds()}, r.Limit, r.Queue, key)
}

func (w *world) Restore(ctx context.Context, r control.RestoreRequest, key string) (uint64, error) {
	return w.task(ctx, fsm.KindRestore, fsm.Task{Backup: r.Backup, Member: r.Member}, r.Limit, r.Queue, key)
}

func (w *world) Verify(ctx context.Context, r control.VerifyRequest, key string) (uint64, error) {
	return w.task(ctx, fsm.KindVerify, fsm.Task{Backup: r.Backup, Member: r.Member, Trial: r.Trial}, r.Limit, r.Queue, key)
}

func (w *world) Sweep(ctx context.Context, r control.SweepRequest, key string) (uint64, error) {
	return w.task(ctx, fsm.KindSweep, fsm.Task{Repository: r.Repository, Member: r.Member, Unknown: r.Unknown}, r.Limit, r.Queue, key)
}

func (w *world) Scan(ctx context.Context, r control.ScanRequest, key string) (uint64, error) {
	return w.task(ctx, fsm.KindScan, fsm.Task{Repository: r.Repository, Member: r.Member}, r.Limit, r.Queue, key)
}

func (w *world) ExpireBackup(ctx context.Context, id, why string) error {
	_, err := w.propose(ctx, fsm.ExpireBackup{ID: id, Why: why}, "")
	return err
}

func (w *world) SetBackup(ctx context.Context, c fsm.SetBackup) error {
	_, err := w.propose(ctx, c, "")
	return err
}

func (w *world) PutPlan(ctx context.Context, p fsm.Plan) (fsm.Plan, error) {
	if p.Blocks != 0 {
		p.DueBlock = 1000 + p.Blocks
	} else {
		p.Due = now.Add(cmp.Or(time.Duration(p.Every)*time.Millisecond, time.Hour)).UnixMilli()
	}
	p.Task.Limit = cmp.Or(p.Task.Limit, int64(6*time.Hour/time.Millisecond))
	p.Task.Repository = cmp.Or(p.Task.Repository, "default")
	_, err := w.propose(ctx, fsm.PutPlan{Plan: p}, "")
	return p, err
}

func (w *world) SetPlan(ctx context.Context, id string, disabled bool) error {
	c := fsm.SetPlan{ID: id, Disabled: disabled}
	if state, _ := w.View(); state.Plans[id].Blocks != 0 {
		c.DueBlock = 2000
	} else {
		c.Due = now.Add(time.Hour).UnixMilli()
	}
	_, err := w.propose(ctx, c, "")
	return err
}

func (w *world) RemovePlan(ctx context.Context, id string) error {
	_, err := w.propose(ctx, fsm.RemovePlan{ID: id}, "")
	return err
}

func (w *world) RunPlan(ctx context.Context, id, key string) (uint64, error) {
	state, _ := w.View()
	p := state.Plans[id]
	t := p.Task
	t.Plan = id
	if p.Name == fsm.KindBackup {
		t.Backup = fmt.Sprintf("b-%04d", state.Index+1)
	}
	start := &fsm.StartOperation{Name: p.Name, Task: &t, Deadline: now.Add(time.Minute).UnixMilli()}
	return w.propose(ctx, fsm.FirePlan{ID: id, Now: true, Start: start}, key)
}

// stored is what a backup of these tests holds.
func stored() *fsm.Stored {
	return &fsm.Stored{
		ChainID: chainID, First: 1, Head: 1000, HeadID: strings.Repeat("d", 64), HeadTime: now.UnixMilli() - 1000, LIB: 998, Version: "v1.2.2",
		Files: 12, Size: 3 << 30, Data: 1 << 30, Stored: 100 << 20, Manifest: strings.Repeat("e", 64),
	}
}

// backUp makes a backup of a kind in a repository, on b, and returns its id.
func (w *world) backUp(t testing.TB, copies, repository string) string {
	t.Helper()
	if _, err := w.Backup(t.Context(), control.BackupRequest{Copies: copies, Repository: repository}, ""); err != nil {
		t.Fatal(err)
	}
	steps := []string{fsm.StepPrepare, fsm.StepCopy}
	if copies == fsm.CopiesSnapshot {
		steps = []string{fsm.StepSnapshot}
	}
	for _, step := range steps {
		w.turn(t, step, "b")
		w.end(t, "b", "")
	}
	w.turn(t, fsm.StepStore, "b")
	o := w.newest()
	w.apply(t, fsm.ReportOperation{ID: o.ID, Number: o.Number(), Member: "b", Incarnation: strings.Repeat("b", 32), Ended: true, Stored: stored()})
	w.finish(t, fsm.Done, "")
	return o.Task.Backup
}

// finish ends the newest operation.
func (w *world) finish(t testing.TB, outcome fsm.Outcome, reason string) {
	t.Helper()
	o := w.newest()
	w.apply(t, fsm.FinishOperation{ID: o.ID, Step: o.Current().Name, Number: o.Number(), Outcome: outcome, Reason: reason})
}

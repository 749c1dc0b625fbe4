package api

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"roundtable/cluster/control"
	"roundtable/fsm"
)

// backupsContract asks every path about backups and plans well, with what is there at each moment.
func backupsContract(t *testing.T, w *world, ask func(role Role, method, path, body string, want int, headers ...string) string) {
	t.Helper()
	newest := func() string { return fmt.Sprint(w.newest().ID) }
	data := w.backUp(t, fsm.CopiesData, "default")
	ask(Read, http.MethodGet, "/cluster/backups", "", http.StatusOK)
	ask(Read, http.MethodGet, "/cluster/backups?kind=data&state=done&repository=default&member=b", "", http.StatusOK)
	ask(Read, http.MethodGet, "/cluster/backups/"+data, "", http.StatusOK)

	ask(Operate, http.MethodPost, "/cluster/backup", `{"kind":"snapshot","member":"c","repository":"far","keep":"30d","limit":"2h","queue":"10m"}`, http.StatusAccepted, "Idempotency-Key", "b1")
	w.turn(t, fsm.StepSnapshot, "c")
	w.report(t, "c", 40, "block 1000 of 1020")
	ask(Read, http.MethodGet, "/cluster/operations/"+newest(), "", http.StatusOK)
	ask(Read, http.MethodGet, "/cluster/backups?state=running", "", http.StatusOK)
	ask(Read, http.MethodGet, "/cluster", "", http.StatusOK)
	ask(Operate, http.MethodDelete, "/cluster/operations/"+newest(), "", http.StatusOK)
	ask(Read, http.MethodGet, "/cluster/backups?state=failed", "", http.StatusOK)

	ask(Operate, http.MethodPost, "/cluster/backups/"+data+"/verify", `{"trial":true,"member":"b"}`, http.StatusAccepted)
	w.turn(t, fsm.StepCheck, "b")
	w.say(t, fsm.ReportOperation{Member: "b", Ended: true, Text: "whole, and a node came to block 1000"})
	w.finish(t, fsm.Done, "")
	ask(Read, http.MethodGet, "/cluster/operations/"+newest(), "", http.StatusOK)
	ask(Admin, http.MethodPatch, "/cluster/backups/"+data, `{"expires":"2027-11-21T12:00:00Z"}`, http.StatusOK)
	ask(Operate, http.MethodPatch, "/cluster/backups/"+data, `{"pinned":true,"expires":"400d"}`, http.StatusOK)
	ask(Operate, http.MethodPatch, "/cluster/backups/"+data, `{"expires":""}`, http.StatusOK)
	ask(Operate, http.MethodPatch, "/cluster/backups/"+data, `{"pinned":false}`, http.StatusForbidden)
	ask(Admin, http.MethodPatch, "/cluster/backups/"+data, `{"pinned":false}`, http.StatusOK)
	ask(Operate, http.MethodPost, "/cluster/backups/"+data+"/restore", `{"member":"c","limit":"1h"}`, http.StatusAccepted)
	w.turn(t, fsm.StepFetch, "c")
	ask(Read, http.MethodGet, "/cluster/operations/"+newest(), "", http.StatusOK)
	ask(Operate, http.MethodDelete, "/cluster/operations/"+newest(), "", http.StatusOK)

	ask(Operate, http.MethodPost, "/cluster/backups/sweep", `{}`, http.StatusAccepted)
	ask(Operate, http.MethodDelete, "/cluster/operations/"+newest(), "", http.StatusOK)
	ask(Admin, http.MethodPost, "/cluster/backups/sweep", `{"unknown":true,"repository":"far","member":"b"}`, http.StatusAccepted)
	ask(Operate, http.MethodDelete, "/cluster/operations/"+newest(), "", http.StatusOK)
	ask(Operate, http.MethodPost, "/cluster/backups/scan", `{"repository":"far"}`, http.StatusAccepted)
	ask(Operate, http.MethodDelete, "/cluster/operations/"+newest(), "", http.StatusOK)

	plan := `{"id":"nightly","kind":"data","cron":"30 3 * * *","keep":"30d","jitter":"10m","blackout":"30s","missed":"catch up","late":"2h","tries":2}`
	ask(Operate, http.MethodPost, "/cluster/plans", plan, http.StatusCreated)
	ask(Operate, http.MethodPost, "/cluster/plans", plan, http.StatusOK)
	ask(Operate, http.MethodPost, "/cluster/plans", `{"id":"check","action":"verify","trial":true,"blocks":172800}`, http.StatusCreated)
	ask(Operate, http.MethodPatch, "/cluster/plans/nightly", `{"every":"12h","missed":"skip"}`, http.StatusOK)
	ask(Operate, http.MethodPatch, "/cluster/plans/nightly", `{"disabled":true}`, http.StatusOK)
	ask(Operate, http.MethodPost, "/cluster/plans/nightly/run", "", http.StatusAccepted)
	ask(Read, http.MethodGet, "/cluster/plans/nightly", "", http.StatusOK)
	ask(Read, http.MethodGet, "/cluster/plans", "", http.StatusOK)
	ask(Operate, http.MethodDelete, "/cluster/operations/"+newest(), "", http.StatusOK)
	ask(Operate, http.MethodDelete, "/cluster/plans/check", "", http.StatusOK)
	ask(Admin, http.MethodDelete, "/cluster/backups/"+data, "", http.StatusOK)
}

// TestBackupMetrics: what is good, how old, how large, and what plans did; it is the state's, and so every member's.
func TestBackupMetrics(t *testing.T) {
	w := newWorld(t)
	srv := listen(t, w.server(t))
	if text := scrape(t, srv); strings.Contains(text, "roundtable_backups{") || strings.Contains(text, "roundtable_plan_") {
		t.Error("there are metrics of backups, and none was ever asked for")
	}
	scraped(t, srv, "successful_backups 0", `roundtable_operations_total{kind="backup",outcome="failed"} 0`)
	if _, err := w.PutPlan(t.Context(), fsm.Plan{ID: "nightly", Name: fsm.KindBackup, Every: 3_600_000, Task: fsm.Task{Copies: fsm.CopiesData}}); err != nil {
		t.Fatal(err)
	}
	at, due := fmt.Sprintf("%g", float64(now.Unix())), fmt.Sprintf("%g", float64(now.Unix()+3600))
	of := `{kind="data",repository="default"}`
	scraped(t, srv, "roundtable_backup_last_success_timestamp_seconds"+of+" 0", `roundtable_plan_due_timestamp_seconds{action="backup",plan="nightly"} `+due,
		`roundtable_plan_fired_timestamp_seconds{action="backup",plan="nightly"} 0`, `roundtable_plan_failing{action="backup",plan="nightly"} 0`)

	id := w.backUp(t, fsm.CopiesData, "default")
	scraped(t, srv, "roundtable_backup_last_success_timestamp_seconds"+of+" "+at, "roundtable_backup_last_verified_timestamp_seconds"+of+" 0", "roundtable_backup_seconds"+of+" 0",
		`roundtable_backup_bytes{kind="data",repository="default",what="stored"} 1.048576e+08`, `roundtable_backup_bytes{kind="data",repository="default",what="size"} 3.221225472e+09`,
		"roundtable_backup_stored_bytes"+of+" 1.048576e+08", `roundtable_backups{kind="data",repository="default",state="done"} 1`, `roundtable_backups{kind="data",repository="default",state="damaged"} 0`,
		"successful_backups 1", `roundtable_operations_total{kind="backup",outcome="done"} 1`)

	if _, err := w.RunPlan(t.Context(), "nightly", ""); err != nil {
		t.Fatal(err)
	}
	scraped(t, srv, `roundtable_operations_running{kind="backup"} 1`, `roundtable_operation_percent{kind="backup"} 0`)
	w.turn(t, fsm.StepPrepare, "b")
	w.report(t, "b", 50, "half")
	scraped(t, srv, `roundtable_operation_percent{kind="backup"} 20`, `roundtable_backups{kind="data",repository="default",state="running"} 1`)
	w.end(t, "b", "the bucket is missing")
	w.finish(t, fsm.Failed, "the bucket is missing")
	scraped(t, srv, `roundtable_plan_failing{action="backup",plan="nightly"} 1`, `roundtable_plan_firings_total{action="backup",plan="nightly"} 1`, `roundtable_plan_skipped_total{action="backup",plan="nightly"} 0`,
		`roundtable_backups{kind="data",repository="default",state="failed"} 1`, "successful_backups 1")

	if _, err := w.Verify(t.Context(), control.VerifyRequest{Backup: id}, ""); err != nil {
		t.Fatal(err)
	}
	w.turn(t, fsm.StepCheck, "c")
	w.end(t, "c", "")
	w.finish(t, fsm.Done, "")
	scraped(t, srv, "roundtable_backup_last_verified_timestamp_seconds"+of+" "+at)
}

// TestBackupAlarms: what could not be relied on is said, in the order of its weight, and ends when it is mended.
func TestBackupAlarms(t *testing.T) {
	w := newWorld(t)
	s := w.server(t)
	want := func(parts ...string) {
		t.Helper()
		got := s.look().alarms()
		if len(got) != len(parts) {
			t.Fatalf("%q, want %q", got, parts)
		}
		for i, p := range parts {
			if !strings.Contains(got[i], p) {
				t.Errorf("%q, want %q", got[i], p)
			}
		}
	}
	id := w.backUp(t, fsm.CopiesData, "default")
	want()
	if _, err := w.Verify(t.Context(), control.VerifyRequest{Backup: id}, ""); err != nil {
		t.Fatal(err)
	}
	w.turn(t, fsm.StepCheck, "c")
	w.say(t, fsm.ReportOperation{Member: "c", Ended: true, Fault: "pack 3 has other bytes", Damaged: true})
	w.finish(t, fsm.Failed, "pack 3 has other bytes")
	want("backup " + id + " in repository default is damaged: pack 3 has other bytes")
	w.backUp(t, fsm.CopiesSnapshot, "default")
	if _, err := w.Backup(t.Context(), control.BackupRequest{Copies: fsm.CopiesSnapshot}, ""); err != nil {
		t.Fatal(err)
	}
	w.turn(t, fsm.StepSnapshot, "b")
	w.end(t, "b", "the chain stands still")
	w.finish(t, fsm.Failed, "the chain stands still")
	want("is damaged", "the newest chain snapshot in repository default failed: the chain stands still; the last good one is of "+stamp(now.UnixMilli()))
	w.apply(t, fsm.ExpireBackup{ID: id})
	want("the newest chain snapshot")
	w.backUp(t, fsm.CopiesSnapshot, "default")
	want()

	if _, err := w.PutPlan(t.Context(), fsm.Plan{ID: "check", Name: fsm.KindSweep, Every: 3_600_000}); err != nil {
		t.Fatal(err)
	}
	want()
	if _, err := w.RunPlan(t.Context(), "check", ""); err != nil {
		t.Fatal(err)
	}
	o := fmt.Sprint(w.newest().ID)
	w.finish(t, fsm.Failed, "nobody is fit")
	want("what plan check does failed: nobody is fit; see: roundtable operations " + o)
	s.cfg.Now = func() time.Time { return now.Add(3 * time.Hour) }
	w.apply(t, fsm.SetPlan{ID: "check", Disabled: true})
	var text []string
	for _, a := range s.look().alarms() {
		if strings.Contains(a, "plan") {
			text = append(text, a)
		}
	}
	if text != nil {
		t.Errorf("a plan that is switched off: %q", text)
	}
	w.apply(t, fsm.SetPlan{ID: "check", Due: now.Add(time.Hour).UnixMilli()})
	if got := fmt.Sprint(s.look().alarms()); !strings.Contains(got, "what plan check does failed") {
		t.Error(got)
	}
	if _, err := w.RunPlan(t.Context(), "check", ""); err != nil {
		t.Fatal(err)
	}
	w.turn(t, fsm.StepSweep, "b")
	w.end(t, "b", "")
	w.finish(t, fsm.Done, "")
	if got := fmt.Sprint(s.look().alarms()); !strings.Contains(got, "plan check was due at "+stamp(now.Add(time.Hour).UnixMilli())+" and has not begun") {
		t.Error(got)
	}
}

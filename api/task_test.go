package api

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"roundtable/cluster/control"
	"roundtable/fsm"
)

// TestTaskRequests: what is asked for is what is started.
func TestTaskRequests(t *testing.T) {
	const month = 30 * 24 * 3_600_000
	limit := (6 * time.Hour).Milliseconds()
	for _, tc := range []struct {
		path, body   string
		kind         string
		want         fsm.Task
		limit, queue time.Duration
	}{
		{"/cluster/backup", `{"kind":"data"}`, fsm.KindBackup, fsm.Task{Repository: "default", Copies: "data", Limit: limit}, 0, 0},
		{
			"/cluster/backup", `{"kind":"snapshot","member":"b","repository":"far-away","keep":"30d","limit":"90m","queue":"720h"}`, fsm.KindBackup,
			fsm.Task{Repository: "far-away", Copies: "snapshot", Member: "b", Keep: month, Limit: 5_400_000}, 90 * time.Minute, 720 * time.Hour,
		},
		{"/cluster/backups/ID/restore", `{"member":"c","limit":"24h"}`, fsm.KindRestore, fsm.Task{Repository: "default", Backup: "ID", Member: "c", Limit: fsm.MaxTask}, 24 * time.Hour, 0},
		{"/cluster/backups/ID/verify", `{}`, fsm.KindVerify, fsm.Task{Repository: "default", Backup: "ID", Limit: limit}, 0, 0},
		{"/cluster/backups/ID/verify", `{"trial":true,"member":"b","queue":"1w"}`, fsm.KindVerify, fsm.Task{Repository: "default", Backup: "ID", Member: "b", Trial: true, Limit: limit}, 0, 168 * time.Hour},
		{"/cluster/backups/sweep", `{"unknown":true}`, fsm.KindSweep, fsm.Task{Repository: "default", Unknown: true, Limit: limit}, 0, 0},
		{"/cluster/backups/scan", `{"repository":"far","member":"a"}`, fsm.KindScan, fsm.Task{Repository: "far", Member: "a", Limit: limit}, 0, 0},
	} {
		w := newWorld(t)
		id := w.backUp(t, fsm.CopiesData, "default")
		var s Started
		resp := ask(t, listen(t, w.server(t)), http.MethodPost, strings.ReplaceAll(tc.path, "ID", id), tc.body, &s, "Idempotency-Key", "k")
		o := w.newest()
		if resp.StatusCode != http.StatusAccepted || s.Operation != fmt.Sprint(o.ID) || resp.Header.Get("Location") != "/cluster/operations/"+s.Operation || o.Kind != tc.kind {
			t.Errorf("%s %s: %d %+v, %+v", tc.path, tc.body, resp.StatusCode, s, o)
			continue
		}
		got := *o.Task
		switch {
		case tc.kind == fsm.KindBackup:
			got.Backup = ""
		case tc.want.Backup != "":
			tc.want.Backup = id
		}
		if d := cmp.Diff(tc.want, got); d != "" || w.calls.limit != tc.limit || w.calls.queue != tc.queue || o.Actor != "sandbox" {
			t.Errorf("%s: limit %s, queue %s, by %q: -want +got\n%s", tc.body, w.calls.limit, w.calls.queue, o.Actor, d)
		}
	}
}

// TestBadTaskInput: each is refused, says why, and changes nothing.
func TestBadTaskInput(t *testing.T) {
	w := newWorld(t)
	id := w.backUp(t, fsm.CopiesData, "default")
	if _, err := w.PutPlan(t.Context(), fsm.Plan{ID: "p", Name: fsm.KindBackup, Every: 3_600_000, Task: fsm.Task{Copies: "data"}}); err != nil {
		t.Fatal(err)
	}
	server := w.server(t)
	srv := listen(t, server)
	before, _ := w.View()
	for _, tc := range []struct{ request, body, message, hint string }{
		{"POST /cluster/backup", `{}`, `"kind" must be data or snapshot, not ""`, "the node is stopped"},
		{"POST /cluster/backup", `{"kind":"all"}`, `"kind" must be data or snapshot, not "all"`, ""},
		{"POST /cluster/backup", `{"kind":"data","copies":1}`, `unknown field "copies"`, "kind, member, repository, keep, limit, queue"},
		{"POST /cluster/backup", `{"kind":"data","member":"zz"}`, "no such member", "roundtable members"},
		{"POST /cluster/backup", `{"kind":"data","repository":"s3://user:secret@host/x"}`, `"repository" cannot be`, "[backup.repositories.NAME]"},
		{"POST /cluster/backup", `{"kind":"data","repository":"Default"}`, `"repository" cannot be "Default"`, ""},
		{"POST /cluster/backup", `{"kind":"data","keep":"soon"}`, `"keep" must be a duration`, ""},
		{"POST /cluster/backup", `{"kind":"data","keep":"3651d"}`, `"keep" must be a duration`, ""},
		{"POST /cluster/backup", `{"kind":"data","keep":"70000d"}`, `"keep" must be a duration`, ""},
		{"POST /cluster/backup", `{"kind":"data","keep":"-1d"}`, `"keep" must be a duration`, ""},
		{"POST /cluster/backup", `{"kind":"data","limit":"25h"}`, `"limit" must be a duration from 1s to 24h0m0s, not "25h"`, ""},
		{"POST /cluster/backup", `{"kind":"data","queue":"31d"}`, `"queue" must be`, ""},
		{"POST /cluster/backups/ID/restore", `{}`, `"member" must be given`, "moved aside"},
		{"POST /cluster/backups/ID/restore", `{"member":"zz"}`, "no such member", ""},
		{"POST /cluster/backups/zz/restore", `{"member":"b"}`, `no such backup: "zz"`, "roundtable backup list"},
		{"POST /cluster/backups/ID/verify", `{"trial":"yes"}`, `"trial" must be true or false`, "member, trial, limit, queue"},
		{"POST /cluster/backups/sweep", `{"repository":"../x"}`, `"repository" cannot be`, ""},
		{"POST /cluster/backups/scan", ``, "the body is empty", "repository, member"},
		{"GET /cluster/backups?kind=both", ``, `"kind" must be data or snapshot`, "?kind=data"},
		{"GET /cluster/backups?state=lost", ``, `"state" must be running`, "?state=done"},
		{"GET /cluster/backups?id=x", ``, `unknown parameter "id"`, "kind, state, repository, member"},
		{"GET /cluster/backups/zz", ``, `no such backup: "zz"`, "roundtable backup list"},
		{"PATCH /cluster/backups/ID", `{}`, "nothing to change", "pinned, expires"},
		{"PATCH /cluster/backups/ID", `{"expires":"yesterday"}`, `"expires" must be a time`, "30d"},
		{"PATCH /cluster/backups/ID", `{"expires":"0s"}`, `"expires" must be a time`, "30d"},
		{"DELETE /cluster/backups/zz", ``, `no such backup: "zz"`, "roundtable backup list"},
		{"POST /cluster/plans", `{}`, `"id" cannot be ""`, "nightly"},
		{"POST /cluster/plans", `{"id":"Nightly","kind":"data","every":"1d"}`, `"id" cannot be "Nightly"`, ""},
		{"POST /cluster/plans", `{"id":"x","every":"1d"}`, `"kind" must be data or snapshot`, ""},
		{"POST /cluster/plans", `{"id":"x","action":"restore","every":"1d"}`, `"action" must be backup, verify or sweep`, "by hand"},
		{"POST /cluster/plans", `{"id":"x","action":"sweep","kind":"data","every":"1d"}`, `"kind" and "keep" are for backups`, ""},
		{"POST /cluster/plans", `{"id":"x","kind":"data","trial":true,"every":"1d"}`, `"trial" is for a verify`, ""},
		{"POST /cluster/plans", `{"id":"x","kind":"data"}`, `one of "every", "cron" and "blocks"`, "30 3 * * *"},
		{"POST /cluster/plans", `{"id":"x","kind":"data","every":"1d","blocks":5}`, `one of "every", "cron" and "blocks"`, ""},
		{"POST /cluster/plans", `{"id":"x","kind":"data","every":"10ms"}`, `"every" must be a duration`, ""},
		{"POST /cluster/plans", `{"id":"x","kind":"data","every":"599s"}`, `must not come more often than "every":"10m", or "blocks":1200`, `"kind":"snapshot"`},
		{"POST /cluster/plans", `{"id":"x","kind":"data","blocks":1199}`, `must not come more often than "every":"10m", or "blocks":1200`, `"kind":"snapshot"`},
		{"PATCH /cluster/plans/p", `{"every":"1m"}`, `must not come more often`, "24h"},
		{"POST /cluster/plans", `{"id":"x","kind":"data","cron":"` + strings.Repeat("* ", 99) + `"}`, `"cron" is too long`, "five fields"},
		{"POST /cluster/plans", `{"id":"x","kind":"data","every":"1d","missed":"perhaps"}`, `"missed" must be`, "makes up for it"},
		{"POST /cluster/plans", `{"id":"x","kind":"data","every":"1d","tries":17}`, `"tries" must be`, ""},
		{"POST /cluster/plans", `{"id":"x","kind":"data","every":"1d","blackout":"2h"}`, `"blackout" must be`, ""},
		{"PATCH /cluster/plans/p", `{}`, "nothing to change", "disabled"},
		{"PATCH /cluster/plans/p", `{"id":"q"}`, `unknown field "id"`, ""},
		{"PATCH /cluster/plans/p", `{"tries":-1}`, `"tries" must be`, ""},
		{"PATCH /cluster/plans/zz", `{"disabled":true}`, `no such plan: "zz"`, "roundtable plan list"},
		{"POST /cluster/plans/zz/run", ``, `no such plan: "zz"`, "roundtable plan list"},
		{"POST /cluster/plans/p/run", `{}`, "takes no body", ""},
	} {
		server.clients = clients{} // nobody asks too often here
		method, path, _ := strings.Cut(strings.ReplaceAll(tc.request, "ID", id), " ")
		var e answered
		resp := ask(t, srv, method, path, tc.body, &e)
		want := http.StatusBadRequest
		if strings.Contains(tc.message, "no such") {
			want = http.StatusNotFound
		}
		if resp.StatusCode != want || !strings.Contains(e.Error.Message, tc.message) || !strings.Contains(e.Error.Hint, tc.hint) || e.Error.Hint == "" || strings.Contains(fmt.Sprint(e), "secret@host/x/") {
			t.Errorf("%s %s: %d %+v, want %q and hint %q", tc.request, tc.body, resp.StatusCode, e.Error, tc.message, tc.hint)
		}
	}
	if after, _ := w.View(); after.Index != before.Index {
		t.Errorf("%d entries were made", after.Index-before.Index)
	}
}

// TestTaskRefusals: what the state or the controllers do not take is 409, with the rule and a hint.
func TestTaskRefusals(t *testing.T) {
	w := newWorld(t)
	id := w.backUp(t, fsm.CopiesData, "default")
	pinned := true
	w.apply(t, fsm.SetBackup{ID: id, Pinned: &pinned})
	srv := listen(t, w.server(t))
	w.unfitFor = "b is 40 slots behind; a holds the lease"
	for _, tc := range []struct{ request, body, code string }{
		{"POST /cluster/backup", `{"kind":"data"}`, "backup.refused"},
		{"DELETE /cluster/backups/" + id, ``, fsm.ErrBackup.Rule},
		{"POST /cluster/backups/" + id + "/restore", `{"member":"w"}`, fsm.ErrMember.Rule},
	} {
		method, path, _ := strings.Cut(tc.request, " ")
		var e answered
		if resp := ask(t, srv, method, path, tc.body, &e); resp.StatusCode != http.StatusConflict || e.Error.Code != tc.code || e.Error.Hint == "" {
			t.Errorf("%s: %d %+v", tc.request, resp.StatusCode, e)
		}
	}
}

// TestTaskView follows a backup of the data from its queue to its end, as people and programs see it, and one that is canceled.
func TestTaskView(t *testing.T) {
	w := newWorld(t)
	srv := listen(t, w.server(t))
	ask(t, srv, http.MethodPost, "/cluster/backup", `{"kind":"snapshot"}`, nil)
	first := w.newest()
	ask(t, srv, http.MethodPost, "/cluster/backup", `{"kind":"data","keep":"30d","limit":"90m","queue":"1h"}`, nil)
	path := fmt.Sprint("/cluster/operations/", w.newest().ID)
	look := func(percent int, message string) (o Operation) {
		t.Helper()
		ask(t, srv, http.MethodGet, path, "", &o)
		if o.Percent != percent || o.Message != message {
			t.Errorf("%d %%, %q; want %d %%, %q", o.Percent, o.Message, percent, message)
		}
		return o
	}
	o := look(0, fmt.Sprintf("queued: backup %d", first.ID))
	if o.Copies != "data" || o.Repository != "default" || o.Keep != "30d" || o.Limit != "1h30m" || o.Backup == "" || len(o.Members) != 0 || o.Tag != "" {
		t.Errorf("%+v", o)
	}
	w.apply(t, fsm.FinishOperation{ID: first.ID, Step: fsm.StepValidate, Number: 1, Outcome: fsm.Failed, Reason: "x"})
	w.turn(t, fsm.StepValidate)
	look(0, "validate")
	w.turn(t, fsm.StepPrepare, "b")
	w.report(t, "b", 50, "1.2 of 2.4 GB")
	if o = look(20, "prepare b: 1.2 of 2.4 GB"); o.Member != "b" || o.Steps[2].Parts[0].Percent != 50 {
		t.Errorf("%+v", o)
	}
	var b Backup
	ask(t, srv, http.MethodGet, "/cluster/backups/"+o.Backup, "", &b)
	if b.State != fsm.BackupRunning || b.Kind != "data" || b.Member != "b" || b.Operation != o.ID || b.Head != 0 || b.Ended != "" {
		t.Errorf("%+v", b)
	}
	w.end(t, "b", "")
	look(40, "prepare b: done")
	w.turn(t, fsm.StepCopy, "b")
	if resp := ask(t, srv, http.MethodDelete, path, "", &o); resp.StatusCode != http.StatusAccepted || !o.Canceling {
		t.Errorf("%d %+v", resp.StatusCode, o)
	}
	w.report(t, "b", 10, "stopping the node")
	look(42, "copy b: stopping the node; it stops when the node is back, canceled")
	w.end(t, "b", "canceled")
	w.finish(t, fsm.Canceled, "by an operator")
	look(40, "canceled: by an operator")
	ask(t, srv, http.MethodGet, "/cluster/backups/"+o.Backup, "", &b)
	if b.State != fsm.BackupFailed || b.Fault == "" {
		t.Errorf("%+v", b)
	}

	id := w.backUp(t, fsm.CopiesData, "default")
	path = fmt.Sprint("/cluster/operations/", w.newest().ID)
	look(100, "done")
	b = Backup{}
	ask(t, srv, http.MethodGet, "/cluster/backups/"+id, "", &b)
	b.Operation = ""
	want := Backup{
		ID: id, Kind: "data", Repository: "default", State: fsm.BackupDone, Member: "b", Created: stamp(now.UnixMilli()), Ended: stamp(now.UnixMilli()), ChainID: chainID, First: 1, Head: 1000,
		HeadID: strings.Repeat("d", 64), HeadAt: stamp(now.UnixMilli() - 1000), LIB: 998, NodeVersion: "v1.2.2", Files: 12, Size: 3 << 30, Data: 1 << 30, Stored: 100 << 20, Manifest: strings.Repeat("e", 64),
	}
	if d := cmp.Diff(want, b); d != "" {
		t.Error(d)
	}
	var all Overview
	ask(t, srv, http.MethodGet, "/cluster", "", &all)
	standing := []BackupStanding{
		{Repository: "default", Kind: "data", Last: id, LastAt: stamp(now.UnixMilli()), Good: 1, Stored: 100 << 20}, // the canceled one is older
	}
	if len(all.Backups) != 1 || cmp.Diff(standing[0], all.Backups[0]) != "" {
		t.Errorf("%s", cmp.Diff(standing, all.Backups))
	}
}

// TestBackupFilters: only what was asked for, newest first.
func TestBackupFilters(t *testing.T) {
	w := newWorld(t)
	srv := listen(t, w.server(t))
	data, far, snapshot := w.backUp(t, fsm.CopiesData, "default"), w.backUp(t, fsm.CopiesData, "far"), w.backUp(t, fsm.CopiesSnapshot, "default")
	w.apply(t, fsm.ExpireBackup{ID: data})
	for query, want := range map[string][]string{
		"": {snapshot, far, data}, "?kind=data": {far, data}, "?repository=default": {snapshot, data}, "?state=expired": {data}, "?state=done&kind=snapshot": {snapshot},
		"?member=b": {snapshot, far, data}, "?member=c": {}, "?repository=nowhere": {},
	} {
		var list []Backup
		ask(t, srv, http.MethodGet, "/cluster/backups"+query, "", &list)
		ids := []string{}
		for _, b := range list {
			ids = append(ids, b.ID)
		}
		if list == nil || cmp.Diff(want, ids) != "" {
			t.Errorf("%s: %v, want %v", query, ids, want)
		}
	}
}

// TestBackupRoles: to keep a backup longer is an operator's, to let it go sooner is not.
func TestBackupRoles(t *testing.T) {
	w := newWorld(t)
	id := w.backUp(t, fsm.CopiesData, "default")
	s, tokens := guarded(t, w)
	srv := listen(t, s)
	for _, tc := range []struct {
		role          Role
		request, body string
		want          int
	}{
		{Read, "PATCH /cluster/backups/" + id, `{"pinned":true}`, 403},
		{Operate, "PATCH /cluster/backups/" + id, `{"expires":"1h"}`, 403},
		{Admin, "PATCH /cluster/backups/" + id, `{"expires":"10d"}`, 200},
		{Operate, "PATCH /cluster/backups/" + id, `{"expires":"20d"}`, 200},
		{Operate, "PATCH /cluster/backups/" + id, `{"expires":"19d"}`, 403},
		{Operate, "PATCH /cluster/backups/" + id, `{"expires":"","pinned":true}`, 200},
		{Operate, "PATCH /cluster/backups/" + id, `{"pinned":false}`, 403},
		{Admin, "PATCH /cluster/backups/" + id, `{"pinned":false}`, 200},
		{Operate, "DELETE /cluster/backups/" + id, ``, 403},
		{Operate, "POST /cluster/backups/sweep", `{"unknown":true}`, 403},
		{Operate, "POST /cluster/plans", `{"id":"x","action":"sweep","unknown":true,"every":"1d"}`, 403},
		{Admin, "POST /cluster/plans", `{"id":"x","action":"sweep","unknown":true,"every":"1d"}`, 201},
		{Operate, "PATCH /cluster/plans/x", `{"every":"2d"}`, 403},
		{Operate, "PATCH /cluster/plans/x", `{"every":"2d","unknown":false}`, 200},
		{Admin, "DELETE /cluster/backups/" + id, ``, 200},
		{Admin, "DELETE /cluster/backups/" + id, ``, 200},
	} {
		s.clients = clients{}
		method, path, _ := strings.Cut(tc.request, " ")
		if resp := ask(t, srv, method, path, tc.body, nil, "Authorization", "Bearer "+tokens[tc.role]); resp.StatusCode != tc.want {
			t.Errorf("%s %s %s: %s", tc.role, tc.request, tc.body, resp.Status)
		}
	}
}

// TestPlans: what is asked for stands in the state and comes back; a change keeps the rest.
func TestPlans(t *testing.T) {
	w := newWorld(t)
	srv := listen(t, w.server(t))
	var set PlanSet
	put := func(method, path, body string, want Plan) {
		t.Helper()
		set = PlanSet{}
		if resp := ask(t, srv, method, path, body, &set); resp.StatusCode > 201 {
			t.Fatalf("%s: %s %+v", body, resp.Status, set)
		}
		want.Actor = "sandbox"
		if d := cmp.Diff(want, set.Plan); d != "" {
			t.Errorf("%s: -want +got\n%s", body, d)
		}
		state, _ := w.View()
		if set.Index != state.Index {
			t.Errorf("index %d, not %d", set.Index, state.Index)
		}
	}
	p := Plan{
		ID: "nightly", Action: "backup", Kind: "data", Repository: "default", Member: "b", Keep: "30d", Limit: "2h", Cron: "30 3 * * *", Jitter: "10m", Blackout: "1m30s", Missed: CatchUp,
		Late: "12h", Tries: 3, Due: stamp(now.Add(time.Hour).UnixMilli()),
	}
	put("POST", "/cluster/plans", `{"id":"nightly","kind":"data","member":"b","keep":"30d","limit":"2h","cron":"30 3 * * *","jitter":"10m","blackout":"90s","missed":"catch up","late":"12h","tries":3}`, p)
	p.Cron, p.Every, p.Due, p.Missed = "", "6h", stamp(now.Add(6*time.Hour).UnixMilli()), SkipLate
	put("PATCH", "/cluster/plans/nightly", `{"every":"6h","missed":"skip"}`, p)
	p.Disabled, p.Due = true, ""
	put("PATCH", "/cluster/plans/nightly", `{"disabled":true}`, p)
	p.Every, p.Blocks = "", 1200
	put("PATCH", "/cluster/plans/nightly", `{"blocks":1200}`, p)
	p.Disabled, p.DueBlock = false, 2000
	put("PATCH", "/cluster/plans/nightly", `{"disabled":false}`, p)

	var s Started
	ask(t, srv, http.MethodPost, "/cluster/plans/nightly/run", "", &s)
	var o Operation
	ask(t, srv, http.MethodGet, "/cluster/operations/"+s.Operation, "", &o)
	var got Plan
	ask(t, srv, http.MethodGet, "/cluster/plans/nightly", "", &got)
	if o.Plan != "nightly" || got.Operation != s.Operation || got.Outcome != fsm.Running || got.Count != 1 || got.Fired == "" {
		t.Errorf("%+v %+v", o, got)
	}
	w.finish(t, fsm.Failed, "nobody is fit")
	var list []Plan
	ask(t, srv, http.MethodGet, "/cluster/plans", "", &list)
	if len(list) != 1 || list[0].Outcome != fsm.Failed || list[0].Reason != "nobody is fit" {
		t.Errorf("%+v", list)
	}
	var gone Removed
	ask(t, srv, http.MethodDelete, "/cluster/plans/nightly", "", &gone)
	list = nil
	ask(t, srv, http.MethodGet, "/cluster/plans", "", &list)
	if gone.ID != "nightly" || list == nil || len(list) != 0 {
		t.Errorf("%+v %+v", gone, list)
	}
}

// TestLengths: what people write is read, and written back as short as it can be.
func TestLengths(t *testing.T) {
	for text, want := range map[string]string{"6h": "6h", "90s": "1m30s", "24h": "1d", "30d": "30d", "2w": "14d", "1h30m": "1h30m", "36h": "36h", "1500ms": "1.5s", "10m": "10m", "60m": "1h"} {
		d, err := length(text)
		if got := lengthText(d.Milliseconds()); err != nil || got != want {
			t.Errorf("%s: %s, %v", text, got, err)
		}
	}
	for _, bad := range []string{"", "d", "-1d", "1.5d", "99999d", "1y", "1d1h"} {
		if d, err := length(bad); err == nil {
			t.Errorf("%q is %s", bad, d)
		}
	}
}

// TestBackupEvents: a stream tells of what changes in the catalogue and of plans, and not of what was there before.
func TestBackupEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		old := w.backUp(t, fsm.CopiesData, "default")
		client := serve(t, w.server(t))
		stream := subscribe(t, client, "/cluster/events")
		stream.want("lease", nil)
		pinned := true
		w.apply(t, fsm.SetBackup{ID: old, Pinned: &pinned})
		var b Backup
		stream.want("history", nil)
		if e := stream.want("backup", &b); b.ID != old || !b.Pinned || e.id != "" {
			t.Errorf("%+v", b)
		}
		if _, err := w.PutPlan(context.Background(), fsm.Plan{ID: "p", Name: fsm.KindSweep, Every: 3_600_000}); err != nil {
			t.Fatal(err)
		}
		var p Plan
		stream.want("history", nil)
		if stream.want("plan", &p); p.ID != "p" || p.Every != "1h" {
			t.Errorf("%+v", p)
		}
		if _, err := w.Scan(context.Background(), control.ScanRequest{}, ""); err != nil {
			t.Fatal(err)
		}
		var o Operation
		stream.want("history", nil)
		if stream.want("operation", &o); o.Kind != fsm.KindScan || o.Repository != "default" {
			t.Errorf("%+v", o)
		}
	})
}

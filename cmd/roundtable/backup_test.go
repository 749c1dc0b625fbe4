package main

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"roundtable/api"
	"roundtable/backup"
	"roundtable/backup/worker"
	"roundtable/fsm"
)

const (
	exampleID = "20261121-033000-1a2b3c4d"
	otherID   = "20261120-033000-00aa11bb"
)

// exampleBackup is a backup that is done.
func exampleBackup() api.Backup {
	return api.Backup{
		ID: exampleID, Kind: "data", Repository: "default", State: fsm.BackupDone, Member: "b", Operation: "70", Plan: "nightly", Created: "2026-11-21T03:30:00.000Z", Ended: "2026-11-21T03:41:30.000Z",
		Seconds: 690, ChainID: strings.Repeat("c", 64), First: 1, Head: 412345678, HeadID: strings.Repeat("d", 64), HeadAt: "2026-11-21T03:29:59.500Z", LIB: 412345670, NodeVersion: "v1.2.2",
		Files: 212, Size: 120_000_000_000, Data: 34_500_000_000, Stored: 812_000_000, Manifest: strings.Repeat("e", 64), Verified: "2026-11-21T06:00:00.000Z", Trial: true,
		Expires: "2026-12-21T03:41:30.000Z",
	}
}

func exampleBackups() []api.Backup {
	running := api.Backup{ID: "20261121-115900-77777777", Kind: "snapshot", Repository: "far", State: fsm.BackupRunning, Member: "c", Created: "2026-11-21T11:59:00.000Z", Seconds: 60}
	damaged, failed, pinned := exampleBackup(), exampleBackup(), exampleBackup()
	damaged.ID, damaged.State, damaged.Fault, damaged.Verified, damaged.Expires = "20261121-033000-dddddddd", fsm.BackupDamaged, "pack 3 has other bytes", "", ""
	failed = api.Backup{ID: "20261121-033000-ffffffff", Kind: "data", Repository: "default", State: fsm.BackupFailed, Created: failed.Created, Fault: "no space left"}
	pinned.ID, pinned.Pinned, pinned.Trial, pinned.Suspect = otherID, true, false, true
	return []api.Backup{running, exampleBackup(), damaged, failed, pinned}
}

// examplePlan is a plan whose last firing failed.
func examplePlan() api.Plan {
	return api.Plan{
		ID: "nightly", Action: "backup", Kind: "data", Repository: "default", Keep: "30d", Limit: "6h", Cron: "30 3 * * *", Jitter: "20m", Blackout: "30s", Missed: api.CatchUp, Late: "2h", Tries: 2,
		Due: "2026-11-22T03:30:00.000Z", Fired: "2026-11-21T03:34:12.000Z", Operation: "70", Outcome: fsm.Failed, Reason: "b: the bucket is not there", Try: 2, Count: 12, Skipped: 1, Why: "no standby was fit", Actor: "token:alice",
	}
}

// exampleTask is a backup as it goes on.
func exampleTask() []any {
	at := func(s string) string { return "2026-11-21T12:00:" + s + "Z" }
	o := api.Operation{
		ID: "71", Kind: "backup", By: "a", Actor: "local:0", Outcome: fsm.Running, Started: at("00.000"), Repository: "default", Copies: "data", Backup: exampleID, Limit: "6h", Keep: "30d", Deadline: "2026-11-21T18:00:00.000Z",
	}
	steps := []api.Step{
		{Name: fsm.StepValidate, Since: at("00.000"), Seconds: 1},
		{Name: fsm.StepPrepare, Assignee: "b", Since: at("01.000"), Seconds: 4, Parts: []api.Part{{Member: "b", Percent: 25, Text: "1.2 of 4.8 GB"}}},
		{Name: fsm.StepCopy, Assignee: "b", Since: at("05.000"), Seconds: 2, Parts: []api.Part{{Member: "b", Percent: 10, Text: "the node is stopped"}}},
		{Name: fsm.StepStore, Assignee: "b", Since: at("07.000"), Seconds: 3, Parts: []api.Part{{Member: "b", Percent: 50, Text: "reading back, 300 of 600 MB"}}},
	}
	done := func(s api.Step, text string) api.Step {
		s.Parts = []api.Part{{Member: "b", Percent: 100, Text: text, Ended: s.Since}}
		return s
	}
	look := func(percent int, message string, steps ...api.Step) any {
		v := o
		v.Percent, v.Message, v.Steps, v.Step, v.Seconds = percent, message, steps, steps[len(steps)-1].Name, float64(len(steps))
		if len(steps) > 1 {
			v.Member = "b"
		}
		return v
	}
	prepared, copied, stored := done(steps[1], ""), done(steps[2], "the node was down for 1.8 s"), done(steps[3], "812 MB stored, 34.5 GB")
	last := look(100, "done", steps[0], prepared, copied, stored).(api.Operation)
	last.Outcome, last.Step, last.Ended, last.Seconds = fsm.Done, "", at("10.000"), 10
	return []any{
		look(0, "validate", steps[0]), look(10, "prepare b: 1.2 of 4.8 GB", steps[:2]...), look(42, "copy b: the node is stopped", steps[0], prepared, steps[2]),
		look(80, "store b: reading back, 300 of 600 MB", steps[0], prepared, copied, steps[3]), last,
	}
}

// TestBackupCommands: what each command sends and says.
func TestBackupCommands(t *testing.T) {
	noLeaks(t)
	f := newFakeAPI(t)
	s := &transcript{t: t, api: f}
	f.on("GET /cluster/backups", exampleBackups())
	f.on("GET /cluster/backups?kind=data&state=done", []api.Backup{exampleBackup()})
	f.on("GET /cluster/backups?member=b&repository=far", []api.Backup{})
	f.on("GET /cluster/backups/"+exampleID, exampleBackup())
	f.on("GET /cluster/backups/"+otherID, exampleBackups()[2])
	s.run("backup list")
	s.run("backup list --kind data --state done")
	s.run("backups ls --member b --repository far")
	for _, unfit := range []string{
		"list --url file:///x --kind data", "list --url file:///x --state done", "list --url file:///x --repository far", "list --url file:///x --member b",
		"list --key-file k", "list --env-file e", "verify " + exampleID + " --key-file k", "verify " + exampleID + " --env-file e", "restore " + exampleID + " --member b --key-file k",
		"verify " + exampleID + " --url file:///x --limit 1h", "verify " + exampleID + " --url file:///x --queue 1h",
		"restore " + exampleID + " --url file:///x --to /y --limit 1h", "restore " + exampleID + " --url file:///x --to /y --queue 1h",
	} {
		s.run("backup " + unfit)
	}
	s.run("backup show " + exampleID)
	s.run("backup show " + otherID)
	s.run("backup show " + exampleID + " --output yaml")
	s.run("backup show nothing")

	started := api.Started{Operation: "71"}
	f.answer("POST /cluster/backup", http.StatusAccepted, started)
	s.run("backup create")
	s.run("backup create --kind snapshot --member c --repository far --keep 30d --limit 2h --queue 1d --output json")
	s.run("backup create --kind all")
	s.run("backup create --keep long")
	f.answer("POST /cluster/backup", http.StatusConflict, `{"error":{"code":"backup.refused","message":"it is not begun: b is 40 slots behind; a holds the lease","hint":"look at: roundtable status"}}`)
	s.run("backup create --member b")
	f.answer("POST /cluster/backups/"+exampleID+"/verify", http.StatusAccepted, started)
	s.run("backup verify " + exampleID)
	s.run("backup verify " + exampleID + " --trial --member c")
	s.run("backup verify " + exampleID + " --trial --url file:///x")
	f.answer("POST /cluster/backups/"+exampleID+"/restore", http.StatusAccepted, started)
	s.run("backup restore " + exampleID)
	s.run("backup restore " + exampleID + " --member b")
	s.run("backup restore " + exampleID + " --member b --yes --limit 3h")
	s.run("backup restore " + exampleID + " --url file:///x")
	s.run("backup restore " + exampleID + " --url file:///x --to /y --member b")
	expired := exampleBackup()
	expired.State = fsm.BackupExpired
	f.on("DELETE /cluster/backups/"+exampleID, api.BackupSet{Index: 80, Backup: expired})
	f.answer("DELETE /cluster/backups/"+otherID, http.StatusConflict, `{"error":{"code":"backup.invalid","message":"the backup is not fit for this: \"`+otherID+`\" is pinned","hint":"look at it: roundtable backup show"}}`)
	s.run("backup rm " + exampleID)
	s.run("backup rm " + exampleID + " " + otherID + " --yes")
	pinned := exampleBackup()
	pinned.Pinned = true
	f.on("PATCH /cluster/backups/"+exampleID, api.BackupSet{Index: 81, Backup: pinned})
	s.run("backup pin " + exampleID + " " + exampleID)
	f.on("PATCH /cluster/backups/"+exampleID, api.BackupSet{Index: 82, Backup: exampleBackup()})
	s.run("backup unpin " + exampleID + " --output json")
	s.run("backup set " + exampleID + " --expires 30d")
	s.run("backup set " + exampleID + " --expires retention")
	s.run("backup set " + exampleID + " --expires 2027-01-31T00:00:00Z")
	s.run("backup set " + exampleID + " --expires soon")
	s.run("backup set " + exampleID)
	f.answer("POST /cluster/backups/sweep", http.StatusAccepted, started)
	f.answer("POST /cluster/backups/scan", http.StatusAccepted, started)
	s.run("backup sweep")
	s.run("backup sweep --unknown")
	s.run("backup sweep --unknown --yes --repository far --member c")
	s.run("backup scan --repository far --queue 10m")

	daily := examplePlan()
	daily.ID, daily.Outcome, daily.Operation, daily.Reason, daily.Skipped, daily.Try, daily.Fired, daily.Count, daily.Why = "daily", "", "", "", 0, 0, "", 0, ""
	daily.Action, daily.Kind, daily.Trial, daily.Cron, daily.Every, daily.Keep = "verify", "", true, "", "1d", ""
	off := daily
	off.ID, off.Disabled, off.Due, off.Every, off.Blocks, off.Member = "off", true, "", "", 172800, "c"
	f.on("GET /cluster/plans", []api.Plan{daily, examplePlan(), off})
	f.on("GET /cluster/plans/nightly", examplePlan())
	f.on("GET /cluster/plans/off", off)
	s.run("plan list")
	s.run("plan show nightly")
	s.run("plan show off")
	s.run("plan show nothing")
	f.answer("POST /cluster/plans", http.StatusCreated, api.PlanSet{Index: 90, Plan: examplePlan()})
	s.run("plan add nightly --every 1d")
	s.run("plan add nightly --cron @daily --kind snapshot --keep 30d --jitter 20m --blackout 30s --late 2h --tries 2 --repository far --limit 6h")
	s.run("plan add proof --action verify --trial --blocks 172800 --member c --disabled")
	s.run("plan add tidy --action sweep --unknown --every 7d")
	s.run("plan add nightly")
	s.run("plan add nightly --every 1d --blocks 5")
	s.run("plan add nightly --every often")
	s.run("plan add nightly --every 1d --kind all")
	f.on("PATCH /cluster/plans/nightly", api.PlanSet{Index: 91, Plan: off}, api.PlanSet{Index: 92, Plan: examplePlan()})
	s.run("plan disable nightly")
	s.run("plan enable nightly")
	f.answer("POST /cluster/plans/nightly/run", http.StatusAccepted, started)
	s.run("plan run nightly")
	f.on("DELETE /cluster/plans/nightly", api.Removed{Index: 93, ID: "nightly"})
	s.run("plan rm nightly")
	s.run("plan rm nightly --yes")
	golden(t, "backups", s.text.String())
}

// TestBackupProgress: each step, how far it is, and the backup at the end; what it looks like in a list and by itself.
func TestBackupProgress(t *testing.T) {
	noLeaks(t)
	f := newFakeAPI(t)
	f.answer("POST /cluster/backup", http.StatusAccepted, api.Started{Operation: "71"})
	f.on("GET /cluster/operations/71", exampleTask()...)
	code, out, errs := command("backup", "create", "--wait", "--server", f.URL)
	if code != exitDone || out != "operation 71 started\nbackup 71 done: "+exampleID+": 812 MB stored, 34.5 GB in 10.00 s\n" {
		t.Errorf("exit %d: %q", code, out)
	}
	golden(t, "backup-progress", errs)

	f.on("GET /cluster/operations/71", exampleTask()...)
	code, shown := newTerminal(t, 24, 100).run(map[string]string{"TERM": "xterm"}, "backup", "create", "--wait", "--server", f.URL)
	if code != exitDone || !strings.Contains(shown, "prepare  b  █████░░░░░░░░░░░░░░░  25 %  1.2 of 4.8 GB") || !strings.Contains(shown, "backup 71   42 %  copy b: the node is stopped") {
		t.Errorf("exit %d: %q", code, shown)
	}

	failed := exampleTask()[3].(api.Operation)
	failed.Outcome, failed.Reason, failed.Message, failed.Step = fsm.Failed, "b: the bucket is not there", "failed: b: the bucket is not there", ""
	failed.Steps[3].Parts = []api.Part{{Member: "b", Percent: 50, Fault: "the bucket is not there", Ended: "2026-11-21T12:00:08.000Z"}}
	f.on("GET /cluster/operations/71", failed)
	code, _, errs = command("backup", "create", "--wait", "--server", f.URL)
	if want := "error: backup 71 failed at step \"store\": b: the bucket is not there\nhint: see: roundtable operations 71\n"; code != exitFailed || !strings.HasSuffix(errs, want) {
		t.Errorf("exit %d: %s", code, errs)
	}

	restore, verify, sweep := exampleTask()[0].(api.Operation), exampleTask()[0].(api.Operation), exampleTask()[0].(api.Operation)
	restore.Kind, restore.Member, restore.Auto, restore.Copies = "restore", "c", true, ""
	verify.Kind, verify.Trial, verify.Plan, verify.Copies = "verify", true, "proof", ""
	sweep.Kind, sweep.Unknown, sweep.Copies = "sweep", true, ""
	var text strings.Builder
	f.on("GET /cluster/operations", append([]any{restore, verify, sweep}, exampleTask()[4]))
	_, out, _ = command("operations", "--server", f.URL)
	text.WriteString(out)
	f.on("GET /cluster/operations/71", exampleTask()[2])
	_, out, _ = command("operations", "71", "--server", f.URL)
	text.WriteString("\n" + out)
	canceling := exampleTask()[2].(api.Operation)
	canceling.Canceling, canceling.Message = true, "copy b: the node is stopped; it stops when the node is back, canceled"
	f.answer("DELETE /cluster/operations/71", http.StatusAccepted, canceling)
	_, out, _ = command("operations", "cancel", "71", "--server", f.URL)
	text.WriteString("\n" + out)
	o := exampleOverview()
	o.Operations = []api.Operation{exampleTask()[2].(api.Operation)}
	o.Backups = []api.BackupStanding{
		{Repository: "default", Kind: "data", Last: exampleID, LastAt: "2026-11-21T03:41:30.000Z", AgeSeconds: 29910, Good: 12, Stored: 81_000_000_000, Running: []string{otherID}, Damaged: []string{"x"}, Verified: "2026-11-21T06:00:00.000Z"},
		{Repository: "far", Kind: "snapshot", AgeSeconds: -1, Failed: "y", Fault: "no room"},
	}
	f.on("GET /cluster", o)
	_, out, _ = command("status", "--server", f.URL)
	text.WriteString("\n" + out)
	golden(t, "backup-operations", text.String())
}

// TestRestoreAsks: a restore says what it does to whom, and does nothing without a yes.
func TestRestoreAsks(t *testing.T) {
	noLeaks(t)
	f := newFakeAPI(t)
	f.on("GET /cluster/backups/"+exampleID, exampleBackup())
	f.answer("POST /cluster/backups/"+exampleID+"/restore", http.StatusAccepted, api.Started{Operation: "71"})
	for typed, code := range map[string]int{"y\n": exitDone, "n\n": exitFailed} {
		f.asked = nil
		term := newTerminal(t, 24, 200)
		if _, err := term.typing.WriteString(typed); err != nil {
			t.Fatal(err)
		}
		got, shown := term.run(nil, "backup", "restore", exampleID, "--member", "b", "--server", f.URL)
		if got != code || !strings.Contains(shown, "Replace the data of b's node by "+exampleID+": data of block 412345678, made ") || !strings.Contains(shown, "moved aside. [y/N]") {
			t.Errorf("%q: exit %d: %q", typed, got, shown)
		}
		if posted := len(f.asked) == 2; posted != (code == exitDone) {
			t.Errorf("%q: it was asked for: %v", typed, posted)
		}
	}
}

var keyShape = regexp.MustCompile(`^age1[a-z0-9]{58}\n$`)

// TestKeygen: a new file for its owner alone; what is printed is no secret; nothing is replaced.
func TestKeygen(t *testing.T) {
	noLeaks(t)
	file := filepath.Join(t.TempDir(), "backup.key")
	code, out, errs := command("backup", "keygen", file)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	info, _ := os.Stat(file)
	if code != exitDone || !keyShape.MatchString(out) || info.Mode().Perm() != 0o600 || !strings.Contains(string(text), "AGE-SECRET-KEY-") || strings.Contains(out+errs, "SECRET") {
		t.Errorf("exit %d: %q, %s %s: %s", code, out, errs, info.Mode(), text)
	}
	code, out, errs = command("backup", "keygen", file)
	if again, _ := os.ReadFile(file); code != exitFailed || out != "" || !strings.Contains(errs, "hint: nothing was changed") || !bytes.Equal(again, text) {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
	if code, _, _ = command("backup", "keygen", filepath.Join(file, "x")); code != exitFailed {
		t.Errorf("exit %d", code)
	}
}

// storedIn makes a backup of a folder in a repository, as a manager's worker does it, and returns what it is of.
func storedIn(t *testing.T, r worker.Repository, id string) string {
	t.Helper()
	dir := t.TempDir()
	for name, size := range map[string]int{"blocks/blocks.log": 3 << 20, "state/shared_memory.bin": 1 << 20, "snapshots/x.bin": 100} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), bytes.Repeat([]byte(id), size/len(id)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	source := &backup.Source{Dir: dir, Meta: backup.Meta{Kind: "data", Cluster: "demo", ChainID: strings.Repeat("c", 64), Member: "b", NodeVersion: "v1.2.2", Head: 1000, LIB: 998, Created: testNow.UnixMilli() - 3_600_000}}
	for _, job := range []worker.Job{{Do: worker.DoBackup, Source: source, Create: true}, {Do: worker.DoReadback}, {Do: worker.DoCommit}} {
		job.Repository, job.ID = r, id
		if err := runJob(t.Context(), job, func(worker.Line) {}); err != nil {
			t.Fatalf("%s: %v", job.Do, err)
		}
	}
	return dir
}

// TestWithoutManager: list, verify and restore from a real repository, encrypted and not, with nobody to ask.
func TestWithoutManager(t *testing.T) {
	noLeaks(t)
	key, _, err := worker.NewKey(testNow)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	keyFile := filepath.Join(dir, "key")
	if err := os.WriteFile(keyFile, key, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ name, key, keyFile string }{{"plain", "", ""}, {"encrypted", string(key), keyFile}} {
		t.Run(tc.name, func(t *testing.T) {
			folder := t.TempDir()
			url := "file://" + folder
			source := storedIn(t, worker.Repository{URL: url, Key: tc.key}, exampleID)
			run := func(want int, args ...string) (stdout, stderr string) {
				t.Helper()
				args = append([]string{"backup"}, append(args, "--url", url)...)
				if tc.keyFile != "" {
					args = append(args, "--key-file", tc.keyFile)
				}
				code, out, errs := command(args...)
				if code != want || strings.Contains(out+errs, "SECRET") {
					t.Fatalf("%v: exit %d: %s%s", args, code, out, errs)
				}
				return out, errs
			}
			out, _ := run(exitDone, "list")
			for _, want := range []string{exampleID, "data", "demo", "1000", "1 h ago", "v1.2.2", "cccccccccccc ..."} {
				if !strings.Contains(out, want) {
					t.Errorf("no %q in %s", want, out)
				}
			}
			out, _ = run(exitDone, "list", "--output", "json")
			var list []backup.Info
			if err := json.Unmarshal([]byte(out), &list); err != nil || len(list) != 1 || list[0].Meta.Head != 1000 {
				t.Errorf("%v %s", err, out)
			}
			if out, _ = run(exitDone, "verify", exampleID); out != "backup "+exampleID+" is whole\n" {
				t.Errorf("%q", out)
			}
			to := filepath.Join(t.TempDir(), "data")
			if out, _ = run(exitDone, "restore", exampleID, "--to", to); !strings.HasPrefix(out, "backup "+exampleID+" is in "+to+": 3 files, 4.2 MB, block 1000 of chain cccc") {
				t.Errorf("%q", out)
			}
			sameFolder(t, source, to)
			if _, errs := run(exitFailed, "restore", exampleID, "--to", to); !strings.Contains(errs, "hint: empty the folder, or name another one") {
				t.Error(errs)
			}
			if _, errs := run(exitFailed, "verify", "nothing"); !strings.Contains(errs, "hint:") {
				t.Error(errs)
			}

			// A manifest that cannot be read hides no other.
			torn := filepath.Join(folder, "manifests", "torn")
			put(t, torn, "x")
			out, errs := run(exitFailed, "list")
			if !strings.Contains(out, exampleID) || !strings.Contains(errs, "error: backup torn is damaged: ") || !strings.Contains(errs, "hint: ") {
				t.Errorf("%s%s", out, errs)
			}
			out, errs = run(exitFailed, "list", "--output", "json")
			if err := json.Unmarshal([]byte(out), &list); err != nil || len(list) != 1 || !strings.Contains(errs, "torn") {
				t.Errorf("%v %s%s", err, out, errs)
			}
			if err := os.Remove(torn); err != nil {
				t.Fatal(err)
			}

			// One bit that is wrong is found by both, and nothing is written where a node would take it.
			flipBit(t, filepath.Join(folder, "packs", exampleID))
			_, errs = run(exitFailed, "verify", exampleID)
			if !strings.Contains(errs, "error: ") || !strings.Contains(errs, "damaged") {
				t.Error(errs)
			}
			run(exitFailed, "restore", exampleID, "--to", filepath.Join(t.TempDir(), "other"))
		})
	}
	folder := t.TempDir()
	storedIn(t, worker.Repository{URL: "file://" + folder, Key: string(key)}, exampleID)
	if code, _, errs := command("backup", "list", "--url", "file://"+folder); code != exitFailed || !strings.Contains(errs, "hint: ") || !strings.Contains(errs, "key") {
		t.Errorf("without its key: exit %d: %s", code, errs)
	}
	if code, _, errs := command("backup", "list", "--url", "file://"+folder, "--key-file", "/nowhere"); code != exitUsage || !strings.Contains(errs, "--key-file") {
		t.Errorf("exit %d: %s", code, errs)
	}
	if code, _, errs := command("backup", "list", "--url", "file://"+t.TempDir()); code != exitFailed || !strings.Contains(errs, "no repository") {
		t.Errorf("an empty folder: exit %d: %s", code, errs)
	}
	if code, _, errs := command("backup", "list", "--url", "s3://user:pa55word@bucket/x"); code != exitFailed || strings.Contains(errs, "pa55word") {
		t.Errorf("a password in a URL: exit %d: %s", code, errs)
	}
}

// sameFolder wants two folders to hold the same files.
func sameFolder(t *testing.T, want, got string) {
	t.Helper()
	files := map[string]bool{}
	for _, dir := range []string{want, got} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				name, _ := filepath.Rel(dir, path)
				files[name] = true
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(files) != 3 {
		t.Errorf("%v", files)
	}
	for name := range files {
		a, _ := os.ReadFile(filepath.Join(want, name))
		b, _ := os.ReadFile(filepath.Join(got, name))
		if !bytes.Equal(a, b) || len(a) == 0 {
			t.Errorf("%s has %d bytes, not the same %d", name, len(b), len(a))
		}
	}
}

// flipBit changes one bit in the middle of the first pack.
func flipBit(t *testing.T, folder string) {
	t.Helper()
	files, err := os.ReadDir(folder)
	if err != nil || len(files) == 0 {
		t.Fatalf("%v %v", files, err)
	}
	file := filepath.Join(folder, files[0].Name())
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text[len(text)/2] ^= 1
	if err := os.Chmod(file, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestBackupCheck: what a member can do with its repositories, and what is wrong where it cannot.
func TestBackupCheck(t *testing.T) {
	noLeaks(t)
	home, good, empty := t.TempDir(), t.TempDir(), t.TempDir()
	storedIn(t, worker.Repository{URL: "file://" + good}, exampleID)
	url := "file://" + good
	code, out, errs := command("backup", "check", "--url", url)
	if code != exitDone || !strings.Contains(out, "store      writes, reads, lists and deletes\n") || !strings.Contains(out, "repository 1 backup in it\n") || !strings.Contains(out, "encrypted  no\n") {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
	if code, out, _ = command("backup", "check", "--url", "file://"+empty); code != exitDone || !strings.Contains(out, "repository empty: the first backup makes the repository") {
		t.Errorf("exit %d: %s", code, out)
	}
	if files, err := os.ReadDir(empty); err != nil || len(files) > 1 {
		t.Errorf("it left %v %v", files, err)
	}
	for _, unfit := range [][]string{{"--key-file", "k"}, {"far", "--env-file", "e"}, {"far", "--url", url}} {
		if code, _, errs = command(append([]string{"backup", "check"}, unfit...)...); code != exitUsage || !strings.Contains(errs, "--url") || !strings.Contains(errs, "hint: ") {
			t.Errorf("%q: exit %d: %s", unfit, code, errs)
		}
	}
	key := filepath.Join(home, "backup.key")
	if code, _, errs = command("backup", "keygen", key); code != exitDone {
		t.Fatal(errs)
	}
	if code, out, errs = command("backup", "check", "--url", url, "--key-file", key); code != exitFailed || !strings.Contains(out, "problem    ") || !strings.Contains(errs, "1 repository cannot be used") {
		t.Errorf("a key for a repository that is not encrypted: exit %d: %s%s", code, out, errs)
	}
	put(t, filepath.Join(home, "config.toml"), "[manager]\nid = \"b\"\n[backup]\nrepository = \"near\"\n[backup.repositories.near]\nurl = \""+url+"\"\n[backup.repositories.far]\nurl = \"file:///nowhere/at/all\"\n")
	code, out, errs = command("backup", "check", "--home", home, "--output", "json")
	var views []checkView
	if err := json.Unmarshal([]byte(out), &views); err != nil || code != exitFailed || len(views) != 2 {
		t.Fatalf("exit %d: %v %s%s", code, err, out, errs)
	}
	if views[0].Repository != "near" || views[0].Backups != 1 || views[0].Problem != "" || views[1].Problem == "" || views[1].Hint == "" {
		t.Errorf("%+v", views)
	}
	if code, out, _ = command("backup", "check", "near", "--home", home); code != exitDone || !strings.HasPrefix(out, "near\n") {
		t.Errorf("exit %d: %s", code, out)
	}
	put(t, filepath.Join(home, "config.toml"), "[manager]\nid = \"b\"\n[backup]\npre_hook = \"none\"\n[backup.repositories.near]\nurl = \""+url+"\"\n")
	if code, out, errs = command("backup", "check", "--home", home); code != exitFailed || !strings.HasPrefix(out, "near\n") || !strings.Contains(errs, "backup.pre_hook") || !strings.Contains(errs, "chmod +x") {
		t.Errorf("a hook that is not there: exit %d: %s%s", code, out, errs)
	}
	if code, _, errs = command("backup", "check", "far", "--home", home); code != exitUsage || !strings.Contains(errs, "hint: there are: near") {
		t.Errorf("exit %d: %s", code, errs)
	}
}

func TestBytesOf(t *testing.T) {
	for n, want := range map[int64]string{0: "-", -1: "-", 1: "1 B", 999: "999 B", 1000: "1.0 kB", 99_949: "99.9 kB", 99_951: "100 kB", 999_499: "999 kB", 999_500: "1.0 MB", 34_500_000_000: "34.5 GB", 1_200_000_000_000_000: "1200 TB"} {
		if got := bytesOf(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}

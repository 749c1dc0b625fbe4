package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"roundtable/api"
	"roundtable/fsm"
)

// exampleUpgrade is an upgrade as it goes on, one answer after another.
func exampleUpgrade() []any {
	at := func(s string) string { return "2026-11-21T12:00:" + s + "Z" }
	o := api.Operation{
		ID: "70", Kind: fsm.KindUpgrade, Tag: "v1.2.3", Undo: api.UndoMember, Members: []string{"a", "b", "m10"}, Limit: "10m0s", By: "c", Actor: "token:ops", Outcome: fsm.Running, Started: at("00.000"),
	}
	step := func(percent int, message string, steps ...api.Step) any {
		o.Percent, o.Message, o.Steps = percent, message, steps
		o.Step = steps[len(steps)-1].Name
		return o
	}
	validate := api.Step{Name: fsm.StepValidate, Since: at("00.000"), Seconds: 0.01}
	staging := api.Step{Name: fsm.StepStage, Since: at("00.010"), Seconds: 4, Parts: []api.Part{{Member: "a", Percent: 100, Ended: at("01.000"), Text: "sha256 ab12"}, {Member: "b", Percent: 45, Text: "11 of 24 MB"}, {Member: "m10"}}}
	staged := staging
	staged.Parts = []api.Part{staging.Parts[0], {Member: "b", Percent: 100, Ended: at("04.000"), Text: "sha256 ab12"}, {Member: "m10", Percent: 100, Ended: at("03.000"), Text: "it was there"}}
	list := []any{step(0, "validate", validate), step(12, "stage: a: sha256 ab12; b: 45 %, 11 of 24 MB; m10", validate, staging)}
	working := api.Step{Name: fsm.StepSwitch, Assignee: "b", Since: at("04.010"), Seconds: 9, Parts: []api.Part{{Member: "b", Percent: 40, Text: "syncing, head 12 slots behind"}}}
	list = append(list, step(35, "switch b: syncing, head 12 slots behind (1 of 3)", validate, staged, working))
	worked := working
	worked.Parts = []api.Part{{Member: "b", Percent: 100, Ended: at("13.000")}}
	handing := api.Step{Name: fsm.StepHandOver, Since: at("13.010")}
	o.Done = []string{"b"}
	list = append(list, step(50, "hand over: from a to b, await window (1 of 3 through)", validate, staged, worked, handing))
	o.Done, o.Outcome, o.Ended, o.Seconds = []string{"b", "m10", "a"}, fsm.Done, at("21.000"), 21
	last := step(100, "done", validate, staged, worked, handing).(api.Operation)
	last.Step = ""
	return append(list, last)
}

// brokenUpgrade has ended badly.
func brokenUpgrade() api.Operation {
	o := exampleUpgrade()[4].(api.Operation)
	o.Outcome, o.Percent, o.Reason, o.Fault = fsm.Failed, 50, "m10: it ended at once: exit code 1; rolled back: m10; through: b", "m10: it ended at once: exit code 1"
	o.Done, o.Undone, o.Message = []string{"b"}, []string{"m10"}, "failed: "+o.Reason
	o.Steps = append(o.Steps[:3:3], api.Step{Name: fsm.StepSwitch, Assignee: "m10", Since: "2026-11-21T12:00:13.010Z", Seconds: 2, Parts: []api.Part{{Member: "m10", Fault: "it ended at once: exit code 1", Ended: "2026-11-21T12:00:15.000Z"}}},
		api.Step{Name: fsm.StepUndo, Assignee: "m10", Since: "2026-11-21T12:00:15.010Z", Seconds: 6, Parts: []api.Part{{Member: "m10", Percent: 100, Text: "back on v1.2.2", Ended: "2026-11-21T12:00:21.000Z"}}})
	return o
}

// TestRide: each step and what came of each part, once; its outcome is the command's.
func TestRide(t *testing.T) {
	noLeaks(t)
	f := newFakeAPI(t)
	f.answer("POST /cluster/upgrade", http.StatusAccepted, api.Started{Operation: "70"})
	f.on("GET /cluster/operations/70", exampleUpgrade()...)
	code, out, errs := command("upgrade", "v1.2.3", "--yes", "--wait", "--server", f.URL)
	if code != exitDone || out != "operation 70 started\nupgrade 70 done: v1.2.3 on b, m10, a in 21.00 s\n" {
		t.Errorf("exit %d: %q", code, out)
	}
	golden(t, "upgrade-progress", errs)

	f.on("GET /cluster/operations/70", brokenUpgrade())
	code, _, errs = command("operations", "70", "--follow", "--server", f.URL)
	want := `error: upgrade 70 failed at step "switch": m10: it ended at once: exit code 1; rolled back: m10; through: b; as before: a` + "\nhint: see: roundtable operations 70\n"
	if code != exitFailed || !strings.HasSuffix(errs, want) || !strings.Contains(errs, "m10: failed: it ended at once: exit code 1\n") || !strings.Contains(errs, "m10: back on v1.2.2\n") {
		t.Errorf("exit %d: %s", code, errs)
	}
}

// TestWhatIsLeft: who was stopped and is neither through nor back is not said to be as before; a reason that was cut says so.
func TestWhatIsLeft(t *testing.T) {
	o := brokenUpgrade()
	o.Undone = nil
	if got, want := left(o, ""), "; through: b; not proved to be back: m10; as before: a"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	for i := range o.Steps { // nobody said so: the time was up
		for j := range o.Steps[i].Parts {
			o.Steps[i].Parts[j].Fault = ""
		}
	}
	if got := failedAt(o); got != "switch" {
		t.Errorf("it failed at %q", got)
	}
	late := o.Steps[3].Parts[0]
	late.Ended, late.Text = "", "stopping the node"
	if got := partInk(late, false); got != "not ended: stopping the node" {
		t.Errorf("%q", got)
	}
	if got := partInk(late, true); got != "stopping the node" {
		t.Errorf("%q", got)
	}
	for _, size := range []int{1, 101, 396, 397, 400} {
		o.Reason = strings.Repeat("x", size)
		if got, want := strings.HasSuffix(reason(o), " ..."), size >= 397; got != want {
			t.Errorf("a reason of %d bytes: %q", size, reason(o))
		}
		if got, want := inShort(o.Reason), strings.Repeat("x", min(size, 100)); strings.TrimSuffix(got, " ...") != want || strings.HasSuffix(got, " ...") != (size > 100) {
			t.Errorf("a reason of %d bytes in short: %q", size, got)
		}
	}
}

// screen is what a terminal shows after a text, without colours.
func screen(text string) []string {
	rows, row := []string{""}, 0
	for text != "" {
		end := escapes.FindStringIndex(text)
		switch {
		case end != nil && end[0] == 0:
			code := text[2:end[1]]
			switch code[len(code)-1] {
			case 'A':
				up := 0
				_, _ = fmt.Sscan(code[:len(code)-1], &up)
				row -= up
			case 'J':
				rows = rows[:row+1]
				rows[row] = ""
			}
			text = text[end[1]:]
			continue
		case text[0] == '\r':
		case text[0] == '\n':
			if row++; row == len(rows) {
				rows = append(rows, "")
			}
		default:
			rows[row] += text[:1]
		}
		text = text[1:]
	}
	return rows
}

// TestRideOnATerminal: a line for each member, which lives; what is over stays.
func TestRideOnATerminal(t *testing.T) {
	noLeaks(t)
	f := newFakeAPI(t)
	f.answer("POST /cluster/upgrade", http.StatusAccepted, api.Started{Operation: "70"})
	f.on("GET /cluster/operations/70", exampleUpgrade()...)
	code, shown := newTerminal(t, 24, 80).run(map[string]string{"TERM": "xterm"}, "upgrade", "v1.2.3", "--yes", "--wait", "--server", f.URL)
	if code != exitDone {
		t.Fatalf("exit %d: %s", code, shown)
	}
	live := "upgrade 70   35 %  switch b: syncing, head 12 slots behind (1 of 3)"
	i := strings.Index(shown, live)
	if i < 0 {
		t.Fatalf("no %q in %q", live, shown)
	}
	now := screen(shown[:i+strings.Index(shown[i:], "\x1b[3A")])
	full, none := strings.Repeat("█", 20), strings.Repeat("░", 20)
	want := []string{"  a    " + none + "   0 %  -", "  b    " + strings.Repeat("█", 8) + strings.Repeat("░", 12) + "  40 %  syncing, head 12 slots behind", "  m10  " + none + "   0 %  -"}
	if d := cmp.Diff(want, now[len(now)-3:]); d != "" {
		t.Errorf("-want +shown\n%s", d)
	}
	if !strings.Contains(shown, "  b    "+full+" 100 %  through") {
		t.Errorf("nobody is through: %q", shown)
	}
	golden(t, "upgrade-terminal", strings.Join(screen(shown), "\n"))
}

// TestFollow: the one that is under way, if there is but one.
func TestFollow(t *testing.T) {
	noLeaks(t)
	f := newFakeAPI(t)
	list := exampleUpgrade()
	child := exampleOperation()
	child.Parent = "70"
	f.on("GET /cluster/operations", []any{child, list[3], brokenUpgrade()})
	f.on("GET /cluster/operations/70", list[3], list[4])
	if code, out, errs := command("operations", "--follow", "--server", f.URL); code != exitDone || !strings.HasPrefix(out, "upgrade 70 done") {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
	f.on("GET /cluster/operations", []any{exampleOperation(), list[3]})
	if code, _, errs := command("operations", "-f", "--server", f.URL); code != exitUsage || !strings.Contains(errs, "123, 70") {
		t.Errorf("exit %d: %s", code, errs)
	}
	f.on("GET /cluster/operations", []any{doneOperation()})
	if code, out, _ := command("operations", "-f", "--server", f.URL); code != exitDone || out != "no operation is under way\n" {
		t.Errorf("exit %d: %s", code, out)
	}
	if code, _, errs := command("operations", "71", "-f", "--server", f.URL); code != exitFailed {
		t.Errorf("exit %d: %s", code, errs)
	}
	for name, args := range map[string]string{"operation-rolling": "operations 70", "operations-rolling": "operations"} {
		f.on("GET /cluster/operations", []any{child, list[2], brokenUpgrade()})
		f.on("GET /cluster/operations/70", brokenUpgrade())
		_, out, _ := command(append(strings.Fields(args), "--server", f.URL)...)
		golden(t, name, out)
	}
}

// TestRideSurvives: the member that is asked dies; another one, whom it named, says how it goes on.
func TestRideSurvives(t *testing.T) {
	noLeaks(t)
	f, other := newFakeAPI(t), newFakeAPI(t)
	list := exampleUpgrade()
	f.answer("POST /cluster/upgrade", http.StatusAccepted, api.Started{Operation: "70"})
	f.on("GET /cluster/members", []api.Member{{ID: "a", API: f.URL}, {ID: "b", API: other.URL}})
	f.reply["GET /cluster/operations/70"] = func() (int, any) {
		panic(http.ErrAbortHandler) // what a client sees of a manager that is killed
	}
	f.Config.ErrorLog = nil
	other.on("GET /cluster/operations/70", list[2], list[4])
	code, out, errs := command("upgrade", "v1.2.3", "--yes", "--wait", "--server", f.URL)
	if code != exitDone || !strings.Contains(out, "upgrade 70 done") {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
	if len(other.asked) < 2 {
		t.Errorf("the other one was asked %d times", len(other.asked))
	}
}

// TestOldServer: one that knows nothing of messages and percentages is shown by its steps.
func TestOldServer(t *testing.T) {
	noLeaks(t)
	old := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode([]map[string]any{{"id": "7", "kind": "handoff", "from": "a", "to": "b", "when": "safe", "outcome": "running", "step": "stop", "steps": []any{}}})
	}))
	defer old.Close()
	if _, out, _ := command("operations", "--server", old.URL); !strings.Contains(out, "stop") {
		t.Error(out)
	}
}

// TestUpgradeAsks: it says what it will do, and does nothing without a yes.
func TestUpgradeAsks(t *testing.T) {
	noLeaks(t)
	f := newFakeAPI(t)
	o := exampleOverview()
	o.Members[1].Home = &api.Home{RunsTag: "v1.2.1"}
	f.on("GET /cluster", o)
	for args, want := range map[string]string{
		"":                              "Bring nodeos on a, b, c of demo from v1.2.2, v1.2.1, genesis to v1.3.0, now, one after another, the holder last? [y/N]",
		"--at-block 500 --members b":    "Bring nodeos on b of demo from v1.2.1 to v1.3.0, at block 500, one after another, the holder last? [y/N]",
		"--at-block 500 --hard-fork":    "to v1.3.0, at block 500, all at once; production rests meanwhile? [y/N]",
		"--feature SAVANNA":             "to v1.3.0, when SAVANNA is activated, one",
		"--row eosio/eosio/global//x=1": "to v1.3.0, when the table says eosio/eosio/global//x=1, one",
	} {
		term := newTerminal(t, 24, 200)
		if _, err := term.typing.WriteString("n\n"); err != nil {
			t.Fatal(err)
		}
		code, shown := term.run(nil, append(strings.Fields("upgrade v1.3.0 "+args), "--server", f.URL)...)
		if code != exitFailed || !strings.Contains(shown, want) || !strings.Contains(shown, "nothing was changed") || len(f.asked) != 1 {
			t.Errorf("%s: exit %d, %d requests: %s", args, code, len(f.asked), shown)
		}
		f.asked = nil
	}
}

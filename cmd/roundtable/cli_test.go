package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"roundtable/api"
	"roundtable/cluster"
	"roundtable/fsm"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew; review the difference")

// golden compares with testdata/name.golden.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".golden")
	if *rewrite {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s (-want +got):\n%s", file, d)
	}
}

// fakeAPI answers paths with what stands in it.
type fakeAPI struct {
	*httptest.Server
	mu     sync.Mutex
	asked  []*http.Request
	bodies []string
	reply  map[string]func() (int, any) // by "METHOD /path?query"
}

func newFakeAPI(t *testing.T) *fakeAPI {
	t.Helper()
	f := &fakeAPI{reply: map[string]func() (int, any){}}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sent, _ := io.ReadAll(r.Body)
		f.mu.Lock()
		f.asked, f.bodies = append(f.asked, r), append(f.bodies, string(sent))
		answer, ok := f.reply[r.Method+" "+r.URL.RequestURI()]
		f.mu.Unlock()
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, `{"error":{"code":"unknown_path","message":"there is nothing at this path","hint":"start at GET /cluster"}}`)
			return
		}
		status, body := answer()
		w.WriteHeader(status)
		if s, ok := body.(string); ok {
			_, _ = io.WriteString(w, s)
			return
		}
		_ = json.NewEncoder(w).Encode(body)
	}))
	t.Cleanup(f.Close)
	return f
}

func (f *fakeAPI) on(request string, bodies ...any) {
	f.answer(request, http.StatusOK, bodies...)
}

// answer gives the bodies in turn, the last one for ever.
func (f *fakeAPI) answer(request string, status int, bodies ...any) {
	n := 0
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reply[request] = func() (int, any) {
		n++
		return status, bodies[min(n, len(bodies))-1]
	}
}

// noLeaks looks for goroutines that are left when all that the test started is closed: call it first.
func noLeaks(t *testing.T) { t.Cleanup(func() { goleak.VerifyNone(t) }) }

// command runs a command line.
func command(args ...string) (code int, stdout, stderr string) {
	return commandWith("", args...)
}

// testNow is when the examples are looked at.
var testNow = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// commandWith runs a command line with an input. Nothing of this machine's own shows in what it does, but the environment.
func commandWith(stdin string, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(args, machine{stdin: strings.NewReader(stdin), stdout: &out, stderr: &errs, environ: os.Getenv, now: func() time.Time { return testNow }, socket: "/nowhere"})
	return code, out.String(), errs.String()
}

// TestMain takes the contexts and the cluster of whoever runs the tests out of their sight.
func TestMain(m *testing.M) {
	home, err := os.MkdirTemp("", "roundtable-test-")
	if err != nil {
		panic(err)
	}
	for _, name := range []string{"SERVER", "HOME", "CA", "TOKEN", "TOKEN_FILE", "CONTEXT"} {
		_ = os.Unsetenv("ROUNDTABLE_" + name) // fails for no name that is well formed
	}
	_ = os.Setenv("XDG_CONFIG_HOME", home)
	code := m.Run()
	_ = os.RemoveAll(home)
	os.Exit(code)
}

func exampleMembers() []api.Member {
	members := []api.Member{}
	for i, id := range []string{"a", "b", "c", "w"} {
		m := api.Member{
			ID: id, Role: api.RoleStandby, Alive: true, Fit: true, Node: "running", Head: api.Block{Num: 1000200, Slot: 1710000000}, LIB: 1000198, Peers: 2, Paused: true,
			ClockOffsetMs: int64(i), Fence: "gate", Version: "v0.1.0", NodeVersion: "v1.2.2", EntryVersion: 1, API: "http://" + id + ":9080", Raft: id + ":9070", P2P: id + ":9876",
			Started: "2026-11-21T11:00:00.000Z",
		}
		members = append(members, m)
	}
	hash := strings.Repeat("0123456789abcdef", 4)
	members[0].Home = &api.Home{Tag: "v1.2.3", RunsTag: "v1.2.2", RunsConfig: hash}
	members[1].Home = &api.Home{RunsTag: "v1.2.3", RunsConfig: hash, Offers: "fedcba9876543210"}
	members[2].Home = &api.Home{RunsTag: "genesis", RunsConfig: hash, Offers: "fedcba9876543210", Refused: "fedcba9876543210"}
	members[0].Role, members[0].Leader, members[0].Paused = api.RoleHolder, true, false
	w := &members[3]
	w.Role, w.Node, w.Fit, w.Reason, w.Head, w.LIB, w.Peers, w.NodeVersion, w.Fence, w.P2P, w.Paused = api.RoleWitness, "none", false, "is a witness: it has no node", api.Block{}, 0, 0, "", "", "", false
	return members
}

func exampleOperation() api.Operation {
	return api.Operation{
		ID: "123", Kind: "handoff", From: "a", To: "b", When: "safe", By: "c", Outcome: fsm.Running, Step: fsm.StepStop, Percent: 40, Message: "stop at a", Started: "2026-11-21T12:00:00.000Z", Seconds: 1.25,
		Steps: []api.Step{
			{Name: fsm.StepValidate, Since: "2026-11-21T12:00:00.000Z", Seconds: 0.004},
			{Name: fsm.StepAwait, Assignee: "a", Since: "2026-11-21T12:00:00.004Z", Seconds: 1.2},
			{Name: fsm.StepStop, Assignee: "a", Since: "2026-11-21T12:00:01.204Z", Seconds: 0.046},
		},
	}
}

func doneOperation() api.Operation {
	o := exampleOperation()
	o.Outcome, o.Step, o.Ended, o.Percent, o.Message = fsm.Done, "", "2026-11-21T12:00:01.250Z", 100, "done"
	return o
}

func exampleOverview() api.Overview {
	return api.Overview{
		Cluster: "demo", Producers: []string{"alice"}, Member: "a", At: "2026-11-21T12:00:00.000Z", Index: 70, Alarms: []string{}, Leader: "a", Term: 3,
		Lease: api.Lease{Epoch: 5, Holder: "a", First: 1709999000, FirstAt: "2026-11-21T11:51:40.000Z", Last: 1710000004, LastAt: "2026-11-21T12:00:02.000Z", Slot: 1710000000, SlotsLeft: 4, Reason: "the lease is held"},
		Round: api.Round{
			Version: 7, Schedule: []string{"alice"}, Window: 142500000, WindowFirst: 1710000000, WindowFirstAt: "2026-11-21T12:00:00.000Z",
			Producers: []api.ProducerRound{{Producer: "alice", State: fsm.ProducingNow, InSchedule: true}},
			Windows:   []api.Window{{Producer: "alice", First: 1709999988, FirstAt: "2026-11-21T11:59:54.000Z", Due: 12, Signed: 12}, {Producer: "alice", First: 1709999976, FirstAt: "2026-11-21T11:59:48.000Z", Due: 12, Signed: 11, Missed: 1}},
			Due:       24, Signed: 23, Missed: 1,
		},
		Members: exampleMembers(), Operations: []api.Operation{},
	}
}

func troubledOverview() api.Overview {
	o := exampleOverview()
	o.Alarms = []string{"member c is not alive: last heard 12 s ago", "standby b is not fit: its head is 9 slots behind", "no fit standby: if the holder fails, production stops", "an\x1b[31m escape", "5", "6", "7", "8"}
	o.Operations = []api.Operation{exampleOperation()}
	o.Members[1].Fit, o.Members[1].Reason, o.Members[1].Lag = false, "its head is 9 slots behind", 9
	o.Members[1].Node = "backoff"
	o.Members[1].Reason = "the node is waiting to be started again: exit code 1: 3190000 block_validate_exception"
	o.Members[2].Alive, o.Members[2].Fit, o.Members[2].Reason = false, false, "is not alive in gossip"
	return o
}

// nobodyOverview is of a server that has no alarm for it.
func nobodyOverview() api.Overview {
	o := exampleOverview()
	o.Lease.SlotsLeft, o.Lease.Reason = -2, "the leader is about to grant it"
	o.Round.Windows, o.Round.Due, o.Round.Signed, o.Round.Missed = nil, 0, 0, 0
	o.Round.Schedule = strings.Fields("alice b c d e f g h i j k l m n o p q r s t u")
	return o
}

func TestTables(t *testing.T) {
	noLeaks(t)
	f := newFakeAPI(t)
	f.on("GET /cluster/members", exampleMembers())
	raft := cluster.RaftStatus{ID: "a", State: "leader", Term: 3, Leader: "a", LastIndex: 71, CommitIndex: 70, AppliedIndex: 70, LogBytes: 3 << 20,
		Peers: []cluster.RaftPeer{{ID: "a", Address: "a:9070", Suffrage: "voter", Alive: true, AppliedIndex: 70}, {ID: "b", Address: "b:9070", Suffrage: "nonvoter"}}}
	f.on("GET /cluster/raft", raft)
	f.on("GET /cluster/raft?all=true", []api.RaftAll{{Member: "a", Raft: &raft}, {Member: "b", Error: "connection refused"}})
	lease := exampleOverview().Lease
	lease.Candidates = []api.Candidate{{Member: "a", Fit: true}, {Member: "b", Fit: true}, {Member: "w", Reason: "is a witness: it has no node"}}
	lease.Past = []api.PastLease{{Epoch: 4, Holder: "b", First: 1709990000, FirstAt: "2026-11-21T10:36:40.000Z", Last: 1709998999, Released: true}, {Epoch: 3, Holder: "a", First: 1709980000, Last: 1709989000}}
	f.on("GET /cluster/lease", lease)
	f.on("GET /cluster/round", exampleOverview().Round)
	done := doneOperation()
	done.ID = "99"
	f.on("GET /cluster/operations", []api.Operation{exampleOperation(), done})
	f.on("GET /cluster/operations/123", exampleOperation())
	f.on("GET /cluster/history?limit=20", []api.Event{{Index: 70, At: "2026-11-21T12:00:00.000Z", Kind: "lease.granted", By: "a", Subject: "b", Text: "epoch 5, slots from 1709999000"}, {Index: 3, Kind: "cluster.set"}})
	f.on("GET /cluster/history", []json.RawMessage{
		json.RawMessage(`{"index":70,"at":"2026-11-21T12:00:00.000Z","kind":"lease.granted","by":"a","subject":"b","text":"epoch 5","new_field":1}`),
		json.RawMessage(`{"index":69,"kind":"operation.done"}`), json.RawMessage(`{"index":68,"kind":"lease.released","subject":"a"}`), json.RawMessage(`{"index":3,"kind":"lease.granted","subject":"a"}`),
	})
	for name, args := range map[string]string{
		"history-kind": "history --kind lease --limit 2", "history-kind-json": "history --kind lease.granted --output json", "members": "members", "raft": "raft", "raft-all": "raft --all", "lease": "lease", "round": "round", "operations": "operations", "operation": "operations 123",
		"history": "history", "round-yaml": "round --output yaml", "round-json": "round --output json",
	} {
		t.Run(name, func(t *testing.T) {
			code, out, errs := command(append(strings.Fields(args), "--server", f.URL)...)
			if code != exitDone || errs != "" {
				t.Fatalf("exit %d: %s", code, errs)
			}
			golden(t, name, out)
		})
	}
	for name, o := range map[string]api.Overview{"status": exampleOverview(), "status-troubled": troubledOverview(), "status-empty": {Alarms: []string{}}, "status-nobody": nobodyOverview()} {
		t.Run(name, func(t *testing.T) {
			f.on("GET /cluster", o)
			code, out, errs := command("status", "--server", f.URL)
			if code != exitDone || errs != "" {
				t.Fatalf("exit %d: %s", code, errs)
			}
			if lines := strings.Count(out, "\n"); lines > 24 {
				t.Errorf("%d lines are more than a screen", lines)
			}
			golden(t, name, out)
		})
	}
}

func TestExitCodes(t *testing.T) {
	noLeaks(t)
	f := newFakeAPI(t)
	f.answer("POST /cluster/handoff", http.StatusConflict, `{"error":{"code":"member.unknown","message":"no such member: \"z\"","hint":"list the members with: roundtable members"}}`)
	f.answer("GET /cluster", http.StatusServiceUnavailable, `{"error":{"code":"closing","message":"cluster is closed","hint":"ask another member"}}`)
	f.answer("GET /cluster/lease", http.StatusBadGateway, `<html>a proxy</html>`)
	f.on("GET /cluster/round", `not JSON`)
	f.on("GET /health/live", "ok\n")
	f.answer("GET /health/holder", http.StatusServiceUnavailable, "this member does not hold the lease\n")
	for _, tc := range []struct {
		args    string
		code    int
		message string
		hint    string
	}{
		{"version", exitDone, "", ""},
		{"--help", exitDone, "", ""},
		{"handoff --to z", exitFailed, `no such member: "z" [member.unknown]`, "roundtable members"},
		{"status", exitFailed, "cluster is closed", "another member"},
		{"lease", exitFailed, "502", "manager"},
		{"round", exitFailed, "not understood", "version"},
		{"operations 999", exitFailed, "nothing at this path", "GET /cluster"},
		{"healthcheck", exitDone, "", ""},
		{"health --role holder", exitFailed, "not holder: this member does not hold", ""},
		{"health --role happy", exitUsage, `"happy" is not known`, "live, ready"},
		{"status --server http://127.0.0.1:1", exitUnreachable, "no manager answered", "--server"},
		{"status --server ftp://x", exitUsage, "is not the URL", "https://m1"},
		{"status --ca /nowhere", exitUsage, "/nowhere", "--ca"},
		{"status --color pink", exitUsage, "auto, always or never", ""},
		{"status --output xml", exitUsage, "table, json or yaml", ""},
		{"status now", exitUsage, `unknown command "now"`, "roundtable status --help"},
		{"status --frob", exitUsage, "unknown flag: --frob", "roundtable status --help"},
		{"frob", exitUsage, `unknown command "frob"`, "roundtable --help"},
		{"handoff --when later", exitUsage, `"later"`, "safe waits"},
		{"handoff b --to c", exitUsage, `"b" and --to "c"`, "name it once"},
		{"handoff b c", exitUsage, "at most 1 arg", "roundtable handoff --help"},
		{"handoff --timeout 0s", exitUsage, "--timeout must be more", "30s"},
		{"history --limit 0", exitUsage, "--limit", ""},
		{"drill mix kill-holdr", exitUsage, `no scenario "kill-holdr"`, "kill-holder"},
		{"drill mix --runs 0", exitUsage, "--runs 0", ""},
		{"drill mix --runs 5 --only 6", exitUsage, "--only 6 of 5", "--seed"},
		{"drill mix --longest -1s", exitUsage, "-1s", "5s"},
		{"drill report /nowhere", exitFailed, "/nowhere", ""},
		{"drill report testdata/history-kind-json.golden", exitFailed, "is it the file of a --json?", ""},
	} {
		t.Run(tc.args, func(t *testing.T) {
			t.Setenv("ROUNDTABLE_SERVER", f.URL)
			code, out, errs := command(strings.Fields(tc.args)...)
			if code != tc.code || !strings.Contains(errs, tc.message) || !strings.Contains(errs, tc.hint) {
				t.Errorf("exit %d, want %d; %q and hint %q in %q", code, tc.code, tc.message, tc.hint, errs)
			}
			if tc.code != exitDone && (out != "" || !strings.HasPrefix(errs, "error: ")) {
				t.Errorf("stdout %q, stderr %q", out, errs)
			}
			if tc.hint != "" && !strings.Contains(errs, "\nhint: ") {
				t.Errorf("no hint in %q", errs)
			}
		})
	}
}

func TestHandoffWait(t *testing.T) {
	noLeaks(t)
	f := newFakeAPI(t)
	f.answer("POST /cluster/handoff", http.StatusAccepted, api.Started{Operation: "123"})
	t.Run("done", func(t *testing.T) {
		f.on("GET /cluster/operations/123", exampleOperation(), exampleOperation(), doneOperation())
		code, out, errs := command("handoff", "--wait", "--server", f.URL)
		if code != exitDone || out != "operation 123 started\nhandoff 123 done: a -> b in 1.25 s\n" {
			t.Errorf("exit %d: %q", code, out)
		}
		golden(t, "handoff-progress", strings.ReplaceAll(errs, f.URL, "URL"))
	})
	t.Run("done, for a program", func(t *testing.T) {
		f.on("GET /cluster/operations/123", doneOperation())
		code, out, _ := command("handoff", "--wait", "--output", "json", "--server", f.URL)
		var o api.Operation
		if err := json.Unmarshal([]byte(out), &o); code != exitDone || err != nil || o.Outcome != fsm.Done {
			t.Errorf("exit %d, %v: %q", code, err, out)
		}
	})
	t.Run("failed", func(t *testing.T) {
		o := doneOperation()
		o.Outcome, o.Reason = fsm.Failed, "b did not produce"
		f.on("GET /cluster/operations/123", o)
		code, _, errs := command("handoff", "--wait", "--server", f.URL)
		if code != exitFailed || !strings.Contains(errs, `error: handoff 123 failed at step "stop": b did not produce`) || !strings.Contains(errs, "hint: ") {
			t.Errorf("exit %d: %s", code, errs)
		}
	})
	t.Run("still running", func(t *testing.T) {
		f.on("GET /cluster/operations/123", exampleOperation())
		code, _, errs := command("handoff", "--wait", "--timeout", "500ms", "--server", f.URL)
		if code != exitTimeout || !strings.Contains(errs, "operation 123 has not ended within 500ms: stop at a") || !strings.Contains(errs, "hint: look again") {
			t.Errorf("exit %d: %s", code, errs)
		}
	})
	t.Run("lost", func(t *testing.T) {
		f.answer("GET /cluster/operations/123", http.StatusServiceUnavailable, `{"error":{"code":"closing","message":"cluster is closed"}}`)
		code, _, errs := command("handoff", "--wait", "--timeout", "500ms", "--server", f.URL)
		if code != exitTimeout || !strings.Contains(errs, "operation 123 has not ended within 500ms: cluster is closed") {
			t.Errorf("exit %d: %s", code, errs)
		}
	})
}

func TestYAML(t *testing.T) {
	got, err := toYAML([]byte(`{"b":"true","a":[1,{"x":"- y: z"}],"n":null,"f":0.5,"s":"12","empty":[],"line":"a\nb"}`))
	want := "b: \"true\"\na:\n  - 1\n  - x: '- y: z'\nn: null\nf: 0.5\ns: \"12\"\nempty: []\nline: |-\n  a\n  b\n"
	if err != nil || string(got) != want {
		t.Errorf("%v\n%s", err, cmp.Diff(want, string(got)))
	}
}

func TestReport(t *testing.T) {
	for _, tc := range []struct {
		err  error
		code int
		want string
	}{
		{nil, exitDone, ""},
		{errors.New("x"), exitFailed, "error: x\n"},
		{fmt.Errorf("manager: %w", &cluster.ConfigError{Message: "no CA", Hint: "set one"}), exitFailed, "error: manager: no CA\nhint: set one\n"},
		{fmt.Errorf("handoff: %w", &failure{exitTimeout, "late", "wait"}), exitTimeout, "error: handoff: late\nhint: wait\n"},
	} {
		var b bytes.Buffer
		if code := report(tc.err, &b); code != tc.code || b.String() != tc.want {
			t.Errorf("%v: exit %d, %q", tc.err, code, b.String())
		}
	}
}

// TestConfigProblems: a start with a bad configuration names every problem with its hint, and starts nothing.
func TestConfigProblems(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "config.toml"), []byte("[lease]\nslotz = 4\n[nodes]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, errs := command("run", "--home", dir)
	want := fmt.Sprintf("error: %[1]s: lease.slotz: unknown key\nhint: did you mean lease.slots?\nerror: %[1]s: nodes: unknown key\nhint: did you mean [node]?", filepath.Join(dir, "config.toml"))
	if code != exitFailed || out != "" || !strings.HasPrefix(errs, want) {
		t.Errorf("exit %d: %q, want %q", code, errs, want)
	}
}

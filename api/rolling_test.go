package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"roundtable/fsm"
)

// homes lets every node say what it runs.
func (w *world) homes(t testing.TB) *world {
	t.Helper()
	for _, id := range []string{"a", "b", "c"} {
		w.apply(t, fsm.PutHome{Member: id, Runs: fsm.Runs{Tag: "v1", Config: "c1"}})
	}
	return w
}

// turn starts a step of the newest operation, as the leader does.
func (w *world) turn(t testing.TB, step string, members ...string) {
	t.Helper()
	o := w.newest()
	w.apply(t, fsm.TurnOperation{ID: o.ID, Number: o.Number(), Step: step, Members: members, Deadline: now.UnixMilli() + 60_000})
}

// report says how far a member is with its part of the newest operation.
func (w *world) report(t testing.TB, member string, percent int, text string) {
	t.Helper()
	w.say(t, fsm.ReportOperation{Member: member, Percent: percent, Text: text})
}

// end says that a member is through with its part, or why not.
func (w *world) end(t testing.TB, member, fault string) {
	t.Helper()
	w.say(t, fsm.ReportOperation{Member: member, Ended: true, Fault: fault})
}

func (w *world) say(t testing.TB, r fsm.ReportOperation) {
	t.Helper()
	o := w.newest()
	r.ID, r.Number, r.Incarnation = o.ID, o.Number(), strings.Repeat(r.Member, 32)
	w.apply(t, r)
}

// newest is the operation that was started last, but for handoffs.
func (w *world) newest() fsm.Operation {
	state, _ := w.View()
	for i := len(state.Operations) - 1; i >= 0; i-- {
		if o := state.Operations[i]; o.Handoff == nil {
			return o
		}
	}
	return fsm.Operation{}
}

// TestRollingRequests: what is asked for is what is started.
func TestRollingRequests(t *testing.T) {
	for _, tc := range []struct {
		path, body   string
		kind         string
		want         fsm.Roll // as far as it was asked for
		limit, queue time.Duration
	}{
		{"/cluster/restart", `{"member":"b"}`, fsm.KindRestart, fsm.Roll{Members: []string{"b"}}, 0, 0},
		{"/cluster/restart", `{"rolling":true,"limit":"90s","queue":"1h"}`, fsm.KindRestart, fsm.Roll{Members: []string{"a", "b", "c"}}, 90 * time.Second, time.Hour},
		{"/cluster/upgrade", `{"tag":"v1.2.3"}`, fsm.KindUpgrade, fsm.Roll{Members: []string{"a", "b", "c"}, Upgrade: &fsm.Upgrade{Tag: "v1.2.3"}}, 0, 0},
		{
			"/cluster/upgrade", `{"tag":"v1.2.3+x","sha256":"` + strings.Repeat("AB", 32) + `","feature":"BLS_PRIMITIVES2","undo":"all","snapshot":true,"members":["c"],"limit":"1h"}`,
			fsm.KindUpgrade, fsm.Roll{Members: []string{"c"}, Upgrade: &fsm.Upgrade{Tag: "v1.2.3+x", SHA256: strings.Repeat("ab", 32), Feature: "BLS_PRIMITIVES2", UndoAll: true, Snapshot: true}}, time.Hour, 0,
		},
		{"/cluster/upgrade", `{"tag":"v2","queue":"720h"}`, fsm.KindUpgrade, fsm.Roll{Members: []string{"a", "b", "c"}, Upgrade: &fsm.Upgrade{Tag: "v2"}}, 0, 720 * time.Hour},
		{"/cluster/upgrade", `{"tag":"v2","at_block":4294967295,"hard_fork":true,"undo":"member"}`, fsm.KindUpgrade, fsm.Roll{Members: []string{"a", "b", "c"}, Upgrade: &fsm.Upgrade{Tag: "v2", AtBlock: 4294967295, HardFork: true}}, 0, 0},
		{
			"/cluster/upgrade", `{"tag":"v2","row":{"code":"eosio","scope":"","table":"global","key":"","field":"f","value":"1"}}`, fsm.KindUpgrade,
			fsm.Roll{Members: []string{"a", "b", "c"}, Upgrade: &fsm.Upgrade{Tag: "v2", Row: &fsm.TableRow{Code: "eosio", Table: "global", Field: "f", Value: "1"}}}, 0, 0,
		},
		{"/cluster/rollout", `{"limit":"1s","queue":"1m"}`, fsm.KindRollout, fsm.Roll{Members: []string{"a", "b", "c"}}, time.Second, time.Minute},
	} {
		w := newWorld(t)
		var s Started
		resp := ask(t, listen(t, w.server(t)), http.MethodPost, tc.path, tc.body, &s, "Idempotency-Key", "k")
		o := w.newest()
		if resp.StatusCode != http.StatusAccepted || s.Operation != fmt.Sprint(o.ID) || resp.Header.Get("Location") != "/cluster/operations/"+s.Operation || o.Kind != tc.kind {
			t.Errorf("%s %s: %d %+v, %+v", tc.path, tc.body, resp.StatusCode, s, o)
			continue
		}
		got := fsm.Roll{Members: o.Roll.Members, Upgrade: o.Roll.Upgrade}
		if d := cmp.Diff(tc.want, got); d != "" || w.calls.limit != tc.limit || w.calls.queue != tc.queue || o.Actor != "sandbox" {
			t.Errorf("%s: limit %s, queue %s, by %q: -want +got\n%s", tc.body, w.calls.limit, w.calls.queue, o.Actor, d)
		}
	}
}

// TestBadRollingInput: each is refused, says why, and starts nothing.
func TestBadRollingInput(t *testing.T) {
	w := newWorld(t)
	srv := listen(t, w.server(t))
	before, _ := w.View()
	for _, tc := range []struct{ path, body, message, hint string }{
		{"/cluster/restart", `{}`, `one of "member" and "rolling"`, `{"rolling":true}`},
		{"/cluster/restart", `{"rolling":false}`, `one of "member" and "rolling"`, `{"member":"m2"}`},
		{"/cluster/restart", `{"member":"b","rolling":true}`, `one of "member" and "rolling"`, ""},
		{"/cluster/restart", `{"member":"zz"}`, "no such member", "roundtable members"},
		{"/cluster/restart", `{"rolling":true,"limit":"soon"}`, `"limit" must be a duration from 1s to 1h0m0s, not "soon"`, "10m"},
		{"/cluster/restart", `{"rolling":true,"limit":"61m"}`, `"limit" must be`, "10m"},
		{"/cluster/restart", `{"rolling":true,"limit":"-1s"}`, `"limit" must be`, ""},
		{"/cluster/restart", `{"rolling":true,"queue":"2h"}`, `"queue" must be a duration from 1s to 1h0m0s`, ""},
		{"/cluster/restart", `{"rolling":1}`, `"rolling" must be true or false, not a number`, "member, rolling, limit, queue"},
		{"/cluster/restart", `{"rolling":true,"wait":"1m"}`, `unknown field "wait"`, "member, rolling, limit, queue"},
		{"/cluster/upgrade", `{}`, `"tag" must be a version, not ""`, "v1.2.2"},
		{"/cluster/upgrade", `{"tag":"../../etc"}`, `"tag" must be a version`, "v1.2.2"},
		{"/cluster/upgrade", `{"tag":".hidden"}`, `"tag" must be a version`, "v1.2.2"},
		{"/cluster/upgrade", `{"tag":"v1\n"}`, `"tag" must be a version`, "v1.2.2"},
		{"/cluster/upgrade", `{"tag":"` + strings.Repeat("v", 65) + `"}`, `"tag" must be a version`, "64"},
		{"/cluster/upgrade", `{"tag":"v1","sha256":"abc"}`, `"sha256" must be 64 hex digits`, "sha256sum"},
		{"/cluster/upgrade", `{"tag":"v1","at_block":-1}`, `"at_block" must be a whole number from 0 on, not -1`, "tag, sha256, at_block"},
		{"/cluster/upgrade", `{"tag":"v1","at_block":4294967296}`, `"at_block" must be a whole number from 0 on, not 4294967296`, "at_block"},
		{"/cluster/upgrade", `{"tag":"v1","at_block":5,"feature":"x"}`, "only one of", "at once"},
		{"/cluster/upgrade", `{"tag":"v1","hard_fork":true}`, "needs its block", "at_block"},
		{"/cluster/upgrade", `{"tag":"v1","hard_fork":true,"at_block":5,"undo":"all"}`, `no "undo"`, "old version"},
		{"/cluster/upgrade", `{"tag":"v1","undo":"some"}`, `"undo" must be "member" or "all", not "some"`, "brings back"},
		{"/cluster/upgrade", `{"tag":"v1","row":{"code":"eosio"}}`, `"row" needs`, "global"},
		{"/cluster/upgrade", `{"tag":"v1","row":[]}`, `"row" must be an object, not an array`, "row"},
		{"/cluster/upgrade", `{"tag":"v1","row":{"code":"a","code":"b","table":"t","field":"f"}}`, `"code" is given twice`, "once"},
		{"/cluster/upgrade", `{"tag":"v1","row":{"Code":"a","table":"t","field":"f"}}`, `unknown field "Code"`, "code, scope, table, key, field, value"},
		{"/cluster/upgrade", `{"tag":"v1","row":{"code":"a","rows":1}}`, `unknown field "rows"`, ""},
		{"/cluster/upgrade", `{"tag":"v1","feature":"` + strings.Repeat("x", 600) + `"}`, "600 bytes", "short"},
		{"/cluster/upgrade", `{"tag":"v1","feature":"a\nb"}`, "control characters", "short"},
		{"/cluster/upgrade", `{"tag":"v1","hard_fork":true,"at_block":5,"snapshot":true}`, `no "snapshot"`, "before"},
		{"/cluster/upgrade", `{"tag":"v1","members":["b","zz"]}`, "no such member", "roundtable members"},
		{"/cluster/upgrade", `{"tag":"v1","members":["b","b"]}`, `"b" is named twice`, "once"},
		{"/cluster/upgrade", `{"tag":"v1","members":"b"}`, `"members" must be a list, not a string`, ""},
		{"/cluster/upgrade", `{"tag":"v1","queue":"721h"}`, `"queue" must be a duration from 1s to 720h0m0s`, ""},
		{"/cluster/rollout", `{"rolling":true}`, `unknown field "rolling"`, "limit, queue"},
		{"/cluster/rollout", `{"queue":"1ms"}`, `"queue" must be`, ""},
	} {
		var e answered
		resp := ask(t, srv, http.MethodPost, tc.path, tc.body, &e)
		want := http.StatusBadRequest
		if strings.Contains(tc.message, "no such member") {
			want = http.StatusNotFound
		}
		if resp.StatusCode != want || !strings.Contains(e.Error.Message, tc.message) || !strings.Contains(e.Error.Hint, tc.hint) || e.Error.Hint == "" {
			t.Errorf("%s: %d %+v, want %q and hint %q", tc.body, resp.StatusCode, e.Error, tc.message, tc.hint)
		}
	}
	if after, _ := w.View(); after.Index != before.Index {
		t.Errorf("%d entries were made", after.Index-before.Index)
	}
}

// TestRollingView follows an upgrade from its staging to its end, as people and programs see it.
func TestRollingView(t *testing.T) {
	w := newWorld(t).homes(t)
	srv := listen(t, w.server(t))
	ask(t, srv, http.MethodPost, "/cluster/upgrade", `{"tag":"v1.2.3","snapshot":true,"limit":"5m"}`, nil)
	id := fmt.Sprint(w.newest().ID)
	look := func(percent int, message string) (o Operation) {
		t.Helper()
		ask(t, srv, http.MethodGet, "/cluster/operations/"+id, "", &o)
		if o.Percent != percent || o.Message != message {
			t.Errorf("%d %%, %q; want %d %%, %q", o.Percent, o.Message, percent, message)
		}
		return o
	}
	o := look(0, "validate")
	if o.Tag != "v1.2.3" || o.Undo != UndoMember || !o.Snapshot || o.Limit != "5m0s" || len(o.Members) != 3 || o.From != "" {
		t.Errorf("%+v", o)
	}
	w.turn(t, fsm.StepStage, "a", "b", "c")
	look(0, "stage: a; b; c")
	w.report(t, "b", 50, "12 of 24 MB")
	w.end(t, "c", "")
	o = look(12, "stage: a; b: 50 %, 12 of 24 MB; c: done")
	want := []Part{{Member: "a"}, {Member: "b", Percent: 50, Text: "12 of 24 MB"}, {Member: "c", Percent: 100, Ended: stamp(now.UnixMilli())}}
	if d := cmp.Diff(want, o.Steps[1].Parts); d != "" || o.Steps[1].Assignee != "" || o.Deadline == "" {
		t.Errorf("%s %+v", d, o)
	}
	w.end(t, "a", "")
	w.end(t, "b", "")
	w.turn(t, fsm.StepSnapshot, "c")
	look(25, "chain snapshot c")
	w.end(t, "c", "")
	w.turn(t, fsm.StepSwitch, "b")
	w.report(t, "b", 40, "syncing, head 12 slots behind")
	o = look(35, "switch b: syncing, head 12 slots behind (1 of 3)")
	if o.Step != fsm.StepSwitch || o.Steps[3].Assignee != "b" {
		t.Errorf("%+v", o)
	}
	w.end(t, "b", "")
	look(50, "switch b: done (1 of 3 through)")
	w.turn(t, fsm.StepSwitch, "c")
	w.end(t, "c", "")
	w.turn(t, fsm.StepHandOver)
	look(75, "hand over (2 of 3 through)")
	child := w.apply(t, fsm.StartOperation{Name: fsm.KindHandoff, Handoff: &fsm.Handoff{To: "b", When: "safe"}, Parent: w.newest().ID, Deadline: now.UnixMilli() + 5000})
	o = look(75, "hand over: from a to b, validate (2 of 3 through)")
	if o.WaitsFor != fmt.Sprintf("handoff %d", child) {
		t.Errorf("it waits for %q", o.WaitsFor)
	}
	var list []Operation
	ask(t, srv, http.MethodGet, "/cluster/operations", "", &list)
	if len(list) != 2 || list[0].Parent != id || list[0].Kind != "handoff" || list[0].Message != "validate" || list[1].ID != id {
		t.Errorf("%+v", list)
	}
	w.apply(t, fsm.FinishOperation{ID: child, Step: fsm.StepValidate, Outcome: fsm.Failed, Reason: "b has no peers"})
	w.apply(t, fsm.FinishOperation{ID: w.newest().ID, Step: fsm.StepHandOver, Number: w.newest().Number(), Outcome: fsm.Failed, Reason: "nobody to hand over to"})
	o = look(75, "failed: nobody to hand over to")
	if d := cmp.Diff([]string{"b", "c"}, o.Done); d != "" || o.Step != "" {
		t.Errorf("%s %+v", d, o)
	}
}

// TestRollingBack: what failed, why, and who was brought back; cancellation on the way.
func TestRollingBack(t *testing.T) {
	w := newWorld(t).homes(t)
	srv := listen(t, w.server(t))
	ask(t, srv, http.MethodPost, "/cluster/upgrade", `{"tag":"v1.2.3","undo":"all"}`, nil)
	path := fmt.Sprint("/cluster/operations/", w.newest().ID)
	message := func(want string) (o Operation) {
		t.Helper()
		if ask(t, srv, http.MethodGet, path, "", &o); o.Message != want {
			t.Errorf("%q, want %q", o.Message, want)
		}
		return o
	}
	w.turn(t, fsm.StepStage, "a", "b", "c")
	for _, id := range []string{"a", "b", "c"} {
		w.end(t, id, "")
	}
	w.turn(t, fsm.StepSwitch, "b")
	w.end(t, "b", "")
	w.turn(t, fsm.StepSwitch, "c")
	var o Operation
	if resp := ask(t, srv, http.MethodDelete, path, "", &o); resp.StatusCode != http.StatusAccepted || !o.Canceling || o.Outcome != fsm.Running {
		t.Errorf("%d %+v", resp.StatusCode, o)
	}
	message("switch c (2 of 3); it stops after that, canceled")
	w.end(t, "c", "it ended at once: exit code 1")
	message("switch c failed: it ended at once: exit code 1 (2 of 3); it stops after that, canceled")
	now := w.newest()
	w.apply(t, fsm.TurnOperation{ID: now.ID, Number: now.Number(), Step: fsm.StepUndo, Members: []string{"c"}, Deadline: now.Deadline, Fault: "c: it ended at once"})
	w.report(t, "c", 50, "stopping")
	o = message("roll back c: stopping (1 of 3 through); it stops after that, canceled; because c: it ended at once")
	if o.Fault != "c: it ended at once" || o.Undo != UndoAll {
		t.Errorf("%+v", o)
	}
	w.end(t, "c", "")
	o = message("roll back c: done (1 of 3 through); it stops after that, canceled; because c: it ended at once")
	if d := cmp.Diff([]string{"c"}, o.Undone); d != "" {
		t.Error(d)
	}
}

// TestWaiting: what an operation waits for is said.
func TestWaiting(t *testing.T) {
	w := newWorld(t).homes(t)
	srv := listen(t, w.server(t))
	first := w.start(t)
	ask(t, srv, http.MethodPost, "/cluster/restart", `{"rolling":true,"queue":"1h"}`, nil)
	state, _ := w.View()
	if m := messageOf(state, w.newest()); m != fmt.Sprintf("queued: handoff %d", first) {
		t.Error(m)
	}
	w.waiting = "the holder, a, is stalled"
	for _, path := range []string{"/cluster/operations/" + strconv.FormatUint(first, 10), "/cluster/operations", "/cluster"} { // the leader says why it does not go on
		var v any
		if ask(t, srv, http.MethodGet, path, "", &v); !strings.Contains(fmt.Sprint(v), w.waiting) {
			t.Errorf("%s: %v", path, v)
		}
	}
	for body, want := range map[string]string{
		`"at_block":1000`: "block 1000", `"feature":"SAVANNA"`: "the protocol feature SAVANNA", `"row":{"code":"c","scope":"s","table":"t","key":"k","field":"f","value":"v"}`: "the row c/s/t/k/f=v",
	} {
		w := newWorld(t).homes(t)
		ask(t, listen(t, w.server(t)), http.MethodPost, "/cluster/upgrade", `{"tag":"v2",`+body+`}`, nil)
		w.turn(t, fsm.StepStage, "a", "b", "c")
		for _, id := range []string{"a", "b", "c"} {
			w.end(t, id, "")
		}
		w.turn(t, fsm.StepTrigger, "a", "b")
		w.report(t, "a", 0, "head 900")
		state, _ := w.View()
		if v := viewOperation(state, w.newest(), now.UnixMilli()); v.WaitsFor != want || v.Message != "await trigger ("+want+"): a: head 900; b" || v.Percent != 25 {
			t.Errorf("%q, %d %%, %q", v.WaitsFor, v.Percent, v.Message)
		}
		if since := busySince(w.newest()); since != 0 {
			t.Errorf("it is at work since %d", since)
		}
	}
}

// TestProgressEvents: a step is told at once, the progress within it a few times a second, the last of it always.
func TestProgressEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		client := serve(t, w.server(t))
		stream := subscribe(t, client, "/cluster/events")
		stream.want("lease", nil)
		if _, err := w.roll(context.Background(), fsm.KindRestart, fsm.Roll{}, 0, 0, ""); err != nil {
			t.Fatal(err)
		}
		var o Operation
		stream.want("history", nil)
		stream.want("operation", &o)
		begun := time.Now()
		w.turn(t, fsm.StepRestart, "b")
		stream.want("history", nil)
		if e := stream.want("operation", &o); o.Step != fsm.StepRestart || e.id != "" || time.Since(begun) != 0 {
			t.Errorf("%+v after %s", o, time.Since(begun))
		}
		for percent := 1; percent <= 90; percent++ {
			w.report(t, "b", percent, fmt.Sprintf("%d blocks", percent))
		}
		if stream.want("operation", &o); o.Steps[1].Parts[0].Percent != 90 || time.Since(begun) != progressBeat {
			t.Errorf("%+v after %s", o.Steps[1], time.Since(begun))
		}
		w.report(t, "b", 91, "91 blocks")
		w.end(t, "b", "")
		if stream.want("operation", &o); o.Steps[1].Parts[0].Ended == "" || time.Since(begun) != 2*progressBeat {
			t.Errorf("%+v after %s", o, time.Since(begun))
		}
		w.turn(t, fsm.StepRestart, "c")
		stream.want("history", nil)
		if stream.want("operation", &o); len(o.Steps) != 3 || time.Since(begun) != 2*progressBeat {
			t.Errorf("%+v after %s", o, time.Since(begun))
		}
	})
}

// TestOperationMetrics: the gauges of what runs; what waits is not at work.
func TestOperationMetrics(t *testing.T) {
	w := newWorld(t).homes(t)
	s := w.server(t)
	at := now
	s.cfg.Now = func() time.Time { return at }
	srv := listen(t, s)
	scraped(t, srv, `roundtable_operation_percent{kind="upgrade"} 0`, `roundtable_operation_age_seconds{kind="upgrade"} 0`, `roundtable_operations_total{kind="rollout",outcome="expired"} 0`,
		`roundtable_member_node_info{id="b",version="v1.2.2"} 1`, `roundtable_member_config_waits{id="b"} 0`)
	if _, err := w.roll(context.Background(), fsm.KindUpgrade, fsm.Roll{Upgrade: &fsm.Upgrade{Tag: "v2", AtBlock: 5}}, 0, 0, ""); err != nil {
		t.Fatal(err)
	}
	w.turn(t, fsm.StepStage, "a", "b", "c")
	at = now.Add(time.Minute)
	w.end(t, "a", "")
	scraped(t, srv, `roundtable_operation_percent{kind="upgrade"} 8`, `roundtable_operation_age_seconds{kind="upgrade"} 60`, `roundtable_operations_running{kind="upgrade"} 1`)
	w.end(t, "b", "")
	w.end(t, "c", "")
	w.turn(t, fsm.StepTrigger, "a")
	at = now.Add(48 * time.Hour)
	scraped(t, srv, `roundtable_operation_age_seconds{kind="upgrade"} 0`)
	w.end(t, "a", "")
	w.turn(t, fsm.StepSwitch, "b")
	scraped(t, srv, `roundtable_operation_percent{kind="upgrade"} 25`, fmt.Sprintf(`roundtable_operation_age_seconds{kind="upgrade"} %d`, 48*3600))

	w.apply(t, fsm.PutHome{Member: "b", Runs: fsm.Runs{Tag: "v1", Config: "c1", Offers: "c2"}})
	scraped(t, srv, `roundtable_member_config_waits{id="b"} 1`)
	var m Member
	ask(t, srv, http.MethodGet, "/cluster/members/b", "", &m)
	if d := cmp.Diff(&Home{Tag: "v2", RunsTag: "v1", RunsConfig: "c1", Offers: "c2"}, m.Home); d != "" {
		t.Error(d)
	}
}

// TestOverlay: what is given comes back, without keys; what no node could run with never gets there.
func TestOverlay(t *testing.T) {
	w := newWorld(t)
	s := w.server(t)
	s.cfg.Overlay = func(lines string) error {
		if strings.Contains(lines, "http-server-address") {
			return &fsm.Refusal{Rule: fsm.ErrConfig.Rule, Message: "http-server-address: roundtable sets it", Hint: "leave it out"}
		}
		return nil
	}
	srv := listen(t, s)
	bls := "signature-provider = PUB_BLS_x=KEY:PVT_BLS_secret"
	for lines, message := range map[string]string{
		bls: "holds a private key", "x = PVT_K1_secret": "holds a private key", "#5KQwrPbwdL6PhXujxW37FSSQZ1JiwsST4cqQzDeyXtP79zkvFD3": "holds a private key",
		"http-server-address = 0.0.0.0:1": "roundtable sets it",
	} {
		text, _ := json.Marshal(map[string]string{"overlay": lines})
		var e answered
		if resp := ask(t, srv, http.MethodPatch, "/cluster/config", string(text), &e); resp.StatusCode != http.StatusConflict || e.Error.Code != "config.invalid" || !strings.Contains(e.Error.Message, message) || strings.Contains(fmt.Sprint(e), "secret") {
			t.Errorf("%s: %d %+v", lines, resp.StatusCode, e)
		}
	}
	for body, message := range map[string]string{
		`{"overlay":"` + strings.Repeat("x", 9<<10) + `"}`: "at most 8192", `{"overlay":"a\u0000"}`: "control characters", `{"overlay":"a\r\n"}`: "control characters", `{"overlay":5}`: "must be a string",
		`{"take_over":"yes"}`: "true or false",
	} {
		var e answered
		if resp := ask(t, srv, http.MethodPatch, "/cluster/config", body, &e); resp.StatusCode != http.StatusBadRequest || !strings.Contains(e.Error.Message, message) {
			t.Errorf("%.40s: %d %+v", body, resp.StatusCode, e)
		}
	}
	var set ConfigSet
	ask(t, srv, http.MethodPatch, "/cluster/config", `{"overlay":"max-clients = 9\n\t# note\n","take_over":true}`, &set)
	w.apply(t, fsm.PutHome{Member: "b", Runs: fsm.Runs{Offers: "c2"}})
	var c ClusterConfig
	ask(t, srv, http.MethodGet, "/cluster/config", "", &c)
	if c.Overlay != "max-clients = 9\n\t# note\n" || !c.TakeOver || !c.Pending || strings.Join(c.Waiting, " ") != "b" || set.Config.Overlay != c.Overlay {
		t.Errorf("%+v", c)
	}
	// Whatever got there by another way shows no key.
	w.apply(t, fsm.PatchCluster{Overlay: &bls})
	ask(t, srv, http.MethodGet, "/cluster/config", "", &c)
	if c.Overlay != "signature-provider = PUB_BLS_x=KEY:***" {
		t.Errorf("%q", c.Overlay)
	}
	ask(t, srv, http.MethodPatch, "/cluster/config", `{"overlay":""}`, &set)
	if set.Config.Overlay != "" || set.Config.Pending || !set.Config.TakeOver {
		t.Errorf("%+v", set)
	}
}

// TestConfigAlarms: what waits for an operator is said, what goes by itself is not.
func TestConfigAlarms(t *testing.T) {
	w := newWorld(t).homes(t)
	s := w.server(t)
	for _, tc := range []struct {
		runs fsm.Runs
		want string
	}{
		{fsm.Runs{}, ""},
		{fsm.Runs{Offers: "x", Auto: true}, ""},
		{fsm.Runs{Offers: "x"}, "member b waits for a rollout of its configuration: roundtable rollout"},
	} {
		tc.runs.Tag, tc.runs.Config = "v1", "c1"
		w.apply(t, fsm.PutHome{Member: "b", Runs: tc.runs})
		if got := strings.Join(s.look().alarms(), "; "); got != tc.want {
			t.Errorf("%+v: %q", tc.runs, got)
		}
	}
	if _, err := w.roll(context.Background(), fsm.KindRollout, fsm.Roll{Members: []string{"b"}, Configs: map[string]string{"b": "x"}}, 0, 0, ""); err != nil {
		t.Fatal(err)
	}
	w.turn(t, fsm.StepRestart, "b")
	w.end(t, "b", "it ended at once")
	o := w.newest()
	w.apply(t, fsm.FinishOperation{ID: o.ID, Step: fsm.StepRestart, Number: o.Number(), Outcome: fsm.Failed, Reason: "x"})
	if got := strings.Join(s.look().alarms(), "; "); !strings.Contains(got, "the configuration that lies at member b failed there and was taken back") {
		t.Errorf("%q", got)
	}
}

package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"roundtable/cluster"
	"roundtable/cluster/health"
	"roundtable/fsm"
)

// answered is an error on the wire.
type answered struct {
	Error     struct{ Code, Message, Hint string }
	Operation string
}

func TestReading(t *testing.T) {
	w := newWorld(t)
	id := w.start(t)
	srv := listen(t, w.server(t))

	var o Overview
	if resp := ask(t, srv, http.MethodGet, "/cluster", "", &o); resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "application/json" {
		t.Fatalf("status %d, %v", resp.StatusCode, resp.Header)
	}
	if o.Cluster != "demo" || o.Member != "a" || o.Leader != "a" || o.Term != 3 || o.At != "2026-11-21T12:00:00.000Z" || len(o.Alarms) != 0 || o.Alarms == nil {
		t.Errorf("%+v", o)
	}
	if o.Lease.Holder != "a" || o.Lease.SlotsLeft != 4 || o.Lease.LastAt != "2026-11-21T12:00:02.000Z" || o.Lease.Reason != "the lease is held" {
		t.Errorf("lease %+v", o.Lease)
	}
	if len(o.Members) != 4 || o.Members[0].Role != RoleHolder || !o.Members[0].Leader || o.Members[1].Role != RoleStandby || o.Members[3].Role != RoleWitness || o.Members[1].SeenSeconds != 0.3 {
		t.Errorf("members %+v", o.Members)
	}
	if len(o.Operations) != 1 || o.Operations[0].ID != fmt.Sprint(id) || o.Operations[0].Step != fsm.StepValidate {
		t.Errorf("operations %+v", o.Operations)
	}
	if r := o.Round; r.Version != 7 || r.Due != 12 || r.Missed != 0 || r.Producers[0].State != fsm.ProducingNow {
		t.Errorf("round %+v", r)
	}

	var l Lease
	ask(t, srv, http.MethodGet, "/cluster/lease", "", &l)
	if len(l.Candidates) != 4 || l.Candidates[3].Reason == "" {
		t.Errorf("lease %+v", l)
	}
	var m Member
	ask(t, srv, http.MethodGet, "/cluster/members/b", "", &m)
	if m.ID != "b" || m.NodeVersion != "v1.2.2" {
		t.Errorf("member %+v", m)
	}
	var op Operation
	ask(t, srv, http.MethodGet, fmt.Sprintf("/cluster/operations/%d", id), "", &op)
	if op.To != "b" || op.From != "a" || op.Outcome != fsm.Running || op.Deadline != "2026-11-21T12:00:05.000Z" {
		t.Errorf("operation %+v", op)
	}
	var history []Event
	ask(t, srv, http.MethodGet, "/cluster/history?limit=2", "", &history)
	if len(history) != 2 || history[0].Kind != "operation.started" {
		t.Errorf("history %+v", history)
	}
	var v Version
	ask(t, srv, http.MethodGet, "/version", "", &v)
	if v.Version != "v1.2.3" || v.EntryVersion != fsm.EntryVersion {
		t.Errorf("version %+v", v)
	}
	if resp := ask(t, srv, http.MethodHead, "/cluster", "", nil); resp.StatusCode != http.StatusOK {
		t.Errorf("HEAD: %d", resp.StatusCode)
	}
}

func TestBadInput(t *testing.T) {
	w := newWorld(t)
	refuse := errors.New("not called")
	w.handoff = func(context.Context, string, string, string) (uint64, error) { return 0, refuse }
	srv := listen(t, w.server(t))
	huge := `{"to":"` + strings.Repeat("x", maxBody) + `"}`
	for _, tc := range []struct {
		name, method, path, body string
		from                     error // what the handoff gives
		headers                  []string
		status                   int
		code, message, hint      string
	}{
		{name: "unknown path", method: "GET", path: "/clusters", status: 404, code: "unknown_path", message: "nothing at this path", hint: "/cluster"},
		{name: "wrong method", method: "DELETE", path: "/cluster", status: 405, code: "wrong_method", message: "does not take", hint: "Allow"},
		{name: "unknown member", method: "GET", path: "/cluster/members/z", status: 404, code: "member.unknown", message: `"z"`, hint: "roundtable members"},
		{name: "unknown operation", method: "GET", path: "/cluster/operations/999", status: 404, code: "operation.unknown", message: "999", hint: "roundtable operations"},
		{name: "operation no number", method: "GET", path: "/cluster/operations/x%22", status: 404, code: "operation.unknown", message: "x", hint: "roundtable operations"},
		{name: "history limit", method: "GET", path: "/cluster/history?limit=-1", status: 400, code: "bad_input", message: "limit", hint: "limit=20"},
		{name: "raft all", method: "GET", path: "/cluster/raft?all=maybe", status: 400, code: "bad_input", message: "maybe", hint: "all=true"},
		{name: "unknown role", method: "GET", path: "/health/happy", status: 404, code: "unknown_path", message: "no such health check", hint: "live, ready"},
		{name: "health without a role", method: "GET", path: "/health", status: 404, code: "unknown_path", message: "no such health check", hint: "/health/live, ready, synced, holder, standby, leader"},
		{name: "health, almost", method: "GET", path: "/health/", status: 404, code: "unknown_path", message: "no such health check", hint: "/health/live, ready"},
		{name: "healthz", method: "GET", path: "/healthz", status: 404, code: "unknown_path", message: "no such health check", hint: "/health/live, ready"},
		{name: "no body", method: "POST", path: "/cluster/handoff", status: 400, code: "bad_input", message: "the body is empty", hint: "{} at least; the fields are: to, when"},
		{name: "null", method: "POST", path: "/cluster/handoff", body: " null\n", status: 400, code: "bad_input", message: "the body is null", hint: "{} at least"},
		{name: "no JSON", method: "POST", path: "/cluster/handoff", body: "to=b", status: 400, code: "bad_input", message: "not the JSON object", hint: "to, when"},
		{name: "not an object", method: "POST", path: "/cluster/handoff", body: `["b"]`, status: 400, code: "bad_input", message: "not the JSON object", hint: "to, when"},
		{name: "broken JSON", method: "POST", path: "/cluster/handoff", body: `{"to":`, status: 400, code: "bad_input", message: "unexpected EOF", hint: "to, when"},
		{name: "more JSON", method: "POST", path: "/cluster/handoff", body: `{"to":"b"} {}`, status: 400, code: "bad_input", message: "something follows", hint: "one JSON object"},
		{name: "unknown field", method: "POST", path: "/cluster/handoff", body: `{"target":"b"}`, status: 400, code: "bad_input", message: `unknown field "target"`, hint: "to, when"},
		{name: "wrong kind", method: "POST", path: "/cluster/handoff", body: `{"to":5}`, status: 400, code: "bad_input", message: `"to" must be a string, not a number`, hint: "to, when"},
		{name: "wrong when", method: "POST", path: "/cluster/handoff", body: `{"when":"soon"}`, status: 400, code: "bad_input", message: "soon", hint: "gap"},
		{name: "too large", method: "POST", path: "/cluster/handoff", body: huge, status: 413, code: "too_large", message: "65536", hint: "to, when"},
		{name: "wait", method: "POST", path: "/cluster/handoff?wait=long", body: `{}`, status: 400, code: "bad_input", message: "wait", hint: "wait=30s"},
		{name: "wait too long", method: "POST", path: "/cluster/handoff?wait=24h", body: `{}`, status: 400, code: "bad_input", message: "1h0m0s", hint: "wait=30s"},
		{name: "long key", method: "POST", path: "/cluster/handoff", body: "{}", headers: []string{"Idempotency-Key", strings.Repeat("k", 101)}, status: 400, code: "bad_input", message: "at most 100", hint: "UUID"},
		{name: "another site", method: "POST", path: "/cluster/handoff", body: "{}", headers: []string{"Origin", "https://evil.example"}, status: 403, code: "cross_origin", message: "another site", hint: "roundtable"},
		{name: "to nobody", method: "POST", path: "/cluster/handoff", body: `{"to":"z"}`, status: 404, code: "member.unknown", message: `"z"`, hint: "roundtable members"},
		{name: "refused", method: "POST", path: "/cluster/handoff", body: `{"to":"b"}`, from: fmt.Errorf("propose: %w", fsm.ErrMember), status: 409, code: "member.unknown", message: "no such member", hint: "roundtable members"},
		{name: "refused, node waiting", method: "POST", path: "/cluster/handoff", body: `{"to":"c"}`, from: &fsm.Refusal{Rule: "handoff.unfit", Message: "c the node is backoff: x"}, status: 409, code: "handoff.unfit", message: "c the node is waiting to be started again: x", hint: "roundtable status"},
		{name: "refused without a hint", method: "POST", path: "/cluster/handoff", body: "{}", from: fsm.ErrHandoff, status: 409, code: "handoff.refused", message: "cannot be done", hint: "roundtable status"},
		{name: "no leader", method: "POST", path: "/cluster/handoff", body: "{}", from: fmt.Errorf("x: %w", &cluster.NoLeaderError{Asked: []string{"b (timeout)"}}), status: 503, code: "no_leader", message: "asked b (timeout)", hint: "nothing was changed"},
		{name: "unknown outcome", method: "POST", path: "/cluster/handoff", body: "{}", from: cluster.ErrUnknownOutcome, status: 503, code: "unknown_outcome", message: "outcome unknown", hint: "Idempotency-Key"},
		{name: "lagging", method: "POST", path: "/cluster/handoff", body: "{}", from: cluster.ErrLagging, status: 503, code: "lagging", message: "not yet applied", hint: "it happened"},
		{name: "stalled", method: "POST", path: "/cluster/handoff", body: "{}", from: cluster.ErrStalled, status: 503, code: "stalled", message: "disk", hint: "another member"},
		{name: "closing", method: "POST", path: "/cluster/handoff", body: "{}", from: cluster.ErrClosed, status: 503, code: "closing", message: "closed", hint: "another member"},
		{name: "old members", method: "POST", path: "/cluster/handoff", body: "{}", from: cluster.ErrEntryVersion, status: 409, code: "entry_version", message: "understands", hint: "upgrade"},
		{name: "no answer", method: "POST", path: "/cluster/handoff", body: "{}", from: context.DeadlineExceeded, status: 503, code: "timeout", message: "in time", hint: "Idempotency-Key"},
		{name: "something else", method: "POST", path: "/cluster/handoff", body: "{}", from: errors.New("secret detail"), status: 500, code: "internal", message: "log", hint: "log"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			refuse = tc.from
			var e answered
			resp := ask(t, srv, tc.method, tc.path, tc.body, &e, tc.headers...)
			if resp.StatusCode != tc.status || e.Error.Code != tc.code || !strings.Contains(e.Error.Message, tc.message) || !strings.Contains(e.Error.Hint, tc.hint) {
				t.Errorf("%d %+v, want %d %s, %q, hint %q", resp.StatusCode, e, tc.status, tc.code, tc.message, tc.hint)
			}
			if strings.Contains(e.Error.Message, "secret") {
				t.Error("an internal error is shown to the client")
			}
		})
	}
}

// TestNoLeader: a cluster without a leader is told from one that elects in about a second, and nothing is started.
func TestNoLeader(t *testing.T) {
	w := newWorld(t)
	w.leader, w.leading = "", false
	w.handoff = func(context.Context, string, string, string) (uint64, error) {
		t.Error("a handoff was started")
		return 0, nil
	}
	var e answered
	begun := time.Now()
	resp := ask(t, listen(t, w.server(t)), http.MethodPost, "/cluster/handoff", "{}", &e)
	if took := time.Since(begun); resp.StatusCode != http.StatusServiceUnavailable || e.Error.Code != "no_leader" || took > 3*leaderTime {
		t.Errorf("%d %+v in %s", resp.StatusCode, e, took)
	}
}

func TestPanicIsAnAnswer(t *testing.T) {
	w := newWorld(t)
	w.handoff = func(context.Context, string, string, string) (uint64, error) { panic("oops") }
	var e answered
	if resp := ask(t, listen(t, w.server(t)), http.MethodPost, "/cluster/handoff", "{}", &e); resp.StatusCode != http.StatusInternalServerError || e.Error.Code != "internal" {
		t.Errorf("%d %+v", resp.StatusCode, e)
	}
}

func TestHandoff(t *testing.T) {
	w := newWorld(t)
	srv := listen(t, w.server(t))
	var got []string
	begin := func(outcome fsm.Outcome) {
		w.handoff = func(_ context.Context, to, when, key string) (uint64, error) {
			got = append(got, to+" "+when+" "+key)
			id := w.start(t)
			if outcome == fsm.Running {
				return id, nil
			}
			go func() { // the controllers end it
				w.apply(t, fsm.FinishOperation{ID: id, Step: fsm.StepValidate, Outcome: outcome, Reason: "b has no peers"})
			}()
			return id, nil
		}
	}

	begin(fsm.Failed)
	var e answered
	resp := ask(t, srv, http.MethodPost, "/cluster/handoff?wait=10s", `{"to":"b","when":"now"}`, &e, "Idempotency-Key", "k1")
	if resp.StatusCode != http.StatusConflict || e.Error.Code != "operation.failed" || !strings.Contains(e.Error.Message, `at step "validate": b has no peers`) || e.Operation == "" || e.Error.Hint == "" {
		t.Errorf("%d %+v", resp.StatusCode, e)
	}
	if to, key, _ := strings.Cut(got[0], " now http-"); to != "b" || len(key) != 40 {
		t.Errorf("asked for %q", got)
	}

	begin(fsm.Canceled)
	if resp := ask(t, srv, http.MethodPost, "/cluster/handoff?wait=10s", `{}`, &e); resp.StatusCode != http.StatusConflict || e.Error.Code != "operation.canceled" {
		t.Errorf("%d %+v", resp.StatusCode, e)
	}
	if got[1] != " safe " {
		t.Errorf("asked for %q", got)
	}

	begin(fsm.Running)
	var s Started
	resp = ask(t, srv, http.MethodPost, "/cluster/handoff?wait=20ms", `{"to":"b"}`, &s)
	if resp.StatusCode != http.StatusAccepted || resp.Header.Get("Location") != "/cluster/operations/"+s.Operation || s.Operation == "" {
		t.Errorf("%d %+v %v", resp.StatusCode, s, resp.Header)
	}
	// The status does not wait for the operation.
	var o Overview
	if ask(t, srv, http.MethodGet, "/cluster", "", &o); len(o.Operations) != 1 || o.Operations[0].ID != s.Operation {
		t.Errorf("operations %+v", o.Operations)
	}
}

// TestHandoffDone drives one operation through all its steps while a request waits for it.
func TestHandoffDone(t *testing.T) {
	w := newWorld(t)
	w.handoff = func(context.Context, string, string, string) (uint64, error) {
		id := w.start(t)
		go func() {
			deadline := now.UnixMilli() + 5000
			a, b := strings.Repeat("a", 32), strings.Repeat("b", 32)
			w.apply(t, fsm.AdvanceOperation{ID: id, From: fsm.StepValidate, To: fsm.StepAwait, Assignee: "a", Deadline: deadline})
			w.apply(t, fsm.AdvanceOperation{ID: id, From: fsm.StepAwait, To: fsm.StepStop, Assignee: "a", Deadline: deadline})
			w.apply(t, fsm.Transfer{Epoch: 1, Incarnation: a, Signed: slotNow, To: "b", ToIncarnation: b, Last: slotNow + 4, Operation: id, Deadline: deadline})
			w.apply(t, fsm.AdvanceOperation{ID: id, From: fsm.StepStart, To: fsm.StepVerify, Deadline: deadline})
			w.apply(t, fsm.FinishOperation{ID: id, Step: fsm.StepVerify, Outcome: fsm.Done})
		}()
		return id, nil
	}
	srv := listen(t, w.server(t))
	var s Started
	resp := ask(t, srv, http.MethodPost, "/cluster/handoff?wait=10s", `{"to":"b"}`, &s)
	if resp.StatusCode != http.StatusOK || s.Details == nil || s.Details.Outcome != fsm.Done || len(s.Details.Steps) != 5 {
		t.Fatalf("%d %+v", resp.StatusCode, s)
	}
	var l Lease
	if ask(t, srv, http.MethodGet, "/cluster/lease", "", &l); l.Holder != "b" || len(l.Past) != 1 || l.Past[0].Holder != "a" || !l.Past[0].Released {
		t.Errorf("lease %+v", l)
	}
}

// TestServe: when the server stops, a waiting request is told at once that its operation goes on.
func TestServe(t *testing.T) {
	w := newWorld(t)
	begun := make(chan struct{})
	w.handoff = func(context.Context, string, string, string) (uint64, error) {
		defer close(begun)
		return w.start(t), nil
	}
	ctx, stop := context.WithCancel(t.Context())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- w.server(t).Serve(ctx, l) }()
	go func() {
		<-begun
		stop()
	}()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	resp, err := client.Post("http://"+l.Addr().String()+"/cluster/handoff?wait=5m", "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		t.Errorf("status %d", resp.StatusCode)
	}
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
	if _, err := net.Dial("tcp", l.Addr().String()); err == nil {
		t.Error("the listener is still open")
	}
}

func TestRaftOfAll(t *testing.T) {
	w := newWorld(t)
	other := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.String() != "/cluster/raft" {
			t.Errorf("asked for %s", r.URL)
		}
		_, _ = io.WriteString(rw, `{"id":"b","state":"follower","term":3,"new_field_of_a_newer_version":1}`)
	}))
	defer other.Close()
	broken := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusTeapot) }))
	defer broken.Close()
	frozen := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer frozen.Close()
	for id, url := range map[string]string{"b": other.URL, "c": broken.URL, "w": frozen.URL} {
		m := w.state.Members[id]
		m.API = url
		w.apply(t, fsm.PutMember{Member: m})
	}
	s := w.server(t)
	transport := &http.Transport{DisableKeepAlives: true}
	s.cfg.Client = &http.Client{Transport: transport}
	var list []RaftAll
	ask(t, listen(t, s), http.MethodGet, "/cluster/raft?all=true", "", &list)
	if len(list) != 4 || list[0].Raft.State != "leader" || list[1].Raft == nil || list[1].Raft.State != "follower" || !strings.Contains(list[2].Error, "418") || list[3].Error != "no answer in 1s" {
		t.Errorf("%+v", list)
	}
}

func TestHealth(t *testing.T) {
	cases := []struct {
		name   string
		change func(w *world)
		good   string // the roles that are answered with 200
	}{
		{"holder and leader", func(*world) {}, "live ready synced holder leader"},
		{"follower", func(w *world) { w.leader, w.leading = "b", false }, "live ready synced holder"},
		{"no leader", func(w *world) { w.leader, w.leading = "", false }, "live synced holder"},
		{"node down", func(w *world) {
			w.peer("a", func(p *health.Peer) { p.Report.Node, p.Report.Fit = "failed", false })
			w.unfit("a", "its node is not fit")
		}, "live holder leader"},
		{"behind", func(w *world) { w.peer("a", func(p *health.Peer) { p.Report.Head.Slot -= 3 }) }, "live ready holder leader"},
		{"standby", func(w *world) { s := *w.state; s.Lease.Holder = "b"; w.state = &s }, "live ready synced standby leader"},
		{"unfit standby", func(w *world) {
			s := *w.state
			s.Lease.Holder = "b"
			w.state = &s
			w.unfit("a", "is in maintenance")
		}, "live ready synced leader"},
		{"used up", func(w *world) { s := *w.state; s.Lease.Last = slotNow - 1; w.state = &s }, "live ready synced standby leader"},
		{"sealed", func(w *world) {
			w.peer("a", func(p *health.Peer) { p.Report.Sealed = "doubled" })
			w.unfit("a", "gate sealed")
		}, "live ready synced leader"},
		{"not a member yet", func(w *world) { w.state = fsm.New() }, "live leader"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			srv := listen(t, newWorld(t).change(tc.change).server(t))
			for _, role := range healthRoles {
				want := http.StatusServiceUnavailable
				if strings.Contains(" "+tc.good+" ", " "+role+" ") {
					want = http.StatusOK
				}
				if resp := ask(t, srv, http.MethodGet, "/health/"+role, "", nil); resp.StatusCode != want {
					t.Errorf("%s: %d, want %d", role, resp.StatusCode, want)
				}
			}
		})
	}
}

// FuzzDecode: whatever is sent, there is no panic, and a refusal is a bad input with a hint; what is taken is an object that
// has each of its fields once.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{`{"to":"b","when":"now"}`, ``, `null`, `[]`, `{"to":{}}`, `{"a":1}`, `{} {}`, "{\"to\":\"\xff\"}", `{"on":true,"on":false}`, `{"slots":4,"producers":["a"]}`, `{"TO":"b"}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, body string) {
		for _, into := range []any{&handoffRequest{}, &maintenanceRequest{}, &configRequest{}, &memberRequest{}, &tokenRequest{}, &JoinRequest{}} {
			err := decode(httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body)), into)
			var e *Error
			if err != nil {
				if !errors.As(err, &e) || e.Status != http.StatusBadRequest || e.Hint == "" || e.Message == "" || len(e.Message) > 1000 {
					t.Fatalf("%#v", err)
				}
				continue
			}
			var given map[string]json.RawMessage
			if err := json.Unmarshal([]byte(body), &given); err != nil || given == nil {
				t.Fatalf("%q was taken: %v", body, err)
			}
			for name := range given {
				if !slices.Contains(fields(into), name) {
					t.Fatalf("%q was taken, with %q", body, name)
				}
			}
		}
	})
}

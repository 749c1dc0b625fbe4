package api

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"
	"github.com/google/go-cmp/cmp"

	"roundtable/cluster"
	"roundtable/fsm"
	"roundtable/security"
)

// document is the API's description, checked for its own sake.
func document(t *testing.T) *openapi3.T {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData(openAPI)
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return doc
}

var parameter = regexp.MustCompile(`:(\w+)`)

// TestDescribedRoutes: the document has every route, and no other, with the same role, parameters and body.
func TestDescribedRoutes(t *testing.T) {
	doc, s := document(t), newWorld(t).server(t)
	described := map[string]bool{}
	for path, item := range doc.Paths.Map() {
		for method := range item.Operations() {
			described[method+" "+path] = true
		}
	}
	for _, rt := range s.routes() {
		path := parameter.ReplaceAllString(rt.path, "{$1}")
		name := rt.method + " " + path
		if !described[name] {
			t.Errorf("%s is not described", name)
			continue
		}
		delete(described, name)
		item := doc.Paths.Value(path)
		op := item.GetOperation(rt.method)
		if role := op.Extensions["x-role"]; role != string(rt.role) {
			t.Errorf("%s: x-role is %v, not %s", name, role, rt.role)
		}
		if open := op.Security != nil && len(*op.Security) == 0; open != (rt.role == None) {
			t.Errorf("%s: security says %v, the role is %s", name, open, rt.role)
		}
		if (op.RequestBody != nil) != rt.body {
			t.Errorf("%s: a body is described: %v, taken: %v", name, op.RequestBody != nil, rt.body)
		}
		var query, inPath []string
		keyed := false
		for _, p := range slices.Concat(item.Parameters, op.Parameters) {
			switch p.Value.In {
			case openapi3.ParameterInQuery:
				query = append(query, p.Value.Name)
			case openapi3.ParameterInPath:
				inPath = append(inPath, ":"+p.Value.Name)
			}
			keyed = keyed || p.Value.Name == "Idempotency-Key"
		}
		if !slices.Contains(rt.query, anything) {
			if d := cmp.Diff(slices.Sorted(slices.Values(rt.query)), slices.Sorted(slices.Values(query))); d != "" {
				t.Errorf("%s: parameters: %s", name, d)
			}
		}
		if d := cmp.Diff(parameter.FindAllString(rt.path, -1), inPath); d != "" {
			t.Errorf("%s: parameters of the path: %s", name, d)
		}
		if acts := rt.method != http.MethodGet && rt.role != Peer; keyed != acts {
			t.Errorf("%s: an Idempotency-Key is described: %v", name, keyed)
		}
		if op.Summary == "" || op.OperationID == "" || len(op.Tags) != 1 {
			t.Errorf("%s has no summary, no id or no tag", name)
		}
	}
	for name := range described {
		t.Errorf("%s is described, and is no route", name)
	}
}

// TestDescribedShapes: each schema has the fields of its Go type, no more and no fewer, and requires those that are always
// there.
func TestDescribedShapes(t *testing.T) {
	doc := document(t)
	shapes := map[string]any{
		"ErrorBody": errorBody{}, "Error": Error{}, "Overview": Overview{}, "Lease": Lease{}, "Candidate": Candidate{}, "PastLease": PastLease{},
		"Block": Block{}, "Member": Member{}, "Round": Round{}, "ProducerRound": ProducerRound{}, "Window": Window{}, "Operation": Operation{},
		"Step": Step{}, "Event": Event{}, "Gap": Gap{}, "RaftStatus": cluster.RaftStatus{}, "RaftPeer": cluster.RaftPeer{},
		"Snapshot": cluster.Snapshot{}, "RaftAll": RaftAll{}, "Version": Version{}, "HandoffRequest": handoffRequest{}, "Started": Started{},
		"Home": Home{}, "Part": Part{}, "TableRow": TableRow{}, "RestartRequest": restartRequest{}, "UpgradeRequest": upgradeRequest{}, "RolloutRequest": rolloutRequest{},
		"MaintenanceRequest": maintenanceRequest{}, "MaintenanceSet": MaintenanceSet{}, "TransferRequest": transferRequest{},
		"LeaderMoved": LeaderMoved{}, "ClusterConfig": ClusterConfig{}, "ConfigRequest": configRequest{}, "ConfigSet": ConfigSet{},
		"MemberRequest": memberRequest{}, "MemberSet": MemberSet{}, "Removed": Removed{}, "InviteRequest": inviteRequest{}, "Invited": Invited{},
		"Token": Token{}, "TokenRequest": tokenRequest{}, "NewToken": NewToken{}, "JoinRequest": JoinRequest{}, "Joined": Joined{},
		"CertificateRequest": CertificateRequest{}, "Certificate": Certificate{}, "Backup": Backup{}, "BackupSet": BackupSet{}, "BackupStanding": BackupStanding{},
		"Plan": Plan{}, "PlanSet": PlanSet{}, "BackupRequest": backupRequest{}, "RestoreRequest": restoreRequest{}, "VerifyRequest": verifyRequest{}, "SweepRequest": sweepRequest{},
		"ScanRequest": scanRequest{}, "BackupPatchRequest": backupPatch{}, "PlanRequest": planRequest{}, "PlanPatchRequest": planPatch{},
	}
	for name, ref := range doc.Components.Schemas {
		shape, ok := shapes[name]
		if !ok {
			t.Errorf("schema %s is of no Go type here", name)
			continue
		}
		delete(shapes, name)
		var have, always []string
		for f := range reflect.TypeOf(shape).Fields() {
			field, option, _ := strings.Cut(f.Tag.Get("json"), ",")
			if field == "-" || field == "" {
				continue
			}
			have = append(have, field)
			if option == "" {
				always = append(always, field)
			}
		}
		var described []string
		for field := range ref.Value.Properties {
			described = append(described, field)
		}
		slices.Sort(have)
		slices.Sort(described)
		if d := cmp.Diff(have, described); d != "" {
			t.Errorf("schema %s: -type +schema\n%s", name, d)
		}
		required := slices.Sorted(slices.Values(ref.Value.Required))
		slices.Sort(always)
		if d := cmp.Diff(always, required); d != "" && !strings.HasSuffix(name, "Request") { // what a request needs is the handler's
			t.Errorf("schema %s, required: -type +schema\n%s", name, d)
		}
	}
	for name := range shapes {
		t.Errorf("%s has no schema", name)
	}
}

// contract asks a running server and holds requests and answers to the document.
type contract struct {
	t      *testing.T
	router routers.Router
	asked  map[string]map[bool]bool // by operation: good and bad
}

func newContract(t *testing.T) *contract {
	doc := document(t)
	for _, ref := range doc.Components.Schemas { // a field that is not described is an error here, though not to a client
		no := false
		ref.Value.AdditionalProperties = openapi3.AdditionalProperties{Has: &no}
	}
	openapi3filter.RegisterBodyDecoder("text/html", openapi3filter.FileBodyDecoder)
	router, err := legacy.NewRouter(doc)
	if err != nil {
		t.Fatal(err)
	}
	return &contract{t, router, map[string]map[bool]bool{}}
}

// ask sends a request. A good one must fit the document and be answered as it says; a bad one must be answered with an
// error as it says.
func (c *contract) ask(client *http.Client, base, method, path, body string, want int, headers ...string) string {
	c.t.Helper()
	req, err := http.NewRequest(method, base+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	if body == "" {
		req.Body, req.ContentLength = http.NoBody, 0
	} else {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	local := req.Clone(c.t.Context())
	local.URL.Scheme, local.URL.Host, local.Host = "", "", ""
	route, params, err := c.router.FindRoute(local)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, path, err)
	}
	good := want < 400 || want == http.StatusServiceUnavailable && strings.HasPrefix(path, "/health/")
	name := route.Method + " " + route.Path
	if c.asked[name] == nil {
		c.asked[name] = map[bool]bool{}
	}
	c.asked[name][good] = true
	local.Body = io.NopCloser(strings.NewReader(body))
	input := &openapi3filter.RequestValidationInput{
		Request: local, PathParams: params, Route: route,
		Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true},
	}
	if err := openapi3filter.ValidateRequest(c.t.Context(), input); good && err != nil {
		c.t.Errorf("%s %s: the request is not as described: %v", method, path, err)
	}
	resp, err := client.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != want {
		text, _ := io.ReadAll(resp.Body)
		c.t.Fatalf("%s %s: %s %s, want %d", method, path, resp.Status, text, want)
	}
	if resp.Header.Get("Content-Type") == "text/event-stream" { // it does not end
		return ""
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	output := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: input, Status: resp.StatusCode, Header: resp.Header, Body: io.NopCloser(bytes.NewReader(text)), Options: input.Options,
	}
	if err := openapi3filter.ValidateResponse(c.t.Context(), output); err != nil {
		c.t.Errorf("%s %s: the answer is not as described: %v", method, path, err)
	}
	return string(text)
}

// TestContract asks every path at least once well and once badly.
func TestContract(t *testing.T) {
	c := newContract(t)
	w := newWorld(t)
	w.handoff = func(context.Context, string, string, string) (uint64, error) {
		id := w.start(t)
		w.apply(t, fsm.FinishOperation{ID: id, Step: fsm.StepValidate, Outcome: fsm.Failed, Reason: "b has no peers"})
		return id, nil
	}
	s, tokens := guarded(t, w)
	s.cfg.CAs = func() []string { return []string{strings.Repeat("ab", 32)} }
	for id, m := range w.state.Members {
		m.API = "https://" + id + ":9080"
		w.apply(t, fsm.PutMember{Member: m})
	}
	srv := listen(t, s)
	as := func(role Role) []string { return []string{"Authorization", "Bearer " + tokens[role]} }
	ask := func(role Role, method, path, body string, want int, headers ...string) string {
		t.Helper()
		s.clients = clients{} // nobody asks too often here
		return c.ask(srv.Client(), srv.URL, method, path, body, want, append(as(role), headers...)...)
	}
	running := fmt.Sprint(w.start(t))

	for _, path := range []string{
		"/cluster", "/cluster/raft", "/cluster/raft?all=true", "/cluster/members", "/cluster/members/a", "/cluster/members/w", "/cluster/lease", "/cluster/round", "/cluster/operations",
		"/cluster/operations/" + running, "/cluster/history", "/cluster/history?limit=3", "/cluster/events", "/cluster/events?since=0", "/cluster/config", "/metrics", "/version", "/openapi.yaml",
		"/health/live", "/health/ready",
	} {
		ask(Read, http.MethodGet, path, "", http.StatusOK)
	}
	ask(Read, http.MethodGet, "/health/standby", "", http.StatusServiceUnavailable)
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/goroutine?debug=1", "/debug/pprof/heap", "/debug/pprof/cmdline"} {
		ask(Admin, http.MethodGet, path, "", http.StatusOK)
	}
	ask(Operate, http.MethodPost, "/cluster/maintenance", `{"on":true}`, http.StatusOK, "Idempotency-Key", "1")
	ask(Operate, http.MethodDelete, "/cluster/operations/"+running, "", http.StatusOK)
	ask(Operate, http.MethodPost, "/cluster/handoff", `{"to":"b","when":"now"}`, http.StatusAccepted)
	for _, c := range []struct{ path, body string }{
		{"/cluster/restart", `{"rolling":true,"limit":"5m"}`},
		{"/cluster/upgrade", `{"tag":"v1.2.3","row":{"code":"eosio","scope":"eosio","table":"global","key":"","field":"flag","value":"1"},"undo":"all","snapshot":true,"members":["b","c"],"queue":"1h"}`},
		{"/cluster/rollout", `{}`},
	} {
		ask(Operate, http.MethodPost, c.path, c.body, http.StatusAccepted)
		id := fmt.Sprint(w.state.Operations[len(w.state.Operations)-1].ID)
		ask(Read, http.MethodGet, "/cluster/operations/"+id, "", http.StatusOK)
		if c.path != "/cluster/restart" {
			ask(Operate, http.MethodDelete, "/cluster/operations/"+id, "", http.StatusOK)
			continue
		}
		w.apply(t, fsm.TurnOperation{ID: w.state.Index, Number: 1, Step: fsm.StepRestart, Members: []string{"b"}, Deadline: now.UnixMilli() + 60_000})
		ask(Operate, http.MethodDelete, "/cluster/operations/"+id, "", http.StatusAccepted)
		w.apply(t, fsm.ReportOperation{ID: w.state.Operations[len(w.state.Operations)-1].ID, Number: 2, Member: "b", Incarnation: strings.Repeat("b", 32), Ended: true})
		ask(Operate, http.MethodDelete, "/cluster/operations/"+id, "", http.StatusOK)
	}
	backupsContract(t, w, ask)
	ask(Operate, http.MethodPatch, "/cluster/members/b", `{"priority":3,"nofailover":true,"maintenance":true}`, http.StatusOK)
	ask(Admin, http.MethodPatch, "/cluster/members/c", `{"voter":false}`, http.StatusOK)
	ask(Admin, http.MethodPatch, "/cluster/config", `{"slots":5,"producers":["alice","bob"],"overlay":"max-clients = 9\n","take_over":true}`, http.StatusOK)
	ask(Operate, http.MethodPost, "/cluster/leader/transfer", `{"to":"a"}`, http.StatusOK)
	ask(Admin, http.MethodPost, "/cluster/members", `{"id":"d","ttl":"2h"}`, http.StatusCreated)
	ask(Admin, http.MethodDelete, "/cluster/members/c", "", http.StatusOK)
	ask(Admin, http.MethodPost, "/cluster/tokens", `{"name":"prometheus","role":"read","ttl":"24h"}`, http.StatusCreated)
	ask(Admin, http.MethodGet, "/cluster/tokens", "", http.StatusOK)
	_, id, hash := security.NewToken()
	w.apply(t, fsm.PutToken{Token: fsm.Token{ID: id, Name: "x", Role: "read", Hash: hash}})
	ask(Admin, http.MethodDelete, "/cluster/tokens/"+id, "", http.StatusOK)
	ask(Read, http.MethodGet, "/cluster", "", http.StatusOK) // with all that by now
	ask(Read, http.MethodGet, "/cluster/operations", "", http.StatusOK)

	for _, bad := range []struct {
		role               Role
		method, path, body string
		want               int
	}{
		{Read, "GET", "/cluster?x=1", "", 400},
		{Read, "GET", "/cluster/raft?all=perhaps", "", 400},
		{Read, "GET", "/cluster/members?x=1", "", 400},
		{Read, "GET", "/cluster/members/zz", "", 404},
		{Read, "GET", "/cluster/lease?x=1", "", 400},
		{Read, "GET", "/cluster/round?x=1", "", 400},
		{Read, "GET", "/cluster/operations?x=1", "", 400},
		{Read, "GET", "/cluster/operations/zz", "", 404},
		{Read, "GET", "/cluster/history?limit=0", "", 400},
		{Read, "GET", "/cluster/events?since=x", "", 400},
		{Read, "GET", "/cluster/config?x=1", "", 400},
		{Read, "GET", "/version?x=1", "", 400},
		{Read, "GET", "/openapi.yaml?x=1", "", 400},
		{None, "GET", "/metrics", "", 401},
		{Read, "GET", "/debug/pprof/", "", 403},
		{Admin, "GET", "/debug/pprof/zz", "", 404},
		{Read, "POST", "/cluster/handoff", "{}", 403},
		{Operate, "POST", "/cluster/handoff?wait=1s", "{}", 409},
		{Operate, "POST", "/cluster/restart", "{}", 400},
		{Operate, "POST", "/cluster/upgrade", "{}", 400},
		{Operate, "POST", "/cluster/rollout", `{"limit":"soon"}`, 400},
		{Operate, "POST", "/cluster/backup", "{}", 400},
		{Read, "GET", "/cluster/backups?state=lost", "", 400},
		{Read, "GET", "/cluster/backups/zz", "", 404},
		{Operate, "POST", "/cluster/backups/zz/restore", `{"member":"b"}`, 404},
		{Operate, "POST", "/cluster/backups/zz/verify", `{}`, 404},
		{Operate, "POST", "/cluster/backups/sweep", `{"unknown":true}`, 403},
		{Operate, "POST", "/cluster/backups/scan", `{"member":"zz"}`, 404},
		{Operate, "PATCH", "/cluster/backups/zz", `{"pinned":true}`, 404},
		{Operate, "DELETE", "/cluster/backups/zz", "", 403},
		{Read, "GET", "/cluster/plans?x=1", "", 400},
		{Read, "GET", "/cluster/plans/zz", "", 404},
		{Operate, "POST", "/cluster/plans", "{}", 400},
		{Operate, "PATCH", "/cluster/plans/zz", `{"disabled":true}`, 404},
		{Operate, "DELETE", "/cluster/plans/zz", "", 404},
		{Operate, "POST", "/cluster/plans/zz/run", "", 404},
		{Operate, "POST", "/cluster/maintenance", "{}", 400},
		{Operate, "POST", "/cluster/leader/transfer", `{"to":"zz"}`, 404},
		{Operate, "DELETE", "/cluster/operations/1", "", 404},
		{Operate, "DELETE", "/cluster/operations/" + running, "", 409},
		{Operate, "PATCH", "/cluster/members/b", `{"voter":true}`, 403},
		{Operate, "PATCH", "/cluster/members/zz", `{"priority":1}`, 404},
		{Admin, "POST", "/cluster/members", `{"id":"a"}`, 409},
		{Admin, "DELETE", "/cluster/members/a", "", 409},
		{Admin, "PATCH", "/cluster/config", `{"slots":99}`, 409},
		{Operate, "GET", "/cluster/tokens", "", 403},
		{Admin, "POST", "/cluster/tokens", `{"name":"x","role":"king"}`, 400},
		{Admin, "DELETE", "/cluster/tokens/zz", "", 404},
		{None, "POST", "/cluster/join", `{"id":"d","invite":"x","csr":"x"}`, 409},
		{Admin, "POST", "/cluster/certificate", `{"csr":"x"}`, 403},
	} {
		ask(bad.role, bad.method, bad.path, bad.body, bad.want)
	}
	c.ask(srv.Client(), srv.URL, http.MethodGet, "/health/happy", "", http.StatusNotFound)

	elsewhere := map[string]bool{"POST /cluster/join": true, "POST /cluster/certificate": true} // good ones: with a real CA, in test
	for _, rt := range s.routes() {
		name := rt.method + " " + parameter.ReplaceAllString(rt.path, "{$1}")
		if asked := c.asked[name]; !asked[false] || !asked[true] && !elsewhere[name] {
			t.Errorf("%s: asked well: %v, badly: %v", name, asked[true], asked[false])
		}
	}
}

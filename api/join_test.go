package api

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"roundtable/fsm"
	"roundtable/security"
)

// authority is a member's keeper, with a gossip key and a bell.
type authority struct {
	*security.Keeper
	mu   sync.Mutex
	rung []string
}

func (a *authority) Gossip() (string, []string) {
	return "the gossip key\n", []string{"a:9060", "b:9060"}
}

func (a *authority) Alarm(name, subject, text string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.rung = append(a.rung, name+" "+subject+": "+text)
}

func (a *authority) rings() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.rung)
}

// entrance is a cluster whose members serve their APIs over TLS.
type entrance struct {
	*world
	ca      *security.CA
	gossip  []byte
	servers map[string]*httptest.Server
	apis    map[string]*Server
	keys    map[string]*authority
	refused map[string]int
	mu      sync.Mutex
}

// newEntrance makes the members a, with the CA's key, and those given, without it.
func newEntrance(t *testing.T, others ...string) *entrance {
	t.Helper()
	e := &entrance{world: newWorld(t), servers: map[string]*httptest.Server{}, apis: map[string]*Server{}, keys: map[string]*authority{}, refused: map[string]int{}}
	dir := t.TempDir()
	var err error
	if e.ca, e.gossip, err = security.Found(security.InHome(filepath.Join(dir, "a")), "demo", now.Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	for _, id := range append([]string{"a"}, others...) {
		e.serve(t, dir, id)
	}
	return e
}

func (e *entrance) keeper(t *testing.T, dir, id string) *security.Keeper {
	t.Helper()
	files := security.InHome(filepath.Join(dir, id))
	if err := e.ca.Admit(files, id, nil, e.gossip, now); err != nil {
		t.Fatal(err)
	}
	k, err := security.Open(security.Config{Files: files, Member: id, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (e *entrance) serve(t *testing.T, dir, id string) {
	t.Helper()
	e.keys[id] = &authority{Keeper: e.keeper(t, dir, id)}
	client := &http.Client{Transport: e.keys[id].Transport(func(address string) (string, bool) {
		for member, srv := range e.servers {
			if srv.Listener.Addr().String() == address {
				return member, true
			}
		}
		return "", false
	})}
	s, err := New(Config{Self: id, Cluster: e.world, Control: e.world, Now: func() time.Time { return now }, Client: client, CAs: e.keys[id].CAs, Authority: e.keys[id]})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(s)
	srv.TLS = e.keys[id].API(func(reason string) {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.refused[reason]++
	})
	srv.StartTLS()
	t.Cleanup(func() {
		client.CloseIdleConnections()
		srv.Close()
	})
	e.servers[id], e.apis[id] = srv, s
	e.change(func(w *world) { m := w.state.Members[id]; m.API = srv.URL; w.state.Members[id] = m })
}

// post sends a request to a member; from says who asks: nil for somebody without a certificate.
func (e *entrance) post(t *testing.T, to, path string, from *security.Keeper, body, into any) *Error {
	t.Helper()
	conf := security.Introduction(e.keys["a"].CAs(), func() time.Time { return now })
	if from != nil {
		conf = from.Client(to)
	}
	transport := &http.Transport{TLSClientConfig: conf, DisableKeepAlives: true}
	err := AskMember(t.Context(), &http.Client{Transport: transport}, e.servers[to].URL, path, body, into)
	if err == nil {
		return nil
	}
	if said, ok := err.(*Error); ok { //nolint:errorlint // it is never wrapped
		return said
	}
	return &Error{Code: "transport", Message: err.Error()}
}

// invite puts an invite for a member into the state.
func (e *entrance) invite(t *testing.T, member string, life time.Duration) (text, id string) {
	t.Helper()
	text, id, hash := security.NewInvite()
	if _, err := e.PutInvite(context.Background(), fsm.Invite{ID: id, Member: member, Hash: hash, Expires: now.Add(life).UnixMilli()}, ""); err != nil {
		t.Fatal(err)
	}
	return text, id
}

// csr is a key and a request for it.
func csr(t *testing.T, member string, hosts ...string) (key, request []byte) {
	t.Helper()
	key, request, err := security.NewRequest(member, hosts)
	if err != nil {
		t.Fatal(err)
	}
	return key, request
}

func TestJoin(t *testing.T) {
	e := newEntrance(t)
	text, id := e.invite(t, "d", time.Hour)
	key, request := csr(t, "d", "d.example")
	body := JoinRequest{ID: "d", Invite: text, CSR: string(request)}
	var j Joined
	if err := e.post(t, "a", "/cluster/join", nil, body, &j); err != nil {
		t.Fatal(err)
	}
	if err := (security.Issued{Cert: []byte(j.Certificate), CA: []byte(j.CA)}).Check(key, "d", e.keys["a"].CAs(), now); err != nil {
		t.Error(err)
	}
	if j.ID != "d" || j.Cluster != "demo" || !slices.Equal(j.Producers, []string{"alice"}) || j.GossipKey != "the gossip key\n" || len(j.Join) != 2 || !slices.Contains(j.P2P, "b:9876") {
		t.Errorf("%+v", j)
	}
	state, _ := e.View()
	last := state.History[len(state.History)-1]
	if last.Kind != "member.admitted" || last.Subject != "d" || last.Actor != "invite:"+id {
		t.Errorf("history: %+v", last)
	}

	for range 3 { // the same again, with the same key of idempotency as well: the second one is somebody else
		if err := e.post(t, "a", "/cluster/join", nil, body, &j); err == nil || err.Status != http.StatusConflict || err.Code != "invite.used" || err.Hint == "" {
			t.Errorf("a replay: %+v", err)
		}
	}
	if n := e.apis["a"].Refused()["invite"]; n != 3 {
		t.Errorf("%d counted", n)
	}
	if rung := e.keys["a"].rings(); len(rung) != 1 || !strings.Contains(rung[0], "join d: ") || strings.Contains(rung[0], text) {
		t.Errorf("rung: %q", rung)
	}
}

// TestJoinReplayedWithItsKey: an Idempotency-Key makes no replay of a join harmless.
func TestJoinReplayedWithItsKey(t *testing.T) {
	e := newEntrance(t)
	text, _ := e.invite(t, "d", time.Hour)
	_, request := csr(t, "d")
	body, err := json.Marshal(JoinRequest{ID: "d", Invite: text, CSR: string(request)})
	if err != nil {
		t.Fatal(err)
	}
	srv := e.servers["a"]
	srv.Client().Transport.(*http.Transport).TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
	for _, want := range []int{http.StatusOK, http.StatusConflict} {
		if resp := ask(t, srv, http.MethodPost, "/cluster/join", string(body), nil, "Idempotency-Key", "k"); resp.StatusCode != want {
			t.Errorf("%d, not %d", resp.StatusCode, want)
		}
	}
	srv.Client().CloseIdleConnections()
}

// TestJoinRefused: nothing is proposed, and the invite stays good.
func TestJoinRefused(t *testing.T) {
	e := newEntrance(t)
	text, _ := e.invite(t, "d", time.Hour)
	late, _ := e.invite(t, "f", time.Millisecond)
	other, _, _ := security.NewInvite()
	_, request := csr(t, "d")
	_, asB := csr(t, "d", "b")
	good := JoinRequest{ID: "d", Invite: text, CSR: string(request)}
	with := func(change func(*JoinRequest)) JoinRequest { r := good; change(&r); return r }
	before, _ := e.View()
	at := now
	e.apis["a"].cfg.Now = func() time.Time { return at }
	for name, tc := range map[string]struct {
		body  JoinRequest
		after time.Duration
		code  string
	}{
		"no invite":          {body: with(func(r *JoinRequest) { r.Invite = "" }), code: "bad_input"},
		"a token":            {body: with(func(r *JoinRequest) { r.Invite, _, _ = security.NewToken() }), code: "bad_input"},
		"unknown":            {body: with(func(r *JoinRequest) { r.Invite = other }), code: "invite.unknown"},
		"guessed":            {body: with(func(r *JoinRequest) { r.Invite = text[:len(text)-1] + swap(text[len(text)-1]) }), code: "invite.mismatch"},
		"for somebody else":  {body: with(func(r *JoinRequest) { r.ID = "z" }), code: "invite.mismatch"},
		"expired":            {body: with(func(r *JoinRequest) { r.ID, r.Invite = "f", late }), after: time.Second, code: "invite.expired"},
		"no request":         {body: with(func(r *JoinRequest) { r.CSR = "" }), code: "bad_input"},
		"a key instead":      {body: with(func(r *JoinRequest) { k, _ := csr(t, "d"); r.CSR = string(k) }), code: "bad_input"},
		"nothing fits":       {body: with(func(r *JoinRequest) { r.Invite, r.CSR = other, "" }), code: "invite.unknown"}, // no request is looked at without an invite
		"another's id":       {body: with(func(r *JoinRequest) { r.CSR = string(asB) }), code: "join.host"},
		"an id that is none": {body: with(func(r *JoinRequest) { r.ID = "../d" }), code: "bad_input"},
	} {
		at = now.Add(tc.after)
		var j Joined
		err := e.post(t, "a", "/cluster/join", nil, tc.body, &j)
		if err == nil || err.Code != tc.code || err.Hint == "" || j.GossipKey != "" {
			t.Errorf("%s: %+v", name, err)
		}
		if err != nil && strings.Contains(err.Message+err.Hint, text) {
			t.Errorf("%s shows the invite: %s", name, err.Message)
		}
	}
	if after, _ := e.View(); after.Index != before.Index {
		t.Error("something was proposed")
	}
	at = now
	if err := e.post(t, "a", "/cluster/join", nil, good, &Joined{}); err != nil {
		t.Errorf("the good one: %+v", err)
	}
}

// swap is another letter.
func swap(c byte) string {
	if c == 'a' {
		return "b"
	}
	return "a"
}

// TestJoinIsPassedOn to a member that has the CA's key: one hop.
func TestJoinIsPassedOn(t *testing.T) {
	e := newEntrance(t, "b", "c")
	text, _ := e.invite(t, "d", time.Hour)
	key, request := csr(t, "d")
	body := JoinRequest{ID: "d", Invite: text, CSR: string(request)}
	if err := e.post(t, "c", "/cluster/join", e.keys["b"].Keeper, body, &Joined{}); err == nil || err.Code != noCA {
		t.Errorf("what a member asks for is passed on: %+v", err)
	}
	var j Joined
	if err := e.post(t, "b", "/cluster/join", nil, body, &j); err != nil {
		t.Fatalf("%+v", err)
	}
	if err := (security.Issued{Cert: []byte(j.Certificate), CA: []byte(j.CA)}).Check(key, "d", nil, now); err != nil {
		t.Error(err)
	}
	if err := e.post(t, "b", "/cluster/join", nil, body, &j); err == nil || err.Code != "invite.used" {
		t.Errorf("a replay through another member: %+v", err)
	}
	text, _ = e.invite(t, "d2", time.Hour)
	e.servers["a"].CloseClientConnections()
	e.servers["a"].Listener.Close()
	_, request = csr(t, "d2")
	if err := e.post(t, "b", "/cluster/join", nil, JoinRequest{ID: "d2", Invite: text, CSR: string(request)}, &j); err == nil || err.Code != noCA || err.Status != http.StatusServiceUnavailable || err.Hint == "" {
		t.Errorf("nobody has the CA: %+v", err)
	}
}

// TestJoinWithoutTLS: a plain cluster lets nobody in.
func TestJoinWithoutTLS(t *testing.T) {
	w := newWorld(t)
	var said errorBody
	if resp := ask(t, listen(t, w.server(t)), http.MethodPost, "/cluster/join", `{"id":"d","invite":"x","csr":"x"}`, &said); resp.StatusCode != http.StatusConflict || said.Error.Code != "join.plain" {
		t.Errorf("%d %+v", resp.StatusCode, said.Error)
	}
}

// TestCertificate: a member gets a new one for the old; nobody else does.
func TestCertificate(t *testing.T) {
	e := newEntrance(t, "b")
	key, request := csr(t, "b", "b.example")
	body := CertificateRequest{CSR: string(request)}
	var c Certificate
	if err := e.post(t, "a", "/cluster/certificate", e.keys["b"].Keeper, body, &c); err != nil {
		t.Fatalf("%+v", err)
	}
	if err := (security.Issued{Cert: []byte(c.Certificate), CA: []byte(c.CA)}).Check(key, "b", e.keys["a"].CAs(), now); err != nil {
		t.Error(err)
	}
	stranger := e.keeper(t, t.TempDir(), "x") // of the CA, but no member
	removed := e.keeper(t, t.TempDir(), "c")
	e.apply(t, fsm.RemoveMember{ID: "c", Ban: true})
	for name, tc := range map[string]struct {
		to   string
		from *security.Keeper
		csr  []byte
		code string
	}{
		"nobody":               {"a", nil, request, "unauthenticated"},
		"no member":            {"a", stranger, request, fsm.ErrMember.Rule},
		"a removed member":     {"a", removed, request, "unauthenticated"},
		"no request":           {"a", e.keys["b"].Keeper, nil, "bad_input"},
		"without the CA's key": {"b", e.keys["b"].Keeper, request, noCA},
	} {
		var c Certificate
		if err := e.post(t, tc.to, "/cluster/certificate", tc.from, CertificateRequest{CSR: string(tc.csr)}, &c); err == nil || err.Code != tc.code || c.Certificate != "" {
			t.Errorf("%s: %+v", name, err)
		}
	}
	_, asW := csr(t, "b", "w")
	if err := e.post(t, "a", "/cluster/certificate", e.keys["b"].Keeper, CertificateRequest{CSR: string(asW)}, &c); err == nil || err.Code != "join.host" {
		t.Errorf("another member's id as a host: %+v", err)
	}
}

// TestForeignClient: a certificate of another CA is refused in the handshake, and counted.
func TestForeignClient(t *testing.T) {
	e, foreign := newEntrance(t), newEntrance(t, "b")
	conf := e.keys["a"].Client("a")
	conf.GetClientCertificate = foreign.keys["b"].Client("").GetClientCertificate
	transport := &http.Transport{TLSClientConfig: conf, DisableKeepAlives: true}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, e.servers["a"].URL+"/health/live", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err == nil {
		resp.Body.Close()
		t.Fatalf("answered %s", resp.Status)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.refused[security.ReasonForeign] != 1 {
		t.Errorf("counted: %v (%v)", e.refused, err)
	}
}

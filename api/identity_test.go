package api

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"roundtable/fsm"
	"roundtable/security"
)

// guarded is a server that wants credentials, with a token of each role.
func guarded(t testing.TB, w *world) (s *Server, tokens map[Role]string) {
	t.Helper()
	s = w.server(t)
	s.cfg.Sandbox = false
	tokens = map[Role]string{}
	for _, role := range []Role{Read, Operate, Admin} {
		tokens[role] = w.token(t, string(role), string(role), 0)
	}
	return s, tokens
}

// token puts a token into the state.
func (w *world) token(t testing.TB, name, role string, expires int64) string {
	t.Helper()
	text, id, hash := security.NewToken()
	w.apply(t, fsm.PutToken{Token: fsm.Token{ID: id, Name: name, Role: role, Hash: hash, Expires: expires}})
	return text
}

// TestEveryRouteWantsItsRole asks every route with nothing, with a token of each role, and as a member: who has less than
// the route's role is refused, who has it is not.
func TestEveryRouteWantsItsRole(t *testing.T) {
	w := newWorld(t)
	w.handoff = func(context.Context, string, string, string) (uint64, error) { return 0, fsm.ErrHandoff }
	s, tokens := guarded(t, w)
	for _, rt := range s.routes() {
		path := strings.NewReplacer(":id", "zz", ":role", "live", ":name", "goroutine").Replace(rt.path)
		for _, who := range []Role{None, Read, Operate, Admin, Peer} {
			req := httptest.NewRequest(rt.method, path, strings.NewReader("{"))
			req.RemoteAddr = fmt.Sprintf("10.0.0.%d:1", len(who)) // one client each: nobody asks too often
			if rt.path == "/cluster/events" {
				req.Method = http.MethodHead
			}
			req.Header.Set("Authorization", "Bearer "+tokens[who])
			switch who {
			case None:
				req.Header.Del("Authorization")
			case Peer:
				req.Header.Del("Authorization")
				req.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{Subject: pkix.Name{CommonName: "b"}, NotAfter: now.Add(time.Hour)}}}
			}
			want, role := 0, who
			if who == Peer {
				role = Read
			}
			switch {
			case rt.role == None, rt.role == Peer && who == Peer, rt.role != Peer && role.covers(rt.role):
			case who == None:
				want = http.StatusUnauthorized
			default:
				want = http.StatusForbidden
			}
			s.clients = clients{}
			got := httptest.NewRecorder()
			s.ServeHTTP(got, req)
			refused := got.Code == http.StatusUnauthorized || got.Code == http.StatusForbidden
			if want != 0 && got.Code != want || want == 0 && refused || got.Code >= 500 && rt.path != "/health/:role" {
				t.Errorf("%s %s as %s: %d %s, want %d", rt.method, rt.path, who, got.Code, got.Body, want)
			}
		}
	}
}

// TestCredentials: each way to be somebody, and each way to fail.
func TestCredentials(t *testing.T) {
	w := newWorld(t)
	s, tokens := guarded(t, w)
	expired := w.token(t, "old", "admin", now.UnixMilli())
	unknown, _, _ := security.NewToken()
	wrong := tokens[Admin][:len(tokens[Admin])-4] + "aaaa"
	w.apply(t, fsm.RemoveMember{ID: "c", Ban: true})
	cert := func(member string, ends time.Time) *tls.ConnectionState {
		return &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{Subject: pkix.Name{CommonName: member}, NotAfter: ends}}}
	}
	later := now.Add(time.Hour)
	for name, tc := range map[string]struct {
		header []string
		tls    *tls.ConnectionState
		want   Identity
		reason string
	}{
		"nothing":               {want: Identity{Role: None}},
		"a token":               {header: []string{"Bearer " + tokens[Operate]}, want: Identity{Actor: "token:operate", Role: Operate}},
		"another case":          {header: []string{"bearer  " + tokens[Read] + " "}, want: Identity{Actor: "token:read", Role: Read}},
		"token and certificate": {header: []string{"Bearer " + tokens[Admin]}, tls: cert("b", later), want: Identity{Actor: "token:admin", Role: Admin}},
		"a member":              {tls: cert("b", later), want: Identity{Actor: "member:b", Role: Read, Member: "b"}},
		"TLS without":           {tls: &tls.ConnectionState{}, want: Identity{Role: None}},
		"a wrong secret":        {header: []string{"Bearer " + wrong}, reason: reasonBadToken},
		"an unknown token":      {header: []string{"Bearer " + unknown}, reason: reasonBadToken},
		"bad token, good cert":  {header: []string{"Bearer " + unknown}, tls: cert("b", later), reason: reasonBadToken},
		"an expired token":      {header: []string{"Bearer " + expired}, reason: reasonExpiredToken},
		"another scheme":        {header: []string{"Basic " + tokens[Admin]}, reason: reasonBadToken},
		"no token at all":       {header: []string{"Bearer"}, reason: reasonBadToken},
		"empty":                 {header: []string{""}, reason: reasonBadToken},
		"two":                   {header: []string{"Bearer " + tokens[Admin], "Bearer " + tokens[Admin]}, reason: reasonBadToken},
		"a removed member":      {tls: cert("c", later), reason: reasonRemoved},
		"an old certificate":    {tls: cert("b", now.Add(-time.Second)), reason: reasonExpiredCertificate},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "/cluster", nil)
			r.Header["Authorization"], r.TLS = tc.header, tc.tls
			if tc.header == nil {
				r.Header.Del("Authorization")
			}
			got, err := s.identify(r)
			if tc.reason == "" {
				if err != nil || got != tc.want {
					t.Errorf("%+v, %v; want %+v", got, err, tc.want)
				}
				return
			}
			e := toError(err)
			if got != (Identity{}) || err == nil || e.Status != http.StatusUnauthorized || e.refused != tc.reason || e.Hint == "" || strings.Contains(e.Message, tokens[Admin][8:]) {
				t.Errorf("%+v, %+v; want %s", got, e, tc.reason)
			}
		})
	}
}

// TestActor: who asked stands in the history, and what went wrong is counted by its reason.
func TestActor(t *testing.T) {
	w := newWorld(t)
	s, tokens := guarded(t, w)
	srv := listen(t, s)
	var set MaintenanceSet
	if resp := ask(t, srv, http.MethodPost, "/cluster/maintenance", `{"on":true,"member":"b"}`, &set, "Authorization", "Bearer "+tokens[Operate]); resp.StatusCode != http.StatusOK || set.Index == 0 || !set.On || set.Member != "b" {
		t.Fatalf("%d %+v", resp.StatusCode, set)
	}
	var history []Event
	ask(t, srv, http.MethodGet, "/cluster/history?limit=1", "", &history, "Authorization", "Bearer "+tokens[Read])
	if len(history) != 1 || history[0].Actor != "token:operate" || history[0].Kind != "member.set" || history[0].Index != set.Index {
		t.Errorf("history %+v", history)
	}
	var e answered
	resp := ask(t, srv, http.MethodPost, "/cluster/maintenance", `{"on":true}`, &e, "Authorization", "Bearer "+tokens[Read])
	if resp.StatusCode != http.StatusForbidden || e.Error.Code != "forbidden" || !strings.Contains(e.Error.Message, "needs the role operate; token:read has read") {
		t.Errorf("%d %+v", resp.StatusCode, e)
	}
	resp = ask(t, srv, http.MethodPost, "/cluster/maintenance", `{"on":true}`, &e)
	if resp.StatusCode != http.StatusUnauthorized || resp.Header.Get("WWW-Authenticate") != "Bearer" || e.Error.Code != "unauthenticated" {
		t.Errorf("%d %v %+v", resp.StatusCode, resp.Header, e)
	}
	if got := s.Refused(); got[reasonRole] != 1 || got[reasonNoToken] != 1 || got[reasonBadToken] != 0 {
		t.Errorf("refused %v", got)
	}
}

// TestLocalSocket: who opens the manager's own socket is an admin without a token, beside a listener where nobody is.
func TestLocalSocket(t *testing.T) {
	w := newWorld(t)
	s, _ := guarded(t, w)
	path := filepath.Join(t.TempDir(), "api.sock")
	old, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"}) // of a manager that was killed
	if err != nil {
		t.Fatal(err)
	}
	old.SetUnlinkOnClose(false)
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	own, err := ListenLocal(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, tcp, own) }()
	dial := func(network, address string) *http.Client {
		return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		}}}
	}
	for _, tc := range []struct {
		client *http.Client
		want   int
	}{{dial("unix", path), http.StatusOK}, {dial("tcp", tcp.Addr().String()), http.StatusUnauthorized}} {
		resp, err := tc.client.Post("http://m/cluster/maintenance", "application/json", strings.NewReader(`{"on":true}`))
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != tc.want {
			t.Errorf("%d %s, want %d", resp.StatusCode, b, tc.want)
		}
	}
	state, _ := w.View()
	if got := state.History[len(state.History)-1].Actor; got != fmt.Sprintf("local:%d", os.Geteuid()) {
		t.Errorf("actor %q", got)
	}
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the socket is still there: %v", err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ListenLocal(path); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Errorf("a file in its place: %v", err)
	}
}

// TestMemberOverTLS asks with a real certificate over real TLS.
func TestMemberOverTLS(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "b"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: now.Add(1000 * time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	s, _ := guarded(t, w)
	srv := httptest.NewUnstartedServer(s)
	srv.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	srv.StartTLS()
	defer srv.Close()
	transport := srv.Client().Transport.(*http.Transport)
	transport.TLSClientConfig.Certificates = []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}
	if resp := ask(t, srv, http.MethodGet, "/cluster", "", nil); resp.StatusCode != http.StatusOK {
		t.Errorf("reading as a member: %d", resp.StatusCode)
	}
	if resp := ask(t, srv, http.MethodPost, "/cluster/handoff", "{}", nil); resp.StatusCode != http.StatusForbidden {
		t.Errorf("acting as a member: %d", resp.StatusCode)
	}
}

func FuzzBearer(f *testing.F) {
	good, _, _ := security.NewToken()
	for _, s := range []string{"Bearer " + good, "Bearer", "Basic x", "Bearer rt1__", "bearer \t" + good, "Bearer rt1_\x00_\xff"} {
		f.Add(s)
	}
	w := newWorld(f)
	s := w.server(f)
	s.cfg.Sandbox = false
	f.Fuzz(func(t *testing.T, header string) {
		r := httptest.NewRequest(http.MethodGet, "/cluster", nil)
		r.Header["Authorization"] = []string{header}
		who, err := s.identify(r)
		if err == nil || who != (Identity{}) {
			t.Fatalf("%q is somebody: %+v", header, who)
		}
		if e := toError(err); e.Status != http.StatusUnauthorized || len(e.Message) > 200 {
			t.Fatalf("%+v", e)
		}
	})
}

package api

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"roundtable/fsm"
	"roundtable/security"
)

// TestLimits: who asks too often is told to wait, by kind of request, and nobody else is.
func TestLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s, tokens := guarded(t, w)
		send := func(addr, method, path, token string) int {
			r := httptest.NewRequest(method, path, nil)
			r.RemoteAddr = addr
			if token != "" {
				r.Header.Set("Authorization", "Bearer "+token)
			}
			got := httptest.NewRecorder()
			s.ServeHTTP(got, r)
			if got.Code == http.StatusTooManyRequests && got.Header().Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
			return got.Code
		}
		many := func(n int, addr, method, path, token string) (limited int) {
			for range n {
				if send(addr, method, path, token) == http.StatusTooManyRequests {
					limited++
				}
			}
			return limited
		}
		bad, _, _ := security.NewToken()
		for _, tc := range []struct {
			name, method, path, token string
			n, want                   int
		}{
			{"reads", http.MethodGet, "/health/live", "", readBurst + 5, 5},
			{"no route", http.MethodGet, "/nowhere", "", readBurst + 5, 5},
			{"strangers' changes", http.MethodPost, "/cluster/join", "", changeBurst + 6, 6},
			{"failures", http.MethodGet, "/cluster/lease", bad, failureBurst + 7, 7},
			{"nobody", http.MethodGet, "/cluster/lease", "", failureBurst + 7, 7},
		} {
			addr := "192.0.2.1:" + fmt.Sprint(1000+len(tc.name))
			if got := many(tc.n, addr, tc.method, tc.path, tc.token); got != tc.want {
				t.Errorf("%s: %d of %d were limited, want %d", tc.name, got, tc.n, tc.want)
			}
			if got := many(1, "192.0.2.2:1", tc.method, tc.path, tc.token); got != 0 {
				t.Errorf("%s: another client is limited", tc.name)
			}
			time.Sleep(time.Minute)
		}
		many(failureBurst+1, "192.0.2.3:1", http.MethodGet, "/cluster", bad)
		if got := send("192.0.2.3:1", http.MethodGet, "/cluster", tokens[Read]); got != http.StatusOK {
			t.Errorf("a good token after bad ones: %d", got)
		}
		if s.Refused()[reasonRate] != 5+5+6+7+7+1 {
			t.Errorf("refused %v", s.Refused())
		}
	})
}

// TestLimitsGoByWhoAsks: behind one address, a stranger and another operator use up nothing of mine; with one token, another
// address gets me nothing more.
func TestLimitsGoByWhoAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s, tokens := guarded(t, w)
		send := func(addr, path, token string) int {
			r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(`{"on":true}`))
			r.RemoteAddr = addr
			r.Header.Set("Authorization", "Bearer "+token)
			got := httptest.NewRecorder()
			s.ServeHTTP(got, r)
			return got.Code
		}
		for range changeBurst + 1 {
			send("192.0.2.1:1", "/cluster/join", "")
		}
		if got := send("192.0.2.1:1", "/cluster/join", ""); got != http.StatusTooManyRequests {
			t.Fatalf("the stranger: %d", got)
		}
		for i := range changeBurst {
			if got := send(fmt.Sprintf("192.0.2.%d:1", i%2+1), "/cluster/maintenance", tokens[Operate]); got != http.StatusOK {
				t.Fatalf("an operator behind the same address: %d", got)
			}
		}
		for _, addr := range []string{"192.0.2.1:1", "192.0.2.2:1", "192.0.2.3:1"} {
			if got := send(addr, "/cluster/maintenance", tokens[Operate]); got != http.StatusTooManyRequests {
				t.Errorf("the same token from %s: %d", addr, got)
			}
		}
		if got := send("192.0.2.1:1", "/cluster/maintenance", tokens[Admin]); got != http.StatusOK {
			t.Errorf("another operator: %d", got)
		}
	})
}

// TestHandshakes: who makes connections over TLS too fast is cut off before the handshake.
func TestHandshakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newWorld(t).server(t)
		open := func(addr string) bool {
			ours, theirs := net.Pipe()
			defer theirs.Close()
			c := tls.Server(from{ours, addr}, &tls.Config{})
			s.connState(c, http.StateNew)
			synctest.Wait()
			s.connections.mu.Lock()
			_, held := s.connections.held[c]
			s.connections.mu.Unlock()
			s.connState(c, http.StateClosed)
			ours.Close()
			return held
		}
		for i := range handshakeBurst {
			if !open("192.0.2.1:1") {
				t.Fatalf("the connection %d is refused", i)
			}
		}
		if open("192.0.2.1:1") {
			t.Error("one too many is taken")
		}
		if !open("192.0.2.2:1") {
			t.Error("another address is refused")
		}
		time.Sleep(time.Second)
		if !open("192.0.2.1:1") {
			t.Error("a second later it is still refused")
		}
		if n := s.Refused()[reasonConnections]; n != 1 {
			t.Errorf("%d are counted", n)
		}
	})
}

// from is a connection from an address.
type from struct {
	net.Conn
	addr string
}

func (f from) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(f.addr)) }

// TestClientsAreBounded: the table of clients stays small, and who asks all the time is not forgotten.
func TestClientsAreBounded(t *testing.T) {
	var c clients
	busy := c.of("busy")
	for i := range 10 * keptClients {
		c.of(fmt.Sprint(i))
		if i%100 == 0 && c.of("busy") != busy {
			t.Fatal("a busy client was forgotten")
		}
		if n := len(c.young) + len(c.old); n > keptClients {
			t.Fatalf("%d clients", n)
		}
	}
}

func TestClientOf(t *testing.T) {
	for remote, want := range map[string]string{
		"192.0.2.1:80": "192.0.2.1", "[2001:db8:1:2:3:4:5:6]:80": "2001:db8:1:2::/64", "[fe80::1%eth0]:1": "fe80::/64", "[::ffff:192.0.2.1]:1": "192.0.2.1", "@": localClient, "": localClient, "pipe": localClient,
	} {
		if got := clientOf(remote); got != want {
			t.Errorf("%q: %q, not %q", remote, got, want)
		}
	}
}

// raw serves the API and sends bytes to it as they are.
func raw(t *testing.T, s *Server) (send func(text string) net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return func(text string) net.Conn {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		if _, err := io.WriteString(c, text); err != nil {
			t.Fatal(err)
		}
		return c
	}
}

// TestSlow: a header and a body that do not come to their end are cut off in time, and an answer that waits is not.
func TestSlow(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for time limits")
	}
	w := newWorld(t)
	w.handoff = func(context.Context, string, string, string) (uint64, error) { return w.start(t), nil }
	send := raw(t, w.server(t))
	begun := time.Now()
	header := send("GET /cluster HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
	body := send("POST /cluster/handoff HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n{")
	waits := send("POST /cluster/handoff?wait=12s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}")
	for _, tc := range []struct {
		name        string
		conn        net.Conn
		want        string
		least, most time.Duration
	}{
		{"header", header, "", headerTime - time.Second, headerTime + 3*time.Second},
		{"body", body, "HTTP/1.1 408", readTime - time.Second, readTime + 3*time.Second},
		{"wait", waits, "HTTP/1.1 202", 11 * time.Second, 15 * time.Second},
	} {
		got, _ := io.ReadAll(tc.conn)
		if took := time.Since(begun); !strings.HasPrefix(string(got), tc.want) || tc.want == "" && len(got) > 0 || took < tc.least || took > tc.most {
			t.Errorf("%s: after %s: %q", tc.name, took, got)
		}
	}
}

// TestConnections: one client cannot take them all.
func TestConnections(t *testing.T) {
	w := newWorld(t)
	s := w.server(t)
	send := raw(t, s)
	const request = "GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
	first := send(request)
	for range maxConnsEach - 1 {
		if _, err := send(request).Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := send("").Read(make([]byte, 1)); n > 0 || err == nil {
		t.Error("one connection too many is served")
	}
	if s.Refused()[reasonConnections] == 0 {
		t.Errorf("refused %v", s.Refused())
	}
	first.Close()
	for deadline := time.Now().Add(5 * time.Second); ; {
		c := send(request)
		if n, _ := c.Read(make([]byte, 1)); n == 1 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("a place that was given back is not taken again")
		}
	}
}

// TestBadRequests: what HTTP lets pass and no route takes.
func TestBadRequests(t *testing.T) {
	w := newWorld(t)
	id := w.start(t)
	srv := listen(t, w.server(t))
	before, _ := w.View()
	for _, tc := range []struct {
		name, method, path, body string
		headers                  []string
		status                   int
		message, hint            string
	}{
		{name: "an unknown parameter", method: "GET", path: "/cluster?verbose=1", status: 400, message: `unknown parameter "verbose"`, hint: "takes no parameters"},
		{name: "a misspelled parameter", method: "GET", path: "/cluster/history?limt=1", status: 400, message: `unknown parameter "limt"`, hint: "limit"},
		{name: "twice", method: "GET", path: "/cluster/history?limit=1&limit=2", status: 400, message: `"limit" is given 2 times`, hint: "limit"},
		{name: "a broken query", method: "GET", path: "/cluster?%zz", status: 400, message: "not well-formed", hint: "percent"},
		{name: "a body to a read", method: "GET", path: "/cluster", body: "{}", status: 400, message: "takes no body", hint: "without"},
		{name: "a body to a delete", method: "DELETE", path: fmt.Sprintf("/cluster/operations/%d", id), body: "{}", status: 400, message: "takes no body", hint: "without"},
		{name: "a form", method: "POST", path: "/cluster/maintenance", body: "on=true", headers: []string{"Content-Type", "application/x-www-form-urlencoded"}, status: 415, message: "x-www-form-urlencoded", hint: "application/json"},
		{name: "no type", method: "POST", path: "/cluster/maintenance", body: `{"on":true}`, headers: []string{"Content-Type", "/"}, status: 415, message: `"/"`, hint: "application/json"},
		{name: "twice in the body", method: "POST", path: "/cluster/maintenance", body: `{"on":true,"on":false}`, status: 400, message: `"on" is given twice`, hint: "once"},
		{name: "another case", method: "POST", path: "/cluster/maintenance", body: `{"ON":true}`, status: 400, message: `unknown field "ON"`, hint: "on, member"},
		{name: "no UTF-8", method: "POST", path: "/cluster/maintenance", body: "{\"on\":true,\"member\":\"\xff\"}", status: 400, message: "UTF-8", hint: "UTF-8"},
		{name: "deep", method: "POST", path: "/cluster/maintenance", body: `{"on":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + "}", status: 400, message: "depth", hint: "on, member"},
		{name: "nothing said", method: "POST", path: "/cluster/maintenance", body: `{}`, status: 400, message: `"on" must be`, hint: "whole cluster"},
		{name: "null", method: "POST", path: "/cluster/maintenance", body: `{"on":null}`, status: 400, message: `"on" must be`, hint: "whole cluster"},
		{name: "no bool", method: "POST", path: "/cluster/maintenance", body: `{"on":"yes"}`, status: 400, message: `"on" must be true or false, not a string`, hint: "on, member"},
		{name: "nobody's maintenance", method: "POST", path: "/cluster/maintenance", body: `{"on":true,"member":"zz"}`, status: 404, message: `no such member: "zz"`, hint: "roundtable members"},
		{name: "an empty patch", method: "PATCH", path: "/cluster/members/b", body: `{}`, status: 400, message: "nothing to change", hint: "priority, nofailover, maintenance, voter"},
		{name: "half a priority", method: "PATCH", path: "/cluster/members/b", body: `{"priority":1.5}`, status: 400, message: `"priority" must be a whole number, not 1.5`, hint: "priority"},
		{name: "nobody's patch", method: "PATCH", path: "/cluster/members/zz", body: `{"priority":1}`, status: 404, message: `no such member: "zz"`, hint: "roundtable members"},
		{name: "nobody's removal", method: "DELETE", path: "/cluster/members/zz", status: 404, message: `no such member: "zz"`, hint: "roundtable members"},
		{name: "an empty config", method: "PATCH", path: "/cluster/config", body: `{}`, status: 400, message: "nothing to change", hint: "producers, slots"},
		{name: "negative slots", method: "PATCH", path: "/cluster/config", body: `{"slots":-1}`, status: 400, message: `"slots" must be a whole number from 0 on, not -1`, hint: "slots"},
		{name: "too many slots", method: "PATCH", path: "/cluster/config", body: `{"slots":99}`, status: 409, message: "99", hint: "roundtable status"},
		{name: "no producers", method: "PATCH", path: "/cluster/config", body: `{"producers":[]}`, status: 409, message: "producer", hint: "roundtable status"},
		{name: "a transfer to nobody", method: "POST", path: "/cluster/leader/transfer", body: `{"to":"zz"}`, status: 404, message: `"zz"`, hint: "roundtable members"},
		{name: "no operation", method: "DELETE", path: "/cluster/operations/7777", status: 404, message: "7777", hint: "roundtable operations"},
		{name: "a token without a name", method: "POST", path: "/cluster/tokens", body: `{"role":"read"}`, status: 400, message: `"name" cannot be ""`, hint: "letters"},
		{name: "a token's role", method: "POST", path: "/cluster/tokens", body: `{"name":"x","role":"root"}`, status: 400, message: "root", hint: "admin"},
		{name: "a token's time", method: "POST", path: "/cluster/tokens", body: `{"name":"x","role":"read","ttl":"1s"}`, status: 400, message: `"ttl"`, hint: "720h"},
		{name: "no token", method: "DELETE", path: "/cluster/tokens/x", status: 404, message: `no such token: "x"`, hint: "roundtable token"},
		{name: "an invite without a CA", method: "POST", path: "/cluster/members", body: `{"id":"d"}`, status: 409, message: "no CA", hint: "roundtable init"},
		{name: "an invite without a name", method: "POST", path: "/cluster/members", body: `{"id":"../x"}`, status: 400, message: `"id" cannot be`, hint: "letters"},
		{name: "two keys", method: "POST", path: "/cluster/maintenance", body: `{"on":true}`, headers: []string{"Idempotency-Key", "a\tb"}, status: 400, message: "printable", hint: "UUID"},
		{name: "events from nowhere", method: "GET", path: "/cluster/events?since=yesterday", status: 400, message: `"yesterday"`, hint: "120.1"},
		{name: "events from a bad id", method: "GET", path: "/cluster/events", headers: []string{"Last-Event-ID", "1.0"}, status: 400, message: `"1.0"`, hint: "120.1"},
		{name: "no profile", method: "GET", path: "/debug/pprof/nothing", status: 404, message: "no such profile", hint: "/debug/pprof/"},
		{name: "a long profile", method: "GET", path: "/debug/pprof/profile?seconds=1e9", status: 400, message: "1e9", hint: "seconds=30"},
		{name: "no number of seconds", method: "GET", path: "/debug/pprof/trace?seconds=NaN", status: 400, message: "NaN", hint: "seconds=30"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var e answered
			resp := ask(t, srv, tc.method, tc.path, tc.body, &e, tc.headers...)
			if resp.StatusCode != tc.status || e.Error.Code == "" || !strings.Contains(e.Error.Message, tc.message) || !strings.Contains(e.Error.Hint, tc.hint) {
				t.Errorf("%d %+v, want %d, %q, hint %q", resp.StatusCode, e, tc.status, tc.message, tc.hint)
			}
		})
	}
	after, _ := w.View()
	for id, m := range before.Members {
		if m.Maintenance != after.Members[id].Maintenance || m.Priority != after.Members[id].Priority {
			t.Errorf("member %s was changed", id)
		}
	}
	if len(after.History) != len(before.History) || len(after.Tokens) > 0 || len(after.Invites) > 0 || after.Cluster.Slots != before.Cluster.Slots {
		t.Errorf("something was changed: %+v", after.History[len(before.History):])
	}
	if o, _ := after.Operation(id); o.Outcome != fsm.Running {
		t.Errorf("the operation is %s", o.Outcome)
	}
}

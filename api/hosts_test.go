package api

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"roundtable/fsm"
)

// TestHostOfAnother: a certificate is good for nobody else's host, however it is written.
func TestHostOfAnother(t *testing.T) {
	e := newEntrance(t)
	e.change(func(w *world) {
		for id, m := range map[string]fsm.Member{
			"b": {API: "https://B.example.org:9080", Raft: "192.0.2.2:9070", P2P: "nat.example.org:9876"},
			"c": {API: "https://[2001:db8::3]:9080", Raft: "c.raft.example.org:9070", P2P: "nat.example.org:9877"},
			"w": {API: "https://127.0.0.1:9080", Raft: "localhost:9070"},
		} {
			m.ID = id
			w.state.Members[id] = m
		}
	})
	for host, refused := range map[string]bool{
		"b": true, "B": true, "c": true, // ids
		"b.example.org": true, "b.EXAMPLE.org": true, "192.0.2.2": true, "::ffff:192.0.2.2": true,
		"2001:db8:0::3": true, "C.raft.example.org": true,
		"d.example.org": false, "d": false, "D": false, "192.0.2.4": false,
		"nat.example.org": false, // of two
		"localhost":       false, "127.0.0.1": false,
	} {
		_, request := csr(t, "d", "fine.example.org", host)
		err := e.apis["a"].signable("d", string(request))
		var said *Error
		if got := errors.As(err, &said) && said.Code == "join.host" && said.Hint != ""; got != refused || !refused && err != nil {
			t.Errorf("%s for d: %v", host, err)
		}
	}
	_, request := csr(t, "b", "b.example.org", "192.0.2.2", "nat.example.org", "b")
	if err := e.apis["a"].signable("b", string(request)); err != nil {
		t.Errorf("a member's own hosts: %v", err)
	}
}

// TestRebinding: a page whose name leads to this machine is not of our site, whatever the browser thinks.
func TestRebinding(t *testing.T) {
	w := newWorld(t)
	s := w.server(t)
	ask := func(host string, local bool) int {
		r := httptest.NewRequest(http.MethodPost, "/cluster/leader/transfer", nil)
		r.Host = host
		r.RemoteAddr = "127.0.0.1:1"
		if local {
			r = r.WithContext(context.WithValue(r.Context(), localKey{}, uint32(0)))
		}
		got := httptest.NewRecorder()
		s.ServeHTTP(got, r)
		return got.Code
	}
	for host, refused := range map[string]bool{
		"127.0.0.1:9080": false, "localhost:9080": false, "LOCALHOST": false, "[::1]:9080": false, "::1": false, "127.0.0.2": false, "": false,
		"attacker.example:9080": true, "attacker.example": true, "192.0.2.1:9080": true, "localhost.attacker.example": true, "127.0.0.1.attacker.example": true,
	} {
		if got := ask(host, false); (got == http.StatusForbidden) != refused {
			t.Errorf("%q: %d", host, got)
		}
	}
	if got := ask("manager", true); got == http.StatusForbidden {
		t.Errorf("over the manager's own socket: %d", got)
	}
	s.cfg.Sandbox = false // tokens keep strange pages off
	if got := ask("m1.example.org:9080", false); got != http.StatusUnauthorized {
		t.Errorf("no sandbox: %d", got)
	}
}

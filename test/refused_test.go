package test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"roundtable/api"
	"roundtable/drill"
	"roundtable/durable"
	"roundtable/fsm"
	"roundtable/security"
)

// foreign makes the certificate of somebody, signed by a CA of the caller's choice, for so long from now.
func (b *box) foreign(ca *security.CA, member string, life time.Duration) *security.Keeper {
	b.t.Helper()
	return b.made(time.Now(), ca, member, life)
}

// made is foreign at another time.
func (b *box) made(at time.Time, ca *security.CA, member string, life time.Duration) *security.Keeper {
	b.t.Helper()
	f := security.InHome(b.t.TempDir())
	key, request, err := security.NewRequest(member, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	cert, err := ca.Sign(request, member, life, at)
	if err != nil {
		b.t.Fatal(err)
	}
	for file, text := range map[string][]byte{f.Key: key, f.Cert: cert, f.CA: ca.Cert()} {
		if err := durable.Write(file, text); err != nil {
			b.t.Fatal(err)
		}
	}
	k, err := security.Open(security.Config{Files: f, Member: member})
	if err != nil {
		b.t.Fatal(err)
	}
	return k
}

// trusting believes in the server as a member does, and shows somebody else's certificate; nil: none.
func trusting(member, shown *security.Keeper) *tls.Config {
	c := member.Client("")
	c.GetClientCertificate = nil
	if shown != nil {
		c.GetClientCertificate = shown.Client("").GetClientCertificate
	}
	return c
}

// TestWhoIsRefused: certificates that have ended, of another CA, of nobody; no token, a bad one, one of a lesser role; an
// invite that was used. Each is refused, counted, and changes nothing.
func TestWhoIsRefused(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a cluster")
	}
	b := start(t, drill.Options{Secure: true})
	m := b.Members[1]
	member := keeper(t, b.Members[2])
	elsewhere, err := security.NewCA("sandbox", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	counted := func(name, label string) float64 {
		t.Helper()
		n, err := metric(t.Context(), m, name, label)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	// A short life: it was good when it was made.
	short := b.foreign(b.CA(), "m3", time.Second)
	eventually(t, 5*time.Second, "the end of a certificate", func(context.Context) error {
		if time.Now().Before(short.Status().NotAfter) {
			return errors.New("it is still good")
		}
		return nil
	})
	raft, web := b.raftAddress(m), strings.TrimPrefix(m.API, "https://")
	for name, tc := range map[string]struct {
		shown  *security.Keeper
		raft   string // why it is refused
		api    string
		metric string
	}{
		"a member":             {shown: member},
		"nobody":               {raft: security.ReasonNone},
		"expired":              {shown: short, raft: security.ReasonExpired, api: security.ReasonExpired},
		"of a foreign CA":      {shown: b.foreign(elsewhere, "m3", time.Hour), raft: security.ReasonForeign, api: security.ReasonForeign},
		"of the CA, a stray's": {shown: b.foreign(b.CA(), "stray", time.Hour)},
	} {
		for _, side := range []struct{ at, metric, address, reason string }{
			{"raft", "roundtable_raft_handshakes_refused_total", raft, tc.raft}, {"the API", "roundtable_api_refused_total", web, tc.api},
		} {
			label := fmt.Sprintf("reason=%q", side.reason)
			before := counted(side.metric, label)
			if _, err := handshake(t.Context(), side.address, trusting(member, tc.shown)); (err == nil) != (side.reason == "") {
				t.Errorf("%s at %s: %v", name, side.at, err)
			}
			if side.reason != "" && counted(side.metric, label) != before+1 {
				t.Errorf("%s at %s is not counted as %s", name, side.at, side.reason)
			}
		}
	}

	// A stray has a certificate of the CA and is no member: raft hears his name and turns him away, and his new certificate
	// is refused.
	stray := b.foreign(b.CA(), "stray", time.Hour)
	err = api.AskMember(t.Context(), &http.Client{Transport: &http.Transport{TLSClientConfig: trusting(member, stray), DisableKeepAlives: true}}, b.Members[0].API, "/cluster/certificate",
		api.CertificateRequest{CSR: csr(t, "stray")}, &api.Certificate{})
	if !refusedWith(err, http.StatusNotFound, fsm.ErrMember.Rule) {
		t.Errorf("a stray's new certificate: %v", err)
	}

	unknown, _, _ := security.NewToken()
	for name, tc := range map[string]struct {
		method, path, body, token string
		status                    int
		reason                    string
	}{
		"no token":        {http.MethodGet, "/cluster", "", "", http.StatusUnauthorized, "no_token"},
		"an unknown one":  {http.MethodGet, "/cluster", "", unknown, http.StatusUnauthorized, "bad_token"},
		"metrics":         {http.MethodGet, "/metrics", "", "", http.StatusUnauthorized, "no_token"},
		"health":          {http.MethodGet, "/health/live", "", "", http.StatusOK, ""},
		"reading":         {http.MethodGet, "/cluster", "", b.Token(fsm.RoleRead), http.StatusOK, ""},
		"read, acting":    {http.MethodPost, "/cluster/handoff", "{}", b.Token(fsm.RoleRead), http.StatusForbidden, "role"},
		"operate, tokens": {http.MethodGet, "/cluster/tokens", "", b.Token(fsm.RoleOperate), http.StatusForbidden, "role"},
		"admin, tokens":   {http.MethodGet, "/cluster/tokens", "", b.Token(fsm.RoleAdmin), http.StatusOK, ""},
	} {
		before := counted("roundtable_api_refused_total", fmt.Sprintf("reason=%q", tc.reason))
		if status, err := b.as(m, tc.token, tc.method, tc.path, tc.body, nil); err != nil || status != tc.status {
			t.Errorf("%s: %d %v, not %d", name, status, err, tc.status)
		}
		if tc.reason != "" && counted("roundtable_api_refused_total", fmt.Sprintf("reason=%q", tc.reason)) != before+1 {
			t.Errorf("%s is not counted as %s", name, tc.reason)
		}
	}
	b.joins(m)
	if r := b.check(); r.Missed.Total != 0 {
		t.Errorf("%d slots were missed", r.Missed.Total)
	}
}

// joins invites a member through m, which has no CA, lets it in by the real command, and replays the join.
func (b *box) joins(m *drill.Member) {
	b.t.Helper()
	var invited api.Invited
	if status, err := b.as(m, b.Token(fsm.RoleAdmin), http.MethodPost, "/cluster/members", `{"id":"m4"}`, &invited); err != nil || status != http.StatusCreated {
		b.t.Fatal(status, err)
	}
	home := filepath.Join(b.Dir, "m4")
	if _, err := b.command("init", "--home", home, "--join", invited.Join, "--advertise", "127.0.0.1", "--witness"); err != nil {
		b.t.Fatal(err)
	}
	if _, err := b.command("certificate", "show", "--home", home); err != nil {
		b.t.Error(err)
	}
	// Somebody who was m4 before has a certificate that is good by itself.
	before, member := b.made(time.Now().Add(-30*time.Minute), b.CA(), "m4", time.Hour), keeper(b.t, b.Members[2])
	now, err := security.Open(security.Config{Files: security.InHome(home), Member: "m4"})
	if err != nil {
		b.t.Fatal(err)
	}
	for _, address := range []string{b.raftAddress(m), strings.TrimPrefix(m.API, "https://")} {
		for k, ok := range map[*security.Keeper]bool{now: true, before: false} {
			if _, err := handshake(b.t.Context(), address, trusting(member, k)); (err == nil) != ok {
				b.t.Errorf("m4 by its invite: %v; at %s: %v", ok, address, err)
			}
		}
	}
	out, err := b.command("init", "--home", home+"-again", "--join", invited.Join, "--advertise", "127.0.0.1", "--witness")
	if err == nil || !strings.Contains(err.Error(), "invite.used") || strings.Contains(out, invited.Join) {
		b.t.Errorf("a replayed join: %v", err)
	}
	// The same by hand, at the member that has the CA: no key of idempotency makes it harmless.
	join, err := security.ParseJoin(invited.Join)
	if err != nil {
		b.t.Fatal(err)
	}
	body, err := json.Marshal(api.JoinRequest{ID: "m4", Invite: join.Invite, CSR: csr(b.t, "m4")})
	if err != nil {
		b.t.Fatal(err)
	}
	if status, err := b.as(b.Members[0], "", http.MethodPost, "/cluster/join", string(body), nil); err != nil || status != http.StatusConflict {
		b.t.Errorf("a replayed join at the founder: %d %v", status, err)
	}
	eventually(b.t, 10*time.Second, "a line in the history", func(ctx context.Context) error {
		var history []api.Event
		if err := get(ctx, m, "/cluster/history", &history); err != nil {
			return err
		}
		kinds := map[string]int{}
		for _, e := range history {
			kinds[e.Kind+" "+e.Subject]++
		}
		if kinds["member.invited m4"] != 1 || kinds["member.admitted m4"] != 1 || kinds["alarm.join m4"] == 0 {
			return fmt.Errorf("%v", kinds)
		}
		return nil
	})
}

// csr is a certificate request.
func csr(t *testing.T, member string) string {
	t.Helper()
	_, text, err := security.NewRequest(member, nil)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// as asks a member's API with a token, or with none, and decodes a good answer into v.
func (b *box) as(m *drill.Member, token, method, path, body string, v any) (status int, err error) {
	ctx, cancel := context.WithTimeout(b.t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, m.API+path, strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: trusting(keeper(b.t, b.Members[2]), nil), DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if v == nil || resp.StatusCode >= 300 {
		return resp.StatusCode, nil
	}
	return resp.StatusCode, json.NewDecoder(resp.Body).Decode(v)
}

func refusedWith(err error, status int, code string) bool {
	var said *api.Error
	return errors.As(err, &said) && said.Status == status && said.Code == code
}

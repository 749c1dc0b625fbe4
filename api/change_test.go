package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"roundtable/cluster"
	"roundtable/fsm"
	"roundtable/security"
)

// TestRepeats: the same request with the same key happens once and is answered the same; another one with that key is
// another one, and so is another's.
func TestRepeats(t *testing.T) {
	w := newWorld(t)
	s, tokens := guarded(t, w)
	srv := listen(t, s)
	set := func(role Role, member, on, key string) uint64 {
		t.Helper()
		var m MaintenanceSet
		if resp := ask(t, srv, http.MethodPost, "/cluster/maintenance", fmt.Sprintf(`{"member":%q,"on":%s}`, member, on), &m, "Authorization", "Bearer "+tokens[role], "Idempotency-Key", key); resp.StatusCode != http.StatusOK {
			t.Fatalf("%d %+v", resp.StatusCode, m)
		}
		return m.Index
	}
	first := set(Operate, "b", "true", "k")
	if again := set(Operate, "b", "true", "k"); again != first {
		t.Errorf("a repeat took effect at %d, not %d", again, first)
	}
	for _, other := range []uint64{set(Operate, "b", "false", "k"), set(Operate, "c", "true", "k"), set(Admin, "b", "true", "k"), set(Operate, "b", "true", "l")} {
		if other == first {
			t.Error("another request was taken for a repeat")
		}
	}
	if m := w.state.Members["b"]; !m.Maintenance {
		t.Error("the last one is not the last")
	}

	// What holds a secret is told once. What removes is answered like the first time.
	admin := []string{"Authorization", "Bearer " + tokens[Admin], "Idempotency-Key", "k"}
	var made NewToken
	ask(t, srv, http.MethodPost, "/cluster/tokens", `{"name":"x","role":"read"}`, &made, admin...)
	var e answered
	if resp := ask(t, srv, http.MethodPost, "/cluster/tokens", `{"name":"x","role":"read"}`, &e, admin...); resp.StatusCode != http.StatusConflict || e.Error.Code != "shown_before" || len(w.state.Tokens) != 4 {
		t.Errorf("%d %+v, %d tokens", resp.StatusCode, e, len(w.state.Tokens))
	}
	var r1, r2 Removed
	ask(t, srv, http.MethodDelete, "/cluster/tokens/"+made.ID, "", &r1, admin...)
	if ask(t, srv, http.MethodDelete, "/cluster/tokens/"+made.ID, "", &r2, admin...); r1 != r2 || r1.Index == 0 {
		t.Errorf("%+v, %+v", r1, r2)
	}
	ask(t, srv, http.MethodDelete, "/cluster/members/c", "", &r1, "Authorization", "Bearer "+tokens[Admin])
	if resp := ask(t, srv, http.MethodDelete, "/cluster/members/c", "", &r2, "Authorization", "Bearer "+tokens[Admin]); resp.StatusCode != http.StatusOK || r2.ID != "c" {
		t.Errorf("%d %+v", resp.StatusCode, r2)
	}

	// Raft's own change is no entry: this member remembers it.
	transfer := func(key string) (m LeaderMoved) {
		if resp := ask(t, srv, http.MethodPost, "/cluster/leader/transfer", `{"to":"b"}`, &m, "Authorization", "Bearer "+tokens[Operate], "Idempotency-Key", key); resp.StatusCode != http.StatusOK {
			t.Fatalf("%d", resp.StatusCode)
		}
		return m
	}
	if a, b := transfer("1"), transfer("1"); a != b || a.Leader != "b" || a.Term != 3 || len(w.calls.transfers) != 1 {
		t.Errorf("%+v, %+v, %v", a, b, w.calls.transfers)
	}
	if transfer("2"); len(w.calls.transfers) != 2 {
		t.Errorf("%v", w.calls.transfers)
	}
}

// TestOnce: of many at once one does it; a failure is tried again; the memory is bounded.
func TestOnce(t *testing.T) {
	var k repeats[int]
	var mu sync.Mutex
	done := 0
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			if v, err := k.once(t.Context(), "k", func() (int, error) {
				mu.Lock()
				defer mu.Unlock()
				done++
				return 7, nil
			}); v != 7 || err != nil {
				t.Error(v, err)
			}
		})
	}
	wg.Wait()
	if done != 1 {
		t.Errorf("done %d times", done)
	}
	broken := errors.New("broken")
	if _, err := k.once(t.Context(), "f", func() (int, error) { return 0, broken }); !errors.Is(err, broken) {
		t.Error(err)
	}
	if v, err := k.once(t.Context(), "f", func() (int, error) { return 1, nil }); v != 1 || err != nil {
		t.Error(v, err)
	}
	for i := range 10 * keptRepeats {
		if _, err := k.once(t.Context(), fmt.Sprint(i), func() (int, error) { return i, nil }); err != nil {
			t.Fatal(err)
		}
	}
	if len(k.done) > keptRepeats {
		t.Errorf("%d are kept", len(k.done))
	}
}

// TestMembers: what operators change of the members, and what they are told where raft does not follow.
func TestMembers(t *testing.T) {
	w := newWorld(t)
	s, tokens := guarded(t, w)
	srv := listen(t, s)
	operate, admin := []string{"Authorization", "Bearer " + tokens[Operate]}, []string{"Authorization", "Bearer " + tokens[Admin]}
	var set MemberSet
	ask(t, srv, http.MethodPatch, "/cluster/members/b", `{"priority":7,"nofailover":true}`, &set, operate...)
	if set.Member.Priority != 7 || !set.Member.NoFailover || set.Member.Maintenance || set.Member.Suffrage != "voter" || set.Index != w.state.Index {
		t.Errorf("%+v", set)
	}
	var e answered
	if resp := ask(t, srv, http.MethodPatch, "/cluster/members/b", `{"voter":false,"priority":1}`, &e, operate...); resp.StatusCode != http.StatusForbidden || w.state.Members["b"].Priority != 7 {
		t.Errorf("%d %+v", resp.StatusCode, e)
	}
	ask(t, srv, http.MethodPatch, "/cluster/members/b", `{"voter":false}`, &set, admin...)
	if !set.Member.Nonvoter || set.Member.Priority != 7 {
		t.Errorf("%+v", set)
	}

	for err, want := range map[error]struct {
		status int
		code   string
	}{
		cluster.ErrQuorum:   {409, "member.quorum"},
		cluster.ErrTransfer: {409, "leader.transfer"},
		fmt.Errorf("%w: %w", cluster.ErrTransfer, cluster.ErrUnknownOutcome): {503, "unknown_outcome"},
		cluster.ErrUnknownMember: {404, "member.unknown"},
	} {
		w.calls.failing = err
		for _, r := range [][2]string{{http.MethodDelete, "/cluster/members/c"}, {http.MethodPost, "/cluster/leader/transfer"}} {
			body := ""
			if r[0] == http.MethodPost {
				body = "{}"
			}
			if resp := ask(t, srv, r[0], r[1], body, &e, admin...); resp.StatusCode != want.status || e.Error.Code != want.code || e.Error.Hint == "" {
				t.Errorf("%v: %d %+v", err, resp.StatusCode, e)
			}
		}
	}
}

// TestInvite: the join string says all that the new member needs, and only its hash is kept.
func TestInvite(t *testing.T) {
	w := newWorld(t)
	s := w.server(t)
	fingerprint := strings.Repeat("0f", 32)
	s.cfg.CAs = func() []string { return []string{fingerprint} }
	for id, m := range w.state.Members {
		m.API = "https://" + id + ":9080"
		w.apply(t, fsm.PutMember{Member: m})
	}
	var got Invited
	if resp := ask(t, listen(t, s), http.MethodPost, "/cluster/members", `{"id":"d"}`, &got); resp.StatusCode != http.StatusCreated || got.ID != "d" || got.Expires != stamp(now.Add(defaultInvite).UnixMilli()) {
		t.Fatalf("%d %+v", resp.StatusCode, got)
	}
	join, err := security.ParseJoin(got.Join)
	if err != nil {
		t.Fatal(err)
	}
	id, err := security.ParseInvite(join.Invite)
	if err != nil || join.Member != "d" || join.APIs[0] != "https://a:9080" || len(join.APIs) != 4 || join.CAs[0] != fingerprint {
		t.Errorf("%v %+v", err, join)
	}
	if n := w.state.Invites[id]; n.Hash != security.HashToken(join.Invite) || n.Member != "d" {
		t.Errorf("%+v", n)
	}
}

// TestDrain: a manager that is about to stop is not ready, takes no change, and still says what it knows.
func TestDrain(t *testing.T) {
	w := newWorld(t)
	s := w.server(t)
	srv := listen(t, s)
	status := func(method, path, body string) int {
		return ask(t, srv, method, path, body, nil).StatusCode
	}
	if got := status(http.MethodHead, "/health/ready", ""); got != http.StatusOK {
		t.Errorf("before: %d", got)
	}
	s.Drain()
	for path, want := range map[string]int{"/health/live": 200, "/health/ready": 503, "/health/holder": 200, "/health/standby": 503, "/health/leader": 200, "/health/synced": 200, "/cluster": 200} {
		if got := status(http.MethodHead, path, ""); got != want {
			t.Errorf("%s: %d, want %d", path, got, want)
		}
	}
	if got := status(http.MethodPost, "/cluster/maintenance", `{"on":true}`); got != http.StatusServiceUnavailable || w.state.Cluster.Maintenance {
		t.Errorf("a change: %d", got)
	}
}

// TestHealthWaitsForNothing, not even for a disk that does not answer.
func TestHealthWaitsForNothing(t *testing.T) {
	w := newWorld(t)
	stalled := make(chan struct{})
	defer close(stalled)
	w.raft = func() { <-stalled }
	s := w.server(t)
	begun := time.Now()
	for _, role := range healthRoles {
		if _, known := s.health(role); !known {
			t.Errorf("%s is not known", role)
		}
	}
	if took := time.Since(begun); took > votersWait {
		t.Errorf("it took %s", took)
	}
	s.voters.mu.Lock()
	defer s.voters.mu.Unlock()
	if s.voters.asking != nil {
		t.Error("raft's folder was looked into")
	}
}

// TestCertificateAlarms tell of a certificate that is not what it should be.
func TestCertificateAlarms(t *testing.T) {
	for _, tc := range []struct {
		ends    time.Time
		problem string
		want    string
	}{
		{now.Add(60 * 24 * time.Hour), "", ""},
		{time.Time{}, "", ""},
		{now.Add(60 * 24 * time.Hour), "the files are broken", "the certificate of member a: the files are broken"},
		{now.Add(19 * 24 * time.Hour), "", "the certificate of member a ends in 19 days: it was not renewed yet"},
		{now.Add(24 * time.Hour), "nobody signs", "the certificate of member a ends in 1 days: nobody signs"},
		{now.Add(-time.Hour), "", "the certificate of member a ended at 2026-11-21T11:00:00.000Z, the others refuse it: see its log"},
	} {
		w := newWorld(t)
		s := w.server(t)
		s.cfg.Certificate = func() (time.Time, string) { return tc.ends, tc.problem }
		got := strings.Join(s.look().alarms(), "; ")
		if !strings.HasPrefix(got, tc.want) || tc.want == "" && got != "" {
			t.Errorf("%q, want %q", got, tc.want)
		}
	}
}

// TestRaftOfAllPlain: on a cluster without TLS the others are asked with what the client showed; over TLS never.
func TestRaftOfAllPlain(t *testing.T) {
	w := newWorld(t)
	s := w.server(t)
	seen := ""
	s.cfg.Client = &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		seen = r.Header.Get("Authorization")
		return nil, errors.New("no network here")
	})}
	for url, want := range map[string]string{"http://b:1": "Bearer x", "https://b:1": ""} {
		if _, err := s.askRaft(context.Background(), url, "Bearer x"); err == nil || seen != want {
			t.Errorf("%s: %q, %v", url, seen, err)
		}
	}
}

type roundTrip func(r *http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

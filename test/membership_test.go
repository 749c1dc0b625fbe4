package test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"roundtable/api"
	"roundtable/drill"
)

// TestMembersMove gives a standby, then the holder, then the leader other addresses for raft, gossip and API, over an ordered
// restart: nothing is missed, and everybody finds it.
func TestMembersMove(t *testing.T) {
	if testing.Short() {
		t.Skip("starts real processes")
	}
	t.Parallel()
	b := start(t, drill.Options{})
	for _, who := range []string{"a standby", "the holder", "the leader"} {
		o := b.overview()
		m := b.member(o.Leader)
		switch who {
		case "a standby":
			m = b.other(o.Holder(), o.Leader)
		case "the holder":
			m = b.member(o.Holder())
		}
		b.stop(m)
		changes := map[string]string{}
		for _, key := range []string{"raft", "gossip", "api"} {
			port, err := drill.FreePort()
			if err != nil {
				t.Fatal(err)
			}
			changes[`(?m)^`+key+` = ".*"$`] = fmt.Sprintf("%s = %q", key, fmt.Sprintf("127.0.0.1:%d", port))
			if key == "api" {
				m.API = fmt.Sprintf("http://127.0.0.1:%d", port)
			}
		}
		b.edit(m, changes)
		since := time.Now()
		b.startMember(m)
		b.settle()
		took := time.Since(since)
		for _, asked := range b.Members {
			var all []api.RaftAll
			if err := get(t.Context(), asked, "/cluster/raft?all=true", &all); err != nil {
				t.Fatal(err)
			}
			for _, r := range all {
				if r.Raft == nil {
					t.Errorf("%s does not reach %s: %s", asked.ID, r.Member, r.Error)
				}
			}
			if got := b.record(asked, m.ID).API; got != m.API {
				t.Errorf("%s has %s at %s, not %s", asked.ID, m.ID, got, m.API)
			}
		}
		t.Logf("%s, %s, moved; all well again %v after its start", who, m.ID, took.Round(time.Millisecond))
		if err := b.Handoff(t.Context(), m, b.other(b.overview().Holder()).ID); err != nil {
			t.Error(err)
		}
		b.settle()
	}
	if r := b.check(); r.Missed.Total > 0 {
		t.Errorf("%d of %d slots were missed", r.Missed.Total, r.SlotsDue)
	}
}

// TestVotes takes and gives votes and removes a member for good: what would lose the quorum is refused, and who was removed stays
// out, restarted or not.
func TestVotes(t *testing.T) {
	if testing.Short() {
		t.Skip("starts real processes")
	}
	t.Parallel()
	b := start(t, drill.Options{})
	m1, m2, m3 := b.member("m1"), b.member("m2"), b.member("m3")
	b.holds(m1)
	suffrage := func(want string) {
		t.Helper()
		eventually(t, time.Minute, "m3 is "+want, func(ctx context.Context) error {
			var r api.RaftAll
			if err := get(ctx, m1, "/cluster/raft", &r.Raft); err != nil {
				return err
			}
			got := "out"
			for _, p := range r.Raft.Peers {
				if p.ID == "m3" {
					got = p.Suffrage
				}
			}
			if got != want {
				return errors.New(got)
			}
			return nil
		})
	}
	b.act(m1, "POST", "/cluster/leader/transfer", `{"to":"m3"}`)
	b.act(m2, "PATCH", "/cluster/members/m3", `{"voter":false}`) // who leads gives that away first
	suffrage("nonvoter")
	if leader := b.overview().Leader; leader == "m3" {
		t.Error("a member without a vote leads")
	}
	b.act(m2, "PATCH", "/cluster/members/m3", `{"voter":true}`)
	suffrage("voter")
	if err := b.KillMember(t.Context(), m2); err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, "a vote that is needed stays", func(ctx context.Context) error {
		for _, r := range [][2]string{{"PATCH", `{"voter":false}`}, {"DELETE", ""}} {
			a, err := ask(ctx, m1, r[0], "/cluster/members/m3", r[1])
			if err != nil {
				return err
			}
			if a.status == http.StatusServiceUnavailable { // m2 led
				return fmt.Errorf("%s", a.body)
			}
			if a.status != http.StatusConflict {
				t.Errorf("%s %s: %d: %s", r[0], r[1], a.status, a.body)
			}
		}
		return nil
	})
	b.startMember(m2)
	b.settle()
	b.act(m1, "DELETE", "/cluster/members/m3", "")
	suffrage("out")
	b.stop(m3)
	file := filepath.Join(m3.Home, "manager.log")
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	b.startMember(m3)
	eventually(t, 30*time.Second, "m3 is told why", func(context.Context) error {
		log, err := os.ReadFile(file)
		if err == nil && !strings.Contains(string(log[len(before):]), "an operator removed you") {
			err = errors.New("nothing of it in its log")
		}
		return err
	})
	for range 20 {
		for _, m := range b.overviewFrom(m1).Members {
			if m.ID == "m3" {
				t.Fatal("m3 came back")
			}
		}
	}
	b.stop(m3)
	b.doubles()
}

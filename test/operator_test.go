package test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"roundtable/api"
	"roundtable/drill"
)

// act sends an acting request to a member and wants 200.
func (b *box) act(m *drill.Member, method, path, body string) []byte {
	b.t.Helper()
	a, err := ask(b.t.Context(), m, method, path, body)
	if err != nil || a.status != http.StatusOK {
		b.t.Fatalf("%s %s %s of %s: %v, %d: %s", method, path, body, m.ID, err, a.status, a.body)
	}
	return a.body
}

// edit changes a member's config.toml: each pattern must be there.
func (b *box) edit(m *drill.Member, changes map[string]string) {
	b.t.Helper()
	file := filepath.Join(m.Home, "config.toml")
	text, err := os.ReadFile(file)
	if err != nil {
		b.t.Fatal(err)
	}
	for pattern, to := range changes {
		p := regexp.MustCompile(pattern)
		if !p.Match(text) {
			b.t.Fatalf("%s has no %s", file, pattern)
		}
		text = p.ReplaceAll(text, []byte(to))
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		b.t.Fatal(err)
	}
}

// holds hands production to a member, if it is not there already.
func (b *box) holds(m *drill.Member) {
	b.t.Helper()
	eventually(b.t, time.Minute, m.ID+" holds", func(ctx context.Context) error {
		o, err := b.Overview(ctx)
		if err != nil || o.Holder() == m.ID {
			return err
		}
		return errors.Join(b.Handoff(ctx, m, m.ID), errors.New("it was just handed over"))
	})
	b.allBack()
}

// allBack waits until everybody's node runs and follows, in everybody's eyes, and one holds; it may be unfit by what an operator set.
func (b *box) allBack() {
	b.t.Helper()
	eventually(b.t, time.Minute, "everybody is back", func(ctx context.Context) error {
		for _, asked := range b.Members {
			var o drill.Overview
			if err := get(ctx, asked, "/cluster", &o); err != nil {
				return err
			}
			for _, v := range o.Members {
				if !v.Alive || v.Suffrage != "voter" || !v.Fit && !v.Maintenance && !v.NoFailover || v.Head.Slot+4 < o.Lease.Slot {
					return fmt.Errorf("%s says of %s: alive %v, %s, fit %v (%s), head at %d of %d", asked.ID, v.ID, v.Alive, v.Suffrage, v.Fit, v.Reason, v.Head.Slot, o.Lease.Slot)
				}
			}
		}
		return b.one(ctx)
	})
}

// stop ends a member with SIGTERM.
func (b *box) stop(m *drill.Member) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 20*time.Second)
	defer cancel()
	if err := b.StopManager(ctx, m); err != nil {
		b.t.Fatal(err)
	}
}

func (b *box) startMember(m *drill.Member) {
	b.t.Helper()
	if err := b.StartMember(m); err != nil {
		b.t.Fatal(err)
	}
}

// record is a member in the eyes of another one; zero where that does not know it.
func (b *box) record(asked *drill.Member, id string) api.Member {
	b.t.Helper()
	for _, m := range b.overviewFrom(asked).Members {
		if m.ID == id {
			return m
		}
	}
	return api.Member{}
}

func (b *box) overviewFrom(m *drill.Member) drill.Overview {
	b.t.Helper()
	var o drill.Overview
	if err := get(b.t.Context(), m, "/cluster", &o); err != nil {
		b.t.Fatal(err)
	}
	return o
}

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

// TestWitness runs two members with nodes and one without: it votes, so that either of the others may die, it leads as well as
// anybody, and it never holds.
func TestWitness(t *testing.T) {
	if testing.Short() {
		t.Skip("starts real processes")
	}
	t.Parallel()
	b := layOut(t, drill.Options{})
	m1, m2, w := b.member("m1"), b.member("m2"), b.member("m3")
	b.edit(w, map[string]string{`(?m)^\[manager\]$`: "[manager]\nwitness = true", `(?ms)^\[node\]$.*?^\[raft\]$`: "[raft]", `(?ms)^\[signer\]$.*`: ""})
	for _, m := range []*drill.Member{m1, m2} { // a peer that is nobody's node is one that is missing
		b.edit(m, map[string]string{`(?m)^(peers = .*?)(, )?"` + w.P2P() + `"`: "$1"})
	}
	if err := os.WriteFile(filepath.Join(w.Home, "ledger.jsonl"), nil, 0o600); err != nil { // it has no node to write one
		t.Fatal(err)
	}
	if err := b.Start(); err != nil {
		t.Fatal(err)
	}
	well := func(holders ...*drill.Member) func(context.Context) error {
		return func(ctx context.Context) error {
			for _, asked := range b.Members {
				if !asked.Running() {
					continue
				}
				var o drill.Overview
				if err := get(ctx, asked, "/cluster", &o); err != nil {
					return err
				}
				var raft api.RaftAll
				if err := get(ctx, asked, "/cluster/raft", &raft.Raft); err != nil {
					return err
				}
				for _, p := range raft.Raft.Peers {
					if p.Suffrage != "voter" {
						return fmt.Errorf("%s does not vote yet", p.ID)
					}
				}
				if len(raft.Raft.Peers) != 3 {
					return fmt.Errorf("%s knows %d voters", asked.ID, len(raft.Raft.Peers))
				}
				if len(o.Members) != 3 {
					return fmt.Errorf("%s knows %d members", asked.ID, len(o.Members))
				}
				for _, v := range o.Members {
					if want := b.member(v.ID).Running() && v.ID != w.ID; v.Fit != want {
						return fmt.Errorf("%s says of %s: fit %v, %s", asked.ID, v.ID, v.Fit, v.Reason)
					}
				}
			}
			o, err := b.Overview(ctx)
			if err != nil {
				return err
			}
			for _, h := range holders {
				if o.Holder() == h.ID {
					return b.flows(ctx, h)
				}
			}
			return fmt.Errorf("%q holds: %s", o.Holder(), o.Lease.Reason)
		}
	}
	eventually(t, 30*time.Second, "all well", well(m1, m2))
	b.first = drill.SlotNow() + 1

	for round, lead := range []*drill.Member{m1, w} {
		b.act(w, "POST", "/cluster/leader/transfer", fmt.Sprintf(`{"to":%q}`, lead.ID))
		holder, other := m1, m2
		if b.overview().Holder() == "m2" {
			holder, other = m2, m1
		}
		if err := b.KillMember(t.Context(), holder); err != nil {
			t.Fatal(err)
		}
		took := eventually(t, 30*time.Second, "the other one holds", well(other))
		t.Logf("%s, the holder, was killed, %s led; %s holds after %v", holder.ID, lead.ID, other.ID, took.Round(time.Millisecond))
		b.startMember(holder)
		eventually(t, 30*time.Second, "all well again", well(other))
		if round == 0 {
			a, err := ask(t.Context(), w, "POST", "/cluster/handoff", `{"to":"m3"}`)
			if err != nil || a.status != http.StatusConflict || !strings.Contains(string(a.body), "witness") {
				t.Errorf("a handoff to the witness: %v, %d: %s", err, a.status, a.body)
			}
		}
	}

	// Where it leads it grants by its clock: one that jumps ends it.
	b.act(m1, "POST", "/cluster/leader/transfer", `{"to":"m3"}`)
	if err := b.StepClock(w, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	b.ended(w, 10*time.Second, "the wall clock jumped")
	eventually(t, 10*time.Second, "production without the witness", func(ctx context.Context) error {
		o, err := b.Overview(ctx)
		if err != nil {
			return err
		}
		if o.Holder() == "" || o.Leader == "m3" {
			return fmt.Errorf("%q holds, %q leads", o.Holder(), o.Leader)
		}
		return b.flows(ctx, b.member(o.Holder()))
	})
	if err := b.ResetClock(w); err != nil {
		t.Fatal(err)
	}
	b.startMember(w)
	eventually(t, 30*time.Second, "all well at last", well(m1, m2))
	b.doubles()
}

// TestMaintenance sets the cluster's maintenance: a planned handoff goes, a dead holder is not replaced and the reason is said,
// and it holds again when it is back. Without maintenance somebody takes over.
func TestMaintenance(t *testing.T) {
	if testing.Short() {
		t.Skip("starts real processes")
	}
	t.Parallel()
	b := start(t, drill.Options{})
	b.act(b.Members[0], "POST", "/cluster/maintenance", `{"on":true}`)
	holder := b.member("m2")
	b.holds(holder) // planned
	if n := b.check().Missed.Total; n > 0 {
		t.Errorf("%d slots were missed in maintenance although nothing was done to anybody but a handoff", n)
	}
	epoch := b.overview().Lease.Epoch
	if err := b.KillMember(t.Context(), holder); err != nil {
		t.Fatal(err)
	}
	asked := b.other(holder.ID)
	eventually(t, 10*time.Second, "its range ends, and the reason is said", func(context.Context) error {
		o := b.overviewFrom(asked)
		text := o.Lease.Reason + strings.Join(o.Alarms, " ")
		if o.Holder() != "" || o.Lease.SlotsLeft >= 0 || !strings.Contains(text, "maintenance") {
			return fmt.Errorf("%q holds: %s", o.Holder(), text)
		}
		return nil
	})
	for end := time.Now().Add(4 * time.Second); time.Now().Before(end); { // as long as any failover would take twice
		if o := b.overviewFrom(asked); o.Lease.Epoch != epoch {
			t.Fatalf("the lease moved to %s in maintenance, epoch %d", o.Lease.Holder, o.Lease.Epoch)
		}
	}
	b.startMember(holder)
	b.settle()
	if got := b.overview().Holder(); got != holder.ID {
		t.Errorf("%s holds, not %s, which is back", got, holder.ID)
	}
	b.stop(holder) // in order, and still nobody else gets it
	eventually(t, 5*time.Second, "it gave the lease up", func(context.Context) error {
		if o := b.overviewFrom(asked); !o.Lease.Released || o.Lease.Holder != holder.ID {
			return fmt.Errorf("%+v", o.Lease)
		}
		return nil
	})
	b.startMember(holder)
	b.settle()
	if got := b.overview().Holder(); got != holder.ID {
		t.Errorf("%s holds, not %s, which was restarted", got, holder.ID)
	}
	b.act(asked, "POST", "/cluster/maintenance", `{"on":false}`)
	if err := b.KillMember(t.Context(), holder); err != nil {
		t.Fatal(err)
	}
	b.taken(holder.ID, 30*time.Second)
	b.startMember(holder)
	b.settle()
	b.doubles()
}

// TestPreferences sets priority, nofailover and a member's maintenance: a failover goes by them, they outlive restarts, and a
// planned handoff goes anywhere.
func TestPreferences(t *testing.T) {
	if testing.Short() {
		t.Skip("starts real processes")
	}
	t.Parallel()
	b := start(t, drill.Options{})
	m1, m2, m3 := b.member("m1"), b.member("m2"), b.member("m3")
	fails := func(from, to *drill.Member, why string) {
		t.Helper()
		b.holds(from)
		if err := b.KillMember(t.Context(), from); err != nil {
			t.Fatal(err)
		}
		if got := b.taken(from.ID, 30*time.Second); got != to.ID {
			t.Errorf("%s: %s took over, not %s", why, got, to.ID)
		}
		b.startMember(from)
		b.allBack()
	}
	b.act(m1, "PATCH", "/cluster/members/m3", `{"priority":5}`)
	fails(m1, m3, "priority")
	b.stop(m3) // a restart does not undo what an operator set
	b.startMember(m3)
	b.settle()
	if got := b.record(m1, "m3").Priority; got != 5 {
		t.Errorf("m3 has priority %d after its restart", got)
	}
	fails(m1, m3, "priority, after a restart")
	b.act(m2, "PATCH", "/cluster/members/m3", `{"nofailover":true}`)
	fails(m1, m2, "nofailover")
	b.act(m2, "PATCH", "/cluster/members/m3", `{"nofailover":false,"maintenance":true}`)
	fails(m1, m2, "a member in maintenance")
	b.holds(m3) // planned
	if r := b.record(m1, "m3"); !r.Maintenance || r.Priority != 5 {
		t.Errorf("%+v", r)
	}
	b.doubles()
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

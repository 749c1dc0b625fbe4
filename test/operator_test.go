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
	b.withoutBackups(w)
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

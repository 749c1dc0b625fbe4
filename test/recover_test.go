package test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"roundtable/drill"
)

// recovers runs `roundtable recover` on a member's home and returns its exit code and all that it said.
func (b *box) recovers(m *drill.Member, args ...string) (int, string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(built, "roundtable"), append([]string{"recover", "--home", m.Home, "--clock-checked"}, args...)...)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		b.t.Fatalf("%v: %v", cmd.Args, err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// ended waits until a manager that must not go on has ended by itself, and wants a text in the last lines of its log.
func (b *box) ended(m *drill.Member, within time.Duration, text string) {
	b.t.Helper()
	eventually(b.t, within, m.ID+" ends", func(context.Context) error {
		if m.Running() {
			return errors.New("it runs")
		}
		return nil
	})
	log, err := os.ReadFile(filepath.Join(m.Home, "manager.log"))
	if err != nil {
		b.t.Fatal(err)
	}
	if tail := string(log[max(0, len(log)-4000):]); !strings.Contains(tail, text) {
		b.t.Errorf("%s does not say %q at its end:\n%s", m.ID, text, tail)
	}
}

// joinsAt names members' gossip addresses in another one's configuration.
func (b *box) joinsAt(m *drill.Member, others ...*drill.Member) {
	b.t.Helper()
	config := func(m *drill.Member) (string, []byte) {
		file := filepath.Join(m.Home, "config.toml")
		text, err := os.ReadFile(file)
		if err != nil {
			b.t.Fatal(err)
		}
		return file, text
	}
	var addresses []string
	for _, o := range others {
		_, text := config(o)
		addresses = append(addresses, string(regexp.MustCompile(`(?m)^gossip = (".*")$`).FindSubmatch(text)[1]))
	}
	file, text := config(m)
	text = regexp.MustCompile(`(?m)^join = \[.*\]$`).ReplaceAll(text, fmt.Appendf(nil, "join = [%s]", strings.Join(addresses, ", ")))
	if err := os.WriteFile(file, text, 0o600); err != nil {
		b.t.Fatal(err)
	}
}

// TestRecover loses the holder and another one of three members for good, goes on with the third, has the lost ones come back as
// they were, both at once, and lets them join again once they are emptied. The nodes' ledgers have no slot twice.
func TestRecover(t *testing.T) {
	if testing.Short() {
		t.Skip("starts real processes")
	}
	t.Parallel()
	b := start(t, drill.Options{})
	m1, m2, m3 := b.member("m1"), b.member("m2"), b.member("m3")
	if b.overview().Holder() == "m3" {
		if err := b.Handoff(t.Context(), m3, "m1"); err != nil {
			t.Fatal(err)
		}
		b.settle()
	}
	epoch := b.overview().Lease.Epoch
	refuses := func(what string, code int, text string, args ...string) {
		t.Helper()
		if got, out := b.recovers(m3, args...); got != code || !strings.Contains(out, text) {
			t.Errorf("%s: exit code %d, not %d, or it does not say %q:\n%s", what, got, code, text, out)
		}
	}
	for _, m := range []*drill.Member{m1, m2} {
		if err := b.KillMember(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	lost := []string{"--lost", "m1,m2", "--confirm-off", "m1,m2"}
	refuses("while its manager runs", 1, "in use", lost...)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := b.StopManager(ctx, m3); err != nil {
		t.Fatal(err)
	}
	if err := b.StartMember(m2); err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, "m2 answers", func(ctx context.Context) error {
		a, err := ask(ctx, m2, "GET", "/health/live", "")
		if err == nil && a.status != 200 {
			err = fmt.Errorf("%d", a.status)
		}
		return err
	})
	refuses("while one of them answers", 1, "somebody answers for m2", lost...)
	if err := b.KillMember(t.Context(), m2); err != nil {
		t.Fatal(err)
	}
	refuses("nobody named", 1, "the members are m1, m2, m3")
	refuses("a stranger named", 1, "no such member: m9", "--lost", "m1,m2,m9")
	refuses("itself named", 1, "the one that goes on", "--lost", "m1,m2,m3")
	refuses("one not named", 1, "what about m1", "--lost", "m2", "--confirm-off", "m2")
	refuses("not confirmed, and no terminal to ask at", 2, "must be confirmed", "--lost", "m1,m2")
	refuses("half confirmed", 2, "nodes of m2 are off must be confirmed", "--lost", "m1,m2", "--confirm-off", "m1")
	refuses("only looked at", 0, "None of m1, m2 answers", "--lost", "m1,m2", "--look")
	if found, err := filepath.Glob(filepath.Join(m3.Home, "raft.before-recover-*")); err != nil || len(found) > 0 {
		t.Errorf("%v: a refusal left %v", err, found)
	}

	code, out := b.recovers(m3, lost...)
	t.Logf("roundtable recover:\n%s", out)
	if code != 0 || !strings.Contains(out, "Recovered: m3 is the only member") {
		t.Fatalf("exit code %d", code)
	}
	if found, err := filepath.Glob(filepath.Join(m3.Home, "raft.before-recover-*", "raft.db")); err != nil || len(found) != 1 {
		t.Errorf("%v: kept %v", err, found)
	}
	refuses("done already", 0, "nothing to do", lost...)

	if err := b.StartMember(m3); err != nil {
		t.Fatal(err)
	}
	alone := func(ctx context.Context) error {
		var o drill.Overview
		if err := get(ctx, m3, "/cluster", &o); err != nil {
			return err
		}
		if o.Holder() != "m3" || len(o.Members) != 1 || o.Lease.Epoch != epoch+2 {
			return fmt.Errorf("%d members, held by %q, epoch %d after %d: %s", len(o.Members), o.Holder(), o.Lease.Epoch, epoch, o.Lease.Reason)
		}
		return b.flows(ctx, m3)
	}
	took := eventually(t, 30*time.Second, "m3 produces alone", alone)
	t.Logf("m3 produces alone %v after its start", took.Round(time.Millisecond))

	for _, m := range []*drill.Member{m1, m2} { // the old majority, as it was
		if err := b.StartMember(m); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range []*drill.Member{m1, m2} {
		b.ended(m, 20*time.Second, "the cluster was recovered without this member")
	}
	eventually(t, 2*time.Second, "m3 goes on undisturbed", alone)

	for _, m := range []*drill.Member{m1, m2} {
		if err := os.RemoveAll(filepath.Join(m.Home, "raft")); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.StartMember(m1); err != nil { // it founded the cluster, and knows nobody to join
		t.Fatal(err)
	}
	b.ended(m1, 10*time.Second, "it would found a second one beside it")
	for _, m := range []*drill.Member{m1, m2} {
		b.joinsAt(m, m3)
		if err := b.StartMember(m); err != nil {
			t.Fatal(err)
		}
	}
	b.settle()
	if err := b.Handoff(t.Context(), m3, "m1"); err != nil {
		t.Error(err)
	}
	b.settle()
	b.doubles()
}

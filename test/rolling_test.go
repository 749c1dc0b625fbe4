package test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"roundtable/drill"
)

// entryVersion1 is the last commit before the log's entries got a second version (docs/decisions). A cluster must roll
// between it and the program of today for as long as nobody used anything that is new.
const entryVersion1 = "b19849fa1cf6e32b7291dce79412d912f9781568"

// entryVersion2 is the last commit before they got a third one.
const entryVersion2 = "469a33d6d059bce6a62d09a03b71485bd73c4480"

// entryVersion3 is the last commit before they got a fourth one.
const entryVersion3 = "e08b354cec26e8ddd9368ead35cd19f325a1ea70"

// TestRollsBetweenVersions rolls a whole cluster, under a live lease on a chain where every slot is ours, from an older
// program to this one and back: standbys first, the holder last. Each is stopped with SIGTERM and started with the other
// program; between the first two steps production goes over and back. Nothing is missed, no manager ends by itself (an entry that it does not know ends it), and no entry is refused
// for what it is.
func TestRollsBetweenVersions(t *testing.T) {
	if testing.Short() {
		t.Skip("builds older programs and takes a minute")
	}
	versions := []string{"HEAD~1", entryVersion1, entryVersion2, entryVersion3}
	programs := map[string]string{}
	for _, from := range versions {
		if exec.CommandContext(t.Context(), "git", "-C", "..", "rev-parse", "--quiet", "--verify", from+"^{commit}").Run() == nil {
			programs[from] = buildAt(t, from)
		}
	}
	syscall.Sync() // else the disk writes them when a cluster runs, and stalls its log
	for _, from := range versions {
		t.Run(from, func(t *testing.T) {
			if from != entryVersion2 && from != entryVersion3 { // more clusters at once are too much for two cores
				t.Parallel()
			}
			old := programs[from]
			if old == "" {
				t.Skipf("this checkout has no commit %s, so there is no older program to roll from", from)
			}
			b := layOut(t, drill.Options{})
			for _, m := range b.Members {
				m.Program = old
				b.withoutBackups(m)
			}
			if err := b.Start(); err != nil {
				t.Fatal(err)
			}
			b.settle()
			if from == entryVersion2 || from == entryVersion3 { // what version 2 has is in use: that calls for nothing of a later one
				if err := b.token(t.Context(), "first"); err != nil {
					t.Fatal(err)
				}
			}
			if from == entryVersion3 { // and what version 3 has
				b.restartStandby()
				b.settle()
			}
			b.first = drill.SlotNow() + 1
			refused := 0.0
			for _, program := range []string{filepath.Join(built, "roundtable"), old} {
				refused += b.roll(program)
			}
			r := b.check()
			t.Logf("%s: %d slots due, %d missed, %d signed twice, %.0f entries refused", from, r.SlotsDue, r.Missed.Total, r.Doubled, refused)
			if r.Missed.Total != 0 || refused != 0 {
				t.Errorf("%d of %d slots were missed, %.0f entries refused", r.Missed.Total, r.SlotsDue, refused)
			}
		})
	}
}

// TestAnOldProgramDoesNotJoin starts a new member with a program that is older than what is in the log. It cannot read that log; had
// it a record, no member could use what is in the log any more.
func TestAnOldProgramDoesNotJoin(t *testing.T) {
	if testing.Short() {
		t.Skip("builds an older program")
	}
	t.Parallel()
	b := layOut(t, drill.Options{Managers: 4})
	m4 := b.member("m4")
	m4.Program = buildAt(t, entryVersion1)
	b.withoutBackups(m4)
	for _, m := range b.others("m4") {
		if err := b.StartMember(m); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, 60*time.Second, "a token", func(ctx context.Context) error { return b.token(ctx, "first") })
	for n := range 5 { // each time it may get further before it reads what it does not know
		if err := b.StartMember(m4); err != nil {
			t.Fatal(err)
		}
		_, _ = await(t.Context(), 5*time.Second, func(context.Context) error {
			if m4.Running() {
				return errors.New("it runs")
			}
			return nil
		})
		if err := b.token(t.Context(), fmt.Sprintf("after-%d", n)); err != nil {
			t.Fatalf("after %d starts of the old program: %v", n+1, err)
		}
		if m4.Running() {
			if err := b.KillMember(t.Context(), m4); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// token makes a token.
func (b *box) token(ctx context.Context, name string) error {
	a, err := ask(ctx, b.member("m1"), "POST", "/cluster/tokens", fmt.Sprintf(`{"name":%q,"role":"read"}`, name))
	if err == nil && a.status != 201 {
		err = errors.New(string(a.body))
	}
	return err
}

// withoutBackups takes out of a member's configuration what programs before entry version 4 do not know.
func (b *box) withoutBackups(m *drill.Member) {
	b.edit(m, map[string]string{`(?m)^\[backup\.repositories\.default\]\nurl = .*\n`: ""})
}

// restartStandby restarts the node of a member that does not hold, which is an operation of entry version 3.
func (b *box) restartStandby() {
	b.t.Helper()
	m := b.others(b.overview().Holder())[0]
	a, err := ask(b.t.Context(), m, "POST", "/cluster/restart", fmt.Sprintf(`{"member":%q}`, m.ID))
	var started struct{ Operation string }
	if err = errors.Join(err, json.Unmarshal(a.body, &started)); err != nil || a.status != 202 {
		b.t.Fatalf("a restart of %s: %v: %s", m.ID, err, a.body)
	}
	eventually(b.t, 60*time.Second, "a restart of "+m.ID, func(ctx context.Context) error {
		var o struct{ Outcome, Reason string }
		if err := get(ctx, m, "/cluster/operations/"+started.Operation, &o); err != nil || o.Outcome != "done" {
			return errors.Join(err, fmt.Errorf("it is %s %s", o.Outcome, o.Reason))
		}
		return nil
	})
}

// roll moves every member to a program, the holder last, and returns how many entries the state refused meanwhile.
func (b *box) roll(program string) (refused float64) {
	b.t.Helper()
	holder := b.overview().Holder()
	for i, m := range append(b.others(holder), b.member(holder)) {
		refused += b.refused(m)
		ctx, cancel := context.WithTimeout(b.t.Context(), 20*time.Second)
		err := b.StopManager(ctx, m)
		cancel()
		if err != nil {
			b.t.Fatalf("%s: SIGTERM: %v", m.ID, err)
		}
		m.Program = program
		if err := b.StartMember(m); err != nil {
			b.t.Fatal(err)
		}
		b.settle()
		if i == 0 { // two programs at once: production goes to the other one and back, asked of either
			for _, to := range []string{m.ID, holder} {
				if err := b.Handoff(b.t.Context(), b.member(to), to); err != nil {
					b.t.Errorf("handoff to %s between two programs: %v", to, err)
				}
			}
			b.settle()
		}
		b.t.Logf("%s runs %s, %s holds", m.ID, filepath.Base(filepath.Dir(program)), b.overview().Holder())
	}
	for _, m := range b.Members {
		refused += b.refused(m)
	}
	return refused
}

// refused is how many entries of a member the state refused since the member was started.
func (b *box) refused(m *drill.Member) float64 {
	b.t.Helper()
	n, err := metric(b.t.Context(), m, "roundtable_raft_refused_total")
	if err != nil {
		b.t.Fatal(err)
	}
	return n
}

// others are all members but one.
func (b *box) others(id string) (list []*drill.Member) {
	for _, m := range b.Members {
		if m.ID != id {
			list = append(list, m)
		}
	}
	return list
}

// buildAt builds the manager as it was at a commit. A checkout without history cannot be asked for it.
func buildAt(t *testing.T, commit string) string {
	t.Helper()
	git := func(args ...string) (string, error) {
		out, err := exec.CommandContext(t.Context(), "git", append([]string{"-C", ".."}, args...)...).CombinedOutput()
		return strings.TrimSpace(string(out)), err
	}
	full, err := git("rev-parse", "--verify", commit+"^{commit}")
	if err != nil {
		t.Skipf("this checkout has no commit %s, so there is no older program to roll from: %s", commit, full)
	}
	dir := t.TempDir()
	tree := filepath.Join(dir, "tree")
	archive := filepath.Join(dir, "tree.tar")
	if out, err := git("archive", "--format=tar", "-o", archive, full); err != nil {
		t.Fatalf("git archive %s: %v: %s", full, err, out)
	}
	if err := os.Mkdir(tree, 0o700); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "at-"+full[:7], "roundtable")
	for _, c := range []*exec.Cmd{
		exec.CommandContext(t.Context(), "tar", "-xf", archive, "-C", tree),
		exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program, "./cmd/roundtable"),
	} {
		if c.Args[0] == "go" {
			c.Dir, c.Env = tree, append(os.Environ(), "CGO_ENABLED=0")
		}
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatal(fmt.Errorf("%v: %w\n%s", c.Args, err, out))
		}
	}
	return program
}

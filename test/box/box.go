package box

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"roundtable/drill"
)

// Box is a sandbox of one test. All methods are for the test's goroutine.
type Box struct {
	*drill.Sandbox
	T     *testing.T
	First uint64 // slot from which on the checker counts
}

// New makes a sandbox of the programs in a folder (test/binaries) that was not started. Whatever runs of it at the end of the test is
// killed; its folder is kept where the test failed.
func New(t *testing.T, programs string, o drill.Options) *Box {
	t.Helper()
	if testing.Short() {
		t.Skip("starts real processes")
	}
	dir, err := os.MkdirTemp("", "rt-op-")
	if err != nil {
		t.Fatal(err)
	}
	o.Dir, o.Roundtable, o.Nodeos, o.Versions = dir, filepath.Join(programs, "roundtable"), filepath.Join(programs, "simnodeos"), true
	s, err := drill.NewSandbox(o)
	if err != nil {
		t.Fatal(err)
	}
	b := &Box{Sandbox: s, T: t}
	t.Cleanup(func() {
		if err := b.Kill(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("logs and ledgers are left in %s; the last lines of the managers:\n%s", dir, b.lastLines())
			return
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return b
}

// lastLines are the ends of the managers' logs, without what nodeos says, for who has nothing but a test's output.
func (b *Box) lastLines() string {
	var text strings.Builder
	for _, m := range b.Members {
		log, err := os.ReadFile(filepath.Join(m.Home, "manager.log"))
		if err != nil {
			continue // it was never started
		}
		lines := slices.DeleteFunc(strings.Split(strings.TrimSpace(string(log)), "\n"), func(line string) bool { return strings.Contains(line, " part=nodeos ") })
		for _, line := range lines[max(0, len(lines)-30):] {
			fmt.Fprintf(&text, "%s: %s\n", m.ID, line)
		}
	}
	return text.String()
}

// In is the box for a test within the test.
func (b *Box) In(t *testing.T) *Box {
	sub := *b
	sub.T = t
	return &sub
}

// Configure adds to every member's config.toml: keys of [node], and whole sections.
func (b *Box) Configure(node, sections func(m *drill.Member) string) {
	b.T.Helper()
	for _, m := range b.Members {
		file := filepath.Join(m.Home, "config.toml")
		text := Read(b.T, file)
		if node != nil {
			text = strings.Replace(text, "[node]\n", "[node]\n"+node(m), 1)
		}
		if sections != nil {
			text += "\n" + sections(m)
		}
		Write(b.T, file, text)
	}
}

// Argue gives every node more arguments.
func (b *Box) Argue(args func(m *drill.Member) []string) {
	b.T.Helper()
	for _, m := range b.Members {
		file := filepath.Join(m.Home, "config.toml")
		quoted := ""
		for _, a := range args(m) {
			quoted += fmt.Sprintf("%q, ", a)
		}
		text := Read(b.T, file)
		if !strings.Contains(text, "\nargs = [") {
			b.T.Fatal("the configuration has no arguments to add to")
		}
		Write(b.T, file, strings.Replace(text, "\nargs = [", "\nargs = ["+quoted, 1))
	}
}

// Up starts the sandbox and waits until production runs.
func (b *Box) Up() {
	b.T.Helper()
	if err := b.Start(); err != nil {
		b.T.Fatal(err)
	}
	b.Whole()
	b.First = drill.SlotNow() + 1
}

// Whole waits until the cluster is whole: all nodes run, one member holds, nothing is under way.
func (b *Box) Whole() {
	b.T.Helper()
	if err := b.Settle(b.T.Context()); err != nil {
		b.T.Fatal(err)
	}
}

// Judge lets the checker count, and fails the test where anything was signed twice, or, where nothing was killed, missed.
func (b *Box) Judge(missed bool) drill.Report {
	b.T.Helper()
	r, err := b.Check(b.T.Context(), b.First, drill.SlotNow()-1)
	if err != nil {
		b.T.Fatal(err)
	}
	if !r.OK() {
		var text strings.Builder
		r.Write(&text)
		b.T.Errorf("the checker found:%s", &text)
	}
	if r.Missed.Total > 0 && !missed {
		b.T.Errorf("%d of %d slots were missed", r.Missed.Total, r.SlotsDue)
	}
	return r
}

// View is how the cluster is, as soon as one member leads and one holds.
func (b *Box) View() drill.Overview {
	b.T.Helper()
	return b.Seen("nobody leads or holds", func(o drill.Overview) bool { return o.Leader != "" && o.Holder() != "" })
}

// Seen is how the cluster is, as soon as that is so.
func (b *Box) Seen(otherwise string, so func(drill.Overview) bool) drill.Overview {
	b.T.Helper()
	var o drill.Overview
	b.Eventually(10*time.Second, "how the cluster is", func(ctx context.Context) (err error) {
		if o, err = b.Overview(ctx); err == nil && !so(o) {
			err = errors.New(otherwise)
		}
		return err
	})
	return o
}

// Head is the highest block.
func (b *Box) Head() (head uint32) {
	b.T.Helper()
	for _, m := range b.View().Members {
		head = max(head, m.Head.Num)
	}
	return head
}

// Get finds a member.
func (b *Box) Get(id string) *drill.Member {
	b.T.Helper()
	m, err := b.Member(id)
	if err != nil {
		b.T.Fatal(err)
	}
	return m
}

// Other is a member that is none of these.
func (b *Box) Other(ids ...string) *drill.Member {
	b.T.Helper()
	i := slices.IndexFunc(b.Members, func(m *drill.Member) bool { return !slices.Contains(ids, m.ID) })
	if i < 0 {
		b.T.Fatalf("there is no member but %v", ids)
	}
	return b.Members[i]
}

// Running is a member whose manager runs.
func (b *Box) Running() *drill.Member {
	b.T.Helper()
	i := slices.IndexFunc(b.Members, (*drill.Member).Running)
	if i < 0 {
		b.T.Fatal("no manager runs")
	}
	return b.Members[i]
}

// Nodes are the process ids of the nodes.
func (b *Box) Nodes() map[string]int {
	b.T.Helper()
	pids := map[string]int{}
	for _, m := range b.Members {
		pid, err := b.NodePID(m)
		if err != nil {
			b.T.Fatal(err)
		}
		pids[m.ID] = pid
	}
	return pids
}

// Changed are the members whose node is another process now.
func Changed(before, now map[string]int) (ids []string) {
	for id, pid := range now {
		if before[id] != pid {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// Equal compares two maps.
func Equal[V comparable](a, b map[string]V) bool {
	for k := range a {
		if a[k] != b[k] {
			return false
		}
	}
	return len(a) == len(b)
}

// HoldAt lets a member's manager wait where it comes to a step (drill.Sandbox.Hold).
func (b *Box) HoldAt(m *drill.Member, step string) {
	b.T.Helper()
	if err := b.Hold(m, step); err != nil {
		b.T.Fatal(err)
	}
}

// LetGo lets it go on.
func (b *Box) LetGo(m *drill.Member) {
	b.T.Helper()
	if err := b.Release(m); err != nil {
		b.T.Fatal(err)
	}
}

// Eventually polls until f gives no error, for at most d.
func (b *Box) Eventually(d time.Duration, what string, f func(context.Context) error) {
	b.T.Helper()
	ctx, cancel := context.WithTimeout(b.T.Context(), d)
	defer cancel()
	if err := drill.Poll(ctx, 50*time.Millisecond, f); err != nil {
		b.T.Fatalf("%s: not within %v: %v", what, d, err)
	}
}

package baseline

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"roundtable/drill"
)

// cluster is a sandbox of real processes.
type cluster struct {
	*drill.Sandbox
	t     *testing.T
	first uint64
}

func start(t *testing.T, kind string) *cluster {
	t.Helper()
	dir, err := os.MkdirTemp("", "rt-")
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(built, "baseline")
	s, err := drill.NewSandbox(drill.Options{Dir: dir, Roundtable: program, Nodeos: filepath.Join(built, "simnodeos"), Baseline: kind})
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{Sandbox: s, t: t}
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		if err := s.Kill(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("logs and ledgers are left in %s", dir)
			return
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	c.settle()
	c.first = drill.SlotNow() + 1
	return c
}

func (c *cluster) settle() {
	c.t.Helper()
	if err := c.Settle(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
}

// producing lists the members that let their nodes produce.
func (c *cluster) producing(ctx context.Context) []*drill.Member {
	var list []*drill.Member
	for _, m := range c.Members {
		if !m.Running() {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		s, err := ask(ctx, Peer{ID: m.ID, API: m.API})
		cancel()
		if err == nil && s.Holder && !s.Paused {
			list = append(list, m)
		}
	}
	return list
}

// holder waits until exactly one member produces, none of those named.
func (c *cluster) holder(not ...string) *drill.Member {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 15*time.Second)
	defer cancel()
	for {
		list := c.producing(ctx)
		if len(list) == 1 && !strings.Contains(strings.Join(not, " "), list[0].ID) {
			return list[0]
		}
		if ctx.Err() != nil {
			c.t.Fatalf("there is no single producer, other than %v, but %v", not, list)
		}
		wait(ctx, 20*time.Millisecond)
	}
}

// blocks waits for so many more blocks of a member's node.
func (c *cluster) blocks(m *drill.Member, n uint32) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 15*time.Second)
	defer cancel()
	var from uint32
	for {
		s, err := ask(ctx, Peer{ID: m.ID, API: m.API})
		switch {
		case err == nil && from == 0:
			from = s.HeadNum
		case err == nil && s.HeadNum >= from+n:
			return
		case ctx.Err() != nil:
			c.t.Fatalf("%s makes no blocks: %+v, %v", m.ID, s, err)
		}
		wait(ctx, 50*time.Millisecond)
	}
}

// signed is who signed blocks since a slot, and which slots were signed twice.
func (c *cluster) signed(since uint64) (nodes map[string]int, doubles []drill.Double) {
	c.t.Helper()
	ledger, err := drill.ReadLedgers(c.Ledgers())
	if err != nil {
		c.t.Fatal(err)
	}
	nodes = map[string]int{}
	var late []drill.Signature
	for _, s := range ledger {
		if s.Slot >= since {
			nodes[s.Node]++
			late = append(late, s)
		}
	}
	return nodes, drill.Doubles(late)
}

func kinds(t *testing.T, f func(t *testing.T, kind string)) {
	for _, kind := range []string{Leader, Keepalived} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			f(t, kind)
		})
	}
}

// TestProducesHandsOverAndSurvives holds the baselines to what they promise: a handoff without a slot signed twice, the
// producer's death, its return, and an orderly end.
func TestProducesHandsOverAndSurvives(t *testing.T) {
	t.Parallel()
	kinds(t, func(t *testing.T, kind string) {
		c := start(t, kind)
		first := c.holder()
		to := c.Members[0]
		if to == first {
			to = c.Members[1]
		}
		if err := c.Handoff(t.Context(), c.Members[2], to.ID); err != nil {
			t.Fatal(err)
		}
		if now := c.holder(); now != to {
			t.Errorf("handed over to %s, and %s produces", to.ID, now.ID)
		}
		c.settle()
		c.blocks(to, 4)
		if _, doubles := c.signed(c.first); len(doubles) > 0 {
			t.Errorf("the handoff signed twice: %v", doubles)
		}

		if err := c.KillMember(t.Context(), to); err != nil {
			t.Fatal(err)
		}
		next := c.holder(to.ID)
		c.blocks(next, 4)
		if err := c.StartMember(to); err != nil {
			t.Fatal(err)
		}
		c.settle()
		if now := c.holder(); now != next {
			t.Errorf("%s produced, and after the return of %s it is %s", next.ID, to.ID, now.ID)
		}
		r, err := c.Check(t.Context(), c.first, drill.SlotNow()-1)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%d slots due, %d missed, %d signed twice", r.SlotsDue, r.Missed.Total, r.Doubled)
		if r.SlotsDue < 10 || r.Missed.Total > r.SlotsDue/2 {
			t.Errorf("%d of %d slots were missed", r.Missed.Total, r.SlotsDue)
		}

		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
		defer cancel()
		if err := c.StopManager(ctx, next); err != nil {
			t.Errorf("SIGTERM: %v", err)
		}
		c.holder(next.ID)
	})
}

// TestNodeIsStartedAgain kills the producing node alone: whoever produces afterwards, production goes on.
func TestNodeIsStartedAgain(t *testing.T) {
	t.Parallel()
	full(t)
	kinds(t, func(t *testing.T, kind string) {
		c := start(t, kind)
		if err := c.KillNode(t.Context(), c.holder()); err != nil {
			t.Fatal(err)
		}
		c.settle()
	})
}

// TestFrozenManagerSignsTwice shows what the baselines lose: while the producing manager is frozen nobody pauses its node,
// and another one is elected.
func TestFrozenManagerSignsTwice(t *testing.T) {
	t.Parallel()
	full(t)
	kinds(t, func(t *testing.T, kind string) {
		c := start(t, kind)
		frozen := c.holder()
		pid, err := managerPID(frozen)
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		c.holder(frozen.ID)
		wait(t.Context(), 3*time.Second)
		if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		c.settle()
		nodes, doubles := c.signed(c.first)
		t.Logf("%d slots signed twice, signatures %v", len(doubles), nodes)
		if len(doubles) == 0 {
			t.Error("nothing was signed twice: either the baseline or this test is not what it was")
		}
	})
}

// full skips what takes long unless ROUNDTABLE_FULL=1.
func full(t *testing.T) {
	t.Helper()
	if os.Getenv("ROUNDTABLE_FULL") == "" {
		t.Skip("takes long: set ROUNDTABLE_FULL=1")
	}
}

// managerPID finds a member's process by the configuration file on its command line.
func managerPID(m *drill.Member) (int, error) {
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return 0, err
	}
	for _, file := range files {
		line, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(line), "\x00"+filepath.Join(m.Home, "baseline.json")+"\x00") {
			continue
		}
		var pid int
		if _, err := fmt.Sscanf(file, "/proc/%d/", &pid); err == nil {
			return pid, nil
		}
	}
	return 0, errors.New("no process of " + m.ID)
}

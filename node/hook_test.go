package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func hook(ctx context.Context, mode string) ([]string, error) {
	return RunHook(ctx, os.Args[0], []string{mode}, []string{"NODE_TEST_ROLE=hook", "HOOK_WORD=now"})
}

func TestHook(t *testing.T) {
	t.Setenv("ROUNDTABLE_TOKEN", "secret")
	lines, err := hook(t.Context(), "agrees")
	if err != nil || strings.Join(lines, "|") != "checking now " {
		t.Errorf("%q %v", lines, err)
	}

	_, err = hook(t.Context(), "refuses")
	var e *HookError
	if !errors.As(err, &e) || e.Text != "exit code 7" || len(e.Lines) != hookLines || e.Lines[hookLines-2] != "reason 99" || e.Err != nil {
		t.Errorf("%+v", e)
	}
	if text := err.Error(); strings.Contains(text, "5KQ") || !strings.Contains(text, "it said: ") || strings.Contains(text, "reason 9 ") {
		t.Error(text)
	}

	lines, err = hook(t.Context(), "flood")
	if err != nil || len(lines) != hookLines || lines[hookLines-1] != "the end" || len(lines[0]) != hookLine {
		t.Error(len(lines), err)
	}

	if _, err = RunHook(t.Context(), "/nonexistent/hook", nil, nil); !errors.As(err, &e) || !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err = hook(ctx, "agrees"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestHookIsKilledWithItsGroup at its context's end, whatever signals it ignores.
func TestHookIsKilledWithItsGroup(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	lines, err := hook(ctx, "hangs")
	var e *HookError
	if !errors.As(err, &e) || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(e.Text, "killed after 1") {
		t.Fatal(err)
	}
	var pid int
	for _, l := range lines {
		if _, err := fmt.Sscanf(l, "pid %d", &pid); err == nil {
			break
		}
	}
	if pid == 0 {
		t.Fatalf("%q", lines)
	}
	// Orphans are reaped by init, in its own time: dead is gone or a zombie.
	eventually(t, 10*time.Second, func() bool {
		stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		return unix.Kill(pid, 0) != nil || strings.Contains(string(stat), ") Z ")
	})
}

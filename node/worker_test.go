package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func workerConfig(mode string, line func(string)) WorkerConfig {
	return WorkerConfig{Path: os.Args[0], Args: []string{mode}, Env: []string{"NODE_TEST_ROLE=worker", "WORKER_WORD=now"},
		Line: func(b []byte) { line(string(b)) }}
}

func TestWorker(t *testing.T) {
	t.Setenv("ROUNDTABLE_TOKEN", "secret")
	var got []string
	line := func(s string) { got = append(got, s) }

	cfg := workerConfig("echo", line)
	cfg.Stdin = bytes.NewReader(fmt.Appendf(nil, "one\ntwo\r\n%s\nlast", strings.Repeat("y", workerLine-1)))
	if err := RunWorker(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	if len(got) != 5 || !strings.HasSuffix(got[0], " now ") || got[1] != "one" || got[2] != "two" || len(got[3]) != workerLine-1 || got[4] != "last" {
		t.Errorf("%.100q", got)
	}

	err := RunWorker(t.Context(), workerConfig("fails", line))
	var e *WorkerError
	if !errors.As(err, &e) || e.Code != 7 || e.Text != "exit code 7" || len(e.Lines) != 2 || e.Lines[1] != "no permission" || e.Err != nil {
		t.Errorf("%+v", e)
	}
	if text := err.Error(); strings.Contains(text, "5KQ") || !strings.HasSuffix(text, "KEY:*** | no permission") {
		t.Error(text)
	}

	got = nil
	if err = RunWorker(t.Context(), workerConfig("long", line)); !errors.As(err, &e) || e.Code != 0 || !strings.Contains(e.Text, "longer than") {
		t.Error(err)
	}
	if len(got) != 2 || got[1] != "after it" {
		t.Errorf("%.100q", got)
	}

	got = nil
	if err := RunWorker(t.Context(), workerConfig("flood", line)); err != nil || len(got) != 20001 || got[20000] != "line 19999" {
		t.Error(err, len(got))
	}

	if err := RunWorker(t.Context(), WorkerConfig{Path: "/nonexistent/worker"}); !errors.As(err, &e) || e.Code != -1 || !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := RunWorker(ctx, workerConfig("echo", line)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestWorkerIsNice in all its threads, and ends well when it is told to end.
func TestWorkerIsNice(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	pid := make(chan int, 1)
	cfg := workerConfig("threads", func(s string) {
		n, _ := strconv.Atoi(strings.Fields(s)[1])
		pid <- n
	})
	cfg.Nice = true
	done := make(chan error, 1)
	go func() { done <- RunWorker(ctx, cfg) }()
	dir := fmt.Sprintf("/proc/%d/task", <-pid)
	eventually(t, 10*time.Second, func() bool { tasks, _ := filepath.Glob(dir + "/*"); return len(tasks) > 20 })
	for _, task := range must[[]string](t)(filepath.Glob(dir + "/*")) {
		stat := string(must[[]byte](t)(os.ReadFile(task + "/stat")))
		if nice := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])[16]; nice != "19" {
			t.Errorf("%s has nice %s", task, nice)
		}
		tid, _ := strconv.Atoi(filepath.Base(task))
		if class, _, errno := unix.Syscall(unix.SYS_IOPRIO_GET, 1, uintptr(tid), 0); errno != 0 || class>>13 != 3 {
			t.Errorf("%s has I/O class %d %v", task, class>>13, errno)
		}
	}
	if prio, err := unix.Getpriority(unix.PRIO_PROCESS, 0); err != nil || prio != 20 { // the system call gives 20 - nice
		t.Error("the manager itself is nice", prio, err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error("it ended with 0:", err)
	}
}

func TestWorkerIsKilledAtLast(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cfg := workerConfig("stubborn", func(string) { cancel() })
	cfg.Patience = 50 * time.Millisecond
	err := RunWorker(ctx, cfg)
	var e *WorkerError
	if !errors.As(err, &e) || !errors.Is(err, context.Canceled) || e.Signal != syscall.SIGKILL || !strings.HasPrefix(e.Text, "killed 50ms after") {
		t.Error(err)
	}
}

// TestWorkerDiesWithItsManager at the manager's SIGKILL.
func TestWorkerDiesWithItsManager(t *testing.T) {
	_, _, kill := underManager(t)
	kill("the worker")
}

package node

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"roundtable/durable"
)

// rig is a supervisor with a fake nodeos in a directory of its own.
type rig struct {
	*Supervisor
	t    *testing.T
	dir  string
	pipe *Pipeline
	end  func() // stops Run and waits for it
}

func newDir(t *testing.T, mode string) string {
	t.Helper()
	dir := t.TempDir()
	l := must[net.Listener](t)(net.Listen("tcp", "127.0.0.1:0"))
	addr := l.Addr().String()
	_ = l.Close()
	for path, text := range map[string]string{"config/config.ini": "http-server-address = " + addr, "data/mode": mode} {
		if err := durable.Write(filepath.Join(dir, path), []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func setMode(t *testing.T, dir, mode string) {
	t.Helper()
	if err := durable.Write(filepath.Join(dir, "data/mode"), []byte(mode)); err != nil {
		t.Fatal(err)
	}
}

func newRig(t *testing.T, mode string, change func(*Config)) *rig {
	t.Helper()
	dir := newDir(t, mode)
	r := &rig{t: t, dir: dir, pipe: NewPipeline(PipelineConfig{})}
	ini := string(must[[]byte](t)(os.ReadFile(dir + "/config/config.ini")))
	client := must[*Client](t)(NewClient(ClientConfig{Addr: strings.TrimPrefix(ini, "http-server-address = ")}))
	cfg := Config{
		Path: os.Args[0], Env: append(os.Environ(), "NODE_TEST_ROLE=nodeos", "JOURNAL_STREAM=8:1234"),
		ConfigDir: dir + "/config", DataDir: dir + "/data", Pipeline: r.pipe, Client: client,
		StartTimeout: 10 * time.Second, StopTimeout: 10 * time.Second, TermEvery: 50 * time.Millisecond,
		Budget: Budget{Min: 10 * time.Millisecond, Max: 20 * time.Millisecond}, Log: slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&cfg)
	}
	r.Supervisor = must[*Supervisor](t)(New(cfg))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	ended := false
	r.end = func() {
		if ended {
			return
		}
		ended = true
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(20 * time.Second):
			t.Error("Run does not end")
		}
		client.Close()
		r.pipe.Close()
	}
	t.Cleanup(r.end)
	return r
}

func (r *rig) until(what string, cond func(Status) bool) Status {
	r.t.Helper()
	limit := time.After(20 * time.Second)
	for {
		st, changed := r.Watch()
		if cond(st) {
			return st
		}
		select {
		case <-changed:
		case <-limit:
			r.t.Fatalf("not %s: %s\n%s", what, st, strings.Join(r.pipe.Lines(10), "\n"))
		}
	}
}

func (r *rig) starts() []string {
	r.t.Helper()
	b, _ := os.ReadFile(r.dir + "/data/starts")
	return strings.Split(strings.TrimSpace(string(b)), "\n")
}

func isState(s State) func(Status) bool { return func(st Status) bool { return st.State == s } }

func TestSupervisorLife(t *testing.T) {
	r := newRig(t, "ok", nil)
	ctx := t.Context()
	st := r.until("running", isState(StateRunning))
	if st.PID == 0 || st.Starts != 1 || st.Restarts != 0 {
		t.Error(st)
	}
	if pgid := must[int](t)(unix.Getpgid(st.PID)); pgid != st.PID {
		t.Error("no process group of its own")
	}
	if err := r.Start(ctx); err != nil { // is up already
		t.Error(err)
	}
	if err := r.Restart(ctx, "--genesis-json", "g"); err != nil {
		t.Error(err)
	}
	again := r.Status()
	if again.PID == st.PID || again.Starts != 2 || again.Restarts != 0 || again.LastExit.Cause != CauseClean || !again.LastExit.Asked || again.LastExit.Suspect {
		t.Error(again)
	}
	if err := r.Stop(ctx); err != nil {
		t.Error(err)
	}
	if st := r.Status(); st.State != StateStopped || st.PID != 0 {
		t.Error(st)
	}
	if err := r.Start(ctx); err != nil {
		t.Error(err)
	}
	if err := r.Start(ctx, "--signature-provider=x"); !errors.Is(err, ErrOwned) {
		t.Error(err)
	}
	r.end()
	if err := r.Start(ctx); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	starts := r.starts()
	if len(starts) != 3 {
		t.Fatal(starts)
	}
	for i, s := range starts {
		if !strings.Contains(s, " -e --pause-on-startup") || !strings.HasSuffix(s, `JOURNAL=""`) || strings.Contains(s, "--genesis-json g") != (i == 1) {
			t.Error(s)
		}
	}
	if l, err := AcquireLock(r.dir + "/data"); err != nil || l.Release() != nil {
		t.Error("Run must give the lock back", err)
	}
}

func TestSupervisorReplaysADirtyState(t *testing.T) {
	r := newRig(t, "ok", nil)
	st := r.until("running", isState(StateRunning))
	r.Kill()
	st = r.until("running again", func(s Status) bool { return s.State == StateRunning && s.PID != st.PID })
	starts := r.starts()
	if len(starts) != 3 || !strings.Contains(starts[2], "--replay-blockchain") || strings.Contains(starts[1], "replay") {
		t.Fatal(strings.Join(starts, "\n"))
	}
	if !st.Replaying || st.Restarts != 2 || st.LastExit.Cause != CauseDirty || !st.LastExit.Suspect {
		t.Error(st)
	}
	if err := r.Restart(t.Context()); err != nil { // and the flag is not kept
		t.Fatal(err)
	}
	if starts = r.starts(); strings.Contains(starts[3], "replay") {
		t.Error(starts[3])
	}
}

// TestSupervisorStaysDown with a dirty state where a replay is refused (FACT 19), or is not the supervisor's to choose.
func TestSupervisorStaysDown(t *testing.T) {
	for mode, policy := range map[string]Recover{"partial": RecoverReplay, "ok": RecoverStay} {
		t.Run(mode, func(t *testing.T) {
			r := newRig(t, mode, func(c *Config) { c.Recover = policy })
			r.until("running", isState(StateRunning))
			r.Kill()
			st := r.until("failed", isState(StateFailed))
			if starts := r.starts(); len(starts) != 2 || !st.LastExit.Dirty() || !strings.Contains(st.Reason, "dirty") || st.Hint == "" {
				t.Fatal(starts, st)
			}
			if err := r.StoppedCleanly(); !errors.Is(err, ErrNotClean) {
				t.Error(err)
			}
			if err := r.Start(t.Context()); !errors.Is(err, ErrFailed) {
				t.Error(err)
			}
			if err := r.Start(t.Context(), "--replay-blockchain"); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestSupervisorStartsOnceWithArguments and not plainly after them: that could begin another chain.
func TestSupervisorStartsOnceWithArguments(t *testing.T) {
	r := newRig(t, "hang", func(c *Config) { c.StartDown, c.StartTimeout, c.ReplayTimeout = true, time.Millisecond, time.Hour })
	started := make(chan error, 1)
	go func() { started <- r.Start(t.Context(), "--snapshot", "/s.bin") }()
	r.until("starting", func(s Status) bool { return s.PID != 0 })
	eventually(t, 10*time.Second, func() bool { return r.starts()[0] != "" })
	r.Kill() // not the StartTimeout
	if err := <-started; !errors.Is(err, ErrFailed) || !strings.Contains(err.Error(), "once with arguments") {
		t.Error(err)
	}
	if st := r.Status(); st.State != StateFailed || st.LastExit.Cause != CauseKilled || !strings.Contains(r.starts()[0], "--snapshot /s.bin") {
		t.Error(st)
	}
	r = newRig(t, "exit254", func(c *Config) { c.StartDown = true })
	if err := r.Start(t.Context(), "--genesis-json", "g"); !errors.Is(err, ErrFailed) || len(r.starts()) != 1 {
		t.Error(err, r.starts())
	}

	r = newRig(t, "hang", func(c *Config) { c.StartDown, c.StartTimeout, c.ReplayTimeout = true, time.Hour, 100*time.Millisecond })
	if err := r.Start(t.Context(), "--snapshot", "/s.bin"); !errors.Is(err, ErrFailed) || r.Status().LastExit.Cause != CauseStartTimeout {
		t.Error(err)
	}

	// Once up it is as any other.
	r = newRig(t, "ok", func(c *Config) { c.StartDown = true })
	if err := r.Start(t.Context(), "--snapshot", "/s.bin"); err != nil {
		t.Fatal(err)
	}
	pid := r.Status().PID
	r.Kill()
	r.until("running again", func(s Status) bool { return s.State == StateRunning && s.PID != pid })
	if starts := r.starts(); len(starts) != 3 || strings.Contains(starts[1], "--snapshot") {
		t.Error(starts)
	}
}

func TestSupervisorWithoutRecovery(t *testing.T) {
	r := newRig(t, "ok", func(c *Config) { c.Recover = RecoverNone; c.Budget.Exits = 3 })
	r.until("running", isState(StateRunning))
	r.Kill()
	st := r.until("failed", isState(StateFailed))
	if starts := r.starts(); len(starts) != 3 || st.LastExit.Cause != CauseDirty || st.Hint == "" {
		t.Error(starts, st)
	}
}

func TestSupervisorCrashBudget(t *testing.T) {
	r := newRig(t, "exit254", func(c *Config) { c.StartDown = true })
	err := r.Start(t.Context())
	if !errors.Is(err, ErrExited) || !strings.Contains(err.Error(), "Unknown option 'zz' inside") {
		t.Error(err)
	}
	st := r.until("failed", isState(StateFailed))
	if st.Starts != 5 || st.LastExit.Cause != CauseConfig || !strings.Contains(st.Reason, "5 exits in 10m0s") || len(st.LastExit.Lines) < 3 {
		t.Error(st)
	}
	setMode(t, r.dir, "ok")
	if err := r.Start(t.Context()); err != nil {
		t.Error(err)
	}
	if starts := r.starts(); len(starts) != 6 || strings.Contains(strings.Join(starts, ""), "replay") {
		t.Error("254 must never lead to a replay", starts)
	}
}

func TestSupervisorStartTimeout(t *testing.T) {
	r := newRig(t, "hang", func(c *Config) { c.StartTimeout = 100 * time.Millisecond; c.Budget.Exits = 1 })
	st := r.until("failed", isState(StateFailed))
	if st.LastExit.Cause != CauseStartTimeout || !st.LastExit.Suspect || st.LastExit.Signal != syscall.SIGKILL {
		t.Error(st)
	}
}

func TestSupervisorStopLadder(t *testing.T) {
	r := newRig(t, "slow", nil) // hears only the third SIGTERM
	r.until("running", isState(StateRunning))
	if err := r.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if e := r.Status().LastExit; e.Cause != CauseClean || e.Suspect {
		t.Error(e)
	}
	setMode(t, r.dir, "stubborn")
	if err := r.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.Tune(Tuning{StopTimeout: 200 * time.Millisecond})
	if err := r.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if e := r.Status().LastExit; e.Cause != CauseStopTimeout || !e.Suspect || e.Signal != syscall.SIGKILL {
		t.Error(e)
	}
}

func TestSupervisorStopDuringStart(t *testing.T) {
	r := newRig(t, "ok", func(c *Config) {
		c.StartDown = true
		c.Ready = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	})
	started := make(chan error, 1)
	go func() { started <- r.Start(t.Context()) }()
	r.until("starting", func(s Status) bool { return s.PID != 0 })
	if err := r.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	select {
	case err := <-started:
		if !errors.Is(err, ErrOvertaken) {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("Start still waits")
	}
}

// TestSupervisorReadsAFlood: stdout and stderr are drained whatever comes, the node still hears SIGTERM.
func TestSupervisorReadsAFlood(t *testing.T) {
	r := newRig(t, "flood", nil)
	r.until("running", isState(StateRunning))
	eventually(t, 10*time.Second, func() bool { return r.pipe.Stats().Lines > 20000 })
	if err := r.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if e := r.Status().LastExit; e.Cause != CauseClean {
		t.Error(e)
	}
}

func TestSupervisorHandsOutStdout(t *testing.T) {
	calls := 0
	lines := make(chan string, 16)
	r := newRig(t, "flood", func(c *Config) {
		c.Stdout = func() (*os.File, error) {
			calls++
			rd, wr, err := os.Pipe()
			if err != nil {
				return nil, err
			}
			go func() {
				defer func() { _ = rd.Close() }()
				n := 0
				for in := bufio.NewScanner(rd); in.Scan(); n++ {
					if n == 0 {
						lines <- in.Text()
					}
				}
				lines <- "eof" // only when the supervisor has closed its copy
			}()
			return wr, nil
		}
	})
	r.until("running", isState(StateRunning))
	if l := <-lines; !strings.HasPrefix(l, "out ") {
		t.Error(l)
	}
	if err := r.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if l := <-lines; l != "eof" || calls != 2 {
		t.Error(l, calls)
	}
	r.end()
	<-lines
	<-lines
}

func TestSupervisorPortInUseIsNotReady(t *testing.T) {
	r := newRig(t, "ok", func(c *Config) { c.StartDown = true; c.Budget.Exits = 1 })
	ini := string(must[[]byte](t)(os.ReadFile(r.dir + "/config/config.ini")))
	l := must[net.Listener](t)(net.Listen("tcp", strings.TrimPrefix(ini, "http-server-address = ")))
	defer func() { _ = l.Close() }()
	if err := r.Start(t.Context()); !errors.Is(err, ErrFailed) {
		t.Error(err)
	}
	if e := r.Status().LastExit; e.Cause != CausePortInUse || e.Hint() == "" {
		t.Error(e)
	}
}

func TestSupervisorRefusals(t *testing.T) {
	r := newRig(t, "ok", func(c *Config) { c.StartDown = true; c.Budget.Exits = 1 })
	if _, err := New(r.cfg); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), fmt.Sprintf("held by pid %d", os.Getpid())) {
		t.Error(err)
	}
	cfg := r.cfg
	cfg.Args, cfg.Program = []string{"--data", "/elsewhere"}, nil
	if _, err := New(cfg); !errors.Is(err, ErrOwned) {
		t.Error(err)
	}
	if _, err := New(Config{}); err == nil {
		t.Error("an empty config")
	}

	// A nodeos that somebody started by hand on this data.
	blocks := r.dir + "/data/blocks"
	if err := os.Mkdir(blocks, 0o755); err != nil {
		t.Fatal(err)
	}
	other := exec.Command(os.Args[0])
	other.Env = append(os.Environ(), "NODE_TEST_ROLE=holder", "NODE_TEST_FILE="+blocks+"/blocks.log")
	stdin := must[interface{ Close() error }](t)(other.StdinPipe())
	stdout := must[interface{ Read([]byte) (int, error) }](t)(other.StdoutPipe())
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	_, _ = stdout.Read(make([]byte, 4))
	if err := r.Start(t.Context()); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("pid %d has files", other.Process.Pid)) {
		t.Error(err)
	}
	_ = stdin.Close()
	_ = other.Wait()
	if err := os.Remove(r.dir + "/config/config.ini"); err != nil {
		t.Fatal(err)
	}
	if err := r.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "no config.ini") {
		t.Error(err)
	}
	if e := r.Status().LastExit; e.Cause != CauseCannotStart {
		t.Error(e)
	}
}

// TestSupervisorNeverReplaysBesideAnother: nodeos says dirty of a state that somebody else's nodeos has taken meanwhile.
func TestSupervisorNeverReplaysBesideAnother(t *testing.T) {
	var other *exec.Cmd
	r := newRig(t, "ok", func(c *Config) {
		c.StartDown, c.Budget.Exits = true, 1
		c.Stdout = func() (*os.File, error) { // between the look at the data and the start
			other = exec.Command(os.Args[0])
			other.Env = append(os.Environ(), "NODE_TEST_ROLE=locker", "NODE_TEST_FILE="+c.DataDir+"/state/shared_memory.bin")
			in := must[interface{ Close() error }](t)(other.StdinPipe())
			t.Cleanup(func() { _ = in.Close(); _ = other.Wait() })
			out := must[interface{ Read([]byte) (int, error) }](t)(other.StdoutPipe())
			if err := other.Start(); err != nil {
				return nil, err
			}
			_, _ = out.Read(make([]byte, 4))
			return os.OpenFile(os.DevNull, os.O_WRONLY, 0)
		}
	})
	if err := durable.Write(r.dir+"/data/state/dirty", nil); err != nil {
		t.Fatal(err)
	}
	if err := r.Start(t.Context()); !errors.Is(err, ErrFailed) || !strings.Contains(err.Error(), fmt.Sprintf("pid %d", other.Process.Pid)) {
		t.Error(err)
	}
	if e := r.Status().LastExit; e.Cause != CauseInUse || e.Dirty() || e.Suspect || e.Hint() == "" || len(r.starts()) != 1 {
		t.Error(e, r.starts())
	}
}

// underManager starts a manager, another process, with a child, whose pid it returns. kill kills the manager, and fails the test if the
// child does not go with it.
func underManager(t *testing.T, env ...string) (manager *exec.Cmd, pid int, kill func(child string)) {
	t.Helper()
	manager = exec.Command(os.Args[0])
	manager.Env = append(append(os.Environ(), "NODE_TEST_ROLE=manager"), env...)
	out := must[interface{ Read([]byte) (int, error) }](t)(manager.StdoutPipe())
	if err := manager.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fscanf(out, "child %d\n", &pid); err != nil {
		t.Fatal(err)
	}
	fd := must[int](t)(unix.PidfdOpen(pid, 0))
	t.Cleanup(func() { _ = unix.Close(fd) })
	if gone, _ := waitPidfd(t.Context(), fd, 0); gone {
		t.Fatal("dead too early")
	}
	return manager, pid, func(child string) {
		t.Helper()
		_ = manager.Process.Kill()
		_ = manager.Wait()
		if gone, err := waitPidfd(t.Context(), fd, 10*time.Second); !gone || err != nil {
			t.Fatal(child, "outlived its manager", err)
		}
	}
}

// TestChildDiesWithItsManager: SIGKILL for the manager must be the end of its node (lease.md, fence pause and L10).
func TestChildDiesWithItsManager(t *testing.T) {
	dir := newDir(t, "stubborn")
	manager, pid, kill := underManager(t, "NODE_TEST_DIR="+dir)
	if _, err := AcquireLock(dir + "/data"); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), fmt.Sprint("pid ", manager.Process.Pid)) {
		t.Error(err)
	}
	kill("the node")
	l := must[*Lock](t)(AcquireLock(dir + "/data")) // the lock went with the manager
	if l.note.Child == nil || l.note.Child.PID != pid || l.Orphan() != 0 {
		t.Errorf("%+v", l.note)
	}
	if clean, err := l.Reap(t.Context(), time.Second, slog.New(slog.DiscardHandler)); !clean || err != nil || l.note.Child != nil {
		t.Error(clean, err)
	}
	_ = l.Release()
}

// TestOrphanIsStoppedFirst: a node that did outlive its manager is stopped, or killed, before another one is started.
func TestOrphanIsStoppedFirst(t *testing.T) {
	for mode, clean := range map[string]bool{"ok": true, "stubborn": false} {
		t.Run(mode, func(t *testing.T) {
			dir := newDir(t, mode)
			orphan := exec.Command(os.Args[0], "--config-dir", dir+"/config", "--data-dir", dir+"/data")
			orphan.Env = append(os.Environ(), "NODE_TEST_ROLE=nodeos")
			stderr := must[interface{ Read([]byte) (int, error) }](t)(orphan.StderrPipe())
			if err := orphan.Start(); err != nil {
				t.Fatal(err)
			}
			for in := bufio.NewScanner(stderr); in.Scan() && !strings.Contains(in.Text(), "start listening"); {
				continue
			}
			l := must[*Lock](t)(AcquireLock(dir + "/data"))
			if err := l.SetChild(orphan.Process.Pid); err != nil {
				t.Fatal(err)
			}
			_ = l.Release()
			l = must[*Lock](t)(AcquireLock(dir + "/data"))
			defer func() { _ = l.Release() }()
			if l.Orphan() != orphan.Process.Pid {
				t.Fatal(l.Orphan())
			}
			limit := 200 * time.Millisecond
			if clean {
				limit = 10 * time.Second
			}
			got, err := l.Reap(t.Context(), limit, slog.New(slog.DiscardHandler))
			if err != nil || got != clean || l.Orphan() != 0 {
				t.Error(got, err)
			}
			_ = orphan.Wait()
		})
	}
}

func TestLockNoticesAReusedPid(t *testing.T) {
	l := must[*Lock](t)(AcquireLock(t.TempDir()))
	defer func() { _ = l.Release() }()
	self := processOf(os.Getpid())
	self.Start--
	l.note.Child = &self // this pid, but another process
	if l.Orphan() != 0 {
		t.Error("a reused pid was taken for the child")
	}
	if clean, err := l.Reap(t.Context(), time.Second, slog.New(slog.DiscardHandler)); !clean || err != nil {
		t.Error(clean, err)
	}
}

func TestReadVersion(t *testing.T) {
	t.Setenv("NODE_TEST_ROLE", "nodeos")
	if v := must[Version](t)(ReadVersion(t.Context(), os.Args[0])); v.String() != "v1.2.2" || len(v.Commit) != 40 {
		t.Error(v)
	}
	if _, err := ReadVersion(t.Context(), "/nonexistent/nodeos"); err == nil {
		t.Error("no such program")
	}
}

// TestReadVersionWaitsForNobodyElse: a wrapper that leaves something behind, which holds its stdout, does not hold up whoever asks, and
// neither does one that does not end.
func TestReadVersionWaitsForNobodyElse(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct {
		script string
		want   error
		fails  bool
	}{
		"left in its group":  {"sleep 100 &\necho v1.2.2", nil, false},
		"left beside it":     {"setsid sleep 100 &\necho $! > " + filepath.Join(dir, "pid") + "\necho v1.2.2", nil, false},
		"does not end":       {"sleep 100 &\nsleep 100", context.DeadlineExceeded, true},
		"an exit code":       {"echo v1.2.2\nexit 3", nil, true},
		"it says no version": {"echo hello", nil, true},
	} {
		path := filepath.Join(dir, strings.ReplaceAll(name, " ", "-"))
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+c.script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		begun := time.Now()
		v, err := ReadVersion(ctx, path)
		if took := time.Since(begun); took > 20*time.Second {
			t.Errorf("%s: it returned after %s", name, took)
		}
		cancel()
		if (err != nil) != c.fails || err == nil && v.String() != "v1.2.2" || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v %v", name, v, err)
		}
	}
	text := must[[]byte](t)(os.ReadFile(filepath.Join(dir, "pid")))
	if pid, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
		_ = syscall.Kill(pid, syscall.SIGKILL) // the one beside it is nobody's
	}
}

// TestArgumentsOfTheManager: what nodeos would read as an option that the manager owns, however it is written.
func TestArgumentsOfTheManager(t *testing.T) {
	for _, args := range [][]string{
		{"--k=-1"}, {"--u=/tmp/x.sock"}, {"-ep", "evil"}, {"-ec/tmp/x.ini"}, {"-ed/tmp/x"}, {"-vx"}, {"--"}, {"--d=/x"}, {"--data", "/x"}, {"--data-dir=/x"},
		{"--max-clients", "7", "-d", "/x"}, {"-p", "evil"}, {"-x"}, {"-l/x"}, {"--=x"},
	} {
		if err := CheckArgs(args); err == nil || strings.Contains(err.Error(), "evil") || strings.Contains(err.Error(), "/") {
			t.Errorf("%q: %v", args, err)
		}
	}
	for _, args := range [][]string{
		nil, {"-e"}, {"-"}, {""}, {"--max-clients", "7"}, {"--max-clients=-1"}, {"--max-clients", "-1"}, {"--genesis-json", "/x"}, {"--disable-replay-opts"}, {"--peers-log-level-off"},
	} {
		if err := CheckArgs(args); err != nil {
			t.Errorf("%q: %v", args, err)
		}
	}
}

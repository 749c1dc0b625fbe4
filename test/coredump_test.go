package test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"roundtable/drill"
	"roundtable/security"
)

// nobody is who the manager of TestNoCoreDump runs as, where the test is root: root may read everybody's memory.
const nobody = 65534

// user runs programs as somebody who is not root, in a folder of his own.
type user struct {
	t   *testing.T
	dir string
}

func newUser(t *testing.T) user {
	t.Helper()
	dir, err := os.MkdirTemp("", "rt-user-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	program, err := os.ReadFile(filepath.Join(built, "roundtable"))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "roundtable"), program, 0o755)
	}
	if err == nil && os.Getuid() == 0 {
		err = os.Chown(dir, nobody, nobody)
	}
	if err != nil {
		t.Fatal(err)
	}
	return user{t, dir}
}

// command is a line of shell as this user, allowed to leave as large a core as the system lets him.
func (u user) command(ctx context.Context, line string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "sh", "-c", "ulimit -c $(ulimit -H -c); "+line)
	cmd.Dir = u.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "GOTRACEBACK=crash", "HOME=" + u.dir} // crash: Go then lets the kernel dump
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if os.Getuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	}
	return cmd
}

// must runs a line that has to succeed.
func (u user) must(line string) string {
	u.t.Helper()
	out, err := u.command(u.t.Context(), line).CombinedOutput()
	if err != nil {
		u.t.Fatalf("%s: %v: %s", line, err, out)
	}
	return string(out)
}

// opens tells whether the user may open a file for reading.
func (u user) opens(file string) bool {
	return u.command(u.t.Context(), "exec 3<"+file).Run() == nil
}

// cores are the core files in the user's folder.
func (u user) cores() []string {
	list, err := filepath.Glob(filepath.Join(u.dir, "core*"))
	if err != nil {
		u.t.Fatal(err)
	}
	return list
}

// TestNoCoreDump: a manager that is killed so that it should leave a core leaves none, and nobody of its own user may read its
// memory or its environment meanwhile. For each there is another program with which it works, so that the test would notice.
func TestNoCoreDump(t *testing.T) {
	u := newUser(t)
	var ports [3]int
	for i := range ports {
		var err error
		if ports[i], err = drill.FreePort(); err != nil {
			t.Fatal(err)
		}
	}
	tokens := u.must(fmt.Sprintf("./roundtable init --home home --id w1 --cluster c --producers bp --witness --advertise 127.0.0.1 --api 127.0.0.1:%d --raft 127.0.0.1:%d --gossip 127.0.0.1:%d", ports[0], ports[1], ports[2]))
	manager, out := u.start("exec ./roundtable run --home home")
	eventually(t, 20*time.Second, "a manager that serves", func(ctx context.Context) error {
		said, err := u.command(ctx, "./roundtable healthcheck --home home").CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, said)
		}
		return nil
	})

	sleeper, _ := u.start("exec sleep 60")
	for _, name := range []string{"mem", "environ"} {
		proc := func(pid int) string { return filepath.Join("/proc", strconv.Itoa(pid), name) }
		if !u.opens(proc(sleeper.Process.Pid)) {
			t.Logf("this system lets nobody open %s of another process of the same user: nothing is shown", name)
		}
		if u.opens(proc(manager.Process.Pid)) {
			t.Errorf("%s of the manager can be read", name)
		}
	}
	if limit := coreLimit(t, manager.Process.Pid); limit != "0 0" {
		t.Errorf("the limit of core dumps is %s", limit)
	}

	_ = sleeper.Process.Signal(syscall.SIGABRT)
	_ = sleeper.Wait()
	if len(u.cores()) == 0 {
		pattern, _ := os.ReadFile("/proc/sys/kernel/core_pattern")
		t.Logf("this system leaves no core of anybody here (core_pattern %q): nothing is shown by the manager leaving none", bytes.TrimSpace(pattern))
	}
	for _, core := range u.cores() {
		if err := os.Remove(core); err != nil {
			t.Fatal(err)
		}
	}
	_ = manager.Process.Signal(syscall.SIGABRT)
	err := manager.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Success() {
		t.Fatalf("the manager ended with %v", err)
	}
	if left := u.cores(); len(left) > 0 || exit.Sys().(syscall.WaitStatus).CoreDump() {
		t.Errorf("a core is left: %v", left)
	}
	if !strings.Contains(out.String(), "SIGABRT") {
		t.Errorf("it did not end by SIGABRT: %s", out)
	}
	gossip, err := os.ReadFile(security.InHome(filepath.Join(u.dir, "home")).GossipKey)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range append(strings.Fields(tokens), strings.TrimSpace(string(gossip))) {
		if (strings.HasPrefix(text, "rt1_") || len(text) == 44) && strings.Contains(out.String(), text) {
			t.Error("what it says of its end holds a secret")
		}
	}
}

// start starts a line that is killed with the test at the latest. What it said may be looked at when it has ended.
func (u user) start(line string) (*exec.Cmd, *bytes.Buffer) {
	u.t.Helper()
	cmd, out := u.command(context.WithoutCancel(u.t.Context()), line), &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		u.t.Fatal(err)
	}
	u.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if u.t.Failed() {
			u.t.Logf("%s said:\n%s", line, out)
		}
	})
	return cmd, out
}

// coreLimit is a process' limit of core dumps, soft and hard.
func coreLimit(t *testing.T, pid int) string {
	t.Helper()
	limits, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "limits"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(limits)) {
		if rest, ok := strings.CutPrefix(line, "Max core file size"); ok {
			f := strings.Fields(rest)
			return f[0] + " " + f[1]
		}
	}
	t.Fatalf("no limit of core dumps: %s", limits)
	return ""
}

package docs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	quickstart = "docs/quickstart.md"
	folder     = "/tmp/rt-quickstart" // the page's; a test has one of its own
)

// Notes on the page that only this test reads, each before a block of commands.
var (
	background = regexp.MustCompile(`^<!-- run in the background until: (.*) -->$`)
	ended      = "<!-- after ^C in the background -->"
)

// TestQuickstartSandbox does what the page's first part says, command by command, in a clean copy of this repository.
func TestQuickstartSandbox(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the program and runs a sandbox: a minute")
	}
	walk(t, "## 1. ", commandsOf(t, "## 1. "), 5*time.Minute)
}

// TestQuickstartContainers does the same for the second part, where a Docker engine answers.
func TestQuickstartContainers(t *testing.T) {
	if testing.Short() {
		t.Skip("builds an image and runs containers: minutes")
	}
	if out, err := exec.CommandContext(t.Context(), "docker", "info").CombinedOutput(); err != nil {
		t.Skipf("no Docker engine answers: %v: %s", err, bytes.TrimSpace(out))
	}
	// A project and ports of its own, and a docker that has compose and takes no terminal.
	shim := t.TempDir()
	if err := os.WriteFile(filepath.Join(shim, "docker"), []byte(dockerShim), 0o700); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	env := append(os.Environ(), fmt.Sprintf("COMPOSE_PROJECT_NAME=rtq%d", os.Getpid()), "PATH="+shim+":"+os.Getenv("PATH"))
	head := ""
	script := commandsOf(t, "## 2. ")
	for i := 1; i <= 3; i++ {
		port := freePort(t)
		head += fmt.Sprintf("export ROUNDTABLE_PORT_%d=%s\n", i, port)
		script = strings.ReplaceAll(script, "127.0.0.1:908"+strconv.Itoa(i), "127.0.0.1:"+port)
	}
	t.Cleanup(func() { // wherever the page was left; nothing is there to remove where it came to its end
		down := exec.Command(filepath.Join(shim, "docker"), "compose", "down", "--volumes")
		down.Dir, down.Env = root, env
		if out, err := down.CombinedOutput(); err != nil {
			t.Errorf("containers may be left: %v: %s", err, out)
		}
	})
	walk(t, "## 2. ", head+script, 10*time.Minute, env...)
}

// dockerShim goes on as docker, or as docker-compose where the engine's command has no compose.
const dockerShim = `#!/bin/bash
PATH=${PATH#*:}
if [ "$1" != compose ]; then exec docker "$@"; fi
shift
if [ "$1" = exec ]; then set -- exec -T "${@:2}"; fi
if docker compose version > /dev/null 2>&1; then exec docker compose "$@"; fi
exec docker-compose "$@"
`

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

// walk runs the commands of one part of the page as one shell script, which ends at the first command that fails.
func walk(t *testing.T, part, script string, limit time.Duration, env ...string) {
	t.Helper()
	tree := cleanCopy(t)
	dir, err := os.MkdirTemp("", "rtq-") // a short path: there are sockets in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	file := filepath.Join(dir, "quickstart.sh") // a file: pgrep -f must not find the commands in the shell's own arguments
	if err := os.WriteFile(file, []byte("set -euo pipefail\n"+strings.ReplaceAll(script, folder, dir)), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", file)
	cmd.Dir, cmd.Env = tree, env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.CombinedOutput()
	if left := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); err == nil && !errors.Is(left, syscall.ESRCH) {
		t.Error("something still ran when the page had come to its end")
	}
	t.Logf("%s", out)
	if err != nil {
		t.Fatalf("%s of %s: %v", strings.TrimSpace(part), quickstart, err)
	}
}

// commandsOf are the shell blocks of a part, as one script. A block that runs in the background is waited for until it says
// what the page says it does, and is ended as by ^C.
func commandsOf(t *testing.T, part string) string {
	t.Helper()
	p := pageOf(t, quickstart)
	var s strings.Builder
	inside, found := false, 0
	for i, line := range p.lines {
		if strings.HasPrefix(line, "## ") {
			inside = strings.HasPrefix(line, part)
		}
		if !inside || strings.TrimSpace(line) != "```sh" {
			continue
		}
		found++
		code := blockAt(p, i+2)
		if m := background.FindStringSubmatch(p.lines[i-1]); m != nil {
			fmt.Fprintf(&s, "( exec %s ) > %s.log 2>&1 &\nstarted=$!\ntrap 'kill -INT $started; wait $started || true' EXIT\n", code, folder)
			fmt.Fprintf(&s, "for i in $(seq 300); do grep -q '%s' %s.log && break; kill -0 $started; sleep 0.2; done\ncat %s.log\n", m[1], folder, folder)
			continue
		}
		if p.lines[i-1] == ended {
			s.WriteString("kill -INT $started; wait $started || true; trap - EXIT\n")
		}
		fmt.Fprintf(&s, "set -x\n%s\n{ set +x; } 2>/dev/null\n", code)
	}
	if found < 3 {
		t.Fatalf("only %d blocks of commands in the part %q of %s", found, part, quickstart)
	}
	return s.String()
}

func blockAt(p *page, line int) string {
	for _, b := range p.blocks {
		if b.line == line {
			return strings.Join(b.code, "\n")
		}
	}
	return "false # no such block"
}

// cleanCopy is this repository as a newcomer gets it: no built programs, nothing that git ignores.
func cleanCopy(t *testing.T) string {
	t.Helper()
	list, err := exec.CommandContext(t.Context(), "git", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	if err != nil {
		t.Skipf("this is no checkout: %v", err)
	}
	tree := t.TempDir()
	for name := range strings.SplitSeq(strings.TrimSuffix(string(list), "\x00"), "\x00") {
		from, to := filepath.Join(root, name), filepath.Join(tree, name)
		info, err := os.Lstat(from)
		if errors.Is(err, os.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
			continue // removed, not committed yet; or a link
		}
		content, err := os.ReadFile(from)
		if err == nil {
			err = errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), os.WriteFile(to, content, info.Mode().Perm()))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return tree
}

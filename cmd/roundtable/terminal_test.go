package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"
	"golang.org/x/sys/unix"

	"roundtable/api"
)

// terminal is a pseudo terminal: a command runs at one end, the test sits at the other.
type terminal struct {
	*os.File // the command's end
	seen     *lines
	typing   *os.File
	ended    chan struct{}
	synced   func() (bool, error) // the machine's clock is
}

func newTerminal(t *testing.T, rows, columns uint16) *terminal {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	own, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	must(err)
	must(unix.IoctlSetPointerInt(int(own.Fd()), unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(int(own.Fd()), unix.TIOCGPTN)
	must(err)
	theirs, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	must(err)
	must(unix.IoctlSetWinsize(int(theirs.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: columns}))
	s := &terminal{File: theirs, seen: newLines(), typing: own, ended: make(chan struct{}), synced: synced}
	go func() {
		defer close(s.ended)
		_, _ = io.Copy(s.seen, own) // ends when the other end is closed
	}()
	t.Cleanup(func() { own.Close() })
	return s
}

// run runs a command line at the terminal and returns what it showed, with plain ends of lines.
func (s *terminal) run(environment map[string]string, args ...string) (code int, shown string) {
	environ := func(name string) string {
		if v, ok := environment[name]; ok {
			return v
		}
		return os.Getenv(name)
	}
	code = run(args, machine{stdin: s.File, stdout: s.File, stderr: s.File, environ: environ, now: time.Now, synced: s.synced, socket: "/nowhere"})
	s.Close()
	<-s.ended
	return code, strings.ReplaceAll(s.seen.String(), "\r\n", "\n")
}

// alarmingOverview is a real cluster's size with two alarms.
func alarmingOverview() api.Overview {
	o := exampleOverview()
	o.Cluster, o.Producers = "mainnet-eu", []string{"eosblockprod"}
	o.Members = o.Members[:3]
	for i := range o.Members {
		m := &o.Members[i]
		m.ID, m.Head.Num, m.LIB, m.Peers = fmt.Sprintf("m%d", i+1), 412345678, 412345670, 25
	}
	o.Leader, o.Member, o.Lease.Holder = "m1", "m1", "m1"
	o.Members[1].Fit, o.Members[1].Reason, o.Members[1].Lag, o.Members[1].ClockOffsetMs = false, "its head is 120 slots behind", 120, -1234
	o.Members[2].Alive, o.Members[2].Fit, o.Members[2].Reason = false, false, "is not alive in gossip"
	o.Alarms = []string{"member m3 is not alive: last heard 12 s ago", "standby m2 is not fit: its head is 120 slots behind the best one, and it catches up slowly"}
	o.Operations = []api.Operation{exampleOperation()}
	return o
}

var escapes = regexp.MustCompile("\x1b\\[[0-9;]*[A-Za-z]")

// TestStatusFitsAScreen: three members and two alarms on 80x24, what is wrong first and in red, the holder in green.
func TestStatusFitsAScreen(t *testing.T) {
	noLeaks(t)
	f := newFakeAPI(t)
	f.on("GET /cluster", alarmingOverview())
	code, shown := newTerminal(t, 24, 80).run(map[string]string{"TERM": "xterm"}, "status", "--server", f.URL)
	if code != exitDone {
		t.Fatalf("exit %d: %s", code, shown)
	}
	rows := strings.Split(strings.TrimSuffix(shown, "\n"), "\n")
	if len(rows) > 23 { // and the prompt
		t.Errorf("%d lines", len(rows))
	}
	for _, r := range rows {
		if width := text.StringWidthWithoutEscSequences(r); width > 80 {
			t.Errorf("%d columns: %s", width, r)
		}
	}
	if !strings.HasPrefix(shown, "\x1b[31m!   member m3 is not alive") {
		t.Errorf("what is wrong does not come first and in red: %q", rows[0])
	}
	for _, want := range []string{"\x1b[1;32mm1\x1b[0m", "\x1b[31mno", "\x1b[31mnot alive\x1b[0m"} {
		if !strings.Contains(shown, want) {
			t.Errorf("no %q", want)
		}
	}
	golden(t, "status-terminal", strings.ReplaceAll(shown, "\x1b", "ESC"))
}

// TestColour: colours come on a terminal only, and not where they are not wanted.
func TestColour(t *testing.T) {
	noLeaks(t)
	f := newFakeAPI(t)
	f.on("GET /cluster", alarmingOverview())
	for _, tc := range []struct {
		environment map[string]string
		args        string
		colour      bool
	}{
		{map[string]string{"TERM": "xterm"}, "", true},
		{map[string]string{"TERM": "xterm"}, "--color never", false},
		{map[string]string{"TERM": "xterm", "NO_COLOR": "1"}, "", false},
		{map[string]string{"TERM": "xterm", "NO_COLOR": ""}, "", true},
		{map[string]string{"TERM": "dumb"}, "", false},
		{map[string]string{"TERM": "dumb", "NO_COLOR": "1"}, "--color always", true},
		{map[string]string{"TERM": "xterm"}, "--output json", false},
	} {
		_, shown := newTerminal(t, 24, 80).run(tc.environment, append(strings.Fields("status "+tc.args), "--server", f.URL)...)
		if got := escapes.MatchString(shown); got != tc.colour {
			t.Errorf("%v %s: colour is %v: %q", tc.environment, tc.args, got, shown)
		}
	}
	if _, out, _ := command("status", "--server", f.URL); escapes.MatchString(out) {
		t.Error("colours in a pipe")
	}
	if _, out, _ := command("status", "--server", f.URL, "--color", "always"); !escapes.MatchString(out) {
		t.Error("no colours in a pipe that wants them")
	}
}

// TestTablesOnATerminal: ruled where there is room, plain columns where there is not.
func TestTablesOnATerminal(t *testing.T) {
	noLeaks(t)
	f := newFakeAPI(t)
	f.on("GET /cluster/operations", []api.Operation{exampleOperation()})
	for width, want := range map[uint16]bool{160: true, 60: false} {
		_, shown := newTerminal(t, 24, width).run(nil, "operations", "--server", f.URL)
		if got := strings.Contains(shown, "│"); got != want {
			t.Errorf("%d columns: %s", width, shown)
		}
	}
}

// TestProgress: a line that lives, with the step and the seconds; what is done stays.
func TestProgress(t *testing.T) {
	noLeaks(t)
	f := newFakeAPI(t)
	f.answer("POST /cluster/handoff", http.StatusAccepted, api.Started{Operation: "123"})
	f.on("GET /cluster/operations/123", exampleOperation(), exampleOperation(), doneOperation())
	code, shown := newTerminal(t, 24, 80).run(map[string]string{"TERM": "xterm"}, "handoff", "--wait", "--server", f.URL)
	if code != exitDone {
		t.Fatalf("exit %d: %s", code, shown)
	}
	if got := len(regexp.MustCompile("\r\x1b\\[J\x1b\\[33mhandoff 123: stop at a\x1b\\[0m  \\d\\.\\d s").FindAllString(shown, -1)); got != 2 {
		t.Errorf("the line that lives came %d times: %q", got, shown)
	}
	// What a terminal is left with: a line that lives is overwritten.
	var left []string
	for _, l := range strings.Split(strings.TrimSuffix(shown, "\n"), "\n") {
		left = append(left, escapes.ReplaceAllString(l[strings.LastIndex(l, "\r")+1:], ""))
	}
	want := "operation 123 started\n12:00:00.000  validate  (leader)\n12:00:00.004  await window  a\n12:00:01.204  stop  a\nhandoff 123 done: a -> b in 1.25 s"
	if got := strings.Join(left, "\n"); got != want {
		t.Errorf("left is:\n%s\nwant:\n%s", got, want)
	}
}

// TestConfirm: what destroys something asks first, and does nothing without a yes.
func TestConfirm(t *testing.T) {
	noLeaks(t)
	f := newFakeAPI(t)
	f.on("GET /cluster", alarmingOverview())
	f.on("DELETE /cluster/members/m3", api.Removed{Index: 80, ID: "m3"})
	f.on("DELETE /cluster/members/m2", api.Removed{Index: 80, ID: "m2"})
	for _, tc := range []struct {
		id, typed, want string
		code            int
	}{
		{"m3", "y\n", "Remove m3 from mainnet-eu, leaving 2 members? It is not alive, and comes back only with a new invitation. [y/N] m3 is removed", exitDone},
		{"m2", "n\n", "It is alive, a standby, and comes back only with a new invitation. [y/N] error: nothing was changed", exitFailed},
		{"m2", "\n", "[y/N] error: nothing was changed", exitFailed},
		{"m2", "\x04", "[y/N] \nerror: nothing was changed", exitFailed}, // ^D
	} {
		f.asked = nil
		term := newTerminal(t, 24, 200)
		if _, err := term.typing.WriteString(tc.typed); err != nil {
			t.Fatal(err)
		}
		code, shown := term.run(nil, "members", "remove", tc.id, "--server", f.URL)
		shown = strings.Replace(shown, strings.TrimRight(tc.typed, "\x04"), "", 1) // typed ahead: the terminal shows it at once
		if code != tc.code || !strings.Contains(shown, tc.want) {
			t.Errorf("%q: exit %d: %q", tc.typed, code, shown)
		}
		if deleted := len(f.asked) == 2; deleted != (tc.code == exitDone) {
			t.Errorf("%q: it was deleted: %v", tc.typed, deleted)
		}
	}
}

// TestWatch: the screen is written anew, and says so when nobody answers; ^C ends it well.
func TestWatch(t *testing.T) {
	f := newFakeAPI(t)
	f.on("GET /cluster", exampleOverview())
	term := newTerminal(t, 24, 80)
	ended := make(chan int, 1)
	shown := ""
	go func() {
		var code int
		code, shown = term.run(map[string]string{"TERM": "xterm"}, "status", "--watch", "--server", f.URL)
		ended <- code
	}()
	term.seen.await(t, "ok: nothing is wrong")
	f.CloseClientConnections()
	f.Close()
	term.seen.await(t, "s old: no manager answered")
	if err := syscall.Kill(os.Getpid(), syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if code := <-ended; code != exitDone {
		t.Errorf("exit %d: %s", code, shown)
	}
	if n := strings.Count(shown, "\x1b[H\x1b[2J"); n < 2 {
		t.Errorf("the screen was written %d times: %q", n, shown)
	}
	if code, _, errs := command("status", "--watch", "--output", "json"); code != exitUsage || !strings.Contains(errs, "events --follow") {
		t.Errorf("exit %d: %s", code, errs)
	}
	var plain bytes.Buffer
	if columns(&plain) != 0 || columns(os.NewFile(1<<20, "none")) != 0 {
		t.Error("what is no terminal has columns")
	}
}

package test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"roundtable/api"
	"roundtable/drill"
)

// cli runs the binary as an operator does, with contexts of its own.
type cli struct {
	t    *testing.T
	home string // of contexts
}

// prepare makes a command that is not started.
func (c cli) prepare(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(c.t.Context(), filepath.Join(built, "roundtable"), args...)
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "ROUNDTABLE_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, "XDG_CONFIG_HOME="+c.home)
	return cmd
}

// run runs a command line to its end.
func (c cli) run(line string) (code int, stdout, stderr string) {
	c.t.Helper()
	cmd := c.prepare(strings.Fields(line)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		c.t.Fatalf("%s: %v", line, err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// want runs a command line that must end with the code and say something on stdout, or on stderr where it fails.
func (c cli) want(code int, line, says string) string {
	c.t.Helper()
	got, out, errs := c.run(line)
	text := out
	if code != 0 {
		text = errs
	}
	if got != code || !strings.Contains(text, says) {
		c.t.Errorf("roundtable %s: exit code %d, not %d, or no %q:\n%s%s", line, got, code, says, out, errs)
	}
	return out
}

// TestEveryCommand runs every command that asks a manager once, against a running cluster: reached by its address, by the
// socket of a home, by a context.
func TestEveryCommand(t *testing.T) {
	t.Parallel()
	b := start(t, drill.Options{})
	c := cli{t, t.TempDir()}
	o := b.overview()
	holder := b.member(o.Holder())
	standby := b.other(holder.ID)
	third := b.other(holder.ID, standby.ID)
	c.want(0, "context add box --server "+holder.API+","+standby.API, "added")
	c.want(0, "context list", "box")
	c.want(0, "context show", holder.API)

	for _, line := range []string{"status", "members", "lease", "round", "raft", "raft --all", "operations", "history", "events", "config get", "token list", "version"} {
		c.want(0, line+" --home "+standby.Home, "")
		var v any
		if out := c.want(0, line+" --output json", ""); line != "events" && json.Unmarshal([]byte(out), &v) != nil {
			t.Errorf("%s: no JSON: %s", line, out)
		}
		c.want(0, line+" --output yaml --server "+third.API, "")
	}
	eventually(t, 20*time.Second, "everybody to vote", func(context.Context) error {
		if code, out, errs := c.run("status"); code != 0 || !strings.HasPrefix(out, "ok: nothing is wrong\n") {
			return errors.New(out + errs)
		}
		return nil
	})
	for _, role := range []string{"live", "ready", "synced", "holder"} {
		c.want(0, "healthcheck --role "+role+" --home "+holder.Home, role+": ok")
	}
	c.want(1, "healthcheck --role holder --home "+standby.Home, "not holder")

	out := c.want(0, "handoff "+standby.ID+" --wait", "done: "+holder.ID+" -> "+standby.ID)
	id := strings.Fields(out)[1]
	c.want(0, "operations "+id, "verify")
	c.want(1, "operations cancel "+id, "hint: ")
	c.want(0, "handoff --to "+holder.ID+" --when now", "follow it with")
	b.settle()

	id = strings.Fields(c.want(0, "restart "+standby.ID+" --wait", "done: "+standby.ID))[1]
	c.want(0, "operations "+id, "through: "+standby.ID)
	c.want(2, "upgrade v9.9.9", "--yes")
	c.want(1, "upgrade v9.9.9 --yes --wait", "as before: ")
	c.want(1, "rollout", "rollout.refused")
	c.want(0, "operations --follow", "no operation is under way")

	c.want(0, "maintenance on", "maintenance is on")
	c.want(0, "status", "maintenance is on")
	c.want(0, "config get maintenance", "true")
	c.want(0, "maintenance off", "maintenance is off")
	c.want(0, "maintenance on --member "+third.ID, "maintenance is on for "+third.ID)
	c.want(0, "members set "+third.ID+" --priority 7 --nofailover", third.ID+": priority 7, nofailover true")
	c.want(0, "members", "priority 7, nofailover, maintenance")
	c.want(0, "members set "+third.ID+" --priority 0 --nofailover=false", "priority 0, nofailover false")
	c.want(0, "maintenance off --member "+third.ID, "maintenance is off for "+third.ID)
	c.want(1, "maintenance on --member m9", "no such member")
	for _, to := range []string{third.ID, standby.ID} {
		c.want(0, "leader transfer --to "+to, to+" leads")
	}
	c.want(0, "members demote "+third.ID+" --wait --timeout 30s", third.ID+" is a nonvoter")
	c.want(0, "members promote "+third.ID+" --wait --timeout 30s", third.ID+" is a voter")
	c.want(0, "config set slots=5", "slots       5")
	c.want(0, "config get slots", "5\n")
	c.want(1, "config set slots=99", "hint: ")

	token := strings.TrimSpace(c.want(0, "token create ops --role operate --ttl 1d", "rt1_"))
	c.want(0, "token list", "ops")
	c.want(2, "token revoke ops", "--yes")
	c.want(0, "token revoke ops --yes", "is revoked")
	if found := grep(t, b.Dir, token); len(found) > 0 {
		t.Errorf("the token stands in %v", found)
	}
	c.want(1, "members add m4", "hint: ") // a sandbox has no CA that could let a member in
	c.want(2, "members remove "+third.ID, "--yes")
	c.want(1, "members remove "+holder.ID+" --yes", "hint: ")
	c.want(0, "history --kind token", "sandbox at ")
	if out, err := c.prepare("__complete", "members", "remove", "").Output(); err != nil || !strings.Contains(string(out), third.ID+"\tstandby\n") {
		t.Errorf("completion: %v, %s", err, out)
	}

	b.check() // while it is a cluster of three
	c.want(0, "members remove "+third.ID+" --yes --wait --timeout 30s", third.ID+" is out of the raft group")
	eventually(t, 10*time.Second, third.ID+" to be gone", func(ctx context.Context) error {
		if o := b.overview(); len(o.Members) != 2 {
			return fmt.Errorf("%d members", len(o.Members))
		}
		return nil
	})
	c.want(0, "context remove box", "removed")
}

// TestEventsSurviveLoss follows the events of a cluster of which one member only is named, kills that member, and finds
// every line of the history exactly once.
func TestEventsSurviveLoss(t *testing.T) {
	t.Parallel()
	b := start(t, drill.Options{})
	c := cli{t, t.TempDir()}
	named := b.Members[0]
	var before []api.Event
	if err := get(t.Context(), named, "/cluster/history?limit=1", &before); err != nil {
		t.Fatal(err)
	}
	cmd := c.prepare("events", "--follow", "--since", fmt.Sprint(before[0].Index), "--output", "json", "--server", named.API)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	type line struct {
		ID, Kind string
		Index    uint64
	}
	seen := make(chan line, 1000)
	go func() {
		defer close(seen)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			var l line
			if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
				l.ID = "not JSON: " + lines.Text()
			}
			seen <- l
		}
	}()
	var got []line
	until := func(kind string, n int) {
		t.Helper()
		timer := time.NewTimer(30 * time.Second)
		defer timer.Stop()
		for n > 0 {
			select {
			case l, ok := <-seen:
				if !ok {
					t.Fatalf("it ended: %s", &said)
				}
				got = append(got, l)
				if l.Kind == kind {
					n--
				}
			case <-timer.C:
				t.Fatalf("no %s within 30 s; it said: %s; events: %v", kind, &said, got)
			}
		}
	}
	handoff := func() {
		t.Helper()
		asked := b.other(named.ID)
		eventually(t, 20*time.Second, "a handoff", func(ctx context.Context) error {
			a, err := ask(ctx, asked, http.MethodPost, "/cluster/handoff?wait=10s", `{"when":"now"}`)
			if err == nil && a.status != http.StatusOK {
				err = fmt.Errorf("%d %s", a.status, a.body)
			}
			return err
		})
	}
	handoff()
	until("operation.done", 1)
	if err := b.KillMember(t.Context(), named); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		handoff()
	}
	until("operation.done", 2)
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	for l := range seen {
		got = append(got, l)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ended with %v: %s", err, &said)
	}
	if !strings.Contains(said.String(), "goes on") {
		t.Errorf("it said: %s", &said)
	}
	var all []api.Event
	if err := get(t.Context(), b.other(named.ID), "/cluster/history", &all); err != nil {
		t.Fatal(err)
	}
	slices.Reverse(all)
	last := got[len(got)-1]
	var want, have []string
	n, index := 0, uint64(0)
	for _, e := range all {
		if e.Index != index {
			n, index = 0, e.Index
		}
		n++
		id := fmt.Sprintf("%d.%d", e.Index, n)
		if e.Index > before[0].Index {
			want = append(want, id)
		}
		if id == last.ID {
			break
		}
	}
	for _, l := range got {
		have = append(have, l.ID)
	}
	if !slices.Equal(want, have) {
		t.Errorf("the history has %v, shown was %v", want, have)
	}
	if err := b.StartMember(named); err != nil {
		t.Fatal(err)
	}
	b.settle()
	b.check()
}

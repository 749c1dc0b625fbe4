package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"roundtable/cluster"
	"roundtable/fsm"
)

// lonelyHome is the home of m1, which founded a cluster with two more members in its state that nobody listens for.
func lonelyHome(t *testing.T) string {
	t.Helper()
	home := t.TempDir()
	config := fmt.Sprintf("sandbox = true\n[manager]\nid = \"m1\"\nhome = %q\nwitness = true\napi = \"127.0.0.1:0\"\nraft = \"127.0.0.1:0\"\ngossip = \"127.0.0.1:0\"\n[cluster]\nname = \"t\"\nproducers = [\"bp\"]\n", home)
	if err := os.WriteFile(filepath.Join(home, "config.toml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := cluster.Open(t.Context(), cluster.Config{ID: "m1", Dir: filepath.Join(home, "raft"), RaftBind: "127.0.0.1:0", GossipBind: "127.0.0.1:0", Found: true})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	commands := []fsm.Command{fsm.SetCluster{Cluster: fsm.Cluster{Name: "t", Producers: []string{"bp"}, Slots: 4, Maintenance: true}}}
	for i := 1; i <= 3; i++ {
		commands = append(commands, fsm.PutMember{Member: fsm.Member{ID: fmt.Sprintf("m%d", i), Incarnation: fmt.Sprintf("%032d", i), Witness: i == 1, P2P: "127.0.0.1:1", EntryVersion: fsm.EntryVersion}})
	}
	commands = append(commands, fsm.Grant{Epoch: 1, Holder: "m2", Incarnation: fmt.Sprintf("%032d", 2), First: 100, Last: 104})
	for _, command := range commands {
		if _, err := c.Propose(ctx, command); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Close(ctx); err != nil {
		t.Fatal(err)
	}
	return home
}

func synced() (bool, error) { return true, nil }

// TestRecoverWantsTheClockConfirmed where nothing keeps it right: at a terminal or by the flag.
func TestRecoverWantsTheClockConfirmed(t *testing.T) {
	home := lonelyHome(t)
	for _, c := range []struct {
		synced   func() (bool, error)
		terminal bool
		typed    string
		args     []string
		code     int
		want     string
	}{
		{func() (bool, error) { return false, nil }, false, "yes\n", nil, exitUsage, "say --clock-checked"},
		{func() (bool, error) { return false, errors.New("no such call") }, false, "yes\n", nil, exitUsage, "is not known: no such call"},
		{func() (bool, error) { return false, nil }, true, "\n", nil, exitFailed, "the clock is not confirmed. Nothing was changed"},
		{func() (bool, error) { return false, nil }, false, "", []string{"--look"}, exitDone, "not synchronised, as far as the kernel knows"},
		{func() (bool, error) { return false, nil }, true, "yes\nm2\n", nil, exitFailed, "not confirmed: m3"},
		{func() (bool, error) { return false, nil }, false, "", []string{"--clock-checked"}, exitUsage, "say --confirm-off m2,m3"},
		{func() (bool, error) { return false, nil }, false, "", []string{"--clock-checked", "--confirm-off", "m2,m3"}, exitDone, "Recovered: m1 is the only member."},
	} {
		args := append([]string{"recover", "--home", home, "--lost", "m2,m3"}, c.args...)
		var code int
		var shown string
		if c.terminal {
			s := newTerminal(t, 24, 200)
			s.synced = c.synced
			if _, err := s.typing.WriteString(c.typed); err != nil {
				t.Fatal(err)
			}
			code, shown = s.run(nil, args...)
		} else {
			var out bytes.Buffer
			code = run(args, machine{stdin: strings.NewReader(c.typed), stdout: &out, stderr: &out, environ: os.Getenv, now: time.Now, synced: c.synced, socket: "/nowhere"})
			shown = out.String()
		}
		if shown = escapes.ReplaceAllString(shown, ""); code != c.code || !strings.Contains(shown, c.want) {
			t.Errorf("%q %v: exit code %d, not %d, or it does not say %q:\n%s", c.typed, c.args, code, c.code, c.want, shown)
		}
	}
}

// TestRecoverAsks: on a terminal each lost member is to be typed; what is not typed is not confirmed, and nothing is changed.
func TestRecoverAsks(t *testing.T) {
	home := lonelyHome(t)
	for _, c := range []struct {
		typed string
		code  int
		want  []string
	}{
		{"y", exitFailed, []string{"slots may be signed twice", "(m2,m3)", "not confirmed: m2, m3. Nothing was changed"}},
		{"m2", exitFailed, []string{"not confirmed: m3"}},
		{"m2, m3", exitDone, []string{
			"m1 of t, raft group ", "lease        epoch 1 of m2, slots 100 to 104", "Recovered: m1 is the only member.", "It is a witness", "The cluster is in maintenance", "One whose config.toml has no manager.join",
		}},
		{"", exitDone, []string{"epoch 2, of a recovery: nobody's", "m1 goes on without m2, m3 already: there is nothing to do."}},
	} {
		s := newTerminal(t, 24, 200)
		if _, err := s.typing.WriteString(c.typed + "\n"); err != nil {
			t.Fatal(err)
		}
		code, shown := s.run(nil, "recover", "--home", home, "--lost", "m2,m3")
		shown = escapes.ReplaceAllString(shown, "")
		if code != c.code {
			t.Errorf("%q: exit code %d, not %d:\n%s", c.typed, code, c.code, shown)
		}
		for _, want := range c.want {
			if !strings.Contains(shown, want) {
				t.Errorf("%q: %q is not shown:\n%s", c.typed, want, shown)
			}
		}
		kept, err := filepath.Glob(filepath.Join(home, "raft.before-recover-*"))
		if err != nil || (len(kept) == 0) != (c.code == exitFailed) {
			t.Errorf("%q: %v, kept %v", c.typed, err, kept)
		}
	}
}

// TestRecoverElsewhere: where nobody can be asked the flag is wanted, and a folder without a log is none to go on with.
func TestRecoverElsewhere(t *testing.T) {
	home := lonelyHome(t)
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--home", home, "--lost", "m2,m3"}, exitUsage, "say --confirm-off m2,m3"},
		{[]string{"--home", home, "--lost", "m2,m3", "--confirm-off", "m2,m3,m4"}, exitUsage, "which --lost does not"},
		{[]string{"--home", home, "--lost", "m2"}, exitFailed, "what about m3? Exactly one member goes on"},
		{[]string{"--home", home, "--look"}, exitDone, "lease        epoch 1 of m2"},
		{[]string{"--home", t.TempDir(), "--lost", "m2"}, exitFailed, "config.toml"},
	} {
		var out bytes.Buffer
		code := run(append([]string{"recover"}, c.args...), machine{stdin: strings.NewReader("m2,m3\n"), stdout: &out, stderr: &out, environ: os.Getenv, now: time.Now, synced: synced, socket: "/nowhere"})
		if code != c.code || !strings.Contains(out.String(), c.want) {
			t.Errorf("%v: exit code %d, not %d, or it does not say %q:\n%s", c.args, code, c.code, c.want, &out)
		}
	}
	if err := os.Rename(filepath.Join(home, "raft"), filepath.Join(home, "away")); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	code := run([]string{"recover", "--home", home, "--lost", "m2,m3"}, machine{stdin: strings.NewReader(""), stdout: &out, stderr: &out, environ: os.Getenv, now: time.Now, synced: synced, socket: "/nowhere"})
	if code != exitFailed || !strings.Contains(out.String(), "there is no raft log in") {
		t.Errorf("without a raft folder: %d\n%s", code, &out)
	}
}

// TestRecoverWantsTheTime: a clock that is behind what the log knows would put the fence too early.
func TestRecoverWantsTheTime(t *testing.T) {
	home := lonelyHome(t)
	var out bytes.Buffer
	late := func() time.Time { return time.Now().Add(-time.Hour) }
	code := run([]string{"recover", "--home", home, "--lost", "m2,m3", "--confirm-off", "m2,m3"}, machine{stdin: strings.NewReader(""), stdout: &out, stderr: &out, environ: os.Getenv, now: late, synced: synced, socket: "/nowhere"})
	if code != exitFailed || !strings.Contains(out.String(), "this machine's clock is at least 1h0m0s late") {
		t.Errorf("%d\n%s", code, &out)
	}
}

package manager

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"roundtable/cmd/roundtable/config"
	"roundtable/fsm"
	"roundtable/node"
)

// openHome opens the rig's home without a node.
func (r *rig) openHome() (*home, error) {
	return openHome(r.cfg, rigSettings(r.cfg), r.alarm, time.Now, r.logger())
}

func rigSettings(c *config.Config) node.Settings {
	return node.Settings{
		HTTP: c.Node.HTTP, P2P: c.Node.P2P, Producers: c.Node.Producers,
		Keys: []string{"EOS6MRyAjQq8ud7hVNYcfnVPJqcVpscN5So8BhtHuGYqET5GDW5CV"}, Socket: "/tmp/gate.sock",
	}
}

// clusterSays is a state with what home looks for in it.
func clusterSays(overlay, refused string) *fsm.State {
	s := fsm.New()
	s.Cluster.Overlay, s.Cluster.Overlaid = overlay, uint64(len(overlay))
	s.Homes = map[string]fsm.Home{"m1": {Refused: refused}, "m2": {Refused: "someone else's"}}
	return s
}

// TestAnotherConfigurationIsOffered: what lies there is offered when it differs and can be used, and adopted at the next start of the
// process, unless it failed before.
func TestAnotherConfigurationIsOffered(t *testing.T) {
	r := newRig(t)
	h := must[*home](t)(r.openHome())
	first := h.View().Config
	if h.View().Offers != "" || len(first) != 16 {
		t.Fatalf("%+v", h.View())
	}
	offer := func(what string, change func()) string {
		t.Helper()
		changed := h.Changed()
		change()
		h.look()
		v := h.View()
		if v.Config != first || v.Offers == first {
			t.Errorf("%s: %+v", what, v)
		}
		if v.Offers != "" {
			select {
			case <-changed:
			default:
				t.Errorf("%s: nobody was told", what)
			}
			if _, err := h.config(v.Offers); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
		return v.Offers
	}
	if got := offer("a comment", func() { r.template("# another comment\nagent-name=one # the same\n") }); got != "" {
		t.Error("a comment is offered, and so stops all nodes")
	}
	second := offer("a template", func() { r.template("agent-name = two\n") })
	if second == "" {
		t.Fatal("another template is not offered")
	}
	if got := offer("an overlay", func() {
		if !h.follow(clusterSays("max-clients = 7\n", "")) || h.follow(clusterSays("max-clients = 7\n", "")) {
			t.Error("a new overlay is one once")
		}
	}); got == "" || got == second {
		t.Errorf("another overlay: %q", got)
	}
	if of := h.View().Overlaid; of != uint64(len("max-clients = 7\n")) {
		t.Errorf("the offer is said to be with the overlay of entry %d", of)
	}
	if got := offer("arguments", func() {
		next := *r.cfg
		next.Node.Args = append(slices.Clone(r.cfg.Node.Args), "--max-clients", "9")
		h.configure(&next)
	}); got == "" || got == second {
		t.Errorf("other arguments: %q", got)
	}
	if got := offer("loggers", func() { r.write("logging.json", `{"loggers":[]}`) }); got == "" {
		t.Error("other loggers are not offered")
	}

	// What config.ini cannot be made of is not offered, and an operator is told once.
	for what, template := range map[string]string{
		"no setting":          "this is secret",
		"a key past the gate": "signature-provider = EOS6MRyAjQq8ud7hVNYcfnVPJqcVpscN5So8BhtHuGYqET5GDW5CV=KEY:5KQwrPbwdL6PhXujxW37FSSQZ1JiwsST4cqQzDeyXtP79zkvFD3",
	} {
		rang := len(r.rang())
		for range 2 {
			if got := offer(what, func() { r.template(template + "\n") }); got != "" {
				t.Errorf("%s: offered: %s", what, got)
			}
		}
		list := r.rang()
		if len(list) != rang+1 || !strings.HasPrefix(list[rang], "config m1: "+notTaken) || strings.Contains(list[rang], "secret") || strings.Contains(list[rang]+r.said(), "5KQw") {
			t.Errorf("%s: alarms %q", what, list)
		}
	}
	if got := offer("a key for all", func() {
		r.template("")
		h.follow(clusterSays("signature-provider = PUB_BLS_x=KEY:PVT_BLS_y", ""))
	}); got != "" {
		t.Error("a key in the overlay of the cluster is offered")
	}
	if err := os.Remove(r.cfg.Node.ConfigTemplate); err != nil {
		t.Fatal(err)
	}
	if got := offer("no file", func() { h.follow(clusterSays("", "")) }); got != "" {
		t.Error("a template that is not there is offered")
	}

	// A process that starts adopts what lies there, unless that cannot be used or failed before.
	h = must[*home](t)(r.openHome())
	if v := h.View(); v.Config != first || v.Offers != "" {
		t.Errorf("started without a template: %+v", v)
	}
	r.template("agent-name = three\n")
	h = must[*home](t)(r.openHome())
	third := h.View().Config
	if third == first || h.View().Offers != "" || h.configs.Before != first {
		t.Errorf("started with another template: %+v", h.View())
	}
	first = third // which now runs
	refused := offer("a bad one", func() { r.template("agent-name = four\n") })
	if !slices.Equal([]string{refused}, []string{h.View().Offers}) || refused == "" {
		t.Fatal("not offered")
	}
	h.follow(clusterSays("", refused))
	h = must[*home](t)(r.openHome())
	if v := h.View(); v.Config != third || v.Offers != refused {
		t.Errorf("started with what failed before: %+v", v)
	}
	if got := offer("another again", func() { r.template("agent-name = five\n") }); got == "" || got == refused {
		t.Errorf("what comes after one that failed: %q", got)
	}
}

// TestKeysOfANodeThatNeverStarted: a record that is never equal to what the state keeps of it would be proposed for ever.
func TestKeysOfANodeThatNeverStarted(t *testing.T) {
	h := must[*home](t)(newRig(t).openHome())
	want := fsm.Member{ID: "m1", Finalizers: *h.finalizers.Load()}
	var have fsm.Member
	if err := json.Unmarshal(must[[]byte](t)(json.Marshal(want)), &have); err != nil || !reflect.DeepEqual(have, want) {
		t.Errorf("%#v in the state, %#v wanted (%v)", have.Finalizers, want.Finalizers, err)
	}
}

// TestAFirstStartWantsAGoodTemplate: where there is nothing to go on with, the manager says so at once.
func TestAFirstStartWantsAGoodTemplate(t *testing.T) {
	r := newRig(t)
	r.template("nonsense\n")
	if _, err := r.openHome(); err == nil || !strings.Contains(err.Error(), "node.config_template: line 2") {
		t.Error(err)
	}
	r.cfg.Node.ConfigTemplate += ".gone"
	if _, err := r.openHome(); err == nil || !strings.Contains(err.Error(), "node.config_template") {
		t.Error(err)
	}
}

// TestLayersOfConfigINI: later ones win, and what roundtable owns wins over all.
func TestLayersOfConfigINI(t *testing.T) {
	c := configuration{
		Template: "max-clients = 1\nagent-name = template\nhttp-server-address = 0.0.0.0:1\np2p-peer-address = a:1\nread-mode = head",
		Overlay:  "max-clients = 2\nchain-threads = 2\np2p-peer-address = b:1",
		Peers:    []string{"c:1"},
	}
	s := node.Settings{HTTP: "127.0.0.1:8888", AgentName: "m1"}
	b := must[built](t)(c.build(s, version{Tag: "v2", Overlay: "chain-threads = 3\np2p-peer-address = d:1"}))
	all := must[[]node.Setting](t)(node.ParseINI(string(b.Text)))
	for key, want := range map[string]string{
		"max-clients": "2", "chain-threads": "3", "read-mode": "head", "agent-name": "m1", "http-server-address": "127.0.0.1:8888",
		"p2p-peer-address": "a:1 b:1 d:1 c:1",
	} {
		var got []string
		for _, set := range all {
			if set.Key == key {
				got = append(got, set.Value)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %q, want %q", key, got, want)
		}
	}
	// A version is the same for all members.
	if _, err := c.build(s, version{Tag: "v4", Overlay: "signature-provider = PUB_BLS_x=KEY:PVT_BLS_y"}); err == nil || !strings.Contains(err.Error(), "version v4, which is the same for all") || strings.Contains(err.Error(), "PVT") {
		t.Errorf("a finalizer key of a version: %v", err)
	}
	if _, err := c.build(s, version{Tag: "v3", Overlay: "x"}); err == nil || !strings.Contains(err.Error(), "run.toml, version v3: line 1") {
		t.Errorf("a version's lines that are none: %v", err)
	}
}

// quiet is a progress that nobody follows.
func quiet(int, string) {}

// TestBecome upgrades a standby and brings it back, and shows what becomes of versions and configurations that are no good.
func TestBecome(t *testing.T) {
	if testing.Short() {
		t.Skip("builds simnodeos")
	}
	t.Parallel()
	r := newRig(t)
	beside := filepath.Join(r.cfg.Manager.Home, "beside")
	r.versionFolder("v1.9.0", `exec "`+r.bin+`" --sim-version v1.9.0 "$@"`, "args = [\"--max-clients\", \"11\"]\nconfig = \"more.ini\"\n"+
		"[[sidecar]]\nname = \"beside\"\nbinary = \"beside.sh\"\nargs = [\"x\"]\nenv = { FILE = \""+beside+"\" }\n")
	r.write("versions/v1.9.0/more.ini", "http-max-response-time-ms = 77\n")
	r.write("versions/v1.9.0/beside.sh", "#!/bin/sh\necho \"$1\" > \"$FILE\"\nexec sleep 1000\n")
	r.versionFolder("v1.9.1", `echo "error 2026-11-21T00:00:00.000 nodeos main.cpp:1 main ] it has no libz" >&2; exit 254`, "")
	r.versionFolder("v1.9.2", "exit 0", "binaries = 3\n")
	r.versionFolder("v1.9.3", "exit 0", "args = [\"--data-dir\", \"/\"]\n")
	r.start()
	ctx, h := t.Context(), r.home
	says := func() string { return must[node.Info](t)(r.client.Info(ctx)).Version }
	is := func(tag string) {
		t.Helper()
		v := h.View()
		link, err := os.Readlink(filepath.Join(r.cfg.Manager.Home, "current"))
		if v.Tag != tag || v.Runs != tag || err != nil || link != "versions/"+tag || r.supervisor.Status().Tag != tag || r.supervisor.Status().State != node.StateRunning {
			t.Errorf("it is not %s: %+v, current -> %s, %s", tag, v, link, r.supervisor.Status())
		}
	}
	is("genesis")
	first, genesis := h.View().Config, says()
	pid := r.supervisor.Status().PID
	if err := h.Become(ctx, "", "", quiet); err != nil {
		t.Fatal(err)
	}
	if now := r.supervisor.Status().PID; now == pid {
		t.Error("the node was not started anew")
	}
	is("genesis")

	var told []string
	if err := h.Become(ctx, "v1.9.0", "", func(_ int, text string) { told = append(told, text) }); err != nil {
		t.Fatal(err)
	}
	is("v1.9.0")
	ini := string(must[[]byte](t)(os.ReadFile(filepath.Join(r.cfg.Node.ConfigDir, "config.ini"))))
	if says() != "v1.9.0" || !strings.Contains(ini, "http-max-response-time-ms = 77") || h.configs.Version != "genesis" || len(told) != 3 {
		t.Errorf("after the upgrade: %s, config.ini:\n%s, %+v, told %q", says(), ini, h.configs.kept, told)
	}
	for deadline := time.Now().Add(10 * time.Second); ; { // it is started once the node is up
		if text, _ := os.ReadFile(beside); string(text) == "x\n" {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("the sidecar did not run: %q", text)
		}
		time.Sleep(10 * time.Millisecond)
	}

	// What is not there or makes no sense stops nothing.
	pid = r.supervisor.Status().PID
	for _, c := range []struct{ tag, config, want string }{
		{"v7", "", "there is no version v7"},
		{"", "0123456789abcdef", "no such configuration"},
		{"v1.9.2", "", "unknown key"},
		{"v1.9.3", "", "--data-dir is refused"},
	} {
		if err := h.Become(ctx, c.tag, c.config, quiet); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if r.supervisor.Status().PID != pid {
		t.Error("the node was stopped for a version that cannot be run")
	}
	is("v1.9.0")

	// One that ends at once says why, and is left.
	err := h.Become(ctx, "v1.9.1", "", quiet)
	if err == nil || !strings.Contains(err.Error(), "config_error (code 254)") || !strings.Contains(err.Error(), "it has no libz") || !strings.Contains(err.Error(), "hint: ") {
		t.Errorf("a bad binary: %v", err)
	}
	if v := h.View(); v.Tag != "v1.9.1" || h.configs.Version != "v1.9.0" {
		t.Errorf("after a bad binary: %+v, before: %s", v, h.configs.Version)
	}
	if err := h.Become(ctx, "v1.9.0", "", quiet); err != nil {
		t.Fatal(err)
	}
	is("v1.9.0")
	if err := h.Become(ctx, "genesis", "", quiet); err != nil {
		t.Fatal(err)
	}
	is("genesis")
	if says() != genesis {
		t.Errorf("it says %s", says())
	}

	// A configuration that nodeos does not take: config.ini can be made of it.
	r.template("agent-name = two\nno-such-option = 1\n")
	h.look()
	bad := h.View().Offers
	if err := h.Become(ctx, "", bad, quiet); bad == "" || err == nil || !strings.Contains(err.Error(), "no-such-option") {
		t.Errorf("a bad configuration %q: %v", bad, err)
	}
	if v := h.View(); v.Config != bad || v.Offers != "" {
		t.Errorf("with a bad configuration: %+v", v)
	}
	if err := h.Become(ctx, "", first, quiet); err != nil {
		t.Fatal(err)
	}
	h.follow(clusterSays("", bad))
	if v := h.View(); v.Config != first || v.Offers != bad {
		t.Errorf("back: %+v", v)
	}
	// A node that crashes comes back with what was adopted, whatever lies there.
	r.template("agent-name = three\n")
	h.look()
	good := h.View().Offers
	restarts := r.supervisor.Status().Restarts
	r.supervisor.Kill()
	r.until("killed", func() bool {
		st := r.supervisor.Status()
		return st.State == node.StateRunning && st.Restarts > restarts
	})
	if v := h.View(); v.Config != first || v.Offers != good || good == "" {
		t.Errorf("after a crash of the node: %+v", v)
	}
	if err := h.Become(ctx, "", good, quiet); err != nil {
		t.Fatal(err)
	}
	if v := h.View(); v.Config != good || v.Offers != "" {
		t.Errorf("with the good one: %+v", v)
	}
	is("genesis")

	// Whoever gives up does not leave the node down.
	given, cancel := context.WithCancel(ctx)
	if err := h.Become(given, "", "", func(percent int, _ string) {
		if percent == 0 {
			cancel()
		}
	}); err == nil {
		t.Error("it went on although nobody waits")
	}
	starts := r.supervisor.Status().Starts
	r.until("up again", func() bool { st := r.supervisor.Status(); return st.State == node.StateRunning && st.Starts >= starts })
}

// TestABrokenVersionIsNoCrash: a node whose version cannot be run stays down with the reason, and its manager stays up.
func TestABrokenVersionIsNoCrash(t *testing.T) {
	if testing.Short() {
		t.Skip("builds simnodeos")
	}
	t.Parallel()
	r := newRig(t)
	r.versionFolder("v2.0.0", "exit 0", "colour = \"red\"\n")
	if err := os.Symlink("versions/v2.0.0", filepath.Join(r.cfg.Manager.Home, "current")); err != nil {
		t.Fatal(err)
	}
	if err := r.open(); err != nil {
		t.Fatal(err)
	}
	r.run()
	err := r.home.start(t.Context())
	if err == nil || !strings.Contains(err.Error(), "colour: unknown key") || r.supervisor.Status().LastExit.Cause != node.CauseCannotStart {
		t.Errorf("%v, %s", err, r.supervisor.Status())
	}
	if v := r.home.View(); v.Tag != "v2.0.0" || v.Runs != "" {
		t.Errorf("%+v", v)
	}
	if err := r.home.Become(t.Context(), "genesis", "", quiet); err != nil {
		t.Fatal(err)
	}
	if v := r.home.View(); v.Tag != "genesis" || v.Runs != "genesis" {
		t.Errorf("%+v", v)
	}
}

// TestACrashWhileSwitchingLeavesAHomeThatBoots kills the process behind each change of the disk that a switch of version and
// configuration makes (node/versions kills within that of the link): the next process starts the one or the other version, each as a
// whole, with the configuration that lies there, and the switch can be made again.
func TestACrashWhileSwitchingLeavesAHomeThatBoots(t *testing.T) {
	points := map[string]bool{}
	for n := 1; ; n++ {
		if n > 20 {
			t.Fatal("the switch never came through")
		}
		r := newRig(t)
		r.versionFolder("v1.9.0", "exit 0", "args = [\"--max-clients\", \"11\"]\n")
		h := must[*home](t)(r.openHome())
		r.template("agent-name = two\n")
		helper := exec.Command(must[string](t)(os.Executable()), "-test.run=^$")
		helper.Env = append(os.Environ(), "MANAGER_TEST_HOME="+r.cfg.Manager.Home, "MANAGER_TEST_CONFIG="+h.View().Config, "MANAGER_TEST_KILL="+strconv.Itoa(n), "MANAGER_TEST_ADDRS="+r.cfg.Node.HTTP+" "+r.cfg.Node.P2P+" "+r.bin)
		out, err := helper.CombinedOutput()
		if err == nil {
			break
		}
		if status, ok := helper.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
			t.Fatalf("%v\n%s", err, out)
		}
		points[strings.TrimSpace(string(out))] = true
		h = must[*home](t)(r.openHome())
		p, err := h.program(t.Context())
		if err != nil {
			t.Fatalf("killed at %d, %s: %v", n, out, err)
		}
		if whole := map[string]int{"genesis": 0, "v1.9.0": 2}; len(p.Args)-len(r.cfg.Node.Args) != whole[p.Tag] || p.Tag != h.View().Tag {
			t.Errorf("killed at %d, %s: it starts %+v", n, out, p)
		}
		if err := h.prepare(t.Context(), p); err != nil {
			t.Errorf("killed at %d, %s: %v", n, out, err)
		}
		ini := string(must[[]byte](t)(os.ReadFile(filepath.Join(r.cfg.Node.ConfigDir, "config.ini"))))
		if !strings.Contains(ini, "agent-name = two") || h.View().Offers != "" {
			t.Errorf("killed at %d, %s: %+v, config.ini:\n%s", n, out, h.View(), ini)
		}
		if err := h.turn(must[version](t)(h.version("v1.9.0")), h.adopted); err != nil || h.View().Tag != "v1.9.0" {
			t.Errorf("killed at %d, %s: again: %v, %+v", n, out, err, h.View())
		}
	}
	if len(points) != 4 {
		t.Errorf("killed at %v", slices.Sorted(maps.Keys(points)))
	}
}

// turnAndDie is the process that is killed.
func turnAndDie(home string) error {
	addrs := strings.Fields(os.Getenv("MANAGER_TEST_ADDRS"))
	c := rigConfig(home, addrs[2], addrs[0], addrs[1])
	h, err := openHome(c, rigSettings(c), func(string, string, string) {}, time.Now, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	left, err := strconv.Atoi(os.Getenv("MANAGER_TEST_KILL"))
	if err != nil {
		return err
	}
	h.step = func(op string) {
		if left--; left == 0 {
			_, _ = os.Stdout.WriteString(op)
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
	}
	v, err := h.version("v1.9.0")
	if err != nil {
		return err
	}
	before, err := h.config(os.Getenv("MANAGER_TEST_CONFIG"))
	if err != nil {
		return err
	}
	return h.turn(v, before)
}

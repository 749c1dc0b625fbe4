package manager

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"roundtable/chain"
	"roundtable/fsm"
	"roundtable/node"
	"roundtable/node/gate"
)

// TestRowSays: a row says so with a string or with anything else that JSON writes.
func TestRowSays(t *testing.T) {
	const row = `{"text":"yes","number":7,"big":"18446744073709551615","flag":true,"nothing":null,"list":[1,2]}`
	for _, c := range []struct {
		field, value string
		want         bool
	}{
		{"text", "yes", true}, {"text", "ye", false}, {"text", `"yes"`, false}, {"number", "7", true}, {"number", "7.0", false}, {"big", "18446744073709551615", true},
		{"flag", "true", true}, {"flag", "1", false}, {"nothing", "null", true}, {"list", "[1,2]", true},
	} {
		got, what, err := says([]json.RawMessage{json.RawMessage(row), json.RawMessage(`{"text":"second"}`)}, fsm.TableRow{Table: "t", Field: c.field, Value: c.value})
		if err != nil || got != c.want || !strings.HasPrefix(what, c.field+" is ") {
			t.Errorf("%+v: %v, %q, %v", c, got, what, err)
		}
	}
	if got, what, err := says(nil, fsm.TableRow{Table: "t", Field: "f"}); got || err != nil || !strings.Contains(what, "no such row") {
		t.Errorf("no row: %v %q %v", got, what, err)
	}
	for _, row := range []string{row, `"00ff"`} { // no such field; rows of a contract without an ABI
		if got, _, err := says([]json.RawMessage{json.RawMessage(row)}, fsm.TableRow{Table: "t", Field: "f", Value: ""}); got || err == nil {
			t.Errorf("%s: %v %v", row, got, err)
		}
	}
}

func TestProofPercent(t *testing.T) {
	for text, want := range map[string]int{"block 0 of 5": 0, "block 2 of 5": 36, "block 5 of 5": 90, "block 9 of 5": 90, "block 1 of 0": 0, "HTTP does not answer": 0, "block 3 of 5: late": 54} {
		if got := proofPercent(text); got != want {
			t.Errorf("%s: %d, want %d", text, got, want)
		}
	}
}

// TestTheNodeOfAMember: what the controllers ask of a running node, one that signs.
func TestTheNodeOfAMember(t *testing.T) {
	if testing.Short() {
		t.Skip("builds simnodeos")
	}
	t.Parallel()
	r := newRig(t)
	rows, features := filepath.Join(r.cfg.Manager.Home, "rows"), filepath.Join(r.cfg.Manager.Home, "features")
	r.cfg.Node.Args = append(r.cfg.Node.Args, "--sim-table", rows, "--sim-feature-file", features)
	r.start()
	ctx, h := t.Context(), r.home

	never, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if err := h.Prove(never, func() chain.Slot { return 0 }, func() bool { return true }, quiet); err == nil || !strings.Contains(err.Error(), "not proved back: ") {
		t.Errorf("a chain that stands still: %v", err)
	}
	now := chain.SlotAt(time.Now().UnixMilli())
	r.gate.Permit(gate.Permit{Epoch: 1, First: now, Last: now + 600})
	if err := r.node.Resume(ctx); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var told []string
	asked := 0
	if err := h.Prove(ctx, func() chain.Slot { return 0 }, func() bool { asked++; return asked > 2 }, func(percent int, text string) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, fmt.Sprintf("%d %s", percent, text))
	}); err != nil {
		t.Fatal(err)
	}
	all := strings.Join(told, "\n")
	for _, want := range []string{"block 3 of 5", "it has no p2p peers yet", "100 it is back"} {
		if !strings.Contains(all, want) {
			t.Errorf("it did not say %q:\n%s", want, all)
		}
	}
	never, cancel = context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := h.Prove(never, func() chain.Slot { return now + 1000 }, func() bool { return true }, quiet); err == nil || !strings.Contains(err.Error(), "behind the best") {
		t.Errorf("a head that is behind: %v", err)
	}

	// What an upgrade may wait for.
	feature := fsm.Upgrade{Feature: "get_sender"}
	yes, what, err := h.Triggered(ctx, feature)
	if yes || err != nil || !strings.Contains(what, "not activated") {
		t.Errorf("before: %v %q %v", yes, what, err)
	}
	r.write("features", "GET_SENDER\n")
	r.triggered(feature, "GET_SENDER was activated in block #")
	r.triggered(fsm.Upgrade{Feature: strings.ToUpper("f0af56d2c5a48d60a4a5b5c903edfb7db3a736a94ed589d0b797df33ff9d3e1d")}, "GET_SENDER was activated in block #")
	row := fsm.Upgrade{Row: &fsm.TableRow{Code: "gov", Scope: "gov", Table: "versions", Key: "1", Field: "state", Value: "approved"}}
	if yes, what, err = h.Triggered(ctx, row); yes || err != nil || !strings.Contains(what, "no table versions of gov") {
		t.Errorf("no table: %v %q %v", yes, what, err)
	}
	r.write("rows", `{"code":"gov","scope":"gov","table":"versions","key":"0","row":{"state":"approved"}}`+"\n"+
		`{"code":"gov","scope":"gov","table":"versions","key":"1","row":{"state":"open"}}`+"\n")
	if yes, what, err = h.Triggered(ctx, row); yes || err != nil || !strings.Contains(what, `state is "open"`) {
		t.Errorf("another value: %v %q %v", yes, what, err)
	}
	r.write("rows", `{"code":"gov","scope":"gov","table":"versions","key":"1","row":{"state":"approved"}}`+"\n")
	r.triggered(row, `state is "approved"`)

	if what, err = h.Snapshot(ctx); err != nil || !strings.Contains(what, ".bin of block #") {
		t.Errorf("snapshot: %q %v", what, err)
	}

	// Stop at a block, and go on.
	head := must[node.Info](t)(r.client.Info(ctx)).HeadNum
	if err := h.Arm(ctx, head+4); err != nil {
		t.Fatal(err)
	}
	r.triggered(fsm.Upgrade{AtBlock: head + 4}, "the head is block #")
	if err := h.Disarm(ctx); err != nil {
		t.Fatal(err)
	}
	r.triggered(fsm.Upgrade{AtBlock: head + 6}, "the head is block #")
	if paused := must[bool](t)(r.client.Paused(ctx)); paused {
		t.Error("to take a stop back paused the node")
	}

	// One that ends while it is being proved, and is started again by itself.
	failed := make(chan error, 1)
	seen := make(chan struct{})
	go func() {
		failed <- h.Prove(ctx, func() chain.Slot { return 0 }, func() bool { return false }, func(_ int, text string) {
			if text == "it has no p2p peers yet" {
				select {
				case seen <- struct{}{}:
				default:
				}
			}
		})
	}()
	<-seen
	r.home.supervisor.Kill()
	if err := <-failed; err == nil || !strings.Contains(err.Error(), "the node started, and then ended: killed (signal 9") {
		t.Errorf("a node that died: %v", err)
	}
	if err := h.Arm(ctx, 1<<30); err != nil { // it waits until the node answers
		t.Errorf("a node that is starting again: %v", err)
	}
}

// triggered waits until the node says so.
func (r *rig) triggered(u fsm.Upgrade, want string) {
	r.t.Helper()
	deadline := time.After(15 * time.Second)
	for {
		yes, what, err := r.home.Triggered(r.t.Context(), u)
		if err != nil {
			r.t.Fatal(err)
		}
		if yes {
			if !strings.Contains(what, want) {
				r.t.Errorf("%q, want %q", what, want)
			}
			return
		}
		_, changed := r.monitor.View()
		select {
		case <-changed:
		case <-deadline:
			r.t.Fatalf("%+v: %s", u, what)
		}
	}
}

// TestResolve: which checksum all members are held to, when nobody named one.
func TestResolve(t *testing.T) {
	r := newRig(t)
	h := must[*home](t)(r.openHome())
	source := filepath.Join(t.TempDir(), "nodeos-{version}")
	publish := func(version, text string) string {
		path := strings.ReplaceAll(source, "{version}", version)
		sum := fmt.Sprintf("%x", sha256.Sum256([]byte(text)))
		for name, content := range map[string]string{path: text, path + ".sha256": sum + "\n"} {
			if err := os.WriteFile(name, []byte(content), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		return sum
	}
	ask := func(what, tag, given, want, wrong string) {
		t.Helper()
		sum, err := h.Resolve(t.Context(), fsm.Upgrade{Tag: tag, SHA256: given})
		if sum != want || (err == nil) != (wrong == "") || err != nil && !strings.Contains(err.Error(), wrong) {
			t.Errorf("%s: %q %v", what, sum, err)
		}
	}
	script := "#!/bin/sh\nexec \"" + r.bin + "\" --sim-version v1.9.5 \"$@\"\n"
	first := publish("1.9.5", script)
	ask("nothing is fetched", "v1.9.5", "", "", "")
	next := *r.cfg
	next.Upgrade.AutoInstall, next.Upgrade.Source = true, "file://"+source
	next.Upgrade.Folders = map[string]string{"v1.9.8": "/elsewhere"}
	h.configure(&next)
	ask("given", "v1.9.5", first, "", "")
	ask("genesis", "genesis", "", "", "")
	ask("a folder elsewhere", "v1.9.8", "", "", "")
	ask("an asset", "v1.9.5", "", first, "")
	ask("no asset", "v1.9.6", "", "", "there is no ")
	r.versionFolder("v1.9.7", "exit 0", "")
	publish("1.9.7", script)
	ask("a folder that was put there by hand", "v1.9.7", "", "", "")
	if what, err := h.Stage(t.Context(), fsm.Upgrade{Tag: "v1.9.5"}, quiet); err != nil || !strings.Contains(what, "sha256 "+first) {
		t.Fatalf("%s %v", what, err)
	}
	ask("one that was replaced", "v1.9.5", "", publish("1.9.5", script+"# other\n"), "")
	if _, err := h.Stage(t.Context(), fsm.Upgrade{Tag: "v1.9.5", SHA256: publish("1.9.5", script+"# other\n")}, quiet); err == nil || !strings.Contains(err.Error(), "from an asset with SHA-256 "+first) {
		t.Errorf("staged before it was replaced: %v", err)
	}
	next.Upgrade.Source = "file:///nowhere/nodeos-{version}"
	ask("a source that is gone", "v1.9.5", "", first, "")
}

// TestStage: a version is staged only if it can be run here and says its tag.
func TestStage(t *testing.T) {
	if testing.Short() {
		t.Skip("builds simnodeos")
	}
	t.Parallel()
	r := newRig(t)
	r.versionFolder("v1.9.0", `exec "`+r.bin+`" --sim-version v1.9.0 "$@"`, "")
	r.versionFolder("v1.9.1", `exec "`+r.bin+`" --sim-version v1.9.0 "$@"`, "")
	r.versionFolder("v1.9.2", "exit 3", "")
	r.versionFolder("v1.9.3", `exec "`+r.bin+`" --sim-version v1.9.3 "$@"`, "config = \"more.ini\"\n")
	r.write("versions/v1.9.3/more.ini", "signature-provider = EOS6MRyAjQq8ud7hVNYcfnVPJqcVpscN5So8BhtHuGYqET5GDW5CV=KEY:5KQwrPbwdL6PhXujxW37FSSQZ1JiwsST4cqQzDeyXtP79zkvFD3\n")
	r.write("elsewhere/nodeos", "#!/bin/sh\nexec \""+r.bin+"\" --sim-version v1.9.4 \"$@\"\n")
	r.write("elsewhere/run.toml", "[node]\nbinary = \"nodeos\"\n")
	h := must[*home](t)(r.openHome())
	for _, c := range []struct{ tag, want string }{
		{"v1.9.0", "v1.9.0 says v1.9.0 (folder)"}, {"genesis", "genesis says what node.path says"},
	} {
		what, err := h.Stage(t.Context(), fsm.Upgrade{Tag: c.tag}, quiet)
		if err != nil || !strings.HasPrefix(what, c.want) {
			t.Errorf("%+v: %q, %v", c, what, err)
		}
	}
	for _, c := range []struct{ tag, want string }{
		{"v1.9.1", `says that it is "v1.9.0"`}, {"v1.9.2", "cannot say its version"}, {"v1.9.3", "the same for all members"}, {"v1.9.4", "version v1.9.4 is not there"}, {"../x", "no tag"},
	} {
		if _, err := h.Stage(t.Context(), fsm.Upgrade{Tag: c.tag}, quiet); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "hint: ") && c.tag != "v1.9.3" || strings.Contains(err.Error(), "5KQ") {
			t.Errorf("%+v: %v", c, err)
		}
	}
	// Settings count from the moment that they are changed.
	next := *r.cfg
	next.Upgrade.Folders = map[string]string{"v1.9.4": filepath.Join(r.cfg.Manager.Home, "elsewhere")}
	next.Upgrade.Rollout, next.Upgrade.StepTimeout = "manual", 0
	next.Upgrade.Hook = r.write("hook", "#!/bin/sh\nenv | grep ^ROUNDTABLE_ | sort\n[ \"$ROUNDTABLE_TAG\" = v1.9.0 ]\n")
	before := h.View()
	h.configure(&next)
	if v := h.View(); v.Auto || v.Limit != 0 || !before.Auto || before.Limit == 0 {
		t.Errorf("before %+v, after %+v", before, v)
	}
	if what, err := h.Stage(t.Context(), fsm.Upgrade{Tag: "v1.9.4"}, quiet); err != nil || what != "v1.9.4 says v1.9.4 (folder)" {
		t.Errorf("a folder elsewhere: %q %v", what, err)
	}
	if what, err := h.Stage(t.Context(), fsm.Upgrade{Tag: "v1.9.4", SHA256: strings.Repeat("0", 64)}, quiet); err != nil || !strings.HasSuffix(what, "not checked: the folder was put there by hand") {
		t.Errorf("a folder elsewhere, with a checksum: %q %v", what, err)
	}
	h.monitor = node.NewMonitor(node.MonitorConfig{Client: must[*node.Client](t)(node.NewClient(node.ClientConfig{Addr: r.cfg.Node.HTTP}))})
	if err := h.Ready(t.Context(), fsm.Upgrade{Tag: "v1.9.0"}); err != nil || !strings.Contains(r.said(), "ROUNDTABLE_BLOCK=0 | ROUNDTABLE_HOME="+r.cfg.Manager.Home+" | ROUNDTABLE_MEMBER=m1 | ROUNDTABLE_TAG=v1.9.0") {
		t.Errorf("the hook: %v\n%s", err, r.said())
	}
	if err := h.Ready(t.Context(), fsm.Upgrade{Tag: "v1.9.4"}); err == nil || !strings.Contains(err.Error(), "exit code 1") || !strings.Contains(err.Error(), "ROUNDTABLE_TAG=v1.9.4") {
		t.Errorf("a hook that says no: %v", err)
	}
}

package manager

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"roundtable/cluster/control"
	"roundtable/fsm"
)

// fakeState is a cluster's state that a test sets.
type fakeState struct {
	mu    sync.Mutex
	state *fsm.State
	old   bool // what View shows may be an older state
}

func (f *fakeState) set(s *fsm.State, old bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.state, f.old = s, old
}

// View is the state.
func (f *fakeState) View() (*fsm.State, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.state, nil
}

// Barrier fails while the state may be an older one.
func (f *fakeState) Barrier(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.old {
		return errors.New("no leader")
	}
	return nil
}

// await waits until the view is as wanted.
func await(t *testing.T, h *home, what string, is func(v control.HomeView) bool) control.HomeView {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		changed := h.Changed()
		if v := h.View(); is(v) {
			return v
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("%s: %+v", what, h.View())
		}
	}
}

// TestFilesAndStateAreFollowed: a template that an editor replaces, one at another path, an overlay, a refusal.
func TestFilesAndStateAreFollowed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.write("nodeos.ini", "max-clients = 3\n")
	h := must[*home](t)(r.openHome())
	if err := h.configs.note(func(k *kept) { k.Overlay = "max-clients = 4\n" }); err != nil {
		t.Fatal(err)
	}
	h = must[*home](t)(r.openHome()) // with the overlay that was known last
	first := h.View().Config
	state := &fakeState{}
	state.set(clusterSays("", ""), true) // an older state: the overlay came after it
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- h.run(ctx, state) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	offers := func(v control.HomeView) bool { return v.Offers != "" }

	// Before it is known that the state is the present one, what it says is not followed: the overlay would be taken for gone.
	replaced := filepath.Join(r.cfg.Manager.Home, "nodeos.ini.new")
	if err := os.WriteFile(replaced, []byte("agent-name = other\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(replaced, r.cfg.Node.ConfigTemplate); err != nil {
		t.Fatal(err)
	}
	second := await(t, h, "a template by rename", offers).Offers
	if conf := must[configuration](t)(h.config(second)); conf.Overlay != "max-clients = 4\n" || conf.Template != "agent-name = other\n" {
		t.Errorf("offered: %+v", conf)
	}
	state.set(clusterSays("max-clients = 5\n", ""), false)
	third := await(t, h, "an overlay", func(v control.HomeView) bool { return offers(v) && v.Offers != second }).Offers
	if conf := must[configuration](t)(h.config(third)); conf.Overlay != "max-clients = 5\n" {
		t.Errorf("offered: %+v", conf)
	}
	state.set(clusterSays("max-clients = 5\n", third), false)

	next := *r.cfg
	next.Node.ConfigTemplate = r.write("elsewhere.ini", "agent-name = third\n")
	h.configure(&next)
	fourth := await(t, h, "another file", func(v control.HomeView) bool { return offers(v) && v.Offers != third }).Offers
	if refused := must[*configs](t)(openConfigs(h.configs.dir)).Refused; refused != third {
		t.Errorf("what the state says that failed here is not kept: %q", refused)
	}
	r.write("elsewhere.ini", "agent-name = fourth\n")
	await(t, h, "a change of the other file", func(v control.HomeView) bool { return offers(v) && v.Offers != fourth })
	if v := h.View(); v.Config != first {
		t.Errorf("it was adopted without being asked for: %+v", v)
	}
}

// TestTidy: after a switch what nobody needs is removed, but not while an operation runs that may want it back.
func TestTidy(t *testing.T) {
	r := newRig(t)
	h := must[*home](t)(r.openHome())
	for i := range 6 {
		tag := "v1.0." + strconv.Itoa(i)
		r.versionFolder(tag, "exit 0", "")
		note := r.write("versions/"+tag+"/.staged.json", "{}")
		at := time.Now().Add(time.Duration(i-10) * time.Hour)
		if err := os.Chtimes(note, at, at); err != nil {
			t.Fatal(err)
		}
	}
	next := *r.cfg
	next.Upgrade.Keep = 1
	h.configure(&next)
	for _, tag := range []string{"v1.0.1", "v1.0.2"} {
		if err := h.turn(must[version](t)(h.version(tag)), h.adopted); err != nil {
			t.Fatal(err)
		}
	}
	left := func() string {
		var list []string
		for _, v := range must[[]os.DirEntry](t)(os.ReadDir(filepath.Join(r.cfg.Manager.Home, "versions"))) {
			list = append(list, v.Name())
		}
		return strings.Join(list, " ")
	}
	all := left()
	s := clusterSays("", "")
	s.Homes["m1"] = fsm.Home{Tag: "v1.0.2", Runs: fsm.Runs{Tag: "v1.0.3"}}
	h.tidy(s)
	if left() != all {
		t.Error("it tidied although nothing was switched: ", left())
	}
	h.untidy.Store(true)
	s.Operations = []fsm.Operation{{ID: 1, Kind: fsm.KindRestart, Roll: &fsm.Roll{}, Outcome: fsm.Running, Steps: []fsm.Step{{Name: fsm.StepValidate}}}}
	h.tidy(s)
	if left() != all {
		t.Error("it tidied while an operation runs: ", left())
	}
	s.Operations = nil
	h.tidy(s)
	if got := left(); got != "genesis v1.0.1 v1.0.2 v1.0.3 v1.0.5" {
		t.Error("left: ", got)
	}
	if !strings.Contains(r.said(), "versions=\"v1.0.4 v1.0.0\"") {
		t.Error(r.said())
	}
}

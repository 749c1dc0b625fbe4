package manager

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"roundtable/cluster/control"
	"roundtable/fsm"
	"roundtable/node"
)

const blsKey = "PUB_BLS_x"

// blsLine is a template with a finalizer key.
const blsLine = "signature-provider = " + blsKey + "=KEY:PVT_BLS_y\n"

// withKey is a state in which these members' nodes have the key.
func withKey(ids ...string) *fsm.State {
	s := clusterSays("", "")
	s.Members = map[string]fsm.Member{"m1": {ID: "m1"}, "m2": {ID: "m2"}}
	for _, id := range ids {
		s.Members[id] = fsm.Member{ID: id, Finalizers: []string{"PUB_BLS_z", blsKey}}
	}
	return s
}

// TestAnothersFinalizerKey: a configuration with it is not offered, not rolled out, not adopted at a start, and not started.
func TestAnothersFinalizerKey(t *testing.T) {
	r := newRig(t)
	h := must[*home](t)(r.openHome())
	first := h.View().Config
	h.follow(withKey("m1"))
	r.template(blsLine)
	h.look()
	own := h.View().Offers
	if own == "" {
		t.Fatal("a key that nobody else has is not offered")
	}
	h.follow(withKey("m2"))
	for range 2 {
		h.look()
	}
	alarms := r.rang()
	if v := h.View(); v.Offers != "" || len(alarms) != 1 || !strings.HasPrefix(alarms[0], "config m1: "+notTaken) || !strings.Contains(alarms[0], blsKey+" is the finalizer key of m2") || strings.Contains(alarms[0], "PVT") {
		t.Errorf("%+v, alarms %q", v, alarms)
	}
	if err := h.Become(t.Context(), "", own, quiet); !node.IsConfigError(err) { // there is no node that it could stop
		t.Errorf("offered before the other had it: %v", err)
	}

	h = must[*home](t)(r.openHome())
	if v := h.View(); v.Config != first || h.configs.Others[blsKey] != "m2" {
		t.Errorf("adopted at a start: %+v, %+v", v, h.configs.kept)
	}
	if err := h.turn(version{Tag: "genesis"}, must[configuration](t)(h.config(own))); err != nil { // adopted before the other had it
		t.Fatal(err)
	}
	h = must[*home](t)(r.openHome())
	p := must[node.Program](t)(h.program(t.Context()))
	if err := h.prepare(t.Context(), p); !node.IsConfigError(err) || len(*h.finalizers.Load()) != 0 || h.View().Runs != "" {
		t.Errorf("started: %v, keys %q, %+v", err, *h.finalizers.Load(), h.View())
	}
	h.follow(withKey())
	if err := h.prepare(t.Context(), p); err != nil || !slices.Equal(*h.finalizers.Load(), []string{blsKey}) || h.View().Runs != "genesis" {
		t.Errorf("when nobody else has it: %v, keys %q, %+v", err, *h.finalizers.Load(), h.View())
	}
	if len(h.configs.Others) != 0 || !must[*configs](t)(openConfigs(h.configs.dir)).same(h.configs.kept) {
		t.Errorf("kept: %+v", h.configs.kept)
	}
}

// follows runs what follows the files and the state until the test's end.
func (r *rig) follows(s *fakeState) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.home.run(ctx, s) }()
	r.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			r.t.Error(err)
		}
	})
}

// bls has genesis be a nodeos that takes finalizer keys; the stand-in knows none.
func (r *rig) bls() {
	r.write("versions/genesis/nodeos", "#!/bin/sh\nsed -i '/PUB_BLS/d' \"$2/config.ini\"\nexec \""+r.bin+"\" \"$@\"\n")
	r.write("versions/genesis/run.toml", "[node]\nbinary = \"nodeos\"\n")
}

// TestANodeWithAnothersKeyIsStopped: it was started before the state was known. It stays down with the reason, its manager up, until the
// other has the key no more, or the template has another one.
func TestANodeWithAnothersKeyIsStopped(t *testing.T) {
	if testing.Short() {
		t.Skip("builds simnodeos")
	}
	t.Parallel()
	r := newRig(t)
	r.bls()
	r.template(blsLine)
	state := &fakeState{}
	state.set(withKey("m1"), false)
	r.start()
	r.follows(state)
	if r.home.clash(withKey("m1")) {
		t.Error("nobody else has its key, and yet it is stopped")
	}
	stopped := func() {
		t.Helper()
		s := withKey("m2")
		state.set(s, false)
		if !r.home.clash(s) {
			t.Fatal("the key is not found")
		}
		r.until("stopped", func() bool {
			st := r.supervisor.Status()
			return cannotStart(st) && strings.Contains(st.Reason, blsKey+" is the finalizer key of m2") && len(*r.home.finalizers.Load()) == 0
		})
		if alarms := r.rang(); len(alarms) == 0 || !strings.Contains(alarms[len(alarms)-1], notStarted) {
			t.Errorf("alarms %q", alarms)
		}
	}
	runs := func(what string) {
		t.Helper()
		r.until(what, func() bool { return r.supervisor.Status().State == node.StateRunning })
	}
	stopped()
	state.set(withKey("m1"), false)
	runs("the other has it no more")
	if keys := *r.home.finalizers.Load(); !slices.Equal(keys, []string{blsKey}) {
		t.Errorf("%q", keys)
	}
	stopped()
	r.template("agent-name = other\n")
	runs("another template")
	await(t, r.home, "adopted", func(v control.HomeView) bool { return v.Offers == "" })
	if keys := *r.home.finalizers.Load(); len(keys) != 0 {
		t.Errorf("%q", keys)
	}
}

// TestARecordThatIsRefused: what ends the process and what does not.
func TestARecordThatIsRefused(t *testing.T) {
	for _, err := range []error{fsm.ErrTooOld, errors.New("other"), fsm.ErrFinalizer} { // of a witness, which has no node to stop
		m := &manager{fatal: make(chan error, 1)}
		m.refused(err)
		if len(m.fatal) != 1 {
			t.Errorf("%v: the process goes on", err)
		}
	}
}

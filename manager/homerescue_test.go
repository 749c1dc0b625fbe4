package manager

import (
	"os"
	"path/filepath"
	"testing"

	"roundtable/cluster/control"
	"roundtable/fsm"
	"roundtable/node"
)

// unproved is a state with an overlay that no rollout has brought to anybody.
func unproved(overlay, before string) *fsm.State {
	s := clusterSays(overlay, "")
	s.Cluster.Proven = &before
	return s
}

// TestAnUnprovenOverlayAtAStart: where the power fails on all members, none comes back with what nobody proved; what an operator wrote on
// this machine is adopted all the same.
func TestAnUnprovenOverlayAtAStart(t *testing.T) {
	r := newRig(t)
	h := must[*home](t)(r.openHome())
	first := h.View().Config
	h.follow(unproved("no-such-option = 7\n", ""))
	h = must[*home](t)(r.openHome())
	v := h.View()
	if v.Config != first || v.Offers == "" || must[configuration](t)(h.config(v.Offers)).Overlay != "no-such-option = 7\n" {
		t.Errorf("started: %+v, first %s", v, first)
	}
	r.template("agent-name = two\n")
	h = must[*home](t)(r.openHome())
	both := h.View().Offers
	if now := must[configuration](t)(h.config("")); now.Overlay != "" || now.hash() == first || both == "" || both == v.Offers {
		t.Errorf("a template at a start: %+v, %+v", now, h.View())
	}
	h.follow(clusterSays("no-such-option = 7\n", "")) // proved
	h = must[*home](t)(r.openHome())
	if v := h.View(); v.Config != both || v.Offers != "" {
		t.Errorf("when it is proved: %+v, want %s", v, both)
	}
	h.follow(unproved("", "no-such-option = 7\n"))
	h = must[*home](t)(r.openHome())
	if v := h.View(); v.Config != both || v.Offers == "" {
		t.Errorf("one that is taken away, unproved: %+v", v)
	}
}

// TestANodeThatCannotStartTakesWhatChanges: nobody rolls anything out where all nodes are down. Not while it holds the lease or an
// operation is at its node, and not what failed here.
func TestANodeThatCannotStartTakesWhatChanges(t *testing.T) {
	if testing.Short() {
		t.Skip("builds simnodeos")
	}
	t.Parallel()
	r := newRig(t)
	r.template("no-such-option = 1\n")
	if err := r.open(); err != nil {
		t.Fatal(err)
	}
	h, bad := r.home, r.home.View().Config
	r.run()
	r.until("refused by nodeos", func() bool { return cannotStart(r.supervisor.Status()) })
	h.look()
	h.rescue(t.Context(), clusterSays("", "")) // there is nothing else
	r.template("agent-name = two\n")
	h.look()
	good := h.View().Offers
	holds, works := clusterSays("", ""), clusterSays("", "")
	holds.Lease = fsm.Lease{Epoch: 1, Holder: "m1"}
	works.Operations = []fsm.Operation{{ID: 1, Kind: fsm.KindRestart, Roll: &fsm.Roll{}, Outcome: fsm.Running, Steps: []fsm.Step{{Name: fsm.StepRestart, Parts: []fsm.Part{{Member: "m1"}}}}}}
	h.rescue(t.Context(), holds)
	h.rescue(t.Context(), works)
	h.follow(clusterSays("", good))
	h.rescue(t.Context(), clusterSays("", good))
	if v := h.View(); v.Config != bad || v.Offers != good || good == "" {
		t.Fatalf("given what it must not be given: %+v", v)
	}
	h.follow(clusterSays("", ""))
	h.rescue(t.Context(), clusterSays("", ""))
	r.until("rescued", func() bool { return r.supervisor.Status().State == node.StateRunning })
	if v := h.View(); v.Config != good || v.Offers != "" {
		t.Errorf("%+v", v)
	}

	// Once a node was up with it, what lay there before it failed waits for its rollout.
	h.rescue(t.Context(), clusterSays("", ""))
	r.template("agent-name = three\n")
	h.look()
	third := h.View().Offers
	refused, died := &node.Exit{Cause: node.CauseConfig, Code: 254}, &node.Exit{Cause: node.CauseKilled, Code: -1}
	for _, st := range []node.Status{
		{State: node.StateRunning}, {State: node.StateStarting, LastExit: refused}, {State: node.StateStopped, LastExit: refused}, {State: node.StateFailed, LastExit: died},
		{State: node.StateBackoff, LastExit: died}, {State: node.StateBackoff, LastExit: refused},
	} {
		if got := h.hope(st); got != "" || third == "" {
			t.Errorf("%s: %q", st, got)
		}
	}
	h.late = third // it came when the node was down
	if got := h.hope(node.Status{State: node.StateBackoff, LastExit: died}); got != "" {
		t.Errorf("a node that will be back by itself: %q", got)
	}
	for _, st := range []node.Status{{State: node.StateFailed, LastExit: died}, {State: node.StateBackoff, LastExit: refused}} {
		if got := h.hope(st); got != third {
			t.Errorf("%s: %q", st, got)
		}
	}
	if h.hope(node.Status{State: node.StateRunning}); h.late != "" {
		t.Error("it came up, and what came before is still tried")
	}
}

// TestALinkThatLeadsNowhere: the node is said to run nothing, so that it is mended; a switch puts it right.
func TestALinkThatLeadsNowhere(t *testing.T) {
	if testing.Short() {
		t.Skip("builds simnodeos")
	}
	t.Parallel()
	r := newRig(t)
	r.start()
	if v := r.home.View(); v.Runs != "genesis" {
		t.Fatalf("%+v", v)
	}
	link := filepath.Join(r.cfg.Manager.Home, "current")
	if err := os.Remove(link); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("versions/v9", link); err != nil {
		t.Fatal(err)
	}
	r.supervisor.Kill()
	await(t, r.home, "nothing runs", func(v control.HomeView) bool { return v.Runs == "" && v.Tag == "v9" })
	if err := r.home.Become(t.Context(), "", "", quiet); err == nil {
		t.Error("what current names is not there, and yet it was started")
	}
	if err := r.home.Become(t.Context(), "genesis", "", quiet); err != nil {
		t.Fatal(err)
	}
	if v := r.home.View(); v.Tag != "genesis" || v.Runs != "genesis" || r.supervisor.Status().State != node.StateRunning {
		t.Errorf("%+v, %s", v, r.supervisor.Status())
	}
}

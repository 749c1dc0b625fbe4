package control

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"roundtable/fsm"
)

// handing puts a handoff from a to b at a step into the group's state.
func handing(g *group, step string) {
	g.set(func(s *fsm.State) {
		s.Operations = []fsm.Operation{{
			ID: 7, Kind: fsm.KindHandoff, Handoff: &fsm.Handoff{To: "b", When: "now", From: "a", Epoch: 3}, Outcome: fsm.Running,
			Steps: []fsm.Step{{Name: step, Assignee: "a"}}, Deadline: 1 << 50,
		}}
	})
}

// TestCancel: an operation is canceled before anything was stopped, and not later; a step that goes on at the same moment is
// noticed, for the entry names the step.
func TestCancel(t *testing.T) {
	for step, want := range map[string]*fsm.Refusal{
		fsm.StepValidate: nil, fsm.StepAwait: nil, fsm.StepStop: ErrOperationLate, fsm.StepStart: ErrOperationLate, fsm.StepVerify: ErrOperationLate,
	} {
		s, peers := world()
		g := newGroup(s, peers)
		m := newMachine(t, g, "a", incA)
		handing(g, step)
		for range 2 { // a repeat is no error
			_, err := m.Cancel(t.Context(), 7, "key")
			if want == nil && err != nil || want != nil && !errors.Is(err, want) {
				t.Errorf("%s: %v", step, err)
			}
			o, _ := g.state.Operation(7)
			if want == nil && (o.Outcome != fsm.Canceled || o.Reason != "by an operator") || want != nil && o.Outcome != fsm.Running {
				t.Errorf("%s: %+v", step, o)
			}
		}
	}
	for _, next := range []string{fsm.StepAwait, fsm.StepStop} { // it goes on while the cancellation is on its way
		s, peers := world()
		g := newGroup(s, peers)
		m := newMachine(t, g, "a", incA)
		handing(g, fsm.StepValidate)
		g.before = func(fsm.Command) error {
			g.before = nil
			handing(g, next)
			return nil
		}
		_, err := m.Cancel(t.Context(), 7, "")
		o, _ := g.state.Operation(7)
		if late := next == fsm.StepStop; late && (!errors.Is(err, ErrOperationLate) || o.Outcome != fsm.Running) || !late && (err != nil || o.Outcome != fsm.Canceled) {
			t.Errorf("on to %s meanwhile: %v, %s", next, err, o.Outcome)
		}
	}
	s, peers := world()
	g := newGroup(s, peers)
	m := newMachine(t, g, "a", incA)
	g.before = func(c fsm.Command) error {
		if f, ok := c.(fsm.FinishOperation); !ok || f.Step == "" { // any step would do for the state
			t.Errorf("proposed: %+v", c)
		}
		return nil
	}
	if _, err := m.Cancel(t.Context(), 9, ""); !errors.Is(err, fsm.ErrOperation) {
		t.Errorf("an operation that nobody knows: %v", err)
	}
	g.before = nil
	// This member lags: it must not cancel at any step what it does not know.
	m.SetCluster(lagging{g, func() { handing(g, fsm.StepStop) }})
	if _, err := m.Cancel(t.Context(), 7, ""); !errors.Is(err, ErrOperationLate) {
		t.Errorf("an operation that was not known here yet: %v", err)
	}
}

// lagging catches up at a barrier.
type lagging struct {
	*group
	catch func()
}

func (l lagging) Barrier(context.Context) error {
	l.catch()
	return nil
}

// TestPatchCluster: parts of the configuration change alone; where some member does not know such an entry, or nobody used one
// yet, the whole does the same; a lease that an election outlasts is refused.
func TestPatchCluster(t *testing.T) {
	for _, c := range []struct{ version, level uint32 }{{1, 1}, {2, 1}, {2, 2}, {1, 2}} {
		version, level := c.version, c.level
		s, peers := world()
		s.Level = c.level
		for id, m := range s.Members {
			m.EntryVersion = version
			s.Members[id] = m
		}
		g := newGroup(s, peers)
		m := newMachine(t, g, "a", incA)
		m.minSlots = 4
		five, short := uint64(5), uint64(3)
		if _, err := m.PatchCluster(t.Context(), fsm.PatchCluster{Slots: &five}, ""); err != nil {
			t.Fatal(err)
		}
		if _, err := m.SetMaintenance(t.Context(), "", true, ""); err != nil {
			t.Fatal(err)
		}
		if c := g.state.Cluster; c.Slots != 5 || !c.Maintenance || c.Producers[0] != "bp" || c.ChainID == "" {
			t.Errorf("version %d: %+v", version, c)
		}
		if _, err := m.SetMaintenance(t.Context(), "b", true, ""); err != nil || !g.state.Members["b"].Maintenance {
			t.Errorf("version %d: %v, %+v", version, err, g.state.Members["b"])
		}
		var refusal *fsm.Refusal
		escaped := strings.Repeat("<", fsm.MaxOverlay)
		if _, err := m.PatchCluster(t.Context(), fsm.PatchCluster{Overlay: &escaped}, ""); !errors.Is(err, fsm.ErrConfig) {
			t.Errorf("an overlay that no entry holds: %v", err)
		}
		if _, err := m.PatchCluster(t.Context(), fsm.PatchCluster{Slots: &short}, ""); !errors.As(err, &refusal) || !strings.Contains(refusal.Hint, "at least 4") {
			t.Errorf("version %d: 3 slots: %v", version, err)
		}
		for _, c := range g.log {
			if fsm.Needs(c) > min(version, level) {
				t.Errorf("%s was proposed in a cluster of version %d with a log of %d", c.Kind(), version, level)
			}
		}
	}
}

func TestPlanSettings(t *testing.T) {
	low, high, set := Settings{Priority: 1}, Settings{Priority: 2}, Settings{Priority: 7, NoFailover: true}
	for name, c := range map[string]struct {
		last             *Settings
		now, state, want Settings
	}{
		"nothing is known of the last start: the configuration": {nil, low, set, low},
		"nothing changed in the configuration: the state":       {&low, low, set, set},
		"the configuration changed: the configuration":          {&low, high, set, Settings{Priority: 2, NoFailover: true}},
		"each for itself":               {&low, Settings{Priority: 1, NoFailover: true}, Settings{Priority: 7}, Settings{Priority: 7, NoFailover: true}},
		"changed to what the state has": {&low, set, set, set},
	} {
		if got := planSettings(c.last, c.now, c.state); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

// TestAnOperatorsPriorityOutlivesARestart: what SetMember changed stands after the next start, unless the configuration was
// changed too; and what is kept for the next start is kept only once it took effect.
func TestAnOperatorsPriorityOutlivesARestart(t *testing.T) {
	s, peers := world()
	g := newGroup(s, peers)
	var kept *Settings
	start := func(incarnation string, configured Settings) *memberController {
		m := NewManager(Config{
			Record:  fsm.Member{ID: "a", Incarnation: incarnation, Priority: configured.Priority, NoFailover: configured.NoFailover, EntryVersion: fsm.EntryVersion},
			Cluster: g, Last: kept, Keep: func(s Settings) error { kept = &s; return nil }, Now: func() time.Time { return testNow },
		})
		c := &memberController{Manager: m, log: slog.New(slog.DiscardHandler)}
		for range 3 {
			state, _ := g.View()
			if _, err := c.Reconcile(t.Context(), state); err != nil && !errors.Is(err, errLost) {
				t.Fatal(err)
			}
		}
		return c
	}
	check := func(when string, want Settings) {
		t.Helper()
		if m := g.state.Members["a"]; m.Priority != want.Priority || m.NoFailover != want.NoFailover {
			t.Errorf("%s: priority %d, nofailover %v", when, m.Priority, m.NoFailover)
		}
	}
	start(strings.Repeat("1", 32), Settings{Priority: 3})
	check("first start", Settings{Priority: 3})
	seven, yes := 7, true
	if r := mustSet(t, g, fsm.SetMember{ID: "a", Priority: &seven, NoFailover: &yes}); r != nil {
		t.Fatal(r)
	}
	check("an operator", Settings{7, true})
	start(strings.Repeat("2", 32), Settings{Priority: 3})
	check("a restart", Settings{7, true})
	g.before = func(fsm.Command) error { return errLost }
	start(strings.Repeat("3", 32), Settings{Priority: 4})
	g.before = nil
	if kept.Priority != 3 {
		t.Errorf("kept although it never took effect: %+v", kept)
	}
	start(strings.Repeat("4", 32), Settings{Priority: 4})
	check("another configuration", Settings{4, true})
	if kept.Priority != 4 {
		t.Errorf("kept: %+v", kept)
	}
}

// TestARecordIsProposedOnWhatIsCommitted: a process that just started has applied nothing yet, and must not take that for what an
// operator set.
func TestARecordIsProposedOnWhatIsCommitted(t *testing.T) {
	s, peers := world()
	a := s.Members["a"]
	a.Priority = 7
	s.Members["a"] = a
	g := newGroup(fsm.New(), peers)
	g.barrier = func() { g.set(func(now *fsm.State) { *now = *s }) }
	m := NewManager(Config{Record: fsm.Member{ID: "a", Incarnation: incB[:31] + "1", EntryVersion: 2}, Cluster: g, Last: &Settings{}, Now: func() time.Time { return testNow }})
	if _, err := (&memberController{Manager: m, log: slog.New(slog.DiscardHandler)}).Reconcile(t.Context(), fsm.New()); err != nil {
		t.Fatal(err)
	}
	if got := g.state.Members["a"]; got.Priority != 7 || got.Incarnation != incB[:31]+"1" {
		t.Errorf("%+v", got)
	}
}

// TestWhoIsRefusedForGoodEnds: waiting mends neither another's finalizer key nor a program that is older than the log.
func TestWhoIsRefusedForGoodEnds(t *testing.T) {
	for _, c := range []struct {
		what   string
		record fsm.Member
		hint   string // "": it goes on
	}{
		{"as it should be", fsm.Member{EntryVersion: 2}, ""},
		{"too old", fsm.Member{EntryVersion: 1}, "upgrade the program"},
		{"another's finalizer key", fsm.Member{EntryVersion: 2, Finalizers: []string{"PUB_BLS_b"}}, "its own finalizer key"},
	} {
		s, peers := world()
		s.Level = 2
		b := s.Members["b"]
		b.Finalizers = []string{"PUB_BLS_b"}
		s.Members["b"] = b
		var ended error
		node := newNodeos()
		node.view.Finalizers = c.record.Finalizers
		c.record.ID, c.record.Incarnation = "a", incB[:31]+"1"
		m := NewManager(Config{Record: c.record, Cluster: newGroup(s, peers), Node: node, Now: func() time.Time { return testNow }, OnFatal: func(err error) { ended = err }})
		_, err := (&memberController{Manager: m, log: slog.New(slog.DiscardHandler)}).Reconcile(t.Context(), s)
		if (ended != nil) != (c.hint != "") || (err != nil) != (c.hint != "") || ended != nil && !strings.Contains(ended.Error(), c.hint) {
			t.Errorf("%s: ended by %v, refused with %v", c.what, ended, err)
		}
	}
}

// TestNothingIsProposedAgain: what the state says already, in the words of the log, is not proposed for ever.
func TestNothingIsProposedAgain(t *testing.T) {
	s, peers := world()
	first := fsm.Cluster{Name: "c", Producers: []string{"bp"}, Slots: 4}
	s.Cluster = fsm.Cluster{}
	g := newGroup(s, peers)
	node := newNodeos()
	node.view.Finalizers, node.view.Version = []string{}, "v1"
	m := NewManager(Config{Record: fsm.Member{ID: "a", Incarnation: incB[:31] + "1", EntryVersion: 2}, First: first, Cluster: g, Node: node, Now: func() time.Time { return testNow }})
	for range 3 {
		for _, c := range []Controller{&memberController{Manager: m, log: slog.New(slog.DiscardHandler)}, &configController{Manager: m}} {
			now, _ := g.View()
			bytes, err := now.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			read, err := fsm.Unmarshal(bytes) // as another process would have it
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Reconcile(t.Context(), read); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(g.log) > 2 {
		t.Errorf("%d proposals: %+v", len(g.log), g.log)
	}
}

func mustSet(t *testing.T, g *group, c fsm.Command) error {
	t.Helper()
	_, err := g.Propose(t.Context(), c, "")
	return err
}

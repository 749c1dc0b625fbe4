package control

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"roundtable/fsm"
)

// TestConfigure: what the configuration says anew while the manager runs takes effect, what it says still does not undo what an
// operator set, and what is kept for the next start is what took effect last.
func TestConfigure(t *testing.T) {
	s, peers := world()
	g := newGroup(s, peers)
	var kept Settings
	m := NewManager(Config{
		Record:  fsm.Member{ID: "a", Incarnation: strings.Repeat("1", 32), Priority: 3, EntryVersion: fsm.EntryVersion},
		Cluster: g, Keep: func(s Settings) error { kept = s; return nil }, Now: func() time.Time { return testNow },
	})
	c := &memberController{Manager: m, log: slog.New(slog.DiscardHandler)}
	turn := func() {
		t.Helper()
		for range 3 {
			state, _ := g.View()
			if _, err := c.Reconcile(t.Context(), state); err != nil && !errors.Is(err, errLost) {
				t.Fatal(err)
			}
		}
	}
	check := func(when string, want, wantKept Settings) {
		t.Helper()
		turn()
		if a := g.state.Members["a"]; a.Priority != want.Priority || a.NoFailover != want.NoFailover || kept != wantKept {
			t.Errorf("%s: priority %d, nofailover %v; kept %+v", when, a.Priority, a.NoFailover, kept)
		}
	}
	set := func(priority int) {
		t.Helper()
		if err := mustSet(t, g, fsm.SetMember{ID: "a", Priority: &priority}); err != nil {
			t.Fatal(err)
		}
	}
	check("the start", Settings{Priority: 3}, Settings{Priority: 3})
	set(7)
	check("an operator", Settings{Priority: 7}, Settings{Priority: 3})
	m.Configure(Settings{Priority: 3})
	check("the same again", Settings{Priority: 7}, Settings{Priority: 3})
	m.Configure(Settings{Priority: 3, NoFailover: true})
	check("the other one of the two", Settings{Priority: 7, NoFailover: true}, Settings{Priority: 3, NoFailover: true})
	if h := g.state.History[len(g.state.History)-1]; h.Kind != "member.set" || h.Subject != "a" {
		t.Errorf("no line of the history tells of it: %+v", h)
	}

	g.before = func(fsm.Command) error { return errLost }
	m.Configure(Settings{Priority: 4, NoFailover: true})
	check("with entries lost", Settings{Priority: 7, NoFailover: true}, Settings{Priority: 3, NoFailover: true})
	g.before = nil
	check("and through", Settings{Priority: 4, NoFailover: true}, Settings{Priority: 4, NoFailover: true})
	set(9)
	check("an operator again", Settings{Priority: 9, NoFailover: true}, Settings{Priority: 4, NoFailover: true})
	m.Configure(Settings{Priority: 9, NoFailover: true})
	n := len(g.log)
	check("what the state has already", Settings{Priority: 9, NoFailover: true}, Settings{Priority: 9, NoFailover: true})
	if len(g.log) != n {
		t.Errorf("%d entries for nothing", len(g.log)-n)
	}

	m.Configure(Settings{Priority: 1})
	for range 3 { // with another change of the record at the same time: the one does not undo the other
		c.record.Version = "v9"
		turn()
	}
	if a := g.state.Members["a"]; a.Priority != 1 || a.NoFailover || a.Version != "v9" {
		t.Errorf("%+v", a)
	}
}

package control

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"roundtable/cluster/health"
	"roundtable/fsm"
)

func TestPlanRollout(t *testing.T) {
	offering := func(s *fsm.State, ids ...string) {
		s.Homes = map[string]fsm.Home{}
		for _, id := range ids {
			s.Homes[id] = fsm.Home{Runs: fsm.Runs{Config: "old", Offers: "new", Auto: true}}
		}
	}
	home := func(s *fsm.State, id string, change func(*fsm.Home)) {
		h := s.Homes[id]
		change(&h)
		s.Homes[id] = h
	}
	before := func(outcome fsm.Outcome, config string, ago time.Duration) func(*fsm.State, map[string]health.Peer) {
		return func(s *fsm.State, _ map[string]health.Peer) {
			s.Operations = []fsm.Operation{{
				Kind: fsm.KindRollout, Roll: &fsm.Roll{Configs: map[string]string{"b": config}}, Outcome: outcome, Ended: testNow.Add(-ago).UnixMilli(),
			}}
		}
	}
	for name, c := range map[string]struct {
		change func(*fsm.State, map[string]health.Peer)
		want   string
	}{
		"all that offer":       {nil, "b c"},
		"not who is gone":      {func(_ *fsm.State, p map[string]health.Peer) { p["b"] = health.Peer{} }, "c"},
		"not who was removed":  {func(s *fsm.State, _ map[string]health.Peer) { delete(s.Members, "b") }, "c"},
		"not by hand":          {func(s *fsm.State, _ map[string]health.Peer) { home(s, "b", func(h *fsm.Home) { h.Runs.Auto = false }) }, "c"},
		"not what was refused": {func(s *fsm.State, _ map[string]health.Peer) { home(s, "b", func(h *fsm.Home) { h.Refused = "new" }) }, ""}, // nor by others while it lies there
		"nor while it runs there": {func(s *fsm.State, p map[string]health.Peer) {
			home(s, "b", func(h *fsm.Home) { h.Refused, h.Runs.Config, h.Runs.Offers = "other", "other", "" })
			p["b"] = health.Peer{}
		}, ""},
		"another one, though": {func(s *fsm.State, _ map[string]health.Peer) { home(s, "b", func(h *fsm.Home) { h.Refused = "newer" }) }, "b c"},
		"not what it runs": {func(s *fsm.State, _ map[string]health.Peer) {
			home(s, "b", func(h *fsm.Home) { h.Runs.Config = "new" })
		}, "c"},
		"not what is not with the present overlay": {func(s *fsm.State, _ map[string]health.Peer) {
			s.Cluster.Overlaid = 9
			home(s, "c", func(h *fsm.Home) { h.Runs.Overlaid = 9 })
		}, "c"},
		"not what was canceled":    {before(fsm.Canceled, "new", time.Hour), "c"},
		"not what has just failed": {before(fsm.Failed, "new", time.Minute), "c"},
		"nor what was just done":   {before(fsm.Done, "new", time.Minute), "c"},
		"but later":                {before(fsm.Expired, "new", 6*time.Minute), "b c"},
		"and what is another one":  {before(fsm.Canceled, "other", time.Minute), "b c"},
		"not in maintenance":       {func(s *fsm.State, _ map[string]health.Peer) { s.Cluster.Maintenance = true }, ""},
		"not while others work": {func(s *fsm.State, _ map[string]health.Peer) {
			s.Operations = []fsm.Operation{{Kind: fsm.KindHandoff, Handoff: &fsm.Handoff{}, Outcome: fsm.Running, Steps: []fsm.Step{{Name: fsm.StepAwait}}}}
		}, ""},
		"one that only waits is no matter": {func(s *fsm.State, _ map[string]health.Peer) {
			s.Operations = []fsm.Operation{{Kind: fsm.KindUpgrade, Roll: &fsm.Roll{}, Outcome: fsm.Running, Steps: []fsm.Step{{Name: fsm.StepTrigger}}}}
		}, "b c"},
	} {
		s, peers := world()
		offering(s, "b", "c")
		if c.change != nil {
			c.change(s, peers)
		}
		var got []string
		for _, id := range []string{"a", "b", "c"} {
			if planRollout(s, peers, testNow)[id] == "new" {
				got = append(got, id)
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %v, want %s", name, got, c.want)
		}
	}
}

// TestRolloutAfter: a generator that writes the time into a configuration does not keep the nodes restarting.
func TestRolloutAfter(t *testing.T) {
	many := func(count int, every time.Duration, change func(*fsm.Operation)) *fsm.State {
		s, _ := world()
		s.Homes = map[string]fsm.Home{"b": {Runs: fsm.Runs{Config: "old", Offers: "new", Auto: true}}}
		for i := range count {
			o := fsm.Operation{
				Kind: fsm.KindRollout, Roll: &fsm.Roll{Configs: map[string]string{"b": fmt.Sprint(i)}, Done: []string{"b"}}, Outcome: fsm.Done,
				Ended: testNow.Add(-time.Duration(count-i) * every).UnixMilli(),
			}
			change(&o)
			s.Operations = append(s.Operations, o)
		}
		return s
	}
	for name, c := range map[string]struct {
		s    *fsm.State
		rest time.Duration // from now on; 0: none
	}{
		"an operator at work":     {many(manyRollouts-1, time.Minute, func(*fsm.Operation) {}), 0},
		"again and again":         {many(manyRollouts, time.Minute, func(*fsm.Operation) {}), rolloutRest - time.Minute},
		"again after ten minutes": {many(manyRollouts, rolloutRest, func(*fsm.Operation) {}), 0},
		"now and then":            {many(manyRollouts, 21*time.Minute, func(*fsm.Operation) {}), 0},
		"they were asked for":     {many(manyRollouts, time.Minute, func(o *fsm.Operation) { o.Actor = "alice" }), 0},
		"they did not come to it": {many(manyRollouts, time.Minute, func(o *fsm.Operation) { o.Roll.Done = nil }), 0},
	} {
		rest := max(RolloutAfter(c.s, "b").Sub(testNow), 0)
		if rest != c.rest {
			t.Errorf("%s: %s, want %s", name, rest, c.rest)
		}
		_, peers := world()
		if got := planRollout(c.s, peers, testNow)["b"] == "new"; got != (c.rest == 0) {
			t.Errorf("%s: rolled out %v", name, got)
		}
	}
}

func TestUnmended(t *testing.T) {
	for _, c := range []struct {
		want fsm.Home
		runs fsm.Runs
		is   bool
	}{
		{fsm.Home{}, fsm.Runs{Tag: "v1", Config: "c1"}, false},
		{fsm.Home{Tag: "v1"}, fsm.Runs{Tag: "v1"}, false},
		{fsm.Home{Tag: "v1"}, fsm.Runs{Tag: "v2"}, true},
		{fsm.Home{Config: "c1"}, fsm.Runs{Config: "c2"}, false}, // an operator has started it with another one
		{fsm.Home{Config: "c1", Refused: "c2"}, fsm.Runs{Config: "c2"}, true},
		{fsm.Home{Config: "c1", Refused: "c2"}, fsm.Runs{Config: "c3"}, false},
		{fsm.Home{Refused: "c2"}, fsm.Runs{Config: "c2"}, false}, // nobody knows what else to run
	} {
		if got := unmended(c.want, c.runs); got != c.is {
			t.Errorf("%+v, %+v: %v", c.want, c.runs, got)
		}
	}
}

// TestRefusals: what cannot be done is refused before anything changes, and says why and what to do.
func TestRefusals(t *testing.T) {
	restart := func(member string) func(*machine) error {
		return func(m *machine) error {
			_, err := m.Restart(t.Context(), RestartRequest{Member: member}, "")
			return err
		}
	}
	upgrade := func(r UpgradeRequest) func(*machine) error {
		return func(m *machine) error { _, err := m.Upgrade(t.Context(), r, ""); return err }
	}
	rollout := func(m *machine) error { _, err := m.Rollout(t.Context(), 0, 0, ""); return err }
	dead := func(id string) func(*fsm.State, map[string]health.Peer) {
		return func(_ *fsm.State, p map[string]health.Peer) { p[id] = health.Peer{} }
	}
	alone := func(_ *fsm.State, p map[string]health.Peer) {
		for _, id := range []string{"b", "c"} {
			peer := p[id]
			peer.Report.Fit = false
			p[id] = peer
		}
	}
	for name, c := range map[string]struct {
		change func(*fsm.State, map[string]health.Peer)
		ask    func(*machine) error
		rule   *fsm.Refusal
		text   string
	}{
		"all":                       {nil, restart(""), nil, ""},
		"one":                       {nil, restart("b"), nil, ""},
		"one is dead":               {dead("c"), restart(""), ErrRestart, "not alive: c"},
		"another one is dead":       {dead("c"), restart("b"), nil, ""},
		"nobody else is fit":        {alone, restart(""), ErrRestart, "nobody could take production over from a"},
		"nor for the holder":        {alone, restart("a"), ErrRestart, "nobody could take production over from a"},
		"a standby that is not fit": {alone, restart("b"), nil, ""},
		"nobody produces":           {func(s *fsm.State, _ map[string]health.Peer) { s.Lease.Released = true }, restart("b"), ErrRestart, "nobody holds the lease"},
		"the holder is dead":        {dead("a"), restart("b"), ErrRestart, "the holder, a, is not alive"},
		"nobody knows it":           {nil, restart("x"), fsm.ErrMember, `"x"`},
		"a witness": {func(s *fsm.State, _ map[string]health.Peer) {
			m := s.Members["c"]
			m.Witness = true
			s.Members["c"] = m
		}, restart("c"), fsm.ErrMember, "witness"},
		"an upgrade":                 {nil, upgrade(UpgradeRequest{Upgrade: fsm.Upgrade{Tag: "v2"}}), nil, ""},
		"one is dead for an upgrade": {dead("c"), upgrade(UpgradeRequest{Upgrade: fsm.Upgrade{Tag: "v2"}}), ErrUpgrade, "not alive: c"},
		"a hard fork":                {nil, upgrade(UpgradeRequest{Upgrade: fsm.Upgrade{Tag: "v2", HardFork: true, AtBlock: 1000}}), nil, ""},
		"a hard fork too soon":       {nil, upgrade(UpgradeRequest{Upgrade: fsm.Upgrade{Tag: "v2", HardFork: true, AtBlock: 70}}), ErrUpgrade, "the hard fork is at block 70, the head is block 50"},
		"a hard fork of some":        {nil, upgrade(UpgradeRequest{Members: []string{"a"}, Upgrade: fsm.Upgrade{Tag: "v2", HardFork: true, AtBlock: 1000}}), ErrUpgrade, "all members"},
		"nothing to roll out":        {nil, rollout, ErrRollout, "no member has a configuration"},
		"what was refused, by hand": {func(s *fsm.State, _ map[string]health.Peer) {
			s.Homes = map[string]fsm.Home{"b": {Refused: "n", Runs: fsm.Runs{Config: "o", Offers: "n"}}}
		}, rollout, nil, ""},
		"a rollout to one that is dead": {func(s *fsm.State, p map[string]health.Peer) {
			s.Homes = map[string]fsm.Home{"b": {Runs: fsm.Runs{Config: "o", Offers: "n"}}}
			p["b"] = health.Peer{}
		}, rollout, ErrRollout, "not alive: b"},
	} {
		s, peers := world()
		for id, m := range s.Members {
			m.EntryVersion = 3
			s.Members[id] = m
		}
		s.Level = 3
		if c.change != nil {
			c.change(s, peers)
		}
		g := newGroup(s, peers)
		err := c.ask(newMachine(t, g, "a", incA))
		switch {
		case c.rule == nil && err != nil, c.rule != nil && (!errors.Is(err, c.rule) || !strings.Contains(err.Error(), c.text)):
			t.Errorf("%s: %v", name, err)
		case c.rule == nil && len(g.state.RunningOperations()) != 1, c.rule != nil && len(g.state.Operations) != 0:
			t.Errorf("%s: %+v", name, g.state.Operations)
		}
	}
}

// TestCancelOfARollingOperation: at once where no node is stopped, after the member at work else, never in the middle of going back.
func TestCancelOfARollingOperation(t *testing.T) {
	for _, c := range []struct {
		w    *rolled
		want fsm.Outcome
		err  *fsm.Refusal
	}{
		{rolls(fsm.KindUpgrade, fsm.StepTrigger, "a", "b", "c"), fsm.Canceled, nil},
		{rolls(fsm.KindRestart, fsm.StepHandOver).done("c", "b"), fsm.Canceled, nil},
		{rolls(fsm.KindRestart, fsm.StepRestart, "b").done("c"), fsm.Running, nil},
		{rolls(fsm.KindUpgrade, fsm.StepArm, "a", "b", "c"), fsm.Running, ErrOperationLate},
		{rolls(fsm.KindUpgrade, fsm.StepHandOver).done("c", "b").with(func(w *rolled) { w.op.Roll.Fault = "x" }), fsm.Running, ErrOperationLate},
	} {
		c.w.s.Operations = append(c.w.s.Operations, c.w.op)
		g := newGroup(c.w.s, c.w.peers)
		m := newMachine(t, g, "a", incA)
		for range 2 { // a repeat is no error
			_, err := m.Cancel(t.Context(), rolledID, "")
			if c.err == nil && err != nil || c.err != nil && !errors.Is(err, c.err) {
				t.Errorf("at %s: %v", c.w.now().Name, err)
			}
		}
		o, _ := g.state.Operation(rolledID)
		if o.Outcome != c.want || o.Outcome == fsm.Canceled && o.Reason != fmt.Sprintf("by an operator, %s", through(g.state, o)) {
			t.Errorf("at %s: %s: %s", c.w.now().Name, o.Outcome, o.Reason)
		}
		if o.Outcome == fsm.Running && c.err == nil && !o.Roll.Cancel {
			t.Errorf("at %s: it is not noted", c.w.now().Name)
		}
	}
}

// TestWhoIsWorkedOn is nobody's choice, planned or not, but for want of anybody else.
func TestWhoIsWorkedOn(t *testing.T) {
	lease := func(w *rolled, change ...func(*rolled)) string {
		for _, f := range change {
			f(w)
		}
		w.s.Operations = append(w.s.Operations, w.op)
		w.s.Lease.Released = true
		d := planLease(leaseInput{state: w.s, peers: w.peers, now: 110, at: testNow, since: 10, offsets: map[string]time.Duration{"b": 0, "c": 0}})
		if d.grant == nil {
			return d.reason
		}
		return d.grant.Holder
	}
	sick := func(ids ...string) func(*rolled) {
		return func(w *rolled) {
			for _, id := range ids {
				w.sick(id)
			}
		}
	}
	at := func(num uint32) func(*rolled) {
		return func(w *rolled) {
			w.head(num)
			w.op.Roll.Upgrade.HardFork, w.op.Roll.Upgrade.AtBlock = true, 1000
		}
	}
	ago := func(id string, d time.Duration) func(*rolled) {
		return func(w *rolled) {
			for i, part := range w.now().Parts {
				if part.Member == id {
					w.now().Parts[i].Ended = w.at.Add(-d).UnixMilli()
				}
			}
		}
	}
	work := func() *rolled { return rolls(fsm.KindRestart, fsm.StepRestart, "b") }
	fork := func() *rolled { return rolls(fsm.KindUpgrade, fsm.StepFork, "a", "b", "c") }
	const waits = "nobody produces until all nodes are through the hard fork of operation 50"
	for _, c := range []struct{ got, want string }{
		{lease(work()), "c"},
		{lease(work(), sick("a", "c")), "b"},
		{lease(work().ended("b", ""), sick("a", "c")), "b"},
		{lease(work(), sick("a", "b", "c")), "no fit candidate: b its node is being restarted: restart 50; c is sick; a is sick"},
		{lease(fork(), at(999)), "b"},
		{lease(fork(), at(1000)), waits},
		{lease(fork().ended("c", ""), at(999)), waits},
		{lease(fork(), at(999), func(w *rolled) { w.s.LastBlock.Num = 1000 }), waits}, // the holder signed it, and nobody has said so yet
		{lease(fork(), at(999), func(w *rolled) { w.s.After.Num = 1000 }), waits},     // its successor signed nothing
		{lease(fork(), at(999), func(w *rolled) { w.s.LastBlock.Num = 999 }), "b"},
		{lease(fork().done("c").ended("c", ""), at(1000), ago("c", forkPatience)), waits},
		{lease(fork().done("c").ended("c", ""), at(1000), ago("c", forkPatience+time.Second)), "c"},
		{lease(fork().done("c").ended("c", ""), at(1000), ago("c", forkPatience+time.Second), sick("c")), "no fit candidate: c is sick"},
		{lease(fork().ended("c", "exit"), at(1000), ago("c", time.Hour)), waits},
	} {
		if c.got != c.want {
			t.Errorf("want %q, got %q", c.want, c.got)
		}
	}
	w := work()
	w.s.Operations = append(w.s.Operations, w.op)
	for _, planned := range []bool{false, true} {
		if got := unfit(w.s, "b", w.peers["b"], 101, testNow, planned); got != "its node is being restarted: restart 50" {
			t.Errorf("planned %v: %q", planned, got)
		}
	}
}

// TestARolloutByHandIsTheFirstOfVersion3: who does not roll out by itself has said nothing of what it offers yet; the operator who asks
// for it makes them say it.
func TestARolloutByHandIsTheFirstOfVersion3(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, peers := world()
		for id, m := range s.Members {
			m.EntryVersion = 3
			s.Members[id] = m
		}
		s.Level = 2
		g := newGroup(s, peers)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		for id, inc := range map[string]string{"b": incB, "c": incC} {
			m := newMachine(t, g, id, inc)
			m.home = &fakeHome{view: HomeView{Tag: "v1", Runs: "v1", Config: "old", Offers: map[string]string{"c": "new"}[id]}}
			go m.run(ctx, &homeController{m.Manager})
		}
		a := newMachine(t, g, "a", incA)
		a.home = newFakeHome()
		synctest.Wait()
		if len(g.log) != 0 {
			t.Fatalf("without being asked: %+v", g.log)
		}
		if _, err := a.Rollout(ctx, 0, 0, ""); err != nil {
			t.Fatal(err)
		}
		if o := g.state.RunningOperations(); len(o) != 1 || len(o[0].Roll.Members) != 1 || o[0].Roll.Configs["c"] != "new" {
			t.Errorf("%+v", o)
		}
		cancel()
		synctest.Wait()
	})
}

package control

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"roundtable/chain"
	"roundtable/fsm"
)

// fakeHome is a Home of the model kind: it notes what it is asked, and does what a test says.
type fakeHome struct {
	called
	view  HomeView
	sum   string // that the source says; "": it does not answer
	block func(ctx context.Context, call string, say func(int, string)) error
}

// called are the calls of a fake that is asked one thing at a time.
type called struct {
	mu    sync.Mutex
	calls []string
	at    int // calls under way
}

// begin notes a call; the function that it returns ends it.
func (c *called) begin(call string) (end func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls = append(c.calls, call)
	if c.at++; c.at > 1 {
		panic("two calls at once: " + call)
	}
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.at--
	}
}

func newFakeHome() *fakeHome {
	return &fakeHome{view: HomeView{Tag: "v1", Runs: "v1", Config: "c1"}, block: func(context.Context, string, func(int, string)) error { return nil }}
}

func (h *fakeHome) do(ctx context.Context, call string, say func(int, string)) error {
	defer h.begin(call)()
	return h.block(ctx, call, say)
}

func (h *fakeHome) said() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.calls)
}

func (h *fakeHome) View() HomeView {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.view
}

func (h *fakeHome) Changed() <-chan struct{} { return nil }

func (h *fakeHome) Resolve(_ context.Context, u fsm.Upgrade) (string, error) {
	if h.sum == "" {
		return "", errors.New("the source does not answer")
	}
	return h.sum, nil
}

func (h *fakeHome) Stage(ctx context.Context, u fsm.Upgrade, say func(int, string)) (string, error) {
	return "sum", h.do(ctx, "stage "+u.Tag, say)
}

func (h *fakeHome) Ready(ctx context.Context, _ fsm.Upgrade) error { return h.do(ctx, "ready", nil) }

func (h *fakeHome) Become(ctx context.Context, tag, config string, say func(int, string)) error {
	if err := h.do(ctx, "become "+tag+","+config, say); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if tag != "" {
		h.view.Tag, h.view.Runs = tag, tag
	}
	if config != "" {
		h.view.Config = config
	}
	return nil
}

func (h *fakeHome) Prove(ctx context.Context, _ func() chain.Slot, _ func() bool, say func(int, string)) error {
	return h.do(ctx, "prove", say)
}

func (h *fakeHome) Snapshot(ctx context.Context) (string, error) {
	return "", h.do(ctx, "snapshot", nil)
}
func (h *fakeHome) Arm(ctx context.Context, _ uint32) error { return h.do(ctx, "arm", nil) }
func (h *fakeHome) Disarm(ctx context.Context) error        { return h.do(ctx, "disarm", nil) }
func (h *fakeHome) Triggered(ctx context.Context, _ fsm.Upgrade) (bool, string, error) {
	return false, "", h.do(ctx, "triggered", nil)
}

// TestUpgradeResolves: all members are held to the checksum that the source says when the upgrade begins, or that the operator does.
func TestUpgradeResolves(t *testing.T) {
	said, asked := strings.Repeat("1", 64), strings.Repeat("2", 64)
	for _, c := range []struct{ sum, asked, want string }{{said, "", said}, {said, asked, asked}, {"", "", ""}, {"", asked, asked}} {
		s, peers := world()
		for id, m := range s.Members {
			m.EntryVersion = 3
			s.Members[id] = m
		}
		g := newGroup(s, peers)
		m := newMachine(t, g, "a", incA)
		h := newFakeHome()
		h.sum, m.home = c.sum, h
		if _, err := m.Upgrade(t.Context(), UpgradeRequest{Upgrade: fsm.Upgrade{Tag: "v2", SHA256: c.asked}}, ""); err != nil {
			t.Fatal(err)
		}
		if got := g.state.Operations[0].Roll.Upgrade.SHA256; got != c.want {
			t.Errorf("the source says %q, asked for is %q: %q", c.sum, c.asked, got)
		}
	}
}

// atWork is member b of a group at a step of an operation, its clock that of the bubble, and its controller.
type atWork struct {
	*machine
	home   *fakeHome
	worker *rollingMember
	cancel context.CancelFunc
	done   chan struct{}
	mu     sync.Mutex
	told   []fsm.ReportOperation
	when   []time.Time
}

// works runs the controller of b in a bubble.
func works(t *testing.T, w *rolled, change ...func(*atWork)) *atWork {
	t.Helper()
	move := time.Until(testNow) // the bubble's clock is another one
	w.op.Deadline -= move.Milliseconds()
	for i := range w.op.Steps {
		w.op.Steps[i].Since -= move.Milliseconds()
	}
	w.s.Operations = append(w.s.Operations, w.op)
	g := newGroup(w.s, w.peers)
	a := &atWork{machine: newMachine(t, g, "b", incB), home: newFakeHome(), done: make(chan struct{})}
	a.now, a.Manager.home = time.Now, a.home
	a.node.view.State = "running"
	g.before = func(c fsm.Command) error {
		if r, ok := c.(fsm.ReportOperation); ok {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.told, a.when = append(a.told, r), append(a.when, time.Now())
		}
		return nil
	}
	for _, f := range change {
		f(a)
	}
	a.worker = newRollingMember(a.Manager, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	a.cancel = cancel
	go func() {
		defer close(a.done)
		a.run(ctx, a.worker, a.worker.changed)
		a.worker.end()
	}()
	t.Cleanup(func() { cancel(); <-a.done })
	return a
}

func (a *atWork) reports() []fsm.ReportOperation {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.told)
}

// last is what was reported last.
func (a *atWork) last() fsm.ReportOperation {
	list := a.reports()
	if len(list) == 0 {
		return fsm.ReportOperation{}
	}
	return list[len(list)-1]
}

// TestWhatAMemberDoes in each step, and after its process was started anew in the middle of it.
func TestWhatAMemberDoes(t *testing.T) {
	again := func(w *rolled) { w.now().Parts[0].Incarnation = incC }
	runs := func(tag string) func(*atWork) {
		return func(a *atWork) { a.home.view.Tag, a.home.view.Runs = tag, tag }
	}
	wanted := func(h fsm.Home) func(*rolled) { return func(w *rolled) { w.s.Homes["b"] = h } }
	for name, c := range map[string]struct {
		w      *rolled
		change func(*atWork)
		calls  string
		fault  string
	}{
		"a restart":                            {rolls(fsm.KindRestart, fsm.StepRestart, "b"), nil, "become ,; prove", ""},
		"a restart, its process was restarted": {rolls(fsm.KindRestart, fsm.StepRestart, "b").with(again), nil, "prove", ""},
		"the same, but its node is down":       {rolls(fsm.KindRestart, fsm.StepRestart, "b").with(again), func(a *atWork) { a.node.view.State = "failed" }, "become ,; prove", ""},
		"a restart that puts right":            {rolls(fsm.KindRestart, fsm.StepRestart, "b").with(wanted(fsm.Home{Tag: "v0"})), nil, "stage v0; become v0,; prove", ""},
		"the same, its process was restarted":  {rolls(fsm.KindRestart, fsm.StepRestart, "b").with(again).with(wanted(fsm.Home{Tag: "v0"})), nil, "stage v0; become v0,; prove", ""},
		"a configuration that is put right":    {rolls(fsm.KindRestart, fsm.StepRestart, "b").with(wanted(fsm.Home{Config: "c0", Refused: "c1"})), nil, "become ,c0; prove", ""},
		"a switch":                             {rolls(fsm.KindUpgrade, fsm.StepSwitch, "b"), nil, "ready; become v2,; prove", ""},
		"a switch, it was made":                {rolls(fsm.KindUpgrade, fsm.StepSwitch, "b").with(again), runs("v2"), "prove", ""},
		"a switch, it was not":                 {rolls(fsm.KindUpgrade, fsm.StepSwitch, "b").with(again), nil, "ready; become v2,; prove", ""},
		"a switch, half made":                  {rolls(fsm.KindUpgrade, fsm.StepSwitch, "b"), func(a *atWork) { a.home.view.Tag = "v2" }, "ready; become v2,; prove", ""},
		"a switch, made, but the node is down": {rolls(fsm.KindUpgrade, fsm.StepSwitch, "b"), func(a *atWork) { runs("v2")(a); a.node.view.State = "stopped" }, "ready; become v2,; prove", ""},
		"one that is not ready":                {rolls(fsm.KindUpgrade, fsm.StepSwitch, "b"), fails("ready"), "ready", "not ready for the upgrade: no luck"},
		"one that does not start":              {rolls(fsm.KindUpgrade, fsm.StepSwitch, "b"), fails("become v2,"), "ready; become v2,", "no luck"},
		"one that is not proved":               {rolls(fsm.KindUpgrade, fsm.StepSwitch, "b"), fails("prove"), "ready; become v2,; prove", "no luck"},
		"a way back":                           {rolls(fsm.KindUpgrade, fsm.StepUndo, "b").with(wanted(fsm.Home{Tag: "v1"})), runs("v2"), "become v1,; prove", ""},
		"a way back from nowhere":              {rolls(fsm.KindUpgrade, fsm.StepUndo, "b").with(wanted(fsm.Home{Tag: "v1"})), nil, "prove", ""},
		"a way back with the node down":        {rolls(fsm.KindUpgrade, fsm.StepUndo, "b").with(wanted(fsm.Home{Tag: "v1"})), func(a *atWork) { a.node.view.State = "backoff" }, "become v1,; prove", ""},
		"a rollout":                            {rolls(fsm.KindRollout, fsm.StepRestart, "b"), nil, "become ,x; prove", ""},
		"a rollout, it runs it":                {rolls(fsm.KindRollout, fsm.StepRestart, "b"), func(a *atWork) { a.home.view.Config = "x" }, "prove", ""},
		"a rollout's way back":                 {rolls(fsm.KindRollout, fsm.StepUndo, "b").with(wanted(fsm.Home{Config: "c0"})), nil, "become ,c0; prove", ""},
		"a stage":                              {rolls(fsm.KindUpgrade, fsm.StepStage, "a", "b", "c"), nil, "stage v2", ""},
		"a stage that fails":                   {rolls(fsm.KindUpgrade, fsm.StepStage, "a", "b", "c"), fails("stage v2"), "stage v2", "no luck"},
		"a chain snapshot":                     {rolls(fsm.KindUpgrade, fsm.StepSnapshot, "b"), nil, "snapshot", ""},
		"a program without homes":              {rolls(fsm.KindRestart, fsm.StepRestart, "b"), func(a *atWork) { a.Manager.home = nil }, "", "can neither restart nor upgrade"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var change []func(*atWork)
				if c.change != nil {
					change = append(change, c.change)
				}
				a := works(t, c.w, change...)
				time.Sleep(time.Second)
				if got := strings.Join(a.home.said(), "; "); got != c.calls {
					t.Errorf("asked %q, want %q", got, c.calls)
				}
				r := a.last()
				if !r.Ended || !strings.Contains(r.Fault, c.fault) || c.fault == "" && (r.Fault != "" || r.Percent != 100) {
					t.Errorf("reported %+v", r)
				}
				if n := len(a.reports()); n != 1 {
					t.Errorf("%d reports: %+v", n, a.reports())
				}
			})
		})
	}
}

// fails makes one call fail.
func fails(call string) func(*atWork) {
	return func(a *atWork) {
		a.home.block = func(_ context.Context, c string, _ func(int, string)) error {
			if c == call {
				return errors.New("no luck")
			}
			return nil
		}
	}
}

// TestANodeIsStoppedOnlyWhenItIsFree: not while it holds the lease, nor while its gate signs, nor while nobody can tell.
func TestANodeIsStoppedOnlyWhenItIsFree(t *testing.T) {
	for name, hold := range map[string]func(a *atWork) (let func()){
		"the lease": func(a *atWork) func() {
			a.group.set(func(s *fsm.State) { s.Lease.Holder, s.Lease.Incarnation = "b", incB })
			return func() { a.group.set(func(s *fsm.State) { s.Lease.Holder, s.Lease.Incarnation = "a", incA }) }
		},
		"the lease of its former process": func(a *atWork) func() {
			a.group.set(func(s *fsm.State) { s.Lease.Holder, s.Lease.Incarnation = "b", incC })
			return func() { a.group.set(func(s *fsm.State) { s.Lease.Released = true }) }
		},
		"its gate": func(a *atWork) func() {
			a.gate.Permit(3, 100, 104)
			return func() { a.gate.Close(3) }
		},
		"a log that is ahead": func(a *atWork) func() { // the lease has come to it, and it does not know yet
			once := sync.OnceFunc(func() { a.group.set(func(s *fsm.State) { s.Lease.Holder, s.Lease.Incarnation = "b", incB }) })
			a.group.barrier = once
			return func() { a.group.set(func(s *fsm.State) { s.Lease.Holder, s.Lease.Incarnation = "a", incA }) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var let func()
				a := works(t, rolls(fsm.KindRestart, fsm.StepRestart, "b"), func(a *atWork) { let = hold(a) })
				time.Sleep(10 * time.Second)
				if calls := a.home.said(); len(calls) > 0 {
					t.Fatalf("asked %v", calls)
				}
				if r := a.last(); !strings.Contains(r.Text, "waits") || r.Ended {
					t.Errorf("it says %+v", r)
				}
				let()
				time.Sleep(time.Second)
				if r := a.last(); !r.Ended || r.Fault != "" {
					t.Errorf("then %+v", r)
				}
			})
		})
	}
}

// TestNoNodeIsStoppedForAStepThatIsOver: it ended while the order was on its way, which the log says that is not applied here yet.
func TestNoNodeIsStoppedForAStepThatIsOver(t *testing.T) {
	for name, end := range map[string]func(*fsm.Operation){
		"ended": func(o *fsm.Operation) { o.Outcome = fsm.Expired },
		"on": func(o *fsm.Operation) {
			o.Steps = append(slices.Clone(o.Steps), fsm.Step{Name: fsm.StepRestart, Assignee: "c", Parts: []fsm.Part{{Member: "c", Incarnation: incC}}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := works(t, rolls(fsm.KindRestart, fsm.StepRestart, "b"), func(a *atWork) {
					a.group.barrier = sync.OnceFunc(func() {
						a.group.set(func(s *fsm.State) {
							s.Operations = slices.Clone(s.Operations)
							end(&s.Operations[0])
						})
					})
				})
				time.Sleep(10 * time.Second)
				if calls := a.home.said(); len(calls) > 0 {
					t.Fatalf("asked %v", calls)
				}
			})
		})
	}
}

// TestProgress is told now and then, and only where it is news.
func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := works(t, rolls(fsm.KindRestart, fsm.StepRestart, "b"), func(a *atWork) {
			a.home.block = func(ctx context.Context, call string, say func(int, string)) error {
				if call != "prove" {
					return nil
				}
				for i := range 100 { // 10 s of blocks, then 10 s of nothing new
					say(i, "its head is "+strings.Repeat("1", i%4+1)+" slots behind")
					sleep(ctx, 100*time.Millisecond)
				}
				sleep(ctx, 10*time.Second)
				return nil
			}
		})
		time.Sleep(30 * time.Second)
		list := a.reports()
		if len(list) < 5 || len(list) > 7 {
			t.Errorf("%d reports: %+v", len(list), list)
		}
		for i := 1; i < len(list)-1; i++ {
			if d := a.when[i].Sub(a.when[i-1]); d < tellEvery {
				t.Errorf("report %d after %s", i, d)
			}
		}
		for _, r := range list {
			if r.Percent < 50 {
				t.Errorf("a proof is the second half: %+v", r)
			}
		}
	})
}

// TestAWorkThatHangs does not keep the controller, ends a little before the deadline with what is known, and with the manager.
func TestAWorkThatHangs(t *testing.T) {
	hangs := func(a *atWork) {
		a.home.block = func(ctx context.Context, call string, say func(int, string)) error {
			if call == "prove" {
				say(40, "no p2p peers")
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}
	}
	synctest.Test(t, func(t *testing.T) {
		a := works(t, rolls(fsm.KindRestart, fsm.StepRestart, "b"), hangs) // 50 s are left
		for range 47 {
			time.Sleep(time.Second)
			if name, silent := a.Slowest(); silent > 2*time.Second {
				t.Fatalf("%s has not come round for %s", name, silent)
			}
		}
		if a.last().Ended {
			t.Fatalf("given up: %+v", a.last())
		}
		time.Sleep(2 * time.Second)
		if r := a.last(); !r.Ended || r.Fault != "not done within 1m0s: no p2p peers" {
			t.Errorf("%+v", r)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		a := works(t, rolls(fsm.KindRestart, fsm.StepRestart, "b"), hangs)
		time.Sleep(5 * time.Second)
		a.cancel()
		synctest.Wait()
		select {
		case <-a.done:
		default:
			t.Fatal("it does not end with the manager")
		}
		if a.last().Ended {
			t.Errorf("an end is told: %+v", a.last())
		}
	})
}

// TestWhatStopsNodesGoesFirst: a wait for a block is left for a restart, and taken up again.
func TestWhatStopsNodesGoesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := rolls(fsm.KindUpgrade, fsm.StepTrigger, "a", "b", "c")
		w.op.Roll.Upgrade.Feature = "F"
		w.op.Deadline += 3_600_000
		a := works(t, w)
		time.Sleep(5 * time.Second)
		if calls := a.home.said(); len(calls) != 3 || calls[0] != "triggered" {
			t.Fatalf("asked %v", calls)
		}
		other := rolls(fsm.KindRestart, fsm.StepRestart, "b").op
		other.ID = 70
		other.Deadline = time.Now().Add(time.Minute).UnixMilli()
		a.group.set(func(s *fsm.State) { s.Operations = append(slices.Clone(s.Operations), other) })
		time.Sleep(2 * time.Second)
		if calls := a.home.said(); !slices.Contains(calls, "become ,") || calls[len(calls)-1] != "triggered" {
			t.Fatalf("asked %v", calls)
		}
		if r := a.reports()[len(a.reports())-1]; r.ID == 70 && !r.Ended {
			t.Errorf("%+v", a.reports())
		}
	})
}

// TestAStopAtABlockIsTakenBack when its hard fork does not come, and only then.
func TestAStopAtABlockIsTakenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := rolls(fsm.KindUpgrade, fsm.StepArm, "a", "b", "c")
		w.op.Roll.Upgrade.HardFork, w.op.Roll.Upgrade.AtBlock = true, 1000
		a := works(t, w)
		time.Sleep(5 * time.Second)
		if calls := a.home.said(); !slices.Equal(calls, []string{"arm"}) {
			t.Fatalf("asked %v", calls)
		}
		a.group.set(func(s *fsm.State) {
			s.Operations = slices.Clone(s.Operations)
			s.Operations[0].Outcome = fsm.Failed
		})
		time.Sleep(5 * time.Second)
		if calls := a.home.said(); !slices.Equal(calls, []string{"arm", "disarm"}) {
			t.Errorf("asked %v", calls)
		}
	})
}

// TestPutHome: what runs is told where it changed, and not as long as nobody used what a former program does not know.
func TestPutHome(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*fsm.State, *HomeView)
		told   bool
	}{
		"nobody used version 3": {func(*fsm.State, *HomeView) {}, false},
		"it offers something that is rolled out when somebody asks": {func(_ *fsm.State, v *HomeView) { v.Offers = "c2" }, false},
		"it offers something that is rolled out by itself":          {func(_ *fsm.State, v *HomeView) { v.Offers, v.Auto = "c2", true }, true},
		"somebody did": {func(s *fsm.State, _ *HomeView) { s.Level = 3 }, true},
		"a member does not know version 3": {func(s *fsm.State, v *HomeView) {
			m := s.Members["c"]
			m.EntryVersion = 2
			s.Members["c"] = m
			v.Offers, v.Auto = "c2", true
		}, false},
		"the state says so already": {func(s *fsm.State, v *HomeView) {
			s.Level, s.Homes = 3, map[string]fsm.Home{"b": {Runs: fsm.Runs{Tag: "v1", Config: "c1"}}}
		}, false},
		"not by a process that is not known yet": {func(s *fsm.State, _ *HomeView) {
			s.Level = 3
			m := s.Members["b"]
			m.Incarnation = incC
			s.Members["b"] = m
		}, false},
	} {
		s, peers := world()
		for id, m := range s.Members {
			m.EntryVersion = 3
			s.Members[id] = m
		}
		h := newFakeHome()
		c.change(s, &h.view)
		g := newGroup(s, peers)
		m := newMachine(t, g, "b", incB)
		m.home = h
		m.reconcile(t, &homeController{m.Manager})
		if told := len(g.log) == 1; told != c.told {
			t.Errorf("%s: %+v", name, g.log)
		}
	}
}

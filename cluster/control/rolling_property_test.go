package control

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"roundtable/chain"
	"roundtable/cluster/health"
	"roundtable/fsm"
)

// model is a cluster of the model kind: the real state machine, the real planners of the leader, and members that do their parts,
// fail, die and come back as the dice say. Nobody's clock is wrong and no entry is refused unseen.
type model struct {
	t       *rapid.T
	s       *fsm.State
	at      time.Time
	since   time.Time // this leader's
	members map[string]*modelMember
	id      uint64 // of the operation
	lives   int
	calm    bool // nobody dies or fails any more
	away    bool // nobody leads
}

type modelMember struct {
	alive  bool // its manager and its node's supervisor
	node   bool // its node runs
	sick   bool // it runs, and is not fit
	halted bool // an operation stopped it
	step   int  // number of the step that it is at
	done   bool // its node was replaced for that
	wait   int  // ticks until its next move
}

const modelTick = 500 * time.Millisecond

func newModel(t *rapid.T) *model {
	w := &model{t: t, s: fsm.New(), at: time.UnixMilli(chain.Slot(1000).UnixMilli()), members: map[string]*modelMember{}}
	w.since = w.at.Add(-time.Hour)
	w.must(fsm.SetCluster{Cluster: fsm.Cluster{Name: "t", Producers: []string{"bp"}, Slots: 4}})
	for i := range rapid.IntRange(2, 5).Draw(t, "members") {
		w.join(fmt.Sprintf("m%d", i))
	}
	for _, id := range w.s.MemberIDs() {
		w.must(fsm.PutHome{Member: id, Runs: fsm.Runs{Tag: "v1", Config: "c1"}})
	}
	w.lead()
	return w
}

func (w *model) join(id string) {
	w.lives++
	w.members[id] = &modelMember{alive: true, node: true}
	w.must(fsm.PutMember{Member: fsm.Member{ID: id, Incarnation: fmt.Sprintf("%032x", w.lives), EntryVersion: fsm.EntryVersion, Priority: w.s.Members[id].Priority}})
}

func (w *model) propose(c fsm.Command) error {
	next, result := w.s.Apply(fsm.Entry{Index: w.s.Index + 1, At: w.at.UnixMilli(), Command: c})
	w.s = next
	return result.Err
}

func (w *model) must(c fsm.Command) {
	if err := w.propose(c); err != nil {
		w.t.Fatalf("%s %+v: %v", c.Kind(), c, err)
	}
}

func (w *model) slot() chain.Slot { return chain.SlotAt(w.at.UnixMilli()) }

func (w *model) chance(percent int, what string) bool {
	return rapid.IntRange(0, 99).Draw(w.t, what) < percent
}

func (w *model) peers() map[string]health.Peer {
	list := map[string]health.Peer{}
	for id, m := range w.members {
		r := health.Report{Member: id, Incarnation: w.s.Members[id].Incarnation, Node: "running", Fit: m.node && !m.sick, Head: chain.Block{Slot: w.slot(), Num: uint32(w.slot())}}
		if !m.node {
			r.Node, r.Reason = "stopped", "its node is stopped"
		} else if m.sick {
			r.Reason = "is sick"
		}
		seen := w.at
		if !m.alive {
			seen = time.Time{}
		}
		list[id] = health.Peer{Alive: m.alive, Seen: seen, Report: r}
	}
	return list
}

// lead does what the leader's lease controller does, and what the holder's controllers do: it extends while it is well.
func (w *model) lead() {
	l := w.s.Lease
	if h := w.members[l.Holder]; l.Open() && h != nil && h.alive && h.node && !h.sick && w.s.Members[l.Holder].Incarnation == l.Incarnation {
		if last := min(w.slot()+4, l.Last+fsm.MaxLease); last > l.Last {
			w.must(fsm.Extend{Epoch: l.Epoch, Incarnation: l.Incarnation, Last: last})
		}
		return
	} else if l.Open() && h != nil && h.alive && w.s.Members[l.Holder].Incarnation == l.Incarnation && l.First-1 <= w.slot() {
		w.must(fsm.Release{Epoch: l.Epoch, Incarnation: l.Incarnation, Signed: min(l.Last, w.slot())})
	}
	d := planLease(leaseInput{state: w.s, peers: w.peers(), now: w.slot(), at: w.at, since: 1, offsets: map[string]time.Duration{"x": 0}})
	if d.grant != nil {
		w.must(*d.grant)
		if m := w.members[d.grant.Holder]; m.halted {
			w.t.Fatalf("%s is granted the lease while its node is stopped", d.grant.Holder)
		}
	}
}

func (w *model) op() fsm.Operation { o, _ := w.s.Operation(w.id); return o }

// plan does what the leader decides, which the state must not refuse: it is decided on that state.
func (w *model) plan() {
	o := w.op()
	if o.Outcome != fsm.Running {
		return
	}
	d := planRolling(planInput{state: w.s, op: o, peers: w.peers(), at: w.at, since: w.since})
	var c fsm.Command
	switch {
	case d.turn != nil:
		c = *d.turn
	case d.finish != nil:
		c = *d.finish
	case d.handoff != "":
		c = fsm.StartOperation{Name: fsm.KindHandoff, Handoff: &fsm.Handoff{To: d.handoff, When: "safe"}, Parent: o.ID, Deadline: w.at.Add(validateTime).UnixMilli()}
	default:
		return
	}
	if err := w.propose(c); err != nil {
		w.t.Fatalf("at %q: decided %s %+v, refused: %v\n%+v", o.Current().Name, c.Kind(), c, err, o)
	}
}

// handoffs go on, or fail.
func (w *model) handoffs() {
	for _, o := range w.s.RunningOperations() {
		if o.Handoff == nil {
			continue
		}
		l, step := w.s.Lease, o.Current().Name
		to := w.members[o.Handoff.To]
		later := w.at.Add(startTime).UnixMilli()
		moved := step == fsm.StepStart || step == fsm.StepVerify
		if !moved && (l.Epoch != o.Handoff.Epoch || l.Released) || moved && l.Epoch != o.Handoff.Epoch+1 || to == nil || !to.alive || !to.node || !w.calm && w.chance(10, "handoff fails") {
			w.must(fsm.FinishOperation{ID: o.ID, Step: step, Outcome: fsm.Failed, Reason: "no luck"})
			continue
		}
		switch step {
		case fsm.StepValidate, fsm.StepAwait:
			next := map[string]string{fsm.StepValidate: fsm.StepAwait, fsm.StepAwait: fsm.StepStop}[step]
			w.must(fsm.AdvanceOperation{ID: o.ID, From: step, To: next, Assignee: o.Handoff.From, Deadline: later})
		case fsm.StepStop:
			signed := max(l.First-1, min(w.slot(), l.Last))
			w.must(fsm.Transfer{Epoch: l.Epoch, Incarnation: l.Incarnation, Signed: signed, To: o.Handoff.To, ToIncarnation: w.s.Members[o.Handoff.To].Incarnation, Last: signed + 4, Operation: o.ID, Deadline: later})
		case fsm.StepStart:
			w.must(fsm.AdvanceOperation{ID: o.ID, From: step, To: fsm.StepVerify, Deadline: later})
		case fsm.StepVerify:
			w.must(fsm.FinishOperation{ID: o.ID, Step: step, Outcome: fsm.Done})
		}
	}
}

// work does a member's part.
func (w *model) work(id string) {
	m, o := w.members[id], w.op()
	part, ok := o.Current().Part(id)
	if !m.alive || !ok || part.Ended != 0 {
		return
	}
	if m.step != o.Number() {
		m.step, m.done, m.wait = o.Number(), false, rapid.IntRange(0, 8).Draw(w.t, "before")
	}
	if m.wait--; m.wait >= 0 {
		return
	}
	m.wait = rapid.IntRange(0, 8).Draw(w.t, "work")
	report := fsm.ReportOperation{ID: o.ID, Number: o.Number(), Member: id, Incarnation: w.s.Members[id].Incarnation, Ended: true}
	if o.Current().Name == fsm.StepFork {
		if uint32(w.slot()) < o.Roll.Upgrade.AtBlock {
			return
		}
		if l := w.s.Lease; l.Open() && l.Holder == id && l.Incarnation == report.Incarnation && l.First <= w.slot()+1 {
			w.must(fsm.Release{Epoch: l.Epoch, Incarnation: l.Incarnation, Signed: min(l.Last, w.slot())})
		}
	}
	stops := slices.Contains([]string{fsm.StepRestart, fsm.StepSwitch, fsm.StepUndo, fsm.StepFork}, o.Current().Name)
	switch {
	case !w.calm && w.chance(5, "fault"):
		report.Fault = "no luck"
		m.node = m.node && !m.halted
		m.halted = false
		w.must(report)
	case !stops, m.done && m.node && w.producing():
		if !m.halted {
			w.must(report)
		}
	case m.halted:
		m.node, m.halted, m.done, m.sick = true, false, true, false
	case !m.done && (!w.s.Lease.Open() || w.s.Lease.Holder != id):
		m.node, m.halted = false, true
		for other, o := range w.members {
			if other != id && o.halted && w.op().Current().Name != fsm.StepFork {
				w.t.Fatalf("%s and %s are stopped", id, other)
			}
		}
	}
}

// producing reports whether blocks come, which a proof needs; nobody proves anything in a hard fork.
func (w *model) producing() bool {
	l := w.s.Lease
	h := w.members[l.Holder]
	return w.op().Current().Name == fsm.StepFork || l.Open() && h != nil && h.alive && h.node && w.s.Members[l.Holder].Incarnation == l.Incarnation
}

// trouble comes to somebody.
func (w *model) trouble() {
	if w.calm {
		for _, id := range w.s.MemberIDs() {
			if m := w.members[id]; !m.alive {
				w.join(id)
			} else if !m.halted {
				m.node, m.sick = true, false
			}
		}
		w.away = false
		return
	}
	id := rapid.SampledFrom(w.s.MemberIDs()).Draw(w.t, "who")
	m := w.members[id]
	switch what := rapid.IntRange(0, 400).Draw(w.t, "trouble"); {
	case what < 4:
		m.alive, m.node, m.halted = false, false, false
	case what < 16 && !m.alive:
		w.join(id)
	case what < 20 && m.alive && !m.halted:
		m.sick = !m.sick
	case what < 22 && m.alive && !m.halted:
		m.node = false
	case what < 40 && m.alive && !m.halted:
		m.node = true
	case what < 43:
		w.away, w.since = !w.away, w.at // another leader, at last
	case what == 43:
		_ = w.propose(fsm.CancelOperation{ID: w.id})
	case what == 44 && w.members[w.s.Lease.Holder] != m && len(w.members) > 2:
		if w.propose(fsm.RemoveMember{ID: id}) == nil {
			delete(w.members, id)
		}
	}
}

func (w *model) tick() {
	w.at = w.at.Add(modelTick)
	w.trouble()
	if !w.away {
		w.lead()
		w.plan()
		w.handoffs()
	}
	for _, id := range w.s.MemberIDs() {
		w.work(id)
	}
}

// start asks for an operation.
func (w *model) start(kind string) error {
	r := &fsm.Roll{Limit: (20 * time.Second).Milliseconds()}
	switch kind {
	case fsm.KindUpgrade:
		r.Upgrade = &fsm.Upgrade{Tag: "v2", UndoAll: w.chance(50, "undo all"), Snapshot: w.chance(30, "snapshot")}
		switch rapid.IntRange(0, 3).Draw(w.t, "trigger") {
		case 0:
			r.Upgrade.Feature = "F"
		case 1:
			r.Upgrade.HardFork, r.Upgrade.AtBlock, r.Upgrade.UndoAll, r.Upgrade.Snapshot = true, uint32(w.slot())+100, false, false
		}
	case fsm.KindRollout:
		r.Configs = map[string]string{}
		for _, id := range w.s.MemberIDs() {
			r.Configs[id] = "c2"
		}
		r.TakeOver = w.chance(50, "take over")
	}
	if err := w.propose(fsm.StartOperation{Name: kind, Roll: r, Deadline: w.at.Add(planTime).UnixMilli()}); err != nil {
		return err
	}
	w.id = w.s.Index
	return nil
}

// TestRollingProperties: whatever happens, never are two nodes stopped at once (but for a hard fork), nobody without a running node is
// given the lease, the state takes what is decided, the operation ends in its time once all is well, all is settled then, and the
// next operation is done.
func TestRollingProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newModel(t)
		kind := rapid.SampledFrom([]string{fsm.KindRestart, fsm.KindUpgrade, fsm.KindRollout}).Draw(t, "kind")
		if err := w.start(kind); err != nil {
			t.Fatal(err)
		}
		for range rapid.IntRange(0, 300).Draw(t, "ticks of trouble") {
			w.tick()
		}
		w.calm = true
		begun := w.at
		for w.op().Outcome == fsm.Running {
			if w.tick(); w.at.Sub(begun) > 15*time.Minute {
				o := w.op()
				t.Fatalf("%s does not end: at %q, %+v: %+v", kind, o.Current().Name, o.Current(), planRolling(planInput{state: w.s, op: o, peers: w.peers(), at: w.at, since: w.since}))
			}
		}
		o := w.op()
		if o.Outcome == fsm.Expired {
			t.Fatalf("it was left to expire: %+v", o)
		}
		if o.Outcome == fsm.Done && len(w.s.Left(o)) > 0 {
			t.Fatalf("done without %v", w.s.Left(o))
		}
		for id, h := range w.s.Homes {
			done := slices.Contains(o.Roll.Done, id)
			fork := o.Roll.Upgrade != nil && o.Roll.Upgrade.HardFork && len(o.Roll.Done) > 0
			if kind == fsm.KindUpgrade && h.Tag != "" && h.Tag != map[bool]string{true: "v2", false: "v1"}[done || fork] {
				t.Fatalf("%s (through: %v) is to run %s: %+v", id, done, h.Tag, o)
			}
		}
		for range 100 {
			w.tick()
		}
		first := w.id
		if err := w.start(fsm.KindRestart); err != nil {
			t.Fatalf("the next one: %v", err)
		}
		for range 2000 {
			w.tick()
		}
		if o := w.op(); o.Outcome != fsm.Done && !errors.Is(errAlone(w), errLost) {
			t.Fatalf("the next one after %d: %s at %q: %s", first, o.Outcome, o.Steps[len(o.Steps)-1].Name, o.Reason)
		}
	})
}

// errAlone is errLost where only one member is left.
func errAlone(w *model) error {
	if len(w.members) < 2 {
		return errLost
	}
	return nil
}

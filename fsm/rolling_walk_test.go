package fsm

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// walk takes entries that are likely to be accepted, each kind as often as any other: so it gets further into operations than
// TestMachine, whose commands are mostly refused there.
type walk struct {
	*machine
	rand  *rand.Rand
	at    int64
	kinds func() [][]Entry // candidates of it
}

// TestWalks walks at random from many seeds, and checks what the machines check. What it came through is counted: a walk that never gets
// to a step proves nothing of it.
func TestWalks(t *testing.T) {
	seeds, met := 60, map[string]int{}
	if testing.Short() {
		seeds = 40
	}
	for seed := range uint64(seeds) {
		w := walk{rand: rand.New(rand.NewPCG(seed, 7)), at: 20_000}
		w.machine = newMachine(homed(t), nil)
		w.kinds = w.candidates
		w.take(t, seed, 150, met)
	}
	if testing.Short() {
		return
	}
	for _, kind := range []string{KindRestart, KindUpgrade, KindRollout} {
		for from, list := range turns[kind] {
			for _, step := range append(list, from) {
				if met[kind+": "+step] == 0 && kind+step != KindRollout+StepTakeOver { // which is a restart's
					t.Errorf("no walk took a %s through %s", kind, step)
				}
			}
		}
	}
	for _, outcome := range []Outcome{Done, Failed, Canceled, Expired} {
		if met[KindRestart+" "+string(outcome)] == 0 || met[KindUpgrade+" "+string(outcome)] == 0 {
			t.Errorf("no walk had one that was %s", outcome)
		}
	}
	t.Log(met)
}

// take takes so many entries, and counts what was accepted.
func (w *walk) take(t *testing.T, seed uint64, steps int, met map[string]int) {
	t.Helper()
	for range steps {
		e := w.next()
		before := w.live
		w.apply(t, e)
		if _, r := before.Apply(Entry{Index: before.Index + 1, At: e.At, By: e.By, Command: e.Command}); r.Err == nil {
			met[w.name(before, e.Command)]++
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// name says what an accepted command did to an operation.
func (w *walk) name(before *State, c Command) string {
	if turn, ok := c.(TurnOperation); ok {
		o, _ := before.Operation(turn.ID)
		return o.Kind + ": " + turn.Step
	}
	if fire, ok := c.(FirePlan); ok {
		switch {
		case fire.Skip != "":
			return "skip"
		case fire.Again:
			return "again"
		case fire.Now:
			return "now"
		}
		return "fire"
	}
	if c.Kind() == (StartOperation{}).Kind() {
		o := w.live.Operations[len(w.live.Operations)-1]
		return o.Kind + ": " + o.Current().Name
	}
	for _, o := range before.RunningOperations() {
		if now, _ := w.live.Operation(o.ID); now.Outcome != Running {
			return o.Kind + " " + string(now.Outcome)
		}
	}
	return c.Kind()
}

// next chooses a kind of command, and one of it that is accepted if there is one; now and then it does not look.
func (w *walk) next() Entry {
	w.at += w.rand.Int64N(2000)
	kinds := w.kinds()
	for range 20 {
		kind := kinds[w.rand.IntN(len(kinds))]
		if len(kind) == 0 {
			continue
		}
		e := kind[w.rand.IntN(len(kind))]
		if _, r := w.live.Apply(Entry{Index: w.live.Index + 1, At: e.At, By: "a", Command: e.Command}); r.Err == nil || w.rand.IntN(20) == 0 {
			return e
		}
	}
	if o, ok := w.stuck(); ok {
		e := w.entry(FinishOperation{ID: o.ID, Number: o.expiry(), Step: o.Current().Name, Outcome: Done})
		if _, r := w.live.Apply(Entry{Index: w.live.Index + 1, At: e.At, By: "a", Command: e.Command}); r.Err == nil || w.rand.IntN(3) > 0 {
			return e
		}
		if o.Handoff != nil && w.rand.IntN(4) > 0 {
			return w.entry(PutHome{"a", Runs{Tag: "v1.0.0", Config: "v1.0.0"}})
		}
		return w.entry(FinishOperation{ID: o.ID, Number: o.expiry(), Step: o.Current().Name, Outcome: Failed})
	}
	return w.entry(RaiseAlarm{"idle", "", ""})
}

// stuck is an operation that nothing more can be done for.
func (w *walk) stuck() (Operation, bool) {
	running := w.live.RunningOperations()
	if len(running) == 0 {
		return Operation{}, false
	}
	return running[w.rand.IntN(len(running))], true
}

func (w *walk) entry(c Command) Entry { return Entry{At: w.at, By: "a", Command: c} }

// candidates are commands that may come now, by kind; what comes twice is twice as likely.
func (w *walk) candidates() [][]Entry {
	s := w.live
	deadline := w.at + w.rand.Int64N(30_000)
	var turned, reported, handed, ended, begun, world []Entry
	members := append(s.MemberIDs(), "x")
	for _, o := range s.RunningOperations() {
		now := o.Current()
		if o.Handoff != nil {
			handed = append(handed, w.handoff(o, deadline)...)
			ended = append(ended, Entry{At: o.Deadline + 1, By: "a", Command: ExpireOperation{ID: o.ID, Step: now.Name}})
			continue
		}
		for _, step := range turns[o.Kind][now.Name] {
			faults := []string{""}
			if step == StepUndo || w.rand.IntN(10) == 0 {
				faults = append(faults, "x")
			}
			for _, fault := range faults {
				for _, list := range append([][]string{nil, s.Left(o)}, singles(members)...) {
					turned = append(turned, w.entry(TurnOperation{ID: o.ID, Number: o.Number(), Step: step, Members: list, Fault: fault, Deadline: deadline}))
				}
			}
		}
		for _, p := range now.Parts {
			c := ReportOperation{ID: o.ID, Number: o.Number(), Member: p.Member, Incarnation: s.Members[p.Member].Incarnation, Percent: 50, Text: "half"}
			good, bad := c, c
			good.Ended, bad.Ended, bad.Fault = true, true, "exits"
			reported = append(reported, w.entry(good), w.entry(good), w.entry(good), w.entry(good), w.entry(good), w.entry(good), w.entry(c), w.entry(bad))
		}
		for _, outcome := range []Outcome{Done, Done, Failed, Canceled} {
			ended = append(ended, w.entry(FinishOperation{ID: o.ID, Number: o.Number(), Step: now.Name, Outcome: outcome}))
		}
		ended = append(ended, w.entry(CancelOperation{ID: o.ID}), Entry{At: o.Deadline + 1, By: "a", Command: ExpireOperation{ID: o.ID, Step: now.Name, Number: o.Number()}})
		for _, id := range members {
			handed = append(handed, w.entry(child(o.ID, id, deadline)))
		}
		if w.rand.IntN(8) == 0 { // it was not done in time
			for i := range turned {
				turned[i].At = o.Deadline + 1
			}
		}
	}
	begun = w.starts(deadline)
	id := members[w.rand.IntN(len(members))]
	m := member(id, 0)
	w.rig[id]++
	m.Incarnation, m.Witness = inc(id, w.rig[id]%100), id == "w"
	tag := tags[1+w.rand.IntN(len(tags)-1)]
	next, l := s.Lease.Epoch+1, s.Lease
	world = []Entry{
		w.entry(PutMember{m}), w.entry(PutMember{m}), w.entry(Grant{next, id, s.Members[id].Incarnation, l.Last + 1, l.Last + 4, ""}), w.entry(Extend{l.Epoch, l.Incarnation, l.Last + 2}),
		w.entry(Release{Epoch: l.Epoch, Incarnation: l.Incarnation, Signed: l.Last}), w.entry(PutHome{id, Runs{Tag: tag, Config: tag, Overlaid: s.Cluster.Overlaid}}), w.entry(PatchCluster{Overlay: &tag}),
	}
	if w.rand.IntN(6) == 0 {
		world = append(world, w.entry(RemoveMember{ID: id}))
	}
	kinds := [][]Entry{turned, turned, reported, reported, handed, handed}
	if len(turned) == 0 {
		kinds = append(kinds, begun, begun)
	}
	switch w.rand.IntN(30) {
	case 0:
		kinds = [][]Entry{ended}
	case 1:
		kinds = [][]Entry{begun}
	case 2, 3:
		kinds = [][]Entry{world}
	}
	return kinds
}

func singles(ids []string) (list [][]string) {
	for _, id := range ids {
		list = append(list, []string{id})
	}
	return list
}

// handoff are the commands that a handoff may go on with.
func (w *walk) handoff(o Operation, deadline int64) []Entry {
	l, h := w.live.Lease, o.Handoff
	return []Entry{
		w.entry(AdvanceOperation{o.ID, o.Current().Name, handoffSteps[o.Current().Name], h.From, deadline}),
		w.entry(Transfer{l.Epoch, l.Incarnation, l.First, block(l.First), h.To, w.live.Members[h.To].Incarnation, l.First + 4, o.ID, deadline}),
		w.entry(FinishOperation{ID: o.ID, Step: o.Current().Name, Outcome: Done}),
	}
}

// starts are operations that may be asked for.
func (w *walk) starts(deadline int64) (list []Entry) {
	tag := fmt.Sprintf("v%d.0.0", 1+w.rand.IntN(9))
	configs := map[string]string{}
	for id, m := range w.live.Members {
		if !m.Witness {
			configs[id] = tag
		}
	}
	roll := func(kind string, change func(*Roll)) {
		r := Roll{Limit: 1000}
		change(&r)
		list = append(list, w.entry(StartOperation{Name: kind, Roll: &r, Queue: w.rand.IntN(2) == 0, Deadline: deadline}))
	}
	roll(KindRestart, func(r *Roll) { r.TakeOver = w.rand.IntN(2) == 0 })
	roll(KindRestart, func(r *Roll) { r.Members, r.TakeOver = []string{"b"}, w.rand.IntN(2) == 0 })
	for range 3 {
		roll(KindRollout, func(r *Roll) { r.Configs, r.TakeOver = configs, w.rand.IntN(2) == 0 })
	}
	for _, u := range []Upgrade{{}, {UndoAll: true}, {AtBlock: 7}, {Snapshot: true}, {AtBlock: 7, Snapshot: true, UndoAll: true}, {AtBlock: 7, HardFork: true}, {AtBlock: 7, HardFork: true}} {
		u.Tag = tag
		roll(KindUpgrade, func(r *Roll) { r.Upgrade = &u })
	}
	return list
}

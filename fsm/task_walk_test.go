package fsm

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

// taskWalk is a walk through operations on backups, with rolling operations and failovers in between.
type taskWalk struct {
	*walk
	made int // ids of backups
	life int // of members: which process
}

// newTaskWalk begins a walk on homed.
func newTaskWalk(t testing.TB, seed uint64) *taskWalk {
	w := &taskWalk{walk: &walk{rand: rand.New(rand.NewPCG(seed, 11)), at: 20_000}}
	w.machine = newMachine(homed(t), nil)
	w.kinds = w.candidates
	return w
}

// TestTaskWalks walks at random from many seeds, and checks what the machines check. What it came through is counted.
func TestTaskWalks(t *testing.T) {
	seeds, met := 24, map[string]int{}
	if testing.Short() {
		seeds = 12
	}
	for seed := range uint64(seeds) {
		newTaskWalk(t, seed).take(t, seed, 200, met)
	}
	if testing.Short() {
		return
	}
	for kind, list := range taskTurns {
		for from, steps := range list {
			for _, step := range append(steps, from) {
				if met[kind+": "+step] == 0 && kind+step != KindVerify+StepQueued { // which waits for nobody
					t.Errorf("no walk took a %s through %s", kind, step)
				}
			}
		}
		for _, outcome := range []Outcome{Done, Failed, Canceled, Expired} {
			if met[kind+" "+string(outcome)] == 0 {
				t.Errorf("no walk had a %s that was %s", kind, outcome)
			}
		}
	}
	for _, kind := range []string{"backup.put", "backup.set", "backup.expire", "backup.drop", "plan.put", "plan.set", "plan.remove", "fire", "skip", "again", "now"} {
		if met[kind] == 0 {
			t.Errorf("no walk had a %s", kind)
		}
	}
	t.Log(met)
}

// candidates are commands that may come now, by kind.
func (w *taskWalk) candidates() [][]Entry {
	s := w.live
	deadline := w.at + w.rand.Int64N(30_000)
	var turned, reported, done, ended, catalogue, plans, world []Entry
	for _, o := range s.RunningOperations() {
		now := o.Current()
		if o.Task == nil {
			ended = append(ended, w.entry(FinishOperation{ID: o.ID, Step: now.Name, Number: o.expiry(), Outcome: Failed}), w.entry(TurnOperation{ID: o.ID, Number: o.Number(), Step: StepRestart, Members: []string{"b"}, Deadline: deadline}))
			continue
		}
		for _, members := range append([][]string{nil}, singles([]string{"a", "b", "c"})...) {
			turned = append(turned, w.entry(TurnOperation{ID: o.ID, Number: o.Number(), Step: o.NextStep(), Members: members, Deadline: deadline}))
		}
		for _, p := range now.Parts {
			c := ReportOperation{ID: o.ID, Number: o.Number(), Member: p.Member, Incarnation: s.Members[p.Member].Incarnation, Percent: 50, Text: "half"}
			good, bad, torn := c, c, c
			good.Ended, bad.Ended, bad.Fault, torn.Ended, torn.Fault, torn.Damaged = true, true, "exits", true, "torn", true
			if now.Name == StepStore {
				good.Stored = ptr(stored())
			}
			reported = append(reported, w.entry(good), w.entry(good), w.entry(good), w.entry(good), w.entry(good), w.entry(c), w.entry(bad), w.entry(torn))
			found := finds(fmt.Sprint("x", w.rand.IntN(50)))
			found.Operation, found.Incarnation, found.Backup.Repository = o.ID, s.Members[p.Member].Incarnation, o.Task.Repository
			catalogue = append(catalogue, w.entry(found))
		}
		done = append(done, w.entry(FinishOperation{ID: o.ID, Number: o.Number(), Step: now.Name, Outcome: Done}))
		for _, outcome := range []Outcome{Failed, Canceled} {
			ended = append(ended, w.entry(FinishOperation{ID: o.ID, Number: o.Number(), Step: now.Name, Outcome: outcome}))
		}
		ended = append(ended, w.entry(CancelOperation{ID: o.ID}), Entry{At: o.Deadline + 1, By: "a", Command: ExpireOperation{ID: o.ID, Step: now.Name, Number: o.Number()}})
	}
	for _, id := range slices.Sorted(maps.Keys(s.Backups)) {
		b := s.Backups[id]
		if w.rand.IntN(4) == 0 {
			catalogue = append(catalogue, w.entry(ExpireBackup{ID: id, Retention: w.rand.IntN(2) == 0, Expires: b.Expires}), w.entry(DropBackup{id}),
				w.entry(SetBackup{ID: id, Pinned: ptr(w.rand.IntN(3) == 0), Expires: ptr(w.at)}))
		}
	}
	plans = w.plans(deadline)
	id := []string{"a", "b", "c"}[w.rand.IntN(3)]
	m := member(id, 0)
	w.life++
	m.Incarnation = inc(id, w.life%100)
	next, l := s.Lease.Epoch+1, s.Lease
	world = []Entry{
		w.entry(PutMember{m}), w.entry(PutMember{m}), w.entry(Grant{next, id, s.Members[id].Incarnation, l.Last + 1, l.Last + 4, ""}),
		w.entry(Release{Epoch: l.Epoch, Incarnation: l.Incarnation, Signed: l.Last}), w.entry(restart("b")), w.entry(start(id, "now")),
	}
	if w.rand.IntN(6) == 0 {
		world = append(world, w.entry(RemoveMember{ID: id}))
	}
	kinds := [][]Entry{turned, turned, turned, reported, reported, reported, done}
	if len(turned) < 8 || w.rand.IntN(10) == 0 {
		kinds = append(kinds, w.begun(deadline))
	}
	switch w.rand.IntN(24) {
	case 0, 1:
		kinds = [][]Entry{ended}
	case 2, 3:
		kinds = [][]Entry{world}
	case 4, 5, 6:
		kinds = [][]Entry{catalogue}
	case 7, 8:
		kinds = [][]Entry{plans}
	}
	return kinds
}

// begun are operations that may be asked for.
func (w *taskWalk) begun(deadline int64) (list []Entry) {
	add := func(c StartOperation) {
		c.Queue, c.Deadline = w.rand.IntN(2) == 0, deadline
		if w.rand.IntN(3) == 0 {
			c.Task.Repository = "other"
		}
		list = append(list, w.entry(c))
	}
	w.made++
	id := fmt.Sprint("b", w.made-w.rand.IntN(2))
	add(makes(id))
	add(makes(id, ofChain, by("c")))
	add(asks(KindSweep))
	add(asks(KindSweep, unknown))
	add(asks(KindScan))
	for _, id := range slices.Sorted(maps.Keys(w.live.Backups)) {
		b := w.live.Backups[id]
		for _, kind := range []string{KindRestore, KindVerify} {
			list = append(list, w.entry(change(asks(kind, func(t *Task) {
				t.Backup, t.Repository, t.Trial, t.Auto = id, b.Repository, kind == KindVerify && w.rand.IntN(2) == 0, false
			}), func(c *StartOperation) { c.Queue, c.Deadline = true, deadline })))
		}
	}
	return list
}

// plans are changes of plans, and what may be fired, some of it once too often.
func (w *taskWalk) plans(deadline int64) (list []Entry) {
	for _, id := range []string{"p", "q"} {
		p, known := w.live.Plans[id]
		due := w.at + w.rand.Int64N(5000) - 1000
		list = append(list, w.entry(PutPlan{planned(func(p *Plan) { p.ID, p.Due = id, due })}), w.entry(SetPlan{ID: id, Disabled: w.rand.IntN(3) == 0, Due: due}))
		if !known {
			continue
		}
		if w.rand.IntN(20) == 0 {
			list = append(list, w.entry(RemovePlan{id}))
		}
		w.made++
		c := makes(fmt.Sprint("b", w.made), func(t *Task) { t.Plan = id })
		c.Queue, c.Deadline = true, deadline
		fire := FirePlan{ID: id, Due: p.Due, Try: p.Try, Next: p.Due + w.rand.Int64N(5000), Start: &c}
		again, now, skip := fire, fire, fire
		again.Again, again.Next = true, 0
		now.Now, now.Due, now.Next = true, 0, 0
		skip.Start, skip.Skip = nil, "nobody is fit"
		for _, f := range []FirePlan{fire, fire, again, again, now, skip} {
			list = append(list, w.entry(f))
		}
	}
	return list
}

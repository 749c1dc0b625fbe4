package fsm

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// maxRunning bounds the operations that have not ended: those of each kind that wait, the upgrade that is prepared or waits for its
// trigger, the one at work, and its handoff; and those on backups.
const maxRunning = 3*maxQueued + 3 + maxTasks

var tags = []string{"", "v1.0.0", "v2.0.0", "v3.0.0"}

// midway are states in the middle of operations.
var midway = []func(testing.TB) *State{
	on(restart(), "restart b"),
	then(on(restart(), "restart b", "ok b", "hand"), func(t testing.TB, s *State) *State { s, _ = handingOver(t, s, "b"); return s }),
	upgrading("switch b"),
	upgrading("switch b", "ok b", "switch c"),
	on(upgrade(undoAll), append(slices.Clone(staged), "switch b", "ok b", "switch c", "bad c x")...),
	on(upgrade(undoAll), append(slices.Clone(staged), "switch b", "ok b", "hand", "handoff b", "switch a", "bad a x", "undo a ! x")...),
	on(upgrade(hardFork), append(slices.Clone(staged), "arm a b c", "ok a", "ok b", "ok c")...),
	on(upgrade(hardFork), forked()...),
	overlaid("restart b"),
	overlaid("restart b", "ok b", "restart c", "bad c x"),
	then(on(restart("b")), with(queued(restart("c")), upgrade())),
	then(on(upgrade(), "stage a b c"), with(queued(upgrade()), rollout())),
	then(on(makes("b1"), "prepare b", "ok b", "copy b"), with(queued(makes("b2")))),
	storing,
	onKept(asks(KindRestore), "fetch b", "ok b", "replace b"),
	then(onKept(asks(KindSweep, unknown), "sweep b"), with(PutPlan{planned(func(p *Plan) { p.ID = "p" })})),
}

// rollingKinds are for long walks through rolling operations, with little else. What stands first is drawn more often.
var rollingKinds = func() (kinds []string) {
	for range 6 {
		kinds = append(kinds, "turn", "report", "turn", "report", "report", "task")
	}
	for _, other := range []string{"roll", "hand", "within", "advance", "finish", "end", "put", "grant", "home", "cancel", "overlay", "extend", "remove", "catalogue", "plan", "fire"} {
		kinds = append(kinds, other, "turn", "report", "report")
	}
	return kinds
}()

func TestRollingMachine(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newMachine(rapid.SampledFrom(append([]func(testing.TB) *State{homed}, midway...)).Draw(t, "from")(&testing.T{}), rollingKinds)
		for i := range rapid.IntRange(60, 120).Draw(t, "entries") {
			m.kinds = rollingKinds
			if running := m.live.RunningOperations(); !slices.ContainsFunc(running, Operation.Rolling) {
				m.kinds = []string{"roll", "roll", "roll", "roll", "put", "home", "hand", "overlay", "task", "plan", "fire", "turn", "report"}
			}
			if i%7 == 0 { // who was removed comes back
				for _, id := range people[:3] {
					if _, ok := m.live.Members[id]; !ok {
						m.rig[id]++
						m.apply(t, Entry{At: int64(m.live.Index) * 1000, By: "a", Command: PutMember{member(id, m.rig[id]%100)}})
						m.apply(t, Entry{At: int64(m.live.Index) * 1000, By: "a", Command: PutHome{id, Runs{Tag: "v1.0.0", Config: "v1.0.0"}}})
					}
				}
			}
			m.apply(t, Entry{At: int64(m.live.Index)*1000 + 50_000*rapid.Int64Range(0, 20).Draw(t, "late")/20, By: "a", Command: m.draw(t)})
			if i%20 == 19 {
				b, err := m.replica.Marshal()
				if err != nil {
					t.Fatal(err)
				}
				if m.replica, err = Unmarshal(b); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

// mostly draws v, or now and then one of the others; often does it the other way round, for rapid likes small numbers.
func mostly[T any](t *rapid.T, v T, others []T, name string) T {
	if rapid.IntRange(0, 9).Draw(t, name+"?") < 9 {
		return v
	}
	return rapid.SampledFrom(others).Draw(t, name)
}

// drawRolling is one of the operations with turns, mostly one that runs.
func (m *machine) drawRolling(t *rapid.T) Operation {
	var running, all []Operation
	for _, o := range m.live.Operations {
		if o.stepped() && o.Outcome == Running {
			running = append(running, o)
		}
		all = append(all, o)
	}
	all = append(all, Operation{ID: 99})
	if len(running) > 0 {
		return mostly(t, rapid.SampledFrom(running).Draw(t, "running"), all, "which")
	}
	return rapid.SampledFrom(all).Draw(t, "which")
}

func (m *machine) drawRoll(t *rapid.T) Command {
	some := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c"}), 0, 3, rapid.ID).Draw(t, "members")
	some = mostly(t, some, [][]string{{"w"}, {"x"}, {"b", "b"}}, "strange")
	c := StartOperation{
		Name: rapid.SampledFrom([]string{KindRestart, KindUpgrade, KindUpgrade, KindRollout}).Draw(t, "what"), Roll: &Roll{Members: some, Limit: 1000},
		Queue: rapid.Bool().Draw(t, "queue"), Deadline: m.soon(t),
	}
	switch c.Name {
	case KindUpgrade:
		u := Upgrade{Tag: mostly(t, "v2.0.0", tags, "tag"), UndoAll: rapid.Bool().Draw(t, "undo all"), Snapshot: rapid.IntRange(0, 3).Draw(t, "snapshot") == 3}
		switch rapid.IntRange(0, 5).Draw(t, "when") {
		case 5:
			u.AtBlock = 7
		case 4:
			u.AtBlock, u.HardFork, u.UndoAll, u.Snapshot = 7, true, false, false
		}
		c.Roll.Upgrade = &u
	case KindRollout:
		c.Roll.Configs = map[string]string{}
		for _, id := range some {
			c.Roll.Configs[id] = rapid.SampledFrom(tags[1:]).Draw(t, "config")
		}
		c.Roll.TakeOver = rapid.Bool().Draw(t, "take over")
	}
	return c
}

// soon is a deadline that is near, or a little late.
func (m *machine) soon(t *rapid.T) int64 {
	return int64(m.live.Index+uint64(rapid.IntRange(0, 40).Draw(t, "soon"))) * 1000
}

// drawTurn makes up a turn for each step that might come next, and takes mostly one that is accepted.
func (m *machine) drawTurn(t *rapid.T) Command {
	o := m.drawRolling(t)
	next := turns[o.Kind][o.Current().Name]
	if o.Task != nil {
		next = []string{o.NextStep()}
	}
	if len(next) == 0 {
		next = []string{StepRestart, StepUndo, ""}
	}
	var all, taken []Command
	for _, step := range next {
		c := TurnOperation{ID: o.ID, Number: o.Number(), Step: step, Deadline: m.soon(t), Members: m.drawMembers(t, o, step)}
		if step == StepUndo || step == StepHandOver && rapid.IntRange(0, 4).Draw(t, "back") == 4 {
			c.Fault = "x"
		}
		all = append(all, c)
		if _, r := m.live.Apply(stamp(m.live, c)); r.Err == nil {
			if taken = append(taken, c); step != StepHandOver && step != StepUndo { // it goes on more often than back
				taken = append([]Command{c, c, c}, taken...)
			}
		}
	}
	if len(taken) == 0 || rapid.IntRange(0, 9).Draw(t, "strange turn") == 9 {
		c := rapid.SampledFrom(all).Draw(t, "turn").(TurnOperation)
		c.Number = mostly(t, c.Number, []int{0, 1, c.Number + 1}, "number")
		c.Fault = mostly(t, c.Fault, []string{"", "x"}, "fault")
		c.Members = mostly(t, c.Members, [][]string{nil, {"a"}, {"b"}, {"c"}, {"w"}, {"b", "c"}}, "strange members")
		return c
	}
	return rapid.SampledFrom(taken).Draw(t, "turn")
}

// drawMembers are those that may do a step.
func (m *machine) drawMembers(t *rapid.T, o Operation, step string) []string {
	if !o.Rolling() {
		if step == StepValidate {
			return nil
		}
		return []string{first(o.Current().Assignee, rapid.SampledFrom([]string{"b", "c", "a"}).Draw(t, "worker"))}
	}
	left := m.live.Left(o)
	switch step {
	case StepStage, StepArm, StepFork, StepTrigger:
		return left
	case StepUndo:
		return []string{rapid.SampledFrom(append(o.begun(), "b")).Draw(t, "undo")}
	case StepRestart, StepSwitch, StepSnapshot:
		return []string{rapid.SampledFrom(append(left, "a")).Draw(t, "next")}
	}
	return nil
}

func (m *machine) drawReport(t *rapid.T) Command {
	o := m.drawRolling(t)
	for _, other := range m.live.RunningOperations() {
		if len(other.Current().Parts) > 0 && !other.Current().Over() && o.Current().Over() {
			o = other
		}
	}
	who := rapid.SampledFrom(people).Draw(t, "who")
	for _, p := range o.Current().Parts {
		if p.Ended == 0 {
			who = mostly(t, p.Member, people, "who else")
		}
	}
	c := ReportOperation{
		ID: o.ID, Number: mostly(t, o.Number(), []int{0, 1, o.Number() + 1}, "number"), Member: who, Incarnation: mostly(t, m.live.Members[who].Incarnation, m.incarnations(), "whose"),
		Percent: rapid.IntRange(-1, 101).Draw(t, "percent"), Text: rapid.StringN(0, 80, -1).Draw(t, "text"), Ended: rapid.IntRange(0, 3).Draw(t, "ended") != 3,
	}
	c.Percent = mostly(t, 50, []int{c.Percent}, "percent?")
	if c.Ended {
		c.Fault = rapid.SampledFrom([]string{"", "", "", "exits"}).Draw(t, "fault")
		if o.Current().Name == StepStore && c.Fault == "" {
			c.Stored = ptr(stored())
		}
		c.Damaged = c.Fault != "" && (o.Current().Name == StepCheck || o.Current().Name == StepFetch)
	}
	return c
}

func (m *machine) drawEnd(t *rapid.T) Command {
	o := m.drawRolling(t)
	number := mostly(t, o.Number(), []int{0, 1, o.Number() + 1}, "number")
	if rapid.IntRange(0, 3).Draw(t, "expire") == 3 {
		return ExpireOperation{ID: o.ID, Step: o.Current().Name, Number: number}
	}
	return FinishOperation{ID: o.ID, Step: o.Current().Name, Number: number, Outcome: rapid.SampledFrom([]Outcome{Done, Done, Failed, Canceled}).Draw(t, "outcome")}
}

// rolling checks what must hold of rolling operations after any entry.
func (m *machine) rolling(t failer, before, after *State, e Entry, result Result) {
	var disruptive []Operation
	for _, o := range after.RunningOperations() {
		if o.Disruptive() {
			disruptive = append(disruptive, o)
		}
		if h := o.Handoff; h != nil {
			if w, ok := after.Working(h.To); ok {
				t.Fatalf("handoff %d goes to %s, whose node %s %d has stopped", o.ID, h.To, w.Kind, w.ID)
			}
		}
		// Whatever else goes on, it ends at its deadline.
		if late, r := after.Apply(Entry{Index: after.Index + 1, At: o.Deadline + 1, By: "a", Command: ExpireOperation{ID: o.ID, Step: o.Current().Name, Number: o.expiry()}}); r.Err != nil {
			t.Fatalf("%s %d does not expire: %v", o.Kind, o.ID, r.Err)
		} else {
			ended, _ := late.Operation(o.ID)
			m.left(t, after, late, ended)
		}
		if len(o.Steps) > 4*len(people)+8 { // one there and one back for each, a handover before each, and what is before and after
			t.Fatalf("%d steps", len(o.Steps))
		}
	}
	if n := len(disruptive); n > 2 || n == 2 && (disruptive[1].Handoff == nil || disruptive[1].Parent != disruptive[0].ID) {
		t.Fatalf("%d disruptive operations run: %+v", n, disruptive)
	}
	if n := len(after.RunningOperations()); n > maxRunning {
		t.Fatalf("%d operations run", n)
	}
	ends := false
	for _, o := range before.RunningOperations() {
		if now, _ := after.Operation(o.ID); o.Rolling() && now.Outcome != Running {
			ends = true
			m.left(t, before, after, now)
			if now.Outcome == Done && len(after.Left(now)) > 0 && (o.Current().Name != StepValidate || !before.Needless(o)) {
				t.Fatalf("%s %d is done, and %v are left", o.Kind, o.ID, after.Left(now))
			}
		}
	}
	c, was := after.Cluster, before.Cluster
	if c.Proven != nil && *c.Proven == c.Overlay {
		t.Fatal("the overlay waits for a proof that it has")
	}
	if _, patch := e.Command.(PatchCluster); c.Overlay != was.Overlay && !patch && (!ends || was.Proven == nil || c.Overlay != *was.Proven || c.Proven != nil || c.Overlaid != e.Index) {
		t.Fatalf("%s changed the overlay from %+v to %+v", e.Command.Kind(), was, c)
	}
	turn, turns := e.Command.(TurnOperation)
	_, removes := e.Command.(RemoveMember)
	if wanted(before) != wanted(after) && !ends && !turns && !removes {
		t.Fatalf("%s changed what members are to run: %s, was %s", e.Command.Kind(), wanted(after), wanted(before))
	}
	if turns && result.Err == nil && result.Index == e.Index && working(turn.Step) && turn.Step != StepFork {
		if l := before.Lease; l.Open() && slices.Contains(turn.Members, l.Holder) {
			t.Fatalf("step %q stops the holder's node", turn.Step)
		}
		for _, o := range before.RunningOperations() {
			if o.Handoff != nil {
				t.Fatalf("step %q stops a node while production moves", turn.Step)
			}
		}
	}
}

// expiry is what an expiry has to say of the step's number.
func (o Operation) expiry() int {
	if o.stepped() {
		return o.Number()
	}
	return 0
}

// left checks what an operation that has just ended leaves behind.
func (m *machine) left(t failer, before, after *State, o Operation) {
	settled(t, fmt.Sprintf("%s %d", o.Kind, o.ID), after, o)
	for id, h := range before.Homes {
		now := after.Homes[id]
		if o.Rolling() && !slices.Contains(o.begun(), id) && (h.Tag != now.Tag || h.Config != now.Config) {
			t.Fatalf("the end of %s %d, which did not come to %s, changed its home from %+v to %+v", o.Kind, o.ID, id, h, now)
		}
	}
}

package fsm

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// rollID is the id of the first rolling operation on homed, and fourth that of one after three more entries.
const rollID = 10

// homed is leased, and every member has said what its node runs.
func homed(t testing.TB) *State {
	s := leased(t)
	for _, id := range []string{"a", "b", "c"} {
		s = must(t, s, PutHome{id, Runs{Tag: "v1.0.0", Config: "c1"}})
	}
	return s
}

func restart(members ...string) StartOperation {
	return StartOperation{Name: KindRestart, Roll: &Roll{Members: members, Limit: 60_000}, Deadline: 70_000}
}

func upgrade(change ...func(*Upgrade)) StartOperation {
	u := Upgrade{Tag: "v2.0.0"}
	for _, f := range change {
		f(&u)
	}
	return StartOperation{Name: KindUpgrade, Roll: &Roll{Limit: 60_000, Upgrade: &u}, Deadline: 70_000}
}

func rollout(change ...func(*Roll)) StartOperation {
	r := Roll{Members: []string{"a", "b", "c"}, Limit: 60_000, Configs: map[string]string{"a": "c2", "b": "c2", "c": "c2"}}
	for _, f := range change {
		f(&r)
	}
	return StartOperation{Name: KindRollout, Roll: &r, Deadline: 70_000}
}

func queued(c StartOperation) StartOperation {
	c.Queue = true
	return c
}

func hardFork(u *Upgrade) { u.HardFork, u.AtBlock = true, 5000 }
func undoAll(u *Upgrade)  { u.UndoAll = true }

var stepWords = map[string]string{
	"validate": StepValidate, "stage": StepStage, "trigger": StepTrigger, "snapshot": StepSnapshot, "restart": StepRestart, "switch": StepSwitch,
	"hand": StepHandOver, "undo": StepUndo, "take": StepTakeOver, "arm": StepArm, "fork": StepFork, "resume": StepResume,
	"prepare": StepPrepare, "copy": StepCopy, "store": StepStore, "fetch": StepFetch, "replace": StepReplace, "check": StepCheck, "sweep": StepSweep, "scan": StepScan,
}

// newest is the operation that was started last, but for handoffs.
func newest(t testing.TB, s *State) Operation {
	t.Helper()
	for _, o := range slices.Backward(s.Operations) {
		if o.stepped() {
			return o
		}
	}
	t.Fatal("no such operation")
	return Operation{}
}

// word turns one line of a script into an entry for the newest such operation:
//
//	STEP MEMBER... [! FAULT]   the leader turns to a step
//	ok MEMBER                  a member's part ended well
//	bad MEMBER REASON          it failed
//	done | failed | canceled   the leader ends it
//	cancel                     an operator does
//	expire                     at the first moment at which that may be
//	late STEP...               as STEP, at that moment
func word(t testing.TB, s *State, line string) Entry {
	t.Helper()
	o := newest(t, s)
	now := o.Current()
	f := strings.Fields(line)
	e := stamp(s, nil)
	if f[0] == "late" {
		e.At, f = o.Deadline+1, f[1:]
	}
	switch f[0] {
	case "ok", "bad":
		c := ReportOperation{ID: o.ID, Number: o.Number(), Member: f[1], Incarnation: s.Members[f[1]].Incarnation, Percent: 100, Ended: true, Fault: strings.Join(f[2:], " ")}
		if now.Name == StepStore && c.Fault == "" {
			c.Stored = ptr(stored())
		}
		e.Command = c
	case "done", "failed", "canceled":
		e.Command = FinishOperation{ID: o.ID, Step: now.Name, Number: o.Number(), Outcome: Outcome(f[0]), Reason: strings.Join(f[1:], " ")}
	case "cancel":
		e.Command = CancelOperation{ID: o.ID, Reason: "by an operator"}
	case "expire":
		e.At, e.Command = o.Deadline+1, ExpireOperation{ID: o.ID, Step: now.Name, Number: o.Number()}
	default:
		members, fault, _ := strings.Cut(strings.Join(f[1:], " "), "!")
		e.Command = TurnOperation{ID: o.ID, Number: o.Number(), Step: stepWords[f[0]], Members: strings.Fields(members), Fault: strings.TrimSpace(fault), Deadline: e.At + 60_000}
		if stepWords[f[0]] == "" {
			t.Fatalf("no word of the script: %q", line)
		}
	}
	return e
}

// play plays a script; "handoff MEMBER" moves production, as a child of the newest rolling operation.
func play(t testing.TB, s *State, script ...string) *State {
	t.Helper()
	for _, line := range script {
		if to, ok := strings.CutPrefix(line, "handoff "); ok {
			s = hand(t, s, to)
			continue
		}
		next, r := s.Apply(word(t, s, line))
		if r.Err != nil {
			t.Fatalf("%q refused: %v", line, r.Err)
		}
		s = next
	}
	return s
}

// hand moves production by a handoff that belongs to the newest rolling operation, from its start to its end.
func hand(t testing.TB, s *State, to string) *State {
	t.Helper()
	s, id := handingOver(t, s, to)
	l := s.Lease
	return must(t, s,
		AdvanceOperation{ID: id, From: StepValidate, To: StepAwait, Assignee: l.Holder, Deadline: int64(s.Index)*1000 + 60_000},
		AdvanceOperation{ID: id, From: StepAwait, To: StepStop, Assignee: l.Holder, Deadline: int64(s.Index)*1000 + 60_000},
		Transfer{
			Epoch: l.Epoch, Incarnation: l.Incarnation, Signed: l.First, Block: block(l.First), To: to, ToIncarnation: s.Members[to].Incarnation,
			Last: l.First + 4, Operation: id, Deadline: int64(s.Index)*1000 + 60_000,
		},
		AdvanceOperation{ID: id, From: StepStart, To: StepVerify, Deadline: int64(s.Index)*1000 + 60_000},
		FinishOperation{ID: id, Step: StepVerify, Outcome: Done})
}

func handingOver(t testing.TB, s *State, to string) (*State, uint64) {
	t.Helper()
	return must(t, s, child(newest(t, s).ID, to, int64(s.Index)*1000+60_000)), s.Index + 1
}

func child(parent uint64, to string, deadline int64) StartOperation {
	return StartOperation{Name: KindHandoff, Handoff: &Handoff{To: to, When: "safe"}, Parent: parent, Deadline: deadline}
}

// on is homed with an operation started and a script played.
func on(c StartOperation, script ...string) func(testing.TB) *State {
	return func(t testing.TB) *State {
		t.Helper()
		return play(t, must(t, homed(t), c), script...)
	}
}

// staged is what every upgrade begins with.
var staged = []string{"stage a b c", "ok a", "ok b", "ok c"}

func upgrading(script ...string) func(testing.TB) *State {
	return on(upgrade(), append(slices.Clone(staged), script...)...)
}

// overlaid is homed with another overlay, and a rollout of it; the rollout has the id rollID+1.
func overlaid(script ...string) func(testing.TB) *State {
	return func(t testing.TB) *State {
		t.Helper()
		return play(t, must(t, looked(must(t, homed(t), PatchCluster{Overlay: ptr("max-clients = 9")})), rollout()), script...)
	}
}

// looked is a state whose members have all looked at the overlay.
func looked(s *State) *State {
	next := *s
	for id, h := range s.Homes {
		h.Runs.Overlaid = s.Cluster.Overlaid
		next.Homes = withKey(next.Homes, id, h)
	}
	return &next
}

// then plays what it is given on a state.
func then(state func(testing.TB) *State, do ...func(testing.TB, *State) *State) func(testing.TB) *State {
	return func(t testing.TB) *State {
		t.Helper()
		s := state(t)
		for _, f := range do {
			s = f(t, s)
		}
		return s
	}
}

// with applies commands.
func with(commands ...Command) func(testing.TB, *State) *State {
	return func(t testing.TB, s *State) *State {
		t.Helper()
		return must(t, s, commands...)
	}
}

func turn(number int, step string, members ...string) TurnOperation {
	return TurnOperation{ID: rollID, Number: number, Step: step, Members: members, Deadline: 70_000}
}

func fault(c TurnOperation, why string) TurnOperation {
	c.Fault = why
	return c
}

func report(number int, member string, change ...func(*ReportOperation)) ReportOperation {
	c := ReportOperation{ID: rollID, Number: number, Member: member, Incarnation: inc(member, 0), Percent: 40, Text: "starting"}
	for _, f := range change {
		f(&c)
	}
	return c
}

func finish(number int, step string, outcome Outcome) FinishOperation {
	return FinishOperation{ID: rollID, Number: number, Step: step, Outcome: outcome, Reason: "because"}
}

// stands checks the newest rolling operation, and that what members are to run says tags: "a=v1 b=" and so on, "" for all unset.
func stands(step string, outcome Outcome, homes string, more ...func(*State, Operation) bool) func(*State) bool {
	return func(s *State) bool {
		o := newest(&testing.T{}, s)
		ok := o.Outcome == outcome && (outcome != Running || o.Current().Name == step) && wanted(s) == homes
		for _, f := range more {
			ok = ok && f(s, o)
		}
		return ok
	}
}

// wanted says what members are to run: "b=v2.0.0" for a version, "b:c2" for a configuration, with "!c2" where that failed there.
func wanted(s *State) string {
	var list []string
	for _, id := range s.MemberIDs() {
		h := s.Homes[id]
		text := id
		if h.Tag != "" {
			text += "=" + h.Tag
		}
		if h.Config != "" {
			text += ":" + h.Config
		}
		if h.Refused != "" {
			text += "!" + h.Refused
		}
		if text != id {
			list = append(list, text)
		}
	}
	return strings.Join(list, " ")
}

func through(ids ...string) func(*State, Operation) bool {
	return func(_ *State, o Operation) bool { return slices.Equal(o.Roll.Done, ids) }
}

func undone(ids ...string) func(*State, Operation) bool {
	return func(_ *State, o Operation) bool { return slices.Equal(o.Roll.Undone, ids) }
}

func until(deadline int64) func(*State, Operation) bool {
	return func(_ *State, o Operation) bool { return o.Deadline == deadline }
}

func (o Operation) members() string { return strings.Join(o.Roll.Members, " ") }

// crowded has a restart at work, and as many behind it as may wait.
func crowded(t testing.TB) *State {
	s := on(restart("b"))(t)
	for range maxQueued {
		s = must(t, s, queued(restart("c")))
	}
	return s
}

var startRules = append(tagRules(), []rule{
	{name: "all who have a node", on: homed, do: restart(), check: stands(StepValidate, Running, "", until(70_000), func(s *State, o Operation) bool {
		last := s.History[len(s.History)-1]
		return o.members() == "a b c" && o.ID == rollID && len(o.Roll.Before) == 3 && o.Roll.Before["b"].Runs.Tag == "v1.0.0" && last.Kind == "operation.started" && last.Text == "restart 10 of a, b, c"
	})},
	{name: "some", on: homed, do: restart("c", "a"), check: stands(StepValidate, Running, "", func(_ *State, o Operation) bool { return o.members() == "c a" })},
	{name: "a stranger", on: homed, do: restart("a", "x"), want: ErrMember},
	{name: "a witness", on: homed, do: restart("w"), want: ErrMember},
	{name: "one twice", on: homed, do: restart("b", "b"), want: ErrAsked},
	{name: "where nobody has a node", on: func(t testing.TB) *State {
		w := member("d", 0)
		w.ID, w.Witness = "w", true
		return must(t, New(), SetCluster{Cluster{Name: "demo", Producers: []string{"alice"}, Slots: 4}}, PutMember{w})
	}, do: restart(), want: ErrAsked},
	{name: "no limit", on: homed, do: StartOperation{Name: KindRestart, Roll: &Roll{}, Deadline: 70_000}, want: ErrAsked},
	{name: "a limit of a day", on: homed, do: StartOperation{Name: KindRestart, Roll: &Roll{Limit: 24 * MaxStep}, Deadline: 70_000}, want: ErrAsked},
	{name: "a limit of less than nothing", on: homed, do: StartOperation{Name: KindRestart, Roll: &Roll{Limit: -1}, Deadline: 70_000}, want: ErrAsked},
	{name: "a deadline in a year", on: homed, do: StartOperation{Name: KindRestart, Roll: &Roll{Limit: 1}, Deadline: 1 << 35}, want: ErrDeadline},
	{name: "a deadline from before all time", on: homed, do: StartOperation{Name: KindRestart, Roll: &Roll{Limit: 1}, Deadline: -1 << 63}, want: ErrDeadline},
	{name: "what is the state's own is not taken from the request", on: homed, do: StartOperation{Name: KindRestart, Deadline: 70_000, Roll: &Roll{
		Limit: 1, Done: []string{"a"}, Undone: []string{"b"}, Fault: "x", Cancel: true, Overlaid: 9, Before: map[string]Home{"z": {}},
	}}, check: stands(StepValidate, Running, "", through(), undone(), func(_ *State, o Operation) bool {
		return o.Roll.Fault == "" && !o.Roll.Cancel && o.Roll.Overlaid == 0 && len(o.Roll.Before) == 3
	})},
	{name: "a kind that nobody knows", on: homed, do: StartOperation{Name: "dance", Roll: &Roll{Limit: 1}, Deadline: 70_000}, want: ErrOperation},
	{name: "nothing said", on: homed, do: StartOperation{Name: KindRestart, Deadline: 70_000}, want: ErrOperation},
	{name: "with a handoff", on: homed, do: change(restart(), func(c *StartOperation) { c.Handoff = &Handoff{To: "b", When: "safe"} }), want: ErrOperation},
	{name: "with a parent", on: homed, do: change(restart(), func(c *StartOperation) { c.Parent = 3 }), want: ErrOperation},
	{name: "a handoff that rolls", on: homed, do: change(start("b", "safe"), func(c *StartOperation) { c.Roll = &Roll{Limit: 1} }), want: ErrOperation},
	{name: "a handoff that waits", on: homed, do: change(start("b", "safe"), func(c *StartOperation) { c.Queue = true }), want: ErrOperation},

	{name: "restart with a version", on: homed, do: change(restart(), func(c *StartOperation) { c.Roll.Upgrade = &Upgrade{Tag: "v2.0.0"} }), want: ErrAsked},
	{name: "restart with a configuration", on: homed, do: change(restart("a"), func(c *StartOperation) { c.Roll.Configs = map[string]string{"a": "c2"} }), want: ErrAsked},
	{name: "upgrade without a version", on: homed, do: StartOperation{Name: KindUpgrade, Roll: &Roll{Limit: 1}, Deadline: 70_000}, want: ErrAsked},
	{name: "rollout without a configuration", on: homed, do: StartOperation{Name: KindRollout, Roll: &Roll{Limit: 1}, Deadline: 70_000}, want: ErrAsked},
	{name: "rollout without one's configuration", on: homed, do: rollout(func(r *Roll) { r.Configs = map[string]string{"a": "c2", "b": "c2"} }), want: ErrAsked},
	{name: "rollout with a stranger's configuration", on: homed, do: rollout(func(r *Roll) { r.Members = []string{"a", "b"} }), want: ErrAsked},
	{name: "rollout of a long hash", on: homed, do: rollout(func(r *Roll) { r.Configs["c"] = strings.Repeat("x", maxNamed+1) }), want: ErrAsked},
	{name: "rollout", on: homed, do: rollout(), check: stands(StepValidate, Running, "")},

	{name: "upgrade", on: homed, do: upgrade(), check: stands(StepValidate, Running, "")},
	{name: "upgrade, its tag as long as may be", on: homed, do: upgrade(func(u *Upgrade) { u.Tag = "v1.2.0-rc1_a+b" + strings.Repeat("0", maxTag-14) }), check: stands(StepValidate, Running, "")},
	{name: "upgrade at a block", on: homed, do: upgrade(func(u *Upgrade) { u.AtBlock, u.UndoAll, u.Snapshot, u.SHA256 = 7, true, true, hash1 }), check: stands(StepValidate, Running, "")},
	{name: "upgrade at a feature", on: homed, do: upgrade(func(u *Upgrade) { u.Feature = "BLS_PRIMITIVES2" }), check: stands(StepValidate, Running, "")},
	{name: "upgrade at a row", on: homed, do: upgrade(func(u *Upgrade) {
		u.Row = &TableRow{Code: "gov", Scope: "gov", Table: "plan", Key: "1", Field: "done", Value: strings.Repeat("1", maxText)}
	}), check: stands(StepValidate, Running, "")},
	{name: "upgrade to a checksum in capitals", on: homed, do: upgrade(func(u *Upgrade) { u.SHA256 = strings.ToUpper(hash1) }), want: ErrAsked},
	{name: "upgrade at a feature of many lines", on: homed, do: upgrade(func(u *Upgrade) { u.Feature = "a\nb" }), want: ErrAsked},
	{name: "upgrade at a row of no table", on: homed, do: upgrade(func(u *Upgrade) { u.Row = &TableRow{Code: "gov", Field: "done"} }), want: ErrAsked},
	{name: "upgrade at a row of a long name", on: homed, do: upgrade(func(u *Upgrade) {
		u.Row = &TableRow{Code: "gov", Table: "plan", Field: "done", Scope: strings.Repeat("x", maxNamed+1)}
	}), want: ErrAsked},
	{name: "upgrade at a row of a long value", on: homed, do: upgrade(func(u *Upgrade) {
		u.Row = &TableRow{Code: "gov", Table: "plan", Field: "done", Value: strings.Repeat("x", maxText+1)}
	}), want: ErrAsked},
	{name: "upgrade at two things", on: homed, do: upgrade(func(u *Upgrade) { u.AtBlock, u.Feature = 7, "x" }), want: ErrAsked},
	{name: "upgrade with a take-over", on: homed, do: change(upgrade(), func(c *StartOperation) { c.Roll.TakeOver = true }), want: ErrAsked},
	{name: "hard fork", on: homed, do: upgrade(hardFork), check: stands(StepValidate, Running, "")},
	{name: "hard fork nowhere", on: homed, do: upgrade(func(u *Upgrade) { u.HardFork = true }), want: ErrAsked},
	{name: "hard fork at a feature", on: homed, do: upgrade(hardFork, func(u *Upgrade) { u.Feature = "x" }), want: ErrAsked},
	{name: "hard fork at a row", on: homed, do: upgrade(hardFork, func(u *Upgrade) { u.Row = &TableRow{Code: "a", Table: "b", Field: "c"} }), want: ErrAsked},
	{name: "hard fork that takes all back", on: homed, do: upgrade(hardFork, undoAll), want: ErrAsked},
	{name: "hard fork with a snapshot", on: homed, do: upgrade(hardFork, func(u *Upgrade) { u.Snapshot = true }), want: ErrAsked},

	{name: "a second restart", on: on(restart("b")), do: restart("c"), want: ErrBusy},
	{name: "a second restart that waits", on: on(restart("b")), do: queued(restart("c")), check: stands(StepQueued, Running, "")},
	{name: "one that waits longer than a step may last", on: on(restart("b")), do: change(queued(restart("c")), func(c *StartOperation) { c.Deadline = MaxWait }), check: stands(StepQueued, Running, "")},
	{name: "one that waits for ever", on: on(restart("b")), do: change(queued(restart("c")), func(c *StartOperation) { c.Deadline = MaxWait + 1<<40 }), want: ErrDeadline},
	{name: "one that need not wait", on: homed, do: queued(restart("c")), check: stands(StepValidate, Running, "")},
	{name: "one that need not wait, with a deadline as if it had to", on: homed, do: change(queued(restart("c")), func(c *StartOperation) { c.Deadline = MaxWait }), check: stands(StepValidate, Running, "", until(10_000+PlanTime))},
	{name: "one that need not wait, and would have waited for a second", on: homed, do: change(queued(restart("c")), func(c *StartOperation) { c.Deadline = 11_000 }), check: stands(StepValidate, Running, "", until(10_000+PlanTime))},
	{name: "one that need not wait, by a clock in a year", on: homed, do: change(queued(restart("c")), func(c *StartOperation) { c.Deadline = -1 << 63 }), want: ErrDeadline},
	{name: "a restart while a rollout runs", on: on(rollout()), do: restart("c"), want: ErrBusy},
	{name: "a restart while a handoff runs", on: atStep(StepStart), do: restart("c"), want: ErrBusy},
	{name: "a restart that waits for a handoff", on: atStep(StepStart), do: queued(restart("c")), check: stands(StepQueued, Running, "")},
	{name: "a handoff while a restart runs", on: on(restart("b")), do: start("b", "safe"), want: ErrBusy},
	{name: "a handoff while a restart is queued behind what has ended", on: then(on(restart("b")), with(queued(restart("c")), CancelOperation{ID: rollID})), do: start("b", "safe"), check: func(s *State) bool { return len(s.RunningOperations()) == 2 }},
	{name: "a restart that overtakes one that waits", on: then(on(restart("b")), with(queued(restart("c")), CancelOperation{ID: rollID})), do: restart("b"), want: ErrBusy},
	{name: "an upgrade while a restart waits", on: then(on(restart("b")), with(queued(restart("c")))), do: upgrade(), check: stands(StepValidate, Running, "")},
	{name: "an upgrade while a restart runs", on: on(restart("b"), "restart b"), do: upgrade(), check: stands(StepValidate, Running, "")},
	{name: "an upgrade that would wait while a restart runs", on: on(restart("b"), "restart b"), do: queued(upgrade()), check: stands(StepValidate, Running, "")},
	{name: "a second upgrade", on: on(upgrade(), "stage a b c"), do: upgrade(), want: ErrBusy},
	{name: "a second upgrade that waits", on: on(upgrade(), "stage a b c"), do: queued(upgrade()), check: stands(StepQueued, Running, "")},
	{name: "a restart while an upgrade is being staged", on: on(upgrade(), "stage a b c"), do: restart("b"), check: stands(StepValidate, Running, "")},
	{name: "a handoff while an upgrade is being staged", on: on(upgrade(), "stage a b c"), do: start("b", "safe"), check: func(s *State) bool { return len(s.RunningOperations()) == 2 }},
	{name: "a restart while an upgrade switches", on: upgrading("switch b"), do: restart("c"), want: ErrBusy},
	{name: "a restart while an upgrade makes its snapshot", on: on(upgrade(func(u *Upgrade) { u.Snapshot = true }), append(slices.Clone(staged), "snapshot b")...), do: restart("c"), want: ErrBusy},
	{name: "a restart while a queued upgrade waits for another one", on: then(on(upgrade(), "stage a b c"), with(queued(upgrade()))), do: restart("c"), check: stands(StepValidate, Running, "")},
	{name: "one operation too many", on: crowded, do: queued(restart("c")), want: ErrBusy},
	{name: "one of another kind, that waits too", on: crowded, do: queued(rollout()), check: func(s *State) bool { return len(s.RunningOperations()) == 2+maxQueued }},
	{name: "one of another kind", on: crowded, do: upgrade(), check: func(s *State) bool { return len(s.RunningOperations()) == 2+maxQueued }},
	{name: "a handoff of the one at work, before those that wait", on: crowded, do: child(rollID, "c", 70_000), check: func(s *State) bool { return len(s.RunningOperations()) == 2+maxQueued }},
	{name: "a handoff while no node is stopped, before those that wait", on: func(t testing.TB) *State {
		s := on(upgrade(), "stage a b c")(t)
		for range maxQueued {
			s = must(t, s, queued(upgrade()))
		}
		return s
	}, do: start("b", "safe"), check: func(s *State) bool { return len(s.RunningOperations()) == 2+maxQueued }},

	{name: "a handoff within", on: on(restart(), "hand"), do: child(rollID, "b", 70_000), check: func(s *State) bool {
		o := s.Operations[len(s.Operations)-1]
		return o.Parent == rollID && o.Handoff.From == "a" && len(s.RunningOperations()) == 2
	}},
	{name: "a handoff within, away from one that is to be stopped", on: then(on(restart("b"), "restart b"), with(Grant{2, "b", inc("b", 0), 108, 110, "failover"})), do: child(rollID, "c", 70_000), check: func(s *State) bool { return len(s.RunningOperations()) == 2 }},
	{name: "a handoff within, to one that is stopped", on: on(restart("b"), "restart b"), do: child(rollID, "b", 70_000), want: ErrHandoff},
	{name: "a handoff within, to one that is through", on: on(restart(), "restart b", "ok b"), do: child(rollID, "b", 70_000), check: func(s *State) bool { return len(s.RunningOperations()) == 2 }},
	{name: "a second handoff within", on: then(on(restart(), "hand"), with(child(rollID, "b", 70_000))), do: child(rollID, "c", 70_000), want: ErrBusy},
	{name: "a handoff within what nobody knows", on: homed, do: child(99, "b", 70_000), want: ErrEnded},
	{name: "a handoff within what has ended", on: on(restart(), "hand", "cancel"), do: child(rollID, "b", 70_000), want: ErrEnded},
	{name: "a handoff within a handoff", on: atStep(StepVerify), do: child(handoffID, "c", 20_000), want: ErrBusy},
	{name: "a handoff within what stops nobody", on: on(upgrade(), "stage a b c"), do: child(rollID, "b", 70_000), want: ErrEnded},
	{name: "a handoff within another one than that which runs", on: then(on(upgrade(), "stage a b c"), with(restart("b"))), do: child(rollID, "c", 70_000), want: ErrBusy},
}...)

// tagRules are texts that must not name a folder.
func tagRules() (list []rule) {
	for i, tag := range []string{"", ".", "..", "../x", "a/b", `a\b`, ".hidden", "-rf", "a b", "a\nb", "ä", strings.Repeat("v", maxTag+1)} {
		list = append(list, rule{name: fmt.Sprintf("upgrade to what is no tag, %d", i), on: homed, do: upgrade(func(u *Upgrade) { u.Tag = tag }), want: ErrAsked})
	}
	return list
}

var turnRules = []rule{
	{name: "to the first member", on: on(restart()), do: turn(1, StepRestart, "b"), check: stands(StepRestart, Running, "", until(70_000), func(s *State, o Operation) bool {
		last := s.History[len(s.History)-1]
		p, ok := o.Current().Part("b")
		w, working := s.Working("b")
		return ok && p == Part{Member: "b", Incarnation: inc("b", 0)} && o.Current().Assignee == "b" && o.Number() == 2 && working && w.ID == rollID &&
			last.Kind == "operation.step" && last.Subject == "b" && last.Text == "restart 10: restart"
	})},
	{name: "twice", on: on(restart(), "restart b"), do: turn(1, StepRestart, "c"), want: ErrStep},
	{name: "without saying which step it ends", on: on(restart()), do: turn(0, StepRestart, "b"), want: ErrStep},
	{name: "what nobody knows", on: homed, do: turn(1, StepRestart, "b"), want: ErrOperation},
	{name: "a handoff", on: atStep(StepValidate), do: TurnOperation{ID: handoffID, Number: 1, Step: StepRestart, Members: []string{"b"}}, want: ErrStep},
	{name: "what has ended", on: on(restart(), "cancel"), do: turn(1, StepRestart, "b"), want: ErrEnded},
	{name: "to nowhere", on: on(restart()), do: turn(1, "", "b"), want: ErrStep},
	{name: "to a step of another kind", on: on(restart()), do: turn(1, StepSwitch, "b"), want: ErrStep},
	{name: "of a handoff", on: on(restart()), do: turn(1, StepStop), want: ErrStep},
	{name: "before it is over", on: on(restart(), "restart b"), do: turn(2, StepRestart, "c"), want: ErrStep},
	{name: "to the next member", on: on(restart(), "restart b", "ok b"), do: turn(2, StepRestart, "c"), check: stands(StepRestart, Running, "", through("b"))},
	{name: "to one that is through", on: on(restart(), "restart b", "ok b"), do: turn(2, StepRestart, "b"), want: ErrStep},
	{name: "on, after a fault", on: on(restart(), "restart b", "bad b exits at once"), do: turn(2, StepRestart, "c"), want: ErrStep},
	{name: "to a handover, after a fault", on: on(restart(), "restart b", "bad b exits at once"), do: turn(2, StepHandOver), want: ErrStep},
	{name: "on with a fault, where nothing goes back", on: on(restart(), "restart b", "bad b exits at once"), do: fault(turn(2, StepHandOver), "b exits"), want: ErrStep},
	{name: "on, when nobody reported in time", on: on(restart(), "restart b"), at: 71_001, do: change(turn(2, StepRestart, "c"), func(c *TurnOperation) { c.Deadline = 90_000 }), want: ErrStep},
	{name: "with a deadline in a year", on: on(restart()), do: change(turn(1, StepRestart, "b"), func(c *TurnOperation) { c.Deadline = 1 << 35 }), want: ErrDeadline},
	{name: "a member that is none of its", on: on(restart("b")), do: turn(1, StepRestart, "c"), want: ErrMember},
	{name: "a stranger", on: on(restart()), do: turn(1, StepRestart, "x"), want: ErrMember},
	{name: "two at a time", on: on(restart()), do: turn(1, StepRestart, "b", "c"), want: ErrStep},
	{name: "nobody", on: on(restart()), do: turn(1, StepRestart), want: ErrStep},
	{name: "a member for the leader's step", on: on(restart()), do: turn(1, StepHandOver, "b"), want: ErrStep},
	{name: "the holder", on: on(restart()), do: turn(1, StepRestart, "a"), want: ErrHolds},
	{name: "the holder, after its release", on: then(on(restart()), with(Release{Epoch: 1, Incarnation: inc("a", 0), Signed: 103})), do: turn(1, StepRestart, "a"), check: stands(StepRestart, Running, "")},
	{name: "the holder of a lease that has run out", on: on(restart()), at: 1 << 41, do: change(turn(1, StepRestart, "a"), func(c *TurnOperation) { c.Deadline = 1 << 41 }), want: ErrHolds}, // by whose clock?
	{name: "the holder, after a handover", on: on(restart(), "restart b", "ok b", "restart c", "ok c", "hand", "handoff c"), do: turn(4, StepRestart, "a"), check: stands(StepRestart, Running, "", through("b", "c"))},
	{name: "the next holder, after a handover", on: on(restart(), "hand", "handoff c"), do: turn(2, StepRestart, "c"), want: ErrHolds},
	{name: "somebody while production moves", on: then(on(restart(), "hand"), with(child(rollID, "c", 70_000))), do: turn(2, StepRestart, "b"), want: ErrBusy},
	{name: "while it is being canceled", on: on(restart(), "restart b", "cancel", "ok b"), do: turn(2, StepRestart, "c"), want: ErrEnded},
	{name: "to a handover while it is being canceled", on: on(restart(), "restart b", "cancel", "ok b"), do: turn(2, StepHandOver), want: ErrEnded},
	{name: "one that became a witness", on: then(on(restart()), with(PutMember{change(member("b", 1), func(m *Member) { m.Witness = true })})), do: turn(1, StepRestart, "b"), want: ErrMember},
	{name: "one that was removed and is back", on: then(on(restart()), with(RemoveMember{ID: "b"}, PutMember{member("b", 1)})), do: turn(1, StepRestart, "b"), want: ErrMember},
	{name: "to a handover again", on: on(restart(), "hand"), do: turn(2, StepHandOver), want: ErrStep},
	{name: "somebody takes over who was not asked to", on: on(restart("b"), "restart b", "ok b"), do: turn(2, StepTakeOver), want: ErrStep},
	{name: "the last one takes over", on: on(change(restart("b"), func(c *StartOperation) { c.Roll.TakeOver = true }), "restart b", "ok b"), do: turn(2, StepTakeOver), check: stands(StepTakeOver, Running, "")},
	{name: "somebody takes over before all are through", on: on(change(restart("b", "c"), func(c *StartOperation) { c.Roll.TakeOver = true }), "restart b", "ok b"), do: turn(2, StepTakeOver), want: ErrStep},

	{name: "out of the queue", on: then(on(restart("b")), with(queued(restart("c")), CancelOperation{ID: rollID})), do: TurnOperation{ID: rollID + 1, Number: 1, Step: StepValidate, Deadline: 70_000}, check: stands(StepValidate, Running, "")},
	{name: "out of the queue, too early", on: then(on(restart("b")), with(queued(restart("c")))), do: TurnOperation{ID: rollID + 1, Number: 1, Step: StepValidate, Deadline: 70_000}, want: ErrBusy},
	{name: "out of the queue, before another", on: then(on(restart("b")), with(queued(restart("c")), queued(rollout()), CancelOperation{ID: rollID})), do: TurnOperation{ID: rollID + 2, Number: 1, Step: StepValidate, Deadline: 70_000}, want: ErrBusy},
	{name: "out of the queue, behind an upgrade that waits for its like", on: then(on(upgrade(), "stage a b c"), with(queued(upgrade()), restart("b"), queued(restart("c")), CancelOperation{ID: 13})), do: TurnOperation{ID: 14, Number: 1, Step: StepValidate, Deadline: 70_000}, check: stands(StepValidate, Running, "")},
	{name: "out of the queue, while an upgrade stops nodes", on: then(on(upgrade(), staged...), with(restart("b"), queued(restart("c")), CancelOperation{ID: 15}, turn(2, StepSwitch, "b"))), do: TurnOperation{ID: 16, Number: 1, Step: StepValidate, Deadline: 70_000}, want: ErrBusy},

	{name: "stage", on: on(upgrade()), do: turn(1, StepStage, "a", "b", "c"), check: stands(StepStage, Running, "", func(s *State, o Operation) bool {
		_, working := s.Working("b")
		return len(o.Current().Parts) == 3 && o.Current().Assignee == "" && !o.Disruptive() && !working
	})},
	{name: "stage some", on: on(upgrade()), do: turn(1, StepStage, "a", "b"), want: ErrStep},
	{name: "stage one twice", on: on(upgrade()), do: turn(1, StepStage, "a", "b", "b"), want: ErrMember},
	{name: "stage for longer than others would wait", on: on(upgrade()), do: change(turn(1, StepStage, "a", "b", "c"), func(c *TurnOperation) { c.Deadline = MaxStep + 1<<20 }), want: ErrDeadline},
	{name: "switch what is not staged", on: on(upgrade()), do: turn(1, StepSwitch, "b"), want: ErrStep},
	{name: "switch while some stage", on: on(upgrade(), "stage a b c", "ok a", "ok b"), do: turn(2, StepSwitch, "b"), want: ErrStep},
	{name: "switch where one did not stage", on: on(upgrade(), "stage a b c", "ok a", "bad b no such file", "ok c"), do: turn(2, StepSwitch, "c"), want: ErrStep},
	{name: "roll back where one did not stage", on: on(upgrade(), "stage a b c", "ok a", "bad b no such file", "ok c"), do: fault(turn(2, StepUndo, "b"), "no such file"), want: ErrStep},
	{name: "switch", on: upgrading(), do: turn(2, StepSwitch, "b"), check: stands(StepSwitch, Running, "b=v2.0.0", func(_ *State, o Operation) bool { return o.Disruptive() && o.Roll.Before["b"].Tag == "" })},
	{name: "switch the holder", on: upgrading(), do: turn(2, StepSwitch, "a"), want: ErrHolds},
	{name: "switch while another one stops nodes", on: then(upgrading(), with(restart("c"))), do: turn(2, StepSwitch, "b"), want: ErrBusy},
	{name: "hand over while another one stops nodes", on: then(upgrading(), with(restart("c"))), do: turn(2, StepHandOver), want: ErrBusy},
	{name: "switch while somebody hands over", on: then(upgrading(), with(start("b", "safe"))), do: turn(2, StepSwitch, "c"), want: ErrBusy},
	{name: "switch where nobody knows the way back", on: func(t testing.TB) *State {
		return play(t, must(t, leased(t), upgrade(), RaiseAlarm{"x", "", ""}, RaiseAlarm{"x", "", ""}, RaiseAlarm{"x", "", ""}), staged...)
	}, do: TurnOperation{ID: 7, Number: 2, Step: StepSwitch, Members: []string{"b"}, Deadline: 70_000}, check: func(s *State) bool { return s.Homes["b"].Tag == "v2.0.0" }},
	{name: "roll back where nobody knows the way", on: func(t testing.TB) *State {
		return play(t, must(t, leased(t), upgrade(), RaiseAlarm{"x", "", ""}, RaiseAlarm{"x", "", ""}, RaiseAlarm{"x", "", ""}), append(slices.Clone(staged), "switch b", "bad b x")...)
	}, do: TurnOperation{ID: 7, Number: 3, Step: StepUndo, Members: []string{"b"}, Fault: "x", Deadline: 70_000}, want: ErrStep},
	{name: "arm what is no hard fork", on: upgrading(), do: turn(2, StepArm, "a", "b", "c"), want: ErrStep},
	{name: "wait for nothing", on: upgrading(), do: turn(2, StepTrigger, "a", "b", "c"), want: ErrStep},
	{name: "a snapshot that nobody wants", on: upgrading(), do: turn(2, StepSnapshot, "b"), want: ErrStep},
	{name: "roll back who failed", on: upgrading("switch b", "bad b exits at once"), do: fault(turn(3, StepUndo, "b"), "b: exits at once"), check: stands(StepUndo, Running, "b=v1.0.0", func(s *State, o Operation) bool {
		return o.Roll.Fault == "b: exits at once" && s.History[len(s.History)-1].Text == "upgrade 10: roll back: b: exits at once"
	})},
	{name: "roll back who did not come back in time", on: upgrading("switch b"), at: 90_000, do: change(fault(turn(3, StepUndo, "b"), "b is silent"), func(c *TurnOperation) { c.Deadline = 100_000 }), check: stands(StepUndo, Running, "b=v1.0.0")},
	{name: "roll back for no reason", on: upgrading("switch b", "ok b"), do: turn(3, StepUndo, "b"), want: ErrStep},
	{name: "roll back who was not begun", on: upgrading("switch b", "bad b exits"), do: fault(turn(3, StepUndo, "c"), "b exits"), want: ErrStep},
	{name: "roll back who is through and does not stay well", on: upgrading("switch b", "ok b"), do: fault(turn(3, StepUndo, "b"), "b fell behind"), check: stands(StepUndo, Running, "b=v1.0.0", through())},
	{name: "roll back who was rolled back", on: upgrading("switch b", "bad b exits", "undo b ! b exits", "ok b"), do: turn(4, StepUndo, "b"), want: ErrStep},
	{name: "roll back the holder", on: on(upgrade(undoAll), append(slices.Clone(staged), "switch b", "ok b", "hand", "handoff b", "switch c", "bad c exits", "undo c ! c exits", "ok c")...), do: turn(6, StepUndo, "b"), want: ErrHolds},
	{name: "on with a fault", on: upgrading("switch b", "bad b exits"), do: fault(turn(3, StepSwitch, "c"), "b exits"), want: ErrStep},
	{name: "on after a fault", on: upgrading("switch b", "bad b exits"), do: turn(3, StepSwitch, "c"), want: ErrStep},
	{name: "on after an undo", on: upgrading("switch b", "bad b exits", "undo b ! exits", "ok b"), do: turn(4, StepSwitch, "c"), want: ErrStep},
	{name: "hand over to undo the holder", on: upgrading("switch b", "ok b", "hand", "handoff b", "switch c", "bad c exits", "undo c ! c exits", "ok c"), do: turn(6, StepHandOver), check: stands(StepHandOver, Running, "b=v2.0.0 c=v1.0.0", through("b"), undone("c"))},
	{name: "hand over with a fault of its own", on: upgrading("switch b", "ok b"), do: fault(turn(3, StepHandOver), "b is ill"), check: stands(StepHandOver, Running, "b=v2.0.0", func(_ *State, o Operation) bool { return o.Roll.Fault == "b is ill" })},
	{name: "a second fault does not replace the first", on: upgrading("switch b", "bad b exits", "undo b ! the first", "bad b stuck"), do: fault(turn(4, StepHandOver), "the second"), check: stands(StepHandOver, Running, "b=v1.0.0", func(_ *State, o Operation) bool { return o.Roll.Fault == "the first" })},
	{name: "while production moves, back", on: then(upgrading("switch b", "ok b", "hand ! b is ill"), with(child(rollID, "c", 70_000))), do: turn(4, StepUndo, "b"), want: ErrBusy},

	{name: "at a block: no step before it", on: on(upgrade(func(u *Upgrade) { u.AtBlock = 7 }), staged...), do: turn(2, StepSwitch, "b"), want: ErrStep},
	{name: "at a block: no snapshot before it", on: on(upgrade(func(u *Upgrade) { u.AtBlock, u.Snapshot = 7, true }), staged...), do: turn(2, StepSnapshot, "b"), want: ErrStep},
	{name: "at a block: wait", on: on(upgrade(func(u *Upgrade) { u.AtBlock = 7 }), staged...), do: change(turn(2, StepTrigger, "a", "b", "c"), func(c *TurnOperation) { c.Deadline = MaxWait }), check: stands(StepTrigger, Running, "", until(MaxWait))},
	{name: "at a block: wait for a year", on: on(upgrade(func(u *Upgrade) { u.AtBlock = 7 }), staged...), do: change(turn(2, StepTrigger, "a"), func(c *TurnOperation) { c.Deadline = 13 * MaxWait }), want: ErrDeadline},
	{name: "at a block: before it is there", on: on(upgrade(func(u *Upgrade) { u.AtBlock = 7 }), append(slices.Clone(staged), "trigger a b c")...), do: turn(3, StepSwitch, "b"), want: ErrStep},
	{name: "at a block: one sees it", on: on(upgrade(func(u *Upgrade) { u.AtBlock = 7 }), append(slices.Clone(staged), "trigger a b c", "bad a no such table", "ok c")...), do: turn(3, StepSwitch, "b"), check: stands(StepSwitch, Running, "b=v2.0.0")},
	{name: "at a block: nobody can see it", on: on(upgrade(func(u *Upgrade) { u.AtBlock = 7 }), append(slices.Clone(staged), "trigger a b", "bad a x", "bad b x")...), do: turn(3, StepSwitch, "b"), want: ErrStep},
	{name: "at a block: it did not come in time", on: on(upgrade(func(u *Upgrade) { u.AtBlock = 7 }), append(slices.Clone(staged), "trigger a b")...), at: 200_000, do: change(turn(3, StepSwitch, "b"), func(c *TurnOperation) { c.Deadline = 300_000 }), want: ErrStep},
	{name: "with a snapshot: not left out", on: on(upgrade(func(u *Upgrade) { u.Snapshot = true }), staged...), do: turn(2, StepSwitch, "b"), want: ErrStep},
	{name: "with a snapshot: not left out after a wait", on: on(upgrade(func(u *Upgrade) { u.Snapshot, u.AtBlock = true, 7 }), append(slices.Clone(staged), "trigger a", "ok a")...), do: turn(3, StepHandOver), want: ErrStep},
	{name: "with a snapshot: never the holder's", on: on(upgrade(func(u *Upgrade) { u.Snapshot = true }), staged...), do: turn(2, StepSnapshot, "a"), want: ErrHolds},
	{name: "with a snapshot: two", on: on(upgrade(func(u *Upgrade) { u.Snapshot = true }), staged...), do: turn(2, StepSnapshot, "b", "c"), want: ErrStep},
	{name: "with a snapshot", on: on(upgrade(func(u *Upgrade) { u.Snapshot = true }), append(slices.Clone(staged), "snapshot b", "ok b")...), do: turn(3, StepSwitch, "b"), check: stands(StepSwitch, Running, "b=v2.0.0")},
	{name: "with a snapshot that failed", on: on(upgrade(func(u *Upgrade) { u.Snapshot = true }), append(slices.Clone(staged), "snapshot b", "bad b disk full")...), do: turn(3, StepSwitch, "b"), want: ErrStep},

	{name: "hard fork: no switch", on: on(upgrade(hardFork), staged...), do: turn(2, StepSwitch, "b"), want: ErrStep},
	{name: "hard fork: no handover", on: on(upgrade(hardFork), staged...), do: turn(2, StepHandOver), want: ErrStep},
	{name: "hard fork: wait", on: on(upgrade(hardFork), staged...), do: turn(2, StepTrigger, "a", "b", "c"), check: stands(StepTrigger, Running, "")},
	{name: "hard fork: arm", on: on(upgrade(hardFork), staged...), do: turn(2, StepArm, "a", "b", "c"), check: stands(StepArm, Running, "")},
	{name: "hard fork: at once", on: on(upgrade(hardFork), staged...), do: turn(2, StepFork, "a", "b", "c"), want: ErrStep},
	{name: "hard fork: one could not be armed", on: on(upgrade(hardFork), append(slices.Clone(staged), "arm a b c", "ok a", "bad b x", "ok c")...), do: turn(3, StepFork, "a", "b", "c"), want: ErrStep},
	{name: "hard fork: fork, the holder too", on: on(upgrade(hardFork), append(slices.Clone(staged), "arm a b c", "ok a", "ok b", "ok c")...), do: turn(3, StepFork, "a", "b", "c"), check: stands(StepFork, Running, "a=v2.0.0 b=v2.0.0 c=v2.0.0", func(s *State, o Operation) bool {
		f, ok := s.HardFork()
		return ok && f.ID == o.ID
	})},
	{name: "hard fork: resume", on: on(upgrade(hardFork), forked("ok a", "ok b", "ok c")...), do: turn(4, StepResume), check: stands(StepResume, Running, "a=v2.0.0 b=v2.0.0 c=v2.0.0", through("a", "b", "c"), func(s *State, _ Operation) bool {
		_, ok := s.HardFork()
		return !ok
	})},
	{name: "hard fork: resume while some switch", on: on(upgrade(hardFork), forked("ok a", "bad b x")...), do: turn(4, StepResume), want: ErrStep},
	{name: "hard fork: resume without one", on: on(upgrade(hardFork), forked("ok a", "bad b exits", "ok c")...), do: turn(4, StepResume), check: stands(StepResume, Running, "a=v2.0.0 b=v2.0.0 c=v2.0.0", through("a", "c"))},
	{name: "hard fork: back, where one came through", on: on(upgrade(hardFork), forked("ok a", "bad b x", "bad c x")...), do: fault(turn(4, StepUndo, "b"), "x"), want: ErrStep},
	{name: "hard fork: back, one after another", on: on(upgrade(hardFork), forked("bad a x", "bad b x", "bad c x")...), do: fault(turn(4, StepUndo, "b"), "x"), check: stands(StepUndo, Running, "a=v2.0.0 b=v1.0.0 c=v2.0.0")},

	{name: "roll out", on: overlaid(), do: TurnOperation{ID: 11, Number: 1, Step: StepRestart, Members: []string{"b"}, Deadline: 70_000}, check: stands(StepRestart, Running, "b:c2")},
	{name: "roll out on the holder", on: overlaid(), do: TurnOperation{ID: 11, Number: 1, Step: StepRestart, Members: []string{"a"}, Deadline: 70_000}, want: ErrHolds},
	{name: "roll out: take back", on: overlaid("restart b", "bad b exits"), do: TurnOperation{ID: 11, Number: 2, Step: StepUndo, Members: []string{"b"}, Fault: "b exits", Deadline: 70_000}, check: stands(StepUndo, Running, "b:c1!c2")},
	{name: "roll out: nothing behind a step back", on: overlaid("restart b", "bad b exits", "undo b ! exits", "ok b"), do: TurnOperation{ID: 11, Number: 3, Step: StepRestart, Members: []string{"c"}, Deadline: 70_000}, want: ErrStep},
	{name: "roll out what failed before", on: then(overlaid("restart b", "bad b exits", "undo b ! exits", "ok b", "failed"), with(change(rollout(), func(c *StartOperation) { c.Deadline = 90_000 }))), do: TurnOperation{ID: 17, Number: 1, Step: StepRestart, Members: []string{"b"}, Deadline: 70_000}, check: stands(StepRestart, Running, "b:c2")},
	{name: "roll out where nobody knows the way back", on: func(t testing.TB) *State { return must(t, leased(t), rollout()) }, do: TurnOperation{ID: 7, Number: 1, Step: StepRestart, Members: []string{"b"}, Deadline: 70_000}, want: ErrStep},
}

// forked is the script of a hard fork up to its fork, and what comes then.
func forked(more ...string) []string {
	return append(append(slices.Clone(staged), "arm a b c", "ok a", "ok b", "ok c", "fork a b c"), more...)
}

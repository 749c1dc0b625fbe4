package fsm

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// chainID is of the chain that the tests' backups are of; the cluster of homed does not know its own.
var chainID = strings.Repeat("c0", 32)

func stored(change ...func(*Stored)) Stored {
	c := Stored{ChainID: chainID, First: 1, Head: 2000, LIB: 1990, Version: "v1.0.0", Files: 7, Size: 1 << 30, Data: 1 << 29, Stored: 1 << 28, Manifest: strings.Repeat("5a", 32)}
	for _, f := range change {
		f(&c)
	}
	return c
}

// asks is an operation on a backup; it has the id rollID on homed.
func asks(kind string, change ...func(*Task)) StartOperation {
	t := Task{Repository: "main", Limit: 60_000}
	switch kind {
	case KindBackup:
		t.Copies, t.Backup = CopiesData, "b1"
	case KindRestore:
		t.Backup, t.Member = "b1", "b"
	case KindVerify:
		t.Backup = "b1"
	}
	for _, f := range change {
		f(&t)
	}
	return StartOperation{Name: kind, Task: &t, Deadline: 70_000}
}

func makes(id string, change ...func(*Task)) StartOperation {
	return asks(KindBackup, append([]func(*Task){func(t *Task) { t.Backup = id }}, change...)...)
}

func ofChain(t *Task)                 { t.Copies = CopiesSnapshot }
func elsewhere(t *Task)               { t.Repository = "other" }
func by(member string) func(*Task)    { return func(t *Task) { t.Member = member } }
func avoid(ids ...string) func(*Task) { return func(t *Task) { t.Avoid = ids } }

// made is the whole of a backup of b's node.
var made = []string{"prepare b", "ok b", "copy b", "ok b", "store b", "ok b", "done"}

// keptID is the id of an operation that begins on kept.
const keptID = rollID + 8

// kept is homed with a backup "b1" that is done.
func kept(t testing.TB) *State {
	t.Helper()
	return play(t, must(t, homed(t), makes("b1")), made...)
}

// onKept is kept with an operation started and a script played.
func onKept(c StartOperation, script ...string) func(testing.TB) *State {
	return func(t testing.TB) *State {
		t.Helper()
		return play(t, must(t, kept(t), c), script...)
	}
}

// records checks the catalogue: "b1 done" and so on, in the order of the ids.
func records(want ...string) func(*State) bool {
	return func(s *State) bool {
		var got []string
		for id, b := range s.Backups {
			got = append(got, fmt.Sprint(id, " ", b.State))
		}
		slices.Sort(got)
		return slices.Equal(got, want)
	}
}

// is checks the newest operation, and the catalogue.
func is(step string, outcome Outcome, backups ...string) func(*State) bool {
	return all(stands(step, outcome, ""), records(backups...))
}

func turnTo(id uint64, number int, step string, members ...string) TurnOperation {
	return TurnOperation{ID: id, Number: number, Step: step, Members: members, Deadline: 70_000}
}

// reports are a member's words of its part, at the end of a script.
func reports(number int, change ...func(*ReportOperation)) ReportOperation {
	return report(number, "b", append([]func(*ReportOperation){over2}, change...)...)
}

func tells(c Stored) func(*ReportOperation) { return func(r *ReportOperation) { r.Stored = &c } }
func fails(why string) func(*ReportOperation) {
	return func(r *ReportOperation) { r.Fault = why }
}
func damaged(r *ReportOperation)          { r.Fault, r.Damaged = "pack 7 has other bytes", true }
func of(id uint64) func(*ReportOperation) { return func(r *ReportOperation) { r.ID = id } }
func backup(s *State, id string) Backup   { return s.Backups[id] }
func task(s *State) Task                  { return *newest(&testing.T{}, s).Task }
func holding(id string) func(testing.TB, *State) *State { // who held the lease is dead
	return func(t testing.TB, s *State) *State {
		return must(t, s, Grant{s.Lease.Epoch + 1, id, s.Members[id].Incarnation, s.Lease.Last + 1, s.Lease.Last + 4, "failover"})
	}
}

var taskStartRules = []rule{
	{name: "a backup", on: homed, do: makes("b1"), check: all(is(StepValidate, Running), func(s *State) bool {
		o := newest(&testing.T{}, s)
		return o.ID == rollID && o.Deadline == 70_000 && !o.Disruptive() && o.Task.Member == "" && history(s).Text == "backup 10 in main"
	})},
	{name: "of a member, with much forged", on: homed, do: makes("b1", by("c"), avoid("b", "c"), func(t *Task) { t.Cancel, t.Keep = true, maxKeep }), check: all(is(StepValidate, Running), func(s *State) bool {
		return !task(s).Cancel && task(s).Member == "c"
	})},
	{name: "beside a rolling operation", on: on(restart(), "restart b"), do: makes("b1"), check: is(StepValidate, Running)},
	{name: "without a limit", on: homed, do: makes("b1", func(t *Task) { t.Limit = 0 }), want: ErrAsked},
	{name: "of more than a day", on: homed, do: makes("b1", func(t *Task) { t.Limit = MaxTask + 1 }), want: ErrAsked},
	{name: "nowhere", on: homed, do: makes("b1", func(t *Task) { t.Repository = "" }), want: ErrAsked},
	{name: "in a repository of a bad name", on: homed, do: makes("b1", func(t *Task) { t.Repository = "a\nb" }), want: ErrAsked},
	{name: "of nothing", on: homed, do: makes("b1", func(t *Task) { t.Copies = "" }), want: ErrAsked},
	{name: "that is to be kept for ever and a day", on: homed, do: makes("b1", func(t *Task) { t.Keep = maxKeep + 1 }), want: ErrAsked},
	{name: "that has expired before", on: homed, do: makes("b1", func(t *Task) { t.Keep = -1 }), want: ErrAsked},
	{name: "by a stranger", on: homed, do: makes("b1", by("x")), want: ErrMember},
	{name: "by a witness", on: homed, do: makes("b1", by("w")), want: ErrMember},
	{name: "not by a stranger", on: homed, do: makes("b1", avoid("x")), want: ErrMember},
	{name: "not by one, and not by that one", on: homed, do: makes("b1", avoid("b", "b")), want: ErrMember},
	{name: "of no name", on: homed, do: makes(""), want: ErrAsked},
	{name: "of a name with a slash", on: homed, do: makes("a/b"), want: ErrAsked},
	{name: "of a name that an option may have", on: homed, do: makes("-rf"), want: ErrAsked},
	{name: "of a long name", on: homed, do: makes(strings.Repeat("x", maxBackupID+1)), want: ErrAsked},
	{name: "of a name that is there", on: kept, do: makes("b1"), want: ErrAsked},
	{name: "of a name that is being made elsewhere", on: on(makes("b1")), do: queued(makes("b1", elsewhere)), want: ErrAsked},
	{name: "of a name that was there once", on: then(kept, with(ExpireBackup{ID: "b1"}, DropBackup{"b1"})), do: makes("b1"), want: ErrAsked},
	{name: "for a plan that did not fire it", on: homed, do: makes("b1", func(t *Task) { t.Plan = "nightly" }), want: ErrAsked},
	{name: "with a roll", on: homed, do: change(makes("b1"), func(c *StartOperation) { c.Roll = restart().Roll }), want: ErrOperation},
	{name: "within another operation", on: on(restart("b"), "restart b"), do: change(makes("b1"), func(c *StartOperation) { c.Parent = rollID }), want: ErrOperation},
	{name: "a task that is none", on: homed, do: change(makes("b1"), func(c *StartOperation) { c.Name = KindRestart }), want: ErrOperation},
	{name: "a handoff with a task", on: homed, do: change(makes("b1"), func(c *StartOperation) { c.Name, c.Handoff = KindHandoff, &Handoff{To: "b", When: "safe"} }), want: ErrOperation},
	{name: "with a deadline in a day", on: homed, do: change(makes("b1"), func(c *StartOperation) { c.Deadline = MaxTask }), want: ErrDeadline},
	{name: "while one writes there", on: on(makes("b1"), "prepare b"), do: makes("b2"), want: ErrBusy},
	{name: "while one is swept there", on: on(asks(KindSweep), "sweep b"), do: makes("b2"), want: ErrBusy},
	{name: "while one writes elsewhere", on: on(makes("b1"), "prepare b"), do: makes("b2", elsewhere), check: is(StepValidate, Running, "b1 running")},
	{name: "of a node that is being copied elsewhere", on: on(makes("b1"), "prepare b"), do: makes("b2", elsewhere, by("b")), want: ErrBusy},
	{name: "queued behind one that writes there", on: on(makes("b1")), do: queued(makes("b2")), check: is(StepQueued, Running)},
	{name: "queued behind one that is queued there", on: then(on(makes("b1")), with(queued(makes("b2")))), do: makes("b3"), want: ErrBusy},
	{name: "queued behind nobody, for long", on: homed, do: change(queued(makes("b1")), func(c *StartOperation) { c.Deadline = MaxWait }), check: all(is(StepValidate, Running), stands(StepValidate, Running, "", until(10_000+PlanTime)))},
	{name: "queued behind nobody, for too long", on: homed, do: change(queued(makes("b1")), func(c *StartOperation) { c.Deadline = MaxWait + 10_001 }), want: ErrDeadline},
	{name: "queued for too long", on: on(makes("b1")), do: change(queued(makes("b2")), func(c *StartOperation) { c.Deadline = MaxWait + 11_001 }), want: ErrDeadline},
	{name: "too many of them", on: busyAll, do: asks(KindVerify), want: ErrBusy},
	{name: "into a full catalogue", on: catalogued(BackupDone), do: makes("new"), want: ErrCatalogue},
	{name: "into one that is full of what failed", on: catalogued(BackupFailed), do: makes("new"), check: stands(StepValidate, Running, "")},

	{name: "a restore", on: kept, do: asks(KindRestore), check: is(StepValidate, Running, "b1 done")},
	{name: "a restore of nobody's node", on: kept, do: asks(KindRestore, by("")), want: ErrAsked},
	{name: "a restore of what nobody knows", on: homed, do: asks(KindRestore), want: ErrNoBackup},
	{name: "a restore from elsewhere", on: kept, do: asks(KindRestore, elsewhere), want: ErrBackup},
	{name: "a restore of what is being made", on: on(makes("b1"), "prepare b"), do: asks(KindRestore, by("c")), want: ErrBackup},
	{name: "a restore of what expired", on: then(kept, with(ExpireBackup{ID: "b1"})), do: asks(KindRestore), want: ErrBackup},
	{name: "a restore of what is damaged", on: hurt, do: asks(KindRestore), want: ErrBackup},
	{name: "a restore of another chain", on: func(t testing.TB) *State {
		s := *kept(t)
		s.Cluster.ChainID = strings.Repeat("ab", 32)
		return &s
	}, do: asks(KindRestore), want: ErrBackup},
	{name: "a restore beside another one", on: onKept(asks(KindRestore), "fetch b"), do: asks(KindRestore, by("c")), check: is(StepValidate, Running, "b1 done")},
	{name: "a restore of a node that is being restored", on: onKept(asks(KindRestore), "fetch b"), do: asks(KindRestore), want: ErrBusy},
	{name: "a restore of a node that is being copied", on: onKept(makes("b2", elsewhere), "prepare b"), do: asks(KindRestore), want: ErrBusy},
	{name: "a restore of what is to be kept", on: kept, do: asks(KindRestore, func(t *Task) { t.Keep = 1 }), want: ErrAsked},
	{name: "a restore that asks itself, for somebody else", on: kept, do: asks(KindRestore, func(t *Task) { t.Auto = true }), want: ErrAsked},
	{name: "a restore that asks itself", on: kept, do: asks(KindRestore, by("a"), func(t *Task) { t.Auto = true }), check: is(StepValidate, Running, "b1 done")},
	{name: "a restore that asks itself again", on: autoTried, do: asks(KindRestore, by("a"), func(t *Task) { t.Auto = true }), want: ErrBackup},
	{name: "a restore that asks itself again, an hour later", on: autoTried, at: autoRestore + 22_000, do: asks(KindRestore, by("a"), func(t *Task) { t.Auto = true }), check: is(StepValidate, Running, "b1 done")},
	{name: "a restore that asks itself, after one that an operator asked for", on: then(restored, holding("c")), do: asks(KindRestore, by("a"), func(t *Task) { t.Auto = true }), want: ErrBackup},
	{name: "a restore that an operator asks for, after another one", on: then(restored, holding("c")), do: asks(KindRestore, by("a")), check: is(StepValidate, Running, "b1 done")},

	{name: "a verification", on: kept, do: asks(KindVerify, func(t *Task) { t.Trial = true }), check: is(StepValidate, Running, "b1 done")},
	{name: "a verification of what is damaged", on: hurt, do: asks(KindVerify), check: is(StepValidate, Running, "b1 damaged")},
	{name: "a verification of what failed", on: on(makes("b1"), "prepare b", "bad b x", "failed"), do: asks(KindVerify), want: ErrBackup},
	{name: "a verification that copies", on: kept, do: asks(KindVerify, ofChain), want: ErrAsked},
	{name: "a verification beside a sweep", on: onKept(asks(KindSweep), "sweep b"), do: asks(KindVerify), check: is(StepValidate, Running, "b1 done")},
	{name: "a sweep", on: kept, do: asks(KindSweep, func(t *Task) { t.Unknown = true }), check: is(StepValidate, Running, "b1 done")},
	{name: "a sweep of one", on: kept, do: asks(KindSweep, func(t *Task) { t.Backup = "b1" }), want: ErrAsked},
	{name: "a sweep with a trial", on: kept, do: asks(KindSweep, func(t *Task) { t.Trial = true }), want: ErrAsked},
	{name: "a sweep while one is scanned", on: on(asks(KindScan), "scan b"), do: asks(KindSweep), want: ErrBusy},
	{name: "a scan", on: homed, do: asks(KindScan), check: is(StepValidate, Running)},
	{name: "a scan while one is swept", on: on(asks(KindSweep), "sweep b"), do: asks(KindScan), want: ErrBusy},
	{name: "a scan while one is written", on: on(makes("b1"), "prepare b"), do: asks(KindScan), check: is(StepValidate, Running, "b1 running")},
	{name: "a scan of what nobody knows", on: homed, do: asks(KindScan, func(t *Task) { t.Unknown = true }), want: ErrAsked},

	{name: "a restart behind what is queued for a repository", on: then(on(makes("b1")), with(queued(makes("b2")))), do: restart(), check: stands(StepValidate, Running, "")},
	{name: "a restart while a node is copied", on: on(makes("b1"), "prepare b", "ok b", "copy b"), do: restart(), want: ErrBusy},
	{name: "a handoff while a node is copied", on: on(makes("b1"), "prepare b", "ok b", "copy b"), do: start("c", "safe"), want: ErrBusy},
	{name: "a handoff to a node that writes a chain snapshot", on: on(makes("b1", ofChain), "snapshot b"), do: start("b", "safe"), want: ErrHandoff},
	{name: "a handoff to another one meanwhile", on: on(makes("b1", ofChain), "snapshot b"), do: start("c", "safe"), check: func(s *State) bool { return len(s.RunningOperations()) == 2 }},
	{name: "a handoff to it when it is written", on: on(makes("b1", ofChain), "snapshot b", "ok b"), do: start("b", "safe"), check: func(s *State) bool { return len(s.RunningOperations()) == 2 }},
	{name: "a handoff within the operation that copies a node", on: on(makes("b1"), "prepare b", "ok b", "copy b"), do: child(rollID, "c", 70_000), check: func(s *State) bool { return len(s.RunningOperations()) == 2 }},
	{name: "a second one within it", on: then(on(makes("b1"), "prepare b", "ok b", "copy b"), with(child(rollID, "c", 70_000))), do: child(rollID, "c", 70_000), want: ErrBusy},
	{name: "a handoff within it to the one that is copied", on: on(makes("b1"), "prepare b", "ok b", "copy b"), do: child(rollID, "b", 70_000), want: ErrHandoff},
	{name: "a handoff within one that stops nobody", on: on(makes("b1"), "prepare b"), do: child(rollID, "c", 70_000), want: ErrEnded},
}

// busyAll has as many operations on backups as there may be.
func busyAll(t testing.TB) *State {
	s := kept(t)
	for range maxTasks {
		s = must(t, s, asks(KindVerify))
	}
	return s
}

// catalogued has a catalogue that is full of backups of a state; the first ones are the oldest.
func catalogued(state BackupState) func(testing.TB) *State {
	return func(t testing.TB) *State {
		s := *homed(t)
		s.Backups = map[string]Backup{}
		for i := range maxBackups {
			id := fmt.Sprintf("old-%03d", i)
			s.Backups[id] = Backup{ID: id, Copies: CopiesData, Repository: "gone", State: state, Of: stored(), Created: int64(1000 + i), Ended: int64(1000 + i)}
		}
		return &s
	}
}

// hurt is kept, and the backup is damaged.
func hurt(t testing.TB) *State {
	t.Helper()
	return must(t, onKept(asks(KindVerify), "check b")(t), reports(2, of(keptID), damaged), FinishOperation{ID: keptID, Number: 2, Step: StepCheck, Outcome: Failed})
}

// makesAnother has a second backup made after b1 in the same repository, b2, and one in another one, b3, of which it is told only.
func makesAnother(t testing.TB, s *State) *State {
	t.Helper()
	s = play(t, must(t, s, makes("b2")), made...)
	next := *s
	b := s.Backups["b2"]
	b.ID, b.Repository = "b3", "other"
	next.Backups = withKey(s.Backups, b.ID, b)
	return &next
}

// suspected is a state in which b1 was found damaged, and b2 is being verified.
func suspected(t testing.TB) *State {
	t.Helper()
	s := makesAnother(t, kept(t))
	s = play(t, must(t, s, asks(KindVerify)), "check b", "bad b x", "failed")
	b := s.Backups["b2"]
	b.Suspect = true
	next := *s
	next.Backups = withKey(s.Backups, "b2", b)
	return play(t, must(t, &next, asks(KindVerify, func(t *Task) { t.Backup = "b2" })), "check b")
}

// autoTried is kept, and a's node was to be restored, as it asked for, which failed before anything was touched.
func autoTried(t testing.TB) *State {
	t.Helper()
	s := holding("c")(t, kept(t))
	s = must(t, s, asks(KindRestore, by("a"), func(t *Task) { t.Auto = true }))
	return play(t, s, "fetch a", "bad a no room", "failed")
}

// restored is kept with a's node restored.
func restored(t testing.TB) *State {
	t.Helper()
	s := must(t, holding("c")(t, kept(t)), asks(KindRestore, by("a")))
	return play(t, s, "fetch a", "ok a", "replace a", "ok a", "done")
}

var taskTurnRules = []rule{
	{name: "a backup begins", on: on(makes("b1", func(t *Task) { t.Keep = 5 })), do: turnTo(rollID, 1, StepPrepare, "b"), check: all(is(StepPrepare, Running, "b1 running"), func(s *State) bool {
		o := newest(&testing.T{}, s)
		_, stops := s.Working("b")
		return backup(s, "b1") == Backup{ID: "b1", Copies: CopiesData, Repository: "main", State: BackupRunning, Member: "b", Operation: rollID, Created: 11_000} &&
			o.Task.Member == "b" && o.Current().Assignee == "b" && part(s, "b").Incarnation == inc("b", 0) && !stops && !o.Disruptive() && history(s).Text == "backup 10: prepare"
	})},
	{name: "of a chain snapshot", on: on(makes("b1", ofChain)), do: turnTo(rollID, 1, StepSnapshot, "b"), check: is(StepSnapshot, Running, "b1 running")},
	{name: "of a chain snapshot, which takes a day", on: on(makes("b1", ofChain)), do: change(turnTo(rollID, 1, StepSnapshot, "b"), func(c *TurnOperation) { c.Deadline = 11_000 + MaxTask }), check: is(StepSnapshot, Running, "b1 running")},
	{name: "with a deadline beyond a day", on: on(makes("b1")), do: change(turnTo(rollID, 1, StepPrepare, "b"), func(c *TurnOperation) { c.Deadline = 11_001 + MaxTask }), want: ErrDeadline},
	{name: "of data, by a chain snapshot", on: on(makes("b1")), do: turnTo(rollID, 1, StepSnapshot, "b"), want: ErrStep},
	{name: "of a chain snapshot, with the node stopped", on: on(makes("b1", ofChain)), do: turnTo(rollID, 1, StepPrepare, "b"), want: ErrStep},
	{name: "at the end", on: on(makes("b1")), do: turnTo(rollID, 1, StepStore, "b"), want: ErrStep},
	{name: "with no step", on: on(makes("b1"), "prepare b", "ok b", "copy b", "ok b", "store b", "ok b"), do: turnTo(rollID, 4, "", "b"), want: ErrStep},
	{name: "with a fault", on: on(makes("b1")), do: fault(turnTo(rollID, 1, StepPrepare, "b"), "x"), want: ErrStep},
	{name: "by nobody", on: on(makes("b1")), do: turnTo(rollID, 1, StepPrepare), want: ErrStep},
	{name: "by two", on: on(makes("b1")), do: turnTo(rollID, 1, StepPrepare, "b", "c"), want: ErrStep},
	{name: "by a stranger", on: on(makes("b1")), do: turnTo(rollID, 1, StepPrepare, "x"), want: ErrMember},
	{name: "by a witness", on: on(makes("b1")), do: turnTo(rollID, 1, StepPrepare, "w"), want: ErrMember},
	{name: "by the holder", on: on(makes("b1")), do: turnTo(rollID, 1, StepPrepare, "a"), want: ErrHolds},
	{name: "by who held", on: then(on(makes("b1")), with(Release{1, inc("a", 0), 103, block(103), ""})), do: turnTo(rollID, 1, StepPrepare, "a"), check: is(StepPrepare, Running, "b1 running")},
	{name: "by somebody else than was asked for", on: on(makes("b1", by("c"))), do: turnTo(rollID, 1, StepPrepare, "b"), want: ErrStep},
	{name: "of a node that is copied elsewhere", on: then(on(makes("b2", elsewhere), "prepare b"), with(makes("b1"))), do: turnTo(rollID+2, 1, StepPrepare, "b"), want: ErrBusy},
	{name: "of another node than is copied elsewhere", on: then(on(makes("b2", elsewhere), "prepare b"), with(makes("b1"))), do: turnTo(rollID+2, 1, StepPrepare, "c"), check: is(StepPrepare, Running, "b1 running", "b2 running")},
	{name: "of a node that is to be restored", on: then(onKept(makes("b2")), with(asks(KindRestore))), do: turnTo(keptID, 1, StepPrepare, "b"), want: ErrBusy},
	{name: "into a catalogue that has filled up", on: then(on(makes("b1")), func(t testing.TB, s *State) *State {
		full := *s
		full.Backups = catalogued(BackupDamaged)(t).Backups
		return &full
	}), do: turnTo(rollID, 1, StepPrepare, "b"), want: ErrCatalogue},
	{name: "into one that is full of what expired: the oldest goes", on: then(on(makes("b1")), func(t testing.TB, s *State) *State {
		full := *s
		full.Backups = catalogued(BackupExpired)(t).Backups
		return &full
	}), do: turnTo(rollID, 1, StepPrepare, "b"), check: all(stands(StepPrepare, Running, ""), func(s *State) bool {
		condemned, known := s.Condemned("gone", "old-000")
		return len(s.Backups) == maxBackups && backup(s, "b1").State == BackupRunning && backup(s, "old-000").ID == "" && condemned && known
	})},
	{name: "of an id that was found meanwhile", on: then(on(makes("b1"), "prepare b"), func(t testing.TB, s *State) *State { // and is that of a queued one
		next := *must(t, s, queued(makes("b2")))
		next.Backups = withKey(next.Backups, "b2", Backup{ID: "b2", State: BackupDone})
		return play(t, must(t, &next, FinishOperation{ID: rollID, Number: 2, Step: StepPrepare, Outcome: Failed}), "validate")
	}), do: turnTo(rollID+2, 2, StepPrepare, "b"), want: ErrAsked},

	{name: "the node is copied", on: on(makes("b1"), "prepare b", "ok b"), do: turnTo(rollID, 2, StepCopy, "b"), check: all(is(StepCopy, Running, "b1 running"), func(s *State) bool {
		o, stops := s.Working("b")
		return stops && o.ID == rollID && o.Disruptive()
	})},
	{name: "before it is prepared", on: on(makes("b1"), "prepare b"), do: turnTo(rollID, 2, StepCopy, "b"), want: ErrStep},
	{name: "in the place of what was not prepared in time", on: on(makes("b1"), "prepare b"), at: 1 << 33, do: turnTo(rollID, 2, StepCopy, "b"), want: ErrStep},
	{name: "though that failed", on: on(makes("b1"), "prepare b", "bad b no room"), do: turnTo(rollID, 2, StepCopy, "b"), want: ErrStep},
	{name: "by another one", on: on(makes("b1"), "prepare b", "ok b"), do: turnTo(rollID, 2, StepCopy, "c"), want: ErrStep},
	{name: "that is gone and came again", on: then(on(makes("b1"), "prepare b", "ok b"), with(RemoveMember{ID: "b"})), do: turnTo(rollID, 2, StepCopy, "b"), want: ErrMember},
	{name: "which holds now", on: then(on(makes("b1"), "prepare b", "ok b"), holding("b")), do: turnTo(rollID, 2, StepCopy, "b"), want: ErrHolds},
	{name: "while production moves", on: then(on(makes("b1"), "prepare b", "ok b"), with(start("c", "safe"))), do: turnTo(rollID, 2, StepCopy, "b"), want: ErrBusy},
	{name: "while another node is restarted", on: then(on(makes("b1"), "prepare b", "ok b"), with(restart("c"))), do: turnTo(rollID, 2, StepCopy, "b"), want: ErrBusy},
	{name: "while another node is copied", on: then(on(makes("b1"), "prepare b", "ok b"), func(t testing.TB, s *State) *State {
		return play(t, must(t, s, makes("b2", elsewhere)), "prepare c", "ok c", "copy c")
	}), do: turnTo(rollID, 2, StepCopy, "b"), want: ErrBusy},
	{name: "while an upgrade waits", on: then(on(makes("b1"), "prepare b", "ok b"), with(upgrade())), do: turnTo(rollID, 2, StepCopy, "b"), check: records("b1 running")},
	{name: "an upgrade begins while it is copied", on: then(on(upgrade(), staged...), func(t testing.TB, s *State) *State {
		return play(t, must(t, s, makes("b1")), "prepare b", "ok b", "copy b")
	}), do: turnTo(rollID, 2, StepSwitch, "c"), want: ErrBusy},
	{name: "it is stored while another node is restarted", on: then(on(makes("b1"), "prepare b", "ok b", "copy b", "ok b"), func(t testing.TB, s *State) *State {
		return play(t, s, "store b")
	}), do: restart("c"), check: stands(StepValidate, Running, "")},
	{name: "it is stored by who holds now", on: then(on(makes("b1"), "prepare b", "ok b", "copy b", "ok b"), holding("b")), do: turnTo(rollID, 3, StepStore, "b"), check: is(StepStore, Running, "b1 running")}, // the member waits
	{name: "of a chain snapshot, by the target of a handoff", on: then(on(makes("b1", ofChain)), with(start("b", "safe"))), do: turnTo(rollID, 1, StepSnapshot, "b"), want: ErrBusy},
	{name: "of a chain snapshot, by the source of a handoff", on: then(on(makes("b1", ofChain)), with(start("b", "safe")), holding("c")), do: turnTo(rollID, 1, StepSnapshot, "a"), want: ErrBusy},
	{name: "of a chain snapshot, beside a handoff", on: then(on(makes("b1", ofChain)), with(start("b", "safe"))), do: turnTo(rollID, 1, StepSnapshot, "c"), check: records("b1 running")},
	{name: "while it is canceled", on: on(makes("b1"), "prepare b", "ok b", "copy b", "cancel", "ok b"), do: turnTo(rollID, 3, StepStore, "b"), want: ErrEnded},
	{name: "of the step before", on: on(makes("b1"), "prepare b", "ok b", "copy b", "ok b"), do: turnTo(rollID, 2, StepStore, "b"), want: ErrStep},
	{name: "of what has ended", on: on(makes("b1"), "prepare b", "cancel"), do: turnTo(rollID, 2, StepCopy, "b"), want: ErrEnded},

	{name: "what is queued begins", on: then(on(makes("b1")), with(queued(makes("b2")), CancelOperation{ID: rollID})), do: turnTo(rollID+1, 1, StepValidate), check: is(StepValidate, Running)},
	{name: "what is queued, too early", on: then(on(makes("b1")), with(queued(makes("b2")))), do: turnTo(rollID+1, 1, StepValidate), want: ErrBusy},
	{name: "what is queued last", on: then(on(makes("b1")), with(queued(makes("b2")), queued(makes("b3")), CancelOperation{ID: rollID})), do: turnTo(rollID+2, 1, StepValidate), want: ErrBusy},
	{name: "what is queued, by a member", on: then(on(makes("b1")), with(queued(makes("b2")), CancelOperation{ID: rollID})), do: turnTo(rollID+1, 1, StepValidate, "b"), want: ErrStep},
	{name: "what is queued, at once", on: then(on(makes("b1")), with(queued(makes("b2")), CancelOperation{ID: rollID})), do: turnTo(rollID+1, 1, StepPrepare, "b"), want: ErrStep},

	{name: "a backup is fetched", on: onKept(asks(KindRestore)), do: turnTo(keptID, 1, StepFetch, "b"), check: all(is(StepFetch, Running, "b1 done"), func(s *State) bool { return s.Homes["b"].Restored == 0 })},
	{name: "a backup is fetched that is damaged now", on: then(onKept(asks(KindVerify), "check c"), with(asks(KindRestore), report(2, "c", over2, of(keptID), damaged))), do: turnTo(keptID+2, 1, StepFetch, "b"), want: ErrBackup},
	{name: "a backup is fetched, for a member that asked with a clock that is ahead", on: func(t testing.TB) *State {
		s := restored(t)
		s, r := s.Apply(Entry{Index: s.Index + 1, At: 1 << 40, By: "a", Command: asks(KindRestore, by("a"), func(t *Task) { t.Auto = true })})
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		return s
	}, do: turnTo(keptID+7, 1, StepFetch, "a"), want: ErrBackup},
	{name: "a node's data is replaced", on: onKept(asks(KindRestore), "fetch b", "ok b"), do: turnTo(keptID, 2, StepReplace, "b"), check: all(is(StepReplace, Running, "b1 done"), func(s *State) bool {
		o, stops := s.Working("b")
		return stops && o.Disruptive() && s.Homes["b"].Restored == 21_000
	})},
	{name: "a node's data is replaced before it is fetched", on: onKept(asks(KindRestore)), do: turnTo(keptID, 1, StepReplace, "b"), want: ErrStep},
	{name: "the holder's data is replaced", on: then(onKept(asks(KindRestore), "fetch b", "ok b"), holding("b")), do: turnTo(keptID, 2, StepReplace, "b"), want: ErrHolds},
	{name: "the data of who held, by a process that is gone, is fetched", on: then(onKept(asks(KindRestore)), holding("b"), with(PutMember{member("b", 1)})), do: turnTo(keptID, 1, StepFetch, "b"), check: is(StepFetch, Running, "b1 done")},
	{name: "the data of who held, by a process that is gone, is stored", on: then(onKept(makes("b2")), holding("b"), with(PutMember{member("b", 1)})), do: turnTo(keptID, 1, StepPrepare, "b"), want: ErrHolds},
	{name: "a node's data is replaced beside a restart", on: then(onKept(asks(KindRestore), "fetch b", "ok b"), with(restart("c"))), do: turnTo(keptID, 2, StepReplace, "b"), want: ErrBusy},
	{name: "a backup is checked, by the holder", on: onKept(asks(KindVerify)), do: turnTo(keptID, 1, StepCheck, "a"), check: is(StepCheck, Running, "b1 done")},
	{name: "a backup is tried, by the holder", on: onKept(asks(KindVerify, func(t *Task) { t.Trial = true })), do: turnTo(keptID, 1, StepCheck, "a"), want: ErrHolds},
	{name: "a repository is swept", on: on(asks(KindSweep)), do: turnTo(rollID, 1, StepSweep, "a"), check: is(StepSweep, Running)},
	{name: "a repository is scanned", on: on(asks(KindScan)), do: turnTo(rollID, 1, StepScan, "b"), check: is(StepScan, Running)},
}

var taskReportRules = []rule{
	{name: "progress", on: on(makes("b1"), "prepare b", "ok b", "copy b", "ok b", "store b"), do: report(4, "b"), check: all(is(StepStore, Running, "b1 running"), func(s *State) bool { return part(s, "b").Percent == 40 })},
	{name: "prepared", on: on(makes("b1"), "prepare b"), do: reports(2), check: all(is(StepPrepare, Running, "b1 running"), stands(StepPrepare, Running, "", until(12_000+MaxStep)))},
	{name: "copied", on: on(makes("b1"), "prepare b", "ok b", "copy b"), do: reports(3), check: all(is(StepCopy, Running, "b1 running"), stands(StepCopy, Running, "", until(14_000+PlanTime)), func(s *State) bool {
		_, stops := s.Working("b")
		return !stops
	})},
	{name: "stored", on: on(makes("b1", func(t *Task) { t.Keep = 5000 }), "prepare b", "ok b", "copy b", "ok b", "store b"), do: reports(4, tells(stored())), check: all(is(StepStore, Running, "b1 done"), func(s *State) bool {
		b := backup(s, "b1")
		return b.Of == stored() && b.Ended == 16_000 && b.Expires == 21_000 && history(s).Kind == "backup.done" && history(s).Text == "b1 in main, up to block 2000"
	})},
	{name: "stored, by a clock that is a year behind", on: on(makes("b1", func(t *Task) { t.Keep = 5000 }), "prepare b", "ok b", "copy b", "ok b", "store b"), at: -1 << 35, do: reports(4, tells(stored())), check: func(s *State) bool {
		return backup(s, "b1").Ended == 15_000 && backup(s, "b1").Expires == 20_000
	}},
	{name: "stored, by a clock that is a year ahead", on: on(makes("b1"), "prepare b", "ok b", "copy b", "ok b", "store b"), at: 1 << 35, do: reports(4, tells(stored())), check: func(s *State) bool { return backup(s, "b1").Ended == 75_000 && backup(s, "b1").Expires == 0 }},
	{name: "stored, and nothing is said of it", on: on(makes("b1"), "prepare b", "ok b", "copy b", "ok b", "store b"), do: reports(4), want: ErrStep},
	{name: "stored, and failed", on: on(makes("b1"), "prepare b", "ok b", "copy b", "ok b", "store b"), do: reports(4, tells(stored()), fails("x")), want: ErrStep},
	{name: "stored, but not at the end", on: on(makes("b1"), "prepare b", "ok b", "copy b", "ok b", "store b"), do: report(4, "b", tells(stored())), want: ErrStep},
	{name: "stored before it was copied", on: on(makes("b1"), "prepare b", "ok b", "copy b"), do: reports(3, tells(stored())), want: ErrStep},
	{name: "stored by a process that is gone", on: then(on(makes("b1"), "prepare b", "ok b", "copy b", "ok b", "store b"), with(PutMember{member("b", 1)})), do: reports(4, tells(stored())), want: ErrIncarnation},
	{name: "stored by the next process", on: then(on(makes("b1"), "prepare b", "ok b", "copy b", "ok b", "store b"), with(PutMember{member("b", 1)})), do: reports(4, tells(stored()), func(c *ReportOperation) { c.Incarnation = inc("b", 1) }), check: records("b1 done")},
	{name: "stored after it was given up", on: on(makes("b1"), "prepare b", "ok b", "copy b", "ok b", "store b", "expire"), do: reports(4, tells(stored())), want: ErrEnded},
	{name: "stored by one that is no member any more", on: then(on(makes("b1"), "prepare b", "ok b", "copy b", "ok b", "store b"), with(RemoveMember{ID: "b"})), do: reports(4, tells(stored())), want: ErrStep},
	{name: "stored, of another chain", on: func(t testing.TB) *State {
		s := *on(makes("b1"), "prepare b", "ok b", "copy b", "ok b", "store b")(t)
		s.Cluster.ChainID = strings.Repeat("ab", 32)
		return &s
	}, do: reports(4, tells(stored())), want: ErrBackup},
	{name: "stored, of no chain", on: storing, do: reports(4, tells(stored(func(c *Stored) { c.ChainID = "x" }))), want: ErrBackup},
	{name: "stored, of no block", on: storing, do: reports(4, tells(stored(func(c *Stored) { c.Head = 0 }))), want: ErrBackup},
	{name: "stored, from behind its end", on: storing, do: reports(4, tells(stored(func(c *Stored) { c.First = 2001 }))), want: ErrBackup},
	{name: "stored, irreversible beyond its end", on: storing, do: reports(4, tells(stored(func(c *Stored) { c.LIB = 2001 }))), want: ErrBackup},
	{name: "stored, of no file", on: storing, do: reports(4, tells(stored(func(c *Stored) { c.Files = 0 }))), want: ErrBackup},
	{name: "stored, of less than nothing", on: storing, do: reports(4, tells(stored(func(c *Stored) { c.Data = -1 }))), want: ErrBackup},
	{name: "stored, without a manifest", on: storing, do: reports(4, tells(stored(func(c *Stored) { c.Manifest = "" }))), want: ErrBackup},
	{name: "stored, with a head of many words", on: storing, do: reports(4, tells(stored(func(c *Stored) { c.HeadID = "x" }))), want: ErrBackup},
	{name: "stored, by a version of many words", on: storing, do: reports(4, tells(stored(func(c *Stored) { c.Version = strings.Repeat("v", maxNamed+1) }))), want: ErrBackup},
	{name: "stored, and the catalogue has something else there", on: func(t testing.TB) *State {
		s := *storing(t)
		s.Backups = withKey(s.Backups, "b1", Backup{ID: "b1", State: BackupFailed, Operation: rollID})
		return &s
	}, do: reports(4, tells(stored())), want: ErrBackup},
	{name: "stored, and the catalogue has somebody else's there", on: func(t testing.TB) *State {
		s := *storing(t)
		s.Backups = withKey(s.Backups, "b1", Backup{ID: "b1", State: BackupRunning, Operation: 3})
		return &s
	}, do: reports(4, tells(stored())), want: ErrBackup},
	{name: "a fault", on: storing, do: reports(4, fails("no permission")), check: all(is(StepStore, Running, "b1 running"), func(s *State) bool { return history(s).Text == "backup 10: store: no permission" })},
	{name: "damage where nothing is read", on: storing, do: reports(4, damaged), want: ErrStep},
	{name: "damage in a rolling operation", on: on(restart(), "restart b"), do: reports(2, damaged), want: ErrStep},
	{name: "something stored in a rolling operation", on: on(restart(), "restart b"), do: reports(2, tells(stored())), want: ErrStep},

	{name: "whole", on: onKept(asks(KindVerify), "check b"), do: reports(2, of(keptID)), check: func(s *State) bool { return backup(s, "b1").Verified == 20_000 && !backup(s, "b1").Trial }},
	{name: "whole, and a node came up on it", on: onKept(asks(KindVerify, func(t *Task) { t.Trial = true }), "check b"), do: reports(2, of(keptID)), check: func(s *State) bool { return backup(s, "b1").Verified == 20_000 && backup(s, "b1").Trial }},
	{name: "whole again", on: then(hurt, func(t testing.TB, s *State) *State { return play(t, must(t, s, asks(KindVerify)), "check b") }), do: reports(2, of(keptID+4)), check: all(records("b1 done"), func(s *State) bool { return backup(s, "b1").Fault == "" })},
	{name: "not read", on: onKept(asks(KindVerify), "check b"), do: reports(2, of(keptID), fails("no network")), check: all(records("b1 done"), func(s *State) bool { return backup(s, "b1").Verified == 0 })},
	{name: "damaged", on: onKept(asks(KindVerify), "check b"), do: reports(2, of(keptID), damaged), check: all(records("b1 damaged"), func(s *State) bool {
		return backup(s, "b1").Fault == "pack 7 has other bytes" && s.History[len(s.History)-2].Kind == "backup.damaged"
	})},
	{name: "damaged, and others may refer to the same", on: then(kept, makesAnother, with(asks(KindVerify)), func(t testing.TB, s *State) *State { return play(t, s, "check b") }), do: change(reports(2, damaged), func(c *ReportOperation) { c.ID = keptID + 8 }), check: all(records("b1 damaged", "b2 done", "b3 done"), func(s *State) bool {
		return !backup(s, "b1").Suspect && backup(s, "b2").Suspect && !backup(s, "b3").Suspect
	})},
	{name: "suspect, and found whole", on: suspected, do: change(reports(2), func(c *ReportOperation) { c.ID = keptID + 12 }), check: func(s *State) bool { return !backup(s, "b2").Suspect && backup(s, "b2").Verified > 0 }},
	{name: "suspect, and damaged itself", on: suspected, do: change(reports(2, damaged), func(c *ReportOperation) { c.ID = keptID + 12 }), check: func(s *State) bool { return !backup(s, "b2").Suspect && backup(s, "b2").State == BackupDamaged }},
	{name: "damaged, without a fault", on: onKept(asks(KindVerify), "check b"), do: reports(2, of(keptID), func(c *ReportOperation) { c.Damaged = true }), want: ErrStep},
	{name: "damaged, as it is fetched", on: onKept(asks(KindRestore), "fetch b"), do: reports(2, of(keptID), damaged), check: records("b1 damaged")},
	{name: "damaged, as it is put in place", on: onKept(asks(KindRestore), "fetch b", "ok b", "replace b"), do: reports(3, of(keptID), damaged), want: ErrStep},
	{name: "fetched", on: onKept(asks(KindRestore), "fetch b"), do: reports(2, of(keptID)), check: all(is(StepFetch, Running, "b1 done"), func(s *State) bool { return backup(s, "b1").Verified == 0 })},
}

// storing is homed with a backup at its last step.
func storing(t testing.TB) *State {
	t.Helper()
	return on(makes("b1"), "prepare b", "ok b", "copy b", "ok b", "store b")(t)
}

var taskEndRules = []rule{
	{name: "done", on: on(makes("b1"), made[:6]...), do: finish(4, StepStore, Done), check: is("", Done, "b1 done")},
	{name: "done before it is stored", on: storing, do: finish(4, StepStore, Done), want: ErrStep},
	{name: "done before the last step", on: on(makes("b1"), "prepare b", "ok b"), do: finish(2, StepPrepare, Done), want: ErrStep},
	{name: "done though it failed", on: on(makes("b1"), "prepare b", "ok b", "copy b", "ok b", "store b", "bad b x"), do: finish(4, StepStore, Done), want: ErrStep},
	{name: "done before it is begun", on: on(asks(KindScan)), do: finish(1, StepValidate, Done), want: ErrStep},
	{name: "done at another step", on: on(makes("b1"), made[:6]...), do: finish(3, StepStore, Done), want: ErrStep},
	{name: "failed", on: on(makes("b1"), "prepare b", "bad b x"), do: finish(2, StepPrepare, Failed), check: all(is("", Failed, "b1 failed"), func(s *State) bool {
		return backup(s, "b1").Fault == "because" && backup(s, "b1").Ended == 13_000 && history(s).Subject == "b"
	})},
	{name: "failed, though it is stored", on: on(makes("b1"), made[:6]...), do: finish(4, StepStore, Failed), check: is("", Failed, "b1 done")},
	{name: "failed before it is begun", on: on(makes("b1")), do: finish(1, StepValidate, Failed), check: is("", Failed)},
	{name: "failed, a restore", on: onKept(asks(KindRestore), "fetch b"), do: FinishOperation{ID: keptID, Number: 2, Step: StepFetch, Outcome: Failed}, check: is("", Failed, "b1 done")},
	{name: "expired", on: on(makes("b1"), "prepare b", "ok b", "copy b"), at: 1 << 30, do: ExpireOperation{ID: rollID, Step: StepCopy, Number: 3}, check: is("", Expired, "b1 failed")},
	{name: "expired, and stored in time", on: on(makes("b1"), made[:6]...), at: 1 << 30, do: ExpireOperation{ID: rollID, Step: StepStore, Number: 4}, check: is("", Expired, "b1 done")},
	{name: "expired too early", on: on(makes("b1"), "prepare b"), do: ExpireOperation{ID: rollID, Step: StepPrepare, Number: 2}, want: ErrDeadline},
	{name: "expired at the step before", on: on(makes("b1"), "prepare b"), at: 1 << 30, do: ExpireOperation{ID: rollID, Step: StepPrepare, Number: 1}, want: ErrStep},
	{name: "advanced as a handoff", on: on(makes("b1")), do: AdvanceOperation{rollID, StepValidate, StepAwait, "b", 70_000}, want: ErrStep},
	{name: "its member is removed", on: on(makes("b1"), "prepare b"), do: RemoveMember{ID: "b"}, check: all(is(StepPrepare, Running, "b1 running"), func(s *State) bool {
		o := newest(&testing.T{}, s)
		return o.Current().Over() && o.Current().Faults() == "b: it is no member any more"
	})},
	{name: "its member is removed, whose node is stopped", on: on(makes("b1"), "prepare b", "ok b", "copy b"), do: RemoveMember{ID: "b"}, want: ErrBusy},
	{name: "a member is removed that was to be avoided", on: on(makes("b1", avoid("b", "c"))), do: RemoveMember{ID: "b"}, check: func(s *State) bool { return slices.Equal(task(s).Avoid, []string{"c"}) }},

	{name: "cancel before it begins", on: on(makes("b1")), do: CancelOperation{ID: rollID, Reason: "no time"}, check: is("", Canceled)},
	{name: "cancel while nobody is stopped", on: on(makes("b1"), "prepare b"), do: CancelOperation{ID: rollID, Reason: "no time"}, check: all(is("", Canceled, "b1 failed"), func(s *State) bool { return backup(s, "b1").Fault == "no time" })},
	{name: "cancel while the node is stopped", on: on(makes("b1"), "prepare b", "ok b", "copy b"), do: CancelOperation{ID: rollID}, check: all(is(StepCopy, Running, "b1 running"), func(s *State) bool {
		return task(s).Cancel && history(s).Text == "backup 10 stops when the node is back"
	})},
	{name: "cancel while the node is stopped, for a reason", on: on(makes("b1"), "prepare b", "ok b", "copy b"), do: CancelOperation{ID: rollID, Reason: "nobody else can produce"}, check: all(is(StepCopy, Running, "b1 running"), func(s *State) bool {
		return task(s).Cancel && history(s).Text == "backup 10 stops when the node is back: nobody else can produce"
	})},
	{name: "cancel twice", on: on(makes("b1"), "prepare b", "ok b", "copy b", "cancel"), do: CancelOperation{ID: rollID}, check: all(is(StepCopy, Running, "b1 running"), func(s *State) bool { return history(s).Index == 14 })},
	{name: "cancel when the node is back", on: on(makes("b1"), "prepare b", "ok b", "copy b", "ok b"), do: CancelOperation{ID: rollID}, check: is("", Canceled, "b1 failed")},
	{name: "cancel what is stored", on: on(makes("b1"), made[:6]...), do: CancelOperation{ID: rollID}, check: is("", Canceled, "b1 done")},
	{name: "cancel while a node's data is replaced", on: onKept(asks(KindRestore), "fetch b", "ok b", "replace b"), do: CancelOperation{ID: keptID}, want: ErrStep},
	{name: "cancel a restore before", on: onKept(asks(KindRestore), "fetch b"), do: CancelOperation{ID: keptID}, check: is("", Canceled, "b1 done")},
	{name: "canceled", on: on(makes("b1"), "prepare b", "ok b", "copy b", "cancel", "ok b"), do: finish(3, StepCopy, Canceled), check: is("", Canceled, "b1 failed")},
	{name: "canceled, and the copy failed for it", on: on(makes("b1"), "prepare b", "ok b", "copy b", "cancel", "bad b canceled"), do: finish(3, StepCopy, Canceled), check: is("", Canceled, "b1 failed")},
	{name: "canceled while the node is stopped", on: on(makes("b1"), "prepare b", "ok b", "copy b", "cancel"), do: finish(3, StepCopy, Canceled), want: ErrStep},
	{name: "canceled by nobody", on: on(makes("b1"), "prepare b", "ok b"), do: finish(2, StepPrepare, Canceled), want: ErrStep},
}

package fsm

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// finds is what a scan, or a sweep of what nobody knows, says it has found; it is the first operation on homed, done by c.
func finds(id string, change ...func(*PutBackup)) PutBackup {
	c := PutBackup{Operation: rollID, Incarnation: inc("c", 0), Backup: Backup{ID: id, Copies: CopiesSnapshot, Repository: "main", Of: stored(), Member: "z", Created: 500, Ended: 700}}
	for _, f := range change {
		f(&c)
	}
	return c
}

func unknown(t *Task) { t.Unknown = true }

var scanning = on(asks(KindScan), "scan c")

var catalogueRules = []rule{
	{name: "found", on: scanning, do: finds("x1"), check: func(s *State) bool {
		return backup(s, "x1") == Backup{ID: "x1", Copies: CopiesSnapshot, Repository: "main", State: BackupDone, Of: stored(), Member: "z", Created: 500, Ended: 700} &&
			history(s).Kind == "backup.found" && history(s).Text == "x1 in main, which is done"
	}},
	{name: "found, with much forged", on: scanning, do: finds("x1", func(c *PutBackup) {
		c.Backup.State, c.Backup.Pinned, c.Backup.Expires, c.Backup.Verified, c.Backup.Operation, c.Backup.Plan, c.Backup.Why = BackupDamaged, true, 5, 6, 7, "p", "w"
		c.Backup.Ended = 0
	}), check: func(s *State) bool {
		b := backup(s, "x1")
		return b.State == BackupDone && !b.Pinned && b.Expires == 0 && b.Verified == 0 && b.Operation == 0 && b.Plan == "" && b.Why == "" && b.Ended == 500
	}},
	{name: "found, made by a clock that was ahead", on: scanning, do: finds("x1", func(c *PutBackup) { c.Backup.Created, c.Backup.Ended = 1<<50, 1<<51 }), check: func(s *State) bool {
		b := backup(s, "x1")
		return b.Created < 1<<20 && b.Ended < 1<<20 && b.Created > 0
	}},
	{name: "found again", on: then(scanning, with(finds("x1"))), do: finds("x1", func(c *PutBackup) { c.Backup.Of.Head++ }), check: func(s *State) bool { return backup(s, "x1").Of.Head == 2000 }},
	{name: "found as it is made", on: then(on(makes("b1"), "prepare b"), func(t testing.TB, s *State) *State { return play(t, must(t, s, asks(KindScan)), "scan c") }), do: finds("b1", func(c *PutBackup) { c.Operation = rollID + 2 }), check: records("b1 running")},
	{name: "found after it failed", on: then(on(makes("b1"), "prepare b", "bad b x", "failed"), func(t testing.TB, s *State) *State { return play(t, must(t, s, asks(KindScan)), "scan c") }), do: finds("b1", func(c *PutBackup) { c.Operation = rollID + 4 }), check: records("b1 failed")},
	{name: "found after it was swept", on: then(on(makes("b1"), "prepare b", "bad b x", "failed"), with(DropBackup{"b1"}, asks(KindScan)), func(t testing.TB, s *State) *State { return play(t, s, "scan c") }), do: finds("b1", func(c *PutBackup) { c.Operation = rollID + 5 }), check: records()},
	{name: "found by nobody", on: homed, do: finds("x1"), want: ErrOperation},
	{name: "found before the scan", on: on(asks(KindScan)), do: finds("x1"), want: ErrStep},
	{name: "found after it", on: on(asks(KindScan), "scan c", "ok c"), do: finds("x1"), want: ErrStep},
	{name: "found after its end", on: on(asks(KindScan), "scan c", "ok c", "done"), do: finds("x1"), want: ErrEnded},
	{name: "found by a backup", on: on(makes("b1"), "prepare c"), do: finds("x1"), want: ErrStep},
	{name: "found by a restart", on: on(restart(), "restart c"), do: finds("x1"), want: ErrStep},
	{name: "found by a handoff", on: atStep(StepStart), do: finds("x1", func(c *PutBackup) { c.Operation = handoffID }), want: ErrStep},
	{name: "found by a process that is gone", on: then(scanning, with(PutMember{member("c", 1)})), do: finds("x1"), want: ErrIncarnation},
	{name: "found by no process", on: scanning, do: finds("x1", func(c *PutBackup) { c.Incarnation = "" }), want: ErrIncarnation},
	{name: "found elsewhere", on: scanning, do: finds("x1", func(c *PutBackup) { c.Backup.Repository = "other" }), want: ErrBackup},
	{name: "found with no name", on: scanning, do: finds(""), want: ErrBackup},
	{name: "found with a large name", on: scanning, do: finds("X1"), want: ErrBackup},
	{name: "found, of nothing", on: scanning, do: finds("x1", func(c *PutBackup) { c.Backup.Copies = "" }), want: ErrBackup},
	{name: "found, of a member with a bad name", on: scanning, do: finds("x1", func(c *PutBackup) { c.Backup.Member = "\n" }), want: ErrBackup},
	{name: "found, from before all time", on: scanning, do: finds("x1", func(c *PutBackup) { c.Backup.Created = -1 }), want: ErrBackup},
	{name: "found, and there is nothing in it", on: scanning, do: finds("x1", func(c *PutBackup) { c.Backup.Of = Stored{} }), want: ErrBackup},
	{name: "found, of another chain", on: func(t testing.TB) *State {
		s := *scanning(t)
		s.Cluster.ChainID = strings.Repeat("ab", 32)
		return &s
	}, do: finds("x1"), want: ErrBackup},
	{name: "found, and there is no room", on: func(t testing.TB) *State {
		s := *scanning(t)
		s.Backups = catalogued(BackupDone)(t).Backups
		return &s
	}, do: finds("x1"), want: ErrCatalogue},
	{name: "found, and there is room for it", on: func(t testing.TB) *State {
		s := *scanning(t)
		s.Backups = catalogued(BackupFailed)(t).Backups
		return &s
	}, do: finds("x1"), check: func(s *State) bool {
		return len(s.Backups) == maxBackups && backup(s, "x1").State == BackupDone && s.Dropped[0] == Dropped{"old-000", "gone"}
	}},
	{name: "nobody's", on: on(asks(KindSweep, unknown), "sweep c"), do: finds("x1", func(c *PutBackup) { c.Backup.Copies, c.Backup.Of = "", Stored{} }), check: func(s *State) bool {
		condemned, known := s.Condemned("main", "x1")
		return backup(s, "x1") == Backup{ID: "x1", Repository: "main", State: BackupExpired, Created: 12_000, Why: "nobody knew it"} && condemned && known
	}},
	{name: "nobody's, in a sweep of what is known", on: on(asks(KindSweep), "sweep c"), do: finds("x1"), want: ErrStep},
	{name: "somebody's, in a sweep of what nobody knows", on: then(kept, func(t testing.TB, s *State) *State { return play(t, must(t, s, asks(KindSweep, unknown)), "sweep c") }), do: finds("b1", func(c *PutBackup) { c.Operation = keptID }), check: records("b1 done")},

	{name: "pin", on: kept, do: SetBackup{ID: "b1", Pinned: ptr(true)}, check: func(s *State) bool { return backup(s, "b1").Pinned && backup(s, "b1").Expires == 0 }},
	{name: "keep until", on: kept, do: SetBackup{ID: "b1", Expires: ptr[int64](5)}, check: func(s *State) bool {
		return !backup(s, "b1").Pinned && backup(s, "b1").Expires == 5 && history(s).Kind == "backup.set"
	}},
	{name: "keep until before all time", on: kept, do: SetBackup{ID: "b1", Expires: ptr[int64](-1)}, want: ErrAsked},
	{name: "nothing", on: kept, do: SetBackup{ID: "b1"}, want: ErrAsked},
	{name: "pin what nobody knows", on: kept, do: SetBackup{ID: "b2", Pinned: ptr(true)}, want: ErrNoBackup},
	{name: "pin what is being made", on: storing, do: SetBackup{ID: "b1", Pinned: ptr(true)}, want: ErrBackup},
	{name: "pin what expired", on: then(kept, with(ExpireBackup{ID: "b1"})), do: SetBackup{ID: "b1", Pinned: ptr(true)}, want: ErrBackup},

	{name: "expire", on: kept, do: ExpireBackup{ID: "b1", Why: "by an operator"}, check: all(records("b1 expired"), func(s *State) bool {
		condemned, known := s.Condemned("main", "b1")
		other, too := s.Condemned("other", "b1")
		return condemned && known && !other && too && backup(s, "b1").Why == "by an operator" && history(s).Kind == "backup.expired"
	})},
	{name: "expire twice", on: then(kept, with(ExpireBackup{ID: "b1", Why: "first"})), do: ExpireBackup{ID: "b1", Why: "second"}, check: func(s *State) bool { return backup(s, "b1").Why == "first" }},
	{name: "expire what is damaged", on: hurt, do: ExpireBackup{ID: "b1"}, check: records("b1 expired")},
	{name: "expire what failed", on: on(makes("b1"), "prepare b", "cancel"), do: ExpireBackup{ID: "b1"}, check: records("b1 failed")},
	{name: "expire what nobody knows", on: kept, do: ExpireBackup{ID: "b2"}, want: ErrNoBackup},
	{name: "expire what is being made", on: storing, do: ExpireBackup{ID: "b1"}, want: ErrBackup},
	{name: "expire what is pinned", on: then(kept, with(SetBackup{ID: "b1", Pinned: ptr(true)})), do: ExpireBackup{ID: "b1"}, want: ErrBackup},
	{name: "expire what is to be restored", on: onKept(asks(KindRestore)), do: ExpireBackup{ID: "b1"}, want: ErrBusy},
	{name: "expire what is verified", on: onKept(asks(KindVerify), "check b"), do: ExpireBackup{ID: "b1"}, want: ErrBusy},
	{name: "expire what was verified", on: onKept(asks(KindVerify), "check b", "ok b", "done"), do: ExpireBackup{ID: "b1"}, check: records("b1 expired")},
	{name: "expire while a newer one is made", on: onKept(makes("b2"), "prepare b"), do: ExpireBackup{ID: "b1"}, check: records("b1 expired", "b2 running")},
	{name: "the retention takes the only one", on: kept, do: ExpireBackup{ID: "b1", Retention: true}, want: ErrBackup},
	{name: "the retention takes the newest one", on: keptTwo, do: ExpireBackup{ID: "b2", Retention: true}, want: ErrBackup},
	{name: "the retention takes the older one", on: keptTwo, do: ExpireBackup{ID: "b1", Retention: true}, check: records("b1 expired", "b2 done")},
	{name: "the retention takes one that is to be kept longer", on: then(keptTwo, with(SetBackup{ID: "b1", Expires: ptr[int64](99)})), do: ExpireBackup{ID: "b1", Retention: true}, want: ErrBackup},
	{name: "the retention takes one whose time is over", on: then(keptTwo, with(SetBackup{ID: "b1", Expires: ptr[int64](99)})), do: ExpireBackup{ID: "b1", Retention: true, Expires: 99}, check: records("b1 expired", "b2 done")},

	{name: "drop", on: then(kept, with(ExpireBackup{ID: "b1"})), do: DropBackup{"b1"}, check: all(records(), func(s *State) bool {
		condemned, known := s.Condemned("main", "b1")
		other, _ := s.Condemned("other", "b1")
		return condemned && known && !other && s.Backups == nil && history(s).Kind == "backup.dropped" && history(s).Text == "b1, which had expired"
	})},
	{name: "drop what is done", on: kept, do: DropBackup{"b1"}, want: ErrBackup},
	{name: "drop what is being made", on: storing, do: DropBackup{"b1"}, want: ErrBackup},
	{name: "drop what nobody knows", on: kept, do: DropBackup{"b2"}, check: func(s *State) bool { return len(s.Dropped) == 0 }},
}

// keptTwo is kept with a second backup, "b2".
func keptTwo(t testing.TB) *State {
	t.Helper()
	return onKept(makes("b2"), made...)(t)
}

func TestNewest(t *testing.T) {
	s := keptTwo(t)
	if s.Newest(s.Backups["b1"]) || !s.Newest(s.Backups["b2"]) {
		t.Fatal("b2 is the newest one")
	}
	for name, f := range map[string]func(*Backup){
		"damaged":   func(b *Backup) { b.State = BackupDamaged },
		"of chain":  func(b *Backup) { b.Copies = CopiesSnapshot },
		"elsewhere": func(b *Backup) { b.Repository = "other" },
		"older":     func(b *Backup) { b.Created = 1 },
	} {
		next := *s
		b := s.Backups["b2"]
		f(&b)
		next.Backups = withKey(s.Backups, "b2", b)
		if !next.Newest(s.Backups["b1"]) {
			t.Errorf("%s: b1 is the newest one that can be restored", name)
		}
	}
	same := *s
	b := s.Backups["b2"]
	b.Created = s.Backups["b1"].Created
	same.Backups = withKey(s.Backups, "b2", b)
	if same.Newest(s.Backups["b1"]) || !same.Newest(b) {
		t.Error("of two of one moment just one is the newest")
	}
}

// TestDroppedAreBounded: what was dropped is remembered, but not for ever.
func TestDroppedAreBounded(t *testing.T) {
	s := catalogued(BackupFailed)(t)
	for i := range maxBackups {
		s = must(t, s, DropBackup{fmt.Sprintf("old-%03d", i)})
	}
	if s.Backups != nil || len(s.Dropped) != maxDropped {
		t.Fatalf("%d in the catalogue, %d dropped", len(s.Backups), len(s.Dropped))
	}
	s = must(t, s, makes("one-more"))
	s = play(t, s, "prepare b", "cancel")
	s = must(t, s, DropBackup{"one-more"})
	if len(s.Dropped) != maxDropped || s.wasDropped("old-000") || !s.wasDropped("old-001") || !s.wasDropped("one-more") {
		t.Fatalf("%d dropped, from %v", len(s.Dropped), s.Dropped[0])
	}
}

// TestAFullCatalogueMakesRoom: backups go on failing in a repository that is gone for good, and the catalogue takes new ones of another.
func TestAFullCatalogueMakesRoom(t *testing.T) {
	s := kept(t)
	for i := range maxBackups + 9 {
		s = play(t, must(t, s, makes(fmt.Sprintf("f%03d", i), elsewhere)), "prepare b", "bad b no network", "failed")
	}
	s = play(t, must(t, s, makes("b2")), made...)
	if len(s.Backups) != maxBackups || s.Backups["b1"].State != BackupDone || s.Backups["b2"].State != BackupDone || len(s.Dropped) != 11 {
		t.Fatalf("%d backups, %d dropped", len(s.Backups), len(s.Dropped))
	}
	ids := slices.Collect(func(yield func(string) bool) {
		for _, d := range s.Dropped {
			if !yield(d.ID) {
				return
			}
		}
	})
	if !slices.IsSorted(ids) || ids[0] != "f000" {
		t.Fatalf("not the oldest were dropped: %v", ids)
	}
}

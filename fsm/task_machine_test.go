package fsm

import (
	"fmt"
	"slices"

	"pgregory.net/rapid"
)

// backupIDs are few, so that they meet.
var backupIDs = []string{"b1", "b2", "b3", "b4", "b5"}

func (m *machine) drawTask(t *rapid.T) Command {
	id, where := rapid.SampledFrom(backupIDs).Draw(t, "backup"), rapid.SampledFrom([]string{"main", "main", "other"}).Draw(t, "repository")
	who := rapid.SampledFrom([]string{"", "", "a", "b", "c", "w", "x"}).Draw(t, "whose node")
	kind := rapid.SampledFrom([]string{KindBackup, KindBackup, KindRestore, KindVerify, KindSweep, KindScan}).Draw(t, "task")
	yes := rapid.Bool().Draw(t, "yes")
	c := asks(kind, func(task *Task) {
		task.Repository, task.Member = where, who
		switch kind {
		case KindBackup:
			task.Backup = id
			if yes {
				task.Copies = CopiesSnapshot
			}
		case KindVerify:
			task.Backup, task.Trial = id, yes
		case KindRestore:
			task.Backup, task.Auto = id, yes
		case KindSweep:
			task.Unknown = yes
		}
	})
	c.Queue, c.Deadline = rapid.Bool().Draw(t, "queue"), m.soon(t)
	return c
}

func (m *machine) drawCatalogue(t *rapid.T) Command {
	id := rapid.SampledFrom(append([]string{"x1", "X"}, backupIDs...)).Draw(t, "backup")
	yes := rapid.Bool().Draw(t, "yes")
	switch rapid.IntRange(0, 5).Draw(t, "what") {
	case 0:
		return SetBackup{ID: id, Pinned: ptr(yes), Expires: rapid.SampledFrom([]*int64{nil, ptr[int64](0), ptr[int64](9), ptr[int64](-1)}).Draw(t, "expires")}
	case 1:
		return DropBackup{id}
	case 2, 3:
		o := m.drawRolling(t)
		c := finds(id)
		c.Operation, c.Incarnation = o.ID, m.live.Members[o.Current().Assignee].Incarnation
		if o.Task != nil {
			c.Backup.Repository = o.Task.Repository
		}
		c.Incarnation = mostly(t, c.Incarnation, m.incarnations(), "whose")
		return c
	}
	return ExpireBackup{ID: id, Retention: yes, Expires: m.live.Backups[id].Expires}
}

func (m *machine) drawPlan(t *rapid.T) Command {
	id := rapid.SampledFrom([]string{"p", "q"}).Draw(t, "plan")
	due, blocks := m.soon(t), rapid.Bool().Draw(t, "blocks")
	switch rapid.IntRange(0, 4).Draw(t, "what") {
	case 0:
		return RemovePlan{id}
	case 1:
		c := SetPlan{ID: id, Disabled: rapid.Bool().Draw(t, "disabled"), Due: due}
		if blocks {
			c.Due, c.DueBlock = 0, uint32(due)
		}
		return c
	}
	return PutPlan{planned(func(p *Plan) {
		p.ID, p.Due = id, due
		if blocks {
			p.Every, p.Due, p.Blocks, p.DueBlock = 0, 0, 7, uint32(due)
		}
	})}
}

func (m *machine) drawFire(t *rapid.T) Command {
	id := rapid.SampledFrom([]string{"p", "q"}).Draw(t, "plan")
	p := m.live.Plans[id]
	start := makes(rapid.SampledFrom(backupIDs).Draw(t, "backup"), func(t *Task) { t.Plan = id })
	start.Queue, start.Deadline = rapid.Bool().Draw(t, "queue"), m.soon(t)
	c := FirePlan{ID: id, Due: p.Due, DueBlock: p.DueBlock, Try: mostly(t, p.Try, []int{0, 1, 2}, "try"), Start: &start}
	switch rapid.IntRange(0, 5).Draw(t, "how") {
	case 0:
		c.Again = true
	case 1:
		c.Now = true
	case 2:
		c.Start, c.Skip = nil, "x"
		fallthrough
	default:
		if p.Blocks != 0 {
			c.NextBlock = p.DueBlock + uint32(rapid.IntRange(0, 9).Draw(t, "next"))
		} else {
			c.Next = p.Due + rapid.Int64Range(-1, 9000).Draw(t, "next")
		}
	}
	return c
}

// backups checks what must hold of backups and plans after any entry.
func (m *machine) backups(t failer, before, after *State, e Entry, result Result) {
	t.Helper()
	if len(after.Backups) > maxBackups || len(after.Dropped) > maxDropped || len(after.Plans) > maxPlans {
		t.Fatalf("%d backups, %d dropped, %d plans", len(after.Backups), len(after.Dropped), len(after.Plans))
	}
	took := result.Err == nil && result.Index == e.Index
	m.tasks(t, before, after, e, took)
	for id, b := range after.Backups {
		m.became(t, before, after, e, before.Backups[id].State, b)
		if before.wasDropped(id) {
			t.Fatalf("%q was dropped, and is back", id)
		}
	}
	for id, b := range before.Backups {
		if _, ok := after.Backups[id]; !ok && (!b.condemned() || !after.wasDropped(id)) {
			t.Fatalf("%q, which was %s, is gone", id, b.State)
		}
	}
	m.firings(t, before, after, e, took)
}

// became checks how one backup came to be what it is.
func (m *machine) became(t failer, before, after *State, e Entry, was BackupState, b Backup) {
	t.Helper()
	o, _ := after.Operation(b.Operation)
	if b.State == BackupRunning && (o.Outcome != Running || o.Kind != KindBackup || o.Task.Backup != b.ID || o.Task.Member != b.Member || o.Current().Name == StepQueued || o.Current().Name == StepValidate) {
		t.Fatalf("%+v is being made by %+v", b, o)
	}
	// A chain may be learned later, and be another one: what is of the former is not restored any more ("a restore of another chain", task_test.go).
	if before.Cluster.ChainID == "" && after.Cluster.ChainID != "" && was != "" {
		m.foreign[b.ID] = true
	}
	chain := after.Cluster.ChainID
	if m.foreign[b.ID] {
		chain = ""
	}
	if (b.State == BackupDone || b.State == BackupDamaged) && (b.Of.check(chain) != nil || b.Ended <= 0) {
		t.Fatalf("%+v is done", b)
	}
	if was == b.State {
		return
	}
	c := e.Command
	report, reports := c.(ReportOperation)
	step := Step{}
	if reports {
		now, _ := before.Operation(report.ID)
		step = now.Current()
	}
	_, found := c.(PutBackup)
	_, expires := c.(ExpireBackup)
	turn, turns := c.(TurnOperation)
	ok := false
	switch from := was; b.State {
	case BackupRunning:
		ok = from == "" && turns && turn.ID == b.Operation
	case BackupDone:
		ok = from == "" && found ||
			from == BackupRunning && reports && step.Name == StepStore && report.Ended && report.Fault == "" && report.ID == b.Operation && report.Incarnation == before.Members[b.Member].Incarnation ||
			from == BackupDamaged && reports && step.Name == StepCheck
	case BackupDamaged:
		ok = from == BackupDone && reports && report.Damaged
		for _, other := range after.Backups {
			ok = ok && (other.Repository != b.Repository || other.State != BackupDone || other.Suspect)
		}
	case BackupFailed:
		ok = from == BackupRunning && o.Outcome != Running && o.Outcome != Done
	case BackupExpired:
		ok = from == "" && found || (from == BackupDone || from == BackupDamaged) && expires && !before.Backups[b.ID].Pinned
	}
	if !ok {
		t.Fatalf("%s made %q %s, which was %q", c.Kind(), b.ID, b.State, was)
	}
}

// tasks checks what must hold of operations on backups.
func (m *machine) tasks(t failer, before, after *State, e Entry, took bool) {
	t.Helper()
	var at []Operation // past the queue
	running := 0
	for _, o := range after.RunningOperations() {
		if o.Task == nil {
			continue
		}
		running++
		if o.Deadline > e.At+MaxWait+MaxStep && before.Index > 0 {
			if old, ok := before.Operation(o.ID); !ok || old.Deadline != o.Deadline {
				t.Fatalf("%s %d may stay at %q until %d", o.Kind, o.ID, o.Current().Name, o.Deadline)
			}
		}
		if o.Current().Name == StepQueued {
			continue
		}
		for _, other := range at {
			if o.clashes(other) {
				t.Fatalf("%s %d and %s %d go on at once: %+v, %+v", o.Kind, o.ID, other.Kind, other.ID, *o.Task, *other.Task)
			}
		}
		at = append(at, o)
		if b, ok := after.Backups[o.Task.Backup]; ok && o.Kind != KindBackup && b.State != BackupDone && b.State != BackupDamaged {
			t.Fatalf("%s %d uses %q, which is %s", o.Kind, o.ID, b.ID, b.State)
		}
		if o.Kind == KindBackup && o.NextStep() == "" && len(o.Current().Parts) > 0 && o.Current().Over() && o.Current().Faults() == "" && after.Backups[o.Task.Backup].State == BackupRunning {
			t.Fatalf("%s %d has stored %q, which is still being made", o.Kind, o.ID, o.Task.Backup)
		}
	}
	if running > maxTasks {
		t.Fatalf("%d operations on backups", running)
	}
	if turn, ok := e.Command.(TurnOperation); ok && took {
		o, _ := after.Operation(turn.ID)
		l := before.Lease
		gone := o.Kind == KindRestore && before.Members[l.Holder].Incarnation != l.Incarnation // which can sign nothing any more
		if o.Task != nil && (o.onNode() || o.Task.Trial) && turn.Step != StepStore && l.Open() && slices.Contains(turn.Members, l.Holder) && !gone {
			t.Fatalf("the holder does step %q of %s %d", turn.Step, o.Kind, o.ID)
		}
	}
}

// firings checks that each time at which a plan was due it fired, or was skipped, once.
func (m *machine) firings(t failer, before, after *State, e Entry, took bool) {
	t.Helper()
	for id, p := range after.Plans {
		old, known := before.Plans[id]
		if known && (p.Blocks != 0) == (old.Blocks != 0) && p.FiredAt < old.FiredAt {
			t.Fatalf("%+v was %+v", p, old)
		}
		if max(p.Due, int64(p.DueBlock)) <= p.FiredAt {
			t.Fatalf("%+v is due again", p)
		}
		if o, _ := after.Operation(p.Operation); o.Outcome == Running && o.Task.Plan != id {
			t.Fatalf("%+v started %+v", p, o)
		}
	}
	for id, old := range before.Plans {
		if p, ok := after.Plans[id]; !ok || (p.Blocks != 0) != (old.Blocks != 0) {
			for key := range m.fires {
				if key[:len(id)] == id {
					delete(m.fires, key)
				}
			}
			if !ok {
				m.fires["removed "+id] = 0 // what it started may run still
			}
		}
	}
	c, ok := e.Command.(FirePlan)
	if !ok || !took {
		return
	}
	if c.Start != nil {
		running := 0
		for _, o := range after.RunningOperations() {
			if o.Task != nil && o.Task.Plan == c.ID {
				running++
			}
		}
		if o, ok := after.Operation(e.Index); !ok || o.Outcome != Running || o.Task.Plan != c.ID || after.Plans[c.ID].Operation != e.Index {
			t.Fatalf("%+v started %+v", c, o)
		}
		if _, removed := m.fires["removed "+c.ID]; running > 1 && !removed {
			t.Fatalf("%d operations of plan %q at once", running, c.ID)
		}
	}
	if c.Now || c.Again {
		return
	}
	key := fmt.Sprint(c.ID, " ", c.Due, " ", c.DueBlock)
	if first, twice := m.fires[key]; twice {
		t.Fatalf("plan %q, due at %d or block %d, fired by entry %d and by entry %d", c.ID, c.Due, c.DueBlock, first, e.Index)
	}
	m.fires[key] = e.Index
}

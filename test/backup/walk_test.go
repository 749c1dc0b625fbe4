package backup

import (
	"fmt"
	"testing"
	"time"

	"roundtable/api"
	"roundtable/drill"
	"roundtable/fsm"
	"roundtable/test/box"
)

// walk is an operation on a backup and its steps, each with the moments in it at which it can be held (control.Config.Hold): by the member
// at work, or by the leader ("plan" ...).
type walk struct {
	name  string
	begin func(b *sandbox) string
	steps [][]string
}

// make begins a backup.
func makes(kind string) func(*sandbox) string {
	return func(b *sandbox) string {
		return b.Order("/cluster/backup", box.Fields{"kind": kind, "limit": limit, "queue": "1m"})
	}
}

// newest is the newest backup of a kind that is done; one is made where there is none.
func (b *sandbox) newest(kind string) api.Backup {
	b.T.Helper()
	for _, one := range b.catalogue(fsm.BackupDone) {
		if one.Kind == kind {
			return one
		}
	}
	return b.backup(kind, nil)
}

var walks = []walk{
	{"backup of data", makes(fsm.CopiesData), [][]string{
		{"plan validate"}, {"prepare", "after prepare", "plan prepare"}, {"copy", "stop copy", "prove copy", "after copy", "plan copy"}, {"store", "after store", "plan store"},
	}},
	{"backup of a snapshot", makes(fsm.CopiesSnapshot), [][]string{{"chain snapshot", "after chain snapshot", "plan chain snapshot"}}},
	{"restore", func(b *sandbox) string {
		return b.Order("/cluster/backups/"+b.newest(fsm.CopiesData).ID+"/restore", box.Fields{"member": b.standby(b.View().Leader).ID, "limit": limit, "queue": "1m"})
	}, [][]string{{"fetch", "after fetch", "plan fetch"}, {"replace", "stop replace", "prove replace", "after replace", "plan replace"}}},
	{"verify", func(b *sandbox) string {
		return b.Order("/cluster/backups/"+b.newest(fsm.CopiesData).ID+"/verify", box.Fields{"limit": limit, "queue": "1m"})
	}, [][]string{{"check", "after check", "plan check"}}},
	{"sweep", func(b *sandbox) string {
		return b.Order("/cluster/backups/sweep", box.Fields{"limit": limit, "queue": "1m"})
	}, [][]string{{"sweep", "after sweep", "plan sweep"}}},
}

// cell is one kill.
type cell struct {
	walk
	moment, victim string
}

func (c cell) String() string { return fmt.Sprintf("%s, at %q, kill %s", c.name, c.moment, c.victim) }

// matrix is every step with every victim. At which of its moments the step is held changes from cell to cell; full has all of them.
func matrix(full bool) (cells []cell) {
	n := 0
	for _, w := range walks {
		for _, moments := range w.steps {
			for _, v := range box.Victims {
				for i, moment := range moments {
					if full || i == n%len(moments) {
						cells = append(cells, cell{w, moment, v})
					}
				}
				n++
			}
		}
	}
	return cells
}

// TestKillAtEveryStep kills, at each step of each operation on a backup, the leader, the member at work, and its node, one at a time. After
// the restart of what was killed the operation comes to an end, good or bad, with a reason where it is bad; what the catalogue then calls
// done can be read; all nodes run and are in sync; the next backup is made; and nothing was signed twice.
func TestKillAtEveryStep(t *testing.T) {
	t.Parallel()
	box.Walk(t, 2, matrix, func(t *testing.T, i int) *sandbox {
		d := inFolder(t)
		if i == 0 {
			d = onServer(t)
		}
		return layOut(t, drill.Options{}, d).up()
	}, (*sandbox).kill, func(b *sandbox) {
		b.sweep()
		b.proved(true)
	})
}

// kill does one cell and returns how long after the restart the operation ended.
func (b *sandbox) kill(c cell) time.Duration {
	b.T.Helper()
	if c.name == "restore" || c.name == "verify" {
		b.newest(fsm.CopiesData) // not while everybody is held
	}
	for _, m := range b.Members {
		b.HoldAt(m, c.moment)
	}
	id := c.begin(b)
	m := b.Reach(endTime, fmt.Sprintf("%v: reaching it", c), id, c.moment)
	victim := b.victim(c, id, m)
	back := b.Fell(endTime, victim, c.victim == box.ItsNode, func() *drill.Member { return b.standby(victim.ID) })
	o := b.End(id, endTime)
	took := time.Since(back)
	if o.Outcome != "done" && o.Reason == "" {
		b.T.Errorf("%v: the operation is %s, and does not say why", c, o.Outcome)
	}
	b.Whole()
	if c.name == "backup of data" || c.name == "backup of a snapshot" {
		if state := b.stateOf(o.Backup); (state == fsm.BackupDone) != (o.Outcome == "done") || state == fsm.BackupRunning {
			b.T.Errorf("%v: the operation is %s, and the backup %q in the catalogue", c, o.Outcome, state)
		}
	}
	b.proved(false)
	b.backup(fsm.CopiesSnapshot, box.Fields{"queue": "1m"})
	b.T.Logf("%v: it is %s after %v: %s", c, o.Outcome, took.Round(time.Millisecond), o.Reason)
	return took
}

// victim is who of the cell's kind is killed. The leader is another one than the member at work, unless it is the leader's work.
func (b *sandbox) victim(c cell, id string, m *drill.Member) *drill.Member {
	b.T.Helper()
	view := b.View()
	switch {
	case c.victim == box.TheLeader && box.Leads(c.moment):
		return m
	case c.victim == box.TheLeader && view.Leader == m.ID:
		return b.LeadElsewhere(m, endTime)
	case c.victim == box.TheLeader:
		return b.Get(view.Leader)
	case box.Leads(c.moment): // the member that has done the step, or will do the next one
		if o, err := b.Stands(b.T.Context(), id); err == nil && o.Member != "" {
			return b.Get(o.Member)
		}
		return b.standby(m.ID)
	}
	return m
}

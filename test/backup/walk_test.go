package backup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"roundtable/api"
	"roundtable/drill"
	"roundtable/fsm"
	"roundtable/test/box"
)

// Who is killed, with SIGKILL.
const (
	theLeader = "the leader"
	atWork    = "the member at work"
	itsNode   = "its node"
)

var victims = []string{theLeader, atWork, itsNode}

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

// leads reports whether it is the leader who is held.
func (c cell) leads() bool { return strings.HasPrefix(c.moment, "plan ") }

// matrix is every step with every victim. At which of its moments the step is held changes from cell to cell; full has all of them.
func matrix(full bool) (cells []cell) {
	n := 0
	for _, w := range walks {
		for _, moments := range w.steps {
			for _, v := range victims {
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
//
// ROUNDTABLE_FULL=1 kills at every moment of each step. ROUNDTABLE_CELL tries cells again, by a part of their names.
func TestKillAtEveryStep(t *testing.T) {
	t.Parallel()
	only := os.Getenv("ROUNDTABLE_CELL")
	cells := slices.DeleteFunc(matrix(os.Getenv("ROUNDTABLE_FULL") != "" || only != ""), func(c cell) bool { return !strings.Contains(c.String(), only) })
	const boxes = 2
	for i := range min(boxes, len(cells)) {
		t.Run(fmt.Sprintf("sandbox%d", i+1), func(t *testing.T) {
			t.Parallel()
			d := inFolder(t)
			if i == 0 {
				d = onServer(t)
			}
			b := layOut(t, drill.Options{}, d).up()
			var times []time.Duration
			for j := i; j < len(cells) && !t.Failed(); j += boxes {
				times = append(times, b.kill(cells[j]))
			}
			b.sweep()
			b.proved(true)
			r := b.Judge(true)
			slices.Sort(times)
			t.Logf("%d kills; the operation ended p50 %v, max %v after the restart; %d of %d slots missed, %d signed twice", len(times),
				times[len(times)/2].Round(time.Millisecond), times[len(times)-1].Round(time.Millisecond), r.Missed.Total, r.SlotsDue, r.Doubled)
		})
	}
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
	at := b.reach(c, id)
	back := b.killOne(c, id, at)
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

// reach waits until the operation is held where the cell wants it, and says at which member.
func (b *sandbox) reach(c cell, id string) (at *drill.Member) {
	b.T.Helper()
	b.Eventually(endTime, fmt.Sprintf("%v: reaching it", c), func(ctx context.Context) error {
		if i := slices.IndexFunc(b.Members, func(m *drill.Member) bool { return m.Held(c.moment) }); i >= 0 {
			at = b.Members[i]
			return nil
		}
		o, err := b.Stands(ctx, id)
		switch {
		case err != nil:
			return err
		case o.Ended != "":
			b.T.Fatalf("%v: it has ended before: %s %s", c, o.Outcome, box.Told(o))
		}
		return box.At(o)
	})
	return at
}

// killOne kills the cell's victim where the operation is held at m, lets everybody go on, and returns when what was killed was there
// again.
func (b *sandbox) killOne(c cell, id string, m *drill.Member) time.Time {
	b.T.Helper()
	ctx, victim := b.T.Context(), b.victim(c, id, m)
	before := 0
	if c.victim == itsNode {
		pid, err := b.NodePID(victim)
		if errors.Is(err, drill.ErrNoTarget) { // it is the one that is stopped: the node that matters is another standby's
			victim = b.standby(victim.ID)
			pid, err = b.NodePID(victim)
		}
		if err := errors.Join(err, b.KillNode(ctx, victim)); err != nil {
			b.T.Fatal(err)
		}
		before = pid
	} else if err := b.KillMember(ctx, victim); err != nil {
		b.T.Fatal(err)
	}
	for _, m := range b.Members { // no step is held from now on
		b.LetGo(m)
	}
	if c.victim == itsNode {
		b.Eventually(endTime, "the next node", func(context.Context) error {
			if pid, err := b.NodePID(victim); err != nil || pid == before {
				return errors.Join(err, fmt.Errorf("it is %d", pid))
			}
			return nil
		})
	} else if err := b.StartMember(victim); err != nil {
		b.T.Fatal(err)
	}
	return time.Now()
}

// victim is who of the cell's kind is killed. The leader is another one than the member at work, unless it is the leader's work.
func (b *sandbox) victim(c cell, id string, m *drill.Member) *drill.Member {
	b.T.Helper()
	view := b.View()
	switch {
	case c.victim == theLeader && c.leads():
		return m
	case c.victim == theLeader && view.Leader == m.ID:
		return b.LeadElsewhere(m, endTime)
	case c.victim == theLeader:
		return b.Get(view.Leader)
	case c.leads(): // the member that has done the step, or will do the next one
		if o, err := b.Stands(b.T.Context(), id); err == nil && o.Member != "" {
			return b.Get(o.Member)
		}
		return b.standby(m.ID)
	}
	return m
}

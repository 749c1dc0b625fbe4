package sim_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"roundtable/cluster/control"
	"roundtable/fsm"
)

// playBackups is play with a repository, and asks what must hold of backups as well.
func playBackups(t *testing.T, seed uint64, script func(w *world) error) {
	t.Helper()
	play(t, seed, func(w *world) error {
		w.store = newStore()
		for _, m := range w.members { // they were started without one
			if err := w.kill(m); err != nil {
				return err
			}
			if err := w.start(m); err != nil {
				return err
			}
		}
		if err := w.settle(); err != nil {
			return err
		}
		return errors.Join(script(w), w.catalogued())
	})
}

// catalogued asks that nothing is called done that was not committed, and nothing runs that is not.
func (w *world) catalogued() error {
	s := w.newest()
	if s == nil {
		return nil
	}
	var errs error
	list := w.store.list()
	for id, b := range s.Backups {
		if b.State == fsm.BackupDone && !list[id] {
			errs = errors.Join(errs, fmt.Errorf("%s is done by the catalogue, and not in the repository: %v", id, list))
		}
		if o, _ := s.Operation(b.Operation); b.State == fsm.BackupRunning && o.Outcome != fsm.Running {
			errs = errors.Join(errs, fmt.Errorf("%s is being made by operation %d, which is %s", id, b.Operation, o.Outcome))
		}
	}
	return errs
}

func (w *world) backup(r control.BackupRequest) (uint64, error) {
	if r.Copies == "" {
		r.Copies = fsm.CopiesData
	}
	return w.someone().manager.Backup(context.Background(), r, "")
}

// done is an operation that is to be done, and the operation then.
func (w *world) done(id uint64, err error) (fsm.Operation, error) {
	if err != nil {
		return fsm.Operation{}, err
	}
	if err := w.ends(id, fsm.Done, ""); err != nil {
		return fsm.Operation{}, err
	}
	s, _ := w.someone().cluster.View()
	o, _ := s.Operation(id)
	return o, nil
}

// TestBackupAndBack: a backup of each kind, a verification, a restore of a standby, and a sweep; no slot is missed.
func TestBackupAndBack(t *testing.T) {
	playBackups(t, 31, func(w *world) error {
		from := uint64(w.peers.next())
		holder := w.who("holder").id
		var ids []string
		for _, copies := range []string{fsm.CopiesData, fsm.CopiesSnapshot} {
			o, err := w.done(w.backup(control.BackupRequest{Copies: copies}))
			if err != nil {
				return err
			}
			if o.Task.Member == holder {
				return fmt.Errorf("a backup of the holder's node")
			}
			ids = append(ids, o.Task.Backup)
		}
		m := w.someone().manager
		if _, err := w.done(m.Verify(context.Background(), control.VerifyRequest{Backup: ids[0]}, "")); err != nil {
			return err
		}
		member := w.who("standby")
		if _, err := w.done(m.Restore(context.Background(), control.RestoreRequest{Backup: ids[0], Member: member.id}, "")); err != nil {
			return err
		}
		if member.home.data != ids[0] || member.home.swapped || len(member.home.fetched) != 0 {
			return fmt.Errorf("%s runs with %q: %+v", member.id, member.home.data, member.home)
		}
		_, err := m.Restore(context.Background(), control.RestoreRequest{Backup: ids[0], Member: holder}, "")
		if !errors.Is(err, control.ErrBackupRefused) {
			return fmt.Errorf("the restore of the holder's node: %w", err)
		}
		if err := m.ExpireBackup(context.Background(), ids[0], "by an operator"); err != nil {
			return err
		}
		if err := w.pass(time.Minute); err != nil { // it is swept by itself
			return err
		}
		if list := w.store.list(); len(list) != 1 || !list[ids[1]] {
			return fmt.Errorf("after the sweep the repository holds %v", list)
		}
		s, _ := w.someone().cluster.View()
		if len(s.Backups) != 1 {
			return fmt.Errorf("after the sweep the catalogue holds %v", s.Backups)
		}
		return w.gapless(from)
	})
}

// TestADirtyNodeIsRestored by itself, once.
func TestADirtyNodeIsRestored(t *testing.T) {
	playBackups(t, 32, func(w *world) error {
		o, err := w.done(w.backup(control.BackupRequest{}))
		if err != nil {
			return err
		}
		from := uint64(w.peers.next())
		m := w.who("standby")
		if err := w.kill(m); err != nil {
			return err
		}
		m.home.dirty = true
		if err := w.start(m); err != nil {
			return err
		}
		if err := w.settle(); err != nil {
			return err
		}
		if m.home.data != o.Task.Backup || m.home.swapped {
			return fmt.Errorf("%s runs with %q", m.id, m.home.data)
		}
		s, _ := w.someone().cluster.View()
		if !slices.ContainsFunc(s.Operations, func(o fsm.Operation) bool { return o.Kind == fsm.KindRestore && o.Task.Auto && o.Outcome == fsm.Done }) {
			return errors.New("nobody restored it")
		}
		return w.gapless(from)
	})
}

// TestAllNodesAreDirty: where nobody can produce all are restored, one after the other.
func TestAllNodesAreDirty(t *testing.T) {
	playBackups(t, 33, func(w *world) error {
		if _, err := w.done(w.backup(control.BackupRequest{})); err != nil {
			return err
		}
		for _, m := range w.members {
			if err := w.kill(m); err != nil {
				return err
			}
			m.home.dirty = true
		}
		for _, m := range w.members {
			if err := w.start(m); err != nil {
				return err
			}
		}
		return w.settle()
	})
}

// TestBackupsAtEveryMoment kills the leader or the member at work at each moment of each operation on a backup. Who comes back goes on with
// it; who does not makes it fail.
func TestBackupsAtEveryMoment(t *testing.T) {
	moments := func(steps ...string) []string {
		list := []string{"plan validate"}
		for _, step := range steps {
			list = append(list, step, "after "+step, "plan "+step)
			if step == fsm.StepCopy || step == fsm.StepReplace {
				list = append(list, "stop "+step, "prove "+step)
			}
		}
		return list
	}
	made := func(w *world) (string, error) {
		o, err := w.done(w.backup(control.BackupRequest{}))
		if err != nil {
			return "", err
		}
		return o.Task.Backup, nil
	}
	for _, c := range []struct {
		name    string
		moments []string
		begin   func(w *world, backup string) (uint64, error)
	}{
		{"data", moments(fsm.StepPrepare, fsm.StepCopy, fsm.StepStore), func(w *world, _ string) (uint64, error) { return w.backup(control.BackupRequest{}) }},
		{"chain snapshot", moments(fsm.StepSnapshot, fsm.StepStore), func(w *world, _ string) (uint64, error) {
			return w.backup(control.BackupRequest{Copies: fsm.CopiesSnapshot})
		}},
		{"restore", moments(fsm.StepFetch, fsm.StepReplace), func(w *world, backup string) (uint64, error) {
			return w.someone().manager.Restore(context.Background(), control.RestoreRequest{Backup: backup, Member: w.who("other").id}, "")
		}},
		{"verify", moments(fsm.StepCheck), func(w *world, backup string) (uint64, error) {
			return w.someone().manager.Verify(context.Background(), control.VerifyRequest{Backup: backup}, "")
		}},
		{"sweep", moments(fsm.StepSweep), func(w *world, _ string) (uint64, error) {
			return w.someone().manager.Sweep(context.Background(), control.SweepRequest{}, "")
		}},
	} {
		for _, name := range thinned(c.moments) {
			for _, who := range []string{"leader", "worker", "worker for good"} {
				if raced && who != "worker" || who == "worker for good" && strings.HasPrefix(name, "plan ") {
					continue // too slow with the race detector; or nobody is at work
				}
				t.Run(fmt.Sprintf("%s/%s/%s", c.name, name, who), func(t *testing.T) {
					playBackups(t, 34, func(w *world) error {
						if err := w.members[1].cluster.TransferLeadership(context.Background(), w.members[1].id); err != nil { // not the holder
							return err
						}
						if err := w.settle(); err != nil {
							return err
						}
						backup, err := made(w)
						if err != nil {
							return err
						}
						back, victim := true, who
						if who == "worker for good" {
							back, victim = false, "worker"
						}
						if err := w.fatalMoment(name, victim, back, fsm.Done, func() (uint64, error) { return c.begin(w, backup) }); err != nil {
							return err
						}
						return w.swept()
					})
				})
			}
		}
	}
}

// swept asks that after a sweep there is nothing in the repository but what is done.
func (w *world) swept() error {
	if _, err := w.done(w.someone().manager.Sweep(context.Background(), control.SweepRequest{Queue: time.Minute}, "")); err != nil {
		return err
	}
	s, _ := w.someone().cluster.View()
	for id := range w.store.list() {
		if s.Backups[id].State != fsm.BackupDone {
			return fmt.Errorf("after the sweep the repository holds %q, which is %q", id, s.Backups[id].State)
		}
	}
	return nil
}

// TestBackupSeeds lets plans make backups of both kinds and verify them, while members are killed, frozen and cut off, the leadership is
// moved and the repository does not answer: no slot is doubled, every operation ends, each plan fires once each time, what is done was
// committed, and a sweep leaves nothing else.
func TestBackupSeeds(t *testing.T) {
	seeds := uint64(6)
	if raced {
		seeds = 1
	}
	if text := os.Getenv("ROUNDTABLE_BACKUP_SEEDS"); text != "" {
		seeds = number(t, text)
	}
	first := uint64(1)
	if text := os.Getenv("ROUNDTABLE_SEED"); text != "" {
		first = number(t, text)
		seeds = first
	}
	for seed := first; seed <= seeds; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			playBackups(t, seed, func(w *world) error { return w.backups(rand.New(rand.NewPCG(seed, 61))) })
		})
	}
}

func (w *world) backups(dice *rand.Rand) error {
	const every = 45 * time.Second
	plans := []fsm.Plan{
		{ID: "data", Name: fsm.KindBackup, Task: fsm.Task{Copies: fsm.CopiesData, Repository: repository}, Every: every.Milliseconds(), Tries: 2, Jitter: 5000},
		{ID: "snap", Name: fsm.KindBackup, Task: fsm.Task{Copies: fsm.CopiesSnapshot, Repository: repository}, Blocks: 120, CatchUp: true},
		{ID: "look", Name: fsm.KindVerify, Task: fsm.Task{Repository: repository}, Cron: "* * * * *", Tries: 1},
	}
	begun := time.Now()
	for _, p := range plans {
		if _, err := w.someone().manager.PutPlan(context.Background(), p); err != nil {
			return err
		}
	}
	for range 8 {
		if err := w.pass(time.Duration(5+dice.IntN(40)) * time.Second); err != nil {
			return err
		}
		if err := w.trouble(dice); err != nil {
			return err
		}
	}
	if err := w.pass(3 * time.Minute); err != nil {
		return err
	}
	s, _ := w.someone().cluster.View()
	elapsed := time.Since(begun)
	for id, most := range map[string]int{"data": int(elapsed/every) + 1, "snap": int(elapsed/time.Minute) + 1, "look": int(elapsed/time.Minute) + 1} {
		p := s.Plans[id]
		if fired := int(p.Count + p.Skipped); fired > most || p.Count < 3 {
			return fmt.Errorf("plan %s fired %d times and was skipped %d times in %s", id, p.Count, p.Skipped, elapsed)
		}
		w.note("plan %s: fired %d, skipped %d, %s", id, p.Count, p.Skipped, p.Why)
	}
	for _, id := range slices.Sorted(maps.Keys(s.Plans)) {
		if err := w.someone().manager.SetPlan(context.Background(), id, true); err != nil {
			return err
		}
	}
	if err := w.settle(); err != nil {
		return err
	}
	if err := w.onceEach(); err != nil {
		return err
	}
	return w.swept()
}

// onceEach asks that no plan started two operations for the same time: but for tries again there are at least so many seconds between.
func (w *world) onceEach() error {
	s, _ := w.someone().cluster.View()
	last := map[string]fsm.Operation{}
	for _, o := range s.Operations {
		if o.Task == nil || o.Task.Plan == "" {
			continue
		}
		p := o.Task.Plan
		if before, ok := last[p]; ok && o.Started < before.Ended {
			return fmt.Errorf("plan %s: operation %d began while %d ran", p, o.ID, before.ID)
		}
		last[p] = o
	}
	return nil
}

// trouble lets something go wrong for a while, and puts it right.
func (w *world) trouble(dice *rand.Rand) error {
	victim := w.members[dice.IntN(3)]
	for _, m := range w.members { // it is most likely who is at work
		s, _ := w.someone().cluster.View()
		for _, o := range s.RunningOperations() {
			if part, ok := o.Current().Part(m.id); ok && part.Ended == 0 && dice.IntN(2) == 0 {
				victim = m
			}
		}
	}
	lasts := time.Duration(1+dice.IntN(15)) * time.Second
	if dice.IntN(4) == 0 {
		lasts += 70 * time.Second // longer than anybody waits for it
	}
	what := dice.IntN(5)
	w.note("trouble %d of %s for %s", what, victim.id, lasts)
	switch what {
	case 0: // killed
		if err := w.kill(victim); err != nil {
			return err
		}
		if err := w.pass(lasts); err != nil {
			return err
		}
		if err := w.start(victim); err != nil {
			return err
		}
	case 1: // frozen: its work goes on late
		victim.frozen.freeze()
		w.hub.Freeze(victim.id)
		victim.icy = true
		err := w.pass(lasts)
		victim.icy = false
		victim.frozen.thaw()
		w.hub.Thaw(victim.id)
		if err != nil {
			return err
		}
	case 2: // cut off
		for _, o := range w.others(victim) {
			w.cut(victim, o)
			w.cut(o, victim)
		}
		err := w.pass(lasts)
		for _, o := range w.others(victim) {
			w.heal(victim, o)
			w.heal(o, victim)
		}
		if err != nil {
			return err
		}
	case 3: // another leader
		if l := w.leader(); l != nil && victim.up() {
			_ = l.cluster.TransferLeadership(context.Background(), victim.id) // it may be gone: then there is none
		}
	case 4: // the repository
		w.store.mu.Lock()
		w.store.broken = true
		w.store.mu.Unlock()
		err := w.pass(lasts)
		w.store.mu.Lock()
		w.store.broken = false
		w.store.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

// TestProductionMovesBesideACopy: an operator's handoff does not wait for the end of a copy, nor does a holder's manager that stops, and no
// slot is missed.
func TestProductionMovesBesideACopy(t *testing.T) {
	for _, name := range []string{"handoff", "stop"} {
		t.Run(name, func(t *testing.T) {
			playBackups(t, 35, func(w *world) error {
				from := uint64(w.peers.next())
				holder := w.who("holder")
				w.hold.at("prove copy")
				id, err := w.backup(control.BackupRequest{})
				if err != nil {
					return err
				}
				worker, err := w.reached(time.Minute)
				if err != nil {
					return err
				}
				if name == "stop" {
					if err := w.stop(holder); err != nil {
						return err
					}
				} else if _, err := holder.manager.Handoff(context.Background(), "", "now", ""); err != nil {
					return err
				}
				if err := w.pass(5 * time.Second); err != nil {
					return err
				}
				if now := w.holder(); now == nil || now == holder || now == worker {
					return fmt.Errorf("%s held the lease, %s is at work, now it is %v", holder.id, worker.id, now)
				}
				w.hold.let()
				if name == "stop" {
					if err := w.start(holder); err != nil {
						return err
					}
				}
				if err := w.ends(id, fsm.Done, ""); err != nil {
					return err
				}
				return w.gapless(from)
			})
		})
	}
}

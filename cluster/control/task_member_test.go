package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"roundtable/fsm"
)

// fakeVault is a Vault of the model kind: it notes what it is asked, and does what a test says.
type fakeVault struct {
	called
	names   []string
	tasks   []VaultTask
	block   func(ctx context.Context, call string, say func(int, string)) error
	expired []string
	dirty   string
	sweeps  func(fate func(string) Fate, dropped func(context.Context, string) error) error
	scans   []fsm.Backup
	forgets func(needed func(string) bool)
}

func newFakeVault() *fakeVault {
	return &fakeVault{names: []string{"main"}, block: func(context.Context, string, func(int, string)) error { return nil }}
}

func (v *fakeVault) do(ctx context.Context, call string, t VaultTask, say func(int, string)) error {
	defer v.begin(call)()
	v.mu.Lock()
	v.tasks = append(v.tasks, t)
	v.mu.Unlock()
	return v.block(ctx, call, say)
}

func (v *fakeVault) said() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(v.calls), func(call string) bool { return call == "forget" })
}

type says = func(percent int, text string)

func (v *fakeVault) Repositories() []string { return v.names }
func (v *fakeVault) Prepare(ctx context.Context, t VaultTask, say says) error {
	return v.do(ctx, "prepare", t, say)
}
func (v *fakeVault) Copy(ctx context.Context, t VaultTask, say says) error {
	return v.do(ctx, "copy", t, say)
}
func (v *fakeVault) Snapshot(ctx context.Context, t VaultTask, say says) error {
	return v.do(ctx, "snapshot", t, say)
}
func (v *fakeVault) Fetch(ctx context.Context, t VaultTask, say says) error {
	return v.do(ctx, "fetch", t, say)
}
func (v *fakeVault) Replace(ctx context.Context, t VaultTask, say says) error {
	return v.do(ctx, "replace", t, say)
}
func (v *fakeVault) Settle(ctx context.Context, t VaultTask, back bool) error {
	return v.do(ctx, fmt.Sprintf("settle %v", back), t, nil)
}
func (v *fakeVault) Store(ctx context.Context, t VaultTask, say says) (fsm.Stored, error) {
	return someStored, v.do(ctx, "store", t, say)
}
func (v *fakeVault) Check(ctx context.Context, t VaultTask, say says) (string, error) {
	return "all is well", v.do(ctx, "check", t, say)
}

func (v *fakeVault) Sweep(ctx context.Context, t VaultTask, fate func(string) Fate, dropped func(context.Context, string) error, say says) (string, error) {
	if v.sweeps != nil {
		return "swept", errors.Join(v.do(ctx, "sweep", t, say), v.sweeps(fate, dropped))
	}
	return "swept", v.do(ctx, "sweep", t, say)
}

func (v *fakeVault) Scan(ctx context.Context, t VaultTask, found func(context.Context, fsm.Backup) error, say says) (string, error) {
	err := v.do(ctx, "scan", t, say)
	for _, b := range v.scans {
		err = errors.Join(err, found(ctx, b))
	}
	return "scanned", err
}

func (v *fakeVault) Forget(ctx context.Context, needed func(string) bool) error {
	if v.forgets != nil {
		v.forgets(needed)
	}
	return v.do(ctx, "forget", VaultTask{}, nil)
}
func (v *fakeVault) Expired(string, []fsm.Backup, time.Time) []string { return v.expired }
func (v *fakeVault) Dirty() (string, bool)                            { return v.dirty, v.dirty != "" }

var someStored = fsm.Stored{ChainID: strings.Repeat("c1", 32), First: 1, Head: 9, Files: 1, Size: 10, Data: 10, Stored: 5, Manifest: strings.Repeat("e3", 32)}

// runTasks runs the controller of b that works with its vault; what it returns ends it.
func runTasks(t *testing.T, a *atWork) (end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	tasks, done := newTaskMember(a.Manager, slog.New(slog.DiscardHandler)), make(chan struct{})
	go func() {
		defer close(done)
		a.run(ctx, tasks, tasks.changed)
		tasks.end()
	}()
	end = func() { cancel(); <-done }
	t.Cleanup(end)
	return end
}

// worksTask runs the controller of b in a bubble.
func worksTask(t *testing.T, w *rolled, change ...func(*atWork, *fakeVault)) (*atWork, *fakeVault) {
	t.Helper()
	for i := range w.now().Parts { // bound by the bubble's clock
		w.op.Deadline = w.at.Add(2 * time.Hour).UnixMilli()
		w.now().Parts[i].Member = "b"
	}
	w.s.Backups = map[string]fsm.Backup{
		tasked: {ID: tasked, Copies: fsm.CopiesData, Repository: "main", State: fsm.BackupRunning, Operation: w.op.ID, Member: "b"},
		"done": {ID: "done", Copies: fsm.CopiesData, Repository: "main", State: fsm.BackupDone, Of: someStored},
		"else": {ID: "else", Copies: fsm.CopiesData, Repository: "other", State: fsm.BackupDone, Of: someStored},
		"gone": {ID: "gone", Copies: fsm.CopiesData, Repository: "main", State: fsm.BackupExpired, Of: someStored},
	}
	w.s.Dropped = []fsm.Dropped{{ID: "before", Repository: "main"}, {ID: "elsewhere", Repository: "other"}}
	v := newFakeVault()
	a := works(t, w, func(a *atWork) {
		a.vault = v
		for _, f := range change {
			f(a, v)
		}
	})
	runTasks(t, a)
	return a, v
}

// passes lets time go by, and what is to happen then happen.
func passes(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// vaultFails makes one call fail.
func vaultFails(call string, err error) func(*atWork, *fakeVault) {
	return func(_ *atWork, v *fakeVault) {
		v.block = func(_ context.Context, c string, _ func(int, string)) error {
			if c == call {
				return err
			}
			return nil
		}
	}
}

var errNoLuck = errors.New("no luck")

// TestWhatAMemberDoesWithBackups in each step.
func TestWhatAMemberDoesWithBackups(t *testing.T) {
	of := func(kind, step string) *rolled { return tasks(kind, fsm.CopiesData, step, "b") }
	canceled := asked(func(task *fsm.Task) { task.Cancel = true })
	for name, c := range map[string]struct {
		w           *rolled
		change      func(*atWork, *fakeVault)
		calls       string
		home        string
		fault, text string
		damaged     bool
	}{
		"prepare":                          {w: of(fsm.KindBackup, fsm.StepPrepare), calls: "prepare"},
		"prepare, no luck":                 {w: of(fsm.KindBackup, fsm.StepPrepare), change: vaultFails("prepare", errNoLuck), calls: "prepare", fault: "no luck"},
		"a chain snapshot":                 {w: of(fsm.KindBackup, fsm.StepSnapshot), calls: "snapshot"},
		"a copy":                           {w: of(fsm.KindBackup, fsm.StepCopy), calls: "copy", home: "prove", text: "its node is back"},
		"a copy that fails":                {w: of(fsm.KindBackup, fsm.StepCopy), change: vaultFails("copy", errNoLuck), calls: "copy", home: "prove", fault: "no luck"},
		"a copy that is canceled":          {w: of(fsm.KindBackup, fsm.StepCopy).with(canceled), home: "prove", fault: "canceled by an operator"},
		"a copy, and no proof":             {w: of(fsm.KindBackup, fsm.StepCopy), change: func(a *atWork, _ *fakeVault) { fails("prove")(a) }, calls: "copy", home: "prove", fault: "its node is not proved back: no luck"},
		"a store":                          {w: of(fsm.KindBackup, fsm.StepStore), calls: "store", text: "block 9"},
		"a store that fails":               {w: of(fsm.KindBackup, fsm.StepStore), change: vaultFails("store", errNoLuck), calls: "store", fault: "no luck"},
		"a fetch":                          {w: of(fsm.KindRestore, fsm.StepFetch), calls: "fetch"},
		"a fetch of what is damaged":       {w: of(fsm.KindRestore, fsm.StepFetch), change: vaultFails("fetch", fmt.Errorf("pack 3: %w", ErrDamaged)), calls: "fetch", fault: "pack 3: the backup is damaged", damaged: true},
		"a replacement":                    {w: of(fsm.KindRestore, fsm.StepReplace), calls: "replace; settle false", home: "prove", text: "runs with " + tasked},
		"a replacement that fails":         {w: of(fsm.KindRestore, fsm.StepReplace), change: vaultFails("replace", errNoLuck), calls: "replace; settle true", fault: "no luck; its node has the data that it had before"},
		"a replacement that is not proved": {w: of(fsm.KindRestore, fsm.StepReplace), change: func(a *atWork, _ *fakeVault) { fails("prove")(a) }, calls: "replace; settle true", home: "prove", fault: "no luck; its node has the data that it had before"},
		"a check":                          {w: of(fsm.KindVerify, fsm.StepCheck), calls: "check", text: "all is well"},
		"a check that finds damage":        {w: of(fsm.KindVerify, fsm.StepCheck), change: vaultFails("check", ErrDamaged), calls: "check", fault: "damaged", damaged: true},
		"a sweep":                          {w: of(fsm.KindSweep, fsm.StepSweep), calls: "sweep", text: "swept"},
		"a repository that is not here":    {w: of(fsm.KindSweep, fsm.StepSweep), change: func(_ *atWork, v *fakeVault) { v.names = nil }, fault: `no repository "main"`},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				change := c.change
				if change == nil {
					change = func(*atWork, *fakeVault) {}
				}
				a, v := worksTask(t, c.w, change)
				passes(3 * time.Second)
				if got := strings.Join(v.said(), "; "); got != c.calls {
					t.Errorf("asked %q, want %q", got, c.calls)
				}
				if got := strings.Join(a.home.said(), "; "); got != c.home {
					t.Errorf("of the home asked %q, want %q", got, c.home)
				}
				r := a.last()
				if !r.Ended || !strings.Contains(r.Fault, c.fault) || c.fault == "" && (r.Fault != "" || r.Percent != 100) || !strings.Contains(r.Text, c.text) || r.Damaged != c.damaged {
					t.Errorf("reported %+v", r)
				}
				if stored := r.Stored != nil; stored != (c.fault == "" && c.w.now().Name == fsm.StepStore) {
					t.Errorf("reported %+v", r.Stored)
				}
				if n := len(a.reports()); n != 1 {
					t.Errorf("%d reports: %+v", n, a.reports())
				}
			})
		})
	}
}

// TestWhatAMemberIsTold of the operation: what may be referred to, and what is to be removed.
func TestWhatAMemberIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := tasks(fsm.KindSweep, "", fsm.StepSweep, "b")
		_, v := worksTask(t, w, func(*atWork, *fakeVault) {
			b := w.s.Backups["done"]
			b.Suspect = true
			w.s.Backups["done"] = b
		})
		passes(time.Second)
		got := v.tasks[slices.Index(v.calls, "sweep")]
		if !got.Known || !slices.Equal(got.Bases, []string{"done"}) || !slices.Equal(got.Drops, []string{"gone"}) || !slices.Equal(got.Dropped, []string{"before"}) || got.Record.ID != tasked || got.Operation != rolledID || got.Kind != fsm.KindSweep || got.Cluster != "t" || got.ChainID == "" {
			t.Errorf("%+v", got)
		}
	})
}

// TestWhatABackupMayReferTo: the likeliest first, and nothing that may share what was found damaged.
func TestWhatABackupMayReferTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := backup(fsm.CopiesData, fsm.StepPrepare, "b")
		_, v := worksTask(t, w, func(*atWork, *fakeVault) {
			s := w.s
			delete(s.Backups, "done")
			put := func(id, copies, member string, created int64, state fsm.BackupState, suspect bool) {
				s.Backups[id] = fsm.Backup{ID: id, Copies: copies, Member: member, Repository: "main", State: state, Of: someStored, Created: created, Suspect: suspect}
			}
			put("1", fsm.CopiesSnapshot, "b", 9, fsm.BackupDone, false)
			put("2", fsm.CopiesData, "b", 2, fsm.BackupDone, false)
			put("3", fsm.CopiesData, "c", 8, fsm.BackupDone, false)
			put("4", fsm.CopiesData, "b", 7, fsm.BackupDone, true)
			put("5", fsm.CopiesData, "b", 6, fsm.BackupDamaged, false)
			put("6", fsm.CopiesData, "b", 5, fsm.BackupDone, false)
			put("7", fsm.CopiesSnapshot, "c", 10, fsm.BackupDone, false)
		})
		passes(time.Second)
		got := v.tasks[slices.Index(v.calls, "prepare")]
		if want := []string{"6", "2", "3", "1", "7"}; !got.Known || !slices.Equal(got.Bases, want) {
			t.Errorf("known %v, %v, want %v", got.Known, got.Bases, want)
		}
	})
}

// TestASweepAsksTheState: what failed or expired goes, what nobody knows goes only once the catalogue has it as expired.
func TestASweepAsksTheState(t *testing.T) {
	for _, unknown := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			fates := map[string]Fate{}
			var drop error
			a, _ := worksTask(t, tasks(fsm.KindSweep, "", fsm.StepSweep, "b").with(asked(func(task *fsm.Task) { task.Unknown = unknown })), func(_ *atWork, v *fakeVault) {
				v.sweeps = func(fate func(string) Fate, dropped func(context.Context, string) error) error {
					for _, id := range []string{"done", "gone", tasked, "stranger", "NO ID"} {
						fates[id] = fate(id)
					}
					drop = errors.Join(dropped(t.Context(), "gone"), dropped(t.Context(), "done"))
					return nil
				}
			})
			passes(3 * time.Second)
			want := map[string]Fate{"done": FateKeep, "gone": FateDrop, tasked: FateKeep, "stranger": FateUnknown, "NO ID": FateUnknown}
			if unknown {
				want["stranger"], want["NO ID"] = FateDrop, FateKeep
			}
			for id, fate := range want {
				if fates[id] != fate {
					t.Errorf("unknown %v: the fate of %s is %d, want %d", unknown, id, fates[id], fate)
				}
			}
			s, _ := a.group.View()
			_, done := s.Backups["done"]
			_, gone := s.Backups["gone"]
			if drop != nil || !done || gone || unknown != (s.Backups["stranger"].State == fsm.BackupExpired) {
				t.Errorf("unknown %v: %v, %+v", unknown, drop, s.Backups)
			}
			if said := strings.Contains(a.last().Text, "kept, since the catalogue did not take them: NO ID"); said != unknown {
				t.Errorf("reported %+v", a.last())
			}
		})
	}
}

// TestAScanSaysWhatIsNotTaken.
func TestAScanSaysWhatIsNotTaken(t *testing.T) {
	good := fsm.Backup{ID: "found", Copies: fsm.CopiesData, Of: someStored, Created: 1}
	other := good
	other.ID, other.Of.ChainID = "other", strings.Repeat("d2", 32)
	for name, c := range map[string]struct {
		scans       []fsm.Backup
		fault, text string
	}{
		"one of two":  {[]fsm.Backup{good, other}, "", "scanned; not taken: other: backup.invalid"},
		"the other":   {[]fsm.Backup{other}, "nothing there can be used: other", ""},
		"all of them": {[]fsm.Backup{good}, "", "scanned"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, _ := worksTask(t, tasks(fsm.KindScan, "", fsm.StepScan, "b"), func(_ *atWork, v *fakeVault) { v.scans = c.scans })
				passes(3 * time.Second)
				if r := a.last(); !r.Ended || !strings.Contains(r.Fault, c.fault) || !strings.HasPrefix(r.Text, c.text) || (c.fault == "") != (r.Fault == "") {
					t.Errorf("reported %+v", r)
				}
			})
		})
	}
}

// hang blocks a call until its context ends.
func hang(call string) func(*atWork, *fakeVault) {
	return func(_ *atWork, v *fakeVault) {
		v.block = func(ctx context.Context, c string, say func(int, string)) error {
			if c != call {
				return nil
			}
			say(40, "at it")
			<-ctx.Done()
			return context.Cause(ctx)
		}
	}
}

// TestAHolderDoesNothingElse: what takes much is stopped while the member holds the lease, and goes on after it.
func TestAHolderDoesNothingElse(t *testing.T) {
	for kind, step := range map[string]string{fsm.KindBackup: fsm.StepStore, fsm.KindRestore: fsm.StepFetch, fsm.KindVerify: fsm.StepCheck} {
		synctest.Test(t, func(t *testing.T) {
			a, v := worksTask(t, tasks(kind, fsm.CopiesData, step, "b"), hang(step))
			passes(5 * time.Second)
			lease := func(holder, incarnation string) {
				a.group.set(func(s *fsm.State) { s.Lease.Holder, s.Lease.Incarnation = holder, incarnation })
			}
			lease("b", incB)
			passes(5 * time.Second)
			v.mu.Lock()
			busy := v.at
			v.mu.Unlock()
			if r := a.last(); busy != 0 || r.Ended || r.Text != holdsReason || r.Percent != 40 {
				t.Errorf("%s: %d at work, reported %+v", step, busy, r)
			}
			told := len(a.reports())
			passes(20 * time.Second)
			if n := len(a.reports()); n != told || len(v.said()) != 1 {
				t.Errorf("%s: %d reports, %d before, asked %v", step, n, told, v.said())
			}
			lease("a", incA)
			passes(5 * time.Second)
			if got := v.said(); !slices.Equal(got, []string{step, step}) {
				t.Errorf("%s: asked %v", step, got)
			}
		})
	}
}

// TestACopyIsCanceled: what was begun ends, the node is proved back, and the fault says who wanted it.
func TestACopyIsCanceled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, v := worksTask(t, tasks(fsm.KindBackup, fsm.CopiesData, fsm.StepCopy, "b"), hang("copy"))
		passes(5 * time.Second)
		if a.busy.Load() != true {
			t.Error("nobody knows that its node is stopped")
		}
		a.group.set(func(s *fsm.State) {
			s.Operations = slices.Clone(s.Operations)
			task := *s.Operations[0].Task
			task.Cancel = true
			s.Operations[0].Task = &task
		})
		passes(5 * time.Second)
		r := a.last()
		if !r.Ended || r.Fault != "canceled by an operator" || !slices.Equal(v.said(), []string{"copy"}) || !slices.Equal(a.home.said(), []string{"prove"}) || a.busy.Load() {
			t.Errorf("reported %+v, asked %v, %v", r, v.said(), a.home.said())
		}
	})
}

// TestACopyThatTakesTooLong leaves time for the proof that the node is back.
func TestACopyThatTakesTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _ := worksTask(t, tasks(fsm.KindBackup, fsm.CopiesData, fsm.StepCopy, "b"), hang("copy"))
		passes(2*time.Hour + time.Minute)
		if r := a.last(); !r.Ended || !strings.HasPrefix(r.Fault, "not done within") || !slices.Equal(a.home.said(), []string{"prove"}) {
			t.Errorf("reported %+v, asked %v", r, a.home.said())
		}
		s, _ := a.group.View()
		a.mu.Lock()
		at := a.when[len(a.when)-1]
		a.mu.Unlock()
		if until := time.UnixMilli(s.Operations[0].Steps[1].Since).Add(2 * time.Hour); until.Sub(at) < 5*time.Minute {
			t.Errorf("reported at %s, the deadline was %s", at, until)
		}
	})
}

// TestWhoHoldsTheLeaseGivesACopyUp after a while: the others wait for it.
func TestWhoHoldsTheLeaseGivesACopyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, v := worksTask(t, tasks(fsm.KindBackup, fsm.CopiesData, fsm.StepCopy, "b").holder("b"))
		passes(50 * time.Second)
		if r := a.last(); r.Ended || r.Text != holdsReason {
			t.Errorf("reported %+v", r)
		}
		passes(20 * time.Second)
		if r := a.last(); !r.Ended || r.Fault != errClaimed.Error() || len(v.said()) != 0 {
			t.Errorf("reported %+v, asked %v", r, v.said())
		}
	})
}

// TestASnapshotIsMadeAgain where the node was started anew in the middle of it.
func TestASnapshotIsMadeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, v := worksTask(t, tasks(fsm.KindBackup, fsm.CopiesSnapshot, fsm.StepSnapshot, "b"), func(a *atWork, v *fakeVault) {
			v.block = func(context.Context, string, func(int, string)) error {
				a.node.mu.Lock()
				defer a.node.mu.Unlock()
				if a.node.view.Run++; a.node.view.Run < 4 {
					return errNoLuck
				}
				a.node.view.Run--
				return nil
			}
		})
		passes(3 * time.Second)
		if r := a.last(); !r.Ended || r.Fault != "" || len(v.said()) != 3 {
			t.Errorf("reported %+v, asked %v", r, v.said())
		}
	})
}

// TestWhatStopsTheNodeGoesFirst: what reads for hours makes way for it, and goes on after it.
func TestWhatStopsTheNodeGoesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, v := worksTask(t, tasks(fsm.KindVerify, "", fsm.StepCheck, "b"), hang("check"))
		passes(5 * time.Second)
		a.group.set(func(s *fsm.State) {
			o := s.Operations[0]
			o.ID, o.Kind, o.Task = 60, fsm.KindBackup, &fsm.Task{Repository: "main", Copies: fsm.CopiesData, Backup: tasked, Member: "b", Limit: 1000}
			o.Steps = []fsm.Step{{Name: fsm.StepCopy, Assignee: "b", Since: o.Steps[0].Since, Parts: []fsm.Part{{Member: "b", Incarnation: incB}}}}
			s.Operations = append(slices.Clone(s.Operations), o)
		})
		passes(10 * time.Second)
		if got := v.said(); !slices.Equal(got, []string{"check", "copy", "check"}) {
			t.Errorf("asked %v", got)
		}
	})
}

// TestForget: what is left is removed now and then, never beside other work, and it is told what is needed still.
func TestForget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := tasks(fsm.KindBackup, fsm.CopiesData, fsm.StepPrepare, "b")
		w.ended("b", "") // it waits for the leader
		var mu sync.Mutex
		needed := map[string]bool{}
		_, v := worksTask(t, w, func(_ *atWork, v *fakeVault) {
			v.forgets = func(is func(string) bool) {
				mu.Lock()
				defer mu.Unlock()
				for _, id := range []string{tasked, "done"} {
					needed[id] = is(id)
				}
			}
		})
		passes(5*keepEvery + time.Second)
		mu.Lock()
		defer mu.Unlock()
		v.mu.Lock()
		defer v.mu.Unlock()
		if n := len(v.calls); n != 6 || !needed[tasked] || needed["done"] {
			t.Errorf("asked %d times, needed %v", n, needed)
		}
	})
}

// TestAManagerThatEndsLeavesAReplacementToTheNext: it puts nothing back on its way out.
func TestAManagerThatEndsLeavesAReplacementToTheNext(t *testing.T) {
	for _, over := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := tasks(fsm.KindRestore, "", fsm.StepReplace, "b")
			w.op.Deadline = w.at.Add(time.Hour).UnixMilli()
			v := newFakeVault()
			a := works(t, w, func(a *atWork) {
				hang("replace")(a, v)
				a.vault = v
			})
			end := runTasks(t, a)
			passes(5 * time.Second)
			want := []string{"replace"}
			if over {
				a.group.set(func(s *fsm.State) {
					s.Operations = slices.Clone(s.Operations)
					s.Operations[0].Outcome = fsm.Failed
				})
				want = append(want, "settle true")
				passes(5 * time.Second)
			}
			end()
			if got := v.said(); !slices.Equal(got, want) {
				t.Errorf("its step is over %v: asked %v", over, got)
			}
		})
	}
}

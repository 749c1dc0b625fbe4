package manager

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"roundtable/backup/worker"
	"roundtable/fsm"
	"roundtable/node"
)

// backedUp is a rig whose node has a backup of its data, and has gone on since, to head.
func backedUp(t *testing.T) (r *rig, made fsm.Stored, head uint32) {
	t.Helper()
	r = producing(t)
	r.head(5)
	made = r.backUp(task(1, fsm.KindBackup, fsm.CopiesData, dataID))
	r.produce()
	return r, made, r.head(made.Head + 10).HeadNum
}

// restored is a rig whose node was just restored, by operation 2, and not settled; head is where it was before.
func restored(t *testing.T) (r *rig, made fsm.Stored, head uint32) {
	t.Helper()
	r, made, head = backedUp(t)
	restore := task(2, fsm.KindRestore, "", dataID)
	if err := errors.Join(r.vault.Fetch(t.Context(), restore, quiet), r.vault.Replace(t.Context(), restore, quiet)); err != nil {
		t.Fatal(err)
	}
	return r, made, head
}

// nobody needs anything.
func nobody(string) bool { return false }

// slowly starts the node such that it is starting for as long as the test wants.
func (r *rig) slowly() {
	r.t.Helper()
	ctx, cancel := context.WithCancel(r.t.Context())
	cancel()
	_ = r.supervisor.Start(ctx, "--sim-slow-start", "1h") // the order stands
	r.until("starting", func() bool { return r.supervisor.Status().State == node.StateStarting })
}

// unproved has the journal say that the node was not up with its new data.
func (v *vault) unproved(t *testing.T) {
	t.Helper()
	v.mu.Lock()
	defer v.mu.Unlock()
	next := *v.swap
	next.Up = false
	if err := v.writeSwap(&next, ""); err != nil {
		t.Fatal(err)
	}
}

// TestForgetNeverStopsTheNode: what an operation that nobody settles has put in place stays where the node runs with it, is left alone while
// the node starts, and goes where it is down.
func TestForgetNeverStopsTheNode(t *testing.T) {
	t.Parallel()
	r, made, before := restored(t)
	v, starts := r.vault, r.supervisor.Status().Starts
	v.unproved(t)
	if err := v.Forget(t.Context(), nobody); err != nil {
		t.Error(err)
	}
	if st := r.supervisor.Status(); st.State != node.StateRunning || st.Starts != starts {
		t.Errorf("the node was touched: %s", st)
	}
	if s, ok := v.unsettled(); ok {
		t.Errorf("it is not settled: %+v", s)
	}
	if info := r.head(0); info.HeadNum < made.Head || info.HeadNum >= before {
		t.Errorf("#%d, it was #%d and was backed up at #%d", info.HeadNum, before, made.Head)
	}
	if exists(v.data(sideFolder, dataID)) {
		t.Error("what was fetched is still there")
	}

	r.produce()
	before = r.head(made.Head + 10).HeadNum
	again := task(3, fsm.KindRestore, "", dataID)
	if err := errors.Join(v.Fetch(t.Context(), again, quiet), v.Replace(t.Context(), again, quiet), r.supervisor.Stop(t.Context())); err != nil {
		t.Fatal(err)
	}
	r.slowly()
	v.unproved(t)
	if err := v.Forget(t.Context(), nobody); err != nil {
		t.Error(err)
	}
	if s, ok := v.unsettled(); !ok || s.State != swapIn || r.supervisor.Status().State != node.StateStarting || !exists(v.data(sideFolder, dataID)) {
		t.Errorf("a node that starts was touched: %+v, %s", s, r.supervisor.Status())
	}
	if err := r.supervisor.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := v.Forget(t.Context(), nobody); err != nil {
		t.Error(err)
	}
	if s, ok := v.unsettled(); ok {
		t.Errorf("it is not settled: %+v", s)
	}
	r.until("up", func() bool { return r.supervisor.Status().State == node.StateRunning })
	if info := r.head(0); info.HeadNum < before-1 {
		t.Errorf("the former data is not back: #%d, it was #%d", info.HeadNum, before)
	}
}

// TestANodeThatCameBack is not restored for its member's own wish.
func TestANodeThatCameBack(t *testing.T) {
	t.Parallel()
	r, made, before := backedUp(t)
	ctx, v := t.Context(), r.vault
	auto := task(2, fsm.KindRestore, "", dataID)
	auto.Auto = true
	if err := v.Fetch(ctx, auto, quiet); err != nil {
		t.Fatal(err)
	}
	starts := r.supervisor.Status().Starts
	untouched := func(what string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		blocks := must[os.FileInfo](t)(os.Stat(v.data("blocks")))
		if err := v.Replace(ctx, auto, quiet); !errors.Is(err, errBack) {
			t.Errorf("%s: %v", what, err)
		}
		if now := must[os.FileInfo](t)(os.Stat(v.data("blocks"))); !os.SameFile(now, blocks) || r.supervisor.Status().Starts != starts {
			t.Errorf("%s: it was touched: %s", what, r.supervisor.Status())
		}
	}
	untouched("it runs")
	if err := r.supervisor.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	v.dirty.Store(&dirtiness{reason: "dirty", since: v.now(), tried: true})
	r.slowly()
	starts++
	untouched("it is being replayed")
	if err := r.supervisor.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	if err := v.Replace(ctx, auto, quiet); err != nil { // it is down
		t.Fatal(err)
	}
	if err := v.Replace(ctx, auto, quiet); err != nil { // it runs, with the backup
		t.Error(err)
	}
	if info := r.head(0); info.HeadNum < made.Head || info.HeadNum >= before {
		t.Errorf("#%d, it was #%d and was backed up at #%d", info.HeadNum, before, made.Head)
	}
}

// TestTheSameRestoreTwice for one member: the second one has what it has fetched, whenever the first one is settled.
func TestTheSameRestoreTwice(t *testing.T) {
	t.Parallel()
	r, made, _ := restored(t)
	ctx, v := t.Context(), r.vault
	if err := v.Settle(ctx, task(2, fsm.KindRestore, "", dataID), false); err != nil {
		t.Fatal(err)
	}
	r.produce()
	before := r.head(made.Head + 10).HeadNum
	second := task(3, fsm.KindRestore, "", dataID)
	if err := v.Fetch(ctx, second, quiet); err != nil {
		t.Fatal(err)
	}
	if err := v.Forget(ctx, func(id string) bool { return id == dataID }); err != nil {
		t.Error(err)
	}
	if err := v.Replace(ctx, second, quiet); err != nil {
		t.Fatal(err)
	}
	if info := r.head(0); info.HeadNum < made.Head || info.HeadNum >= before {
		t.Errorf("#%d, it was #%d and was backed up at #%d", info.HeadNum, before, made.Head)
	}
	if err := v.Settle(ctx, second, false); err != nil {
		t.Fatal(err)
	}
	if err := v.Forget(ctx, nobody); err != nil {
		t.Error(err)
	}
	if left := names(v.data(sideFolder)); len(left) != 0 {
		t.Errorf("left: %q", left)
	}
}

// TestForgetAndABootstrap: what a node is to begin with is not what an operation of the same backup left.
func TestForgetAndABootstrap(t *testing.T) {
	t.Parallel()
	r := producing(t)
	r.head(5)
	ctx, v := t.Context(), r.vault
	r.backUp(task(1, fsm.KindBackup, fsm.CopiesData, dataID))
	if err := v.Fetch(ctx, task(2, fsm.KindRestore, "", dataID), quiet); err != nil { // it has failed since
		t.Fatal(err)
	}
	work := v.work
	v.work = func(ctx context.Context, j worker.Job, on func(worker.Line)) error {
		err := work(ctx, j, on)
		if j.Do == worker.DoRestore {
			err = errors.Join(err, v.Forget(ctx, nobody))
		}
		return err
	}
	side, _, err := v.bootBackup(ctx, dataID, false)
	if err != nil {
		t.Fatal(err)
	}
	if c, err := node.Holds(side); err != nil || !c.Clean() {
		t.Errorf("%+v, %v", c, err)
	}
	if left, _ := filepath.Glob(v.data(sideFolder, "*")); len(left) != 1 || left[0] != side {
		t.Errorf("left: %q", left)
	}
}

// TestNoReplayBesideARestore: a node that is to be restored first is not replayed while that goes on.
func TestNoReplayBesideARestore(t *testing.T) {
	s := fsm.New()
	s.Operations = append(s.Operations, fsm.Operation{Kind: fsm.KindRestore, Outcome: fsm.Running, Task: &fsm.Task{Member: "m1"}})
	if !restoring(s, "m1") || restoring(s, "m2") {
		t.Error("whose node is restored is not seen")
	}
	s.Operations[0].Outcome = fsm.Failed
	if restoring(s, "m1") {
		t.Error("it has ended")
	}
}

package manager

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"roundtable/backup"
	"roundtable/backup/worker"
	"roundtable/cluster/control"
	"roundtable/cmd/roundtable/config"
	"roundtable/fsm"
	"roundtable/node"
)

// TestALostRepository: where backups are known to be, an empty folder, say of a disk that is not mounted, never becomes another repository,
// and nothing is taken for gone.
func TestALostRepository(t *testing.T) {
	t.Parallel()
	r := producing(t)
	r.head(5)
	ctx, v := t.Context(), r.vault
	r.backUp(task(1, fsm.KindBackup, fsm.CopiesData, "one"))
	elsewhere := filepath.Join(t.TempDir(), "unmounted")
	if err := os.Mkdir(elsewhere, 0o700); err != nil {
		t.Fatal(err)
	}
	next := *r.cfg
	next.Backup.Repositories = map[string]config.Repository{"main": {URL: "file://" + elsewhere}}
	r.home.configure(&next)
	known := func(op uint64, kind, copies, id string) control.VaultTask {
		t := task(op, kind, copies, id)
		t.Known = true
		return t
	}
	refused := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, backup.ErrNoRepository) || !strings.Contains(err.Error(), "is its disk mounted") || !strings.Contains(err.Error(), "backup rm") || strings.Count(err.Error(), "hint") != 1 {
			t.Errorf("%s: %v", what, err)
		}
		if there := must[[]os.DirEntry](t)(os.ReadDir(elsewhere)); len(there) > 0 {
			t.Fatalf("%s: a second repository was made: %v", what, there)
		}
	}
	r.produce()
	refused("prepare", v.Prepare(ctx, known(2, fsm.KindBackup, fsm.CopiesData, "two"), quiet))
	refused("copy", v.Copy(ctx, known(2, fsm.KindBackup, fsm.CopiesData, "two"), quiet))
	if st := r.supervisor.Status(); st.State != node.StateRunning {
		t.Errorf("the node is not back: %s", st)
	}
	sweep := known(3, fsm.KindSweep, "", "")
	sweep.Drops = []string{"old"}
	swept := func() error {
		_, err := v.Sweep(ctx, sweep, func(string) control.Fate { return control.FateDrop }, func(_ context.Context, id string) error {
			t.Errorf("%s was dropped", id)
			return nil
		}, quiet)
		return err
	}
	refused("sweep", swept())
	work := v.work
	v.work = func(ctx context.Context, j worker.Job, on func(worker.Line)) error {
		if j.Do == worker.DoList { // the disk goes away behind it
			j.Repository.URL = r.cfg.Backup.Repositories["main"].URL
		}
		return work(ctx, j, on)
	}
	refused("sweep behind a list", swept())
	v.work = work
	_, err := v.Scan(ctx, known(4, fsm.KindScan, "", ""), func(context.Context, fsm.Backup) error { return nil }, quiet)
	refused("scan", err)
	view := newStillView("")
	view.s.Backups = map[string]fsm.Backup{"one": {ID: "one", Repository: "main", State: fsm.BackupDone}}
	var state stateView = view
	r.home.cluster.Store(&state)
	_, err = v.latest(ctx)
	refused("latest", err)

	// Nothing is known to be there: the first backup makes it.
	if _, err := v.Scan(ctx, task(5, fsm.KindScan, "", ""), func(context.Context, fsm.Backup) error { return nil }, quiet); err != nil {
		t.Error(err)
	}
	state = newStillView("")
	r.home.cluster.Store(&state)
	if id, err := v.latest(ctx); id != "" || err != nil {
		t.Errorf("%q, %v", id, err)
	}
	if err := v.Prepare(ctx, task(6, fsm.KindBackup, fsm.CopiesData, "six"), quiet); err != nil {
		t.Error(err)
	}
}

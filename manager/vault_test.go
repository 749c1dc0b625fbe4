package manager

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"roundtable/chain"
	"roundtable/cluster/control"
	"roundtable/cmd/roundtable/config"
	"roundtable/fsm"
	"roundtable/node"
	"roundtable/node/gate"
)

// newVaultRig is a rig with a repository in a folder.
func newVaultRig(t *testing.T) *rig {
	t.Helper()
	if testing.Short() {
		t.Skip("builds simnodeos")
	}
	r := newRig(t)
	r.repository("main", filepath.Join(t.TempDir(), "repository"))
	r.cfg.Backup.Scratch = filepath.Join(r.cfg.Manager.Home, "backup", "scratch")
	r.cfg.Node.Args = append(r.cfg.Node.Args, "--sim-calibration", "10ms") // these tests start many
	return r
}

// repository configures one.
func (r *rig) repository(name, folder string) {
	r.t.Helper()
	if err := os.MkdirAll(folder, 0o700); err != nil {
		r.t.Fatal(err)
	}
	r.cfg.Backup.Repositories = map[string]config.Repository{name: {URL: "file://" + folder}}
	r.cfg.Backup.Repository = name
}

// task is an operation's part.
func task(op uint64, kind, copies, id string) control.VaultTask {
	return control.VaultTask{Operation: op, Kind: kind, Cluster: "t", Task: fsm.Task{Member: "m1", Repository: "main", Copies: copies, Backup: id, Limit: 3_600_000}}
}

// produce has the node make blocks until its head is beyond one.
func (r *rig) head(beyond uint32) node.Info {
	r.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; {
		info, err := r.client.Info(r.t.Context())
		if err == nil && info.HeadNum > beyond {
			return info
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("the head is %d: %v", info.HeadNum, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// backUp makes a backup of the node.
func (r *rig) backUp(t control.VaultTask) fsm.Stored {
	r.t.Helper()
	ctx := r.t.Context()
	var err error
	if t.Copies == fsm.CopiesData {
		if err = r.vault.Prepare(ctx, t, quiet); err == nil {
			err = r.vault.Copy(ctx, t, quiet)
		}
	} else {
		err = r.vault.Snapshot(ctx, t, quiet)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	s, err := r.vault.Store(ctx, t, quiet)
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

// restore restores it.
func (r *rig) restore(t control.VaultTask) {
	r.t.Helper()
	ctx := r.t.Context()
	if err := r.vault.Fetch(ctx, t, quiet); err != nil {
		r.t.Fatal(err)
	}
	if err := r.vault.Replace(ctx, t, quiet); err != nil {
		r.t.Fatal(err)
	}
	if err := r.vault.Settle(ctx, t, false); err != nil {
		r.t.Fatal(err)
	}
}

// producing is a rig whose node makes blocks.
func producing(t *testing.T) *rig {
	r := newVaultRig(t)
	r.start()
	r.produce()
	return r
}

// produce lets the node sign for an hour.
func (r *rig) produce() {
	r.t.Helper()
	now := chain.SlotAt(time.Now().UnixMilli())
	r.gate.Permit(gate.Permit{Epoch: 1, First: now, Last: now + 7200})
	if err := r.node.Resume(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
}

// TestBackupsAndRestores makes backups of both kinds of a node that produces, and restores each.
func TestBackupsAndRestores(t *testing.T) {
	t.Parallel()
	r := producing(t)
	r.head(20)
	data := r.backUp(task(1, fsm.KindBackup, fsm.CopiesData, "20260101-000000-data"))
	if data.Head < 20 || data.First != 1 || data.Files < 4 || data.Stored == 0 || len(data.Manifest) != 64 || data.LIB == 0 || len(data.ChainID) != 64 {
		t.Errorf("%+v", data)
	}
	r.produce()
	r.head(data.Head)
	shot := r.backUp(task(2, fsm.KindBackup, fsm.CopiesSnapshot, "20260101-000001-shot"))
	if shot.Head <= data.Head || shot.First != 0 || shot.Files != 1 {
		t.Errorf("%+v", shot)
	}
	if left, _ := filepath.Glob(r.vault.data("snapshots", "*")); len(left) != 0 {
		t.Errorf("left: %q", left)
	}
	again, err := r.vault.Store(t.Context(), task(2, fsm.KindBackup, fsm.CopiesSnapshot, "20260101-000001-shot"), quiet)
	if err != nil || again != shot {
		t.Errorf("stored again: %+v, %v", again, err)
	}
	r.write("safety.dat", "votes", r.cfg.Node.DataDir, "/finalizers")
	at := r.head(shot.Head + 10).HeadNum

	restore := task(3, fsm.KindRestore, "", "20260101-000000-data")
	r.restore(restore)
	if info := r.head(0); info.HeadNum < data.Head || info.HeadNum >= at {
		t.Errorf("restored: #%d, it was #%d and was backed up at #%d", info.HeadNum, at, data.Head)
	}
	r.restore(task(4, fsm.KindRestore, "", "20260101-000001-shot"))
	if info := r.head(0); info.HeadNum < shot.Head || info.HeadNum >= at {
		t.Errorf("restored: #%d, it was #%d and was backed up at #%d", info.HeadNum, at, shot.Head)
	}
	if text, err := os.ReadFile(r.vault.data("finalizers", "safety.dat")); err != nil || string(text) != "votes" {
		t.Errorf("finalizers: %q, %v", text, err)
	}
	r.produce()
	r.head(shot.Head + 2)
	if err := r.vault.Forget(t.Context(), func(string) bool { return false }); err != nil {
		t.Error(err)
	}
	for _, pattern := range []string{r.vault.data(sideFolder, "*"), r.vault.dir(operationsFolder, "*"), r.vault.swapPath()} {
		if left, _ := filepath.Glob(pattern); len(left) != 0 {
			t.Errorf("left: %q", left)
		}
	}
	if left, _ := filepath.Glob(r.vault.data(asideFolder, "*", "*")); len(left) != 4 {
		t.Errorf("aside: %q", left)
	}
	next := *r.cfg
	next.Backup.KeepOld = 0
	r.home.configure(&next)
	r.vault.dropAside(t.Context())
	if left, _ := filepath.Glob(r.vault.data(asideFolder, "*")); len(left) != 0 {
		t.Errorf("aside: %q", left)
	}
}

// TestSweepAndScan: what is condemned goes, what another catalogue lacks is found.
func TestSweepAndScan(t *testing.T) {
	t.Parallel()
	r := producing(t)
	ctx := t.Context()
	sweep := task(9, fsm.KindSweep, "", "")
	var gone []string
	fates := map[string]control.Fate{}
	swept := func() string {
		t.Helper()
		gone = nil
		what, err := r.vault.Sweep(ctx, sweep, func(id string) control.Fate { return fates[id] }, func(_ context.Context, id string) error {
			gone = append(gone, id)
			return nil
		}, quiet)
		if err != nil {
			t.Fatal(err)
		}
		return what
	}
	said := ""
	scanned := func() (ids []string) {
		t.Helper()
		var err error
		if said, err = r.vault.Scan(ctx, task(10, fsm.KindScan, "", ""), func(_ context.Context, b fsm.Backup) error {
			if b.State != fsm.BackupDone || b.Repository != "main" || b.Member != "m1" || b.Created == 0 || b.Of.Head == 0 || b.Of.Manifest == "" {
				t.Errorf("found %+v", b)
			}
			ids = append(ids, b.ID)
			return nil
		}, quiet); err != nil {
			t.Fatal(err)
		}
		slices.Sort(ids)
		return ids
	}
	sweep.Drops, fates["never"] = []string{"never"}, control.FateDrop
	if swept(); !slices.Equal(gone, []string{"never"}) {
		t.Errorf("of a repository that never was there is gone %q", gone)
	}
	if ids := scanned(); len(ids) != 0 {
		t.Errorf("found %q", ids)
	}
	r.head(5)
	r.backUp(task(1, fsm.KindBackup, fsm.CopiesData, "one"))
	r.backUp(task(2, fsm.KindBackup, fsm.CopiesData, "two"))
	unfinished := task(3, fsm.KindBackup, fsm.CopiesData, "half")
	if err := r.vault.Copy(ctx, unfinished, quiet); err != nil {
		t.Fatal(err)
	}
	if ids := scanned(); !slices.Equal(ids, []string{"one", "two"}) {
		t.Errorf("found %q", ids)
	}
	// What nobody knows stays; what failed goes, though no list shows it.
	fates["one"], fates["half"], sweep.Drops = control.FateKeep, control.FateDrop, []string{"never", "half"}
	if what := swept(); !slices.Equal(gone, []string{"half", "never"}) || !strings.Contains(what, "2 backups are gone") {
		t.Errorf("%s: %q", what, gone)
	}
	// A manifest that nobody can read hides nothing else. What it needs is not known: it can be given up, and else nothing is removed.
	torn := filepath.Join(strings.TrimPrefix(r.cfg.Backup.Repositories["main"].URL, "file://"), "manifests", "one")
	if err := errors.Join(os.Chmod(torn, 0o600), os.Truncate(torn, 100)); err != nil {
		t.Fatal(err)
	}
	if ids := scanned(); !slices.Equal(ids, []string{"two"}) || !strings.HasSuffix(said, "; damaged, for their manifests cannot be read: one") {
		t.Errorf("found %q: %s", ids, said)
	}
	if what, err := r.vault.Sweep(ctx, sweep, func(id string) control.Fate { return fates[id] }, func(_ context.Context, id string) error {
		t.Errorf("%s is gone", id)
		return nil
	}, quiet); err == nil || !strings.Contains(err.Error(), "let backup one be dropped") {
		t.Errorf("%q, %v", what, err)
	}
	if !strings.Contains(r.said(), "a manifest in a repository cannot be read") {
		t.Error("the log does not tell")
	}
	fates["one"] = control.FateDrop
	if what := swept(); !slices.Contains(gone, "one") || strings.Contains(what, "damaged") {
		t.Errorf("%s: gone: %q", what, gone)
	}
	if ids := scanned(); !slices.Equal(ids, []string{"two"}) {
		t.Errorf("found %q", ids)
	}
	if _, err := r.vault.Check(ctx, task(4, fsm.KindVerify, "", "two"), quiet); err != nil {
		t.Errorf("what stays is not whole: %v", err)
	}
	// Nor does anything stay of the first one, which the catalogue has forgotten, once nobody refers to it.
	fates["two"], sweep.Drops, sweep.Dropped = control.FateDrop, nil, []string{"one"}
	if what := swept(); !slices.Equal(gone, []string{"two"}) {
		t.Errorf("%s: gone: %q", what, gone)
	}
	for _, kind := range []string{"packs", "tables", "manifests"} {
		if err := filepath.WalkDir(filepath.Join(strings.TrimPrefix(r.cfg.Backup.Repositories["main"].URL, "file://"), kind), func(path string, e fs.DirEntry, err error) error {
			if err == nil && !e.IsDir() {
				t.Errorf("%s is left", path)
			}
			return err
		}); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
	}
}

// TestVolumes: the node is up again before anything is stored, and what the driver made is released, also where the backup comes to nothing.
func TestVolumes(t *testing.T) {
	t.Parallel()
	r := newVaultRig(t)
	images := t.TempDir()
	r.cfg.Backup.VolumeDriver = r.write("driver", "#!/bin/sh\nset -e\ncase $1 in\n"+
		"take) [ ! -e "+images+"/fails ]; [ ! -e "+images+"/$2 ]; cp -a \"$3\" "+images+"/$2; echo "+images+"/$2;;\n"+
		"release) rm -rf "+images+"/$2;;\nlist) ls "+images+";;\nesac\n")
	r.start()
	r.produce()
	r.head(5)
	ctx := t.Context()
	first, second := task(1, fsm.KindBackup, fsm.CopiesData, dataID), task(2, fsm.KindBackup, fsm.CopiesData, "20260101-000002-more")
	if err := r.vault.Copy(ctx, first, quiet); err != nil {
		t.Fatal(err)
	}
	if st := r.supervisor.Status(); st.State != node.StateRunning || st.Starts != 2 {
		t.Errorf("%s", st)
	}
	r.produce()
	made := must[fsm.Stored](t)(r.vault.Store(ctx, first, quiet))
	r.head(made.Head + 3)
	if left := names(images); len(left) != 0 {
		t.Errorf("left: %q", left)
	}
	// One that fails stores nothing; the node is back, and Forget releases what it may have made.
	r.write("fails", "", images, "/")
	if err := r.vault.Copy(ctx, second, quiet); !errors.Is(err, node.ErrVolume) {
		t.Errorf("%v", err)
	}
	if st := r.supervisor.Status(); st.State != node.StateRunning || st.Starts != 3 {
		t.Errorf("%s", st)
	}
	if err := os.Mkdir(filepath.Join(images, second.Backup), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(images, "fails")); err != nil {
		t.Fatal(err)
	}
	if err := r.vault.Forget(ctx, func(id string) bool { return id == second.Backup }); err != nil || len(names(images)) != 1 {
		t.Errorf("what is needed: %q, %v", names(images), err)
	}
	// Without a driver it stays, and so does what is known of it.
	next := *r.cfg
	next.Backup.VolumeDriver = ""
	r.home.configure(&next)
	for range 2 {
		if err := r.vault.Forget(ctx, func(string) bool { return false }); err != nil || len(names(images)) != 1 {
			t.Errorf("left: %q, %v", names(images), err)
		}
	}
	if said := strings.Count(r.said(), "no driver that could release it"); said != 1 {
		t.Errorf("it was said %d times", said)
	}
	r.home.configure(r.cfg)
	if err := r.vault.Forget(ctx, func(string) bool { return false }); err != nil || len(names(images)) != 0 {
		t.Errorf("left: %q, %v", names(images), err)
	}
	if left := names(r.vault.dir(operationsFolder)); len(left) != 0 {
		t.Errorf("left: %q", left)
	}
	r.restore(task(3, fsm.KindRestore, "", dataID))
	if got := r.head(0); got.HeadNum < made.Head {
		t.Errorf("%+v", got)
	}
}

// TestExpired follows the rules of the repository that is asked about.
func TestExpired(t *testing.T) {
	v := &vault{home: &home{}}
	c := config.Default()
	c.Backup.Repositories = map[string]config.Repository{"main": {KeepLast: 1}, "all": {}}
	v.home.conf.Store(c)
	var list []fsm.Backup
	for i, id := range []string{"a", "b", "c"} {
		list = append(list, fsm.Backup{ID: id, Repository: "main", Copies: fsm.CopiesData, State: fsm.BackupDone, Created: int64(i + 1), Pinned: id == "b"},
			fsm.Backup{ID: "other " + id, Repository: "all", Copies: fsm.CopiesData, State: fsm.BackupDone, Created: int64(i + 1)})
	}
	for repository, want := range map[string][]string{"main": {"a"}, "all": nil, "elsewhere": nil} {
		if got := v.Expired(repository, list, time.UnixMilli(10)); !slices.Equal(got, want) {
			t.Errorf("%s: %q", repository, got)
		}
	}
}

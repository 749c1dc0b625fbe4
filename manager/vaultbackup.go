package manager

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"roundtable/backup"
	"roundtable/backup/worker"
	"roundtable/cluster/control"
	"roundtable/fsm"
	"roundtable/logkey"
	"roundtable/node"
)

// Prepare stores ahead what nodeos only appends to or never changes again: then less is left for the time in which it is stopped. It is
// worth something whenever it ends, so that a file which went away meanwhile is no fault.
func (v *vault) Prepare(ctx context.Context, t control.VaultTask, say func(percent int, text string)) error {
	j, err := v.load(t)
	if err != nil || j.Stage != "" {
		return err
	}
	files, dir, err := v.files(func(f node.DataFile) bool { return f.Kind != node.FileChanged })
	if err != nil || len(files) == 0 {
		return err
	}
	meta, err := v.meta(ctx, t)
	if err != nil {
		return err
	}
	job, err := v.job(t.Repository, worker.DoBackup, t.Backup)
	if err != nil {
		return err
	}
	job.Create, job.Source = !t.Known, &backup.Source{Dir: dir, Files: files, Meta: meta, Bases: t.Bases, Ahead: true}
	err = v.do(ctx, job, say, 0, 100, nil)
	if errors.Is(err, backup.ErrChanged) || errors.Is(err, backup.ErrSource) { // nodeos began a new stride, or has too little to be ahead of
		v.log.Info("not all could be stored ahead", logkey.Reason, err)
		return nil
	}
	return err
}

// files lists what of the node's data a backup has, by paths in its folder.
func (v *vault) files(wanted func(node.DataFile) bool) (files []string, dir string, err error) {
	layout, err := v.layout()
	if err != nil {
		return nil, "", err
	}
	all, err := layout.Files()
	if err != nil {
		return nil, "", fmt.Errorf("manager: %w", err)
	}
	for _, f := range all {
		if !wanted(f) {
			continue
		}
		name, err := filepath.Rel(layout.Data, f.Path)
		if err != nil || !filepath.IsLocal(name) {
			return nil, "", fmt.Errorf("manager: %s is not in the node's data folder (hint: %s)", f.Path, layoutHint)
		}
		files = append(files, filepath.ToSlash(name))
	}
	return files, layout.Data, nil
}

// meta says what a backup is of, as the node tells it now; a backup of it has this head or a later one.
func (v *vault) meta(ctx context.Context, t control.VaultTask) (backup.Meta, error) {
	if err := v.home.answers(ctx); err != nil {
		return backup.Meta{}, err
	}
	info, err := v.home.client.Info(ctx)
	if err != nil {
		return backup.Meta{}, fmt.Errorf("manager: the node does not say what it has: %w", err)
	}
	if t.ChainID != "" && info.ChainID != t.ChainID {
		return backup.Meta{}, fmt.Errorf("manager: the node is on chain %s, the cluster's is %s", info.ChainID, t.ChainID)
	}
	m := backup.Meta{
		Kind: t.Copies, Cluster: t.Cluster, ChainID: info.ChainID, Member: v.cfg().Manager.ID, NodeVersion: info.Version,
		Head: info.HeadNum, HeadID: info.HeadID, HeadTime: info.HeadTime.UnixMilli(), LIB: info.LIBNum, Created: v.now().UnixMilli(),
	}
	if c, err := v.home.supervisor.Layout().Holds(); err == nil && t.Copies == fsm.CopiesData {
		m.First = min(c.First, m.Head)
	}
	return m, nil
}

// Copy stops the node, proves that it ended cleanly, has its data copied, and starts it.
func (v *vault) Copy(ctx context.Context, t control.VaultTask, say func(percent int, text string)) (err error) {
	h := v.home
	h.turning.Lock() // nobody holds it while a node starts
	defer h.turning.Unlock()
	j, err := v.load(t)
	if err != nil {
		return err
	}
	if j.Stage != "" { // it was copied by a process that is no more
		return v.start(ctx)
	}
	if _, err := v.layout(); err != nil {
		return err
	}
	if j.Meta, err = v.meta(ctx, t); err != nil {
		return err
	}
	if err := v.before(ctx, j); err != nil {
		return err
	}
	say(0, "stopping the node")
	err = h.supervisor.Stop(ctx)
	v.step("stop")
	if err == nil {
		err = v.copyStopped(ctx, t, j, say)
	} else {
		err = fmt.Errorf("manager: the node was not stopped: %w", err)
	}
	if err != nil {
		return errors.Join(err, v.start(ctx))
	}
	say(95, "starting the node")
	if err := v.start(ctx); err != nil {
		return err
	}
	say(100, "the node answers")
	return nil
}

// copyStopped copies the data of a node that was stopped. What is dirty is not copied.
func (v *vault) copyStopped(ctx context.Context, t control.VaultTask, j *journal, say func(percent int, text string)) error {
	if err := v.home.supervisor.StoppedCleanly(); err != nil {
		return fmt.Errorf("manager: nothing was copied: %w", err)
	}
	if view, _ := v.home.monitor.View(); view.ChainID == j.Meta.ChainID && view.Head.Num > j.Meta.Head && len(view.Head.ID) == len(j.Meta.HeadID) {
		j.Meta.Head, j.Meta.HeadID, j.Meta.HeadTime = view.Head.Num, view.Head.ID, view.Head.Slot.UnixMilli()
		j.Meta.LIB = min(max(j.Meta.LIB, view.LIB), j.Meta.Head)
	}
	if _, err := v.home.supervisor.Layout().DropLeftovers(); err != nil {
		v.log.Warn("what a chain snapshot left is still there", logkey.Err, err)
	}
	files, dir, err := v.files(func(node.DataFile) bool { return true })
	if err != nil {
		return err
	}
	j.Files = files
	if driver := v.cfg().Backup.VolumeDriver; driver != "" {
		say(10, "taking a snapshot of the volume")
		if err := v.takeVolume(ctx, driver, dir, j); err != nil {
			return err
		}
	} else if err := v.write(ctx, t, j, dir, say, 5, 95); err != nil {
		return err
	}
	j.Stage = stageCopied
	return v.save(j, "copied")
}

// write has the engine store files of a folder. It may be repeated: what it has it does not read again.
func (v *vault) write(ctx context.Context, t control.VaultTask, j *journal, dir string, say func(percent int, text string), from, to int) error {
	job, err := v.job(t.Repository, worker.DoBackup, t.Backup)
	if err != nil {
		return err
	}
	job.Create, job.Source = !t.Known, &backup.Source{Dir: dir, Files: j.Files, Meta: j.Meta, Bases: t.Bases}
	return v.do(ctx, job, say, from, to, nil)
}

// Snapshot has nodeos make a chain snapshot.
func (v *vault) Snapshot(ctx context.Context, t control.VaultTask, say func(percent int, text string)) error {
	if !v.shooting.TryLock() {
		return errors.New("manager: nodeos is at another chain snapshot")
	}
	defer v.shooting.Unlock()
	j, err := v.load(t)
	if err != nil || j.Stage != "" {
		return err
	}
	if j.Meta, err = v.meta(ctx, t); err != nil {
		return err
	}
	if err := v.before(ctx, j); err != nil {
		return err
	}
	layout := v.home.supervisor.Layout()
	before, err := layout.Holds()
	if err != nil {
		return fmt.Errorf("manager: %w", err)
	}
	if !j.Asked { // else what came since an earlier try is that one's
		for _, f := range before.Snapshots {
			j.Files = append(j.Files, f.Path)
		}
		j.Asked = true
		if err := v.save(j, "ask nodeos"); err != nil {
			return err
		}
	}
	there := j.Files
	say(0, "nodeos makes it; it is there when its block is irreversible")
	ctx, cancel := context.WithTimeoutCause(ctx, v.cfg().Backup.SnapshotTimeout.D(), errSnapshotLate)
	defer cancel()
	s, err := v.home.client.CreateSnapshot(ctx)
	if errors.Is(err, node.ErrSnapshotExists) { // of this very block: the chain stands still
		s, err = v.shotAt(ctx, layout)
	}
	if err != nil {
		if errors.Is(context.Cause(ctx), errSnapshotLate) {
			err = fmt.Errorf("%w in %s (hint: nodeos answers when the block is irreversible; on a chain that stands still it never does)", errSnapshotLate, v.cfg().Backup.SnapshotTimeout)
		}
		return fmt.Errorf("manager: chain snapshot: %w", err)
	}
	v.step("nodeos made it")
	j.Meta.Head, j.Meta.HeadID, j.Meta.HeadTime, j.Meta.LIB = s.HeadNum, s.HeadID, s.Time.UnixMilli(), s.HeadNum
	j.Folder = filepath.Dir(filepath.Dir(s.Path))
	j.Files = []string{filepath.Base(filepath.Dir(s.Path)) + "/" + filepath.Base(s.Path)}
	if !slices.Contains(there, s.Path) {
		j.File = s.Path
	}
	j.Stage = stageShot
	if err := v.save(j, "shot"); err != nil {
		return err
	}
	say(100, fmt.Sprintf("of block #%d", s.HeadNum))
	return nil
}

// shotAt is the finished chain snapshot of the node's head.
func (v *vault) shotAt(ctx context.Context, layout node.Layout) (node.Snapshot, error) {
	info, err := v.home.client.Info(ctx)
	if err != nil {
		return node.Snapshot{}, err
	}
	c, err := layout.Holds()
	for _, f := range c.Snapshots {
		if f.ID == info.HeadID {
			return node.Snapshot{HeadNum: f.Num, HeadID: f.ID, Time: info.HeadTime, Path: f.Path}, nil
		}
	}
	return node.Snapshot{}, errors.Join(err, fmt.Errorf("%w, and it is not in %s", node.ErrSnapshotExists, layout.Snapshots))
}

var errSnapshotLate = errors.New("the chain snapshot was not finished")

// Store stores what Copy or Snapshot left to be stored, reads back all of it, and commits it.
func (v *vault) Store(ctx context.Context, t control.VaultTask, say func(percent int, text string)) (fsm.Stored, error) {
	j, err := v.load(t)
	if err != nil {
		return fsm.Stored{}, err
	}
	switch j.Stage {
	case stageCommitted:
		v.clear(ctx, j)
		return *j.Stored, nil
	case stageCopied, stageShot, stageWritten:
	default:
		return fsm.Stored{}, fmt.Errorf("manager: there is nothing to store of backup %s (hint: its copy is on the member that made it)", t.Backup)
	}
	if j.Stage != stageWritten && j.Folder != "" {
		if err := v.write(ctx, t, j, j.Folder, say, 0, 60); err != nil {
			return fsm.Stored{}, err
		}
	}
	if j.Stage != stageWritten {
		j.Stage = stageWritten
		if err := v.save(j, "written"); err != nil {
			return fsm.Stored{}, err
		}
	}
	v.release(ctx, j) // a volume's snapshot costs the node
	job, err := v.job(t.Repository, worker.DoReadback, t.Backup)
	if err != nil {
		return fsm.Stored{}, err
	}
	if err := v.do(ctx, job, say, 60, 95, nil); err != nil {
		return fsm.Stored{}, err
	}
	var info backup.Info
	job.Do = worker.DoCommit
	if err := v.do(ctx, job, nil, 0, 0, func(l worker.Line) {
		if l.Info != nil {
			info = *l.Info
		}
	}); err != nil {
		return fsm.Stored{}, err
	}
	v.step("commit")
	s := storedOf(info)
	j.Stage, j.Stored = stageCommitted, &s
	if err := v.save(j, "committed"); err != nil {
		return fsm.Stored{}, err
	}
	v.clear(ctx, j)
	say(100, sizeText(s.Stored)+" stored")
	return s, nil
}

// storedOf is what the catalogue has of a backup.
func storedOf(i backup.Info) fsm.Stored {
	m := i.Meta
	return fsm.Stored{
		ChainID: m.ChainID, First: m.First, Head: m.Head, HeadID: m.HeadID, HeadTime: m.HeadTime, LIB: m.LIB, Version: m.NodeVersion,
		Files: int64(i.Files), Size: i.Size, Data: i.Data, Stored: i.Stored, Manifest: i.Manifest,
	}
}

// clear takes away what a backup that is stored left here.
func (v *vault) clear(ctx context.Context, j *journal) {
	v.release(ctx, j)
	v.dropFile(j)
	v.after(ctx, j, outcomeDone)
}

// dropFile removes the chain snapshot that was made for a backup.
func (v *vault) dropFile(j *journal) {
	if j.File == "" {
		return
	}
	if err := os.Remove(j.File); err != nil && !errors.Is(err, os.ErrNotExist) {
		v.log.Warn("the chain snapshot of a backup is still there", "file", j.File, logkey.Err, err)
		return
	}
	j.File = ""
	if err := v.save(j, "drop the chain snapshot"); err != nil {
		v.log.Warn("what a backup left is not noted", logkey.Err, err)
	}
}

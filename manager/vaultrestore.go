package manager

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"roundtable/backup"
	"roundtable/backup/worker"
	"roundtable/cluster/control"
	"roundtable/durable"
	"roundtable/fsm"
	"roundtable/node"
)

// Fetch brings a backup beside the node's data, into its file system, and proves that all of it is whole. Nothing of the node is touched.
func (v *vault) Fetch(ctx context.Context, t control.VaultTask, say func(percent int, text string)) error {
	j, err := v.load(t)
	if err != nil {
		return err
	}
	side := v.data(sideFolder, t.Backup)
	switch s, ok := v.unsettled(); {
	case ok && s.Operation == t.Operation, j.Stage == stageKept, j.Stage == stageReturned, j.Stage == stageFetched && exists(side):
		return nil // it is there, or was in its place already
	}
	if _, err := v.layout(); err != nil {
		return err
	}
	if err := v.save(j, "fetch"); err != nil { // Forget clears away what is left
		return err
	}
	chain := t.ChainID
	if view, _ := v.home.monitor.View(); chain == "" {
		chain = view.ChainID
	}
	info, err := v.fetch(ctx, t.Repository, t.Backup, chain, side, say)
	if err != nil {
		return damaged(err)
	}
	j.Meta, j.Stage = info.Meta, stageFetched
	return v.save(j, "fetched")
}

// fetch restores a backup into a folder beside the node's data; "" is any chain.
func (v *vault) fetch(ctx context.Context, repository, id, chain, side string, say func(percent int, text string)) (backup.Info, error) {
	say(0, "looking it up")
	info, err := v.info(ctx, repository, id)
	if err != nil {
		return info, err
	}
	if chain != "" && info.Meta.ChainID != chain {
		return info, fmt.Errorf("manager: %w: backup %s is of chain %s, here it is %s (hint: `roundtable backup list` shows those of this chain)", backup.ErrChain, id, info.Meta.ChainID, chain)
	}
	if err := durable.MkdirAll(v.cfg().Node.DataDir); err != nil {
		return info, fmt.Errorf("manager: %w", err)
	}
	if err := v.room(v.cfg().Node.DataDir, info.Data, sizeOf(side)); err != nil {
		return info, err
	}
	text := fmt.Sprintf("%s of block #%d", info.Meta.Kind, info.Meta.Head)
	if view, _ := v.home.monitor.View(); view.Version != "" && info.Meta.NodeVersion != "" && view.Version != info.Meta.NodeVersion {
		text += fmt.Sprintf(", made by nodeos %s, here it is %s", info.Meta.NodeVersion, view.Version)
		v.log.Warn("a backup of another version of nodeos is restored", "backup", id, "made_by", info.Meta.NodeVersion, "here", view.Version)
	}
	say(1, text)
	if err := os.MkdirAll(side, 0o755); err != nil { // nodeos' own folders have this mode
		return info, fmt.Errorf("manager: %w", err)
	}
	job, err := v.job(repository, worker.DoRestore, id)
	if err != nil {
		return info, err
	}
	job.Folder = side
	restore := func() error { return v.do(ctx, job, say, 1, 100, nil) }
	err = restore()
	if errors.Is(err, backup.ErrFolder) { // what lies there is of something else
		if err = os.RemoveAll(side); err == nil {
			err = errors.Join(os.MkdirAll(side, 0o755), restore())
		}
	}
	if err != nil {
		return info, err
	}
	v.step("restored")
	return info, nil
}

// sizeOf is what the files below a folder take on the disk; what cannot be looked at counts nothing.
func sizeOf(dir string) (bytes int64) {
	_ = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			if info, err := e.Info(); err == nil {
				bytes += allocated(info)
			}
		}
		return nil
	})
	return bytes
}

// Replace stops the node, moves its data aside, puts the fetched one in its place and starts it.
func (v *vault) Replace(ctx context.Context, t control.VaultTask, say func(percent int, text string)) error {
	v.home.turning.Lock() // nobody holds it while a node starts
	defer v.home.turning.Unlock()
	j, err := v.load(t)
	if err != nil {
		return err
	}
	if err := v.mend(); err != nil { // with what is half moved no node is started
		return err
	}
	s, ok := v.unsettled()
	switch { // it may have been begun, or even ended, by a process that is no more
	case j.Stage == stageReturned:
		return errors.Join(fmt.Errorf("manager: the node does not run with backup %s: its former data comes back", t.Backup), v.giveBack(ctx, t))
	case ok && s.Operation == t.Operation, j.Stage == stageKept:
		return v.startSwapped(ctx, say)
	}
	if t.Auto {
		if err := v.stillDown(ctx); err != nil {
			return err
		}
	}
	if ok {
		if err := v.settleOther(ctx, s); err != nil {
			return errors.Join(err, v.start(ctx))
		}
	}
	side := v.data(sideFolder, t.Backup)
	if id, done, _ := backup.Restored(side); j.Stage != stageFetched || !done || id != t.Backup {
		return fmt.Errorf("manager: backup %s is not there yet (hint: start the restore again)", t.Backup)
	}
	snapshot, err := fetchedSnapshot(side, j.Meta.Kind)
	if err != nil {
		return err
	}
	if err := v.before(ctx, j); err != nil {
		return err
	}
	say(0, "stopping the node")
	if err := v.stopFor(ctx); err != nil {
		return errors.Join(err, v.start(ctx))
	}
	say(10, "moving the node's data aside")
	if err := v.swapData(t.Operation, t.Backup, side, snapshot, ""); err != nil {
		return errors.Join(fmt.Errorf("manager: the node keeps its data: %w", err), v.start(ctx))
	}
	v.log.Info("the node's data was replaced", "backup", t.Backup, "head", j.Meta.Head)
	return v.startSwapped(ctx, say)
}

// errBack is why a node is not restored that could not start when its member asked for it.
var errBack = errors.New("the node came back by itself")

// stillDown returns once it is seen that the node cannot start; errBack where it runs, or replays its blocks.
func (v *vault) stillDown(ctx context.Context) error {
	for {
		st, changed := v.home.supervisor.Watch()
		switch {
		case st.State == node.StateFailed, st.State == node.StateStopped:
			return nil
		case st.State == node.StateRunning, st.State == node.StateStarting && (st.Replaying || v.dirty.Load().tried):
			return fmt.Errorf("manager: %w: its data is left as it is", errBack)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("manager: the node is %s: %w", stateWords(st.State), context.Cause(ctx))
		}
	}
}

// startSwapped starts the node on its new data.
func (v *vault) startSwapped(ctx context.Context, say func(percent int, text string)) error {
	say(20, "starting the node")
	if err := v.start(ctx); err != nil {
		return err
	}
	if err := v.wasUp(); err != nil {
		return err
	}
	say(100, "the node answers")
	return nil
}

// stopFor stops the node, however it ends, and makes sure that nobody has its data open.
func (v *vault) stopFor(ctx context.Context) error {
	err := v.home.supervisor.Stop(ctx)
	v.step("stop")
	if err != nil {
		return fmt.Errorf("manager: the node was not stopped: %w", err)
	}
	if err := v.home.supervisor.StoppedCleanly(); errors.Is(err, node.ErrInUse) {
		return fmt.Errorf("manager: the node keeps its data: %w", err)
	}
	return nil
}

// fetchedSnapshot finds the chain snapshot in what was fetched; "" for a backup of the node's data.
func fetchedSnapshot(side, kind string) (string, error) {
	if kind != fsm.CopiesSnapshot {
		if c, err := node.Holds(side); err != nil {
			return "", fmt.Errorf("manager: %w", err)
		} else if c.Empty() {
			return "", errors.New("manager: there is no chain in the backup")
		}
		return "", nil
	}
	found, err := filepath.Glob(filepath.Join(side, "*", "*.bin"))
	if err != nil || len(found) != 1 {
		return "", fmt.Errorf("manager: %d chain snapshots in the backup, not one", len(found))
	}
	return found[0], nil
}

// Settle ends a Replace: the new data is kept, or the former one put back and the node started with it. What is needed to begin again with the
// new data stays until the operation has ended (Forget), for until then Replace may be called once more.
func (v *vault) Settle(ctx context.Context, t control.VaultTask, back bool) error {
	v.home.turning.Lock() // nobody holds it while a node starts
	defer v.home.turning.Unlock()
	j, err := v.load(t)
	if err != nil {
		return err
	}
	if back {
		err := v.returns(ctx, t, j)
		v.after(ctx, j, outcomeFailed)
		return err
	}
	if s, ok := v.unsettled(); ok && s.Operation == t.Operation {
		j.Stage = stageKept
		if err := v.save(j, "keep"); err != nil {
			return err
		}
		v.log.Info("the node's new data is kept", "backup", t.Backup, "former", s.Aside, "for", v.cfg().Backup.KeepOld.D())
	}
	v.after(ctx, j, outcomeDone)
	return nil
}

// returns notes that the former data comes back, and has it so.
func (v *vault) returns(ctx context.Context, t control.VaultTask, j *journal) error {
	j.Stage = stageReturned
	if err := v.save(j, "return"); err != nil {
		return errors.Join(err, v.start(ctx))
	}
	return v.giveBack(ctx, t)
}

// giveBack puts the former data back, where an operation has replaced it, and starts the node.
func (v *vault) giveBack(ctx context.Context, t control.VaultTask) error {
	if s, ok := v.unsettled(); ok && s.Operation == t.Operation {
		if err := v.stopFor(ctx); err != nil {
			return errors.Join(err, v.start(ctx))
		}
		if err := v.putBack(); err != nil {
			return err // launchArgs tries it again before each start
		}
	}
	return v.start(ctx)
}

// settleOther ends a swap that nobody will settle any more: the new data is kept where the node was up with it. The turning lock is held.
func (v *vault) settleOther(ctx context.Context, s swap) error {
	if s.Up {
		return v.settle()
	}
	if err := v.stopFor(ctx); err != nil {
		return err
	}
	return v.putBack()
}

// allocated is what a file takes on the disk.
func allocated(info fs.FileInfo) int64 {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return s.Blocks * 512
	}
	return info.Size()
}

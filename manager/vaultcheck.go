package manager

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"roundtable/backup"
	"roundtable/backup/worker"
	"roundtable/cluster/control"
	"roundtable/fsm"
	"roundtable/logkey"
	"roundtable/node"
)

// Check reads all of a backup; with t.Trial it is restored into a scratch folder, and a node comes up on it there. The node is not touched, so
// that no hook runs.
func (v *vault) Check(ctx context.Context, t control.VaultTask, say func(percent int, text string)) (string, error) {
	j, err := v.load(t)
	if err != nil {
		return "", err
	}
	if err := v.save(j, "check"); err != nil { // Forget clears away what is left
		return "", err
	}
	what, err := v.check(ctx, t, say)
	return what, damaged(err)
}

func (v *vault) check(ctx context.Context, t control.VaultTask, say func(percent int, text string)) (string, error) {
	if t.Trial {
		return v.try(ctx, t, say)
	}
	job, err := v.job(t.Repository, worker.DoVerify, t.Backup)
	if err != nil {
		return "", err
	}
	if err := v.do(ctx, job, say, 0, 100, nil); err != nil {
		return "", err
	}
	return fmt.Sprintf("all %s of it are whole", sizeText(t.Record.Of.Data)), nil
}

// try restores a backup into a scratch folder and has a nodeos come up on it.
func (v *vault) try(ctx context.Context, t control.VaultTask, say func(percent int, text string)) (what string, err error) {
	dir := v.trialFolder(t.Backup)
	data := filepath.Join(dir, "data")
	if err := os.RemoveAll(dir); err != nil { // a nodeos may have run on it
		return "", fmt.Errorf("manager: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.MkdirAll(data, 0o700); err != nil {
		return "", fmt.Errorf("manager: %w", err)
	}
	info, err := v.info(ctx, t.Repository, t.Backup)
	if err != nil {
		return "", err
	}
	if err := v.room(data, info.Data, 0); err != nil {
		return "", err
	}
	job, err := v.job(t.Repository, worker.DoRestore, t.Backup)
	if err != nil {
		return "", err
	}
	job.Folder = data
	if err := v.do(ctx, job, say, 0, 70, nil); err != nil {
		return "", err
	}
	snapshot, err := fetchedSnapshot(data, info.Meta.Kind)
	if err != nil {
		return "", err
	}
	say(70, "starting a node on it")
	program, err := v.home.chosen()
	if err != nil {
		return "", err
	}
	if snapshot != "" {
		program.Args = withoutGenesis(program.Args)
	}
	bounded, cancel := context.WithTimeout(ctx, v.cfg().Backup.TrialLimit.D())
	defer cancel()
	got, err := node.Trial(bounded, node.TrialConfig{Program: program, Dir: dir, Snapshot: snapshot, StateMB: v.stateMB(data), Log: v.log})
	switch {
	case err != nil && bounded.Err() != nil && ctx.Err() == nil:
		return "", fmt.Errorf("manager: no node came up on it in %s (hint: raise backup.trial_limit): %w", v.cfg().Backup.TrialLimit, err)
	case err != nil:
		return "", fmt.Errorf("manager: %w", err)
	case got.ChainID != info.Meta.ChainID:
		return "", fmt.Errorf("manager: the node that came up is on chain %s, the backup is said to be of %s", got.ChainID, info.Meta.ChainID)
	}
	return fmt.Sprintf("all %s of it are whole; nodeos %s came up on it at block #%d", sizeText(info.Data), got.Version, got.HeadNum), nil
}

// trialFolder is where a backup is tried out.
func (v *vault) trialFolder(id string) string {
	return filepath.Join(v.cfg().Backup.Scratch, "roundtable-trial-"+id)
}

// stateMB is how large a state database must be for what was restored.
func (v *vault) stateMB(data string) int {
	least := 0
	if text, err := os.ReadFile(filepath.Join(v.cfg().Node.ConfigDir, "config.ini")); err == nil {
		all, _ := node.ParseINI(string(text))
		for _, s := range all {
			if n, err := strconv.Atoi(s.Value); err == nil && s.Key == "chain-state-db-size-mb" {
				least = n
			}
		}
	}
	if info, err := os.Stat(filepath.Join(data, "state", "shared_memory.bin")); err == nil {
		least = max(least, int(info.Size()>>20))
	}
	return least
}

// Sweep removes what is condemned, and what nobody refers to.
func (v *vault) Sweep(ctx context.Context, t control.VaultTask, fate func(id string) control.Fate, dropped func(ctx context.Context, id string) error, say func(percent int, text string)) (string, error) {
	all, torn, err := v.list(ctx, t.Repository, t.Known, say)
	if err != nil {
		return "", err
	}
	ids := slices.Concat(t.Bases, t.Drops, t.Dropped, torn)
	for _, i := range all {
		ids = append(ids, i.ID)
	}
	slices.Sort(ids)
	var keep backup.Keep
	for _, id := range slices.Compact(ids) {
		switch fate(id) {
		case control.FateKeep:
			keep.Keep = append(keep.Keep, id)
		case control.FateDrop:
			keep.Drop = append(keep.Drop, id)
		case control.FateUnknown: // it stays
		}
	}
	job, err := v.job(t.Repository, worker.DoSweep, "")
	if err != nil {
		return "", err
	}
	job.Keep = &keep
	var swept backup.Swept
	err = v.do(ctx, job, say, 50, 100, func(l worker.Line) {
		if l.Swept != nil {
			swept = *l.Swept
		}
	})
	if errors.Is(err, backup.ErrNoRepository) && !t.Known { // nothing was ever stored there
		swept.Gone, err = keep.Drop, nil
	}
	if err != nil {
		return "", err
	}
	gone := slices.Clone(swept.Gone)
	swept.Gone = slices.DeleteFunc(swept.Gone, func(id string) bool { return slices.Contains(t.Dropped, id) }) // the catalogue knows
	for _, id := range swept.Gone {
		if err := dropped(ctx, id); err != nil {
			return "", err
		}
	}
	what := fmt.Sprintf("%d backups are gone, %d packs of %s were removed", len(swept.Gone), swept.Packs, sizeText(swept.Bytes)) + tornText(slices.DeleteFunc(torn, func(id string) bool { return slices.Contains(gone, id) }))
	if swept.Failed > 0 {
		what += fmt.Sprintf("; %d objects could not be removed, the next sweep tries again: %s", swept.Failed, swept.Problem)
	}
	return what, nil
}

// Scan reads which backups the repository holds.
func (v *vault) Scan(ctx context.Context, t control.VaultTask, found func(context.Context, fsm.Backup) error, say func(percent int, text string)) (string, error) {
	all, torn, err := v.list(ctx, t.Repository, t.Known, say)
	if err != nil {
		return "", err
	}
	for n, i := range all {
		if err := found(ctx, fsm.Backup{
			ID: i.ID, Copies: i.Meta.Kind, Repository: t.Repository, State: fsm.BackupDone, Of: storedOf(i), Member: i.Meta.Member, Created: i.Meta.Created, Ended: i.Meta.Created,
		}); err != nil {
			return "", err
		}
		say(50+50*(n+1)/len(all), fmt.Sprintf("%d of %d", n+1, len(all)))
	}
	return fmt.Sprintf("the repository holds %d backups", len(all)) + tornText(torn), nil
}

// Forget removes what operations that have ended left here. It never stops the node.
func (v *vault) Forget(ctx context.Context, needed func(backup string) bool) error {
	var failed error
	if s, ok := v.unsettled(); ok && s.Operation != 0 && !needed(s.Backup) && v.home.turning.TryLock() {
		failed = v.settleLeft(ctx, s)
		v.home.turning.Unlock()
	}
	left, unsettled := v.unsettled()
	for _, id := range names(v.dir(operationsFolder)) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if needed(id) || unsettled && left.Operation != 0 && left.Backup == id { // the next one does
			continue
		}
		kinds, _ := filepath.Glob(v.dir(operationsFolder, id, "*.json"))
		for _, path := range kinds {
			j, err := readJournal(path)
			if err != nil {
				v.log.Warn("what an operation left here is not known", logkey.Err, err)
				continue
			}
			v.release(ctx, j)
			v.dropFile(j)
			if j.Hooked {
				v.after(ctx, j, outcomeFailed)
			}
			if j.Volume != "" && v.cfg().Backup.VolumeDriver == "" {
				continue // release has said so
			}
			if j.Volume != "" || j.File != "" {
				failed = errors.Join(failed, fmt.Errorf("manager: not all that %s %d left is gone", j.Kind, j.Operation))
				continue
			}
			failed = errors.Join(failed, os.Remove(path))
		}
		failed = errors.Join(failed, os.RemoveAll(v.data(sideFolder, id)), os.RemoveAll(v.trialFolder(id)))
		_ = os.Remove(v.dir(operationsFolder, id)) // if it is empty
	}
	return failed
}

// settleLeft ends a swap that nobody settles any more, as far as the node need not be stopped for it: the new data is kept where the node is,
// or was, up with it, and the former one comes back where it is down. In between it is left to the next time. The turning lock is held.
func (v *vault) settleLeft(ctx context.Context, s swap) error {
	switch st := v.home.supervisor.Status(); {
	case s.Up, s.State == swapIn && st.State == node.StateRunning:
		return v.settle()
	case st.State == node.StateFailed, st.State == node.StateStopped:
		err := v.settleOther(ctx, s) // it is down: only what would start it meanwhile is stopped
		v.home.launch()
		return err
	default:
		v.log.Info("the node is not up with its new data yet: whether that is kept is seen later", "backup", s.Backup, "state", st.State)
		return nil
	}
}

// names are the folders in a folder.
func names(dir string) (list []string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if e.IsDir() {
			list = append(list, e.Name())
		}
	}
	return list
}

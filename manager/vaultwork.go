package manager

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"roundtable/backup"
	"roundtable/backup/store"
	"roundtable/backup/worker"
	"roundtable/cmd/roundtable/config"
	"roundtable/logkey"
	"roundtable/node"
)

// runWorker has a child process do a job, and gives each line of it to on. The error is what the worker said, else how it ended.
func runWorker(ctx context.Context, j worker.Job, on func(worker.Line)) error {
	text, err := json.Marshal(j)
	if err != nil {
		return fmt.Errorf("manager: %w", err)
	}
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("manager: %w", err)
	}
	var said, broken error
	err = node.RunWorker(ctx, node.WorkerConfig{
		Path: program, Args: []string{"worker"}, Stdin: bytes.NewReader(text), Nice: true,
		Line: func(text []byte) {
			l, err := worker.ReadLine(text)
			switch {
			case err != nil:
				broken = err
			case l.Failed != nil:
				said = l.Failed
			default:
				on(l)
			}
		},
	})
	switch {
	case said != nil && ctx.Err() != nil:
		return fmt.Errorf("%w: %w", context.Cause(ctx), said)
	case said != nil:
		return said
	case err != nil:
		return fmt.Errorf("manager: %w", err)
	}
	return broken
}

// job is one on a repository as it is configured, with its secrets.
func (v *vault) job(repository, do, id string) (worker.Job, error) {
	b := v.cfg().Backup
	r, ok := b.Repositories[repository]
	if !ok {
		return worker.Job{}, fmt.Errorf("manager: repository %q is not configured on this member (hint: known here are: %s)", repository, strings.Join(slices.Sorted(maps.Keys(b.Repositories)), ", "))
	}
	j := worker.Job{Do: do, ID: id, Parallel: b.Parallel, Cache: v.dir("cache", repository), Repository: worker.Repository{
		URL: r.URL, Recipients: r.Recipients, Upload: int64(r.UploadLimit), Download: int64(r.DownloadLimit),
	}}
	if r.EnvFile != "" {
		env, err := store.ReadEnv(r.EnvFile)
		if err != nil {
			return j, fmt.Errorf("manager: repository %q: %w (hint: %s)", repository, err, store.Hint(err))
		}
		j.Repository.Env = env
	}
	if r.EncryptionKeyFile != "" {
		text, err := config.ReadKey(r.EncryptionKeyFile)
		if _, ok := errors.AsType[*fs.PathError](err); ok {
			err = fmt.Errorf("%w (hint: the user that runs roundtable must be able to read it; without it no backup there can be read)", err)
		}
		if err != nil {
			return j, fmt.Errorf("manager: repository %q: encryption_key_file: %w", repository, err)
		}
		j.Repository.Key = text
	}
	return j, nil
}

// do has a job done. say is told of its progress, scaled to a range of percents.
func (v *vault) do(ctx context.Context, j worker.Job, say func(percent int, text string), from, to int, on func(worker.Line)) error {
	err := v.work(ctx, j, func(l worker.Line) {
		switch {
		case l.Progress != nil && say != nil:
			say(from+l.Progress.Percent*(to-from)/100, progressText(*l.Progress))
		case l.Say != "":
			v.log.Warn("a repository is tried again", "job", j.Do, "backup", j.ID, "text", l.Say)
		case on != nil:
			on(l)
		}
	})
	if f, ok := errors.AsType[*worker.Failure](err); ok && errors.Is(err, backup.ErrNoRepository) {
		lost := *f // by who makes one where there may be none
		lost.Hint, err = lostHint, &lost
	}
	if err != nil {
		return fmt.Errorf("manager: %s: %w", jobWords[j.Do], err)
	}
	return nil
}

// What an operator is told where a repository is not where it was: another one is never made in its place.
const lostHint = "there was one: is its disk mounted, and is the URL the same on all members? For one that is lost for good: `roundtable backup rm` its backups, then the next one makes it anew"

// jobWords say what was done.
var jobWords = map[string]string{
	worker.DoBackup: "store", worker.DoReadback: "read back what was stored", worker.DoCommit: "commit", worker.DoRestore: "fetch",
	worker.DoVerify: "read", worker.DoSweep: "sweep", worker.DoList: "list the repository", worker.DoInfo: "look the backup up",
}

func progressText(p backup.Progress) string {
	text := p.Text
	if p.Total > 0 {
		text = strings.TrimSpace(text + " " + sizeText(p.Done) + " of " + sizeText(p.Total))
	}
	if p.Stored > 0 {
		text += ", stored " + sizeText(p.Stored)
	}
	return text
}

// info asks the repository for what it has of a backup.
func (v *vault) info(ctx context.Context, repository, id string) (info backup.Info, err error) {
	j, err := v.job(repository, worker.DoInfo, id)
	if err != nil {
		return info, err
	}
	err = v.do(ctx, j, nil, 0, 0, func(l worker.Line) {
		if l.Info != nil {
			info = *l.Info
		}
	})
	if err == nil && info.ID != id {
		err = fmt.Errorf("manager: the repository does not tell of %s", id)
	}
	return info, err
}

// list asks a repository for all that it has, and for the ids of what nobody can read the manifest of. Where nothing is known to be stored
// there may be no repository: it holds nothing.
func (v *vault) list(ctx context.Context, repository string, known bool, say func(percent int, text string)) (all []backup.Info, torn []string, err error) {
	j, err := v.job(repository, worker.DoList, "")
	if err != nil {
		return nil, nil, err
	}
	err = v.do(ctx, j, say, 0, 50, func(l worker.Line) {
		switch {
		case l.Info != nil:
			all = append(all, *l.Info)
		case l.Damaged != nil:
			v.log.Warn("a manifest in a repository cannot be read", "repository", repository, "backup", l.Damaged.Backup, logkey.Err, l.Damaged)
			torn = append(torn, l.Damaged.Backup)
		}
	})
	switch {
	case err != nil && len(torn) > 0 && len(backup.Damages(err)) > 0: // the list is whole but for these
		return all, torn, nil
	case errors.Is(err, backup.ErrNoRepository) && !known:
		return nil, nil, nil
	}
	return all, torn, err
}

// tornText says of an operation's end what nobody can read the manifest of.
func tornText(torn []string) string {
	if len(torn) == 0 {
		return ""
	}
	return "; damaged, for their manifests cannot be read: " + strings.Join(torn, ", ")
}

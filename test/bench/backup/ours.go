package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"filippo.io/age"

	"roundtable/backup"
	"roundtable/backup/worker"
)

// ours is the engine in a worker, as a manager uses it: the backup before is the base of the next one.
func ours(name string, encrypted bool) *tool {
	t := &tool{name: name}
	var key, id string
	var bases []string
	count := 0
	run := func(ctx context.Context, b *bench, j worker.Job) (usage, error) {
		self, err := os.Executable()
		if err != nil {
			return usage{}, err
		}
		j.Repository = worker.Repository{URL: "file://" + filepath.Join(t.target, "repository") + "?create_dir=true", Key: key}
		j.Cache = filepath.Join(filepath.Dir(t.target), name+"-cache")
		text, err := json.Marshal(j)
		if err != nil {
			return usage{}, err
		}
		out, u, err := execute(ctx, b.dir, string(text), nil, self, "worker")
		if err != nil {
			return u, err
		}
		for line := range strings.Lines(out) {
			var l worker.Line
			if err := json.Unmarshal([]byte(line), &l); err != nil {
				return u, err
			}
			if l.Failed != nil {
				return u, errors.New(l.Failed.Text)
			}
		}
		return u, nil
	}
	t.prepare = func(context.Context, *bench) (usage, error) {
		bases, key = nil, ""
		if encrypted {
			identity, err := age.GenerateX25519Identity()
			if err != nil {
				return usage{}, err
			}
			key = identity.String()
		}
		return usage{}, nil
	}
	t.backup = func(ctx context.Context, b *bench) (usage, error) {
		count++
		id = fmt.Sprintf("backup-%d", count)
		meta := backup.Meta{Kind: "data", ChainID: strings.Repeat("ab", 32), Member: "m1", Created: int64(count)}
		return run(ctx, b, worker.Job{Do: worker.DoBackup, ID: id, Create: true, Source: &backup.Source{Dir: b.source, Meta: meta, Bases: bases}})
	}
	t.proof = func(ctx context.Context, b *bench) (usage, error) {
		u, err := run(ctx, b, worker.Job{Do: worker.DoReadback, ID: id})
		if err != nil {
			return u, err
		}
		bases = append(bases, id)
		v, err := run(ctx, b, worker.Job{Do: worker.DoCommit, ID: id})
		return usage{u.seconds + v.seconds, u.cpu + v.cpu, max(u.rss, v.rss)}, err
	}
	t.restore = func(ctx context.Context, b *bench, into string) (usage, error) {
		return run(ctx, b, worker.Job{Do: worker.DoRestore, ID: id, Folder: into})
	}
	return t
}

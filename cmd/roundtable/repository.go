package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"roundtable/backup"
	"roundtable/backup/store"
	"roundtable/backup/worker"
	"roundtable/durable"
)

// repositoryFlags name a repository that is read straight, without any manager.
type repositoryFlags struct{ url, keyFile, envFile string }

func (f *repositoryFlags) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.url, "url", "", "`URL` of a repository, which is read straight, without any manager: file:///folder, s3://bucket/prefix?region=..., gs:// or azblob://")
	cmd.Flags().StringVar(&f.keyFile, "key-file", "", "with --url: `FILE` with the key that the repository is encrypted with, as backup keygen makes it")
	cmd.Flags().StringVar(&f.envFile, "env-file", "", "with --url: `FILE` with the credentials, lines of NAME=value; default: the environment and the cloud's own files")
}

// fit refuses flags that would say nothing: those of a repository without --url, and with it those that are for a manager.
func (f *repositoryFlags) fit(cmd *cobra.Command, managers ...string) error {
	idle, where, hint := []string{"key-file", "env-file"}, "goes with --url", "it is for a repository that is read straight; what a member reads stands in its config.toml"
	if f.url != "" {
		idle, where, hint = managers, "does not go with --url", "it is for the managers; with --url a repository is read straight, without any"
	}
	for _, name := range idle {
		if cmd.Flags().Changed(name) {
			return usagef(hint, "--%s %s", name, where)
		}
	}
	return nil
}

// repository reads the files that the flags name.
func (f repositoryFlags) repository() (worker.Repository, error) {
	r := worker.Repository{URL: f.url}
	if f.keyFile != "" {
		text, err := os.ReadFile(f.keyFile)
		if err != nil {
			return r, usagef("the file with the key that the repository is encrypted with", "--key-file: %v", err)
		}
		r.Key = string(text)
	}
	if f.envFile != "" {
		env, err := store.ReadEnv(f.envFile)
		if err != nil {
			return r, &failure{exitUsage, "--env-file: " + err.Error(), store.Hint(err)}
		}
		r.Env = env
	}
	return r, nil
}

// runJob does a job on a repository in this process; take gets the lines that it tells. A *worker.Failure where the job failed.
func runJob(ctx context.Context, job worker.Job, take func(worker.Line)) error {
	text, err := json.Marshal(job)
	if err != nil {
		return err
	}
	out, in := io.Pipe()
	defer func() { _ = out.Close() }()
	go func() { in.CloseWithError(worker.Run(ctx, bytes.NewReader(text), in)) }()
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, maxAnswer)
	for lines.Scan() {
		l, err := worker.ReadLine(lines.Bytes())
		switch {
		case err != nil:
			return err
		case l.Failed != nil:
			return l.Failed
		}
		take(l)
	}
	return lines.Err()
}

// work does a job on a repository and shows how far it is; found is called for each line with what it found.
func (a *app) work(cmd *cobra.Command, f repositoryFlags, job worker.Job, what string, found func(worker.Line)) error {
	var err error
	if job.Repository, err = f.repository(); err != nil {
		return err
	}
	ctx, stop := interruptible(cmd)
	defer stop()
	p := a.progress()
	defer p.clear()
	var said time.Time
	err = runJob(ctx, job, func(l worker.Line) {
		switch {
		case l.Say != "":
			p.keep("%s", l.Say)
		case l.Progress != nil && p.live():
			p.say(a.now(), what, "  "+bar(l.Progress.Percent)+"  "+progressText(*l.Progress))
		case l.Progress != nil && time.Since(said) >= sayTime:
			said = time.Now()
			p.say(a.now(), fmt.Sprintf("%s: %d %%, %s", what, l.Progress.Percent, progressText(*l.Progress)))
		case l.Progress == nil:
			found(l)
		}
	})
	if f, ok := errors.AsType[*worker.Failure](err); ok {
		return repositoryFailure(ctx, f)
	}
	return err
}

func progressText(p backup.Progress) string {
	if p.Total == 0 {
		return p.Text
	}
	text := fmt.Sprintf("%s of %s", firstOf(noDash(bytesOf(p.Done)), "0 B"), bytesOf(p.Total))
	if p.Text != "" {
		text += ", " + p.Text
	}
	return text
}

func noDash(s string) string {
	if s == "-" {
		return ""
	}
	return s
}

// repositoryFailure says what went wrong with a repository, and what to do.
func repositoryFailure(ctx context.Context, f *worker.Failure) error {
	switch {
	case ctx.Err() != nil:
		return &failure{exitFailed, "ended before it was done", "run it again: what is there already is not fetched again"}
	case f.Code == worker.CodeDamaged:
		return &failure{exitFailed, f.Text, "take another one: roundtable backup list --url URL"}
	case f.Code == string(store.Unreachable):
		return &failure{exitUnreachable, f.Text, f.Hint}
	}
	return &failure{exitFailed, f.Text, f.Hint}
}

// listRepository lists what lies in a repository, newest first. It fails where some of that is damaged, after it has shown the rest.
func (a *app) listRepository(cmd *cobra.Command, f repositoryFlags) error {
	list, damaged := []backup.Info{}, []string{}
	err := a.work(cmd, f, worker.Job{Do: worker.DoList}, "reading the list", func(l worker.Line) {
		switch {
		case l.Info != nil:
			list = append(list, *l.Info)
		case l.Damaged != nil:
			damaged = append(damaged, l.Damaged.Text)
		}
	})
	switch {
	case len(damaged) == 0 && err != nil:
		return err
	case len(damaged) == 0:
		return a.showRepository(list)
	}
	if err := a.showRepository(list); err != nil {
		return err
	}
	return &failure{exitFailed, strings.Join(damaged, "\n"), "those that were listed are not touched by it; a damaged one cannot be restored: make another"}
}

func (a *app) showRepository(list []backup.Info) error {
	slices.SortFunc(list, func(a, b backup.Info) int {
		return cmp.Or(cmp.Compare(b.Meta.Created, a.Meta.Created), cmp.Compare(b.ID, a.ID))
	})
	raw, err := json.Marshal(list)
	if err != nil {
		return err
	}
	return a.show(raw, func(w *printer) {
		if len(list) == 0 {
			w.line("no backups")
			return
		}
		rows := [][]any{}
		for _, i := range list {
			rows = append(rows, []any{
				i.ID, i.Meta.Kind, dash(i.Meta.Cluster), dash(i.Meta.Member), i.Meta.Head, since(stamp(time.UnixMilli(i.Meta.Created)), a.now()), bytesOf(i.Data), bytesOf(i.Stored), dash(i.Meta.NodeVersion), dash(short(i.Meta.ChainID, 12)),
			})
		}
		w.table([]string{"id", "kind", "cluster", "member", "block", "made", "data", "stored", "nodeos", "chain"}, rows)
	})
}

func (a *app) verifyIn(cmd *cobra.Command, f repositoryFlags, id string) error {
	if err := a.work(cmd, f, worker.Job{Do: worker.DoVerify, ID: id}, "reading "+id, func(worker.Line) {}); err != nil {
		return err
	}
	return a.said(map[string]any{"id": id, "whole": true}, "backup %s is whole", id)
}

func (a *app) restoreFrom(cmd *cobra.Command, f repositoryFlags, id, folder string) error {
	var info backup.Info
	if err := a.work(cmd, f, worker.Job{Do: worker.DoRestore, ID: id, Folder: folder}, "restoring "+id, func(l worker.Line) {
		if l.Info != nil {
			info = *l.Info
		}
	}); err != nil {
		return err
	}
	if err := backup.Settle(folder); err != nil {
		return err
	}
	return a.said(map[string]any{"id": id, "folder": folder, "files": info.Files, "data": info.Data},
		"backup %s is in %s: %s, %s, block %d of chain %s", id, folder, count(info.Files, "file"), bytesOf(info.Data), info.Meta.Head, dash(info.Meta.ChainID))
}

// said shows one line, or the same for programs.
func (a *app) said(v any, format string, args ...any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return a.show(raw, func(w *printer) { w.line(format, args...) })
}

func (a *app) backupKeygenCommand() *cobra.Command {
	return a.prints(&cobra.Command{
		Use: "keygen FILE", Short: "Make a key that a repository is encrypted with", Args: cobra.ExactArgs(1),
		Long: "Writes a new age identity into FILE, which must not be there, for its owner alone to read, and prints its recipient, which is no secret.\n" +
			"Name FILE as encryption_key_file of the repository, on every member. Keep a copy where the backups are not: without it nobody can read them.",
		Example: "roundtable backup keygen /var/lib/roundtable/backup.key",
		RunE: func(_ *cobra.Command, args []string) error {
			text, recipient, err := worker.NewKey(a.now())
			if err != nil {
				return err
			}
			if err := durable.Create(args[0], text); err != nil {
				hint := "name another file, in a folder that is there"
				if errors.Is(err, os.ErrExist) {
					hint = "nothing was changed: who has lost an old key has lost its backups"
				}
				return &failure{exitFailed, err.Error(), hint}
			}
			if a.flags.output == "table" {
				a.err.line("the key is in %s; its recipient, which is no secret:", args[0])
			}
			return a.said(map[string]string{"file": args[0], "recipient": recipient}, "%s", recipient)
		},
	})
}

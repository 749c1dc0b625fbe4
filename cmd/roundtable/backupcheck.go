package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"roundtable/backup"
	"roundtable/backup/store"
	"roundtable/backup/worker"
	"roundtable/cmd/roundtable/config"
)

// checkView is what `roundtable backup check` finds out about one repository.
type checkView struct {
	Repository string `json:"repository"`
	URL        string `json:"url"` // without secrets
	Store      string `json:"store"`
	State      string `json:"state"` // empty, or what is there
	Encrypted  bool   `json:"encrypted"`
	Backups    int    `json:"backups"`
	Problem    string `json:"problem,omitempty"`
	Hint       string `json:"hint,omitempty"`
}

func (a *app) backupCheckCommand() *cobra.Command {
	var from repositoryFlags
	cmd := a.atHome(&cobra.Command{
		Use: "check [REPOSITORY]", Short: "Try whether this machine can use its repositories: write, read, list, delete, decrypt", Args: cobra.MaximumNArgs(1),
		Long: "Tries the repositories of a home's config.toml, or the one that is named, or with --url any: writes a small object, reads, lists and\n" +
			"deletes it, and opens the repository with its key; of a home it also says which hooks cannot be run. It asks no manager, and changes\n" +
			"nothing that is there. Run it as the user that the manager runs as, on every member. The service may have other credentials in its\n" +
			"environment than this shell, and may be kept by systemd from folders that this shell can write to.",
		Example: "roundtable backup check --home /var/lib/roundtable\nroundtable backup check far\nroundtable backup check --url s3://backups/eos --env-file s3.env",
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := interruptible(cmd)
			defer stop()
			if err := from.fit(cmd); err != nil {
				return err
			}
			list, missing, err := a.toCheck(from, args)
			if err != nil {
				return err
			}
			views, bad := []checkView{}, 0
			for _, r := range list {
				v := checkRepository(ctx, r)
				if v.Problem != "" {
					bad++
				}
				views = append(views, v)
			}
			raw, err := json.Marshal(views)
			if err != nil {
				return err
			}
			if err := a.show(raw, func(w *printer) { printChecks(w, views) }); err != nil {
				return err
			}
			if bad == 0 {
				return missing
			}
			return &failure{exitFailed, count(bad, "repository") + " cannot be used", "mend what stands there, and check again"}
		},
	})
	from.flags(cmd)
	return cmd
}

// toCheck are the repositories that are meant, and what the home's config.toml names besides that is not there.
func (a *app) toCheck(from repositoryFlags, args []string) (list []checked, missing, err error) {
	if from.url != "" {
		if len(args) > 0 {
			return nil, nil, usagef("take one of them out", "a repository is named, and --url is given, too")
		}
		return []checked{{"", from}}, nil, nil
	}
	home := firstOf(a.flags.home, a.environ("ROUNDTABLE_HOME"))
	if home == "" {
		home = filepath.Dir(a.socket)
	}
	c, err := config.Load(filepath.Join(home, "config.toml"), os.Environ(), nil)
	if c == nil {
		return nil, nil, err
	}
	for _, name := range c.Backup.RepositoryNames() {
		if r := c.Backup.Repositories[name]; len(args) == 0 || args[0] == name {
			list = append(list, checked{name, repositoryFlags{r.URL, r.EncryptionKeyFile, r.EnvFile}})
		}
	}
	switch {
	case len(list) > 0 && len(args) > 0:
		return list, nil, nil
	case len(list) > 0:
		return list, c.Missing(), nil
	case len(args) > 0:
		return nil, nil, usagef("there are: "+dash(strings.Join(c.Backup.RepositoryNames(), ", ")), "no repository %q in the config.toml of %s", args[0], home)
	}
	return nil, nil, &failure{exitFailed, "the config.toml of " + home + " names no repository", "write a section [backup.repositories.NAME] with its url: docs/reference/config.md"}
}

// checked is one repository that is to be tried.
type checked struct {
	name  string
	flags repositoryFlags
}

// checkRepository tries one.
func checkRepository(ctx context.Context, c checked) checkView {
	v := checkView{Repository: c.name, URL: store.Mask(c.flags.url), Store: "not reached"}
	fail := func(err error) checkView {
		var f *failure
		v.Problem, v.Hint = err.Error(), store.Hint(err)
		if errors.As(err, &f) {
			v.Hint = f.hint
		}
		return v
	}
	r, err := c.flags.repository()
	if err != nil {
		return fail(err)
	}
	bucket, err := store.Open(ctx, r.URL, store.Options{Env: r.Env})
	if err != nil {
		return fail(err)
	}
	defer func() { _ = bucket.Close() }()
	if err := bucket.Check(ctx); err != nil {
		return fail(err)
	}
	v.Store = "writes, reads, lists and deletes"
	v.Encrypted = r.Key != ""
	err = runJob(ctx, worker.Job{Do: worker.DoList, Repository: r}, func(l worker.Line) {
		if l.Info != nil {
			v.Backups++
		}
	})
	f, failed := errors.AsType[*worker.Failure](err)
	switch {
	case errors.Is(err, backup.ErrNoRepository):
		v.State = "empty: the first backup makes the repository"
	case failed:
		return fail(&failure{exitFailed, f.Text, f.Hint})
	case err != nil:
		return fail(err)
	default:
		v.State = "there"
	}
	return v
}

func printChecks(w *printer, views []checkView) {
	for _, v := range views {
		w.line("%s", firstOf(v.Repository, v.URL))
		w.line("  url        %s", v.URL)
		w.line("  store      %s", v.Store)
		switch {
		case v.Problem != "":
			w.para("31", "  problem    ", v.Problem)
			if v.Hint != "" {
				w.para("", "  hint       ", v.Hint)
			}
			continue
		case v.Backups > 0:
			w.line("  repository %s in it", count(v.Backups, "backup"))
		default:
			w.line("  repository %s", v.State)
		}
		encrypted := "no"
		if v.Encrypted {
			encrypted = "yes"
		}
		w.line("  encrypted  %s", encrypted)
	}
}

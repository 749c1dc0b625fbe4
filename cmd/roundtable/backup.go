package main

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"roundtable/api"
	"roundtable/fsm"
)

// backupTime is how long --wait waits for an operation on a backup where nothing else is said.
const backupTime = 24 * time.Hour

func (a *app) backupCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "backup", Aliases: []string{"backups"}, Short: "Backups of the nodes: make, list, verify and restore them", Args: cobra.NoArgs,
		Long: "Backups lie in repositories, which [backup.repositories.NAME] of config.toml names: a folder, S3, Google Storage, Azure. The cluster knows\n" +
			"which there are. They are made and read by standbys, never by the holder. See also: roundtable plan, which makes them by itself.\n\n" +
			"On the day when no cluster is left: list, verify and restore take --url, and then read the repository straight, without any manager.",
		Example: "roundtable backup create --wait\nroundtable backup list\nroundtable backup restore 20261121-033000-1a2b3c4d --member m2 --wait",
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		a.backupCreateCommand(), a.backupListCommand(), a.backupShowCommand(), a.backupVerifyCommand(), a.backupRestoreCommand(), a.backupRemoveCommand(),
		a.backupPinCommand(true), a.backupPinCommand(false), a.backupSetCommand(), a.backupSweepCommand(), a.backupScanCommand(), a.backupCheckCommand(), a.backupKeygenCommand(),
	)
	return cmd
}

// taskFlags are those of all operations on backups.
type taskFlags struct {
	patience
	member, repository string
}

func (f *taskFlags) flags(a *app, cmd *cobra.Command, member string) {
	set := cmd.Flags()
	if member != "" {
		set.StringVar(&f.member, "member", "", member)
		_ = cmd.RegisterFlagCompletionFunc("member", a.completeMember) // fails only without the flag
	}
	set.StringVar(&f.limit, "limit", "", "how long a step may take, up to 24h; default: as configured")
	set.StringVar(&f.queue, "queue", "", "how long to wait for an operation that is in the way; default: not at all, be refused then")
}

func (f *taskFlags) in(a *app, cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.repository, "repository", "", "`NAME` of the repository, as in config.toml; default: the one that is used by default")
	_ = cmd.RegisterFlagCompletionFunc("repository", a.completeRepository) // fails only without the flag
}

// body is the request.
func (f *taskFlags) body() (map[string]any, error) {
	body, err := f.patience.body()
	if err != nil {
		return nil, err
	}
	for name, text := range map[string]string{"member": f.member, "repository": f.repository} {
		if text != "" {
			body[name] = text
		}
	}
	return body, nil
}

func (a *app) backupCreateCommand() *cobra.Command {
	var f taskFlags
	kind, keep := "", ""
	cmd := a.waitsUpTo(a.asks(&cobra.Command{
		Use: "create", Aliases: []string{"make"}, Short: "Have a backup made, by the best standby for it", Args: cobra.NoArgs,
		Long: "data: blocks, state and what else the node's data folder holds. Most of it is stored while the node runs; then it is stopped cleanly,\n" +
			"copied, started again and proved back, before the rest is stored. snapshot: a chain snapshot, which nodeos makes while it runs.\n" +
			"Never on the holder, nor on a node whose window is near. Only what is not in the repository yet is sent there. Needs the role operate.\n" +
			"Prints the id of the operation and returns; with --wait, when it has ended.",
		Example: "roundtable backup create --wait\nroundtable backup create --kind snapshot --repository far --keep 30d",
		RunE: func(cmd *cobra.Command, _ []string) error {
			body, err := f.body()
			if err != nil {
				return err
			}
			if body["kind"], err = backupKind(kind); err != nil {
				return err
			}
			if keep != "" {
				if body["keep"], err = span("--keep", keep); err != nil {
					return err
				}
			}
			return a.begin(cmd, "/cluster/backup", body)
		},
	}), backupTime)
	kindFlag(cmd, &kind, fsm.CopiesData)
	f.flags(a, cmd, "`ID` of the member whose node it is to be of; default: the best standby for it")
	f.in(a, cmd)
	cmd.Flags().StringVar(&keep, "keep", "", "how long it is kept, such as 30d; default: as long as the repository's retention says")
	return cmd
}

func kindFlag(cmd *cobra.Command, kind *string, def string) {
	cmd.Flags().StringVar(kind, "kind", def, "data: blocks and state; snapshot: a chain snapshot")
	_ = cmd.RegisterFlagCompletionFunc("kind", cobra.FixedCompletions([]string{fsm.CopiesData, fsm.CopiesSnapshot}, cobra.ShellCompDirectiveNoFileComp)) // fails only without the flag
}

func backupKind(kind string) (string, error) {
	if kind != fsm.CopiesData && kind != fsm.CopiesSnapshot {
		return "", usagef("data: blocks and state; snapshot: a chain snapshot", "--kind must be data or snapshot, not %q", kind)
	}
	return kind, nil
}

func (a *app) backupListCommand() *cobra.Command {
	var from repositoryFlags
	filters := map[string]*string{"kind": new(string), "state": new(string), "repository": new(string), "member": new(string)}
	cmd := a.asks(&cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the backups, newest first", Args: cobra.NoArgs,
		Long:    "Lists the backups that the cluster knows, newest first; with --url those that lie in a repository, which is read without any manager.",
		Example: "roundtable backup list\nroundtable backup list --kind data --state done\nroundtable backup list --url s3://backups/eos --env-file s3.env --key-file backup.key",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := from.fit(cmd, "kind", "state", "repository", "member"); err != nil {
				return err
			}
			if from.url != "" {
				return a.listRepository(cmd, from)
			}
			query := url.Values{}
			for name, value := range filters {
				if *value != "" {
					query.Set(name, *value)
				}
			}
			path := "/cluster/backups"
			if len(query) > 0 {
				path += "?" + query.Encode()
			}
			var list []api.Backup
			return a.get(cmd.Context(), path, &list, func(w *printer) { a.printBackups(w, list) })
		},
	})
	for name, what := range map[string]string{"kind": "data or snapshot", "state": "running, done, damaged, failed or expired", "repository": "`NAME` of a repository", "member": "`ID` of a member"} {
		cmd.Flags().StringVar(filters[name], name, "", "only these: "+what)
	}
	from.flags(cmd)
	_ = cmd.RegisterFlagCompletionFunc("member", a.completeMember) // fails only without the flag
	_ = cmd.RegisterFlagCompletionFunc("repository", a.completeRepository)
	_ = cmd.RegisterFlagCompletionFunc("kind", cobra.FixedCompletions([]string{fsm.CopiesData, fsm.CopiesSnapshot}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("state", cobra.FixedCompletions([]string{"running", "done", "damaged", "failed", "expired"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (a *app) backupShowCommand() *cobra.Command {
	return a.asks(&cobra.Command{
		Use: "show ID", Short: "One backup with all that is known of it", Args: cobra.ExactArgs(1),
		Example: "roundtable backup show 20261121-033000-1a2b3c4d", ValidArgsFunction: a.completeBackups,
		RunE: func(cmd *cobra.Command, args []string) error {
			var b api.Backup
			return a.get(cmd.Context(), backupPath(args[0]), &b, func(w *printer) { a.printBackup(w, b) })
		},
	})
}

func backupPath(id string) string { return "/cluster/backups/" + url.PathEscape(id) }

// printBackups shows the catalogue.
func (a *app) printBackups(w *printer, list []api.Backup) {
	if len(list) == 0 {
		w.line("no backups")
		return
	}
	rows := [][]any{}
	for _, b := range list {
		rows = append(rows, []any{
			b.ID, b.Kind, b.Repository, backupInk(b), dash(b.Member), blockOf(b), since(b.Created, a.now()), bytesOf(b.Data), bytesOf(b.Stored), verifiedText(b, a.now()), a.expiryOf(b),
		})
	}
	w.table([]string{"id", "kind", "repository", "state", "member", "block", "made", "data", "stored", "verified", "expires"}, rows)
}

// backupInk shows a state in its colour.
func backupInk(b api.Backup) any {
	text := stateText(b)
	switch {
	case b.State == fsm.BackupDamaged || b.State == fsm.BackupFailed:
		return red(text)
	case b.State == fsm.BackupRunning || b.Suspect:
		return yellow(text)
	}
	return text
}

// stateText says in which state a backup is, and what else there is to it.
func stateText(b api.Backup) string {
	text := string(b.State)
	if b.Suspect {
		text += ", suspect"
	}
	if b.Pinned {
		text += ", pinned"
	}
	return text
}

func blockOf(b api.Backup) string {
	if b.Head == 0 {
		return "-"
	}
	return fmt.Sprint(b.Head)
}

// verifiedText says when a backup was found whole, and how.
func verifiedText(b api.Backup, now time.Time) string {
	text := since(b.Verified, now)
	if b.Trial && b.Verified != "" {
		text += ", node came up"
	}
	return text
}

// expiryOf says when a backup expires.
func (a *app) expiryOf(b api.Backup) string {
	switch {
	case b.State == fsm.BackupExpired || b.State == fsm.BackupFailed:
		return "at the next sweep"
	case b.Pinned:
		return "never"
	case b.Expires != "":
		return since(b.Expires, a.now())
	}
	return "by retention"
}

// bytesOf says so many bytes as people do; "-" for none.
func bytesOf(n int64) string {
	if n <= 0 {
		return "-"
	}
	units, value := []string{"B", "kB", "MB", "GB", "TB"}, float64(n)
	i := 0
	for ; value >= 999.5 && i+1 < len(units); i++ {
		value /= 1000
	}
	if i == 0 || value >= 99.95 {
		return fmt.Sprintf("%.0f %s", value, units[i])
	}
	return fmt.Sprintf("%.1f %s", value, units[i])
}

func (a *app) printBackup(w *printer, b api.Backup) {
	w.line("%s", b.ID)
	line := func(name, value string) {
		if value != "" {
			w.para("", fmt.Sprintf("  %-14s", name), value)
		}
	}
	w.line("  %-14s%s", "state", inked{inkOf(b), stateText(b)})
	line("kind", b.Kind)
	line("repository", b.Repository)
	line("member", b.Member)
	made := moment(b.Created) + ", " + since(b.Created, a.now())
	if b.Seconds > 0 {
		made += fmt.Sprintf(", took %s", age(time.Duration(b.Seconds*float64(time.Second))))
	}
	line("made", made)
	switch {
	case b.Plan != "":
		line("by", "operation "+b.Operation+", plan "+b.Plan)
	case b.Operation != "":
		line("by", "operation "+b.Operation)
	}
	if b.Head != 0 {
		blocks := fmt.Sprintf("up to %d, irreversible up to %d", b.Head, b.LIB)
		if b.First != 0 {
			blocks = fmt.Sprintf("%d to %d, irreversible up to %d", b.First, b.Head, b.LIB)
		}
		line("blocks", blocks)
		line("head", dash(b.HeadID)+", "+moment(b.HeadAt))
		line("chain", b.ChainID)
		line("nodeos", b.NodeVersion)
		line("size", fmt.Sprintf("%s in %s, %s without holes; %s added to the repository", bytesOf(b.Size), count(int(b.Files), "file"), bytesOf(b.Data), bytesOf(b.Stored)))
		line("manifest", b.Manifest)
	}
	line("verified", firstOf(strings.TrimPrefix(verifiedText(b, a.now()), "-"), "never"))
	line("expires", a.expiryOf(b))
	line("fault", b.Fault)
	line("why", b.Why)
}

func inkOf(b api.Backup) string {
	if i, ok := backupInk(b).(inked); ok {
		return i.ink
	}
	return ""
}

func (a *app) completeBackups(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	var list []api.Backup
	return a.complete(cmd, args, "/cluster/backups", &list, func() (words []string) {
		for _, b := range list {
			words = append(words, cobra.CompletionWithDesc(b.ID, fmt.Sprintf("%s, %s, block %s", b.Kind, b.State, blockOf(b))))
		}
		return words
	})
}

// completeMoreBackups completes one more of several.
func (a *app) completeMoreBackups(cmd *cobra.Command, _ []string, text string) ([]string, cobra.ShellCompDirective) {
	return a.completeBackups(cmd, nil, text)
}

// completeRepository offers the repositories that have something in them, or are to.
func (a *app) completeRepository(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	var o api.Overview
	return a.complete(cmd, nil, "/cluster", &o, func() (words []string) {
		for i, b := range o.Backups {
			if i == 0 || o.Backups[i-1].Repository != b.Repository {
				words = append(words, b.Repository)
			}
		}
		return words
	})
}

// findBackup asks for one.
func (a *app) findBackup(cmd *cobra.Command, id string) (b api.Backup, err error) {
	_, err = a.call(cmd.Context(), http.MethodGet, backupPath(id), nil, &b)
	return b, err
}

package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"roundtable/api"
)

func (a *app) backupVerifyCommand() *cobra.Command {
	var f taskFlags
	var from repositoryFlags
	trial := false
	cmd := a.waitsUpTo(a.asks(&cobra.Command{
		Use: "verify ID", Aliases: []string{"test"}, Short: "Read all of a backup, or have a node come up on it", Args: cobra.ExactArgs(1),
		Long: "Reads all of a backup and compares it with its checksums; one that is not whole counts as damaged from then on. With --trial it is restored\n" +
			"into a scratch folder, and a node is started on it, alone, which must come to the backup's block. A standby does it. Needs the role operate.\n" +
			"With --url a repository is read straight, without any manager.\n" +
			"Prints the id of the operation and returns; with --wait, when it has ended.",
		Example: "roundtable backup verify 20261121-033000-1a2b3c4d --trial --wait\nroundtable backup verify 20261121-033000-1a2b3c4d --url file:///mnt/backups", ValidArgsFunction: a.completeBackups,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := from.fit(cmd, "trial", "member", "limit", "queue"); err != nil {
				return err
			}
			if from.url != "" {
				return a.verifyIn(cmd, from, args[0])
			}
			body, err := f.body()
			if err != nil {
				return err
			}
			if trial {
				body["trial"] = true
			}
			return a.begin(cmd, backupPath(args[0])+"/verify", body)
		},
	}), backupTime)
	cmd.Flags().BoolVar(&trial, "trial", false, "restore it into a scratch folder and start a node on it")
	f.flags(a, cmd, "`ID` of the member that does it; default: the standby that is needed least")
	from.flags(cmd)
	return cmd
}

func (a *app) backupRestoreCommand() *cobra.Command {
	var f taskFlags
	var from repositoryFlags
	folder := ""
	cmd := a.mayAsk(a.waitsUpTo(a.asks(&cobra.Command{
		Use: "restore ID", Short: "Replace the data of a member's node by a backup", Args: cobra.ExactArgs(1),
		Long: "The backup is fetched beside the node's data and proved whole, with room for it checked first, while the node runs. Then the node is\n" +
			"stopped, its data moved aside, and started on the backup's; it is done when the node is proved back. Where it is not, the former data is\n" +
			"put back. Never on the holder: hand production over first. Needs the role operate.\n" +
			"Prints the id of the operation and returns; with --wait, when it has ended.\n\n" +
			"With --url a repository is read straight, without any manager, into the folder that --to names: that folder is then a node's data folder.",
		Example:           "roundtable backup restore 20261121-033000-1a2b3c4d --member m2 --wait\nroundtable backup restore 20261121-033000-1a2b3c4d --url file:///mnt/backups --to /var/lib/nodeos/data",
		ValidArgsFunction: a.completeBackups,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case (from.url != "") != (folder != ""):
				return usagef("with both the repository is read straight; with neither a member restores it: --member ID", "--url and --to go together")
			case from.url == "" && f.member == "":
				return usagef("say --member ID: the node that gets the backup", "whose node is to be restored is not said")
			}
			if err := from.fit(cmd, "member", "limit", "queue"); err != nil {
				return err
			}
			if from.url != "" {
				return a.restoreFrom(cmd, from, args[0], folder)
			}
			body, err := f.body()
			if err != nil {
				return err
			}
			if err := a.confirm("replace the data of a node", func() (string, error) { return a.restoreQuestion(cmd, args[0], f.member) }); err != nil {
				return err
			}
			return a.begin(cmd, backupPath(args[0])+"/restore", body)
		},
	}), backupTime))
	f.flags(a, cmd, "`ID` of the member whose node gets the backup")
	from.flags(cmd)
	cmd.Flags().StringVar(&folder, "to", "", "with --url: `DIR` that the backup is written into, which must be empty or not there")
	return cmd
}

// restoreQuestion asks whether a restore is meant, and says what it will do.
func (a *app) restoreQuestion(cmd *cobra.Command, id, member string) (string, error) {
	b, err := a.findBackup(cmd, id)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("Replace the data of %s's node by %s: %s of block %s, made %s? The node is stopped meanwhile, and what it has now is moved aside.",
		member, b.ID, b.Kind, blockOf(b), since(b.Created, a.now())), nil
}

func (a *app) backupRemoveCommand() *cobra.Command {
	return a.mayAsk(a.asks(&cobra.Command{
		Use: "rm ID...", Aliases: []string{"remove", "expire"}, Short: "Give backups up: the next sweep removes them", Args: cobra.MinimumNArgs(1),
		Long: "Gives backups up: they count as expired at once, and no restore takes them. The next sweep removes them from their repository, and then from\n" +
			"the list. Sweeps come by themselves; roundtable backup sweep does it at once. A pinned one is refused. Needs the role admin.",
		Example: "roundtable backup rm 20261121-033000-1a2b3c4d --yes", ValidArgsFunction: a.completeMoreBackups,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.confirm("give backups up", func() (string, error) {
				var what []string
				for _, id := range args {
					b, err := a.findBackup(cmd, id)
					if err != nil {
						return "", err
					}
					what = append(what, fmt.Sprintf("%s (%s of block %s, made %s)", b.ID, b.Kind, blockOf(b), since(b.Created, a.now())))
				}
				return "Give up " + strings.Join(what, ", ") + "?", nil
			}); err != nil {
				return err
			}
			return a.eachBackup(cmd, args, http.MethodDelete, nil, func(w *printer, b api.Backup) { w.line("backup %s is %s: the next sweep removes it", b.ID, b.State) })
		},
	}))
}

// eachBackup changes several backups, one after another, and shows what came of each; with JSON or YAML one answer, or a list of them.
func (a *app) eachBackup(cmd *cobra.Command, ids []string, method string, body any, say func(w *printer, b api.Backup)) error {
	var raws []json.RawMessage
	for _, id := range ids {
		var v api.BackupSet
		raw, err := a.call(cmd.Context(), method, backupPath(id), body, &v)
		if err != nil {
			return unknown(err, "whether it happened", "look with: roundtable backup list")
		}
		if raws = append(raws, raw); a.flags.output == "table" {
			say(a.out, v.Backup)
		}
	}
	switch {
	case a.flags.output == "table":
		return nil
	case len(raws) == 1:
		return a.show(raws[0], nil)
	}
	raw, err := json.Marshal(raws)
	if err != nil {
		return err
	}
	return a.show(raw, nil)
}

func (a *app) backupPinCommand(pin bool) *cobra.Command {
	c := &cobra.Command{
		Use: "pin ID...", Short: "Keep backups until they are unpinned", Args: cobra.MinimumNArgs(1), ValidArgsFunction: a.completeMoreBackups,
		Long:    "A pinned backup does not expire, whatever the retention says, and cannot be given up. Needs the role operate.",
		Example: "roundtable backup pin 20261121-033000-1a2b3c4d",
	}
	done := "backup %s is pinned: it does not expire"
	if !pin {
		c.Use, c.Short, c.Example = "unpin ID...", "Let pinned backups expire again", "roundtable backup unpin 20261121-033000-1a2b3c4d"
		c.Long, done = "Its repository's retention counts for it again, and a time at which it expires. Needs the role admin.", "backup %s is no longer pinned"
	}
	c.RunE = func(cmd *cobra.Command, args []string) error {
		return a.eachBackup(cmd, args, http.MethodPatch, map[string]any{"pinned": pin}, func(w *printer, b api.Backup) { w.line(done, b.ID) })
	}
	return a.asks(c)
}

func (a *app) backupSetCommand() *cobra.Command {
	expires := ""
	cmd := a.asks(&cobra.Command{
		Use: "set ID...", Short: "Say when backups expire", Args: cobra.MinimumNArgs(1), ValidArgsFunction: a.completeMoreBackups,
		Long:    "Says when backups expire: a length of time from now, a time, or retention, which leaves it to their repository's rules.\nLater than before needs the role operate, sooner the role admin.",
		Example: "roundtable backup set 20261121-033000-1a2b3c4d --expires 90d\nroundtable backup set 20261121-033000-1a2b3c4d --expires retention",
		RunE: func(cmd *cobra.Command, args []string) error {
			when := expires
			switch _, err := time.Parse(time.RFC3339, expires); {
			case expires == "":
				return usagef("such as --expires 90d", "nothing to set is named")
			case expires == "retention":
				when = ""
			case err != nil:
				if when, err = span("--expires", expires); err != nil {
					return err
				}
			}
			return a.eachBackup(cmd, args, http.MethodPatch, map[string]any{"expires": when}, func(w *printer, b api.Backup) { w.line("backup %s expires %s", b.ID, a.expiryOf(b)) })
		},
	})
	cmd.Flags().StringVar(&expires, "expires", "", "`WHEN`: such as 90d, 2027-01-31T00:00:00Z, or retention")
	return cmd
}

func (a *app) backupSweepCommand() *cobra.Command {
	var f taskFlags
	unknown := false
	cmd := a.mayAsk(a.waitsUpTo(a.asks(&cobra.Command{
		Use: "sweep", Short: "Remove what failed or expired from a repository, and what nobody refers to", Args: cobra.NoArgs,
		Long: "Sweeps come by themselves as well. Backups that the cluster does not know, another cluster's say, stay, unless --unknown is said: that needs\n" +
			"the role admin, and asks. What cannot be deleted now is tried again by the next sweep. Needs the role operate.\n" +
			"Prints the id of the operation and returns; with --wait, when it has ended.",
		Example: "roundtable backup sweep --wait\nroundtable backup sweep --repository far --unknown --yes",
		RunE: func(cmd *cobra.Command, _ []string) error {
			body, err := f.body()
			if err != nil {
				return err
			}
			if unknown {
				if err := a.confirm("remove what the cluster does not know", func() (string, error) {
					return fmt.Sprintf("Remove all backups from repository %s that this cluster does not know, whoever made them?", firstOf(f.repository, "that is used by default")), nil
				}); err != nil {
					return err
				}
				body["unknown"] = true
			}
			return a.begin(cmd, "/cluster/backups/sweep", body)
		},
	}), backupTime))
	cmd.Flags().BoolVar(&unknown, "unknown", false, "remove backups that the cluster does not know as well")
	f.flags(a, cmd, "`ID` of the member that does it; default: the standby that is needed least")
	f.in(a, cmd)
	return cmd
}

func (a *app) backupScanCommand() *cobra.Command {
	var f taskFlags
	cmd := a.waitsUpTo(a.asks(&cobra.Command{
		Use: "scan", Short: "Put what a repository holds and the cluster does not know into its list", Args: cobra.NoArgs,
		Long: "For a list that was lost, such as in a cluster that was laid out anew, or for a repository that another cluster of the same chain has\n" +
			"written. Nothing in the repository is changed. Needs the role operate.\n" +
			"Prints the id of the operation and returns; with --wait, when it has ended.",
		Example: "roundtable backup scan --wait",
		RunE: func(cmd *cobra.Command, _ []string) error {
			body, err := f.body()
			if err != nil {
				return err
			}
			return a.begin(cmd, "/cluster/backups/scan", body)
		},
	}), backupTime)
	f.flags(a, cmd, "`ID` of the member that does it; default: the standby that is needed least")
	f.in(a, cmd)
	return cmd
}

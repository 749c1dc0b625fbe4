package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"roundtable/api"
)

// upgrade is what the flags of the command say.
type upgrade struct {
	patience
	atBlock            uint32
	feature, row       string
	sha256, undo       string
	hardFork, snapshot bool
	members            []string
}

func (a *app) upgradeCommand() *cobra.Command {
	var u upgrade
	cmd := a.mayAsk(a.waitsUpTo(a.asks(&cobra.Command{
		Use: "upgrade TAG", Short: "Bring the nodes to another version of nodeos, one after another, without a missed slot", Args: cobra.ExactArgs(1),
		Long: "Stages the version on every member (it is in HOME/versions/TAG, or is fetched as [upgrade] of config.toml says), and then switches the\n" +
			"nodes as restart --rolling does, at once or when the chain is there. Nothing is stopped before all have it. A node that does not\n" +
			"come back is brought back to what it ran before. A former version is gone back to in the same way. Needs the role operate.\n" +
			"Prints the id of the operation and returns; with --wait, when it has ended.",
		Example: "roundtable upgrade v1.2.3 --wait\nroundtable upgrade v1.2.3 --at-block 412345678 --yes\nroundtable upgrade v1.2.3 --row eosio/eosio/global//nodeos=v1.2.3 --undo all\n" +
			"roundtable upgrade v2.0.0 --at-block 412345678 --hard-fork",
		ValidArgsFunction: a.completeVersions,
		RunE: func(cmd *cobra.Command, args []string) error {
			body, err := u.body(args[0])
			if err != nil {
				return err
			}
			if err := a.confirm("upgrade to "+args[0], func() (string, error) { return a.upgradeQuestion(cmd.Context(), args[0], u) }); err != nil {
				return err
			}
			return a.begin(cmd, "/cluster/upgrade", body)
		},
	}), rollTime))
	f := cmd.Flags()
	f.Uint32Var(&u.atBlock, "at-block", 0, "begin when the head is at block `N`; with --hard-fork: switch there")
	f.StringVar(&u.feature, "feature", "", "begin when this protocol feature is activated: its `NAME` or digest")
	f.StringVar(&u.row, "row", "", "begin when a table says so: `CODE/SCOPE/TABLE/KEY/FIELD=VALUE`; without KEY the first row")
	f.StringVar(&u.sha256, "sha256", "", "of the file that is fetched; default: taken from the release's checksum file, and shown")
	f.BoolVar(&u.hardFork, "hard-fork", false, "all nodes stop at the block, are switched at once, and production goes on behind it")
	f.StringVar(&u.undo, "undo", "", "when a node does not come back: member brings it back (the default), all those that are through as well")
	f.BoolVar(&u.snapshot, "snapshot", false, "have a chain snapshot made before the first node is stopped")
	f.StringSliceVar(&u.members, "members", nil, "`ID,ID`: only these; default: all that have a node")
	u.flags(cmd)
	_ = cmd.RegisterFlagCompletionFunc("members", a.completeMember) // fails only without the flag
	_ = cmd.RegisterFlagCompletionFunc("undo", cobra.FixedCompletions([]string{api.UndoMember, api.UndoAll}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// body is the request.
func (u *upgrade) body(tag string) (map[string]any, error) {
	body, err := u.patience.body()
	if err != nil {
		return nil, err
	}
	body["tag"] = tag
	for name, text := range map[string]string{"feature": u.feature, "sha256": u.sha256, "undo": u.undo} {
		if text != "" {
			body[name] = text
		}
	}
	for name, yes := range map[string]bool{"hard_fork": u.hardFork, "snapshot": u.snapshot} {
		if yes {
			body[name] = true
		}
	}
	if u.atBlock != 0 {
		body["at_block"] = u.atBlock
	}
	if len(u.members) > 0 {
		body["members"] = u.members
	}
	if u.row != "" {
		row, err := parseRow(u.row)
		if err != nil {
			return nil, err
		}
		body["row"] = row
	}
	return body, nil
}

// parseRow reads CODE/SCOPE/TABLE/KEY/FIELD=VALUE.
func parseRow(text string) (api.TableRow, error) {
	path, value, ok := strings.Cut(text, "=")
	parts := strings.Split(path, "/")
	if !ok || len(parts) != 5 || parts[0] == "" || parts[2] == "" || parts[4] == "" {
		return api.TableRow{}, usagef("such as --row eosio/eosio/global//nodeos=v1.2.3", "--row %q is not CODE/SCOPE/TABLE/KEY/FIELD=VALUE", text)
	}
	return api.TableRow{Code: parts[0], Scope: parts[1], Table: parts[2], Key: parts[3], Field: parts[4], Value: value}, nil
}

// upgradeQuestion asks whether an upgrade is meant, and says what it will do.
func (a *app) upgradeQuestion(ctx context.Context, tag string, u upgrade) (string, error) {
	var o api.Overview
	if _, err := a.call(ctx, http.MethodGet, "/cluster", nil, &o); err != nil {
		return "", err
	}
	var nodes, runs []string
	for _, m := range o.Members {
		if m.Role == api.RoleWitness || len(u.members) > 0 && !slices.Contains(u.members, m.ID) {
			continue
		}
		nodes = append(nodes, m.ID)
		version := m.NodeVersion
		if m.Home != nil {
			version = firstOf(m.Home.RunsTag, version)
		}
		if version = dash(version); !slices.Contains(runs, version) {
			runs = append(runs, version)
		}
	}
	when := "now"
	switch {
	case u.atBlock != 0:
		when = fmt.Sprintf("at block %d", u.atBlock)
	case u.feature != "":
		when = "when " + u.feature + " is activated"
	case u.row != "":
		when = "when the table says " + u.row
	}
	how := "one after another, the holder last"
	if u.hardFork {
		how = "all at once; production rests meanwhile"
	}
	return fmt.Sprintf("Bring nodeos on %s of %s from %s to %s, %s, %s?", strings.Join(nodes, ", "), dash(o.Cluster), strings.Join(runs, ", "), tag, when, how), nil
}

// completeVersions offers the versions that the members know.
func (a *app) completeVersions(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	var list []api.Member
	return a.complete(cmd, args, "/cluster/members", &list, func() (words []string) {
		for _, m := range list {
			if m.Home == nil {
				continue
			}
			for _, tag := range []string{m.Home.Tag, m.Home.RunsTag} {
				if tag != "" && !slices.Contains(words, tag) {
					words = append(words, tag)
				}
			}
		}
		slices.Sort(words)
		return words
	})
}

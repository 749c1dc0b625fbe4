package main

import (
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"roundtable/api"
)

func (a *app) membersCommand() *cobra.Command {
	cmd := a.asks(&cobra.Command{
		Use: "members", Aliases: []string{"member"}, Short: "The members, their nodes and whether they could hold the lease", Args: cobra.NoArgs,
		Example: "roundtable members",
		RunE: func(cmd *cobra.Command, _ []string) error {
			var list []api.Member
			return a.get(cmd.Context(), "/cluster/members", &list, func(w *printer) {
				printMembers(w, list, true)
				w.line("")
				rows := [][]any{}
				for _, m := range list {
					rows = append(rows, []any{m.ID, dash(m.API), dash(m.Raft), dash(m.P2P), settings(m), dash(m.Fence), dash(m.Version), dash(m.NodeVersion), since(m.Started, a.now())})
				}
				w.table([]string{"member", "api", "raft", "p2p", "set", "fence", "version", "nodeos", "started"}, rows)
			})
		},
	})
	return cmd
}

// settings is what an operator set on a member.
func settings(m api.Member) any {
	var list []string
	if m.Priority != 0 {
		list = append(list, "priority "+strconv.Itoa(m.Priority))
	}
	if m.NoFailover {
		list = append(list, "nofailover")
	}
	if m.Maintenance {
		list = append(list, "maintenance")
	}
	if len(list) == 0 {
		return "-"
	}
	return yellow(strings.Join(list, ", "))
}

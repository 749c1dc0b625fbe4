package main

import (
	"net/http"

	"github.com/spf13/cobra"

	"roundtable/api"
)

func (a *app) maintenanceCommand() *cobra.Command {
	member := ""
	cmd := a.asks(&cobra.Command{
		Use: "maintenance on|off", Short: "Keep production from moving by itself, for a member or the whole cluster", Args: cobra.ExactArgs(1), ValidArgs: []string{"on", "off"},
		Long: "In maintenance production does not move by itself: not at all, or with --member not to that one. The holder keeps signing, and\n" +
			"planned handoffs are still allowed. Needs the role operate.",
		Example: "roundtable maintenance on --member m2\nroundtable maintenance off",
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[0] != "on" && args[0] != "off" {
				return usagef("such as: roundtable maintenance on", "maintenance is on or off, not %q", args[0])
			}
			var v api.MaintenanceSet
			return a.change(cmd.Context(), http.MethodPost, "/cluster/maintenance", map[string]any{"on": args[0] == "on", "member": member}, &v, func(w *printer) {
				switch {
				case v.Member == "" && v.On:
					w.line("maintenance is on: production does not move by itself, not even when the holder dies")
				case v.Member == "":
					w.line("maintenance is off")
				case v.On:
					w.line("maintenance is on for %s: production does not move there by itself", v.Member)
				default:
					w.line("maintenance is off for %s", v.Member)
				}
			})
		},
	})
	cmd.Flags().StringVar(&member, "member", "", "`ID` of a member; default: the whole cluster")
	_ = cmd.RegisterFlagCompletionFunc("member", a.completeMember) // fails only without the flag
	return cmd
}

func (a *app) leaderCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "leader", Short: "Move the leadership of the raft group, which is not production", Args: cobra.NoArgs, Example: "roundtable leader transfer --to m2",
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	to := ""
	transfer := a.asks(&cobra.Command{
		Use: "transfer", Short: "Let another member lead the raft group", Args: cobra.NoArgs, Example: "roundtable leader transfer\nroundtable leader transfer --to m2",
		Long: "Moves the raft leadership to a member, or to the most up to date one. Production does not move by it; see handoff. Needs the\nrole operate.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			var v api.LeaderMoved
			return a.change(cmd.Context(), http.MethodPost, "/cluster/leader/transfer", map[string]string{"to": to}, &v, func(w *printer) { w.line("%s leads, term %d", v.Leader, v.Term) })
		},
	})
	transfer.Flags().StringVar(&to, "to", "", "`ID` of the member that is to lead; default: the most up to date one")
	_ = transfer.RegisterFlagCompletionFunc("to", a.completeMember) // fails only without the flag
	cmd.AddCommand(transfer)
	return cmd
}

package main

import (
	"github.com/spf13/cobra"
)

func (a *app) handoffCommand() *cobra.Command {
	var to, when string
	cmd := a.waits(a.asks(&cobra.Command{
		Use: "handoff [MEMBER]", Short: "Hand production over to another member", Args: cobra.MaximumNArgs(1),
		Long: "Hands production over to the named member, or to the best fit standby, without a missed slot.\n" +
			"Prints the id of the operation and returns; with --wait, when it has ended. --timeout bounds all of it.",
		Example:           "roundtable handoff --wait\nroundtable handoff --to m2 --wait",
		ValidArgsFunction: a.completeMembers,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				if to != "" && to != args[0] {
					return usagef("name it once: roundtable handoff "+to, "two members are named: %q and --to %q", args[0], to)
				}
				to = args[0]
			}
			if when != "safe" && when != "now" {
				return usagef("safe waits for the gap after our window, now does not", "--when must be safe or now, not %q", when)
			}
			return a.begin(cmd, "/cluster/handoff", map[string]string{"to": to, "when": when})
		},
	}))
	cmd.Flags().StringVar(&to, "to", "", "the member that is to produce; default: the best fit standby")
	cmd.Flags().StringVar(&when, "when", "safe", "safe: in the gap after our window; now: at the next block")
	_ = cmd.RegisterFlagCompletionFunc("to", a.completeMember) // fails only without the flag
	return cmd
}

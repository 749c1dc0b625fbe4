package main

import (
	"time"

	"github.com/spf13/cobra"
)

// rollTime is how long --wait waits for a rolling operation where nothing else is said.
const rollTime = 2 * time.Hour

// patience are the flags that all rolling operations have.
type patience struct{ limit, queue string }

func (p *patience) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&p.limit, "limit", "", "how long a member may take, from the stop to the proof that it is back, up to 1h; default: as configured")
	cmd.Flags().StringVar(&p.queue, "queue", "", "how long to wait for the operation before it; default: not at all, be refused then")
}

// body is what of it goes into a request.
func (p *patience) body() (map[string]any, error) {
	body := map[string]any{}
	if err := spans(body, map[string]string{"limit": p.limit, "queue": p.queue}); err != nil {
		return nil, err
	}
	return body, nil
}

func (a *app) restartCommand() *cobra.Command {
	var wait patience
	member, rolling := "", false
	cmd := a.waitsUpTo(a.asks(&cobra.Command{
		Use: "restart [MEMBER]", Short: "Restart a member's node, or all nodes one after another, without a missed slot", Args: cobra.MaximumNArgs(1),
		Long: "Restarts nodeos; the managers go on running. With --rolling all nodes: standbys first, each proved back before the next, the holder\n" +
			"last, after a handoff. It stops at the first failure and says why. Needs the role operate.\n" +
			"Prints the id of the operation and returns; with --wait, when it has ended.",
		Example:           "roundtable restart --rolling --wait\nroundtable restart --member m2 --wait",
		ValidArgsFunction: a.completeMembers,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				if member != "" && member != args[0] {
					return usagef("name it once: roundtable restart "+member, "two members are named: %q and --member %q", args[0], member)
				}
				member = args[0]
			}
			if (member != "") == rolling {
				return usagef("roundtable restart --member ID restarts one node, roundtable restart --rolling all", "one member or --rolling must be given")
			}
			body, err := wait.body()
			if err != nil {
				return err
			}
			if rolling {
				body["rolling"] = true
			} else {
				body["member"] = member
			}
			return a.begin(cmd, "/cluster/restart", body)
		},
	}), rollTime)
	cmd.Flags().StringVar(&member, "member", "", "`ID` of the member whose node is restarted")
	cmd.Flags().BoolVar(&rolling, "rolling", false, "all nodes, one after another")
	wait.flags(cmd)
	_ = cmd.RegisterFlagCompletionFunc("member", a.completeMember) // fails only without the flag
	return cmd
}

func (a *app) rolloutCommand() *cobra.Command {
	var wait patience
	cmd := a.waitsUpTo(a.asks(&cobra.Command{
		Use: "rollout", Short: "Bring changed configurations to the nodes, one after another", Args: cobra.NoArgs,
		Long: "Restarts the nodes whose configuration has changed (the template, the cluster's overlay, see config set, or what config.toml says of\n" +
			"the node), one after another as restart --rolling does. Members do it by themselves unless upgrade.rollout is \"manual\". Where a node\n" +
			"does not come back with its new configuration, that is taken back, and reaches no other one; this command tries it again. Needs the\n" +
			"role operate.",
		Example: "roundtable rollout --wait",
		RunE: func(cmd *cobra.Command, _ []string) error {
			body, err := wait.body()
			if err != nil {
				return err
			}
			return a.begin(cmd, "/cluster/rollout", body)
		},
	}), rollTime)
	wait.flags(cmd)
	return cmd
}

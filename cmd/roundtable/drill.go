package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"roundtable/drill"
)

// errDrill ends a drill that ran and found something.
var errDrill = errors.New("the drill did not pass")

// drillCommand is `roundtable drill SCENARIO`.
func drillCommand() *cobra.Command {
	var p drill.Plan
	var file, page string
	c := &cobra.Command{
		Use:   "drill SCENARIO...",
		Short: "Prove it: do something to a sandbox cluster again and again, and count what was missed and what was signed twice",
		Long: `Start clusters of real processes on this machine (loopback only), do SCENARIO to them --runs times at seeded moments,
and let an independent checker count from the nodes' ledgers, the chain and the raft logs: slots due, missed, signed twice.
"all" is every scenario. --baselines does the same to two usual ways of doing the job: "leader signs" and "keepalived".

Scenarios:
` + drill.Describe() + `
Exit code 0 if nothing was signed twice, every run recovered, what is planned missed no slot, and production moved only when
something was done; 1 if not, 2 for wrong usage. How much a fault may cost is not judged: see the table.`,
		Args:      cobra.MinimumNArgs(1),
		ValidArgs: append(drill.Scenarios(), "all"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 && args[0] == "all" {
				args = drill.Scenarios()
			}
			if err := checkDrill(args, p); err != nil {
				return err
			}
			if !cmd.Flags().Changed("seed") {
				p.Seed = time.Now().UnixNano()
			}
			p.Progress = cmd.ErrOrStderr()
			ctx, stop := interruptible(cmd)
			defer stop()
			keep := p.Sandbox.Dir != ""
			if !keep {
				dir, err := os.MkdirTemp("", "roundtable-")
				if err != nil {
					return err
				}
				p.Sandbox.Dir = dir
			}
			var reports []drill.Report
			var failed error
			for _, name := range args {
				p.Scenario = name
				r, err := drill.Run(ctx, p)
				if r.Runs > 0 {
					reports = append(reports, r)
				}
				if failed = err; err != nil {
					break
				}
			}
			if len(reports) > 0 {
				drill.WriteTable(cmd.OutOrStdout(), reports)
				fmt.Fprintf(cmd.OutOrStdout(), "seed %d\n", p.Seed)
				failed = errors.Join(failed,
					writeReport(file, func(w io.Writer) error { return drill.WriteJSON(w, reports) }),
					writeReport(page, func(w io.Writer) error { return drill.WriteHTML(w, reports) }))
			}
			for _, r := range reports {
				if !r.Passed() {
					failed = errors.Join(failed, errDrill)
					break
				}
			}
			if !keep && os.Remove(p.Sandbox.Dir) != nil { // what was found to be in order has been removed
				fmt.Fprintf(cmd.ErrOrStderr(), "logs and ledgers of what was not in order are left in %s\n", p.Sandbox.Dir)
			}
			return failed
		},
	}
	f := c.Flags()
	f.IntVar(&p.Runs, "runs", 10, "how often")
	f.IntVar(&p.Only, "only", 0, "this run of them alone, to repeat it")
	f.DurationVar(&p.Length, "length", 0, "of every fault (default: each draws its own)")
	f.DurationVar(&p.Longest, "longest", 0, "no fault lasts longer (default: as each draws)")
	f.IntVar(&p.Parallel, "parallel", 1, "clusters at once, which share the runs")
	f.BoolVar(&p.Baselines, "baselines", false, "do the same to the usual ways of doing the job, and show them beside")
	f.Int64Var(&p.Seed, "seed", 0, "seed of the moments and choices, to repeat a drill (default: from the clock)")
	f.BoolVar(&p.Sandbox.Namespaces, "netns", false, "every member in a network namespace of its own; partitions drop packets in the kernel (needs root, iproute2 and nftables)")
	f.StringVar(&file, "json", "", "write the report to this file as well")
	f.StringVar(&page, "html", "", "write the report with each run's timeline to this file as a page")
	sandboxFlags(c, &p.Sandbox)
	c.AddCommand(drillReportCommand(), drillComposeCommand(), drillChainCommand())
	return c
}

// checkDrill says what is wrong before anything is started.
func checkDrill(names []string, p drill.Plan) error {
	for _, name := range names {
		if !slices.Contains(drill.Scenarios(), name) {
			return usagef("there are: "+strings.Join(drill.Scenarios(), ", ")+"; or all", "no scenario %q", name)
		}
	}
	switch {
	case p.Runs < 1:
		return usagef("how often it is done", "--runs %d", p.Runs)
	case p.Only < 0 || p.Only > p.Runs:
		return usagef("the number of a run, with the --runs and --seed of that drill", "--only %d of %d runs", p.Only, p.Runs)
	case p.Length < 0 || p.Longest < 0:
		return usagef("5s, say", "a fault cannot last %s", min(p.Length, p.Longest))
	}
	return nil
}

// writeReport writes a file; an empty name is none.
func writeReport(file string, write func(io.Writer) error) error {
	if file == "" {
		return nil
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}

// sandboxFlags are the flags of everything that starts a sandbox.
func sandboxFlags(c *cobra.Command, o *drill.Options) {
	f := c.Flags()
	f.IntVar(&o.Managers, "managers", 3, "how many managers")
	f.IntVar(&o.Producers, "producers", 1, "how many producers the chain has; one is ours, a node of the sandbox has the others")
	f.StringVar(&o.Dir, "dir", "", "where everything lives (default: a temporary folder, removed at the end)")
	f.StringVar(&o.Nodeos, "nodeos", "", "nodeos to run (default: simnodeos beside this program)")
	f.StringVar(&o.NodeosNext, "nodeos-next", "", "another version of it, to upgrade to (default: simnodeos under another name, or the same nodeos under another tag)")
	f.BoolVar(&o.Secure, "tls", false, "TLS, tokens and encrypted gossip, as an operator has it")
	f.DurationVar(&o.Latency, "latency", 0, "one-way latency between the members")
	f.StringVar(&o.LogLevel, "log-level", "info", "of the managers: debug, info, warn, error")
}

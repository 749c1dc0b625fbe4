// Command roundtable runs one manager of a cluster, or asks a running one.
//
// This package owns flags, wiring and what people read on a terminal, one file per subcommand; it decides nothing. Read
// run.go for a manager's life; client.go and output.go for the commands that ask one.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"roundtable/cluster"
	"roundtable/cmd/roundtable/config"
	"roundtable/node"
	"roundtable/node/gate"
)

// version is set by the linker: -X main.version=v1.2.3.
var version = "dev"

// The exit codes, a contract (design/surface.md).
const (
	exitDone        = 0
	exitFailed      = 1 // refused or failed
	exitUsage       = 2
	exitUnreachable = 3
	exitTimeout     = 4 // timed out, still running
)

const exitHelp = "Exit codes: 0 done, 1 refused or failed, 2 usage, 3 unreachable, 4 timed out (still running)"

// failure is an error with an exit code and a hint for the operator.
type failure struct {
	code    int
	message string
	hint    string
}

// Error is the message.
func (f *failure) Error() string { return f.message }

func usagef(hint, format string, args ...any) error {
	return &failure{exitUsage, fmt.Sprintf(format, args...), hint}
}

func main() { os.Exit(run(os.Args[1:], thisMachine())) }

// run is the program: it executes a command line and returns the exit code.
func run(args []string, m machine) int {
	started := false
	root := rootCommand(m)
	root.PersistentPreRun = func(*cobra.Command, []string) { started = true }
	root.SetArgs(args)
	cmd, err := root.ExecuteC()
	var f *failure
	if err != nil && !started && !errors.As(err, &f) { // cobra's own errors come before the command's
		err = usagef("see: "+cmd.CommandPath()+" --help", "%v", err)
	}
	return report(err, m.stderr)
}

func rootCommand(m machine) *cobra.Command {
	root := &cobra.Command{
		Use:   "roundtable",
		Short: "A cluster of block producing nodes that never signs a slot twice",
		Long: "Roundtable keeps one producer account signing on one of several nodes, hands production over without a missed slot,\n" +
			"fails over by itself, and never lets two nodes sign for the same slot.",
		SilenceUsage: true, SilenceErrors: true, Args: cobra.NoArgs,
		Version: version,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetIn(m.stdin)
	root.SetOut(m.stdout)
	root.SetErr(m.stderr)
	root.SetUsageFunc(printUsage)
	a := &app{machine: m}
	root.AddGroup(groups...)
	for group, commands := range map[string][]*cobra.Command{
		"look": {a.statusCommand(), a.membersCommand(), a.leaseCommand(), a.roundCommand(), a.raftCommand(), a.operationsCommand(), a.historyCommand(), a.eventsCommand()},
		"act":  {a.handoffCommand(), a.restartCommand(), a.upgradeCommand(), a.rolloutCommand(), a.backupCommand(), a.planCommand(), a.maintenanceCommand(), a.leaderCommand(), a.configCommand(), a.tokenCommand()},
		"run": {
			a.initCommand(), withExample(runCommand(), "roundtable run --home /var/lib/roundtable"), a.certificateCommand(), a.healthcheckCommand(), a.recoverCommand(),
		},
		"prove": {withExample(sandboxCommand(), "roundtable sandbox --for 1m\nroundtable sandbox --demo"), withExample(drillCommand(), "roundtable drill handoff --runs 50")},
		"self":  {a.contextCommand(), a.versionCommand()},
	} {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	root.AddCommand(a.workerCommand())
	root.SetHelpCommandGroupID("self")
	root.SetCompletionCommandGroupID("self")
	return root
}

// withExample is for commands that have none of their own.
func withExample(c *cobra.Command, example string) *cobra.Command {
	if c.Example == "" {
		c.Example = example
	}
	return c
}

// report prints an error for people and returns its exit code.
func report(err error, stderr io.Writer) int {
	if err == nil {
		return exitDone
	}
	if problems := config.Problems(err); len(problems) > 0 {
		for _, p := range problems {
			say(stderr, p.Error(), p.Hint)
		}
		return exitFailed
	}
	var f *failure
	if errors.As(err, &f) {
		say(stderr, err.Error(), f.hint)
		return f.code
	}
	var c *cluster.ConfigError
	if errors.As(err, &c) {
		say(stderr, strings.ReplaceAll(err.Error(), c.Error(), c.Message), c.Hint)
		return exitFailed
	}
	var n *node.ConfigError
	if errors.As(err, &n) {
		bare := &node.ConfigError{Key: n.Key, Text: n.Text}
		say(stderr, strings.ReplaceAll(err.Error(), n.Error(), bare.Error()), n.Hint)
		return exitFailed
	}
	if errors.Is(err, gate.ErrKeyFile) {
		say(stderr, err.Error(), "put one private key (5... or PVT_K1_...) on each line of signer.key_file, and see that only this user may read it")
		return exitFailed
	}
	say(stderr, err.Error(), "")
	return exitFailed
}

func say(w io.Writer, message, hint string) {
	lines := func(s string) string {
		list := strings.Split(scrub(s), "\n")
		for i, l := range list {
			list[i] = printable(l)
		}
		return strings.Join(list, "\n")
	}
	fmt.Fprintln(w, "error:", lines(message))
	if hint != "" {
		fmt.Fprintln(w, "hint:", lines(hint))
	}
}

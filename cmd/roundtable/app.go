package main

import (
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// flags are those that many commands have in common.
type flags struct {
	servers           []string
	home, ca, context string
	token, tokenFile  string
	output, color     string
	wait, yes         bool
	timeout           time.Duration
}

// app is what the commands share but `run` and the drills: how to reach a manager and how to print.
type app struct {
	machine
	flags    flags
	out, err *printer  // prepared before a command runs
	servers  []*server // the one that answered last first
}

// commonFlag marks the flags that many commands have, which help shows last.
const commonFlag = "roundtable_common"

// reaches adds the flags that say whom to ask.
func (a *app) reaches(f *pflag.FlagSet) {
	own := pflag.NewFlagSet("", pflag.ContinueOnError)
	own.StringSliceVar(&a.flags.servers, "server", nil, "`URL` of any member's API, or several: the next one is asked when one is slow; https://, http:// or unix:///PATH (ROUNDTABLE_SERVER)")
	own.StringVar(&a.flags.home, "home", "", "home `DIR` of a manager on this machine: its socket is asked, which needs no token (ROUNDTABLE_HOME)")
	own.StringVar(&a.flags.tokenFile, "token-file", "", "`FILE` with the token, - for stdin (ROUNDTABLE_TOKEN_FILE)")
	own.StringVar(&a.flags.token, "token", "", "the `TOKEN` itself, which others on this machine can see: rather --token-file, or ROUNDTABLE_TOKEN")
	own.StringVar(&a.flags.ca, "ca", "", "`FILE` with the cluster's CA certificate (ROUNDTABLE_CA)")
	mark(own, f)
}

// mark adds flags that help shows apart.
func mark(own, f *pflag.FlagSet) {
	own.VisitAll(func(flag *pflag.Flag) { flag.Annotations = map[string][]string{commonFlag: nil} })
	f.AddFlagSet(own)
}

// prints adds the flags of a command that shows something, and prepares it.
func (a *app) prints(cmd *cobra.Command) *cobra.Command {
	own := pflag.NewFlagSet("", pflag.ContinueOnError)
	own.StringVarP(&a.flags.output, "output", "o", "table", "table, json or yaml")
	own.StringVar(&a.flags.color, "color", "auto", "auto (on a terminal, unless NO_COLOR is set), always or never")
	mark(own, cmd.Flags())
	cmd.PreRunE = func(*cobra.Command, []string) error { return a.prepare() }
	for flag, values := range map[string][]string{"output": {"table", "json", "yaml"}, "color": {"auto", "always", "never"}} {
		_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)) // fails only without the flag
	}
	return cmd
}

// asks adds the flags of a command that asks a manager, and prepares it.
func (a *app) asks(cmd *cobra.Command) *cobra.Command {
	a.prints(cmd)
	own := cmd.Flags()
	a.reaches(own)
	one := pflag.NewFlagSet("", pflag.ContinueOnError)
	one.StringVar(&a.flags.context, "context", "", "`NAME` of a context, see: roundtable context (ROUNDTABLE_CONTEXT)")
	mark(one, own)
	_ = cmd.RegisterFlagCompletionFunc("context", a.completeContexts) // fails only without the flag
	cmd.PreRunE = func(*cobra.Command, []string) (err error) {
		if err = a.prepare(); err != nil {
			return err
		}
		a.servers, err = a.target()
		return err
	}
	return cmd
}

// prepare checks how to print.
func (a *app) prepare() error {
	switch a.flags.output {
	case "table", "json", "yaml":
	default:
		return usagef("", "--output must be table, json or yaml, not %q", a.flags.output)
	}
	switch a.flags.color {
	case "auto", "always", "never":
	default:
		return usagef("", "--color must be auto, always or never, not %q", a.flags.color)
	}
	a.out, a.err = a.printer(a.stdout), a.printer(a.stderr)
	return nil
}

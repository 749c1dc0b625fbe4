package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// The groups of commands in the help.
var groups = []*cobra.Group{
	{ID: "look", Title: "See how the cluster is:"},
	{ID: "act", Title: "Change something:"},
	{ID: "run", Title: "Run a manager:"},
	{ID: "prove", Title: "Try and prove it on this machine:"},
	{ID: "self", Title: "This program:"},
}

// helpWidth is the width of the flags' help.
const helpWidth = 100

// printUsage is the second part of a command's help.
func printUsage(cmd *cobra.Command) error {
	_, err := fmt.Fprint(cmd.OutOrStderr(), usage(cmd, true))
	return err
}

// usage says how a command is called; shared says whether also with which flags that most commands have.
func usage(cmd *cobra.Command, shared bool) string {
	var b strings.Builder
	b.WriteString("Usage:\n")
	if cmd.Runnable() && cmd.HasParent() {
		fmt.Fprintf(&b, "  %s\n", cmd.UseLine())
	}
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(&b, "  %s COMMAND\n", cmd.CommandPath())
	}
	if len(cmd.Aliases) > 0 {
		fmt.Fprintf(&b, "\nAliases:\n  %s\n", cmd.NameAndAliases())
	}
	if cmd.HasExample() {
		fmt.Fprintf(&b, "\nExamples:\n  %s\n", strings.ReplaceAll(cmd.Example, "\n", "\n  "))
	}
	list := func(title, group string) {
		any := false
		for _, c := range cmd.Commands() {
			if c.GroupID != group || !c.IsAvailableCommand() && c.Name() != "help" {
				continue
			}
			if !any {
				fmt.Fprintf(&b, "\n%s\n", title)
				any = true
			}
			fmt.Fprintf(&b, "  %-*s  %s\n", c.NamePadding(), c.Name(), c.Short)
		}
	}
	for _, g := range cmd.Groups() {
		list(g.Title, g.ID)
	}
	list("Commands:", "")
	if own := flagUsage(cmd, false); own != "" {
		fmt.Fprintf(&b, "\nFlags:\n%s", own)
	}
	if common := flagUsage(cmd, true); shared && common != "" {
		fmt.Fprintf(&b, "\nFlags of most commands:\n%s", common)
	}
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(&b, "\nMore about a command: %s COMMAND --help\n", cmd.CommandPath())
	}
	fmt.Fprintf(&b, "\n%s\n", exitHelp)
	return b.String()
}

// flagUsage describes a command's own flags, or those that most commands have.
func flagUsage(cmd *cobra.Command, common bool) string {
	set := pflag.NewFlagSet("", pflag.ContinueOnError)
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if _, is := f.Annotations[commonFlag]; is == common {
			set.AddFlag(f)
		}
	})
	if !set.HasAvailableFlags() {
		return ""
	}
	return set.FlagUsagesWrapped(helpWidth)
}

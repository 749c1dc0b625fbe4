package main

import (
	"bufio"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// mayAsk adds --yes to a command that destroys something.
func (a *app) mayAsk(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().BoolVarP(&a.flags.yes, "yes", "y", false, "do not ask; needed where there is no terminal")
	return cmd
}

// confirm asks on a terminal, and wants --yes elsewhere. It is called before anything is changed; question is made only
// where it is asked.
func (a *app) confirm(what string, question func() (string, error)) error {
	if a.flags.yes {
		return nil
	}
	if columns(a.stdin) == 0 {
		return usagef("say --yes", "to %s must be confirmed, and nobody can be asked here", what)
	}
	text, err := question()
	if err != nil {
		return err
	}
	fmt.Fprint(a.err, printable(text)+" [y/N] ")
	answer, err := bufio.NewReader(a.stdin).ReadString('\n')
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	if err != nil {
		a.err.line("")
	}
	return &failure{exitFailed, "nothing was changed", ""}
}

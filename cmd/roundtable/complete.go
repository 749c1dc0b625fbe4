package main

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"roundtable/api"
)

// completionTime is how long somebody who pressed TAB waits for the cluster.
const completionTime = time.Second

// complete asks the cluster for completions: v points to the list at the path, and words makes them of it. They come for
// one argument only. What goes wrong says nothing: a shell would take it for an answer.
func (a *app) complete(cmd *cobra.Command, args []string, path string, v any, words func() []string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTime)
	defer cancel()
	err := a.prepare()
	if err == nil {
		a.servers, err = a.target()
	}
	if err == nil {
		_, err = a.call(ctx, http.MethodGet, path, nil, v)
	}
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return words(), cobra.ShellCompDirectiveNoFileComp
}

func (a *app) completeMembers(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	var list []api.Member
	return a.complete(cmd, args, "/cluster/members", &list, func() (words []string) {
		for _, m := range list {
			words = append(words, cobra.CompletionWithDesc(m.ID, m.Role))
		}
		return words
	})
}

// completeMember completes a flag's value, whatever arguments there are.
func (a *app) completeMember(cmd *cobra.Command, _ []string, text string) ([]string, cobra.ShellCompDirective) {
	return a.completeMembers(cmd, nil, text)
}

func (a *app) completeOperations(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	var list []api.Operation
	return a.complete(cmd, args, "/cluster/operations", &list, func() (words []string) {
		for _, o := range list {
			words = append(words, cobra.CompletionWithDesc(o.ID, o.Kind+" "+aim(o)+", "+string(o.Outcome)))
		}
		return words
	})
}

func (a *app) completeContexts(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	all, err := a.contexts()
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return slices.Clip(all.names()), cobra.ShellCompDirectiveNoFileComp
}

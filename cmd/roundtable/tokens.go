package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"roundtable/api"
)

func (a *app) tokenCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "token", Aliases: []string{"tokens"}, Short: "Tokens for the API: who may look, operate and administer", Args: cobra.NoArgs,
		Long:    "Tokens say who asks and what they may: read looks, operate hands over and sets maintenance, admin changes who is in the cluster.\nThey are kept as hashes: a token is shown once, when it is made. All of this needs the role admin.",
		Example: "roundtable token create grafana --role read > grafana.token\nroundtable token list",
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.tokenListCommand(), a.tokenCreateCommand(), a.tokenRevokeCommand())
	return cmd
}

func (a *app) tokenListCommand() *cobra.Command {
	return a.asks(&cobra.Command{
		Use: "list", Short: "List the tokens, never their text", Args: cobra.NoArgs, Example: "roundtable token list",
		RunE: func(cmd *cobra.Command, _ []string) error {
			var list []api.Token
			return a.get(cmd.Context(), "/cluster/tokens", &list, func(w *printer) {
				rows := [][]any{}
				for _, t := range list {
					rows = append(rows, []any{t.ID, t.Name, t.Role, since(t.Created, a.now()), a.expiry(t.Expires), dash(t.Actor)})
				}
				w.table([]string{"id", "name", "role", "made", "expires", "by"}, rows)
			})
		},
	})
}

// expiry says when a token ends, or that it has.
func (a *app) expiry(t string) any {
	at, err := time.Parse(time.RFC3339, t)
	switch {
	case err != nil:
		return "never"
	case at.After(a.now()):
		return since(t, a.now())
	}
	return red("expired " + since(t, a.now()))
}

func (a *app) tokenCreateCommand() *cobra.Command {
	role, ttl := "", ""
	cmd := a.asks(&cobra.Command{
		Use: "create NAME", Aliases: []string{"add"}, Short: "Make a token; its text is printed this once", Args: cobra.ExactArgs(1),
		Long: "Makes a token and prints it, alone, to stdout: it is kept nowhere. The name stands in the history beside what is done with it.\n" +
			"Roles: read, operate, admin.",
		Example: "roundtable token create alice --role operate --ttl 90d > alice.token",
		RunE: func(cmd *cobra.Command, args []string) error {
			switch role {
			case "read", "operate", "admin":
			default:
				return usagef("read looks, operate hands over and sets maintenance, admin changes who is in the cluster", "--role must be read, operate or admin, not %q", role)
			}
			body := map[string]string{"name": args[0], "role": role}
			if ttl != "" {
				length, err := span("--ttl", ttl)
				if err != nil {
					return err
				}
				body["ttl"] = length
			}
			var v api.NewToken
			return a.change(cmd.Context(), http.MethodPost, "/cluster/tokens", body, &v, func(w *printer) {
				until := "without an end"
				if v.Expires != "" {
					until = "until " + moment(v.Expires)
				}
				a.err.line("token %s of %s, with the role %s, %s; this is the only time that it is shown:", v.ID, v.Name, v.Role, until)
				w.line("%s", v.Token)
			})
		},
	})
	cmd.Flags().StringVar(&role, "role", "", "read, operate or admin")
	cmd.Flags().StringVar(&ttl, "ttl", "", "how long it is good, such as 90d; default: until it is revoked")
	_ = cmd.RegisterFlagCompletionFunc("role", cobra.FixedCompletions([]string{"read", "operate", "admin"}, cobra.ShellCompDirectiveNoFileComp)) // fails only without the flag
	return cmd
}

func (a *app) tokenRevokeCommand() *cobra.Command {
	return a.mayAsk(a.asks(&cobra.Command{
		Use: "revoke ID", Aliases: []string{"remove", "rm"}, Short: "Refuse a token from now on", Args: cobra.ExactArgs(1),
		Long:    "Refuses a token from now on, and ends the streams that were opened with it. It is named by its id, or by its name where no\nother token has the same.",
		Example: "roundtable token revoke alice", ValidArgsFunction: a.completeTokens,
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := a.findToken(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if err := a.confirm("revoke a token", func() (string, error) {
				return fmt.Sprintf("Revoke token %s of %s, with the role %s?", t.ID, t.Name, t.Role), nil
			}); err != nil {
				return err
			}
			var v api.Removed
			return a.change(cmd.Context(), http.MethodDelete, "/cluster/tokens/"+url.PathEscape(t.ID), nil, &v, func(w *printer) { w.line("token %s of %s is revoked", v.ID, t.Name) })
		},
	}))
}

// findToken finds a token by its id or its name.
func (a *app) findToken(ctx context.Context, name string) (api.Token, error) {
	var list, found []api.Token
	if _, err := a.call(ctx, http.MethodGet, "/cluster/tokens", nil, &list); err != nil {
		return api.Token{}, err
	}
	var ids []string
	for _, t := range list {
		switch name {
		case t.ID:
			return t, nil
		case t.Name:
			found, ids = append(found, t), append(ids, t.ID)
		}
	}
	switch len(found) {
	case 0:
		return api.Token{}, &failure{exitFailed, fmt.Sprintf("no token %q", name), "list them with: roundtable token list"}
	case 1:
		return found[0], nil
	}
	return api.Token{}, usagef("say which: "+strings.Join(ids, ", "), "%d tokens are named %q", len(found), name)
}

func (a *app) completeTokens(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	var list []api.Token
	return a.complete(cmd, args, "/cluster/tokens", &list, func() (words []string) {
		for _, t := range list {
			words = append(words, cobra.CompletionWithDesc(t.ID, t.Name+", "+t.Role))
		}
		return words
	})
}

package main

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"
)

func (a *app) healthcheckCommand() *cobra.Command {
	role := ""
	cmd := a.asks(&cobra.Command{
		Use: "healthcheck", Aliases: []string{"health"}, Short: "Ask one manager about its health; the exit code is the answer", Args: cobra.NoArgs,
		Example: "roundtable healthcheck --role ready --home /var/lib/roundtable",
		Long: "Asks the first --server only. Roles:\n" +
			"  live     the program answers\n" +
			"  ready    it is a member, knows the leader, and its node runs\n" +
			"  synced   its node is healthy and its head near the best one\n" +
			"  holder   it holds the lease for the slot now\n" +
			"  standby  it does not, and could be given it\n" +
			"  leader   it leads the raft group",
		RunE: func(cmd *cobra.Command, _ []string) error {
			one := *a
			one.servers = a.servers[:1]
			r, err := one.ask(cmd.Context(), http.MethodGet, "/health/"+url.PathEscape(role), nil)
			if err != nil {
				return err
			}
			switch r.status {
			case http.StatusOK:
				a.out.line("%s: ok", role)
				return nil
			case http.StatusServiceUnavailable:
				return &failure{exitFailed, "not " + role + ": " + strings.TrimSpace(string(r.body)), ""}
			case http.StatusNotFound:
				return usagef("the roles are: live, ready, synced, holder, standby, leader", "--role %q is not known", role)
			}
			return refused(r)
		},
	})
	cmd.Flags().StringVar(&role, "role", "live", "live, ready, synced, holder, standby or leader")
	return cmd
}

package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"roundtable/api"
	"roundtable/cluster"
)

func (a *app) membersCommand() *cobra.Command {
	cmd := a.asks(&cobra.Command{
		Use: "members", Aliases: []string{"member"}, Short: "The members, their nodes and whether they could hold the lease; add and remove them", Args: cobra.NoArgs,
		Example: "roundtable members",
		RunE: func(cmd *cobra.Command, _ []string) error {
			var list []api.Member
			return a.get(cmd.Context(), "/cluster/members", &list, func(w *printer) {
				printMembers(w, list, true)
				w.line("")
				rows := [][]any{}
				for _, m := range list {
					rows = append(rows, []any{m.ID, dash(m.API), dash(m.Raft), dash(m.P2P), settings(m), dash(m.Fence), dash(m.Version), dash(m.NodeVersion), runs(m.Home), since(m.Started, a.now())})
				}
				w.table([]string{"member", "api", "raft", "p2p", "set", "fence", "version", "nodeos", "runs", "started"}, rows)
			})
		},
	})
	cmd.AddCommand(a.memberAddCommand(), a.memberRemoveCommand(), a.memberSetCommand(),
		a.voteCommand("promote", "Give a member its vote in the raft group", "Gives a demoted member its vote back, once it has the newest entries.", "voter"),
		a.voteCommand("demote", "Take a member's vote in the raft group", "Takes a member's vote: it follows, and may still hold the lease. The cluster then survives fewer losses.", "nonvoter"))
	return cmd
}

// runs is which version and configuration a member's node runs, and what it is to run or waits for beside.
func runs(h *api.Home) any {
	if h == nil {
		return "-"
	}
	text, wants := dash(h.RunsTag), false
	if h.Tag != "" && h.Tag != h.RunsTag {
		text, wants = text+" -> "+h.Tag, true
	}
	if h.RunsConfig != "" {
		text += ", config " + short8(h.RunsConfig)
	}
	switch {
	case h.Offers != "" && h.Offers == h.Refused:
		return red(text + ", " + short8(h.Offers) + " failed")
	case h.Offers != "":
		return yellow(text + ", " + short8(h.Offers) + " waits")
	case wants:
		return yellow(text)
	}
	return text
}

// short8 is enough of a hash to tell it from others.
func short8(hash string) string { return hash[:min(len(hash), 8)] }

// settings is what an operator set on a member.
func settings(m api.Member) any {
	var list []string
	if m.Priority != 0 {
		list = append(list, "priority "+strconv.Itoa(m.Priority))
	}
	if m.NoFailover {
		list = append(list, "nofailover")
	}
	if m.Maintenance {
		list = append(list, "maintenance")
	}
	if len(list) == 0 {
		return "-"
	}
	return yellow(strings.Join(list, ", "))
}

func memberPath(id string) string { return "/cluster/members/" + url.PathEscape(id) }

func (a *app) memberAddCommand() *cobra.Command {
	ttl := "1h"
	cmd := a.waits(a.asks(&cobra.Command{
		Use: "add ID", Short: "Invite a member: prints the string that it joins with", Args: cobra.ExactArgs(1),
		Long: "Invites a member under the id that it is to have, and prints the string that it joins with. The string is a secret until it\n" +
			"was used, works once, and ends after --ttl. With --wait: until the member has joined and votes. Needs the role admin.",
		Example: "roundtable members add m4\nroundtable members add m4 --ttl 24h --wait",
		RunE: func(cmd *cobra.Command, args []string) error {
			length, err := span("--ttl", ttl)
			if err != nil {
				return err
			}
			var v api.Invited
			err = a.change(cmd.Context(), http.MethodPost, "/cluster/members", map[string]string{"id": args[0], "ttl": length}, &v, func(w *printer) {
				w.line("%s is invited until %s (%s). On its machine:", v.ID, moment(v.Expires), since(v.Expires, a.now()))
				w.line("")
				w.line("    roundtable init --home /var/lib/roundtable --join %s", v.Join)
				w.line("    roundtable run --home /var/lib/roundtable")
				w.line("")
				w.line("The string is a secret until it was used, and works once.")
			})
			if err != nil {
				return err
			}
			return a.waitFor(cmd, "the joining of "+v.ID, func(ctx context.Context) (string, error) {
				var m api.Member
				if _, err := a.call(ctx, http.MethodGet, memberPath(v.ID), nil, &m); err != nil {
					return v.ID + " has not joined yet", err
				}
				if !m.Alive {
					return v.ID + " has joined and is not heard yet", nil
				}
				return a.suffrage(ctx, v.ID, "voter")
			}, v.ID+" has joined and votes")
		},
	}))
	cmd.Flags().StringVar(&ttl, "ttl", ttl, "how long the invitation lasts, up to 7d")
	return cmd
}

func (a *app) memberRemoveCommand() *cobra.Command {
	return a.mayAsk(a.waits(a.asks(&cobra.Command{
		Use: "remove ID", Aliases: []string{"rm"}, Short: "Remove a member for good", Args: cobra.ExactArgs(1),
		Long: "Removes a member from the raft group and the state. Its id and its certificate are refused from then on, until it is invited\n" +
			"again. The holder is refused: hand production over first. Needs the role admin.",
		Example:           "roundtable members remove m3\nroundtable members remove m3 --yes --wait",
		ValidArgsFunction: a.completeMembers,
		RunE: func(cmd *cobra.Command, args []string) error {
			id := args[0]
			if err := a.confirm("remove "+id, func() (string, error) { return a.removal(cmd.Context(), id) }); err != nil {
				return err
			}
			var v api.Removed
			if err := a.change(cmd.Context(), http.MethodDelete, memberPath(id), nil, &v, func(w *printer) {
				w.line("%s is removed: stop its manager and its node, they may not come back without a new invitation", v.ID)
			}); err != nil {
				return err
			}
			return a.waitFor(cmd, "the removal of "+id, func(ctx context.Context) (string, error) { return a.suffrage(ctx, id, "") }, id+" is out of the raft group")
		},
	})))
}

// removal asks whether a removal is meant, and says what it would leave.
func (a *app) removal(ctx context.Context, id string) (string, error) {
	var o api.Overview
	if _, err := a.call(ctx, http.MethodGet, "/cluster", nil, &o); err != nil {
		return "", err
	}
	i := slices.IndexFunc(o.Members, func(m api.Member) bool { return m.ID == id })
	if i < 0 {
		return fmt.Sprintf("%s is no member of %s. Remove it all the same?", id, dash(o.Cluster)), nil
	}
	how := "is not alive"
	if o.Members[i].Alive {
		how = "is alive, a " + o.Members[i].Role
	}
	return fmt.Sprintf("Remove %s from %s, leaving %s? It %s, and comes back only with a new invitation.", id, dash(o.Cluster), count(len(o.Members)-1, "member"), how), nil
}

func (a *app) memberSetCommand() *cobra.Command {
	priority, nofailover := 0, false
	cmd := a.asks(&cobra.Command{
		Use: "set ID", Short: "Set how a member is chosen when production moves by itself", Args: cobra.ExactArgs(1),
		Long:              "Sets a member's priority (of the fit ones the highest is chosen) or that production never moves to it by itself (nofailover);\nplanned handoffs may still name it. Needs the role operate.",
		Example:           "roundtable members set m2 --priority 10\nroundtable members set m3 --nofailover=false",
		ValidArgsFunction: a.completeMembers,
		RunE: func(cmd *cobra.Command, args []string) error {
			body := map[string]any{}
			if cmd.Flags().Changed("priority") {
				body["priority"] = priority
			}
			if cmd.Flags().Changed("nofailover") {
				body["nofailover"] = nofailover
			}
			if len(body) == 0 {
				return usagef("--priority N, --nofailover or --nofailover=false", "nothing to set is named")
			}
			var v api.MemberSet
			return a.change(cmd.Context(), http.MethodPatch, memberPath(args[0]), body, &v, func(w *printer) {
				w.line("%s: priority %d, nofailover %v", v.Member.ID, v.Member.Priority, v.Member.NoFailover)
			})
		},
	})
	cmd.Flags().IntVar(&priority, "priority", 0, "the higher, the sooner it is chosen")
	cmd.Flags().BoolVar(&nofailover, "nofailover", false, "production never moves to it by itself")
	return cmd
}

func (a *app) voteCommand(name, short, long, suffrage string) *cobra.Command {
	return a.waits(a.asks(&cobra.Command{
		Use: name + " ID", Short: short, Args: cobra.ExactArgs(1), Long: long + "\nWith --wait: until raft has it so. Needs the role admin.",
		Example: "roundtable members " + name + " m3 --wait", ValidArgsFunction: a.completeMembers,
		RunE: func(cmd *cobra.Command, args []string) error {
			id := args[0]
			var v api.MemberSet
			if err := a.change(cmd.Context(), http.MethodPatch, memberPath(id), map[string]bool{"voter": suffrage == "voter"}, &v, func(w *printer) {
				w.line("%s is to be a %s", v.Member.ID, suffrage)
			}); err != nil {
				return err
			}
			return a.waitFor(cmd, "the change of "+id, func(ctx context.Context) (string, error) { return a.suffrage(ctx, id, suffrage) }, id+" is a "+suffrage)
		},
	}))
}

// suffrage looks for a member in the raft group: want is voter, nonvoter, or "" for out of it. What is missing is "" when
// it is so.
func (a *app) suffrage(ctx context.Context, id, want string) (missing string, err error) {
	var s cluster.RaftStatus
	if _, err := a.call(ctx, http.MethodGet, "/cluster/raft", nil, &s); err != nil {
		return "the raft group is not known", err
	}
	is := ""
	if i := slices.IndexFunc(s.Peers, func(p cluster.RaftPeer) bool { return p.ID == id }); i >= 0 {
		is = s.Peers[i].Suffrage
	}
	switch {
	case is == want && len(s.Peers) > 0:
		return "", nil
	case is == "":
		return id + " is not in the raft group", nil
	}
	return id + " is a " + is + " of the raft group", nil
}

// spans puts those of the flags that were given into a body.
func spans(body map[string]any, flags map[string]string) error {
	for name, text := range flags {
		if text == "" {
			continue
		}
		length, err := span("--"+name, text)
		if err != nil {
			return err
		}
		body[name] = length
	}
	return nil
}

// span reads a length of time that may be in days, and writes it as the API takes it.
func span(flag, text string) (string, error) {
	if n, err := strconv.ParseUint(strings.TrimSuffix(text, "d"), 10, 16); err == nil && strings.HasSuffix(text, "d") {
		return fmt.Sprintf("%dh", n*24), nil
	}
	if d, err := time.ParseDuration(text); err != nil || d <= 0 {
		return "", usagef("such as 1h or 30d", "%s %q is not a length of time", flag, text)
	}
	return text, nil
}

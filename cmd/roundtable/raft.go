package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"roundtable/api"
	"roundtable/cluster"
)

func (a *app) raftCommand() *cobra.Command {
	all := false
	cmd := a.asks(&cobra.Command{
		Use: "raft", Short: "The raft group as a member sees it, or as every member does", Args: cobra.NoArgs, Example: "roundtable raft --all",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if all {
				var list []api.RaftAll
				return a.get(cmd.Context(), "/cluster/raft?all=true", &list, func(w *printer) { printRaft(w, list) })
			}
			var s cluster.RaftStatus
			return a.get(cmd.Context(), "/cluster/raft", &s, func(w *printer) {
				printRaft(w, []api.RaftAll{{Member: s.ID, Raft: &s}})
				w.line("")
				printPeers(w, s)
			})
		},
	})
	cmd.Flags().BoolVar(&all, "all", false, "ask every member")
	return cmd
}

func printRaft(w *printer, list []api.RaftAll) {
	rows := [][]any{}
	for _, m := range list {
		if m.Raft == nil {
			rows = append(rows, []any{m.Member, red("no answer")})
			continue
		}
		s := m.Raft
		contact := "never"
		if s.LastContactMs >= 0 {
			contact = fmt.Sprintf("%d ms", s.LastContactMs)
		}
		rows = append(rows, []any{
			m.Member, s.State, s.Term, dash(s.Leader), s.LastIndex, s.CommitIndex, s.AppliedIndex, contact, fmt.Sprintf("%.1f MiB", float64(s.LogBytes)/(1<<20)),
			len(s.Snapshots), bad(s.Stalled),
		})
	}
	w.table([]string{"member", "state", "term", "leader", "last", "commit", "applied", "contact", "folder", "snapshots", "stalled"}, rows)
	for _, m := range list {
		if m.Raft == nil {
			w.line("%s: %s", m.Member, m.Error)
		}
	}
}

func printPeers(w *printer, s cluster.RaftStatus) {
	rows := [][]any{}
	for _, p := range s.Peers {
		rows = append(rows, []any{p.ID, p.Address, p.Suffrage, good(p.Alive), p.AppliedIndex})
	}
	w.table([]string{"server", "address", "suffrage", "alive", "applied"}, rows)
}

package main

import (
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"roundtable/api"
	"roundtable/cluster"
)

func (a *app) raftCommand() *cobra.Command {
	all := false
	cmd := a.client(&cobra.Command{
		Use: "raft", Short: "The raft group as a member sees it, or as every member does", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if all {
				var list []api.RaftAll
				return a.get(cmd.Context(), "/cluster/raft?all=true", &list, func(w io.Writer) { printRaft(w, list) })
			}
			var s cluster.RaftStatus
			return a.get(cmd.Context(), "/cluster/raft", &s, func(w io.Writer) {
				printRaft(w, []api.RaftAll{{Member: s.ID, Raft: &s}})
				fmt.Fprintln(w)
				printPeers(w, s)
			})
		},
	})
	cmd.Flags().BoolVar(&all, "all", false, "ask every member")
	return cmd
}

func printRaft(w io.Writer, list []api.RaftAll) {
	rows := [][]string{}
	for _, m := range list {
		if m.Raft == nil {
			rows = append(rows, []string{m.Member, "no answer"})
			continue
		}
		s := m.Raft
		contact := "never"
		if s.LastContactMs >= 0 {
			contact = fmt.Sprintf("%d ms", s.LastContactMs)
		}
		rows = append(rows, []string{
			m.Member, s.State, strconv.FormatUint(s.Term, 10), dash(s.Leader), strconv.FormatUint(s.LastIndex, 10), strconv.FormatUint(s.CommitIndex, 10),
			strconv.FormatUint(s.AppliedIndex, 10), contact, fmt.Sprintf("%.1f MiB", float64(s.LogBytes)/(1<<20)), strconv.Itoa(len(s.Snapshots)), yesNo(s.Stalled),
		})
	}
	printTable(w, []string{"member", "state", "term", "leader", "last", "commit", "applied", "contact", "folder", "snapshots", "stalled"}, rows)
	for _, m := range list {
		if m.Raft == nil {
			printf(w, "%s: %s", m.Member, m.Error)
		}
	}
}

func printPeers(w io.Writer, s cluster.RaftStatus) {
	rows := [][]string{}
	for _, p := range s.Peers {
		rows = append(rows, []string{p.ID, p.Address, p.Suffrage, yesNo(p.Alive), strconv.FormatUint(p.AppliedIndex, 10)})
	}
	printTable(w, []string{"server", "address", "suffrage", "alive", "applied"}, rows)
}

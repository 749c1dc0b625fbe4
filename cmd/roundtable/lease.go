package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"roundtable/api"
)

func (a *app) leaseCommand() *cobra.Command {
	return a.asks(&cobra.Command{
		Use: "lease", Short: "Who may sign, up to which slot, why, and who could be next", Args: cobra.NoArgs, Example: "roundtable lease",
		RunE: func(cmd *cobra.Command, _ []string) error {
			var l api.Lease
			return a.get(cmd.Context(), "/cluster/lease", &l, func(w *printer) { printLease(w, l) })
		},
	})
}

// shownLeases is how many earlier leases the table shows.
const shownLeases = 8

func printLease(w *printer, l api.Lease) {
	w.para("", "lease     ", leaseLine(l))
	if l.Epoch > 0 {
		w.para("", "granted   ", fmt.Sprintf("from slot %d (%s); now is slot %d", l.First, moment(l.FirstAt), l.Slot))
	}
	w.line("")
	rows := [][]any{}
	for i, c := range l.Candidates {
		rows = append(rows, []any{i + 1, c.Member, good(c.Fit), dash(c.Reason)})
	}
	w.table([]string{"#", "candidate", "fit", "reason"}, rows)
	if len(l.Past) == 0 {
		return
	}
	w.line("")
	rows = [][]any{}
	for _, p := range l.Past[:min(len(l.Past), shownLeases)] {
		end := "used up"
		if p.Released {
			end = "released"
		}
		rows = append(rows, []any{p.Epoch, p.Holder, p.First, p.Last, moment(p.FirstAt), end})
	}
	w.table([]string{"epoch", "holder", "first", "last", "from", "end"}, rows)
}

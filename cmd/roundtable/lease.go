package main

import (
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"roundtable/api"
)

func (a *app) leaseCommand() *cobra.Command {
	return a.client(&cobra.Command{
		Use: "lease", Short: "Who may sign, up to which slot, why, and who could be next", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var l api.Lease
			return a.get(cmd.Context(), "/cluster/lease", &l, func(w io.Writer) { printLease(w, l) })
		},
	})
}

// shownLeases is how many earlier leases the table shows.
const shownLeases = 8

func printLease(w io.Writer, l api.Lease) {
	printf(w, "lease     %s", leaseLine(l))
	if l.Epoch > 0 {
		printf(w, "granted   from slot %d (%s); now is slot %d", l.First, moment(l.FirstAt), l.Slot)
	}
	fmt.Fprintln(w)
	rows := [][]string{}
	for i, c := range l.Candidates {
		rows = append(rows, []string{strconv.Itoa(i + 1), c.Member, yesNo(c.Fit), dash(c.Reason)})
	}
	printTable(w, []string{"#", "candidate", "fit", "reason"}, rows)
	if len(l.Past) == 0 {
		return
	}
	fmt.Fprintln(w)
	rows = [][]string{}
	for _, p := range l.Past[:min(len(l.Past), shownLeases)] {
		end := "used up"
		if p.Released {
			end = "released"
		}
		rows = append(rows, []string{strconv.FormatUint(p.Epoch, 10), p.Holder, p.First.String(), p.Last.String(), moment(p.FirstAt), end})
	}
	printTable(w, []string{"epoch", "holder", "first", "last", "from", "end"}, rows)
}

package main

import (
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"roundtable/api"
)

func (a *app) roundCommand() *cobra.Command {
	return a.client(&cobra.Command{
		Use: "round", Short: "The production round: where our producers stand, and the slots of the last windows", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var r api.Round
			return a.get(cmd.Context(), "/cluster/round", &r, func(w io.Writer) { printRound(w, r) })
		},
	})
}

// shownWindows is how many windows the table shows.
const shownWindows = 12

func printRound(w io.Writer, r api.Round) {
	printf(w, "round     %s", roundLine(r))
	if r.Window > 0 {
		printf(w, "window    %d, from slot %d (%s)", r.Window, r.WindowFirst, clock(r.WindowFirstAt))
	}
	fmt.Fprintln(w)
	rows := [][]string{}
	for _, x := range r.Windows[:min(len(r.Windows), shownWindows)] {
		rows = append(rows, []string{x.Producer, x.First.String(), moment(x.FirstAt), strconv.Itoa(x.Due), strconv.Itoa(x.Signed), strconv.Itoa(x.Missed)})
	}
	printTable(w, []string{"producer", "first slot", "at", "due", "signed", "missed"}, rows)
}

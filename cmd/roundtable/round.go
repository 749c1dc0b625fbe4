package main

import (
	"strconv"

	"github.com/spf13/cobra"

	"roundtable/api"
)

func (a *app) roundCommand() *cobra.Command {
	return a.asks(&cobra.Command{
		Use: "round", Short: "The production round: where our producers stand, and the slots of the last windows", Args: cobra.NoArgs, Example: "roundtable round",
		RunE: func(cmd *cobra.Command, _ []string) error {
			var r api.Round
			return a.get(cmd.Context(), "/cluster/round", &r, func(w *printer) { printRound(w, r) })
		},
	})
}

// shownWindows is how many windows the table shows.
const shownWindows = 12

func printRound(w *printer, r api.Round) {
	w.para("", "round     ", roundLine(r))
	if r.Window > 0 {
		w.line("window    %d, from slot %d (%s)", r.Window, r.WindowFirst, clock(r.WindowFirstAt))
	}
	w.line("")
	rows := [][]any{}
	for _, x := range r.Windows[:min(len(r.Windows), shownWindows)] {
		rows = append(rows, []any{x.Producer, x.First, moment(x.FirstAt), x.Due, x.Signed, missed(x.Missed)})
	}
	w.table([]string{"producer", "first slot", "at", "due", "signed", "missed"}, rows)
}

// missed is a number of slots that nobody signed.
func missed(n int) any {
	if n > 0 {
		return red(strconv.Itoa(n))
	}
	return n
}

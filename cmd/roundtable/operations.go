package main

import (
	"fmt"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"roundtable/api"
	"roundtable/fsm"
)

func (a *app) operationsCommand() *cobra.Command {
	cmd := a.asks(&cobra.Command{
		Use: "operations [ID]", Aliases: []string{"operation"}, Short: "Operations, running and ended; or one of them with its steps", Args: cobra.MaximumNArgs(1),
		Example:           "roundtable operations\nroundtable operations 70",
		ValidArgsFunction: a.completeOperations,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				var o api.Operation
				return a.get(cmd.Context(), operationPath(args[0]), &o, func(w *printer) { printOperation(w, o) })
			}
			var list []api.Operation
			return a.get(cmd.Context(), "/cluster/operations", &list, func(w *printer) { a.printOperations(w, list) })
		},
	})
	cmd.AddCommand(a.cancelCommand())
	return cmd
}

func (a *app) cancelCommand() *cobra.Command {
	return a.asks(&cobra.Command{
		Use: "cancel ID", Short: "Cancel a running operation, where it can still be left", Args: cobra.ExactArgs(1),
		Long:              "Cancels a running operation. Once production is being moved it is refused: then the operation ends by itself within seconds.",
		Example:           "roundtable operations cancel 70",
		ValidArgsFunction: a.completeOperations,
		RunE: func(cmd *cobra.Command, args []string) error {
			var o api.Operation
			return a.change(cmd.Context(), http.MethodDelete, operationPath(args[0]), nil, &o, func(w *printer) { w.line("%s %s %s", o.Kind, o.ID, o.Outcome) })
		},
	})
}

func operationPath(id string) string { return "/cluster/operations/" + url.PathEscape(id) }

func (a *app) printOperations(w *printer, list []api.Operation) {
	rows := [][]any{}
	for _, o := range list {
		rows = append(rows, []any{o.ID, o.Kind, o.From, o.To, o.When, outcomeInk(o.Outcome), since(o.Started, a.now()), fmt.Sprintf("%.2f s", o.Seconds), dash(firstOf(o.Step, o.Reason))})
	}
	w.table([]string{"id", "kind", "from", "to", "when", "outcome", "started", "took", "step or reason"}, rows)
}

// outcomeInk shows an outcome in its colour.
func outcomeInk(o fsm.Outcome) any {
	switch o {
	case fsm.Running:
		return yellow(string(o))
	case fsm.Failed, fsm.Expired:
		return red(string(o))
	}
	return string(o)
}

func printOperation(w *printer, o api.Operation) {
	w.line("%s %s: %s -> %s (%s), asked by %s, %s", o.Kind, o.ID, o.From, o.To, o.When, dash(doer(o.Actor, o.By)), moment(o.Started))
	reason := ""
	if o.Reason != "" {
		reason = ": " + o.Reason
	}
	w.line("%s%s, %.2f s", outcomeInk(o.Outcome), reason, o.Seconds)
	w.line("")
	rows := [][]any{}
	for _, s := range o.Steps {
		rows = append(rows, []any{s.Name, firstOf(s.Assignee, "the leader"), clock(s.Since), fmt.Sprintf("%.3f s", s.Seconds)})
	}
	w.table([]string{"step", "by", "since", "took"}, rows)
}

package main

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"roundtable/api"
	"roundtable/fsm"
)

func (a *app) operationsCommand() *cobra.Command {
	follow := false
	cmd := a.asks(&cobra.Command{
		Use: "operations [ID]", Aliases: []string{"operation"}, Short: "Operations, running and ended; or one of them with its steps", Args: cobra.MaximumNArgs(1),
		Long: "Shows the operations under way and the newest that ended, or one with its steps. With --follow: that one, or the one under way, until\n" +
			"it ends; the exit code tells the outcome. ^C ends only the showing.",
		Example:           "roundtable operations\nroundtable operations 70\nroundtable operations 70 --follow",
		ValidArgsFunction: a.completeOperations,
		RunE: func(cmd *cobra.Command, args []string) error {
			if follow {
				return a.followOperation(cmd, args)
			}
			if len(args) == 1 {
				var o api.Operation
				return a.get(cmd.Context(), operationPath(args[0]), &o, func(w *printer) { printOperation(w, o) })
			}
			var list []api.Operation
			return a.get(cmd.Context(), "/cluster/operations", &list, func(w *printer) { a.printOperations(w, list) })
		},
	})
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "show how it goes on, until it has ended")
	cmd.AddCommand(a.cancelCommand())
	return cmd
}

// followOperation follows the operation that is named, or the one that is under way.
func (a *app) followOperation(cmd *cobra.Command, args []string) error {
	ctx, stop := interruptible(cmd)
	defer stop()
	if len(args) == 1 {
		var o api.Operation
		if _, err := a.call(ctx, http.MethodGet, operationPath(args[0]), nil, &o); err != nil {
			return err
		}
		return a.ride(ctx, o.ID, 0)
	}
	var list []api.Operation
	raw, err := a.call(ctx, http.MethodGet, "/cluster/operations", nil, &list)
	if err != nil {
		return err
	}
	var running []string
	for _, o := range list {
		if o.Outcome == fsm.Running && o.Parent == "" {
			running = append(running, o.ID)
		}
	}
	switch len(running) {
	case 0:
		return a.show(raw, func(w *printer) { w.line("no operation is under way") })
	case 1:
		return a.ride(ctx, running[0], 0)
	}
	return usagef("name one of them", "several are under way: %s", strings.Join(running, ", "))
}

func (a *app) cancelCommand() *cobra.Command {
	return a.asks(&cobra.Command{
		Use: "cancel ID", Short: "Cancel a running operation, where it can still be left", Args: cobra.ExactArgs(1),
		Long: "Cancels a running operation. A handoff: until production is being moved; then it ends by itself within seconds. A restart, an\n" +
			"upgrade or a rollout: at once where no node is stopped, else after the member at work; those that are through stay as they are.\n" +
			"One on a backup: at once where no node is stopped, else when that is back; a restore, until the node's data is being replaced.",
		Example:           "roundtable operations cancel 70",
		ValidArgsFunction: a.completeOperations,
		RunE: func(cmd *cobra.Command, args []string) error {
			var o api.Operation
			return a.change(cmd.Context(), http.MethodDelete, operationPath(args[0]), nil, &o, func(w *printer) {
				if o.Outcome == fsm.Running && onBackup(o) {
					w.line("%s %s stops when the node is back: %s", o.Kind, o.ID, doing(o))
					return
				}
				if o.Outcome == fsm.Running {
					w.line("%s %s stops after the member at work: %s", o.Kind, o.ID, doing(o))
					return
				}
				w.line("%s %s %s%s", o.Kind, o.ID, o.Outcome, left(o, ""))
			})
		},
	})
}

func operationPath(id string) string { return "/cluster/operations/" + url.PathEscape(id) }

// aim says in a few words what an operation is to do.
func aim(o api.Operation) string {
	members := strings.Join(o.Members, ", ")
	switch {
	case onBackup(o):
		return taskAim(o)
	case o.Parent != "":
		return fmt.Sprintf("%s -> %s, of %s", o.From, o.To, o.Parent)
	case o.To != "":
		return fmt.Sprintf("%s -> %s (%s)", o.From, o.To, o.When)
	case o.Tag != "":
		return "to " + o.Tag + ": " + members
	}
	return members
}

// doing is what an operation does now, and why it does not go on; a server of an older version has only the step.
func doing(o api.Operation) string {
	text := firstOf(o.Message, o.Step)
	if o.Outcome == fsm.Running && o.Reason != "" {
		text += ", waits: " + o.Reason
	}
	return text
}

func (a *app) printOperations(w *printer, list []api.Operation) {
	rows := [][]any{}
	for _, o := range list {
		step := "-"
		switch {
		case o.Outcome == fsm.Running:
			step = doing(o)
		case o.Reason != "":
			step = inShort(o.Reason)
		}
		rows = append(rows, []any{o.ID, o.Kind, aim(o), outcomeInk(o.Outcome), since(o.Started, a.now()), fmt.Sprintf("%.2f s", o.Seconds), step})
	}
	w.table([]string{"id", "kind", "what", "outcome", "started", "took", "step or reason"}, rows)
}

// maxReason is how many characters of a reason a list has.
const maxReason = 100

// inShort is the beginning of a reason: the operation by itself has all of it.
func inShort(reason string) string {
	if runes := []rune(reason); len(runes) > maxReason {
		return strings.TrimSpace(string(runes[:maxReason])) + " ..."
	}
	return reason
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
	w.line("%s %s: %s, asked by %s, %s", o.Kind, o.ID, aim(o), dash(doer(o.Actor, o.By)), moment(o.Started))
	how := ""
	switch {
	case o.Outcome != fsm.Running && o.Reason != "":
		how = ": " + reason(o)
	case o.Outcome == fsm.Running && stepped(o):
		how = fmt.Sprintf(", %d %%: %s", o.Percent, doing(o))
	}
	w.line("%s%s, %.2f s", outcomeInk(o.Outcome), how, o.Seconds)
	if rest := left(o, ""); rest != "" {
		w.line("%s", strings.TrimPrefix(rest, "; "))
	}
	if o.Outcome == fsm.Running && o.Deadline != "" {
		w.line("this step may take until %s; then it counts as failed", moment(o.Deadline))
	}
	w.line("")
	printSteps(w, o)
}

// printSteps shows the steps; of a rolling operation with what each member made of them.
func printSteps(w *printer, o api.Operation) {
	header, rows := []string{"step", "by", "since", "took"}, [][]any{}
	if stepped(o) {
		header = append(header, "what came of it")
	}
	for i, s := range o.Steps {
		current := o.Outcome == fsm.Running && i+1 == len(o.Steps)
		row := []any{s.Name, strings.Trim(strings.Replace(doers(s), "(leader)", "the leader", 1), "()"), clock(s.Since), fmt.Sprintf("%.3f s", s.Seconds)}
		if !stepped(o) {
			rows = append(rows, row)
			continue
		}
		if len(s.Parts) == 1 {
			rows = append(rows, append(row, partInk(s.Parts[0], current)))
			continue
		}
		rows = append(rows, append(row, ""))
		for _, p := range s.Parts {
			rows = append(rows, []any{"", p.Member, clock(p.Ended), "", partInk(p, current)})
		}
	}
	w.table(header, rows)
}

// partInk shows what came of a part, or how far it is in the current step; in one that is over it may not have ended.
func partInk(p api.Part, current bool) any {
	switch {
	case p.Fault != "":
		return red(partLine(p))
	case p.Ended == "" && !current:
		return strings.TrimSuffix("not ended: "+partLine(p), ": ")
	}
	return partLine(p)
}

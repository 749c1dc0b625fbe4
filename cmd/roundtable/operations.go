package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"roundtable/api"
)

func (a *app) operationsCommand() *cobra.Command {
	return a.client(&cobra.Command{
		Use: "operations [ID]", Short: "Operations, running and ended; or one of them with its steps", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				var o api.Operation
				return a.get(cmd.Context(), "/cluster/operations/"+url.PathEscape(args[0]), &o, func(w io.Writer) { printOperation(w, o) })
			}
			var list []api.Operation
			return a.get(cmd.Context(), "/cluster/operations", &list, func(w io.Writer) { printOperations(w, list) })
		},
	})
}

func printOperations(w io.Writer, list []api.Operation) {
	rows := [][]string{}
	for _, o := range list {
		rows = append(rows, []string{o.ID, o.Kind, o.From, o.To, o.When, string(o.Outcome), moment(o.Started), fmt.Sprintf("%.2f s", o.Seconds), dash(firstOf(o.Step, o.Reason))})
	}
	printTable(w, []string{"id", "kind", "from", "to", "when", "outcome", "started", "took", "step or reason"}, rows)
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func printOperation(w io.Writer, o api.Operation) {
	printf(w, "%s %s: %s -> %s (%s), asked of %s at %s", o.Kind, o.ID, o.From, o.To, o.When, dash(o.By), moment(o.Started))
	outcome := string(o.Outcome)
	if o.Reason != "" {
		outcome += ": " + o.Reason
	}
	printf(w, "%s, %.2f s", outcome, o.Seconds)
	fmt.Fprintln(w)
	rows := [][]string{}
	for _, s := range o.Steps {
		assignee := s.Assignee
		if assignee == "" {
			assignee = "the leader"
		}
		rows = append(rows, []string{s.Name, assignee, clock(s.Since), fmt.Sprintf("%.3f s", s.Seconds)})
	}
	printTable(w, []string{"step", "by", "since", "took"}, rows)
}

func (a *app) historyCommand() *cobra.Command {
	limit, kind := 20, ""
	cmd := a.client(&cobra.Command{
		Use: "history", Short: "What happened in the cluster, newest first", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 1 {
				return usagef("", "--limit must be 1 or more, not %d", limit)
			}
			if kind != "" {
				return a.historyOf(cmd.Context(), kind, limit)
			}
			var list []api.Event
			return a.get(cmd.Context(), fmt.Sprintf("/cluster/history?limit=%d", limit), &list, func(w io.Writer) { printHistory(w, list) })
		},
	})
	cmd.Flags().IntVar(&limit, "limit", limit, "how many lines")
	cmd.Flags().StringVar(&kind, "kind", "", "only what begins so, such as lease, lease.granted or alarm")
	return cmd
}

// historyOf shows the newest lines of one kind: all that is remembered is looked through.
func (a *app) historyOf(ctx context.Context, kind string, limit int) error {
	var all []json.RawMessage
	if _, err := a.call(ctx, http.MethodGet, "/cluster/history", nil, &all); err != nil {
		return err
	}
	lines, list := []json.RawMessage{}, []api.Event{}
	for _, line := range all {
		var e api.Event
		if err := json.Unmarshal(line, &e); err != nil {
			return err
		}
		if strings.HasPrefix(e.Kind, kind) && len(list) < limit {
			lines, list = append(lines, line), append(list, e)
		}
	}
	raw, err := json.Marshal(lines)
	if err != nil {
		return err
	}
	return a.show(raw, func(w io.Writer) { printHistory(w, list) })
}

func printHistory(w io.Writer, list []api.Event) {
	rows := [][]string{}
	for _, e := range list {
		rows = append(rows, []string{moment(e.At), e.Kind, dash(e.Subject), e.Text, dash(e.By)})
	}
	printTable(w, []string{"at", "what", "whom", "details", "by"}, rows)
}

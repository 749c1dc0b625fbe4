package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"roundtable/api"
)

func (a *app) historyCommand() *cobra.Command {
	limit, kind := 20, ""
	cmd := a.asks(&cobra.Command{
		Use: "history", Short: "What happened in the cluster, newest first", Args: cobra.NoArgs,
		Example: "roundtable history --limit 50\nroundtable history --kind lease",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 1 {
				return usagef("", "--limit must be 1 or more, not %d", limit)
			}
			if kind != "" {
				return a.historyOf(cmd.Context(), kind, limit)
			}
			var list []api.Event
			return a.get(cmd.Context(), fmt.Sprintf("/cluster/history?limit=%d", limit), &list, func(w *printer) { printHistory(w, list) })
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
	return a.show(raw, func(w *printer) { printHistory(w, list) })
}

func printHistory(w *printer, list []api.Event) {
	rows := [][]any{}
	for _, e := range list {
		rows = append(rows, []any{moment(e.At), e.Kind, dash(e.Subject), dash(doer(e.Actor, e.By)), e.Text})
	}
	w.table([]string{"at", "what", "whom", "by", "details"}, rows)
}

package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"roundtable/api"
)

// cursor is a place in the history: the n-th line of an index. It is the same on every member.
type cursor struct {
	index uint64
	line  int
}

// parseCursor reads the id of an event; an index alone is the place after all its lines.
func parseCursor(text string) (cursor, bool) {
	index, line, two := strings.Cut(text, ".")
	if !two {
		line = strconv.Itoa(math.MaxInt32)
	}
	i, err := strconv.ParseUint(index, 10, 64)
	n, err2 := strconv.ParseInt(line, 10, 32)
	return cursor{i, int(n)}, err == nil && err2 == nil && n > 0
}

func (c cursor) String() string { return fmt.Sprintf("%d.%d", c.index, c.line) }

func (c cursor) after(o cursor) bool {
	return cmp.Or(cmp.Compare(c.index, o.index), cmp.Compare(c.line, o.line)) > 0
}

// event is a line of the history with its id.
type event struct {
	id   cursor
	line api.Event
	raw  json.RawMessage
}

// wanted says which events are shown.
type wanted struct {
	after cursor    // only later ones
	from  time.Time // only from then on
	kind  string    // only what begins so
}

func (w wanted) has(e event) bool {
	at, err := time.Parse(time.RFC3339, e.line.At)
	return e.id.after(w.after) && strings.HasPrefix(e.line.Kind, w.kind) && (w.from.IsZero() || err == nil && !at.Before(w.from))
}

func (a *app) eventsCommand() *cobra.Command {
	var follow bool
	var from, kind string
	cmd := a.asks(&cobra.Command{
		Use: "events", Short: "What happens in the cluster, as it happens", Args: cobra.NoArgs,
		Long: "Shows what the cluster remembers of what happened, oldest first; with --follow what happens from now on, or from --since on, until\n" +
			"^C. When the member that is asked goes away another one goes on: no line is lost and none comes twice. With --output json each\nline is an object.",
		Example: "roundtable events --follow\nroundtable events --since 1h --kind lease\nroundtable events --follow --since 1520.1 --output json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			w, err := a.wanted(from, kind)
			if err != nil {
				return err
			}
			if !follow {
				return a.past(cmd.Context(), w)
			}
			ctx, stop := interruptible(cmd)
			defer stop()
			f := &follower{app: a, wanted: w, silence: silenceTime}
			if from == "" {
				var o api.Overview
				if _, err := a.call(ctx, http.MethodGet, "/cluster", nil, &o); err != nil {
					return err
				}
				f.wanted.after = cursor{o.Index, math.MaxInt32}
			}
			return f.run(ctx)
		},
	})
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what happens, until ^C")
	cmd.Flags().StringVar(&from, "since", "", "from then on: a length of time (1h), a time (2026-11-21T12:00:00Z), or after the `ID` of an event (1520.1)")
	cmd.Flags().StringVar(&kind, "kind", "", "only what begins so, such as lease, lease.granted or alarm")
	return cmd
}

// wanted reads --since and --kind.
func (a *app) wanted(from, kind string) (wanted, error) {
	w := wanted{kind: kind}
	if from == "" {
		return w, nil
	}
	if c, ok := parseCursor(from); ok {
		w.after = c
		return w, nil
	}
	if at, err := time.Parse(time.RFC3339, from); err == nil {
		w.from = at
		return w, nil
	}
	text, err := span("--since", from)
	if err != nil {
		return w, usagef("such as 1h, 2026-11-21T12:00:00Z, or the id of an event such as 1520.1", "--since %q is no time and no event", from)
	}
	length, err := time.ParseDuration(text)
	w.from = a.now().Add(-length)
	return w, err
}

// past shows what the cluster remembers.
func (a *app) past(ctx context.Context, w wanted) error {
	var raw []json.RawMessage
	if _, err := a.call(ctx, http.MethodGet, "/cluster/history", nil, &raw); err != nil {
		return err
	}
	slices.Reverse(raw) // oldest first
	var last cursor
	for _, r := range raw {
		e := event{raw: r}
		if err := json.Unmarshal(r, &e.line); err != nil {
			return err
		}
		if e.line.Index != last.index {
			last = cursor{index: e.line.Index}
		}
		last.line++
		e.id = last
		if w.has(e) {
			if err := a.showEvent(e); err != nil {
				return err
			}
		}
	}
	return nil
}

// showEvent prints one line, or one document.
func (a *app) showEvent(e event) error {
	if a.flags.output != "table" {
		raw, err := withID(e)
		if err != nil {
			return err
		}
		if a.flags.output == "json" {
			_, err = fmt.Fprintf(a.out, "%s\n", raw)
			return err
		}
		if raw, err = toYAML(raw); err == nil {
			_, err = fmt.Fprintf(a.out, "---\n%s", raw)
		}
		return err
	}
	by := ""
	if who := doer(e.line.Actor, e.line.By); who != "" {
		by = "  by " + who
	}
	kind := inked{"", fmt.Sprintf("%-20s", e.line.Kind)}
	switch first, last, _ := strings.Cut(e.line.Kind, "."); {
	case first == "alarm" || last == "failed" || last == "expired":
		kind.ink = red("").ink
	case first == "lease":
		kind.ink = green("").ink
	}
	a.out.line("%s  %-8s  %s  %-10s  %s%s", moment(e.line.At), e.id, kind, dash(e.line.Subject), e.line.Text, by)
	return nil
}

// doer says on whose behalf and by which member something was done; actor is empty for what the cluster did by itself.
func doer(actor, by string) string {
	if actor != "" && by != "" {
		return actor + " at " + by
	}
	return firstOf(actor, by)
}

// withID is the line as the API has it, with its id in front.
func withID(e event) (json.RawMessage, error) {
	id := fmt.Sprintf(`{"id":%q,`, e.id)
	text, ok := strings.CutPrefix(strings.TrimSpace(string(e.raw)), "{")
	if !ok || !json.Valid([]byte(id+text)) {
		return nil, &failure{exitFailed, "an event of the server's is not understood", "is it of this version? see: roundtable version"}
	}
	return json.RawMessage(id + text), nil
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"roundtable/api"
	"roundtable/fsm"
)

func (a *app) handoffCommand() *cobra.Command {
	var to, when string
	var wait bool
	var timeout time.Duration
	cmd := a.client(&cobra.Command{
		Use: "handoff [MEMBER]", Short: "Hand production over to another member", Args: cobra.MaximumNArgs(1),
		Long: "Hands production over to the named member, or to the best fit standby, without a missed slot.\n" +
			"Prints the id of the operation and returns; with --wait, when it has ended. --timeout bounds all of it.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				if to != "" && to != args[0] {
					return usagef("name it once: roundtable handoff "+to, "two members are named: %q and --to %q", args[0], to)
				}
				to = args[0]
			}
			if timeout <= 0 {
				return usagef("such as --timeout 30s", "--timeout must be more than 0, not %s", timeout)
			}
			if when != "safe" && when != "now" {
				return usagef("safe waits for the gap after our window, now does not", "--when must be safe or now, not %q", when)
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			var started api.Started
			raw, err := a.call(ctx, http.MethodPost, "/cluster/handoff", map[string]string{"to": to, "when": when}, &started)
			switch {
			case errors.Is(err, context.DeadlineExceeded):
				return &failure{exitTimeout, fmt.Sprintf("no manager answered within %s: whether the handoff was started is not known", timeout), "look with: roundtable operations"}
			case err != nil:
				return err
			}
			if !wait {
				return a.show(raw, func(w io.Writer) {
					printf(w, "operation %s started; follow it with: roundtable operations %s", started.Operation, started.Operation)
				})
			}
			return a.follow(ctx, started.Operation, timeout)
		},
	})
	cmd.Flags().StringVar(&to, "to", "", "the member that is to produce; default: the best fit standby")
	cmd.Flags().StringVar(&when, "when", "safe", "safe: in the gap after our window; now: at the next block")
	cmd.Flags().BoolVar(&wait, "wait", false, "wait for the end, showing the steps; the exit code tells the outcome")
	cmd.Flags().DurationVar(&timeout, "timeout", 5*time.Minute, "how long to ask and to wait; a started operation goes on after it")
	return cmd
}

// pollTime is how often a followed operation is looked at.
const pollTime = 150 * time.Millisecond

// follow shows an operation's steps until it ends. A server that does not answer for a while is no reason to give up:
// the operation may just be moving the leadership, or that server may be the one that is replaced. ctx ends after timeout.
func (a *app) follow(ctx context.Context, id string, timeout time.Duration) error {
	if a.output == "table" {
		printf(a.stdout, "operation %s started", id)
	}
	shown := 0
	ticker := time.NewTicker(pollTime)
	defer ticker.Stop()
	var last error
	for {
		var o api.Operation
		raw, err := a.call(ctx, http.MethodGet, "/cluster/operations/"+id, nil, &o)
		if err == nil {
			for ; shown < len(o.Steps); shown++ {
				s := o.Steps[shown]
				printf(a.stderr, "%s  %s  %s", clock(s.Since), s.Name, firstOf(s.Assignee, "(leader)"))
			}
			if o.Outcome != fsm.Running {
				return a.outcome(o, raw)
			}
			last = nil
		} else if ctx.Err() == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return ctx.Err()
			}
			message := fmt.Sprintf("operation %s has not ended within %s; it goes on", id, timeout)
			if last != nil {
				message = fmt.Sprintf("whether operation %s has ended is not known after %s: %v", id, timeout, last)
			}
			return &failure{exitTimeout, message, "look again with: roundtable operations " + id}
		case <-ticker.C:
		}
	}
}

// outcome reports how an operation ended.
func (a *app) outcome(o api.Operation, raw json.RawMessage) error {
	if err := a.show(raw, func(w io.Writer) {
		if o.Outcome == fsm.Done {
			printf(w, "%s %s done: %s -> %s in %.2f s", o.Kind, o.ID, o.From, o.To, o.Seconds)
		}
	}); err != nil {
		return err
	}
	if o.Outcome == fsm.Done {
		return nil
	}
	step := ""
	if n := len(o.Steps); n > 0 {
		step = fmt.Sprintf(" at step %q", o.Steps[n-1].Name)
	}
	return &failure{exitFailed, fmt.Sprintf("%s %s %s%s: %s", o.Kind, o.ID, o.Outcome, step, o.Reason), "see: roundtable status"}
}

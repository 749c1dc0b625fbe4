package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"roundtable/api"
	"roundtable/fsm"
)

// begin starts an operation, and with --wait follows it to its end.
func (a *app) begin(cmd *cobra.Command, path string, body any) error {
	ctx, stop := interruptible(cmd)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, a.flags.timeout)
	defer cancel()
	var started api.Started
	raw, err := a.call(ctx, http.MethodPost, path, body, &started)
	if err != nil {
		return unknown(err, "whether it was started", "look with: roundtable operations")
	}
	if !a.flags.wait {
		return a.show(raw, func(w *printer) {
			w.line("operation %s started; follow it with: roundtable operations %s --follow", started.Operation, started.Operation)
		})
	}
	if a.flags.output == "table" {
		a.out.line("operation %s started", started.Operation)
	}
	return a.ride(ctx, started.Operation, a.flags.timeout)
}

// ride shows an operation's steps until it ends; its outcome is the command's. A server that does not answer for a while is no
// reason to give up: the operation may just be moving the leadership, or that server may be the one that is replaced; the other
// members are asked then. ctx lasts for timeout, or 0: until it is cancelled.
func (a *app) ride(ctx context.Context, id string, timeout time.Duration) error {
	a.servers, _ = a.withMembers(ctx, a.servers, a.servers[0])
	r := &rider{app: a, told: map[string]string{}, said: map[string]time.Time{}}
	err := a.await(ctx, timeout, "operation "+id, "look again with: roundtable operations "+id, func(ctx context.Context, p *progress) (string, bool, error) {
		var o api.Operation
		raw, err := a.call(ctx, http.MethodGet, operationPath(id), nil, &o)
		if err != nil {
			return err.Error(), false, nil //nolint:nilerr // it is told, and asked again
		}
		r.last, r.raw = o, raw
		r.show(p)
		return doing(o), o.Outcome != fsm.Running, nil
	})
	if err != nil {
		return err
	}
	return a.outcome(r.last, r.raw)
}

// sayTime is how often a member's progress is told where no line lives.
const sayTime = 5 * time.Second

// rider shows an operation as it goes on.
type rider struct {
	*app
	last  api.Operation
	raw   []byte
	steps int                  // whose lines stand
	told  map[string]string    // how far the part of a member was, by step and member
	said  map[string]time.Time // when that was told
}

// show writes what is new since the last look: a line for each step and for what came of each part, and below them, on a
// terminal, how everybody is.
func (r *rider) show(p *progress) {
	o := r.last
	for i, step := range o.Steps {
		current := i+1 == len(o.Steps) && o.Outcome == fsm.Running
		if current && p.live() { // it is in the lines that live
			break
		}
		if i >= r.steps {
			p.keep("%s  %s  %s", clock(step.Since), step.Name, doers(step))
			r.steps = i + 1
		}
		for _, part := range step.Parts {
			r.part(p, fmt.Sprint(i, " ", part.Member), step, part)
		}
	}
	if p.live() && o.Outcome == fsm.Running {
		head := o.Kind + " " + o.ID + ": " + doing(o)
		if stepped(o) {
			head = fmt.Sprintf("%s %s  %3d %%  %s", o.Kind, o.ID, o.Percent, doing(o))
		}
		p.say(r.now(), head, memberLines(o)...)
	}
}

// part tells what is new of a member's part: its end at once, how far it is now and then.
func (r *rider) part(p *progress, key string, step api.Step, part api.Part) {
	text := partLine(part)
	over := part.Ended != ""
	switch {
	case text == "" || text == r.told[key]:
		return
	case !over && r.now().Sub(r.said[key]) < sayTime:
		return
	case over && part.Text == "" && part.Fault == "" && len(step.Parts) == 1: // the next step says it
		return
	}
	r.told[key], r.said[key] = text, r.now()
	p.keep("              %s: %s", part.Member, text)
}

// partLine says how far a member is with its part; "" for nothing to say.
func partLine(p api.Part) string {
	switch {
	case p.Fault != "":
		return "failed: " + p.Fault
	case p.Ended != "":
		return firstOf(p.Text, "done")
	case p.Percent > 0 && p.Text != "":
		return fmt.Sprintf("%d %%, %s", p.Percent, p.Text)
	case p.Percent > 0:
		return fmt.Sprintf("%d %%", p.Percent)
	}
	return p.Text
}

// doers are those who do a step.
func doers(s api.Step) string {
	var list []string
	for _, p := range s.Parts {
		list = append(list, p.Member)
	}
	return firstOf(firstOf(s.Assignee, strings.Join(list, ", ")), "(leader)")
}

// memberLines say how each member of a rolling operation is, and the one of one on a backup, for a terminal.
func memberLines(o api.Operation) (lines []string) {
	if onBackup(o) {
		return taskLines(o)
	}
	width := 0
	for _, id := range o.Members {
		width = max(width, len(id))
	}
	var parts []api.Part
	if n := len(o.Steps); n > 0 {
		parts = o.Steps[n-1].Parts
	}
	for _, id := range o.Members {
		percent, text := 0, "-"
		i := slices.IndexFunc(parts, func(p api.Part) bool { return p.Member == id })
		switch {
		case i >= 0:
			percent, text = parts[i].Percent, barText(parts[i])
		case slices.Contains(o.Undone, id):
			text = "rolled back"
		case slices.Contains(o.Done, id):
			percent, text = 100, "through"
		}
		lines = append(lines, fmt.Sprintf("  %-*s  %s  %s", width, id, bar(percent), text))
	}
	return lines
}

// barText is what stands behind the bar of a part.
func barText(p api.Part) string {
	switch {
	case p.Fault != "":
		return "failed: " + p.Fault
	case p.Ended != "":
		return firstOf(p.Text, "done")
	}
	return p.Text
}

// bar draws a percentage.
func bar(percent int) string {
	const width = 20
	full := width * min(max(percent, 0), 100) / 100
	return strings.Repeat("█", full) + strings.Repeat("░", width-full) + fmt.Sprintf(" %3d %%", percent)
}

// outcome reports how an operation ended.
func (a *app) outcome(o api.Operation, raw []byte) error {
	if err := a.show(raw, func(w *printer) {
		if o.Outcome == fsm.Done {
			reason := ""
			if o.Reason != "" {
				reason = ": " + o.Reason
			}
			w.line("%s %s done%s in %.2f s%s", o.Kind, o.ID, result(o), o.Seconds, reason)
		}
	}); err != nil {
		return err
	}
	if o.Outcome == fsm.Done {
		return nil
	}
	step, hint := "", "see: roundtable status"
	if name := failedAt(o); name != "" {
		step = fmt.Sprintf(" at step %q", name)
	}
	if stepped(o) {
		hint = "see: roundtable operations " + o.ID
	}
	return &failure{exitFailed, fmt.Sprintf("%s %s %s%s: %s%s", o.Kind, o.ID, o.Outcome, step, reason(o), left(o, o.Reason)), hint}
}

// failedAt is the step at which an operation went wrong: what came after it is the way back. "" where it has no steps.
func failedAt(o api.Operation) string {
	for i, s := range o.Steps {
		if s.Name == fsm.StepUndo && i > 0 { // nobody said that it failed: its time was up
			return o.Steps[i-1].Name
		}
		if s.Name != fsm.StepTrigger && slices.ContainsFunc(s.Parts, func(p api.Part) bool { return p.Fault != "" }) { // one that sees it is enough
			return s.Name
		}
	}
	if n := len(o.Steps); n > 0 {
		return o.Steps[n-1].Name
	}
	return ""
}

// fullReason is how long a reason is, in bytes, that the state has cut.
const fullReason = 397

// reason is why an operation ended so; one that was cut says so.
func reason(o api.Operation) string {
	if len(o.Reason) >= fullReason {
		return strings.TrimSpace(o.Reason) + " ..."
	}
	return o.Reason
}

// result is what a done operation brought about; "" where nothing was to do.
func result(o api.Operation) string {
	switch done := strings.Join(o.Done, ", "); {
	case onBackup(o):
		return taskResult(o)
	case len(o.Members) == 0:
		return ": " + o.From + " -> " + o.To
	case done == "":
		return ""
	case o.Tag != "":
		return ": " + o.Tag + " on " + done
	default:
		return ": " + done
	}
}

// left says how a rolling operation leaves the members that it is for, as far as it has come to them or has ended; "" for nothing. What
// the reason says already is left out.
func left(o api.Operation, reason string) string {
	var rest, down []string
	for _, id := range o.Members {
		switch {
		case o.Outcome == fsm.Running || slices.Contains(o.Done, id) || slices.Contains(o.Undone, id):
		case stopped(o, id):
			down = append(down, id)
		default:
			rest = append(rest, id)
		}
	}
	text := ""
	for _, g := range []struct {
		what string
		who  []string
	}{{"through", o.Done}, {"rolled back", o.Undone}, {"not proved to be back", down}, {"as before", rest}} {
		if len(g.who) > 0 && !strings.Contains(reason, "; "+g.what+": ") {
			text += "; " + g.what + ": " + strings.Join(g.who, ", ")
		}
	}
	return text
}

// stopped reports whether an operation may have stopped a member's node.
func stopped(o api.Operation, member string) bool {
	return slices.ContainsFunc(o.Steps, func(s api.Step) bool {
		switch s.Name {
		case fsm.StepRestart, fsm.StepSwitch, fsm.StepFork, fsm.StepUndo:
			return slices.ContainsFunc(s.Parts, func(p api.Part) bool { return p.Member == member })
		}
		return false
	})
}

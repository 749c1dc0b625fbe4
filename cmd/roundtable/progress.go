package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"roundtable/api"
	"roundtable/fsm"
)

// pollTime is how often something that is waited for is looked at.
const pollTime = 150 * time.Millisecond

// progress shows what is waited for: on a terminal in one line that lives, elsewhere a line when something is new.
type progress struct {
	w     *printer
	began time.Time
	shown string
}

func (a *app) progress() *progress { return &progress{w: a.err, began: a.now()} }

// live reports that there is a line that lives.
func (p *progress) live() bool { return p.w.width > 0 }

// say shows what is being waited for now.
func (p *progress) say(now time.Time, text string) {
	switch {
	case p.live():
		seconds := fmt.Sprintf("  %.1f s", now.Sub(p.began).Seconds())
		line := printable(text)
		if room := p.w.width - len(seconds) - 1; len([]rune(line)) > room {
			line = string([]rune(line)[:max(room, 0)])
		}
		fmt.Fprintf(p.w, "\r\x1b[K%s%s", p.w.text(yellow(line)), seconds)
	case text != p.shown:
		p.w.line("%s", text)
	}
	p.shown = text
}

// keep writes a line that stays.
func (p *progress) keep(format string, args ...any) {
	p.clear()
	p.w.line(format, args...)
}

// clear takes the living line away.
func (p *progress) clear() {
	if p.live() {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}

// await looks again and again until look is done, has an error that is final, or ctx ends, whose length is timeout. look
// shows how far it is, and returns what is missing still, for the message when it is too late.
func (a *app) await(ctx context.Context, timeout time.Duration, what, hint string, look func(context.Context, *progress) (missing string, done bool, err error)) error {
	p := a.progress()
	defer p.clear()
	ticker := time.NewTicker(pollTime)
	defer ticker.Stop()
	missing := ""
	for {
		text, done, err := look(ctx, p)
		switch {
		case done, err != nil:
			return err
		case ctx.Err() == nil:
			missing = ": " + text
		}
		select {
		case <-ctx.Done():
			p.clear()
			if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return &failure{exitTimeout, what + " is no longer waited for", hint}
			}
			return &failure{exitTimeout, fmt.Sprintf("%s has not ended within %s%s", what, timeout, missing), hint}
		case <-ticker.C:
		}
	}
}

// follow shows an operation's steps until it ends; its outcome is the command's. A server that does not answer for a while
// is no reason to give up: the operation may just be moving the leadership, or that server may be the one that is replaced.
func (a *app) follow(ctx context.Context, id string, timeout time.Duration) error {
	if a.flags.output == "table" {
		a.out.line("operation %s started", id)
	}
	var o api.Operation
	var raw []byte
	shown := 0
	err := a.await(ctx, timeout, "operation "+id, "look again with: roundtable operations "+id, func(ctx context.Context, p *progress) (string, bool, error) {
		var now api.Operation
		answer, err := a.call(ctx, http.MethodGet, operationPath(id), nil, &now)
		if err != nil {
			return err.Error(), false, nil //nolint:nilerr // it is told, and asked again
		}
		o, raw = now, answer
		ended := len(o.Steps)
		if p.live() && o.Outcome == fsm.Running {
			ended-- // the current one is in the line that lives
		}
		for ; shown < ended; shown++ {
			step := o.Steps[shown]
			p.keep("%s  %s  %s", clock(step.Since), step.Name, firstOf(step.Assignee, "(leader)"))
		}
		if p.live() && o.Step != "" {
			p.say(a.now(), o.Kind+" "+id+": "+o.Step)
		}
		return "it is at step " + strconv.Quote(o.Step), o.Outcome != fsm.Running, nil
	})
	if err != nil {
		return err
	}
	return a.outcome(o, raw)
}

// outcome reports how an operation ended.
func (a *app) outcome(o api.Operation, raw []byte) error {
	if err := a.show(raw, func(w *printer) {
		if o.Outcome == fsm.Done {
			w.line("%s %s done: %s -> %s in %.2f s", o.Kind, o.ID, o.From, o.To, o.Seconds)
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

// waits adds --wait and --timeout to a command whose change takes effect by and by.
func (a *app) waits(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().BoolVar(&a.flags.wait, "wait", false, "wait until it is so, showing how far it is; the exit code tells the outcome")
	cmd.Flags().DurationVar(&a.flags.timeout, "timeout", 5*time.Minute, "how long to wait; what was started goes on after it")
	prepare := cmd.PreRunE
	cmd.PreRunE = func(cmd *cobra.Command, args []string) error {
		if a.flags.timeout <= 0 {
			return usagef("such as --timeout 30s", "--timeout must be more than 0, not %s", a.flags.timeout)
		}
		return prepare(cmd, args)
	}
	return cmd
}

// waitFor waits, with --wait, until look finds nothing missing, and then says what is so.
func (a *app) waitFor(cmd *cobra.Command, what string, look func(context.Context) (missing string, err error), done string) error {
	if !a.flags.wait {
		return nil
	}
	ctx, stop := interruptible(cmd)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, a.flags.timeout)
	defer cancel()
	err := a.await(ctx, a.flags.timeout, what, "it goes on; see: roundtable members, and: roundtable raft", func(ctx context.Context, p *progress) (string, bool, error) {
		missing, err := look(ctx)
		if missing == "" {
			return "", err == nil, nil
		}
		if ctx.Err() == nil {
			p.say(a.now(), missing)
		}
		return missing, false, nil
	})
	if err == nil && a.flags.output == "table" {
		a.out.line("%s", done)
	}
	return err
}

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

// pollTime is how often something that is waited for is looked at.
const pollTime = 150 * time.Millisecond

// progress shows what is waited for: on a terminal in lines that live, elsewhere a line when something is new.
type progress struct {
	w     *printer
	began time.Time
	shown string
	below int // lines that live below the first
}

func (a *app) progress() *progress { return &progress{w: a.err, began: a.now()} }

// live reports that there are lines that live.
func (p *progress) live() bool { return p.w.width > 0 }

// mostBelow bounds the lines that live: more than the terminal has could not be taken away again.
const mostBelow = 16

// say shows what is being waited for now; the lines below it are for a terminal only.
func (p *progress) say(now time.Time, text string, below ...string) {
	switch {
	case p.live():
		p.clear()
		below = below[:min(len(below), mostBelow)]
		seconds := fmt.Sprintf("  %.1f s", now.Sub(p.began).Seconds())
		fmt.Fprintf(p.w, "%s%s", p.w.text(yellow(p.cut(text, len(seconds)+1))), seconds)
		for _, line := range below {
			fmt.Fprintf(p.w, "\r\n%s", p.cut(line, 1))
		}
		p.below = len(below)
	case text != p.shown:
		p.w.line("%s", text)
	}
	p.shown = text
}

// cut shortens a line so that it does not reach the terminal's edge, from which so many columns are to be left.
func (p *progress) cut(line string, left int) string {
	line = printable(line)
	if room := p.w.width - left; len([]rune(line)) > room {
		line = string([]rune(line)[:max(room, 0)])
	}
	return line
}

// keep writes a line that stays.
func (p *progress) keep(format string, args ...any) {
	p.clear()
	p.w.line(format, args...)
}

// clear takes the living lines away.
func (p *progress) clear() {
	if !p.live() {
		return
	}
	if p.below > 0 {
		fmt.Fprintf(p.w, "\x1b[%dA", p.below)
	}
	p.below = 0
	fmt.Fprint(p.w, "\r\x1b[J")
}

// await looks again and again until look is done, has an error that is final, or ctx ends, whose length is timeout if it has one. look
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

// waits adds --wait and --timeout to a command whose change takes effect by and by.
func (a *app) waits(cmd *cobra.Command) *cobra.Command { return a.waitsUpTo(cmd, 5*time.Minute) }

// waitsUpTo is waits with another length of time where none is given.
func (a *app) waitsUpTo(cmd *cobra.Command, timeout time.Duration) *cobra.Command {
	cmd.Flags().BoolVar(&a.flags.wait, "wait", false, "wait until it is so, showing how far it is; the exit code tells the outcome")
	cmd.Flags().DurationVar(&a.flags.timeout, "timeout", timeout, "how long to wait; what was started goes on after it")
	prepare := cmd.PreRunE
	cmd.PreRunE = func(cmd *cobra.Command, args []string) error {
		if !cmd.Flags().Changed("timeout") { // the commands share one variable
			a.flags.timeout = timeout
		}
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

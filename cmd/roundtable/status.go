package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"roundtable/api"
)

func (a *app) statusCommand() *cobra.Command {
	watch := false
	cmd := a.asks(&cobra.Command{
		Use: "status", Short: "What is wrong, who signs, and how every member is", Args: cobra.NoArgs,
		Long: "Shows the whole cluster as one member sees it: what is wrong first, then the lease, the round, running operations\n" +
			"and the members. Exits with 0 whenever there is an answer, whatever it says; see healthcheck for exit codes.",
		Example: "roundtable status\nroundtable status --watch",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if watch {
				if a.flags.output != "table" {
					return usagef("for programs there is: roundtable events --follow --output json", "--watch shows a table, not %s", a.flags.output)
				}
				ctx, stop := interruptible(cmd)
				defer stop()
				return a.watch(ctx)
			}
			var o api.Overview
			return a.get(cmd.Context(), "/cluster", &o, func(w *printer) { printStatus(w, o) })
		},
	})
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "show it again every second, until ^C")
	return cmd
}

// watchTime is how often --watch looks.
const watchTime = time.Second

// watch shows the status again and again. While nobody answers, what was seen last is shown with its age.
func (a *app) watch(ctx context.Context) error {
	tick := time.NewTicker(watchTime)
	defer tick.Stop()
	var last *api.Overview
	var seen time.Time
	for {
		var o api.Overview
		_, err := a.call(ctx, http.MethodGet, "/cluster", nil, &o)
		var f *failure
		switch {
		case ctx.Err() != nil:
			return nil // ^C is how it ends
		case err == nil:
			last, seen = &o, a.now()
		case last == nil, errors.As(err, &f) && f.code == exitUsage:
			return err
		}
		page := &strings.Builder{}
		now := *last
		if err != nil {
			now.Alarms = append([]string{fmt.Sprintf("this is %s old: %v", age(a.now().Sub(seen)), err)}, now.Alarms...)
		}
		printStatus(&printer{page, a.out.colour, a.out.width}, now)
		if a.out.width > 0 {
			fmt.Fprint(a.out, "\x1b[H\x1b[2J") // to the top of an empty screen
		}
		if _, err := io.WriteString(a.out, page.String()); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// printStatus says first what is wrong, and fits one screen.
func printStatus(w *printer, o api.Overview) {
	switch {
	case len(o.Alarms) > 0:
	case o.Lease.Epoch == 0 || o.Lease.Released || o.Lease.SlotsLeft < 0:
		w.para("31", "!   ", "nobody may sign")
	default:
		w.para("32", "", "ok: nothing is wrong")
	}
	for i, alarm := range o.Alarms {
		if i == maxAlarms {
			w.line("!   and %d more: roundtable status --output json", len(o.Alarms)-i)
			break
		}
		w.para("31", "!   ", alarm)
	}
	w.line("")
	w.para("", "cluster   ", fmt.Sprintf("%s, producing for %s; leader %s, term %d; seen by %s at %s", dash(o.Cluster), dash(strings.Join(o.Producers, ", ")), dash(o.Leader), o.Term, o.Member, clock(o.At)))
	w.para("", "lease     ", leaseLine(o.Lease))
	w.para("", "round     ", roundLine(o.Round))
	for _, b := range o.Backups {
		w.para("", "backup    ", standingLine(b))
	}
	for _, op := range o.Operations {
		w.para("33", "running   ", operationLine(op))
	}
	w.line("")
	printMembers(w, o.Members, false)
}

const (
	maxAlarms = 6
	maxCause  = 40 // characters of the reason in the table below the alarms, which have all of it
)

func leaseLine(l api.Lease) string {
	switch {
	case l.Epoch == 0:
		return "none yet: " + l.Reason
	case l.Released:
		return fmt.Sprintf("epoch %d, released by %s at slot %d: %s", l.Epoch, l.Holder, l.Last, l.Reason)
	case l.SlotsLeft < 0:
		return fmt.Sprintf("epoch %d, of %s, ended with slot %d, %s ago: %s", l.Epoch, l.Holder, l.Last, count(int(-l.SlotsLeft), "slot"), l.Reason)
	}
	return fmt.Sprintf("epoch %d, %s may sign up to slot %d (%s), %s from now: %s", l.Epoch, l.Holder, l.Last, clock(l.LastAt), count(int(l.SlotsLeft), "slot"), l.Reason)
}

func roundLine(r api.Round) string {
	var parts []string
	for _, p := range r.Producers {
		text := p.Producer + " " + string(p.State)
		if len(r.Schedule) > 0 && !p.InSchedule {
			text += " (not in the schedule)"
		}
		parts = append(parts, text)
	}
	if len(r.Schedule) == 0 {
		parts = append(parts, "schedule unknown")
	} else {
		parts = append(parts, fmt.Sprintf("schedule version %d, %s", r.Version, count(len(r.Schedule), "producer")))
	}
	if len(r.Windows) == 0 {
		parts = append(parts, "no finished window yet")
	} else {
		parts = append(parts, fmt.Sprintf("%d of the last %d slots missed", r.Missed, r.Due))
	}
	return strings.Join(parts, "; ")
}

func operationLine(o api.Operation) string {
	percent := ""
	if stepped(o) {
		percent = fmt.Sprintf("%d %%, ", o.Percent)
	}
	return fmt.Sprintf("%s %s, %s: %s, %sfor %.1f s in all", o.Kind, o.ID, aim(o), doing(o), percent, o.Seconds)
}

// printMembers shows how the members are. Whole: all that there is to say, however wide.
func printMembers(w *printer, list []api.Member, whole bool) {
	header := []string{"member", "role", "node", "head", "lag", "peers", "clock", "fit"}
	if whole {
		header = []string{"member", "role", "node", "head", "lag", "lib", "peers", "clock", "fit"}
	}
	rows := [][]any{}
	for _, m := range list {
		row := []any{memberID(m), role(m), nodeState(m), m.Head.Num, m.Lag}
		if whole {
			row = append(row, m.LIB)
		}
		rows = append(rows, append(row, m.Peers, fmt.Sprintf("%+d ms", m.ClockOffsetMs), fit(m, whole)))
	}
	if whole {
		w.table(header, rows)
	} else {
		w.columns(header, rows)
	}
}

func memberID(m api.Member) any {
	if m.Role == api.RoleHolder {
		return green(m.ID)
	}
	return m.ID
}

func role(m api.Member) any {
	text := m.Role
	if m.Leader {
		text += ", leader"
	}
	if m.Suffrage == "nonvoter" {
		text += ", no vote"
	}
	if m.Role == api.RoleHolder {
		return green(text)
	}
	return text
}

func nodeState(m api.Member) any {
	switch {
	case !m.Alive:
		return red("not alive")
	case m.Node == "backoff":
		return red("waiting")
	case m.Node == "failed":
		return red(m.Node)
	case m.Paused && m.Node == "running":
		return "paused"
	}
	return m.Node
}

// fit says whether a member could have the lease, or why not.
func fit(m api.Member, whole bool) any {
	switch {
	case m.Role == api.RoleWitness:
		return "-"
	case m.Fit:
		return "yes"
	case m.Reason == "":
		return red("no")
	case whole:
		return red("no: " + m.Reason)
	}
	return red("no: " + short(m.Reason, maxCause))
}

// short cuts a text to so many characters.
func short(s string, limit int) string {
	if r := []rune(s); len(r) > limit {
		return strings.TrimRight(string(r[:limit]), " :;,") + " ..."
	}
	return s
}

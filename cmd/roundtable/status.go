package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"roundtable/api"
)

func (a *app) statusCommand() *cobra.Command {
	return a.client(&cobra.Command{
		Use: "status", Short: "What is wrong, who signs, and how every member is", Args: cobra.NoArgs,
		Long: "Shows the whole cluster as one member sees it: what is wrong first, then the lease, the round, running operations\nand the members. Exits with 0 whenever there is an answer, whatever it says; see healthcheck for exit codes.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			var o api.Overview
			return a.get(cmd.Context(), "/cluster", &o, func(w io.Writer) { printStatus(w, o) })
		},
	})
}

// printStatus says first what is wrong, and fits one screen.
func printStatus(w io.Writer, o api.Overview) {
	switch {
	case len(o.Alarms) > 0:
	case o.Lease.Epoch == 0 || o.Lease.Released || o.Lease.SlotsLeft < 0:
		printf(w, "!   nobody may sign")
	default:
		printf(w, "ok: nothing is wrong")
	}
	for i, alarm := range o.Alarms {
		if i == maxAlarms {
			printf(w, "!   and %d more: roundtable status --output json", len(o.Alarms)-i)
			break
		}
		printf(w, "!   %s", alarm)
	}
	fmt.Fprintln(w)
	printf(w, "cluster   %s, producing for %s; leader %s, term %d; seen by %s at %s", dash(o.Cluster), dash(strings.Join(o.Producers, ", ")), dash(o.Leader), o.Term, o.Member, clock(o.At))
	printf(w, "lease     %s", leaseLine(o.Lease))
	printf(w, "round     %s", roundLine(o.Round))
	for _, op := range o.Operations {
		printf(w, "running   %s", operationLine(op))
	}
	fmt.Fprintln(w)
	printMembers(w, o.Members, maxCause)
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

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func operationLine(o api.Operation) string {
	return fmt.Sprintf("%s %s: %s -> %s (%s), at %q for %.1f s in all", o.Kind, o.ID, o.From, o.To, o.When, o.Step, o.Seconds)
}

func (a *app) membersCommand() *cobra.Command {
	return a.client(&cobra.Command{
		Use: "members", Short: "The members, their nodes and whether they could hold the lease", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var list []api.Member
			return a.get(cmd.Context(), "/cluster/members", &list, func(w io.Writer) {
				printMembers(w, list, 0)
				fmt.Fprintln(w)
				rows := [][]string{}
				for _, m := range list {
					rows = append(rows, []string{m.ID, dash(m.API), dash(m.Raft), dash(m.P2P), strconv.Itoa(m.Priority), dash(m.Fence), dash(m.Version), dash(m.NodeVersion), moment(m.Started)})
				}
				printTable(w, []string{"member", "api", "raft", "p2p", "priority", "fence", "version", "nodeos", "started"}, rows)
			})
		},
	})
}

// printMembers shows at most cause characters of why a member is not fit; 0: all.
func printMembers(w io.Writer, list []api.Member, cause int) {
	rows := [][]string{}
	for _, m := range list {
		role := m.Role
		if m.Leader {
			role += ", leader"
		}
		fit := yesNo(m.Fit)
		switch {
		case m.Role == api.RoleWitness:
			fit = "-"
		case !m.Fit && m.Reason != "":
			fit = "no: " + short(m.Reason, cause)
		}
		node := m.Node
		if node == "backoff" {
			node = "waiting"
		}
		if m.Paused && node == "running" {
			node = "paused"
		}
		if !m.Alive {
			node = "not alive"
		}
		rows = append(rows, []string{
			m.ID, role, node, strconv.FormatUint(uint64(m.Head.Num), 10), strconv.FormatUint(m.Lag, 10),
			strconv.FormatUint(uint64(m.LIB), 10), strconv.Itoa(m.Peers), fmt.Sprintf("%+d ms", m.ClockOffsetMs), fit,
		})
	}
	printTable(w, []string{"member", "role", "node", "head", "lag", "lib", "peers", "clock", "fit"}, rows)
}

// short cuts a text to so many characters; 0: not at all.
func short(s string, limit int) string {
	if r := []rune(s); limit > 0 && len(r) > limit {
		return strings.TrimRight(string(r[:limit]), " :;,") + " ..."
	}
	return s
}

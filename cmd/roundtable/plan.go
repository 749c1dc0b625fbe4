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

func (a *app) planCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "plan", Aliases: []string{"plans"}, Short: "Plans: backups, verifications and sweeps that come by themselves", Args: cobra.NoArgs,
		Long: "A plan comes every so often, by a cron expression (UTC), or every so many blocks, and fires once in the whole cluster, whoever leads or\n" +
			"restarts meanwhile.",
		Example: "roundtable plan add nightly --every 1d --keep 30d\nroundtable plan list",
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.planListCommand(), a.planShowCommand(), a.planAddCommand(), a.planRemoveCommand(), a.planSwitchCommand(false), a.planSwitchCommand(true), a.planRunCommand())
	return cmd
}

func (a *app) planListCommand() *cobra.Command {
	return a.asks(&cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the plans: what, when, and how the last one went", Args: cobra.NoArgs, Example: "roundtable plan list",
		RunE: func(cmd *cobra.Command, _ []string) error {
			var list []api.Plan
			return a.get(cmd.Context(), "/cluster/plans", &list, func(w *printer) {
				if len(list) == 0 {
					w.line("no plans")
					return
				}
				rows := [][]any{}
				for _, p := range list {
					rows = append(rows, []any{p.ID, planAim(p), planTimes(p), a.planDue(p), since(p.Fired, a.now()), planOutcome(p), p.Count, p.Skipped})
				}
				w.table([]string{"plan", "what", "when", "next", "last", "outcome", "fired", "skipped"}, rows)
			})
		},
	})
}

// planAim says what a plan does.
func planAim(p api.Plan) string {
	text := p.Action
	if p.Kind != "" {
		text += " of " + p.Kind
	}
	text += " in " + p.Repository
	if p.Member != "" {
		text += " by " + p.Member
	}
	if p.Trial {
		text += ", with a node"
	}
	if p.Unknown {
		text += ", the unknown too"
	}
	return text
}

// planTimes says when a plan comes.
func planTimes(p api.Plan) string {
	switch {
	case p.Every != "":
		return "every " + p.Every
	case p.Cron != "":
		return "cron " + p.Cron
	}
	return "every " + count(int(p.Blocks), "block")
}

func (a *app) planDue(p api.Plan) any {
	switch {
	case p.Disabled:
		return yellow("disabled")
	case p.DueBlock != 0:
		return fmt.Sprintf("at block %d", p.DueBlock)
	}
	return since(p.Due, a.now())
}

func planOutcome(p api.Plan) any {
	if p.Outcome == "" {
		return "-"
	}
	return outcomeInk(p.Outcome)
}

func (a *app) planShowCommand() *cobra.Command {
	return a.asks(&cobra.Command{
		Use: "show ID", Short: "One plan with all that it says and did", Args: cobra.ExactArgs(1), Example: "roundtable plan show nightly", ValidArgsFunction: a.completePlans,
		RunE: func(cmd *cobra.Command, args []string) error {
			var p api.Plan
			return a.get(cmd.Context(), planPath(args[0]), &p, func(w *printer) { a.printPlan(w, p) })
		},
	})
}

func (a *app) printPlan(w *printer, p api.Plan) {
	w.line("%s: %s, %s", p.ID, planAim(p), planTimes(p))
	line := func(name, value string) {
		if value != "" {
			w.para("", fmt.Sprintf("  %-12s", name), value)
		}
	}
	w.line("  %-12s%s", "next", a.planDue(p))
	line("keep", p.Keep)
	line("limit", p.Limit)
	line("jitter", p.Jitter)
	line("blackout", p.Blackout)
	line("missed", p.Missed)
	line("late", p.Late)
	line("tries", fmt.Sprint(p.Tries))
	line("fired", count(int(p.Count), "time"))
	if p.Operation != "" {
		last := moment(p.Fired) + ", operation " + p.Operation
		if p.Outcome != "" {
			last += ", " + string(p.Outcome)
		}
		if p.Reason != "" {
			last += ": " + p.Reason
		}
		if p.Try > 0 {
			last += fmt.Sprintf(" (try %d of %d)", p.Try, p.Tries)
		}
		line("last", last)
	}
	if p.Skipped > 0 {
		line("skipped", count(int(p.Skipped), "time")+": "+dash(p.Why))
	}
	line("made by", p.Actor)
}

func planPath(id string) string { return "/cluster/plans/" + url.PathEscape(id) }

// planFlags are what a plan may say.
type planFlags struct {
	kind, action, every, cron                                         string
	blocks                                                            uint32
	keep, jitter, blackout, missed, late, limit, member, repositories string
	tries                                                             int
	trial, unknown, disabled                                          bool
}

func (a *app) planAddCommand() *cobra.Command {
	var p planFlags
	cmd := a.asks(&cobra.Command{
		Use: "add ID", Aliases: []string{"put"}, Short: "Add a plan, or change one", Args: cobra.ExactArgs(1),
		Long: "Adds a plan. One of the same id becomes this one, and keeps what it did. Needs the role operate.\n\n" +
			"backup makes one (--kind); verify reads the newest one that was not verified, with --trial a node comes up on it; sweep removes what\n" +
			"failed or expired, which managers do by themselves as well.\n" +
			"Each backup of the data stops a node: they come 10 minutes, or 1200 blocks, apart at least.",
		Example: "roundtable plan add nightly --every 1d --keep 30d --jitter 20m --tries 2\nroundtable plan add snapshots --kind snapshot --every 6h --missed skip\n" +
			"roundtable plan add proof --action verify --trial --every 7d",
		RunE: func(cmd *cobra.Command, args []string) error {
			body, err := p.body(args[0])
			if err != nil {
				return err
			}
			var v api.PlanSet
			return a.change(cmd.Context(), http.MethodPost, "/cluster/plans", body, &v, func(w *printer) {
				due := fmt.Sprint(a.planDue(v.Plan))
				if v.Plan.Disabled {
					due = "never: it is disabled"
				}
				w.line("plan %s: %s, %s; next %s", v.Plan.ID, planAim(v.Plan), planTimes(v.Plan), due)
			})
		},
	})
	f := cmd.Flags()
	f.StringVar(&p.action, "action", fsm.KindBackup, "backup, verify or sweep")
	f.StringVar(&p.kind, "kind", "", "of a backup: data (the default) or snapshot")
	f.StringVar(&p.repositories, "repository", "", "`NAME` of the repository, as in config.toml; default: the one that is used by default")
	f.StringVar(&p.every, "every", "", "how long from one to the next, such as 6h or 7d")
	f.StringVar(&p.cron, "cron", "", "when, as five fields in UTC, such as \"30 3 * * *\": minute, hour, day, month, weekday")
	f.Uint32Var(&p.blocks, "blocks", 0, "every `N` blocks of the chain")
	f.StringVar(&p.keep, "keep", "", "of a backup: how long it is kept, such as 30d; default: as long as the repository's retention says")
	f.StringVar(&p.jitter, "jitter", "", "begin by up to so much later, each time a little different")
	f.StringVar(&p.blackout, "blackout", "", "do not begin so long before and after a window of ours, where the schedule leaves such a gap; up to 1h")
	f.StringVar(&p.missed, "missed", api.SkipLate, "one that was missed: skip it, or \"catch up\", once")
	f.StringVar(&p.late, "late", "", "after how long it counts as missed; default: when it is due again")
	f.IntVar(&p.tries, "tries", 0, "how often one that failed is tried again, on another member first")
	f.StringVar(&p.limit, "limit", "", "how long a step may take, up to 24h; default: as configured when it fires")
	f.StringVar(&p.member, "member", "", "`ID` of the member that does it; default: whoever is fit")
	f.BoolVar(&p.trial, "trial", false, "of a verify: restore it into a scratch folder and start a node on it")
	f.BoolVar(&p.unknown, "unknown", false, "of a sweep: remove backups that the cluster does not know as well; needs the role admin")
	f.BoolVar(&p.disabled, "disabled", false, "add it switched off")
	_ = cmd.RegisterFlagCompletionFunc("member", a.completeMember) // fails only without the flag
	_ = cmd.RegisterFlagCompletionFunc("repository", a.completeRepository)
	for flag, values := range map[string][]string{"action": {fsm.KindBackup, fsm.KindVerify, fsm.KindSweep}, "kind": {fsm.CopiesData, fsm.CopiesSnapshot}, "missed": {api.SkipLate, api.CatchUp}} {
		_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
	}
	return cmd
}

// body is the request.
func (p planFlags) body(id string) (map[string]any, error) {
	ways := 0
	for _, is := range []bool{p.every != "", p.cron != "", p.blocks != 0} {
		if is {
			ways++
		}
	}
	if ways != 1 {
		return nil, usagef("such as --every 24h, --cron \"30 3 * * *\", or --blocks 172800", "one of --every, --cron and --blocks must be given")
	}
	if p.action == fsm.KindBackup {
		kind, err := backupKind(firstOf(p.kind, fsm.CopiesData))
		if err != nil {
			return nil, err
		}
		p.kind = kind
	}
	body := map[string]any{"id": id, "action": p.action, "missed": p.missed}
	for name, text := range map[string]string{"kind": p.kind, "repository": p.repositories, "cron": p.cron, "member": p.member} {
		if text != "" {
			body[name] = text
		}
	}
	if err := spans(body, map[string]string{"every": p.every, "keep": p.keep, "jitter": p.jitter, "blackout": p.blackout, "late": p.late, "limit": p.limit}); err != nil {
		return nil, err
	}
	for name, yes := range map[string]bool{"trial": p.trial, "unknown": p.unknown, "disabled": p.disabled} {
		if yes {
			body[name] = true
		}
	}
	if p.blocks != 0 {
		body["blocks"] = p.blocks
	}
	if p.tries != 0 {
		body["tries"] = p.tries
	}
	return body, nil
}

func (a *app) planRemoveCommand() *cobra.Command {
	return a.mayAsk(a.asks(&cobra.Command{
		Use: "rm ID", Aliases: []string{"remove"}, Short: "Remove a plan; the backups that it made stay", Args: cobra.ExactArgs(1), Example: "roundtable plan rm nightly", ValidArgsFunction: a.completePlans,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.confirm("remove a plan", func() (string, error) {
				var p api.Plan
				_, err := a.call(cmd.Context(), http.MethodGet, planPath(args[0]), nil, &p)
				return fmt.Sprintf("Remove plan %s: %s, %s?", p.ID, planAim(p), planTimes(p)), err
			}); err != nil {
				return err
			}
			var v api.Removed
			return a.change(cmd.Context(), http.MethodDelete, planPath(args[0]), nil, &v, func(w *printer) { w.line("plan %s is removed", v.ID) })
		},
	}))
}

func (a *app) planSwitchCommand(disable bool) *cobra.Command {
	c := &cobra.Command{
		Use: "enable ID", Short: "Switch a plan on again", Args: cobra.ExactArgs(1), Example: "roundtable plan enable nightly", ValidArgsFunction: a.completePlans,
		Long: "It is due next as if it were new: what it would have done meanwhile is not made up for. Needs the role operate.",
	}
	if disable {
		c.Use, c.Short, c.Example = "disable ID", "Switch a plan off", "roundtable plan disable nightly"
		c.Long = "It does not fire until it is enabled again; what it started goes on. Needs the role operate."
	}
	c.RunE = func(cmd *cobra.Command, args []string) error {
		var v api.PlanSet
		return a.change(cmd.Context(), http.MethodPatch, planPath(args[0]), map[string]any{"disabled": disable}, &v, func(w *printer) {
			if v.Plan.Disabled {
				w.line("plan %s is disabled", v.Plan.ID)
				return
			}
			w.line("plan %s is enabled; next %s", v.Plan.ID, a.planDue(v.Plan))
		})
	}
	return a.asks(c)
}

func (a *app) planRunCommand() *cobra.Command {
	return a.waitsUpTo(a.asks(&cobra.Command{
		Use: "run ID", Short: "Do now what a plan does", Args: cobra.ExactArgs(1), Example: "roundtable plan run nightly --wait", ValidArgsFunction: a.completePlans,
		Long: "Whenever it is due, and though it is disabled; the next time stays as it is. Needs the role operate.\n" +
			"Prints the id of the operation and returns; with --wait, when it has ended.",
		RunE: func(cmd *cobra.Command, args []string) error { return a.begin(cmd, planPath(args[0])+"/run", nil) },
	}), backupTime)
}

func (a *app) completePlans(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	var list []api.Plan
	return a.complete(cmd, args, "/cluster/plans", &list, func() (words []string) {
		for _, p := range list {
			words = append(words, cobra.CompletionWithDesc(p.ID, strings.TrimSpace(planAim(p)+", "+planTimes(p))))
		}
		return words
	})
}

package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"roundtable/cmd/roundtable/config"
	"roundtable/fsm"
	"roundtable/manager"
)

// recoverCommand is `roundtable recover`.
func (a *app) recoverCommand() *cobra.Command {
	var home string
	var lost, off []string
	var look, clock bool
	c := &cobra.Command{
		Use:   "recover --home DIR --lost ID,ID",
		Short: "Go on with one survivor of a cluster that lost its majority for good",
		Long: `Go on with one survivor of a cluster that lost its majority for good. This is the last resort: as long as a majority can be
brought back, bring it back and do not do this.

Choose the survivor: of the members that are left the one with the highest last index (--look shows it and changes nothing).
Stop every other member, manager and node. Then, on the survivor's machine, with its manager stopped:

    roundtable recover --home DIR --lost ID,ID        every member but this one

It shows what the home holds and asks you to confirm for each lost member that its NODE IS OFF and will stay off until its
raft folder is emptied. Only you can know: a lost member that cannot be reached may still sign, and a slot signed twice is
what the chain does not forgive. It refuses while any of them answers on a known address. And which slots they may have signed
is reckoned by this machine's clock: where nothing keeps that synchronised, you confirm that it is right.

The raft folder is copied aside, everything in its log counts as committed, the lost members are removed, and nobody may
sign a slot that they may have signed. Stopped at any moment, run it again. Afterwards start this manager: it goes on
alone, and produces if its node is fit. On each other machine empty the raft folder (DIR/raft) before you start it again:
it joins as a new member. The founder's config.toml needs manager.join for that.`,
		Example: "roundtable recover --home /var/lib/roundtable --lost m2,m3 --look\nroundtable recover --home /var/lib/roundtable --lost m2,m3 --confirm-off m2,m3",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			conf, err := config.Load(filepath.Join(home, "config.toml"), os.Environ(), nil)
			if err != nil {
				return err
			}
			r, err := manager.OpenRecovery(conf, a.now)
			if err != nil {
				return err
			}
			return errors.Join(a.recover(cmd, conf, r, lost, off, look, clock), r.Close())
		},
	}
	c.PreRunE = func(*cobra.Command, []string) error { // for people only
		a.flags.output, a.flags.color = "table", "auto"
		return a.prepare()
	}
	c.Flags().StringVar(&home, "home", ".", "home `DIR` of the member that goes on; its manager must not run")
	c.Flags().StringSliceVar(&lost, "lost", nil, "`ID,ID`: all the other members")
	c.Flags().StringSliceVar(&off, "confirm-off", nil, "`ID,ID`: you have made sure that the nodes of these members are off (asked for on a terminal)")
	c.Flags().BoolVar(&clock, "clock-checked", false, "you have made sure that this machine's clock is right (asked for on a terminal, where it is not synchronised)")
	c.Flags().BoolVar(&look, "look", false, "show what the home holds, and change nothing")
	return c
}

// recover shows, checks, asks and does it.
func (a *app) recover(cmd *cobra.Command, conf *config.Config, r *manager.Recovery, lost, off []string, look, clock bool) error {
	self := conf.Manager.ID
	a.showFound(self, r)
	if look && len(lost) == 0 {
		return nil
	}
	if len(lost) > 0 && r.Done(lost) {
		a.out.line("")
		a.out.line("%s goes on without %s already: there is nothing to do.", self, strings.Join(lost, ", "))
		return nil
	}
	if err := r.Check(lost); err != nil {
		return err
	}
	for range 2 { // again when the operator has confirmed: that may have taken a while
		if list := r.Answering(cmd.Context(), lost); len(list) > 0 {
			var texts []string
			for _, l := range list {
				texts = append(texts, fmt.Sprintf("%s at %s (%s)", l.Member, l.Address, l.What))
			}
			return &failure{exitFailed, "not lost: somebody answers for " + strings.Join(texts, ", "), "if the member lives, bring the majority back instead; if it shall go, stop its manager and its node first"}
		}
		if look {
			a.out.line("")
			a.out.line("None of %s answers. Nothing was changed (--look).", strings.Join(lost, ", "))
			return nil
		}
		if err := a.confirmClock(clock); err != nil {
			return err
		}
		if err := a.confirmOff(lost, off); err != nil {
			return err
		}
		off, clock = lost, true
	}
	saved, err := r.Go(lost)
	if saved != "" {
		a.out.line("The raft folder as it was: %s", saved)
	}
	if err != nil {
		return fmt.Errorf("%w\nThe recovery is not finished: run the same command again. To give it up, put the copied folder back in the raft folder's place", err)
	}
	a.whatNext(self, conf.GossipAddr(), r, lost)
	return nil
}

// showFound prints what a home's raft folder holds.
func (a *app) showFound(self string, r *manager.Recovery) {
	f := r.Found()
	s := f.State
	now := a.now()
	when := func(ms int64) string {
		if ms == 0 {
			return "never"
		}
		t := time.UnixMilli(ms)
		return fmt.Sprintf("%s, %s ago by this machine's clock", t.UTC().Format(time.RFC3339), now.Sub(t).Round(time.Second))
	}
	a.out.line("%s of %s, raft group %s", bold(self), s.Cluster.Name, f.Group)
	a.out.line("  last index   %d, term %d", f.LastIndex, f.LastTerm)
	a.out.line("  newest entry %s", when(f.Newest))
	a.out.line("  clock here   %s", now.UTC().Format(time.RFC3339))
	if why := a.unsynced(); why != "" {
		a.out.line("               %s", yellow(why))
	}
	var members []string
	for _, id := range f.Members() {
		text := id
		if _, ok := s.Members[id]; !ok {
			text += " (no record)"
		}
		for _, server := range f.Servers {
			if string(server.ID) == id {
				text += " " + strings.ToLower(server.Suffrage.String()) + " at " + string(server.Address)
			}
		}
		if s.Members[id].Witness {
			text += ", witness"
		}
		members = append(members, text)
	}
	a.out.line("  members      %s", strings.Join(members, "; "))
	a.out.line("  lease        %s", leaseText(s.Lease))
	if s.LastBlock.Slot != 0 {
		a.out.line("  last block   number %d of slot %d, as the last release or handoff named it", s.LastBlock.Num, s.LastBlock.Slot)
	}
	for _, o := range s.RunningOperations() {
		a.out.line("  running      %s %d, at step %q", o.Kind, o.ID, o.Current().Name)
	}
	if f.Unfinished {
		a.out.line("  %s", yellow("a recovery of this home was begun before and not finished"))
	}
	if f.Filling {
		a.out.line("  %s", yellow("it lost its log before and had not regained all of it: what was committed may be missing. Another survivor is the better one."))
	}
	a.out.line("  %d entries behind the last raft snapshot (index %d) may have been committed or not; all of them will count:", len(f.Unsure), f.Snapshot.Index)
	const shown = 12
	list := f.Unsure
	if len(list) > shown {
		a.out.line("    ... %d earlier ones", len(list)-shown)
		list = list[len(list)-shown:]
	}
	for _, e := range list {
		at := ""
		if e.At != 0 {
			at = time.UnixMilli(e.At).UTC().Format("15:04:05.000")
		}
		a.out.line("    %d  term %d  %s  %s %s", e.Index, e.Term, at, e.Kind, e.By)
	}
}

func leaseText(l fsm.Lease) string {
	switch {
	case l.Epoch == 0:
		return "there was none yet"
	case l.Fenced():
		return fmt.Sprintf("epoch %d, of a recovery: nobody's, nothing is signed before slot %d", l.Epoch, l.Last+1)
	case l.Released:
		return fmt.Sprintf("epoch %d of %s, released at slot %d", l.Epoch, l.Holder, l.Last)
	}
	return fmt.Sprintf("epoch %d of %s, slots %d to %d (%s)", l.Epoch, l.Holder, l.First, l.Last, time.UnixMilli(l.Last.UnixMilli()).UTC().Format(time.RFC3339))
}

// unsynced says why the machine's clock is not known to be right; "" where it is.
func (a *app) unsynced() string {
	switch ok, err := a.synced(); {
	case err != nil:
		return fmt.Sprintf("whether it is synchronised is not known: %v", err)
	case !ok:
		return "not synchronised, as far as the kernel knows"
	}
	return ""
}

// confirmClock wants the machine's clock confirmed to be right where nothing keeps it so: with a late one the lost members may
// have signed slots that are granted again.
func (a *app) confirmClock(checked bool) error {
	why := a.unsynced()
	if why == "" || checked {
		return nil
	}
	if columns(a.stdin) == 0 {
		return usagef("compare it with another clock, set it where it is wrong, and say --clock-checked; or have it synchronised (chrony, systemd-timesyncd)", "this machine's clock (%s) is %s", a.now().UTC().Format(time.RFC3339), why)
	}
	a.err.line("")
	a.err.line("%s", red("If this machine's clock is late, slots may be signed twice. It is "+why+"."))
	fmt.Fprintf(a.err, "It says %s. Compare it with another clock; if it is right to the second, type yes: ", a.now().UTC().Format(time.RFC3339))
	answer, _ := bufio.NewReader(a.stdin).ReadString('\n')
	if strings.TrimSpace(answer) != "yes" {
		return &failure{exitFailed, "the clock is not confirmed. Nothing was changed", ""}
	}
	return nil
}

// confirmOff wants each lost member's node confirmed to be off, by the flag or on a terminal.
func (a *app) confirmOff(lost, off []string) error {
	missing := func(list []string) (ids []string) {
		for _, id := range lost {
			if !slices.Contains(list, id) {
				ids = append(ids, id)
			}
		}
		return ids
	}
	for _, id := range off {
		if !slices.Contains(lost, id) {
			return usagef("name the same members as --lost", "--confirm-off names %s, which --lost does not", id)
		}
	}
	left := missing(off)
	if len(left) == 0 {
		return nil
	}
	if len(off) > 0 || columns(a.stdin) == 0 {
		return usagef("when you have made sure that each of these nodes is off, say --confirm-off "+strings.Join(lost, ","), "that the nodes of %s are off must be confirmed", strings.Join(left, ", "))
	}
	a.err.line("")
	a.err.line("%s", red("If a node of a lost member still runs, slots may be signed twice."))
	fmt.Fprint(a.err, "Type the ids of the lost members whose nodes you have made sure are off ("+printable(strings.Join(lost, ","))+"): ")
	answer, _ := bufio.NewReader(a.stdin).ReadString('\n')
	typed := strings.FieldsFunc(answer, func(r rune) bool { return r == ',' || r == ' ' || r == '\n' || r == '\r' })
	if left := missing(typed); len(left) > 0 {
		return &failure{exitFailed, "not confirmed: " + strings.Join(left, ", ") + ". Nothing was changed", ""}
	}
	return nil
}

// whatNext says what is left to do.
func (a *app) whatNext(self, join string, r *manager.Recovery, lost []string) {
	s := r.Found().State
	first := s.Lease.Last + 1
	a.out.line("")
	a.out.line("%s", green("Recovered: "+self+" is the only member."))
	a.out.line("  Its group is %s: what is left of the old one cannot speak to it.", r.Found().Group)
	a.out.line("  Nobody signs before slot %d (%s).", first, time.UnixMilli(first.UnixMilli()).UTC().Format(time.RFC3339))
	a.out.line("Now:")
	a.out.line("  1. Start the manager of %s.", self)
	if s.Members[self].Witness {
		a.out.line("     %s", yellow("It is a witness and has no node: nothing is produced until another member has joined."))
	}
	if s.Cluster.Maintenance {
		a.out.line("     %s", yellow("The cluster is in maintenance: nothing is produced until you end it (roundtable maintenance off)."))
	}
	a.out.line("  2. On each of %s: while it is stopped, delete its raft folder (HOME/raft, nothing else), then start it.", strings.Join(lost, ", "))
	a.out.line("     One whose config.toml has no manager.join needs it now: %s.", join)
	a.out.line("     It joins as a new member. Until three members vote, another loss stops the cluster again.")
}

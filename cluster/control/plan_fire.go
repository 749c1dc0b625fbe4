package control

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"roundtable/chain"
	"roundtable/fsm"
)

// fireInput is all that planFire looks at.
type fireInput struct {
	look
	plan fsm.Plan
	id   string // of a backup that it would start

	limit time.Duration // of a step, where the plan does not say
}

// planFire decides whether a plan fires, and what that starts; or why it does not although it is due. It is one entry, which the state takes
// only once however many members decide the same.
//
//   - while what it started last still runs it waits, until it is due again; then it is skipped;
//   - one that is too late is skipped, or made up for once;
//   - near a window of ours, and where no member is fit for it, it waits until it is too late;
//   - what failed is tried again with a growing pause, by others than those that failed.
func planFire(in fireInput) (*fsm.FirePlan, string) {
	p := in.plan
	if p.Disabled {
		return nil, ""
	}
	d, err := planStanding(p, in.at, in.bestNum())
	if err != nil {
		return nil, err.Error()
	}
	last, _ := in.state.Operation(p.Operation)
	running := last.Outcome == fsm.Running
	fire := &fsm.FirePlan{ID: p.ID, Due: p.Due, DueBlock: p.DueBlock, Try: p.Try, Next: d.next, NextBlock: d.block}
	skip := func(why string) (*fsm.FirePlan, string) {
		fire.Skip = fmt.Sprintf("it was due at %s: %s", d.what, why)
		return fire, ""
	}
	switch {
	case !d.due:
		return in.again(last)
	case running && d.again:
		return skip(fmt.Sprintf("%s %d, which it started before, is still running", last.Kind, last.ID))
	case running:
		return nil, fmt.Sprintf("%s %d, which it started before, is still running", last.Kind, last.ID)
	}
	start, reason := in.start(nil)
	switch {
	case d.missed && !p.CatchUp:
		return skip(cmp.Or(reason, "nobody led the cluster then"))
	case start == nil && d.again && reason == nothingToVerify:
		return skip(reason)
	case reason != "":
		return nil, reason
	}
	fire.Start = start
	return fire, ""
}

// again tries what failed again.
func (in fireInput) again(last fsm.Operation) (*fsm.FirePlan, string) {
	p := in.plan
	if p.Try >= p.Tries || last.Outcome != fsm.Failed && last.Outcome != fsm.Expired {
		return nil, ""
	}
	at := time.UnixMilli(last.Ended).Add(tryAgain << min(p.Try, 6))
	if in.at.Before(at) {
		return nil, fmt.Sprintf("%s %d failed: try %d of %d at %s", last.Kind, last.ID, p.Try+1, p.Tries, at.UTC().Format(time.RFC3339))
	}
	start, reason := in.start(in.failed())
	if reason != "" {
		return nil, reason
	}
	return &fsm.FirePlan{ID: p.ID, Due: p.Due, DueBlock: p.DueBlock, Try: p.Try, Again: true, Start: start}, ""
}

// tryAgain is how long after a failure it is tried again, the first time; each time after it twice as long.
const tryAgain = time.Minute

// failed are the members that failed at what the plan fired last.
func (in fireInput) failed() []string {
	var list []string
	for _, o := range in.state.Operations {
		if o.Task == nil || o.Task.Plan != in.plan.ID || o.Started < in.plan.Fired || o.Outcome == fsm.Done {
			continue
		}
		if _, ok := in.state.Members[o.Task.Member]; ok && in.plan.Task.Member == "" && !slices.Contains(list, o.Task.Member) {
			list = append(list, o.Task.Member)
		}
	}
	return list
}

const nothingToVerify = "there is no backup to verify"

// start is what the plan starts, and why that cannot be begun now.
func (in fireInput) start(avoid []string) (*fsm.StartOperation, string) {
	p, t := in.plan, in.plan.Task
	t.Plan, t.Avoid = p.ID, avoid
	t.Limit = cmp.Or(t.Limit, in.limit.Milliseconds())
	switch p.Name {
	case fsm.KindBackup:
		t.Backup = in.id
	case fsm.KindVerify:
		if t.Backup = toVerify(in.state, t); t.Backup == "" {
			return nil, nothingToVerify
		}
	}
	start := &fsm.StartOperation{Name: p.Name, Task: &t, Deadline: in.at.Add(taskPlanTime).UnixMilli()}
	// The state would refuse it, and who is refused asks again ever more rarely.
	if other, waits := in.state.WaitsFor(fsm.Operation{Kind: p.Name, Task: &t}); waits {
		return nil, fmt.Sprintf("%s %d goes first", other.Kind, other.ID)
	}
	if p.Blackout > 0 && !calm(in.state, in.slot(), chain.Slot(p.Blackout/chain.SlotMillis), false) { //nolint:gosec // G115: not negative
		return nil, "a window of ours is near"
	}
	id, reason := in.choose(p.Name, t)
	return start, cmp.Or(reason, in.begins(p.Name, t, id))
}

// toVerify is the backup of a repository that is to be verified next: the newest that never was, in that way; where all were, the one whose
// last time is the longest ago.
func toVerify(s *fsm.State, t fsm.Task) string {
	best := fsm.Backup{}
	verified := func(b fsm.Backup) int64 {
		if t.Trial && !b.Trial || b.Suspect {
			return 0
		}
		return b.Verified
	}
	for _, id := range slices.Sorted(maps.Keys(s.Backups)) {
		b := s.Backups[id]
		if b.Repository != t.Repository || b.State != fsm.BackupDone {
			continue
		}
		if best.ID == "" || cmp.Or(-cmp.Compare(verified(b), verified(best)), cmp.Compare(b.Created, best.Created)) > 0 {
			best = b
		}
	}
	return best.ID
}

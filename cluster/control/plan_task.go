package control

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"roundtable/chain"
	"roundtable/fsm"
)

const (
	// taskPlanTime is how long an operation on a backup waits for a member that is fit for it, before it begins.
	taskPlanTime = 10 * time.Minute
	// taskSilence is how long a member that is at work may not be heard of. A manager that ends and is started again is back by then.
	taskSilence = time.Minute
	// calmSlots are the slots before and after a window of ours in which no standby's node is stopped: 10 s.
	calmSlots = 20
)

// taskPlan is one look at an operation on a backup.
type taskPlan struct {
	look
	task fsm.Task
}

// planTask decides what an operation on a backup needs next. It looks at nothing but its input, so whoever leads decides the same: one
// member is chosen, and does one step after the other. Before the one that stops its node it waits until that can cost nothing
// (stoppable). What fails ends; a plan tries it again.
//
// Reports are hearsay and may be old. What must not happen whatever they say is refused by the state (no node of a holder) and by
// the member (task_member.go).
func planTask(in planInput) decision {
	p := taskPlan{look: newLook(in), task: *in.op.Task}
	switch p.step.Name {
	case fsm.StepQueued:
		return p.queued()
	case fsm.StepValidate:
		return p.begin()
	}
	if !p.step.Over() && !p.late() {
		return p.working()
	}
	fault := p.fault()
	next := in.op.NextStep()
	switch {
	case p.task.Cancel && p.step.Over():
		return p.finish(fsm.Canceled, "while its node was stopped")
	case fault != "":
		return p.finish(fsm.Failed, fault)
	case next == "":
		return p.finish(fsm.Done, "")
	case stops(next):
		if reason := p.stoppable(p.task.Member); reason != "" {
			return p.waitUntil(p.op.Deadline, reason)
		}
	}
	return p.turn(next, p.task.Member)
}

// stops reports whether a step of an operation on a backup stops a node.
func stops(step string) bool { return step == fsm.StepCopy || step == fsm.StepReplace }

func (p *taskPlan) turn(step string, members ...string) decision {
	limit := time.Duration(p.task.Limit) * time.Millisecond
	if step == fsm.StepValidate {
		limit = taskPlanTime
	}
	return decision{turn: &fsm.TurnOperation{ID: p.op.ID, Number: p.op.Number(), Step: step, Members: members, Deadline: p.at.Add(limit).UnixMilli()}}
}

// queued turns to the first step when nothing is before it any more.
func (p *taskPlan) queued() decision {
	switch {
	case p.state.Waits(p.op) && p.late():
		return p.finish(fsm.Failed, "the operation before it did not end in time")
	case p.state.Waits(p.op):
		return p.wait("another operation goes first")
	}
	return p.turn(fsm.StepValidate)
}

// begin chooses who does it, as soon as somebody is fit for it.
func (p *taskPlan) begin() decision {
	id, reason := p.choose(p.op.Kind, p.task)
	if reason == "" {
		reason = p.begins(p.op.Kind, p.task, id)
	}
	if reason == "" && p.task.Copies == fsm.CopiesSnapshot && !calm(p.state, p.slot(), calmSlots, false) { // nodeos stands still while it writes
		reason = "a window of ours is near"
	}
	if reason != "" {
		return p.waitUntil(max(p.op.Deadline, p.step.Since+taskPlanTime.Milliseconds()), reason)
	}
	return p.turn(p.op.NextStep(), id)
}

// begins says why an operation on a backup is not begun at a member although that is fit for it, or "": what it needs later is not
// there now.
func (p *look) begins(kind string, t fsm.Task, id string) string {
	if kind != fsm.KindBackup {
		return ""
	}
	if reason := p.unproductive(); reason != "" {
		return reason
	}
	if t.Copies == fsm.CopiesData {
		return p.lone(id)
	}
	return ""
}

func (p *look) slot() chain.Slot { return chain.SlotAt(p.millis()) }

// choose is the member that does a task: the one that is asked for, or of those that are fit for it the weakest candidate for production,
// so that the best standby stays ready to take over. Those that failed at it come last, before them those that are at work already, and
// those of which it is not known whether they have the repository. Where there is none the reason says so of each.
func (p *look) choose(kind string, t fsm.Task) (id, reason string) {
	var may, not []string
	for _, id := range p.weakestFirst(p.state.MemberIDs()) {
		if t.Member != "" && t.Member != id || p.state.Members[id].Witness {
			continue
		}
		if why := p.unable(kind, t, id); why != "" {
			not = append(not, id+" "+why)
			continue
		}
		may = append(may, id)
	}
	if len(may) == 0 {
		slices.Sort(not)
		return "", "nobody is fit for it: " + cmp.Or(strings.Join(not, "; "), "there is no such member")
	}
	slices.SortStableFunc(may, func(a, b string) int {
		return cmp.Or(
			cmpBool(slices.Contains(t.Avoid, a), slices.Contains(t.Avoid, b)),
			cmpBool(a == p.holder, b == p.holder),
			cmpBool(p.occupied(a), p.occupied(b)),
			cmpBool(p.peers[a].Report.Repositories == nil, p.peers[b].Report.Repositories == nil),
		)
	})
	return may[0], ""
}

// unable says why a member cannot do a task, or "".
func (p *look) unable(kind string, t fsm.Task, id string) string {
	known := p.peers[id].Report.Repositories
	of := kind == fsm.KindBackup || kind == fsm.KindRestore
	other, stopped := p.state.Working(id)
	switch {
	case p.away(id) != "":
		return p.away(id)
	case known != nil && !slices.Contains(known, t.Repository):
		return fmt.Sprintf("has no repository %q in its configuration", t.Repository)
	case id == p.holder && kind == fsm.KindRestore && p.state.Lease.Incarnation != p.state.Members[id].Incarnation:
		return "" // it holds what nobody can use any more, and its node may be all there is
	case id == p.holder && (of || kind == fsm.KindVerify):
		return "holds the lease"
	case stopped:
		return fmt.Sprintf("is worked on: %s %d", other.Kind, other.ID)
	case t.Member == "" && p.state.Members[id].Maintenance:
		return "is in maintenance"
	case kind == fsm.KindBackup && p.fit(id) != "":
		return p.fit(id)
	}
	if handoff, ok := p.state.HandoffOf(id); ok && t.Copies == fsm.CopiesSnapshot && kind == fsm.KindBackup {
		return fmt.Sprintf("takes part in handoff %d", handoff.ID)
	}
	return ""
}

// occupied reports whether a member is at work for another operation on a backup.
func (p *look) occupied(id string) bool {
	return slices.ContainsFunc(p.state.RunningOperations(), func(o fsm.Operation) bool {
		part, ok := o.Current().Part(id)
		return o.Task != nil && o.ID != p.op.ID && ok && part.Ended == 0
	})
}

// working watches a step that its member is at.
func (p *taskPlan) working() decision {
	part := p.step.Parts[0]
	id := part.Member
	heard := max(p.peers[id].Seen.UnixMilli(), p.step.Since, p.since.UnixMilli())
	if silent := time.Duration(p.millis()-heard) * time.Millisecond; silent > taskSilence {
		return p.finish(fsm.Failed, fmt.Sprintf("%s has not been heard of for %s, at step %q", id, taskSilence, p.step.Name))
	}
	if reason := p.away(id); reason != "" {
		return p.lacks("%s: %s, which %s", p.step.Name, id, reason)
	}
	if p.step.Name == fsm.StepCopy && !p.task.Cancel && p.outage() { // its node may be all that is left
		return decision{cancel: &fsm.CancelOperation{ID: p.op.ID, Reason: "nobody else can produce"}}
	}
	return p.wait("%s: %s: %s", p.step.Name, id, cmp.Or(part.Text, "begins"))
}

// stoppable says why a standby's node must not be stopped now for a backup of its data or for what replaces that, or "": the holder
// produces and is fit, another fit standby remains where there are three nodes or more, nobody else's node is stopped, and no window of
// ours is near, where the schedule leaves such gaps. With two nodes the holder is alone meanwhile. A node that nobody would choose for
// production, as it is, takes nothing away; and where nobody can produce there is nothing to lose.
func (p *look) stoppable(id string) string {
	candidate := p.fit(id) == ""
	switch reason := p.unproductive(); {
	case p.away(id) != "":
		return id + " " + p.away(id)
	case p.down(id) && p.outage():
		return ""
	case id == p.holder:
		return id + " holds the lease"
	case reason != "":
		return reason
	}
	for _, o := range p.state.RunningOperations() {
		if o.ID != p.op.ID && o.Disruptive() {
			return fmt.Sprintf("%s %d goes first", o.Kind, o.ID)
		}
	}
	if !candidate {
		return ""
	}
	if reason := p.lone(id); reason != "" {
		return reason
	}
	if !calm(p.state, p.slot(), calmSlots, true) {
		return "waits for the end of our next window"
	}
	return ""
}

// lone says that nobody fit would be left beside the holder while a member's node is stopped, where there are three nodes or more; else
// "".
func (p *look) lone(id string) string {
	nodes := 0
	for _, m := range p.state.Members {
		if !m.Witness {
			nodes++
		}
	}
	if nodes < 3 {
		return ""
	}
	list := weigh(p.state, p.peers, p.at, false)
	if slices.ContainsFunc(list, func(c Candidate) bool { return c.Fit && c.ID != id && c.ID != p.holder && p.alive(c.ID) }) {
		return ""
	}
	return fmt.Sprintf("no fit standby would be left while the node of %s is stopped: %s", id, cmp.Or(reasons(list), "none was heard of yet"))
}

// calm reports whether a slot is more than a margin away from each window of ours, before and after. Where no gap between them is that
// long any slot will do, and so where none of ours is scheduled. With early it must be in the first half of the gap, so that what begins
// now has time.
func calm(s *fsm.State, now chain.Slot, margin chain.Slot, early bool) bool {
	sched := s.Round.Schedule
	n := len(sched)
	own := func(slot chain.Slot) bool { return s.Cluster.Ours(sched[slot.Owner(n)]) }
	longest, run := 0, 0
	first := now.WindowFirst()
	for i := range 2 * n { // twice, so that a gap over the end of a round is seen whole
		if run++; own(first + chain.Slot(i)*chain.WindowSlots) {
			run = 0
		}
		longest = max(longest, run)
	}
	switch enough := 2*margin + chain.WindowSlots; {
	case longest >= n || chain.Slot(longest)*chain.WindowSlots < enough:
		return true
	case own(now):
		return false
	default:
		next, last := first, first
		for !own(next) {
			next += chain.WindowSlots
		}
		for !own(last) {
			last -= chain.WindowSlots
		}
		last = last.WindowLast()
		gap := next - last - 1
		return gap >= enough && now-last > margin && next-now > margin && (!early || now-last <= gap/2)
	}
}

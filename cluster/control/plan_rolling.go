package control

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"roundtable/fsm"
)

// How long the steps of a rolling operation may take that no member's limit bounds.
const (
	planTime     = fsm.PlanTime * time.Millisecond
	stageTime    = time.Hour        // a download from far away
	busyTime     = time.Hour        // that an upgrade which is ready waits for another operation's end
	snapshotTime = 30 * time.Minute // nodeos writes a whole chain state
	handOverTime = 5 * time.Minute  // up to three handoffs, each after a window of ours
	armTime      = time.Minute
	resumeTime   = 2 * time.Minute
	waitTime     = fsm.MaxWait * time.Millisecond
)

const (
	handOverTries = 3
	claimTime     = 5 * time.Second  // whoever took production so lately keeps it
	forkSilence   = 15 * time.Second // after which nobody waits for a member in a hard fork that others are through
	hearTime      = 10 * time.Second // a new leader ends nothing before it can have heard of everybody
	// armBlocks before the block of a hard fork the nodes are told to stop there: from then on no other operation begins.
	armBlocks = 600
	// lateBlocks before it is too late to tell all of them.
	lateBlocks = 20
)

// rollPlan is one look at a rolling operation.
type rollPlan struct {
	look
	roll fsm.Roll
}

// planRolling decides what a rolling operation needs next. It looks at nothing but its input, so whoever leads decides the same:
//
//   - a step of members goes on until its parts have ended or its deadline has passed;
//   - then the next member is turned to, standbys first and the weakest candidate first, as soon as ready says that its node may be
//     stopped; before the holder, production is handed over;
//   - what fails is undone where there is something to undo, and ends the operation.
//
// Reports are hearsay and may be old. What must not happen whatever they say is refused by the state (no node of a holder) and by
// the member (rolling_member.go).
func planRolling(in planInput) decision {
	p := rollPlan{look: newLook(in), roll: *in.op.Roll}
	if o, ok := p.child(); ok {
		return p.wait("handoff %d to %s, at %q", o.ID, o.Handoff.To, o.Current().Name)
	}
	switch p.step.Name {
	case fsm.StepQueued:
		return p.queued()
	case fsm.StepValidate:
		return p.validated()
	case fsm.StepHandOver:
		if p.roll.Fault != "" {
			return p.undo("")
		}
		return p.next()
	case fsm.StepTakeOver:
		return p.takeOver()
	case fsm.StepResume:
		return p.resume()
	}
	if !p.step.Over() && !p.late() {
		return p.working()
	}
	fault := p.fault()
	switch p.step.Name {
	case fsm.StepStage, fsm.StepTrigger, fsm.StepSnapshot:
		if fault != "" {
			return p.finish(fsm.Failed, fault)
		}
		return p.begin()
	case fsm.StepArm:
		return p.armed(fault)
	case fsm.StepFork:
		return p.forked(fault)
	case fsm.StepUndo:
		return p.undone(fault)
	}
	switch {
	case fault != "" && in.op.Kind == fsm.KindRestart:
		return p.finish(fsm.Failed, fault)
	case fault != "":
		return p.undo(fault)
	case p.roll.Cancel && len(p.state.Left(p.op)) > 0:
		return p.finish(fsm.Canceled, "by an operator, "+through(in.state, in.op))
	}
	return p.next()
}

// planBy is until when the step after this one must have begun.
func (p *rollPlan) planBy() int64 {
	last := p.step.Since
	if p.step.Name == fsm.StepHandOver || p.step.Name == fsm.StepTakeOver {
		_, child := p.tries()
		return max(last, child.Ended) + fsm.PlanTime
	}
	for _, part := range p.step.Parts {
		last = max(last, part.Ended)
	}
	return min(last+fsm.PlanTime, p.op.Deadline) // whatever the clock of a member said
}

func (p *rollPlan) turn(step string, deadline time.Duration, fault string, members ...string) decision {
	most := fsm.MaxStep * time.Millisecond
	if step == fsm.StepStage || step == fsm.StepTrigger {
		most = waitTime
	}
	return decision{turn: &fsm.TurnOperation{
		ID: p.op.ID, Number: p.op.Number(), Step: step, Members: members, Fault: fault, Deadline: p.at.Add(min(deadline, most)).UnixMilli(),
	}}
}

// limit is how long a member may take from its stop to its proof.
func (p *rollPlan) limit() time.Duration { return time.Duration(p.roll.Limit) * time.Millisecond }

// through says how far a rolling operation came.
func through(s *fsm.State, o fsm.Operation) string {
	text := fmt.Sprintf("%d of %d were done", len(o.Roll.Done), len(o.Roll.Members))
	if len(o.Roll.Done) > 0 {
		text += ": " + strings.Join(o.Roll.Done, ", ")
	}
	if len(o.Roll.Undone) > 0 {
		text += "; rolled back: " + strings.Join(o.Roll.Undone, ", ")
	}
	return text
}

// queued turns to the first step when nothing is before it any more.
func (p *rollPlan) queued() decision {
	switch {
	case p.state.Waits(p.op) && p.late():
		return p.finish(fsm.Failed, "the operation before it did not end in time")
	case p.state.Waits(p.op):
		return p.wait("another operation goes first")
	}
	return p.turn(fsm.StepValidate, planTime, "")
}

// validated begins, once what is asked for can be done.
func (p *rollPlan) validated() decision {
	if p.op.Kind != fsm.KindUpgrade {
		return p.next()
	}
	left := p.state.Left(p.op)
	var missing []string
	for _, id := range left {
		switch {
		case p.away(id) != "":
			missing = append(missing, id+" "+p.away(id))
		case p.state.Members[id].EntryVersion < 3:
			missing = append(missing, id+" has a program that knows no upgrades")
		case p.state.Homes[id].Runs.Tag == "" && !p.down(id): // one whose node cannot even be started is mended by it
			missing = append(missing, id+" has not said which version its node runs: has it a home folder with versions (roundtable init)?")
		}
	}
	switch {
	case len(missing) > 0:
		return p.waitUntil(p.planBy(), strings.Join(missing, "; "))
	case p.state.Needless(p.op):
		return p.finish(fsm.Done, "all run "+p.roll.Upgrade.Tag+" already")
	}
	return p.turn(fsm.StepStage, stageTime, "", left...)
}

// begin is what comes between the stage of a version and the first node that is stopped.
func (p *rollPlan) begin() decision {
	u := p.roll.Upgrade
	waited := p.step.Name != fsm.StepStage
	head := p.bestNum()
	switch {
	case u.HardFork && head == 0:
		return p.waitUntil(p.planBy(), "the head is not known yet")
	case u.HardFork && head+lateBlocks > u.AtBlock:
		return p.finish(fsm.Failed, fmt.Sprintf("the hard fork is at block %d, the head is block %d: too late", u.AtBlock, head))
	case !waited && u.HardFork && head+armBlocks < u.AtBlock,
		!waited && (!u.HardFork && u.AtBlock != 0 || u.Feature != "" || u.Row != nil):
		return p.turn(fsm.StepTrigger, waitTime, "", p.state.Left(p.op)...)
	}
	for _, other := range p.state.RunningOperations() {
		if other.ID != p.op.ID && other.Disruptive() {
			return p.waitUntil(p.planBy()+busyTime.Milliseconds(), fmt.Sprintf("%s %d goes first", other.Kind, other.ID))
		}
	}
	switch {
	case u.HardFork:
		return p.turn(fsm.StepArm, armTime, "", p.state.Left(p.op)...)
	case u.Snapshot && p.step.Name != fsm.StepSnapshot:
		for _, id := range p.weakestFirst(p.state.MemberIDs()) {
			if _, moving := p.state.HandoffOf(id); slices.Contains(p.roll.Members, id) && id != p.holder && p.fit(id) == "" && !moving { // nodeos stands still while it writes
				return p.turn(fsm.StepSnapshot, snapshotTime, "", id)
			}
		}
		return p.waitUntil(p.planBy(), "no fit standby to make the chain snapshot")
	}
	return p.next()
}

// working watches a step that its members are at.
func (p *rollPlan) working() decision {
	var at []string
	for _, part := range p.step.Parts {
		if part.Ended == 0 {
			at = append(at, part.Member)
		}
	}
	// Production came to it while the order to stop was on its way: it waits, and gives production away again.
	if len(at) == 1 && at[0] == p.holder && oneByOne(p.step.Name) {
		if failed, _ := p.tries(); len(failed) < handOverTries {
			if to := p.successor(failed, nil); to != "" {
				return decision{handoff: to}
			}
		}
		return p.lacks("%s holds the lease, and nobody can take it over", at[0])
	}
	// Nothing is stopped yet: why wait for somebody who is gone.
	if p.step.Name == fsm.StepStage || p.step.Name == fsm.StepSnapshot || p.step.Name == fsm.StepArm {
		for _, id := range at {
			if heard := p.peers[id].Seen; p.at.Sub(heard) > planTime && p.at.Sub(p.since) > planTime {
				return p.finish(fsm.Failed, fmt.Sprintf("%s has not been heard of for %s", id, planTime))
			}
		}
	}
	// Production stands still, and who is gone would not end it: it is put right when it comes back.
	gone := func(id string) bool { return p.at.Sub(p.peers[id].Seen) > forkSilence }
	if p.step.Name == fsm.StepFork && len(p.roll.Done) > 0 && p.at.Sub(p.since) > forkSilence && !slices.ContainsFunc(at, func(id string) bool { return !gone(id) }) {
		return p.finish(fsm.Failed, fmt.Sprintf("not heard of for %s: %s; through: %s", forkSilence, strings.Join(at, ", "), strings.Join(p.roll.Done, ", ")))
	}
	for i, id := range at {
		if !p.alive(id) {
			at[i] += " (not alive)"
		}
	}
	return p.wait("%s: %s", p.step.Name, strings.Join(at, ", "))
}

// oneByOne reports whether a step stops the node of one member.
func oneByOne(step string) bool {
	return step == fsm.StepRestart || step == fsm.StepSwitch || step == fsm.StepUndo
}

// next turns to the next member, or ends the operation when there is none.
func (p *rollPlan) next() decision {
	left := p.state.Left(p.op)
	if len(left) == 0 {
		return p.takeOver()
	}
	step := fsm.StepRestart
	if p.op.Kind == fsm.KindUpgrade {
		step = fsm.StepSwitch
	}
	if id := p.firstUp(left); id != "" {
		return p.turn(step, p.limit(), "", id)
	}
	if p.holder == "" {
		return p.waitUntil(p.planBy(), "nobody holds the lease")
	}
	if i := slices.IndexFunc(left, func(id string) bool { return !p.alive(id) }); i >= 0 { // it would fail there, so nobody else is stopped for it
		return p.waitUntil(p.planBy(), left[i]+" "+p.away(left[i]))
	}
	standbys := p.weakestFirst(slices.DeleteFunc(slices.Clone(left), func(id string) bool { return id == p.holder }))
	if len(standbys) == 0 {
		return p.handOver(p.roll.Done)
	}
	target := standbys[0]
	if reason, culprit := p.ready(target, p.roll.Done); reason != "" {
		return p.notReady(reason, culprit)
	}
	return p.turn(step, p.limit(), "", target)
}

package control

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"roundtable/chain"
	"roundtable/cluster/health"
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

// rollInput is all that planRolling looks at.
type rollInput struct {
	state *fsm.State
	op    fsm.Operation // running, rolling
	peers map[string]health.Peer
	at    time.Time
	since time.Time // when this leader began to lead
}

// rollDecision is what is to be done now: at most one of turn, handoff and finish, or why nothing.
type rollDecision struct {
	turn    *fsm.TurnOperation
	handoff string // the member that production is to be handed to
	finish  *fsm.FinishOperation
	wait    string
}

// rollPlan is one look at a rolling operation.
type rollPlan struct {
	rollInput
	roll   fsm.Roll
	step   fsm.Step
	best   chain.Slot
	holder string // of the open lease; "" for nobody
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
func planRolling(in rollInput) rollDecision {
	p := rollPlan{rollInput: in, roll: *in.op.Roll, step: in.op.Current(), best: bestHead(in.state, in.peers)}
	if in.state.Lease.Open() {
		p.holder = in.state.Lease.Holder
	}
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

// child is the handoff of this operation that is under way.
func (p *rollPlan) child() (fsm.Operation, bool) {
	for _, o := range p.state.RunningOperations() {
		if o.Parent == p.op.ID && o.Handoff != nil {
			return o, true
		}
	}
	return fsm.Operation{}, false
}

// own reports whether a handoff is one that the planner wanted (rolling.go), and not an operator's nor that of a manager that stops:
// both say "now", or on whose behalf.
func (p *rollPlan) own(o fsm.Operation) bool {
	return o.Parent == p.op.ID && o.Handoff != nil && o.Handoff.When == ownHandoff && o.Actor == ""
}

// ownHandoff is when the handoffs of rolling operations happen.
const ownHandoff = "safe"

// tries are the own handoffs of this operation since the last one that came through: to whom, oldest first.
func (p *rollPlan) tries() (failed []string, last fsm.Operation) {
	for _, o := range p.state.Operations {
		if !p.own(o) || o.Outcome == fsm.Running {
			continue
		}
		if last = o; o.Outcome == fsm.Done {
			failed = nil
		} else {
			failed = append(failed, o.Handoff.To)
		}
	}
	return failed, last
}

func (p *rollPlan) millis() int64 { return p.at.UnixMilli() }

// late reports whether the step's deadline has passed.
func (p *rollPlan) late() bool { return p.millis() > p.op.Deadline }

// fault is what failed in a step of members that is over, or whose time is.
func (p *rollPlan) fault() string {
	if p.step.Over() {
		return p.step.Faults()
	}
	var away []string
	for _, part := range p.step.Parts {
		switch {
		case part.Fault != "":
			away = append(away, part.Member+": "+part.Fault)
		case part.Ended == 0:
			text := fmt.Sprintf("%s did not %s within %s", part.Member, verb(p.step.Name), p.lasted())
			switch {
			case p.away(part.Member) != "":
				text += ": it " + p.away(part.Member)
			case part.Text != "":
				text += ": " + part.Text
			}
			away = append(away, text)
		}
	}
	return strings.Join(away, "; ")
}

// lasted is how long the step was given.
func (p *rollPlan) lasted() time.Duration {
	return (time.Duration(p.op.Deadline-p.step.Since) * time.Millisecond).Round(time.Second)
}

func verb(step string) string {
	switch step {
	case fsm.StepStage:
		return "make the version ready"
	case fsm.StepTrigger:
		return "see what the upgrade waits for"
	case fsm.StepSnapshot:
		return "make the chain snapshot"
	case fsm.StepArm:
		return "tell its node where to stop"
	}
	return "come back"
}

func (p *rollPlan) wait(format string, args ...any) rollDecision {
	return rollDecision{wait: fmt.Sprintf(format, args...)}
}

// waitUntil waits for what the reason says is missing, and gives up at the deadline.
func (p *rollPlan) waitUntil(deadline int64, reason string) rollDecision {
	if p.millis() <= max(deadline, p.since.Add(hearTime).UnixMilli()) {
		return rollDecision{wait: reason}
	}
	return p.finish(fsm.Failed, reason)
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

func (p *rollPlan) turn(step string, deadline time.Duration, fault string, members ...string) rollDecision {
	most := fsm.MaxStep * time.Millisecond
	if step == fsm.StepStage || step == fsm.StepTrigger {
		most = waitTime
	}
	return rollDecision{turn: &fsm.TurnOperation{
		ID: p.op.ID, Number: p.op.Number(), Step: step, Members: members, Fault: fault, Deadline: p.at.Add(min(deadline, most)).UnixMilli(),
	}}
}

func (p *rollPlan) finish(outcome fsm.Outcome, reason string) rollDecision {
	return rollDecision{finish: &fsm.FinishOperation{ID: p.op.ID, Step: p.step.Name, Number: p.op.Number(), Outcome: outcome, Reason: reason}}
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
func (p *rollPlan) queued() rollDecision {
	switch {
	case p.state.Waits(p.op) && p.late():
		return p.finish(fsm.Failed, "the operation before it did not end in time")
	case p.state.Waits(p.op):
		return p.wait("another operation goes first")
	}
	return p.turn(fsm.StepValidate, planTime, "")
}

// validated begins, once what is asked for can be done.
func (p *rollPlan) validated() rollDecision {
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
func (p *rollPlan) begin() rollDecision {
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
			if slices.Contains(p.roll.Members, id) && id != p.holder && p.fit(id) == "" {
				return p.turn(fsm.StepSnapshot, snapshotTime, "", id)
			}
		}
		return p.waitUntil(p.planBy(), "no fit standby to make the chain snapshot")
	}
	return p.next()
}

// working watches a step that its members are at.
func (p *rollPlan) working() rollDecision {
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
				return rollDecision{handoff: to}
			}
		}
		return p.wait("%s holds the lease, and nobody can take it over", at[0])
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
func (p *rollPlan) next() rollDecision {
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

// outageSlots is how long nobody may have produced before that counts as an outage: 10 s.
const outageSlots = 20

// outage reports whether nobody produces nor could, and that not only for a moment: then there is nothing that a stop could cost. By the
// state alone nobody may sign any more; who does not is told by reports, and a leader that hears nobody knows nothing.
func (p *rollPlan) outage() bool {
	l := p.state.Lease
	heard := false
	for _, id := range p.state.MemberIDs() {
		if p.state.Members[id].Witness || !p.alive(id) {
			continue
		}
		if heard = true; p.fit(id) == "" {
			return false
		}
	}
	if _, at := p.child(); at {
		return false
	}
	return heard && chain.SlotAt(p.millis()) > l.Last+outageSlots && p.at.Sub(p.since) > hearTime
}

// firstUp is the member whose node is started first in an outage, "" in none: one whose node is down, and who does not hold the open
// lease. Once its node answers it is given the lease, as the only one that is well enough, and proved by the blocks that it makes
// itself; the others follow as always.
func (p *rollPlan) firstUp(ids []string) string {
	if !p.outage() {
		return ""
	}
	for _, id := range slices.Backward(p.weakestFirst(ids)) {
		if id != p.holder && p.alive(id) && p.down(id) {
			return id
		}
	}
	return ""
}

// down reports whether a member says that its node does not run.
func (p *rollPlan) down(id string) bool {
	switch p.peers[id].Report.Node {
	case "backoff", "failed", "stopped":
		return true
	}
	return false
}

// notReady waits for what keeps the next node from being stopped. Where it is a member that is through and does not stay well, that
// member is rolled back in the end.
func (p *rollPlan) notReady(reason, culprit string) rollDecision {
	d := p.waitUntil(p.planBy(), reason)
	if d.finish == nil || d.finish.Outcome != fsm.Failed || p.op.Kind == fsm.KindRestart || culprit == "" || p.roll.Fault != "" || culprit == p.holder || !p.alive(culprit) || !slices.Contains(p.roll.Done, culprit) {
		return d
	}
	return p.turn(fsm.StepUndo, p.limit(), reason, culprit)
}

// ready says why a standby's node must not be stopped now, or "": the holder produces and is fit, so are all that were restarted,
// and the standby's manager is there. culprit is the member that it is about.
func (p *rollPlan) ready(target string, done []string) (reason, culprit string) {
	if reason := p.unproductive(); reason != "" {
		return reason, p.holder
	}
	for _, id := range done {
		if _, ok := p.state.Members[id]; !ok || id == target {
			continue
		}
		if reason := p.fit(id); reason != "" {
			how := "done"
			if slices.Contains(p.roll.Undone, id) {
				how = "rolled back"
			}
			return fmt.Sprintf("%s, which was %s, %s", id, how, reason), id
		}
		if reason := p.away(id); reason != "" {
			return id + " " + reason, id
		}
	}
	if reason := p.away(target); reason != "" {
		return target + " " + reason, target
	}
	for _, id := range p.state.MemberIDs() {
		if o, ok := p.state.Working(id); ok && o.ID != p.op.ID {
			return fmt.Sprintf("the node of %s is stopped by %s %d", id, o.Kind, o.ID), id
		}
	}
	return "", ""
}

// unproductive says why production cannot be relied on now, or "".
func (p *rollPlan) unproductive() string {
	l := p.state.Lease
	switch {
	case p.holder == "":
		return "nobody holds the lease"
	case chain.SlotAt(p.millis()) > l.Last+1:
		return fmt.Sprintf("the lease of %s has run out", p.holder)
	case p.state.Members[p.holder].Incarnation != l.Incarnation:
		return fmt.Sprintf("the holder, %s, was restarted", p.holder)
	}
	if reason := p.fit(p.holder); reason != "" {
		return fmt.Sprintf("the holder, %s, %s", p.holder, reason)
	}
	if reason := p.away(p.holder); reason != "" {
		return fmt.Sprintf("the holder, %s, %s", p.holder, reason)
	}
	return ""
}

// fit says why a member would not be taken for a holder, by an operator; "" if it would.
func (p *rollPlan) fit(id string) string {
	return unfit(p.state, id, p.peers[id], p.best, p.at, true)
}

// alive reports whether a member's manager is there: its node may be in any state.
func (p *rollPlan) alive(id string) bool { return p.away(id) == "" }

// away says why a member's manager does not count as being there, "" if it does. Who died with the leader before looks well for a
// second yet, so what a new leader heard before does not count.
func (p *rollPlan) away(id string) string {
	peer := p.peers[id]
	switch {
	case !peer.Alive || p.at.Sub(peer.Seen) > fresh || peer.Report.Incarnation != p.state.Members[id].Incarnation:
		return "is not alive"
	case !peer.Seen.After(p.since):
		return "has not been heard of by this leader yet"
	}
	return ""
}

// thereNow reports whether a member was heard of since production was last to be handed over. There is no hurry, so production goes
// to nobody who may have died since its last word.
func (p *rollPlan) thereNow(id string) bool {
	_, last := p.tries()
	return p.alive(id) && p.peers[id].Seen.UnixMilli() > max(p.step.Since, last.Ended)
}

// weakestFirst sorts members: the best candidate for production comes last.
func (p *rollPlan) weakestFirst(ids []string) []string {
	var list []string
	for _, c := range slices.Backward(weigh(p.state, p.peers, p.at, false)) {
		if slices.Contains(ids, c.ID) {
			list = append(list, c.ID)
		}
	}
	return list
}

// successor is the best fit member to hand production to, "" for none: one of the preferred where there is one, and one that was not
// tried yet. It is none that an operator keeps from producing.
func (p *rollPlan) successor(tried, preferred []string) string {
	best, rank := "", 0
	for _, c := range weigh(p.state, p.peers, p.at, false) {
		if !c.Fit || c.ID == p.holder || !p.thereNow(c.ID) {
			continue
		}
		r := 1
		if slices.Contains(preferred, c.ID) {
			r += 2
		}
		if !slices.Contains(tried, c.ID) {
			r++
		}
		if r > rank {
			best, rank = c.ID, r
		}
	}
	return best
}

// handOver makes another member produce, one of the preferred if it can be: the holder is the only one left.
func (p *rollPlan) handOver(preferred []string) rollDecision {
	if p.step.Name != fsm.StepHandOver {
		if reason, culprit := p.ready(p.holder, p.settled()); reason != "" {
			return p.notReady(reason, culprit)
		}
		return p.turn(fsm.StepHandOver, handOverTime, "")
	}
	failed, last := p.tries()
	if len(failed) >= handOverTries {
		return p.finish(fsm.Failed, fmt.Sprintf("production cannot be handed over: handoff %d to %s: %s", last.ID, last.Handoff.To, last.Reason))
	}
	to := p.successor(failed, preferred)
	switch reason := p.unproductive(); {
	case reason != "":
		return p.waitUntil(p.planBy(), reason)
	case to == "":
		return p.waitUntil(p.planBy(), "nobody to hand production over to: "+cmp.Or(reasons(weigh(p.state, p.peers, p.at, false)), "none was heard of yet"))
	case p.late(): // it would not be over in time
		return p.waitUntil(p.planBy(), "production was not handed over in time")
	}
	return rollDecision{handoff: to}
}

// settled are those that must be well before another node is stopped.
func (p *rollPlan) settled() []string {
	if p.roll.Fault != "" {
		return p.roll.Undone
	}
	return p.roll.Done
}

// takeOver ends an operation whose members are all through, where it is wanted after the last of them has taken production over.
func (p *rollPlan) takeOver() rollDecision {
	done := p.finish(fsm.Done, "")
	if !p.roll.TakeOver || len(p.roll.Done) == 0 || p.roll.Cancel || p.holder == "" {
		return done
	}
	last := p.roll.Done[len(p.roll.Done)-1]
	failed, child := p.tries()
	switch {
	case last == p.holder:
		return done
	case p.claimed():
		return p.finish(fsm.Done, fmt.Sprintf("%s took production less than %s ago and keeps it", p.holder, claimTime))
	case len(failed) >= handOverTries:
		return p.finish(fsm.Done, fmt.Sprintf("all are through, but %s did not take production over: handoff %d: %s", last, child.ID, child.Reason))
	case p.step.Name == fsm.StepTakeOver && p.late():
		return p.finish(fsm.Done, fmt.Sprintf("all are through, but %s did not take production over in time", last))
	}
	if reason := cmp.Or(p.unproductive(), unfit(p.state, last, p.peers[last], p.best, p.at, false)); reason != "" {
		if p.millis() > max(p.planBy(), p.since.Add(hearTime).UnixMilli()) {
			return p.finish(fsm.Done, fmt.Sprintf("all are through, but %s did not take production over: %s", last, reason))
		}
		return p.wait("%s is to take production over: %s", last, reason)
	}
	if p.step.Name != fsm.StepTakeOver {
		return p.turn(fsm.StepTakeOver, handOverTime, "")
	}
	return rollDecision{handoff: last}
}

// claimed reports whether the lease changed hands lately, other than by this operation's own handoffs.
func (p *rollPlan) claimed() bool {
	l := p.state.Lease
	if p.at.Sub(time.UnixMilli(l.First.UnixMilli())) >= claimTime {
		return false
	}
	return !slices.ContainsFunc(p.state.Operations, func(o fsm.Operation) bool {
		return p.own(o) && o.Handoff.To == l.Holder && o.Handoff.Epoch+1 == l.Epoch
	})
}

// undo rolls back: who failed first, then where that is wanted those that were through, the holder last. fault is what happened,
// where nothing is undone yet.
func (p *rollPlan) undo(fault string) rollDecision {
	first, gone := p.failing(), []string(nil)
	if p.millis() > p.since.Add(hearTime).UnixMilli() { // whoever is gone is put right by the state when it comes back
		gone = slices.DeleteFunc(slices.Clone(first), p.alive)
		first = slices.DeleteFunc(slices.Clone(first), func(id string) bool { return slices.Contains(gone, id) })
	}
	left := first
	if len(left) == 0 && p.roll.Upgrade != nil && p.roll.Upgrade.UndoAll {
		left = slices.DeleteFunc(slices.Clone(p.roll.Done), func(id string) bool { return p.state.Members[id].ID == "" || p.noWayBack(id) })
	}
	if len(left) == 0 {
		reason := cmp.Or(fault, p.told())
		if len(gone) > 0 {
			reason += "; to be put right when it comes back: " + strings.Join(gone, ", ")
		}
		return p.finish(fsm.Failed, reason)
	}
	standbys := p.weakestFirst(slices.DeleteFunc(slices.Clone(left), func(id string) bool { return id == p.holder }))
	if len(standbys) == 0 {
		d := p.handOver(slices.DeleteFunc(p.state.MemberIDs(), func(id string) bool { return slices.Contains(p.roll.Done, id) }))
		switch {
		case d.turn != nil:
			d.turn.Fault = fault
		case d.finish != nil:
			d.finish.Outcome, d.finish.Reason = fsm.Failed, cmp.Or(fault, p.told())+"; "+d.finish.Reason
		}
		return d
	}
	target := standbys[0]
	if p.noWayBack(target) {
		return p.finish(fsm.Failed, cmp.Or(fault, p.told())+"; not rolled back: nobody knows what "+target+" ran before")
	}
	if len(first) == 0 { // its node is well: it waits until it may be stopped
		if reason, _ := p.ready(target, p.roll.Undone); reason != "" {
			d := p.waitUntil(p.planBy(), reason)
			if d.finish != nil {
				d.finish.Outcome, d.finish.Reason = fsm.Failed, p.told()+"; "+reason
			}
			return d
		}
	}
	return p.turn(fsm.StepUndo, p.limit(), fault, target)
}

// noWayBack reports whether nobody knows which version a member's node ran before an upgrade: it could not be started.
func (p *rollPlan) noWayBack(id string) bool {
	before := p.roll.Before[id]
	return p.op.Kind == fsm.KindUpgrade && before.Tag == "" && before.Runs.Tag == ""
}

// failing are the members that failed and are not rolled back yet.
func (p *rollPlan) failing() []string {
	var list []string
	for _, step := range p.op.Steps {
		switch step.Name {
		case fsm.StepRestart, fsm.StepSwitch, fsm.StepFork:
		default:
			continue
		}
		for _, part := range step.Parts {
			_, member := p.state.Members[part.Member]
			if member && (part.Ended == 0 || part.Fault != "") && !slices.Contains(p.roll.Undone, part.Member) && !slices.Contains(p.roll.Done, part.Member) && !slices.Contains(list, part.Member) {
				list = append(list, part.Member)
			}
		}
	}
	return list
}

// undone goes on after a member was rolled back, or was not.
func (p *rollPlan) undone(fault string) rollDecision {
	if fault == "" {
		return p.undo("")
	}
	return p.finish(fsm.Failed, p.told()+"; not rolled back: "+fault)
}

// told is what went wrong, and how the members were left.
func (p *rollPlan) told() string {
	text := p.roll.Fault
	if len(p.roll.Undone) > 0 {
		text += "; rolled back: " + strings.Join(p.roll.Undone, ", ")
	}
	if len(p.roll.Done) > 0 {
		text += "; through: " + strings.Join(p.roll.Done, ", ")
	}
	return text
}

// bestNum is the highest head among the live members.
func (p *rollPlan) bestNum() uint32 {
	var best uint32
	for id := range maps.Keys(p.state.Members) {
		if p.alive(id) {
			best = max(best, p.peers[id].Report.Head.Num)
		}
	}
	return best
}

// armed goes on to the hard fork once all nodes were told to stop there.
func (p *rollPlan) armed(fault string) rollDecision {
	at, head := p.roll.Upgrade.AtBlock, p.bestNum()
	switch {
	case fault != "":
		return p.finish(fsm.Failed, fault)
	case head == 0:
		return p.waitUntil(p.planBy(), "the head is not known yet")
	case head >= at:
		return p.finish(fsm.Failed, fmt.Sprintf("the head is block %d already, the hard fork is at block %d", head, at))
	}
	until := 2 * time.Duration(at-head) * chain.SlotMillis * time.Millisecond
	return p.turn(fsm.StepFork, until+p.limit(), "", p.state.Left(p.op)...)
}

// forked goes on behind the hard fork.
func (p *rollPlan) forked(fault string) rollDecision {
	switch {
	case fault == "":
		return p.turn(fsm.StepResume, resumeTime, "")
	case len(p.roll.Done) == 0:
		return p.undo(fault)
	}
	return p.finish(fsm.Failed, fault+"; through: "+strings.Join(p.roll.Done, ", "))
}

// resume ends a hard fork once there is a block behind it.
func (p *rollPlan) resume() rollDecision {
	at, head := p.roll.Upgrade.AtBlock, p.bestNum()
	switch {
	case head > at:
		return p.finish(fsm.Done, fmt.Sprintf("block %d is behind the hard fork", head))
	case p.late():
		return p.waitUntil(p.op.Deadline, fmt.Sprintf("all nodes were switched at block %d, but no block came after it", at))
	}
	return p.wait("no block behind the hard fork yet")
}

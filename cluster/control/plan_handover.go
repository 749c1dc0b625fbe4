package control

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"roundtable/fsm"
)

// child is the handoff of this operation that is under way.
func (p *look) child() (fsm.Operation, bool) {
	for _, o := range p.state.RunningOperations() {
		if o.Parent == p.op.ID && o.Handoff != nil {
			return o, true
		}
	}
	return fsm.Operation{}, false
}

// own reports whether a handoff is one that the planner wanted (operation_leader.go), and not an operator's nor that of a manager that stops:
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
func (p *rollPlan) handOver(preferred []string) decision {
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
	return decision{handoff: to}
}

// takeOver ends an operation whose members are all through, where it is wanted after the last of them has taken production over.
func (p *rollPlan) takeOver() decision {
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
		return p.lacks("%s is to take production over: %s", last, reason)
	}
	if p.step.Name != fsm.StepTakeOver {
		return p.turn(fsm.StepTakeOver, handOverTime, "")
	}
	return decision{handoff: last}
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

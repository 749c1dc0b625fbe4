package control

import (
	"cmp"
	"slices"
	"strings"

	"roundtable/fsm"
)

// undo rolls back: who failed first, then where that is wanted those that were through, the holder last. fault is what happened,
// where nothing is undone yet.
func (p *rollPlan) undo(fault string) decision {
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
func (p *rollPlan) undone(fault string) decision {
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

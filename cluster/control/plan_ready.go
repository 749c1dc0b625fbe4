package control

import (
	"fmt"
	"slices"

	"roundtable/chain"
	"roundtable/fsm"
)

// outageSlots is how long nobody may have produced before that counts as an outage: 10 s.
const outageSlots = 20

// outage reports whether nobody produces nor could, and that not only for a moment: then there is nothing that a stop could cost. By the
// state alone nobody may sign any more; who does not is told by reports, and a leader that hears nobody knows nothing.
func (p *look) outage() bool {
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
func (p *look) firstUp(ids []string) string {
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
func (p *look) down(id string) bool {
	switch p.peers[id].Report.Node {
	case "backoff", "failed", "stopped":
		return true
	}
	return false
}

// notReady waits for what keeps the next node from being stopped. Where it is a member that is through and does not stay well, that
// member is rolled back in the end.
func (p *rollPlan) notReady(reason, culprit string) decision {
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
func (p *look) unproductive() string {
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
func (p *look) fit(id string) string {
	return unfit(p.state, id, p.peers[id], p.best, p.at, true)
}

// alive reports whether a member's manager is there: its node may be in any state.
func (p *look) alive(id string) bool { return p.away(id) == "" }

// away says why a member's manager does not count as being there, "" if it does. Who died with the leader before looks well for a
// second yet, so what a new leader heard before does not count.
func (p *look) away(id string) string {
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
func (p *look) weakestFirst(ids []string) []string {
	var list []string
	for _, c := range slices.Backward(weigh(p.state, p.peers, p.at, false)) {
		if slices.Contains(ids, c.ID) {
			list = append(list, c.ID)
		}
	}
	return list
}

// settled are those that must be well before another node is stopped.
func (p *rollPlan) settled() []string {
	if p.roll.Fault != "" {
		return p.roll.Undone
	}
	return p.roll.Done
}

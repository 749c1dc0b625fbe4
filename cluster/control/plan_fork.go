package control

import (
	"fmt"
	"maps"
	"strings"
	"time"

	"roundtable/chain"
	"roundtable/fsm"
)

// bestNum is the highest head among the live members.
func (p *look) bestNum() uint32 {
	var best uint32
	for id := range maps.Keys(p.state.Members) {
		if p.alive(id) {
			best = max(best, p.peers[id].Report.Head.Num)
		}
	}
	return best
}

// armed goes on to the hard fork once all nodes were told to stop there.
func (p *rollPlan) armed(fault string) decision {
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
func (p *rollPlan) forked(fault string) decision {
	switch {
	case fault == "":
		return p.turn(fsm.StepResume, resumeTime, "")
	case len(p.roll.Done) == 0:
		return p.undo(fault)
	}
	return p.finish(fsm.Failed, fault+"; through: "+strings.Join(p.roll.Done, ", "))
}

// resume ends a hard fork once there is a block behind it.
func (p *rollPlan) resume() decision {
	at, head := p.roll.Upgrade.AtBlock, p.bestNum()
	switch {
	case head > at:
		return p.finish(fsm.Done, fmt.Sprintf("block %d is behind the hard fork", head))
	case p.late():
		return p.waitUntil(p.op.Deadline, fmt.Sprintf("all nodes were switched at block %d, but no block came after it", at))
	}
	return p.lacks("no block behind the hard fork yet")
}

package control

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"roundtable/chain"
	"roundtable/cluster/health"
	"roundtable/fsm"
)

// planInput is all that the planners of operations look at.
type planInput struct {
	state *fsm.State
	op    fsm.Operation // running
	peers map[string]health.Peer
	at    time.Time
	since time.Time // when this leader began to lead
}

// decision is what is to be done now: at most one of turn, handoff, cancel and finish, or why nothing.
type decision struct {
	turn    *fsm.TurnOperation
	handoff string // the member that production is to be handed to
	cancel  *fsm.CancelOperation
	finish  *fsm.FinishOperation
	wait    string
	lacks   bool // wait is about something that is not as it should be, and not about those who are at work
}

// look is one look at an operation, and at the members.
type look struct {
	planInput
	step   fsm.Step
	best   chain.Slot
	holder string // of the open lease; "" for nobody
}

func newLook(in planInput) look {
	p := look{planInput: in, step: in.op.Current(), best: bestHead(in.state, in.peers)}
	if in.state.Lease.Open() {
		p.holder = in.state.Lease.Holder
	}
	return p
}

func (p *look) millis() int64 { return p.at.UnixMilli() }

// late reports whether the step's deadline has passed.
func (p *look) late() bool { return p.millis() > p.op.Deadline }

// fault is what failed in a step of members that is over, or whose time is.
func (p *look) fault() string {
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
func (p *look) lasted() time.Duration {
	return (time.Duration(p.op.Deadline-p.step.Since) * time.Millisecond).Round(time.Second)
}

// verbs say what a member is to do in a step.
var verbs = map[string]string{
	fsm.StepStage:    "make the version ready",
	fsm.StepTrigger:  "see what the upgrade waits for",
	fsm.StepSnapshot: "make the chain snapshot",
	fsm.StepArm:      "tell its node where to stop",
	fsm.StepPrepare:  "store ahead what it can",
	fsm.StepCopy:     "copy its node's data and come back",
	fsm.StepStore:    "store the backup",
	fsm.StepFetch:    "fetch the backup",
	fsm.StepReplace:  "come back with the backup's data",
	fsm.StepCheck:    "check the backup",
	fsm.StepSweep:    "sweep the repository",
	fsm.StepScan:     "scan the repository",
}

func verb(step string) string { return cmp.Or(verbs[step], "come back") }

func (p *look) wait(format string, args ...any) decision {
	return decision{wait: fmt.Sprintf(format, args...)}
}

// lacks waits for something that is not as it should be.
func (p *look) lacks(format string, args ...any) decision {
	d := p.wait(format, args...)
	d.lacks = true
	return d
}

// waitUntil waits for what the reason says is missing, and gives up at the deadline.
func (p *look) waitUntil(deadline int64, reason string) decision {
	if p.millis() <= max(deadline, p.since.Add(hearTime).UnixMilli()) {
		return p.lacks("%s", reason)
	}
	return p.finish(fsm.Failed, reason)
}

func (p *look) finish(outcome fsm.Outcome, reason string) decision {
	return decision{finish: &fsm.FinishOperation{ID: p.op.ID, Step: p.step.Name, Number: p.op.Number(), Outcome: outcome, Reason: reason}}
}

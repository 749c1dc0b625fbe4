package api

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"roundtable/cluster/control"
)

// Alarms older than this are left to the history.
const recent = time.Hour

// alarms says what is wrong, the worst first: what breaks the promise, what stops production, what would at the next
// failure, and what else an operator should know.
func (v sight) alarms() []string {
	list := []string{}
	say := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	v.promiseAlarms(say)
	v.productionAlarms(say)
	v.memberAlarms(say)
	v.roundAlarms(say)
	v.backupAlarms(say)
	return list
}

type sayer func(format string, args ...any)

func (v sight) promiseAlarms(say sayer) {
	ids := v.state.MemberIDs()
	for _, id := range ids {
		doubled := v.peers[id].Report.Doubled
		if id == v.self {
			doubled = max(doubled, v.doubled)
		}
		if doubled > 0 {
			say("DOUBLED: member %s saw %d blocks of ours that this cluster did not sign, or signed differently; see: roundtable history", id, doubled)
		}
	}
	for _, e := range slices.Backward(v.state.History) {
		if strings.HasPrefix(e.Kind, "alarm.") && v.now.UnixMilli()-e.At < recent.Milliseconds() {
			say("%s at %s: %s %s", strings.ToUpper(strings.TrimPrefix(e.Kind, "alarm.")), stamp(e.At), e.Subject, e.Text)
			break
		}
	}
	for _, id := range ids {
		if reason := v.peers[id].Report.Sealed; reason != "" {
			say("the gate of member %s is closed until it is restarted: %s", id, reason)
		}
	}
}

func (v sight) productionAlarms(say sayer) {
	if v.leader == "" {
		say("no raft leader is known here: nothing can be changed until a majority of the members reach each other")
	}
	l := v.state.Lease
	if !v.held() {
		switch {
		case l.Epoch == 0:
			say("nobody may sign: there was no lease yet: %s", v.reason())
		case l.Released:
			say("nobody may sign: %s released the lease at slot %d: %s", l.Holder, l.Last, v.reason())
		default:
			say("nobody may sign: the lease of %s ended with slot %d (%s): %s", l.Holder, l.Last, slotAt(l.Last), v.reason())
		}
		return
	}
	p := v.peers[l.Holder]
	if silence := v.silence(); silence != "" {
		say("%s", silence)
		return
	}
	for _, c := range v.candidates {
		if c.ID == l.Holder && !c.Fit && p.Alive {
			say("the holder %s is not fit: %s", c.ID, c.Reason)
		}
	}
	if p.Alive && p.Report.Paused {
		say("production is paused on the node of the holder %s", l.Holder)
	}
}

func (v sight) memberAlarms(say sayer) {
	members, alive := v.members(), 0
	standby := false
	for _, m := range members {
		switch {
		case !m.Alive && m.Role == RoleHolder && v.silence() != "": // told
		case !m.Alive && m.SeenSeconds < 0:
			say("member %s is not alive: nothing was heard of it since this manager started", m.ID)
		case !m.Alive:
			say("member %s is not alive: last heard %.0f s ago", m.ID, m.SeenSeconds)
		default:
			alive++
			switch wanted := !m.Fit && m.Sealed == ""; {
			case wanted && m.Role != RoleWitness && !v.held(): // why nobody may sign
				say("member %s is not fit: %s", m.ID, m.Reason)
			case wanted && m.Role == RoleStandby && !m.Maintenance && !m.NoFailover:
				say("standby %s is not fit: %s", m.ID, m.Reason)
			}
		}
		standby = standby || m.Role == RoleStandby && m.Fit
	}
	if len(members) > 1 && !standby && v.held() {
		say("no fit standby: if the holder fails, production stops")
	}
	switch majority := len(members)/2 + 1; {
	case v.leader == "" || alive == len(members) || alive > majority:
	case alive == majority:
		say("%d of %d members are alive: one more loss stops the cluster", alive, len(members))
	default:
		say("%d of %d members are alive, which is no majority: the cluster is about to stop", alive, len(members))
	}
	v.voterAlarm(say)
}

// voterAlarm tells of members without a vote: the cluster survives fewer losses than its size promises.
func (v sight) voterAlarm(say sayer) {
	voters := 0
	var without, taken []string
	for _, p := range v.servers {
		if p.Suffrage == "voter" {
			voters++
		}
	}
	for _, id := range v.state.MemberIDs() {
		switch {
		case v.suffrage(id) == "voter":
		case v.state.Members[id].Nonvoter:
			taken = append(taken, id)
		default:
			without = append(without, id)
		}
	}
	if voters == 0 {
		return
	}
	survives := fmt.Sprintf("the cluster survives the loss of %d of the voters", (voters-1)/2)
	if len(without) > 0 {
		say("%d of %d members vote, not %s: %s", voters, len(v.state.Members), strings.Join(append(without, taken...), ", "), survives)
	}
	if len(taken) > 0 {
		say("an operator took the vote of %s: %s", strings.Join(taken, ", "), survives)
	}
}

func (v sight) roundAlarms(say sayer) {
	r := v.round()
	for _, p := range r.Producers {
		if len(r.Schedule) > 0 && !p.InSchedule {
			say("producer %s is not in the schedule of the chain", p.Producer)
		}
	}
	if r.Missed > 0 {
		say("%d of the last %d slots were missed; see: roundtable round", r.Missed, r.Due)
	}
	for _, id := range v.state.MemberIDs() {
		if v.state.Members[id].Fence == "pause" {
			say("member %s fences by pausing its node, which is weaker than the gate", id)
		}
	}
	v.operatorAlarms(say)
}

// certificateSoon is when the end of a certificate is told: it is renewed by itself long before.
const certificateSoon = 20 * 24 * time.Hour

// operatorAlarms tell what an operator did, and has perhaps forgotten.
func (v sight) operatorAlarms(say sayer) {
	switch left := v.certificate.Sub(v.now); {
	case v.certificate.IsZero():
	case left <= 0:
		say("the certificate of member %s ended at %s, the others refuse it: %s", v.self, stamp(v.certificate.UnixMilli()), cmp.Or(v.problem, "see its log"))
	case left < certificateSoon:
		say("the certificate of member %s ends in %.0f days: %s", v.self, left.Hours()/24, cmp.Or(v.problem, "it was not renewed yet, see its log"))
	case v.problem != "":
		say("the certificate of member %s: %s", v.self, v.problem)
	}
	for id := range v.state.Banned {
		if v.peers[id].Alive {
			say("member %s was removed by an operator and still runs: stop it", id)
		}
	}
	for _, id := range v.state.MemberIDs() {
		switch h := v.state.Homes[id]; {
		case h.Runs.Offers == "":
		case h.Runs.Offers == h.Refused:
			say("the configuration that lies at member %s failed there and was taken back: mend it; see: roundtable history", id)
		case !h.Runs.Auto:
			say("member %s waits for a rollout of its configuration: roundtable rollout", id)
		case v.now.Before(control.RolloutAfter(v.state, id)):
			say("member %s waits for a rollout of its configuration until %s, because it changes so often: roundtable rollout brings it at once", id, stamp(control.RolloutAfter(v.state, id).UnixMilli()))
		}
	}
	if v.state.Cluster.Maintenance {
		say("maintenance is on: the lease does not move by itself")
	}
	for _, id := range v.state.MemberIDs() {
		if v.state.Members[id].Maintenance {
			say("member %s is in maintenance: the lease goes there by a planned handoff only", id)
		}
	}
}

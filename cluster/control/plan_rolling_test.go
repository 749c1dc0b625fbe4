package control

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"roundtable/chain"
	"roundtable/cluster/health"
	"roundtable/fsm"
)

// rolled is a rolling operation in a world of three: a holds the lease, b and c stand by.
type rolled struct {
	s     *fsm.State
	peers map[string]health.Peer
	op    fsm.Operation
	at    time.Time
	since time.Time
}

const rolledID = 50

// rolls makes an operation of all three at a step of these members.
func rolls(kind, step string, members ...string) *rolled {
	s, peers := world()
	for id, m := range s.Members {
		m.EntryVersion = 3
		s.Members[id] = m
	}
	s.Homes = map[string]fsm.Home{}
	for id := range s.Members {
		s.Homes[id] = fsm.Home{Runs: fsm.Runs{Tag: "v1"}}
	}
	r := &fsm.Roll{Members: []string{"a", "b", "c"}, Limit: 60_000}
	switch kind {
	case fsm.KindUpgrade:
		r.Upgrade = &fsm.Upgrade{Tag: "v2"}
	case fsm.KindRollout:
		r.Configs = map[string]string{"a": "x", "b": "x", "c": "x"}
	}
	r.Before = maps.Clone(s.Homes)
	w := &rolled{s: s, peers: peers, at: testNow, since: testNow.Add(-time.Hour)}
	since := testNow.Add(-10 * time.Second)
	w.op = fsm.Operation{
		ID: rolledID, Kind: kind, Roll: r, Outcome: fsm.Running, Deadline: testNow.Add(50 * time.Second).UnixMilli(),
		Steps: []fsm.Step{{Name: fsm.StepValidate, Since: since.UnixMilli()}, {Name: step, Since: since.UnixMilli()}},
	}
	now := w.now()
	for _, id := range members {
		now.Parts = append(now.Parts, fsm.Part{Member: id, Incarnation: s.Members[id].Incarnation})
	}
	return w
}

func (w *rolled) now() *fsm.Step { return &w.op.Steps[len(w.op.Steps)-1] }

// ended ends a member's part a second ago.
func (w *rolled) ended(id, fault string) *rolled {
	for i := range w.now().Parts {
		if p := &w.now().Parts[i]; p.Member == id {
			p.Ended, p.Fault = w.at.Add(-time.Second).UnixMilli(), fault
		}
	}
	w.op.Deadline = w.at.Add(planTime - time.Second).UnixMilli()
	return w
}

func (w *rolled) done(ids ...string) *rolled { w.op.Roll.Done = ids; return w }

func (w *rolled) with(change func(*rolled)) *rolled { change(w); return w }

func (w *rolled) holder(id string) *rolled {
	w.s.Lease.Holder, w.s.Lease.Incarnation = id, w.s.Members[id].Incarnation
	return w
}

func (w *rolled) report(id string, change func(*health.Peer)) *rolled {
	p := w.peers[id]
	change(&p)
	w.peers[id] = p
	return w
}

func (w *rolled) dead(id string) *rolled {
	return w.report(id, func(p *health.Peer) { p.Alive = false })
}

func (w *rolled) sick(id string) *rolled {
	return w.report(id, func(p *health.Peer) { p.Report.Fit, p.Report.Reason = false, "is sick" })
}

// down says that nodes do not run, and are not about to.
func (w *rolled) down(ids ...string) *rolled {
	for _, id := range ids {
		w.sick(id).report(id, func(p *health.Peer) { p.Report.Node = "backoff" })
	}
	return w
}

// gone lets a member's last report be old.
func (w *rolled) gone(id string, ago time.Duration) *rolled {
	return w.report(id, func(p *health.Peer) { p.Seen = w.at.Add(-ago) })
}

// outage lets the holder's range have run out for long.
func (w *rolled) outage() *rolled {
	w.s.Lease.Last = chain.SlotAt(w.at.UnixMilli()) - outageSlots - 1
	return w
}

func (w *rolled) head(num uint32) *rolled {
	for id := range w.peers {
		w.report(id, func(p *health.Peer) { p.Report.Head.Num = num })
	}
	return w
}

// later lets time go by, with everybody's reports and the lease.
func (w *rolled) later(d time.Duration) *rolled {
	w.at = w.at.Add(d)
	ahead := chain.SlotAt(w.at.UnixMilli()) + 1 - w.s.Lease.Last
	w.s.Lease.Last += ahead
	for id := range w.peers {
		w.report(id, func(p *health.Peer) { p.Seen = p.Seen.Add(d) })
	}
	return w
}

// tried adds handoffs of the operation that have ended.
func (w *rolled) tried(outcome fsm.Outcome, targets ...string) *rolled {
	for _, to := range targets {
		w.s.Operations = append(w.s.Operations, fsm.Operation{
			ID: uint64(60 + len(w.s.Operations)), Kind: fsm.KindHandoff, Parent: rolledID, Handoff: &fsm.Handoff{To: to, When: "safe", Epoch: w.s.Lease.Epoch}, Outcome: outcome, Reason: "no luck",
			Steps: []fsm.Step{{Name: fsm.StepVerify}}, Ended: w.at.Add(-500 * time.Millisecond).UnixMilli(),
		})
	}
	return w
}

// beside adds another operation that runs.
func (w *rolled) beside(kind, step string) *rolled {
	o := fsm.Operation{ID: 40, Kind: kind, Outcome: fsm.Running, Steps: []fsm.Step{{Name: step}}}
	if kind == fsm.KindHandoff {
		o.Handoff = &fsm.Handoff{To: "b"}
	} else {
		o.Roll = &fsm.Roll{Members: []string{"a"}}
	}
	w.s.Operations = append(w.s.Operations, o)
	return w
}

// decide is the decision in one line.
func (w *rolled) decide() string {
	w.s.Operations = append(w.s.Operations, w.op)
	defer func() { w.s.Operations = w.s.Operations[:len(w.s.Operations)-1] }()
	in := planInput{state: w.s, op: w.op, peers: w.peers, at: w.at, since: w.since}
	plan := planRolling
	if w.op.Task != nil {
		plan = planTask
	}
	d := plan(in)
	switch {
	case d.turn != nil:
		text := "turn " + d.turn.Step
		if len(d.turn.Members) > 0 {
			text += " of " + strings.Join(d.turn.Members, " ")
		}
		text += " for " + time.UnixMilli(d.turn.Deadline).Sub(w.at).String()
		if d.turn.Fault != "" {
			text += ", fault: " + d.turn.Fault
		}
		return text
	case d.cancel != nil:
		return "cancel: " + d.cancel.Reason
	case d.finish != nil:
		return fmt.Sprintf("%s: %s", d.finish.Outcome, d.finish.Reason)
	case d.handoff != "":
		return "handoff to " + d.handoff
	}
	return "wait: " + d.wait
}

func TestPlanRolling(t *testing.T) {
	restart, upgrade, rollout := fsm.KindRestart, fsm.KindUpgrade, fsm.KindRollout
	validated := func(kind string) *rolled { return rolls(kind, fsm.StepValidate) }
	staged := func() *rolled {
		return rolls(upgrade, fsm.StepStage, "a", "b", "c").ended("a", "").ended("b", "").ended("c", "")
	}
	// c is through, b is at work
	second := func(kind, step string) *rolled { return rolls(kind, step, "b").done("c") }
	// b and c are through, and the holder's turn has come
	handing := func(kind string) *rolled { return rolls(kind, fsm.StepHandOver).done("c", "b") }
	// b failed, after c was through
	failed := func(change ...func(*rolled)) *rolled {
		w := second(upgrade, fsm.StepSwitch).ended("b", "exit code 1")
		for _, f := range change {
			f(w)
		}
		return w
	}
	// b is being rolled back, or was
	undoing := func() *rolled {
		w := failed()
		w.op.Roll.Fault = "b: exit code 1"
		w.op.Steps = append(w.op.Steps, fsm.Step{Name: fsm.StepUndo, Since: w.at.Add(-time.Second).UnixMilli(), Parts: []fsm.Part{{Member: "b", Incarnation: incB}}})
		return w
	}
	undone := func() *rolled {
		w := undoing().ended("b", "")
		w.op.Roll.Undone = []string{"b"}
		return w
	}
	all := func(w *rolled) { w.op.Roll.Upgrade.UndoAll = true }
	forking := func(step string, members ...string) *rolled {
		w := rolls(upgrade, step, members...).head(900)
		w.op.Roll.Upgrade.HardFork, w.op.Roll.Upgrade.AtBlock = true, 1000
		return w
	}
	everybody := []string{"a", "b", "c"}
	for name, c := range map[string]struct {
		w    *rolled
		want string
	}{
		// the first member
		"the weakest standby first": {validated(restart), "turn restart of c for 1m0s"},
		"by priority": {validated(restart).with(func(w *rolled) {
			m := w.s.Members["c"]
			m.Priority = 1
			w.s.Members["c"] = m
		}), "turn restart of b for 1m0s"},
		"who is not fit goes first":             {validated(restart).sick("b"), "turn restart of b for 1m0s"},
		"of a rollout":                          {validated(rollout), "turn restart of c for 1m0s"},
		"the holder alone: production moves":    {validated(restart).with(func(w *rolled) { w.op.Roll.Members = []string{"a"} }), "turn hand over for 5m0s"},
		"one standby alone":                     {validated(restart).with(func(w *rolled) { w.op.Roll.Members = []string{"b"} }).dead("c"), "turn restart of b for 1m0s"},
		"no lease":                              {validated(restart).with(func(w *rolled) { w.s.Lease.Released = true }), "wait: nobody holds the lease"},
		"no lease for long":                     {validated(restart).with(func(w *rolled) { w.s.Lease.Released = true }).later(time.Minute), "failed: nobody holds the lease"},
		"a new leader looks around first":       {validated(restart).with(func(w *rolled) { w.s.Lease.Released, w.since = true, testNow.Add(55*time.Second) }).later(time.Minute), "wait: nobody holds the lease"},
		"the lease has run out":                 {validated(restart).with(func(w *rolled) { w.s.Lease.Last = 101 }), "wait: the lease of a has run out"},
		"the holder was restarted":              {validated(restart).with(func(w *rolled) { w.s.Lease.Incarnation = incB }), "wait: the holder, a, was restarted"},
		"the holder is not fit":                 {validated(restart).sick("a"), "wait: the holder, a, is sick"},
		"the holder is dead":                    {validated(restart).dead("a"), "wait: a is not alive"},
		"somebody is dead":                      {validated(restart).dead("b"), "wait: b is not alive"},
		"somebody is dead for long":             {validated(restart).dead("b").later(51 * time.Second), "failed: b is not alive"},
		"somebody was restarted":                {validated(restart).report("b", func(p *health.Peer) { p.Report.Incarnation = incC }), "wait: b is not alive"},
		"somebody has not said anything lately": {validated(restart).report("b", func(p *health.Peer) { p.Seen = p.Seen.Add(-3 * time.Second) }), "wait: b is not alive"},

		// a member at work
		"it goes on":                     {second(restart, fsm.StepRestart), "wait: restart: b"},
		"its time is over":               {second(restart, fsm.StepRestart).later(51 * time.Second), "failed: b did not come back within 1m0s"},
		"how far it was":                 {second(restart, fsm.StepRestart).with(func(w *rolled) { w.now().Parts[0].Text = "catching up" }).later(51 * time.Second), "failed: b did not come back within 1m0s: catching up"},
		"it failed":                      {second(restart, fsm.StepRestart).ended("b", "exit code 1"), "failed: b: exit code 1"},
		"it got production":              {second(restart, fsm.StepRestart).holder("b"), "handoff to a"},
		"it got it, and nobody is fit":   {second(restart, fsm.StepRestart).holder("b").sick("a").sick("c"), "wait: b holds the lease, and nobody can take it over"},
		"and again and again":            {second(restart, fsm.StepRestart).holder("b").tried(fsm.Failed, "a", "c", "a"), "wait: b holds the lease, and nobody can take it over"},
		"and to another one":             {second(restart, fsm.StepRestart).holder("b").tried(fsm.Failed, "a"), "handoff to c"},
		"it is giving it away":           {second(restart, fsm.StepRestart).holder("b").tried(fsm.Running, "a"), `wait: handoff 60 to a, at "verify"`},
		"a rollback that got production": {undoing().holder("b"), "handoff to a"},

		// the next member
		"the next one":                      {second(restart, fsm.StepRestart).done("c").with(func(w *rolled) { w.now().Parts[0].Member = "c" }).ended("c", ""), "turn restart of b for 1m0s"},
		"one that is through is not fit":    {rolls(restart, fsm.StepRestart, "c").ended("c", "").done("c").sick("c"), "wait: c, which was done, is sick"},
		"and does not become fit":           {rolls(restart, fsm.StepRestart, "c").ended("c", "").done("c").sick("c").later(planTime), "failed: c, which was done, is sick"},
		"of an upgrade it is rolled back":   {rolls(upgrade, fsm.StepSwitch, "c").ended("c", "").done("c").sick("c").later(planTime), "turn roll back of c for 1m0s, fault: c, which was done, is sick"},
		"of a rollout, too":                 {rolls(rollout, fsm.StepRestart, "c").ended("c", "").done("c").sick("c").later(planTime), "turn roll back of c for 1m0s, fault: c, which was done, is sick"},
		"but not who is gone":               {rolls(upgrade, fsm.StepSwitch, "c").ended("c", "").done("c").dead("c").later(planTime), "failed: c, which was done, is not alive in gossip"},
		"nor the holder":                    {rolls(upgrade, fsm.StepSwitch, "c").ended("c", "").done("c").holder("c").sick("c").later(planTime), "failed: the holder, c, is sick"},
		"who is through and was removed":    {second(restart, fsm.StepRestart).done("c", "b").ended("b", "").with(func(w *rolled) { delete(w.s.Members, "c"); delete(w.peers, "c") }), "turn hand over for 5m0s"},
		"who was to come and was removed":   {second(restart, fsm.StepRestart).done("b").ended("b", "").with(func(w *rolled) { delete(w.s.Members, "c"); delete(w.peers, "c") }), "turn hand over for 5m0s"},
		"another operation stops nodes":     {rolls(restart, fsm.StepRestart, "c").ended("c", "").done("c").beside(restart, fsm.StepRestart).with(func(w *rolled) { w.s.Operations[0].Steps[0].Parts = []fsm.Part{{Member: "a"}} }), "wait: the holder, a, its node is being restarted: restart 40"},
		"production came to one to be done": {rolls(restart, fsm.StepRestart, "c").ended("c", "").done("c").holder("b"), "turn restart of a for 1m0s"},
		"canceled":                          {second(restart, fsm.StepRestart).done("c", "b").ended("b", "").with(func(w *rolled) { w.op.Roll.Cancel = true }), "canceled: by an operator, 2 of 3 were done: c, b"},
		"canceled, and it failed":           {failed(func(w *rolled) { w.op.Roll.Cancel = true }), "turn roll back of b for 1m0s, fault: b: exit code 1"},
		"canceled when all are through":     {rolls(restart, fsm.StepRestart, "a").holder("b").done("c", "b", "a").ended("a", "").with(func(w *rolled) { w.op.Roll.Cancel = true }), "done: "},
		"all are through":                   {rolls(restart, fsm.StepRestart, "a").holder("b").done("c", "b", "a").ended("a", ""), "done: "},

		// the holder's turn
		"production moves first":                {second(restart, fsm.StepRestart).done("c", "b").ended("b", ""), "turn hand over for 5m0s"},
		"not from one that is not fit":          {second(restart, fsm.StepRestart).done("c", "b").ended("b", "").sick("a"), "wait: the holder, a, is sick"},
		"to the best of those through":          {handing(restart), "handoff to b"},
		"to one that is through":                {handing(restart).with(func(w *rolled) { w.op.Roll.Members, w.op.Roll.Done = []string{"a", "c"}, []string{"c"} }), "handoff to c"},
		"to one that it is not for":             {handing(restart).with(func(w *rolled) { w.op.Roll.Members, w.op.Roll.Done = []string{"a"}, nil }), "handoff to b"},
		"to one that is fit":                    {handing(restart).sick("b"), "handoff to c"},
		"not to one that is kept from it":       {handing(restart).sick("b").with(func(w *rolled) { m := w.s.Members["c"]; m.NoFailover = true; w.s.Members["c"] = m }), "wait: nobody to hand production over to: b is sick; c is set nofailover"},
		"to nobody, for long":                   {handing(restart).sick("b").sick("c").later(51 * time.Second), "failed: nobody to hand production over to: b is sick; c is sick"},
		"from nobody":                           {handing(restart).with(func(w *rolled) { w.s.Lease.Released = true }), "wait: nobody holds the lease"},
		"it is on its way":                      {handing(restart).tried(fsm.Running, "b"), `wait: handoff 60 to b, at "verify"`},
		"it failed once":                        {handing(restart).tried(fsm.Failed, "b"), "handoff to c"},
		"it failed with both":                   {handing(restart).tried(fsm.Failed, "b", "c"), "handoff to b"},
		"it expired, and was canceled":          {handing(restart).tried(fsm.Expired, "b").tried(fsm.Canceled, "c"), "handoff to b"},
		"it failed three times":                 {handing(restart).tried(fsm.Failed, "b", "c", "b"), "failed: production cannot be handed over: handoff 62 to b: no luck"},
		"an earlier one came through":           {handing(restart).tried(fsm.Failed, "b", "c").tried(fsm.Done, "c").tried(fsm.Failed, "b"), "handoff to c"},
		"those of others do not count":          {handing(restart).tried(fsm.Failed, "b", "c", "b").with(func(w *rolled) { w.s.Operations[0].Parent = 7 }), "handoff to b"},
		"it came through":                       {handing(restart).tried(fsm.Done, "b").holder("b"), "turn restart of a for 1m0s"},
		"it moved by itself":                    {handing(upgrade).holder("c"), "turn switch of a for 1m0s"},
		"the former holder is gone":             {handing(restart).tried(fsm.Done, "b").holder("b").dead("a"), "wait: a is not alive"},
		"for long, but production moved lately": {handing(restart).later(51*time.Second).tried(fsm.Done, "b").holder("b").dead("a"), "wait: a is not alive"},
		"and longer":                            {handing(restart).tried(fsm.Done, "b").holder("b").dead("a").later(61 * time.Second), "failed: a is not alive"},
		"too late for another try":              {handing(restart).later(51*time.Second).tried(fsm.Failed, "b").with(func(w *rolled) { w.s.Operations[0].Ended = testNow.UnixMilli() }), "wait: production was not handed over in time"},

		"operators tried, it did not": {handing(restart).tried(fsm.Failed, "b", "c", "b").with(func(w *rolled) {
			for i, who := range []string{"", "alice", "bob"} {
				w.s.Operations[i].Handoff.When, w.s.Operations[i].Actor = [...]string{"now", "safe", "safe"}[i], who
			}
		}), "handoff to b"},

		// in an outage
		"all nodes are down":              {validated(restart).outage().down("a", "b", "c"), "turn restart of b for 1m0s"},
		"but one":                         {validated(restart).outage().down("b", "c"), "wait: the lease of a has run out"},
		"one is down, the others start":   {validated(restart).outage().down("c").sick("a").sick("b"), "turn restart of c for 1m0s"},
		"the holder's alone":              {validated(restart).outage().down("a", "b", "c").with(func(w *rolled) { w.op.Roll.Members = []string{"a"} }), "wait: the lease of a has run out"},
		"only for a moment":               {validated(restart).with(func(w *rolled) { w.s.Lease.Last = 101 }).down("a", "b", "c"), "wait: the lease of a has run out"},
		"a new leader has heard nobody":   {validated(restart).outage().down("a", "b", "c").with(func(w *rolled) { w.since = w.at }), "wait: a has not been heard of by this leader yet"},
		"nobody is heard":                 {validated(restart).outage().dead("a").dead("b").dead("c"), "wait: a is not alive"},
		"an upgrade of all that are down": {staged().outage().down("a", "b", "c"), "turn switch of b for 1m0s"},

		"not to one that has not been heard of since":       {handing(restart).with(func(w *rolled) { w.now().Since = w.at.UnixMilli() }), "wait: nobody to hand production over to: none was heard of yet"},
		"nor since the try before":                          {handing(restart).tried(fsm.Failed, "c").report("b", func(p *health.Peer) { p.Seen = p.Seen.Add(-time.Second) }), "handoff to c"},
		"nor by this leader":                                {handing(restart).with(newLeader("b")), "handoff to c"},
		"a new leader has not heard of one that is through": {rolls(restart, fsm.StepRestart, "c").ended("c", "").done("c").with(newLeader("c")), "wait: c has not been heard of by this leader yet"},
		"nor of the holder":                                 {rolls(restart, fsm.StepRestart, "c").ended("c", "").done("c").with(newLeader("a")), "wait: a has not been heard of by this leader yet"},

		// taking over
		"who was last takes over":     {rolls(rollout, fsm.StepRestart, "a").holder("b").done("c", "b", "a").ended("a", "").with(taking), "turn take over for 5m0s"},
		"it is asked":                 {rolls(rollout, fsm.StepTakeOver).holder("b").done("c", "b", "a").with(taking), "handoff to a"},
		"it has it":                   {rolls(rollout, fsm.StepTakeOver).done("c", "b", "a").with(taking), "done: "},
		"somebody claimed production": {rolls(rollout, fsm.StepTakeOver).holder("b").done("c", "b", "a").with(taking).with(func(w *rolled) { w.s.Lease.First = 94 }), "done: b took production less than 5s ago and keeps it"},
		"not so by our own handoff":   {rolls(rollout, fsm.StepTakeOver).holder("b").done("c", "b", "a").with(taking).with(func(w *rolled) { w.s.Lease.First = 94 }).tried(fsm.Done, "b").with(func(w *rolled) { w.s.Operations[0].Handoff.Epoch = 2 }), "handoff to a"},
		"it cannot yet":               {rolls(rollout, fsm.StepTakeOver).holder("b").done("c", "b", "a").with(taking).sick("a"), "wait: a is to take production over: is sick"},
		"it cannot":                   {rolls(rollout, fsm.StepTakeOver).holder("b").done("c", "b", "a").with(taking).sick("a").later(51 * time.Second), "done: all are through, but a did not take production over in time"},
		"it cannot, nor could":        {rolls(rollout, fsm.StepRestart, "a").holder("b").done("c", "b", "a").ended("a", "").with(taking).sick("a").later(planTime), "done: all are through, but a did not take production over: is sick"},
		"it did not":                  {rolls(rollout, fsm.StepTakeOver).holder("b").done("c", "b", "a").with(taking).tried(fsm.Failed, "a", "a", "a"), "done: all are through, but a did not take production over: handoff 62: no luck"},

		// an upgrade before anything is stopped
		"staged by all at once":         {validated(upgrade), "turn stage of a b c for 1h0m0s"},
		"somebody dead":                 {validated(upgrade).dead("c"), "wait: c is not alive"},
		"a program too old":             {validated(upgrade).with(func(w *rolled) { m := w.s.Members["c"]; m.EntryVersion = 2; w.s.Members["c"] = m }), "wait: c has a program that knows no upgrades"},
		"a member that runs no version": {validated(upgrade).with(func(w *rolled) { w.s.Homes = nil }).later(51 * time.Second), "failed: a has not said"},
		"all run it":                    {validated(upgrade).with(func(w *rolled) { w.op.Roll.Upgrade.Tag = "v1" }), "done: all run v1 already"},
		"a member whose node cannot be started runs none": {validated(upgrade).with(func(w *rolled) { w.s.Homes["c"] = fsm.Home{} }).down("c"), "turn stage of a b c for 1h0m0s"},
		"one does not":                 {validated(upgrade).with(func(w *rolled) { w.op.Roll.Upgrade.Tag = "v1"; w.s.Homes["b"] = fsm.Home{Runs: fsm.Runs{Tag: "v0"}} }), "turn stage of a b c for 1h0m0s"},
		"the stage goes on":            {rolls(upgrade, fsm.StepStage, everybody...).ended("a", "no space"), "wait: stage: b, c"},
		"the stage failed":             {rolls(upgrade, fsm.StepStage, everybody...).ended("a", "no space").ended("b", "").ended("c", "no asset"), "failed: a: no space; c: no asset"},
		"the stage takes too long":     {rolls(upgrade, fsm.StepStage, everybody...).ended("a", "").ended("b", "no asset").later(planTime), "failed: b: no asset; c did not make the version ready within"},
		"who stages is gone":           {rolls(upgrade, fsm.StepStage, everybody...).with(func(w *rolled) { w.op.Deadline += 3_600_000 }).later(2*time.Minute).report("b", func(p *health.Peer) { p.Seen = p.Seen.Add(-61 * time.Second) }), "failed: b has not been heard of for 1m0s"},
		"not by a new leader":          {rolls(upgrade, fsm.StepStage, everybody...).with(func(w *rolled) { w.op.Deadline += 3_600_000; w.since = testNow.Add(100 * time.Second) }).later(2*time.Minute).report("b", func(p *health.Peer) { p.Seen = time.Time{} }), "wait: stage: a, b (not alive), c"},
		"ready":                        {staged(), "turn switch of c for 1m0s"},
		"ready, but somebody is gone":  {staged().dead("b"), "wait: b is not alive"},
		"another one goes first":       {staged().beside(restart, fsm.StepRestart), "wait: restart 40 goes first"},
		"a handoff, too":               {staged().beside(fsm.KindHandoff, fsm.StepAwait), "wait: handoff 40 goes first"},
		"for long":                     {staged().beside(restart, fsm.StepRestart).later(59 * time.Minute), "wait: restart 40 goes first"},
		"for too long":                 {staged().beside(restart, fsm.StepRestart).later(61 * time.Minute), "failed: restart 40 goes first"},
		"one that waits stops nobody":  {staged().beside(upgrade, fsm.StepTrigger).with(func(w *rolled) { w.s.Operations[0].Roll.Upgrade = w.op.Roll.Upgrade }), "turn switch of c for 1m0s"},
		"at a block":                   {staged().with(func(w *rolled) { w.op.Roll.Upgrade.AtBlock = 99 }), "turn await trigger of a b c for 720h0m0s"},
		"at a feature":                 {staged().with(func(w *rolled) { w.op.Roll.Upgrade.Feature = "F" }), "turn await trigger of a b c for 720h0m0s"},
		"at a row":                     {staged().with(func(w *rolled) { w.op.Roll.Upgrade.Row = &fsm.TableRow{} }), "turn await trigger of a b c for 720h0m0s"},
		"nothing yet":                  {rolls(upgrade, fsm.StepTrigger, everybody...), "wait: await trigger: a, b, c"},
		"nothing yet, and one is gone": {rolls(upgrade, fsm.StepTrigger, everybody...).with(func(w *rolled) { w.op.Deadline += 3_600_000 }).later(2*time.Minute).report("b", func(p *health.Peer) { p.Seen = time.Time{} }), "wait: await trigger: a, b (not alive), c"},
		"one sees it":                  {rolls(upgrade, fsm.StepTrigger, everybody...).ended("b", "").with(func(w *rolled) { w.op.Roll.Upgrade.AtBlock = 99 }), "turn switch of c for 1m0s"},
		"one cannot":                   {rolls(upgrade, fsm.StepTrigger, everybody...).ended("b", "no such table"), "wait: await trigger: a, c"},
		"nobody can":                   {rolls(upgrade, fsm.StepTrigger, everybody...).ended("a", "x").ended("b", "y").ended("c", "z"), "failed: a: x; b: y; c: z"},
		"it never comes":               {rolls(upgrade, fsm.StepTrigger, everybody...).later(51 * time.Second), "failed: a did not see what the upgrade waits for within 1m0s; b did"},
		"a chain snapshot first":       {staged().with(snapping), "turn chain snapshot of c for 30m0s"},
		"of a fit one":                 {staged().with(snapping).sick("c"), "turn chain snapshot of b for 30m0s"},
		"of nobody":                    {staged().with(snapping).sick("c").sick("b"), "wait: no fit standby to make the chain snapshot"},
		"after the trigger":            {rolls(upgrade, fsm.StepTrigger, everybody...).ended("b", "").with(snapping), "turn chain snapshot of c for 30m0s"},
		"it was made":                  {rolls(upgrade, fsm.StepSnapshot, "c").with(snapping).ended("c", ""), "turn switch of c for 1m0s"},
		"it was not":                   {rolls(upgrade, fsm.StepSnapshot, "c").with(snapping).ended("c", "disk full"), "failed: c: disk full"},
		"who makes it is gone":         {rolls(upgrade, fsm.StepSnapshot, "c").with(func(w *rolled) { w.op.Deadline += 3_600_000 }).later(2*time.Minute).report("c", func(p *health.Peer) { p.Seen = time.Time{} }), "failed: c has not been heard of for 1m0s"},

		// back
		"it is rolled back":                  {failed(), "turn roll back of b for 1m0s, fault: b: exit code 1"},
		"whatever the others do":             {failed().sick("a").sick("c"), "turn roll back of b for 1m0s, fault: b: exit code 1"},
		"a rollout is rolled back, too":      {second(rollout, fsm.StepRestart).ended("b", "exit code 1"), "turn roll back of b for 1m0s, fault: b: exit code 1"},
		"it did not come back":               {second(upgrade, fsm.StepSwitch).later(51 * time.Second), "turn roll back of b for 1m0s, fault: b did not come back within 1m0s"},
		"it did not come back and is gone":   {second(upgrade, fsm.StepSwitch).gone("b", 50*time.Second).later(51 * time.Second), "failed: b did not come back within 1m0s: it is not alive; to be put right when it comes back: b"},
		"it is gone, and all are to go back": {second(upgrade, fsm.StepSwitch).with(func(w *rolled) { w.op.Roll.Upgrade.UndoAll = true }).gone("b", 50*time.Second).later(51 * time.Second), "turn roll back of c for 1m0s, fault: b did not come back within 1m0s: it is not alive"},
		"not while it holds the lease":       {failed().holder("b"), "turn hand over for 5m0s, fault: b: exit code 1"},
		"then it is handed to those untouched": {undoing().with(func(w *rolled) {
			w.op.Steps = append(w.op.Steps, fsm.Step{Name: fsm.StepHandOver, Since: w.at.Add(-time.Second).UnixMilli()})
		}).holder("b"), "handoff to a"},
		"and it is rolled back after that": {undoing().with(func(w *rolled) {
			w.op.Steps = append(w.op.Steps[:2:2], fsm.Step{Name: fsm.StepHandOver, Since: w.at.Add(-time.Second).UnixMilli()})
		}), "turn roll back of b for 1m0s"},
		"nobody knows the way back":             {failed(func(w *rolled) { w.op.Roll.Before["b"] = fsm.Home{} }), "failed: b: exit code 1; not rolled back: nobody knows what b ran before"},
		"nor that of one that is through":       {undone().with(all).with(func(w *rolled) { w.op.Roll.Before["c"] = fsm.Home{} }), "failed: b: exit code 1; rolled back: b; through: c"},
		"the rollback goes on":                  {undoing(), "wait: roll back: b"},
		"it is back":                            {undone(), "failed: b: exit code 1; rolled back: b; through: c"},
		"it is not":                             {undoing().ended("b", "exit code 2"), "failed: b: exit code 1; through: c; not rolled back: b: exit code 2"},
		"its time is over, too":                 {undoing().later(planTime), "failed: b: exit code 1; through: c; not rolled back: b did not come back within 1m0s"},
		"those through, too":                    {undone().with(all), "turn roll back of c for 1m0s"},
		"not while what was rolled back is ill": {undone().with(all).sick("b"), "wait: b, which was rolled back, is sick"},
		"ill for long":                          {undone().with(all).sick("b").later(planTime + time.Second), "failed: b: exit code 1; rolled back: b; through: c; b, which was rolled back, is sick"},
		"nor while the holder is":               {undone().with(all).sick("a"), "wait: the holder, a, is sick"},
		"the holder's after a handoff":          {undone().with(all).holder("c"), "turn hand over for 5m0s"},
		"to one rolled back, or untouched": {undone().with(all).holder("c").with(func(w *rolled) {
			w.op.Steps = append(w.op.Steps, fsm.Step{Name: fsm.StepHandOver, Since: w.at.Add(-time.Second).UnixMilli()})
		}), "handoff to a"},
		"which fails": {undone().with(all).holder("c").with(func(w *rolled) {
			w.op.Steps = append(w.op.Steps, fsm.Step{Name: fsm.StepHandOver, Since: w.at.Add(-time.Second).UnixMilli()})
		}).tried(fsm.Failed, "a", "b", "a"), "failed: b: exit code 1; rolled back: b; through: c; production cannot be handed over: handoff 62 to a: no luck"},
		"all are back": {undone().with(all).with(func(w *rolled) { w.op.Roll.Done, w.op.Roll.Undone = nil, []string{"b", "c"} }), "failed: b: exit code 1; rolled back: b, c"},

		// a hard fork
		"the nodes are told":               {forking(fsm.StepStage, everybody...).ended("a", "").ended("b", "").ended("c", ""), "turn arm of a b c for 1m0s"},
		"not too early":                    {forking(fsm.StepStage, everybody...).ended("a", "").ended("b", "").ended("c", "").head(100), "turn await trigger of a b c for 720h0m0s"},
		"nor too late":                     {forking(fsm.StepStage, everybody...).ended("a", "").ended("b", "").ended("c", "").head(990), "failed: the hard fork is at block 1000, the head is block 990: too late"},
		"nor when the head is not known":   {forking(fsm.StepStage, everybody...).ended("a", "").ended("b", "").ended("c", "").head(0), "wait: the head is not known yet"},
		"when the time has come":           {forking(fsm.StepTrigger, everybody...).ended("b", ""), "turn arm of a b c for 1m0s"},
		"one cannot be told":               {forking(fsm.StepArm, everybody...).ended("a", "").ended("b", "").ended("c", "no such call"), "failed: c: no such call"},
		"one is not told in time":          {forking(fsm.StepArm, everybody...).ended("a", "").ended("b", "").later(planTime), "failed: c did not tell its node where to stop within"},
		"all were told too late":           {forking(fsm.StepArm, everybody...).ended("a", "").ended("b", "").ended("c", "").head(1000), "failed: the head is block 1000 already, the hard fork is at block 1000"},
		"to the fork":                      {forking(fsm.StepArm, everybody...).ended("a", "").ended("b", "").ended("c", ""), "turn fork of a b c for 2m40s"},
		"they are at it":                   {forking(fsm.StepFork, everybody...).ended("a", ""), "wait: fork: b, c"},
		"they are through":                 {forking(fsm.StepFork, everybody...).done(everybody...).ended("a", "").ended("b", "").ended("c", ""), "turn resume for 2m0s"},
		"some are not":                     {forking(fsm.StepFork, everybody...).done("a", "b").ended("a", "").ended("b", "").ended("c", "exit"), "failed: c: exit; through: a, b"},
		"some do not come back":            {forking(fsm.StepFork, everybody...).done("a", "b").ended("a", "").ended("b", "").later(planTime), "failed: c did not come back within"},
		"one is gone, and none is through": {forking(fsm.StepFork, everybody...).gone("c", forkSilence+time.Second), "wait: fork: a, b, c (not alive)"},
		"one is gone":                      {forking(fsm.StepFork, everybody...).done("a", "b").ended("a", "").ended("b", "").gone("c", forkSilence+time.Second), "failed: not heard of for 15s: c; through: a, b"},
		"not for long":                     {forking(fsm.StepFork, everybody...).done("a", "b").ended("a", "").ended("b", "").gone("c", forkSilence), "wait: fork: c (not alive)"},
		"another one is not":               {forking(fsm.StepFork, everybody...).done("a").ended("a", "").gone("c", forkSilence+time.Second), "wait: fork: b, c (not alive)"},
		"a new leader hears them first":    {forking(fsm.StepFork, everybody...).done("a", "b").ended("a", "").ended("b", "").gone("c", time.Hour).with(func(w *rolled) { w.since = w.at.Add(-forkSilence) }), "wait: fork: c (not alive)"},
		"none is":                          {forking(fsm.StepFork, everybody...).ended("a", "exit").ended("b", "exit").ended("c", "exit"), "turn roll back of c for 1m0s, fault: a, b, c: exit"},
		"no block behind it yet":           {forking(fsm.StepResume).head(1000), "wait: no block behind the hard fork yet"},
		"a block behind it":                {forking(fsm.StepResume).head(1001), "done: block 1001 is behind the hard fork"},
		"never":                            {forking(fsm.StepResume).head(1000).later(51 * time.Second), "failed: all nodes were switched at block 1000, but no block came after it"},

		// in the queue
		"another one is before it":      {rolls(restart, fsm.StepQueued).beside(restart, fsm.StepRestart), "wait: another operation goes first"},
		"and does not end":              {rolls(restart, fsm.StepQueued).beside(restart, fsm.StepRestart).later(51 * time.Second), "failed: the operation before it did not end in time"},
		"nothing is before it any more": {rolls(restart, fsm.StepQueued), "turn validate for 1m0s"},
	} {
		got := c.w.decide()
		if got != c.want && (!strings.HasPrefix(c.want, "failed") || !strings.HasPrefix(got, c.want)) {
			t.Errorf("%s:\n got %s\nwant %s", name, got, c.want)
		}
	}
}

// newLeader leads since a moment ago, and has not heard of a member since.
func newLeader(silent string) func(*rolled) {
	return func(w *rolled) {
		w.since = w.at.Add(-100 * time.Millisecond)
		w.report(silent, func(p *health.Peer) { p.Seen = p.Seen.Add(-500 * time.Millisecond) })
	}
}

func taking(w *rolled) { w.op.Roll.TakeOver = true; w.s.Lease.First = 50 }

func snapping(w *rolled) { w.op.Roll.Upgrade.Snapshot = true }

package operations

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"roundtable/api"
	"roundtable/drill"
	"roundtable/test/box"
)

// endTime is how soon after the restart of what was killed an operation has ended: its members have limit each, of which they need
// a small part, and for what does not come back it waits a minute (fsm.PlanTime).
const endTime = 90 * time.Second

// limit is what a member may take from its stop to its proof.
const limit = "30s"

// walk is an operation and its steps.
type walk struct {
	name    string
	path    string
	body    func(b *sandbox) box.Fields
	prepare func(b *sandbox)
	steps   []step
}

// step is one of an operation: the how manyeth of its name, and the moments in it at which it can be held
// (control.Config.Hold).
type step struct {
	nth     int
	moments []string
	between string // the leader's moment after one of those before, where it is the leader who is held
}

// at is a step of the leader's or of the state's.
func at(moments ...string) step { return step{nth: 1, moments: moments} }

// work is a step of one member: the how manyeth of that name.
func work(name string, nth int) step {
	return step{nth: nth, moments: []string{name, "stop " + name, "prove " + name, "after " + name}}
}

// moment is where an operation is held.
type moment struct {
	name    string
	nth     int
	between string
}

func (m moment) String() string {
	if m.nth > 1 {
		return fmt.Sprintf("%s, no. %d", m.name, m.nth)
	}
	return m.name
}

// cell is one kill.
type cell struct {
	walk
	at     moment
	victim string
}

func (c cell) String() string { return fmt.Sprintf("%s, at %v, kill %s", c.name, c.at, c.victim) }

// other is the version that the holder does not run.
func (b *sandbox) otherVersion() string {
	if b.tags()[b.View().Holder()] == next {
		return now
	}
	return next
}

// upgrade is the body of a request; at_block counts from the head.
func upgrade(more box.Fields) func(*sandbox) box.Fields {
	return func(b *sandbox) box.Fields {
		body := box.Fields{"limit": limit}
		for k, v := range more {
			body[k] = v
		}
		if body["tag"] == nil {
			body["tag"] = b.otherVersion()
		}
		if after, ok := body["at_block"].(int); ok {
			body["at_block"] = int(b.Head()) + after
		}
		return body
	}
}

const (
	failing = "v9.9.1" // fails everywhere
	failed3 = "v9.9.2" // fails on the member that has it from failOnHolder
)

// handOver is what a handoff between two steps is held at: before it begins, before the holder stops, before the target starts.
var handOver = []string{"plan hand over", "stop", "start"}

var walks = []walk{
	{
		name: "restart", path: "/cluster/restart", body: func(*sandbox) box.Fields { return box.Fields{"rolling": true, "limit": limit} },
		steps: []step{at("plan validate"), work("restart", 1), at("plan restart"), work("restart", 2), at(handOver...), work("restart", 3)},
	},
	{
		name: "upgrade", path: "/cluster/upgrade", body: upgrade(nil),
		steps: []step{at("plan validate"), at("stage", "after stage", "plan stage"), work("switch", 1), at("plan switch"), work("switch", 2), at(handOver...), work("switch", 3)},
	},
	{
		name: "upgrade after a snapshot, at a block", path: "/cluster/upgrade", body: upgrade(box.Fields{"at_block": 8, "snapshot": true}),
		steps: []step{at("await trigger", "after await trigger", "plan await trigger"), at("chain snapshot", "after chain snapshot", "plan chain snapshot")},
	},
	{
		name: "upgrade that is rolled back", path: "/cluster/upgrade", body: upgrade(box.Fields{"tag": failing}),
		prepare: func(b *sandbox) { b.layAll(failing, func(*drill.Member) string { return exits(failing) }) },
		steps:   []step{work("roll back", 1), at("plan roll back")},
	},
	{
		name: "upgrade that is rolled back everywhere", path: "/cluster/upgrade", body: upgrade(box.Fields{"tag": failed3, "undo": "all"}),
		prepare: failOnHolder,
		steps:   []step{work("roll back", 2), {2, handOver[:1], "plan roll back"}, work("roll back", 3)},
	},
	{
		name: "hard fork", path: "/cluster/upgrade", body: upgrade(box.Fields{"at_block": 30, "hard_fork": true}),
		steps: []step{at("arm", "after arm", "plan arm"), at("fork", "stop fork", "after fork"), at("plan resume")},
	},
}

// failOnHolder lays out a version that fails on the present holder alone: the last one that comes to it.
func failOnHolder(b *sandbox) {
	holder := b.View().Holder()
	b.layAll(failed3, func(m *drill.Member) string {
		if m.ID == holder {
			return exits(failed3)
		}
		return good(failed3)
	})
}

// matrix is every step of every operation with every victim. At which of its moments the step is held changes from cell to cell;
// full has all of them.
func matrix(full bool) (cells []cell) {
	n := 0
	for _, w := range walks {
		for _, s := range w.steps {
			for _, v := range box.Victims {
				for i, name := range s.moments {
					if full || i == n%len(s.moments) {
						cells = append(cells, cell{w, moment{name, s.nth, s.between}, v})
					}
				}
				n++
			}
		}
	}
	return cells
}

// TestKillAtEveryStep kills, at each step of each operation, the leader, the member at work, and its node, one at a time. After the
// restart of what was killed the operation comes to an end, good or bad, with a reason where it is bad; every node runs what the
// operation says; the next operation begins and comes to a good end; and nothing was signed twice. The steps are hit exactly: the
// managers wait at a step for as long as a file says so (manager.EnvHold).
func TestKillAtEveryStep(t *testing.T) {
	t.Parallel()
	box.Walk(t, 4, matrix, func(t *testing.T, _ int) *sandbox { return layOut(t, drill.Options{}).up() }, (*sandbox).kill, func(*sandbox) {})
}

// kill does one cell and returns how long after the restart the operation ended.
func (b *sandbox) kill(c cell) time.Duration {
	b.T.Helper()
	if c.prepare != nil {
		c.prepare(b)
	}
	b.holdAll(c.at.name)
	before := b.tags()
	body := c.body(b)
	id := b.Order(c.path, body)
	m := b.reach(c, id)
	back := b.Fell(endTime, b.victim(c, id, m), c.victim == box.ItsNode, func() *drill.Member { // it is what is being rolled back: the node that matters is the holder's
		return b.Get(b.View().Holder())
	})
	o := b.End(id, time.Until(back)+endTime)
	took := time.Since(back)
	if o.Outcome != "done" && o.Reason == "" {
		b.T.Errorf("%v: the operation is %s, and does not say why", c, o.Outcome)
	}
	b.Whole()
	b.runs(c, o, body, before)
	// The next one comes to a good end.
	b.Done("/cluster/restart", box.Fields{"member": b.Other(b.View().Holder()).ID, "limit": limit}, endTime)
	b.T.Logf("%v: %s is %s after %v: %s", c, c.name, o.Outcome, took.Round(time.Millisecond), o.Reason)
	return took
}

// runs holds what the nodes run against what the operation says of itself.
func (b *sandbox) runs(c cell, o api.Operation, body box.Fields, before map[string]string) {
	b.T.Helper()
	for id, tag := range b.tags() {
		want := before[id]
		if t, ok := body["tag"].(string); ok && slices.Contains(o.Done, id) {
			want = t
		}
		if tag != want {
			b.T.Errorf("%v: %s runs %s and not %s; the operation is %s (%s), through: %v", c, id, tag, want, o.Outcome, o.Reason, o.Done)
		}
		if err := b.Runs(b.T.Context(), b.Get(id), tag); err != nil {
			b.T.Errorf("%v: %v", c, err)
		}
	}
}

// holdAll lets every member wait where it comes to a step, and at no other one.
func (b *sandbox) holdAll(step string) {
	b.T.Helper()
	for _, m := range b.Members {
		b.HoldAt(m, step)
	}
}

// reach waits until the operation is held where the cell wants it, and says at which member.
func (b *sandbox) reach(c cell, id string) *drill.Member {
	b.T.Helper()
	var at *drill.Member
	for n := range c.at.nth {
		if at != nil { // one of those before
			what := fmt.Sprintf("%v: going on", c)
			if !c.leads() {
				b.LetGo(at)
			} else { // who leads comes to it again
				b.holdAll(c.at.between)
				b.Reach(endTime, what, id, c.at.between)
				b.holdAll(c.at.name)
			}
		}
		at = b.Reach(endTime, fmt.Sprintf("%v: reaching it, %d of %d", c, n+1, c.at.nth), id, c.at.name)
	}
	return at
}

// leads reports whether it is the leader who is held.
func (c cell) leads() bool { return box.Leads(c.at.name) }

// victim is who of the cell's kind is killed. The leader is another one than the member at work, unless it is the leader's work.
func (b *sandbox) victim(c cell, id string, m *drill.Member) *drill.Member {
	b.T.Helper()
	view := b.Seen("nobody leads", func(o drill.Overview) bool { return o.Leader != "" }) // at a hard fork nobody holds
	switch {
	case c.victim == box.TheLeader && c.leads():
		return m
	case c.victim == box.TheLeader && view.Leader == m.ID:
		return b.LeadElsewhere(m, endTime)
	case c.victim == box.TheLeader:
		return b.Get(view.Leader)
	case c.at.name == "plan hand over" && c.victim == box.AtWork:
		return b.Get(view.Holder())
	case c.leads():
		return b.Other(view.Holder(), m.ID)
	case c.victim == box.ItsNode && (c.at.name == "stop" || c.at.name == "start"):
		for _, o := range view.Operations {
			if o.Parent == id && o.To != "" {
				return b.Get(o.To)
			}
		}
		b.T.Fatalf("%v: there is no handoff", c)
	}
	return m
}

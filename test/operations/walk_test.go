package operations

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"roundtable/api"
	"roundtable/drill"
	"roundtable/test/box"
)

// endTime is how soon after the restart of what was killed an operation has ended: its members have limit each, of which they need
// a small part.
const endTime = 60 * time.Second

// limit is what a member may take from its stop to its proof.
const limit = "30s"

// Who is killed, with SIGKILL.
const (
	theLeader = "the leader"
	atWork    = "the member at work"
	itsNode   = "its node"
)

var victims = []string{theLeader, atWork, itsNode}

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
}

// at is a step of the leader's or of the state's.
func at(moments ...string) step { return step{1, moments} }

// work is a step of one member: the how manyeth of that name.
func work(name string, nth int) step {
	return step{nth, []string{name, "stop " + name, "prove " + name, "after " + name}}
}

// moment is where an operation is held.
type moment struct {
	name string
	nth  int
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
		steps:   []step{work("roll back", 2), {2, handOver[:1]}, work("roll back", 3)},
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
			for _, v := range victims {
				for i, name := range s.moments {
					if full || i == n%len(s.moments) {
						cells = append(cells, cell{w, moment{name, s.nth}, v})
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
//
// ROUNDTABLE_FULL=1 kills at every moment of each step. ROUNDTABLE_CELL tries cells again, by a part of their names.
func TestKillAtEveryStep(t *testing.T) {
	t.Parallel()
	only := os.Getenv("ROUNDTABLE_CELL")
	cells := slices.DeleteFunc(matrix(os.Getenv("ROUNDTABLE_FULL") != "" || only != ""), func(c cell) bool { return !strings.Contains(c.String(), only) })
	const boxes = 4
	for i := range min(boxes, len(cells)) {
		t.Run(fmt.Sprintf("sandbox%d", i+1), func(t *testing.T) {
			t.Parallel()
			b := layOut(t, drill.Options{}).up()
			var times []time.Duration
			for j := i; j < len(cells) && !t.Failed(); j += boxes {
				times = append(times, b.kill(cells[j]))
			}
			r := b.Judge(true)
			slices.Sort(times)
			t.Logf("%d kills; the operation ended p50 %v, max %v after the restart; %d of %d slots missed, %d signed twice", len(times),
				times[len(times)/2].Round(time.Millisecond), times[len(times)-1].Round(time.Millisecond), r.Missed.Total, r.SlotsDue, r.Doubled)
		})
	}
}

// kill does one cell and returns how long after the restart the operation ended.
func (b *sandbox) kill(c cell) time.Duration {
	b.T.Helper()
	if c.prepare != nil {
		c.prepare(b)
	}
	for _, m := range b.Members {
		b.HoldAt(m, c.at.name)
	}
	before := b.tags()
	body := c.body(b)
	id := b.Order(c.path, body)
	m := b.reach(c, id)
	back := b.killOne(c, id, m)
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

// reach waits until the operation is held where the cell wants it, and says at which member.
func (b *sandbox) reach(c cell, id string) *drill.Member {
	b.T.Helper()
	var at *drill.Member
	for n := range c.at.nth {
		if at != nil { // one of those before
			b.LetGo(at)
			if c.leads() { // who leads comes to it again, but not while it is at this one
				b.Eventually(endTime, fmt.Sprintf("%v: going on", c), func(ctx context.Context) error {
					o, err := b.Stands(ctx, id)
					if err == nil && "plan "+o.Step == c.at.name {
						err = errors.New("it is still there")
					}
					return err
				})
				b.HoldAt(at, c.at.name)
			}
		}
		b.Eventually(endTime, fmt.Sprintf("%v: reaching it, %d of %d", c, n+1, c.at.nth), func(ctx context.Context) error {
			if i := slices.IndexFunc(b.Members, func(m *drill.Member) bool { return m.Held(c.at.name) }); i >= 0 {
				at = b.Members[i]
				return nil
			}
			o, err := b.Stands(ctx, id)
			switch {
			case err != nil:
				return err
			case o.Ended != "":
				b.T.Fatalf("%v: it has ended before: %s %s", c, o.Outcome, o.Reason)
			}
			return box.At(o)
		})
	}
	return at
}

// leads reports whether it is the leader who is held.
func (c cell) leads() bool { return strings.HasPrefix(c.at.name, "plan ") }

// killOne kills the cell's victim where the operation is held at m, lets everybody go on, and returns when what was killed was
// there again.
func (b *sandbox) killOne(c cell, id string, m *drill.Member) time.Time {
	b.T.Helper()
	ctx, victim := b.T.Context(), b.victim(c, id, m)
	before := 0
	if c.victim == itsNode {
		pid, err := b.NodePID(victim)
		if errors.Is(err, drill.ErrNoTarget) { // it is what is being rolled back: the node that matters is the holder's
			victim = b.Get(b.View().Holder())
			pid, err = b.NodePID(victim)
		}
		if err != nil {
			b.T.Fatal(err)
		}
		if before = pid; b.KillNode(ctx, victim) != nil {
			b.T.Fatal("the node was not killed")
		}
	} else if err := b.KillMember(ctx, victim); err != nil {
		b.T.Fatal(err)
	}
	for _, m := range b.Members { // no step is held from now on
		b.LetGo(m)
	}
	if c.victim == itsNode {
		b.Eventually(endTime, "the next node", func(context.Context) error {
			if pid, err := b.NodePID(victim); err != nil || pid == before {
				return errors.Join(err, fmt.Errorf("it is %d", pid))
			}
			return nil
		})
	} else if err := b.StartMember(victim); err != nil {
		b.T.Fatal(err)
	}
	return time.Now()
}

// victim is who of the cell's kind is killed. The leader is another one than the member at work, unless it is the leader's work.
func (b *sandbox) victim(c cell, id string, m *drill.Member) *drill.Member {
	b.T.Helper()
	view := b.Seen("nobody leads", func(o drill.Overview) bool { return o.Leader != "" }) // at a hard fork nobody holds
	switch {
	case c.victim == theLeader && c.leads():
		return m
	case c.victim == theLeader && view.Leader == m.ID:
		return b.LeadElsewhere(m, endTime)
	case c.victim == theLeader:
		return b.Get(view.Leader)
	case c.at.name == "plan hand over" && c.victim == atWork:
		return b.Get(view.Holder())
	case c.leads():
		return b.Other(view.Holder(), m.ID)
	case c.victim == itsNode && (c.at.name == "stop" || c.at.name == "start"):
		for _, o := range view.Operations {
			if o.Parent == id && o.To != "" {
				return b.Get(o.To)
			}
		}
		b.T.Fatalf("%v: there is no handoff", c)
	}
	return m
}

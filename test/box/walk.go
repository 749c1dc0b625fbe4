package box

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"roundtable/drill"
)

// Who is killed in the middle of an operation, with SIGKILL.
const (
	TheLeader = "the leader"
	AtWork    = "the member at work"
	ItsNode   = "its node"
)

// Victims are all of them.
var Victims = []string{TheLeader, AtWork, ItsNode}

// Leads reports whether it is the leader who is held at a moment of a step (control.Config.Hold), and not the member at work.
func Leads(moment string) bool { return strings.HasPrefix(moment, "plan ") }

// Walk does kills, called cells, in sandboxes side by side: in each one after the other, until one fails. cells are all of them, or
// only some if full is false; kill says how long after the restart of what was killed the operation ended; end is done with a sandbox
// after its last one, where nothing may have been signed twice.
//
// ROUNDTABLE_FULL=1 does all. ROUNDTABLE_CELL does cells again, by a part of their names.
func Walk[C fmt.Stringer, B interface {
	Judge(missed bool) drill.Report
}](t *testing.T, boxes int, cells func(full bool) []C,
	up func(t *testing.T, i int) B, kill func(b B, c C) time.Duration, end func(b B),
) {
	only := os.Getenv("ROUNDTABLE_CELL")
	list := slices.DeleteFunc(cells(os.Getenv("ROUNDTABLE_FULL") != "" || only != ""), func(c C) bool { return !strings.Contains(c.String(), only) })
	for i := range min(boxes, len(list)) {
		t.Run(fmt.Sprintf("sandbox%d", i+1), func(t *testing.T) {
			t.Parallel()
			b := up(t, i)
			var times []time.Duration
			for j := i; j < len(list) && !t.Failed(); j += boxes {
				times = append(times, kill(b, list[j]))
			}
			end(b)
			r := b.Judge(true)
			slices.Sort(times)
			t.Logf("%d kills; the operation ended p50 %v, max %v after the restart; %d of %d slots missed, %d signed twice", len(times),
				times[len(times)/2].Round(time.Millisecond), times[len(times)-1].Round(time.Millisecond), r.Missed.Total, r.SlotsDue, r.Doubled)
		})
	}
}

// Reach waits until an operation is held at a moment of a step, and says at which member.
func (b *Box) Reach(limit time.Duration, what, id, moment string) (at *drill.Member) {
	b.T.Helper()
	b.Eventually(limit, what, func(ctx context.Context) error {
		if i := slices.IndexFunc(b.Members, func(m *drill.Member) bool { return m.Held(moment) }); i >= 0 {
			at = b.Members[i]
			return nil
		}
		o, err := b.Stands(ctx, id)
		switch {
		case err != nil:
			return err
		case o.Ended != "":
			b.T.Fatalf("%s: it has ended before: %s %s", what, o.Outcome, Told(o))
		}
		return At(o)
	})
	return at
}

// Fell kills a member's manager, or its node, lets everybody go on who is held at a step, and returns when what was killed was there
// again. Where a member has no node at the moment it is another's that matters.
func (b *Box) Fell(limit time.Duration, victim *drill.Member, node bool, another func() *drill.Member) time.Time {
	b.T.Helper()
	ctx, before := b.T.Context(), 0
	if node {
		pid, err := b.NodePID(victim)
		if errors.Is(err, drill.ErrNoTarget) {
			victim = another()
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
	if node {
		b.Eventually(limit, "the next node", func(context.Context) error {
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

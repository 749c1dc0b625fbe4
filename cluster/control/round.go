package control

import (
	"context"
	"maps"
	"slices"
	"time"

	"roundtable/chain"
	"roundtable/fsm"
)

// roundController commits the production round at each of its transitions; it acts for the holder, or for the leader while
// there is none.
type roundController struct{ *Manager }

// Name is the controller's.
func (*roundController) Name() string { return "round" }

// settleSlots is how long after a window its account is taken: late blocks and short forks have settled by then.
const settleSlots = 4

// Reconcile proposes the round's standing and the account of a finished window where they are not in the state yet.
func (c *roundController) Reconcile(ctx context.Context, s *fsm.State) (time.Duration, error) {
	now := c.slotNow()
	again := c.untilSlot(now + 1)
	acts := c.holds(s.Lease) || (!s.Lease.Open() && c.cluster.IsLeader())
	if s.Cluster.Name == "" || !acts {
		return again, nil
	}
	node := c.node.View()
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if p, ok := planRound(s, node, now); ok {
		if _, err := c.cluster.Propose(ctx, p, ""); err != nil && !refused(err) {
			return again, err
		}
	}
	if w, ok := planWindow(s, now, c.node.Signed); ok {
		if _, err := c.cluster.Propose(ctx, fsm.PutWindow{Window: w}, ""); err != nil && !refused(err) {
			return again, err
		}
	}
	return again, nil
}

// planRound is the standing of the producers of ours in the window of slot now; ok where the state has another.
func planRound(s *fsm.State, node NodeView, now chain.Slot) (fsm.PutRound, bool) {
	p := fsm.PutRound{Version: node.ScheduleVer, Schedule: node.Schedule, Producers: map[string]fsm.ProducerRound{}, Window: now.Window()}
	if len(node.Schedule) == 0 { // not seen: what is known stands, what follows from it is unknown
		p.Version, p.Schedule = s.Round.Version, s.Round.Schedule
	}
	for _, name := range s.Cluster.Producers {
		p.Producers[name] = standing(name, node.Schedule, now)
	}
	same := p.Version == s.Round.Version && slices.Equal(p.Schedule, s.Round.Schedule) && maps.Equal(p.Producers, s.Round.Producers)
	return p, !same && p.Window >= s.Round.Window
}

func standing(name string, schedule []string, now chain.Slot) fsm.ProducerRound {
	if len(schedule) == 0 {
		return fsm.ProducerRound{State: fsm.Unknown}
	}
	owner := func(s chain.Slot) string { return schedule[s.Owner(len(schedule))] }
	r := fsm.ProducerRound{State: fsm.NotProducing, InSchedule: slices.Contains(schedule, name)}
	switch name {
	case owner(now):
		r.State = fsm.ProducingNow
	case owner(now + chain.WindowSlots):
		r.State = fsm.ProducingNext
	case owner(now - chain.WindowSlots):
		r.State = fsm.JustProduced
	}
	return r
}

// planWindow is the account of the newest finished window of ours that is not in the state yet.
func planWindow(s *fsm.State, now chain.Slot, signed func(first, last chain.Slot) (int, bool)) (fsm.Window, bool) {
	sched := s.Round.Schedule
	if len(sched) == 0 || now < settleSlots+chain.WindowSlots {
		return fsm.Window{}, false
	}
	first := (now - settleSlots).WindowFirst() - chain.WindowSlots
	producer := sched[first.Owner(len(sched))]
	if !s.Cluster.Ours(producer) {
		return fsm.Window{}, false
	}
	if n := len(s.Round.Windows); n > 0 && s.Round.Windows[n-1].First >= first {
		return fsm.Window{}, false
	}
	from := first // slots before the first lease that the state remembers were not this cluster's to sign
	for ; from <= first.WindowLast(); from++ {
		if _, known := s.Signable(from); known {
			break
		}
	}
	due := int(first.WindowLast() - from + 1)
	n, ok := signed(from, first.WindowLast())
	if !ok || due <= 0 {
		return fsm.Window{}, false
	}
	n = min(n, due)
	return fsm.Window{Producer: producer, First: first, Due: due, Signed: n, Missed: due - n}, true
}

// untilSlot is the time from now to the slot's timestamp, at least a millisecond.
func (m *Manager) untilSlot(s chain.Slot) time.Duration {
	return max(time.UnixMilli(s.UnixMilli()).Sub(m.now()), time.Millisecond)
}

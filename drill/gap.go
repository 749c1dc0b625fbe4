package drill

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Of a chain with several producers the lap of the schedule is a round, and what is not our window is the gap.

// margin is how long before our window a fault comes at the latest: 4 s, in which another member must be ready to sign.
const margin = 8 // slots

// due reports whether a slot is ours.
func (s *Sandbox) due(slot uint64) bool {
	schedule := s.Schedule()
	return schedule[slot/12%uint64(len(schedule))] == s.Producer
}

// round is how many slots a lap has.
func (s *Sandbox) round() uint64 { return uint64(12 * len(s.Schedule())) }

// moment waits for a seeded slot of the next round: any of it for what is planned, one in the gap for a fault.
func (d *drill) moment(ctx context.Context, planned bool) error {
	now := slotAt(time.Now())
	var slots []uint64
	for s := now + 1; s <= now+d.round(); s++ {
		if planned || !d.due(s) && !d.due(s+margin) {
			slots = append(slots, s)
		}
	}
	// A moment in the slot before: any phase.
	at := slotTime(slots[d.rand.IntN(len(slots))]).Add(-time.Duration(d.rand.Int64N(int64(500 * time.Millisecond))))
	return wait(ctx, time.Until(at))
}

// window waits until the next window of ours is over.
func (d *drill) window(ctx context.Context) error {
	s := slotAt(time.Now()) + 1
	for !d.due(s) {
		s++
	}
	for d.due(s) {
		s++
	}
	return wait(ctx, time.Until(slotTime(s)))
}

// outOfGap lists the handoffs that fell into a window of ours.
func (s *Sandbox) outOfGap(epochs []EpochSpan) (list []string) {
	for _, e := range epochs {
		if e.By == "lease.transfer" && s.due(e.First) && s.due(e.First-1) {
			list = append(list, fmt.Sprintf("the handoff to %s, epoch %d, fell into our window, at its slot %d of 12", e.Holder, e.Epoch, e.First%12+1))
		}
	}
	return slices.Clip(list)
}

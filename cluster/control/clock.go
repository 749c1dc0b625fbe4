package control

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"roundtable/chain"
	"roundtable/cluster/health"
	"roundtable/fsm"
)

const (
	clockSamples  = 10              // reports per member that its clock is judged by
	clockPatience = 3 * time.Second // how long a wrong clock must last before a role is given up for it
)

// clocks judges this member's clock against the others'. A report that was read late makes its sender's clock look
// behind, never ahead; so of each member's newest reports the one that puts it furthest ahead is nearest to the truth, and
// one stall of this process does not look like a wrong clock. Any goroutine may use it.
type clocks struct {
	mu      sync.Mutex
	members map[string]*memberClock
	wrong   time.Time // since when the clock is off; zero: it is not
}

type memberClock struct {
	incarnation string
	at          int64 // stamp of the newest report taken in
	offsets     []time.Duration
}

// observe takes in the members' newest reports.
func (k *clocks) observe(peers map[string]peerClock, now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.members == nil {
		k.members = map[string]*memberClock{}
	}
	for id := range k.members {
		if _, ok := peers[id]; !ok {
			delete(k.members, id)
		}
	}
	for id, p := range peers {
		m := k.members[id]
		if m == nil || m.incarnation != p.incarnation { // who ended because its clock jumped is not judged by what it was
			m = &memberClock{incarnation: p.incarnation}
			k.members[id] = m
		}
		if p.at == m.at {
			continue
		}
		m.at = p.at
		m.offsets = append(m.offsets, p.offset)
		if len(m.offsets) > clockSamples {
			m.offsets = m.offsets[1:]
		}
	}
	ahead, _ := k.ahead()
	switch {
	case ahead.Abs() <= maxOffset:
		k.wrong = time.Time{}
	case k.wrong.IsZero():
		k.wrong = now
	}
}

// peerClock is what one report says of its sender's clock.
type peerClock struct {
	incarnation string // of its sender
	at          int64
	offset      time.Duration // how far it seems ahead of ours
}

// ahead is how far this clock is ahead of the median of the live members' clocks, its own included; 0 with fewer than three,
// of which nobody can say who is wrong. apart is how far two clocks that are all there is differ, else 0. k.mu is held.
func (k *clocks) ahead() (ahead, apart time.Duration) {
	offsets := []time.Duration{0}
	for _, m := range k.members {
		offsets = append(offsets, slices.Max(m.offsets))
	}
	slices.Sort(offsets)
	switch {
	case len(offsets) < 2:
		return 0, 0
	case len(offsets) == 2:
		return 0, offsets[1] - offsets[0]
	}
	return -offsets[len(offsets)/2], 0
}

// judge gives the numbers of ahead, and whether this clock has been off for long enough to give a role up for it.
func (k *clocks) judge(now time.Time) (ahead, apart time.Duration, wrong bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	ahead, apart = k.ahead()
	return ahead, apart, !k.wrong.IsZero() && now.Sub(k.wrong) >= clockPatience
}

// offsets is how far each other clock is ahead of the median, of which this one is so far ahead.
func (k *clocks) offsets(ahead time.Duration) map[string]time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	list := make(map[string]time.Duration, len(k.members))
	for id, m := range k.members {
		list[id] = slices.Max(m.offsets) + ahead
	}
	return list
}

// clockOff reports whether this member's clock is too far off to end anything by: too early, or too late.
func (m *Manager) clockOff() bool {
	ahead, _, _ := m.clocks.judge(m.now())
	return ahead.Abs() > maxOffset || m.jumped()
}

// observeClocks takes in what gossip says now.
func (m *Manager) observeClocks(peers map[string]health.Peer) {
	seen := map[string]peerClock{}
	for id, p := range peers {
		if id != m.id && p.Alive && p.Report.At != 0 {
			seen[id] = peerClock{p.Report.Incarnation, p.Report.At, p.Offset()}
		}
	}
	m.clocks.observe(seen, m.now())
}

// planClock decides whether a leader gives the leadership away for its clock, and why; "" keeps it. ahead and wrong are what
// judge says.
func planClock(s *fsm.State, now time.Time, ahead time.Duration, wrong, jumped bool) string {
	right := chain.SlotAt(now.Add(-ahead).UnixMilli())
	switch {
	case jumped: // its process is about to end
		return "the clock jumped"
	case wrong:
		return "the clock is off"
	case ahead.Abs() > maxOffset && (!s.Lease.Open() || right > s.Lease.Last): // it may grant nothing, and somebody has to
		return "the clock is off and the lease is nobody's"
	case right+chain.Slot(s.Cluster.Slots)+aheadSlots > chain.SlotAt(now.UnixMilli())+fsm.MaxLease:
		return "the clock is so late that it cuts the holder's extensions short" // Admit
	}
	return ""
}

// clockController makes a leader whose clock jumped, or is more than a slot off the median, give the leadership away.
type clockController struct {
	*Manager
	log *slog.Logger
}

// Name is the controller's.
func (*clockController) Name() string { return "clock" }

// Reconcile transfers the leadership where planClock says so.
func (c *clockController) Reconcile(ctx context.Context, s *fsm.State) (time.Duration, error) {
	now := c.now()
	ahead, _, wrong := c.clocks.judge(now)
	reason := planClock(s, now, ahead, wrong, c.jumped())
	if reason == "" {
		return 0, nil
	}
	c.log.Warn("giving the leadership away", "reason", reason, "ahead_ms", ahead.Milliseconds())
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	return 0, c.cluster.TransferLeadership(ctx, "")
}

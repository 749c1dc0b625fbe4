package node

import (
	"fmt"
	"slices"
	"time"

	"roundtable/chain"
)

// View is what is known of the chain through the local node at one moment. It is immutable once published.
type View struct {
	Running bool   // HTTP answers, and the process (if watched) is up
	Healthy bool   // Running, the main thread answers, and production does not stand still
	Reason  string // why not Healthy; "" if it is

	Head         chain.Block
	HeadProducer string
	HeadAt       time.Time // when this head was first seen here, by our clock; zero before any
	LIB          uint32
	LIBID        string
	ChainID      string
	Version      string // v1.2.2

	PausedKnown bool
	Paused      bool
	PausedSince time.Time // when Paused was first seen as it is; zero while unknown
	Stalled     bool      // unpaused, and StallSlots of our slots went by without a new head (FACT 12)
	Stuck       bool      // the main thread did not answer in time, while get_info does
	Syncing     bool      // the chain is others' too, and the head is an old block that came just now

	PeersKnown    bool
	Peers         int // connected and shaken hands
	PeerAddresses []string
	ScheduleKnown bool
	Schedule      Schedule // active
	Pending       Schedule // no producers: none pending
	Savanna       bool     // instant finality is active
	DB            DBSize   // zero without db_size_api_plugin

	LastProduced     chain.Block // as the log told it: 16-digit id, not authenticated
	LastProducedAt   time.Time
	LastReceived     chain.Block
	LastReceivedAt   time.Time
	LastNotProducing string // reason of the last `Not producing block because`
	Skipped          uint64 // blocks that OnBlock never got, after a gap longer than MaxGap
}

// still returns the view without what each block changes.
func (v *View) still() *View {
	s := *v
	s.Head, s.HeadProducer, s.HeadAt, s.LIB, s.LIBID = chain.Block{}, "", time.Time{}, 0, ""
	s.LastProduced, s.LastProducedAt, s.LastReceived, s.LastReceivedAt = chain.Block{}, time.Time{}, chain.Block{}, time.Time{}
	s.DB = DBSize{}
	return &s
}

// Lag is how far the head's timestamp is behind now.
func (v *View) Lag(now time.Time) time.Duration {
	if v.Head.Slot == 0 {
		return 0
	}
	return now.Sub(time.UnixMilli(v.Head.Slot.UnixMilli()))
}

// stalled reports whether at least limit slots of ours went by between the head, or the moment production was allowed if
// that was later, and now, less one slot of grace.
func stalled(schedule []string, ours []string, head chain.Slot, since, now time.Time, limit int) bool {
	if len(schedule) == 0 || since.IsZero() {
		return false
	}
	from := max(head+1, chain.SlotAt(since.UnixMilli())+2)
	to := chain.SlotAt(now.UnixMilli())
	if to > from+chain.Slot(len(schedule)+1)*chain.WindowSlots { // one lap tells it all
		from = to - chain.Slot(len(schedule)+1)*chain.WindowSlots
	}
	n := 0
	for s := from; s < to; s++ {
		if slices.Contains(ours, schedule[s.Owner(len(schedule))]) {
			n++
		}
	}
	return n >= limit
}

const (
	oldBlock   = chain.WindowSlots * chain.SlotMillis * time.Millisecond // a block that comes so late is no news of a live chain
	syncSilent = 20 * time.Second                                        // a node that syncs, or looks for peers, says something new within this
)

// syncing reports whether the node is still on its way to the head of a chain that others produce too. A member is weighed
// by the best head among the members: where all of them come out of the same old snapshot, only the clock tells, and nodeos
// would produce on the old head, since it is started with enable-stale-production. An old head that nothing follows for
// syncSilent is the chain's own, which stands, and somebody must go on. Where all slots are ours the head is whatever we made it.
func (v *View) syncing(ours []string, now time.Time) bool {
	return !chain.Gapless(v.Schedule.Names(), func(p string) bool { return slices.Contains(ours, p) }) &&
		v.Lag(v.HeadAt) > oldBlock && now.Sub(v.HeadAt) < syncSilent
}

// judge fills Healthy and Reason.
func (v *View) judge(process State) {
	v.Healthy, v.Reason = false, ""
	switch {
	case !v.Running && process != "" && process != StateRunning:
		v.Reason = "the node is " + string(process)
	case !v.Running:
		v.Reason = "HTTP does not answer"
	case v.Stuck:
		v.Reason = "the main thread does not answer"
	case v.Stalled:
		v.Reason = fmt.Sprintf("unpaused, but the head stands at #%d", v.Head.Num)
	case v.Syncing:
		v.Reason = "it is syncing: its newest block is of " + time.UnixMilli(v.Head.Slot.UnixMilli()).UTC().Format("2006-01-02 15:04 MST")
	default:
		v.Healthy = true
	}
}

package control

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"roundtable/chain"
	"roundtable/cluster/health"
	"roundtable/fsm"
)

// Candidate is a member weighed for holding the lease. Unfit is empty for a fit one.
type Candidate struct {
	ID     string `json:"id"`
	Fit    bool   `json:"fit"`
	Reason string `json:"reason,omitempty"` // why it is not fit, for the operator
}

const (
	maxHeadLag = 2                                   // slots behind the best head among live members
	maxLost    = 360                                 // slots behind what we signed, when everybody's node was lost: more than becomes irreversible late (325 blocks with 21 producers)
	maxOffset  = chain.SlotMillis * time.Millisecond // of a clock against the median
	// fresh is how old a member's newest report may be for it to be given the lease: two reports may be lost. Gossip takes
	// longer to call a member dead, and a dead holder that still counts as alive would be granted its own lease again.
	fresh = 2*reportEvery + 200*time.Millisecond
)

// weigh judges every member as a holder, best first: the holder, then priority, head, id. planned is a handoff that an
// operator asked for: it may go to a member that is nofailover or in maintenance.
//
// Who gave its lease up comes last, and so do those before it: a member whose key does not answer looks fit to the
// others, and would be granted its own lease again and again. Before them come those whose node is about to be stopped for a backup, or to get other
// data: that would have to wait for as long as they hold.
func weigh(s *fsm.State, peers map[string]health.Peer, now time.Time, planned bool) []Candidate {
	return rank(s, peers, now, planned, unfit)
}

// judge says why a member may not be given the lease, or "".
type judge func(s *fsm.State, id string, p health.Peer, best chain.Slot, now time.Time, planned bool) string

// rank is weigh by a judge.
func rank(s *fsm.State, peers map[string]health.Peer, now time.Time, planned bool, unfit judge) []Candidate {
	best := bestHead(s, peers)
	var list []Candidate
	for _, id := range s.MemberIDs() {
		reason := unfit(s, id, peers[id], best, now, planned)
		list = append(list, Candidate{ID: id, Fit: reason == "", Reason: reason})
	}
	slices.SortStableFunc(list, func(a, b Candidate) int {
		return cmp.Or(
			-cmpBool(a.Fit, b.Fit),
			cmp.Compare(gaveUp(s, a.ID, now), gaveUp(s, b.ID, now)),
			-cmpBool(a.ID == s.Lease.Holder, b.ID == s.Lease.Holder),
			cmpBool(wantedNode(s, a.ID), wantedNode(s, b.ID)),
			-cmp.Compare(s.Members[a.ID].Priority, s.Members[b.ID].Priority),
			-cmp.Compare(peers[a.ID].Report.Head.Slot, peers[b.ID].Report.Head.Slot),
			cmp.Compare(a.ID, b.ID),
		)
	})
	return list
}

// wantedNode reports whether an operation on a backup is at a member's node, and does not stop it now.
func wantedNode(s *fsm.State, id string) bool {
	return slices.ContainsFunc(s.RunningOperations(), func(o fsm.Operation) bool {
		return o.Task != nil && o.Task.Member == id && (o.Kind == fsm.KindBackup || o.Kind == fsm.KindRestore)
	})
}

// gaveUp is the newest epoch of a member that ended lately by a release or transfer, where the lease is released now and
// looks for somebody; else 0.
func gaveUp(s *fsm.State, id string, now time.Time) uint64 {
	const lately = 120 // slots: a minute
	if !s.Lease.Released {
		return 0
	}
	newest := uint64(0)
	for _, l := range append(slices.Clone(s.Past), s.Lease) {
		if l.Holder == id && l.Released && l.Last+lately >= chain.SlotAt(now.UnixMilli()) {
			newest = l.Epoch
		}
	}
	return newest
}

// bestHead is the newest head among live members whose nodes run: a node that is behind it must never win.
func bestHead(s *fsm.State, peers map[string]health.Peer) chain.Slot {
	var best chain.Slot
	for id := range s.Members {
		if p := peers[id]; p.Alive && p.Report.Node == "running" {
			best = max(best, p.Report.Head.Slot)
		}
	}
	return best
}

// othersHead is the newest head among the other live members.
func othersHead(s *fsm.State, peers map[string]health.Peer, self string) chain.Slot {
	others := maps.Clone(peers)
	delete(others, self)
	return bestHead(s, others)
}

// unfit says why a member may not be given the lease, or "".
func unfit(s *fsm.State, id string, p health.Peer, best chain.Slot, now time.Time, planned bool) string {
	if o, ok := s.Working(id); ok {
		what := "restarted"
		if o.Task != nil {
			what = "stopped and started"
		}
		return fmt.Sprintf("its node is being %s: %s %d", what, o.Kind, o.ID)
	}
	if o, ok := s.Halted(id); ok {
		return fmt.Sprintf("its node writes a chain snapshot: %s %d", o.Kind, o.ID)
	}
	return unwell(s, id, p, best, now, planned)
}

// unwell is unfit, but for what operations do: where nobody else is fit, a member whose node is to be restarted, stands still for a
// snapshot, or is back and not proved yet, is better than nobody.
func unwell(s *fsm.State, id string, p health.Peer, best chain.Slot, now time.Time, planned bool) string {
	m, r := s.Members[id], p.Report
	switch {
	case m.Witness:
		return "is a witness: it has no node"
	case m.Maintenance && !planned:
		return "is in maintenance"
	case m.NoFailover && !planned:
		return "is set nofailover"
	case !p.Alive:
		return "is not alive in gossip"
	case now.Sub(p.Seen) > fresh:
		return fmt.Sprintf("its last report is %.1f s old", now.Sub(p.Seen).Seconds())
	case r.Incarnation != m.Incarnation:
		return "was restarted and has not joined again yet"
	case r.Sealed != "":
		return "gate sealed: " + r.Sealed
	case r.Chain != "" && s.Cluster.ChainID != "" && !strings.HasPrefix(s.Cluster.ChainID, r.Chain):
		return "its node is on another chain: " + r.Chain + "..."
	case r.Stalled:
		return "disk stalled"
	case !r.Fit:
		return cmp.Or(r.Reason, "its node is not fit")
	case abs(r.OffsetMs) > maxOffset.Milliseconds():
		return fmt.Sprintf("its clock is %d ms off the median", r.OffsetMs)
	case r.Head.Slot+maxHeadLag < best:
		return fmt.Sprintf("its head is %d slots behind", best-r.Head.Slot)
	case !planned && r.Head.Slot+maxLost < signed(s) && !wanted(s, id):
		return fmt.Sprintf("its head is %d slots behind what we signed: bring a node with newer data up, or give those blocks up and restore this one by hand", signed(s)-r.Head.Slot)
	}
	return ""
}

// signed is a slot that a block of ours is in the chain of, at least as new as the last finished window of ours and as the last handoff.
func signed(s *fsm.State) chain.Slot {
	last := s.LastBlock.Slot
	for _, w := range s.Round.Windows {
		if w.Signed > 0 {
			last = max(last, w.First)
		}
	}
	return last
}

// wanted reports whether an operator had a member's node restored when nobody had signed for a while: he knows that newer blocks are given
// up. Where somebody signed then, the node is to catch up first.
func wanted(s *fsm.State, id string) bool {
	return slices.ContainsFunc(s.Operations, func(o fsm.Operation) bool {
		return o.Kind == fsm.KindRestore && o.Task != nil && o.Task.Member == id && !o.Task.Auto && chain.SlotAt(o.Started) > signed(s)+2*chain.WindowSlots
	})
}

func cmpBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

func abs(v int64) int64 { return max(v, -v) }

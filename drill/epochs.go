package drill

import (
	"slices"
	"time"
)

// Overlapping lists the pairs of epochs whose slots overlap: two incarnations could sign for one slot. There must be none.
// An epoch whose last slot is before its first never signed.
func Overlapping(epochs []EpochSpan) [][2]EpochSpan {
	var pairs [][2]EpochSpan
	for i, a := range epochs {
		for _, b := range epochs[i+1:] {
			if max(a.First, b.First) <= min(a.Last, b.Last) {
				pairs = append(pairs, [2]EpochSpan{a, b})
			}
		}
	}
	return pairs
}

// Outside lists the signatures of members for slots that no epoch of that member covers: signed without the lease. Nodes
// that are no members (other producers of the chain) are not looked at. Slots before the first epoch that is known count
// only where the replay began at the beginning.
func Outside(ledger []Signature, members []string, r Replay) []Signature {
	var list []Signature
	for _, s := range ledger {
		if !slices.Contains(members, s.Node) || r.Base > 0 && (len(r.Epochs) == 0 || s.Slot < r.Epochs[0].First) {
			continue
		}
		if !slices.ContainsFunc(r.Epochs, func(e EpochSpan) bool { return e.Holder == s.Node && e.First <= s.Slot && s.Slot <= e.Last }) {
			list = append(list, s)
		}
	}
	return list
}

// Interval is a stretch of time in which a change of the holder is expected: from a fault to the recovery from it, or a
// planned operation. A zero To has no end.
type Interval struct{ From, To time.Time }

// FalseFailovers lists the epochs that moved production to another member at a time when nothing was done to the cluster.
// Epochs granted before since (the cluster was starting) and those that only a snapshot knows are left out, and so is a
// new epoch of the same holder: no production moved.
func FalseFailovers(epochs []EpochSpan, since time.Time, busy []Interval) []EpochSpan {
	var list []EpochSpan
	for i := 1; i < len(epochs); i++ {
		e := epochs[i]
		if e.Holder == epochs[i-1].Holder || e.At.IsZero() || e.At.Before(since) {
			continue
		}
		if !slices.ContainsFunc(busy, func(b Interval) bool {
			return !e.At.Before(b.From) && (b.To.IsZero() || !e.At.After(b.To))
		}) {
			list = append(list, e)
		}
	}
	return list
}

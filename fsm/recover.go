package fsm

import (
	"maps"
	"slices"
	"strings"

	"roundtable/chain"
)

// Recovery is what an operator says, and a machine knows, when a cluster goes on with one survivor of a lost majority
// (design/lease.md, "Lost quorum").
type Recovery struct {
	By   string   // the survivor
	Lost []string // the others, whose nodes are off
	At   int64    // Unix ms, the survivor's clock
	// Beyond is the last slot that the lost ones may have signed, for all that is known: what they committed among themselves
	// is not in the survivor's log.
	Beyond chain.Slot
}

// Recovered is the state from which the survivor goes on: the lost members are gone (not banned: an emptied one may join
// again), the survivor may vote, and the lease is fenced: a new epoch that nobody holds and that is released, and whose range
// covers all that the lost ones may have signed. So nothing that they ever knew of can be extended or transferred, and the next
// grant starts beyond it. No entry does this, and none could: entries need a quorum. Doing it again to the result changes
// nothing but, where Beyond is further, the range.
func (s *State) Recovered(r Recovery) *State {
	next := *s
	members, lost := map[string]Member{}, maps.Clone(s.Lost)
	for id, m := range s.Members {
		if id == r.By {
			m.Nonvoter = false
		}
		if !slices.Contains(r.Lost, id) {
			members[id] = m
		} else if m.P2P != "" {
			lost = putBounded(lost, id, m.P2P, maxMembers, func(string) int64 { return 0 })
		}
	}
	again := len(members) == len(s.Members) && s.Lease.Fenced()
	next.Members, next.Lost = members, lost
	for _, id := range r.Lost {
		next.forget(Entry{At: r.At}, id)
	}
	if len(lost) > 0 {
		next.Level = max(next.Level, 2)
	}
	if again {
		next.Lease.Last = max(s.Lease.Last, r.Beyond)
		return &next
	}
	first := max(s.Lease.Last, s.LastBlock.Slot) + 1
	next.grant(Lease{Epoch: s.Lease.Epoch + 1, First: first, Last: max(r.Beyond, first), Released: true}, chain.Block{})
	next.LastBlock = chain.Block{} // what the lost ones signed last is not known: nobody need wait for what was last before it
	gone := slices.Clone(r.Lost)
	slices.Sort(gone)
	next.note(Entry{Index: s.Index, At: r.At, By: r.By}, "cluster.recovered", r.By, "without %s; epoch %d signs nothing, the next one from slot %d", strings.Join(gone, ", "), next.Lease.Epoch, next.Lease.Last+1)
	return &next
}

// Fenced reports whether nobody ever held the lease: it was taken from everybody by a recovery, and granted to nobody since.
func (l Lease) Fenced() bool { return l.Epoch > 0 && l.Holder == "" && l.Released }

package fsm

import (
	"math"
	"testing"

	"roundtable/chain"
)

func released(t testing.TB) *State {
	return must(t, leased(t), Release{Epoch: 1, Incarnation: inc("a", 0), Signed: 103, Block: block(103), Reason: "clean shutdown"})
}

// restarted is leased, with the holder's manager started anew.
func restarted(t testing.TB) *State { return must(t, leased(t), PutMember{member("a", 1)}) }

func farOut(t testing.TB) *State {
	return must(t, born(t), Grant{Epoch: 1, Holder: "a", Incarnation: inc("a", 0), First: maxSlot - 3, Last: maxSlot})
}

func atStep(step string) func(testing.TB) *State {
	return func(t testing.TB) *State { s, _ := handing(t, step); return s }
}

const handoffID = 7 // of the handoff in handing: born is five entries, the grant is the sixth

func holds(epoch uint64, id string, n int, first, last chain.Slot, over bool) func(*State) bool {
	return func(s *State) bool { return s.Lease == Lease{epoch, id, inc(id, n), first, last, over} }
}

var leaseRules = []rule{
	{name: "the first grant", on: born, do: Grant{1, "a", inc("a", 0), 100, 107, "first"}, check: holds(1, "a", 0, 100, 107, false)},
	{name: "grant of one slot", on: born, do: Grant{1, "a", inc("a", 0), 1, 1, ""}, check: holds(1, "a", 0, 1, 1, false)},
	{name: "grant of the longest range", on: born, do: Grant{1, "a", inc("a", 0), 100, 100 + MaxLease - 1, ""}, check: holds(1, "a", 0, 100, 115, false)},
	{name: "grant of a range too long", on: born, do: Grant{1, "a", inc("a", 0), 100, 100 + MaxLease, ""}, want: ErrRange},
	{name: "grant of an empty range", on: born, do: Grant{1, "a", inc("a", 0), 100, 99, ""}, want: ErrRange},
	{name: "grant of slot 0", on: born, do: Grant{1, "a", inc("a", 0), 0, 3, ""}, want: ErrRange},
	{name: "grant beyond all time", on: born, do: Grant{1, "a", inc("a", 0), math.MaxUint64, math.MaxUint64, ""}, want: ErrRange},
	{name: "grant of epoch 0", on: born, do: Grant{0, "a", inc("a", 0), 100, 107, ""}, want: ErrEpoch},
	{name: "grant that skips an epoch", on: born, do: Grant{2, "a", inc("a", 0), 100, 107, ""}, want: ErrEpoch},
	{name: "grant of the present epoch", on: leased, do: Grant{1, "b", inc("b", 0), 108, 110, ""}, want: ErrEpoch},
	{name: "grant behind an open range [S3]", on: leased, do: Grant{2, "b", inc("b", 0), 107, 110, ""}, want: ErrRange},
	{name: "grant just beyond an open range", on: leased, do: Grant{2, "b", inc("b", 0), 108, 110, ""}, check: func(s *State) bool {
		return holds(2, "b", 0, 108, 110, false)(s) && len(s.Past) == 1 && s.Past[0].Last == 107 && s.After == chain.Block{}
	}},
	{name: "grant into a range that its holder shrank", on: released, do: Grant{2, "b", inc("b", 0), 104, 110, ""}, check: func(s *State) bool {
		return holds(2, "b", 0, 104, 110, false)(s) && s.Past[0].Released && s.Past[0].Last == 103 && s.After == block(103)
	}},
	{name: "grant of a slot that may have been signed", on: released, do: Grant{2, "b", inc("b", 0), 103, 110, ""}, want: ErrRange},
	{name: "grant to a stranger", on: leased, do: Grant{2, "x", inc("x", 0), 108, 110, ""}, want: ErrMember},
	{name: "grant to a witness", on: leased, do: Grant{2, "w", inc("d", 0), 108, 110, ""}, want: ErrHolder},
	{name: "grant to an old incarnation [S2]", on: restarted, do: Grant{2, "a", inc("a", 0), 108, 110, ""}, want: ErrIncarnation},
	{name: "grant to another's incarnation", on: leased, do: Grant{2, "b", inc("a", 0), 108, 110, ""}, want: ErrIncarnation},
	{name: "grant to no incarnation", on: leased, do: Grant{2, "b", "", 108, 110, ""}, want: ErrIncarnation},
	{name: "grant to the new incarnation of the holder", on: restarted, do: Grant{2, "a", inc("a", 1), 108, 110, ""}, check: holds(2, "a", 1, 108, 110, false)},

	{name: "extend by one", on: leased, do: Extend{1, inc("a", 0), 108}, check: holds(1, "a", 0, 100, 108, false)},
	{name: "extend to the bound", on: leased, do: Extend{1, inc("a", 0), 107 + MaxLease}, check: holds(1, "a", 0, 100, 123, false)},
	{name: "extend beyond the bound", on: leased, do: Extend{1, inc("a", 0), 108 + MaxLease}, want: ErrRange},
	{name: "extend to where it is", on: leased, do: Extend{1, inc("a", 0), 107}, want: ErrRange},
	{name: "extend backwards", on: leased, do: Extend{1, inc("a", 0), 106}, want: ErrRange},
	{name: "extend beyond all time", on: farOut, do: Extend{1, inc("a", 0), maxSlot + 1}, want: ErrRange},
	{name: "extend an older epoch", on: leased, do: Extend{0, inc("a", 0), 108}, want: ErrEpoch},
	{name: "extend a later epoch", on: leased, do: Extend{2, inc("a", 0), 108}, want: ErrEpoch},
	{name: "extend without a lease", on: born, do: Extend{0, "", 108}, want: ErrEpoch},
	{name: "extend by another incarnation", on: leased, do: Extend{1, inc("b", 0), 108}, want: ErrIncarnation},
	{name: "extend by the holder's next incarnation", on: restarted, do: Extend{1, inc("a", 1), 108}, want: ErrIncarnation},
	{name: "extend by the incarnation that the record has no more", on: restarted, do: Extend{1, inc("a", 0), 108}, check: holds(1, "a", 0, 100, 108, false)},
	{name: "extend after release", on: released, do: Extend{1, inc("a", 0), 108}, want: ErrReleased},

	{name: "release in the range", on: leased, do: Release{1, inc("a", 0), 103, block(103), ""}, check: func(s *State) bool {
		return holds(1, "a", 0, 100, 103, true)(s) && !s.Lease.Open() && s.LastBlock == block(103)
	}},
	{name: "release of all that was granted", on: leased, do: Release{1, inc("a", 0), 107, block(107), ""}, check: holds(1, "a", 0, 100, 107, true)},
	{name: "release with nothing signed", on: leased, do: Release{1, inc("a", 0), 99, chain.Block{}, ""}, check: holds(1, "a", 0, 100, 99, true)},
	{name: "release below the range", on: leased, do: Release{1, inc("a", 0), 98, block(98), ""}, want: ErrRange},
	{name: "release beyond the range", on: leased, do: Release{1, inc("a", 0), 108, block(108), ""}, want: ErrRange},
	{name: "release of the last number", on: leased, do: Release{1, inc("a", 0), math.MaxUint64, chain.Block{}, ""}, want: ErrRange},
	{name: "release twice", on: released, do: Release{1, inc("a", 0), 103, block(103), ""}, want: ErrReleased},
	{name: "release by another [S3]", on: leased, do: Release{1, inc("b", 0), 103, block(103), ""}, want: ErrIncarnation},
	{name: "release by the next incarnation [S3]", on: restarted, do: Release{1, inc("a", 1), 103, block(103), ""}, want: ErrIncarnation},
	{name: "release of another epoch", on: leased, do: Release{2, inc("a", 0), 103, block(103), ""}, want: ErrEpoch},
	{name: "release without a lease", on: born, do: Release{0, "", 0, chain.Block{}, ""}, want: ErrEpoch},

	{name: "transfer", on: leased, do: Transfer{1, inc("a", 0), 103, block(103), "b", inc("b", 0), 107, 0, 0}, check: func(s *State) bool {
		return holds(2, "b", 0, 104, 107, false)(s) && s.After == block(103) && s.LastBlock == block(103) &&
			s.Past[0] == Lease{1, "a", inc("a", 0), 100, 103, true}
	}},
	{name: "transfer with nothing signed", on: leased, do: Transfer{1, inc("a", 0), 99, chain.Block{}, "b", inc("b", 0), 107, 0, 0}, check: holds(2, "b", 0, 100, 107, false)},
	{name: "transfer to itself", on: leased, do: Transfer{1, inc("a", 0), 103, block(103), "a", inc("a", 0), 107, 0, 0}, check: holds(2, "a", 0, 104, 107, false)},
	{name: "transfer of a range too long", on: leased, do: Transfer{1, inc("a", 0), 103, block(103), "b", inc("b", 0), 104 + MaxLease, 0, 0}, want: ErrRange},
	{name: "transfer of an empty range", on: leased, do: Transfer{1, inc("a", 0), 103, block(103), "b", inc("b", 0), 103, 0, 0}, want: ErrRange},
	{name: "transfer beyond all time", on: farOut, do: Transfer{1, inc("a", 0), maxSlot, chain.Block{}, "b", inc("b", 0), maxSlot + 1, 0, 0}, want: ErrRange},
	{name: "transfer below the range", on: leased, do: Transfer{1, inc("a", 0), 98, block(98), "b", inc("b", 0), 107, 0, 0}, want: ErrRange},
	{name: "transfer beyond the range", on: leased, do: Transfer{1, inc("a", 0), 108, block(108), "b", inc("b", 0), 110, 0, 0}, want: ErrRange},
	{name: "transfer by another [S3]", on: leased, do: Transfer{1, inc("b", 0), 103, block(103), "b", inc("b", 0), 107, 0, 0}, want: ErrIncarnation},
	{name: "transfer of another epoch", on: leased, do: Transfer{2, inc("a", 0), 103, block(103), "b", inc("b", 0), 107, 0, 0}, want: ErrEpoch},
	{name: "transfer after release", on: released, do: Transfer{1, inc("a", 0), 103, block(103), "b", inc("b", 0), 107, 0, 0}, want: ErrReleased},
	{name: "transfer to a stranger", on: leased, do: Transfer{1, inc("a", 0), 103, block(103), "x", inc("x", 0), 107, 0, 0}, want: ErrMember},
	{name: "transfer to a witness", on: leased, do: Transfer{1, inc("a", 0), 103, block(103), "w", inc("d", 0), 107, 0, 0}, want: ErrHolder},
	{name: "transfer to an old incarnation", on: leased, do: Transfer{1, inc("a", 0), 103, block(103), "b", inc("b", 1), 107, 0, 0}, want: ErrIncarnation},
	{name: "transfer with its handoff", on: atStep(StepStop), do: Transfer{1, inc("a", 0), 103, block(103), "b", inc("b", 0), 107, handoffID, 90_000}, check: func(s *State) bool {
		o, _ := s.Operation(handoffID)
		return holds(2, "b", 0, 104, 107, false)(s) && o.Current().Name == StepStart && o.Current().Assignee == "b" && o.Deadline == 90_000
	}},
	{name: "transfer for a handoff at another step", on: atStep(StepAwait), do: Transfer{1, inc("a", 0), 103, block(103), "b", inc("b", 0), 107, handoffID, 90_000}, want: ErrStep},
	{name: "transfer for a handoff to another member", on: atStep(StepStop), do: Transfer{1, inc("a", 0), 103, block(103), "c", inc("c", 0), 107, handoffID, 90_000}, want: ErrHandoff},
	{name: "transfer for an unknown handoff", on: leased, do: Transfer{1, inc("a", 0), 103, block(103), "b", inc("b", 0), 107, 99, 90_000}, want: ErrOperation},
	{name: "transfer for an ended handoff", on: func(t testing.TB) *State {
		s, id := handing(t, StepStop)
		return must(t, s, FinishOperation{ID: id, Outcome: Canceled})
	}, do: Transfer{1, inc("a", 0), 103, block(103), "b", inc("b", 0), 107, handoffID, 90_000}, want: ErrEnded},
	{name: "transfer for a handoff of an older epoch", on: func(t testing.TB) *State {
		s, _ := handing(t, StepStop)
		return must(t, s, Grant{2, "c", inc("c", 0), 108, 110, "failover"})
	}, do: Transfer{2, inc("c", 0), 108, block(108), "b", inc("b", 0), 110, handoffID, 90_000}, want: ErrHandoff},
}

func TestSignable(t *testing.T) {
	if ok, known := born(t).Signable(100); ok || known {
		t.Fatal("without a lease nothing is known")
	}
	s := must(t, released(t), // 100..103
		Grant{2, "b", inc("b", 0), 110, 112, ""},                                  // 110..112
		Transfer{2, inc("b", 0), 109, chain.Block{}, "c", inc("c", 0), 111, 0, 0}, // b signed nothing; 110..111
		Grant{4, "a", inc("a", 0), 120, 121, ""})
	for slot, want := range map[chain.Slot][2]bool{
		99: {false, false}, 100: {true, true}, 103: {true, true}, 104: {false, true}, 109: {false, true}, 110: {true, true},
		111: {true, true}, 112: {false, true}, 119: {false, true}, 120: {true, true}, 121: {true, true}, 122: {false, true},
	} {
		if ok, known := s.Signable(slot); [2]bool{ok, known} != want {
			t.Errorf("slot %d: signable %v, known %v, want %v", slot, ok, known, want)
		}
	}
}

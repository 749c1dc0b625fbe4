package drill

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

func TestTally(t *testing.T) {
	at := slotTime(100).Add(120 * time.Millisecond)
	sig := func(slot uint64, node string, ms int) Signature {
		return Signature{Slot: slot, Node: node, Digest: fmt.Sprint(slot), SignedAt: at.Add(time.Duration(ms) * time.Millisecond).Format(time.RFC3339Nano)}
	}
	r := Report{
		Events: []Event{
			{Run: 1, At: at, FirstSlot: 100, LastSlot: 110},
			{Run: 2, At: at.Add(10 * time.Second), FirstSlot: 120}, // failed: it lasts until the next
			{Run: 3, At: at.Add(20 * time.Second), FirstSlot: 140, LastSlot: 150},
			{Run: 4, At: at.Add(24 * time.Second), FirstSlot: 148, LastSlot: 160},
		},
		Doubles: []Double{{Slot: 101}, {Slot: 115}},
	}
	ledger := []Signature{sig(104, "b", 1900), sig(100, "a", -40), sig(101, "a", 300), sig(103, "b", 1460), sig(141, "b", 20400), sig(158, "c", 29000)}
	r.tally([]uint64{99, 101, 102, 111, 119, 139, 149, 151}, []Signature{{Slot: 103}, {Slot: 99}}, ledger)
	if r.Missed.Total != 8 || r.Elsewhere != 3 || r.Missed.Max != 2 || r.Doubled != 2 || r.Lost != 2 {
		t.Errorf("%+v", r)
	}
	for i, want := range []struct {
		missed               []uint64
		first, doubled, lost int
	}{
		{[]uint64{101, 102}, 1460, 1, 1},
		{[]uint64{139}, 0, 0, 0}, // nobody signed before the next event
		{nil, 0, 0, 0},           // its own holder went on: what c signs is the next event's
		{[]uint64{149, 151}, 5000, 0, 0},
	} {
		e := r.Events[i]
		if !slices.Equal(e.MissedSlots, want.missed) || e.Missed != len(want.missed) || e.FirstBlockMs != want.first || e.Doubled != want.doubled || e.Lost != want.lost || e.PhaseMs != 120 {
			t.Errorf("event %d: %+v, want %+v", i+1, e, want)
		}
	}
	if r.FirstBlockMs != (Spread{P50: 1460, P99: 5000, Max: 5000}) {
		t.Errorf("first blocks: %+v", r.FirstBlockMs)
	}
}

func TestReportsOfSeveralSandboxesAddUp(t *testing.T) {
	part := func(run, missed int) Report {
		return Report{Nodeos: "x", SlotsDue: 10, Missed: Distribution{Total: missed}, Elsewhere: 1, Doubled: 1, Lost: 2, Forks: 1, Unrecovered: 1, FalseFailovers: 1,
			Failures: []string{"f"}, Doubles: []Double{{}}, Outside: []Signature{{}}, Epochs: []EpochSpan{{}}, Events: []Event{{Run: run, Missed: missed, FirstBlockMs: run}}}
	}
	var r Report
	r.add(part(2, 4))
	r.add(part(1, 0))
	r.sum()
	if r.SlotsDue != 20 || r.Missed != (Distribution{Total: 4, P50: 0, P99: 4, Max: 4}) || r.Elsewhere != 2 || r.Doubled != 2 || r.Lost != 4 || r.Forks != 2 || r.Unrecovered != 2 ||
		r.FalseFailovers != 2 || len(r.Failures) != 2 || len(r.Doubles) != 2 || len(r.Outside) != 2 || len(r.Epochs) != 2 || r.Events[0].Run != 1 || r.Nodeos != "x" || r.FirstBlockMs.Max != 2 {
		t.Errorf("%+v", r)
	}
}

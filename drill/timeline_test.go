package drill

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestTimeline(t *testing.T) {
	e := Event{At: slotTime(102).Add(250 * time.Millisecond), HealedAt: slotTime(106), RecoveredAt: slotTime(500), Members: []string{"m3"}, MissedSlots: []uint64{103, 99}}
	ledger := []Signature{
		{Slot: 99, Node: "m1", ID: "z"}, {Slot: 100, Node: "m1", ID: "a"}, {Slot: 101, Node: "m1", ID: "b"}, {Slot: 103, Node: "m1", ID: "lost"},
		{Slot: 104, Node: "m1", ID: "c"}, {Slot: 104, Node: "m2", ID: "d"}, {Slot: 105, Node: "m2", ID: "e"}, {Slot: 105, Node: "m2", ID: "e"}, {Slot: 200, Node: "m10", ID: "y"},
	}
	chain := []ChainBlock{{Slot: 99, ID: "z"}, {Slot: 100, ID: "a"}, {Slot: 101, ID: "b"}, {Slot: 102, ID: "theirs"}, {Slot: 104, ID: "d"}, {Slot: 105, ID: "e"}}
	epochs := []EpochSpan{{Epoch: 4, Holder: "m1", First: 90, Last: 103}, {Epoch: 5, Holder: "m2", First: 104, Last: 300}, {Epoch: 6, Holder: "m1", First: 301, Last: 302}}
	got := timeline(e, ledger, chain, epochs, 100, 107)
	if got.First != 100 || got.Slots != 8 || !slices.Equal(got.Members, []string{"m1", "m2", "m3", "m10"}) {
		t.Errorf("%+v", got)
	}
	if want := []string{"ss.od...", "....ds..", "........", "........"}; !slices.Equal(got.Signed, want) {
		t.Errorf("signed %v, want %v", got.Signed, want)
	}
	if got.Chain != "##f!##.." {
		t.Errorf("chain %s", got.Chain)
	}
	if want := [][4]int{{0, 4, 0, 3}, {1, 5, 4, 7}}; !slices.Equal(got.Leases, want) {
		t.Errorf("leases %v, want %v", got.Leases, want)
	}
	if want := []Mark{{"fault", 2.5}, {"healed", 6}}; !slices.Equal(got.Marks, want) { // it recovered beyond the plot
		t.Errorf("marks %v, want %v", got.Marks, want)
	}
	if long := timeline(e, nil, nil, nil, 100, 1<<40); long.Slots != maxTimeline || len(long.Chain) != maxTimeline {
		t.Errorf("a plot of %d slots", long.Slots)
	}
	if back := timeline(e, nil, nil, nil, 100, 50); back.Slots != 1 || strings.Trim(back.Chain, ".") != "" {
		t.Errorf("%+v", back)
	}
}

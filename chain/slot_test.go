package chain

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestSlotOfARecordedBlock(t *testing.T) {
	// j-savanna and c-http recordings: a block's header timestamp is its slot.
	at := time.Date(2026, 11, 21, 0, 33, 2, 500e6, time.UTC)
	s := SlotAt(at.UnixMilli())
	if got := time.UnixMilli(s.UnixMilli()).UTC(); !got.Equal(at) {
		t.Fatalf("slot %d is %s, want %s", s, got, at)
	}
	if SlotAt(at.UnixMilli()+499) != s || SlotAt(at.UnixMilli()+500) != s+1 || SlotAt(at.UnixMilli()-1) != s-1 {
		t.Fatalf("slot edges around %d are off", s)
	}
	if SlotAt(0) != 0 {
		t.Fatal("a time before the chain's epoch must be slot 0")
	}
}

func TestWindowsPartitionTheSlots(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := Slot(rapid.Uint64Range(0, 1<<40).Draw(t, "slot"))
		n := rapid.IntRange(1, 21).Draw(t, "producers")
		if s < s.WindowFirst() || s > s.WindowLast() || s.WindowLast()-s.WindowFirst() != WindowSlots-1 {
			t.Fatalf("slot %d outside its window %d..%d", s, s.WindowFirst(), s.WindowLast())
		}
		if s.WindowFirst().Owner(n) != s.WindowLast().Owner(n) {
			t.Fatal("a window has two owners")
		}
		if want := (s.Owner(n) + 1) % n; (s.WindowLast() + 1).Owner(n) != want {
			t.Fatal("the next window is not the next producer's")
		}
		schedule := make([]string, n)
		ours := rapid.IntRange(0, n-1).Draw(t, "ours")
		schedule[ours] = "us"
		next, ok := s.Next(schedule, func(p string) bool { return p == "us" })
		if !ok || next < s || next.Owner(n) != ours || next-s > Slot(n*WindowSlots) {
			t.Fatalf("next slot of ours from %d is %d", s, next)
		}
	})
}

func TestSameID(t *testing.T) {
	full := "00000002b81842dd9cb39c0d8080d2cd83a5a8181250dfb6e697600e56c699b0"
	for _, c := range []struct {
		a, b string
		want bool
	}{{full, full, true}, {full, full[8:24], true}, {full[8:24], full[8:24], true}, {"", "", false}, {full, "", false}, {full, "b81842dd9cb39c0e", false}} {
		if SameID(c.a, c.b) != c.want || SameID(c.b, c.a) != c.want {
			t.Errorf("SameID(%q, %q) should be %v", c.a, c.b, c.want)
		}
	}
}

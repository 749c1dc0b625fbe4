package drill

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestDoubles(t *testing.T) {
	for _, c := range []struct {
		name   string
		ledger []Signature
		want   []uint64
	}{
		{"none", []Signature{{Slot: 1, Node: "a", Digest: "x"}, {Slot: 2, Node: "b", Digest: "y"}}, nil},
		{"the same block asked for again", []Signature{{Slot: 1, Node: "a", Digest: "x"}, {Slot: 1, Node: "a", Digest: "x"}}, nil},
		{"one node, two blocks", []Signature{{Slot: 1, Node: "a", Digest: "x"}, {Slot: 1, Node: "a", Digest: "y"}}, []uint64{1}},
		{"two nodes, two blocks", []Signature{{Slot: 1, Node: "a", Digest: "x"}, {Slot: 1, Node: "b", Digest: "y"}}, []uint64{1}},
		{"two nodes, byte-identical blocks", []Signature{{Slot: 9, Node: "a", Digest: "x"}, {Slot: 9, Node: "b", Digest: "x"}, {Slot: 3, Node: "a", Digest: "x"}, {Slot: 3, Node: "b", Digest: "z"}}, []uint64{3, 9}},
	} {
		var got []uint64
		for _, d := range Doubles(c.ledger) {
			got = append(got, d.Slot)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestMissed(t *testing.T) {
	chain := []ChainBlock{{Num: 2, Slot: 23}, {Num: 3, Slot: 24}, {Num: 4, Slot: 26}, {Num: 5, Slot: 36}}
	due, missed := Missed(chain, []string{"x", "us", "y"}, []string{"us"}, 20, 26) // ours: slots 12..23, 48..59
	if due != 4 || !slices.Equal(missed, []uint64{20, 21, 22}) {
		t.Errorf("one of three producers: due %d, missed %v", due, missed)
	}
	due, missed = Missed(chain, []string{"us"}, []string{"us"}, 23, 27)
	if due != 5 || !slices.Equal(missed, []uint64{25, 27}) {
		t.Errorf("every slot ours: due %d, missed %v", due, missed)
	}
}

func TestLinkedAndUnsigned(t *testing.T) {
	chain := []ChainBlock{{Num: 2, Slot: 5, ID: "a", Producer: "us"}, {Num: 3, Slot: 6, ID: "b", Producer: "us"}, {Num: 4, Slot: 8, ID: "c", Producer: "them"}}
	if err := Linked(chain); err != nil {
		t.Error(err)
	}
	if got := Unsigned(chain, []string{"us"}, []Signature{{ID: "a"}}); len(got) != 1 || got[0].ID != "b" {
		t.Errorf("unsigned: %v", got)
	}
	for _, broken := range [][]ChainBlock{nil, {{Num: 2, Slot: 5}, {Num: 4, Slot: 6}}, {{Num: 2, Slot: 5}, {Num: 3, Slot: 5}}} {
		if Linked(broken) == nil {
			t.Errorf("%v counts as one chain", broken)
		}
	}
}

func TestReadLedgers(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	line := `{"slot":7,"num":2,"id":"x","digest":"y","node":"m1","signed_at":"2026-11-21T00:00:00.5Z"}` + "\n"
	write("a.jsonl", line+line[:20]) // killed while it wrote
	got, err := ReadLedgers(filepath.Join(dir, "*.jsonl"))
	if err != nil || len(got) != 1 || got[0].Slot != 7 {
		t.Errorf("%v, %v", got, err)
	}
	write("b.jsonl", line[:20]+"\n"+line)
	if _, err := ReadLedgers(filepath.Join(dir, "*.jsonl")); err == nil || !strings.Contains(err.Error(), "b.jsonl, line 1") {
		t.Errorf("a broken line in the middle passed: %v", err)
	}
	if _, err := ReadLedgers(filepath.Join(dir, "none*")); err == nil {
		t.Error("no ledger at all passed")
	}
}

func TestDistribute(t *testing.T) {
	sample := make([]int, 200)
	for i := range sample {
		sample[i] = 199 - i
	}
	if d := distribute(sample); d.P50 != 99 || d.P99 != 197 || d.Max != 199 {
		t.Errorf("%+v", d)
	}
	if d := distribute([]int{4}); d.P50 != 4 || d.P99 != 4 || d.Max != 4 {
		t.Errorf("%+v", d)
	}
	if d := distribute(nil); d != (Distribution{}) {
		t.Errorf("%+v", d)
	}
}

func TestSlotsAreCountedAsTheChainDoes(t *testing.T) {
	// Recorded: block #2 @ 2026-11-21T00:33:02.000 (b-logs/01-lifecycle); the fact page's formula gives its slot.
	at := time.Date(2026, 11, 21, 0, 33, 2, 0, time.UTC)
	if got := slotAt(at); got != (1795221182000-946684800000)/500 {
		t.Errorf("slot %d", got)
	}
	if !slotTime(slotAt(at)).Equal(at) {
		t.Error("slot and time do not agree")
	}
}

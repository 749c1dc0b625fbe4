package drill

import (
	"slices"
	"strings"
	"testing"
)

const long = "00000007" + "89abcdef01234567" + "0000000000000000000000000000000000000000" // 64 digits

func TestLost(t *testing.T) {
	chain := []ChainBlock{{Num: 2, Slot: 5, ID: "a"}, {Num: 3, Slot: 6, ID: long}, {Num: 4, Slot: 8, ID: "c"}}
	for _, c := range []struct {
		name   string
		ledger []Signature
		want   []uint64
	}{
		{"all kept", []Signature{{Slot: 5, ID: "a"}, {Slot: 8, ID: "c"}}, nil},
		{"kept, and the log shows a short id", []Signature{{Slot: 6, ID: "89abcdef01234567"}}, nil},
		{"lost in a slot without a block", []Signature{{Slot: 7, ID: "x"}}, []uint64{7}},
		{"lost to another block of its slot", []Signature{{Slot: 6, ID: "x"}, {Slot: 5, ID: "y"}}, []uint64{5, 6}},
		{"signed again and lost once", []Signature{{Slot: 7, ID: "x", Node: "m"}, {Slot: 7, ID: "x", Node: "m"}}, []uint64{7}},
		{"two nodes lost it", []Signature{{Slot: 7, ID: "x", Node: "m"}, {Slot: 7, ID: "x", Node: "n"}}, []uint64{7, 7}},
		{"outside of what the chain tells", []Signature{{Slot: 4, ID: "x"}, {Slot: 9, ID: "y"}}, nil},
	} {
		var got []uint64
		for _, s := range Lost(chain, c.ledger) {
			got = append(got, s.Slot)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	if got := Lost(nil, []Signature{{Slot: 1}}); got != nil {
		t.Errorf("without a chain: %v", got)
	}
}

func TestForks(t *testing.T) {
	chain := func(ids string) (list []ChainBlock) {
		for i, id := range ids {
			list = append(list, ChainBlock{Num: uint32(i) + 2, Slot: uint64(i), ID: string(id)})
		}
		return list
	}
	for _, c := range []struct {
		name   string
		chains []string
		want   []Fork
	}{
		{"equal", []string{"abcd", "abcd"}, nil},
		{"one lags", []string{"abcd", "ab"}, nil},
		{"the lower head alone differs", []string{"abcd", "abx"}, nil},
		{"parted", []string{"abcd", "axcdef", "abcdef"}, []Fork{{0, 1, 3, "b", "x", 3}, {1, 2, 3, "x", "b", 5}}},
		{"one node answers nothing", []string{"abcd", ""}, nil},
	} {
		var chains [][]ChainBlock
		for _, ids := range c.chains {
			chains = append(chains, chain(ids))
		}
		if got := Forks(chains); !slices.Equal(got, c.want) {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
	cut := chain("abcd")[1:] // read from another number on
	if got := Forks([][]ChainBlock{cut, chain("axcd")}); len(got) != 1 || got[0].Num != 3 {
		t.Errorf("read from different numbers on: %+v", got)
	}
}

func TestDoublesWithoutDigests(t *testing.T) {
	one := Signature{Slot: 1, Node: "a", ID: "89abcdef01234567"}
	if d := Doubles([]Signature{one, one}); d != nil {
		t.Errorf("one line read twice: %v", d)
	}
	other := one
	other.ID = strings.Repeat("1", 16)
	if d := Doubles([]Signature{one, other}); len(d) != 1 {
		t.Errorf("one node, two blocks of a slot: %v", d)
	}
}

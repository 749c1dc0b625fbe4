package drill

import (
	"testing"
	"time"
)

func TestOverlapping(t *testing.T) {
	span := func(epoch, first, last uint64) EpochSpan { return EpochSpan{Epoch: epoch, First: first, Last: last} }
	for _, c := range []struct {
		name   string
		epochs []EpochSpan
		want   int
	}{
		{"one after the other", []EpochSpan{span(1, 10, 19), span(2, 20, 25), span(3, 30, 31)}, 0},
		{"one slot", []EpochSpan{span(1, 10, 20), span(2, 20, 25)}, 1},
		{"not neighbours", []EpochSpan{span(1, 10, 40), span(2, 41, 45), span(3, 40, 40)}, 1},
		{"one within another", []EpochSpan{span(1, 10, 40), span(2, 20, 25)}, 1},
		{"an epoch that signed nothing", []EpochSpan{span(1, 10, 9), span(2, 10, 25)}, 0},
	} {
		if got := Overlapping(c.epochs); len(got) != c.want {
			t.Errorf("%s: %v, want %d", c.name, got, c.want)
		}
	}
}

func TestOutside(t *testing.T) {
	r := Replay{Epochs: []EpochSpan{{Holder: "a", First: 10, Last: 19}, {Holder: "b", First: 20, Last: 29}}}
	for _, c := range []struct {
		name string
		s    Signature
		base uint64
		want bool
	}{
		{"within", Signature{Node: "a", Slot: 19}, 0, false},
		{"the other's slot", Signature{Node: "a", Slot: 20}, 0, true},
		{"after the last epoch", Signature{Node: "b", Slot: 30}, 0, true},
		{"before the first", Signature{Node: "a", Slot: 9}, 0, true},
		{"before the first that a snapshot knows", Signature{Node: "a", Slot: 9}, 77, false},
		{"the other's slot, from a snapshot on", Signature{Node: "b", Slot: 12}, 77, true},
		{"not a member", Signature{Node: "x", Slot: 5}, 0, false},
		{"a member that never held", Signature{Node: "c", Slot: 15}, 0, true},
	} {
		r.Base = c.base
		if got := Outside([]Signature{c.s}, []string{"a", "b", "c"}, r); (len(got) == 1) != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestFalseFailovers(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(int64(1000+s), 0) }
	epochs := []EpochSpan{{Epoch: 1, Holder: "a"}, {Epoch: 2, Holder: "b", At: at(1)}, {Epoch: 3, Holder: "c", At: at(20)}, {Epoch: 4, Holder: "c", At: at(40)}, {Epoch: 5, Holder: "a", At: at(60)}}
	for _, c := range []struct {
		name string
		busy []Interval
		want []uint64
	}{
		{"nothing was done", nil, []uint64{3, 5}},
		{"a fault each", []Interval{{at(20), at(30)}, {at(50), at(60)}}, nil},
		{"one of them", []Interval{{at(21), at(30)}, {at(50), time.Time{}}}, []uint64{3}},
	} {
		got := FalseFailovers(epochs, at(10), c.busy)
		ok := len(got) == len(c.want)
		for i := range min(len(got), len(c.want)) {
			ok = ok && got[i].Epoch == c.want[i]
		}
		if !ok {
			t.Errorf("%s: %+v, want epochs %v", c.name, got, c.want)
		}
	}
}

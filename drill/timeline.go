package drill

import (
	"cmp"
	"slices"
	"time"
)

// Timeline is one run as a plot: a row per member, and the chain. Slots are counted from First, so that it stays small.
type Timeline struct {
	First   uint64   `json:"first"` // slot
	Slots   int      `json:"slots"`
	Members []string `json:"members"`
	// Signed has a row per member, a letter per slot: '.' nothing, 's' signed and kept, 'o' signed and orphaned, 'd' signed twice.
	Signed []string `json:"signed"`
	// Chain has a letter per slot: '.' no block, '#' a block of theirs, 'f' a block that none of them signed, '!' missed.
	Chain  string   `json:"chain"`
	Leases [][4]int `json:"leases,omitempty"` // member (row), epoch, first and last slot
	Marks  []Mark   `json:"marks,omitempty"`
}

// Mark is a moment on the timeline.
type Mark struct {
	Kind string  `json:"kind"` // "fault", "healed" or "recovered"
	At   float64 `json:"at"`   // in slots from First
}

// maxTimeline bounds a plot: beyond it nobody sees anything, and 200 of them must fit a page.
const maxTimeline = 400

// timeline puts together what one event looks like from slot first to last. The rows are the event's members, and whoever
// else held or signed at all. tally must have been called: what was missed stands in the event.
func timeline(e Event, ledger []Signature, chain []ChainBlock, epochs []EpochSpan, first, last uint64) Timeline {
	last = min(max(last, first), first+maxTimeline-1)
	t := Timeline{First: first, Slots: int(last - first + 1)}
	t.Members = rows(e.Members, ledger, epochs)
	in := func(slot uint64) bool { return slot >= first && slot <= last }

	kept := map[string]bool{}
	for _, b := range chain {
		if in(b.Slot) {
			kept[shortID(b.ID)] = true
		}
	}
	var window []Signature
	for _, s := range ledger {
		if in(s.Slot) {
			window = append(window, s)
		}
	}
	doubled, ours := map[uint64]bool{}, map[string]bool{}
	for _, d := range Doubles(window) {
		doubled[d.Slot] = true
	}
	grid := make([][]byte, len(t.Members))
	for i := range grid {
		grid[i] = blank(t.Slots)
	}
	for _, s := range window {
		ours[shortID(s.ID)] = true
		cell := &grid[slices.Index(t.Members, s.Node)][s.Slot-first]
		switch {
		case doubled[s.Slot]:
			*cell = 'd'
		case kept[shortID(s.ID)]:
			*cell = 's'
		case *cell == '.':
			*cell = 'o'
		}
	}
	for _, row := range grid {
		t.Signed = append(t.Signed, string(row))
	}
	row := blank(t.Slots)
	for _, b := range chain {
		switch {
		case !in(b.Slot):
		case ours[shortID(b.ID)]:
			row[b.Slot-first] = '#'
		default:
			row[b.Slot-first] = 'f'
		}
	}
	for _, s := range e.MissedSlots {
		if in(s) {
			row[s-first] = '!'
		}
	}
	t.Chain = string(row)
	for _, span := range epochs {
		from, to := max(span.First, first), min(span.Last, last)
		if from <= to {
			t.Leases = append(t.Leases, [4]int{slices.Index(t.Members, span.Holder), int(span.Epoch), int(from - first), int(to - first)})
		}
	}
	t.mark("fault", e.At)
	t.mark("healed", e.HealedAt)
	t.mark("recovered", e.RecoveredAt)
	return t
}

// rows names the rows of a timeline.
func rows(members []string, ledger []Signature, epochs []EpochSpan) []string {
	all := map[string]bool{}
	for _, m := range members {
		all[m] = true
	}
	for _, s := range ledger {
		all[s.Node] = true
	}
	for _, e := range epochs {
		all[e.Holder] = true
	}
	list := make([]string, 0, len(all))
	for m := range all {
		list = append(list, m)
	}
	slices.SortFunc(list, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) }) // m10 after m9
	return list
}

func blank(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = '.'
	}
	return b
}

// mark puts a moment on the timeline, if it is on it.
func (t *Timeline) mark(kind string, at time.Time) {
	if at.IsZero() {
		return
	}
	slots := float64(at.Sub(slotTime(t.First)).Milliseconds()) / 500
	if slots >= 0 && slots <= float64(t.Slots) {
		t.Marks = append(t.Marks, Mark{kind, slots})
	}
}

package drill

import (
	"slices"
	"sort"
	"time"
)

// tally gives each finding of one sandbox to the event it fell into, finds the first block after each event, and sums up.
// r.Events must be in the order of time, and r.Doubles set; missed and lost are what Missed and Lost found.
//
// A slot counts once, for the latest event that had begun; an event without a last slot lasts until the next one.
func (r *Report) tally(missed []uint64, lost, ledger []Signature) {
	r.Missed.Total, r.Elsewhere, r.Lost, r.Doubled = len(missed), 0, len(lost), len(r.Doubles)
	for _, slot := range missed {
		if e := eventAt(r.Events, slot); e != nil {
			e.Missed++
			e.MissedSlots = append(e.MissedSlots, slot)
		} else {
			r.Elsewhere++
		}
	}
	for _, s := range lost {
		if e := eventAt(r.Events, s.Slot); e != nil {
			e.Lost++
		}
	}
	for _, d := range r.Doubles {
		if e := eventAt(r.Events, d.Slot); e != nil {
			e.Doubled++
		}
	}
	moments := inTime(ledger)
	for i := range r.Events {
		e := &r.Events[i]
		e.PhaseMs = phase(e.At)
		end := time.Time{}
		if i+1 < len(r.Events) {
			end = r.Events[i+1].At
		}
		e.FirstBlockMs = firstBlockAfter(moments, e.At, end, e.LastSlot)
	}
	r.sum()
}

// eventAt is the latest event that had begun by the slot, if it had not ended.
func eventAt(events []Event, slot uint64) *Event {
	for i := len(events) - 1; i >= 0; i-- {
		e := &events[i]
		if e.FirstSlot == 0 || e.FirstSlot > slot {
			continue
		}
		if e.LastSlot != 0 && slot > e.LastSlot {
			return nil
		}
		return e
	}
	return nil
}

// phase is how far into its slot a moment is, in milliseconds.
func phase(t time.Time) int {
	if t.IsZero() {
		return 0
	}
	return int(t.Sub(slotTime(slotAt(t))).Milliseconds())
}

// sum works out the distributions from the events; the totals stay as they are.
func (r *Report) sum() {
	var missed, first []int
	for _, e := range r.Events {
		missed = append(missed, e.Missed)
		if e.FirstBlockMs > 0 {
			first = append(first, e.FirstBlockMs)
		}
	}
	total, ms := r.Missed.Total, distribute(first)
	r.Missed = distribute(missed)
	r.Missed.Total = total
	r.FirstBlockMs = Spread{ms.P50, ms.P99, ms.Max}
}

// add takes over what another sandbox's part of the same scenario found. sum comes after the last one.
func (r *Report) add(part Report) {
	if r.Nodeos == "" {
		r.Nodeos = part.Nodeos
	}
	r.SlotsDue += part.SlotsDue
	r.Missed.Total += part.Missed.Total
	r.Elsewhere += part.Elsewhere
	r.Doubled += part.Doubled
	r.Lost += part.Lost
	r.Forks += part.Forks
	r.Unrecovered += part.Unrecovered
	r.Revived += part.Revived
	r.FalseFailovers += part.FalseFailovers
	r.Failures = append(r.Failures, part.Failures...)
	r.Doubles = append(r.Doubles, part.Doubles...)
	r.Outside = append(r.Outside, part.Outside...)
	r.Epochs = append(r.Epochs, part.Epochs...)
	r.Events = append(r.Events, part.Events...)
	sort.SliceStable(r.Events, func(i, j int) bool { return r.Events[i].Run < r.Events[j].Run })
}

// addBaseline puts the same runs' cost to another system beside ours.
func (r *Report) addBaseline(b Report) {
	r.Baselines = append(r.Baselines, Baseline{Name: b.System, Runs: b.Runs, Failures: b.Failures, Missed: b.Missed, Doubled: b.Doubled, Unrecovered: b.Unrecovered, Lost: b.Lost, Events: b.Events})
}

// clean reports whether nothing was found that one would want to look into.
func (r Report) clean() bool { return r.Passed() && r.Elsewhere == 0 }

// moment is when a node signed.
type moment struct {
	at   time.Time
	node string
	slot uint64
}

// inTime orders a ledger by the nodes' clocks. A line without a time is left out.
func inTime(ledger []Signature) []moment {
	list := make([]moment, 0, len(ledger))
	for _, s := range ledger {
		if at, err := time.Parse(time.RFC3339Nano, s.SignedAt); err == nil {
			list = append(list, moment{at, s.Node, s.Slot})
		}
	}
	slices.SortStableFunc(list, func(a, b moment) int { return a.at.Compare(b.at) })
	return list
}

// firstBlockAfter is the time in ms from the event to the first signature by a node other than the one that signed last
// before it: the next holder's first block. It must come before end (if any) and be for no slot beyond last (if any): a
// later event's does not count. 0 where there is none.
func firstBlockAfter(moments []moment, at, end time.Time, last uint64) int {
	i := sort.Search(len(moments), func(i int) bool { return !moments[i].at.Before(at) })
	from := ""
	if i > 0 {
		from = moments[i-1].node
	}
	for _, m := range moments[i:] {
		if !end.IsZero() && !m.at.Before(end) {
			return 0
		}
		if m.node != from && (last == 0 || m.slot <= last) {
			return max(1, int(m.at.Sub(at).Milliseconds()))
		}
	}
	return 0
}

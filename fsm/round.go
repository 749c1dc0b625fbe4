package fsm

import (
	"cmp"
	"maps"
	"slices"

	"roundtable/chain"
)

// Producing is where a producer of ours stands in the round.
type Producing string

// The states of a producer of ours. Unknown is said, never guessed.
const (
	Unknown       Producing = "unknown"
	ProducingNow  Producing = "producing"      // slot(now) is in its window and it may be signed
	ProducingNext Producing = "producing next" // the next window is its
	JustProduced  Producing = "just produced"  // the window before this one was its
	NotProducing  Producing = "not producing"
)

// Round is the production round as committed at each transition by the holder, or by the leader while there is none.
// It comes from the on-chain schedule and slot arithmetic; log lines only confirm.
type Round struct {
	Version   uint32                   `json:"version"`   // of the on-chain schedule
	Schedule  []string                 `json:"schedule"`  // producers in the chain's order; empty: not known yet
	Producers map[string]ProducerRound `json:"producers"` // per producer of ours
	Window    uint64                   `json:"window"`    // window number (slot/12) that this was committed for
	Windows   []Window                 `json:"windows"`   // finished windows of ours, oldest first, bounded
}

// ProducerRound is one producer's standing.
type ProducerRound struct {
	State      Producing `json:"state"`
	InSchedule bool      `json:"in_schedule"`
}

// Window is the account of one finished window of ours, counted on the chain: a slot whose block is not in the chain is missed.
type Window struct {
	Producer string     `json:"producer"`
	First    chain.Slot `json:"first"`
	Due      int        `json:"due"`    // slots; fewer than 12 where the cluster did not see the window whole
	Signed   int        `json:"signed"` // blocks of the window in the chain
	Missed   int        `json:"missed"`
}

// PutRound replaces the standing of the round.
type PutRound struct {
	Version   uint32                   `json:"version"`
	Schedule  []string                 `json:"schedule"`
	Producers map[string]ProducerRound `json:"producers"`
	Window    uint64                   `json:"window"`
}

// PutWindow adds a finished window's account. A window that is already there is replaced: a later count knows more forks.
type PutWindow struct {
	Window Window `json:"window"`
}

// Kind names the entry.
func (PutRound) Kind() string { return "round.put" }

// Kind names the entry.
func (PutWindow) Kind() string { return "round.window" }

// lateWindows is how far back a standing counts as one that came late (a minute). One from further back is accepted: it
// was the earlier one whose proposer had a wrong clock, and the round must not stand still until that time has come.
const lateWindows = 10

func (c PutRound) apply(s *State, e Entry) error {
	for _, p := range slices.Sorted(maps.Keys(c.Producers)) { // in order: the first one found stands in the refusal
		switch state := c.Producers[p].State; state {
		case Unknown, ProducingNow, ProducingNext, JustProduced, NotProducing:
		default:
			return ErrRound.with("state %q of %q is none of the known ones", state, p)
		}
		if !s.Cluster.Ours(p) {
			return ErrRound.with("producer %q is not ours", p)
		}
	}
	if c.Window < s.Round.Window && s.Round.Window-c.Window <= lateWindows {
		return ErrRound.with("window %d is before %d", c.Window, s.Round.Window)
	}
	if c.Version != s.Round.Version || len(s.Round.Schedule) == 0 {
		s.note(e, "round.schedule", "", "version %d, %d producers", c.Version, len(c.Schedule))
	}
	s.Round.Version, s.Round.Schedule = c.Version, c.Schedule
	s.Round.Producers, s.Round.Window = maps.Clone(c.Producers), c.Window
	return nil
}

func (c PutWindow) apply(s *State, e Entry) error {
	w := c.Window
	if w.First%chain.WindowSlots != 0 || w.Due < 0 || w.Due > chain.WindowSlots || w.Signed < 0 || w.Missed < 0 || w.Signed+w.Missed != w.Due || !s.Cluster.Ours(w.Producer) {
		return ErrRound.with("window at %d of %q: due %d, signed %d, missed %d", w.First, w.Producer, w.Due, w.Signed, w.Missed)
	}
	for i, o := range s.Round.Windows {
		if o.First == w.First {
			next := make([]Window, len(s.Round.Windows))
			copy(next, s.Round.Windows)
			next[i] = w
			s.Round.Windows = next
			s.noteMissed(e, w, o.Missed)
			return nil
		}
	}
	if n := len(s.Round.Windows); n >= maxWindows && w.First < s.Round.Windows[0].First {
		return ErrRound.with("the window from slot %d is older than those that are remembered", w.First)
	}
	s.Round.Windows = appendBounded(s.Round.Windows, w, maxWindows)
	slices.SortFunc(s.Round.Windows, func(a, b Window) int { return cmp.Compare(a.First, b.First) })
	s.noteMissed(e, w, 0)
	return nil
}

// noteMissed puts a line into the history when a window's account has more missed slots than it had.
func (s *State) noteMissed(e Entry, w Window, before int) {
	if w.Missed > before {
		s.note(e, "round.missed", w.Producer, "%d of %d slots in the window from slot %d", w.Missed, w.Due, w.First)
	}
}

// Package chain holds the arithmetic of Antelope chain time: slots, windows and rounds.
//
// It is a leaf: it imports only fmt, holds no clock and no I/O, so that
// the pure state machine (package fsm), the node, the controllers and the stand-in nodeos all count slots with one
// piece of code. The drill checker counts for itself and does not use it for its verdict.
package chain

import (
	"fmt"
)

const (
	// SlotMillis is the length of a slot in milliseconds of chain time (config::block_interval_ms).
	SlotMillis = 500
	// EpochMillis is slot 0 in Unix milliseconds: 2000-01-01T00:00:00Z (block_timestamp.hpp).
	EpochMillis = 946684800000
	// WindowSlots is how many consecutive slots one producer has (config::producer_repetitions).
	WindowSlots = 12
)

// Slot numbers half-seconds of chain time since 2000-01-01T00:00:00Z. It stands in every block header, so it is a fact
// about a block and not about when a clock was read. The zero Slot means "none".
type Slot uint64

// SlotAt returns the slot whose timestamp is the last one at or before the given Unix time in milliseconds.
// Times before slot 0 give 0.
func SlotAt(unixMilli int64) Slot {
	if unixMilli < EpochMillis {
		return 0
	}
	return Slot((unixMilli - EpochMillis) / SlotMillis)
}

// UnixMilli is the slot's timestamp as Unix milliseconds: the time that stands in a block of this slot.
func (s Slot) UnixMilli() int64 { return int64(s)*SlotMillis + EpochMillis }

// Window is the number of the slot's window: 12 consecutive slots that belong to one producer.
func (s Slot) Window() uint64 { return uint64(s) / WindowSlots }

// WindowFirst is the first slot of the slot's window.
func (s Slot) WindowFirst() Slot { return s - s%WindowSlots }

// WindowLast is the last slot of the slot's window.
func (s Slot) WindowLast() Slot { return s.WindowFirst() + WindowSlots - 1 }

// Owner is the index into a schedule of n producers of the one who owns slot s; n must be positive.
func (s Slot) Owner(n int) int { return int(uint64(s) % (WindowSlots * uint64(n)) / WindowSlots) }

// String prints the plain number.
func (s Slot) String() string { return fmt.Sprintf("%d", uint64(s)) }

// Next returns the first slot at or after s that belongs to one of ours in a schedule of producers, and false where
// none of ours is scheduled.
func (s Slot) Next(schedule []string, ours func(string) bool) (Slot, bool) {
	n := len(schedule)
	if n == 0 {
		return 0, false
	}
	if ours(schedule[s.Owner(n)]) {
		return s, true
	}
	for w, i := s.WindowLast()+1, 0; i < n; w, i = w+WindowSlots, i+1 {
		if ours(schedule[w.Owner(n)]) {
			return w, true
		}
	}
	return 0, false
}

// Gapless reports whether every slot of the schedule belongs to one of ours: there is no gap between our windows.
func Gapless(schedule []string, ours func(string) bool) bool {
	for _, p := range schedule {
		if !ours(p) {
			return false
		}
	}
	return len(schedule) > 0
}

// Block names a block of the chain.
type Block struct {
	Slot Slot   `json:"slot"`         // its timestamp as a slot
	Num  uint32 `json:"num"`          // its height
	ID   string `json:"id,omitempty"` // 64 hex digits, or the 16 digits 8..23 of it that nodeos logs; "" when unknown
}

// SameID reports whether two block ids name the same block, where either may be the full 64 digits or the 16 that
// nodeos logs (digits 8 to 23: `Produced block b014fdb5e1af4e9b... #2`, recordings b-logs). An unknown id is the same as none.
func SameID(a, b string) bool {
	short := func(id string) string {
		if len(id) == 64 {
			return id[8:24]
		}
		return id
	}
	if len(a) == len(b) {
		return a == b && a != ""
	}
	return a != "" && short(a) == short(b)
}

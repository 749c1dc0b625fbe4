package clock

import (
	"time"

	"golang.org/x/sys/unix"
)

// MaxJump is how far the wall clock may move against the clock that counts time since boot between two looks. Slewing
// moves it by half a millisecond a second at most; a step by ntpd or by hand, or a machine restored from a snapshot of its
// memory, moves it at once.
const MaxJump = 250 * time.Millisecond

// Jumps compares the wall clock with the boot clock, which also counts suspended time [S9]. A machine that was restored from a
// live snapshot brings back processes that believe in the past: what they would sign or grant was signed and granted already
// by the machine that went on. Nothing in the process shows it but the clocks. It is for one goroutine at a time.
type Jumps struct {
	read       func() (wall, boot time.Duration)
	wall, boot time.Duration
	begun      bool
}

// NewJumps compares the machine's clocks, the wall clock moved by shift; nil moves nothing.
func NewJumps(shift func() time.Duration) *Jumps {
	if shift == nil {
		return Compare(readClocks)
	}
	return Compare(func() (wall, boot time.Duration) {
		wall, boot = readClocks()
		return wall + shift(), boot
	})
}

// Compare compares two clocks that a test reads for it.
func Compare(read func() (wall, boot time.Duration)) *Jumps { return &Jumps{read: read} }

// Look returns by how much the wall clock jumped since the last look; 0 if it did not.
func (w *Jumps) Look() time.Duration {
	wall, boot := w.read()
	jump := (wall - w.wall) - (boot - w.boot)
	first := !w.begun
	w.wall, w.boot, w.begun = wall, boot, true
	if first || jump.Abs() <= MaxJump {
		return 0
	}
	return jump
}

// readClocks reads both clocks of the machine.
func readClocks() (wall, boot time.Duration) {
	var w, b unix.Timespec
	if unix.ClockGettime(unix.CLOCK_REALTIME, &w) != nil || unix.ClockGettime(unix.CLOCK_BOOTTIME, &b) != nil {
		return 0, 0 // Linux has both
	}
	return time.Duration(w.Nano()), time.Duration(b.Nano())
}

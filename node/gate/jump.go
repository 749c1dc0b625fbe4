package gate

import (
	"cmp"
	"time"

	"golang.org/x/sys/unix"
)

// maxJump is how far the wall clock may move against the clock that counts time since boot between two looks. Slewing
// moves it by half a millisecond a second at most; a step by ntpd or by hand, or a machine restored from a snapshot of its
// memory, moves it at once.
const maxJump = 250 * time.Millisecond

// jumpWatch compares the wall clock with the boot clock, which also counts suspended time [S9]. A machine that was
// restored from a live snapshot brings back a gate and a nodeos that believe in the past: what they would sign was signed
// already by the machine that went on. Nothing in the process shows it but the clocks.
type jumpWatch struct {
	read       func() (wall, boot time.Duration)
	wall, boot time.Duration
	begun      bool
}

// look returns by how much the wall clock jumped since the last look; 0 if it did not.
func (w *jumpWatch) look() time.Duration {
	wall, boot := w.read()
	jump := (wall - w.wall) - (boot - w.boot)
	first := !w.begun
	w.wall, w.boot, w.begun = wall, boot, true
	if first || jump.Abs() <= maxJump {
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

// shifted is readClocks with the wall clock moved by a sandbox.
func shifted(shift func() time.Duration) func() (wall, boot time.Duration) {
	if shift == nil {
		return readClocks
	}
	return func() (wall, boot time.Duration) {
		wall, boot = readClocks()
		return wall + shift(), boot
	}
}

// CheckClocks looks whether the machine's clocks jumped against each other, and seals the gate if they did; it returns the
// first jump that was ever seen, by whoever looked. Each request looks by itself; the manager calls it between requests as
// well, about once a slot and before it proposes by the clock, and draws a new incarnation by starting again.
func (g *Gate) CheckClocks() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.checkClocks()
	return g.jumped
}

// checkClocks is CheckClocks with g.mu held.
func (g *Gate) checkClocks() time.Duration {
	jump := g.jumps.look()
	if jump != 0 {
		g.jumped = cmp.Or(g.jumped, jump)
		g.seal("the wall clock jumped by " + jump.Round(time.Millisecond).String() + " against the time since boot: was this machine restored from a snapshot?")
	}
	return jump
}

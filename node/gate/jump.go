package gate

import (
	"cmp"
	"time"
)

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
	jump := g.jumps.Look()
	if jump != 0 {
		g.jumped = cmp.Or(g.jumped, jump)
		g.seal("the wall clock jumped by " + jump.Round(time.Millisecond).String() + " against the time since boot: was this machine restored from a snapshot?")
	}
	return jump
}

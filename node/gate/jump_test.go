package gate

import (
	"testing"
	"time"
)

func TestAJumpOfTheClocksSealsTheGate(t *testing.T) {
	shift := time.Duration(0)
	g := newGate(t, func(c *Config) { c.WallShift = func() time.Duration { return shift } })
	n := openNode(t, g)
	g.Permit(Permit{1, base, base + 9})
	n.announce(7, base+1)
	if got := n.ask("before"); got != "" {
		t.Fatalf("refused %q", got)
	}
	shift = time.Hour
	n.announce(8, base+2)
	if got := n.ask("after"); got != ReasonSealed {
		t.Errorf("after a jump: %q, want %q", got, ReasonSealed)
	}
	// A request saw it; the manager must hear of it all the same, or its process would go on with a sealed gate.
	if got, want := g.CheckClocks(), time.Hour; (got - want).Abs() > time.Second {
		t.Errorf("the manager hears of a jump of %v, want about %v", got, want)
	}
}

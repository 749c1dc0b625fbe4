package gate

import (
	"testing"
	"time"
)

func TestJumpWatch(t *testing.T) {
	var wall, boot time.Duration
	w := jumpWatch{read: func() (time.Duration, time.Duration) { return wall, boot }}
	move := func(dw, db time.Duration) time.Duration {
		wall, boot = wall+dw, boot+db
		return w.look()
	}
	wall, boot = 1e18, 5e9
	for _, c := range []struct {
		name   string
		dw, db time.Duration
		want   time.Duration
	}{
		{"the first look has nothing to compare with", 0, 0, 0},
		{"time goes by", time.Second, time.Second, 0},
		{"two minutes without a request, slewed", 2*time.Minute + 60*time.Millisecond, 2 * time.Minute, 0},
		{"a suspended machine: both clocks go on", time.Hour, time.Hour, 0},
		{"restored from a snapshot an hour old", time.Hour, 10 * time.Millisecond, time.Hour - 10*time.Millisecond},
		{"told once", time.Second, time.Second, 0},
		{"set back by hand", -time.Second, time.Second, -2 * time.Second},
	} {
		if got := move(c.dw, c.db); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestAJumpOfTheClocksSealsTheGate(t *testing.T) {
	g := newGate(t, nil)
	n := openNode(t, g)
	g.Permit(Permit{1, base, base + 9})
	n.announce(7, base+1)
	if got := n.ask("before"); got != "" {
		t.Fatalf("refused %q", got)
	}
	now := g.jumps
	g.jumps.read = func() (wall, boot time.Duration) { return now.wall + time.Hour, now.boot + time.Second }
	n.announce(8, base+2)
	if got := n.ask("after"); got != ReasonSealed {
		t.Errorf("after a jump: %q, want %q", got, ReasonSealed)
	}
	// A request saw it; the manager must hear of it all the same, or its process would go on with a sealed gate.
	if got, want := g.CheckClocks(), time.Hour-time.Second; (got - want).Abs() > time.Second {
		t.Errorf("the manager hears of a jump of %v, want about %v", got, want)
	}
}

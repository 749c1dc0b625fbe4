package clock

import (
	"testing"
	"time"
)

func TestJumps(t *testing.T) {
	var wall, boot time.Duration
	w := Compare(func() (time.Duration, time.Duration) { return wall, boot })
	move := func(dw, db time.Duration) time.Duration {
		wall, boot = wall+dw, boot+db
		return w.Look()
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

// TestJumpsOfTheMachine: the real clocks do not jump, and a sandbox's shift does.
func TestJumpsOfTheMachine(t *testing.T) {
	var c *Clock
	plain, shift := NewJumps(c.Shift), time.Duration(0)
	moved := NewJumps(func() time.Duration { return shift })
	for range 3 {
		if a, b := plain.Look(), moved.Look(); a != 0 || b != 0 {
			t.Errorf("nothing jumped: %v, %v", a, b)
		}
	}
	shift = -time.Minute
	if got := moved.Look(); (got - shift).Abs() > time.Second {
		t.Errorf("%v, not %v", got, shift)
	}
}

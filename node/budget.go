package node

import "time"

// Budget bounds how often a node that ends by itself is started again.
type Budget struct {
	Exits  int           // that many unasked exits ...
	Window time.Duration // ... within this time and it stays down until Start
	Min    time.Duration // pause before the first restart; doubled for each further exit in the window
	Max    time.Duration // at most this pause
}

func (b Budget) withDefaults() Budget {
	if b.Exits == 0 {
		b.Exits = 5
	}
	if b.Window == 0 {
		b.Window = 10 * time.Minute
	}
	if b.Min == 0 {
		b.Min = 500 * time.Millisecond
	}
	if b.Max == 0 {
		b.Max = 30 * time.Second
	}
	return b
}

// next records an exit at now among the earlier ones, and gives the pause before the next start, or false: stay down.
func (b Budget) next(exits []time.Time, now time.Time) (kept []time.Time, pause time.Duration, ok bool) {
	for _, t := range exits {
		if now.Sub(t) < b.Window {
			kept = append(kept, t)
		}
	}
	kept = append(kept, now)
	if len(kept) >= b.Exits {
		return kept, 0, false
	}
	pause = b.Min
	for range len(kept) - 1 {
		pause = min(2*pause, b.Max)
	}
	return kept, pause, true
}

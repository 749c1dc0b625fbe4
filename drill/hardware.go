package drill

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

// The faults of a machine's disk, clock and key.
var (
	diskStall = fault{name: "disk stall", within: true, least: leastCut, most: mostCut, draw: plain(
		func(d *drill, _ context.Context, m *Member) error { return d.StallDisk(m) },
		func(d *drill, _ context.Context, m *Member) error { return d.UnstallDisk(m) })}
	clockStep = fault{name: "clock step", within: true, least: leastCut, most: mostCut, draw: func(r *rand.Rand) hurt {
		step := either(r, time.Duration(300+r.IntN(20000))*time.Millisecond)
		return hurt{text: fmt.Sprintf("%+.1f s", step.Seconds()), do: func(d *drill, _ context.Context, m *Member) error { return d.StepClock(m, step) }, undo: (*drill).resetClock}
	}}
	clockSkew = fault{name: "clock skew", within: true, least: leastCut, most: mostCut, draw: func(r *rand.Rand) hurt {
		ppm := either(r, 200+r.IntN(50000))
		return hurt{text: fmt.Sprintf("%+d ppm", ppm), do: func(d *drill, _ context.Context, m *Member) error { return d.SkewClock(m, ppm) }, undo: (*drill).resetClock}
	}}
	signerSlow = fault{name: "signer", least: leastCut, most: mostCut, needs: func(o *Options) { o.Keosd = true }, draw: func(r *rand.Rand) hurt {
		heal := func(d *drill, _ context.Context, m *Member) error { return d.HealSigner(m) }
		switch delay := time.Duration(50+r.IntN(2000)) * time.Millisecond; r.IntN(4) {
		case 0:
			return hurt{text: "dead", do: func(d *drill, _ context.Context, m *Member) error { return d.KillSigner(m) }, undo: heal}
		case 1:
			return hurt{text: "hangs", do: func(d *drill, _ context.Context, m *Member) error { return d.HangSigner(m) }, undo: heal}
		default:
			return hurt{text: "answers after " + delay.String(), do: func(d *drill, _ context.Context, m *Member) error { return d.SlowSigner(m, delay) }, undo: heal}
		}
	}}
	nodeHangs = fault{name: "node hangs", standIn: true, least: leastCut, most: mostCut, draw: plain(running(func(d *drill, ctx context.Context, m *Member) error {
		return d.HangNode(ctx, m, d.lasting)
	}), (*drill).leave)}
	nodeExits = fault{name: "node exits", mends: true, standIn: true, least: leastDown, most: mostDown, draw: plain(running((*drill).NodeExit), (*drill).leave)}
)

// either is the value or its opposite.
func either[T int | time.Duration](r *rand.Rand, v T) T {
	if r.IntN(2) == 0 {
		return -v
	}
	return v
}

func (d *drill) resetClock(_ context.Context, m *Member) error { return d.ResetClock(m) }

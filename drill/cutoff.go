package drill

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

const (
	leastCut = 500 * time.Millisecond
	mostCut  = 20 * time.Second
)

func needWire(o *Options) { o.Wire = true }

// The faults of the network.
var (
	partition = fault{name: "partition", least: leastCut, most: mostCut, needs: needWire, draw: plain(func(d *drill, _ context.Context, m *Member) error {
		return d.cutOff(m, true, true)
	}, (*drill).healAll)}
	oneway = fault{name: "partition one way", least: leastCut, most: mostCut, needs: needWire, draw: func(r *rand.Rand) hurt {
		out, text := r.IntN(2) == 0, "nothing gets in"
		if out {
			text = "nothing gets out"
		}
		return hurt{text: text, do: func(d *drill, _ context.Context, m *Member) error { return d.cutOff(m, out, !out) }, undo: (*drill).healAll}
	}}
	lossy = fault{name: "packet loss", least: leastCut, most: mostCut, needs: needWire, draw: func(r *rand.Rand) hurt {
		loss, latency := 0.05+0.25*r.Float64(), time.Duration(r.IntN(80))*time.Millisecond
		return hurt{text: fmt.Sprintf("%.0f %%, %s everywhere", 100*loss, latency), do: func(d *drill, _ context.Context, _ *Member) error {
			return errors.Join(d.SetLoss(loss), d.delay(latency))
		}, undo: func(d *drill, _ context.Context, _ *Member) error {
			return errors.Join(d.SetLoss(0), d.delay(d.opts.Latency))
		}}
	}}
	lonely = fault{name: "p2p cut", least: leastCut, most: mostCut, needs: needWire, draw: plain(func(d *drill, _ context.Context, m *Member) error {
		return d.cutLinks(m, true, true, true)
	}, (*drill).healAll)}
)

// cutOff cuts a member's links to all others: what it sends, what it is sent, or both.
func (d *drill) cutOff(m *Member, out, in bool) error { return d.cutLinks(m, out, in, false) }

// cutLinks does so at one blow, for all or for the nodes' connections alone.
func (d *drill) cutLinks(m *Member, out, in, p2p bool) error {
	return d.change(func(cuts map[link]bool) {
		for _, o := range d.Members {
			if o == m {
				continue
			}
			if out {
				cuts[link{m, o, p2p}] = true
			}
			if in {
				cuts[link{o, m, p2p}] = true
			}
		}
	})
}

// delay sets the latency; a kernel that cannot delay leaves a fault that needs it its other half.
func (d *drill) delay(latency time.Duration) error {
	if err := d.SetLatency(latency); !errors.Is(err, errNoDelay) {
		return err
	}
	return nil
}

func (d *drill) healAll(_ context.Context, _ *Member) error { return d.Heal() }

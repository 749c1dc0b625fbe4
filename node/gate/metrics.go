package gate

import (
	"sync/atomic"
	"time"

	"roundtable/meter"
)

// counters are written by whoever does the work and read without the gate's lock.
type counters struct {
	signatures, mismatches, oddities, dropped atomic.Uint64
	refused                                   meter.Tally
	latency                                   *meter.Histogram
	standing                                  atomic.Pointer[standing] // notify's

	lastRequest time.Time // with g.mu held, as the next one
	lastReason  string
}

// standing is whether the gate may sign.
type standing struct {
	open   bool
	sealed string
}

func (c *counters) begin() {
	c.latency = meter.NewHistogram(meter.Latencies)
	c.standing.Store(&standing{})
	for _, reason := range reasons {
		c.refused.Add(reason, 0)
	}
}

// stand publishes the gate's standing where it has changed.
func (c *counters) stand(open bool, sealed string) {
	if now := c.standing.Load(); now.open != open || now.sealed != sealed {
		c.standing.Store(&standing{open, sealed})
	}
}

// Metrics is what the gate counted since it was made, and whether it may sign.
type Metrics struct {
	Open        bool   // a block in the permit's range could be signed
	Sealed      string // why the gate is closed for good; "": it is not
	Signatures  uint64
	Refused     map[string]uint64 // by reason, each of which is there
	Mismatches  uint64            // blocks that Produced or Confirm found not to agree
	Oddities    uint64            // packets on stdout that fit no log line
	Dropped     uint64            // lines OnLine was too slow for
	SignSeconds meter.Distribution
}

// Metrics returns the counts. It takes no lock: whoever exports them cannot hold up a signature.
func (g *Gate) Metrics() Metrics {
	now := g.count.standing.Load()
	return Metrics{
		Open: now.open, Sealed: now.sealed, Signatures: g.count.signatures.Load(), Refused: g.count.refused.Read(),
		Mismatches: g.count.mismatches.Load(), Oddities: g.count.oddities.Load(), Dropped: g.count.dropped.Load(), SignSeconds: g.count.latency.Read(),
	}
}

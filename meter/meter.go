// Package meter counts: latencies in buckets, and events by name. Whoever does the work counts here and whoever exports
// metrics reads, and neither ever waits for the other: nothing in it has a lock, so a scrape cannot hold up the lease.
//
// It is a leaf, shared by node, cluster and api, so that none of them must know a metrics library.
package meter

import (
	"sync"
	"sync/atomic"
	"time"
)

// Latencies are the bounds of what a process does within itself: a signature, a small write.
var Latencies = []time.Duration{
	50 * time.Microsecond, 100 * time.Microsecond, 200 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond, 20 * time.Millisecond,
	50 * time.Millisecond, 100 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond, time.Second,
}

// Commits are the bounds of what a majority must agree to: half a slot and a slot stand among them.
var Commits = []time.Duration{
	500 * time.Microsecond, time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond, 20 * time.Millisecond,
	50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2500 * time.Millisecond,
}

// Histogram counts durations in buckets. Any goroutine may use it. Make it with NewHistogram.
type Histogram struct {
	bounds []time.Duration
	counts []atomic.Uint64
	sum    atomic.Int64
}

// NewHistogram makes a histogram with these upper bounds, ascending; one more bucket holds what is longer.
func NewHistogram(bounds []time.Duration) *Histogram {
	return &Histogram{bounds: bounds, counts: make([]atomic.Uint64, len(bounds)+1)}
}

// Observe counts one duration.
func (h *Histogram) Observe(d time.Duration) {
	i := 0
	for i < len(h.bounds) && d > h.bounds[i] {
		i++
	}
	h.counts[i].Add(1)
	h.sum.Add(int64(d))
}

// Distribution is a histogram as it stood at a moment: Counts[i] is how many were <= Bounds[i] and > Bounds[i-1]; the last
// of Counts, one more than Bounds, holds the longer ones.
type Distribution struct {
	Bounds []time.Duration `json:"bounds"`
	Counts []uint64        `json:"counts"`
	Count  uint64          `json:"count"`
	Sum    time.Duration   `json:"sum"`
}

// Read returns what was counted. Count agrees with Counts; Sum may already hold a duration that they do not.
func (h *Histogram) Read() Distribution {
	d := Distribution{Bounds: h.bounds, Counts: make([]uint64, len(h.counts)), Sum: time.Duration(h.sum.Load())}
	for i := range h.counts {
		d.Counts[i] = h.counts[i].Load()
		d.Count += d.Counts[i]
	}
	return d
}

// Other is the name that a Tally counts under what would be one name too many.
const Other = "other"

// mostNames bounds a Tally: each name becomes a time series.
const mostNames = 64

// Tally counts events by name. The zero Tally is ready; any goroutine may use it. Names must come from the program and not
// from whoever sends a request; should they not, they are bounded.
type Tally struct {
	counts sync.Map // string -> *atomic.Uint64
	names  atomic.Int64
}

// Add counts one event; n may be 0, so that a name is there before its first event.
func (t *Tally) Add(name string, n uint64) {
	c, ok := t.counts.Load(name)
	if !ok {
		if t.names.Load() >= mostNames {
			name = Other
		}
		if c, ok = t.counts.LoadOrStore(name, new(atomic.Uint64)); !ok {
			t.names.Add(1)
		}
	}
	c.(*atomic.Uint64).Add(n)
}

// Read returns the counts by name; the map is the caller's.
func (t *Tally) Read() map[string]uint64 {
	all := map[string]uint64{}
	t.counts.Range(func(name, c any) bool {
		all[name.(string)] = c.(*atomic.Uint64).Load()
		return true
	})
	return all
}

// Package sim_test runs whole clusters in virtual time: three members with their real raft groups, gossip and controllers,
// with gates and nodes of the model kind, on a network in memory. A schedule says what happens to them: latencies, clocks
// and a list of troubles; a seed draws one. Each run ends with the same questions: was a slot signed twice, is there one
// holder and does it produce, did every operation end, are all states byte-equal, is the lease's history linearizable, and
// what did each trouble cost on the chain.
//
//	ROUNDTABLE_SEEDS=5000       seeds 1 to 5000 (or 2001-5000)
//	ROUNDTABLE_SEED=7           that one, with the members' logs
//	ROUNDTABLE_SHRINK=1         a failing seed is shrunk, and the least schedule that fails so printed
//	ROUNDTABLE_SCHEDULE=a.json  what such a print holds
//
// Read schedule_test.go (what is drawn) and faults_test.go (what it does) first, then world_test.go and life_test.go (the members),
// node_test.go and gate_test.go (the models of nodeos and of the gate; the real ones have tests of their own with real
// processes), seams_test.go (frozen processes, stalled disks), history_test.go and linear_test.go (the lease's history).
//
//go:debug randseednop=0
package sim_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	debug.SetGCPercent(400) // between the runs, which go without
	dir, err := os.MkdirTemp("", "roundtable-sim")
	if err = errors.Join(err, openClocks(dir)); err != nil {
		panic(err)
	}
	cleanup := goleak.Cleanup(func(code int) { _ = os.RemoveAll(dir); os.Exit(code) })
	// Goroutines of a bubble end with it; memberlist's probes may be a moment behind; for wait see
	// bubble.
	goleak.VerifyTestMain(m, cleanup, goleak.IgnoreAnyFunction("roundtable/cluster.wait.func1"), goleak.IgnoreAnyFunction("github.com/hashicorp/memberlist.(*Memberlist).probeNode"))
}

// eventsPerSeed are drawn from episodes.
var eventsPerSeed = 5

// seedsByDefault is what `make test` can afford.
var seedsByDefault = uint64(200)

// repeatsByDefault are run twice by TestRepeats.
var repeatsByDefault = uint64(10)

// raced is whether the race detector watches: then only what it could see is run.
var raced = false

// costs are the slots missed by each kind of event, over all seeds.
type costs struct {
	missed  map[string][]int
	virtual time.Duration
	cpu     time.Duration
	ops     int
	unknown int
}

func (c *costs) add(r result) {
	for _, e := range r.events {
		if e.until > 0 {
			c.missed[e.group()] = append(c.missed[e.group()], len(e.missed))
		}
	}
	c.virtual += r.virtual
	c.cpu += r.cpu
	c.ops += r.ops
	c.unknown += r.unknown
}

func (c *costs) log(t *testing.T) {
	names := make([]string, 0, len(c.missed))
	for name := range c.missed {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		list := c.missed[name]
		slices.Sort(list)
		t.Logf("%-34s %5d times, slots missed: p50 %d, p99 %d, max %d", name, len(list), list[len(list)/2], list[len(list)*99/100], list[len(list)-1])
	}
	t.Logf("lease history: %d operations, %d of them with an unknown outcome", c.ops, c.unknown)
	t.Logf("speed: %.0f s of cluster time in %.1f s of CPU: %.0f times as fast", c.virtual.Seconds(), c.cpu.Seconds(), c.virtual.Seconds()/c.cpu.Seconds())
}

// TestSeeds runs the seeds, one after the other: the libraries' dice are one for the process.
func TestSeeds(t *testing.T) {
	first, last := uint64(1), seedsByDefault
	if text := os.Getenv("ROUNDTABLE_SEEDS"); text != "" {
		from, to, ok := strings.Cut(text, "-")
		if !ok {
			from, to = "1", from
		}
		first, last = number(t, from), number(t, to)
	}
	verbose := os.Getenv("ROUNDTABLE_SEED") != ""
	if verbose {
		first = number(t, os.Getenv("ROUNDTABLE_SEED"))
		last = first
	}
	c := &costs{missed: map[string][]int{}}
	for seed := first; seed <= last; seed++ {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			c.add(try(t, draw(seed, eventsPerSeed), options{verbose: verbose}))
		})
	}
	c.log(t)
}

// TestSchedules runs those that are kept, which once failed; or one in a file of the caller's.
func TestSchedules(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.json")
	if err != nil {
		t.Fatal(err)
	}
	own := os.Getenv("ROUNDTABLE_SCHEDULE")
	if own != "" {
		paths = []string{own}
	}
	for _, path := range paths {
		s, err := readSchedule(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(filepath.Base(path), func(t *testing.T) { try(t, s, options{verbose: own != ""}) })
	}
}

func number(t *testing.T, text string) uint64 {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("seeds: %v", err)
	}
	return n
}

// try runs a schedule and fails for its verdict; where it is asked for with the least schedule that fails the same way.
func try(t *testing.T, s schedule, o options) result {
	r := run(t, s, o)
	switch {
	case r.verdict != nil:
		least := ""
		if os.Getenv("ROUNDTABLE_SHRINK") != "" {
			small, tries := shrink(s, r.class, 400, func(s schedule) string { return run(t, s, options{}).class })
			least = fmt.Sprintf("\nthe least schedule that fails so, after %d runs (repeat with ROUNDTABLE_SCHEDULE=file):\n%v", tries, small)
		}
		t.Errorf("seed %d (repeat with ROUNDTABLE_SEED=%d, or with this in a file and ROUNDTABLE_SCHEDULE=file):\n%v\n%s\n%v%s\nlog of the members:\n%s", s.Seed, s.Seed, s, r.what(), r.verdict, least, r.log)
	case o.verbose:
		t.Logf("log of the members:\n%s\n%s", r.log, r.what())
	}
	return r
}

// cpuTime is this process' so far.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

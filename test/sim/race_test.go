//go:build race

package sim_test

import "runtime"

func init() {
	eventsPerSeed, seedsByDefault, repeatsByDefault = 2, 20, 1 // the race detector makes everything ten times as slow
	raced = true
	// One bubble's timers share one context of the race detector, which crashes when two threads use it at once
	// (golang/go#78156; seen here as a SIGSEGV in __tsan::SlotLock).
	runtime.GOMAXPROCS(1)
}

//go:build race

package cluster_test

import "runtime"

// One bubble's timers share one context of the race detector, which crashes when two threads use it at once
// (golang/go#78156; seen here as a SIGSEGV in __tsan::SlotLock).
func init() {
	runtime.GOMAXPROCS(1)
	raced = true
}

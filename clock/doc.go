// Package clock is about the machine's clocks: whether the wall clock jumped (jump.go), which every manager asks, whether
// the kernel knows it to be right (synced.go), and the wall
// clock as a sandbox may move it (clock.go), by an offset and a rate that stand in a small file, which the programs under test
// map into memory and the drill writes. Nothing but a sandbox uses the latter; a nil Clock is the machine's.
package clock

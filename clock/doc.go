// Package clock is the machine's clock as a sandbox may move it: by an offset and a rate that stand in a small file, which
// the programs under test map into memory and the drill writes. Nothing but a sandbox uses it; a nil Clock is the machine's.
// Read clock.go.
package clock

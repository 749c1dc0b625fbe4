package clock

import (
	"time"
	"unsafe"
)

// parts is time.Time as package time lays it out. There is no other way to move the wall clock and leave the monotonic one:
// Add moves both. A test looks whether it still fits.
type parts struct {
	wall uint64 // hasMonotonic, 33 bits of seconds since 1885, 30 bits of nanoseconds
	ext  int64
	loc  unsafe.Pointer
}

const hasMonotonic = 1 << 63

var year1885 = time.Date(1885, 1, 1, 0, 0, 0, 0, time.UTC).Unix()

// moveWall moves what the calendar says, and not the monotonic part.
func moveWall(t time.Time, by time.Duration) time.Time {
	p := (*parts)(unsafe.Pointer(&t)) //nolint:gosec // see parts
	if p.wall&hasMonotonic == 0 {
		return t.Add(by)
	}
	moved := t.Round(0).Add(by)
	p.wall = hasMonotonic | uint64(moved.Unix()-year1885)<<30 | uint64(moved.Nanosecond()) //nolint:gosec // since 1885
	return t
}

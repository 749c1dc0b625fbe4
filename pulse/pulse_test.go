package pulse

import (
	"testing"
	"time"
)

func TestUntil(t *testing.T) {
	const every = 100 * time.Millisecond
	for at, want := range map[time.Duration]time.Duration{
		0:                            every,
		time.Millisecond:             99 * time.Millisecond,
		40 * time.Millisecond:        60 * time.Millisecond,
		99 * time.Millisecond:        time.Millisecond,
		99500 * time.Microsecond:     100500 * time.Microsecond, // the timer of the next beat came early
		7*every + time.Microsecond:   every - time.Microsecond,
		12*every + 3*time.Nanosecond: every - 3*time.Nanosecond,
	} {
		if got := Until(time.Unix(1_800_000_000, 0).Add(at), every); got != want {
			t.Errorf("%v after a beat: %v to the next, want %v", at, got, want)
		}
	}
}

func TestFit(t *testing.T) {
	const slot = 500 * time.Millisecond
	for most, want := range map[time.Duration]time.Duration{
		100 * time.Millisecond: 100 * time.Millisecond,
		99 * time.Millisecond:  slot / 6,
		33 * time.Millisecond:  slot / 16,
		time.Second:            slot,
	} {
		if got := Fit(slot, most); got != want {
			t.Errorf("Fit(%v) = %v, want %v", most, got, want)
		}
	}
}

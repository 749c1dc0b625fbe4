// Package pulse lets what a manager does again and again happen at the same instants.
//
// An idle manager's cost is not the work, it is being woken: one wake-up costs a hundred times what most ticks do, and ten
// timers at one instant are one wake-up. So everything periodic waits for the next multiple of its period, and periods are
// parts or multiples of a slot. Nothing may be correct only because of it: a beat is a matter of cost, never of order.
//
// It is a leaf; read this file only.
package pulse

import "time"

// slack is how early a wake-up may be and still count as the beat that it was meant for: timers count on another clock than
// the wall's.
const slack = time.Millisecond

// Until returns how long it is from now to the next beat: the next multiple of every since the Unix epoch, on which slots
// begin too. It is more than 0 and at most every and a millisecond.
func Until(now time.Time, every time.Duration) time.Duration {
	d := every - time.Duration(now.UnixNano()%int64(every))
	if d < slack {
		d += every
	}
	return d
}

// Next is Until from now on, by the system's clock.
func Next(every time.Duration) time.Duration { return Until(time.Now(), every) }

// Fit returns the longest part of whole, a whole fraction of it, that is not longer than most.
func Fit(whole, most time.Duration) time.Duration {
	return whole / max(1, (whole+most-1)/most)
}

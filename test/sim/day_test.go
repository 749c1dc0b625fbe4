package sim_test

import (
	"os"
	"testing"
	"time"
)

// TestClusterDay lives a day, or as long as ROUNDTABLE_DAY says (24h), with three members and a trouble every five minutes,
// and says how many times as fast that was, by CPU time. It is a figure, and not run by default.
func TestClusterDay(t *testing.T) {
	text := os.Getenv("ROUNDTABLE_DAY")
	if text == "" {
		t.Skip("ROUNDTABLE_DAY is not set")
	}
	whole, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	const calm = 5 * time.Minute
	s := draw(1, int(whole/calm))
	for i := range s.Steps {
		if i == 0 || s.Steps[i-1].Settle {
			s.Steps[i].After += span(calm)
		}
	}
	r := run(t, s, options{unchecked: true})
	if r.verdict != nil {
		t.Fatal(r.verdict, r.what())
	}
	t.Logf("%d events, %.1f h of cluster time in %.1f s of CPU: %.0f times as fast", len(r.events), r.virtual.Hours(), r.cpu.Seconds(), r.virtual.Seconds()/r.cpu.Seconds())
}

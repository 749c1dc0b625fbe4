package sim_test

import (
	"os"
	"testing"
)

// TestRepeats runs seeds twice and compares what happened. The schedule is the same to the letter; what the cluster does
// with it may differ in what run cannot fix (Go's select and map order), so it counts. ROUNDTABLE_REPEATS says how many
// seeds, for the figure.
func TestRepeats(t *testing.T) {
	seeds := repeatsByDefault
	if text := os.Getenv("ROUNDTABLE_REPEATS"); text != "" {
		seeds = number(t, text)
	}
	verdicts, coarse, fine := uint64(0), uint64(0), uint64(0)
	for seed := uint64(1); seed <= seeds; seed++ {
		a, b := run(t, draw(seed, eventsPerSeed), options{}), run(t, draw(seed, eventsPerSeed), options{})
		if a.class == b.class {
			verdicts++
		} else {
			t.Errorf("seed %d: %q, and then %q", seed, a.class, b.class)
		}
		if a.coarse == b.coarse {
			coarse++
		}
		if a.fine == b.fine {
			fine++
		}
	}
	t.Logf("of %d seeds run twice: %d equal verdicts, %d equal in slots, signers and epochs, %d in every log entry and its time", seeds, verdicts, coarse, fine)
}

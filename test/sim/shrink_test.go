package sim_test

import (
	"slices"
	"testing"
	"time"
)

// shrink makes a schedule that fails smaller for as long as it fails the same way: steps go, in large bites first, then
// times are shortened and the world made plain. fails runs a schedule and names its failure. What is left to chance in a
// run (see run) may let it miss a smaller one, but never print one that did not fail. It makes at most so many runs.
func shrink(s schedule, class string, most int, fails func(schedule) string) (least schedule, tries int) {
	better := func(c schedule) bool {
		if tries >= most {
			return false
		}
		tries++
		if fails(c) != class {
			return false
		}
		s = c
		return true
	}
	for again := true; again && tries < most; {
		again = false
		for bite := max(len(s.Steps)/2, 1); bite > 0; bite /= 2 {
			for at := 0; at < len(s.Steps) && len(s.Steps) > 1; {
				c := s
				c.Steps = slices.Delete(slices.Clone(s.Steps), at, min(at+bite, len(s.Steps)))
				if len(c.Steps) == 0 || !better(c) {
					at++
					continue
				}
				again = true
			}
		}
		for i := range s.Steps {
			for _, part := range []func(*step) *span{
				func(st *step) *span { return &st.After }, func(st *step) *span { return &st.For }, func(st *step) *span { return &st.By },
			} {
				for halves := 0; halves < 6; halves++ {
					c := s
					c.Steps = slices.Clone(s.Steps)
					p := part(&c.Steps[i])
					if *p == 0 {
						break
					}
					*p = span(time.Duration(*p / 2).Round(time.Millisecond))
					if !better(c) {
						break
					}
					again = true
				}
			}
		}
		for _, plain := range []func(*schedule){
			func(s *schedule) { s.Skew = [3]span{} },
			func(s *schedule) { s.Phase = 0 },
			func(s *schedule) { s.P2P = span(time.Millisecond) },
			func(s *schedule) { s.Wire = span(500 * time.Microsecond) },
		} {
			c := s
			c.Steps = slices.Clone(s.Steps)
			if plain(&c); c.Skew != s.Skew || c.Phase != s.Phase || c.P2P != s.P2P || c.Wire != s.Wire {
				again = better(c) || again
			}
		}
	}
	return s, tries
}

// TestShrink takes guards out of the model gate: the suite must see it, and say it with few steps.
func TestShrink(t *testing.T) {
	if raced {
		t.Skip("too slow with the race detector, and nothing new to it")
	}
	for _, c := range []struct {
		bug  string
		most int
	}{{bugRange, 2}, {bugRelease, 3}} {
		t.Run(c.bug, func(t *testing.T) {
			for seed := uint64(1); seed <= 150; seed++ {
				s := draw(seed, eventsPerSeed)
				s.Bug = c.bug
				r := run(t, s, options{})
				if r.class != "unsafe" && r.class != "history" {
					continue
				}
				small, tries := shrink(s, r.class, 50, func(s schedule) string { return run(t, s, options{}).class })
				t.Logf("seed %d, %d steps: %s; after %d runs:\n%v", seed, len(s.Steps), r.class, tries, small)
				if len(small.Steps) <= c.most {
					return
				}
				t.Logf("%d steps are left, of %d: it takes chance that a run cannot fix, another seed may need less", len(small.Steps), len(s.Steps))
			}
			t.Fatalf("not noticed in 150 seeds with %d steps", c.most)
		})
	}
}

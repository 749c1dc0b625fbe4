package meter

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestHistogram(t *testing.T) {
	h := NewHistogram([]time.Duration{time.Millisecond, time.Second})
	for _, d := range []time.Duration{0, time.Millisecond, time.Millisecond + 1, time.Second, time.Hour} {
		h.Observe(d)
	}
	want := Distribution{
		Bounds: []time.Duration{time.Millisecond, time.Second}, Counts: []uint64{2, 2, 1}, Count: 5,
		Sum: 2*time.Millisecond + 1 + time.Second + time.Hour,
	}
	if diff := cmp.Diff(want, h.Read()); diff != "" {
		t.Error(diff)
	}
	h.Read().Counts[0] = 99
	if h.Read().Counts[0] != 2 {
		t.Error("what was read is not the reader's own")
	}
}

// TestTally lets many count at once: nothing is lost, and names too many go to one name.
func TestTally(t *testing.T) {
	var tally Tally
	tally.Add("known", 0)
	if diff := cmp.Diff(map[string]uint64{"known": 0}, tally.Read()); diff != "" {
		t.Error(diff)
	}
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			for i := range 1000 {
				tally.Add(fmt.Sprint("name", (worker+i)%500), 1)
			}
		})
	}
	wg.Wait()
	sum := uint64(0)
	for _, n := range tally.Read() {
		sum += n
	}
	if sum != 4000 {
		t.Errorf("%d of 4000 were counted", sum)
	}
	if n := len(tally.Read()); n > mostNames+4+1 { // each worker may have been on its way in
		t.Errorf("%d names", n)
	}
	if tally.Read()[Other] == 0 {
		t.Error("nothing under the common name")
	}
}

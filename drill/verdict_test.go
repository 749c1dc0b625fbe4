package drill

import (
	"bytes"
	"strings"
	"testing"
)

// TestVerdict: what may be missed is each event's own; nothing else is forgiven.
func TestVerdict(t *testing.T) {
	good := Report{SlotsDue: 100, Events: []Event{{What: "handoff", From: "m1", To: "m2"}, {What: "kill", From: "m2", To: "m1", Missed: 4, FirstBlockMs: 2100}, {What: "move", Missed: 30}}}
	limits := []int{0, 7, uncounted}
	for name, c := range map[string]struct {
		change func(*Report)
		want   string // in the error; "" for none
	}{
		"all is well":          {func(*Report) {}, ""},
		"at the limit":         {func(r *Report) { r.Events[1].Missed = 7 }, ""},
		"beyond the limit":     {func(r *Report) { r.Events[1].Missed = 8 }, "the kill (m2 -> m1) missed 8 slots, more than 7"},
		"a planned one missed": {func(r *Report) { r.Events[0].Missed = 1 }, "the handoff (m1 -> m2) missed 1 slots, more than 0"},
		"missed elsewhere":     {func(r *Report) { r.Elsewhere = 2 }, "2 slots were missed although nothing was done"},
		"signed twice":         {func(r *Report) { r.Doubled = 1 }, "1 slots were signed twice"},
		"without the lease":    {func(r *Report) { r.Outside = []Signature{{Slot: 7}} }, "did not pass"},
		"two chains":           {func(r *Report) { r.Forks = 1 }, "did not pass"},
		"a failure":            {func(r *Report) { r.Failures = []string{"block 9 is in no ledger"} }, "did not pass"},
		"production moved":     {func(r *Report) { r.FalseFailovers = 1 }, "did not pass"},
	} {
		t.Run(name, func(t *testing.T) {
			r := good
			r.Events = append([]Event{}, good.Events...)
			c.change(&r)
			var out bytes.Buffer
			err := r.tell(&out, "It", limits)
			if c.want == "" {
				if err != nil || !strings.Contains(out.String(), "It passed.") || !strings.Contains(out.String(), "30 by the move, which is not judged") {
					t.Errorf("%v\n%s", err, &out)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(out.String(), "passed.") {
				t.Errorf("%v does not say %q\n%s", err, c.want, &out)
			}
		})
	}
}

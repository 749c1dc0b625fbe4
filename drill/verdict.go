package drill

import (
	"errors"
	"fmt"
	"io"
)

// tell prints what the ledgers and the chain say of what was done, and decides: each event may miss so many slots, nothing else any.
func (r Report) tell(w io.Writer, what string, limits []int) error {
	fmt.Fprintf(w, "\nThe nodes' own ledgers and the chain say:\n")
	fmt.Fprintf(w, "  slots due      %d\n", r.SlotsDue)
	var all error
	for i, e := range r.Events {
		done := e.What
		if e.To != e.From {
			done += fmt.Sprintf(" (%s -> %s)", e.From, e.To)
		}
		limit := fmt.Sprintf("at most %d", limits[i])
		if limits[i] == uncounted {
			limit = "which is not judged"
		}
		fmt.Fprintf(w, "  missed         %d by the %s, %s", e.Missed, done, limit)
		if e.FirstBlockMs > 0 {
			fmt.Fprintf(w, "; the next holder's first block came %d ms after it began", e.FirstBlockMs)
		}
		fmt.Fprintln(w)
		if e.Missed > limits[i] && limits[i] != uncounted {
			all = errors.Join(all, fmt.Errorf("drill: the %s missed %d slots, more than %d", done, e.Missed, limits[i]))
		}
	}
	fmt.Fprintf(w, "  missed besides %d\n", r.Elsewhere)
	fmt.Fprintf(w, "  signed twice   %d\n", r.Doubled)
	if r.Elsewhere > 0 {
		all = errors.Join(all, fmt.Errorf("drill: %d slots were missed although nothing was done to the cluster", r.Elsewhere))
	}
	if r.Doubled > 0 {
		all = errors.Join(all, fmt.Errorf("drill: %d slots were signed twice", r.Doubled))
	}
	if !r.Passed() {
		r.Write(w)
		all = errors.Join(all, errors.New("drill: it did not pass"))
	}
	if all == nil {
		fmt.Fprintf(w, "\nNo slot was signed twice, none was lost by what was planned. %s passed.\n", what)
	}
	return all
}

package drill

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"
)

// Distribution is of the missed slots per event.
type Distribution struct {
	Total int `json:"total"`
	P50   int `json:"p50"`
	P99   int `json:"p99"`
	Max   int `json:"max"`
}

// Spread is of milliseconds.
type Spread struct {
	P50 int `json:"p50"`
	P99 int `json:"p99"`
	Max int `json:"max"`
}

// Report is what a drill found, for one scenario (design/surface.md, "Drill scenarios").
type Report struct {
	Scenario       string       `json:"scenario"`
	System         string       `json:"system,omitempty"` // what was drilled, where it is not Roundtable alone that is spoken of
	Runs           int          `json:"runs"`
	Seed           int64        `json:"seed"`
	Fence          string       `json:"fence"`
	Nodeos         string       `json:"nodeos"`
	LatencyMs      int64        `json:"latency_ms,omitempty"` // one-way, between the nodes
	Namespaces     bool         `json:"namespaces,omitempty"` // the members were in network namespaces, not behind proxies
	SlotsDue       int          `json:"slots_due"`
	Missed         Distribution `json:"missed"`           // total over the whole drill; the rest per event
	Elsewhere      int          `json:"missed_elsewhere"` // slots missed outside of every event
	Doubled        int          `json:"doubled"`
	Lost           int          `json:"lost"`  // blocks signed and not in the chain that was kept
	Forks          int          `json:"forks"` // pairs of nodes whose chains ended differently
	Unrecovered    int          `json:"unrecovered"`
	FalseFailovers int          `json:"false_failovers"`
	FirstBlockMs   Spread       `json:"first_block_ms"` // from the event to the next holder's first block
	Baselines      []Baseline   `json:"baselines,omitempty"`
	Note           string       `json:"note,omitempty"`
	Revived        int          `json:"revived"` // managers that ended themselves and were started again
	Verdict        string       `json:"verdict"` // as WriteJSON writes it
	Failures       []string     `json:"failures,omitempty"`
	Doubles        []Double     `json:"doubles,omitempty"`
	Outside        []Signature  `json:"outside,omitempty"` // by a node that did not hold the lease for that slot
	Events         []Event      `json:"events,omitempty"`
	Epochs         []EpochSpan  `json:"epochs,omitempty"` // from the raft logs
	Dir            string       `json:"-"`                // of the sandbox
}

// Baseline is what the same runs cost one of the usual ways of doing the job.
type Baseline struct {
	Name        string       `json:"name"`
	Runs        int          `json:"runs"`
	Failures    []string     `json:"failures,omitempty"`
	Missed      Distribution `json:"missed"`
	Doubled     int          `json:"doubled"`
	Unrecovered int          `json:"unrecovered"`
	Lost        int          `json:"lost"`
	Events      []Event      `json:"-"` // for their timelines
}

// Event is one run: what was done, and what it cost.
type Event struct {
	Run          int           `json:"run"`
	At           time.Time     `json:"at"`
	What         string        `json:"what"`
	Fault        string        `json:"fault,omitempty"` // in words, with what was drawn
	PhaseMs      int           `json:"phase_ms"`        // of At within its slot
	From         string        `json:"from"`
	To           string        `json:"to"`
	Took         time.Duration `json:"took_ns"`              // until the cluster said it was over
	Harmless     bool          `json:"harmless,omitempty"`   // it must not move production
	Revived      int           `json:"revived,omitempty"`    // managers that ended themselves and were started again
	PreparedAt   time.Time     `json:"prepared_at,omitzero"` // from then on the drill may have moved production itself
	HealedAt     time.Time     `json:"healed_at,omitzero"`
	RecoveredAt  time.Time     `json:"recovered_at,omitzero"`
	Failure      string        `json:"failure,omitempty"` // why it did not recover
	FirstSlot    uint64        `json:"first_slot"`
	LastSlot     uint64        `json:"last_slot"`
	Missed       int           `json:"missed"`
	MissedSlots  []uint64      `json:"missed_slots,omitempty"`
	Doubled      int           `json:"doubled"`
	Lost         int           `json:"lost"`
	FirstBlockMs int           `json:"first_block_ms"` // 0: no other node signed in this event
	Members      []string      `json:"-"`              // rows of the timeline; those that held or signed are added
	Timeline     *Timeline     `json:"-"`              // for the HTML page
}

// distribute sums up a sample but for its total. Percentiles are of the nearest rank: a value that was really seen.
func distribute(sample []int) Distribution {
	if len(sample) == 0 {
		return Distribution{}
	}
	sorted := slices.Sorted(slices.Values(sample))
	rank := func(p int) int { return sorted[(len(sorted)*p+99)/100-1] }
	return Distribution{P50: rank(50), P99: rank(99), Max: sorted[len(sorted)-1]}
}

// OK reports whether nothing was signed twice or without the lease, every run recovered, and the nodes ended with one chain.
func (r Report) OK() bool {
	return r.Doubled == 0 && r.Unrecovered == 0 && r.Forks == 0 && len(r.Outside) == 0 && len(r.Failures) == 0
}

// Broken lists the promises that were not kept although nothing was signed twice: a planned operation that cost a slot, a
// false failover.
func (r Report) Broken() (list []string) {
	if s, err := scenarioOf(r.Scenario); err == nil && s.free && r.Missed.Total > r.Elsewhere {
		list = append(list, fmt.Sprintf("it must miss nothing, and missed %d slots", r.Missed.Total-r.Elsewhere))
	}
	if r.FalseFailovers > 0 {
		list = append(list, fmt.Sprintf("production moved %d times when nothing was done to the cluster", r.FalseFailovers))
	}
	return list
}

// Passed reports whether it is OK and all that was promised was kept.
func (r Report) Passed() bool { return r.OK() && len(r.Broken()) == 0 }

func (r Report) verdict() string {
	if r.Passed() {
		return "passed"
	}
	return "failed"
}

// Write prints the report for people.
func (r Report) Write(w io.Writer) { WriteTable(w, []Report{r}) }

// WriteTable prints a row per scenario, those of the baselines beneath it, and then what went wrong. It is 118 columns wide.
func WriteTable(w io.Writer, reports []Report) {
	const row = "%-18s %5v %9v %7v %4v %4v %4v %7v %5v %5v %11v %5v %22v\n"
	fmt.Fprintf(w, "\n"+row, "scenario", "runs", "slots due", "missed", "p50", "p99", "max", "doubled", "lost", "forks", "unrecovered", "false", "first block, ms")
	for _, r := range reports {
		first := "-"
		if r.FirstBlockMs.Max > 0 {
			first = fmt.Sprintf("p50 %d max %d", r.FirstBlockMs.P50, r.FirstBlockMs.Max)
		}
		fmt.Fprintf(w, row, cut(r.Scenario, 18), r.Runs, r.SlotsDue, r.Missed.Total, r.Missed.P50, r.Missed.P99, r.Missed.Max,
			r.Doubled, r.Lost, r.Forks, r.Unrecovered, r.FalseFailovers, first)
		for _, b := range r.Baselines {
			fmt.Fprintf(w, row, cut("  "+b.Name, 18), b.Runs, "", b.Missed.Total, b.Missed.P50, b.Missed.P99, b.Missed.Max, b.Doubled, b.Lost, "", b.Unrecovered, "", "")
		}
	}
	for _, r := range reports {
		r.writeFindings(w)
	}
}

func cut(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}

func (r Report) writeFindings(w io.Writer) {
	if r.Elsewhere > 0 {
		fmt.Fprintf(w, "%s: %d slots were missed outside of every event\n", r.Scenario, r.Elsewhere)
	}
	for _, d := range r.Doubles {
		fmt.Fprintf(w, "%s: slot %d was signed twice:\n", r.Scenario, d.Slot)
		for _, s := range d.Signatures {
			fmt.Fprintf(w, "  %s signed block %d %s at %s\n", s.Node, s.Num, s.ID, s.SignedAt)
		}
	}
	for _, s := range r.Outside {
		fmt.Fprintf(w, "%s: %s signed block %d in slot %d at %s without the lease for it\n", r.Scenario, s.Node, s.Num, s.Slot, s.SignedAt)
	}
	for _, f := range r.Failures {
		fmt.Fprintf(w, "%s: failure: %s\n", r.Scenario, f)
	}
	for _, b := range r.Broken() {
		fmt.Fprintf(w, "%s: promise not kept: %s\n", r.Scenario, b)
	}
	if r.Revived > 0 {
		fmt.Fprintf(w, "%s: managers that ended themselves, as they should, and were started again: %d\n", r.Scenario, r.Revived)
	}
	if r.Note != "" {
		fmt.Fprintf(w, "%s: %s\n", r.Scenario, r.Note)
	}
	for _, b := range r.Baselines {
		for _, f := range b.Failures {
			fmt.Fprintf(w, "%s: %s: %s\n", r.Scenario, b.Name, f)
		}
	}
}

// WriteJSON writes the report for programs.
func (r Report) WriteJSON(w io.Writer) error { return WriteJSON(w, []Report{r}) }

// WriteJSON writes reports for programs: one object for one scenario, an array for several.
func WriteJSON(w io.Writer, reports []Report) error {
	list := slices.Clone(reports)
	for i := range list {
		list[i].Verdict = list[i].verdict()
	}
	var v any = list
	if len(list) == 1 {
		v = list[0]
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("drill: report: %w", err)
	}
	return nil
}

package drill

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// ReadJSON reads what WriteJSON wrote: one report or an array of them. Timelines are not in it.
func ReadJSON(r io.Reader) ([]Report, error) {
	var raw json.RawMessage
	if err := json.NewDecoder(r).Decode(&raw); err != nil {
		return nil, fmt.Errorf("drill: report: %w", err)
	}
	var list []Report
	if strings.HasPrefix(string(raw), "[") {
		if err := json.Unmarshal(raw, &list); err != nil {
			return nil, fmt.Errorf("drill: report: %w", err)
		}
	} else {
		list = make([]Report, 1)
		if err := json.Unmarshal(raw, &list[0]); err != nil {
			return nil, fmt.Errorf("drill: report: %w", err)
		}
	}
	for _, r := range list {
		if r.Scenario == "" || r.Runs == 0 {
			return nil, errors.New("drill: report: no scenario or no runs: is it the file of a --json?")
		}
	}
	return list, nil
}

// WriteMarkdown writes the table for a page: a row per report, and per baseline beneath it.
func WriteMarkdown(w io.Writer, reports []Report) error {
	var b strings.Builder
	b.WriteString("| scenario | runs | seed | slots due | missed p50 | p99 | max | signed twice | blocks lost | unrecovered | false failovers | elsewhere | first block, ms: p50 | max | verdict |\n")
	b.WriteString("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|\n")
	for _, r := range reports {
		first := "| |"
		if r.FirstBlockMs.Max > 0 {
			first = fmt.Sprintf("%d | %d |", r.FirstBlockMs.P50, r.FirstBlockMs.Max)
		}
		fmt.Fprintf(&b, "| **%s** | %d | %d | %d | %d | %d | %d | **%d** | %d | %d | %d | %d | %s %s |\n", r.Scenario, r.Runs, r.Seed, r.SlotsDue,
			r.Missed.P50, r.Missed.P99, r.Missed.Max, r.Doubled, r.Lost, r.Unrecovered, r.FalseFailovers, r.Elsewhere, first, r.findings())
		for _, s := range r.Baselines {
			fmt.Fprintf(&b, "| · %s | %d | | | %d | %d | %d | **%d** | %d | %d | | | | | |\n",
				s.Name, s.Runs, s.Missed.P50, s.Missed.P99, s.Missed.Max, s.Doubled, s.Lost, s.Unrecovered)
		}
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("drill: report: %w", err)
	}
	return nil
}

// findings is the verdict, with the number of what is listed below the terminal's table where there is any.
func (r Report) findings() string {
	if n := len(r.Failures) + len(r.Outside) + len(r.Broken()); n > 0 {
		return fmt.Sprintf("%d findings", n)
	}
	return r.verdict()
}

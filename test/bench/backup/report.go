package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// median of what was measured, and whether it was.
func (b *bench) median(what, tool string) (float64, bool) {
	all := slices.Sorted(slices.Values(b.figures[what][tool]))
	if len(all) == 0 {
		return 0, false
	}
	return (all[(len(all)-1)/2] + all[len(all)/2]) / 2, true
}

// most of what was measured.
func (b *bench) most(what, tool string) (float64, bool) {
	if len(b.figures[what][tool]) == 0 {
		return 0, false
	}
	return slices.Max(b.figures[what][tool]), true
}

// ratio is the median of the ratios within each round.
func (b *bench) ratio(what, tool, whatOf, of string) (float64, bool) {
	above, below := b.figures[what][tool], b.figures[whatOf][of]
	var all []float64
	for i := range min(len(above), len(below)) {
		all = append(all, above[i]/below[i])
	}
	if len(all) == 0 {
		return 0, false
	}
	slices.Sort(all)
	return (all[(len(all)-1)/2] + all[len(all)/2]) / 2, true
}

// report prints all tools side by side, and then what issue 6 asks for.
func (b *bench) report(w io.Writer, tools []*tool) {
	fmt.Fprintf(w, "\n%-36s", "medians")
	for _, t := range tools {
		fmt.Fprintf(w, "%16s", t.name)
	}
	fmt.Fprintln(w)
	for _, what := range []string{first, cores(first), again, cores(again), scattered, cores(scattered), proof, cores(proof), restored, cores(restored), size, grown, grown2, blocks, memory} {
		fmt.Fprintf(w, "%-36s", what)
		for _, t := range tools {
			get := b.median
			if what == memory {
				get = b.most
			}
			if v, ok := get(what, t.name); ok {
				fmt.Fprintf(w, "%16.2f", v)
			} else {
				fmt.Fprintf(w, "%16s", "-")
			}
		}
		if v, ok := b.median(what, "the new bytes"); ok {
			fmt.Fprintf(w, "   (zstd -1 of the new bytes: %.2f)", v)
		}
		fmt.Fprintln(w)
	}
	original, err := allocated(b.source + "/" + stateFile)
	if err != nil {
		fmt.Fprintln(w, err)
	}
	fmt.Fprintf(w, "%-36s%16.2f\n\n%-60s%10s%12s%12s\n", "disk of the state itself, MiB", float64(original)/mebi, "target (median of the ratios of each round)", "", "plain", "age")
	line := func(text string, limit float64, atMost bool, of func(tool string) (float64, bool)) {
		sign := "<="
		if !atMost {
			sign = ">="
		}
		fmt.Fprintf(w, "%-60s%2s%8.2f", text, sign, limit)
		for _, tool := range []string{"roundtable", "roundtable+age"} {
			v, ok := of(tool)
			verdict := "ok"
			if atMost && v > limit || !atMost && v < limit {
				verdict = "MISSED"
			}
			if ok {
				fmt.Fprintf(w, "%12s", strings.TrimSpace(fmt.Sprintf("%.2f %s", v, verdict)))
			} else {
				fmt.Fprintf(w, "%12s", "-")
			}
		}
		fmt.Fprintln(w)
	}
	line("first backup: restic's time / ours", 2.5, false, func(t string) (float64, bool) { return b.ratio(first, "restic", first, t) })
	line("first backup: ours / tar -S | zstd -1", 1.6, true, func(t string) (float64, bool) { return b.ratio(first, t, first, "tar -S|zstd -1") })
	line("after a change: ours / rsync's time", 1, true, func(t string) (float64, bool) { return b.ratio(again, t, again, "rsync") })
	line("after a change: stored / zstd -1 of the new bytes", 1.3, true, func(t string) (float64, bool) { return b.ratio(grown, t, grown, "the new bytes") })
	line("after a scattered change: stored / new bytes (no target)", 1.3, true, func(t string) (float64, bool) { return b.ratio(grown2, t, grown2, "the new bytes") })
	line("disk of the restored state / original", 1, true, func(t string) (float64, bool) {
		v, ok := b.most(blocks, t)
		return v * mebi / float64(max(original, 1)), ok
	})
	line("most memory, MiB", 256, true, func(t string) (float64, bool) { return b.most(memory, t) })
}

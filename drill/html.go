package drill

import (
	"cmp"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"slices"
)

//go:embed report.html
var pageText string

var page = template.Must(template.New("report").Parse(pageText))

// Of each list of runs so many are open, and so many are shown at all before one asks for the rest.
const (
	openRuns  = 2
	shownRuns = 10
)

// WriteHTML writes a page with the tables and the timeline of each run. It needs nothing from elsewhere: data, style and
// the little script that draws are in it. Runs are folded up and drawn when opened, the worst first.
func WriteHTML(w io.Writer, reports []Report) error {
	var data struct {
		Reports []pageReport
		Plots   []*Timeline // in the order of pageRun.Plot
	}
	for _, r := range reports {
		p := pageReport{Report: r, OK: r.Passed()}
		add := func(name string, events []Event) {
			g := pageGroup{Name: name}
			for i, e := range worstFirst(events) {
				run := pageRun{Event: e, Plot: -1, Open: i < openRuns}
				if e.Timeline != nil {
					run.Plot = len(data.Plots)
					data.Plots = append(data.Plots, e.Timeline)
				}
				if i < shownRuns {
					g.Runs = append(g.Runs, run)
				} else {
					g.More = append(g.More, run)
				}
			}
			if len(g.Runs) > 0 {
				p.Groups = append(p.Groups, g)
			}
		}
		add(cmp.Or(r.System, "roundtable"), r.Events)
		for _, b := range r.Baselines {
			add(b.Name, b.Events)
		}
		data.Reports = append(data.Reports, p)
	}
	if err := page.Execute(w, data); err != nil {
		return fmt.Errorf("drill: HTML report: %w", err)
	}
	return nil
}

type pageReport struct {
	Report
	OK     bool
	Groups []pageGroup
}

// pageGroup is one system's runs.
type pageGroup struct {
	Name string
	Runs []pageRun // the worst
	More []pageRun
}

type pageRun struct {
	Event
	Plot int // index of its timeline; -1: it has none
	Open bool
}

// Title is what the folded run says.
func (r pageRun) Title() string {
	return cmp.Or(r.Fault, r.What)
}

// worstFirst orders runs by what one wants to see first: signed twice, not recovered, missed, lost, slow.
func worstFirst(events []Event) []Event {
	list := slices.Clone(events)
	failed := func(e Event) int {
		if e.Failure != "" {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(list, func(a, b Event) int {
		return cmp.Or(cmp.Compare(b.Doubled, a.Doubled), cmp.Compare(failed(b), failed(a)), cmp.Compare(b.Missed, a.Missed),
			cmp.Compare(b.Lost, a.Lost), cmp.Compare(b.FirstBlockMs, a.FirstBlockMs), cmp.Compare(a.Run, b.Run))
	})
	return list
}

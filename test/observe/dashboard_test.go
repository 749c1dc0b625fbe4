package observe

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// dashboard is what matters here of Grafana's format.
type dashboard struct {
	UID        string  `json:"uid"`
	Title      string  `json:"title"`
	Panels     []panel `json:"panels"`
	Templating struct {
		List []struct {
			Name  string `json:"name"`
			Type  string `json:"type"`
			Query any    `json:"query"`
		} `json:"list"`
	} `json:"templating"`
}

type panel struct {
	ID          int    `json:"id"`
	Type        string `json:"type"`
	Title       string `json:"title"`
	Description string `json:"description"`
	Collapsed   bool   `json:"collapsed"`
	GridPos     struct{ X, Y, W, H int }
	Datasource  struct{ Type, UID string }
	Targets     []struct {
		Expr         string `json:"expr"`
		LegendFormat string `json:"legendFormat"`
		RefID        string `json:"refId"`
	} `json:"targets"`
	Panels []panel `json:"panels"` // of a collapsed row
}

func readDashboard(t *testing.T) (d dashboard) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(deployed, "grafana", "dashboards", "roundtable.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// all are the panels that show something, those of collapsed rows as well.
func (d dashboard) all() (list []panel) {
	for _, p := range d.Panels {
		if p.Type == "row" {
			list = append(list, p.Panels...)
		} else {
			list = append(list, p)
		}
	}
	return list
}

// expand puts in what Grafana does for all clusters and instances.
var expand = strings.NewReplacer(
	"$cluster", clusterName, "$instance", ".*", "$__rate_interval", "10s", "$__range", "1h", "$__interval", "5s",
)

// TestDashboardIsWhole: each panel says what it shows, no two lie on one another, and the variables are there.
func TestDashboardIsWhole(t *testing.T) {
	d := readDashboard(t)
	if d.UID == "" || d.Title == "" {
		t.Error("the dashboard has no uid or title")
	}
	ids, taken := map[int]string{}, map[[2]int]string{}
	for _, p := range append(d.all(), d.Panels...) {
		if p.Type == "row" {
			continue
		}
		if other, ok := ids[p.ID]; ok && other != p.Title {
			t.Errorf("%q and %q have the id %d", other, p.Title, p.ID)
		}
		ids[p.ID] = p.Title
		if p.Title == "" || p.Description == "" || len(p.Targets) == 0 {
			t.Errorf("panel %d %q: no title, description or query", p.ID, p.Title)
		}
		if p.Datasource.Type != "prometheus" || p.Datasource.UID != "${datasource}" {
			t.Errorf("%q asks the data source %v", p.Title, p.Datasource)
		}
		for _, target := range p.Targets {
			if !strings.Contains(target.Expr, `cluster=~"$cluster"`) {
				t.Errorf("%q does not ask for the chosen cluster: %s", p.Title, target.Expr)
			}
		}
		g := p.GridPos
		for x := g.X; x < g.X+g.W; x++ {
			for y := g.Y; y < g.Y+g.H; y++ {
				if other, ok := taken[[2]int{x, y}]; ok && other != p.Title {
					t.Fatalf("%q lies on %q", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		if g.X+g.W > 24 || g.W == 0 || g.H == 0 {
			t.Errorf("%q does not fit: %+v", p.Title, g)
		}
	}
	names := map[string]bool{}
	for _, v := range d.Templating.List {
		names[v.Name] = true
	}
	for _, name := range []string{"datasource", "cluster", "instance"} {
		if !names[name] {
			t.Errorf("there is no variable %s", name)
		}
	}
}

// showsEverything runs every query of the dashboard: each must have an answer.
func (p *prometheus) showsEverything(t *testing.T) {
	t.Helper()
	for _, panel := range readDashboard(t).all() {
		for _, target := range panel.Targets {
			expr := expand.Replace(target.Expr)
			got, err := p.query(t.Context(), expr)
			numbers := 0
			for _, g := range got {
				if !math.IsNaN(g.value) { // a quantile of nothing is none
					numbers++
				}
			}
			if err != nil || numbers == 0 {
				t.Errorf("%q: %d series, %v: %s", panel.Title, len(got), err, expr)
			}
		}
	}
}

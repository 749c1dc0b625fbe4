package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

const (
	handbook = "docs/handbook.md"
	rules    = "deploy/prometheus/alerts.yml"
)

// TestEveryAlertHasAPage wants an anchor in the handbook for each alert, none for an alert that is not there, and that each
// alert leads there.
func TestEveryAlertHasAPage(t *testing.T) {
	content, err := os.ReadFile(filepath.Join(root, rules))
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Groups []struct {
			Rules []struct {
				Alert       string
				Annotations map[string]string
			}
		}
	}
	if err := yaml.Unmarshal(content, &doc); err != nil {
		t.Fatal(err)
	}
	named, anchors := map[string]bool{}, pageOf(t, handbook).anchors
	for _, g := range doc.Groups {
		for _, r := range g.Rules {
			if r.Alert == "" {
				continue
			}
			anchor := "alert-" + strings.ToLower(r.Alert)
			named[anchor] = true
			if !anchors[anchor] {
				t.Errorf("%s has no anchor %s for the alert %s", handbook, anchor, r.Alert)
			}
			if url := r.Annotations["runbook_url"]; url != "" && !strings.HasSuffix(url, "handbook.md#"+anchor) {
				t.Errorf("the alert %s leads to %s, not to handbook.md#%s", r.Alert, url, anchor)
			}
		}
	}
	if len(named) < 5 {
		t.Fatalf("only %d alerts in %s", len(named), rules)
	}
	for a := range anchors {
		if strings.HasPrefix(a, "alert-") && !named[a] {
			t.Errorf("%s explains %s, which is no alert of %s", handbook, a, rules)
		}
	}
}

var metricName = regexp.MustCompile(`\broundtable_[a-z_]+[a-z]\b`)

// TestMetricsExist looks up the metrics that the text names in the reference, which a test of package api holds to the
// program.
func TestMetricsExist(t *testing.T) {
	known := map[string]bool{}
	for _, line := range pageOf(t, "docs/reference/metrics.md").lines {
		for _, m := range metricName.FindAllString(line, -1) {
			known[m] = true
		}
	}
	if len(known) < 20 {
		t.Fatalf("only %d metrics in the reference", len(known))
	}
	for _, p := range pages(t) {
		for _, s := range p.spans {
			for _, m := range metricName.FindAllString(s.code, -1) {
				if !known[m] && !known[regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(m, "")] {
					t.Errorf("%s:%d: there is no metric %s", p.file, s.line, m)
				}
			}
		}
	}
}

// searched is what a command looks for in the journal.
var searched = regexp.MustCompile(`journalctl .*--grep "?([^"]+?)"?(?: -|$)`)

// TestSymptomsAreReal looks for the words in the first column of the handbook's tables of symptoms in the program's source: an
// operator looks for what he sees. A table is one of symptoms where its first heading says that something "says", or is
// "reason" or "cause".
func TestSymptomsAreReal(t *testing.T) {
	var source strings.Builder
	for _, file := range goFiles(t) {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		source.Write(content)
	}
	text, found, symptoms := source.String(), 0, false
	for i, line := range pageOf(t, handbook).lines {
		if m := searched.FindStringSubmatch(line); m != nil && !strings.Contains(text, m[1]) {
			t.Errorf("%s:%d: no line of the log says %q", handbook, i+1, m[1])
		}
	}
	for i, line := range pageOf(t, handbook).lines {
		cells := strings.Split(line, "|")
		switch {
		case len(cells) < 3:
			symptoms = false
			continue
		case !symptoms:
			head := strings.TrimSpace(cells[1])
			symptoms = strings.Contains(head, "says") || head == "reason" || head == "cause" || head == "`status` says"
			continue
		}
		for _, m := range inlineCode.FindAllStringSubmatch(cells[1], -1) {
			for part := range strings.SplitSeq(m[1], "...") {
				if part = strings.TrimSpace(part); part == "" {
					continue
				}
				found++
				if !strings.Contains(text, part) {
					t.Errorf("%s:%d: %q stands nowhere in the program", handbook, i+1, part)
				}
			}
		}
	}
	if found < 20 {
		t.Errorf("only %d symptoms were found", found)
	}
}

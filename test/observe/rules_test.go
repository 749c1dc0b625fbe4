package observe

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// promtool runs it and wants it to agree.
func promtool(t *testing.T, args ...string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), tool(t, "promtool"), args...).CombinedOutput()
	if err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// oddNames are metrics whose names are not as Prometheus wants them, and why they stay.
var oddNames = map[string]string{"nodeos_connected_peers_total": "dashboards of the tools before us ask for it"}

// lintMetrics lets promtool look at what the managers say.
func (b *box) lintMetrics(t *testing.T) {
	t.Helper()
	for _, m := range b.Members {
		_, text, err := ask(t.Context(), m, http.MethodGet, "/metrics", "")
		if err != nil {
			t.Fatal(err)
		}
		c := exec.CommandContext(t.Context(), tool(t, "promtool"), "check", "metrics")
		c.Stdin = bytes.NewReader(append(text, '\n'))
		out, err := c.CombinedOutput()
		odd := map[string]bool{}
		for line := range strings.Lines(string(out)) {
			name, _, _ := strings.Cut(line, " ")
			if odd[name] = true; oddNames[name] == "" {
				t.Errorf("promtool on the metrics of %s: %s", m.ID, line)
			}
		}
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) || len(odd) != len(oddNames) {
			t.Errorf("promtool on the metrics of %s: %v: %s", m.ID, err, out)
		}
	}
}

// TestDeployedFiles lets promtool read what is deployed, the secrets that the configuration names beside it.
func TestDeployedFiles(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(deployed, "prometheus"))); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "secrets"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"token", "ca.pem"} {
		if err := os.WriteFile(filepath.Join(dir, "secrets", name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	promtool(t, "check", "config", filepath.Join(dir, "prometheus.yml"))
	promtool(t, "check", "rules", "--lint=all", "--lint-fatal", filepath.Join(dir, "rules.yml"))
}

// TestAlertsAreWhole: each has what whoever is woken by it needs. test/docs looks for its page in the handbook.
func TestAlertsAreWhole(t *testing.T) {
	for _, a := range alerts(t) {
		if s := a.Labels["severity"]; s != "critical" && s != "warning" {
			t.Errorf("%s has the severity %q", a.Alert, s)
		}
		for _, key := range []string{"summary", "description", "runbook_url"} {
			if a.Annotations[key] == "" {
				t.Errorf("%s has no %s", a.Alert, key)
			}
		}
		if _, err := time.ParseDuration(a.For); a.For != "" && err != nil {
			t.Errorf("%s lasts %q", a.Alert, a.For)
		}
	}
}

// exprTest and unit are promtool's.
type (
	exprTest struct {
		Expr       string           `yaml:"expr"`
		EvalTime   string           `yaml:"eval_time"`
		ExpSamples []map[string]any `yaml:"exp_samples"`
	}
	unit struct {
		Interval string              `yaml:"interval"`
		Name     string              `yaml:"name"`
		Input    []map[string]string `yaml:"input_series"`
		Exprs    []exprTest          `yaml:"promql_expr_test"`
	}
)

// unit is the case as promtool plays it.
func (c ruleCase) unit() unit {
	s := healthy()
	c.turn(s)
	u := unit{Interval: c.step, Name: c.name}
	for _, name := range slices.Sorted(maps.Keys(s)) {
		u.Input = append(u.Input, map[string]string{"series": name, "values": s[name]})
	}
	const firing = `group by (alertname, severity) (ALERTS{alertstate="firing"})`
	end := exprTest{firing, c.end, []map[string]any{}}
	for _, f := range c.fires {
		name, severity, _ := strings.Cut(f, "/")
		end.ExpSamples = append(end.ExpSamples, map[string]any{"labels": fmt.Sprintf("{alertname=%q,severity=%q}", name, severity), "value": 1})
	}
	u.Exprs = []exprTest{{firing, c.quiet, []map[string]any{}}, end}
	return u
}

// TestAlertRules lets promtool play every case, and wants one for every alert.
func TestAlertRules(t *testing.T) {
	dir, err := filepath.Abs(filepath.Join(deployed, "prometheus"))
	if err != nil {
		t.Fatal(err)
	}
	untested := map[string]bool{}
	for _, a := range alerts(t) {
		untested[a.Alert+"/"+a.Labels["severity"]] = true
	}
	byStep := map[string][]unit{}
	for _, c := range ruleCases {
		c.step = cmp.Or(c.step, "5s")
		byStep[c.step] = append(byStep[c.step], c.unit())
		for _, f := range c.fires {
			delete(untested, f)
		}
	}
	if len(untested) > 0 {
		t.Errorf("no case lets these fire: %v", slices.Sorted(maps.Keys(untested)))
	}
	for step, units := range byStep {
		text, err := yaml.Marshal(map[string]any{
			"rule_files": []string{filepath.Join(dir, "rules.yml"), filepath.Join(dir, "alerts.yml")}, "evaluation_interval": step, "tests": units,
		})
		if err != nil {
			t.Fatal(err)
		}
		cases := filepath.Join(t.TempDir(), "cases.yml")
		if err := os.WriteFile(cases, text, 0o600); err != nil {
			t.Fatal(err)
		}
		promtool(t, "test", "rules", cases)
	}
}

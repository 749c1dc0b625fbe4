package observe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"roundtable/drill"
)

// deployed is where the files under test are.
const deployed = "../../deploy"

// tool finds a program of Debian's package prometheus. Where it is missing the test is skipped, but not in CI.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	switch {
	case err == nil:
		return path
	case os.Getenv("CI") == "true":
		t.Fatalf("%s is missing: apt-get install prometheus", name)
	default:
		t.Skipf("%s is missing: apt-get install prometheus", name)
	}
	return ""
}

// ruleFile is a file of rules as Prometheus reads it.
type ruleFile struct {
	Groups []struct {
		Name  string `yaml:"name"`
		Rules []rule `yaml:"rules"`
	} `yaml:"groups"`
}

type rule struct {
	Record      string            `yaml:"record,omitempty"`
	Alert       string            `yaml:"alert,omitempty"`
	Expr        string            `yaml:"expr"`
	For         string            `yaml:"for,omitempty"`
	Labels      map[string]string `yaml:"labels,omitempty"`
	Annotations map[string]string `yaml:"annotations,omitempty"`
}

func readRules(t *testing.T, file string) (all ruleFile) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(deployed, "prometheus", file))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	return all
}

// alerts are the rules of alerts.yml.
func alerts(t *testing.T) (list []rule) {
	t.Helper()
	for _, g := range readRules(t, "alerts.yml").Groups {
		list = append(list, g.Rules...)
	}
	return list
}

const (
	clusterName = "sandbox"
	shortFor    = "2s" // how long a condition must last here, where the rule asks for longer
)

// prometheus is one that scrapes a sandbox.
type prometheus struct {
	t   *testing.T
	url string
}

// watch starts a Prometheus with the deployed configuration: it scrapes and evaluates each second, the sandbox instead of the
// targets, and what an alert waits for is short. It returns once it has seen the whole cluster.
func (b *box) watch(t *testing.T) *prometheus {
	t.Helper()
	var targets []string
	for _, m := range b.Members {
		u, err := url.Parse(m.API)
		if err != nil {
			t.Fatal(err)
		}
		targets = append(targets, u.Host)
	}
	p := startPrometheus(t, targets, func(dir string, job map[string]any) {
		if b.CA() == nil { // neither TLS nor tokens
			job["scheme"] = "http"
			delete(job, "authorization")
			delete(job, "tls_config")
			return
		}
		b.writeSecrets(t, dir)
	})
	until(t, 20*time.Second, "all members scraped", func(ctx context.Context) error {
		got, err := p.query(ctx, `count(count_over_time(up{job="roundtable"}[1m]) > 3) and sum(up) == count(up)`)
		if err == nil && (len(got) != 1 || got[0].value != float64(len(b.Members))) {
			err = fmt.Errorf("%v", got)
		}
		return err
	})
	return p
}

func startPrometheus(t *testing.T, targets []string, change func(dir string, job map[string]any)) *prometheus {
	t.Helper()
	program := tool(t, "prometheus")
	dir := t.TempDir()
	writeConfig(t, dir, targets, change)
	port, err := drill.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(program, "--config.file", filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path", filepath.Join(dir, "data"),
		"--web.listen-address", address, "--log.level=warn")
	c.Stdout, c.Stderr = log, log
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
		log.Close()
		if text, err := os.ReadFile(log.Name()); err == nil && t.Failed() {
			t.Logf("Prometheus said:\n%s", text[max(0, len(text)-2000):])
		}
	})
	p := &prometheus{t, "http://" + address}
	until(t, 20*time.Second, "a Prometheus that is ready", func(ctx context.Context) error {
		_, err := p.get(ctx, "/-/ready", nil)
		return err
	})
	return p
}

// writeSecrets writes what Prometheus needs to be let in, as the deployed configuration wants it.
func (b *box) writeSecrets(t *testing.T, dir string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(dir, "secrets"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{"ca.pem": b.CA().Cert(), "token": []byte(b.Token("read"))} {
		if err := os.WriteFile(filepath.Join(dir, "secrets", name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// writeConfig writes what is deployed into a folder, changed as little as it takes.
func writeConfig(t *testing.T, dir string, targets []string, change func(dir string, job map[string]any)) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(deployed, "prometheus", "prometheus.yml"))
	if err != nil {
		t.Fatal(err)
	}
	var conf map[string]any
	if err := yaml.Unmarshal(text, &conf); err != nil {
		t.Fatal(err)
	}
	conf["global"] = map[string]any{"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
	change(dir, conf["scrape_configs"].([]any)[0].(map[string]any))
	rules := readRules(t, "alerts.yml")
	for _, g := range rules.Groups {
		for i := range g.Rules {
			if g.Rules[i].For != "" {
				g.Rules[i].For = shortFor
			}
		}
	}
	for name, v := range map[string]any{
		"prometheus.yml": conf, "rules.yml": readRules(t, "rules.yml"), "alerts.yml": rules,
		"targets.yml": []map[string]any{{"labels": map[string]string{"cluster": clusterName}, "targets": targets}},
	} {
		out, err := yaml.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), out, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// get asks Prometheus' API for something, and returns the data of its answer where it is JSON.
func (p *prometheus) get(ctx context.Context, path string, query url.Values) (json.RawMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+path+"?"+query.Encode(), nil)
	if err != nil {
		return nil, err
	}
	status, text, err := do(http.DefaultClient, req)
	if err != nil || status != http.StatusOK {
		return nil, errors.Join(err, fmt.Errorf("%s: %d: %s", path, status, text))
	}
	var answer struct {
		Data json.RawMessage `json:"data"`
	}
	if json.Valid(text) {
		err = json.Unmarshal(text, &answer)
	}
	return answer.Data, err
}

// point is one element of a query's answer.
type point struct {
	labels map[string]string
	value  float64
}

// query evaluates an expression now.
func (p *prometheus) query(ctx context.Context, expr string) ([]point, error) {
	data, err := p.get(ctx, "/api/v1/query", url.Values{"query": {expr}})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", expr, err)
	}
	var answer struct {
		Type   string `json:"resultType"`
		Result []struct {
			Metric map[string]string `json:"metric"`
			Value  [2]any            `json:"value"`
		} `json:"result"`
	}
	if err := json.Unmarshal(data, &answer); err != nil || answer.Type != "vector" {
		return nil, fmt.Errorf("%s: a %s: %w", expr, answer.Type, err)
	}
	var list []point
	for _, r := range answer.Result {
		v, err := strconv.ParseFloat(fmt.Sprint(r.Value[1]), 64)
		if err != nil {
			return nil, err
		}
		list = append(list, point{r.Metric, v})
	}
	return list, nil
}

// fired are the alerts that fired at any moment since this Prometheus was started, by name.
func (p *prometheus) fired(ctx context.Context) (map[string]bool, error) {
	list, err := p.query(ctx, `max by (alertname) (max_over_time(ALERTS{alertstate="firing"}[1h]))`)
	names := map[string]bool{}
	for _, f := range list {
		names[f.labels["alertname"]] = true
	}
	return names, err
}

// fires waits until each of these has fired.
func (p *prometheus) fires(t *testing.T, within time.Duration, names ...string) {
	t.Helper()
	until(t, within, fmt.Sprint(names, " fire"), func(ctx context.Context) error {
		fired, err := p.fired(ctx)
		if err != nil {
			return err
		}
		missing := slices.DeleteFunc(slices.Clone(names), func(n string) bool { return fired[n] })
		if len(missing) > 0 {
			return fmt.Errorf("not yet: %v", missing)
		}
		return nil
	})
	p.readable(t)
}

// onlyFired wants that no other alert has ever fired.
func (p *prometheus) onlyFired(t *testing.T, names ...string) {
	t.Helper()
	fired, err := p.fired(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name := range fired {
		if slices.Contains(names, name) {
			continue
		}
		why, err := p.query(t.Context(), `max_over_time(ALERTS{alertstate="firing",alertname="`+name+`"}[1h])`)
		t.Errorf("%s fired: %v %v", name, why, err)
	}
}

// readable wants the texts of what fires now to be whole.
func (p *prometheus) readable(t *testing.T) {
	t.Helper()
	data, err := p.get(t.Context(), "/api/v1/alerts", nil)
	if err != nil {
		t.Fatal(err)
	}
	var answer struct {
		Alerts []struct {
			Labels, Annotations map[string]string
		}
	}
	if err := json.Unmarshal(data, &answer); err != nil {
		t.Fatal(err)
	}
	for _, a := range answer.Alerts {
		for key, text := range a.Annotations {
			if strings.Contains(text, "<no value>") || strings.Contains(text, "{{") || strings.Contains(text, "error expanding") {
				t.Errorf("%s: its %s is %q", a.Labels["alertname"], key, text)
			}
		}
	}
}

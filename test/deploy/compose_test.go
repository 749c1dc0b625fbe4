package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"roundtable/cmd/roundtable/config"
	"roundtable/manager"
)

const root = "../.."

// composeFile is what the tests look at of docker-compose.yml.
type composeFile struct {
	Services map[string]service
	Volumes  map[string]any
}

type service struct {
	Image           string
	Profiles        []string
	PullPolicy      string   `yaml:"pull_policy"`
	ReadOnly        bool     `yaml:"read_only"`
	CapDrop         []string `yaml:"cap_drop"`
	SecurityOpt     []string `yaml:"security_opt"`
	StopGracePeriod string   `yaml:"stop_grace_period"`
	Restart         string
	Command         []string
	Volumes         []string
	Ports           []string
	Networks        []string
	Healthcheck     struct{ Test []string }
}

func readCompose(t *testing.T) composeFile {
	t.Helper()
	var f composeFile
	readYAML(t, "docker-compose.yml", &f)
	return f
}

func readYAML(t *testing.T, file string, v any) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, file))
	if err == nil {
		err = yaml.Unmarshal(b, v)
	}
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

var managers = []string{"m1", "m2", "m3"}

// TestComposeIsClosed: nothing of ours runs with more rights than it needs, nor is listened to from other machines.
func TestComposeIsClosed(t *testing.T) {
	f := readCompose(t)
	for name, s := range f.Services {
		ours := name == "init" || slices.Contains(managers, name)
		if ours != (s.PullPolicy == "never") {
			t.Errorf("%s: pull_policy %q", name, s.PullPolicy)
		}
		if ours && !s.ReadOnly {
			t.Errorf("%s: its root can be written", name)
		}
		if !slices.Equal(s.CapDrop, []string{"ALL"}) || !slices.Contains(s.SecurityOpt, "no-new-privileges:true") {
			t.Errorf("%s: cap_drop %q, security_opt %q", name, s.CapDrop, s.SecurityOpt)
		}
		for _, p := range s.Ports {
			if !strings.HasPrefix(p, "127.0.0.1:") {
				t.Errorf("%s: port %q is open to other machines", name, p)
			}
		}
		for _, v := range s.Volumes {
			from, _, _ := strings.Cut(v, ":")
			if _, named := f.Volumes[from]; !named && !strings.HasPrefix(from, "./") {
				t.Errorf("%s: volume %q is not declared", name, v)
			}
			if _, err := os.Stat(filepath.Join(root, from)); strings.HasPrefix(from, "./") && (err != nil || !strings.HasSuffix(v, ":ro")) {
				t.Errorf("%s: volume %q: %v", name, v, err)
			}
		}
	}
}

// TestComposeGivesTimeToStop: a manager that is killed while it hands over, or while its node writes its state, costs more than
// it need.
func TestComposeGivesTimeToStop(t *testing.T) {
	f := readCompose(t)
	for _, name := range managers {
		s := f.Services[name]
		grace, err := time.ParseDuration(s.StopGracePeriod)
		if need := manager.StopBound(config.Default().Node.StopTimeout.D()); err != nil || grace < need {
			t.Errorf("%s: stop_grace_period %q, an ordered stop may take %s", name, s.StopGracePeriod, need)
		}
		if s.Restart != "unless-stopped" {
			t.Errorf("%s: restart %q", name, s.Restart)
		}
		if want := name + ":/var/lib/roundtable"; !slices.Contains(s.Volumes, want) {
			t.Errorf("%s: %q has not %s", name, s.Volumes, want)
		}
	}
}

// TestPrometheusFindsTheMembers: who is scraped, by which names, with which token, and what it is to show, is the same in
// docker-compose.yml and in the files that are mounted.
func TestPrometheusFindsTheMembers(t *testing.T) {
	f := readCompose(t)
	var targets []struct{ Targets []string }
	readYAML(t, "deploy/prometheus/targets.yml", &targets)
	var scraped []string
	for _, g := range targets {
		scraped = append(scraped, g.Targets...)
	}
	if want := []string{"m1:9080", "m2:9080", "m3:9080"}; !slices.Equal(scraped, want) {
		t.Errorf("scraped are %q, not %q", scraped, want)
	}
	var prometheus struct {
		RuleFiles     []string `yaml:"rule_files"`
		ScrapeConfigs []struct {
			Authorization struct {
				File string `yaml:"credentials_file"`
			}
			TLS struct {
				CA string `yaml:"ca_file"`
			} `yaml:"tls_config"`
			Files []struct{ Files []string } `yaml:"file_sd_configs"`
		} `yaml:"scrape_configs"`
	}
	readYAML(t, "deploy/prometheus/prometheus.yml", &prometheus)
	p, g := f.Services["prometheus"], f.Services["grafana"]
	for _, s := range []service{p, g} {
		if !slices.Equal(s.Profiles, []string{"observability"}) || strings.HasSuffix(s.Image, ":latest") || !strings.Contains(s.Image, ":") {
			t.Errorf("profiles %q, image %q", s.Profiles, s.Image)
		}
	}
	mounted := func(s service, at string) bool {
		return slices.ContainsFunc(s.Volumes, func(v string) bool { return strings.Contains(v, ":"+at+":") || strings.HasSuffix(v, ":"+at) })
	}
	files := prometheus.RuleFiles
	for _, c := range prometheus.ScrapeConfigs {
		if c.Authorization.File != "secrets/token" || c.TLS.CA != "secrets/ca.pem" {
			t.Errorf("the token is %q, the CA %q: init writes token and ca.pem into the folder", c.Authorization.File, c.TLS.CA)
		}
		for _, sd := range c.Files {
			files = append(files, sd.Files...)
		}
	}
	if len(files) < 2 {
		t.Errorf("only %q", files)
	}
	for _, file := range append(files, "prometheus.yml", "secrets") {
		if !mounted(p, "/etc/prometheus/"+file) {
			t.Errorf("prometheus has not %s: %q", file, p.Volumes)
		}
	}
	if !slices.Contains(f.Services["init"].Command, "--scraper-dir=/homes/scraper") || !slices.Contains(f.Services["init"].Volumes, "scraper:/homes/scraper") {
		t.Error("init does not write into the volume that prometheus reads")
	}
	var provider struct {
		Providers []struct{ Options struct{ Path string } }
	}
	readYAML(t, "deploy/grafana/provisioning/dashboards/roundtable.yml", &provider)
	if len(provider.Providers) != 1 || !mounted(g, provider.Providers[0].Options.Path) || !mounted(g, "/etc/grafana/provisioning") {
		t.Errorf("grafana has %q, and looks for dashboards in %+v", g.Volumes, provider.Providers)
	}
}

// TestComposeUnderstands lets the compose that is installed read the file, with and without Prometheus and Grafana.
func TestComposeUnderstands(t *testing.T) {
	var command []string
	switch {
	case exec.Command("docker", "compose", "version").Run() == nil:
		command = []string{"docker", "compose"}
	case exec.Command("docker-compose", "version").Run() == nil:
		command = []string{"docker-compose"}
	default:
		t.Skip("skipped: neither docker compose nor docker-compose is installed")
	}
	for _, more := range [][]string{nil, {"--profile", "observability"}} {
		args := append(slices.Concat(command[1:], []string{"-f", filepath.Join(root, "docker-compose.yml")}, more), "config")
		out, err := exec.Command(command[0], args...).CombinedOutput()
		if err != nil {
			t.Errorf("%s %s: %v\n%s", command[0], strings.Join(args, " "), err, out)
		}
		for _, m := range managers {
			if !strings.Contains(string(out), "\n  "+m+":\n") {
				t.Errorf("%q: no %s in what it understood", more, m)
			}
		}
		if len(more) > 0 && !strings.Contains(string(out), "prom/prometheus") { // docker-compose shows it always
			t.Errorf("%q: prometheus is not there", more)
		}
	}
}

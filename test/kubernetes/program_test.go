package kubernetes

import (
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"roundtable/cmd/roundtable/config"
	"roundtable/manager"
)

// environ is what a container's environment adds, where it is plain.
func environ(c corev1.Container) []string {
	var list []string
	for _, e := range c.Env {
		if e.ValueFrom == nil {
			list = append(list, e.Name+"="+e.Value)
		}
	}
	return list
}

// mountSeed lays out what the init container of a member sees at /seed.
func mountSeed(t *testing.T, id string) string {
	t.Helper()
	dir := t.TempDir()
	for _, v := range statefulSet(t).Spec.Template.Spec.Volumes {
		if v.Projected == nil {
			continue
		}
		for _, s := range v.Projected.Sources {
			secret := object[*corev1.Secret](t, "Secret/"+s.Secret.Name)
			for _, item := range s.Secret.Items {
				below, ok := strings.CutPrefix(item.Path, id+"/") // subPathExpr
				if !ok {
					continue
				}
				file := filepath.Join(dir, below)
				if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, secret.Data[item.Key], 0o440); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	return dir
}

// TestHomes does what each pod does: its init container's command on what is mounted there, and then the configuration that is
// mounted into the home is loaded by the program's own rules.
func TestHomes(t *testing.T) {
	configs := configMap(t)
	if len(configs) != len(members) {
		t.Errorf("%d configurations", len(configs))
	}
	manager := container(t, "manager")
	for _, id := range members {
		t.Run(id, func(t *testing.T) {
			there := filepath.Join(t.TempDir(), "home")
			args := slices.Clone(container(t, "home").Args)
			for i, a := range args {
				switch a {
				case home:
					args[i] = there
				case "/seed":
					args[i] = mountSeed(t, id)
				}
			}
			if out, err := exec.Command(cluster.program, args...).CombinedOutput(); err != nil {
				t.Fatalf("%s: %v\n%s", args, err, out)
			}
			sameHome(t, filepath.Join(cluster.seed, id), there)
			file := filepath.Join(there, "config.toml")
			if err := os.WriteFile(file, []byte(configs[id+".toml"]), 0o444); err != nil {
				t.Fatal(err)
			}
			c, err := config.Load(file, environ(manager), nil)
			for _, p := range config.Problems(err) {
				if p.Key != "node.path" { // it is in the image
					t.Errorf("%v", p)
				}
			}
			if c == nil {
				t.Fatal("no configuration")
			}
			if c.Manager.ID != id || c.Manager.Home != there || c.Manager.LogFormat != "json" {
				t.Errorf("id %s, home %s, log format %s", c.Manager.ID, c.Manager.Home, c.Manager.LogFormat)
			}
			checkAddresses(t, id, c, manager)
		})
	}
}

// sameHome wants every file that init laid out for a member in its pod, but for the configuration, and no other one.
func sameHome(t *testing.T, seed, there string) {
	t.Helper()
	laidOut, moved := filesOf(t, seed), filesOf(t, there)
	delete(laidOut, "config.toml")               // it is mounted
	delete(laidOut, "versions/genesis/run.toml") // the manager lays it out where there is none, with the link to it
	for name, text := range laidOut {
		if got, ok := moved[name]; !ok || got != text {
			t.Errorf("%s is in the home that init laid out, and not the same in the pod (there: %v)", name, ok)
		}
	}
	for name := range moved {
		if _, ok := laidOut[name]; !ok {
			t.Errorf("%s is in the pod, and in no home", name)
		}
	}
}

// filesOf reads all files below a folder, but for links.
func filesOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Type() == fs.ModeSymlink {
			return err
		}
		text, err := os.ReadFile(file)
		if err == nil {
			file, err = filepath.Rel(dir, file)
		}
		files[file] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// configMap is what is mounted as config.toml, by file name.
func configMap(t *testing.T) map[string]string {
	t.Helper()
	for _, v := range statefulSet(t).Spec.Template.Spec.Volumes {
		if v.ConfigMap != nil {
			return object[*corev1.ConfigMap](t, "ConfigMap/"+v.ConfigMap.Name).Data
		}
	}
	t.Fatal("no config map is mounted")
	return nil
}

// checkAddresses: a member listens on its container's ports, goes by its pod's name, and looks for the others by theirs.
func checkAddresses(t *testing.T, id string, c *config.Config, container corev1.Container) {
	t.Helper()
	ports := map[string]string{}
	for _, p := range container.Ports {
		ports[p.Name] = strconv.Itoa(int(p.ContainerPort))
	}
	for name, listened := range map[string]string{"api": c.Manager.API, "raft": c.Manager.Raft, "gossip": c.Manager.Gossip, "gossip-udp": c.Manager.Gossip, "p2p": c.Node.P2P} {
		if want := net.JoinHostPort("0.0.0.0", ports[name]); listened != want {
			t.Errorf("%s: listens on %s, not on %s", name, listened, want)
		}
	}
	for what, at := range map[string]string{"raft": c.RaftAddr(), "gossip": c.GossipAddr(), "p2p": c.P2PAddr(), "api": strings.TrimPrefix(c.APIURL(), "https://")} {
		if want := net.JoinHostPort(host(id), ports[what]); at != want {
			t.Errorf("%s: the others are told %s, not %s", what, at, want)
		}
	}
	var joins, peers []string
	for _, o := range members {
		if o != id {
			joins = append(joins, net.JoinHostPort(host(o), ports["gossip"]))
			peers = append(peers, net.JoinHostPort(host(o), ports["p2p"]))
		}
	}
	if !slices.Equal(c.Manager.Join, joins) || !slices.Equal(c.Node.Peers, peers) {
		t.Errorf("joins %q, not %q; peers %q, not %q", c.Manager.Join, joins, c.Node.Peers, peers)
	}
}

// TestCommands: the containers' arguments are the program's, and their paths are mounted.
func TestCommands(t *testing.T) {
	for _, name := range []string{"home", "manager"} {
		c := container(t, name)
		if out, err := exec.Command(cluster.program, append(slices.Clone(c.Args), "--help")...).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", c.Args, err, out)
		}
		for i, a := range c.Args {
			if strings.HasPrefix(a, "/") && !slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.MountPath == a }) {
				t.Errorf("%s: %s %s is not mounted", name, c.Args[i-1], a)
			}
		}
	}
}

// TestProbes: each asks a path that the API has, on its port, over TLS.
func TestProbes(t *testing.T) {
	var openapi struct {
		Paths map[string]struct {
			Get struct {
				Parameters []struct {
					Name   string
					Schema struct{ Enum []string }
				}
			}
		}
	}
	text, err := os.ReadFile(root + "/api/openapi.yaml")
	if err == nil {
		err = yaml.Unmarshal(text, &openapi)
	}
	if err != nil {
		t.Fatal(err)
	}
	health, ok := openapi.Paths["/health/{role}"]
	if !ok || len(health.Get.Parameters) == 0 {
		t.Fatal("the API's description has no /health/{role}")
	}
	roles := health.Get.Parameters[0].Schema.Enum
	c := container(t, "manager")
	for name, p := range map[string]*corev1.Probe{"startup": c.StartupProbe, "readiness": c.ReadinessProbe, "liveness": c.LivenessProbe} {
		if p == nil || p.HTTPGet == nil {
			t.Errorf("no %s probe", name)
			continue
		}
		dir, role := path.Split(p.HTTPGet.Path)
		if dir != "/health/" || !slices.Contains(roles, role) || p.HTTPGet.Scheme != corev1.URISchemeHTTPS || p.HTTPGet.Port.StrVal != "api" {
			t.Errorf("%s: %+v is none of %q", name, p.HTTPGet, roles)
		}
	}
	if c.LivenessProbe.HTTPGet.Path != "/health/live" || c.ReadinessProbe.HTTPGet.Path != "/health/ready" {
		t.Errorf("alive by %s, ready by %s", c.LivenessProbe.HTTPGet.Path, c.ReadinessProbe.HTTPGet.Path)
	}
}

// TestTimeToStop: a pod that is asked to end may hand over and stop its node before it is killed.
func TestTimeToStop(t *testing.T) {
	grace := time.Duration(*statefulSet(t).Spec.Template.Spec.TerminationGracePeriodSeconds) * time.Second
	for id, text := range configMap(t) {
		c, err := config.Parse(id, []byte(text), nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if need := manager.StopBound(c.Node.StopTimeout.D()); grace < need {
			t.Errorf("%s: an ordered stop may take %s, the pod has %s", id, need, grace)
		}
	}
}

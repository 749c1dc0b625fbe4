package manager

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"roundtable/chain"
	"roundtable/cmd/roundtable/config"
	"roundtable/node/k1"
)

func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// simDir is where simnodeos built the stand-in; "": nowhere.
var simDir string

// simnodeos builds the stand-in, once for all tests.
var simnodeos = sync.OnceValues(func() (bin string, err error) {
	if simDir, err = os.MkdirTemp("", "roundtable-manager-"); err != nil {
		return "", err
	}
	bin = filepath.Join(simDir, "simnodeos")
	build := exec.Command("go", "build", "-o", bin, "roundtable/cmd/simnodeos")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return bin, nil
})

// rig is a member's own part, with a real process as its node and without a cluster.
type rig struct {
	t   *testing.T
	cfg *config.Config
	bin string
	*local
	end func()

	mu     sync.Mutex
	log    bytes.Buffer
	alarms []string
}

// newRig lays out a home; open opens it.
func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t}
	var err error
	if r.bin, err = simnodeos(); err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	c := rigConfig(home, r.bin, freeAddr(t), freeAddr(t))
	key := must[*k1.PrivateKey](t)(k1.Generate(rand.Reader))
	genesis := fmt.Sprintf(`{"initial_timestamp": %q, "initial_key": %q}`, time.Now().UTC().Truncate(time.Second).Format("2006-01-02T15:04:05.000"), key.Public())
	r.write("genesis.json", genesis, home)
	r.cfg = c
	r.write("keys", key.Export()+"\n", home)
	r.template("agent-name = one\n")
	t.Cleanup(func() {
		if t.Failed() {
			for line := range strings.Lines(r.said()) {
				if !strings.Contains(line, "part=nodeos") {
					t.Log(strings.TrimSpace(line))
				}
			}
		}
	})
	return r
}

// rigConfig is the configuration of a rig's member.
func rigConfig(home, bin, http, p2p string) *config.Config {
	c := config.Default()
	c.Sandbox = true
	c.Manager.ID, c.Manager.Home = "m1", home
	c.Cluster.Name, c.Cluster.Producers = "t", []string{"bp"}
	c.Node.Path, c.Node.HTTP, c.Node.P2P = bin, http, p2p
	c.Node.DataDir, c.Node.ConfigDir = filepath.Join(home, "node", "data"), filepath.Join(home, "node", "config")
	c.Node.ConfigTemplate = filepath.Join(home, "nodeos.ini")
	c.Node.Producers = []string{"bp"}
	c.Node.Args = []string{"--genesis-json", filepath.Join(home, "genesis.json"), "--sim-schedule", "bp"}
	c.Signer.KeyFile = filepath.Join(home, "keys")
	return c
}

// write writes a file of the home.
func (r *rig) write(name, text string, home ...string) string {
	r.t.Helper()
	dir := strings.Join(home, "")
	if dir == "" {
		dir = r.cfg.Manager.Home
	}
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		r.t.Fatal(err)
	}
	mode := os.FileMode(0o600)
	if strings.HasPrefix(text, "#!") {
		mode = 0o700
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		r.t.Fatal(err)
	}
	return path
}

func (r *rig) template(text string) { r.write("nodeos.ini", "chain-state-db-size-mb = 64\n"+text) }

// versionFolder puts a version into the home whose binary is a script.
func (r *rig) versionFolder(tag, script, rest string) {
	r.write("versions/"+tag+"/nodeos", "#!/bin/sh\n"+script+"\n")
	r.write("versions/"+tag+"/run.toml", "[node]\nbinary = \"nodeos\"\n"+rest)
}

// Write takes the log.
func (r *rig) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.Write(b)
}

func (r *rig) said() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.String()
}

// rang are the alarms so far.
func (r *rig) rang() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.alarms
}

// alarm is the history's.
func (r *rig) alarm(name, subject, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.alarms = append(r.alarms, name+" "+subject+": "+text)
}

func (r *rig) logger() *slog.Logger { return slog.New(slog.NewTextHandler(r, nil)) }

// open opens the home, as a manager's start does; the node does not run yet.
func (r *rig) open() (err error) {
	r.local, err = openLocal(r.t.Context(), r.cfg, nil, time.Now, r.alarm, r.logger())
	if err == nil {
		r.saw, r.mismatch = func(chain.Block, string) {}, func(chain.Block, string, string) {}
	}
	return err
}

// run runs what is open until end, or the test's end.
func (r *rig) run() {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func(l *local) {
		err := l.run(ctx)
		l.close()
		ended <- err
	}(r.local)
	r.end = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			r.t.Error(err)
		}
	})
	r.t.Cleanup(r.end)
}

// start opens the home and runs it; the node is up when it returns.
func (r *rig) start() {
	r.t.Helper()
	if err := r.open(); err != nil {
		r.t.Fatal(err)
	}
	r.run()
	if err := r.supervisor.Start(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
}

// until waits for the node's process to be as wanted.
func (r *rig) until(what string, is func() bool) {
	r.t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		_, changed := r.supervisor.Watch()
		if is() {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			r.t.Fatalf("%s: %s", what, r.supervisor.Status())
		}
	}
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

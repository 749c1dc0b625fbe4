package node

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// simChain is a simnodeos that produces, as somebody else runs it.
type simChain struct {
	t       *testing.T
	bin     string
	dir     string // its data is in dir/data
	genesis string
	http    string
	client  *Client
	cmd     *exec.Cmd
}

// newSimChain starts one; more are options for every start of it.
func newSimChain(t *testing.T, bin string, more ...string) *simChain {
	t.Helper()
	c := &simChain{t: t, bin: bin, dir: t.TempDir(), genesis: newGenesis(t), http: freeAddr(t)}
	c.client = must[*Client](t)(NewClient(ClientConfig{Addr: c.http}))
	t.Cleanup(func() { c.end(syscall.SIGKILL); c.client.Close() })
	c.start(append([]string{"--genesis-json", c.genesis}, more...)...)
	return c
}

func (c *simChain) start(more ...string) {
	c.t.Helper()
	c.cmd = exec.Command(c.bin, append([]string{"--config-dir", c.dir + "/config", "--data-dir", c.dir + "/data", "-e", "--producer-name", "eosio",
		"--signature-provider", devPub + "=KEY:" + devPriv, "--http-server-address", c.http, "--p2p-listen-endpoint", freeAddr(c.t), "--chain-state-db-size-mb", "16",
		"--plugin", "eosio::chain_api_plugin", "--plugin", "eosio::producer_api_plugin", "--sim-calibration", "10ms"}, more...)...)
	if err := c.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
}

// past waits for a head beyond a height.
func (c *simChain) past(num uint32) (info Info) {
	c.t.Helper()
	eventually(c.t, 30*time.Second, func() bool {
		var err error
		info, err = c.client.Info(c.t.Context())
		return err == nil && info.HeadNum > num
	})
	return info
}

// standsStill waits until no block has come for two slots: a pause takes effect after the block being built (FACT 24).
func (c *simChain) standsStill() {
	c.t.Helper()
	head, since := uint32(0), time.Now()
	eventually(c.t, 20*time.Second, func() bool {
		if info, err := c.client.Info(c.t.Context()); err != nil || info.HeadNum != head {
			head, since = info.HeadNum, time.Now()
		}
		return time.Since(since) > 1100*time.Millisecond
	})
}

// end ends it with a signal and waits.
func (c *simChain) end(sig syscall.Signal) {
	if c.cmd != nil {
		_ = c.cmd.Process.Signal(sig)
		_ = c.cmd.Wait()
		c.cmd = nil
	}
}

// copyTo copies what is under a folder of the data directory into another node's.
func (c *simChain) copyTo(dir string, folders ...string) {
	c.t.Helper()
	for _, f := range folders {
		to := filepath.Join(dir, "data", f)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			c.t.Fatal(err)
		}
		if out, err := exec.Command("cp", "-a", "--sparse=always", filepath.Join(c.dir, "data", f), to).CombinedOutput(); err != nil {
			c.t.Fatal(err, string(out))
		}
	}
}

// processesOn counts the processes with this folder in their command line.
func processesOn(dir string) (n int) {
	procs, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range procs {
		if b, err := os.ReadFile(p); err == nil && strings.Contains(string(b), dir) {
			n++
		}
	}
	return n
}

// TestTrial of all the sets of FACT 18, the good and the bad ones.
func TestTrial(t *testing.T) {
	bin := buildSim(t)
	c := newSimChain(t, bin)
	c.past(5)
	snap := must[Snapshot](t)(c.client.CreateSnapshot(t.Context()))
	live := t.TempDir()
	c.copyTo(live, "blocks", "state")
	head := c.past(snap.HeadNum + 2)
	c.end(syscall.SIGTERM)
	have := must[Contents](t)(Holds(c.dir + "/data"))
	if !have.Clean() || !have.Replayable() || len(have.Snapshots) != 1 || have.Snapshots[0].Num != snap.HeadNum || have.Snapshots[0].ID != snap.HeadID || len(have.Leftovers) != 0 {
		t.Fatalf("%+v", have)
	}

	trial := func(dir string, change func(*TrialConfig)) (Info, error) {
		t.Helper()
		cfg := TrialConfig{Program: Program{Path: bin}, Dir: dir, StateMB: 16, Settings: []Setting{{"sim-calibration", "10ms"}}}
		if change != nil {
			change(&cfg)
		}
		info, err := Trial(t.Context(), cfg)
		if n := processesOn(dir); n != 0 {
			t.Errorf("%d processes are left", n)
		}
		return info, err
	}
	for _, x := range []struct {
		name     string
		folders  []string
		snapshot bool
		head     uint32 // at least
		refused  string // part of the error
	}{
		{"everything", []string{"blocks", "state"}, false, head.HeadNum, ""},
		{"blocks alone", []string{"blocks/blocks.log", "blocks/blocks.index"}, false, head.LIBNum, ""},
		{"a snapshot alone", nil, true, snap.HeadNum, ""},
		{"a snapshot and blocks", []string{"blocks/blocks.log", "blocks/blocks.index"}, true, head.LIBNum, ""},
		{"state alone", []string{"state"}, false, 0, "replay_required"},
		{"state and blocks without the fork database", []string{"blocks/blocks.log", "blocks/blocks.index", "state"}, false, 0, "Replay required"},
		{"blocks without an index", []string{"blocks/blocks.log"}, false, 0, "corrupt_blocks"},
		{"a snapshot and a state", []string{"blocks", "state"}, true, 0, "bad_snapshot"},
	} {
		t.Run(x.name, func(t *testing.T) {
			dir := t.TempDir()
			c.copyTo(dir, x.folders...)
			info, err := trial(dir, func(cfg *TrialConfig) {
				if x.snapshot {
					cfg.Snapshot = snap.Path
				}
			})
			if x.refused != "" {
				if !errors.Is(err, ErrTrial) || !strings.Contains(err.Error(), x.refused) {
					t.Error(err)
				}
				return
			}
			if err != nil || info.ChainID != head.ChainID || info.HeadNum < x.head || info.LIBNum > info.HeadNum {
				t.Error(info, err)
			}
			again := must[Contents](t)(Holds(dir + "/data"))
			if !again.Clean() {
				t.Errorf("%+v", again)
			}
		})
	}
	if _, err := trial(live, nil); !errors.Is(err, ErrTrial) || !strings.Contains(err.Error(), "dirty") {
		t.Error("a live copy of everything:", err)
	}
	if _, err := trial(t.TempDir(), func(cfg *TrialConfig) { cfg.Settings = []Setting{{"producer-name", "eosio"}} }); !IsConfigError(err) {
		t.Error(err)
	}
	if _, err := trial(t.TempDir(), func(cfg *TrialConfig) { cfg.Program.Path = "/nonexistent" }); !errors.Is(err, ErrTrial) || !strings.Contains(err.Error(), "cannot_start") {
		t.Error(err)
	}
}

// TestTrialStaysInItsFolder whatever arguments the real node has.
func TestTrialStaysInItsFolder(t *testing.T) {
	got := trialArgs([]string{"--genesis-json", "/g", "--state-dir", "/fast/state", "--blocks-dir=/b", "--p2p-peer-address", "a:1", "--p2p-peer-address=b:2", "-e",
		"--plugin", "eosio::state_history_plugin", "--state-history-endpoint", "0.0.0.0:8080", "--sim-schedule", "bp", "--http-threads", "4", "--wasm-runtime=eos-vm-jit",
		"--blocks-l", "5", "--snap", "/s", "--state", "/x", "--deep-mind", "--database-map-mode", "heap", "--chain-state-db-size-mb", "64", "--snapshots-dir"})
	if text := strings.Join(got, " "); text != "--genesis-json /g -e --sim-schedule bp --wasm-runtime=eos-vm-jit --database-map-mode heap --chain-state-db-size-mb 64" {
		t.Error(text)
	}
	for _, key := range []string{"producer-name", "p2p-peer-address", "state-dir", "chain-state-db-size-mb"} {
		if _, err := Trial(t.Context(), TrialConfig{Program: Program{Path: "/nonexistent"}, Dir: t.TempDir(), Settings: []Setting{{key, "x"}}}); !IsConfigError(err) {
			t.Error(key, err)
		}
	}
}

// TestTrialOfAHangingNode (FACT 21): it is killed after the silence, or at ctx's end at once, whatever signals it ignores.
func TestTrialOfAHangingNode(t *testing.T) {
	program := Program{Path: os.Args[0], Env: append(os.Environ(), "NODE_TEST_ROLE=nodeos")}
	dir := t.TempDir()
	put(t, DefaultLayout(dir+"/data"), "mode", []byte("hang"))
	if _, err := Trial(t.Context(), TrialConfig{Program: program, Dir: dir, Silence: 50 * time.Millisecond}); !errors.Is(err, ErrTrial) || !strings.Contains(err.Error(), "start_timeout") {
		t.Error(err)
	}
	_ = os.Remove(dir + "/data/starts") // the silence may have been over before it was written
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := Trial(ctx, TrialConfig{Program: program, Dir: dir, Snapshot: "/s"})
		done <- err
	}()
	started := func() string { b, _ := os.ReadFile(dir + "/data/starts"); return string(b) }
	eventually(t, 10*time.Second, func() bool { return strings.HasSuffix(started(), "\n") })
	pid, _ := strconv.Atoi(strings.Fields(started())[0])
	if prio, err := unix.Getpriority(unix.PRIO_PROCESS, pid); err != nil || prio != 20-19 { // the system call gives 20 - nice
		t.Error("a trial must not take the processor from a node that signs", prio, err)
	}
	begun := time.Now()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) || time.Since(begun) > 10*time.Second {
		t.Error(err, time.Since(begun))
	}
	if err := syscall.Kill(pid, 0); err == nil {
		t.Error("it is still there")
	}

	// A node that does not end well is no proof.
	put(t, DefaultLayout(dir+"/data"), "mode", []byte("stubborn"))
	_ = os.Remove(dir + "/data/state/dirty")
	_, err := Trial(t.Context(), TrialConfig{Program: program, Dir: dir, StopTimeout: 50 * time.Millisecond})
	if !errors.Is(err, ErrTrial) || !errors.Is(err, ErrNotClean) || !strings.Contains(err.Error(), "stop_timeout") {
		t.Error(err)
	}
}

package node

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"roundtable/chain"
	"roundtable/durable"
)

// buildSim builds simnodeos, which takes a second: not for -short.
func buildSim(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("builds simnodeos")
	}
	bin := filepath.Join(t.TempDir(), "simnodeos")
	build := exec.Command("go", "build", "-o", bin, "roundtable/cmd/simnodeos")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return bin
}

func newGenesis(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "genesis.json")
	stamp := time.Now().UTC().Truncate(time.Second).Format("2006-01-02T15:04:05.000")
	if err := os.WriteFile(path, fmt.Appendf(nil, `{"initial_timestamp": %q, "initial_key": %q}`, stamp, devPub), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestWithSimnodeos runs the whole package against the real simnodeos binary: configuration, start, log, API, pause,
// SIGKILL, replay, stop.
func TestWithSimnodeos(t *testing.T) {
	bin := buildSim(t)
	version := must[Version](t)(ReadVersion(t.Context(), bin))
	if version.Major != 1 {
		t.Error(version)
	}

	dir := t.TempDir()
	genesis := newGenesis(t)
	http, p2p := freeAddr(t), freeAddr(t)
	prepare := func() error {
		b, err := Build(Settings{HTTP: http, P2P: p2p, AgentName: "a", Producers: []string{"eosio"}, Fence: FencePause,
			Template: "chain-state-db-size-mb = 64\nsignature-provider = " + devPub + "=KEY:" + devPriv + "\n"})
		if err != nil {
			return err
		}
		logging, err := BuildLogging(nil)
		if err != nil {
			return err
		}
		if err := durable.Write(dir+"/config/logging.json", logging); err != nil {
			return err
		}
		return durable.Write(dir+"/config/config.ini", b.Text)
	}
	if err := prepare(); err != nil {
		t.Fatal(err)
	}

	var mu sync.Mutex
	seen := map[EventKind]int{}
	produced := map[uint32]string{}
	foreign := 0 // lines on stdout that are not producer_plugin's
	var m *Monitor
	r := newRig(t, "", func(c *Config) {
		c.Path, c.ConfigDir, c.DataDir, c.Env = bin, dir+"/config", dir+"/data", nil
		c.StartDown = true
		c.Pipeline = NewPipeline(PipelineConfig{OnEvent: func(e Event) {
			mu.Lock()
			defer mu.Unlock()
			seen[e.Kind]++
			if e.Kind == EventProduced {
				produced[e.Block.Num] = e.Block.ID
			}
			m.Event(e)
		}})
		c.Client = must[*Client](t)(NewClient(ClientConfig{Addr: http}))
		c.Stdout = func() (*os.File, error) {
			rd, wr, err := os.Pipe()
			if err != nil {
				return nil, err
			}
			go func() {
				defer func() { _ = rd.Close() }()
				var all bytes.Buffer
				_, _ = all.ReadFrom(rd)
				mu.Lock()
				defer mu.Unlock()
				for line := range strings.SplitSeq(strings.TrimSpace(all.String()), "\n") {
					if l, ok := ParseLogLine(line); ok && l.File != "producer_plugin.cpp" {
						foreign++
					}
				}
				seen["stdout"]++
			}()
			return wr, nil
		}
	})
	defer r.cfg.Pipeline.Close()
	defer r.cfg.Client.Close()
	client := r.cfg.Client
	blocks := make(chan chain.Block, 1000)
	b := &bench{t: t, Monitor: NewMonitor(MonitorConfig{Client: client, Watch: r.Watch, Producers: []string{"eosio"}, Poll: 50 * time.Millisecond,
		Slow: 200 * time.Millisecond, OnBlock: func(blk BlockInfo) { blocks <- blk.Block() }})}
	m = b.Monitor
	go b.Run(t.Context())

	if err := r.Start(t.Context(), "--genesis-json", genesis); err != nil {
		t.Fatal(err, r.cfg.Pipeline.Lines(20))
	}
	v := b.until("up", func(v *View) bool { return v.Healthy && v.PausedKnown && v.ScheduleKnown })
	if !v.Paused || v.Schedule.Names()[0] != "eosio" || v.Schedule.Producers[0].Keys[0] != devPub {
		t.Errorf("%+v", *v)
	}
	if err := client.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.Poke()
	b.until("producing", func(v *View) bool { return v.Head.Num >= 5 && v.LIB > 2 && !v.Paused && v.Healthy })
	if err := Prove(t.Context(), ProveConfig{Monitor: b}); err != nil { // its own blocks are blocks
		t.Error(err)
	}
	if err := client.Pause(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.Poke()
	b.until("paused", func(v *View) bool { return v.Paused })
	next := uint32(0)
	for len(blocks) > 0 {
		blk := <-blocks
		if next != 0 && blk.Num != next {
			t.Errorf("#%d after #%d", blk.Num, next-1)
		}
		next = blk.Num + 1
		mu.Lock()
		if id := produced[blk.Num]; id != "" && !chain.SameID(id, blk.ID) {
			t.Errorf("#%d: %s on the chain, the log says %s", blk.Num, blk.ID, id)
		}
		mu.Unlock()
	}
	if next < 5 {
		t.Errorf("blocks up to #%d only", next)
	}

	pid := r.Status().PID
	r.Kill()
	st := r.until("replayed", func(s Status) bool { return s.State == StateRunning && s.PID != pid })
	if !st.Replaying || st.LastExit.Cause != CauseDirty {
		t.Error(st)
	}
	if v = b.until("up again", func(v *View) bool { return v.Healthy && v.PausedKnown }); !v.Paused {
		t.Error("started unpaused after a crash")
	}
	if err := r.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if e := r.Status().LastExit; e.Cause != CauseClean {
		t.Error(e)
	}
	eventually(t, 5*time.Second, func() bool { mu.Lock(); defer mu.Unlock(); return seen["stdout"] == 3 })
	mu.Lock()
	defer mu.Unlock()
	if foreign != 0 {
		t.Errorf("%d lines on stdout that are not producer_plugin's", foreign)
	}
	for _, kind := range []EventKind{EventStarted, EventChainStarted, EventHTTPUp, EventP2PUp, EventProduced, EventDirty, EventExiting} {
		if seen[kind] == 0 {
			t.Errorf("no event %s: %v", kind, seen)
		}
	}
	if s := r.cfg.Pipeline.Stats(); s.Unknown != 0 || s.Dropped != 0 {
		t.Errorf("%+v", s)
	}
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l := must[net.Listener](t)(net.Listen("tcp", "127.0.0.1:0"))
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

package node

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"roundtable/chain"
	"roundtable/durable"
)

// TestUpgradeOfAStandby changes the program of a standby beside a producer that goes on: another version, one that never
// syncs, one that cannot start, one that does not last, and each time back to one that is proved.
func TestUpgradeOfAStandby(t *testing.T) {
	bin, genesis, dir := buildSim(t), newGenesis(t), t.TempDir()

	// The producer, as somebody else would run it.
	producerHTTP, producerP2P := freeAddr(t), freeAddr(t)
	producer := exec.Command(bin, "--config-dir", dir+"/p", "--data-dir", dir+"/p", "-e", "--genesis-json", genesis,
		"--producer-name", "eosio", "--signature-provider", devPub+"=KEY:"+devPriv, "--http-server-address", producerHTTP, "--p2p-listen-endpoint", producerP2P,
		"--chain-state-db-size-mb", "16", "--plugin", "eosio::chain_api_plugin", "--plugin", "eosio::producer_api_plugin", "--sim-calibration", "10ms")
	if err := producer.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = producer.Process.Kill(); _ = producer.Wait() }()
	best := must[*Client](t)(NewClient(ClientConfig{Addr: producerHTTP}))
	defer best.Close()
	head := func() chain.Block {
		info, err := best.Info(t.Context())
		if err != nil {
			return chain.Block{}
		}
		return info.Head()
	}
	eventually(t, 20*time.Second, func() bool { return head().Num > 2 })

	http := freeAddr(t)
	conf := must[Built](t)(Build(Settings{HTTP: http, P2P: freeAddr(t), AgentName: "b", Peers: []string{producerP2P}, Template: "chain-state-db-size-mb = 16\nsim-calibration = 10ms\n"}))
	if err := durable.Write(dir+"/config/config.ini", conf.Text); err != nil {
		t.Fatal(err)
	}
	var program atomic.Pointer[Program]
	choose := func(tag string, args ...string) {
		program.Store(&Program{Tag: tag, Path: bin, Args: append([]string{"--sim-version", tag}, args...)})
	}
	choose("v1.2.2")
	client := must[*Client](t)(NewClient(ClientConfig{Addr: http}))
	defer client.Close()
	var m *Monitor
	r := newRig(t, "", func(c *Config) {
		c.ConfigDir, c.DataDir, c.Client, c.StartDown = dir+"/config", filepath.Join(dir, "data"), client, true
		c.Program = func(context.Context) (Program, error) { return *program.Load(), nil }
		c.Pipeline = NewPipeline(PipelineConfig{OnEvent: func(e Event) { m.Event(e) }})
		c.Budget.Exits = 2
	})
	defer r.cfg.Pipeline.Close()
	m = NewMonitor(MonitorConfig{Client: client, Watch: r.Watch, Slow: 200 * time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	watching := make(chan struct{})
	go func() { defer close(watching); m.Run(ctx) }()
	defer func() { cancel(); <-watching }()

	prove := func(limit time.Duration) (texts []string, err error) {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		err = Prove(ctx, ProveConfig{Monitor: m, Best: head, Proof: Proof{Peers: 1}, Progress: func(text string) { texts = append(texts, text) }})
		return texts, err
	}
	proved := func(tag string) {
		t.Helper()
		texts, err := prove(30 * time.Second)
		if v, _ := m.View(); err != nil || v.Version != tag || r.Status().Tag != tag {
			t.Fatal(err, texts, v.Version, r.Status())
		}
		for _, want := range []string{"block 1 of 5", "block 4 of 5", "block 5 of 5"} {
			if !strings.Contains(strings.Join(texts, ", "), want) {
				t.Errorf("no %q in %q", want, texts)
			}
		}
	}
	restart := func() error { return r.Restart(t.Context()) }

	if err := r.Start(t.Context(), "--genesis-json", genesis); err != nil {
		t.Fatal(err, r.cfg.Pipeline.Lines(20))
	}
	proved("v1.2.2")
	choose("v1.2.3")
	if err := restart(); err != nil {
		t.Fatal(err)
	}
	proved("v1.2.3")

	choose("v1.2.4", "--sim-never-sync")
	if err := restart(); err != nil {
		t.Fatal(err)
	}
	_, err := prove(5 * time.Second)
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "slots behind the best") {
		t.Error(err)
	}

	choose("v1.2.5", "--sim-exit-at-start", "254")
	if err := restart(); !errors.Is(err, ErrExited) && !errors.Is(err, ErrFailed) || !strings.Contains(err.Error(), "Unknown option '--sim-exit-at-start'") {
		t.Error(err)
	}
	st := r.until("failed", isState(StateFailed))
	if st.LastExit.Cause != CauseConfig || st.LastExit.Suspect || st.Tag != "v1.2.5" {
		t.Error(st)
	}
	choose("v1.2.3")
	if err := restart(); err != nil {
		t.Fatal(err)
	}
	proved("v1.2.3")

	choose("v1.2.6", "--sim-exit-after", "500ms")
	if err := restart(); err != nil {
		t.Fatal(err)
	}
	st = r.until("failed again", isState(StateFailed))
	if st.LastExit.Cause != CauseConfig || st.LastExit.Ran < 500*time.Millisecond {
		t.Error(st)
	}
	if texts, err := prove(time.Second); err == nil {
		t.Error("a node that is down was proved", texts)
	}
	choose("v1.2.2")
	if err := restart(); err != nil {
		t.Fatal(err)
	}
	proved("v1.2.2")
	if _, err := os.Stat(dir + "/data/blocks/blocks.log"); err != nil {
		t.Error(err)
	}
}

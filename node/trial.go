package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// TrialConfig says what Trial starts.
type TrialConfig struct {
	Program  Program   // its sidecars are not started, and of its arguments those are left out that lead out of the scratch folder: trialArgs
	Dir      string    // scratch folder of ours: the chain's files are in Dir/data, config.ini is written to Dir/config
	Snapshot string    // start from this chain snapshot; Dir/data/state must not exist then (FACT 20). "" = from what is there
	StateMB  int       // chain-state-db-size-mb: at least what the chain needs; 0 = nodeos' own. One among the arguments wins
	Settings []Setting // more of config.ini; they cannot bring producers, keys or peers

	Silence     time.Duration // of nodeos before it is up, until it counts as hanging (FACT 21); 0 = 60 s, 30 min with a snapshot or a replay
	StopTimeout time.Duration // SIGTERM to SIGKILL; 0 = 60 s
	Log         *slog.Logger  // what nodeos says, and what becomes of it; nil = nowhere
}

// ErrTrial says that a nodeos did not come up, or did not end cleanly. The text says why.
var ErrTrial = errors.New("nodeos does not run on it")

const (
	trialStop  = time.Minute
	trialPorts = 3 // how often another port is tried: somebody may take it before nodeos does
)

// Trial proves that a chain can be started from what is in a scratch folder: it starts nodeos on it without producers, keys or peers,
// waits until HTTP answers, asks for get_info, and stops it again, which must be a clean end. It takes as long as nodeos takes, hours for
// a replay; ctx bounds it, and then nodeos is killed. When Trial returns, no process is left. It changes what is in Dir/data,
// as every start does.
//
// p2p is off by an empty p2p-listen-endpoint: nodeos then does not listen (Spring's source, net_plugin.cpp; not recorded).
// max-clients = 0 would not do, it means no limit. Nobody is dialled. The priority of the process is
// low: it must not take the processor from a node that signs.
func Trial(ctx context.Context, cfg TrialConfig) (Info, error) {
	cfg.Program.Sidecars, cfg.Program.Args = nil, trialArgs(cfg.Program.Args)
	setDefault(&cfg.StopTimeout, trialStop)
	for i := 1; ; i++ {
		info, exit, err := cfg.once(ctx)
		if exit == nil || exit.Cause != CausePortInUse || i == trialPorts || ctx.Err() != nil {
			return info, err
		}
	}
}

// once is one attempt; exit is how nodeos ended, nil if it was never started.
func (cfg TrialConfig) once(ctx context.Context) (info Info, exit *Exit, err error) {
	addr, err := freePort(ctx)
	if err != nil {
		return Info{}, nil, err
	}
	config := filepath.Join(cfg.Dir, "config")
	if err := cfg.configure(config, addr); err != nil {
		return Info{}, nil, err
	}
	client, err := NewClient(ClientConfig{Addr: addr})
	if err != nil {
		return Info{}, nil, err
	}
	defer client.Close()
	pipeline := NewPipeline(PipelineConfig{Log: cfg.Log})
	defer pipeline.Close()
	s, err := New(Config{
		ConfigDir: config, DataDir: filepath.Join(cfg.Dir, "data"), Pipeline: pipeline, Client: client, Log: cfg.Log,
		Program:   func(context.Context) (Program, error) { return cfg.Program, nil },
		StartDown: true, StartTimeout: cfg.Silence, ReplayTimeout: cfg.Silence, StopTimeout: cfg.StopTimeout,
		Budget: Budget{Exits: 1}, Recover: RecoverStay, Nice: true,
	})
	if err != nil {
		return Info{}, nil, err
	}
	running, end := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(running) }()
	defer func() {
		if ctx.Err() != nil {
			s.Kill() // nobody needs what it would write
		}
		end()
		err = errors.Join(err, <-done)
	}()

	var args []string
	if cfg.Snapshot != "" {
		args = []string{"--snapshot", cfg.Snapshot}
	}
	if err := s.Start(ctx, args...); err != nil {
		return Info{}, s.Status().LastExit, cfg.failed(ctx, s, err)
	}
	if info, err = client.Info(ctx); err != nil {
		return Info{}, nil, fmt.Errorf("node: %w: it is up but does not answer: %w", ErrTrial, err)
	}
	if err = s.Stop(ctx); err == nil {
		err = s.StoppedCleanly()
	}
	if err != nil {
		return Info{}, nil, cfg.failed(ctx, s, err)
	}
	return info, nil, nil
}

// trialArgs leaves out what is not for a trial, each with its value: places of the real node's files, ports, peers, plugins, keys.
func trialArgs(args []string) (kept []string) {
	for i := 0; i < len(args); i++ {
		name, ok := strings.CutPrefix(args[i], "--")
		name, _, whole := strings.Cut(name, "=")
		if !ok || !notForTrial(name) {
			kept = append(kept, args[i])
			continue
		}
		if !whole && i+1 < len(args) && !strings.HasPrefix(args[i+1], "-") {
			i++ // its value
		}
	}
	return kept
}

// notForTrial reports an option that a trial must not have; nodeos takes abbreviations, so the beginnings count too.
func notForTrial(name string) bool {
	for _, begin := range []string{"p2p-", "http-", "state-history-", "trace-", "deep-mind", "blocks-", "block-log-", "peer-", "prometheus-"} {
		if strings.HasPrefix(name, begin) || strings.HasPrefix(begin, name) {
			return true
		}
	}
	for _, exact := range []string{"state-dir", "snapshots-dir", "finalizers-dir", "plugin", "unix-socket-path", "producer-name", "signature-provider", "snapshot", "terminate-at-block",
		"delete-all-blocks", "replay-blockchain", "hard-replay-blockchain"} {
		if strings.HasPrefix(exact, name) {
			return true
		}
	}
	return false
}

// failed says why a trial failed.
func (cfg TrialConfig) failed(ctx context.Context, s *Supervisor, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("node: trial: %w", ctx.Err())
	}
	if e := s.Status().LastExit; e != nil && e.Hint() != "" {
		return fmt.Errorf("%w: %w (%s)", ErrTrial, err, e.Hint())
	}
	return fmt.Errorf("%w: %w", ErrTrial, err)
}

// configure writes config.ini.
func (cfg TrialConfig) configure(dir, addr string) error {
	all := []Setting{
		{"http-server-address", addr}, {"p2p-listen-endpoint", ""}, {"pause-on-startup", "true"},
		{"plugin", "eosio::chain_api_plugin"},
		{"resource-monitor-not-shutdown-on-threshold-exceeded", "true"}, // whether there is room is asked before (FACT 15)
	}
	if cfg.StateMB > 0 {
		all = append(all, Setting{"chain-state-db-size-mb", strconv.Itoa(cfg.StateMB)})
	}
	for _, set := range cfg.Settings {
		if notForTrial(set.Key) || set.Key == "chain-state-db-size-mb" {
			return &ConfigError{Key: set.Key, Text: "is not for a trial"}
		}
		all = append(all, set)
	}
	text, err := writeINI(all)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("node: trial: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.ini"), text, 0o600); err != nil {
		return fmt.Errorf("node: trial: %w", err)
	}
	return nil
}

// freePort is a loopback address that nobody listens at now.
func freePort(ctx context.Context) (string, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("node: trial: %w", err)
	}
	return l.Addr().String(), l.Close()
}

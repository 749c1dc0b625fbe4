package manager

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	"roundtable/chain"
	"roundtable/clock"
	"roundtable/cmd/roundtable/config"
	"roundtable/logkey"
	"roundtable/node"
	"roundtable/node/gate"
)

// local is the node of this manager with its gate.
type local struct {
	node       *localNode
	gate       *gate.Gate
	supervisor *node.Supervisor
	monitor    *node.Monitor
	pipeline   *node.Pipeline
	client     *node.Client
	home       *home
	vault      *vault
	saw        func(b chain.Block, producer string) // set before run, as mismatch
	mismatch   func(b chain.Block, producer, problem string)
}

// signerMillis is nodeos' keosd-provider-timeout: long enough for a slow signer, and a slot is not lost by it (recordings,
// fact 44).
const signerMillis = 400

// openLocal prepares node and gate; nothing runs yet. alarm puts a line into the history, and does not wait.
func openLocal(ctx context.Context, c *config.Config, moved *clock.Clock, now func() time.Time, alarm func(name, subject, text string), log *slog.Logger) (l *local, err error) {
	l = &local{}
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	var signer gate.Signer
	switch c.Signer.Kind {
	case "keosd":
		signer, err = gate.NewKeosdSigner(ctx, c.Signer.URL, c.Signer.Timeout.D())
	default:
		signer, err = gate.NewFileSigner(c.Signer.KeyFile)
	}
	if err != nil {
		return l, err
	}
	if l.client, err = node.NewClient(node.ClientConfig{Addr: c.Node.HTTP}); err != nil {
		return l, err
	}
	l.pipeline = node.NewPipeline(node.PipelineConfig{Log: log.With(logkey.Part, "nodeos"), Sidecar: log, OnEvent: l.event})
	l.gate, err = gate.New(gate.Config{
		Socket: c.Socket(), Producers: c.Node.Producers, Signer: signer, SignTimeout: c.Signer.Timeout.D(), Now: now, WallShift: moved.Shift, Log: log.With(logkey.Part, "gate"),
		Savanna:   func() bool { v, _ := l.monitor.View(); return v.Savanna },
		OnLine:    func(line []byte) { l.pipeline.Line("stdout", line) },
		OnRefused: func(r gate.Refusal) { l.refused(ctx, r) },
	})
	if err != nil {
		return l, err
	}
	settings := node.Settings{
		HTTP: c.Node.HTTP, P2P: c.Node.P2P, AgentName: c.Manager.ID, Producers: c.Node.Producers,
		Fence: node.FenceGate, Keys: signer.Keys(), Socket: c.Socket(), SignerMillis: signerMillis,
	}
	if l.home, err = openHome(c, settings, alarm, now, log.With(logkey.Part, "node")); err != nil {
		return l, err
	}
	if l.vault, err = openVault(l.home, now, log.With(logkey.Part, "backup")); err != nil {
		return l, err
	}
	l.home.vault = l.vault
	recover := node.RecoverReplay
	if c.Backup.AutoRestore == config.RestoreFirst && len(c.Backup.Repositories) > 0 {
		recover = node.RecoverStay
	}
	l.supervisor, err = node.New(node.Config{
		ConfigDir: c.Node.ConfigDir, DataDir: c.Node.DataDir, Program: l.home.program,
		Pipeline: l.pipeline, Client: l.client, Prepare: l.home.prepare, Stdout: l.gate.Open,
		StopTimeout: tuning(c).StopTimeout, Budget: tuning(c).Budget,
		Recover: recover, StartDown: l.vault.wantsBootstrap(),
		Log: log.With(logkey.Part, "node"), Now: now,
	})
	if err != nil {
		return l, err
	}
	l.node = &localNode{client: l.client, supervisor: l.supervisor, configured: func() []string { return *l.home.peers.Load() }, producers: c.Node.Producers, keys: signer.Keys(), finalizers: func() []string { return *l.home.finalizers.Load() }, now: now}
	l.monitor = node.NewMonitor(node.MonitorConfig{
		Client: l.client, Watch: l.supervisor.Watch, Producers: c.Node.Producers, Log: log.With(logkey.Part, "node"), Now: now,
		OnBlock: func(info node.BlockInfo) {
			b := info.Block()
			l.node.saw(b)
			if err := l.gate.Confirm(b, info.Signature); err != nil {
				l.mismatch(b, info.Producer, err.Error())
			} else {
				l.saw(b, info.Producer)
			}
		},
	})
	l.node.monitor = l.monitor
	l.home.supervisor, l.home.monitor, l.home.client = l.supervisor, l.monitor, l.client
	return l, l.gate.Listen()
}

// own is the environment that is for this program and not for nodeos: tokens, and the service manager's sockets.
var own = []string{"ROUNDTABLE_", "NOTIFY_SOCKET=", "WATCHDOG_", "LISTEN_", "JOURNAL_STREAM="}

// nodeEnv is nodeos' environment: ours without what is for this program alone, and what the configuration adds.
func nodeEnv(environ []string, added map[string]string) []string {
	env := slices.DeleteFunc(slices.Clone(environ), func(v string) bool {
		return slices.ContainsFunc(own, func(prefix string) bool { return strings.HasPrefix(v, prefix) })
	})
	for _, name := range slices.Sorted(maps.Keys(added)) {
		env = append(env, name+"="+added[name])
	}
	return env
}

// event takes what nodeos' log tells. It never blocks.
func (l *local) event(e node.Event) {
	if e.Kind == node.EventProduced {
		// A mismatch is only hearsay here: a peer can forge a line on stderr. The comparison with the chain decides (control).
		_ = l.gate.Produced(e.Block.Num, e.Block.ID, e.Block.Slot)
	}
	l.monitor.Event(e)
}

// refused pauses the node at once when it asks without a lease: an unpaused node with a refusing gate postpones incoming
// blocks and orphans two or three of its own [L1].
func (l *local) refused(ctx context.Context, r gate.Refusal) {
	switch r.Reason {
	case gate.ReasonNoLease, gate.ReasonOutOfRange, gate.ReasonClosed, gate.ReasonSealed:
		_ = l.node.Pause(ctx) // production.go goes on trying
	}
}

// run runs gate, monitor and process until ctx ends.
func (l *local) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		l.monitor.Run(ctx)
	}()
	serving := make(chan error, 1)
	serve, stopServing := context.WithCancel(context.WithoutCancel(ctx))
	defer stopServing()
	go func() { serving <- l.gate.Serve(serve) }()
	keeping := make(chan struct{})
	go func() {
		defer close(keeping)
		l.vault.run(ctx)
	}()
	err := l.supervisor.Run(ctx)
	stopServing() // the gate outlives its node
	cancel()
	<-watching
	<-keeping
	return errors.Join(err, <-serving)
}

// close lets go of what openLocal took, where run was not called.
func (l *local) close() {
	if l.pipeline != nil {
		l.pipeline.Close()
	}
	if l.client != nil {
		l.client.Close()
	}
}

var errNoAdvertise = errors.New("manager: the raft address must name a host that the other members can reach")

// reachable refuses an address to advertise that means "every interface".
func reachable(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("manager: %w", err)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		return fmt.Errorf("%w: %s (hint: set manager.advertise)", errNoAdvertise, addr)
	}
	return nil
}

package manager

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"roundtable/api"
	"roundtable/clock"
	"roundtable/cluster"
	"roundtable/cluster/control"
	"roundtable/cmd/roundtable/config"
	"roundtable/fsm"
	"roundtable/logkey"
	"roundtable/node"
	"roundtable/security"
)

// Bounds of closing, part by part. A holder's clean stop is a handoff.
const (
	closeAPI      = 5 * time.Second
	closeLease    = 10 * time.Second
	closeControl  = 3 * time.Second
	closeGroup    = 5 * time.Second
	afterNodeStop = node.SidecarStop + 5*time.Second // beyond the node's own stop timeout
)

// Options are what a caller may add to the configuration.
type Options struct {
	Version string
	Log     *slog.Logger
	Level   *slog.LevelVar // Log's: follows manager.log_level; nil: it stays
	Now     func() time.Time
	Ready   func(Live) // called once, when the manager serves its API and its controllers run
}

// Run runs one manager until ctx ends, then closes it in order: a holder hands production over first. hurry, if it ends
// later than ctx, shortens the closing (a second signal). It returns nil after an ordered stop; an error when a part
// failed to open, or when the process can no longer be trusted with its place in the group and must exit non-zero.
func Run(ctx, hurry context.Context, c *config.Config, o Options) (err error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	var moved *clock.Clock // the machine's
	if path := os.Getenv(EnvClock); c.Sandbox && path != "" {
		if moved, err = clock.Open(path); err != nil {
			return fmt.Errorf("manager: %w", err)
		}
	}
	if o.Now == nil {
		o.Now = moved.Now
	}
	m := &manager{cfg: c, opts: o, log: o.Log, clock: moved, fatal: make(chan error, 4), stack: &stack{log: o.Log}, alarms: make(chan fsm.RaiseAlarm, maxAlarms), incarnation: drawIncarnation()}
	m.reload = newReloader(c, m.apply, m.offer, authority{m}.Alarm, o.Log)
	defer func() {
		if errors.Is(err, errFatal) {
			return // nothing of this process is to be trusted or waited for: its exit takes node and gate along
		}
		err = errors.Join(err, m.stack.close(hurry))
	}()
	if err := m.open(ctx); err != nil {
		return err
	}
	if o.Ready != nil {
		o.Ready(Live{m})
	}
	select {
	case <-ctx.Done():
		m.log.Info("stopping", "reason", context.Cause(ctx))
		return nil
	case err := <-m.fatal:
		m.log.Error("this process must not go on", "err", err)
		return fmt.Errorf("%w: %w", errFatal, err)
	}
}

var errFatal = errors.New("manager: fatal")

type manager struct {
	cfg         *config.Config // as at the start; see config for what may change
	reload      *reloader
	opts        Options
	log         *slog.Logger
	stack       *stack
	clock       *clock.Clock // nil but in a sandbox
	incarnation string       // of this process
	founds      bool         // the home has the permission to found the cluster
	fatal       chan error
	local       *local              // nil for a witness
	keeper      *security.Keeper    // nil on a plain loopback cluster
	gossipKeys  [][]byte            // the first one encrypts; nil on a plain loopback cluster
	alarms      chan fsm.RaiseAlarm // that wait to be put into the history
	cluster     *cluster.Cluster
	control     *control.Manager
}

// fail ends the process.
func (m *manager) fail(err error) {
	select {
	case m.fatal <- err:
	default: // one reason is enough
	}
}

// refused ends the process for a record that the cluster does not take, unless that is for a finalizer key: then the node is stopped, and
// an operator can take the key back.
func (m *manager) refused(err error) {
	if errors.Is(err, fsm.ErrFinalizer) && m.local != nil {
		if s, _ := m.cluster.View(); m.local.home.clash(s) {
			return
		}
	}
	m.fail(err)
}

// open opens storage, node (paused), cluster, controllers and API, in this order.
func (m *manager) open(ctx context.Context) error {
	c := m.cfg
	m.log.Info("starting", "version", m.opts.Version, "config", c)
	if c.Node.Fence == "pause" && !c.Manager.Witness {
		return errors.New("manager: node.fence = \"pause\" is not available in this version (hint: use \"gate\", which is also the safer one: the key then stays with the manager)")
	}
	for _, addr := range []string{c.RaftAddr(), c.GossipAddr()} {
		if err := reachable(addr); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(c.Manager.Home, 0o700); err != nil {
		return fmt.Errorf("manager: home: %w", err)
	}
	unlock, err := lockHome(c.Manager.Home)
	if err != nil {
		return err
	}
	m.stack.push("home", time.Second, func(context.Context) error { return unlock() })
	if m.founds, err = mayFound(c.Manager.Home); err != nil {
		return fmt.Errorf("manager: %w", err)
	}
	if err := cluster.MayStart(c.RaftDir(), m.founds, c.Manager.Join); err != nil { // before a node is started for nothing
		return fmt.Errorf("manager: %w", err)
	}
	listener, err := listenAPI(ctx, c.Manager.API)
	if err != nil {
		return err
	}
	m.stack.push("api listener", time.Second, func(context.Context) error {
		listener.Close() // closed already where the API served
		return nil
	})
	record := fsm.Member{
		ID: c.Manager.ID, Incarnation: m.incarnation, Raft: c.RaftAddr(), API: c.APIURL(), Priority: c.Manager.Priority, NoFailover: c.Manager.NoFailover,
		Witness: c.Manager.Witness, EntryVersion: fsm.EntryVersion, Version: m.opts.Version, Fence: c.Node.Fence, Started: m.opts.Now().UnixMilli(),
	}
	conf := control.Config{OnFatal: m.refused, Now: m.opts.Now, MinSlots: uint64(c.Raft.MinSlots()), Log: m.log.With(logkey.Part, "control")}
	conf.Last = lastSettings(c.Manager.Home, m.log)
	conf.Keep = func(s control.Settings) error { return keepSettings(c.Manager.Home, s) }
	if c.Sandbox {
		conf.Hold = holdFile(os.Getenv(EnvHold))
	}
	conf.First = fsm.Cluster{Name: c.Cluster.Name, Producers: c.Cluster.Producers, Slots: uint64(c.Lease.Slots)}
	check := (&clocks{jumps: clock.NewJumps(m.clock.Shift)}).check
	if !c.Manager.Witness {
		if m.local, err = openLocal(context.WithoutCancel(ctx), c, m.clock, m.opts.Now, authority{m}.Alarm, m.log); err != nil {
			return err
		}
		record.P2P = c.P2PAddr()
		conf.Node, conf.Gate, conf.Home = m.local.node, localGate{m.local.gate}, m.local.home
		conf.Vault, conf.TaskLimit = m.local.vault, c.Backup.StepLimit.D()
		check = m.local.gate.CheckClocks // which also seals it
	} else {
		record.Fence = ""
	}
	conf.Record = record
	conf.Jumped = func() bool { return check() != 0 }
	m.control = control.NewManager(conf)
	m.background("clocks", time.Second, func(ctx context.Context) error { return watchClocks(ctx, check) })
	if m.local != nil {
		m.local.saw, m.local.mismatch = m.control.Saw, m.control.Mismatch
		m.pushBackground("node", func() time.Duration { return m.config().Node.StopTimeout.D() + afterNodeStop }, func(ctx context.Context) error {
			defer m.local.close()
			return m.local.run(ctx)
		})
	}
	if err := m.openCluster(ctx); err != nil {
		return err
	}
	m.background("config.toml", time.Second, m.reload.run)
	if m.local != nil {
		m.background("configuration", time.Second, func(ctx context.Context) error { return m.local.home.run(ctx, m.cluster) })
	}
	m.background("controllers", closeControl, func(ctx context.Context) error {
		var wg sync.WaitGroup
		wg.Go(func() { _ = m.cluster.Lead(ctx, m.control.Lead) })
		wg.Go(func() { m.control.Run(ctx) })
		wg.Wait()
		return nil
	})
	m.seedTokens()
	stopping, err := m.openAPI(listener)
	if err != nil {
		return err
	}
	m.stack.push("lease", closeLease, m.control.StepAside) // with the API still there, to show how it goes
	m.stack.push("readiness", time.Second, func(context.Context) error {
		stopping()
		return nil
	})
	return nil
}

// background runs f in a goroutine until the stack comes by, and takes its error for fatal until then.
func (m *manager) background(name string, bound time.Duration, f func(context.Context) error) {
	m.pushBackground(name, func() time.Duration { return bound }, f)
}

// pushBackground is background where the bound is what it is when the part is closed.
func (m *manager) pushBackground(name string, bound func() time.Duration, f func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		err := f(ctx)
		if ctx.Err() == nil {
			m.fail(fmt.Errorf("%s ended: %w", name, errors.Join(err, errUnasked)))
		}
		done <- err
	}()
	m.stack.pushBound(name, bound, func(bounded context.Context) error {
		cancel()
		select {
		case err := <-done:
			return err
		case <-bounded.Done():
			return bounded.Err()
		}
	})
}

var errUnasked = errors.New("nobody asked it to")

func (m *manager) openCluster(ctx context.Context) error {
	c := m.cfg
	if err := m.openSecurity(); err != nil {
		return err
	}
	conf := cluster.Config{
		ID: c.Manager.ID, Incarnation: m.incarnation, Dir: c.RaftDir(), API: c.APIURL(), Name: c.Cluster.Name,
		RaftBind: c.Manager.Raft, RaftAdvertise: c.RaftAddr(), GossipBind: c.Manager.Gossip, GossipAdvertise: c.GossipAddr(), Join: c.Manager.Join,
		Found: m.founds, Founded: func() error { return hasFounded(c.Manager.Home) },
		GossipKeys: m.gossipKeys, Heartbeat: c.Raft.Heartbeat.D(), Election: c.Raft.Election.D(),
		SnapshotThreshold: uint64(c.Raft.SnapshotThreshold), TrailingLogs: uint64(c.Raft.TrailingLogs),
		Admit: m.control.Admit, OnFatal: m.fail, Now: m.opts.Now, Log: m.log,
	}
	if m.keeper != nil {
		conf.TLS = m.keeper
	}
	if c.Sandbox {
		conf.Hold = stallFile(os.Getenv(EnvStall))
	}
	var err error
	if m.cluster, err = cluster.Open(ctx, conf); err != nil {
		return fmt.Errorf("manager: %w", err)
	}
	m.stack.push("cluster", closeGroup, m.cluster.Close)
	if m.keeper != nil {
		m.keeper.Know(func(member string) int64 {
			state, _ := m.cluster.View()
			return state.Admitted(member)
		})
		m.background("certificates", time.Second, m.keeper.Run)
	}
	m.background("alarms", time.Second, m.ring)
	m.control.SetCluster(group{m.cluster})
	m.cluster.Signs(m.control.Said)
	return nil
}

// openAPI serves the API. stopping makes it say that this manager is not ready any more.
func (m *manager) openAPI(listener net.Listener) (stopping func(), err error) {
	conf := api.Config{
		Self: m.cfg.Manager.ID, Version: m.opts.Version, Cluster: m.cluster, Control: m.control, Now: m.opts.Now, Log: m.log.With(logkey.Part, "api"),
		Client: m.client(), Sandbox: m.cfg.Sandbox, Overlay: checkOverlay,
	}
	if m.keeper != nil {
		conf.CAs, conf.Authority, conf.Certificate, conf.Handshakes = m.keeper.CAs, authority{m}, m.certificate, m.keeper.Refused
	}
	own, err := api.ListenLocal(m.cfg.APISocket())
	if err != nil {
		return nil, fmt.Errorf("manager: %w", err)
	}
	if m.local != nil {
		conf.Local = m.local.status
	}
	server, err := api.New(conf)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("manager: %w", err), own.Close())
	}
	m.background("api", closeAPI, func(ctx context.Context) error { return server.Serve(ctx, m.secure(listener, server.Refuse), own) })
	return server.Drain, nil
}

// status is the local node and gate for the metrics. It takes no lock.
func (l *local) status() api.Local {
	g, lines, process := l.gate.Metrics(), l.pipeline.Stats(), l.supervisor.Status()
	v, _ := l.monitor.View()
	return api.Local{
		Node: &api.LocalNode{
			State: string(process.State), Head: v.Head, LIB: v.LIB, Peers: v.Peers, Paused: v.Paused || !v.PausedKnown,
			Starts: uint64(process.Starts), Restarts: uint64(process.Restarts), Lines: lines.ByLevel, Unknown: lines.Unknown, Dropped: lines.Dropped,
			DB: api.LocalDB{Size: v.DB.Size, Used: v.DB.Used, Free: v.DB.Free, Reclaimable: v.DB.Reclaimable},
		},
		Gate: &api.LocalGate{
			Open: g.Open, Sealed: g.Sealed, Signatures: g.Signatures, Refused: g.Refused, Mismatches: g.Mismatches, SignSeconds: g.SignSeconds,
		},
	}
}

// drawIncarnation draws the 128 bits that tell this process from every other that ever ran for this member [S2].
func drawIncarnation() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails: crypto/rand aborts the program instead
	return hex.EncodeToString(b)
}

func listenAPI(ctx context.Context, addr string) (net.Listener, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("manager: manager.api: %w (hint: is another manager running? choose a free port)", err)
	}
	return l, nil
}

// homeLock keeps a second manager out of the same home.
const homeLock = "manager.lock"

func lockHome(home string) (unlock func() error, err error) {
	f, err := os.OpenFile(filepath.Join(home, homeLock), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("manager: home: %w", err)
	}
	if err := flock(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("manager: %s is in use by another manager (hint: give each manager a home of its own): %w", home, err)
	}
	return f.Close, nil
}

package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"roundtable/logkey"
	"roundtable/pulse"
)

// Cluster is this manager's place in the raft group. Open makes it; all methods may be called from any goroutine.
type Cluster struct {
	cfg        Config
	log        *slog.Logger
	stores     Stores
	machine    *machine
	streams    *streams
	transport  *transport
	forwarding *forwarding
	raft       *raft.Raft
	leadership *leadership
	gossip     *gossip
	talking    atomic.Pointer[gossip] // the same, from when it is open: raft asks where the others are
	disk       *disk
	count      counters
	fatalOnce  sync.Once

	expecting atomic.Bool   // it has a permission to found the group and looks for the others first (found.go)
	filling   atomic.Bool   // it lost its log, or has none yet (filling.go)
	proving   chan struct{} // capacity 1: one leader is asked at a time
	proven    string        // the leader that showed that it leads; for who is in proving

	ctx       context.Context // ends with Close
	cancel    context.CancelFunc
	wg        sync.WaitGroup
	closeOnce sync.Once
	closed    chan struct{}
	closeErr  error
	asked     atomic.Int64 // requests to raft that are not answered
}

// tick is the longest period of what recurs here; it is a slot, so that all of it costs one wake-up (package pulse).
const tick = 500 * time.Millisecond

// Open opens the log, the network and gossip, and returns at once: whether a leader is known, or this member is in the
// group yet, shows later. ctx bounds the opening only. A ConfigError carries a hint for the operator.
func Open(ctx context.Context, cfg Config) (*Cluster, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c := &Cluster{cfg: cfg, log: cfg.Log.With(logkey.Part, "cluster"), stores: cfg.Stores, proving: make(chan struct{}, 1), closed: make(chan struct{})}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.count.begin()
	c.leadership = newLeadership(c.log)
	c.machine = newMachine(cfg.SnapshotThreshold, c.fatal)
	if err := c.open(); err != nil {
		c.cancel()
		return nil, errors.Join(err, c.shut(true))
	}
	c.wg.Go(func() { c.gossip.beats(c.ctx) })
	c.wg.Go(func() { c.gossip.join(c.ctx) })
	c.wg.Go(func() { _ = c.Lead(c.ctx, c.tendMembership) })
	c.wg.Go(func() { c.guardDisk(c.ctx) })
	c.wg.Go(c.remember)
	c.wg.Go(c.snapshots)
	if cfg.Canary != nil {
		c.disk.canary = cfg.Canary
		go c.disk.sing(c.ctx) // not waited for: it hangs as long as the disk does
	}
	return c, nil
}

func (c *Cluster) open() error {
	hlog := raftLogger(c.cfg.Log.With(logkey.Part, "raft"))
	if c.stores.Log == nil {
		s, err := fileStores(c.cfg.Dir, hlog, false)
		if err != nil {
			return err
		}
		c.stores = s
	}
	watch := &ioWatch{now: c.cfg.Now, hold: c.cfg.Hold}
	c.disk = &disk{watch: watch, now: c.cfg.Now}
	logs, stable := watchedLog{c.stores.Log, watch}, watchedStable{c.stores.Stable, watch}

	var err error
	if c.streams, err = listenStreams(c.cfg); err != nil {
		return err
	}
	founds, err := c.openGroup()
	if err != nil {
		return err
	}
	conf := c.raftConfig()
	conf.Logger = hlog
	network := raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: raftLayer{c.streams}, MaxPool: 3, MaxRPCsInFlight: 1, Timeout: rpcTimeout, Logger: hlog, ServerAddressProvider: whereabouts{c},
	})
	c.transport = &transport{
		NetworkTransport: network, stop: c.streams.ctx.Done(), commits: map[raft.ServerID]*raft.AppendEntriesRequest{}, sending: map[raft.ServerID]bool{},
		beats: map[raft.ServerID]time.Time{}, pace: pulse.Fit(tick, c.cfg.Heartbeat/3),
		self: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(c.cfg.ID), Addr: []byte(c.streams.advertise)}, filling: c.filling.Load,
	}
	if founds {
		if err := raft.BootstrapCluster(conf, logs, stable, c.stores.Snapshots, c.transport, c.alone()); err != nil {
			return fmt.Errorf("cluster: bootstrap: %w", err)
		}
		if err := c.founded(); err != nil {
			return err
		}
	}
	c.streams.idOf, c.streams.settled, c.streams.banned, c.streams.admitted = c.idOf, c.settled, c.banned, c.admitted
	c.streams.forward, c.streams.credible = c.serveForward, c.credible
	if c.raft, err = raft.NewRaft(conf, c.machine, logs, stable, c.stores.Snapshots, c.transport); err != nil {
		return fmt.Errorf("cluster: start raft: %w", err)
	}
	c.transport.node.Store(c.raft)
	c.leadership.node = c.raft
	c.forwarding = &forwarding{peers: map[string]*forwardPeer{}, dial: c.dialForward}
	if c.gossip, err = openGossip(c.cfg, c.meta, c.beat, c.member, c.banned); err != nil {
		return err
	}
	c.talking.Store(c.gossip)
	c.wg.Go(c.yield)
	c.wg.Go(c.evict)
	c.wg.Go(c.wonder)
	c.wg.Go(func() { c.leadership.run(c.ctx) })
	if c.filling.Load() {
		c.log.Info("this member has no raft log yet: it does not vote until it has all of it")
		c.wg.Go(c.fill)
	}
	if c.expecting.Load() {
		c.wg.Go(c.expect)
	}
	c.streams.serve()
	return nil
}

func (c *Cluster) raftConfig() *raft.Config {
	conf := raft.DefaultConfig()
	conf.LocalID = raft.ServerID(c.cfg.ID)
	conf.HeartbeatTimeout = c.cfg.Heartbeat
	conf.ElectionTimeout = c.cfg.Election
	conf.LeaderLeaseTimeout = c.cfg.LeaderLease
	conf.CommitTimeout = tick               // transport.commit is faster; a live lease's extensions come first
	conf.SnapshotInterval = 2 * time.Minute // a backstop: snapshots counts entries
	conf.SnapshotThreshold = c.cfg.SnapshotThreshold
	conf.TrailingLogs = c.cfg.TrailingLogs
	if c.filling.Load() {
		conf.HeartbeatTimeout, conf.ElectionTimeout = never, never
	}
	conf.ShutdownOnRemove = false // a removed member stays a follower that can be put back
	conf.NoLegacyTelemetry = true
	return conf
}

func (c *Cluster) meta() meta {
	return meta{Raft: c.streams.advertise, API: c.cfg.API, Incarnation: c.cfg.Incarnation, Group: c.streams.groupID(), Founds: c.expecting.Load()}
}

func (c *Cluster) beat() beat {
	return beat{ID: c.cfg.ID, Group: c.streams.groupID(), Applied: c.raft.AppliedIndex(), Stalled: c.disk.stalled.Load(), Filling: c.filling.Load()}
}

// snapshots takes a raft snapshot whenever enough entries were applied. Raft's own trigger looks at a clock, which does not
// bound the folder's size under a burst.
func (c *Cluster) snapshots() {
	for {
		select {
		case <-c.ctx.Done():
			return
		case <-c.machine.wanted:
			if err := c.wait(c.ctx, func() raft.Future { return c.raft.Snapshot() }); err != nil && c.ctx.Err() == nil {
				c.log.Warn("raft snapshot failed", "err", err)
			}
		}
	}
}

// remember writes down the gossip addresses when they changed, and spreads the group's id when it was taken over.
func (c *Cluster) remember() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	last := c.gossip.addresses()
	for {
		if now := c.gossip.addresses(); !maps.Equal(now, last) {
			c.gossip.remember()
			last = now
		}
		timer.Reset(pulse.Next(2 * tick))
		select {
		case <-c.ctx.Done():
			return
		case <-c.streams.regroup:
			c.gossip.refresh()
		case <-c.gossip.moved: // at once: a founder that is killed now must find the others again
		case <-timer.C:
		}
	}
}

// Close leaves: the leadership goes to another member, gossip is told, raft and the stores are closed. It is bounded by
// ctx and idempotent; with a ctx that has ended already it is abrupt, like a crash with files closed. An error says that
// something did not end in time: then the process should exit soon.
func (c *Cluster) Close(ctx context.Context) error {
	c.closeOnce.Do(func() {
		go func() {
			defer close(c.closed)
			c.closeErr = c.close(ctx)
		}()
	})
	<-c.closed
	return c.closeErr
}

func (c *Cluster) close(ctx context.Context) error {
	abrupt := ctx.Err() != nil
	if !abrupt && c.IsLeader() && c.successor() {
		tctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		err := c.TransferLeadership(tctx, "")
		for err != nil && c.IsLeader() && c.successor() && sleep(tctx, retryPause) { // the one it chose may just be leaving, too
			err = c.TransferLeadership(tctx, "")
		}
		if err != nil {
			c.log.Warn("closing as the leader", "err", err)
		}
		cancel()
	}
	c.cancel()
	if !abrupt {
		c.gossip.leave()
	}
	return c.shut(abrupt)
}

// successor reports whether another voter is there to lead.
func (c *Cluster) successor() bool {
	nodes := c.gossip.snapshot()
	return slices.ContainsFunc(c.otherVoters(), func(s raft.Server) bool { return nodes[string(s.ID)].Alive })
}

// answeredWait bounds the wait for what raft was asked.
const answeredWait = 100 * time.Millisecond

// answered gives what raft was asked a moment to be answered. raft 1.7.3 never answers for an entry that it has committed and whose turn
// at the state machine comes with the shutdown, and who asked would wait for ever; what is not committed is answered by the shutdown.
func (c *Cluster) answered() {
	for waited := time.Duration(0); c.asked.Load() > 0 && waited < answeredWait; waited += time.Millisecond {
		<-time.After(time.Millisecond)
	}
}

// shutdownWait bounds the end of raft: its main loop may be stuck on the disk.
const shutdownWait = 3 * time.Second

// shut ends everything that was opened, in reverse order.
func (c *Cluster) shut(abrupt bool) error {
	if c.gossip != nil {
		c.gossip.shutdown()
	}
	var err error
	if c.raft != nil {
		if abrupt {
			c.streams.close() // nothing more leaves this member
		}
		c.answered()
		ctx, cancel := context.WithTimeout(context.Background(), shutdownWait)
		defer cancel()
		if err = c.wait(ctx, c.raft.Shutdown); err != nil {
			err = fmt.Errorf("cluster: raft did not stop: %w", err)
		}
	}
	if c.streams != nil {
		c.streams.close()
		c.streams.wg.Wait()
	}
	if c.transport != nil {
		_ = c.transport.Close()
		c.transport.inflight.Wait()
	}
	c.wg.Wait()
	if err != nil {
		return err // the stores are in use by a stuck raft: leave them
	}
	if c.stores.Close != nil {
		err = errors.Join(err, c.stores.Close())
	}
	return err
}

package baseline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
)

// leaderSigns is `if raft.State() == raft.Leader { resume } else { pause }`, at every change of leadership and every poll.
type leaderSigns struct {
	cfg   Config
	log   *slog.Logger
	raft  *raft.Raft
	store *raftboltdb.BoltStore
	hand  *hand
}

func newLeader(cfg Config, n *nodeos, log *slog.Logger, raftLog io.Writer) (*leaderSigns, error) {
	layer, err := listen(cfg)
	if err != nil {
		return nil, err
	}
	store, err := raftboltdb.New(raftboltdb.Options{Path: filepath.Join(cfg.Home, "raft.db"), BoltOptions: &bbolt.Options{Timeout: time.Second}})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("baseline: raft: %w", err), layer.Close())
	}
	logger := hclog.New(&hclog.LoggerOptions{Name: "raft", Level: hclog.Info, Output: raftLog})
	transport := raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{Stream: layer, MaxPool: 3, MaxRPCsInFlight: 1, Timeout: 2 * time.Second, Logger: logger})
	c := raft.DefaultConfig()
	c.LocalID, c.Logger = raft.ServerID(cfg.ID), logger
	c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = ms(cfg.HeartbeatMs), ms(cfg.HeartbeatMs), ms(cfg.HeartbeatMs*8/10)
	snapshots := raft.NewDiscardSnapshotStore()
	l := &leaderSigns{cfg: cfg, log: log, store: store}
	if err := l.open(c, snapshots, transport); err != nil {
		return nil, errors.Join(err, transport.Close(), store.Close())
	}
	l.hand = newHand(n, func() bool { return l.raft.State() == raft.Leader }, ms(cfg.PollMs), log)
	return l, nil
}

// open starts raft. Every member knows all of them from its configuration, so the first start founds the group.
func (l *leaderSigns) open(c *raft.Config, snapshots raft.SnapshotStore, transport raft.Transport) error {
	known, err := raft.HasExistingState(l.store, l.store, snapshots)
	if err != nil {
		return fmt.Errorf("baseline: raft: %w", err)
	}
	if !known {
		all := raft.Configuration{Servers: []raft.Server{{ID: c.LocalID, Address: transport.LocalAddr()}}}
		for _, p := range l.cfg.Peers {
			all.Servers = append(all.Servers, raft.Server{ID: raft.ServerID(p.ID), Address: raft.ServerAddress(p.Address)})
		}
		if err := raft.BootstrapCluster(c, l.store, l.store, snapshots, transport, all); err != nil {
			return fmt.Errorf("baseline: raft: %w", err)
		}
	}
	if l.raft, err = raft.NewRaft(c, nothing{}, l.store, l.store, snapshots, transport); err != nil {
		return fmt.Errorf("baseline: raft: %w", err)
	}
	return nil
}

// nothing is the state machine: leadership is all that this raft is for.
type nothing struct{}

// Apply implements raft.FSM.
func (nothing) Apply(*raft.Log) any { return nil }

// Snapshot implements raft.FSM.
func (nothing) Snapshot() (raft.FSMSnapshot, error) {
	return nil, errors.New("baseline: there is nothing to snapshot")
}

// Restore implements raft.FSM.
func (nothing) Restore(r io.ReadCloser) error { return r.Close() }

// run passes changes of leadership to the hand, and gives leadership away while the node here is of no use.
func (l *leaderSigns) run(ctx context.Context, died <-chan struct{}) {
	check := time.NewTicker(ms(l.cfg.PollMs))
	defer check.Stop()
	for {
		useless := false
		select {
		case <-ctx.Done():
			return
		case leads := <-l.raft.LeaderCh():
			l.log.Info("leadership", "leads", leads)
			l.hand.poke()
		case <-died:
			useless = true
		case <-check.C:
			useless = l.hand.failed.Load() >= 2
		}
		if useless && l.raft.State() == raft.Leader {
			l.log.Warn("the node is of no use: leadership goes to another one")
			l.giveUp(ctx)
		}
	}
}

// giveUp pauses the node as far as it can be, and gives leadership to whoever takes it.
func (l *leaderSigns) giveUp(ctx context.Context) {
	if err := l.hand.stop(ctx); err != nil {
		l.log.Warn("the node was not paused", "err", err)
	}
	defer l.hand.keep()
	if err := l.raft.LeadershipTransfer().Error(); err != nil {
		l.log.Warn("nobody takes leadership", "err", err)
	}
}

func (l *leaderSigns) produces() *hand { return l.hand }

func (l *leaderSigns) leader() string {
	_, id := l.raft.LeaderWithID()
	return string(id)
}

// handoff pauses, waits for the last block, and transfers leadership; the hand of the new leader does the rest.
func (l *leaderSigns) handoff(ctx context.Context, to Peer) error {
	if err := l.hand.release(ctx); err != nil {
		return err
	}
	defer l.hand.keep()
	if err := l.raft.LeadershipTransferToServer(raft.ServerID(to.ID), raft.ServerAddress(to.Address)).Error(); err != nil {
		return fmt.Errorf("baseline: handoff: %w", err)
	}
	return nil
}

// takeover is not needed: leadership moves by raft.
func (l *leaderSigns) takeover() error {
	return errors.New("baseline: leadership moves by raft")
}

// leave hands leadership to whoever takes it, and ends raft.
func (l *leaderSigns) leave(ctx context.Context) error {
	if l.raft.State() == raft.Leader {
		if err := l.hand.release(ctx); err != nil {
			l.log.Warn("the node was not paused", "err", err)
		}
		if err := l.raft.LeadershipTransfer().Error(); err != nil {
			l.log.Warn("nobody takes leadership", "err", err)
		}
	}
	err := l.raft.Shutdown().Error() // closes the transport as well
	return errors.Join(err, l.store.Close())
}

package cluster

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"time"

	"roundtable/fsm"
)

// Config is what a member of the group needs. The zero value of an optional field takes the default named there.
type Config struct {
	ID          string // of this member, never reused by another one
	Dir         string // raft's folder: log, snapshots, canary. May be empty only where Stores are given
	Incarnation string // of this process, in its record: when that is applied here, a member without a log has regained it (filling.go)
	API         string // URL of this manager's API, carried in gossip
	Name        string // of the cluster; members of another name are not heard. May be empty

	RaftBind, RaftAdvertise     string   // host:port; an empty advertise address is the bound one
	GossipBind, GossipAdvertise string   // host:port, UDP and TCP
	Join                        []string // gossip addresses of other members

	// Found is the permission to found the group, where there is no raft state (found.go); Founded takes it away for good, and is
	// called when a group exists. nil: nothing to do.
	Found   bool
	Founded func() error

	TLS        Credentials // nil: plain, loopback only
	GossipKeys [][]byte    // 32 bytes each: the first encrypts, all are understood; none: plain, loopback only

	Heartbeat, Election, LeaderLease time.Duration // 300 ms, 300 ms, 0.8 of the heartbeat
	SnapshotThreshold, TrailingLogs  uint64        // 8192, 1024: they bound the size of Dir
	DeadAfter                        time.Duration // a voter unseen for so long is removed where that is safe; 24 h
	LeftAfter                        time.Duration // the same for one that said goodbye; 1 h
	StallAfter                       time.Duration // the disk counts as stalled when one write takes longer; 1 s

	// Admit has the leader's last word on a command just before it is appended: it may change it or refuse it. It is
	// called from many goroutines. nil: everything passes.
	Admit func(fsm.Command) (fsm.Command, error)
	// OnFatal is called at most once, when this process can no longer be trusted with its place in the group: the
	// caller must exit, non-zero. nil: panic.
	OnFatal func(error)

	Network Network      // nil: real TCP and UDP
	Stores  Stores       // zero: files in Dir
	Hold    func()       // nil, or is called before each write of log, term, vote and canary, which wait for it: a sandbox's disk that hangs
	Canary  func() error // one write and sync in Dir; nil: a small file there, none without Dir
	Now     func() time.Time
	Log     *slog.Logger
}

// Credentials are what members know each other by; security.Keeper has them. Both sides are asked for each new stream, so that
// a certificate or a CA that was replaced counts from then on, and no stream that exists ends for it.
type Credentials interface {
	// Server demands a certificate of the cluster's CA, whose common name is the member's id.
	Server() *tls.Config
	// Client shows our own, and talks to no server but that member; "": to any of this cluster.
	Client(member string) *tls.Config
}

const (
	defaultTimeout = 300 * time.Millisecond
	minTimeout     = 100 * time.Millisecond
)

// withDefaults fills the gaps and refuses what cannot work.
func (c Config) withDefaults() (Config, error) {
	setDefault(&c.Heartbeat, defaultTimeout)
	setDefault(&c.Election, max(c.Heartbeat, defaultTimeout))
	setDefault(&c.LeaderLease, c.Heartbeat*8/10)
	setDefault(&c.SnapshotThreshold, 8192)
	setDefault(&c.TrailingLogs, 1024)
	setDefault(&c.DeadAfter, 24*time.Hour)
	setDefault(&c.LeftAfter, time.Hour)
	setDefault(&c.StallAfter, time.Second)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.OnFatal == nil {
		c.OnFatal = func(err error) { panic(err) }
	}
	if c.Founded == nil {
		c.Founded = func() error { return nil }
	}
	if c.Canary == nil && c.Dir != "" {
		c.Canary = fileCanary(filepath.Join(c.Dir, "canary"))
	}
	if sing := c.Canary; sing != nil && c.Hold != nil {
		c.Canary = func() error {
			c.Hold()
			return sing()
		}
	}
	switch {
	case c.ID == "" || len(c.ID) > maxName/2 || strings.ContainsAny(c.ID, " \t\n\x00"):
		return c, &ConfigError{fmt.Sprintf("member id %q is not usable", c.ID), "give this manager a short id of its own, without blanks"}
	case len(c.Name) > maxName:
		return c, &ConfigError{"the cluster's name is too long", fmt.Sprintf("at most %d bytes", maxName)}
	case c.Heartbeat < minTimeout || c.Election < minTimeout:
		return c, &ConfigError{fmt.Sprintf("raft heartbeat %v, election %v are too short", c.Heartbeat, c.Election), fmt.Sprintf("at least %v; 300ms is the measured choice", minTimeout)}
	case c.Election < c.Heartbeat:
		return c, &ConfigError{fmt.Sprintf("raft election timeout %v is below the heartbeat timeout %v", c.Election, c.Heartbeat), "make it at least as long"}
	case c.LeaderLease > c.Heartbeat || c.LeaderLease < 5*time.Millisecond:
		return c, &ConfigError{fmt.Sprintf("raft leader lease %v must not exceed the heartbeat timeout %v", c.LeaderLease, c.Heartbeat), "leave it out: 0.8 of the heartbeat"}
	case c.Dir == "" && c.Stores.Log == nil:
		return c, &ConfigError{"no folder for the raft log", "set the manager's home"}
	}
	for _, key := range c.GossipKeys {
		if len(key) != 32 {
			return c, &ConfigError{fmt.Sprintf("the gossip key has %d bytes", len(key)), "it must have 32"}
		}
	}
	if c.Network == nil {
		if err := c.checkPlain(); err != nil {
			return c, err
		}
		c.Network = realNetwork{c.RaftBind}
	}
	return c, nil
}

// checkPlain refuses unprotected traffic off this machine.
func (c Config) checkPlain() error {
	for _, addr := range []string{c.RaftBind, c.RaftAdvertise} {
		if c.TLS == nil && addr != "" && !loopback(addr) {
			return &ConfigError{fmt.Sprintf("raft address %s without TLS", addr), "configure the cluster's certificates ([tls]), or use a loopback address"}
		}
	}
	for _, addr := range []string{c.GossipBind, c.GossipAdvertise} {
		if len(c.GossipKeys) == 0 && addr != "" && !loopback(addr) {
			return &ConfigError{fmt.Sprintf("gossip address %s without a key", addr), "configure the cluster's gossip key, or use a loopback address"}
		}
	}
	return nil
}

func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

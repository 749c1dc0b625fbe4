package cluster

import (
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"roundtable/cluster/health"
	"roundtable/fsm"
	"roundtable/meter"
)

// RaftStatus is this member's raft, for GET /cluster/raft.
type RaftStatus struct {
	ID            string     `json:"id"`
	State         string     `json:"state"` // "leader", "follower", "candidate", "shutdown"
	Term          uint64     `json:"term"`
	Leader        string     `json:"leader"`
	LeaderAddress string     `json:"leader_address"`
	LastIndex     uint64     `json:"last_index"`
	CommitIndex   uint64     `json:"commit_index"`
	AppliedIndex  uint64     `json:"applied_index"`
	LastContactMs int64      `json:"last_contact_ms"` // since the leader was heard; 0 on the leader, -1: never
	Peers         []RaftPeer `json:"peers"`
	LogBytes      int64      `json:"log_bytes"` // of the raft folder
	Snapshots     []Snapshot `json:"snapshots"`
	Stalled       bool       `json:"stalled"` // the disk does not answer
	Elections     uint64     `json:"elections"`
	Group         string     `json:"group"`
}

// RaftPeer is one server of raft's configuration.
type RaftPeer struct {
	ID           string `json:"id"`
	Address      string `json:"address"`
	Suffrage     string `json:"suffrage"` // "voter", "nonvoter"
	Alive        bool   `json:"alive"`    // gossip heard it lately; this member itself always
	AppliedIndex uint64 `json:"applied_index"`
}

// Snapshot is one raft snapshot on disk.
type Snapshot struct {
	ID    string `json:"id"`
	Index uint64 `json:"index"`
	Term  uint64 `json:"term"`
	Bytes int64  `json:"bytes"`
}

// Metrics are counters since the start, and gauges, to be exported by whoever exports metrics.
type Metrics struct {
	Leader       bool
	Term         uint64
	CommitIndex  uint64
	AppliedIndex uint64
	LastContact  time.Duration // 0 on the leader
	Stalled      bool
	CanaryErrors uint64
	Elections    uint64
	Voters       []string // ids, as this member knows the configuration
	Proposals    uint64
	Refused      map[string]uint64  // proposals that the state refused, by rule
	ForwardedOut uint64             // requests sent to a leader
	ForwardedIn  uint64             // entries appended for others
	Apply        meter.Distribution // from appending an entry here to its being applied
}

type counters struct {
	proposals, forwardedOut, forwardedIn atomic.Uint64
	refused                              meter.Tally
	apply                                *meter.Histogram
}

func (c *counters) begin() {
	c.apply = meter.NewHistogram(meter.Commits)
	for _, r := range []*fsm.Refusal{fsm.ErrEpoch, fsm.ErrIncarnation, fsm.ErrReleased, fsm.ErrRange, fsm.ErrHolder} {
		c.refused.Add(r.Rule, 0)
	}
}

// Raft returns this member's raft status. It reads the folder's size and lists the snapshots: not for a hot loop.
func (c *Cluster) Raft() RaftStatus {
	address, leader := c.raft.LeaderWithID()
	s := RaftStatus{
		ID: c.cfg.ID, State: strings.ToLower(c.raft.State().String()), Term: c.raft.CurrentTerm(),
		Leader: string(leader), LeaderAddress: string(address),
		LastIndex: c.raft.LastIndex(), CommitIndex: c.raft.CommitIndex(), AppliedIndex: c.raft.AppliedIndex(),
		LastContactMs: -1, LogBytes: folderSize(c.cfg.Dir), Stalled: c.disk.stalled.Load(), Elections: c.leadership.elections.Load(),
		Group: c.streams.groupID(), Peers: []RaftPeer{}, Snapshots: []Snapshot{},
	}
	if d, ok := c.lastContact(); ok {
		s.LastContactMs = d.Milliseconds()
	}
	nodes, now := c.gossip.snapshot(), c.cfg.Now()
	for _, p := range c.servers() {
		id := string(p.ID)
		n := nodes[id]
		// Who is alone takes long to call everybody dead: that nothing was heard of late is known at once.
		alive := n.Alive && now.Sub(n.Seen) < freshFor
		peer := RaftPeer{ID: id, Address: string(p.Address), Suffrage: strings.ToLower(p.Suffrage.String()), Alive: alive, AppliedIndex: n.Applied}
		if id == c.cfg.ID {
			peer.Alive, peer.AppliedIndex = true, s.AppliedIndex
		}
		s.Peers = append(s.Peers, peer)
	}
	if list, err := c.stores.Snapshots.List(); err == nil {
		for _, m := range list {
			s.Snapshots = append(s.Snapshots, Snapshot{m.ID, m.Index, m.Term, m.Size})
		}
	}
	return s
}

// lastContact is how long ago the leader was heard; 0 on the leader itself, false if never.
func (c *Cluster) lastContact() (time.Duration, bool) {
	if c.raft.State() == raft.Leader {
		return 0, true
	}
	last := c.raft.LastContact()
	if last.IsZero() {
		return 0, false
	}
	return time.Since(last), true
}

// Metrics returns the counters and gauges as they stand. Cheap.
func (c *Cluster) Metrics() Metrics {
	contact, _ := c.lastContact()
	return Metrics{
		Leader: c.IsLeader(), Term: c.raft.CurrentTerm(), CommitIndex: c.raft.CommitIndex(), AppliedIndex: c.raft.AppliedIndex(),
		LastContact: contact, Stalled: c.disk.stalled.Load(), CanaryErrors: c.disk.failed.Load(), Elections: c.leadership.elections.Load(),
		Voters: c.voters(), Proposals: c.count.proposals.Load(), Refused: c.count.refused.Read(), ForwardedOut: c.count.forwardedOut.Load(),
		ForwardedIn: c.count.forwardedIn.Load(), Apply: c.count.apply.Read(),
	}
}

// voters are the ids of raft's voters.
func (c *Cluster) voters() []string {
	var list []string
	for _, s := range c.servers() {
		if s.Suffrage == raft.Voter {
			list = append(list, string(s.ID))
		}
	}
	return list
}

// Stalled reports that this member's disk does not answer.
func (c *Cluster) Stalled() bool { return c.disk.stalled.Load() }

// Publish sends a report about this member to every other one, soon: at most four times a second. Member, Incarnation
// and At are filled in here. A report is fresh for 2.5 s, so it must be published about once a second.
func (c *Cluster) Publish(r health.Report) { c.gossip.setReport(r) }

// Peers returns the members as gossip sees them from here, by id, this one included. The map is shared: nobody may change it.
func (c *Cluster) Peers() map[string]health.Peer { return c.gossip.view() }

// Nodes returns the other managers that gossip knows, by id, members of the raft group or not.
func (c *Cluster) Nodes() map[string]Node { return c.gossip.snapshot() }

// RaftAddress is where the other members reach this one's raft, GossipAddress where they join it.
func (c *Cluster) RaftAddress() string { return c.streams.advertise }

// GossipAddress is what another manager's Join may name.
func (c *Cluster) GossipAddress() string { return c.gossip.address() }

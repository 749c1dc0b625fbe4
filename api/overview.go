package api

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"roundtable/chain"
	"roundtable/cluster"
	"roundtable/cluster/control"
	"roundtable/cluster/health"
	"roundtable/fsm"
)

// sight is all that one answer is made of, looked at once.
type sight struct {
	self        string
	now         time.Time
	state       *fsm.State
	peers       map[string]health.Peer
	leader      string
	term        uint64
	leading     bool
	candidates  []control.Candidate
	leaseReason string // of the member that leads
	operation   func(*fsm.State, fsm.Operation, int64) Operation
	doubled     uint64             // seen here
	servers     []cluster.RaftPeer // of the raft group; empty: not known
	certificate time.Time          // when this member's ends; zero: it has none
	problem     string             // with that; "": none
}

// look is all that there is to see, with the raft group's servers.
func (s *Server) look() sight {
	v := s.glance()
	v.servers = s.voters.look()
	return v
}

// glance is what costs no look at the disk: a load balancer waits for nothing.
func (s *Server) glance() sight {
	state, _ := s.cfg.Cluster.View()
	leader, _ := s.cfg.Cluster.Leader()
	ends, problem := s.cfg.Certificate()
	candidates := slices.Clone(s.cfg.Control.Candidates())
	for i := range candidates {
		candidates[i].Reason = words(candidates[i].Reason)
	}
	return sight{
		self: s.cfg.Self, now: s.cfg.Now(), state: state, peers: s.cfg.Cluster.Peers(), leader: leader, term: s.cfg.Cluster.Metrics().Term,
		leading: s.cfg.Cluster.IsLeader(), candidates: candidates, leaseReason: s.cfg.Control.LeaseReason(), operation: s.operation, doubled: s.cfg.Control.Doubled(),
		certificate: ends, problem: problem,
	}
}

// words says a reason as an operator would: the supervisor's state is no word of theirs.
func words(reason string) string {
	return strings.ReplaceAll(reason, "the node is backoff", "the node is waiting to be started again")
}

func (v sight) slot() chain.Slot { return chain.SlotAt(v.now.UnixMilli()) }

func (v sight) overview() Overview {
	s := v.state
	o := Overview{
		Cluster: s.Cluster.Name, ChainID: s.Cluster.ChainID, Producers: append([]string{}, s.Cluster.Producers...), Maintenance: s.Cluster.Maintenance,
		Member: v.self, At: stamp(v.now.UnixMilli()), Index: s.Index, Alarms: v.alarms(), Leader: v.leader, Term: v.term,
		Lease: v.lease(), Round: v.round(), Members: v.members(), Operations: []Operation{}, Backups: v.backups(),
	}
	for _, op := range s.RunningOperations() {
		o.Operations = append(o.Operations, v.operation(s, op, v.now.UnixMilli()))
	}
	return o
}

func (v sight) lease() Lease {
	l := v.state.Lease
	left := int64(0)
	if l.Epoch > 0 {
		left = int64(l.Last) - int64(v.slot())
	}
	return Lease{
		Epoch: l.Epoch, Holder: l.Holder, First: l.First, FirstAt: slotAt(l.First), Last: l.Last, LastAt: slotAt(l.Last), Released: l.Released,
		Slot: v.slot(), SlotsLeft: left, Reason: v.reason(),
	}
}

// leases is the lease with who could have it and who had it.
func (v sight) leases() Lease {
	l := v.lease()
	for _, c := range v.candidates {
		l.Candidates = append(l.Candidates, Candidate{c.ID, c.Fit, c.Reason})
	}
	for _, p := range slices.Backward(v.state.Past) {
		l.Past = append(l.Past, PastLease{p.Epoch, p.Holder, p.First, slotAt(p.First), p.Last, p.Released})
	}
	return l
}

// round is the production round. The state knows where a producer stands in the schedule: whether anybody may sign for
// it stands in the lease.
func (v sight) round() Round {
	r := viewRound(v.state)
	for i := range r.Producers {
		if p := &r.Producers[i]; p.State == fsm.ProducingNow && !v.held() {
			p.State = fsm.NotProducing
		}
	}
	return r
}

// noCandidate is the reason that stands for every member's own; those are told once, with the members.
const noCandidate = "no fit candidate"

// reason says why the lease is where it is. The leader decides and so knows best; another member says what it can see.
func (v sight) reason() string {
	silence := v.silence()
	switch l := v.state.Lease; {
	case silence != "":
		return silence
	case v.leading && strings.HasPrefix(v.leaseReason, noCandidate):
		return noCandidate
	case v.leading && v.leaseReason != "":
		return v.leaseReason
	case v.held():
		return "the lease is held"
	case v.leader == "":
		return "no leader is known that could grant it"
	case slices.ContainsFunc(v.candidates, func(c control.Candidate) bool { return c.Fit }):
		return "the leader is about to grant it"
	case len(v.candidates) == 0:
		return "there are no members yet"
	case l.Epoch == 0 && v.state.Cluster.Name == "":
		return "the cluster has no configuration yet"
	}
	return noCandidate
}

// silent is how long a holder may go unheard before it is said: it reports every 500 ms (control's fresh is the same).
const silent = 1200 * time.Millisecond

// silence says that the holder of a lease that still runs is not heard, and what follows; "" while it is heard.
func (v sight) silence() string {
	l := v.state.Lease
	seen := v.peers[l.Holder].Seen
	if !v.held() || l.Holder == v.self || !seen.IsZero() && v.now.Sub(seen) <= silent {
		return ""
	}
	heard := "since this manager started"
	if !seen.IsZero() {
		heard = fmt.Sprintf("for %.0f s", v.now.Sub(seen).Seconds())
	}
	then := "then failover"
	switch {
	case v.state.Cluster.Maintenance:
		then = "and in maintenance there is no failover"
	case v.leader == "":
		then = "and without a leader there is no failover"
	}
	left := "with this slot"
	switch n := l.Last - v.slot(); n {
	case 0:
	case 1:
		left = "in 1 slot"
	default:
		left = fmt.Sprintf("in %d slots", n)
	}
	return fmt.Sprintf("holder %s not heard %s; its range ends %s, %s", l.Holder, heard, left, then)
}

// held reports that somebody may sign for the slot now.
func (v sight) held() bool {
	l := v.state.Lease
	return l.Open() && l.Last >= v.slot() && v.state.Members[l.Holder].Incarnation == l.Incarnation
}

func (v sight) bestHead() chain.Slot {
	var best chain.Slot
	for id := range v.state.Members {
		if p := v.peers[id]; p.Alive && p.Report.Node == "running" {
			best = max(best, p.Report.Head.Slot)
		}
	}
	return best
}

func (v sight) members() []Member {
	list := []Member{}
	for _, id := range v.state.MemberIDs() {
		list = append(list, v.member(id))
	}
	return list
}

func (v sight) member(id string) Member {
	m, p := v.state.Members[id], v.peers[id]
	r := p.Report
	view := Member{
		ID: id, Role: v.role(m), Leader: id == v.leader, Alive: p.Alive, SeenSeconds: -1, Node: cmp.Or(r.Node, "unknown"),
		Head: Block{r.Head.Num, r.Head.Slot, r.Head.ID}, LIB: r.LIB, Peers: r.Peers, Paused: r.Paused, ClockOffsetMs: r.OffsetMs,
		RTTMs: float64(p.RTT.Microseconds()) / 1000, Sealed: r.Sealed, Stalled: r.Stalled, Doubled: r.Doubled,
		Priority: m.Priority, NoFailover: m.NoFailover, Maintenance: m.Maintenance, Fence: m.Fence, Version: m.Version, NodeVersion: m.Node,
		EntryVersion: m.EntryVersion, API: m.API, Raft: m.Raft, P2P: m.P2P, Joined: stamp(m.Joined), Started: stamp(m.Started),
	}
	if !p.Seen.IsZero() {
		view.SeenSeconds = max(0, float64(v.now.Sub(p.Seen).Milliseconds())/1000)
	}
	if best := v.bestHead(); !m.Witness && best > r.Head.Slot {
		view.Lag = uint64(best - r.Head.Slot)
	}
	for _, c := range v.candidates {
		if c.ID == id {
			view.Fit, view.Reason = c.Fit, c.Reason
		}
	}
	view.Suffrage, view.Nonvoter = v.suffrage(id), m.Nonvoter
	if h, ok := v.state.Homes[id]; ok {
		view.Home = &Home{h.Tag, h.Runs.Tag, h.Config, h.Runs.Config, h.Runs.Offers, h.Runs.Auto, h.Refused}
	}
	return view
}

// suffrage is a member's standing in the raft group.
func (v sight) suffrage(id string) string {
	if len(v.servers) == 0 {
		return "unknown"
	}
	i := slices.IndexFunc(v.servers, func(p cluster.RaftPeer) bool { return p.ID == id })
	if i < 0 {
		return "none"
	}
	return v.servers[i].Suffrage
}

func (v sight) role(m fsm.Member) string {
	switch l := v.state.Lease; {
	case m.Witness:
		return RoleWitness
	case l.Open() && l.Holder == m.ID && l.Incarnation == m.Incarnation:
		return RoleHolder
	}
	return RoleStandby
}

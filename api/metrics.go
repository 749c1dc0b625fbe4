package api

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"roundtable/chain"
	"roundtable/fsm"
)

// Local is this manager's own node and gate, as they stand.
type Local struct {
	Node *LocalNode // nil: a witness
	Gate *LocalGate // nil: a witness, or a node that is fenced by pausing it
}

// LocalNode is the node's part.
type LocalNode struct {
	State  string // "running", ...
	Head   chain.Block
	LIB    uint32
	Peers  int
	Paused bool
	Starts uint64 // of nodeos since this manager started
}

// LocalGate is the gate's part. The counts are since this manager started.
type LocalGate struct {
	Open        bool
	Sealed      string // why it is closed until the manager is started again; "": it is not
	Signatures  uint64
	Refused     map[string]uint64 // by reason
	SignSeconds Histogram
}

// Histogram counts latencies: Counts[i] were at most Bounds[i] and more than Bounds[i-1]; Counts may have one more entry
// for the rest.
type Histogram struct {
	Bounds []time.Duration
	Counts []uint64
	Count  uint64
	Sum    time.Duration
}

// metric makes a description with the common prefix.
func metric(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("roundtable_"+name, help, labels, nil)
}

var (
	descBuild       = metric("build_info", "The program's version; always 1.", "version")
	descEpoch       = metric("lease_epoch", "Epoch of the slot lease.")
	descHolder      = metric("lease_holder", "1 for the member that holds an open lease.", "id")
	descSlotsLeft   = metric("lease_slots_left", "Slots of the lease after the slot now; negative when it is used up.")
	descGateOpen    = metric("gate_open", "1 while the gate may sign.")
	descGateSealed  = metric("gate_sealed", "1 when the gate is closed until this manager is started again.")
	descSignatures  = metric("gate_signatures_total", "Signatures given.")
	descRefused     = metric("gate_refused_total", "Signing requests refused.", "reason")
	descSignSeconds = metric("gate_sign_seconds", "Time from a signing request to its signature.")
	descChanges     = metric("lease_changes_total", "Changes of the lease since this manager started: grant, transfer, release; failover counts those of the grants that followed a holder that had not released.", "kind")
	descAlarms      = metric("alarms_total", "Alarms written into the history since this manager started.")
	descDue         = metric("slots_due_total", "Slots of ours in finished windows since this manager started.")
	descSigned      = metric("slots_signed_total", "Slots of ours with a block on the chain since this manager started.")
	descMissed      = metric("slots_missed_total", "Slots of ours without a block on the chain since this manager started.")
	descDoubled     = metric("slots_doubled_total", "Blocks of ours that this member saw and this cluster did not sign, or signed differently.")
	descLeader      = metric("raft_leader", "1 while this member leads.")
	descKnowsLeader = metric("raft_leader_known", "1 while a leader is known here.")
	descTerm        = metric("raft_term", "Raft's term.")
	descCommit      = metric("raft_commit_index", "Index of the last committed entry known here.")
	descApplied     = metric("raft_applied_index", "Index of the last entry applied here.")
	descContact     = metric("raft_last_contact_seconds", "Time since the leader was heard; 0 on the leader.")
	descStall       = metric("raft_disk_stall", "1 while this member's disk does not answer.")
	descElections   = metric("raft_elections_total", "Leaderships of this member since it started.")
	descCanary      = metric("raft_canary_errors_total", "Test writes that this member's disk failed.")
	descProposals   = metric("raft_proposals_total", "Commands proposed by this member.")
	descRefusedCmd  = metric("raft_refused_total", "Commands of this member that the state refused.")
	descForwarded   = metric("raft_forwarded_total", "Commands of this member that were sent to a leader.")
	descApply       = metric("raft_apply_seconds", "Time from appending an entry here to its being applied.")
	descOperations  = metric("operations_total", "Operations that ended since this manager started.", "kind", "outcome")
	descOpSeconds   = metric("operation_seconds", "How long ended operations took.", "kind")
	descRunning     = metric("operations_running", "Operations under way.", "kind")
	descUp          = metric("member_up", "1 for a member that gossip holds for alive.", "id")
	descFit         = metric("member_fit", "1 for a member that could be given the lease.", "id")
	descOffset      = metric("clock_offset_seconds", "Clock of a member against the median, by its own report.", "id")
	descNodeUp      = metric("node_up", "1 while the node runs.")
	descNodeHead    = metric("node_head", "Number of the node's head block.")
	descNodeLIB     = metric("node_lib", "Number of the node's last irreversible block.")
	descNodeLag     = metric("node_lag", "Slots that the node's head is behind the best head of a live member.")
	descNodePeers   = metric("node_peers", "Connected p2p peers of the node.")
	descNodePaused  = metric("node_paused", "1 while the node's production is paused.")
	descNodeStarts  = metric("node_starts_total", "Starts of the node since this manager started.")
)

// collector makes the metrics of what the program knows at the moment of a scrape, so that nothing is counted twice in
// two places. What the state only remembers for a while (windows, operations) it adds up.
type collector struct {
	server *Server

	mu                  sync.Mutex
	counted             chain.Slot // first slot of the newest window that was counted
	due, signed, missed uint64
	past                uint64 // index of the newest line of the history that was counted
	changes             map[string]uint64
	alarms              uint64
	ended               map[uint64]bool // operations counted, as far as the state remembers them
	outcomes            map[[2]string]uint64
	took                map[string][2]float64 // by kind: count, seconds
}

// register makes the registry's first collectors.
func (s *Server) register() error {
	c := &collector{server: s, counted: chain.SlotAt(s.started.UnixMilli()), ended: map[uint64]bool{}, outcomes: map[[2]string]uint64{}, took: map[string][2]float64{}, changes: map[string]uint64{"grant": 0, "transfer": 0, "release": 0, "failover": 0}}
	for _, r := range []prometheus.Collector{c, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})} {
		if err := s.registry.Register(r); err != nil {
			return fmt.Errorf("api: metrics: %w", err)
		}
	}
	return nil
}

func (s *Server) metricsHandler() http.Handler {
	return promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 10 * time.Second})
}

// Describe says nothing beforehand: which metrics there are depends on the member.
func (c *collector) Describe(chan<- *prometheus.Desc) {}

// Collect is called for each scrape, from any goroutine.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	v := c.server.look()
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	counter := func(d *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, value, labels...)
	}
	gauge(descBuild, 1, c.server.cfg.Version)
	lease := v.lease()
	gauge(descEpoch, float64(lease.Epoch))
	gauge(descSlotsLeft, float64(lease.SlotsLeft))
	for _, m := range v.members() {
		gauge(descHolder, flag(m.Role == RoleHolder), m.ID)
		gauge(descUp, flag(m.Alive), m.ID)
		gauge(descFit, flag(m.Fit), m.ID)
		gauge(descOffset, float64(m.ClockOffsetMs)/1000, m.ID)
	}
	counter(descDoubled, float64(v.doubled))
	c.raft(v, out, gauge, counter)
	c.local(v, out, gauge, counter)
	c.added(v.state, out, gauge, counter)
}

type emit func(d *prometheus.Desc, value float64, labels ...string)

func (c *collector) raft(v sight, out chan<- prometheus.Metric, gauge, counter emit) {
	r := c.server.cfg.Cluster.Metrics()
	gauge(descLeader, flag(v.leading))
	gauge(descKnowsLeader, flag(v.leader != ""))
	gauge(descTerm, float64(r.Term))
	gauge(descCommit, float64(r.CommitIndex))
	gauge(descApplied, float64(r.AppliedIndex))
	gauge(descContact, r.LastContact.Seconds())
	gauge(descStall, flag(r.Stalled))
	counter(descCanary, float64(r.CanaryErrors))
	counter(descElections, float64(r.Elections))
	counter(descProposals, float64(r.Proposals))
	counter(descForwarded, float64(r.ForwardedOut))
	refused := uint64(0)
	for _, n := range r.Refused {
		refused += n
	}
	counter(descRefusedCmd, float64(refused))
	out <- prometheus.MustNewConstSummary(descApply, r.Apply.Count, r.Apply.Sum.Seconds(), nil)
}

func (c *collector) local(v sight, out chan<- prometheus.Metric, gauge, counter emit) {
	local := c.server.cfg.Local()
	if n := local.Node; n != nil {
		lag := chain.Slot(0)
		if best := v.bestHead(); best > n.Head.Slot {
			lag = best - n.Head.Slot
		}
		gauge(descNodeUp, flag(n.State == "running"))
		gauge(descNodeHead, float64(n.Head.Num))
		gauge(descNodeLIB, float64(n.LIB))
		gauge(descNodeLag, float64(lag))
		gauge(descNodePeers, float64(n.Peers))
		gauge(descNodePaused, flag(n.Paused))
		counter(descNodeStarts, float64(n.Starts))
	}
	if g := local.Gate; g != nil {
		gauge(descGateOpen, flag(g.Open))
		gauge(descGateSealed, flag(g.Sealed != "" || v.peers[v.self].Report.Sealed != ""))
		counter(descSignatures, float64(g.Signatures))
		for reason, n := range g.Refused {
			counter(descRefused, float64(n), reason)
		}
		buckets, sum := map[float64]uint64{}, uint64(0)
		for i, bound := range g.SignSeconds.Bounds {
			if i < len(g.SignSeconds.Counts) {
				sum += g.SignSeconds.Counts[i]
			}
			buckets[bound.Seconds()] = sum
		}
		out <- prometheus.MustNewConstHistogram(descSignSeconds, g.SignSeconds.Count, g.SignSeconds.Sum.Seconds(), buckets)
	}
}

// added adds up what ended since the last scrape. The newest window is left for the next time: it may be counted again
// by its holder. Windows and operations from before this manager's start are not counted: a restart would count them twice.
func (c *collector) added(s *fsm.State, out chan<- prometheus.Metric, gauge, counter emit) {
	c.mu.Lock()
	defer c.mu.Unlock()
	windows := s.Round.Windows
	for _, w := range windows[:max(len(windows)-1, 0)] {
		if w.First > c.counted {
			c.counted = w.First
			c.due, c.signed, c.missed = c.due+uint64(w.Due), c.signed+uint64(w.Signed), c.missed+uint64(w.Missed)
		}
	}
	counter(descDue, float64(c.due))
	counter(descSigned, float64(c.signed))
	counter(descMissed, float64(c.missed))

	c.history(s)
	for kind, n := range c.changes {
		counter(descChanges, float64(n), kind)
	}
	counter(descAlarms, float64(c.alarms))

	running, seen := map[string]int{fsm.KindHandoff: 0}, map[uint64]bool{}
	for _, o := range s.Operations {
		switch {
		case o.Outcome == fsm.Running:
			running[o.Kind]++
		case o.Ended >= c.server.started.UnixMilli():
			seen[o.ID] = true
			if !c.ended[o.ID] {
				c.outcomes[[2]string{o.Kind, string(o.Outcome)}]++
				t := c.took[o.Kind]
				c.took[o.Kind] = [2]float64{t[0] + 1, t[1] + seconds(o.Started, o.Ended)}
			}
		}
	}
	c.ended = seen
	for kind, n := range running {
		gauge(descRunning, float64(n), kind)
	}
	for k, n := range c.outcomes {
		counter(descOperations, float64(n), k[0], k[1])
	}
	for kind, t := range c.took {
		out <- prometheus.MustNewConstSummary(descOpSeconds, uint64(t[0]), t[1], nil, kind)
	}
}

// leaseChanges are the lines of the history that change the lease.
var leaseChanges = map[string]string{"lease.granted": "grant", "lease.transferred": "transfer", "lease.released": "release"}

// history counts its new lines.
func (c *collector) history(s *fsm.State) {
	var before fsm.Event // the change of the lease before this one
	for _, e := range s.History {
		kind := leaseChanges[e.Kind]
		fresh := e.Index > c.past && e.At >= c.server.started.UnixMilli()
		switch {
		case fresh && kind != "":
			c.changes[kind]++
			if kind == "grant" && before.Kind != "" && before.Kind != "lease.released" && before.Subject != e.Subject {
				c.changes["failover"]++
			}
		case fresh && strings.HasPrefix(e.Kind, "alarm."):
			c.alarms++
		}
		if kind != "" {
			before = e
		}
	}
	c.past = s.Index
}

func flag(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

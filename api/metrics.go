package api

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"roundtable/chain"
)

// collector makes the metrics of what the program knows at the moment of a scrape, so that nothing is counted twice in
// two places. It looks at what is published already: a scrape waits for no disk, no node and no other member, and where
// signing or extending the lease needs a lock, it takes none.
type collector struct {
	server *Server
	past   *past
}

// register makes the registry's first collectors.
func (s *Server) register() error {
	c := &collector{server: s, past: newPast(s.started)}
	s.requests = newRequests()
	for _, r := range []prometheus.Collector{
		c, s.requests.total, s.requests.seconds, s.requests.streams, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	} {
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
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	s, out := c.server, sample(ch)
	v := s.glance()
	out.put(famBuild, 1, s.cfg.Version)
	out.put(famMember, 1, v.self, v.state.Cluster.Name)
	c.lease(v, out)
	c.raft(v, out)
	c.members(v, out)
	local := s.cfg.Local()
	if n := local.Node; n != nil {
		n.collect(v, out)
	}
	if g := local.Gate; g != nil {
		g.collect(v, out)
	}
	if !v.certificate.IsZero() {
		out.put(famCertificate, v.certificate.Sub(v.now).Seconds(), "member")
	}
	why, _ := s.health("ready")
	out.mark(famReady, why == "")
	for reason, n := range s.Refused() {
		out.count(famAPIRefused, n, reason)
	}
	for reason, n := range s.cfg.Handshakes() {
		out.count(famHandshakes, n, reason)
	}
	c.backups(v, out)
	c.past.collect(v, out)
}

func (c *collector) lease(v sight, out sample) {
	l := v.lease()
	out.put(famEpoch, float64(l.Epoch))
	out.put(famSlotsLeft, float64(l.SlotsLeft))
	out.mark(famHeld, v.held())
	e := c.server.cfg.Control.Extensions()
	out.count(famExtensions, e.Seconds.Count)
	out.count(famUnextended, e.Failed)
	out.spread(famExtend, e.Seconds)
	out.count(famDoubled, v.doubled)
}

// leaseRules is how the rules of the lease begin.
const leaseRules = "lease."

func (c *collector) raft(v sight, out sample) {
	r := c.server.cfg.Cluster.Metrics()
	out.mark(famLeader, v.leading)
	out.mark(famKnowsLeader, v.leader != "")
	out.put(famTerm, float64(r.Term))
	out.put(famCommit, float64(r.CommitIndex))
	out.put(famApplied, float64(r.AppliedIndex))
	out.put(famContact, r.LastContact.Seconds())
	out.mark(famStall, r.Stalled)
	alive := slices.DeleteFunc(slices.Clone(r.Voters), func(id string) bool { return id != v.self && !v.peers[id].Alive })
	out.put(famVoters, float64(len(r.Voters)))
	out.put(famVotersAlive, float64(len(alive)))
	out.count(famCanary, r.CanaryErrors)
	out.count(famElections, r.Elections)
	out.count(famProposals, r.Proposals)
	out.count(famForwarded, r.ForwardedOut)
	refused := uint64(0)
	for rule, n := range r.Refused {
		refused += n
		if strings.HasPrefix(rule, leaseRules) {
			out.count(famLeaseRefuse, n, rule)
		}
	}
	out.count(famRaftRefused, refused)
	out.spread(famApply, r.Apply)
}

func (c *collector) members(v sight, out sample) {
	out.mark(famMaintenance, v.state.Cluster.Maintenance)
	for _, m := range v.members() {
		out.mark(famHolder, m.Role == RoleHolder, m.ID)
		out.mark(famUp, m.Alive, m.ID)
		out.mark(famMaintained, m.Maintenance, m.ID)
		if m.Role != RoleWitness {
			out.mark(famFit, m.Fit, m.ID)
			out.mark(famConfigWaits, m.Home != nil && m.Home.Offers != "", m.ID)
		}
		if m.NodeVersion != "" {
			out.put(famNodeInfo, 1, m.ID, m.NodeVersion)
		}
		out.put(famOffset, float64(m.ClockOffsetMs)/1000, m.ID)
	}
}

// drift is how many seconds a block's time is behind the clock.
func drift(now time.Time, head chain.Block) float64 {
	if head.Slot == 0 {
		return 0
	}
	return now.Sub(time.UnixMilli(head.Slot.UnixMilli())).Seconds()
}

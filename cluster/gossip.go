package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"roundtable/cluster/health"
	"roundtable/logkey"
)

const (
	freshFor    = 2500 * time.Millisecond // a report counts as fresh for so long
	beatEvery   = time.Second             // sent at least so often, with or without a report
	beatPause   = 250 * time.Millisecond  // and at most so often
	rejoinEvery = 2 * time.Second         // looking for members that are known and not heard
	rejoinMost  = 5 * time.Second
	leaveWait   = time.Second

	probeTimeout = 500 * time.Millisecond
)

// Node is a manager as gossip knows it, member of the raft group or not.
type Node struct {
	ID          string `json:"id"`
	Raft        string `json:"raft"`
	API         string `json:"api"`
	Incarnation string `json:"incarnation"`
	Gossip      string `json:"gossip"`
	Group       string `json:"group"` // raft group, "" while it was not added to any
	Alive       bool   `json:"alive"` // as gossip's failure detector has it
	Left        bool   `json:"left"`  // said goodbye
	Seen        time.Time
	Applied     uint64 `json:"applied"` // raft index it had applied when it was last heard
	Stalled     bool   `json:"stalled"` // its disk does not answer
	Filling     bool   `json:"filling"` // it votes for nobody yet (filling.go)
	Founds      bool   `json:"founds"`  // it may found the group, and looks for the others first
}

// meta is what memberlist spreads about a manager; at most 512 bytes.
type meta struct {
	Raft        string `json:"r"`
	API         string `json:"a,omitempty"`
	Incarnation string `json:"i,omitempty"`
	Group       string `json:"g,omitempty"`
	Founds      bool   `json:"f,omitempty"`
}

// beat is what a manager sends to every other one about once a second, in one packet.
type beat struct {
	ID      string         `json:"id"`
	Group   string         `json:"g"`
	Applied uint64         `json:"x"`
	Stalled bool           `json:"d,omitempty"`
	Filling bool           `json:"l,omitempty"`
	Report  *health.Report `json:"r,omitempty"`
}

// gossip finds the other managers and carries reports. Nothing here is agreed upon: it is hearsay.
type gossip struct {
	id      string
	cfg     Config
	log     *slog.Logger
	list    *memberlist.Memberlist
	local   func() meta
	beat    func() beat // without a report
	banned  func(id string) bool
	changed chan struct{} // capacity 1: something about the nodes changed
	member  func(id string) bool
	claims  chan claim    // capacity 1: a manager that says it is in another group than ours
	publish chan struct{} // capacity 1: a new report is there

	mu     sync.Mutex
	nodes  map[string]*Node
	live   map[string]memberlist.Node // the living, ours too: copies, for memberlist goes on writing to its own
	moved  chan struct{}              // told that a member came, went or moved: its address is to be kept
	peers  map[string]health.Peer     // Alive is worked out when asked
	report *health.Report             // our own, not sent yet
	// looked is what view said last, and until when it is true; nil: something changed. It is never written to.
	looked map[string]health.Peer
	until  time.Time
	// recalled are the addresses known before the last restart.
	recalled map[string]string
}

func openGossip(cfg Config, local func() meta, fill func() beat, member, banned func(id string) bool) (*gossip, error) {
	g := &gossip{
		id: cfg.ID, cfg: cfg, log: cfg.Log.With(logkey.Part, "gossip"), local: local, beat: fill, member: member, banned: banned,
		changed: make(chan struct{}, 1), publish: make(chan struct{}, 1), claims: make(chan claim, 1),
		nodes: map[string]*Node{}, live: map[string]memberlist.Node{}, moved: make(chan struct{}, 1), peers: map[string]health.Peer{},
	}
	g.recalled = g.recall()
	mc := memberlist.DefaultLANConfig()
	mc.Name = cfg.ID
	mc.Label = cfg.Name
	mc.Logger = gossipLogger(g.log)
	mc.Delegate, mc.Events, mc.Ping, mc.Alive = delegate{g}, events{g}, pings{g}, doorman{g}
	mc.EnableCompression = false // small packets
	mc.GossipInterval = tick     // only for who comes and goes; a report's age tells of the dead much sooner
	mc.ProbeInterval = 2 * time.Second
	mc.ProbeTimeout = probeTimeout
	mc.TCPTimeout = 2 * time.Second
	// A manager that was killed and is back before anybody missed it is introduced again by this exchange at the latest.
	mc.PushPullInterval = 5 * time.Second
	mc.DeadNodeReclaimTime = time.Second // a restarted manager may come from another address
	mc.DNSConfigPath = ""
	mc.AdvertisePort = 0
	if len(cfg.GossipKeys) > 0 {
		ring, err := memberlist.NewKeyring(cfg.GossipKeys, cfg.GossipKeys[0])
		if err != nil {
			return nil, &ConfigError{err.Error(), "a gossip key must have 32 bytes"}
		}
		mc.Keyring = ring
	}
	if cfg.GossipAdvertise != "" {
		ip, port, err := resolve(cfg.GossipAdvertise)
		if err != nil {
			return nil, &ConfigError{err.Error(), "set the address under which the other managers reach this one's gossip"}
		}
		mc.AdvertiseAddr, mc.AdvertisePort = ip, port
	}
	t, err := cfg.Network.Gossip(cfg.GossipBind, mc.Logger)
	if err != nil {
		return nil, &ConfigError{fmt.Sprintf("cannot listen for gossip at %s: %v", cfg.GossipBind, err), "is another manager running, or the port taken? choose another one under [manager] gossip"}
	}
	mc.Transport = t
	if g.list, err = memberlist.Create(mc); err != nil {
		return nil, errors.Join(fmt.Errorf("cluster: gossip: %w", err), t.Shutdown())
	}
	return g, nil
}

// address is where the other managers find this one's gossip.
func (g *gossip) address() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	own := g.live[g.id]
	return nodeAddress(&own)
}

func nodeAddress(n *memberlist.Node) string {
	return net.JoinHostPort(n.Addr.String(), strconv.Itoa(int(n.Port)))
}

// lastingAddress is where a manager can be found later: by the name that it goes by in the raft group, where that is a name, for
// the address behind it may be another one then.
func lastingAddress(n *memberlist.Node, raft string) string {
	host, _, err := net.SplitHostPort(raft)
	if err != nil || host == "" || net.ParseIP(host) != nil {
		return nodeAddress(n)
	}
	return net.JoinHostPort(host, strconv.Itoa(int(n.Port)))
}

// leave says goodbye, bounded.
func (g *gossip) leave() {
	if err := g.list.Leave(leaveWait); err != nil {
		g.log.Debug("goodbye not heard", "err", err)
	}
}

func (g *gossip) shutdown() {
	if err := g.list.Shutdown(); err != nil {
		g.log.Warn("gossip did not stop cleanly", "err", err)
	}
}

// refresh spreads our meta anew.
func (g *gossip) refresh() {
	if err := g.list.UpdateNode(leaveWait); err != nil {
		g.log.Debug("meta not spread", "err", err)
	}
}

// beats sends a packet to every live manager at each new report, but not more often than every beatPause, and at least
// about every beatEvery.
func (g *gossip) beats(ctx context.Context) {
	ticker := time.NewTicker(beatEvery)
	defer ticker.Stop()
	for {
		g.sendBeat()
		sent := time.Now()
		ticker.Reset(beatEvery)
		select {
		case <-ctx.Done():
			return
		case <-g.publish:
		case <-ticker.C:
		}
		if rest := beatPause - time.Since(sent); rest > 0 && !sleep(ctx, rest) {
			return
		}
	}
}

func (g *gossip) sendBeat() {
	b := g.beat()
	now := g.cfg.Now()
	g.mu.Lock()
	if g.report != nil {
		r := *g.report
		r.At = now.UnixMilli() // peers read our clock from it
		b.Report, g.report = &r, nil
	}
	g.mu.Unlock()
	msg, err := json.Marshal(b)
	if err != nil {
		g.log.Error("beat not encoded", "err", err)
		return
	}
	g.mu.Lock()
	to := slices.Collect(maps.Values(g.live))
	g.mu.Unlock()
	for _, n := range to {
		if n.Name != g.id && !g.banned(n.Name) {
			_ = g.list.SendBestEffort(&n, msg) // the next one is a second away
		}
	}
}

func (g *gossip) setReport(r health.Report) {
	now := g.cfg.Now()
	r.Member, r.Incarnation, r.At = g.id, g.cfg.Incarnation, now.UnixMilli()
	g.mu.Lock()
	g.report = &r
	g.peers[g.id] = health.Peer{Report: r, Seen: now}
	g.looked = nil
	g.mu.Unlock()
	poke(g.publish)
}

func poke(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// snapshot returns the nodes known, ours and banned ones not included.
func (g *gossip) snapshot() map[string]Node {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := make(map[string]Node, len(g.nodes))
	for id, n := range g.nodes {
		if !g.banned(id) {
			out[id] = *n
		}
	}
	return out
}

// node is one of snapshot's.
func (g *gossip) node(id string) (Node, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := g.nodes[id]
	if n == nil || g.banned(id) {
		return Node{}, false
	}
	return *n, true
}

// view returns every member that gossip holds for alive or that ever sent a report, our own included. Whoever has the key of
// gossip and is no member does not count, whatever it reports. The map is shared.
func (g *gossip) view() map[string]health.Peer {
	now := g.cfg.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.looked != nil && now.Before(g.until) {
		return g.looked
	}
	g.until = now.Add(freshFor)
	out := make(map[string]health.Peer, len(g.nodes)+1)
	for id, p := range g.peers {
		if id != g.id && (g.banned(id) || !g.member(id)) {
			continue
		}
		n := g.nodes[id]
		p.Alive = (id == g.id || n != nil && n.Alive) && !p.Seen.IsZero() && now.Sub(p.Seen) < freshFor
		if stale := p.Seen.Add(freshFor); p.Alive && stale.Before(g.until) {
			g.until = stale
		}
		out[id] = p
	}
	for id, n := range g.nodes {
		if _, ok := g.peers[id]; !ok && n.Alive && !g.banned(id) && g.member(id) { // silent so far
			out[id] = health.Peer{Report: health.Report{Member: id}}
		}
	}
	g.looked = out
	return out
}

// heard takes in a beat.
func (g *gossip) heard(msg []byte) {
	var b beat
	if err := json.Unmarshal(msg, &b); err != nil || b.ID == "" || b.ID == g.id || g.banned(b.ID) {
		return
	}
	now := g.cfg.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	n := g.nodes[b.ID]
	if n == nil {
		return // gossip will introduce it
	}
	n.Seen, n.Group, n.Applied, n.Stalled, n.Filling = now, b.Group, b.Applied, b.Stalled, b.Filling
	g.other(claim{b.ID, b.Group, n.Raft})
	if b.Report != nil {
		p := g.peers[b.ID]
		p.Report, p.Seen = *b.Report, now
		p.Report.Member = b.ID
		g.peers[b.ID] = p
		g.looked = nil
	}
}

// other tells of a group that is not ours; it never blocks.
func (g *gossip) other(c claim) {
	if c.group != "" && c.group != g.local().Group {
		select {
		case g.claims <- c:
		default: // it is said again in a second
		}
	}
}

// saw takes in what memberlist says about a manager; memberlist holds its lock on the node meanwhile.
func (g *gossip) saw(m *memberlist.Node, alive bool) {
	g.mu.Lock()
	if alive {
		g.live[m.Name] = *m
	} else if m.Name != g.id {
		delete(g.live, m.Name)
	}
	g.mu.Unlock()
	if m.Name == g.id {
		return
	}
	var mt meta
	if err := json.Unmarshal(m.Meta, &mt); err != nil {
		g.log.Warn("a manager with unreadable meta", logkey.Peer, m.Name, logkey.Err, err)
	}
	g.mu.Lock()
	n := g.nodes[m.Name]
	if n == nil {
		n = &Node{ID: m.Name}
		g.nodes[m.Name] = n
	}
	turned, at := n.Alive != alive, lastingAddress(m, mt.Raft)
	g.looked = nil
	if turned || n.Gossip != at {
		select {
		case g.moved <- struct{}{}:
		default: // it is told already
		}
	}
	n.Gossip, n.Alive, n.Left = at, alive, !alive && m.State == memberlist.StateLeft
	if alive {
		if mt.Group != "" || mt.Incarnation != n.Incarnation {
			n.Group = mt.Group // a beat may have told it already
		}
		n.Raft, n.API, n.Incarnation, n.Founds = mt.Raft, mt.API, mt.Incarnation, mt.Founds
		g.other(claim{m.Name, mt.Group, mt.Raft})
	}
	left := n.Left
	g.mu.Unlock()
	if turned {
		g.log.Info("gossip: manager", logkey.Peer, m.Name, "alive", alive, "left", left)
	}
	poke(g.changed)
}

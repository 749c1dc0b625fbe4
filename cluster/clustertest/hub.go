// Package clustertest is a network in memory for tests of several managers in one process, with latency, lost packets and
// one-way cuts. It works inside testing/synctest: it keeps no time but through timers, and blocks only on channels.
//
// Read hub.go (who reaches whom), then conn.go (streams) and gossip.go (packets).
package clustertest

import (
	"context"
	"fmt"
	"log"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"roundtable/cluster"
)

// Hub is the network. Members are named by their ids; each has one IP address, 10.0.0.n. All methods may be called from
// any goroutine.
type Hub struct {
	mu        sync.Mutex
	rand      *rand.Rand
	latency   time.Duration
	loss      float64
	cut       map[[2]string]bool
	paths     map[[2]string]Path
	frozen    map[string]bool
	unplugged map[string]bool
	changed   chan struct{} // closed when a cut changes
	ips       map[string]string
	names     map[string]string // by IP; an address that was given up is nobody's
	given     int               // IPs so far
	listeners map[string]*listener
	packets   map[string]*transport
}

// New makes a network in which everybody reaches everybody after the latency, one way. The seed drives the losses.
func New(seed uint64, latency time.Duration) *Hub {
	return &Hub{
		rand: rand.New(rand.NewPCG(seed, 1)), latency: latency, changed: make(chan struct{}),
		cut: map[[2]string]bool{}, paths: map[[2]string]Path{}, frozen: map[string]bool{}, unplugged: map[string]bool{},
		ips: map[string]string{}, names: map[string]string{}, listeners: map[string]*listener{}, packets: map[string]*transport{},
	}
}

// Config is a member's configuration on this network, with memory stores: found at RaftAddr and GossipAddr.
func (h *Hub) Config(id string) cluster.Config {
	return cluster.Config{
		ID: id, RaftBind: h.RaftAddr(id), GossipBind: h.GossipAddr(id), Network: h.Network(id), Stores: cluster.MemoryStores(),
		Incarnation: fmt.Sprintf("%032x", h.drawn()),
	}
}

func (h *Hub) drawn() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.rand.Uint64()
}

// RaftAddr is a member's raft address.
func (h *Hub) RaftAddr(id string) string { return h.ip(id) + ":7000" }

// GossipAddr is a member's gossip address.
func (h *Hub) GossipAddr(id string) string { return h.ip(id) + ":7946" }

// Network is the network as one member sees it.
func (h *Hub) Network(id string) cluster.Network { return &network{h, id, h.ip(id)} }

func (h *Hub) ip(id string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	ip, ok := h.ips[id]
	if !ok {
		ip = h.give(id)
	}
	return ip
}

// give gives a member a new IP: h.mu is held.
func (h *Hub) give(id string) string {
	h.given++
	ip := fmt.Sprintf("10.0.0.%d", h.given)
	h.ips[id], h.names[ip] = ip, id
	return ip
}

// Move gives a member another IP address: what Config says from now on. It must be closed meanwhile.
func (h *Hub) Move(id string) {
	h.set(func() {
		delete(h.names, h.ips[id])
		h.give(id)
	})
}

// Cut stops everything that goes from one member to another, one way. What is on its way in a stream waits for the heal,
// as TCP would have it; packets are lost.
func (h *Hub) Cut(from, to string) { h.set(func() { h.cut[[2]string{from, to}] = true }) }

// Mend ends one cut, one way.
func (h *Hub) Mend(from, to string) { h.set(func() { delete(h.cut, [2]string{from, to}) }) }

// Isolate cuts a member off from all that are known, both ways.
func (h *Hub) Isolate(id string) {
	h.set(func() {
		for other := range h.ips {
			if other != id {
				h.cut[[2]string{id, other}], h.cut[[2]string{other, id}] = true, true
			}
		}
	})
}

// Heal ends all cuts.
func (h *Hub) Heal() { h.set(func() { clear(h.cut) }) }

// SetLoss makes packets get lost with a probability; streams lose nothing.
func (h *Hub) SetLoss(p float64) { h.set(func() { h.loss = p }) }

// SetLatency changes how long anything takes one way.
func (h *Hub) SetLatency(d time.Duration) { h.set(func() { h.latency = d }) }

func (h *Hub) set(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f()
	close(h.changed)
	h.changed = make(chan struct{})
}

// Path is how one direction differs from the rest of the network.
type Path struct {
	Latency time.Duration // one way, instead of the hub's
	Loss    float64       // of packets; a piece of a stream that is lost comes a retransmission later
}

// SetPath changes one direction.
func (h *Hub) SetPath(from, to string, p Path) { h.set(func() { h.paths[[2]string{from, to}] = p }) }

// ClearPath makes one direction as the others are.
func (h *Hub) ClearPath(from, to string) { h.set(func() { delete(h.paths, [2]string{from, to}) }) }

// Freeze stops a member's process at whatever it does next with the network, and Thaw lets it go on: what came meanwhile
// lies in its sockets, and nobody is told, as with SIGSTOP.
func (h *Hub) Freeze(id string) { h.set(func() { h.frozen[id] = true }) }

// Thaw ends a Freeze.
func (h *Hub) Thaw(id string) { h.set(func() { delete(h.frozen, id) }) }

// Unplug cuts a member off from everybody, known or not, until Plug: for a process that is gone and does not know it yet.
func (h *Hub) Unplug(id string) { h.set(func() { h.unplugged[id] = true }) }

// Plug ends an Unplug.
func (h *Hub) Plug(id string) { h.set(func() { delete(h.unplugged, id) }) }

// retransmission is what a lost piece of a stream costs: TCP's least timeout.
const retransmission = 200 * time.Millisecond

// path says whether a way is cut, and when to ask again.
func (h *Hub) path(from, to string) (cut bool, changed <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.isCut(from, to), h.changed
}

// isCut: h.mu is held.
func (h *Hub) isCut(from, to string) bool {
	return h.cut[[2]string{from, to}] || len(h.unplugged) > 0 && (h.unplugged[from] || h.unplugged[to])
}

// latencyOf draws how long a piece of a stream takes.
func (h *Hub) latencyOf(from, to string) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	p, ok := h.paths[[2]string{from, to}]
	if !ok {
		return h.latency
	}
	d := p.Latency
	for tries := 0; tries < 6 && p.Loss > 0 && h.rand.Float64() < p.Loss; tries++ {
		d += retransmission << tries
	}
	return d
}

func (h *Hub) isFrozen(id string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.frozen[id]
}

// thawed returns when a member is not frozen.
func (h *Hub) thawed(id string) {
	for {
		h.mu.Lock()
		frozen, changed := h.frozen[id], h.changed
		h.mu.Unlock()
		if !frozen {
			return
		}
		<-changed
	}
}

type network struct {
	hub *Hub
	id  string
	ip  string
}

// Listen implements cluster.Network.
func (n *network) Listen(addr string) (net.Listener, error) {
	h := n.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.listeners[addr] != nil {
		return nil, fmt.Errorf("listen %s: address already in use", addr)
	}
	l := &listener{hub: h, addr: address(addr), id: n.id, conns: make(chan net.Conn), done: make(chan struct{})}
	h.listeners[addr] = l
	return l, nil
}

// Dial implements cluster.Network.
func (n *network) Dial(ctx context.Context, addr string) (net.Conn, error) { return n.dial(ctx, addr) }

// Gossip implements cluster.Network.
func (n *network) Gossip(bind string, _ *log.Logger) (memberlist.Transport, error) {
	t := &transport{network: n, addr: bind, packets: make(chan *memberlist.Packet), streams: make(chan net.Conn), done: make(chan struct{})}
	l, err := n.Listen(bind)
	if err != nil {
		return nil, err
	}
	t.listener = l.(*listener)
	n.hub.mu.Lock()
	n.hub.packets[bind] = t
	n.hub.mu.Unlock()
	t.wg.Go(t.accept)
	return t, nil
}

func (n *network) dial(ctx context.Context, addr string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	n.hub.mu.Lock()
	to := n.hub.names[host]
	n.hub.mu.Unlock()
	n.hub.thawed(n.id)
	// A handshake: there and back. A frozen process' kernel answers it.
	for _, way := range [][2]string{{n.id, to}, {to, n.id}} {
		if err := n.hub.travel(ctx, way[0], way[1]); err != nil {
			return nil, fmt.Errorf("dial %s: %w", addr, err)
		}
	}
	n.hub.mu.Lock()
	l := n.hub.listeners[addr]
	n.hub.mu.Unlock()
	if l == nil {
		return nil, fmt.Errorf("dial %s: connection refused", addr)
	}
	ours, theirs := pipe(n.hub, n.id, to, address(n.ip+":1"), address(addr))
	select {
	case l.conns <- theirs:
		return ours, nil
	case <-l.done:
		return nil, fmt.Errorf("dial %s: connection refused", addr)
	case <-ctx.Done():
		return nil, fmt.Errorf("dial %s: %w", addr, ctx.Err())
	}
}

// travel takes as long as a packet does, or until a cut heals.
func (h *Hub) travel(ctx context.Context, from, to string) error {
	for {
		cut, changed := h.path(from, to)
		if cut {
			select {
			case <-changed:
				continue
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		timer := time.NewTimer(h.latencyOf(from, to))
		select {
		case <-timer.C:
			return nil
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

type listener struct {
	hub   *Hub
	addr  address
	id    string
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *listener) Close() error {
	l.once.Do(func() {
		close(l.done)
		l.hub.mu.Lock()
		delete(l.hub.listeners, string(l.addr))
		l.hub.mu.Unlock()
	})
	return nil
}

// Addr implements net.Listener.
func (l *listener) Addr() net.Addr { return l.addr }

type address string

// Network implements net.Addr.
func (address) Network() string { return "mem" }

// String implements net.Addr.
func (a address) String() string { return string(a) }

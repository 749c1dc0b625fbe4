package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// network is net_plugin: listening, connecting, and who is connected. Its goroutines put blocks into the fork database
// themselves and tell the main thread afterwards, as nodeos' net threads do. Safe for concurrent use.
type network struct {
	clock     clock
	log       *logger
	chain     *controller
	agent     string
	address   string // what our handshakes give as p2p_address, without the node id
	nodeID    Hash
	maxNodes  int // per host, 0 is no limit
	clients   int // max-clients
	latency   time.Duration
	loss      float64
	deaf      bool // no block from a peer is taken, nor asked for
	cycle     time.Duration
	cuts      *cuts
	incoming  func() // posts on_incoming_block to the main thread
	listener  net.Listener
	ctx       context.Context // done when the network closes
	cancel    context.CancelFunc
	wg        sync.WaitGroup
	closeOnce sync.Once

	mu     sync.Mutex
	next   int              // connection ids
	conns  map[int]*peer    // open connections
	wanted map[string]*want // peers we connect to, by address
	order  []string
}

// want is a peer we are to connect to.
type want struct {
	address string
	id      int // of the connection object, which survives reconnects
	conn    *peer
	node    Hash // the node id behind it once known
	busy    bool // connecting now
}

func netSite(line int, fn string) site { return site{"net_plugin.cpp", line, fn} }

func (n *network) info(line int, fn, format string, args ...any) {
	n.log.logFrom(fmt.Sprintf("net-%d", rand.IntN(4)), logNet, levelInfo, netSite(line, fn), format, args...)
}

func (n *network) warn(line int, fn, format string, args ...any) {
	n.log.logFrom(fmt.Sprintf("net-%d", rand.IntN(4)), logNet, levelWarn, netSite(line, fn), format, args...)
}

// listen opens the p2p port; it fails as nodeos does when the port is taken.
func (n *network) listen(endpoint string) error {
	l, err := (&net.ListenConfig{}).Listen(n.ctx, "tcp", endpoint)
	if err != nil {
		return err
	}
	n.listener = l
	n.wg.Add(1)
	go func() {
		defer n.wg.Done()
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			n.accept(c)
		}
	}()
	return nil
}

// accept takes a connection unless there are too many, in all or from that address.
func (n *network) accept(c net.Conn) {
	host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
	n.mu.Lock()
	same, all := 0, 0
	for _, p := range n.conns {
		if p.outgoing == nil {
			all++
			if p.host == host {
				same++
			}
		}
	}
	n.mu.Unlock()
	if n.maxNodes > 0 && same >= n.maxNodes || n.clients > 0 && all >= n.clients {
		_ = c.Close()
		return
	}
	n.info(2806, "create_session", "Accepted new connection: %s", host)
	n.start(c, nil)
}

// connect adds a peer and connects at once; false where it is known.
func (n *network) connect(address string) bool {
	n.mu.Lock()
	if _, ok := n.wanted[address]; ok {
		n.mu.Unlock()
		return false
	}
	n.next++
	w := &want{address: address, id: n.next}
	n.wanted[address] = w
	n.order = append(n.order, address)
	n.mu.Unlock()
	n.info(1219, "connection", "created connection - %d to %s", w.id, address)
	n.dial(w)
	return true
}

// dial makes one attempt in the background.
func (n *network) dial(w *want) {
	n.mu.Lock()
	if w.conn != nil || w.busy || n.isClosed() || n.connectedLocked(w.node) {
		n.mu.Unlock()
		return
	}
	w.busy = true
	n.wg.Add(1)
	n.mu.Unlock()
	go func() {
		defer n.wg.Done()
		c, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(n.ctx, "tcp", w.address)
		n.mu.Lock()
		w.busy = false
		n.mu.Unlock()
		if err != nil {
			n.info(2765, "operator()", "connection failed to %s, %s", w.address, asioError(err))
			return
		}
		n.start(c, w)
	}()
}

func (n *network) connectedLocked(node Hash) bool {
	for _, p := range n.conns {
		if node != (Hash{}) && p.hi().NodeID == node {
			return true
		}
	}
	return false
}

func (n *network) isClosed() bool {
	return n.ctx.Err() != nil
}

// run is the connection monitor: every cycle it tries lost peers again. It returns when the network is closed.
func (n *network) run() {
	n.wg.Add(1) // closed by the main thread, which calls this
	go func() {
		defer n.wg.Done()
		cycle := time.NewTicker(n.cycle)
		defer cycle.Stop()
		beat := time.NewTicker(10 * time.Second)
		defer beat.Stop()
		for {
			select {
			case <-n.ctx.Done():
				return
			case <-beat.C:
				for _, p := range n.peers() {
					p.send(msgTime, struct{}{})
				}
			case <-cycle.C:
				n.monitor()
			}
		}
	}()
}

func (n *network) monitor() {
	n.mu.Lock()
	in, out := 0, 0
	for _, p := range n.conns {
		if p.outgoing == nil {
			in++
		} else {
			out++
		}
	}
	var again []*want
	for _, a := range n.order {
		again = append(again, n.wanted[a])
	}
	n.mu.Unlock()
	n.info(5008, "connection_monitor", "p2p client connections: %d/%d, peer connections: %d/%d, block producer peers: 0", in, n.clients, out, len(again))
	for _, w := range again {
		n.dial(w)
	}
}

func (n *network) peers() []*peer {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := make([]*peer, 0, len(n.conns))
	for _, p := range n.conns {
		out = append(out, p)
	}
	return out
}

// disconnect drops a peer and forgets its address; false where it is not known. Incoming connections go by their remote address.
func (n *network) disconnect(address string) bool {
	n.mu.Lock()
	w, ok := n.wanted[address]
	var open *peer
	if ok {
		delete(n.wanted, address)
		for i, a := range n.order {
			if a == address {
				n.order = append(n.order[:i:i], n.order[i+1:]...)
				break
			}
		}
		open = w.conn
	}
	n.mu.Unlock()
	if !ok {
		return false
	}
	n.log.logFrom("http-1", logNet, levelInfo, netSite(4863, "disconnect"), "disconnecting: %d", w.id)
	if open != nil {
		open.close()
	}
	return true
}

// broadcast sends a block to everybody but the one it came from.
func (n *network) broadcast(nd *node, from *peer) {
	frame, err := encodeMessage(msgBlock, nd.block)
	if err != nil {
		return
	}
	for _, p := range n.peers() {
		if p == from || !p.ready() || !p.learn(nd.id) {
			continue
		}
		if n.loss > 0 && rand.Float64() < n.loss {
			continue
		}
		p.enqueue(frame)
	}
}

// close ends all connections and waits for the goroutines.
func (n *network) close() {
	n.closeOnce.Do(func() {
		n.mu.Lock()
		n.cancel()
		n.mu.Unlock()
		if n.listener != nil {
			_ = n.listener.Close()
		}
		for _, p := range n.peers() {
			p.close()
		}
		n.wg.Wait()
	})
}

// errForked, errDuplicatePeer and others are why we send a peer away.
var (
	errForked        = errors.New("chain is forked")
	errDuplicatePeer = errors.New("duplicate")
	errSelf          = errors.New("self connect")
	errWrongChain    = errors.New("wrong chain")
)

package sim

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	syncSpan    = 1000 // blocks asked for at once (sync-fetch-span)
	heartbeat   = 60 * time.Second
	knownBlocks = 4096
)

// peer is one connection. A goroutine reads, another sends what is due; both end when it is closed.
type peer struct {
	net      *network
	id       int
	conn     net.Conn
	outgoing *want // nil: the other side connected
	host     string
	port     string

	mu     sync.Mutex
	hello  Handshake // the peer's last one; zero before
	sent   int       // handshakes sent
	known  map[Hash]bool
	asked  bool // blocks were asked for and have not all come
	from   uint32
	told   Hash // the head our last handshake gave
	queue  []delivery
	wake   chan struct{}
	done   chan struct{}
	once   sync.Once
	opened time.Time
}

type delivery struct {
	due   time.Time
	frame []byte
}

// start makes a peer of an open connection.
func (n *network) start(c net.Conn, w *want) {
	host, port, _ := net.SplitHostPort(c.RemoteAddr().String())
	p := &peer{net: n, conn: c, outgoing: w, host: host, port: port, known: map[Hash]bool{}, wake: make(chan struct{}, 1),
		done: make(chan struct{}), opened: time.Now()}
	n.mu.Lock()
	if n.isClosed() || w != nil && n.wanted[w.address] != w {
		n.mu.Unlock()
		_ = c.Close()
		return
	}
	if w != nil {
		p.id, w.conn = w.id, p
	} else {
		n.next++
		p.id = n.next
	}
	n.conns[p.id] = p
	n.wg.Add(2)
	n.mu.Unlock()
	go p.sender()
	go p.reader()
	p.sendHandshake()
}

// String is nodeos' prefix of messages about a peer, with its own words unescaped.
func (p *peer) String() string {
	name := p.hi().P2PAddress
	if p.outgoing != nil {
		name = p.outgoing.address
	} else if name == "" {
		name = "<unknown>"
	}
	return fmt.Sprintf(`["%s" - %d %s:%s]`, name, p.id, p.host, p.port)
}

// hi is the peer's last handshake, zero before the first.
func (p *peer) hi() Handshake {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.hello
}

func (p *peer) ready() bool { return p.hi().NodeID != Hash{} }

// learn notes that the peer has (or is being sent) a block; false where it had it.
func (p *peer) learn(id Hash) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known[id] {
		return false
	}
	if len(p.known) >= knownBlocks {
		clear(p.known)
	}
	p.known[id] = true
	return true
}

func (p *peer) send(kind byte, v any) {
	if frame, err := encodeMessage(kind, v); err == nil {
		p.enqueue(frame)
	}
}

func (p *peer) enqueue(frame []byte) {
	p.mu.Lock()
	p.queue = append(p.queue, delivery{time.Now().Add(p.net.latency), frame})
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// sender writes what is due, in order. A cut link holds everything back until it heals, as TCP would.
func (p *peer) sender() {
	defer p.net.wg.Done()
	for {
		p.mu.Lock()
		var next delivery
		if len(p.queue) > 0 {
			next = p.queue[0]
		}
		p.mu.Unlock()
		if next.frame == nil {
			select {
			case <-p.wake:
				continue
			case <-p.done:
				return
			}
		}
		if !p.sleep(time.Until(next.due)) || !p.waitLink("out") {
			return
		}
		p.mu.Lock()
		p.queue = p.queue[1:]
		p.mu.Unlock()
		if _, err := p.conn.Write(next.frame); err != nil {
			p.close()
			return
		}
	}
}

func (p *peer) sleep(d time.Duration) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-p.done:
		return false
	}
}

// waitLink blocks while the link is cut in that direction; false when the connection ended.
func (p *peer) waitLink(direction string) bool {
	for {
		changed := p.net.cuts.wait(p.hi().Agent, direction)
		if changed == nil {
			return true
		}
		select {
		case <-changed:
		case <-p.done:
			return false
		}
	}
}

func (p *peer) reader() {
	defer p.net.wg.Done()
	defer p.close()
	for {
		if err := p.conn.SetReadDeadline(time.Now().Add(heartbeat)); err != nil {
			return
		}
		kind, data, err := readMessage(p.conn)
		if err != nil {
			p.readFailed(err)
			return
		}
		if !p.waitLink("in") {
			return
		}
		if err := p.handle(kind, data); err != nil {
			return
		}
	}
}

func (p *peer) readFailed(err error) {
	select {
	case <-p.done:
		return // closed by us
	default:
	}
	switch {
	case errors.Is(err, io.EOF):
		p.net.info(2941, "operator()", "%s Peer closed connection", p)
	case errors.Is(err, unix.ECONNRESET):
		p.net.log.logFrom("net-1", logNet, levelError, netSite(2939, "operator()"), "%s Error reading message: Connection reset by peer", p)
	default:
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			p.net.warn(1580, "check_heartbeat", "%s heartbeat timed out", p)
		}
	}
}

func (p *peer) handle(kind byte, data []byte) error {
	switch kind {
	case msgHandshake:
		var h Handshake
		if err := json.Unmarshal(data, &h); err != nil {
			return err
		}
		return p.greeted(h)
	case msgGoAway:
		var g goAway
		if err := json.Unmarshal(data, &g); err != nil {
			return err
		}
		p.net.warn(3439, "handle_message", "%s received go_away_message, reason = %s", p, g.Reason)
		return errors.New(g.Reason)
	case msgRequest:
		var r request
		if err := json.Unmarshal(data, &r); err != nil {
			return err
		}
		p.serve(r)
	case msgBlock:
		b, err := decodeBlock(data)
		if err != nil {
			return err
		}
		return p.gotBlock(b)
	case msgEnd:
		var e endOfBlocks
		if err := json.Unmarshal(data, &e); err != nil {
			return err
		}
		p.synced(e)
	}
	return nil
}

func (p *peer) sendHandshake() {
	n := p.net
	best, root := n.chain.forks.heads()
	p.mu.Lock()
	p.sent++
	generation := p.sent
	p.told = best.id
	p.mu.Unlock()
	p.send(msgHandshake, Handshake{
		NetworkVersion: 1216, ChainID: n.chain.chainID, NodeID: n.nodeID, Time: n.clock.now().UnixNano(),
		P2PAddress: n.address + " - " + n.nodeID.String()[:7], RootNum: root.num, RootID: root.id, HeadNum: best.num, HeadID: best.id,
		OS: "linux", Agent: n.agent, Generation: generation,
	})
}

// sendAway tells the peer why and closes the connection once that has been sent.
func (p *peer) sendAway(reason error) error {
	p.net.info(1829, "operator()", "sent a go away message: %s, closing connection %d", reason, p.id)
	if frame, err := encodeMessage(msgGoAway, goAway{reason.Error()}); err == nil {
		_ = p.conn.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = p.conn.Write(frame)
	}
	p.close()
	return reason
}

// duplicate finds a second connection to the same node and says which of the two has to go: the one that the node with
// the greater id opened, or the newer one. Both sides come to the same answer.
func (n *network) duplicate(p *peer) *peer {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, q := range n.conns {
		if q == p || q.hi().NodeID != p.hi().NodeID {
			continue
		}
		if (q.outgoing == nil) == (p.outgoing == nil) {
			return p
		}
		weOpenedP := p.outgoing != nil
		if weOpenedP == n.nodeID.less(p.hi().NodeID) {
			return q
		}
		return p
	}
	return nil
}

// close ends the connection; safe to call more than once and from anywhere.
func (p *peer) close() {
	p.once.Do(func() {
		close(p.done)
		_ = p.conn.Close()
		n := p.net
		n.mu.Lock()
		if n.conns[p.id] == p {
			delete(n.conns, p.id)
		}
		if p.outgoing != nil && p.outgoing.conn == p {
			p.outgoing.conn = nil
		}
		n.mu.Unlock()
		n.info(1419, "_close", "%s closing", p)
	})
}

package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"roundtable/logkey"
)

// streams owns the one listener that raft and the forwarding share, and every stream of this member: closing it ends
// them all.
type streams struct {
	id        string
	advertise string
	network   Network
	tls       Credentials // nil: plain
	log       *slog.Logger
	group     atomic.Pointer[string]
	adopt     func(group string) error    // keeps the group's id for the next start
	regroup   chan struct{}               // capacity 1: the group's id was taken over
	idOf      func(address string) string // member id behind a raft address, "" if unknown
	settled   func(id string) string      // a member's address in raft's configuration, "" if unknown
	banned    func(id string) bool        // an operator removed it
	admitted  func(id string) int64       // fsm.State.Admitted
	forward   func(conn net.Conn, from string)
	arrivals  arrivals
	credible  func(leader string) error // whose raft is listened to (filling.go)

	listener net.Listener
	raft     chan net.Conn
	ctx      context.Context
	cancel   context.CancelFunc
	wg       sync.WaitGroup

	mu     sync.Mutex
	open   map[*stream]struct{}
	spoken map[string]struct{} // members that spoke with us in our group
	closed bool

	lastRefusal string
	refusedAt   time.Time
}

func listenStreams(cfg Config) (*streams, error) {
	l, err := cfg.Network.Listen(cfg.RaftBind)
	if err != nil {
		return nil, &ConfigError{fmt.Sprintf("cannot listen for raft at %s: %v", cfg.RaftBind, err), "is another manager running, or the port taken? choose another one under [manager] raft"}
	}
	s := &streams{id: cfg.ID, advertise: cfg.RaftAdvertise, network: cfg.Network, tls: cfg.TLS, log: cfg.Log.With(logkey.Part, "cluster"), listener: l, raft: make(chan net.Conn), regroup: make(chan struct{}, 1), open: map[*stream]struct{}{}}
	if s.advertise == "" {
		s.advertise = l.Addr().String()
	}
	if host, _, err := net.SplitHostPort(s.advertise); err == nil {
		if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
			return nil, errors.Join(&ConfigError{fmt.Sprintf("raft would be advertised as %s", s.advertise), "set the address under which the other managers reach this one"}, l.Close())
		}
	}
	none := ""
	s.group.Store(&none)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

func (s *streams) serve() {
	s.wg.Go(func() {
		for {
			conn, err := s.listener.Accept()
			if err != nil {
				if s.ctx.Err() != nil {
					return
				}
				s.log.Warn("accept failed", "err", err)
				if !sleep(s.ctx, 100*time.Millisecond) {
					return
				}
				continue
			}
			s.wg.Go(func() { s.welcome(conn) })
		}
	})
}

// welcome authenticates an incoming stream and hands it to whom it is for.
func (s *streams) welcome(raw net.Conn) {
	conn, ok := s.track(raw)
	if !ok {
		return
	}
	h, err := s.handshake(conn)
	if err != nil {
		s.refused(raw.RemoteAddr(), h.from, err)
		_ = conn.Close()
		return
	}
	if h.kind == kindGroup {
		_ = conn.Close()
		return
	}
	s.know(conn, h.from)
	if h.kind == kindForward {
		s.forward(conn, h.from)
		_ = conn.Close()
		return
	}
	select {
	case s.raft <- conn:
	case <-s.ctx.Done():
		_ = conn.Close()
	}
}

// refusedEvery is how often one and the same refusal is logged: whoever is refused tries again at once.
const refusedEvery = time.Minute

func (s *streams) refused(from net.Addr, member string, err error) {
	what := member + ": " + err.Error()
	s.mu.Lock()
	again := what == s.lastRefusal && time.Since(s.refusedAt) < refusedEvery
	if !again {
		s.lastRefusal, s.refusedAt = what, time.Now()
	}
	s.mu.Unlock()
	if !again && s.ctx.Err() == nil {
		s.log.Warn("stream refused", "from", from.String(), logkey.Peer, member, logkey.Err, err)
	}
}

func (s *streams) handshake(conn *stream) (hello, error) {
	leave, err := s.arrivals.enter(conn.RemoteAddr())
	if err != nil {
		return hello{}, err
	}
	defer leave()
	_ = conn.SetDeadline(time.Now().Add(helloTimeout))
	if s.tls != nil {
		t := tls.Server(conn.Conn, s.tls.Server())
		if err := t.HandshakeContext(s.ctx); err != nil {
			return hello{}, err
		}
		conn.Conn = t
	}
	h, err := readHello(conn)
	if err != nil {
		return h, err
	}
	refusal := s.check(h, conn.Conn)
	if refusal == nil && h.kind == kindRaft {
		refusal = s.credible(h.from)
	}
	if err := writeWelcome(conn, refusal); err != nil {
		return h, err
	}
	if group := s.groupID(); h.kind == kindGroup && refusal == nil {
		if _, err := io.WriteString(conn, string([]byte{byte(len(group))})+group); err != nil {
			return h, err
		}
	}
	_ = conn.SetDeadline(time.Time{})
	return h, refusal
}

// check decides whether a dialer may come in, and takes over the group's id from the one who added us.
func (s *streams) check(h hello, conn net.Conn) error {
	if is := certified(conn); s.tls != nil && is != h.from {
		return fmt.Errorf("the certificate is of %q, not of %q", is, h.from)
	}
	if h.to != "" && h.to != s.id {
		return fmt.Errorf("this is %s, not %s", s.id, h.to)
	}
	if h.kind == kindGroup {
		return nil // gossip says it to everybody; here it is proven
	}
	if s.banned(h.from) {
		return errBanned
	}
	switch ours := s.groupID(); {
	case h.group == "":
		return errors.New("you were not added to this group yet")
	case ours == h.group:
		return nil
	case ours == "" && h.kind == kindRaft:
		return s.setGroup(h.group)
	case ours == "":
		return errors.New("this member was not added to the group yet")
	default:
		return errors.New("you belong to another raft group")
	}
}

var errBanned = errors.New("an operator removed you from this cluster; to come back you must be invited again")

func (s *streams) groupID() string { return *s.group.Load() }

func (s *streams) setGroup(group string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ours := s.groupID(); ours != "" {
		if ours != group {
			return errors.New("you belong to another raft group")
		}
		return nil
	}
	if err := s.adopt(group); err != nil {
		return err
	}
	s.group.Store(&group)
	poke(s.regroup)
	s.log.Info("joined the raft group", "group", group)
	return nil
}

// dial opens a stream of a kind to a member; id may be "" where it is not known.
func (s *streams) dial(ctx context.Context, kind byte, addr, id string) (net.Conn, error) {
	raw, err := s.network.Dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	conn, ok := s.track(raw)
	if !ok {
		return nil, ErrClosed
	}
	if err := s.introduce(ctx, conn, kind, id); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("%s at %s: %w", id, addr, err)
	}
	if kind != kindGroup && id != "" {
		s.know(conn, id)
	}
	return conn, nil
}

func (s *streams) introduce(ctx context.Context, conn *stream, kind byte, id string) error {
	deadline := time.Now().Add(helloTimeout)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	_ = conn.SetDeadline(deadline)
	if s.tls != nil {
		t := tls.Client(conn.Conn, s.tls.Client(id))
		if err := t.HandshakeContext(ctx); err != nil {
			return err
		}
		conn.Conn = t
	}
	if err := writeHello(conn, hello{kind, s.id, id, s.groupID()}); err != nil {
		return err
	}
	if err := readWelcome(conn); err != nil {
		return err
	}
	return conn.SetDeadline(time.Time{})
}

// track registers a stream so that close ends it; false (and the stream closed) once everything is closed.
func (s *streams) track(raw net.Conn) (*stream, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = raw.Close()
		return nil, false
	}
	conn := &stream{Conn: raw, raw: raw, owner: s}
	s.open[conn] = struct{}{}
	return conn, true
}

// know notes whose stream it is: a member of our group that has proven its id.
func (s *streams) know(conn *stream, id string) {
	p := &peer{id: id}
	if s.admitted != nil {
		p.admitted = s.admitted(id)
	}
	conn.peer.Store(p)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.spoken == nil {
		s.spoken = map[string]struct{}{}
	}
	s.spoken[id] = struct{}{}
}

// spoke reports whether a member spoke with us in our group since this process began.
func (s *streams) spoke(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, yes := s.spoken[id]
	return yes
}

// evict ends the streams of members that are not to have them any more.
func (s *streams) evict(goes func(peer) bool) {
	s.mu.Lock()
	var gone []*stream
	for conn := range s.open {
		if p := conn.peer.Load(); p != nil && goes(*p) {
			gone = append(gone, conn)
		}
	}
	s.mu.Unlock()
	for _, conn := range gone {
		s.log.Info("stream ended: it is of a member that was removed", logkey.Peer, conn.peer.Load().id)
		_ = conn.Close()
	}
}

func (s *streams) close() {
	s.cancel()
	_ = s.listener.Close()
	s.mu.Lock()
	s.closed = true
	open := s.open
	s.open = map[*stream]struct{}{}
	s.mu.Unlock()
	for c := range open {
		_ = c.raw.Close()
	}
}

// stream is a connection that its owner knows. Close does not take the time to say goodbye in TLS: a peer that is cut
// off must not hold up whoever closes.
type stream struct {
	net.Conn
	raw   net.Conn
	owner *streams
	peer  atomic.Pointer[peer] // who is at its other end; nil where that is not known yet, or of no matter
}

// peer is a member at the other end of a stream, and when it was admitted as far as was known when the stream was opened.
type peer struct {
	id       string
	admitted int64
}

// Read refuses what a member says after it was removed, from the moment that this is known here.
func (c *stream) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if p := c.peer.Load(); p != nil && c.owner.banned != nil && c.owner.banned(p.id) {
		_ = c.Close()
		return 0, errBanned
	}
	return n, err
}

// Close ends the stream.
func (c *stream) Close() error {
	c.owner.mu.Lock()
	delete(c.owner.open, c)
	c.owner.mu.Unlock()
	return c.raw.Close()
}

// raftLayer is the part of the streams that raft's transport sees.
type raftLayer struct{ *streams }

type advertised string

// Network names the address's kind.
func (advertised) Network() string { return "tcp" }

// String is host:port.
func (a advertised) String() string { return string(a) }

// Accept implements net.Listener.
func (l raftLayer) Accept() (net.Conn, error) {
	select {
	case c := <-l.raft:
		return c, nil
	case <-l.ctx.Done():
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l raftLayer) Close() error { l.close(); return nil }

// Addr is what the other members dial.
func (l raftLayer) Addr() net.Addr { return advertised(l.advertise) }

// Dial implements raft.StreamLayer.
func (l raftLayer) Dial(addr raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	id := l.idOf(string(addr))
	settled := l.settled(id)
	if settled == "" || settled == string(addr) {
		return l.dialRaft(string(addr), id, timeout)
	}
	conn, err := l.dialRaft(string(addr), id, timeout/2) // where gossip has it: that may be forged
	if err != nil {
		conn, err = l.dialRaft(settled, id, timeout/2)
	}
	return conn, err
}

func (l raftLayer) dialRaft(addr, id string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(l.ctx, timeout)
	defer cancel()
	return l.dial(ctx, kindRaft, addr, id)
}

// sleep waits; false if ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

package drill

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

const (
	chunkSize  = 32 << 10
	chunksHeld = 64 // per direction of a connection; then the sender is held up, as by a full window
	resend     = 200 * time.Millisecond
)

// wire is the network between the members: a proxy before each of their listeners, in the drill's own process. It carries
// raft, gossip, the managers' requests to each other and the nodes' p2p, and tells by the caller's socket who sends. Each
// direction between two members can be cut by itself: then nothing arrives, connections stay open, and new ones hang.
// What TCP holds back meanwhile arrives after the heal; a lost piece of it comes a retransmission later, in order.
type wire struct {
	caller func(net.Conn) *Member // who dialled; nil for somebody outside, for whom the wire is perfect
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex
	cuts    map[link]bool
	latency time.Duration // one way
	loss    float64
	changed chan struct{} // closed at the next change of the cuts
}

// link is one direction between two members; p2p tells the nodes' connections from all others.
type link struct {
	from, to *Member
	p2p      bool
}

func (l link) back() link { return link{l.to, l.from, l.p2p} }

// inside reports whether both ends are members: only then the wire has faults.
func (l link) inside() bool { return l.from != nil && l.to != nil }

func newWire(caller func(net.Conn) *Member, latency time.Duration, loss float64) *wire {
	w := &wire{caller: caller, cuts: map[link]bool{}, latency: latency, loss: loss, changed: make(chan struct{})}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	return w
}

// close ends everything and waits for it.
func (w *wire) close() {
	w.cancel()
	w.wg.Wait()
}

// change changes what is cut.
func (w *wire) change(f func(cuts map[link]bool)) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	f(w.cuts)
	close(w.changed)
	w.changed = make(chan struct{})
	return nil
}

func (w *wire) setLatency(d time.Duration) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.latency = d
	return nil
}

func (w *wire) setLoss(p float64) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.loss = p
	return nil
}

// broken reports whether a link is cut, with a channel that is closed at the next change.
func (w *wire) broken(l link) (bool, <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cuts[link{l.from, l.to, false}] || l.p2p && w.cuts[link{l.from, l.to, true}], w.changed
}

// due is when something sent now arrives.
func (w *wire) due(l link, now time.Time) (at time.Time, lost bool) {
	if !l.inside() {
		return now, false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return now.Add(w.latency), w.loss > 0 && rand.Float64() < w.loss //nolint:gosec // weather, not a secret
}

// arrive waits until a time has come and the link is whole; false if the wire was closed, or gone before.
func (w *wire) arrive(l link, at time.Time, gone <-chan struct{}) bool {
	timer := time.NewTimer(time.Until(at))
	defer timer.Stop()
	late := timer.C
	for {
		cut, changed := w.broken(l)
		if late == nil && !cut {
			return true
		}
		select {
		case <-w.ctx.Done():
			return false
		case <-gone:
			return false
		case <-late:
			late = nil
		case <-changed:
		}
	}
}

// tcp carries connections from front to a member's listener at back.
func (w *wire) tcp(to *Member, p2p bool, front, back string) error {
	l, err := net.Listen("tcp", front) //nolint:noctx // at the start only
	if err != nil {
		return fmt.Errorf("drill: wire: %w", err)
	}
	context.AfterFunc(w.ctx, func() { l.Close() })
	w.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err == nil {
				w.wg.Go(func() { w.connect(c.(*net.TCPConn), to, p2p, back) })
			} else if wait(w.ctx, 10*time.Millisecond) != nil { // out of files, say
				return
			}
		}
	})
	return nil
}

// connect carries one connection.
func (w *wire) connect(client *net.TCPConn, to *Member, p2p bool, back string) {
	defer hangUp(client)
	there := link{w.caller(client), to, p2p}
	up := w.flow(there)
	defer close(up.over)
	defer context.AfterFunc(w.ctx, func() { hangUp(client) })()
	w.wg.Go(func() { up.read(client) })

	syn, _ := w.due(there, time.Now())
	if !w.arrive(there, syn, up.ended) {
		return // given up before it came through: then it never comes
	}
	server, err := (&net.Dialer{}).DialContext(w.ctx, "tcp", back)
	answered, _ := w.due(there.back(), time.Now())
	if err != nil {
		if w.arrive(there.back(), answered, up.ended) {
			_ = client.SetLinger(0) // refused
		}
		return
	}
	defer server.Close()
	defer context.AfterFunc(w.ctx, func() { server.Close() })()
	down := w.flow(there.back())
	defer close(down.over)
	w.wg.Go(func() { down.read(server.(*net.TCPConn)) })
	up.opened, _ = w.due(there, answered)
	var both sync.WaitGroup
	both.Go(func() { up.write(server.(*net.TCPConn)) })
	both.Go(func() { down.write(client) })
	both.Wait()
}

// chunk is what was read at once; the last one of a flow has no data.
type chunk struct {
	data  []byte
	due   time.Time
	reset bool
}

// flow is one direction of a connection.
type flow struct {
	w      *wire
	link   link
	chunks chan chunk
	over   chan struct{} // closed when nobody takes chunks any more
	opened time.Time     // when the first of it can arrive
	ended  chan struct{} // closed when the sender has closed
}

func (w *wire) flow(l link) *flow {
	return &flow{w: w, link: l, chunks: make(chan chunk, chunksHeld), over: make(chan struct{}), ended: make(chan struct{})}
}

// read takes what the sender sends.
func (f *flow) read(from *net.TCPConn) {
	buf := make([]byte, chunkSize)
	var last time.Time
	for {
		n, err := from.Read(buf)
		at, lost := f.w.due(f.link, time.Now())
		if lost {
			at = at.Add(resend)
		}
		if at.Before(last) {
			at = last
		}
		last = at
		if n > 0 && !f.push(chunk{data: append([]byte(nil), buf[:n]...), due: at}) {
			return
		}
		if err != nil {
			close(f.ended)
			f.push(chunk{due: at, reset: !errors.Is(err, io.EOF)})
			return
		}
	}
}

func (f *flow) push(c chunk) bool {
	select {
	case f.chunks <- c:
		return true
	case <-f.over:
		return false
	case <-f.w.ctx.Done():
		return false
	}
}

// write brings it to the receiver.
func (f *flow) write(to *net.TCPConn) {
	gone := false
	for {
		var c chunk
		select {
		case c = <-f.chunks:
		case <-f.w.ctx.Done():
			return
		}
		if c.due.Before(f.opened) {
			c.due = f.opened
		}
		if !f.w.arrive(f.link, c.due, nil) {
			return
		}
		switch {
		case c.data != nil && !gone:
			_, err := to.Write(c.data)
			gone = err != nil // the other direction tells the sender
		case c.reset:
			_ = to.SetLinger(0)
			_ = to.Close()
			return
		case c.data == nil:
			_ = to.CloseWrite()
			return
		}
	}
}

// hangUp closes a connection that nobody needs any more: there is nothing left to lose by an error.
func hangUp(c io.Closer) { _ = c.Close() }

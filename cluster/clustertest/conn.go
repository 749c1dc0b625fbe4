package clustertest

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// conn is one end of a stream.
type conn struct {
	in, out       *way
	local, remote address
}

func pipe(h *Hub, a, b string, addrA, addrB address) (net.Conn, net.Conn) {
	ab, ba := newWay(h, a, b), newWay(h, b, a)
	return &conn{in: ba, out: ab, local: addrA, remote: addrB}, &conn{in: ab, out: ba, local: addrB, remote: addrA}
}

// Read implements net.Conn.
func (c *conn) Read(b []byte) (int, error) { return c.in.read(b) }

// Write implements net.Conn. It never blocks, for callers hold locks meanwhile: the network has room, and what a frozen
// process writes leaves with the thaw.
func (c *conn) Write(b []byte) (int, error) { return c.out.write(b) }

// Close implements net.Conn: what was written still arrives, what arrives is not read any more.
func (c *conn) Close() error {
	c.out.finish()
	c.in.abandon()
	return nil
}

// LocalAddr implements net.Conn.
func (c *conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr implements net.Conn.
func (c *conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline implements net.Conn.
func (c *conn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// SetReadDeadline implements net.Conn.
func (c *conn) SetReadDeadline(t time.Time) error { c.in.setDeadline(t); return nil }

// SetWriteDeadline implements net.Conn: writes do not block.
func (c *conn) SetWriteDeadline(time.Time) error { return nil }

// way is one direction of a stream: a queue of pieces, each with the time of its arrival. It has one reader, which is woken
// once for a piece: when it arrives.
type way struct {
	hub      *Hub
	from, to string

	mu        sync.Mutex
	queue     []piece
	finished  bool // the writer closed
	abandoned bool // the reader closed
	deadline  time.Time
	waiting   bool          // the reader does
	next      time.Time     // and until when at most; zero: for a change
	timer     *time.Timer   // of its waits
	wake      chan struct{} // capacity 1
}

type piece struct {
	at   time.Time
	data []byte // nil: the end
	held bool   // written by a process that is frozen: it leaves with the thaw
}

func newWay(h *Hub, from, to string) *way {
	w := &way{hub: h, from: from, to: to, timer: time.NewTimer(0), wake: make(chan struct{}, 1)}
	w.timer.Stop()
	return w
}

// changed makes a reader that waits look again. w.mu is held.
func (w *way) changed() {
	if !w.waiting {
		return
	}
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// push queues a piece. w.mu is held.
func (w *way) push(p piece) {
	w.queue = append(w.queue, p)
	if w.waiting && len(w.queue) == 1 && (w.next.IsZero() || p.at.Before(w.next)) {
		w.next = p.at
		w.timer.Reset(time.Until(p.at))
	}
}

func (w *way) write(b []byte) (int, error) {
	latency, held := w.hub.latencyOf(w.from, w.to), w.hub.isFrozen(w.from)
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.finished:
		return 0, net.ErrClosed
	case w.abandoned:
		return 0, io.ErrClosedPipe
	}
	if len(b) > 0 {
		w.push(piece{w.arrival(latency), append([]byte(nil), b...), held})
	}
	return len(b), nil
}

// leave sends what a frozen process had written. w.mu is held.
func (w *way) leave(now time.Time) {
	at := now.Add(w.hub.latencyOf(w.from, w.to))
	for i := range w.queue {
		p := &w.queue[i]
		if p.held || p.at.Before(at) {
			p.at, p.held = at, false
		}
	}
}

// arrival is when a piece sent now comes in: nothing overtakes in a stream. w.mu is held.
func (w *way) arrival(latency time.Duration) time.Time {
	at := time.Now().Add(latency)
	if n := len(w.queue); n > 0 && w.queue[n-1].at.After(at) {
		return w.queue[n-1].at
	}
	return at
}

func (w *way) finish() {
	latency := w.hub.latencyOf(w.from, w.to)
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.finished {
		w.finished = true
		w.push(piece{w.arrival(latency), nil, false})
	}
}

func (w *way) abandon() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.abandoned = true
	w.changed()
}

func (w *way) setDeadline(t time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.deadline = t
	w.changed()
}

func (w *way) read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	for {
		w.hub.thawed(w.to)
		cut, healed := w.hub.path(w.from, w.to)
		w.mu.Lock()
		now := time.Now()
		if w.abandoned {
			w.mu.Unlock()
			return 0, net.ErrClosed
		}
		if !w.deadline.IsZero() && !now.Before(w.deadline) {
			w.mu.Unlock()
			return 0, os.ErrDeadlineExceeded
		}
		var next time.Time
		if len(w.queue) > 0 && w.queue[0].held {
			if w.hub.isFrozen(w.from) {
				cut = true
			} else {
				w.leave(now)
			}
		}
		if !cut && len(w.queue) > 0 {
			p := &w.queue[0]
			if !now.Before(p.at) {
				if p.data == nil {
					w.mu.Unlock()
					return 0, io.EOF
				}
				n := copy(b, p.data)
				if p.data = p.data[n:]; len(p.data) == 0 {
					w.queue = w.queue[1:]
				}
				w.mu.Unlock()
				return n, nil
			}
			next = p.at
		}
		if !w.deadline.IsZero() && (next.IsZero() || w.deadline.Before(next)) {
			next = w.deadline
		}
		w.await(next, now, healed)
	}
}

// await waits for a time, if it is not zero, for a change or for the network's. w.mu is held before, and not after.
func (w *way) await(next, now time.Time, healed <-chan struct{}) {
	w.waiting, w.next = true, next
	if next.IsZero() {
		w.timer.Stop()
	} else {
		w.timer.Reset(next.Sub(now))
	}
	w.mu.Unlock()
	select {
	case <-w.wake:
	case <-healed:
	case <-w.timer.C:
	}
	w.mu.Lock()
	w.waiting = false
	w.mu.Unlock()
}

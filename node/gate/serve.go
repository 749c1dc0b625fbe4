package gate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"roundtable/logkey"
)

const (
	maxSocketPath  = 107             // sun_path
	requestTimeout = 2 * time.Second // to send a request that nodeos sends in one piece
	answerTimeout  = time.Second
	maxConnections = 16 // nodeos has one
)

// ErrSocketInUse is returned by Listen when a living process listens on the socket: probably another manager.
var ErrSocketInUse = errors.New("the gate's socket is in use by a living process")

// Listen binds the socket with mode 0600, replacing what a dead process left behind. Serve does it where it was not
// done; call it first to learn of a problem before the node starts.
func (g *Gate) Listen() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.listener != nil {
		return nil
	}
	path := g.cfg.Socket
	switch info, err := os.Lstat(path); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fmt.Errorf("gate socket: %w", err)
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("gate socket: %s exists and is no socket; move it away", path)
	default:
		c, err := net.DialTimeout("unix", path, time.Second) //nolint:noctx // bounded, at the start only
		if err == nil {
			_ = c.Close()
			return fmt.Errorf("%w: %s; is another manager running on this home?", ErrSocketInUse, path)
		}
		if !errors.Is(err, syscall.ECONNREFUSED) {
			return fmt.Errorf("gate socket: %s: cannot tell whether it is in use: %w", path, err)
		}
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("gate socket: %w", err)
		}
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return fmt.Errorf("gate socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil { // whoever came in between still fails allowedPeer
		_ = l.Close()
		return fmt.Errorf("gate socket: %w", err)
	}
	g.listener = l
	return nil
}

// Serve answers nodeos on the socket until ctx ends; then it returns nil, with no request or callback under way and
// the socket removed; what was recorded stays recorded. Any other end is an error.
func (g *Gate) Serve(ctx context.Context) error {
	if err := g.Listen(); err != nil {
		return err
	}
	g.mu.Lock()
	l := g.listener
	g.mu.Unlock()
	var wg sync.WaitGroup
	defer wg.Wait()
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer func() {
		stop()
		_ = l.Close()
		g.mu.Lock()
		g.listener = nil
		g.mu.Unlock()
	}()
	room := make(chan struct{}, maxConnections)
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("gate socket: %w", err)
		}
		g.mu.Lock()
		runs := g.runs
		g.mu.Unlock()
		room <- struct{}{} // each connection ends within its deadlines
		wg.Go(func() {
			defer func() { <-room }()
			g.serve(ctx, c, runs)
		})
	}
}

// serve answers one connection: one request.
func (g *Gate) serve(ctx context.Context, c *net.UnixConn, runs uint64) {
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	defer func() { _ = c.Close() }()
	q := request{run: runs, hungUp: func() error { return hungUp(c) }}
	if err := allowedPeer(c); err != nil {
		g.refuse(c, q, err)
		return
	}
	_ = c.SetReadDeadline(time.Now().Add(requestTimeout)) // an error shows in the read
	var err error
	if q.digest, q.key, err = readRequest(c); err != nil {
		if !errors.Is(err, io.EOF) || errors.Is(err, errRequest) {
			g.refuse(c, q, err)
		}
		return
	}
	began := time.Now()
	select {
	case g.turn <- struct{}{}:
	case <-ctx.Done():
		return
	}
	signature, signed, err := g.sign(ctx, q)
	<-g.turn
	var refused Refusal
	if errors.As(err, &refused) {
		g.answer(c, response(http.StatusInternalServerError, refused.body()))
	} else {
		g.answer(c, response(http.StatusCreated, []byte(`"`+signature+`"`)))
	}
	if signed.Slot != 0 {
		g.count.latency.Observe(time.Since(began))
		if g.cfg.OnSigned != nil {
			g.cfg.OnSigned(signed)
		}
	}
	if err != nil && g.cfg.OnRefused != nil {
		g.cfg.OnRefused(refused)
	}
}

// refuse answers what is no request of nodeos.
func (g *Gate) refuse(c *net.UnixConn, q request, why error) {
	g.mu.Lock()
	r := g.refusal(ReasonBadRequest, why.Error(), q)
	g.mu.Unlock()
	g.answer(c, response(http.StatusInternalServerError, r.body()))
	if g.cfg.OnRefused != nil {
		g.cfg.OnRefused(r)
	}
}

// answer sends and closes. nodeos may be gone: then the slot counts as signed all the same [S4].
func (g *Gate) answer(c *net.UnixConn, b []byte) {
	_ = c.SetWriteDeadline(time.Now().Add(answerTimeout)) // an error shows in the write
	if _, err := c.Write(b); err != nil {
		g.cfg.Log.Warn("the node did not take the gate's answer", logkey.Err, err)
	}
	_ = c.Close()
}

// allowedPeer lets in our own user and root only.
func allowedPeer(c *net.UnixConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return fmt.Errorf("peer of the gate's socket: %w", err)
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) { cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return fmt.Errorf("peer of the gate's socket: %w", err)
	}
	if credErr != nil {
		return fmt.Errorf("peer of the gate's socket: %w", credErr)
	}
	if uid := cred.Uid; uid != 0 && int(uid) != os.Geteuid() {
		return fmt.Errorf("peer of the gate's socket: user %d is not allowed", uid)
	}
	return nil
}

// hungUp looks at the connection without waiting: nil while nodeos waits for its answer, errHungUp if it no longer does.
func hungUp(c *net.UnixConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return errHungUp
	}
	var n int
	var peekErr error
	if err := raw.Control(func(fd uintptr) {
		var b [1]byte
		for {
			n, _, peekErr = unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
			if peekErr != unix.EINTR {
				return
			}
		}
	}); err != nil {
		return errHungUp
	}
	switch {
	case peekErr == unix.EAGAIN:
		return nil
	case peekErr == nil && n > 0:
		return fmt.Errorf("%w: data after the request", errRequest)
	default:
		return errHungUp
	}
}

package gate

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"roundtable/pulse"
)

const (
	pipeSize    = 1 << 20 // an O_DIRECT pipe holds one packet per page: 256 packets, 128 log lines
	lineQueue   = 4096    // texts waiting for OnLine
	drainAtOnce = 64      // packets the reader takes before it lets others have the lock
	drainMost   = 8192    // packets a request takes before it gives up: nodeos floods its log
	lookEvery   = 250 * time.Millisecond
	lookBusy    = 5 * time.Millisecond // while nodeos floods its log, or where the pipe is small
	busyFor     = time.Second
)

// run is one life of nodeos: its stdout and the block it announced there. Its fields are guarded by the gate's lock,
// but for lines, and for room, which does not change.
type run struct {
	id    uint64
	fd    int // our end; valid until ended
	room  int // packets that the pipe holds
	taken int // packets read so far
	ended bool
	frame framer
	block *announced
	lines chan []byte
}

// Open makes a packet pipe for a new run of nodeos. The caller makes child nodeos' stdout and closes its own copy; the
// gate reads until every writer is gone. What an earlier run announced counts no more, though its rest is still read.
func (g *Gate) Open() (child *os.File, err error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_DIRECT|unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("packet pipe for nodeos: %w", err)
	}
	if err := unix.SetNonblock(fds[0], true); err != nil { // only our end: nodeos expects a blocking stdout
		_, _ = unix.Close(fds[0]), unix.Close(fds[1])
		return nil, fmt.Errorf("packet pipe for nodeos: %w", err)
	}
	for size := pipeSize; size > 64<<10; size /= 2 { // the system may allow less: then the pipe stays smaller
		if _, err := unix.FcntlInt(uintptr(fds[0]), unix.F_SETPIPE_SZ, size); err == nil {
			break
		}
	}
	r := &run{fd: fds[0], block: &announced{}, lines: make(chan []byte, lineQueue)}
	if size, err := unix.FcntlInt(uintptr(fds[0]), unix.F_GETPIPE_SZ, 0); err == nil {
		r.room = size / os.Getpagesize()
	}
	g.mu.Lock()
	g.runs++
	r.id = g.runs
	g.run, g.lastStarted = r, 0
	g.mu.Unlock()
	go g.deliver(r)
	go g.read(r)
	return os.NewFile(uintptr(fds[1]), "nodeos-stdout"), nil
}

// read keeps the pipe empty so that nodeos never blocks on it (fact 12). It looks from time to time and does not sleep in
// the runtime's poller, which each of some thirty packets a block would wake; who wants to sign looks for itself. A block's
// packets fill a tenth of the pipe, a window's worth of full blocks at once two thirds; once a quarter came between two
// looks it looks so often that no flood can fill it.
func (g *Gate) read(r *run) {
	defer close(r.lines)
	timer := time.NewTimer(0)
	defer timer.Stop()
	before, most, until := 0, drainAtOnce, time.Now() // packets taken then, how many more are no flood, and when to judge
	for range timer.C {
		empty, ended, taken := g.look(r)
		for !empty {
			empty, ended, taken = g.look(r)
		}
		if ended {
			break
		}
		now := time.Now()
		switch {
		case r.room < 2*drainAtOnce || now.Before(until):
			timer.Reset(lookBusy)
			continue
		case taken-before > most:
			most, until = drainAtOnce*int(busyFor/lookEvery), now.Add(busyFor)
			timer.Reset(lookBusy)
		default:
			most = drainAtOnce
			timer.Reset(pulse.Next(lookEvery))
		}
		before = taken
	}
	_ = unix.Close(r.fd) // nobody reads it once it has ended
}

// look reads what is there, or a part of it: then others may have the lock before it goes on.
func (g *Gate) look(r *run) (empty, ended bool, taken int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	empty = g.drain(r, drainAtOnce)
	return empty, r.ended, r.taken
}

func (g *Gate) deliver(r *run) {
	for line := range r.lines {
		if g.cfg.OnLine != nil {
			g.cfg.OnLine(line)
		}
	}
}

// newPacketBuffer is larger than any packet, so that one read is one packet.
func newPacketBuffer() []byte { return make([]byte, max(64<<10, 2*os.Getpagesize())) }

// drain reads packets until the pipe is empty (true) or most packets were read (false). With g.mu held: from the reader
// and from the request handler alike [S8].
func (g *Gate) drain(r *run, most int) (empty bool) {
	for i := 0; i < most; {
		if r.ended {
			return true
		}
		n, err := unix.Read(r.fd, g.buf)
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			return true
		case err != nil || n == 0: // every writer is gone
			r.ended = true
			r.block.void()
			return true
		default:
			i++
			r.taken++
			g.packet(r, g.buf[:n])
		}
	}
	return false
}

func (g *Gate) packet(r *run, p []byte) {
	text, trusted, done, odd := r.frame.feed(p)
	if odd {
		r.block.void()
		if g.count.oddities.Add(1) == 1 {
			g.cfg.Log.Warn("nodeos' stdout holds what is no log line; the block it announced is not trusted", "run", r.id)
		}
	}
	if !done {
		return
	}
	if g.off.noTrust {
		for line := range strings.Lines(string(text)) {
			g.line(r, strings.TrimSuffix(line, "\n"))
		}
	} else if trusted {
		g.line(r, string(text))
	}
	if g.cfg.OnLine != nil {
		select {
		case r.lines <- bytes.Clone(text):
		default:
			g.count.dropped.Add(1)
		}
	}
}

// line takes one trusted line.
func (g *Gate) line(r *run, text string) {
	l := parseLine(text)
	r.block = r.block.next(l)
	if l.kind == lineStart && r == g.run && g.ours[l.producer] && l.slot <= g.clock()+g.cfg.MaxAhead {
		g.lastStarted = l.slot
	}
}

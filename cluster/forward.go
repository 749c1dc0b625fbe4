package cluster

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"roundtable/chain"
	"roundtable/fsm"
)

// The forwarding protocol, on a stream of kind 'F': frames of a length (4 bytes, big endian) and JSON. Requests of one
// stream are answered in any order, by their number. It is one hop: whoever is asked and does not lead says so, and never
// asks another.
const (
	maxFrame     = 1 << 20
	maxAtOnce    = 64               // requests of one stream under way
	forwardIdle  = 5 * time.Minute  // a stream without a request ends
	forwardWrite = 2 * time.Second  // writing one frame
	forwardLimit = 30 * time.Second // a request's own limit, whatever it asks for
)

type op string

const (
	opPropose  op = "propose"  // append Entry
	opBarrier  op = "barrier"  // commit an entry of raft's
	opTransfer op = "transfer" // give the leadership to Member, "" for the best
	opRemove   op = "remove"   // remove Member from the group
	opSigned   op = "signed"   // what this member signed in Slot; since entry version 2
	opPing     op = "ping"     // nothing; whoever does not lead says so, as to everything
)

type request struct {
	Number  uint64          `json:"n"`
	Op      op              `json:"op"`
	Entry   json.RawMessage `json:"entry,omitempty"`
	Member  string          `json:"member,omitempty"`
	Actor   string          `json:"actor,omitempty"` // of a removal; an entry has its own
	Slot    chain.Slot      `json:"slot,omitempty"`  // asked for
	LimitMs int64           `json:"limit_ms"`        // how long the asker waits
}

type response struct {
	Number  uint64        `json:"n"`
	Index   uint64        `json:"index,omitempty"`
	Refusal *fsm.Refusal  `json:"refusal,omitempty"`
	Code    string        `json:"code,omitempty"`
	Text    string        `json:"text,omitempty"`
	Blocks  []chain.Block `json:"blocks,omitempty"`
}

// codes are the errors that cross the hop and stay themselves for errors.Is.
var codes = map[string]error{
	"not_appended":   errNotAppended,
	"unknown":        ErrUnknownOutcome,
	"entry_version":  ErrEntryVersion,
	"quorum":         ErrQuorum,
	"unknown_member": ErrUnknownMember,
	"transfer":       ErrTransfer,
}

func writeFrame(w io.Writer, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(b) > maxFrame {
		return fmt.Errorf("a frame of %d bytes, at most %d", len(b), maxFrame)
	}
	_, err = w.Write(append(binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(b)), uint32(len(b))), b...))
	return err
}

func readFrame(r io.Reader, v any) error {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n == 0 || n > maxFrame {
		return fmt.Errorf("a frame of %d bytes, 1 to %d allowed", n, maxFrame)
	}
	var body bytes.Buffer
	if _, err := io.CopyN(&body, r, int64(n)); err != nil { // grows with what really arrives
		return err
	}
	d := json.NewDecoder(&body)
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if body.Len() > 0 || d.More() {
		return errors.New("more in a frame than one value")
	}
	return nil
}

// serveForward answers one stream's requests until it ends.
func (c *Cluster) serveForward(conn net.Conn, from string) {
	ctx, cancel := context.WithCancel(c.streams.ctx)
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	var writing sync.Mutex
	slots := make(chan struct{}, maxAtOnce)
	for {
		_ = conn.SetReadDeadline(time.Now().Add(forwardIdle))
		var req request
		if err := readFrame(conn, &req); err != nil {
			return
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			resp := c.answer(ctx, from, req)
			writing.Lock()
			defer writing.Unlock()
			_ = conn.SetWriteDeadline(time.Now().Add(forwardWrite))
			if writeFrame(conn, resp) != nil {
				_ = conn.Close()
			}
		})
	}
}

// answer does what is asked, here or not at all.
func (c *Cluster) answer(ctx context.Context, from string, req request) response {
	limit := min(time.Duration(req.LimitMs)*time.Millisecond, forwardLimit)
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if req.Op == opSigned && !c.banned(from) { // whether it leads or not
		return response{Number: req.Number, Blocks: c.forwarding.signed(req.Slot)}
	}
	index, err := c.serve(ctx, from, req)
	resp := response{Number: req.Number, Index: index}
	if err == nil {
		return resp
	}
	if errors.As(err, &resp.Refusal) {
		return resp
	}
	resp.Code, resp.Text = "failed", err.Error()
	var u *uncertain
	if errors.As(err, &u) {
		resp.Text = u.cause.Error()
	}
	for code, e := range codes {
		if errors.Is(err, e) {
			resp.Code = code
		}
	}
	return resp
}

var errNotLeading = errors.New("does not lead")

func (c *Cluster) serve(ctx context.Context, from string, req request) (uint64, error) {
	switch {
	case c.banned(from): // since its stream was opened
		return 0, errBanned
	case !c.IsLeader():
		return 0, notAppended(errNotLeading)
	}
	switch req.Op {
	case opPropose:
		e, err := fsm.Decode(req.Entry)
		if err != nil {
			return 0, err
		}
		if e.By != from {
			return 0, fmt.Errorf("%s forwarded an entry of %q", from, e.By)
		}
		c.count.forwardedIn.Add(1)
		return c.appendEntry(ctx, e)
	case opBarrier:
		err := c.barrier(ctx)
		state, _ := c.View()
		return state.Index, err
	case opTransfer:
		return 0, c.transferHere(ctx, req.Member)
	case opPing:
		return 0, nil
	case opRemove:
		return c.removeHere(ctx, req.Member, req.Actor)
	}
	return 0, fmt.Errorf("unknown request %q", req.Op)
}

// ask sends a request to the leader as it is known now.
func (c *Cluster) ask(ctx context.Context, req request) (uint64, error) {
	s := c.leadership.now.Load()
	if s.leader == "" || s.leader == c.cfg.ID {
		return 0, &NoLeaderError{}
	}
	return c.askLeader(ctx, s, req)
}

func (c *Cluster) askLeader(ctx context.Context, s *standing, req request) (uint64, error) {
	c.count.forwardedOut.Add(1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer c.leadership.watch(s, cancel)()
	deadline, _ := ctx.Deadline()
	req.LimitMs = max(1, time.Until(deadline).Milliseconds())
	p, err := c.forwarding.to(ctx, s.leader, s.address)
	if err != nil {
		return 0, notAppended(err)
	}
	resp, err := p.do(ctx, req)
	if err != nil {
		return 0, err
	}
	switch {
	case resp.Refusal != nil:
		return resp.Index, resp.Refusal
	case resp.Code == "":
		return resp.Index, nil
	}
	text := errors.New(resp.Text)
	if e, ok := codes[resp.Code]; ok {
		return resp.Index, &uncertain{e, text}
	}
	return resp.Index, text
}

// answers reports whether a member answers before ctx ends, whatever it says: one that does not lead says so.
func (c *Cluster) answers(ctx context.Context, s raft.Server) bool {
	address, err := whereabouts{c}.ServerAddr(s.ID)
	if err != nil {
		return false
	}
	p, err := c.forwarding.to(ctx, string(s.ID), string(address))
	if err != nil {
		return false
	}
	deadline, _ := ctx.Deadline()
	_, err = p.do(ctx, request{Op: opPing, LimitMs: max(1, time.Until(deadline).Milliseconds())})
	return err == nil
}

// forwarding keeps one stream per member that was asked.
type forwarding struct {
	dial  func(ctx context.Context, addr, id string) (net.Conn, error)
	signs atomic.Pointer[func(chain.Slot) []chain.Block] // nil: nothing

	mu    sync.Mutex
	peers map[string]*forwardPeer // by id@address
}

// to returns the open stream to a member, or opens one.
func (f *forwarding) to(ctx context.Context, id, addr string) (*forwardPeer, error) {
	key := id + "@" + addr
	f.mu.Lock()
	p := f.peers[key]
	f.mu.Unlock()
	if p != nil {
		return p, nil
	}
	conn, err := f.dial(ctx, addr, id)
	if err != nil {
		return nil, err
	}
	p = &forwardPeer{conn: conn, waiting: map[uint64]chan response{}}
	f.mu.Lock()
	if other := f.peers[key]; other != nil {
		f.mu.Unlock()
		_ = conn.Close()
		return other, nil
	}
	f.peers[key] = p
	f.mu.Unlock()
	go func() {
		p.read()
		f.mu.Lock()
		delete(f.peers, key)
		f.mu.Unlock()
	}()
	return p, nil
}

// forwardPeer is a stream to one member. Its reader notices the end of the stream while nothing is asked, so that a
// request hardly ever goes into a dead one.
type forwardPeer struct {
	conn net.Conn

	mu      sync.Mutex
	next    uint64
	waiting map[uint64]chan response
	dead    error
	heard   uint64 // frames received
}

func (p *forwardPeer) read() {
	for {
		var resp response
		err := readFrame(p.conn, &resp)
		p.mu.Lock()
		if err != nil {
			p.dead = err
			for _, ch := range p.waiting {
				close(ch)
			}
			p.waiting = nil
			p.mu.Unlock()
			_ = p.conn.Close()
			return
		}
		p.heard++
		if ch := p.waiting[resp.Number]; ch != nil {
			delete(p.waiting, resp.Number)
			ch <- resp
		}
		p.mu.Unlock()
	}
}

func (p *forwardPeer) do(ctx context.Context, req request) (response, error) {
	answer := make(chan response, 1)
	p.mu.Lock()
	if err := p.dead; err != nil { // taken under the lock: the reader may yet say why the stream ended
		p.mu.Unlock()
		return response{}, notAppended(err)
	}
	p.next++
	req.Number = p.next
	p.waiting[req.Number] = answer
	heard := p.heard
	_ = p.conn.SetWriteDeadline(time.Now().Add(forwardWrite))
	err := writeFrame(p.conn, req)
	p.mu.Unlock()
	if err != nil {
		p.end(err) // half a frame may be out: nothing may follow it
		return response{}, unknownOutcome(err)
	}
	select {
	case resp, ok := <-answer:
		if !ok {
			return response{}, unknownOutcome(io.ErrUnexpectedEOF)
		}
		return resp, nil
	case <-ctx.Done():
		p.mu.Lock()
		delete(p.waiting, req.Number)
		silent := p.heard == heard
		p.mu.Unlock()
		if silent {
			p.end(errSilent) // it may be dead: the next request opens another
		}
		return response{}, unknownOutcome(ctx.Err())
	}
}

var errSilent = errors.New("the stream is silent")

// end closes the stream; from now on nothing is written into it.
func (p *forwardPeer) end(err error) {
	p.mu.Lock()
	if p.dead == nil {
		p.dead = err
	}
	p.mu.Unlock()
	_ = p.conn.Close()
}

func (c *Cluster) dialForward(ctx context.Context, addr, id string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, helloTimeout)
	defer cancel()
	return c.streams.dial(ctx, kindForward, addr, id)
}

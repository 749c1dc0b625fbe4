package sim_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"roundtable/chain"
	"roundtable/cluster/control"
)

// block is a block of the simulated chain, with the chain below it.
type block struct {
	chain.Block
	below *block
}

// peers carries blocks between the nodes and keeps the ledger of what was signed.
type peers struct {
	delay func(from, to string) time.Duration // both are set before the first node runs
	cut   func(from, to string) bool

	mu     sync.Mutex
	nodes  []*node
	ledger map[chain.Slot][]string // who signed a block for the slot, one entry for each signature
	newest chain.Slot              // the highest slot signed
	fork   bool                    // all nodes may be stopped at once
	wrong  []string                // what a node was told that it must not be
}

func (p *peers) complain(wrong string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wrong = append(p.wrong, wrong)
}

func (p *peers) complaints() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.wrong
}

func (p *peers) signed(slot chain.Slot, by string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ledger[slot] = append(p.ledger[slot], by)
	p.newest = max(p.newest, slot)
}

// next is the first slot that nobody signed, nor any after it.
func (p *peers) next() chain.Slot {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.newest + 1
}

// doubled lists the slots that were signed more than once.
func (p *peers) doubled() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []string
	for slot, by := range p.ledger {
		if len(by) > 1 {
			list = append(list, fmt.Sprintf("slot %d by %v", slot, by))
		}
	}
	return list
}

// send tells the other nodes of a head, but not the one it came from; what is cut off is lost, what is on its way arrives.
func (p *peers) send(from string, head *block, source string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, to := range p.nodes {
		if to.id != from && to.id != source && !p.cut(from, to.id) {
			time.AfterFunc(p.delay(from, to.id), func() { to.receive(head, from) })
		}
	}
}

// connected counts the nodes that a node has a connection to.
func (p *peers) connected(id string) int {
	count := 0
	for _, n := range p.nodes {
		if n.id != id && !p.cut(id, n.id) && !p.cut(n.id, id) {
			count++
		}
	}
	return count
}

// meet makes every node tell its head, as nodeos does in the handshake of a new connection.
func (p *peers) meet() {
	for _, n := range p.nodes {
		p.send(n.id, n.top(), "")
	}
}

// node is a nodeos of the model kind, on a chain where every slot is ours: the hardest case. It builds a block as nodeos
// does (block k of a window is done 37.5*(k+1) ms before its slot's time), asks its gate, sends the block to the others,
// leaves incoming blocks aside while it builds its own, and tries again at the next slot when it is refused.
type node struct {
	id    string
	peers *peers
	now   func() time.Time

	mu       sync.Mutex
	gate     *gate
	saw      func(chain.Block, string)
	head     *block
	incoming *block // the best head that came while a block was being built
	building bool
	paused   bool
	running  bool
	starts   uint64
	frozen   time.Time     // until then nothing moves in the process
	froze    time.Time     // since then
	changed  chan struct{} // closed at each change
	kick     chan struct{} // wakes the production loop
	halted   bool          // it was stopped by its manager
	unheard  bool          // no block reaches it
	last     uint32        // it stops at this block (pause_at_block); 0: at none
}

var chainID = strings.Repeat("c1", 32)

var (
	errRefused = errors.New("connection refused")
	errStuck   = errors.New("no answer in time")
)

const (
	answerTime = 500 * time.Millisecond // of an HTTP call to a node that does not answer
	stuckTime  = 2 * time.Second        // after which a frozen node is seen to be one
)

func newNode(id string, p *peers, now func() time.Time, genesis *block) *node {
	n := &node{id: id, peers: p, now: now, head: genesis, changed: make(chan struct{}), kick: make(chan struct{}, 1)}
	p.nodes = append(p.nodes, n) // before any of them runs
	return n
}

// beat tells of a change; n.mu is held.
func (n *node) beat() {
	close(n.changed)
	n.changed = make(chan struct{})
	select {
	case n.kick <- struct{}{}:
	default:
	}
}

// boot starts the process, paused, for a manager's gate.
func (n *node) boot(g *gate, saw func(chain.Block, string)) {
	n.mu.Lock()
	n.gate, n.saw, n.running, n.halted, n.paused, n.frozen, n.last = g, saw, true, false, true, time.Time{}, 0
	n.starts++
	n.beat()
	n.mu.Unlock()
	n.peers.meet()
}

// die ends the process; its chain stays.
func (n *node) die() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.running, n.halted = false, false
	n.beat()
}

// stop is an orderly end of the process. It says what is wrong with that: the node of a holder must not be stopped, nor a second one.
func (n *node) stop() (wrong string) {
	for _, o := range n.peers.nodes {
		if o != n && o.stopped() && !n.peers.fork {
			wrong = "is stopped while that of " + o.id + " is"
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if v := n.gate.View(); n.running && v.Permitted > v.Closed {
		wrong = "is stopped while its gate signs"
	}
	n.running, n.halted = false, true
	n.beat()
	return wrong
}

func (n *node) stopped() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.halted
}

// deaf keeps blocks from the node.
func (n *node) deaf(is bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.unheard = is
}

// stopAt makes the node stop at a block; 0: at none.
func (n *node) stopAt(num uint32) {
	n.mu.Lock()
	n.last = num
	n.beat()
	n.mu.Unlock()
	n.peers.meet()
}

// full reports whether the node has come to the block that it stops at; n.mu is held.
func (n *node) full() bool { return n.last != 0 && n.head.Num >= n.last }

// freeze stops everything in the process for a while, as SIGSTOP does.
func (n *node) freeze(d time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.froze, n.frozen = time.Now(), time.Now().Add(d)
	for _, at := range []time.Duration{stuckTime, d} {
		time.AfterFunc(at, func() {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.beat()
		})
	}
}

func (n *node) top() *block {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.head
}

// run is the production loop, until ctx ends.
func (n *node) run(ctx context.Context) {
	refused, life := chain.Slot(0), uint64(0)
	for ctx.Err() == nil {
		n.mu.Lock()
		if !n.running || n.paused || n.full() || time.Now().Before(n.frozen) {
			n.mu.Unlock()
			select {
			case <-ctx.Done():
			case <-n.kick:
			}
			continue
		}
		now, parent, start := n.now(), n.head, n.starts
		if start != life {
			refused, life = 0, start // another process
		}
		slot := max(chain.SlotAt(now.UnixMilli()), parent.Slot, refused) + 1
		begin, due := time.UnixMilli(slot.UnixMilli()-chain.SlotMillis), dueTime(slot)
		if slot == slot.WindowFirst() && now.Before(begin) || refused+1 == slot && now.Before(begin) {
			n.mu.Unlock() // neither a new window nor another try begins early
			timer := time.NewTimer(begin.Sub(now))
			select {
			case <-ctx.Done():
			case <-n.kick:
			case <-timer.C:
			}
			timer.Stop()
			continue
		}
		n.building = true
		g := n.gate
		n.mu.Unlock()
		g.start(slot)
		pause(ctx, due.Sub(now)) // whatever comes: a pause of production is only a flag
		n.thawed(ctx)
		if !n.produce(ctx, g, start, parent, slot) {
			refused = slot
		}
	}
}

// dueTime is when the block of a slot is done.
func dueTime(slot chain.Slot) time.Time {
	return time.UnixMilli(slot.UnixMilli()).Add(-time.Duration(slot-slot.WindowFirst()+1) * 37500 * time.Microsecond)
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(max(d, 0))
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// thawed returns when the process is not frozen.
func (n *node) thawed(ctx context.Context) {
	n.mu.Lock()
	d := time.Until(n.frozen)
	n.mu.Unlock()
	if d > 0 {
		pause(ctx, d)
	}
}

// produce finishes the block on top of parent, if the gate signs it, and takes up what came meanwhile.
func (n *node) produce(ctx context.Context, g *gate, start uint64, parent *block, slot chain.Slot) bool {
	b := &block{Block: chain.Block{Slot: slot, Num: parent.Num + 1, ID: fmt.Sprintf("%08x%056x", parent.Num+1, id56(n.id, slot, start))}, below: parent}
	n.mu.Lock()
	alive := n.running && n.starts == start
	n.mu.Unlock()
	ok := alive && g.sign(ctx, chain.Block{Slot: b.Slot, Num: b.Num})
	if ok {
		n.peers.signed(slot, n.id)
		g.produced(b.Block)
	}
	n.mu.Lock()
	incoming := n.incoming
	n.building, n.incoming = false, nil
	if ok = ok && n.running && n.starts == start; ok {
		n.adopt(b)
	}
	n.mu.Unlock()
	if ok {
		n.peers.send(n.id, b, "")
	}
	if incoming != nil {
		n.receive(incoming, "")
	}
	return ok
}

// id56 makes two blocks for one slot differ, as transactions do on a real chain.
func id56(id string, slot chain.Slot, start uint64) []byte {
	return fmt.Appendf(nil, "%08d%-8s%012d", slot, id, start)
}

// adopt makes b the head and tells of the blocks that are new on the chain; n.mu is held.
func (n *node) adopt(b *block) {
	var fresh []chain.Block
	old := n.head
	for o := b; o != nil && o.Num > 1; o = o.below {
		for old != nil && old.Num > o.Num {
			old = old.below
		}
		if old == o {
			break // from here on both are one chain
		}
		fresh = append(fresh, o.Block)
	}
	n.head = b // no beat: a block that came is none (control.Node)
	for i := range fresh {
		n.saw(fresh[len(fresh)-1-i], producer)
	}
}

// receive takes a head from another node: the longer chain wins, and at the same length the one that was there first.
func (n *node) receive(b *block, from string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case !n.running || n.unheard || n.full():
	case n.building || time.Now().Before(n.frozen):
		if n.incoming == nil || b.Num > n.incoming.Num {
			n.incoming = b
		}
	case b.Num > n.head.Num:
		for n.last != 0 && b.Num > n.last {
			b = b.below
		}
		n.adopt(b)
		go n.peers.send(n.id, b, from)
	}
}

// tell sets the production flag.
func (n *node) tell(ctx context.Context, paused bool) error {
	n.mu.Lock()
	stuck := time.Now().Before(n.frozen)
	n.mu.Unlock()
	if stuck {
		pause(ctx, answerTime)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case !n.running:
		return errRefused
	case time.Now().Before(n.frozen):
		return errStuck
	case n.paused != paused:
		n.paused = paused
		n.beat()
	}
	return ctx.Err()
}

// Pause implements control.Node.
func (n *node) Pause(ctx context.Context) error { return n.tell(ctx, true) }

// Resume implements control.Node. It makes the node forget where it was to stop, as nodeos does (FACT 25).
func (n *node) Resume(ctx context.Context) error {
	err := n.tell(ctx, false)
	if err == nil {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.last = 0
	}
	return err
}

// What every node says; made once.
var configured, schedules = []string{"elsewhere:9876"}, []string{producer}

// View implements control.Node.
func (n *node) View() control.NodeView {
	n.mu.Lock()
	defer n.mu.Unlock()
	v := control.NodeView{
		State: "running", Run: n.starts, Healthy: true, Head: n.head.Block, LIB: n.head.Num, Paused: n.paused, PausedKnown: true, Peers: n.peers.connected(n.id), Configured: configured,
		ChainID: chainID, Schedule: schedules, ScheduleVer: 1, Version: "v1.2.2",
	}
	switch {
	case !n.running:
		v.State, v.Healthy, v.PausedKnown, v.Reason = "failed", false, false, "killed"
	case time.Now().Before(n.frozen) && time.Since(n.froze) >= stuckTime:
		v.Healthy, v.Reason = false, "the main thread does not answer"
	}
	return v
}

// Changed implements control.Node.
func (n *node) Changed() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.changed
}

// Block implements control.Node.
func (n *node) Block(_ context.Context, num uint32) (chain.Block, bool, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.running {
		return chain.Block{}, false, errRefused
	}
	for b := n.head; b != nil && b.Num >= num; b = b.below {
		if b.Num == num {
			return b.Block, true, nil
		}
	}
	return chain.Block{}, false, nil
}

// Signed implements control.Node.
func (n *node) Signed(first, last chain.Slot) (int, bool) {
	count := 0
	for b := n.top(); b != nil && b.Slot >= first; b = b.below {
		if b.Slot <= last {
			count++
		}
	}
	return count, true
}

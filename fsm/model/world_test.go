package model

import (
	"fmt"
	"strings"

	"roundtable/chain"
	"roundtable/fsm"
)

// Rules are the switches: all on is the protocol.
type Rules struct {
	S1 bool // a gate that proposed release or transfer never signs in that epoch again, whatever the answer
	S2 bool // the incarnation is drawn anew at each start, never stored
	S3 bool // only the granted incarnation may shrink its range; anyone else waits for the range to end
	S4 bool // the slot is recorded before the key is asked, and a timeout counts as signed
}

var allRules = Rules{true, true, true, true}

// Bounds keep the world finite.
type Bounds struct {
	Members int // at most maxMembers
	Slots   int // 1..Slots may be asked for; at most maxSlots
	Log     int // accepted entries that somebody has yet to apply; less than maxLog
	Sent    int // proposals ever made; at most maxSent
	Crashes int // in all
	Late    int // requests that the signer still holds for somebody who gave up
	Length  int // of a granted range
}

const (
	maxMembers = 3
	maxSlots   = 8
	maxLog     = 24
	maxSent    = 32
)

// world is one state of the model. It is comparable, so that it is its own key.
type world struct {
	log     [maxLog]uint16  // the state (of the fsm) after each accepted entry; log[0] is the first
	sent    [maxSent]uint16 // proposals under way, in order of their ids; each may be delivered never, once or often
	logged  uint8           // index of the newest entry
	nsent   uint8
	made    uint8 // proposals ever made
	crashes uint8
	members [maxMembers]manager
	signed  uint16          // bit per slot
	late    [maxSlots]uint8 // per slot: requests at the signer that nobody waits for any more
	doubled uint8           // the slot that was signed twice, or 0
}

// manager is a manager's process with its gate: all of it is lost in a crash but what S2 without its rule stores.
type manager struct {
	incarnation uint8 // number of the process; drawn, or stored where S2 is off
	applied     uint8 // index into the log: how far it has applied
	closed      uint8 // the highest epoch for which the gate has proposed release or transfer
	highest     uint8 // the highest slot the gate has recorded
	asking      uint8 // the slot for which it is waiting for the signer, or 0
}

// proposal is an entry as somebody sent it off. It is comparable, unlike some of fsm's commands.
type proposal struct {
	kind        string
	epoch       uint64
	incarnation string // whose lease it is, as the proposer believes
	to          string
	toProcess   string
	first, last uint8
	signed      uint8
}

func (p proposal) command() fsm.Command {
	switch p.kind {
	case "grant":
		return fsm.Grant{Epoch: p.epoch, Holder: p.to, Incarnation: p.toProcess, First: chain.Slot(p.first), Last: chain.Slot(p.last)}
	case "extend":
		return fsm.Extend{Epoch: p.epoch, Incarnation: p.incarnation, Last: chain.Slot(p.last)}
	case "release":
		return fsm.Release{Epoch: p.epoch, Incarnation: p.incarnation, Signed: chain.Slot(p.signed)}
	case "transfer":
		return fsm.Transfer{Epoch: p.epoch, Incarnation: p.incarnation, Signed: chain.Slot(p.signed), To: p.to, ToIncarnation: p.toProcess, Last: chain.Slot(p.last)}
	case "start":
		return fsm.PutMember{Member: fsm.Member{ID: p.to, Incarnation: p.toProcess, EntryVersion: 1}}
	}
	panic(p.kind)
}

func (p proposal) String() string {
	switch p.kind {
	case "grant":
		return fmt.Sprintf("grant(epoch %d, %s, slots %d..%d)", p.epoch, who(p.toProcess), p.first, p.last)
	case "extend":
		return fmt.Sprintf("extend(epoch %d, %s, to slot %d)", p.epoch, who(p.incarnation), p.last)
	case "release":
		return fmt.Sprintf("release(epoch %d, %s, signed %d)", p.epoch, who(p.incarnation), p.signed)
	case "transfer":
		return fmt.Sprintf("transfer(epoch %d, %s, signed %d, to %s up to slot %d)", p.epoch, who(p.incarnation), p.signed, who(p.toProcess), p.last)
	}
	return fmt.Sprintf("put(%s)", who(p.toProcess))
}

func name(m int) string { return string(rune('a' + m)) }

// process is the incarnation of member m's nth process.
func process(m int, n uint8) string { return fmt.Sprintf("%s%031d", name(m), n) }

// who shortens an incarnation to "a0".
func who(incarnation string) string {
	return incarnation[:1] + strings.TrimLeft(incarnation[1:31], "0") + incarnation[31:]
}

// table numbers the states and proposals that were met, and remembers what Apply gave: a world holds numbers only.
type table struct {
	rules     Rules
	bounds    Bounds
	states    []*fsm.State
	byContent map[string]uint16
	proposals []proposal
	byValue   map[proposal]uint16
	applied   map[[2]uint16]uint16 // (state, proposal) -> the next state; the same one where it is refused
}

func newTable(rules Rules, bounds Bounds) *table {
	return &table{rules: rules, bounds: bounds, byContent: map[string]uint16{}, proposals: make([]proposal, 1), byValue: map[proposal]uint16{}, applied: map[[2]uint16]uint16{}}
}

// first is the world at its birth: every member's record is there, and the lease was granted to a, who does not know yet.
func (t *table) first() world {
	s := fsm.New()
	for m := range t.bounds.Members {
		s, _ = s.Apply(fsm.Entry{Index: s.Index + 1, Command: proposal{kind: "start", to: name(m), toProcess: process(m, 0)}.command()})
	}
	var w world
	w.log[0] = t.number(s)
	w.log[1] = t.number(t.accept(s, proposal{kind: "grant", epoch: 1, to: "a", toProcess: process(0, 0), first: 1, last: uint8(t.bounds.Length)}))
	w.logged = 1
	return w
}

// number gives a state its number: by what the rules look at, not by its history.
func (t *table) number(s *fsm.State) uint16 {
	content := fmt.Sprint(s.Lease)
	for _, id := range s.MemberIDs() {
		content += s.Members[id].Incarnation
	}
	n, ok := t.byContent[content]
	if !ok {
		n = uint16(len(t.states))
		t.states = append(t.states, s)
		t.byContent[content] = n
	}
	return n
}

// dead reports that the state will never accept the proposal again: epochs only grow and a release is final, which
// fsm's own tests see to. Such a proposal is not carried along, so that more of what matters can be explored.
func dead(s *fsm.State, p proposal) bool {
	switch p.kind {
	case "start":
		return false
	case "grant":
		return p.epoch <= s.Lease.Epoch
	}
	return p.epoch < s.Lease.Epoch || s.Lease.Released
}

// settle drops what can have no effect any more, so that worlds with the same future are the same.
func (t *table) settle(w world) world {
	head, kept := t.states[w.log[w.logged]], 0
	for i := range int(w.nsent) {
		if id := w.sent[i]; !dead(head, t.proposals[id]) {
			w.sent[kept] = id
			kept++
		}
	}
	clear(w.sent[kept:])
	w.nsent = uint8(kept)
	if int(w.crashes) < t.bounds.Crashes {
		return w // whoever crashes applies the log again from its beginning
	}
	base := w.logged
	for m := range t.bounds.Members {
		base = min(base, w.members[m].applied)
	}
	copy(w.log[:], w.log[base:])
	clear(w.log[maxLog-int(base):])
	w.logged -= base
	clear(w.log[w.logged+1:])
	for m := range t.bounds.Members {
		w.members[m].applied -= base
	}
	return w
}

func (t *table) send(w world, p proposal) (world, bool) {
	id, ok := t.byValue[p]
	if !ok {
		id = uint16(len(t.proposals))
		t.proposals = append(t.proposals, p)
		t.byValue[p] = id
	}
	at := int(w.nsent)
	for i := range int(w.nsent) {
		if w.sent[i] == id {
			return w, false // it is under way already, and may be delivered any number of times
		}
		if w.sent[i] > id {
			at = i
			break
		}
	}
	if int(w.made) >= t.bounds.Sent || dead(t.states[w.log[w.logged]], p) {
		return w, false
	}
	copy(w.sent[at+1:], w.sent[at:w.nsent])
	w.sent[at] = id
	w.nsent++
	w.made++
	return w, true
}

// deliver gives the proposal to the log; a refused one changes nothing and is left out of it.
func (t *table) deliver(w world, id uint16) (world, bool) {
	if int(w.logged) >= t.bounds.Log {
		return w, false
	}
	now := w.log[w.logged]
	key := [2]uint16{now, id}
	next, ok := t.applied[key]
	if !ok {
		next = t.number(t.accept(t.states[now], t.proposals[id]))
		t.applied[key] = next
	}
	if next == now {
		return w, false
	}
	w.logged++
	w.log[w.logged] = next
	return t.settle(w), true
}

// accept is the real state machine. Where S3 is off, it takes a release from anybody, and a grant of slots that the range
// before still holds: a leader's belief that the holder is gone then stands in for the range's end.
func (t *table) accept(s *fsm.State, p proposal) *fsm.State {
	e := fsm.Entry{Index: s.Index + 1, Command: p.command()}
	next, result := s.Apply(e)
	if result.Err == nil || t.rules.S3 {
		return next
	}
	forced := *s
	switch c := e.Command.(type) {
	case fsm.Release:
		c.Incarnation = s.Lease.Incarnation
		e.Command = c
	case fsm.Grant:
		if s.Lease.Open() && c.First >= s.Lease.First && c.First <= s.Lease.Last {
			forced.Lease.Last = c.First - 1
		}
	default:
		return next
	}
	if forcedNext, result := forced.Apply(e); result.Err == nil {
		return forcedNext
	}
	return next
}

// view is the lease as member m has applied it.
func (t *table) view(w world, m int) *fsm.State { return t.states[w.log[w.members[m].applied]] }

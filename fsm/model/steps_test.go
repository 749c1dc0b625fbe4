package model

import (
	"fmt"

	"roundtable/chain"
	"roundtable/fsm"
)

// step is one thing that may happen.
type step struct {
	to   world
	text func() string // said only in traces
}

// steps lists all that may happen next. Nothing has to happen: not delivering is a loss, not stepping is a freeze.
func (t *table) steps(w world, out []step) []step {
	add := func(to world, format string, args ...any) {
		out = append(out, step{to, func() string { return fmt.Sprintf(format, args...) }})
	}
	for i := range int(w.nsent) {
		if to, ok := t.deliver(w, w.sent[i]); ok {
			add(to, "the log takes %v", t.proposals[w.sent[i]])
		}
	}
	for slot := range t.bounds.Slots {
		if w.late[slot] > 0 {
			to := w
			to.late[slot]--
			add(to.sign(uint8(slot+1)), "the signer signs slot %d for a request whose gate gave up, closed or died", slot+1)
		}
	}
	for m := range t.bounds.Members {
		out = t.managerSteps(w, m, out)
	}
	return out
}

// managerSteps lists what manager m may do.
func (t *table) managerSteps(w world, m int, out []step) []step {
	me, s := w.members[m], t.view(w, m)
	mine := s.Lease.Open() && s.Lease.Holder == name(m) && s.Lease.Incarnation == process(m, me.incarnation)
	who := who(process(m, me.incarnation))
	add := func(to world, format string, args ...any) {
		out = append(out, step{to, func() string { return who + " " + fmt.Sprintf(format, args...) }})
	}
	propose := func(w world, why string, p proposal) {
		if to, ok := t.send(w, p); ok {
			add(to, "%sproposes %v", why, p)
		}
	}
	if me.applied < w.logged {
		to := w
		to.members[m].applied++
		add(t.settle(to), "applies: %s", lease(t.states[w.log[me.applied+1]]))
	}

	// The gate: check and record under one lock; the signer answers whenever it likes.
	if mine && me.asking == 0 && s.Lease.Epoch > uint64(me.closed) {
		for slot := max(uint8(s.Lease.First), me.highest+1); slot <= uint8(min(s.Lease.Last, chain.Slot(t.bounds.Slots))); slot++ {
			to := w
			to.members[m].asking = slot
			if t.rules.S4 {
				to.members[m].highest = slot
			}
			add(to, "asks the signer for slot %d", slot)
		}
	}
	if me.asking != 0 {
		to := w.sign(me.asking)
		to.members[m].asking = 0
		to.members[m].highest = max(me.highest, me.asking)
		add(to, "signs slot %d", me.asking)
		if to, ok := t.abandon(w, m); ok {
			add(to, "gives up waiting for the signer (slot %d)", me.asking)
		}
	}

	// The holder: extend; close and release; close and transfer.
	if mine && s.Lease.Epoch > uint64(me.closed) {
		l := s.Lease
		if int(l.Last) < t.bounds.Slots {
			propose(w, "", proposal{kind: "extend", epoch: l.Epoch, incarnation: l.Incarnation, last: uint8(l.Last) + 1})
		}
		closed := w
		closed.members[m].closed = uint8(l.Epoch)
		signed := max(uint8(l.First)-1, me.highest)
		propose(closed, "closes its gate and ", proposal{kind: "release", epoch: l.Epoch, incarnation: l.Incarnation, signed: signed})
		if int(signed) < t.bounds.Slots {
			for other := range t.bounds.Members {
				if other != m {
					to := s.Members[name(other)]
					propose(closed, "closes its gate and ", proposal{kind: "transfer", epoch: l.Epoch, incarnation: l.Incarnation, signed: signed,
						to: to.ID, toProcess: to.Incarnation, last: signed + 1})
				}
			}
		}
	}
	if !t.rules.S1 && me.closed != 0 {
		to := w
		to.members[m].closed = 0
		add(to, "gets no answer and opens its gate again")
	}

	// The leader: anybody, for every deposed leader once was one. It grants behind the range, or tries to take over within.
	l := s.Lease
	for other := range t.bounds.Members {
		to := s.Members[name(other)]
		for _, first := range []chain.Slot{l.Last + 1, l.First + 1} {
			if l.Epoch == 0 && first != l.Last+1 || int(first) > t.bounds.Slots {
				continue
			}
			last := min(int(first)+t.bounds.Length-1, t.bounds.Slots)
			propose(w, "", proposal{kind: "grant", epoch: l.Epoch + 1, to: to.ID, toProcess: to.Incarnation, first: uint8(first), last: uint8(last)})
		}
	}
	if l.Open() && !mine {
		propose(w, "takes the holder for dead and ", proposal{kind: "release", epoch: l.Epoch, incarnation: process(m, me.incarnation), signed: uint8(l.First) - 1})
	}

	// A crash: memory is lost, the log is applied again from its beginning, what the signer was asked stays asked.
	if int(w.crashes) < t.bounds.Crashes {
		to, ok := t.abandon(w, m)
		if me.asking == 0 {
			to, ok = w, true
		}
		to.crashes++
		to.members[m] = manager{incarnation: me.incarnation}
		if t.rules.S2 {
			to.members[m].incarnation++
			var sent bool
			to, sent = t.send(to, proposal{kind: "start", to: name(m), toProcess: process(m, me.incarnation+1)})
			ok = ok && sent
		}
		if ok {
			add(t.settle(to), "crashes and starts anew")
		}
	}
	return out
}

// abandon leaves a request at the signer with nobody waiting for it.
func (t *table) abandon(w world, m int) (world, bool) {
	slot := w.members[m].asking
	total := 0
	for _, n := range w.late {
		total += int(n)
	}
	if slot == 0 || total >= t.bounds.Late {
		return w, false
	}
	w.late[slot-1]++
	w.members[m].asking = 0
	return w, true
}

// sign is a signature that exists now. Each request is for a digest of its own, so a second one for a slot is a double.
func (w world) sign(slot uint8) world {
	bit := uint16(1) << slot
	if w.signed&bit != 0 {
		w.doubled = slot
	}
	w.signed |= bit
	return w
}

func lease(s *fsm.State) string {
	l := s.Lease
	if l.Epoch == 0 {
		return "no lease"
	}
	text := fmt.Sprintf("epoch %d, %s, slots %d..%d", l.Epoch, who(l.Incarnation), l.First, l.Last)
	if l.Released {
		text += ", released"
	}
	return text
}

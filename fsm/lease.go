package fsm

import "roundtable/chain"

// MaxLease bounds a lease in slots: how long a range may be granted at once, how far one extension may reach beyond the
// last, and (by the leader's clamp) how far the reach may lie beyond slot(now). design/lease.md, "Liveness".
const MaxLease = 16

// maxSlot (17,000 years of chain time) keeps every sum of slots far from wrapping around: a transfer at the last uint64
// would otherwise grant slots from 0 again, which an earlier epoch may have signed.
const maxSlot = chain.Slot(1) << 40

// Lease says which incarnation of which member may sign, and for which slots. The epoch is the fencing token and only
// grows. The invariant that everything rests on: what two epochs may *sign* never overlaps. No clock, timeout or
// assumption about pauses or partitions is in its proof.
//
// What an epoch may sign is First..Last as far as its own applied entries ever said. Ranges as granted may overlap the
// next epoch's only where the holder itself shrank its range by a release or transfer, having closed its gate before.
type Lease struct {
	Epoch       uint64     `json:"epoch"`       // 0: there was never a lease
	Holder      string     `json:"holder"`      // member id
	Incarnation string     `json:"incarnation"` // of the holder, 32 hex digits
	First       chain.Slot `json:"first"`
	Last        chain.Slot `json:"last"`
	Released    bool       `json:"released"` // final for this epoch; Last is then the last slot that was signed
}

// Open reports whether somebody may still sign under this lease by the state alone.
func (l Lease) Open() bool { return l.Epoch > 0 && !l.Released }

// Grant makes a new lease. Accepted iff the epoch is the current one plus 1, the holder may produce and the incarnation
// is the one in its record, First > current Last, First <= Last and Last-First < MaxLease. Only the leader proposes it.
type Grant struct {
	Epoch       uint64     `json:"epoch"`
	Holder      string     `json:"holder"`
	Incarnation string     `json:"incarnation"`
	First       chain.Slot `json:"first"`
	Last        chain.Slot `json:"last"`
	Reason      string     `json:"reason,omitempty"` // why this member, for the history
}

// Extend moves Last forward. Accepted iff epoch and incarnation are the lease's, it is not released, Last > its Last and
// by at most MaxLease.
type Extend struct {
	Epoch       uint64     `json:"epoch"`
	Incarnation string     `json:"incarnation"`
	Last        chain.Slot `json:"last"`
}

// Release shrinks the lease to what was signed and ends it. Accepted as an extension is, with First-1 <= Signed <= Last.
// The proposer has closed its gate for this epoch before proposing, and never opens it again, whatever the answer [S1].
type Release struct {
	Epoch       uint64      `json:"epoch"`
	Incarnation string      `json:"incarnation"`
	Signed      chain.Slot  `json:"signed"`
	Block       chain.Block `json:"block"`
	Reason      string      `json:"reason,omitempty"`
}

// Transfer is a release and the next grant in one entry: the handoff's single commit. Accepted as Release, then as Grant
// with First = Signed+1; where it names an operation, that one must be at its stop step, for this epoch and this target.
type Transfer struct {
	Epoch         uint64      `json:"epoch"`
	Incarnation   string      `json:"incarnation"`
	Signed        chain.Slot  `json:"signed"`
	Block         chain.Block `json:"block"` // the last block signed, which the target waits for [L2]
	To            string      `json:"to"`
	ToIncarnation string      `json:"to_incarnation"`
	Last          chain.Slot  `json:"last"`
	Operation     uint64      `json:"operation,omitempty"` // the handoff this belongs to; its step moves on in the same commit
	Deadline      int64       `json:"deadline,omitempty"`  // of the operation's next step, Unix ms
}

// Kind names the entry.
func (Grant) Kind() string { return "lease.grant" }

// Kind names the entry.
func (Extend) Kind() string { return "lease.extend" }

// Kind names the entry.
func (Release) Kind() string { return "lease.release" }

// Kind names the entry.
func (Transfer) Kind() string { return "lease.transfer" }

func (c Grant) apply(s *State, e Entry) error {
	if c.Epoch != s.Lease.Epoch+1 {
		return ErrEpoch.with("grant of epoch %d, the next is %d", c.Epoch, s.Lease.Epoch+1)
	}
	if err := s.mayHold(c.Holder, c.Incarnation); err != nil {
		return err
	}
	if c.First <= s.Lease.Last {
		return ErrRange.with("first %d is not beyond the last granted slot %d", c.First, s.Lease.Last)
	}
	if err := mayGrant(c.First, c.Last); err != nil {
		return err
	}
	var after chain.Block
	if s.Lease.Released {
		after = s.LastBlock
	}
	s.grant(Lease{Epoch: c.Epoch, Holder: c.Holder, Incarnation: c.Incarnation, First: c.First, Last: c.Last}, after)
	s.note(e, "lease.granted", c.Holder, "epoch %d, slots from %d%s", c.Epoch, c.First, because(c.Reason))
	return nil
}

func (c Extend) apply(s *State, _ Entry) error {
	if err := s.mayChange(c.Epoch, c.Incarnation); err != nil {
		return err
	}
	if c.Last <= s.Lease.Last || c.Last-s.Lease.Last > MaxLease || c.Last > maxSlot {
		return ErrRange.with("last %d is not 1 to %d beyond %d", c.Last, MaxLease, s.Lease.Last)
	}
	s.Lease.Last = c.Last
	return nil
}

func (c Release) apply(s *State, e Entry) error {
	if err := s.release(c.Epoch, c.Incarnation, c.Signed, c.Block); err != nil {
		return err
	}
	s.note(e, "lease.released", s.Lease.Holder, "epoch %d, signed up to slot %d%s", c.Epoch, c.Signed, because(c.Reason))
	return nil
}

func (c Transfer) apply(s *State, e Entry) error {
	from := s.Lease.Holder
	if err := s.release(c.Epoch, c.Incarnation, c.Signed, c.Block); err != nil {
		return err
	}
	if err := s.mayHold(c.To, c.ToIncarnation); err != nil {
		return err
	}
	first := c.Signed + 1
	if err := mayGrant(first, c.Last); err != nil {
		return err
	}
	if c.Operation != 0 {
		if o, ok := s.Operation(c.Operation); ok && o.Handoff != nil && (o.Handoff.To != c.To || o.Handoff.Epoch != c.Epoch) {
			return ErrHandoff.with("operation %d hands epoch %d over to %q, not epoch %d to %q", o.ID, o.Handoff.Epoch, o.Handoff.To, c.Epoch, c.To)
		}
		if err := s.moveOperation(e, c.Operation, StepStop, StepStart, c.To, c.Deadline); err != nil {
			return err
		}
	}
	s.grant(Lease{Epoch: c.Epoch + 1, Holder: c.To, Incarnation: c.ToIncarnation, First: first, Last: c.Last}, c.Block)
	s.note(e, "lease.transferred", c.To, "from %s, epoch %d, slots from %d", from, c.Epoch+1, first)
	return nil
}

// mayGrant reports why a range may not be granted at once, or nil.
func mayGrant(first, last chain.Slot) error {
	if last < first || last-first >= MaxLease || last > maxSlot {
		return ErrRange.with("%d..%d is not a range of 1 to %d slots", first, last, MaxLease)
	}
	return nil
}

// mayHold reports why a member with this incarnation may not be granted the lease, or nil.
func (s *State) mayHold(id, incarnation string) error {
	m, ok := s.Members[id]
	switch {
	case !ok:
		return ErrMember.with("%q", id)
	case m.Witness:
		return ErrHolder.with("%q is a witness: it votes and has no node", id)
	case incarnation == "" || m.Incarnation != incarnation:
		return ErrIncarnation.with("%q has another incarnation now", id)
	}
	return nil
}

// mayChange reports why the granted incarnation's change of the lease is not accepted, or nil.
func (s *State) mayChange(epoch uint64, incarnation string) error {
	switch {
	case epoch == 0 || epoch != s.Lease.Epoch:
		return ErrEpoch.with("epoch %d, the lease is at %d", epoch, s.Lease.Epoch)
	case incarnation != s.Lease.Incarnation:
		return ErrIncarnation.with("epoch %d belongs to %q", epoch, s.Lease.Holder)
	case s.Lease.Released:
		return ErrReleased.with("epoch %d", epoch)
	}
	return nil
}

// release is the common half of Release and Transfer.
func (s *State) release(epoch uint64, incarnation string, signed chain.Slot, block chain.Block) error {
	if err := s.mayChange(epoch, incarnation); err != nil {
		return err
	}
	if signed+1 < s.Lease.First || signed > s.Lease.Last {
		return ErrRange.with("signed %d is not in %d..%d", signed, s.Lease.First-1, s.Lease.Last)
	}
	s.Lease.Last, s.Lease.Released = signed, true
	s.LastBlock = block
	return nil
}

// grant replaces the lease and remembers the old one's range.
func (s *State) grant(l Lease, after chain.Block) {
	if s.Lease.Epoch > 0 {
		s.Past = appendBounded(s.Past, s.Lease, maxPast)
	}
	s.Lease = l
	s.After = after
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + reason
}

// Signable reports whether slot s lies in what some epoch could sign. known is false for slots before the first lease
// that the bounded memory of past leases holds. A block of ours in a known slot that no epoch could sign was not signed
// by this cluster [S10]; but a member that lags must look again once it has applied more of the log.
func (s *State) Signable(slot chain.Slot) (ok, known bool) {
	if s.Lease.Epoch > 0 && slot >= s.Lease.First {
		return slot <= s.Lease.Last, true
	}
	for i := len(s.Past) - 1; i >= 0; i-- {
		if slot >= s.Past[i].First {
			return slot <= s.Past[i].Last, true
		}
	}
	return false, false
}

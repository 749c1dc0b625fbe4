package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"roundtable/chain"
	"roundtable/cluster/health"
	"roundtable/fsm"
	"roundtable/logkey"
)

// graceSlots is how long a new leader waits after its barrier before it grants a lease that was not released: the holder's
// extensions may just be finding their way to it, and an election must not move production [L5].
const graceSlots = 2

// hearSlots is how long a new leader waits for a report of anybody else: until then it cannot know that its own clock is
// wrong. Reports come once a slot; where gossip is broken and raft is not, it goes on without.
const hearSlots = 4

// leaseInput is all that planLease looks at.
type leaseInput struct {
	state  *fsm.State
	peers  map[string]health.Peer
	now    chain.Slot    // by the leader's clock
	at     time.Time     // the same, finer
	since  chain.Slot    // slot in which this leader's barrier was done
	ahead  time.Duration // of the leader's clock against the median of the members' clocks; 0 if there is no median
	jumped bool          // the leader's clock did, and its process is about to end
	apart  time.Duration // how far two clocks differ, where that is all there are
	// offsets are how far the other members' clocks are ahead of that median, as far as they were heard.
	offsets map[string]time.Duration
}

// leaseDecision is a grant to propose, or the reason for none.
type leaseDecision struct {
	grant  *fsm.Grant
	reason string
}

// headAhead is how far a head may be ahead of the leader's clock: nodeos signs up to a window early. A block that is further ahead
// was signed by a time that the leader's clock has not reached.
const headAhead = chain.WindowSlots

// heldReason is planLease's where there is nothing to do.
const heldReason = "the lease is held"

// planLease decides whether to grant the lease, and to whom. Clocks and reports decide liveness only: the state accepts a
// grant only beyond the range it has, so a wrong decision here can cost slots and never a double signature.
func planLease(in leaseInput) leaseDecision {
	s, l := in.state, in.state.Lease
	holder := s.Members[l.Holder]
	forking := forkReached(s, in.peers)
	if forking != 0 && len(throughFork(s, in.at)) > 0 {
		forking = 0
	}
	switch {
	case s.Cluster.Name == "":
		return leaseDecision{reason: "the cluster has no configuration yet"}
	case l.Open() && holder.Incarnation == l.Incarnation && in.now < l.Last:
		return leaseDecision{reason: heldReason}
	case forking != 0: // no block behind it by the old version
		return leaseDecision{reason: fmt.Sprintf("nobody produces until all nodes are through the hard fork of operation %d", forking)}
	case in.jumped:
		return leaseDecision{reason: "the leader's clock jumped"}
	// A first slot far in the future, once granted, could never be taken back.
	case in.ahead.Abs() > maxOffset:
		return leaseDecision{reason: fmt.Sprintf("the leader's clock is %d ms off the median", in.ahead.Milliseconds())}
	case in.apart > maxOffset:
		return leaseDecision{reason: fmt.Sprintf("the two clocks that are left differ by %d ms and nobody can say which is right: mend the clocks", in.apart.Milliseconds())}
	case l.Open() && in.now < in.since+graceSlots:
		return leaseDecision{reason: "a new leader gives the holder time to extend"}
	case len(in.offsets) == 0 && len(s.Members) > 1 && in.now < in.since+hearSlots:
		return leaseDecision{reason: "a new leader has not heard the others' clocks yet"}
	}
	// Whom a recovery lost may have signed by the right time, and what was reckoned then by a late clock is too little.
	if head := bestHead(s, in.peers); l.Fenced() && head > in.now+headAhead {
		return leaseDecision{reason: fmt.Sprintf("after the recovery: a block of slot %d is seen, %d slots ahead of the leader's clock: set the clock", head, head-in.now)}
	}
	candidates := leaseCandidates(in, unfit)
	if fit := func(c Candidate) bool { return c.Fit }; !slices.ContainsFunc(candidates, fit) {
		if better := leaseCandidates(in, unwell); slices.ContainsFunc(better, fit) {
			candidates = better
		}
	}
	held := ""
	wrongClocksLast(candidates, in.offsets)
	for _, c := range candidates {
		if !c.Fit {
			break // the fit ones come first
		}
		if through := throughFork(s, in.at); len(through) > 0 && !slices.Contains(through, c.ID) {
			continue // it is fit for the old chain
		}
		if s.Cluster.Maintenance && l.Epoch > 0 && c.ID != l.Holder {
			held += " " + c.ID
			continue // no automatic move
		}
		return leaseDecision{grant: newGrant(in, c.ID), reason: grantReason(in, c.ID)}
	}
	if held != "" {
		return leaseDecision{reason: "the cluster is in maintenance: fit, but production is not moved to them:" + held + "; end it to let it move"}
	}
	return leaseDecision{reason: "no fit candidate: " + reasons(candidates)}
}

// forkReached is the hard fork under way whose block is there, 0 for none: behind it nobody may produce until all nodes are switched.
// Before it, production goes on, or the block would not come.
func forkReached(s *fsm.State, peers map[string]health.Peer) uint64 {
	o, ok := s.HardFork()
	if !ok {
		return 0
	}
	if max(s.LastBlock.Num, s.After.Num) >= o.Roll.Upgrade.AtBlock { // its holder signed it, whatever is heard
		return o.ID
	}
	for _, part := range o.Current().Parts {
		p := peers[part.Member]
		if part.Ended != 0 || p.Alive && p.Report.Head.Num >= o.Roll.Upgrade.AtBlock {
			return o.ID
		}
	}
	return 0
}

// forkPatience is how long nobody produces behind the block of a hard fork once somebody is through: one that does not come through
// must not cost all of them more.
const forkPatience = 30 * time.Second

// throughFork are the members that production may go on with behind a hard fork although others are not through.
func throughFork(s *fsm.State, now time.Time) []string {
	o, ok := s.HardFork()
	if !ok {
		return nil
	}
	first := int64(math.MaxInt64)
	for _, part := range o.Current().Parts {
		if slices.Contains(o.Roll.Done, part.Member) {
			first = min(first, part.Ended)
		}
	}
	if len(o.Roll.Done) == 0 || now.UnixMilli() <= first+forkPatience.Milliseconds() {
		return nil
	}
	return o.Roll.Done
}

// leaseCandidates are all members, those first that the lease may be granted to.
func leaseCandidates(in leaseInput, unfit judge) []Candidate {
	s, l := in.state, in.state.Lease
	if l.Open() && s.Members[l.Holder].Incarnation == l.Incarnation {
		return mutesLast(rank(s, withoutOwnBlocks(s, in.peers, l.Holder), in.at, false, unfit), l.Holder)
	}
	return rank(s, in.peers, in.at, false, unfit)
}

// mutesLast puts a holder that let its range run out behind the other fit ones. It had a leader for longer than the grace,
// and an extension is accepted however late it comes: a holder that is alive and did not extend cannot hear what is
// committed, and would be granted its own lease again and again while its reports still look well (docs/decisions/0006).
func mutesLast(list []Candidate, holder string) []Candidate {
	mute := func(c Candidate) bool { return c.Fit && c.ID == holder }
	i := slices.IndexFunc(list, mute)
	if i < 0 {
		return list
	}
	fit := 0
	for fit < len(list) && list[fit].Fit {
		fit++
	}
	c := list[i]
	return slices.Insert(slices.Delete(list, i, i+1), fit-1, c)
}

// withoutOwnBlocks is what the members report, but the holder's head no newer than what others have. Where a mute one's p2p
// is stuck too, its newest blocks are known to nobody else, and for them everybody else would count as behind.
func withoutOwnBlocks(s *fsm.State, peers map[string]health.Peer, holder string) map[string]health.Peer {
	list := maps.Clone(peers)
	p := list[holder]
	p.Report.Head.Slot = min(p.Report.Head.Slot, othersHead(s, peers, holder))
	list[holder] = p
	return list
}

// wrongClocksLast puts fit ones whose clock is off behind the others: a member that was just started does not know it yet,
// and reports no offset.
func wrongClocksLast(list []Candidate, offsets map[string]time.Duration) {
	slices.SortStableFunc(list, func(a, b Candidate) int {
		return cmp.Or(-cmpBool(a.Fit, b.Fit), cmpBool(offsets[a.ID].Abs() > maxOffset, offsets[b.ID].Abs() > maxOffset))
	})
}

// newGrant makes the grant for a member: beyond the old range, from the slot now on. The first lease of all is also beyond the heads
// seen, whose blocks were signed before this cluster existed, within reason: a chain's clock may be wrong for ever. The first
// one after a recovery is beyond them whatever they are: those that it lost may have signed them.
func newGrant(in leaseInput, id string) *fsm.Grant {
	l := in.state.Lease
	first := max(l.Last+1, in.now)
	switch head := bestHead(in.state, in.peers); {
	case l.Epoch == 0:
		first = max(first, in.now+1, min(head+1, in.now+chain.WindowSlots)) // slot(now) is over
	case l.Fenced():
		first = max(first, in.now+1, head+1)
	}
	return &fsm.Grant{
		Epoch: l.Epoch + 1, Holder: id, Incarnation: in.state.Members[id].Incarnation,
		First: first, Last: min(max(in.now, first-1)+chain.Slot(in.state.Cluster.Slots), first+fsm.MaxLease-1), Reason: grantReason(in, id),
	}
}

func grantReason(in leaseInput, id string) string {
	l := in.state.Lease
	switch {
	case l.Epoch == 0:
		return "first lease"
	case l.Fenced():
		return "the first lease after a recovery"
	case l.Released:
		return "the lease was released"
	case in.state.Members[l.Holder].Incarnation != l.Incarnation:
		return "the holder was restarted"
	case id == l.Holder:
		return "the holder's range was used up"
	}
	return "failover: the holder's range was used up"
}

func reasons(list []Candidate) string {
	var texts []string
	for _, c := range list {
		if !c.Fit {
			texts = append(texts, c.ID+" "+c.Reason)
		}
	}
	return strings.Join(texts, "; ")
}

// leaseController grants; it runs only while this member leads.
type leaseController struct {
	*Manager
	log   *slog.Logger
	since chain.Slot
	said  string
}

// Name is the controller's.
func (*leaseController) Name() string { return "lease" }

// Reconcile grants the lease where planLease says so.
func (c *leaseController) Reconcile(ctx context.Context, s *fsm.State) (time.Duration, error) {
	in := leaseInput{state: s, peers: c.cluster.Peers(), at: c.now(), since: c.since}
	c.observeClocks(in.peers) // whom planLease weighs by a report must not be judged without it
	in.ahead, in.apart, _ = c.clocks.judge(in.at)
	in.offsets = c.clocks.offsets(in.ahead)
	in.now = chain.SlotAt(in.at.UnixMilli())
	in.jumped = c.jumped() // after the clock was read
	d := planLease(in)
	c.noteReason(d)
	if d.grant == nil {
		return c.untilSlot(in.now + 1), nil
	}
	// A proposal that hangs must not keep the next try from a world that has changed: one slot, then look again.
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_, err := c.cluster.Propose(ctx, *d.grant, "")
	if refused(err) {
		err = nil
	}
	return c.untilSlot(in.now + 1), err
}

// noteReason keeps the reason for the status, and logs why nobody has the lease where that is news: how far a head is behind
// changes with each slot, and is none.
func (c *leaseController) noteReason(d leaseDecision) {
	c.leaseReason.Store(&d.reason)
	if d.grant == nil && d.reason != heldReason && gist(d.reason) != c.said {
		c.log.Info("lease not granted", logkey.Reason, d.reason)
	}
	c.said = gist(d.reason)
}

// gist is a text without its numbers.
func gist(text string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return -1
		}
		return r
	}, text)
}

var errJumped = errors.New("the leader's clock jumped: it gives no slots any more")

// Admit is the leader's last look at a command before it is appended: a reach past slot(now)+MaxLease is clamped, not
// refused, so that a holder whose clock runs a little ahead keeps its lease [L6]. It is called on the leader only.
func (m *Manager) Admit(c fsm.Command) (fsm.Command, error) {
	limit := m.slotNow() + fsm.MaxLease
	switch c.(type) {
	case fsm.Extend, fsm.Grant, fsm.Transfer:
		if m.jumped() {
			return nil, errJumped // the next leader takes it; what gives up a range needs no clock
		}
	}
	switch v := c.(type) {
	case fsm.Extend:
		v.Last = min(v.Last, limit)
		return v, nil
	case fsm.Grant:
		v.Last = min(v.Last, max(limit, v.First))
		return v, nil
	case fsm.Transfer:
		v.Last = min(v.Last, max(limit, v.Signed+1))
		return v, nil
	}
	return c, nil
}

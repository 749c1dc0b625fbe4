package control

import (
	"context"
	"log/slog"
	"time"

	"roundtable/chain"
	"roundtable/fsm"
)

// holds reports whether the lease is this incarnation's and open, whatever its gate says.
func (m *Manager) holds(l fsm.Lease) bool {
	return l.Open() && l.Holder == m.id && l.Incarnation == m.incarnation
}

// maySign reports whether this member holds the lease and its gate was not closed for it.
func (m *Manager) maySign(l fsm.Lease, g GateView) bool {
	return m.holds(l) && g.Closed < l.Epoch && g.Sealed == ""
}

// permitController lets the gate follow the applied lease. It never blocks, so that it never lags behind the others.
type permitController struct{ *Manager }

// Name is the controller's.
func (*permitController) Name() string { return "permit" }

// Reconcile hands the applied lease to the gate.
func (c *permitController) Reconcile(_ context.Context, s *fsm.State) (time.Duration, error) {
	if l := s.Lease; c.maySign(l, c.gate.View()) {
		c.gate.Permit(l.Epoch, l.First, l.Last)
	} else {
		c.gate.Permit(0, 0, 0)
	}
	return 0, nil
}

// productionInput is all that planProduction looks at.
type productionInput struct {
	lease    fsm.Lease
	mine     bool
	node     NodeView
	now      chain.Slot
	open     bool          // the gate has been told of this epoch, or nodeos produces already
	forked   bool          // the node's head is the block of a hard fork that it is not through
	hasAfter bool          // the node's chain contains the block to wait for, or there is none to wait for
	waited   time.Duration // since this epoch was first seen here
}

// planProduction decides whether nodeos should produce. Without an open lease the node is paused, always: an unpaused
// node with a refusing gate postpones incoming blocks and orphans two or three of its own [L1].
func planProduction(in productionInput) (produce bool, reason string) {
	switch {
	case !in.mine:
		return false, "the lease is not ours"
	case in.now > in.lease.Last:
		return false, "the range is used up"
	case in.now+1 < in.lease.First: // a node that asks too early is refused, and orphans blocks as one without a lease
		return false, "the range has not begun"
	case !in.node.Healthy:
		return false, "the node is not healthy: " + in.node.Reason
	case in.forked: // to resume it would let it go on
		return false, "the block of a hard fork is there"
	case !in.open: // its first block would be refused
		return false, "the gate is about to open"
	// One slot's patience, or an orphan [L2]. It is a length of time: a block is signed up to 450 ms before its slot's time, so
	// slot(now) may turn a moment after the grant.
	case !in.hasAfter && in.waited < chain.SlotMillis*time.Millisecond:
		return false, "waiting for the last holder's block"
	}
	return true, "the lease is ours"
}

// productionController pauses and resumes nodeos.
type productionController struct {
	*Manager
	log      *slog.Logger
	epoch    uint64    // last one seen as ours
	granted  time.Time // when that was
	run      uint64    // the node's run that `resumed` is about
	resumed  uint64    // epoch for which this run of nodeos was resumed; 0: told to pause, or never told
	saidWhen string
}

// Name is the controller's.
func (*productionController) Name() string { return "production" }

// Reconcile makes nodeos' production flag follow the lease. It tells nodeos at each change of mind and, since the flag
// may be changed behind our back, whenever nodeos says otherwise.
func (c *productionController) Reconcile(ctx context.Context, s *fsm.State) (time.Duration, error) {
	node, gate, now := c.node.View(), c.gate.View(), c.slotNow()
	in := productionInput{lease: s.Lease, mine: c.maySign(s.Lease, gate), node: node, now: now}
	if in.mine && c.epoch != s.Lease.Epoch {
		c.epoch, c.granted = s.Lease.Epoch, c.now()
	}
	in.waited = c.now().Sub(c.granted)
	if node.State != "running" {
		c.run, c.resumed = 0, 0
		return 0, nil // it starts paused
	}
	if node.Run != c.run {
		c.run, c.resumed = node.Run, 0
	}
	in.open = gate.Permitted == s.Lease.Epoch || c.resumed != 0
	in.hasAfter = !in.mine || c.resumed == s.Lease.Epoch || c.hasBlock(ctx, s.After)
	in.forked = atFork(s, c.id, node.Head.Num)
	produce, reason := planProduction(in)
	if !produce {
		if c.resumed == 0 && node.PausedKnown && node.Paused {
			return c.whenWaiting(in), nil
		}
		if err := c.node.Pause(ctx); err != nil {
			return 0, err
		}
		c.resumed = 0
		c.say("node paused", reason, s.Lease.Epoch)
		return c.whenWaiting(in), nil
	}
	if c.resumed == s.Lease.Epoch && (!node.PausedKnown || !node.Paused) {
		return c.untilSlot(s.Lease.Last + 1), nil
	}
	err := c.node.Resume(ctx)
	c.resumes.Add(1)
	if err != nil {
		return 0, err
	}
	c.resumed = s.Lease.Epoch
	c.say("node resumed", reason, s.Lease.Epoch)
	return c.untilSlot(s.Lease.Last + 1), nil
}

// atFork reports whether a member's node has come to the block of a hard fork and is not through it.
func atFork(s *fsm.State, id string, head uint32) bool {
	o, ok := s.HardFork()
	if !ok || head < o.Roll.Upgrade.AtBlock {
		return false
	}
	part, ok := o.Current().Part(id)
	return ok && part.Ended == 0
}

// whenWaiting looks again soon while only the last holder's block is missing, else at the next slot.
func (c *productionController) whenWaiting(in productionInput) time.Duration {
	if in.mine && !in.hasAfter && in.node.Healthy {
		return 10 * time.Millisecond
	}
	return c.untilSlot(in.now + 1)
}

func (c *productionController) say(what, reason string, epoch uint64) {
	if line := what + reason; line != c.saidWhen {
		c.log.Info(what, "reason", reason, "epoch", epoch)
		c.saidWhen = line
	}
}

// hasBlock reports whether the node's chain contains the block. Unknown ids are taken by height.
func (c *productionController) hasBlock(ctx context.Context, b chain.Block) bool {
	if b.Num == 0 || b.Slot == 0 {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	got, ok, err := c.node.Block(ctx, b.Num)
	return err == nil && ok && (b.ID == "" || chain.SameID(got.ID, b.ID))
}

// extendController keeps the range ahead of the slot now while the lease is ours.
type extendController struct {
	*Manager
	log *slog.Logger
}

// Name is the controller's.
func (*extendController) Name() string { return "extend" }

// aheadSlots is how far the block being built is ahead of slot(now) in plain production: each block is finished up to
// 450 ms before its slot's time, and the next one is begun at once.
const aheadSlots = 2

// planExtend is where the range should reach, or 0 for no change. started may be further ahead of the slot now: when
// blocks fill, nodeos runs through its window at once [L4]. In plain production the reach must not run to the window's
// end, or a death early in a window would cost all of it.
func planExtend(l fsm.Lease, slots uint64, now, started chain.Slot) chain.Slot {
	started = min(started, now+chain.WindowSlots)
	reach := max(now, started) + chain.Slot(slots)
	if started > now+aheadSlots {
		reach = max(reach, started.WindowLast())
	}
	reach = min(reach, now+fsm.MaxLease)
	if reach <= l.Last {
		return 0
	}
	return reach
}

// Reconcile proposes an extension once a slot. A holder that is not fit to sign lets its range run out.
func (c *extendController) Reconcile(ctx context.Context, s *fsm.State) (time.Duration, error) {
	gate, now := c.gate.View(), c.slotNow()
	if !c.maySign(s.Lease, gate) || !c.node.View().Healthy || c.cluster.Stalled() {
		return 0, nil
	}
	if c.jumped() { // after the clock was read
		return 0, nil
	}
	reach := planExtend(s.Lease, s.Cluster.Slots, now, gate.Started)
	if reach == 0 {
		return c.untilSlot(now + 1), nil
	}
	// An answer that is lost must not cost more than it has to: the next slot tries again with a longer reach.
	ctx, cancel := context.WithTimeout(ctx, chain.SlotMillis*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err := c.cluster.Propose(ctx, fsm.Extend{Epoch: s.Lease.Epoch, Incarnation: c.incarnation, Last: reach}, "")
	switch {
	case err == nil:
		c.extensions.Observe(time.Since(began))
	case refused(err):
		err = nil // the lease moved on; the new state says how
	default:
		c.unextended.Add(1)
	}
	return c.untilSlot(now + 1), err
}

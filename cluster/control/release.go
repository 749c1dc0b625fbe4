package control

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"roundtable/chain"
	"roundtable/fsm"
	"roundtable/logkey"
)

// silentSlots is how many slots of ours in a row may come and go unsigned before the holder gives the lease away: a node
// may hang although get_info answers (recordings, fact 12), and a signer may be dead although the node asks.
const silentSlots = 3

// releaseInput is all that planRelease looks at.
type releaseInput struct {
	state     *fsm.State
	ours      bool // lease open and this incarnation's, whatever the gate says
	gate      GateView
	node      NodeView
	now       chain.Slot
	resumed   chain.Slot    // slot in which the node was first seen producing under this epoch; 0: not yet
	clock     time.Duration // how far this clock has been off the median for a while; 0: it has not
	cutOff    string        // why the node has been cut off from the chain for a while although another member is fit; "": it has not
	stalled   bool
	handingOn bool // a handoff of ours closed the gate and its transfer is under way
}

// planRelease decides whether the holder gives the lease up, and why. "" keeps it.
func planRelease(in releaseInput) string {
	l := in.state.Lease
	switch {
	case !in.ours || in.handingOn:
		return ""
	case in.gate.Sealed != "":
		return "gate sealed: " + in.gate.Sealed
	case in.gate.Closed >= l.Epoch:
		return "the gate was closed for this epoch, which is final"
	case in.stalled:
		return "disk stalled"
	case in.clock != 0:
		return fmt.Sprintf("clock %d ms off the median", in.clock.Milliseconds())
	case in.cutOff != "":
		return in.cutOff
	case in.node.State != "running" || !in.node.Healthy:
		return "node not healthy: " + in.node.Reason
	case silent(in) > silentSlots:
		return fmt.Sprintf("%d slots of ours went by unsigned", silent(in))
	}
	return ""
}

// silent counts our slots that are over since a signature was last given under this lease.
func silent(in releaseInput) int {
	if in.resumed == 0 {
		return 0
	}
	from := max(in.gate.Given, in.state.Lease.First-1, in.resumed) + 1
	n := 0
	for s := from; s < in.now && n <= chain.WindowSlots; s++ { // slot(now) itself may still come
		if ours(in.state, s) {
			n++
		}
	}
	return n
}

// releaseController gives the lease up where the holder cannot serve it. The gate is closed before the proposal, for good.
type releaseController struct {
	*Manager
	log     *slog.Logger
	epoch   uint64
	resumed chain.Slot
	apart   time.Time // since when the node is cut off from the chain; zero: it is not
}

// cutOffTime is how long a holder's node may be cut off from the chain. It builds on its own head then, which moves, and
// all that it signs is lost: nothing else of its health shows it.
const cutOffTime = 3 * time.Second

// cutOff says why the node has been cut off from the chain for long enough to give the lease up for it, "" if it has not, or
// if nobody could do better.
func (c *releaseController) cutOff(s *fsm.State) string {
	peers, now := c.cluster.Peers(), c.now()
	reason := ""
	if best := othersHead(s, peers, c.id); c.node.View().Head.Slot+maxHeadLag < best {
		reason = fmt.Sprintf("the node's head is %d slots behind the other members'", best-c.node.View().Head.Slot)
	} else if r := c.report(s); !r.Fit {
		reason = r.Reason
	}
	if reason == "" {
		c.apart = time.Time{}
		return ""
	}
	if c.apart.IsZero() {
		c.apart = now
	}
	if now.Sub(c.apart) < cutOffTime {
		return ""
	}
	for _, o := range weigh(s, peers, now, false) {
		if o.Fit && o.ID != c.id && !s.Cluster.Maintenance { // in maintenance it would move to nobody
			return reason
		}
	}
	return ""
}

// Name is the controller's.
func (*releaseController) Name() string { return "release" }

// Reconcile releases where planRelease says so, again and again until the state shows that the epoch is over.
func (c *releaseController) Reconcile(ctx context.Context, s *fsm.State) (time.Duration, error) {
	l, node, now := s.Lease, c.node.View(), c.slotNow()
	in := releaseInput{
		state: s, gate: c.gate.View(), node: node, now: now, stalled: c.cluster.Stalled(),
		ours:      c.holds(l),
		handingOn: c.handing.Load() == l.Epoch && l.Epoch != 0,
	}
	if ahead, _, wrong := c.clocks.judge(c.now()); wrong {
		in.clock = ahead
	}
	if !in.ours {
		c.epoch, c.resumed, c.apart = 0, 0, time.Time{}
		return 0, nil
	}
	in.cutOff = c.cutOff(s)
	if c.epoch != l.Epoch {
		c.epoch, c.resumed = l.Epoch, 0
	}
	if c.resumed == 0 && node.PausedKnown && !node.Paused {
		c.resumed = now
	}
	in.resumed = c.resumed
	reason := planRelease(in)
	if reason == "" {
		return c.untilSlot(now + 1), nil
	}
	return 0, c.release(ctx, l, reason)
}

// release closes the gate for the epoch and proposes the release of what is left of the range.
func (m *Manager) release(ctx context.Context, l fsm.Lease, reason string) error {
	rec := m.gate.Close(l.Epoch)
	signed, block := leftover(l, rec, m.slotNow())
	if m.leaving.Swap(l.Epoch) != l.Epoch { // it is tried until the state shows it
		m.log.Info("giving the lease up", logkey.Epoch, l.Epoch, "signed", signed, logkey.Reason, reason)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_, err := m.cluster.Propose(ctx, fsm.Release{Epoch: l.Epoch, Incarnation: m.incarnation, Signed: signed, Block: block, Reason: reason}, "")
	if refused(err) {
		return nil // the epoch is over already
	}
	return err
}

// leftover is what a release or transfer gives back: everything beyond the last slot that counts as signed, but no slot
// that is over, which nobody could sign any more: nodeos builds for slots after now only. Without that the next range
// could lie wholly in the past. The gate must be closed. The block is zero where nothing was signed in this epoch.
func leftover(l fsm.Lease, rec Record, now chain.Slot) (signed chain.Slot, block chain.Block) {
	signed = l.First - 1
	if rec.Epoch == l.Epoch && rec.Block.Slot >= l.First {
		signed, block = rec.Block.Slot, rec.Block
	}
	return max(signed, min(now-1, l.Last)), block
}

package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"roundtable/chain"
	"roundtable/fsm"
)

// How long a step of a handoff may take before the leader expires the operation.
const (
	validateTime = 5 * time.Second
	stopTime     = 3 * time.Second
	startTime    = 5 * time.Second
	verifySlots  = 3 // slots of ours that may pass before the target counts as not producing
	safeGap      = 4 // slots: a safe handoff wants at least 2 s before our next window
	blockWait    = 2 * chain.SlotMillis * time.Millisecond
	idWait       = 50 * time.Millisecond // for nodeos to say which block the last signature made
	holdWait     = 20 * time.Millisecond // how often a held step asks whether it is let go
	holdTransfer = "transfer"            // Config.Hold's name for the moment between the closed gate and its entry
)

// handoffMember does the steps of a handoff that name this member.
type handoffMember struct {
	*Manager
	log *slog.Logger
}

// Name is the controller's.
func (*handoffMember) Name() string { return "handoff" }

// Reconcile does the current step where it is this member's.
func (c *handoffMember) Reconcile(ctx context.Context, s *fsm.State) (time.Duration, error) {
	for _, o := range s.RunningOperations() {
		step := o.Current()
		if o.Handoff == nil || step.Assignee != c.id {
			continue
		}
		if c.hold(step.Name) {
			return holdWait, nil
		}
		switch step.Name {
		case fsm.StepAwait:
			return c.await(ctx, s, o)
		case fsm.StepStop:
			return 0, c.stop(ctx, s, o)
		case fsm.StepStart:
			return c.start(ctx, s, o)
		}
	}
	return 0, nil
}

// await waits for the moment to stop: the gap after our window for a safe handoff, at once for "now" or on a chain where
// every slot is ours (the stop itself then waits for the instant after a block).
func (c *handoffMember) await(ctx context.Context, s *fsm.State, o fsm.Operation) (time.Duration, error) {
	now := c.slotNow()
	if at := planAwait(s, o.Handoff.When, now); at > now {
		return c.untilSlot(at), nil
	}
	return 0, c.advance(ctx, o, fsm.StepAwait, fsm.StepStop, c.id, stopTime)
}

// planAwait is the slot from which on the holder may stop.
func planAwait(s *fsm.State, when string, now chain.Slot) chain.Slot {
	sched := s.Round.Schedule
	if when == "now" || len(sched) == 0 || chain.Gapless(sched, s.Cluster.Ours) {
		return now
	}
	// The block of a slot is signed before the slot's time, so the slot that is being built is the next one.
	from := now + 1
	for i := 0; i <= len(sched)+1; i++ {
		next, ok := from.Next(sched, s.Cluster.Ours)
		if !ok || next >= from+safeGap {
			if ours(s, now) && from == now+1 {
				return from // the block of slot(now) may be late
			}
			if from > now+1 {
				return from
			}
			return now
		}
		from = next.WindowLast() + 1
	}
	return now // our windows lie so close that there is no such gap
}

// ours reports whether a slot belongs to a producer of ours.
func ours(s *fsm.State, slot chain.Slot) bool {
	sched := s.Round.Schedule
	return len(sched) > 0 && s.Cluster.Ours(sched[slot.Owner(len(sched))])
}

// stop closes the gate right after a block, pauses the node, and hands the rest on in one entry. Whatever the answer, the
// gate stays closed for this epoch; if the state refuses, releaseController gives the lease back.
func (c *handoffMember) stop(ctx context.Context, s *fsm.State, o fsm.Operation) error {
	l := s.Lease
	if !c.holds(l) || l.Epoch != o.Handoff.Epoch {
		return nil // the leader ends the operation
	}
	target, ok := s.Members[o.Handoff.To]
	if !ok {
		return c.finish(ctx, o, fsm.Failed, "the target was removed")
	}
	// Much may have changed since the target was validated; while the gate is open nothing is lost by calling it off.
	peers := c.cluster.Peers()
	if reason := unfit(s, target.ID, peers[target.ID], bestHead(s, peers), c.now(), true); reason != "" {
		return c.finish(ctx, o, fsm.Failed, target.ID+" "+reason)
	}
	if c.gate.View().Closed < l.Epoch && planAwait(s, o.Handoff.When, c.slotNow()) > c.slotNow() {
		return c.finish(ctx, o, fsm.Failed, "the gap between our windows was missed")
	}
	c.handing.Store(l.Epoch)
	defer c.handing.Store(0)
	if c.gate.View().Closed < l.Epoch {
		c.afterBlock(ctx, s)
	}
	rec := c.gate.Close(l.Epoch)
	pause, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	if err := c.node.Pause(pause); err != nil {
		c.log.Warn("pausing the node failed; its gate is closed", "err", err) // production tries again
	}
	cancel()
	view, _ := c.cluster.View()
	if view.Lease.Epoch == l.Epoch {
		l = view.Lease // its Last may have moved on while we waited
	}
	signed, block := leftover(l, rec, c.slotNow())
	if block.Slot == 0 {
		block = s.After
	} else {
		block = c.identify(ctx, block)
	}
	for c.hold(holdTransfer) && sleep(ctx, holdWait) {
	}
	now := c.slotNow()
	for ctx.Err() == nil {
		try, cancel := context.WithTimeout(ctx, time.Second)
		_, err := c.cluster.Propose(try, fsm.Transfer{
			Epoch: l.Epoch, Incarnation: c.incarnation, Signed: signed, Block: block, To: target.ID, ToIncarnation: target.Incarnation,
			Last: min(max(now, signed)+chain.Slot(s.Cluster.Slots), signed+fsm.MaxLease), Operation: o.ID, Deadline: c.now().Add(startTime).UnixMilli(),
		}, "")
		cancel()
		if err == nil {
			return nil
		}
		current, _ := c.cluster.View()
		if current.Lease.Epoch > l.Epoch && current.Lease.Holder == target.ID {
			return nil // the answer was lost, not the entry
		}
		if refused(err) || current.Lease.Epoch != l.Epoch || c.now().UnixMilli() > o.Deadline {
			return fmt.Errorf("transfer: %w", err)
		}
		sleep(ctx, retryWait/4) // soon, but not at once: nobody produces, and what failed may fail at once
	}
	return ctx.Err()
}

// afterBlock returns at the instant after a block of ours was signed, when there is most time until the next; or when
// none comes.
func (c *handoffMember) afterBlock(ctx context.Context, s *fsm.State) {
	now := c.slotNow()
	sched := s.Round.Schedule
	if next, ok := (now + 1).Next(sched, s.Cluster.Ours); !ok || next > now+2 {
		return // not in our window
	}
	before := c.gate.View().Given
	timer := time.NewTimer(blockWait)
	defer timer.Stop()
	for {
		changed := c.gate.Changed()
		if c.gate.View().Given > before {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			return
		case <-changed:
		}
	}
}

// identify waits a moment for nodeos to say the id of the block that the last signature made.
func (c *handoffMember) identify(ctx context.Context, b chain.Block) chain.Block {
	timer := time.NewTimer(idWait)
	defer timer.Stop()
	for b.ID == "" {
		changed := c.gate.Changed()
		if v := c.gate.View().Signed.Block; v.Slot == b.Slot && v.ID != "" {
			return v
		}
		select {
		case <-ctx.Done():
			return b
		case <-timer.C:
			return b
		case <-changed:
		}
	}
	return b
}

// start moves on once this node produces; production.go resumes it.
func (c *handoffMember) start(ctx context.Context, s *fsm.State, o fsm.Operation) (time.Duration, error) {
	if !c.maySign(s.Lease, c.gate.View()) {
		return 0, nil // the leader ends the operation
	}
	if n := c.node.View(); !n.PausedKnown || n.Paused {
		return 20 * time.Millisecond, nil
	}
	return 0, c.advance(ctx, o, fsm.StepStart, fsm.StepVerify, "", startTime)
}

func (m *Manager) advance(ctx context.Context, o fsm.Operation, from, to, assignee string, d time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_, err := m.cluster.Propose(ctx, fsm.AdvanceOperation{ID: o.ID, From: from, To: to, Assignee: assignee, Deadline: m.now().Add(d).UnixMilli()}, "")
	if refused(err) {
		return nil // it moved on or ended
	}
	return err
}

func (m *Manager) finish(ctx context.Context, o fsm.Operation, outcome fsm.Outcome, reason string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_, err := m.cluster.Propose(ctx, fsm.FinishOperation{ID: o.ID, Step: o.Current().Name, Outcome: outcome, Reason: reason}, "")
	if refused(err) {
		return nil
	}
	return err
}

// handoffLeader does the leader's steps, ends operations whose world is gone, and expires those out of time.
type handoffLeader struct {
	*Manager
	log *slog.Logger
}

// Name is the controller's.
func (*handoffLeader) Name() string { return "operations" }

// Reconcile looks at every running operation.
func (c *handoffLeader) Reconcile(ctx context.Context, s *fsm.State) (time.Duration, error) {
	again := time.Duration(0)
	for _, o := range s.RunningOperations() {
		if o.Rolling() {
			continue // operation_leader.go
		}
		if c.now().UnixMilli() > o.Deadline && !c.clockOff() {
			try, cancel := context.WithTimeout(ctx, time.Second)
			_, err := c.cluster.Propose(try, fsm.ExpireOperation{ID: o.ID, Step: o.Current().Name}, "")
			cancel()
			if err != nil && !refused(err) {
				return 0, err
			}
			continue
		}
		if o.Handoff == nil {
			continue
		}
		wait, err := c.handoff(ctx, s, o)
		if err != nil {
			return 0, err
		}
		if wait > 0 && (again == 0 || wait < again) {
			again = wait
		}
	}
	return again, nil
}

func (c *handoffLeader) handoff(ctx context.Context, s *fsm.State, o fsm.Operation) (time.Duration, error) {
	h, l, now := o.Handoff, s.Lease, c.slotNow()
	step := o.Current().Name
	if moved := step == fsm.StepStart || step == fsm.StepVerify; (!moved && (l.Epoch != h.Epoch || l.Released)) || (moved && (l.Epoch != h.Epoch+1 || l.Released)) {
		return 0, c.finish(ctx, o, fsm.Failed, "the lease moved on by itself: epoch "+fmt.Sprint(l.Epoch)+", held by "+cmp.Or(l.Holder, "nobody"))
	}
	if (step == fsm.StepValidate || step == fsm.StepVerify) && c.hold(step) {
		return holdWait, nil
	}
	switch step {
	case fsm.StepValidate:
		peers := c.cluster.Peers()
		if reason := unfit(s, h.To, peers[h.To], bestHead(s, peers), c.now(), true); reason != "" {
			return 0, c.finish(ctx, o, fsm.Failed, h.To+" "+reason)
		}
		wait := time.Duration(planAwait(s, h.When, now)-now)*chain.SlotMillis*time.Millisecond + stopTime
		return 0, c.advance(ctx, o, fsm.StepValidate, fsm.StepAwait, h.From, wait)
	case fsm.StepAwait, fsm.StepStop:
		if s.Members[h.From].Incarnation != l.Incarnation {
			return 0, c.finish(ctx, o, fsm.Failed, h.From+" was restarted")
		}
	case fsm.StepStart:
		if s.Members[h.To].Incarnation != l.Incarnation {
			return 0, c.finish(ctx, o, fsm.Failed, h.To+" was restarted")
		}
	case fsm.StepVerify:
		return c.verify(ctx, s, o, now)
	}
	return 0, nil
}

// verify ends a handoff as done once a block of the target is on the chain as another member sees it; where no slot of
// ours came up yet, once the target's node is unpaused.
func (c *handoffLeader) verify(ctx context.Context, s *fsm.State, o fsm.Operation, now chain.Slot) (time.Duration, error) {
	l, peers := s.Lease, c.cluster.Peers()
	target := peers[o.Handoff.To].Report
	first, ok := l.First.Next(s.Round.Schedule, s.Cluster.Ours)
	switch {
	case !ok || first > now+1: // our next slot is not due, or we are not in the schedule: nothing to see on the chain yet
		if target.Node == "running" && !target.Paused && target.Incarnation == l.Incarnation {
			return 0, c.finish(ctx, o, fsm.Done, "")
		}
	case target.Signed.Slot >= l.First:
		for id, p := range peers {
			if id != o.Handoff.To && p.Alive && p.Report.Head.Num >= target.Signed.Num && p.Report.Head.Slot >= l.First {
				return 0, c.finish(ctx, o, fsm.Done, "")
			}
		}
	case now > max(first, chain.SlotAt(o.Current().Since))+verifySlots+graceSlots:
		return 0, c.finish(ctx, o, fsm.Failed, o.Handoff.To+" did not produce")
	}
	return 100 * time.Millisecond, nil
}

// Handoff starts a handoff and returns the operation's id. to "" chooses the best fit standby. It refuses what this
// member can see to be unfit, before anything changes. key is an idempotency key, "" for none. While a rolling operation is at work it
// becomes part of that one: nobody has to wait until a node is back to have production moved between the others.
func (m *Manager) Handoff(ctx context.Context, to, when, key string) (uint64, error) {
	for try := 0; ; try++ {
		s, _ := m.cluster.View()
		_, parent := underWay(s)
		id, err := m.handOff(ctx, to, when, parent, key)
		if parent == 0 || !errors.Is(err, fsm.ErrEnded) || try == handOverTries {
			return id, err
		}
		if key != "" { // what was refused stays refused
			key += "+"
		}
	}
}

// handOff is Handoff, of a rolling operation (0: none).
func (m *Manager) handOff(ctx context.Context, to, when string, parent uint64, key string) (uint64, error) {
	s, _ := m.cluster.View()
	peers := m.cluster.Peers()
	if leader, _ := m.cluster.Leader(); leader == "" {
		return m.propose(ctx, to, when, parent, key) // which says who was asked; without a leader the others' reports tell little
	}
	if to == "" {
		candidates := weigh(s, peers, m.now(), false)
		for _, c := range candidates {
			if c.Fit && c.ID != s.Lease.Holder {
				to = c.ID
				break
			}
		}
		if to == "" {
			return 0, &fsm.Refusal{Rule: fsm.ErrHandoff.Rule, Message: "no fit standby: " + reasons(candidates), Hint: "look at: roundtable status"}
		}
	}
	// An unknown member or the holder itself is the state's to refuse; a known member that is unfit is refused here.
	if _, ok := s.Members[to]; ok && to != s.Lease.Holder {
		if reason := unfit(s, to, peers[to], bestHead(s, peers), m.now(), true); reason != "" {
			return 0, &fsm.Refusal{Rule: "handoff.unfit", Message: to + " " + reason, Hint: "choose another member, or leave \"to\" out to take the best"}
		}
	}
	return m.propose(ctx, to, when, parent, key)
}

// propose starts the operation.
func (m *Manager) propose(ctx context.Context, to, when string, parent uint64, key string) (uint64, error) {
	return m.cluster.Propose(ctx, fsm.StartOperation{Name: fsm.KindHandoff, Handoff: &fsm.Handoff{To: to, When: when}, Parent: parent, Deadline: m.now().Add(validateTime).UnixMilli()}, key)
}

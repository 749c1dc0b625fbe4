package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"time"

	"roundtable/fsm"
	"roundtable/logkey"
)

// operationLeader does what planRolling and planTask decide.
//
// Config.Hold is asked for "plan "+step whenever something is decided for an operation at that step, before it is proposed.
type operationLeader struct {
	*Manager
	log     *slog.Logger
	since   time.Time
	refused map[uint64]uint64 // by operation: how many handoffs of it were refused, so that the next one is another request
	said    map[uint64]string // by operation: the gist of why it waits, as last logged
}

const (
	// planAgain is how often an operation is looked at while nothing in the state changes: what it waits for is in reports.
	planAgain = 250 * time.Millisecond
	// leaderClockOff is why a leader decides nothing.
	leaderClockOff = "the leader's clock is off"
)

// Name is the controller's.
func (*operationLeader) Name() string { return "operations" }

// Reconcile looks at every rolling operation and at every one on a backup.
func (c *operationLeader) Reconcile(ctx context.Context, s *fsm.State) (time.Duration, error) {
	again := time.Duration(0)
	var errs error
	reasons := map[uint64]string{}
	for _, o := range s.RunningOperations() {
		plan := planTask
		switch {
		case o.Rolling():
			plan = planRolling
		case o.Task == nil:
			continue
		}
		again = planAgain
		if c.clockOff() {
			reasons[o.ID] = leaderClockOff
			continue
		}
		d := plan(planInput{state: s, op: o, peers: c.cluster.Peers(), at: c.now(), since: c.since})
		if d.wait != "" {
			if d.lacks {
				reasons[o.ID] = d.wait
			}
			continue
		}
		if c.hold("plan " + o.Current().Name) {
			again = holdWait
			continue
		}
		errs = errors.Join(errs, c.do(ctx, s, o, d))
	}
	c.note(s, reasons)
	return again, errs
}

// note keeps why operations do not go on, and logs it where it is news.
func (c *operationLeader) note(s *fsm.State, reasons map[uint64]string) {
	c.waiting.set(reasons)
	for id, reason := range reasons {
		if gist(reason) != c.said[id] {
			c.log.Info("operation waits", "operation", id, logkey.Reason, reason)
			c.said[id] = gist(reason)
		}
	}
	maps.DeleteFunc(c.said, func(id uint64, _ string) bool {
		o, ok := s.Operation(id)
		return !ok || o.Outcome != fsm.Running
	})
}

// do proposes what was decided.
func (c *operationLeader) do(ctx context.Context, s *fsm.State, o fsm.Operation, d decision) error {
	var command fsm.Command
	key := ""
	switch {
	case d.turn != nil:
		command = *d.turn
	case d.finish != nil:
		command = *d.finish
		c.log.Info("operation ends", "operation", o.ID, "kind", o.Kind, "outcome", d.finish.Outcome, logkey.Reason, d.finish.Reason)
	case d.cancel != nil:
		command = *d.cancel
		c.log.Warn("operation is canceled", "operation", o.ID, "kind", o.Kind, logkey.Reason, d.cancel.Reason)
	case d.handoff != "":
		command = fsm.StartOperation{
			Name: fsm.KindHandoff, Handoff: &fsm.Handoff{To: d.handoff, When: ownHandoff}, Parent: o.ID, Deadline: c.now().Add(validateTime).UnixMilli(),
		}
		key = c.handoffKey(s, o)
	default:
		return nil
	}
	refusal, err := c.proposeFor(ctx, o, command, key)
	if refusal && d.handoff != "" {
		c.refused[o.ID]++
	}
	return err
}

// proposeFor proposes what was decided for an operation, and reports whether the state refused it: the world has moved on then, and is
// looked at again. Where the step's deadline has passed the operation is ended instead.
func (c *operationLeader) proposeFor(ctx context.Context, o fsm.Operation, command fsm.Command, key string) (refusal bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_, err = c.cluster.Propose(ctx, command, key)
	if !refused(err) {
		return false, err
	}
	c.log.Debug("refused", "operation", o.ID, logkey.Err, err)
	if now := c.now(); now.UnixMilli() > o.Deadline && now.Sub(c.since) > hearTime {
		_, err = c.cluster.Propose(ctx, fsm.ExpireOperation{ID: o.ID, Step: o.Current().Name, Number: o.Number()}, "")
	}
	if refused(err) {
		err = nil
	}
	return true, err
}

// handoffKey makes one request of each try to hand production over, whoever leads and however often it is sent. One that was
// refused stays refused, so the next one differs.
func (c *operationLeader) handoffKey(s *fsm.State, o fsm.Operation) string {
	newest := uint64(0)
	for _, child := range s.Operations {
		if child.Parent == o.ID {
			newest = max(newest, child.ID)
		}
	}
	return fmt.Sprintf("rolling-%d-%d-%d-%d", o.ID, o.Number(), newest, c.refused[o.ID])
}

package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"roundtable/fsm"
	"roundtable/logkey"
)

// rollingLeader does what planRolling decides.
//
// Config.Hold is asked for "plan "+step whenever something is decided for an operation at that step, before it is proposed.
type rollingLeader struct {
	*Manager
	log     *slog.Logger
	since   time.Time
	refused map[uint64]uint64 // by operation: how many handoffs of it were refused, so that the next one is another request
}

// planAgain is how often a rolling operation is looked at while nothing in the state changes: what it waits for is in reports.
const planAgain = 250 * time.Millisecond

// Name is the controller's.
func (*rollingLeader) Name() string { return "rolling" }

// Reconcile looks at every rolling operation.
func (c *rollingLeader) Reconcile(ctx context.Context, s *fsm.State) (time.Duration, error) {
	again := time.Duration(0)
	var errs error
	reasons := map[uint64]string{}
	for _, o := range s.RunningOperations() {
		if !o.Rolling() {
			continue
		}
		again = planAgain
		if c.clockOff() {
			reasons[o.ID] = "the leader's clock is off"
			continue
		}
		d := planRolling(rollInput{state: s, op: o, peers: c.cluster.Peers(), at: c.now(), since: c.since})
		if d.wait != "" {
			reasons[o.ID] = d.wait
			continue
		}
		if c.hold("plan " + o.Current().Name) {
			again = holdWait
			continue
		}
		errs = errors.Join(errs, c.do(ctx, s, o, d))
	}
	c.waiting.set(reasons)
	return again, errs
}

// do proposes what was decided.
func (c *rollingLeader) do(ctx context.Context, s *fsm.State, o fsm.Operation, d rollDecision) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	var command fsm.Command
	key := ""
	switch {
	case d.turn != nil:
		command = *d.turn
	case d.finish != nil:
		command = *d.finish
		c.log.Info("rolling operation ends", "operation", o.ID, "outcome", d.finish.Outcome, logkey.Reason, d.finish.Reason)
	case d.handoff != "":
		command = fsm.StartOperation{
			Name: fsm.KindHandoff, Handoff: &fsm.Handoff{To: d.handoff, When: ownHandoff}, Parent: o.ID, Deadline: c.now().Add(validateTime).UnixMilli(),
		}
		key = c.handoffKey(s, o)
	default:
		return nil
	}
	_, err := c.cluster.Propose(ctx, command, key)
	if !refused(err) {
		return err
	}
	if d.handoff != "" {
		c.refused[o.ID]++
	}
	c.log.Debug("refused", "operation", o.ID, logkey.Err, err)
	if now := c.now(); now.UnixMilli() > o.Deadline && now.Sub(c.since) > hearTime { // else the world has moved on: look again
		_, err = c.cluster.Propose(ctx, fsm.ExpireOperation{ID: o.ID, Step: o.Current().Name, Number: o.Number()}, "")
	}
	if refused(err) {
		return nil
	}
	return err
}

// handoffKey makes one request of each try to hand production over, whoever leads and however often it is sent. One that was
// refused stays refused, so the next one differs.
func (c *rollingLeader) handoffKey(s *fsm.State, o fsm.Operation) string {
	if c.refused == nil {
		c.refused = map[uint64]uint64{}
	}
	newest := uint64(0)
	for _, child := range s.Operations {
		if child.Parent == o.ID {
			newest = max(newest, child.ID)
		}
	}
	return fmt.Sprintf("rolling-%d-%d-%d-%d", o.ID, o.Number(), newest, c.refused[o.ID])
}

// waiting is why rolling operations do not go on, as this member last saw it while it led.
type waiting struct {
	mu   sync.Mutex
	text map[uint64]string
}

func (w *waiting) set(reasons map[uint64]string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text = reasons
}

// OperationReason says what a rolling operation waits for, as this member decided while it led; "" where it does not know.
func (m *Manager) OperationReason(id uint64) string {
	if !m.cluster.IsLeader() {
		return ""
	}
	m.waiting.mu.Lock()
	defer m.waiting.mu.Unlock()
	return m.waiting.text[id]
}

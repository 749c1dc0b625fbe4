package control

import (
	"context"
	"errors"
	"fmt"
	"time"

	"roundtable/chain"
	"roundtable/fsm"
)

// What operators change at once, each by one entry. All return the index under which it took effect, once that is applied on
// this member; a *fsm.Refusal where the state does not take it. key is an idempotency key, "" for none: a repeat with the same
// key has no second effect.

// ErrOperationLate is the refusal of a cancellation that comes when the operation can no longer be stopped without harm.
var ErrOperationLate = &fsm.Refusal{
	Rule: "operation.late", Message: "the operation has gone too far to be canceled", Hint: "let it end: it has a deadline of its own; then undo it with another one",
}

// SetMaintenance sets or ends the maintenance of one member, or of the whole cluster where member is "".
func (m *Manager) SetMaintenance(ctx context.Context, member string, on bool, key string) (uint64, error) {
	if member != "" {
		return m.SetMember(ctx, fsm.SetMember{ID: member, Maintenance: &on}, key)
	}
	return m.PatchCluster(ctx, fsm.PatchCluster{Maintenance: &on}, key)
}

// SetMember changes what operators may change of a member. Taking a vote away is refused by the leader where the live voters
// that remain would be no majority.
func (m *Manager) SetMember(ctx context.Context, c fsm.SetMember, key string) (uint64, error) {
	return m.cluster.Propose(ctx, c, key)
}

// PatchCluster changes parts of the cluster's configuration. A lease that is too short for this manager's raft timing is
// refused: an election could move production.
func (m *Manager) PatchCluster(ctx context.Context, c fsm.PatchCluster, key string) (uint64, error) {
	if c.Slots != nil && *c.Slots < m.minSlots {
		return 0, &fsm.Refusal{
			Rule:    fsm.ErrConfig.Rule,
			Message: fmt.Sprintf("%d slots are %s, shorter than the worst election and 2 slots", *c.Slots, time.Duration(*c.Slots)*chain.SlotMillis*time.Millisecond),
			Hint:    fmt.Sprintf("take at least %d, or shorten [raft] election on every member first", m.minSlots),
		}
	}
	if _, err := fsm.Encode(fsm.Entry{Command: c}); err != nil { // an overlay with much that has to be escaped
		return 0, &fsm.Refusal{Rule: fsm.ErrConfig.Rule, Message: fsm.ErrConfig.Message + ": " + err.Error(), Hint: "make the overlay shorter: what differs between members belongs into their own node.config_template"}
	}
	s, _ := m.cluster.View()
	if s.BeyondVersion1() || s.Cluster.Name == "" || fsm.Needs(c) > 2 {
		return m.cluster.Propose(ctx, c, key)
	}
	// Some member may not know this entry, or may have to go back to a program that does not: the whole configuration does the
	// same, if nobody else changes it meanwhile.
	return m.cluster.Propose(ctx, fsm.SetCluster{Cluster: c.On(s.Cluster.Version1())}, key)
}

// Cancel ends an operation where that is safe: before anything was stopped, a rolling one after the member at work, a copy of a node's
// data once the node is back. Otherwise ErrOperationLate. A canceled one is canceled: asking again is no error.
func (m *Manager) Cancel(ctx context.Context, id uint64, _ string) (uint64, error) {
	for {
		s, _ := m.cluster.View()
		o, ok := s.Operation(id)
		if !ok { // this member may only lag
			if err := m.cluster.Barrier(ctx); err != nil {
				return 0, err
			}
			s, _ = m.cluster.View()
			o, ok = s.Operation(id)
		}
		step := o.Current().Name
		switch {
		case !ok:
			return 0, &fsm.Refusal{Rule: fsm.ErrOperation.Rule, Message: fmt.Sprintf("%s: %d", fsm.ErrOperation.Message, id), Hint: fsm.ErrOperation.Hint}
		case o.Outcome == fsm.Canceled:
			return s.Index, nil
		case o.Outcome != fsm.Running:
			return 0, &fsm.Refusal{Rule: fsm.ErrEnded.Rule, Message: fmt.Sprintf("%s: operation %d is %s", fsm.ErrEnded.Message, id, o.Outcome)}
		case o.Rolling() || o.Task != nil:
			reason := "by an operator"
			if o.Rolling() {
				reason += ", " + through(s, o)
			}
			index, err := m.cluster.Propose(ctx, fsm.CancelOperation{ID: id, Reason: reason}, "")
			if errors.Is(err, fsm.ErrStep) {
				return 0, &fsm.Refusal{Rule: ErrOperationLate.Rule, Message: fmt.Sprintf("%s: %s %d is at %q", ErrOperationLate.Message, o.Kind, id, step), Hint: ErrOperationLate.Hint}
			}
			if errors.Is(err, fsm.ErrEnded) && ctx.Err() == nil {
				continue // it ended meanwhile: how?
			}
			return index, err
		case step != fsm.StepValidate && step != fsm.StepAwait:
			return 0, &fsm.Refusal{Rule: ErrOperationLate.Rule, Message: fmt.Sprintf("%s: %s %d is at %q", ErrOperationLate.Message, o.Kind, id, step), Hint: ErrOperationLate.Hint}
		}
		// The step makes it atomic, so it is never left out: a holder that goes on to the next one meanwhile makes the state refuse
		// this, and we look again.
		index, err := m.cluster.Propose(ctx, fsm.FinishOperation{ID: id, Step: step, Outcome: fsm.Canceled, Reason: "by an operator"}, "")
		if !errors.Is(err, fsm.ErrStep) || ctx.Err() != nil {
			return index, err
		}
	}
}

// PutToken adds a token.
func (m *Manager) PutToken(ctx context.Context, t fsm.Token, key string) (uint64, error) {
	return m.cluster.Propose(ctx, fsm.PutToken{Token: t}, key)
}

// RemoveToken takes a token away.
func (m *Manager) RemoveToken(ctx context.Context, id, key string) (uint64, error) {
	return m.cluster.Propose(ctx, fsm.RemoveToken{ID: id}, key)
}

// PutInvite invites a member.
func (m *Manager) PutInvite(ctx context.Context, n fsm.Invite, key string) (uint64, error) {
	return m.cluster.Propose(ctx, fsm.PutInvite{Invite: n}, key)
}

// UseInvite uses an invite up for a member.
func (m *Manager) UseInvite(ctx context.Context, c fsm.UseInvite, key string) (uint64, error) {
	return m.cluster.Propose(ctx, c, key)
}

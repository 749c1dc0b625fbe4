package control

import (
	"context"
	"fmt"
	"time"

	"roundtable/fsm"
)

// PutPlan adds a plan, or changes one, and returns it as it is then: with when it is due. One whose rhythm stays keeps its time.
func (m *Manager) PutPlan(ctx context.Context, p fsm.Plan) (fsm.Plan, error) {
	s, _ := m.cluster.View()
	old, known := s.Plans[p.ID]
	if p.Task.Repository == "" {
		p.Task.Repository = m.defaultRepository()
	}
	switch {
	case p.Due != 0 || p.DueBlock != 0: // it was said
	case known && !old.Disabled && old.Every == p.Every && old.Cron == p.Cron && old.Blocks == p.Blocks:
		p.Due, p.DueBlock = old.Due, old.DueBlock
	default:
		var err error
		if p.Due, p.DueBlock, err = m.firstDue(s, p); err != nil {
			return p, err
		}
	}
	if p.Cron != "" { // before it is in the state for everybody to stumble over
		if _, err := NextDue(p, m.now()); err != nil {
			return p, err
		}
	}
	if _, err := m.cluster.Propose(ctx, fsm.PutPlan{Plan: p}, ""); err != nil {
		return p, err
	}
	s, _ = m.cluster.View()
	return s.Plans[p.ID], nil
}

// firstDue is when a plan is due next from now on: ms, or a block.
func (m *Manager) firstDue(s *fsm.State, p fsm.Plan) (int64, uint32, error) {
	switch {
	case p.Blocks != 0:
		head := m.headNum(s)
		if head == 0 {
			return 0, 0, noPlan("it comes by blocks, and the head is not known yet")
		}
		return 0, head + min(p.Blocks, 1<<32-1-head), nil
	case p.Every <= 0 && p.Cron == "":
		return 0, 0, nil // the state says what is wrong
	}
	due, err := NextDue(p, m.now())
	if err != nil {
		return 0, 0, err
	}
	return due.UnixMilli(), 0, nil
}

// SetPlan switches a plan off, or on again: then it is due the next time from now on.
func (m *Manager) SetPlan(ctx context.Context, id string, disabled bool) error {
	s, _ := m.cluster.View()
	p, ok := s.Plans[id]
	c := fsm.SetPlan{ID: id, Disabled: disabled}
	if ok && !disabled {
		var err error
		if c.Due, c.DueBlock, err = m.firstDue(s, p); err != nil {
			return err
		}
	}
	_, err := m.cluster.Propose(ctx, c, "")
	return err
}

// RemovePlan removes a plan; what it started goes on.
func (m *Manager) RemovePlan(ctx context.Context, id string) error {
	_, err := m.cluster.Propose(ctx, fsm.RemovePlan{ID: id}, "")
	return err
}

// RunPlan does now what a plan does, whenever it is due, and returns the operation's id.
func (m *Manager) RunPlan(ctx context.Context, id, key string) (uint64, error) {
	s, _ := m.cluster.View()
	p, ok := s.Plans[id]
	if !ok {
		return 0, &fsm.Refusal{Rule: fsm.ErrNoPlan.Rule, Message: fmt.Sprintf("%s: %q", fsm.ErrNoPlan.Message, id), Hint: fsm.ErrNoPlan.Hint}
	}
	p.Blackout = 0 // whoever asks for it now wants it now
	in := m.firing(s, p, time.Time{})
	start, reason := in.start(nil)
	if leader, _ := m.cluster.Leader(); start == nil || reason != "" && leader != "" {
		return 0, because(ErrBackupRefused, reason, rollHint)
	}
	return m.cluster.Propose(ctx, fsm.FirePlan{ID: id, Now: true, Start: start}, key)
}

package fsm

import "slices"

// turnTask starts the next step of an operation on a backup: see TurnOperation. It goes on only where the step before was done, and one
// member does all of it. There is no other way: what fails ends, and a plan tries it again as another operation.
func (s *State) turnTask(o Operation, c TurnOperation, e Entry) error {
	t, now := *o.Task, o.Current()
	other, waits := s.taskBlocker(o)
	switch {
	case c.Step != o.NextStep() || c.Step == "" || c.Fault != "":
		return ErrStep.with("%q does not follow %q", c.Step, now.Name)
	case now.Name == StepQueued && waits:
		return other.inTheWay()
	case t.Cancel:
		return ErrEnded.with("operation %d is being canceled", c.ID)
	case now.fails():
		return ErrStep.with("step %d, %q, failed or was not done in time", c.Number, now.Name)
	case (c.Step == StepValidate) != (len(c.Members) == 0), len(c.Members) > 1:
		return ErrStep.with("%d members for step %q", len(c.Members), c.Step)
	}
	if err := mayLastTask(e, c.Step, c.Deadline); err != nil {
		return err
	}
	step := Step{Name: c.Step, Since: e.At}
	for _, id := range c.Members {
		if err := s.mayWork(o, c.Step, id); err != nil {
			return err
		}
		t.Member = id
		step.Assignee = id
		step.Parts = []Part{{Member: id, Incarnation: s.Members[id].Incarnation}}
	}
	if now.Name == StepValidate {
		if err := s.begin(o, t, e); err != nil {
			return err
		}
	}
	if c.Step == StepReplace {
		h := s.Homes[t.Member]
		h.Restored = max(e.At, 1)
		s.Homes = withKey(s.Homes, t.Member, h)
	}
	if err := s.changeOperation(c.ID, "", func(o *Operation) {
		o.Task, o.Deadline = &t, c.Deadline
		o.Steps = append(slices.Clip(slices.Clone(o.Steps)), step)
	}); err != nil {
		return err
	}
	if c.Step != StepValidate {
		s.note(e, "operation.step", step.Assignee, "%s %d: %s", o.Kind, o.ID, c.Step)
	}
	return nil
}

// begin looks again, by the leader's clock, before the first thing is done: an operation may have waited for long. A backup is in the
// catalogue before anything of it is in a repository, so that no sweep ever takes it for nobody's.
func (s *State) begin(o Operation, t Task, e Entry) error {
	switch o.Kind {
	case KindBackup:
		if err := s.mayMake(t); err != nil {
			return err
		}
		s.makeRoom(e)
		s.Backups = withKey(s.Backups, t.Backup, Backup{
			ID: t.Backup, Copies: t.Copies, Repository: t.Repository, State: BackupRunning, Member: t.Member, Operation: o.ID, Plan: t.Plan, Created: e.At,
		})
	case KindRestore, KindVerify:
		e.By = t.Member // who asked is known since the start
		return s.mayRead(o.Kind, t, e)
	}
	return nil
}

// mayWork reports why a member does not do a step of an operation on a backup, or nil.
func (s *State) mayWork(o Operation, step, id string) error {
	m, ok := s.Members[id]
	switch {
	case !ok || m.Witness:
		return ErrMember.with("%q", id)
	case o.Task.Member != "" && o.Task.Member != id:
		return ErrStep.with("it is %q who does it", o.Task.Member)
	// The lease of a process that is gone nobody can use, and a node that is to be restored may be the only one there is.
	// What was copied may be stored by whoever holds now: that waits until he does not (control).
	case (o.onNode() || o.Task.Trial) && step != StepStore && s.Lease.Open() && s.Lease.Holder == id && (o.Kind != KindRestore || s.Lease.Incarnation == m.Incarnation):
		return ErrHolds.with("%q", id)
	}
	if handoff, ok := s.HandoffOf(id); ok && step == StepSnapshot {
		return handoff.inTheWay()
	}
	for _, other := range s.RunningOperations() {
		switch {
		case other.ID == o.ID:
		case working(step) && other.Disruptive(),
			o.onNode() && other.onNode() && other.Task.Member == id && other.Current().Name != StepQueued:
			return other.inTheWay()
		}
	}
	return nil
}

package fsm

import "slices"

// ReportOperation is what a member says of its part of the current step: how far it is, or that it has ended. Version 3.
type ReportOperation struct {
	ID          uint64 `json:"id"`
	Number      int    `json:"number"`
	Member      string `json:"member"`
	Incarnation string `json:"incarnation"` // the member's present one: an earlier process has nothing to say any more
	Percent     int    `json:"percent,omitempty"`
	Text        string `json:"text,omitempty"`
	Ended       bool   `json:"ended,omitempty"`
	Fault       string `json:"fault,omitempty"` // only of one that ended

	Stored  *Stored `json:"stored,omitempty"`  // of the end of StepStore: what the backup holds; version 4
	Damaged bool    `json:"damaged,omitempty"` // the fault is that the backup is not whole; version 4
}

// CancelOperation ends a rolling operation at once where no node is stopped, else after the member at work. It is refused where the
// operation goes back already, and from where a hard fork is armed. Version 3.
type CancelOperation struct {
	ID     uint64 `json:"id"`
	Reason string `json:"reason,omitempty"`
}

// Kind names the entry.
func (ReportOperation) Kind() string { return "operation.report" }

// Kind names the entry.
func (CancelOperation) Kind() string { return "operation.cancel" }

func (c ReportOperation) needs() uint32 { return sinceIf(4, c.Stored != nil || c.Damaged) }

func (c ReportOperation) clipped() Command {
	c.Text, c.Fault = cut(c.Text, maxSaid), clip(c.Fault)
	return c
}

func (c CancelOperation) clipped() Command {
	c.Reason = clip(c.Reason)
	return c
}

func (c ReportOperation) apply(s *State, e Entry) error {
	if c.Number == 0 {
		return ErrStep.with("which step it is for is not said")
	}
	o, err := s.stepped(c.ID, c.Number)
	if err != nil {
		return err
	}
	part, ok := o.Current().Part(c.Member)
	switch {
	case !ok:
		return ErrStep.with("%q has no part in step %d of operation %d", c.Member, c.Number, c.ID)
	case part.Ended != 0:
		return ErrStep.with("%q has ended its part of step %d of operation %d", c.Member, c.Number, c.ID)
	case c.Incarnation == "" || s.Members[c.Member].Incarnation != c.Incarnation:
		return ErrIncarnation.with("%q has another incarnation now", c.Member)
	case c.Percent < 0 || c.Percent > 100 || c.Fault != "" && !c.Ended:
		return ErrStep.with("a part is 0 to 100 %% done, and has no fault before it ends")
	}
	if o.Task != nil {
		if err := s.reportTask(o, c, e); err != nil {
			return err
		}
	} else if c.Stored != nil || c.Damaged {
		return ErrStep.with("operation %d is not on a backup", c.ID)
	}
	part.Percent, part.Text = c.Percent, cut(c.Text, maxSaid)
	if c.Ended {
		part.Ended, part.Fault = max(e.At, 1), clip(c.Fault)
	}
	if err := s.changeOperation(c.ID, "", func(o *Operation) { o.report(part, e.At) }); err != nil {
		return err
	}
	if c.Fault != "" {
		s.note(e, "operation.fault", c.Member, "%s %d: %s: %s", o.Kind, o.ID, o.Current().Name, c.Fault)
	}
	return nil
}

// report books a part of the current step. Where that is over the leader has a little time to go on; whatever the clock of the member
// says, that is never less than it had, nor much more.
func (o *Operation) report(part Part, at int64) {
	step := o.Current()
	was := step.Over()
	step.Parts = slices.Clone(step.Parts)
	step.Parts[slices.IndexFunc(step.Parts, func(p Part) bool { return p.Member == part.Member })] = part
	o.Steps = slices.Clone(o.Steps)
	o.Steps[len(o.Steps)-1] = step
	if !was && step.Over() {
		more := int64(PlanTime)
		if !o.Disruptive() {
			more = MaxStep // it may have to wait for another one
		}
		o.Deadline = min(max(o.Deadline, at+more), o.Deadline+more)
	}
	if o.Roll != nil {
		r := *o.Roll
		if part.Ended != 0 && part.Fault == "" {
			r.through(step.Name, part.Member)
		}
		o.Roll = &r
	}
}

// through books a member whose part of a step ended well.
func (r *Roll) through(step, member string) {
	switch step {
	case StepRestart, StepSwitch, StepFork:
		r.Done = append(slices.Clip(slices.Clone(r.Done)), member)
	case StepUndo:
		r.Undone = append(slices.Clip(slices.Clone(r.Undone)), member)
	}
}

// Needless reports whether all members of an upgrade run that version already, as they say.
func (s *State) Needless(o Operation) bool {
	if o.Kind != KindUpgrade {
		return false
	}
	return !slices.ContainsFunc(s.Left(o), func(id string) bool {
		h := s.Homes[id]
		return h.Runs.Tag != o.Roll.Upgrade.Tag || h.Tag != "" && h.Tag != h.Runs.Tag
	})
}

// mayFinish reports why a rolling operation does not end so, or nil. Done is one whose members are all through, and of a hard
// fork one behind which production goes on, or an upgrade that has nothing to do; canceled is one that an operator canceled, when no
// node is stopped.
func (s *State) mayFinish(o Operation, c FinishOperation) error {
	step := o.Current()
	switch {
	case c.Number != o.Number():
		return ErrStep.with("operation %d is at step %d, not %d", o.ID, o.Number(), c.Number)
	case c.Outcome == Canceled && (!o.Roll.Cancel || step.fails()):
		return ErrStep.with("a rolling operation is canceled with %s", CancelOperation{}.Kind())
	case c.Outcome != Done, step.Name == StepValidate && s.Needless(o):
		return nil
	case o.Roll.Fault != "" || len(s.Left(o)) > 0:
		return ErrStep.with("operation %d has members that are not through", o.ID)
	case o.Roll.Upgrade != nil && o.Roll.Upgrade.HardFork && step.Name != StepResume:
		return ErrStep.with("a hard fork is done at step %q, not at %q", StepResume, step.Name)
	}
	return nil
}

func (c CancelOperation) apply(s *State, e Entry) error {
	o, err := s.stepped(c.ID, 0)
	if err != nil {
		return err
	}
	if o.Task != nil {
		return s.cancelTask(o, c, e)
	}
	step := o.Current()
	switch {
	case o.Roll.Fault != "" || working(step.Name) && step.Faults() != "":
		return ErrStep.with("operation %d is being rolled back, or ends by itself", c.ID)
	case step.Name == StepArm || step.Name == StepFork || step.Name == StepResume:
		return ErrStep.with("operation %d is a hard fork, which begins at once", c.ID)
	case !working(step.Name) || step.Over():
		return s.endOperation(e, c.ID, "", Canceled, c.Reason)
	case o.Roll.Cancel:
		return nil
	}
	s.note(e, "operation.cancel", "", "%s %d stops after %s", o.Kind, o.ID, step.Assignee)
	return s.changeOperation(c.ID, "", func(o *Operation) {
		r := *o.Roll
		r.Cancel = true
		o.Roll = &r
	})
}

package fsm

import "slices"

// turns says which steps may follow a step, by the operation's kind. None may come again and again: of those that stop a node each
// member has one, and one back, and between two handovers is one of them. So an operation comes to an end by itself.
var turns = func() map[string]map[string][]string {
	restart := map[string][]string{
		StepQueued:   {StepValidate},
		StepValidate: {StepRestart, StepHandOver},
		StepRestart:  {StepRestart, StepHandOver, StepTakeOver},
		StepHandOver: {StepRestart, StepTakeOver},
	}
	rollout := map[string][]string{
		StepQueued:   {StepValidate},
		StepValidate: {StepRestart, StepHandOver},
		StepRestart:  {StepRestart, StepHandOver, StepTakeOver, StepUndo},
		StepHandOver: {StepRestart, StepTakeOver, StepUndo},
	}
	begin := []string{StepSwitch, StepHandOver}
	upgrade := map[string][]string{
		StepQueued:   {StepValidate},
		StepValidate: {StepStage},
		StepStage:    append([]string{StepTrigger, StepSnapshot, StepArm}, begin...),
		StepTrigger:  append([]string{StepSnapshot, StepArm}, begin...),
		StepSnapshot: begin,
		StepSwitch:   {StepSwitch, StepHandOver, StepUndo},
		StepHandOver: {StepSwitch, StepUndo},
		StepUndo:     {StepUndo, StepHandOver},
		StepArm:      {StepFork},
		StepFork:     {StepResume, StepUndo},
	}
	return map[string]map[string][]string{KindRestart: restart, KindRollout: rollout, KindUpgrade: upgrade}
}()

// disruptive reports whether a rolling operation of a kind, at a step, may have a node stopped: one such operation at a time.
func disruptive(kind, step string) bool {
	switch step {
	case "", StepQueued: // ended, or not begun
		return false
	case StepValidate, StepStage, StepTrigger:
		return kind != KindUpgrade
	}
	return true
}

// TurnOperation ends a step of a rolling operation and starts the next one. Accepted iff Number is the current step's, the next one
// may follow it, and it is over or its deadline has passed. Behind a step that failed or was not done in time there is only the way
// back. A step that stops a node is refused for the holder of the open lease, and while production is being moved. The first
// disruptive step is refused while another disruptive operation runs. Version 3.
type TurnOperation struct {
	ID       uint64   `json:"id"`
	Number   int      `json:"number"`
	Step     string   `json:"step"`
	Members  []string `json:"members,omitempty"` // who does it; none: the leader
	Deadline int64    `json:"deadline"`          // Unix ms
	Fault    string   `json:"fault,omitempty"`   // why it goes back from here; with StepUndo, and with StepHandOver before it
}

// Kind names the entry.
func (TurnOperation) Kind() string { return "operation.turn" }

func (c TurnOperation) clipped() Command {
	c.Fault = clip(c.Fault)
	return c
}

// stepped finds a running operation of that sort that is at a step.
func (s *State) stepped(id uint64, number int) (Operation, error) {
	o, ok := s.Operation(id)
	switch {
	case !ok:
		return o, ErrOperation.with("%d", id)
	case !o.stepped(): // the words are those of version 3: a refusal may stand in the state
		return o, ErrStep.with("%s %d is no rolling operation", o.Kind, id)
	case o.Outcome != Running:
		return o, ErrEnded.with("operation %d is %s", id, o.Outcome)
	case number != 0 && number != o.Number():
		return o, ErrStep.with("operation %d is at step %d, not %d", id, o.Number(), number)
	}
	return o, nil
}

func (c TurnOperation) apply(s *State, e Entry) error {
	if c.Number == 0 {
		return ErrStep.with("which step it ends is not said")
	}
	o, err := s.stepped(c.ID, c.Number)
	if err != nil {
		return err
	}
	if o.Task != nil {
		return s.turnTask(o, c, e)
	}
	if err := s.mayTurn(o, c, e); err != nil {
		return err
	}
	r := *o.Roll
	if r.Fault == "" {
		r.Fault = clip(c.Fault)
	}
	step := Step{Name: c.Step, Since: e.At}
	if len(c.Members) == 1 {
		step.Assignee = c.Members[0]
	}
	for _, id := range c.Members {
		step.Parts = append(step.Parts, Part{Member: id, Incarnation: s.Members[id].Incarnation})
	}
	if o.Current().Name == StepValidate {
		r.Before = s.before(r.Members) // at the start some member may not have said yet what it runs
	}
	if c.Step == StepUndo {
		r.Done = but(r.Done, c.Members[0])
	}
	s.want(o.Kind, step, &r)
	if err := s.changeOperation(c.ID, "", func(o *Operation) {
		o.Roll = &r
		o.Steps = append(slices.Clip(slices.Clone(o.Steps)), step)
		o.Deadline = c.Deadline
	}); err != nil {
		return err
	}
	if c.Step != StepValidate {
		s.note(e, "operation.step", step.Assignee, "%s %d: %s%s", o.Kind, o.ID, c.Step, because(c.Fault))
	}
	return nil
}

// mayTurn reports why an operation does not go on so, or nil.
func (s *State) mayTurn(o Operation, c TurnOperation, e Entry) error {
	now, r := o.Current(), *o.Roll
	fault := r.Fault + c.Fault
	back := c.Step == StepUndo || c.Step == StepHandOver && o.Kind != KindRestart
	other, waits := s.blocker(o)
	switch {
	case !slices.Contains(turns[o.Kind][now.Name], c.Step):
		return ErrStep.with("%q does not follow %q", c.Step, now.Name)
	case !now.Over() && e.At <= o.Deadline:
		return ErrStep.with("step %d, %q, is not over", c.Number, now.Name)
	case now.Name == StepQueued && waits:
		return ErrBusy.with("%s %d, at step %q", other.Kind, other.ID, other.Current().Name)
	case r.Cancel && fault == "":
		return ErrEnded.with("operation %d is being canceled", c.ID)
	case fault == "" && now.fails() && c.Step != StepResume:
		return ErrStep.with("step %d, %q, failed or was not done in time", c.Number, now.Name)
	case fault == "" && c.Step == StepUndo, fault != "" && !back:
		return ErrStep.with("step %q, and the fault is %q", c.Step, clip(fault))
	}
	if err := s.lasts(e, c.Step, c.Deadline); err != nil {
		return err
	}
	if disruptive(o.Kind, c.Step) && !disruptive(o.Kind, now.Name) {
		for _, other := range s.RunningOperations() {
			if other.ID != o.ID && other.Disruptive() {
				return ErrBusy.with("%s %d, at step %q", other.Kind, other.ID, other.Current().Name)
			}
		}
	}
	if err := r.order(now.Name, c.Step, fault); err != nil {
		return err
	}
	if c.Step == StepTakeOver && (!r.TakeOver || len(s.Left(o)) > 0) {
		return ErrStep.with("nobody was asked to take over, or somebody is not through")
	}
	return s.mayDo(o, c)
}

// order reports that a step of an upgrade comes where it was not asked for, or nil. What was asked for is never left out.
func (r Roll) order(now, step, fault string) error {
	u := r.Upgrade
	if u == nil || fault != "" {
		return nil
	}
	staged := now == StepStage || now == StepTrigger || now == StepSnapshot
	begins := staged && step != StepTrigger && step != StepSnapshot
	switch {
	case u.HardFork && (step == StepSwitch || step == StepHandOver), !u.HardFork && step == StepArm:
		return ErrStep.with("%q is for a hard fork only, or for none", step)
	case step == StepTrigger && u.triggers() == 0, step == StepSnapshot && !u.Snapshot:
		return ErrStep.with("%q was not asked for", step)
	case now == StepStage && step != StepTrigger && u.triggers() > 0 && !u.HardFork:
		return ErrStep.with("%q comes first", StepTrigger)
	case begins && now != StepSnapshot && u.Snapshot:
		return ErrStep.with("%q comes first", StepSnapshot)
	}
	return nil
}

// lasts reports that a step's deadline is too far away, or nil.
func (s *State) lasts(e Entry, step string, deadline int64) error {
	if step != StepQueued && step != StepTrigger {
		return mayLast(e, deadline)
	}
	if deadline-MaxWait > e.At {
		return ErrDeadline.with("more than %d ms to wait", MaxWait)
	}
	return nil
}

// mayDo reports why the members do not do a step, or nil.
func (s *State) mayDo(o Operation, c TurnOperation) error {
	r := o.Roll
	leads := c.Step == StepHandOver || c.Step == StepTakeOver || c.Step == StepResume || c.Step == StepValidate
	switch {
	case leads != (len(c.Members) == 0):
		return ErrStep.with("%d members for step %q", len(c.Members), c.Step)
	case len(c.Members) > 1 && (c.Step == StepRestart || c.Step == StepSwitch || c.Step == StepUndo || c.Step == StepSnapshot):
		return ErrStep.with("%q is for one member at a time", c.Step)
	case c.Step == StepStage && len(c.Members) != len(s.Left(o)):
		return ErrStep.with("%q is for all of them", c.Step)
	}
	for _, other := range s.RunningOperations() {
		if other.Handoff != nil && working(c.Step) {
			return ErrBusy.with("%s %d from %q to %q", other.Kind, other.ID, other.Handoff.From, other.Handoff.To)
		}
	}
	for i, id := range c.Members {
		m, ok := s.Members[id]
		known := first(s.Homes[id].Tag, s.Homes[id].Runs.Tag)
		if o.Kind == KindRollout {
			known = first(s.Homes[id].Config, s.Homes[id].Runs.Config)
		}
		switch {
		case !ok || m.Witness || !slices.Contains(r.Members, id):
			return ErrMember.with("%q", id)
		case slices.Contains(c.Members[:i], id):
			return ErrMember.with("%q is named twice", id)
		case (working(c.Step) && c.Step != StepFork || c.Step == StepSnapshot) && s.Lease.Open() && s.Lease.Holder == id:
			return ErrHolds.with("%q", id)
		case working(c.Step) && o.Kind != KindRestart && known == "" && c.Step != StepSwitch: // another version may mend one that cannot say
			return ErrStep.with("what %q runs is not known: there would be no way back", id)
		case c.Step == StepUndo:
			if err := o.mayUndo(id); err != nil {
				return err
			}
		case working(c.Step) && slices.Contains(r.Done, id):
			return ErrStep.with("%q is through", id)
		}
	}
	return nil
}

// mayUndo reports why a member is not brought back to what it ran before, or nil.
func (o Operation) mayUndo(id string) error {
	switch {
	case !slices.Contains(o.begun(), id):
		return ErrStep.with("%q was not begun", id)
	case o.Kind == KindUpgrade && first(o.Roll.Before[id].Tag, o.Roll.Before[id].Runs.Tag) == "":
		return ErrStep.with("what %q ran is not known: there is no way back", id)
	case slices.Contains(o.Roll.Undone, id):
		return ErrStep.with("%q was rolled back", id)
	case o.Roll.Upgrade != nil && o.Roll.Upgrade.HardFork && len(o.Roll.Done) > 0:
		return ErrStep.with("%s came through the hard fork: there is no way back for %q", o.Roll.Done[0], id)
	}
	return nil
}

// begun are the members, each once, whose nodes were to be stopped by a step that came so far.
func (o Operation) begun() []string {
	var list []string
	for _, step := range o.Steps {
		for _, p := range step.Parts {
			if working(step.Name) && !slices.Contains(list, p.Member) {
				list = append(list, p.Member)
			}
		}
	}
	return list
}

// but is a copy of the list without an id.
func but(list []string, id string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(other string) bool { return other == id })
}

// before is what members are to run, and run, now.
func (s *State) before(members []string) map[string]Home {
	now := make(map[string]Home, len(members))
	for _, id := range members {
		now[id] = s.Homes[id]
	}
	return now
}

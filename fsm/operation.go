package fsm

import (
	"slices"
	"strings"
)

// Operation is a piece of long work that must survive any crash: a handoff, a rolling one (rolling.go), or one on a backup (task.go).
// Its current step names who must do it and until when. That member does it and proposes the outcome; when the deadline
// passes the leader expires it. So a half-finished operation never blocks the next one.
type Operation struct {
	ID       uint64   `json:"id"` // index of the entry that started it
	Kind     string   `json:"kind"`
	Handoff  *Handoff `json:"handoff,omitempty"`
	Roll     *Roll    `json:"roll,omitempty"`   // of a rolling operation; version 3
	Task     *Task    `json:"task,omitempty"`   // of an operation on a backup (task.go); version 4
	Parent   uint64   `json:"parent,omitempty"` // of a handoff that belongs to an operation that stops a node; version 3
	By       string   `json:"by"`               // the member that took the request
	Actor    string   `json:"actor,omitempty"`  // on whose behalf
	Started  int64    `json:"started"`          // Unix ms
	Steps    []Step   `json:"steps"`            // done and current, in order; the last is the current one while running
	Outcome  Outcome  `json:"outcome"`
	Reason   string   `json:"reason,omitempty"` // of a failure, cancellation or expiry
	Ended    int64    `json:"ended,omitempty"`
	Deadline int64    `json:"deadline"` // of the current step, Unix ms
}

// Outcome is how an operation ended, or Running.
type Outcome string

// The outcomes.
const (
	Running  Outcome = "running"
	Done     Outcome = "done"
	Failed   Outcome = "failed"
	Canceled Outcome = "canceled"
	Expired  Outcome = "expired"
)

// Step is one step of an operation.
type Step struct {
	Name     string `json:"name"`
	Assignee string `json:"assignee"`        // member id; "" is whoever leads
	Since    int64  `json:"since"`           // Unix ms
	Parts    []Part `json:"parts,omitempty"` // of a rolling operation's step, by member; none: the leader's
}

// The kinds of operations, and the steps of a handoff in their order (design/lease.md, "Handoff").
const (
	KindHandoff = "handoff"

	StepValidate = "validate"     // leader: is the target fit?
	StepAwait    = "await window" // holder: the gap after our window, or the instant after a block
	StepStop     = "stop"         // holder: gate closed, nodeos paused; ends with the transfer entry
	StepStart    = "start"        // target: resumes once its head has the last block
	StepVerify   = "verify"       // leader: a block of the target is on the chain
)

// MaxStep bounds a step's deadline, in ms after the entry that starts the step: a deadline out of a wrong clock or a wrong
// unit must not keep the next operation waiting for ever.
const MaxStep = 3_600_000

// handoffSteps says which step may follow which; the transfer entry alone leads from stop to start, and nothing follows
// verify.
var handoffSteps = map[string]string{StepValidate: StepAwait, StepAwait: StepStop, StepStart: StepVerify}

// Handoff is what a handoff is asked to do, and from where it started.
type Handoff struct {
	To    string `json:"to"`
	When  string `json:"when"`  // "safe" or "now"
	From  string `json:"from"`  // the holder when it was started
	Epoch uint64 `json:"epoch"` // the lease's epoch then: another epoch before the transfer means that something else moved production
}

// Current is the step that is to be done now; zero when the operation has ended.
func (o Operation) Current() Step {
	if o.Outcome != Running || len(o.Steps) == 0 {
		return Step{}
	}
	return o.Steps[len(o.Steps)-1]
}

// Disruptive reports whether the operation moves or may stop production: one at a time, but for a handoff that belongs to a
// rolling one.
func (o Operation) Disruptive() bool {
	return o.Kind == KindHandoff || o.Rolling() && disruptive(o.Kind, o.Current().Name) || o.Task != nil && working(o.Current().Name)
}

// Operation finds an operation by its id.
func (s *State) Operation(id uint64) (Operation, bool) {
	for _, o := range s.Operations {
		if o.ID == id {
			return o, true
		}
	}
	return Operation{}, false
}

// RunningOperations lists those that have not ended, oldest first.
func (s *State) RunningOperations() []Operation {
	var running []Operation
	for _, o := range s.Operations {
		if o.Outcome == Running {
			running = append(running, o)
		}
	}
	return running
}

// HandoffOf finds the handoff under way that a member is the source or the target of.
func (s *State) HandoffOf(id string) (Operation, bool) {
	for _, o := range s.RunningOperations() {
		if o.Handoff != nil && (o.Handoff.From == id || o.Handoff.To == id) {
			return o, true
		}
	}
	return Operation{}, false
}

// StartOperation starts an operation at its first step. Its id is the index of this entry.
type StartOperation struct {
	Name     string   `json:"name"` // the operation's kind
	Handoff  *Handoff `json:"handoff,omitempty"`
	Roll     *Roll    `json:"roll,omitempty"`   // version 3
	Parent   uint64   `json:"parent,omitempty"` // a handoff's: the operation that stops a node and that it belongs to; version 3
	Task     *Task    `json:"task,omitempty"`   // version 4
	Queue    bool     `json:"queue,omitempty"`  // wait for the one before it, until Deadline, instead of a refusal; version 3
	Deadline int64    `json:"deadline"`         // of the first step, Unix ms
}

// AdvanceOperation ends step From and starts step To. Accepted iff From is the current step.
type AdvanceOperation struct {
	ID       uint64 `json:"id"`
	From     string `json:"from"`
	To       string `json:"to"`
	Assignee string `json:"assignee"`
	Deadline int64  `json:"deadline"`
}

// FinishOperation ends an operation as done (at the last step only), failed or canceled. Step must be the current one; "" for a cancellation,
// which is accepted at any step.
type FinishOperation struct {
	ID      uint64  `json:"id"`
	Step    string  `json:"step,omitempty"`
	Outcome Outcome `json:"outcome"`
	Reason  string  `json:"reason,omitempty"`
	Number  int     `json:"number,omitempty"` // of the current step, of a rolling operation; version 3
}

// ExpireOperation ends an operation whose current step's deadline has passed by the proposer's clock.
type ExpireOperation struct {
	ID     uint64 `json:"id"`
	Step   string `json:"step"`
	Number int    `json:"number,omitempty"` // of the current step, of a rolling operation; version 3
}

// Kind names the entry.
func (StartOperation) Kind() string { return "operation.start" }

// Kind names the entry.
func (AdvanceOperation) Kind() string { return "operation.advance" }

// Kind names the entry.
func (FinishOperation) Kind() string { return "operation.finish" }

// Kind names the entry.
func (ExpireOperation) Kind() string { return "operation.expire" }

func (c StartOperation) needs() uint32 {
	return max(sinceIf(3, c.Roll != nil || c.Parent != 0 || c.Queue), sinceIf(4, c.Task != nil))
}

func (c FinishOperation) needs() uint32 { return sinceIf(3, c.Number != 0) }

func (c ExpireOperation) needs() uint32 { return sinceIf(3, c.Number != 0) }

func (c StartOperation) apply(s *State, e Entry) error { return c.start(s, e, "") }

// start starts it, for a plan where one fires it.
func (c StartOperation) start(s *State, e Entry, plan string) error {
	o := Operation{ID: e.Index, Kind: c.Name, Parent: c.Parent, By: e.By, Actor: clip(e.Actor), Started: e.At, Outcome: Running, Deadline: c.Deadline}
	if taskTurns[c.Name] != nil && c.Task != nil && c.Roll == nil && c.Handoff == nil && c.Parent == 0 {
		if c.Task.Plan != plan {
			return ErrAsked.with("a %s of a plan is started by %s", c.Name, FirePlan{}.Kind())
		}
		if err := s.startTask(c, e, &o); err != nil {
			return err
		}
		s.Operations = appendOperation(s.Operations, o)
		s.note(e, "operation.started", o.Task.Member, "%s %d in %s", o.Kind, o.ID, o.Task.Repository)
		return nil
	}
	if turns[c.Name] != nil && c.Roll != nil && c.Task == nil && c.Handoff == nil && c.Parent == 0 {
		if err := s.startRolling(c, e, &o); err != nil {
			return err
		}
	}
	running := s.RunningOperations()
	for _, r := range running {
		if r.Disruptive() && o.Disruptive() && (r.ID != o.Parent || r.Handoff != nil) {
			return ErrBusy.with("%s %d, at step %q", r.Kind, r.ID, r.Current().Name)
		}
	}
	if o.Rolling() {
		waiting := 0
		for _, r := range running {
			if r.Kind == o.Kind && r.Current().Name == StepQueued {
				waiting++
			}
		}
		if waiting >= maxQueued && o.Current().Name == StepQueued {
			return ErrBusy.with("%d of its kind wait already", waiting)
		}
		if err := s.lasts(e, o.Steps[0].Name, o.Deadline); err != nil {
			return err
		}
		s.Operations = appendOperation(s.Operations, o)
		s.note(e, "operation.started", "", "%s %d of %s", o.Kind, o.ID, strings.Join(o.Roll.Members, ", "))
		return nil
	}
	if err := mayLast(e, c.Deadline); err != nil {
		return err
	}
	if c.Name != KindHandoff || c.Handoff == nil || c.Roll != nil || c.Task != nil || c.Queue {
		return ErrOperation.with("kind %q is not known", c.Name)
	}
	if p, _ := s.Operation(c.Parent); c.Parent != 0 && (p.Handoff != nil || !p.Disruptive()) {
		return ErrEnded.with("operation %d, which the handoff would belong to, stops no nodes", c.Parent)
	}
	h := *c.Handoff
	if _, stopped := s.Working(h.To); stopped {
		return ErrHandoff.with("the node of %q is being restarted", h.To)
	}
	if other, ok := s.Halted(h.To); ok && other.Task != nil { // version 3 did not refuse it for others
		return ErrHandoff.with("the node of %q writes a chain snapshot and stands still meanwhile: %s %d", h.To, other.Kind, other.ID)
	}
	target, ok := s.Members[h.To]
	switch {
	case h.When != "safe" && h.When != "now":
		return ErrHandoff.with("when must be safe or now, not %q", h.When)
	case !ok:
		return ErrMember.with("%q", h.To)
	case target.Witness:
		return ErrHolder.with("%q is a witness: it votes and has no node", h.To)
	case !s.Lease.Open():
		return ErrHandoff.with("nobody holds the lease")
	case s.Lease.Holder == h.To:
		return ErrHandoff.with("%q holds the lease already", h.To)
	}
	h.From, h.Epoch = s.Lease.Holder, s.Lease.Epoch
	o.Handoff = &h
	o.Steps = []Step{{Name: StepValidate, Since: e.At}}
	s.Operations = appendOperation(s.Operations, o)
	s.note(e, "operation.started", h.To, "handoff %d from %s, %s", o.ID, h.From, h.When)
	return nil
}

func (c AdvanceOperation) apply(s *State, e Entry) error {
	o, ok := s.Operation(c.ID)
	if !ok {
		return ErrOperation.with("%d", c.ID)
	}
	if next, ok := handoffSteps[c.From]; !ok || next != c.To || o.stepped() {
		return ErrStep.with("%q does not follow %q", c.To, c.From)
	}
	if o.Handoff != nil && c.From != StepStart && s.Lease.Epoch != o.Handoff.Epoch {
		return ErrEpoch.with("the lease is at epoch %d, the handoff began at %d", s.Lease.Epoch, o.Handoff.Epoch)
	}
	return s.moveOperation(e, c.ID, c.From, c.To, c.Assignee, c.Deadline)
}

func (c FinishOperation) clipped() Command {
	c.Reason = clip(c.Reason)
	return c
}

func (c FinishOperation) apply(s *State, e Entry) error {
	switch c.Outcome {
	case Done, Failed:
		if c.Step == "" {
			return ErrStep.with("an outcome needs the step it is for")
		}
	case Canceled:
	default:
		return ErrStep.with("%q is not an outcome", c.Outcome)
	}
	o, _ := s.Operation(c.ID)
	switch {
	case o.Rolling():
		if err := s.mayFinish(o, c); err != nil {
			return err
		}
	case o.Task != nil:
		if err := s.mayFinishTask(o, c); err != nil {
			return err
		}
	case c.Outcome == Done && c.Step != StepVerify:
		return ErrStep.with("a handoff is done at step %q, not at %q", StepVerify, c.Step)
	}
	return s.endOperation(e, c.ID, c.Step, c.Outcome, c.Reason)
}

func (c ExpireOperation) apply(s *State, e Entry) error {
	o, ok := s.Operation(c.ID)
	if !ok {
		return ErrOperation.with("%d", c.ID)
	}
	if c.Step == "" {
		return ErrStep.with("an expiry needs the step it is for")
	}
	if o.stepped() && c.Number != o.Number() {
		return ErrStep.with("operation %d is at step %d, not %d", c.ID, o.Number(), c.Number)
	}
	if o.Outcome == Running && e.At <= o.Deadline {
		return ErrDeadline.with("operation %d has %d ms left", c.ID, o.Deadline-e.At)
	}
	return s.endOperation(e, c.ID, c.Step, Expired, "step "+c.Step+" was not done in time")
}

// mayLast reports that a step's deadline is too far away, or nil.
func mayLast(e Entry, deadline int64) error {
	if deadline-MaxStep > e.At {
		return ErrDeadline.with("a step of more than %d ms", MaxStep)
	}
	return nil
}

// moveOperation ends step from and starts step to.
func (s *State) moveOperation(e Entry, id uint64, from, to, assignee string, deadline int64) error {
	if err := mayLast(e, deadline); err != nil {
		return err
	}
	return s.changeOperation(id, from, func(o *Operation) {
		o.Steps = append(slices.Clip(slices.Clone(o.Steps)), Step{Name: to, Assignee: assignee, Since: e.At})
		o.Deadline = deadline
	})
}

func (s *State) endOperation(e Entry, id uint64, step string, outcome Outcome, reason string) error {
	if err := s.changeOperation(id, step, func(o *Operation) {
		o.Outcome, o.Reason, o.Ended = outcome, clip(reason), e.At
	}); err != nil {
		return err
	}
	o, _ := s.Operation(id)
	subject := ""
	if o.Handoff != nil {
		subject = o.Handoff.To
	}
	if o.Rolling() {
		s.endHomes(e, o)
	}
	if o.Task != nil {
		subject = o.Task.Member
		s.endTask(e, o)
	}
	s.note(e, "operation."+string(outcome), subject, "%s %d%s", o.Kind, id, because(reason))
	return nil
}

// changeOperation replaces one running operation by its changed copy. step "" accepts any step.
func (s *State) changeOperation(id uint64, step string, change func(*Operation)) error {
	for i, o := range s.Operations {
		if o.ID != id {
			continue
		}
		if o.Outcome != Running {
			return ErrEnded.with("operation %d is %s", id, o.Outcome)
		}
		if step != "" && o.Current().Name != step {
			return ErrStep.with("operation %d is at %q, not %q", id, o.Current().Name, step)
		}
		change(&o)
		s.Operations = slices.Clone(s.Operations)
		s.Operations[i] = o
		return nil
	}
	return ErrOperation.with("%d", id)
}

// appendOperation keeps every running operation and the newest ended ones.
func appendOperation(list []Operation, o Operation) []Operation {
	next := slices.Clone(list)
	ended := 0
	for _, o := range next {
		if o.Outcome != Running {
			ended++
		}
	}
	if ended >= maxOperations {
		oldest := slices.IndexFunc(next, func(o Operation) bool { return o.Outcome != Running })
		next = slices.Delete(next, oldest, oldest+1)
	}
	return append(next, o)
}

package api

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"roundtable/fsm"
)

// Operation is GET /cluster/operations/:id. What its kind does not have is absent.
type Operation struct {
	ID       string      `json:"id"`
	Kind     string      `json:"kind"`
	Parent   string      `json:"parent,omitempty"` // of a handoff: the rolling operation that it belongs to
	From     string      `json:"from,omitempty"`   // of a handoff
	To       string      `json:"to,omitempty"`
	When     string      `json:"when,omitempty"`
	By       string      `json:"by"`              // the member that took the request
	Actor    string      `json:"actor,omitempty"` // on whose behalf
	Outcome  fsm.Outcome `json:"outcome"`
	Reason   string      `json:"reason,omitempty"` // how it ended; while it runs, said by the member that leads: why it does not go on
	Step     string      `json:"step,omitempty"`   // the current one while running
	Steps    []Step      `json:"steps"`
	Percent  int         `json:"percent"`             // of the whole, 0 to 100; where one failed: how far it had come
	Message  string      `json:"message"`             // one line for people: what happens now, or how it ended
	WaitsFor string      `json:"waits_for,omitempty"` // another operation, a block, a feature, a row
	Started  string      `json:"started"`
	Ended    string      `json:"ended,omitempty"`
	Deadline string      `json:"deadline,omitempty"` // of the current step
	Seconds  float64     `json:"seconds"`            // so far, or in all

	// Of a rolling operation: what it is asked to do ...
	Members  []string  `json:"members,omitempty"` // whose nodes it is for
	Limit    string    `json:"limit,omitempty"`   // that one member may take, such as 10m0s; of an operation on a backup: that a step may
	TakeOver bool      `json:"take_over,omitempty"`
	Tag      string    `json:"tag,omitempty"` // of an upgrade, as the next ones
	SHA256   string    `json:"sha256,omitempty"`
	AtBlock  uint32    `json:"at_block,omitempty"`
	Feature  string    `json:"feature,omitempty"`
	Row      *TableRow `json:"row,omitempty"`
	HardFork bool      `json:"hard_fork,omitempty"`
	Undo     string    `json:"undo,omitempty"` // member, all
	Snapshot bool      `json:"snapshot,omitempty"`

	// Of an operation on a backup: what it is asked to do.
	Repository string   `json:"repository,omitempty"`
	Copies     string   `json:"copies,omitempty"`  // of a backup: data, snapshot
	Backup     string   `json:"backup,omitempty"`  // id of the one that is made, restored or verified
	Member     string   `json:"member,omitempty"`  // who does it, once that is known; of a restore: whose node it is for
	Keep       string   `json:"keep,omitempty"`    // of a backup, such as 30d
	Trial      bool     `json:"trial,omitempty"`   // of a verification: a node is started on it
	Unknown    bool     `json:"unknown,omitempty"` // of a sweep: what the catalogue does not know is removed as well
	Auto       bool     `json:"auto,omitempty"`    // of a restore: the member asked for it itself
	Plan       string   `json:"plan,omitempty"`    // that started it
	Avoid      []string `json:"avoid,omitempty"`   // members that are chosen last: they failed at it

	// ... and how far it is.
	Done      []string `json:"done,omitempty"`      // who is through, in this order
	Undone    []string `json:"undone,omitempty"`    // who was brought back to what it ran before
	Fault     string   `json:"fault,omitempty"`     // why no further member is begun
	Canceling bool     `json:"canceling,omitempty"` // it stops after the member at work, or when its node is back
}

// Step is one step of an operation, done or current.
type Step struct {
	Name     string  `json:"name"`
	Assignee string  `json:"assignee"` // "": whoever leads, or those that the parts name
	Since    string  `json:"since"`
	Seconds  float64 `json:"seconds"`
	Parts    []Part  `json:"parts,omitempty"` // of a rolling operation's step, by member
}

// Part is what one member does of a step.
type Part struct {
	Member  string `json:"member"`
	Percent int    `json:"percent"`
	Text    string `json:"text,omitempty"` // how far it is, or what came out of it
	Fault   string `json:"fault,omitempty"`
	Ended   string `json:"ended,omitempty"`
}

// TableRow says what a row of a contract's table must say: the field of the first row at the key has the value.
type TableRow struct {
	Code  string `json:"code"`
	Scope string `json:"scope"`
	Table string `json:"table"`
	Key   string `json:"key"` // "": the first row
	Field string `json:"field"`
	Value string `json:"value"`
}

// The values of Operation.Undo.
const (
	UndoMember = "member" // one that fails is brought back, those that are through stay
	UndoAll    = "all"
)

// operation is an operation as this member knows it. The leader knows why one does not go on.
func (s *Server) operation(state *fsm.State, o fsm.Operation, now int64) Operation {
	v := viewOperation(state, o, now)
	if o.Outcome == fsm.Running && v.Reason == "" {
		v.Reason = words(s.cfg.Control.OperationReason(o.ID))
	}
	return v
}

func viewOperation(s *fsm.State, o fsm.Operation, now int64) Operation {
	end := now
	if o.Ended != 0 {
		end = o.Ended
	}
	v := Operation{
		ID: strconv.FormatUint(o.ID, 10), Kind: o.Kind, By: o.By, Actor: o.Actor, Outcome: o.Outcome, Reason: o.Reason, Step: o.Current().Name,
		Steps: []Step{}, Percent: percentOf(o), Message: messageOf(s, o), WaitsFor: waitsFor(s, o), Started: stamp(o.Started), Ended: stamp(o.Ended),
		Seconds: seconds(o.Started, end),
	}
	if o.Parent != 0 {
		v.Parent = strconv.FormatUint(o.Parent, 10)
	}
	if o.Handoff != nil {
		v.From, v.To, v.When = o.Handoff.From, o.Handoff.To, o.Handoff.When
	}
	if o.Outcome == fsm.Running {
		v.Deadline = stamp(o.Deadline)
	}
	if r := o.Roll; r != nil {
		v.Members, v.Limit, v.TakeOver = r.Members, (time.Duration(r.Limit) * time.Millisecond).String(), r.TakeOver
		v.Done, v.Undone, v.Fault, v.Canceling = r.Done, r.Undone, r.Fault, r.Cancel
		if u := r.Upgrade; u != nil {
			v.Tag, v.SHA256, v.AtBlock, v.Feature, v.HardFork, v.Snapshot, v.Undo = u.Tag, u.SHA256, u.AtBlock, u.Feature, u.HardFork, u.Snapshot, UndoMember
			if u.UndoAll {
				v.Undo = UndoAll
			}
			if u.Row != nil {
				row := TableRow(*u.Row)
				v.Row = &row
			}
		}
	}
	if o.Task != nil {
		v.viewTask(*o.Task)
	}
	for i, step := range o.Steps {
		until := end
		if i+1 < len(o.Steps) {
			until = o.Steps[i+1].Since
		}
		v.Steps = append(v.Steps, Step{step.Name, step.Assignee, stamp(step.Since), seconds(step.Since, until), viewParts(step)})
	}
	return v
}

func viewParts(step fsm.Step) (list []Part) {
	for _, p := range step.Parts {
		list = append(list, Part{p.Member, partPercent(p), p.Text, p.Fault, stamp(p.Ended)})
	}
	return list
}

func partPercent(p fsm.Part) int {
	if p.Ended != 0 && p.Fault == "" {
		return 100
	}
	return p.Percent
}

// handoffSteps are how many a handoff has.
const handoffSteps = 5

// percentOf is how far an operation is, or was when it ended. Each member counts the same, and so does the staging of an upgrade;
// handoffs and waiting count nothing.
func percentOf(o fsm.Operation) int {
	switch {
	case o.Outcome == fsm.Done:
		return 100
	case len(o.Steps) == 0:
		return 0
	case o.Task != nil:
		return taskPercent(o)
	case !o.Rolling():
		return 100 * (len(o.Steps) - 1) / handoffSteps
	}
	r := o.Roll
	whole, done := 100*len(r.Members), 100*(len(r.Done)+len(r.Undone))
	if r.Upgrade != nil {
		whole += 100
		done += staged(o)
	}
	step := o.Steps[len(o.Steps)-1]
	switch step.Name {
	case fsm.StepRestart, fsm.StepSwitch, fsm.StepFork, fsm.StepUndo:
		for _, p := range step.Parts {
			if p.Ended == 0 && !slices.Contains(r.Done, p.Member) {
				done += p.Percent
			}
		}
	}
	if o.Outcome != fsm.Running {
		return min(100*done/max(whole, 1), 100)
	}
	return min(100*done/max(whole, 1), 99)
}

// staged is how far the staging of an upgrade is.
func staged(o fsm.Operation) int {
	i := slices.IndexFunc(o.Steps, func(s fsm.Step) bool { return s.Name == fsm.StepStage })
	switch {
	case i < 0:
		return 0
	case i+1 < len(o.Steps):
		return 100
	}
	sum, parts := 0, o.Steps[i].Parts
	for _, p := range parts {
		sum += partPercent(p)
	}
	return sum / max(len(parts), 1)
}

// messageOf says in one line what an operation does now, or how it ended. It depends on nothing but the state.
func messageOf(s *fsm.State, o fsm.Operation) string {
	if o.Outcome != fsm.Running {
		return string(o.Outcome) + because(": ", o.Reason)
	}
	step := o.Current()
	text := step.Name
	if len(step.Parts) == 0 {
		text += because(" at ", step.Assignee) + because(": ", waitsFor(s, o))
		if child, ok := childOf(s, o); ok {
			text = fmt.Sprintf("%s: from %s to %s, %s", step.Name, child.Handoff.From, child.Handoff.To, child.Current().Name)
		}
	} else {
		var parts []string
		for _, p := range step.Parts {
			parts = append(parts, partText(p, len(step.Parts) > 1))
		}
		if what := waitsFor(s, o); what != "" {
			text += " (" + what + ")"
		}
		if len(parts) == 1 {
			text += " " + parts[0]
		} else {
			text += ": " + strings.Join(parts, "; ")
		}
	}
	switch {
	case o.Task != nil:
		return text + taskStanding(*o.Task)
	case !o.Rolling():
		return text
	}
	return text + standing(o)
}

// standing says how many members are through, and what else there is to know of a rolling operation.
func standing(o fsm.Operation) (text string) {
	r, step := o.Roll, o.Current()
	switch n := len(r.Done); {
	case (step.Name == fsm.StepRestart || step.Name == fsm.StepSwitch) && !slices.Contains(r.Done, step.Assignee):
		text = fmt.Sprintf(" (%d of %d)", n+1, len(r.Members))
	case n > 0:
		text = fmt.Sprintf(" (%d of %d through)", n, len(r.Members))
	}
	if r.Cancel {
		text += "; it stops after that, canceled"
	}
	return text + because("; because ", r.Fault)
}

// partText says how far a member is with its part.
func partText(p fsm.Part, many bool) string {
	switch {
	case p.Fault != "":
		return p.Member + " failed: " + p.Fault
	case p.Ended != 0:
		return p.Member + ": " + cmp.Or(p.Text, "done")
	case many && p.Percent > 0:
		return fmt.Sprintf("%s: %d %%%s", p.Member, p.Percent, because(", ", p.Text))
	}
	return p.Member + because(": ", p.Text)
}

// because puts something before a text, where there is one.
func because(before, text string) string {
	if text == "" {
		return ""
	}
	return before + text
}

// childOf is the handoff under way that belongs to an operation.
func childOf(s *fsm.State, o fsm.Operation) (fsm.Operation, bool) {
	for _, c := range s.RunningOperations() {
		if c.Parent == o.ID && c.Handoff != nil {
			return c, true
		}
	}
	return fsm.Operation{}, false
}

// waitsFor is what an operation waits for, beside those who do its step; "" for nothing.
func waitsFor(s *fsm.State, o fsm.Operation) string {
	switch o.Current().Name {
	case fsm.StepQueued:
		if other, ok := s.WaitsFor(o); ok {
			return fmt.Sprintf("%s %d", other.Kind, other.ID)
		}
	case fsm.StepTrigger, fsm.StepFork, fsm.StepArm:
		u := o.Roll.Upgrade
		switch {
		case u == nil:
		case u.AtBlock != 0:
			return fmt.Sprintf("block %d", u.AtBlock)
		case u.Feature != "":
			return "the protocol feature " + u.Feature
		case u.Row != nil:
			row := TableRow(*u.Row)
			return "the row " + rowText(&row)
		}
	case fsm.StepHandOver, fsm.StepTakeOver:
		if c, ok := childOf(s, o); ok {
			return fmt.Sprintf("%s %d", c.Kind, c.ID)
		}
	}
	return ""
}

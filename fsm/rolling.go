package fsm

import (
	"maps"
	"slices"
	"strings"
)

// The kinds of rolling operations: the nodes of some members, one after another, the holder's last and after a handoff.
// Version 3.
const (
	KindRestart = "restart" // stopped and started
	KindUpgrade = "upgrade" // with another version of nodeos
	KindRollout = "rollout" // with another config.ini
)

// The steps of rolling operations; StepValidate is their first one too. Who does them: the leader, or the members that the
// step's parts name, all at once.
const (
	StepQueued   = "queued"         // leader: another one goes first
	StepStage    = "stage"          // members: the version is there and is what it says
	StepTrigger  = "await trigger"  // members: a block, a protocol feature, a row of a table; one that sees it is enough
	StepSnapshot = "chain snapshot" // member: before the first node is stopped
	StepRestart  = "restart"        // member: stop, start, proof that it is back
	StepSwitch   = "switch"         // member: the same with another version
	StepHandOver = "hand over"      // leader: a handoff to one of those that are through
	StepUndo     = "roll back"      // member: back to what it ran before
	StepTakeOver = "take over"      // leader: a handoff to the one that was restarted last
	StepArm      = "arm"            // members: nodeos is told to stop at the block of a hard fork
	StepFork     = "fork"           // members: at that block, stop, switch and start, all at once
	StepResume   = "resume"         // leader: production goes on behind the fork
)

// How long a step may last, in ms after the entry that starts it. MaxStep is for all that others wait for; what blocks nobody
// may wait longer.
const (
	MaxWait  = 30 * 24 * MaxStep
	PlanTime = 60_000 // for the leader to start the next step after one has ended
)

// maxSteps bounds the steps of one operation.
const maxSteps = 512

// maxRunning bounds the operations that have not ended.
const maxRunning = 16

// Roll is what a rolling operation is asked to do, and how far it is. Version 3.
type Roll struct {
	Members  []string          `json:"members,omitempty"` // whose nodes it is for; none when asked for: all that have one
	Limit    int64             `json:"limit"`             // ms that a member may take, from the stop to the proof that it is back
	Upgrade  *Upgrade          `json:"upgrade,omitempty"`
	Configs  map[string]string `json:"configs,omitempty"`   // of a rollout: the hash of the configuration for each member
	TakeOver bool              `json:"take_over,omitempty"` // the one that was restarted last is to produce

	// What follows is the state's own.

	Before map[string]Home `json:"before,omitempty"` // what each member was to run, and ran, at the start
	Done   []string        `json:"done,omitempty"`   // who is through, in this order
	Undone []string        `json:"undone,omitempty"` // who was brought back to what it ran before
	Fault  string          `json:"fault,omitempty"`  // why no further member is begun, and what is undone is undone
	Cancel bool            `json:"cancel,omitempty"` // an operator wants it to stop after the member at work
}

// Upgrade is which version, when, and what becomes of those that fail.
type Upgrade struct {
	Tag      string    `json:"tag"`
	SHA256   string    `json:"sha256,omitempty"`    // of the asset, where it is fetched
	AtBlock  uint32    `json:"at_block,omitempty"`  // the head at which it begins, or of the hard fork
	Feature  string    `json:"feature,omitempty"`   // digest of a protocol feature, or its name, whose activation begins it
	Row      *TableRow `json:"row,omitempty"`       // a row of a contract's table that begins it
	HardFork bool      `json:"hard_fork,omitempty"` // all at once, at AtBlock
	UndoAll  bool      `json:"undo_all,omitempty"`  // one that fails takes those that are through back with it
	Snapshot bool      `json:"snapshot,omitempty"`  // a chain snapshot before the first node is stopped
}

// TableRow says what a row must say: the field of the first row at the key has the value.
type TableRow struct {
	Code  string `json:"code"`
	Scope string `json:"scope"`
	Table string `json:"table"`
	Key   string `json:"key,omitempty"` // lower and upper bound; "": the first row
	Field string `json:"field"`
	Value string `json:"value"`
}

// Part is what one member does of a step.
type Part struct {
	Member      string `json:"member"`
	Incarnation string `json:"incarnation"`       // of its process when the step began: another one has started its node anew since
	Percent     int    `json:"percent,omitempty"` // 0 to 100
	Text        string `json:"text,omitempty"`    // how far it is, or what came out of it
	Ended       int64  `json:"ended,omitempty"`   // Unix ms; 0: not yet
	Fault       string `json:"fault,omitempty"`   // why it failed
}

// Home is what a member's node is to run, and what it runs as the member says. Version 3.
type Home struct {
	Tag     string `json:"tag,omitempty"`     // the version it is to run; "": what is there
	Config  string `json:"config,omitempty"`  // hash of the configuration it is to run; "": what is there
	Runs    Runs   `json:"runs,omitzero"`     // as the member said
	Refused string `json:"refused,omitempty"` // hash of a configuration that failed there
}

// Runs is what a member says of its node.
type Runs struct {
	Tag    string `json:"tag,omitempty"`
	Config string `json:"config,omitempty"` // hash
	Offers string `json:"offers,omitempty"` // hash of a configuration that lies there and waits to be rolled out
}

// Rolling reports whether it is a rolling operation.
func (o Operation) Rolling() bool { return o.Roll != nil }

// Number is the current step's: 1 is the first.
func (o Operation) Number() int { return len(o.Steps) }

// Over reports whether the step has nothing left to do: all its parts have ended, or one failed, or one is enough and has ended
// well. A leader's step is over when the leader says so.
func (s Step) Over() bool {
	left := 0
	for _, p := range s.Parts {
		switch {
		case p.Ended == 0:
			left++
		case s.Name == StepTrigger && p.Fault == "":
			return true
		case p.Fault != "" && s.Name != StepFork && s.Name != StepArm && s.Name != StepStage && s.Name != StepTrigger:
			return true
		}
	}
	return left == 0
}

// Faults says what failed in the step, member by member; "" where nothing did.
func (s Step) Faults() string {
	var list []string
	for _, p := range s.Parts {
		if p.Fault != "" {
			list = append(list, p.Member+": "+p.Fault)
		}
	}
	if s.Name == StepTrigger && len(list) < len(s.Parts) { // one that sees it is enough
		return ""
	}
	return strings.Join(list, "; ")
}

// Part finds a member's part.
func (s Step) Part(member string) (Part, bool) {
	if i := slices.IndexFunc(s.Parts, func(p Part) bool { return p.Member == member }); i >= 0 {
		return s.Parts[i], true
	}
	return Part{}, false
}

// working reports whether a step stops nodes.
func working(step string) bool {
	switch step {
	case StepRestart, StepSwitch, StepUndo, StepFork:
		return true
	}
	return false
}

// Working finds the rolling operation whose current step may have a member's node stopped now.
func (s *State) Working(member string) (Operation, bool) {
	for _, o := range s.Operations {
		if p, ok := o.Current().Part(member); ok && o.Outcome == Running && working(o.Current().Name) && p.Ended == 0 {
			return o, true
		}
	}
	return Operation{}, false
}

// HardFork is the operation that keeps everybody from producing, because all nodes are being switched at once.
func (s *State) HardFork() (Operation, bool) {
	for _, o := range s.Operations {
		if o.Current().Name == StepFork {
			return o, true
		}
	}
	return Operation{}, false
}

// Left are the members that a rolling operation has not come to yet, as far as they are members still.
func (s *State) Left(o Operation) []string {
	var left []string
	for _, id := range o.Roll.Members {
		if _, ok := s.Members[id]; ok && !slices.Contains(o.Roll.Done, id) {
			left = append(left, id)
		}
	}
	return left
}

// turns says which steps may follow a step, by the operation's kind. It never names StepValidate: that follows StepQueued only.
var turns = func() map[string]map[string][]string {
	restart := map[string][]string{
		StepQueued:   {StepValidate},
		StepValidate: {StepRestart, StepHandOver},
		StepRestart:  {StepRestart, StepHandOver, StepTakeOver},
		StepHandOver: {StepRestart, StepHandOver},
	}
	rollout := map[string][]string{
		StepQueued:   {StepValidate},
		StepValidate: {StepRestart, StepHandOver},
		StepRestart:  {StepRestart, StepHandOver, StepTakeOver, StepUndo},
		StepHandOver: {StepRestart, StepHandOver, StepUndo},
	}
	begin := []string{StepSwitch, StepHandOver, StepArm}
	upgrade := map[string][]string{
		StepQueued:   {StepValidate},
		StepValidate: {StepStage},
		StepStage:    append([]string{StepTrigger, StepSnapshot}, begin...),
		StepTrigger:  append([]string{StepSnapshot}, begin...),
		StepSnapshot: begin,
		StepSwitch:   {StepSwitch, StepHandOver, StepUndo},
		StepHandOver: {StepSwitch, StepHandOver, StepUndo},
		StepUndo:     {StepUndo, StepHandOver},
		StepArm:      {StepFork},
		StepFork:     {StepResume, StepUndo},
	}
	return map[string]map[string][]string{KindRestart: restart, KindRollout: rollout, KindUpgrade: upgrade}
}()

// disruptive reports whether a rolling operation of a kind, at a step, may have a node stopped: one such operation at a time.
func disruptive(kind, step string) bool {
	switch step {
	case StepQueued:
		return false
	case StepValidate, StepStage, StepTrigger:
		return kind != KindUpgrade
	}
	return true
}

// startRolling fills in what the state knows, and refuses what cannot be done.
func (s *State) startRolling(c StartOperation, e Entry, o *Operation) error {
	r := *c.Roll
	r.Before, r.Done, r.Undone, r.Fault, r.Cancel = nil, nil, nil, "", false
	if len(r.Members) == 0 {
		for _, id := range s.MemberIDs() {
			if !s.Members[id].Witness {
				r.Members = append(r.Members, id)
			}
		}
	}
	switch {
	case (c.Name == KindUpgrade) != (r.Upgrade != nil):
		return ErrOperation.with("a %s that does not say which version", c.Name)
	case (c.Name == KindRollout) != (len(r.Configs) > 0):
		return ErrOperation.with("a %s that does not say which configuration", c.Name)
	case r.Limit <= 0 || r.Limit > MaxStep:
		return ErrDeadline.with("%d ms for each member: 1 to %d", r.Limit, MaxStep)
	case len(r.Members) == 0:
		return ErrMember.with("no member has a node")
	}
	for i, id := range r.Members {
		m, ok := s.Members[id]
		switch {
		case !ok:
			return ErrMember.with("%q", id)
		case m.Witness:
			return ErrMember.with("%q is a witness: it has no node", id)
		case slices.Contains(r.Members[:i], id):
			return ErrMember.with("%q is named twice", id)
		case c.Name == KindRollout && r.Configs[id] == "":
			return ErrOperation.with("no configuration for %q", id)
		}
	}
	if u := r.Upgrade; u != nil {
		if err := u.check(); err != nil {
			return err
		}
		for _, other := range s.RunningOperations() {
			if other.Kind == KindUpgrade && !c.Queue {
				return ErrBusy.with("%s %d, at step %q", other.Kind, other.ID, other.Current().Name)
			}
		}
	}
	r.Before = map[string]Home{}
	for _, id := range r.Members {
		r.Before[id] = s.Homes[id]
	}
	o.Roll = &r
	first := StepValidate
	if c.Queue && s.waits(*o) {
		first = StepQueued
	}
	o.Steps = []Step{{Name: first, Since: e.At}}
	return nil
}

func (u Upgrade) check() error {
	switch {
	case !named(u.Tag) || strings.ContainsAny(u.Tag, "/\\"):
		return ErrOperation.with("%q is no version", clip(u.Tag))
	case u.SHA256 != "" && !hashed(u.SHA256):
		return ErrOperation.with("sha256 is 64 hex digits")
	case u.HardFork && (u.AtBlock == 0 || u.Feature != "" || u.Row != nil || u.UndoAll):
		return ErrOperation.with("a hard fork is at a block, and nothing but a block")
	case u.Row != nil && (u.Row.Code == "" || u.Row.Table == "" || u.Row.Field == ""):
		return ErrOperation.with("a row is named by code, table and field")
	}
	given := 0
	for _, is := range []bool{u.AtBlock != 0, u.Feature != "", u.Row != nil} {
		if is {
			given++
		}
	}
	if given > 1 {
		return ErrOperation.with("at a block, at a feature or at a row: one of them")
	}
	return nil
}

// waits reports whether an operation that is not there yet, or queued, has to wait for others.
func (s *State) waits(o Operation) bool {
	for _, other := range s.RunningOperations() {
		switch {
		case other.ID == o.ID:
		case other.Current().Name == StepQueued && other.ID < o.ID,
			other.Current().Name != StepQueued && o.Kind == KindUpgrade && other.Kind == KindUpgrade,
			other.Disruptive() && disruptive(o.Kind, StepValidate):
			return true
		}
	}
	return false
}

// TurnOperation ends a step of a rolling operation and starts the next one. Accepted iff Number is the current step's, the next one
// may follow it, and it is over or its deadline has passed; a step that stops a node is refused for the holder of the open lease. The
// first disruptive step is refused while another disruptive operation runs. Version 3.
type TurnOperation struct {
	ID       uint64   `json:"id"`
	Number   int      `json:"number"`
	Step     string   `json:"step"`
	Members  []string `json:"members,omitempty"` // who does it; none: the leader
	Deadline int64    `json:"deadline"`          // Unix ms
	Fault    string   `json:"fault,omitempty"`   // before the first StepUndo: why
}

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
}

// CancelOperation ends a rolling operation at once where no node is stopped, else after the member at work. Version 3.
type CancelOperation struct {
	ID     uint64 `json:"id"`
	Reason string `json:"reason,omitempty"`
}

// PutHome is what a member says of its node's version and configuration. Version 3.
type PutHome struct {
	Member string `json:"member"`
	Runs   Runs   `json:"runs"`
}

// Kind names the entry.
func (TurnOperation) Kind() string { return "operation.turn" }

// Kind names the entry.
func (ReportOperation) Kind() string { return "operation.report" }

// Kind names the entry.
func (CancelOperation) Kind() string { return "operation.cancel" }

// Kind names the entry.
func (PutHome) Kind() string { return "home.put" }

// rolling finds a running rolling operation that is at a step.
func (s *State) rolling(id uint64, number int) (Operation, error) {
	o, ok := s.Operation(id)
	switch {
	case !ok:
		return o, ErrOperation.with("%d", id)
	case !o.Rolling():
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
	o, err := s.rolling(c.ID, c.Number)
	if err != nil {
		return err
	}
	now, r := o.Current(), *o.Roll
	switch {
	case !slices.Contains(turns[o.Kind][now.Name], c.Step):
		return ErrStep.with("%q does not follow %q", c.Step, now.Name)
	case len(now.Parts) > 0 && !now.Over() && e.At <= o.Deadline:
		return ErrStep.with("step %d, %q, is not over", c.Number, now.Name)
	case o.Number() >= maxSteps:
		return ErrStep.with("operation %d has %d steps, the most there may be", c.ID, maxSteps)
	case now.Name == StepQueued && s.waits(o):
		return ErrBusy.with("operation %d has to wait", c.ID)
	case r.Cancel && c.Step != StepUndo && working(c.Step):
		return ErrEnded.with("operation %d is being canceled", c.ID)
	case (c.Step == StepUndo) != (r.Fault != "" || c.Fault != "") && working(c.Step):
		return ErrStep.with("step %q, and the fault is %q", c.Step, r.Fault+c.Fault)
	}
	if err := s.lasts(e, o.Kind, c.Step, c.Deadline); err != nil {
		return err
	}
	if disruptive(o.Kind, c.Step) && !disruptive(o.Kind, now.Name) {
		for _, other := range s.RunningOperations() {
			if other.ID != o.ID && other.Disruptive() {
				return ErrBusy.with("%s %d, at step %q", other.Kind, other.ID, other.Current().Name)
			}
		}
	}
	if r.Fault == "" {
		r.Fault = clip(c.Fault)
	}
	step := Step{Name: c.Step, Since: e.At}
	if len(c.Members) == 1 {
		step.Assignee = c.Members[0]
	}
	if err := s.parts(c, r, &step); err != nil {
		return err
	}
	s.want(o.Kind, step, r)
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

// lasts reports that a step's deadline is too far away, or nil.
func (s *State) lasts(e Entry, kind, step string, deadline int64) error {
	if !disruptive(kind, step) {
		if deadline-MaxWait > e.At {
			return ErrDeadline.with("more than %d ms to wait", MaxWait)
		}
		return nil
	}
	return mayLast(e, deadline)
}

// parts makes the parts of a step.
func (s *State) parts(c TurnOperation, r Roll, step *Step) error {
	leads := c.Step == StepHandOver || c.Step == StepTakeOver || c.Step == StepResume || c.Step == StepValidate
	if leads != (len(c.Members) == 0) {
		return ErrStep.with("%d members for step %q", len(c.Members), c.Step)
	}
	if len(c.Members) > 1 && (c.Step == StepRestart || c.Step == StepSwitch || c.Step == StepUndo || c.Step == StepSnapshot) {
		return ErrStep.with("%q is for one member at a time", c.Step)
	}
	for i, id := range c.Members {
		m, ok := s.Members[id]
		switch {
		case !ok || !slices.Contains(r.Members, id):
			return ErrMember.with("%q", id)
		case slices.Contains(c.Members[:i], id):
			return ErrMember.with("%q is named twice", id)
		case (c.Step == StepRestart || c.Step == StepSwitch) && slices.Contains(r.Done, id):
			return ErrStep.with("%q is through", id)
		case working(c.Step) && c.Step != StepFork && s.Lease.Open() && s.Lease.Holder == id:
			return ErrHolds.with("%q", id)
		}
		step.Parts = append(step.Parts, Part{Member: id, Incarnation: m.Incarnation})
	}
	return nil
}

// want sets what the members of a step are to run from now on.
func (s *State) want(kind string, step Step, r Roll) {
	if !working(step.Name) || kind == KindRestart {
		return
	}
	for _, p := range step.Parts {
		h := s.Homes[p.Member]
		switch {
		case step.Name == StepUndo:
			s.unwant(p.Member, kind, r)
			continue
		case kind == KindUpgrade:
			h.Tag = r.Upgrade.Tag
		case kind == KindRollout:
			h.Config = r.Configs[p.Member]
		}
		s.Homes = withHome(s.Homes, p.Member, h)
	}
}

// unwant lets a member run again what it was to run, or ran, before the operation.
func (s *State) unwant(member, kind string, r Roll) {
	h, before := s.Homes[member], r.Before[member]
	switch kind {
	case KindUpgrade:
		h.Tag = first(before.Tag, before.Runs.Tag)
	case KindRollout:
		h.Config, h.Refused = first(before.Config, before.Runs.Config), r.Configs[member]
	}
	s.Homes = withHome(s.Homes, member, h)
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func withHome(homes map[string]Home, member string, h Home) map[string]Home {
	next := make(map[string]Home, len(homes)+1)
	maps.Copy(next, homes)
	next[member] = h
	return next
}

func (c ReportOperation) apply(s *State, e Entry) error {
	if c.Number == 0 {
		return ErrStep.with("which step it is for is not said")
	}
	o, err := s.rolling(c.ID, c.Number)
	if err != nil {
		return err
	}
	part, ok := o.Current().Part(c.Member)
	switch {
	case !ok:
		return ErrStep.with("%q has no part in step %d of operation %d", c.Member, c.Number, c.ID)
	case part.Ended != 0:
		return ErrStep.with("%q has ended its part of step %d of operation %d", c.Member, c.Number, c.ID)
	case s.Members[c.Member].Incarnation != c.Incarnation:
		return ErrIncarnation.with("%q has another incarnation now", c.Member)
	case c.Percent < 0 || c.Percent > 100 || c.Fault != "" && !c.Ended:
		return ErrStep.with("a part is 0 to 100 %% done, and has no fault before it ends")
	}
	part.Percent, part.Text = c.Percent, clip(c.Text)
	if c.Ended {
		part.Ended, part.Fault = e.At, clip(c.Fault)
	}
	err = s.changeOperation(c.ID, "", func(o *Operation) {
		r := *o.Roll
		step := o.Current()
		step.Parts = slices.Clone(step.Parts)
		for i := range step.Parts {
			if step.Parts[i].Member == c.Member {
				step.Parts[i] = part
			}
		}
		o.Steps = slices.Clone(o.Steps)
		o.Steps[len(o.Steps)-1] = step
		if c.Ended && c.Fault == "" {
			r.through(step.Name, c.Member)
		}
		if step.Over() {
			o.Deadline = max(o.Deadline, e.At+PlanTime)
			if disruptive(o.Kind, step.Name) {
				o.Deadline = e.At + PlanTime
			}
		}
		o.Roll = &r
	})
	if err == nil && c.Fault != "" {
		s.note(e, "operation.fault", c.Member, "%s %d: %s: %s", o.Kind, o.ID, o.Current().Name, c.Fault)
	}
	return err
}

// through books a member whose part of a step ended well.
func (r *Roll) through(step, member string) {
	switch step {
	case StepRestart, StepSwitch, StepFork:
		r.Done = append(slices.Clip(slices.Clone(r.Done)), member)
	case StepUndo:
		r.Done = slices.DeleteFunc(slices.Clone(r.Done), func(id string) bool { return id == member })
		r.Undone = append(slices.Clip(slices.Clone(r.Undone)), member)
	}
}

// mayFinish reports why a rolling operation does not end so, or nil. Done is one whose members are all through, and of a hard
// fork one behind which production goes on.
func (s *State) mayFinish(o Operation, c FinishOperation) error {
	switch {
	case c.Outcome == Canceled && c.Number == 0:
		return ErrStep.with("a rolling operation is canceled with %s", CancelOperation{}.Kind())
	case c.Number != o.Number():
		return ErrStep.with("operation %d is at step %d, not %d", o.ID, o.Number(), c.Number)
	case c.Outcome != Done:
		return nil
	case o.Roll.Fault != "" || len(s.Left(o)) > 0:
		return ErrStep.with("operation %d has members that are not through", o.ID)
	}
	return nil
}

func (c CancelOperation) apply(s *State, e Entry) error {
	o, err := s.rolling(c.ID, 0)
	if err != nil {
		return err
	}
	if step := o.Current(); !working(step.Name) || step.Name != StepUndo && step.Over() {
		if o.Roll.Fault != "" || step.Name == StepArm {
			return ErrStep.with("operation %d is being rolled back, or begins at once", c.ID)
		}
		return s.endOperation(e, c.ID, "", Canceled, c.Reason)
	}
	if o.Roll.Cancel {
		return nil
	}
	s.note(e, "operation.cancel", "", "%s %d stops after %s", o.Kind, o.ID, o.Current().Assignee)
	return s.changeOperation(c.ID, "", func(o *Operation) {
		r := *o.Roll
		r.Cancel = true
		o.Roll = &r
	})
}

func (c PutHome) apply(s *State, _ Entry) error {
	if _, ok := s.Members[c.Member]; !ok {
		return ErrMember.with("%q", c.Member)
	}
	for _, text := range []string{c.Runs.Tag, c.Runs.Config, c.Runs.Offers} {
		if text != "" && !named(text) {
			return ErrMemberBad.with("%q", clip(text))
		}
	}
	h := s.Homes[c.Member]
	h.Runs = c.Runs
	s.Homes = withHome(s.Homes, c.Member, h)
	return nil
}

// endRolling puts right what an operation leaves behind that ends in the middle of something: who is not through is to run again
// what it ran before, and a change of the configuration that did not come through is taken back.
func (s *State) endRolling(o Operation, outcome Outcome) {
	step := o.Steps[len(o.Steps)-1]
	if working(step.Name) && o.Kind != KindRestart {
		for _, p := range step.Parts {
			if !slices.Contains(o.Roll.Done, p.Member) || step.Name == StepUndo {
				s.unwant(p.Member, o.Kind, *o.Roll)
			}
		}
	}
	if o.Kind != KindRollout {
		return
	}
	switch {
	case outcome == Done:
		s.Cluster.Proven = nil
	case outcome != Canceled && s.Cluster.Proven != nil:
		s.Cluster.Overlay, s.Cluster.Proven = *s.Cluster.Proven, nil
	}
}

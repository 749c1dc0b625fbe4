package fsm

import (
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

// How long a step may last, in ms after the entry that starts it: MaxStep, and MaxWait for StepQueued and StepTrigger, which block
// nobody.
const (
	MaxWait  = 30 * 24 * MaxStep
	PlanTime = 60_000 // for the leader to start the next step after one has ended
)

// Bounds of what an operation may remember.
const (
	maxQueued = 4   // operations of a kind that wait for others
	maxSaid   = 200 // bytes of a part's text
)

// Roll is what a rolling operation is asked to do, and how far it is. Version 3.
type Roll struct {
	Members  []string          `json:"members,omitempty"` // whose nodes it is for; none when asked for: all that have one
	Limit    int64             `json:"limit"`             // ms that a member may take, from the stop to the proof that it is back
	Upgrade  *Upgrade          `json:"upgrade,omitempty"`
	Configs  map[string]string `json:"configs,omitempty"`   // of a rollout: the hash of the configuration for each member
	TakeOver bool              `json:"take_over,omitempty"` // the one that was restarted last is to produce

	// What follows is the state's own.

	Before   map[string]Home `json:"before,omitempty"`   // what each member was to run, and ran: at the start, and again when it was begun
	Done     []string        `json:"done,omitempty"`     // who is through, in this order, and was not begun to be brought back
	Undone   []string        `json:"undone,omitempty"`   // who was brought back to what it ran before
	Fault    string          `json:"fault,omitempty"`    // why no further member is begun, and what is undone is undone
	Cancel   bool            `json:"cancel,omitempty"`   // an operator wants it to stop after the member at work
	Overlaid uint64          `json:"overlaid,omitempty"` // of a rollout: Cluster.Overlaid at its start, if that overlay is what it brings to its members
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

// Faults says what failed in the step, and of whom: members with the same fault are named before it together. "" where nothing did.
func (s Step) Faults() string {
	var faults, who []string
	failed := 0
	for _, p := range s.Parts {
		if p.Fault == "" {
			continue
		}
		failed++
		if i := slices.Index(faults, p.Fault); i >= 0 {
			who[i] += ", " + p.Member
			continue
		}
		faults, who = append(faults, p.Fault), append(who, p.Member)
	}
	if s.Name == StepTrigger && failed < len(s.Parts) { // one that sees it is enough
		return ""
	}
	for i, of := range who {
		who[i] = of + ": " + faults[i]
	}
	return strings.Join(who, "; ")
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
	case StepRestart, StepSwitch, StepUndo, StepFork, StepCopy, StepReplace:
		return true
	}
	return false
}

// fails reports whether the step's members did not do it: one has failed, or its deadline passed before all ended.
func (s Step) fails() bool { return s.Faults() != "" || !s.Over() }

// Working finds the operation whose current step may have a member's node stopped now.
func (s *State) Working(member string) (Operation, bool) {
	for _, o := range s.Operations {
		if p, ok := o.Current().Part(member); ok && o.Outcome == Running && working(o.Current().Name) && p.Ended == 0 {
			return o, true
		}
	}
	return Operation{}, false
}

// Halted finds the operation that has a member's nodeos write a chain snapshot: it stands still meanwhile.
func (s *State) Halted(member string) (Operation, bool) {
	for _, o := range s.RunningOperations() {
		if p, ok := o.Current().Part(member); ok && o.Current().Name == StepSnapshot && p.Ended == 0 {
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

// Left are the members that a rolling operation has not come to yet, as far as they are members still, and have a node.
func (s *State) Left(o Operation) []string {
	var left []string
	for _, id := range o.Roll.Members {
		if m, ok := s.Members[id]; ok && !m.Witness && !slices.Contains(o.Roll.Done, id) {
			left = append(left, id)
		}
	}
	return left
}

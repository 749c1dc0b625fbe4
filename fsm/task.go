package fsm

// The kinds of operations on backups. Each is done by one member. Version 4.
const (
	KindBackup  = "backup"
	KindRestore = "restore" // of one member's node
	KindVerify  = "verify"  // that a backup can be read, or that a node comes up on it
	KindSweep   = "sweep"   // what failed or expired is removed from a repository, and what nobody refers to
	KindScan    = "scan"    // what a repository holds and the catalogue does not know is put into it
)

// Their steps. StepQueued and StepValidate come first, and a chain snapshot's is StepSnapshot. StepValidate is the leader's, the others are
// the one member's.
const (
	StepPrepare = "prepare" // node runs: what it only appends to is stored ahead, so that it is down for less long
	StepCopy    = "copy"    // node is stopped, copied, started, and proved back
	StepStore   = "store"   // the rest is stored, read back, and committed
	StepFetch   = "fetch"   // the backup is there, whole, beside the node's data; nothing of that was touched
	StepReplace = "replace" // node is stopped, its data moved aside, started with the backup's, and proved back
	StepCheck   = "check"
	StepSweep   = "sweep"
	StepScan    = "scan"
)

// MaxTask bounds a step of an operation on a backup, in ms after the entry that starts the step: a terabyte takes long.
const MaxTask = 24 * MaxStep

// maxTasks bounds how many of them run or wait at once.
const maxTasks = 16

// maxKeep bounds how long a backup may be asked to be kept, in ms: a hundred years.
const maxKeep = 100 * 365 * 24 * MaxStep

// autoRestore is how long after a restore of a member's node that member may not ask for another one by itself, in ms.
const autoRestore = 3_600_000

// Task is what an operation on a backup is asked to do. Version 4.
type Task struct {
	Member     string   `json:"member,omitempty"` // who does it, of a restore whose node it is for; none but of that: whom the leader chooses
	Repository string   `json:"repository,omitempty"`
	Copies     string   `json:"copies,omitempty"`  // of a backup: what it is of
	Backup     string   `json:"backup,omitempty"`  // id of the one that is made, restored or verified; that of a new one is nobody else's, and never was
	Trial      bool     `json:"trial,omitempty"`   // of a verification: it is restored into a scratch folder and a node is started on it
	Unknown    bool     `json:"unknown,omitempty"` // of a sweep: backups that the catalogue does not know are removed, too
	Auto       bool     `json:"auto,omitempty"`    // of a restore: the member asked for it itself, since its node's database is dirty
	Plan       string   `json:"plan,omitempty"`    // that fired it
	Avoid      []string `json:"avoid,omitempty"`   // members that are chosen last: they failed at it
	Keep       int64    `json:"keep,omitempty"`    // of a backup: ms after its end at which it expires; 0: by the retention alone
	Limit      int64    `json:"limit"`             // ms that a step may take

	// What follows is the state's own.

	Cancel bool `json:"cancel,omitempty"` // an operator wants it to stop; the member at work starts its node again first
}

// What a backup may be of.
const (
	CopiesSnapshot = "snapshot" // nodeos' chain snapshot
	CopiesData     = "data"     // the node's data folder
)

// taskTurns says which step follows which, by the operation's kind; of two the first is for data, the second for a chain snapshot.
var taskTurns = map[string]map[string][]string{
	KindBackup: {
		StepQueued: {StepValidate}, StepValidate: {StepPrepare, StepSnapshot},
		StepPrepare: {StepCopy}, StepCopy: {StepStore}, StepSnapshot: {StepStore},
	},
	KindRestore: {StepQueued: {StepValidate}, StepValidate: {StepFetch}, StepFetch: {StepReplace}},
	KindVerify:  {StepQueued: {StepValidate}, StepValidate: {StepCheck}},
	KindSweep:   {StepQueued: {StepValidate}, StepValidate: {StepSweep}},
	KindScan:    {StepQueued: {StepValidate}, StepValidate: {StepScan}},
}

// stepped reports whether an operation goes on by TurnOperation and ReportOperation.
func (o Operation) stepped() bool { return o.Roll != nil || o.Task != nil }

// NextStep is the step after the current one of an operation on a backup; "" is none: it is done then.
func (o Operation) NextStep() string {
	next := taskTurns[o.Kind][o.Current().Name]
	switch {
	case o.Task == nil || len(next) == 0:
		return ""
	case len(next) > 1 && o.Task.Copies == CopiesSnapshot:
		return next[1]
	}
	return next[0]
}

// onNode reports whether an operation reads or replaces what a member's node has: one for each node at a time. What was stored ahead
// would else be of other data than what is copied after it.
func (o Operation) onNode() bool {
	return o.Task != nil && (o.Kind == KindBackup || o.Kind == KindRestore)
}

// writes reports whether an operation adds to a repository or removes from it: one that does at a time.
func (o Operation) writes() bool {
	return o.Task != nil && (o.Kind == KindBackup || o.Kind == KindSweep)
}

// clashes reports whether two operations on backups may not go on at once. While a sweep removes things nobody reads what there is.
func (o Operation) clashes(other Operation) bool {
	return o.Task.Repository == other.Task.Repository &&
		(o.writes() && other.writes() || o.Kind == KindScan && other.Kind == KindSweep || o.Kind == KindSweep && other.Kind == KindScan) ||
		o.Task.Member != "" && o.Task.Member == other.Task.Member && o.onNode() && other.onNode()
}

// taskBlocker finds what an operation on a backup that is not there yet, or queued, has to wait for: one with which it clashes and that
// goes on, or was queued before.
func (s *State) taskBlocker(o Operation) (Operation, bool) {
	for _, other := range s.RunningOperations() {
		if other.Task == nil || other.ID == o.ID || other.Current().Name == StepQueued && other.ID > o.ID {
			continue
		}
		if o.clashes(other) {
			return other, true
		}
	}
	return Operation{}, false
}

// inTheWay refuses what has to wait for an operation, whether that disturbs or not.
func (o Operation) inTheWay() error {
	return inTheWay("%s %d, at step %q", o.Kind, o.ID, o.Current().Name)
}

func inTheWay(format string, args ...any) error {
	return (&Refusal{ErrBusy.Rule, "another operation is under way", ErrBusy.Hint}).with(format, args...)
}

// mayLastTask reports that the deadline of a step of an operation on a backup is too far away, or nil.
func mayLastTask(e Entry, step string, deadline int64) error {
	most := int64(MaxTask)
	switch step {
	case StepQueued:
		most = MaxWait
	case StepValidate:
		most = MaxStep
	}
	if deadline-most > e.At {
		return ErrDeadline.with("step %q of more than %d ms", step, most)
	}
	return nil
}

package api

import "roundtable/fsm"

// viewTask puts what an operation on a backup is asked to do into its view.
func (v *Operation) viewTask(t fsm.Task) {
	v.Repository, v.Copies, v.Backup, v.Member, v.Plan = t.Repository, t.Copies, t.Backup, t.Member, t.Plan
	v.Trial, v.Unknown, v.Auto, v.Avoid = t.Trial, t.Unknown, t.Auto, t.Avoid
	v.Limit, v.Keep, v.Canceling = lengthText(t.Limit), lengthText(t.Keep), t.Cancel
}

// taskParts is how much of an operation on a backup each step is, in percent: about how long they take, those that read or write
// everything the longest.
var taskParts = map[string]map[string]int{
	fsm.KindBackup:  {fsm.StepPrepare: 40, fsm.StepCopy: 20, fsm.StepStore: 40, fsm.StepSnapshot: 60},
	fsm.KindRestore: {fsm.StepFetch: 80, fsm.StepReplace: 20},
	fsm.KindVerify:  {fsm.StepCheck: 100},
	fsm.KindSweep:   {fsm.StepSweep: 100},
	fsm.KindScan:    {fsm.StepScan: 100},
}

// taskPercent is how far an operation on a backup is, or was when it ended.
func taskPercent(o fsm.Operation) int {
	percent := 0
	for i, step := range o.Steps {
		whole := taskParts[o.Kind][step.Name]
		switch {
		case i+1 < len(o.Steps):
			percent += whole
		case len(step.Parts) == 1:
			percent += whole * partPercent(step.Parts[0]) / 100
		}
	}
	return min(percent, 99)
}

// taskStanding is what else there is to know of an operation on a backup that runs.
func taskStanding(t fsm.Task) string {
	if t.Cancel {
		return "; it stops when the node is back, canceled"
	}
	return ""
}

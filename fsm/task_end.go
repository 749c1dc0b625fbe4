package fsm

// reportTask books what the end of a part tells of a backup. Only here does one become done: its own operation runs, is at StepStore, and
// the member's present process says that it was stored, read back and committed.
func (s *State) reportTask(o Operation, c ReportOperation, e Entry) error {
	t, step := o.Task, o.Current()
	good := c.Ended && c.Fault == ""
	switch {
	case (c.Stored != nil) != (good && step.Name == StepStore):
		return ErrStep.with("what was stored is told at the end of step %q, and only there", StepStore)
	case c.Damaged && (c.Fault == "" || step.Name != StepCheck && step.Name != StepFetch):
		return ErrStep.with("that a backup is damaged is a fault of step %q or %q", StepCheck, StepFetch)
	}
	b, known := s.Backups[t.Backup]
	readable := known && (b.State == BackupDone || b.State == BackupDamaged)
	at := o.clocked(e.At)
	switch {
	case c.Stored != nil:
		if !known || b.State != BackupRunning || b.Operation != o.ID {
			return ErrBackup.with("%q is not being made by operation %d", t.Backup, o.ID)
		}
		if err := c.Stored.check(s.Cluster.ChainID); err != nil {
			return err
		}
		b.State, b.Of, b.Ended = BackupDone, *c.Stored, at
		if t.Keep > 0 {
			b.Expires = b.Ended + t.Keep
		}
		s.note(e, "backup.done", b.Member, "%s in %s, up to block %d", b.ID, b.Repository, b.Of.Head)
	case c.Damaged && readable:
		b.State, b.Fault, b.Suspect = BackupDamaged, clip(c.Fault), false
		s.suspect(b)
		s.note(e, "backup.damaged", c.Member, "%s in %s%s", b.ID, b.Repository, because(c.Fault))
	case good && step.Name == StepCheck && readable:
		b.State, b.Fault, b.Verified, b.Trial, b.Suspect = BackupDone, "", at, t.Trial, false
	default:
		return nil
	}
	s.Backups = withKey(s.Backups, b.ID, b)
	return nil
}

// suspect marks those that may refer to the same packs as one that was found damaged: all others of its repository. No newer one refers
// to them until they are found whole, or what is damaged would be in every backup from now on.
func (s *State) suspect(damaged Backup) {
	for id, b := range s.Backups {
		if id != damaged.ID && b.Repository == damaged.Repository && b.State == BackupDone && !b.Suspect {
			b.Suspect = true
			s.Backups = withKey(s.Backups, id, b)
		}
	}
}

// clocked is the time of a member's word, within the step that the leader began and bounded: by a clock that is a year behind a backup
// would expire as it is made.
func (o Operation) clocked(at int64) int64 {
	since := o.Current().Since
	return max(1, min(max(at, since), max(o.Deadline, since)))
}

// mayFinishTask reports why an operation on a backup does not end so, or nil. That one failed the leader may say at any time: it may have
// lost the member, and nobody else should wait for that one until the deadline.
func (s *State) mayFinishTask(o Operation, c FinishOperation) error {
	step := o.Current()
	switch {
	case c.Number != o.Number():
		return ErrStep.with("operation %d is at step %d, not %d", o.ID, o.Number(), c.Number)
	case c.Outcome == Canceled && (!o.Task.Cancel || !step.Over()):
		return ErrStep.with("an operation on a backup is canceled with %s", CancelOperation{}.Kind())
	case c.Outcome == Done && (o.NextStep() != "" || step.fails()):
		return ErrStep.with("step %d, %q, is not the last one, or not done", o.Number(), step.Name)
	}
	return nil
}

// cancelTask ends an operation on a backup, at once where no node is stopped for it.
func (s *State) cancelTask(o Operation, c CancelOperation, e Entry) error {
	step := o.Current()
	switch {
	case step.Name == StepReplace:
		return ErrStep.with("operation %d replaces a node's data, which ends by itself", c.ID)
	case !working(step.Name) || step.Over():
		return s.endOperation(e, c.ID, "", Canceled, c.Reason)
	case o.Task.Cancel:
		return nil
	}
	s.note(e, "operation.cancel", o.Task.Member, "%s %d stops when the node is back%s", o.Kind, o.ID, because(c.Reason))
	return s.changeOperation(c.ID, "", func(o *Operation) {
		t := *o.Task
		t.Cancel = true
		o.Task = &t
	})
}

// endTask puts right what an operation on a backup leaves behind: a backup that was not stored is one that failed, for good.
func (s *State) endTask(e Entry, o Operation) {
	b, ok := s.Backups[o.Task.Backup]
	if o.Kind != KindBackup || !ok || b.Operation != o.ID || b.State != BackupRunning {
		return
	}
	b.State, b.Ended, b.Fault = BackupFailed, max(e.At, 1), clip(o.Reason)
	s.Backups = withKey(s.Backups, b.ID, b)
}

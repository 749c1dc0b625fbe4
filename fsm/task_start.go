package fsm

import "slices"

// startTask fills in what the state knows, and refuses what cannot be done.
func (s *State) startTask(c StartOperation, e Entry, o *Operation) error {
	t := *c.Task
	t.Cancel = false
	if err := s.mayTask(c.Name, t, e); err != nil {
		return err
	}
	o.Task = &t
	running := 0
	for _, r := range s.RunningOperations() {
		if r.Task == nil {
			continue
		}
		if c.Name == KindBackup && r.Kind == KindBackup && r.Task.Backup == t.Backup {
			return ErrAsked.with("operation %d makes a backup %q", r.ID, t.Backup)
		}
		running++
	}
	other, waits := s.taskBlocker(*o)
	first := StepValidate
	switch {
	case running >= maxTasks:
		return inTheWay("%d operations on backups run or wait already", running)
	case waits && !c.Queue:
		return other.inTheWay()
	case waits:
		first = StepQueued
	case c.Queue:
		if err := mayLastTask(e, StepQueued, o.Deadline); err != nil {
			return err
		}
		o.Deadline = e.At + PlanTime // it was for a wait
	}
	if err := mayLastTask(e, first, o.Deadline); err != nil {
		return err
	}
	o.Steps = []Step{{Name: first, Since: e.At}}
	return nil
}

// mayTask reports why a task cannot be asked for, or nil.
func (s *State) mayTask(kind string, t Task, e Entry) error {
	if err := s.shaped(kind, t); err != nil {
		return err
	}
	switch kind {
	case KindBackup:
		return s.mayMake(t)
	case KindRestore, KindVerify:
		return s.mayRead(kind, t, e)
	}
	if t.Backup != "" {
		return ErrAsked.with("a %s of one backup", kind)
	}
	return nil
}

// mayMake reports why a backup is not to be made, or nil.
func (s *State) mayMake(t Task) error {
	_, known := s.Backups[t.Backup]
	switch {
	case !backupID(t.Backup):
		return ErrAsked.with("%q is no id of a backup", clip(t.Backup))
	case known || s.wasDropped(t.Backup):
		return ErrAsked.with("there is a backup %q, or there was", t.Backup)
	case !s.hasRoom():
		return ErrCatalogue.with("it holds %d backups already, and none of them failed or expired", len(s.Backups))
	}
	return nil
}

// mayRead reports why a backup is not to be restored or verified, or nil.
func (s *State) mayRead(kind string, t Task, e Entry) error {
	b, known := s.Backups[t.Backup]
	switch {
	case !known:
		return ErrNoBackup.with("%q", clip(t.Backup))
	case b.Repository != t.Repository || b.State != BackupDone && (b.State != BackupDamaged || kind == KindRestore):
		return ErrBackup.with("%q, in repository %q, is %s", t.Backup, b.Repository, b.State)
	case kind == KindVerify:
		return nil
	case t.Member == "":
		return ErrAsked.with("a restore that does not say whose node it is for")
	case s.Cluster.ChainID != "" && b.Of.ChainID != s.Cluster.ChainID:
		return ErrBackup.with("%q is of chain %s, the cluster's is %s", t.Backup, b.Of.ChainID, s.Cluster.ChainID)
	case t.Auto && e.By != t.Member:
		return ErrAsked.with("only a member itself asks for such a restore of its node")
	case t.Auto && s.restoredLately(t.Member, e.At):
		return ErrBackup.with("the node of %q was restored, or that was tried, less than an hour ago", t.Member)
	}
	return nil
}

// restoredLately reports whether a member's node was restored within the last hour, or the member tried to have it restored by itself. By a
// clock that is behind it was.
func (s *State) restoredLately(member string, at int64) bool {
	if h := s.Homes[member]; h.Restored != 0 && at-h.Restored < autoRestore {
		return true
	}
	return slices.ContainsFunc(s.Operations, func(o Operation) bool {
		return o.Kind == KindRestore && o.Task != nil && o.Task.Auto && o.Task.Member == member && o.Outcome != Running && at-o.Ended < autoRestore
	})
}

// shaped reports what is wrong with a task of a kind of operation, whichever backup it is about, or nil.
func (s *State) shaped(kind string, t Task) error {
	m, member := s.Members[t.Member]
	for _, text := range []string{t.Repository, t.Plan} {
		if text != "" && !named(text) {
			return ErrAsked.with("%q is no name", clip(text))
		}
	}
	switch {
	case t.Limit <= 0 || t.Limit > MaxTask:
		return ErrAsked.with("%d ms for each step: 1 to %d", t.Limit, MaxTask)
	case t.Keep < 0 || t.Keep > maxKeep || t.Keep > 0 && kind != KindBackup:
		return ErrAsked.with("it is to be kept for %d ms", t.Keep)
	case t.Repository == "":
		return ErrAsked.with("a %s that does not say in which repository", kind)
	case kind == KindBackup && t.Copies != CopiesSnapshot && t.Copies != CopiesData:
		return ErrAsked.with("a backup of %q: it is of the node's %s or a %s", clip(t.Copies), CopiesData, CopiesSnapshot)
	case kind != KindBackup && t.Copies != "", t.Trial && kind != KindVerify, t.Unknown && kind != KindSweep, t.Auto && kind != KindRestore:
		return ErrAsked.with("a %s of which something is said that is for another kind", kind)
	case t.Member != "" && !member:
		return ErrMember.with("%q", clip(t.Member))
	case t.Member != "" && m.Witness:
		return ErrMember.with("%q is a witness: it has no node", t.Member)
	}
	for i, id := range t.Avoid {
		if _, ok := s.Members[id]; !ok || slices.Contains(t.Avoid[:i], id) {
			return ErrMember.with("%q", clip(id))
		}
	}
	return nil
}

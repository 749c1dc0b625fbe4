package fsm

// PutBackup puts a backup into the catalogue that a running operation has found in its repository: of a scan as one that is done, of a
// sweep of what nobody knows as one that expired, so that nothing is ever removed that the state does not call failed or expired. One
// that is there, or was there once, stays as it is. Version 4.
type PutBackup struct {
	Operation   uint64 `json:"operation"`   // the scan or sweep, at that step
	Incarnation string `json:"incarnation"` // the present one of the member that does it
	Backup      Backup `json:"backup"`      // of its state, and of its expiry, nothing is taken; of a sweep nothing but the id
}

// SetBackup changes what an operator may say of a backup; nil leaves it as it is. Version 4.
type SetBackup struct {
	ID      string `json:"id"`
	Pinned  *bool  `json:"pinned,omitempty"`
	Expires *int64 `json:"expires,omitempty"` // Unix ms; 0: by the retention alone
}

// ExpireBackup gives a backup up: the next sweep removes it. Refused while it is being restored or verified, and for one that is pinned.
// Version 4.
type ExpireBackup struct {
	ID        string `json:"id"`
	Why       string `json:"why,omitempty"`
	Retention bool   `json:"retention,omitempty"` // nobody asked for it: the newest one that is done stays, and so does one whose expiry was changed
	Expires   int64  `json:"expires,omitempty"`   // with Retention: the backup's, as it was when that was decided
}

// DropBackup takes a backup out of the catalogue that was removed from its repository, and had failed or expired before. Version 4.
type DropBackup struct {
	ID string `json:"id"`
}

// Kind names the entry.
func (PutBackup) Kind() string { return "backup.put" }

// Kind names the entry.
func (SetBackup) Kind() string { return "backup.set" }

// Kind names the entry.
func (ExpireBackup) Kind() string { return "backup.expire" }

// Kind names the entry.
func (DropBackup) Kind() string { return "backup.drop" }

func (c ExpireBackup) clipped() Command {
	c.Why = clip(c.Why)
	return c
}

func (c PutBackup) apply(s *State, e Entry) error {
	o, err := s.stepped(c.Operation, 0)
	if err != nil {
		return err
	}
	b, step := c.Backup, o.Current()
	part, ok := step.Part(step.Assignee)
	found := Backup{ID: b.ID, Repository: b.Repository, State: BackupExpired, Created: max(e.At, 1), Why: "nobody knew it"}
	_, known := s.Condemned(b.Repository, b.ID)
	switch {
	case !ok || part.Ended != 0 || step.Name != StepScan && (step.Name != StepSweep || !o.Task.Unknown):
		return ErrStep.with("operation %d neither scans a repository nor sweeps what nobody knows", c.Operation)
	case c.Incarnation == "" || s.Members[part.Member].Incarnation != c.Incarnation:
		return ErrIncarnation.with("%q has another incarnation now", part.Member)
	case b.Repository != o.Task.Repository:
		return ErrBackup.with("%q is in %q, operation %d in %q", clip(b.ID), clip(b.Repository), o.ID, o.Task.Repository)
	case known:
		return nil
	case !backupID(b.ID):
		return ErrBackup.with("%q is no id of a backup", clip(b.ID))
	case !s.hasRoom():
		return ErrCatalogue.with("it holds %d backups already, and none of them failed or expired", len(s.Backups))
	}
	if step.Name == StepScan {
		if b.Copies != CopiesData && b.Copies != CopiesSnapshot || b.Member != "" && !named(b.Member) || b.Created < 0 || b.Ended < 0 {
			return ErrBackup.with("%q of %q, made at %d by %q", b.ID, clip(b.Copies), b.Created, clip(b.Member))
		}
		if err := b.Of.check(s.Cluster.ChainID); err != nil {
			return err
		}
		now := max(e.At, 1)
		found = Backup{
			ID: b.ID, Copies: b.Copies, Repository: b.Repository, State: BackupDone, Of: b.Of, Member: b.Member, Created: min(b.Created, now), Ended: min(max(b.Ended, b.Created), now), // by a clock that was ahead it would stay the newest one for long
		}
	}
	s.makeRoom(e)
	s.Backups = withKey(s.Backups, b.ID, found)
	s.note(e, "backup.found", found.Member, "%s in %s, which is %s", b.ID, b.Repository, found.State)
	return nil
}

func (c SetBackup) apply(s *State, e Entry) error {
	b, ok := s.Backups[c.ID]
	switch {
	case !ok:
		return ErrNoBackup.with("%q", clip(c.ID))
	case b.State != BackupDone && b.State != BackupDamaged:
		return ErrBackup.with("%q is %s", c.ID, b.State)
	case c.Pinned == nil && c.Expires == nil:
		return ErrAsked.with("nothing to change is named")
	case c.Expires != nil && *c.Expires < 0:
		return ErrAsked.with("it expires at %d", *c.Expires)
	}
	if c.Pinned != nil {
		b.Pinned = *c.Pinned
	}
	if c.Expires != nil {
		b.Expires = *c.Expires
	}
	s.Backups = withKey(s.Backups, b.ID, b)
	s.note(e, "backup.set", b.Member, "%s: pinned %v, expires %d", b.ID, b.Pinned, b.Expires)
	return nil
}

func (c ExpireBackup) apply(s *State, e Entry) error {
	b, ok := s.Backups[c.ID]
	switch {
	case !ok:
		return ErrNoBackup.with("%q", clip(c.ID))
	case b.condemned():
		return nil
	case b.State == BackupRunning:
		return ErrBackup.with("%q is being made: cancel operation %d", c.ID, b.Operation)
	case b.Pinned:
		return ErrBackup.with("%q is pinned", c.ID)
	case c.Retention && b.Expires != c.Expires:
		return ErrBackup.with("%q expires at %d, not at %d", c.ID, b.Expires, c.Expires)
	case c.Retention && s.Newest(b):
		return ErrBackup.with("%q is the newest one of the %s in %s", c.ID, b.Copies, b.Repository)
	}
	for _, o := range s.RunningOperations() {
		if o.Task != nil && o.Task.Backup == c.ID {
			return o.inTheWay()
		}
	}
	b.State, b.Why = BackupExpired, clip(c.Why)
	s.Backups = withKey(s.Backups, b.ID, b)
	s.note(e, "backup.expired", b.Member, "%s%s", b.ID, because(c.Why))
	return nil
}

func (c DropBackup) apply(s *State, e Entry) error {
	b, ok := s.Backups[c.ID]
	switch {
	case !ok:
		return nil
	case !b.condemned():
		return ErrBackup.with("%q is %s", c.ID, b.State)
	}
	s.drop(e, c.ID)
	return nil
}

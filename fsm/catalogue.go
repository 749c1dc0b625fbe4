package fsm

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// Bounds of the catalogue.
const (
	maxBackups = 512
	maxDropped = 512 // of those that were in it
)

// Backup is one backup in the catalogue: what is in it, where, and in which state. Version 4.
type Backup struct {
	ID         string      `json:"id"`
	Copies     string      `json:"copies"`     // CopiesSnapshot or CopiesData
	Repository string      `json:"repository"` // its name in the members' configuration
	State      BackupState `json:"state"`
	Of         Stored      `json:"of,omitzero"`         // once it is done
	Member     string      `json:"member,omitempty"`    // whose node it is of
	Operation  uint64      `json:"operation,omitempty"` // that made it; 0: found in the repository
	Plan       string      `json:"plan,omitempty"`
	Created    int64       `json:"created"`            // Unix ms
	Ended      int64       `json:"ended,omitempty"`    // Unix ms
	Expires    int64       `json:"expires,omitempty"`  // Unix ms; 0: by the retention alone
	Pinned     bool        `json:"pinned,omitempty"`   // it does not expire
	Verified   int64       `json:"verified,omitempty"` // Unix ms, when it was last found whole
	Trial      bool        `json:"trial,omitempty"`    // and a node came up on it
	Suspect    bool        `json:"suspect,omitempty"`  // it may refer to what was found damaged in another one, and was not found whole since
	Fault      string      `json:"fault,omitempty"`    // why it failed, or what is damaged
	Why        string      `json:"why,omitempty"`      // it expired
}

// BackupState is where a backup stands.
type BackupState string

// The states. Only one that is done may be restored, or be referred to by a newer one. From failed and from expired there is no way back:
// what a sweep once took for free to be removed stays so, however late it comes to it (docs/decisions/0014).
const (
	BackupRunning BackupState = "running"
	BackupDone    BackupState = "done"    // stored, read back and committed
	BackupDamaged BackupState = "damaged" // done once, and not whole any more
	BackupFailed  BackupState = "failed"  // never whole; the next sweep removes what is there of it
	BackupExpired BackupState = "expired" // the next sweep removes it
)

// Stored is what a backup holds.
type Stored struct {
	ChainID  string `json:"chain_id"`
	First    uint32 `json:"first,omitempty"` // the first block in blocks.log; 0: no blocks
	Head     uint32 `json:"head"`
	HeadID   string `json:"head_id,omitempty"`
	HeadTime int64  `json:"head_time,omitempty"` // Unix ms
	LIB      uint32 `json:"lib,omitempty"`
	Version  string `json:"version,omitempty"` // of nodeos
	Files    int64  `json:"files"`
	Size     int64  `json:"size"`     // bytes that its files seem to have
	Data     int64  `json:"data"`     // without their holes
	Stored   int64  `json:"stored"`   // bytes that it added to the repository
	Manifest string `json:"manifest"` // SHA-256 of the object that says what the backup consists of
}

// check refuses a backup that cannot be.
func (c Stored) check(chain string) error {
	switch {
	case !hashed(c.ChainID):
		return ErrBackup.with("chain id %q", clip(c.ChainID))
	case chain != "" && c.ChainID != chain:
		return ErrBackup.with("it is of chain %s, the cluster's is %s", c.ChainID, chain)
	case c.Head == 0 || c.First > c.Head || c.LIB > c.Head:
		return ErrBackup.with("blocks %d to %d, the last irreversible one %d", c.First, c.Head, c.LIB)
	case c.Files < 1 || c.Size < 0 || c.Data < 0 || c.Stored < 0 || c.HeadTime < 0:
		return ErrBackup.with("%d files, %d bytes, a head at %d", c.Files, c.Size, c.HeadTime)
	case !hashed(c.Manifest), c.HeadID != "" && !hashed(c.HeadID), len(c.Version) > maxNamed:
		return ErrBackup.with("its manifest, head or version is not well named")
	}
	return nil
}

// Dropped is a backup that was in the catalogue, and was removed from its repository. Should anything of it come up there again, written by
// a process that was frozen meanwhile, it is nobody's: the next sweep removes it, and no scan takes it for a backup. Version 4.
type Dropped struct {
	ID         string `json:"id"`
	Repository string `json:"repository"`
}

// Condemned reports whether a sweep removes what a repository holds of a backup: it failed or expired there, or was in the catalogue once.
// known says that the catalogue has or had it, wherever: what is not known may be another cluster's.
//
// A sweep asks the state with which its step began, or an earlier one, and never a later one: a backup that refers to packs of this one
// may have begun since.
func (s *State) Condemned(repository, id string) (condemned, known bool) {
	if b, ok := s.Backups[id]; ok {
		return b.Repository == repository && b.condemned(), true
	}
	i := slices.IndexFunc(s.Dropped, func(d Dropped) bool { return d.ID == id })
	return i >= 0 && s.Dropped[i].Repository == repository, i >= 0
}

func (b Backup) condemned() bool { return b.State == BackupFailed || b.State == BackupExpired }

// wasDropped reports whether a backup was in the catalogue once.
func (s *State) wasDropped(id string) bool {
	return slices.ContainsFunc(s.Dropped, func(d Dropped) bool { return d.ID == id })
}

// Newest reports whether no newer backup of the same sort is done in the same repository. No retention takes that one.
func (s *State) Newest(b Backup) bool {
	for id, other := range s.Backups { // in any order: it is about whether there is one
		if id != b.ID && other.State == BackupDone && other.Repository == b.Repository && other.Copies == b.Copies &&
			cmp.Or(cmp.Compare(other.Created, b.Created), cmp.Compare(id, b.ID)) > 0 {
			return false
		}
	}
	return true
}

// oldest finds the backup that failed or expired the longest time ago.
func (s *State) oldest() (string, bool) {
	ids := slices.Collect(maps.Keys(s.Backups))
	ids = slices.DeleteFunc(ids, func(id string) bool { return !s.Backups[id].condemned() })
	if len(ids) == 0 {
		return "", false
	}
	return slices.MinFunc(ids, func(a, b string) int {
		return cmp.Or(cmp.Compare(s.Backups[a].Created, s.Backups[b].Created), cmp.Compare(a, b))
	}), true
}

// hasRoom reports whether one more backup fits into the catalogue, if need be in the place of one that failed or expired.
func (s *State) hasRoom() bool {
	_, ok := s.oldest()
	return ok || len(s.Backups) < maxBackups
}

// makeRoom drops the oldest that failed or expired from a full catalogue: their repository may be gone for good, and must not keep the
// others from being used. Should it be there, the next sweep finds them among the dropped.
func (s *State) makeRoom(e Entry) {
	if id, ok := s.oldest(); ok && len(s.Backups) >= maxBackups {
		s.drop(e, id)
	}
}

// drop takes a backup out of the catalogue.
func (s *State) drop(e Entry, id string) {
	b := s.Backups[id]
	s.Backups = without(s.Backups, id)
	s.Dropped = appendBounded(s.Dropped, Dropped{id, b.Repository}, maxDropped)
	s.note(e, "backup.dropped", b.Member, "%s, which had %s", id, b.State)
}

// maxBackupID bounds the id of a backup, in bytes.
const maxBackupID = 64

// backupID reports whether a text may be the id of a backup, which is the name of objects and folders: small letters, digits and '-'.
func backupID(text string) bool {
	return text != "" && len(text) <= maxBackupID && text[0] != '-' && !strings.ContainsFunc(text, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-'
	})
}

// withKey is a copy of a map with one value put.
func withKey[V any](old map[string]V, key string, v V) map[string]V {
	next := make(map[string]V, len(old)+1)
	maps.Copy(next, old)
	next[key] = v
	return next
}

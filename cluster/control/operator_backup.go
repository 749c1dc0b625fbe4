package control

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"roundtable/fsm"
)

// ErrBackupRefused is the refusal of an operation on a backup that this member can see to be impossible, before anything changes.
var ErrBackupRefused = &fsm.Refusal{Rule: "backup.refused", Message: "it is not begun"}

// BackupRequest asks for a backup.
type BackupRequest struct {
	Copies     string        // what it is of: fsm.CopiesData or fsm.CopiesSnapshot
	Member     string        // whose node; "": the best standby for it
	Repository string        // "": the one of Vault.Repositories that comes first, or the only one that there is
	Keep       time.Duration // after which it expires; 0: by the retention alone
	Limit      time.Duration // that each step may take; 0: as configured
	Queue      time.Duration // how long it may wait for another operation's end; 0: be refused then
}

// RestoreRequest asks for the data of a member's node to be replaced by a backup.
type RestoreRequest struct {
	Backup string
	Member string
	Limit  time.Duration
	Queue  time.Duration
}

// VerifyRequest asks whether a backup is whole.
type VerifyRequest struct {
	Backup string
	Member string // who reads it; "": the standby that is needed least
	Trial  bool   // a node is to come up on it, in a scratch folder
	Limit  time.Duration
	Queue  time.Duration
}

// SweepRequest asks for what failed or expired to be removed from a repository, and what nobody refers to.
type SweepRequest struct {
	Repository string
	Member     string
	Unknown    bool // backups that the catalogue does not know are removed, too
	Limit      time.Duration
	Queue      time.Duration
}

// ScanRequest asks for what a repository holds and the catalogue does not know to be put into it.
type ScanRequest struct {
	Repository string
	Member     string
	Limit      time.Duration
	Queue      time.Duration
}

// Backup starts a backup and returns the operation's id. key is an idempotency key, "" for none, here and below.
func (m *Manager) Backup(ctx context.Context, r BackupRequest, key string) (uint64, error) {
	t := fsm.Task{Copies: r.Copies, Member: r.Member, Repository: r.Repository, Keep: r.Keep.Milliseconds(), Backup: m.backupID()}
	return m.startTask(ctx, fsm.KindBackup, t, r.Limit, r.Queue, key)
}

// Restore starts a restore and returns the operation's id.
func (m *Manager) Restore(ctx context.Context, r RestoreRequest, key string) (uint64, error) {
	return m.startTask(ctx, fsm.KindRestore, fsm.Task{Backup: r.Backup, Member: r.Member}, r.Limit, r.Queue, key)
}

// Verify starts a verification and returns the operation's id.
func (m *Manager) Verify(ctx context.Context, r VerifyRequest, key string) (uint64, error) {
	return m.startTask(ctx, fsm.KindVerify, fsm.Task{Backup: r.Backup, Member: r.Member, Trial: r.Trial}, r.Limit, r.Queue, key)
}

// Sweep starts a sweep and returns the operation's id.
func (m *Manager) Sweep(ctx context.Context, r SweepRequest, key string) (uint64, error) {
	return m.startTask(ctx, fsm.KindSweep, fsm.Task{Repository: r.Repository, Member: r.Member, Unknown: r.Unknown}, r.Limit, r.Queue, key)
}

// Scan starts a scan of a repository and returns the operation's id.
func (m *Manager) Scan(ctx context.Context, r ScanRequest, key string) (uint64, error) {
	return m.startTask(ctx, fsm.KindScan, fsm.Task{Repository: r.Repository, Member: r.Member}, r.Limit, r.Queue, key)
}

// ExpireBackup gives a backup up: the next sweep removes it.
func (m *Manager) ExpireBackup(ctx context.Context, id, why string) error {
	_, err := m.cluster.Propose(ctx, fsm.ExpireBackup{ID: id, Why: why}, "")
	return err
}

// SetBackup changes what an operator may say of a backup.
func (m *Manager) SetBackup(ctx context.Context, c fsm.SetBackup) error {
	_, err := m.cluster.Propose(ctx, c, "")
	return err
}

// startTask proposes an operation on a backup.
func (m *Manager) startTask(ctx context.Context, kind string, t fsm.Task, limit, queue time.Duration, key string) (uint64, error) {
	s, _ := m.cluster.View()
	if b, ok := s.Backups[t.Backup]; ok && t.Repository == "" {
		t.Repository = b.Repository
	}
	if kind == fsm.KindRestore || kind == fsm.KindVerify {
		if _, ok := s.Backups[t.Backup]; !ok { // the state says the same, of a repository that is not known here
			return 0, &fsm.Refusal{Rule: fsm.ErrNoBackup.Rule, Message: fmt.Sprintf("%s: %q", fsm.ErrNoBackup.Message, t.Backup), Hint: fsm.ErrNoBackup.Hint}
		}
	}
	if t.Repository == "" {
		if t.Repository = m.defaultRepository(); t.Repository == "" {
			return 0, &fsm.Refusal{Rule: fsm.ErrAsked.Rule, Message: fsm.ErrAsked.Message + ": in which repository is not said, and there is not just one", Hint: "known are: " + strings.Join(m.repositories(), ", ")}
		}
	}
	t.Limit = m.taskTime(kind, limit).Milliseconds()
	if reason := m.cannotTask(s, kind, t); reason != "" {
		return 0, because(ErrBackupRefused, reason, rollHint)
	}
	return m.cluster.Propose(ctx, m.newTask(kind, t, queue), key)
}

// newTask is the entry that starts an operation on a backup.
func (m *Manager) newTask(kind string, t fsm.Task, queue time.Duration) fsm.StartOperation {
	wait := taskPlanTime
	if queue > 0 { // where nothing is before it, the state gives it the time to begin
		wait = min(queue, waitTime)
	}
	return fsm.StartOperation{Name: kind, Task: &t, Queue: queue > 0, Deadline: m.now().Add(wait).UnixMilli()}
}

// defaultRepository is the one that is meant where nobody names one: as this member's configuration says, or the only one that there is.
func (m *Manager) defaultRepository() string {
	if m.vault != nil {
		if own := m.vault.Repositories(); len(own) > 0 {
			return own[0]
		}
	}
	if names := m.repositories(); len(names) == 1 {
		return names[0]
	}
	return ""
}

// repositories are the names of those that any member is known to have.
func (m *Manager) repositories() []string {
	var names []string
	if m.vault != nil {
		names = slices.Clone(m.vault.Repositories())
	}
	for _, p := range m.cluster.Peers() {
		names = append(names, p.Report.Repositories...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// How long a step of an operation on a backup may take where nobody said.
const (
	defaultTask = 2 * time.Hour
	lookTime    = time.Hour // to list a repository
)

// taskTime is how long a step may take.
func (m *Manager) taskTime(kind string, asked time.Duration) time.Duration {
	switch {
	case asked > 0:
		return asked
	case kind == fsm.KindSweep || kind == fsm.KindScan:
		return lookTime
	case m.taskLimit > 0:
		return m.taskLimit
	}
	return defaultTask
}

// backupID makes the id of a new backup, which is in the order of time and nobody else's: of the moment, this process and how many it
// made before.
func (m *Manager) backupID() string {
	now := m.now().UTC()
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d %d", m.incarnation, m.backupIDs.Add(1), now.UnixNano()))
	return now.Format("20060102-150405-") + hex.EncodeToString(sum[:4])
}

// cannotTask says why an operation on a backup cannot be begun now, of each member, or "". Without a leader the others' reports tell little,
// and the proposal says who was asked. A member that nobody knows is the state's to refuse.
func (m *Manager) cannotTask(s *fsm.State, kind string, t fsm.Task) string {
	if leader, _ := m.cluster.Leader(); leader == "" {
		return ""
	}
	if r, ok := s.Members[t.Member]; t.Member != "" && (!ok || r.Witness) {
		return ""
	}
	p := newLook(planInput{state: s, peers: m.cluster.Peers(), at: m.now()})
	id, reason := p.choose(kind, t)
	if reason != "" {
		return reason
	}
	return p.begins(kind, t, id)
}

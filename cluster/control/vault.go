package control

import (
	"context"
	"errors"
	"time"

	"roundtable/fsm"
)

// Vault is what the controllers need of this member's repositories and of its node's data. The methods with a context may take hours;
// they end with it, are called from one goroutine at a time for one operation, and are idempotent: after a crash they are called again,
// by another process, and go on where it was. say tells how far they are: percent 0 to 100, and a few words; it never blocks.
//
// Where context.Cause of an ended context is context.Canceled the manager is about to end, and its node with it; any other cause (ErrOver, a
// deadline, an operator who cancels) is about the operation alone, and the node is wanted.
type Vault interface {
	// Repositories are the names of those that are configured here, first the one that is meant where none is named. It never blocks.
	Repositories() []string
	// Prepare stores ahead what can be while the node runs.
	Prepare(ctx context.Context, t VaultTask, say func(percent int, text string)) error
	// Copy stops the node, proves that it ended cleanly, copies its data (or has a volume driver take it), and starts the node: it returns
	// once nodeos' HTTP answers. Whatever fails, and whenever ctx ends, the node is started again before it returns.
	Copy(ctx context.Context, t VaultTask, say func(percent int, text string)) error
	// Snapshot has nodeos make a chain snapshot.
	Snapshot(ctx context.Context, t VaultTask, say func(percent int, text string)) error
	// Store stores what Copy or Snapshot left to be stored, reads back all that was, and commits it.
	Store(ctx context.Context, t VaultTask, say func(percent int, text string)) (fsm.Stored, error)
	// Fetch brings a backup here, beside the node's data, and proves that all of it is whole; nothing of the node was touched. ErrDamaged.
	Fetch(ctx context.Context, t VaultTask, say func(percent int, text string)) error
	// Replace stops the node, moves its data aside, puts the fetched one in its place and starts it: it returns once nodeos' HTTP answers.
	Replace(ctx context.Context, t VaultTask, say func(percent int, text string)) error
	// Settle ends a Replace whose node was proved back, or where back is true, one that was not: then the former data is put back and
	// the node started with it.
	Settle(ctx context.Context, t VaultTask, back bool) error
	// Check reads all of a backup; with t.Trial a node comes up on it in a scratch folder. what is for the operator. ErrDamaged.
	Check(ctx context.Context, t VaultTask, say func(percent int, text string)) (what string, err error)
	// Sweep removes what fate says, and what nobody refers to; dropped is called for each backup that is gone.
	Sweep(ctx context.Context, t VaultTask, fate func(id string) Fate, dropped func(ctx context.Context, id string) error, say func(percent int, text string)) (what string, err error)
	// Scan reads which backups the repository holds.
	Scan(ctx context.Context, t VaultTask, found func(context.Context, fsm.Backup) error, say func(percent int, text string)) (what string, err error)
	// Forget removes what operations that have ended left here; needed tells which backups an operation of this member is at.
	Forget(ctx context.Context, needed func(backup string) bool) error
	// Expired are the ids of those done backups of a repository that its retention, as configured here, does not keep. Pure.
	Expired(repository string, list []fsm.Backup, at time.Time) []string
	// Dirty reports that this member's node cannot start because its database is dirty by nodeos' own words, and that the configuration
	// wants it restored then. It never blocks.
	Dirty() (reason string, restore bool)
}

// VaultTask is one operation on a backup, as it stands.
type VaultTask struct {
	fsm.Task
	Operation uint64
	Kind      string     // of the operation
	Record    fsm.Backup // of the backup, where it has one
	Bases     []string   // the done backups of the same repository that are not suspect, the likeliest first: what they hold may be referred to. Of a sweep all done ones
	Known     bool       // there are backups of that repository which were done once, so that it cannot be empty
	Drops     []string   // of a sweep: the failed and expired ones of the repository. A repository does not list what never was whole
	Dropped   []string   // of a sweep: those that were in the catalogue once. Others may have referred to what they stored, and not do so any more
	Cluster   string     // its name
	ChainID   string     // the cluster's; "" where none is known yet
}

// Fate is what a sweep does with a backup that it finds.
type Fate int

// The fates.
const (
	FateUnknown Fate = iota // the catalogue does not know it: it stays, unless the sweep was asked to remove it
	FateKeep
	FateDrop
)

// ErrOver is why a context ends whose step is over, or is not to go on now.
var ErrOver = errors.New("the step is over")

// ErrDamaged says that a backup is not whole any more.
var ErrDamaged = errors.New("the backup is damaged")

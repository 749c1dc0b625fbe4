package manager

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"roundtable/backup"
	"roundtable/backup/worker"
	"roundtable/cluster/control"
	"roundtable/cmd/roundtable/config"
	"roundtable/durable"
	"roundtable/fsm"
	"roundtable/logkey"
	"roundtable/node"
)

// vault does what operations on backups want of this member: control.Vault. Each of its steps keeps a journal in the home, so that a
// process that ends at any point goes on, or begins anew, where it was (docs/decisions/0015).
//
// What is of the node's data a restore puts in the place of the former one by renames within one file system, with a journal of their own
// (swap.go): the next start of a process, or of the node, finds the one or the other whole. finalizers/ and the node's configuration are
// neither in a backup nor touched by a restore.
type vault struct {
	home *home
	now  func() time.Time
	log  *slog.Logger
	step func(op string)                                                     // after each change of the disk in turn; tests end the process there
	work func(ctx context.Context, j worker.Job, on func(worker.Line)) error // does a job of a repository
	free func(dir string) (uint64, error)                                    // bytes that may be written there

	rename func(from, to string) error
	last   func(path string) error // has a file, or the names in a folder, survive the machine

	shooting sync.Mutex // nodeos makes one chain snapshot at a time

	mu    sync.Mutex
	swap  *swap  // as the disk has it
	waits string // why the node is not started yet; "": it may be

	orphans map[string]bool // images of which was said that nobody releases them; only for Forget and operations, under mu

	dirty atomic.Pointer[dirtiness]
	wake  chan struct{} // run is to look
}

// backupFolder is the vault's in a home.
const backupFolder = "backup"

// openVault reads what an earlier process left, and puts it right where a replacement of the node's data was not finished. Nothing runs yet.
func openVault(h *home, now func() time.Time, log *slog.Logger) (*vault, error) {
	v := &vault{home: h, now: now, log: log, step: func(string) {}, work: runWorker, free: freeBytes, rename: os.Rename, last: durable.Sync, wake: make(chan struct{}, 1)}
	v.orphans = map[string]bool{}
	v.dirty.Store(new(dirtiness))
	if err := v.readSwap(); err != nil {
		return nil, err
	}
	if err := v.mend(); err != nil { // the node's next start tries again
		log.Error("the node is not started", logkey.Err, err)
		h.alarm("backup", h.cfg().Manager.ID, "the node is not started: "+wrong(err))
	}
	return v, nil
}

func (v *vault) cfg() *config.Config { return v.home.cfg() }

// dir is the vault's folder in the home.
func (v *vault) dir(elements ...string) string {
	return filepath.Join(append([]string{v.cfg().Manager.Home, backupFolder}, elements...)...)
}

// data is a path in the node's data folder.
func (v *vault) data(elements ...string) string {
	return filepath.Join(append([]string{v.cfg().Node.DataDir}, elements...)...)
}

// Repositories are the names of those that are configured here, the default one first.
func (v *vault) Repositories() []string { return v.cfg().Backup.RepositoryNames() }

// Expired are the ids of those done backups of a repository that its retention does not keep.
func (v *vault) Expired(repository string, list []fsm.Backup, at time.Time) []string {
	r, ok := v.cfg().Backup.Repositories[repository]
	if !ok {
		return nil // another member may know it
	}
	p := backup.Policy{
		Last: r.KeepLast, Daily: r.KeepDaily, Weekly: r.KeepWeekly, Monthly: r.KeepMonthly, Within: r.KeepWithin.D(), Bytes: int64(r.KeepBytes),
	}
	var kept []backup.Kept
	for _, b := range list {
		if b.Repository == repository && b.State == fsm.BackupDone {
			kept = append(kept, backup.Kept{ID: b.ID, Kind: b.Copies, Created: b.Created, Stored: b.Of.Stored, Pinned: b.Pinned})
		}
	}
	return p.Expired(kept, at)
}

// start starts the node and returns once its HTTP answers. Where ctx has ended for the operation alone it waits nevertheless: the node is
// wanted. Where the manager is about to end only the order is given.
func (v *vault) start(ctx context.Context) error {
	if ctx.Err() == nil || errors.Is(context.Cause(ctx), context.Canceled) {
		return v.home.start(ctx)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), v.cfg().Upgrade.StepTimeout.D())
	defer cancel()
	return v.home.start(ctx)
}

// What an operator is told where a node's files are not where a backup has them.
const layoutHint = "take blocks-dir, state-dir and blocks-retained-dir out of the node's configuration: backups of the node's data want blocks and state in its data folder"

// layout is where the node has its files: in its data folder, where one rename replaces them.
func (v *vault) layout() (node.Layout, error) {
	l := v.home.supervisor.Layout()
	if d := node.DefaultLayout(l.Data); l.Blocks != d.Blocks || l.State != d.State || l.Retained != d.Retained {
		return l, fmt.Errorf("manager: the node's blocks are in %s and its state in %s (hint: %s)", l.Blocks, l.State, layoutHint)
	}
	return l, nil
}

// freeBytes is what this user may still write to the file system of a folder.
func freeBytes(dir string) (uint64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return s.Bavail * uint64(s.Bsize), nil //nolint:gosec // a block's size is positive
}

// headroom is how much room there must be for what is written, in tenths of it: a node that comes back grows.
const headroom = 22

// room refuses to write so many bytes into a folder where less than 2.2 times of it is free; have are there already.
func (v *vault) room(dir string, bytes, have int64) error {
	free, err := v.free(dir)
	if err != nil {
		return fmt.Errorf("manager: %w", err)
	}
	need := bytes/10*headroom + bytes%10*headroom/10
	if missing := need - have - int64(min(free, 1<<62)); missing > 0 { //nolint:gosec // bounded
		return fmt.Errorf("manager: %w: %s of data want %s of room in %s, %s are free: %s are missing (hint: free some room there; data that an earlier restore moved aside is in %s)",
			errNoRoom, sizeText(bytes), sizeText(need), dir, sizeText(int64(free)), sizeText(missing), v.data(asideFolder)) //nolint:gosec // the same
	}
	return nil
}

var errNoRoom = errors.New("too little room")

// sizeText is a number of bytes for people.
func sizeText(n int64) string {
	switch {
	case n >= 10<<30:
		return fmt.Sprintf("%d GiB", n>>30)
	case n >= 10<<20:
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%d KiB", (n+1023)>>10)
}

// damaged has the controllers see what is damaged.
func damaged(err error) error {
	if d := (*backup.Damage)(nil); err != nil && errors.As(err, &d) {
		return fmt.Errorf("%w: %w", control.ErrDamaged, err)
	}
	return err
}

// poke has run look.
func (v *vault) poke() {
	select {
	case v.wake <- struct{}{}:
	default:
	}
}

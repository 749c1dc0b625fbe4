package sim_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"roundtable/cluster/control"
	"roundtable/fsm"
)

// repository is the name of the one that all members have.
const repository = "main"

// store is a repository: what was written into it, and what of that was committed. It is outside of every process.
type store struct {
	mu      sync.Mutex
	backups map[string]*stored
	broken  bool // it does not answer
}

type stored struct {
	committed bool
	head      uint32
}

func newStore() *store { return &store{backups: map[string]*stored{}} }

var errBroken = errors.New("the repository does not answer")

// do changes the store, or fails where that does not answer.
func (s *store) do(change func(map[string]*stored) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken {
		return errBroken
	}
	return change(s.backups)
}

// list says what there is, and whether it is committed.
func (s *store) list() map[string]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := map[string]bool{}
	for id, b := range s.backups {
		list[id] = b.committed
	}
	return list
}

// vault is control.Vault of one life of a manager. A process that is frozen in a call goes on with it when it thaws; one that is dead does
// nothing any more.
type vault struct {
	store  *store
	home   *home
	frozen *freezer
	dead   chan struct{}

	mu    sync.Mutex
	calls int
}

var _ control.Vault = (*vault)(nil)

func newVault(s *store, h *home, frozen *freezer) *vault {
	return &vault{store: s, home: h, frozen: frozen, dead: h.dead}
}

// takes lets time go by, and says whether the call is to end.
func (v *vault) takes(ctx context.Context, d time.Duration) error {
	pause(ctx, d)
	v.frozen.wait()
	if v.home.isDead() {
		return context.Canceled
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

func (v *vault) alone() func() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.calls++; v.calls > 1 {
		panic("two calls of a vault at once")
	}
	return func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.calls--
	}
}

// Repositories implements control.Vault.
func (v *vault) Repositories() []string { return []string{repository} }

// Prepare implements control.Vault.
func (v *vault) Prepare(ctx context.Context, t control.VaultTask, say func(int, string)) error {
	defer v.alone()()
	return v.write(ctx, t, say)
}

// write puts something of a backup into the store.
func (v *vault) write(ctx context.Context, t control.VaultTask, say func(int, string)) error {
	say(10, "writing")
	if err := v.takes(ctx, 2*time.Second); err != nil {
		return err
	}
	return v.store.do(func(list map[string]*stored) error {
		if list[t.Backup] == nil {
			list[t.Backup] = &stored{}
		}
		list[t.Backup].head = v.home.node.View().Head.Num
		return nil
	})
}

// stop stops the node, and notes what is wrong with that.
func (v *vault) stop() {
	if reason := v.home.node.stop(); reason != "" {
		v.home.node.peers.complain(v.home.node.id + " " + reason)
	}
}

// start starts the node again, but where the manager ends.
func (v *vault) start(ctx context.Context) error {
	pause(context.WithoutCancel(ctx), startTime)
	v.frozen.wait()
	if v.home.isDead() || ctx.Err() != nil && errors.Is(context.Cause(ctx), context.Canceled) {
		return context.Canceled
	}
	if !v.home.boot() {
		return errors.New("nodeos ended at once: exit code 2")
	}
	return nil
}

// Copy implements control.Vault.
func (v *vault) Copy(ctx context.Context, _ control.VaultTask, say func(int, string)) error {
	defer v.alone()()
	v.stop()
	say(50, "copying")
	err := v.takes(ctx, 3*time.Second)
	return errors.Join(err, v.start(ctx))
}

// Snapshot implements control.Vault.
func (v *vault) Snapshot(ctx context.Context, _ control.VaultTask, _ func(int, string)) error {
	defer v.alone()()
	run := v.home.node.View().Run
	if err := v.takes(ctx, time.Second); err != nil {
		return err
	}
	if n := v.home.node.View(); n.Run != run || n.State != "running" {
		return errRefused
	}
	return nil
}

// Store implements control.Vault.
func (v *vault) Store(ctx context.Context, t control.VaultTask, say func(int, string)) (fsm.Stored, error) {
	defer v.alone()()
	if err := v.write(ctx, t, say); err != nil {
		return fsm.Stored{}, err
	}
	say(90, "reading back")
	if err := v.takes(ctx, time.Second); err != nil {
		return fsm.Stored{}, err
	}
	out := fsm.Stored{ChainID: chainID, First: 1, Files: 1, Size: 1, Data: 1, Stored: 1, Manifest: chainID}
	return out, v.store.do(func(list map[string]*stored) error {
		b := list[t.Backup]
		if b == nil {
			return errors.New("what was written is gone")
		}
		b.committed, out.Head = true, b.head
		return nil
	})
}

// Fetch implements control.Vault.
func (v *vault) Fetch(ctx context.Context, t control.VaultTask, say func(int, string)) error {
	defer v.alone()()
	say(10, "fetching")
	if err := v.takes(ctx, 2*time.Second); err != nil {
		return err
	}
	if err := v.whole(t.Backup); err != nil {
		return err
	}
	d := v.home.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fetched[t.Backup] = true
	return nil
}

// whole looks whether a backup is there.
func (v *vault) whole(id string) error {
	return v.store.do(func(list map[string]*stored) error {
		if b := list[id]; b == nil || !b.committed {
			return control.ErrDamaged
		}
		return nil
	})
}

// Replace implements control.Vault.
func (v *vault) Replace(ctx context.Context, t control.VaultTask, say func(int, string)) error {
	defer v.alone()()
	d := v.home.disk
	d.mu.Lock()
	fetched, done := d.fetched[t.Backup], d.of == t.Operation && d.data == t.Backup
	d.mu.Unlock()
	switch {
	case done && v.home.node.View().State == "running":
		return nil // by a process before this one
	case !fetched && !done:
		return errors.New("it is not here")
	}
	v.stop()
	say(50, "replacing")
	if err := v.takes(ctx, time.Second); err != nil {
		return err
	}
	d.mu.Lock()
	if !done {
		d.aside, d.data, d.swapped, d.of, d.dirty = d.data, t.Backup, true, t.Operation, false
	}
	d.mu.Unlock()
	return v.start(ctx)
}

// Settle implements control.Vault. Of which operation the data is stays known, for its step may be done again.
func (v *vault) Settle(ctx context.Context, t control.VaultTask, back bool) error {
	defer v.alone()()
	d := v.home.disk
	if back {
		v.stop()
	}
	if err := v.takes(ctx, 100*time.Millisecond); err != nil {
		return err
	}
	d.mu.Lock()
	if d.swapped && back {
		d.data, d.of = d.aside, 0
	}
	d.aside, d.swapped = "", false
	delete(d.fetched, t.Backup)
	d.mu.Unlock()
	if back {
		return v.start(ctx)
	}
	return nil
}

// Check implements control.Vault.
func (v *vault) Check(ctx context.Context, t control.VaultTask, say func(int, string)) (string, error) {
	defer v.alone()()
	say(10, "reading")
	if err := v.takes(ctx, 2*time.Second); err != nil {
		return "", err
	}
	return "all is whole", v.whole(t.Backup)
}

// Sweep implements control.Vault. It may be frozen between the question and what it does then.
func (v *vault) Sweep(ctx context.Context, t control.VaultTask, fate func(string) control.Fate, dropped func(context.Context, string) error, _ func(int, string)) (string, error) {
	defer v.alone()()
	ids := slices.Clone(t.Drops)
	for id := range v.store.list() {
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	gone := 0
	for _, id := range ids {
		what := fate(id)
		if err := v.takes(ctx, 200*time.Millisecond); err != nil {
			return "", err
		}
		if what != control.FateDrop {
			continue
		}
		if err := v.store.do(func(list map[string]*stored) error { delete(list, id); return nil }); err != nil {
			return "", err
		}
		if err := dropped(ctx, id); err != nil {
			return "", err
		}
		gone++
	}
	return fmt.Sprintf("%d removed", gone), nil
}

// Scan implements control.Vault.
func (v *vault) Scan(ctx context.Context, _ control.VaultTask, found func(context.Context, fsm.Backup) error, _ func(int, string)) (string, error) {
	defer v.alone()()
	for id, committed := range v.store.list() {
		if err := v.takes(ctx, 100*time.Millisecond); err != nil {
			return "", err
		}
		if !committed {
			continue
		}
		of := fsm.Stored{ChainID: chainID, First: 1, Head: 1, Files: 1, Size: 1, Data: 1, Stored: 1, Manifest: chainID}
		if err := found(ctx, fsm.Backup{ID: id, Copies: fsm.CopiesData, Of: of, Created: 1}); err != nil {
			return "", err
		}
	}
	return "scanned", nil
}

// Forget implements control.Vault.
func (v *vault) Forget(ctx context.Context, needed func(string) bool) error {
	defer v.alone()()
	if err := v.takes(ctx, 10*time.Millisecond); err != nil {
		return err
	}
	d := v.home.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	for id := range d.fetched {
		if !needed(id) {
			delete(d.fetched, id)
		}
	}
	if d.swapped && !needed(d.data) {
		d.aside, d.swapped = "", false
	}
	return nil
}

// Expired implements control.Vault: the newest five are kept.
func (v *vault) Expired(_ string, list []fsm.Backup, _ time.Time) []string {
	slices.SortFunc(list, func(a, b fsm.Backup) int { return int(b.Created - a.Created) })
	var gone []string
	for _, b := range list[min(5, len(list)):] {
		gone = append(gone, b.ID)
	}
	return gone
}

// Dirty implements control.Vault.
func (v *vault) Dirty() (string, bool) {
	d := v.home.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	return "database dirty flag set", d.dirty
}

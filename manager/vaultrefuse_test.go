package manager

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"roundtable/backup"
	"roundtable/backup/worker"
	"roundtable/cluster/control"
	"roundtable/cmd/roundtable/config"
	"roundtable/fsm"
	"roundtable/node"
)

// TestWhatGoesWrong: each trouble is told clearly, and neither the node nor its data is the worse for it.
func TestWhatGoesWrong(t *testing.T) {
	t.Parallel()
	r := newVaultRig(t)
	r.key("right")
	ran := filepath.Join(r.cfg.Manager.Home, "ran")
	r.cfg.Backup.PreHook = r.write("pre", "#!/bin/sh\necho \"pre $ROUNDTABLE_KIND $ROUNDTABLE_OPERATION $ROUNDTABLE_BACKUP $ROUNDTABLE_MEMBER\" >> "+ran+"\n[ ! -e "+ran+".fails ]\n")
	r.cfg.Backup.PostHook = r.write("post", "#!/bin/sh\necho \"post $ROUNDTABLE_KIND $ROUNDTABLE_OPERATION $ROUNDTABLE_OUTCOME\" >> "+ran+"\n")
	r.start()
	r.produce()
	r.head(5)
	ctx, v := t.Context(), r.vault
	made := r.backUp(task(1, fsm.KindBackup, fsm.CopiesData, dataID))
	starts := r.supervisor.Status().Starts
	blocks := must[os.FileInfo](t)(os.Stat(v.data("blocks")))
	untouched := func(what string, err error, want ...string) {
		t.Helper()
		for _, w := range want {
			if err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %v, want %q", what, err, w)
			}
		}
		if st := r.supervisor.Status(); st.State != node.StateRunning || st.Starts != starts {
			t.Errorf("%s: the node was touched: %s", what, st)
		}
		if now := must[os.FileInfo](t)(os.Stat(v.data("blocks"))); !os.SameFile(now, blocks) {
			t.Errorf("%s: its data was touched", what)
		}
	}
	said := func() string { text, _ := os.ReadFile(ran); return string(text) }
	if got := said(); got != "pre backup 1 "+dataID+" m1\npost backup 1 done\n" {
		t.Errorf("the hooks were told %q", got)
	}

	// A hook that fails stops nothing.
	r.write("ran.fails", "")
	untouched("a hook", v.Copy(ctx, task(2, fsm.KindBackup, fsm.CopiesData, "x2"), quiet), "nothing was stopped", "exit code 1")
	untouched("a hook", v.Snapshot(ctx, task(3, fsm.KindBackup, fsm.CopiesSnapshot, "x3"), quiet), "nothing was stopped")
	if err := os.Remove(ran + ".fails"); err != nil {
		t.Fatal(err)
	}

	restore := task(4, fsm.KindRestore, "", dataID)
	untouched("before it is fetched", v.Replace(ctx, restore, quiet), "not there yet")
	other := restore
	other.ChainID = strings.Repeat("ab", 32)
	err := v.Fetch(ctx, other, quiet)
	untouched("another chain", err, "is of chain "+made.ChainID, "hint: ")
	if !errors.Is(err, backup.ErrChain) {
		t.Error(err)
	}
	none := restore
	none.Backup = "none"
	if err := v.Fetch(ctx, none, quiet); !errors.Is(err, backup.ErrNoBackup) {
		t.Error(err)
	}
	elsewhere := restore
	elsewhere.Repository = "elsewhere"
	untouched("another repository", v.Fetch(ctx, elsewhere, quiet), `"elsewhere" is not configured`, "main")
	v.free = func(string) (uint64, error) { return 1 << 20, nil }
	err = v.Fetch(ctx, restore, quiet)
	untouched("no room", err, "too little room", "are missing", "aside")
	if !errors.Is(err, errNoRoom) {
		t.Error(err)
	}
	v.free = freeBytes

	right := *r.cfg
	r.key("wrong")
	r.home.configure(r.cfg)
	err = v.Fetch(ctx, restore, quiet)
	untouched("a wrong key", err, "hint: set encryption_key_file")
	if !errors.Is(err, backup.ErrKey) || strings.Contains(err.Error(), "AGE-SECRET") {
		t.Error(err)
	}
	loose := right.Backup.Repositories["main"].EncryptionKeyFile
	if err := os.Chmod(loose, 0o640); err != nil {
		t.Fatal(err)
	}
	r.home.configure(&right) // which warns of it only
	untouched("a key that others may read", v.Fetch(ctx, restore, quiet), "others may read", "chmod 600")
	if err := os.Chmod(loose, 0o600); err != nil {
		t.Fatal(err)
	}
	for url, want := range map[string]string{"file:///nowhere/at/all": "not there", "s3://u:secret@h/x": "credentials do not belong"} {
		next := right
		next.Backup.Repositories = map[string]config.Repository{"main": {URL: url, EncryptionKeyFile: right.Backup.Repositories["main"].EncryptionKeyFile}}
		r.home.configure(&next)
		err := v.Fetch(ctx, restore, quiet)
		if untouched(url, err, want); strings.Contains(fmt.Sprint(err)+r.said(), "secret") {
			t.Errorf("a secret is shown: %v", err)
		}
	}
	locked := right
	locked.Backup.Repositories = map[string]config.Repository{"main": {URL: right.Backup.Repositories["main"].URL, EncryptionKeyFile: filepath.Join(r.cfg.Manager.Home, "none.key")}}
	r.home.configure(&locked)
	untouched("no key", v.Fetch(ctx, restore, quiet), "encryption_key_file", "none.key", "hint: the user")
	r.home.configure(&right)

	// Damage is found before anything is touched.
	folder := strings.TrimPrefix(right.Backup.Repositories["main"].URL, "file://")
	var packs []string
	_ = filepath.WalkDir(filepath.Join(folder, "packs"), func(path string, e os.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			packs = append(packs, path)
		}
		return nil
	})
	if len(packs) == 0 {
		t.Fatal("no packs")
	}
	good := must[[]byte](t)(os.ReadFile(packs[0]))
	bad := slices.Clone(good)
	bad[len(bad)/2] ^= 1
	_ = os.Chmod(packs[0], 0o600)
	if err := os.WriteFile(packs[0], bad, 0o600); err != nil {
		t.Fatal(err)
	}
	err = v.Fetch(ctx, restore, quiet)
	if untouched("a flipped bit", err, "damaged"); !errors.Is(err, control.ErrDamaged) {
		t.Error(err)
	}
	verify := task(5, fsm.KindVerify, "", dataID)
	if _, err := v.Check(ctx, verify, quiet); !errors.Is(err, control.ErrDamaged) {
		t.Error(err)
	}
	if err := os.WriteFile(packs[0], good, 0o600); err != nil {
		t.Fatal(err)
	}
	verify.Operation, verify.Trial = 6, true
	what, err := v.Check(ctx, verify, quiet)
	if untouched("a trial", nil); err != nil || !strings.Contains(what, "came up on it at block #") {
		t.Errorf("%q, %v", what, err)
	}
	if left, _ := filepath.Glob(filepath.Join(v.cfg().Backup.Scratch, "*")); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
	if got := said(); strings.Contains(got, "verify") { // the node was not touched
		t.Errorf("the hooks were told %q", got)
	}

	// What cannot be moved stays; the node comes back.
	if err := v.Fetch(ctx, restore, quiet); err != nil {
		t.Fatal(err)
	}
	r.write("aside", "in the way", r.cfg.Node.DataDir, "/")
	if err := v.Replace(ctx, restore, quiet); err == nil || !strings.Contains(err.Error(), "keeps its data") {
		t.Errorf("%v", err)
	}
	starts++
	untouched("no folder for it", nil)
	if err := os.Remove(v.data(asideFolder)); err != nil {
		t.Fatal(err)
	}

	// Settled back the node runs with what it had.
	r.produce()
	head := r.head(made.Head + 5).HeadNum
	if err := v.Replace(ctx, restore, quiet); err != nil {
		t.Fatal(err)
	}
	if err := v.Settle(ctx, restore, true); err != nil {
		t.Fatal(err)
	}
	starts += 2
	untouched("put back", nil)
	if got := r.head(0).HeadNum; got < head-1 {
		t.Errorf("#%d, it was #%d", got, head)
	}
	if got := said(); !strings.Contains(got, "post restore 4 failed\n") {
		t.Errorf("the hooks were told %q", got)
	}
	if err := v.Forget(ctx, func(string) bool { return false }); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob(v.data("*", "*", "blocks")); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// key gives the repository an encryption key of its own.
func (r *rig) key(name string) {
	r.t.Helper()
	text, _, err := worker.NewKey(time.Now())
	if err != nil {
		r.t.Fatal(err)
	}
	next := *r.cfg
	repository := next.Backup.Repositories["main"]
	repository.EncryptionKeyFile = r.write(name+".key", string(text))
	next.Backup.Repositories = map[string]config.Repository{"main": repository}
	r.cfg = &next
}

// TestADirtyNodeIsNotCopied: only what a clean stop leaves is stored, and the node is started again whatever comes.
func TestADirtyNodeIsNotCopied(t *testing.T) {
	t.Parallel()
	r := producing(t)
	r.head(5)
	r.vault.step = func(op string) {
		if op == "stop" {
			if err := os.Remove(r.vault.data("state", "chain_head.dat")); err != nil {
				t.Error(err)
			}
		}
	}
	err := r.vault.Copy(t.Context(), task(1, fsm.KindBackup, fsm.CopiesData, dataID), quiet)
	if !errors.Is(err, node.ErrNotClean) {
		t.Errorf("%v", err)
	}
	if _, err := r.vault.Store(t.Context(), task(1, fsm.KindBackup, fsm.CopiesData, dataID), quiet); err == nil || !strings.Contains(err.Error(), "nothing to store") {
		t.Errorf("%v", err)
	}
}

// TestAnOperationThatEnds starts the node again, for it is wanted.
func TestAnOperationThatEnds(t *testing.T) {
	t.Parallel()
	r := producing(t)
	r.head(5)
	ctx, cancel := context.WithCancelCause(t.Context())
	r.vault.step = func(op string) {
		if op == "stop" {
			cancel(control.ErrOver)
		}
	}
	if err := r.vault.Copy(ctx, task(1, fsm.KindBackup, fsm.CopiesData, dataID), quiet); err == nil {
		t.Error("it came through")
	}
	if st := r.supervisor.Status(); st.State != node.StateRunning || st.Starts != 2 {
		t.Errorf("%s", st)
	}
}

// TestADirtyDatabase: what is told of it by each policy.
func TestADirtyDatabase(t *testing.T) {
	t.Parallel()
	for _, policy := range []string{config.RestoreLast, config.RestoreFirst, config.RestoreOff} {
		t.Run(policy, func(t *testing.T) {
			t.Parallel()
			r := newVaultRig(t)
			r.cfg.Backup.AutoRestore = policy
			r.start()
			r.produce()
			r.head(5)
			restarts := r.supervisor.Status().Restarts
			r.supervisor.Kill()
			if policy != config.RestoreFirst {
				r.until("replayed", func() bool {
					st := r.supervisor.Status()
					return st.State == node.StateRunning && st.Restarts > restarts
				})
				if reason, _ := r.vault.Dirty(); reason != "" {
					t.Error(reason)
				}
				// Blocks that do not begin at the first one cannot be replayed.
				r.head(3)
				if err := r.supervisor.Stop(t.Context()); err != nil {
					t.Fatal(err)
				}
				if err := errors.Join(os.Remove(r.vault.data("state", "chain_head.dat")), os.Remove(r.vault.data("blocks", "blocks.index"))); err != nil {
					t.Fatal(err)
				}
				_ = r.home.start(t.Context())
			}
			r.until("down", func() bool { return r.supervisor.Status().State == node.StateFailed })
			reason, restore := r.vault.Dirty()
			if exit := r.supervisor.Status().LastExit; exit.Dirty() && reason == "" || restore != (policy != config.RestoreOff) && reason != "" {
				t.Errorf("%q, %v, %s", reason, restore, r.supervisor.Status())
			}
			if policy != config.RestoreFirst {
				return
			}
			if reason == "" || !restore {
				t.Errorf("%q, %v", reason, restore)
			}
			// Nothing to restore: it is replayed.
			var view stateView = newStillView("")
			r.home.cluster.Store(&view)
			if left := r.vault.untilReplay(); left != 0 {
				t.Errorf("it waits %s", left)
			}
			s, _ := view.View()
			s.Operations = []fsm.Operation{{Kind: fsm.KindRestore, Outcome: fsm.Running, Task: &fsm.Task{Member: "m1"}}}
			if left := r.vault.untilReplay(); left != restoreLook {
				t.Errorf("it waits %s beside a restore", left)
			}
			s.Operations = nil
			r.vault.replay()
			r.until("replayed", func() bool { return r.supervisor.Status().State == node.StateRunning })
		})
	}
}

// TestADiskThatIsFull is a data folder in a small file system: what does not fit is refused before anything is touched, and where it runs
// full on the way nothing is lost.
func TestADiskThatIsFull(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounts a file system, which root may")
	}
	t.Parallel()
	r := newVaultRig(t)
	disk := t.TempDir()
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=24m"); err != nil {
		t.Skip("mounts a file system, which this machine does not allow: ", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(disk, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	r.cfg.Node.DataDir = filepath.Join(disk, "data")
	r.cfg.Node.Args = append(r.cfg.Node.Args, "--resource-monitor-not-shutdown-on-threshold-exceeded")
	r.start()
	r.produce()
	r.head(5)
	made := r.backUp(task(1, fsm.KindBackup, fsm.CopiesData, dataID))
	left := must[uint64](t)(freeBytes(disk))
	if err := os.WriteFile(filepath.Join(disk, "ballast"), make([]byte, left-256<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	restore := task(2, fsm.KindRestore, "", dataID)
	if err := r.vault.Fetch(t.Context(), restore, quiet); !errors.Is(err, errNoRoom) {
		t.Errorf("%v", err)
	}
	r.vault.free = func(string) (uint64, error) { return 1 << 40, nil } // it runs full on the way
	if err := r.vault.Fetch(t.Context(), restore, quiet); err == nil || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("%v", err)
	}
	if st := r.supervisor.Status(); st.State != node.StateRunning || st.Starts != 2 {
		t.Errorf("%s", st)
	}
	if err := os.Remove(filepath.Join(disk, "ballast")); err != nil {
		t.Fatal(err)
	}
	r.restore(restore)
	if got := r.head(0); got.HeadNum < made.Head {
		t.Errorf("%+v", got)
	}
}

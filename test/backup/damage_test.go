package backup

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"roundtable/api"
	"roundtable/drill"
	"roundtable/fsm"
	"roundtable/test/box"
)

// TestDamage flips a bit in an object of every kind of a repository, and takes one away. A restore finds it before anything of the node is
// touched, and so does `roundtable backup verify`; the catalogue then calls the backup damaged. Once the object is as it was, so is the backup.
func TestDamage(t *testing.T) {
	t.Parallel()
	d := inFolder(t)
	b := layOut(t, drill.Options{}, d).up()
	one := b.backup(fsm.CopiesData, nil)
	m := b.standby()
	for _, c := range []struct {
		kind  string
		place func(size int64) int64
	}{
		{"format", half}, {"manifests", half}, {"manifests", last}, {"tables", half}, {"packs", func(int64) int64 { return 0 }}, {"packs", half}, {"packs", last},
	} {
		file := d.object(t, c.kind)
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		offset := c.place(info.Size())
		t.Run(c.kind, func(t *testing.T) {
			b := b.in(t)
			state := fsm.BackupDamaged
			if c.kind == "format" { // it is no backup's
				state = fsm.BackupDone
			}
			b.finds(one, m, state, func() { flip(t, file, offset) }, func() { flip(t, file, offset) })
		})
	}
	t.Run("an object that is gone", func(t *testing.T) {
		b, file := b.in(t), d.object(t, "packs")
		b.finds(one, m, fsm.BackupDamaged, func() { rename(t, file, file+".gone") }, func() { rename(t, file+".gone", file) })
	})
	b.restore(one.ID, m.ID)
	b.Whole()
	b.Judge(false)
}

func half(size int64) int64 { return size / 2 }
func last(size int64) int64 { return size - 1 }

// finds does damage, has it found by a restore and by the command, whereupon the backup is in a state, and undoes it.
func (b *sandbox) finds(one api.Backup, m *drill.Member, state fsm.BackupState, damage, undo func()) {
	b.T.Helper()
	nodes, files := b.Nodes(), b.contents(data(m))
	damage()
	o := b.End(b.Order("/cluster/backups/"+one.ID+"/restore", box.Fields{"member": m.ID, "limit": limit}), endTime)
	if step := o.Steps[len(o.Steps)-1].Name; o.Outcome != "failed" || step != fsm.StepFetch || o.Reason == "" {
		b.T.Errorf("the restore is %s at step %q: %s", o.Outcome, step, box.Told(o))
	}
	b.T.Logf("restore: %s", box.Told(o))
	b.untouched(m, nodes, files)
	out, err := b.command("backup", "verify", one.ID, "--wait")
	if err == nil {
		b.T.Errorf("verify found nothing: %s", out)
	}
	b.T.Logf("verify: %s", strings.TrimSpace(out))
	if is := b.stateOf(one.ID); is != state {
		b.T.Errorf("the catalogue says that it is %s, and not %s", is, state)
	}
	undo()
	b.verify(one.ID, nil)
	if state := b.stateOf(one.ID); state != fsm.BackupDone {
		b.T.Errorf("it is whole again, and the catalogue says that it is %s", state)
	}
}

// untouched fails the test where a member's node is another process than before, or its data other files.
func (b *sandbox) untouched(m *drill.Member, nodes map[string]int, files map[string]uint64) {
	b.T.Helper()
	if now := b.Nodes(); !box.Equal(nodes, now) {
		b.T.Errorf("nodes were stopped: pids %v became %v", nodes, now)
	}
	now := b.contents(data(m))
	for name, inode := range files {
		if strings.HasPrefix(name, filepath.Join(data(m), "restore")) { // what was fetched before
			continue
		}
		if now[name] != inode {
			b.T.Errorf("%s was file %d and is %d", name, inode, now[name])
		}
	}
}

// object is a file of the repository that holds an object of a kind, the largest one.
func (d *depot) object(t *testing.T, kind string) (file string) {
	t.Helper()
	size := int64(-1)
	if err := filepath.WalkDir(filepath.Join(d.dir, kind), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err == nil && info.Size() > size {
			file, size = path, info.Size()
		}
		return err
	}); err != nil || file == "" {
		t.Fatalf("the repository has no %s: %v", kind, err)
	}
	return file
}

// command runs the command against a member and returns what it says, with its error.
func (b *sandbox) command(args ...string) (string, error) {
	b.T.Helper()
	ctx, cancel := context.WithTimeout(b.T.Context(), 2*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, filepath.Join(built, "roundtable"), append(args, "--server", b.Running().API)...)
	out, err := c.CombinedOutput()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		b.T.Fatal(err)
	}
	return string(out), err
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

package manager

import (
	"archive/tar"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"roundtable/cmd/roundtable/config"
	"roundtable/fsm"
	"roundtable/node"
)

// recorded has a vault say which paths it makes last, and what it renames, in turn.
func recorded(v *vault, ops *[]string) {
	rename, last := v.rename, v.last
	v.rename = func(from, to string) error { *ops = append(*ops, "rename "+from); return rename(from, to) }
	v.last = func(path string) error { *ops = append(*ops, "last "+path); return last(path) }
}

// filed is a vault over nothing but files.
func (r *rig) filed() *vault {
	r.t.Helper()
	h := must[*home](r.t)(r.openHome())
	v := must[*vault](r.t)(openVault(h, time.Now, r.logger()))
	h.vault = v
	return v
}

// TestNothingMovesIntoWhatMayVanish: a folder's own name lasts before something is moved there, and so does all that an archive or a script
// brought.
func TestNothingMovesIntoWhatMayVanish(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	data := r.cfg.Node.DataDir
	for _, name := range []string{"blocks/blocks.log", "state/shared_memory.bin", "restore/x/blocks/blocks.log"} {
		r.write(name, "text", data+"/")
	}
	v := r.filed()
	var ops []string
	recorded(v, &ops)
	if err := v.swapData(7, "x", v.data(sideFolder, "x"), "", ""); err != nil {
		t.Fatal(err)
	}
	s, _ := v.unsettled()
	first := slices.IndexFunc(ops, func(op string) bool { return strings.HasPrefix(op, "rename ") })
	if first < 0 {
		t.Fatalf("%q", ops)
	}
	for _, folder := range []string{filepath.Dir(s.Aside), data} {
		if !slices.Contains(ops[:first], "last "+folder) {
			t.Errorf("%s may lose a name that is needed: %q", folder, ops)
		}
	}
	for _, name := range []string{"blocks", "state"} {
		moved := slices.Index(ops, "rename "+v.data(name))
		if moved < 0 || !slices.Equal(ops[moved+1:moved+3], []string{"last " + data, "last " + s.Aside}) {
			t.Errorf("%s: %q", name, ops)
		}
	}

	side := v.data(sideFolder, bootFolder)
	archive := r.write("a.tar", string(archiveOf(t, tar.Header{Name: "x/blocks/blocks.log", Typeflag: tar.TypeReg, Size: 100}, tar.Header{Name: "x/state/shared_memory.bin", Typeflag: tar.TypeReg, Size: 3})))
	script := r.write("fill", "#!/bin/sh\nmkdir -p $ROUNDTABLE_FOLDER/x/blocks $ROUNDTABLE_FOLDER/x/state\necho b > $ROUNDTABLE_FOLDER/x/blocks/blocks.log\necho s > $ROUNDTABLE_FOLDER/x/state/shared_memory.bin\n")
	for what, fill := range map[string]func() (string, error){
		"archive": func() (string, error) { return v.unpack(t.Context(), config.Bootstrap{Archive: archive}, side) },
		"script":  func() (string, error) { return v.script(t.Context(), script, side) },
	} {
		ops = nil
		dir, err := fill()
		if err != nil || dir != filepath.Join(side, "x") {
			t.Fatalf("%s: %s, %v", what, dir, err)
		}
		for _, name := range []string{"", "blocks", "state", "blocks/blocks.log", "state/shared_memory.bin"} {
			if !slices.Contains(ops, "last "+filepath.Join(dir, name)) {
				t.Errorf("%s: %q may vanish: %q", what, name, ops)
			}
		}
	}
}

// TestARenameThatFails: a restore is not done while the node runs with what it had, however it came by that.
func TestARenameThatFails(t *testing.T) {
	t.Parallel()
	r, made, before := backedUp(t)
	ctx, v := t.Context(), r.vault
	restore := task(2, fsm.KindRestore, "", dataID)
	if err := v.Fetch(ctx, restore, quiet); err != nil {
		t.Fatal(err)
	}
	n := 0
	v.rename = func(from, to string) error { // the second one, the way back, and that before the node is started
		if n++; n >= 2 && n <= 4 {
			return errors.New("no")
		}
		return os.Rename(from, to)
	}
	if err := v.Replace(ctx, restore, quiet); err == nil || !strings.Contains(err.Error(), "keeps its data") {
		t.Fatalf("%v", err)
	}
	if s, ok := v.unsettled(); !ok || s.State != swapMoving {
		t.Fatalf("%+v, %v: it was to be left half moved", s, ok)
	}
	r.until("not started", func() bool { return r.supervisor.Status().State != node.StateRunning })
	if err := v.Replace(ctx, restore, quiet); err != nil {
		t.Fatal(err)
	}
	if s, ok := v.unsettled(); !ok || s.State != swapIn {
		t.Errorf("it is done with the former data: %+v", s)
	}
	if info := r.head(0); info.HeadNum < made.Head || info.HeadNum >= before {
		t.Errorf("#%d, it was #%d and was backed up at #%d", info.HeadNum, before, made.Head)
	}
}

// TestHalfIsNotSettled: data of which some was put back already is not kept, though the node was up with it.
func TestHalfIsNotSettled(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for name, text := range map[string]string{
		"blocks/blocks.log": "old", "state/shared_memory.bin": "old", "state-history/x": "old", "finalizers/safety.dat": "votes", "snapshots/s": "stays",
		"restore/x/blocks/blocks.log": "new", "restore/x/state/shared_memory.bin": "new",
	} {
		r.write(name, text, r.cfg.Node.DataDir+"/")
	}
	v := r.filed()
	if err := errors.Join(v.swapData(7, "x", v.data(sideFolder, "x"), "", ""), v.wasUp()); err != nil {
		t.Fatal(err)
	}
	n := 0
	v.rename = func(from, to string) error {
		if n++; n == 3 {
			return errors.New("no")
		}
		return os.Rename(from, to)
	}
	if err := v.putBack(); err == nil {
		t.Fatal("it came through")
	}
	if err := v.settle(); err != nil {
		t.Error(err)
	}
	if _, ok := v.unsettled(); ok || r.whole("settled") != "old" {
		t.Error("half of it is kept")
	}
}

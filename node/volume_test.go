package node

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestVolumeCopies: the driver in deploy/volume, which needs no volume manager.
func TestVolumeCopies(t *testing.T) {
	side := filepath.Join(t.TempDir(), "side")
	v := Volume{Path: must[string](t)(filepath.Abs("../deploy/volume/copy.sh")), Env: []string{"VOLUME_SIDE=" + side}}
	l := DefaultLayout(t.TempDir())
	put(t, l, "blocks/blocks.log", []byte("blocks"))
	put(t, l, "blocks/reversible/fork_db.dat", []byte("forks"))
	put(t, l, "finalizers/safety.dat", []byte("never"))
	put(t, l, "state/shared_memory.bin", []byte("state"))
	if err := os.Truncate(l.memory(), 64<<20); err != nil {
		t.Fatal(err)
	}
	// What a call that was killed left behind.
	put(t, Layout{Data: side}, "b1.part/blocks/old", nil)
	put(t, Layout{Data: side}, "b0.part/blocks/old", nil)

	folder := must[string](t)(v.Take(t.Context(), "b1", l.Data))
	image := DefaultLayout(folder)
	if b, err := os.ReadFile(image.log()); err != nil || string(b) != "blocks" {
		t.Error(string(b), err)
	}
	if _, err := os.Stat(filepath.Join(folder, "blocks/old")); err == nil {
		t.Error("what was not finished is in it")
	}
	if c := must[Contents](t)(image.Holds()); !c.ForkDB || !c.Memory || c.Safety {
		t.Errorf("%+v", c)
	}
	var st syscall.Stat_t
	if err := syscall.Stat(image.memory(), &st); err != nil || st.Size != 64<<20 || st.Blocks > 1024 {
		t.Error("it is not sparse any more", st.Blocks, err)
	}
	put(t, l, "blocks/blocks.log", []byte("more blocks")) // the node runs again
	if again := must[string](t)(v.Take(t.Context(), "b1", l.Data)); again != folder {
		t.Error(again)
	}
	if b, _ := os.ReadFile(image.log()); string(b) != "blocks" {
		t.Error("the same id is another image")
	}
	must[string](t)(v.Take(t.Context(), "b2", l.Data))
	for _, id := range []string{"b0", "b1", "b1", "b2", "unknown"} {
		if err := v.Release(t.Context(), id); err != nil {
			t.Error(id, err)
		}
	}
	if left := must[[]string](t)(filepath.Glob(side + "/*")); len(left) != 0 {
		t.Error(left)
	}
	if _, err := v.Take(t.Context(), "b3", "/nonexistent/data"); !errors.Is(err, ErrVolume) || !strings.Contains(err.Error(), "copy.sh: /nonexistent/data is no folder") {
		t.Error(err)
	}
	for _, id := range []string{"", "..", "a/b", "-x", strings.Repeat("a", 65)} {
		if err := v.Release(t.Context(), id); !errors.Is(err, ErrVolume) {
			t.Errorf("%q: %v", id, err)
		}
	}
}

// TestVolumeOfABadDriver: whatever it does, it is an error that says so.
func TestVolumeOfABadDriver(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct{ script, want string }{
		"prints nothing":  {"exit 0", "printed no folder"},
		"prints no path":  {"echo done", "which is no folder"},
		"is relative":     {"echo .", "which is no folder"},
		"fails":           {"echo out; echo no such pool >&2; exit 3", "exit code 3; it said: no such pool"},
		"does not end":    {"exec sleep 100", "deadline exceeded"},
		"is no program":   {"", "no such file"},
		"prints too much": {"i=0; while [ $i -lt 3000 ]; do echo /$i; i=$((i+1)); done; echo " + dir, ""},
	} {
		t.Run(name, func(t *testing.T) {
			v := Volume{Path: filepath.Join(dir, strings.ReplaceAll(name, " ", "-"))}
			if c.script != "" {
				if err := os.WriteFile(v.Path, []byte("#!/bin/sh\n"+c.script+"\n"), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			ctx := t.Context()
			if name == "does not end" {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, 100*time.Millisecond)
				defer cancel()
			}
			folder, err := v.Take(ctx, "b1", dir)
			if c.want == "" && (err != nil || folder != dir) || c.want != "" && (!errors.Is(err, ErrVolume) || !strings.Contains(err.Error(), c.want)) {
				t.Error(folder, err)
			}
		})
	}
}

// TestVolumeExamples are at least shell.
func TestVolumeExamples(t *testing.T) {
	all := must[[]string](t)(filepath.Glob("../deploy/volume/*.sh"))
	if len(all) != 3 {
		t.Error(all)
	}
	for _, path := range all {
		if out, err := exec.Command("sh", "-n", path).CombinedOutput(); err != nil {
			t.Errorf("%s: %v %s", path, err, out)
		}
	}
}

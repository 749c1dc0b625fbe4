package node

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"roundtable/durable"
)

func TestLayout(t *testing.T) {
	dir := t.TempDir()
	got := LayoutOf(dir, "/d", []string{"--blocks-dir", "b"}) // no config.ini
	if got.Blocks != "/d/b" || got.State != "/d/state" || got.Retained != "/d/b" || got.Archive != "" {
		t.Errorf("%+v", got)
	}
	if err := durable.Write(dir+"/config.ini", []byte("state-dir = /fast/state # x\nblocks-dir = other\nblocks-retained-dir = old\nblocks-archive-dir = /cold\n")); err != nil {
		t.Fatal(err)
	}
	got = LayoutOf(dir, "/d", []string{"--blocks-dir=/b", "-e", "--snapshots-dir"})
	want := Layout{Data: "/d", Blocks: "/b", Retained: "/b/old", Archive: "/cold", State: "/fast/state", Snapshots: "/d/snapshots", Finalizers: "/d/finalizers"}
	if got != want {
		t.Errorf("%+v", got)
	}
	for name, path := range map[string]string{
		"blocks/blocks.log": "/b/blocks.log", "blocks/reversible/fork_db.dat": "/b/reversible/fork_db.dat", "retained/blocks-1-9.log": "/b/old/blocks-1-9.log",
		"state/shared_memory.bin": "/fast/state/shared_memory.bin", "snapshots/s.bin": "/d/snapshots/s.bin",
		"": "", "blocks": "", "blocks/": "", "blocks/../x": "", "state//x": "", "state/./x": "", "/etc/passwd": "", "finalizers/safety.dat": "", "../x": "", "state/a/../../x": "",
	} {
		if p, err := want.Place(name); p != path || (err != nil) != (path == "") {
			t.Errorf("%q: %q %v", name, p, err)
		}
	}
}

// TestPlaceStaysInside whatever name a backup has.
func TestPlaceStaysInside(t *testing.T) {
	l := DefaultLayout("/d")
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom([]string{"blocks/", "state/", "", "snapshots/", "retained/"}).Draw(t, "folder") +
			rapid.StringOfN(rapid.SampledFrom([]rune("./ab\x00-")), 0, 12, -1).Draw(t, "rest")
		p, err := l.Place(name)
		if err == nil && !strings.HasPrefix(p, "/d/blocks/") && !strings.HasPrefix(p, "/d/state/") && !strings.HasPrefix(p, "/d/snapshots/") {
			t.Fatalf("%q goes to %q", name, p)
		}
	})
}

// put makes a file of that content below the data directory.
func put(t *testing.T, l Layout, rel string, data []byte) {
	t.Helper()
	path := filepath.Join(l.Data, rel)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, data, 0o600)); err != nil {
		t.Fatal(err)
	}
}

func logHeader(version, first uint32, tail ...byte) []byte {
	b := binary.LittleEndian.AppendUint32(nil, version)
	return append(append(binary.LittleEndian.AppendUint32(b, first), make([]byte, 40)...), tail...)
}

func TestContents(t *testing.T) {
	l := DefaultLayout(t.TempDir())
	c := must[Contents](t)(Holds(filepath.Join(l.Data, "none")))
	if !c.Empty() || c.Clean() || c.Replayable() {
		t.Errorf("%+v", c)
	}
	id := strings.Repeat("0", 7) + "a" + strings.Repeat("f", 56)
	put(t, l, "snapshots/snapshot-"+id+".bin", []byte("12345"))
	put(t, l, "snapshots/.pending-snapshot-"+id+".bin", nil)
	put(t, l, "snapshots/.incomplete-snapshot-"+id+".bin", nil)
	put(t, l, "snapshots/snapshot.bin", nil) // somebody's own
	if c = must[Contents](t)(l.Holds()); !c.Empty() || len(c.Snapshots) != 1 || c.Snapshots[0].Num != 10 || c.Snapshots[0].Size != 5 || len(c.Leftovers) != 2 {
		t.Errorf("%+v", c)
	}

	put(t, l, "blocks/blocks.log", logHeader(3, 1))
	if c = must[Contents](t)(l.Holds()); !c.Log || c.Index || c.Replayable() || c.Last != 0 {
		t.Errorf("without an index: %+v", c)
	}
	put(t, l, "blocks/blocks.index", make([]byte, 80))
	if c = must[Contents](t)(l.Holds()); !c.Replayable() || c.First != 1 || c.Last != 10 || c.Empty() || c.Clean() {
		t.Errorf("%+v", c)
	}
	put(t, l, "state/shared_memory.bin", make([]byte, 100))
	put(t, l, "state/chain_head.dat", []byte("x"))
	if c = must[Contents](t)(l.Holds()); c.Clean() {
		t.Errorf("without fork_db.dat: %+v", c)
	}
	put(t, l, "blocks/reversible/fork_db.dat", []byte("x"))
	put(t, l, "finalizers/safety.dat", []byte("x"))
	if c = must[Contents](t)(l.Holds()); !c.Clean() || !c.Safety {
		t.Errorf("%+v", c)
	}

	// A log that begins later, one with strides before it, a pruned one, an old one, and none at all.
	put(t, l, "blocks/blocks.log", logHeader(3, 101))
	if c = must[Contents](t)(l.Holds()); c.Replayable() || c.First != 101 || c.Last != 110 {
		t.Errorf("%+v", c)
	}
	for _, name := range []string{"blocks-51-100", "blocks-1-50"} {
		put(t, l, "blocks/"+name+".log", nil)
		put(t, l, "blocks/"+name+".index", nil)
	}
	put(t, l, "blocks/blocks-bad-tail-2026.log", nil)
	if c = must[Contents](t)(l.Holds()); !c.Replayable() || c.First != 1 || c.Last != 110 {
		t.Errorf("%+v", c)
	}
	_ = os.Remove(filepath.Join(l.Blocks, "blocks-51-100.log"))
	if c = must[Contents](t)(l.Holds()); c.Replayable() || c.First != 101 {
		t.Errorf("with a gap: %+v", c)
	}
	put(t, l, "blocks/blocks-51-100.log", nil)
	put(t, l, "blocks/blocks.index", nil) // the log has just begun anew
	if c = must[Contents](t)(l.Holds()); c.First != 1 || c.Last != 100 {
		t.Errorf("%+v", c)
	}
	put(t, l, "blocks/blocks.index", make([]byte, 80))
	files := must[[]DataFile](t)(l.Files())
	var names []string
	for _, f := range files {
		names = append(names, f.Name+" "+string(f.Kind))
		if p, err := l.Place(f.Name); err != nil || p != f.Path {
			t.Error(p, err)
		}
	}
	if got := strings.Join(names, "\n"); got != `blocks/blocks-1-50.index immutable
blocks/blocks-1-50.log immutable
blocks/blocks-51-100.index immutable
blocks/blocks-51-100.log immutable
blocks/blocks.index appended
blocks/blocks.log appended
blocks/reversible/fork_db.dat changed
state/chain_head.dat changed
state/shared_memory.bin changed` {
		t.Error(got)
	}
	for _, name := range []string{"blocks-51-100", "blocks-1-50"} {
		_ = os.Remove(filepath.Join(l.Blocks, name+".log"))
	}
	put(t, l, "blocks/blocks.log", logHeader(1<<31|3, 1, 4, 0, 0, 0))
	if c = must[Contents](t)(l.Holds()); c.Replayable() || !c.Pruned || c.First != 7 || c.Last != 10 {
		t.Errorf("%+v", c)
	}
	if files = must[[]DataFile](t)(l.Files()); files[0].Kind != FileChanged {
		t.Error(files[0])
	}
	put(t, l, "blocks/blocks.log", logHeader(1, 77))
	if c = must[Contents](t)(l.Holds()); c.First != 1 {
		t.Errorf("%+v", c)
	}
	put(t, l, "blocks/blocks.log", []byte("no block log"))
	if c = must[Contents](t)(l.Holds()); c.Last != 0 || !c.Log {
		t.Errorf("%+v", c)
	}

	if dropped := must[[]string](t)(l.DropLeftovers()); len(dropped) != 2 {
		t.Error(dropped)
	}
	if c = must[Contents](t)(l.Holds()); len(c.Leftovers) != 0 || len(c.Snapshots) != 1 {
		t.Errorf("%+v", c)
	}
	put(t, l, "other", nil)
	if _, err := Holds(filepath.Join(l.Data, "other")); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Error("a file is no data directory", err)
	}
}

// FuzzReadLogHead: whatever stands in a blocks.log, nothing is made of it that cannot be.
func FuzzReadLogHead(f *testing.F) {
	f.Add(logHeader(3, 1), 10)
	f.Add(logHeader(1<<31|3, 1, 4, 0, 0, 0), 10)
	f.Add([]byte("no block log"), 0)
	f.Add(logHeader(3, 1<<32-1), 10)
	f.Add(logHeader(3, 0), 10)
	f.Fuzz(func(t *testing.T, log []byte, blocks int) {
		l := DefaultLayout(t.TempDir())
		put(t, l, "blocks/blocks.log", log)
		put(t, l, "blocks/blocks.index", make([]byte, 8*min(max(blocks, 0), 1000)))
		h, err := readLogHead(l.log())
		if n := h.last - h.first + 1; (h.last == 0) != (h.first == 0) || h.last < h.first || h.last != 0 && n > 1000 || err != nil && h != (logHead{}) {
			t.Errorf("%+v %v", h, err)
		}
	})
}

// TestOccupied: a process that writes to the blocks, or holds nodeos' lock, is noticed; one that only reads, as a backup does, is not.
func TestOccupied(t *testing.T) {
	l := DefaultLayout(t.TempDir())
	put(t, l, "state/shared_memory.bin", nil)
	put(t, l, "blocks/blocks.log", nil)
	for role, file := range map[string]string{"": "", "reader": l.log(), "holder": l.log(), "locker": l.memory()} {
		t.Run(role, func(t *testing.T) {
			if role == "" {
				if err := l.occupied(); err != nil {
					t.Error(err)
				}
				return
			}
			other := exec.Command(os.Args[0])
			other.Env = append(os.Environ(), "NODE_TEST_ROLE="+role, "NODE_TEST_FILE="+file)
			stdin := must[interface{ Close() error }](t)(other.StdinPipe())
			stdout := must[interface{ Read([]byte) (int, error) }](t)(other.StdoutPipe())
			if err := other.Start(); err != nil {
				t.Fatal(err)
			}
			_, _ = stdout.Read(make([]byte, 4))
			pid, held := locker(l.memory())
			if held != (role == "locker") || held && pid != other.Process.Pid {
				t.Error(pid, held)
			}
			if err := l.occupied(); errors.Is(err, ErrInUse) == (role == "reader") {
				t.Error(err)
			}
			_ = stdin.Close()
			_ = other.Wait()
			if _, held := locker(l.memory()); held {
				t.Error("the lock goes with its process")
			}
		})
	}
}

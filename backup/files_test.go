package backup_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"roundtable/backup"
	"roundtable/backup/backuptest"
)

// overwrite changes bytes in the middle of a file, by somebody who keeps no rules.
func overwrite(t *testing.T, path string, at int64, b []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
}

// TestWhatIsReadAgain shows what a second backup looks at.
func TestWhatIsReadAgain(t *testing.T) {
	dir := t.TempDir()
	at := func(p string) string { return filepath.Join(dir, p) }
	write(t, at("blocks/blocks.log"), noise(1, 8<<20))
	write(t, at("config/small.json"), []byte("old"))
	write(t, at("state/chain_head.dat"), []byte("old"))
	write(t, at("state-history/trace_history.log"), noise(2, 6<<20))
	write(t, at("blocks/retained/blocks-1-9.log"), noise(3, 3<<20))
	old := time.Now().Add(-time.Hour)
	for p := range tree(t, dir) {
		if err := os.Chtimes(at(p), old, old); err != nil {
			t.Fatal(err)
		}
	}
	<-time.After(2100 * time.Millisecond) // a ctime cannot be set: what is younger than that is read again
	s := &backuptest.Memory{}
	r := open(t, s, backup.Options{Create: true})
	src := backup.Source{Dir: dir, Meta: meta("a")}
	first := done(t, r, "one", src)

	// Nothing has changed: nothing but the manifest and a table is written.
	src.Bases = []string{"one"}
	if i := done(t, r, "same", src); i.Stored > 4096 || i.Size != first.Size || i.Data != first.Data {
		t.Errorf("%+v, before %+v", i, first)
	}
	// In the middle of a log nobody looks: it grows at its end only.
	overwrite(t, at("blocks/blocks.log"), 3<<20, []byte("x"))
	appendTo(t, at("blocks/blocks.log"), noise(4, 100))
	// The end of a log of the state history was written again, because the chain has switched forks.
	overwrite(t, at("state-history/trace_history.log"), 7<<20/2, noise(5, 5<<20/2))
	appendTo(t, at("state-history/trace_history.log"), noise(6, 1<<20))
	// A small file has other bytes, and its time was set back.
	write(t, at("config/small.json"), []byte("new"))
	if err := os.Chtimes(at("config/small.json"), old, old); err != nil {
		t.Fatal(err)
	}
	second := done(t, r, "two", src)
	got := tree(t, restored(t, r, "two"))
	want := tree(t, dir)
	for p := range want {
		if changed := got[p] != want[p]; changed != (p == "blocks/blocks.log") {
			t.Errorf("%s: %+v, want %+v", p, got[p], want[p])
		}
	}
	if second.Stored < 4<<20 || second.Stored > 6<<20 {
		t.Errorf("%+v", second)
	}
	// On another member, inode numbers mean nothing: all is read, and nothing is stored twice.
	src.Bases, src.Meta.Member = []string{"two"}, "b"
	third := done(t, r, "three", src)
	equal(t, want, restored(t, r, "three"))
	if third.Stored > 1<<20+1<<16 { // the segment that nobody looked at
		t.Errorf("%+v", third)
	}
	// A stride is closed: the log gets another name, and a new one begins.
	if err := os.Rename(at("blocks/blocks.log"), at("blocks/retained/blocks-10-20.log")); err != nil {
		t.Fatal(err)
	}
	write(t, at("blocks/blocks.log"), noise(7, 1<<10))
	for _, member := range []string{"b", "c"} {
		src.Bases, src.Meta.Member = []string{"three"}, member
		i := done(t, r, "stride-"+member, src)
		equal(t, tree(t, dir), restored(t, r, "stride-"+member))
		if i.Stored > 1<<16 {
			t.Errorf("%+v", i)
		}
	}
}

// TestPruned punches holes into a log, as nodeos does with one that is pruned.
func TestPruned(t *testing.T) {
	dir := t.TempDir()
	log := filepath.Join(dir, "blocks/blocks.log")
	write(t, log, noise(1, 10<<20))
	s := &backuptest.Memory{}
	r := open(t, s, backup.Options{Create: true})
	src := backup.Source{Dir: dir, Meta: meta("a")}
	done(t, r, "one", src)
	f, err := os.OpenFile(log, os.O_RDWR|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 4096, 5<<20+8192); errors.Is(err, syscall.EOPNOTSUPP) {
		t.Skip("no holes on this file system")
	} else if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(noise(2, 1000)); err != nil {
		t.Fatal(err)
	}
	src.Bases = []string{"one"}
	two := done(t, r, "two", src)
	to := restored(t, r, "two")
	equal(t, tree(t, dir), to)
	if was, is := onDisk(t, log), onDisk(t, filepath.Join(to, "blocks/blocks.log")); is > was {
		t.Errorf("restored it takes %d bytes, it took %d", is, was)
	}
	if two.Stored > 2<<20 {
		t.Errorf("%+v", two)
	}
}

// TestAhead stores most of a log while the node runs, and the rest once it has stopped.
func TestAhead(t *testing.T) {
	for _, cache := range []string{"", t.TempDir()} {
		dir := node(t, 1)
		log := filepath.Join(dir, "blocks/blocks.log")
		appendTo(t, log, noise(2, 5<<20))
		s := &backuptest.Memory{}
		r := open(t, s, backup.Options{Create: true, Cache: cache})
		src := backup.Source{Dir: dir, Meta: meta("a"), Ahead: true}
		for range 2 { // it may be called again
			i, err := r.Backup(t.Context(), "one", src, nil)
			if err != nil || i.Manifest != "" || i.Files != 3 || i.Size != 9<<20 {
				t.Fatalf("%+v %v", i, err)
			}
			appendTo(t, log, noise(3, 300))
		}
		if all, err := r.List(t.Context()); err != nil || len(all) != 0 {
			t.Errorf("%+v %v", all, err)
		}
		if _, err := r.Commit(t.Context(), "one"); !errors.Is(err, backup.ErrNoBackup) {
			t.Error(err)
		}
		overwrite(t, log, 3<<20, []byte("x")) // to see that it is not read again while the node stands still
		src.Ahead = false
		var stored int64
		i, err := r.Backup(t.Context(), "one", src, func(p backup.Progress) { stored = p.Stored })
		if err != nil {
			t.Fatal(err)
		}
		if stored > 1<<20 || i.Stored < 7<<20 {
			t.Errorf("%d bytes were stored after the node had stopped: %+v", stored, i)
		}
		if _, err := r.Commit(t.Context(), "one"); err != nil {
			t.Fatal(err)
		}
		got, want := tree(t, restored(t, r, "one")), tree(t, dir)
		for p := range want {
			if changed := got[p] != want[p]; changed != (p == "blocks/blocks.log") {
				t.Errorf("%s: %+v, want %+v", p, got[p], want[p])
			}
		}
		sweep(t, r, backup.Keep{Keep: []string{"one"}})
		clean(t, s, i)
	}
}

// TestChangedWhileRead: no manifest is made of a file that somebody writes to.
func TestChangedWhileRead(t *testing.T) {
	for what, change := range map[string]func(t *testing.T, path string){
		"shrunk": func(t *testing.T, p string) {
			if err := os.Truncate(p, 3<<20); err != nil {
				t.Error(err)
			}
		},
		"grown":   func(t *testing.T, p string) { appendTo(t, p, []byte("more")) },
		"written": func(t *testing.T, p string) { overwrite(t, p, 10, []byte("x")) },
	} {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			write(t, filepath.Join(dir, "blocks/blocks.log"), noise(1, 40<<20))
			s := &backuptest.Memory{}
			r := open(t, s, backup.Options{Create: true, PackBytes: 1 << 20})
			var once sync.Once // packs are put side by side
			s.Hook(func(operation, _ string) error {
				if operation == "put" {
					once.Do(func() { change(t, filepath.Join(dir, "blocks/blocks.log")) })
				}
				return nil
			})
			if _, err := r.Backup(t.Context(), "one", backup.Source{Dir: dir, Meta: meta("a")}, nil); !errors.Is(err, backup.ErrChanged) {
				t.Error(err)
			}
			if slices.ContainsFunc(s.Names(), func(n string) bool { return strings.HasPrefix(n, "pending/") }) {
				t.Error("it is pending")
			}
			s.Hook(nil)
			done(t, r, "one", backup.Source{Dir: dir, Meta: meta("a")})
			equal(t, tree(t, dir), restored(t, r, "one"))
		})
	}
}

// TestWhatIsLeftOut looks at what is never stored, and at links.
func TestWhatIsLeftOut(t *testing.T) {
	dir, far := t.TempDir(), t.TempDir()
	at := func(p string) string { return filepath.Join(dir, p) }
	write(t, at("blocks/blocks.index"), []byte("index"))
	write(t, at("finalizers/safety.dat"), []byte("secret"))
	write(t, at("deep/finalizers/other"), []byte("secret"))
	write(t, at("deep/safety.dat"), []byte("secret"))
	write(t, at("deep/LOCK"), nil)
	write(t, at("deep/x.tmp"), nil)
	write(t, at("snapshots/.incomplete-1.bin"), nil)
	write(t, at(backup.Marker), nil)
	write(t, filepath.Join(far, "history/trace_history.log"), []byte("far away"))
	for link, to := range map[string]string{
		"state-history": filepath.Join(far, "history"),
		"votes":         at("finalizers"),
		"votes.dat":     at("deep/safety.dat"),
		"nowhere":       at("not there"),
		"deep/up":       dir,
	} {
		if err := os.Symlink(to, at(link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(at("deep/fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir) // a socket's path must be short
	l, err := net.Listen("unix", "deep/nodeos")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	r := open(t, &backuptest.Memory{}, backup.Options{Create: true})
	done(t, r, "one", backup.Source{Dir: dir, Meta: meta("a"), Files: []string{".", "finalizers"}})
	var got []string
	to := restored(t, r, "one")
	for p, f := range tree(t, to) {
		if f.Mode.IsRegular() {
			got = append(got, p)
		} else if !f.Mode.IsDir() {
			t.Errorf("%s: %+v", p, f)
		}
	}
	slices.Sort(got)
	if want := []string{"blocks/blocks.index", "state-history/trace_history.log"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if _, err := os.Lstat(filepath.Join(to, "finalizers")); err == nil {
		t.Error("finalizers came back")
	}
	for _, src := range []backup.Source{
		{Dir: at("nowhere")}, {Dir: at("blocks/blocks.index")}, {Dir: dir, Files: []string{"blocks/other"}}, {Dir: dir, Files: []string{"../x"}},
		{Dir: dir, Files: []string{"deep"}}, {Dir: dir, Except: []string{"/"}}, {Dir: at("finalizers")},
	} {
		if _, err := r.Backup(t.Context(), "none", src, nil); !errors.Is(err, backup.ErrSource) {
			t.Errorf("%+v: %v", src, err)
		}
	}
	done(t, r, "some", backup.Source{Dir: dir, Meta: meta("a"), Files: []string{"blocks"}, Except: []string{"blocks/*.log"}})
	if all := tree(t, restored(t, r, "some")); len(all) != 2 {
		t.Errorf("%v", all)
	}
}

// TestPasses: what a check holds in memory is bounded, and it finds the same.
func TestPasses(t *testing.T) {
	s := &backuptest.Memory{}
	r := open(t, s, backup.Options{Create: true, PackBytes: 200 << 10})
	dir := node(t, 1)
	done(t, r, "one", backup.Source{Dir: dir, Meta: meta("a")})
	r.SetPass(3)
	if err := r.Verify(t.Context(), "one", nil); err != nil {
		t.Error(err)
	}
	equal(t, tree(t, dir), restored(t, r, "one"))
	for _, name := range s.Names() {
		if strings.HasPrefix(name, "packs/") {
			c := s.Clone()
			c.Set(name, nil)
			r := open(t, c, backup.Options{})
			r.SetPass(3)
			var damage *backup.Damage
			if err := r.Verify(t.Context(), "one", nil); !errors.As(err, &damage) || !slices.Equal(damage.Objects, []string{name}) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// TestProgress rises to 100.
func TestProgress(t *testing.T) {
	s := &backuptest.Memory{}
	r := open(t, s, backup.Options{Create: true, PackBytes: 100 << 10})
	var got []backup.Progress
	say := func(p backup.Progress) { got = append(got, p) }
	check := func(what string) {
		t.Helper()
		for i, p := range got {
			if p.Percent < 0 || p.Percent > 100 || i > 0 && p.Percent < got[i-1].Percent || p.Done > p.Total && p.Total > 0 || p.Text == "" {
				t.Errorf("%s: %+v", what, got)
				break
			}
		}
		if len(got) < 2 || got[len(got)-1].Percent != 100 {
			t.Errorf("%s: %+v", what, got)
		}
		got = nil
	}
	if _, err := r.Backup(t.Context(), "one", backup.Source{Dir: node(t, 1), Meta: meta("a")}, say); err != nil {
		t.Fatal(err)
	}
	check("backup")
	if err := r.Readback(t.Context(), "one", say); err != nil {
		t.Fatal(err)
	}
	check("readback")
	if _, err := r.Commit(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
	if err := r.Verify(t.Context(), "one", say); err != nil {
		t.Fatal(err)
	}
	check("verify")
	if _, err := r.Restore(t.Context(), "one", filepath.Join(t.TempDir(), "to"), say); err != nil {
		t.Fatal(err)
	}
	check("restore")
	if _, err := r.Sweep(t.Context(), backup.Keep{}, say); err != nil {
		t.Fatal(err)
	}
	check("sweep")
	if _, err := r.Backup(t.Context(), "one", backup.Source{Dir: "/nowhere"}, say); err != nil {
		t.Error("it was committed: ", err)
	}
	check("again")
	if testing.Verbose() {
		fmt.Fprintln(os.Stderr, s.Counts())
	}
}

package watch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// never is as often as the tests of what the system tells look by themselves.
const never = 24 * time.Hour

// watched is a watch that rests on the system alone, after its first message.
type watched struct {
	testing.TB
	told    *fsnotify.Watcher
	changes <-chan []string
}

func watching(t testing.TB, paths ...string) watched {
	t.Helper()
	told, err := fsnotify.NewWatcher()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	w := watched{t, told, start(ctx, slog.New(slog.DiscardHandler), told, never, paths)}
	t.Cleanup(func() {
		cancel()
		for range w.changes { // until it is closed
		}
	})
	w.want("the first message", paths...)
	return w
}

// want waits for the next message.
func (w watched) want(what string, paths ...string) {
	w.Helper()
	select {
	case got := <-w.changes:
		if !slices.Equal(got, paths) {
			w.Fatalf("%s: %q changed, want %q", what, got, paths)
		}
	case <-time.After(20 * time.Second):
		w.Fatalf("%s: nothing was told", what)
	}
}

func put(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func do(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func TestWrittenInPlace(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.toml")
	put(t, file, "one")
	w := watching(t, file)
	for _, text := range []string{"two", "three", ""} {
		put(t, file, text)
		w.want("written "+text, file)
	}
	f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
	do(t, err)
	_, err = f.WriteString("more")
	do(t, err, f.Close())
	w.want("appended", file)
}

// TestReplacedByEditors: the ways of vim (the old one is moved away), of emacs and most others (a new one is renamed over it),
// and of ln and mv.
func TestReplacedByEditors(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "config.toml")
	put(t, file, "one")
	w := watching(t, file)
	for i := range 3 { // the watch must survive the first replacement
		put(t, file+".tmp", fmt.Sprintf("renamed %d", i))
		do(t, os.Rename(file+".tmp", file))
		w.want("renamed over it", file)

		do(t, os.Rename(file, file+"~"))
		put(t, file, fmt.Sprintf("vim %d", i))
		do(t, os.Remove(file+"~"))
		for said := ""; said != "vim"; { // between the two it was not there, which may be told by itself
			w.want("moved away and written anew", file)
			b, _ := os.ReadFile(file)
			said, _, _ = strings.Cut(string(b), " ")
		}
	}
}

// TestConfigMap turns the link as a kubelet does: the files are links to ..data/NAME, and ..data to a folder that is made anew.
func TestConfigMap(t *testing.T) {
	dir := t.TempDir()
	turn := func(i int, text string) {
		t.Helper()
		folder := fmt.Sprintf("..2026_%d", i)
		do(t, os.Mkdir(filepath.Join(dir, folder), 0o700))
		put(t, filepath.Join(dir, folder, "nodeos.ini"), text)
		before, _ := os.Readlink(filepath.Join(dir, "..data"))
		do(t, os.Symlink(folder, filepath.Join(dir, "..data_tmp")), os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
		if before != "" {
			do(t, os.RemoveAll(filepath.Join(dir, before)))
		}
	}
	turn(0, "zero")
	file := filepath.Join(dir, "nodeos.ini")
	do(t, os.Symlink(filepath.Join("..data", "nodeos.ini"), file))
	w := watching(t, file)
	for i := range 3 {
		turn(i+1, fmt.Sprintf("turn %d", i))
		w.want("turned", file)
	}
	put(t, filepath.Join(dir, "..2026_3", "nodeos.ini"), "in place, where the links lead now")
	w.want("in the folder that the links lead to", file)
	turn(4, "in place, where the links lead now") // another folder, the same bytes
	put(t, filepath.Join(dir, "..2026_4", "nodeos.ini"), "again")
	w.want("after a turn that changed nothing", file)
}

func TestRemovedAndBack(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	do(t, os.MkdirAll(dir, 0o700))
	file := filepath.Join(dir, "config.toml")
	put(t, file, "one")
	w := watching(t, file)
	for i := range 3 {
		do(t, os.Remove(file))
		w.want("removed", file)
		put(t, file, fmt.Sprintf("back %d", i))
		w.want("back", file)

		do(t, os.RemoveAll(filepath.Dir(dir)))
		w.want("removed with its folders", file)
		do(t, os.MkdirAll(dir, 0o700))
		put(t, file, "back with its folders")
		w.want("back with its folders", file)

		do(t, os.Rename(dir, dir+".old"))
		w.want("moved away with its folder", file)
		do(t, os.Rename(dir+".old", dir))
		w.want("moved back with its folder", file)
	}
}

// TestNotThereAtFirst: what comes only after the watch began, in a folder that comes then, too.
func TestNotThereAtFirst(t *testing.T) {
	root := t.TempDir()
	file := filepath.Join(root, "new", "folder", "x")
	link := filepath.Join(root, "link")
	w := watching(t, file, link)
	do(t, os.MkdirAll(filepath.Dir(file), 0o700))
	put(t, file, "x")
	w.want("a new file", file)
	do(t, os.Symlink(file, link))
	w.want("a link to it", link)
	put(t, file, "y")
	w.want("both lead to it", file, link)
}

// TestOnlyWhatChanged: neighbours, the same bytes, other rights and times are no change.
func TestOnlyWhatChanged(t *testing.T) {
	dir := t.TempDir()
	file, other := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	put(t, file, "one")
	put(t, other, "one")
	w := watching(t, file, other)
	put(t, file+".tmp", "one")
	do(t, os.Rename(file+".tmp", file), os.Chmod(file, 0o640), os.Chtimes(file, time.Now(), time.Now()))
	put(t, filepath.Join(dir, "c"), "a neighbour")
	put(t, other+".tmp", "two")
	do(t, os.Rename(other+".tmp", other))
	w.want("one of two", other) // the first message that comes, and it does not name the other one
	if os.Geteuid() != 0 {
		do(t, os.Chmod(file, 0))
		w.want("not to be read any more", file)
		do(t, os.Chmod(file, 0o600))
		w.want("to be read again", file)
	}
}

// TestNoFiles: a folder, a pipe, a ring of links are not read, and can become files.
func TestNoFiles(t *testing.T) {
	dir := t.TempDir()
	folder, pipe, ring := filepath.Join(dir, "folder"), filepath.Join(dir, "pipe"), filepath.Join(dir, "ring")
	do(t, os.Mkdir(folder, 0o700), syscall.Mkfifo(pipe, 0o600), os.Symlink("ring2", ring), os.Symlink("ring", ring+"2"))
	w := watching(t, folder, pipe, ring)
	for _, path := range []string{pipe, ring} {
		put(t, path+".new", "x")
		do(t, os.Rename(path+".new", path))
		w.want("a file instead", path)
	}
	do(t, os.Remove(folder))
	w.want("no folder any more", folder)
	put(t, folder, "x")
	w.want("a file instead", folder)
}

// lookedAt runs f in virtual time beside a watch of which the system tells nothing, after its first message.
func lookedAt(t *testing.T, paths []string, f func(t *testing.T, changes <-chan []string)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		changes := start(ctx, slog.New(slog.DiscardHandler), nil, lookEvery, paths)
		if got := <-changes; !slices.Equal(got, paths) {
			t.Errorf("the first message: %q", got)
		}
		f(t, changes)
		cancel()
		if got, open := <-changes; open {
			t.Errorf("one message more: %q", got)
		}
	})
}

// TestWhereTheSystemTellsNothing: the slow look finds every change within its time, and nothing that is none.
func TestWhereTheSystemTellsNothing(t *testing.T) {
	dir := t.TempDir()
	file, other := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	put(t, file, "one")
	put(t, other, "one")
	lookedAt(t, []string{file, other}, func(t *testing.T, changes <-chan []string) {
		for _, change := range []func() error{
			func() error { return os.WriteFile(file, []byte("two"), 0o600) },
			func() error { return os.Remove(file) },
			func() error { return os.Symlink("b", file) },
		} {
			put(t, other, "one") // the same bytes
			do(t, change())
			since := time.Now()
			if got := <-changes; !slices.Equal(got, []string{file}) || time.Since(since) > lookEvery+time.Second {
				t.Errorf("%q after %v", got, time.Since(since))
			}
		}
		put(t, other, "two")
		if got := <-changes; !slices.Equal(got, []string{file, other}) {
			t.Errorf("the file and the link to it: %q", got)
		}
	})
}

// TestSlowReader gets one message for all that happened since the last one.
func TestSlowReader(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	lookedAt(t, []string{a, b}, func(t *testing.T, changes <-chan []string) {
		for i := range 5 {
			put(t, []string{a, b}[i%2], fmt.Sprint(i))
			<-time.After(2 * lookEvery) // of virtual time: it has looked
		}
		if got := <-changes; !slices.Equal(got, []string{a, b}) {
			t.Errorf("%q", got)
		}
	})
}

// TestNoOtherFolder is watched than those that count now, and of theirs no other name.
func TestNoOtherFolder(t *testing.T) {
	root := t.TempDir()
	link := filepath.Join(root, "link")
	for i := range 3 {
		do(t, os.Mkdir(filepath.Join(root, fmt.Sprint(i)), 0o700))
		put(t, filepath.Join(root, fmt.Sprint(i), "f"), fmt.Sprint(i))
	}
	do(t, os.Symlink("0/f", link))
	w := watching(t, link)
	for i := range 3 {
		if i > 0 {
			do(t, os.Symlink(fmt.Sprintf("%d/f", i), link+".tmp"), os.Rename(link+".tmp", link))
			w.want("turned", link)
		}
		got := w.told.WatchList()
		slices.Sort(got)
		if want := []string{root, filepath.Join(root, fmt.Sprint(i))}; !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
	concerned := &watcher{names: []string{"/a/b", "/c"}}
	for event, want := range map[string]bool{"/a/b": true, "/a": true, "//c": true, "/a/bc": false, "/a/b/c": false, "/b": false} {
		if got := concerned.concerns(event); got != want {
			t.Errorf("%s: %v", event, got)
		}
	}
}

func TestTrail(t *testing.T) {
	root, err := filepath.EvalSymlinks(t.TempDir())
	do(t, err)
	do(t, os.MkdirAll(filepath.Join(root, "real", "deep"), 0o700), os.Mkdir(filepath.Join(root, "d"), 0o700))
	put(t, filepath.Join(root, "real", "deep", "f"), "")
	for name, to := range map[string]string{"d/up": "../real/./deep/f", "abs": filepath.Join(root, "real"), "over": "abs/deep", "gone": "nowhere/x", "a": "b", "b": "a"} {
		do(t, os.Symlink(to, filepath.Join(root, name)))
	}
	t.Chdir(root)
	for path, names := range map[string]string{
		"real/deep/f":      "real/deep/f",
		"./d/../d/up":      "d/up real/deep/f",
		"over/f":           "abs over real/deep/f",
		"over/../deep/f":   "abs over real/deep/f", // not deep/f: the kernel follows the link first
		"gone":             "gone nowhere",
		"real/deep/f/more": "real/deep/f/more",
		"no/such/thing":    "no",
		"a":                "a b",
	} {
		var want []string
		for n := range strings.FieldsSeq(names) {
			want = append(want, filepath.Join(root, n))
		}
		if got := trails([]string{path}); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
		if got := trails([]string{root + "/" + path}); !slices.Equal(got, want) {
			t.Errorf("%s from the root: %q, want %q", path, got, want)
		}
	}
}

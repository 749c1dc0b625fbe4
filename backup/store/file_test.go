package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// writeForever makes the test's program one that writes slowly into a store until it is killed.
func writeForever() bool {
	dir := os.Getenv("ROUNDTABLE_TEST_WRITE")
	if dir == "" {
		return false
	}
	b, err := Open(context.Background(), "file://"+dir, Options{Limits: NewLimits(64<<10, 0)})
	if err == nil {
		err = b.Put(context.Background(), "packs/a/1", make([]byte, 64<<20))
	}
	fmt.Fprintln(os.Stderr, err)
	return true
}

func TestFolderSweepsWhatTheDeadLeft(t *testing.T) {
	dir := t.TempDir()
	writer := exec.Command(os.Args[0])
	writer.Env = append(os.Environ(), "ROUNDTABLE_TEST_WRITE="+dir)
	if err := writer.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = writer.Process.Kill(); _ = writer.Wait() }()
	left := func() int {
		files, _ := filepath.Glob(filepath.Join(dir, unfinished, "*"))
		held := 0
		for _, f := range files {
			if info, err := os.Stat(f); err == nil && info.Size() > 0 {
				held++
			}
		}
		return held
	}
	for deadline := time.Now().Add(20 * time.Second); left() == 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the writer does not write")
		}
	}
	alive := open(t, "file://"+dir, now)
	if left() != 1 {
		t.Error("what a living one writes was swept")
	}
	if err := writer.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = writer.Wait()
	if n := left(); n != 1 {
		t.Fatalf("it left %d files", n)
	}
	for o, err := range alive.List(t.Context(), "") {
		t.Errorf("half an object is shown: %v %v", o, err)
	}
	open(t, "file://"+dir, now)
	if left() != 0 {
		t.Error("what a dead one left is there still")
	}
	if err := alive.Put(t.Context(), "packs/a/1", []byte("whole")); err != nil {
		t.Error(err)
	}
}

func TestFolderThatIsNotThere(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "mounted")
	b := open(t, "file://"+dir, now)
	check := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, NoBucket) || !strings.Contains(Hint(err), "create_dir") {
			t.Errorf("%s: %v (%s)", what, err, Hint(err))
		}
	}
	check("put", b.Put(t.Context(), "config", nil))
	_, err := b.Get(t.Context(), "config")
	check("get", err)
	check("delete", b.Delete(t.Context(), "config"))
	for _, err := range b.List(t.Context(), "packs/") {
		check("list", err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it was made: %v", err)
	}
	if err := open(t, "file://"+dir+"?create_dir=true", now).Check(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestCheckTidiesUp what another one left that could delete nothing, but not what one that runs has just written.
func TestCheckTidiesUp(t *testing.T) {
	dir := t.TempDir()
	b := open(t, "file://"+dir, now)
	for name, age := range map[string]time.Duration{"check/old": 2 * checkOver, "check/young": 0, "packs/old": 2 * checkOver} {
		at := time.Now().Add(-age)
		if err := errors.Join(b.Put(t.Context(), name, []byte("x")), os.Chtimes(filepath.Join(dir, name), at, at)); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Check(t.Context()); err != nil {
		t.Error(err)
	}
	var left []string
	for o, err := range b.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		left = append(left, o.Name)
	}
	if slices.Sort(left); !slices.Equal(left, []string{"check/young", "packs/old"}) {
		t.Errorf("left: %q", left)
	}
}

func TestFolderIsForItsOwnerAlone(t *testing.T) {
	dir := t.TempDir()
	if err := open(t, "file://"+dir, now).Put(t.Context(), "packs/a/1", []byte("x")); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]fs.FileMode{"packs": 0o700, "packs/a": 0o700, "packs/a/1": 0o600} {
		if info, err := os.Stat(filepath.Join(dir, path)); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v %v", path, info.Mode(), err)
		}
	}
}

func TestFolderGoesWithItsLastObject(t *testing.T) {
	b := open(t, "file://"+t.TempDir(), now)
	for _, name := range []string{"packs/a/1", "packs/a/2", "packs/a"} {
		if err := b.Put(t.Context(), name, []byte(name)); err != nil && name != "packs/a" {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"packs/a/1", "packs/a/2"} {
		if err := b.Delete(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Put(t.Context(), "packs/a", []byte("the folder's name")); err != nil { // nothing is left of the folder
		t.Error(err)
	}
}

// TestFolderOfAFileSystem has things in it that are none of ours.
func TestFolderOfAFileSystem(t *testing.T) {
	dir := t.TempDir()
	for _, sub := range []string{"lost+found/x", ".snapshot/packs/a"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for path, err := range map[string]error{
		"link":   os.Symlink("/etc/passwd", filepath.Join(dir, "link")),
		"hidden": os.WriteFile(filepath.Join(dir, ".snapshot/packs/a/1"), []byte("x"), 0o600),
		"pipe":   syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600),
	} {
		if err != nil {
			t.Fatal(path, err)
		}
	}
	for o, err := range open(t, "file://"+dir, now).List(t.Context(), "") {
		t.Errorf("%v %v", o, err)
	}
}

// small mounts a file system that is soon full.
func small(t *testing.T, size string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root mounts a small file system")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("no small file system can be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestFolderFull(t *testing.T) {
	dir := small(t, "1m")
	b := open(t, "file://"+dir, Options{}) // with all its patience: it must not use it
	start := time.Now()
	err := b.Put(t.Context(), "packs/a/1", make([]byte, 4<<20))
	if !errors.Is(err, NoSpace) || Hint(err) == "" {
		t.Errorf("%v (%s)", err, Hint(err))
	}
	if time.Since(start) > 10*time.Second {
		t.Error("a full disk was tried again")
	}
	if err := b.Put(t.Context(), "packs/a/1", make([]byte, 512<<10)); err != nil { // nothing was left of the first
		t.Error(err)
	}
}

func TestFolderReadOnly(t *testing.T) {
	dir := small(t, "1m")
	b := open(t, "file://"+dir, now)
	if err := b.Put(t.Context(), "config", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{
		"put": b.Put(t.Context(), "other", nil), "delete": b.Delete(t.Context(), "config"), "check": b.Check(t.Context()),
	} {
		if !errors.Is(err, ReadOnly) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if got, err := b.Get(t.Context(), "config"); err != nil || !bytes.Equal(got, []byte("x")) {
		t.Errorf("%q %v", got, err)
	}
}

func TestFolderOfSomebodyElse(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root has others' folders")
	}
	dir := t.TempDir()
	if err := os.Chown(dir, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	_, err := Open(t.Context(), "file://"+filepath.Join(dir, "new")+"?create_dir=true", now)
	if !errors.Is(err, Permission) || Hint(err) == "" {
		t.Errorf("%v (%s)", err, Hint(err))
	}
}

// TestNameWithoutRenames is what happens on a file system that knows no renames without replacing.
func TestNameWithoutRenames(t *testing.T) {
	for _, f := range []func(string, string) error{name, link} {
		dir := t.TempDir()
		at := func(n string) string { return filepath.Join(dir, n) }
		for _, n := range []string{"a", "b"} {
			if err := os.WriteFile(at(n), []byte(n), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := f(at("a"), at("b")); !errors.Is(err, fs.ErrExist) {
			t.Error(err)
		}
		if err := f(at("a"), at("c")); err != nil {
			t.Error(err)
		}
		if got, _ := os.ReadFile(at("b")); string(got) != "b" {
			t.Errorf("replaced: %q", got)
		}
		if _, err := os.Stat(at("a")); !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
	}
}

func TestFolderDiagnosis(t *testing.T) {
	f := &folder{root: "/x"}
	for err, want := range map[error]verdict{
		syscall.ENOSPC: {code: NoSpace}, syscall.EDQUOT: {code: NoSpace}, syscall.EROFS: {code: ReadOnly}, syscall.EACCES: {code: Permission},
		syscall.EPERM: {code: Permission}, syscall.ESTALE: {code: Lost, temporary: true}, syscall.EIO: {code: Server}, syscall.ELOOP: {code: Refused},
		fs.ErrNotExist: {code: NotFound}, fs.ErrExist: {code: Exists},
	} {
		got := f.diagnose(&fs.PathError{Op: "open", Path: "/x/y", Err: err})
		if got.code != want.code || got.temporary != want.temporary {
			t.Errorf("%v is %+v, want %+v", err, got, want)
		}
	}
}

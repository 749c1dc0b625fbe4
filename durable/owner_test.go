package durable

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const somebody = 65534

// TestRootKeepsOut: root writes nothing where somebody else could make it write, or give away, something else.
func TestRootKeepsOut(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root writes into others' folders")
	}
	top := t.TempDir()
	in := func(name string) string { return filepath.Join(top, name) }
	must := func(errs ...error) {
		t.Helper()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
	}
	must(os.MkdirAll(in("theirs/roots"), 0o700), os.Mkdir(in("roots"), 0o700), os.Mkdir(in("open"), 0o700), os.Mkdir(in("sticky"), 0o700))
	must(os.Symlink(in("roots"), in("theirs/away")), os.Symlink("theirs/away", in("chain")), os.Symlink("../roots", in("roots/same")))
	must(os.Symlink("loop", in("loop")), os.Symlink("roots", in("handed")), os.Lchown(in("handed"), somebody, somebody))
	must(os.Chmod(in("open"), 0o777), os.Chmod(in("sticky"), 0o777|os.ModeSticky), os.Lchown(in("theirs"), somebody, somebody))

	for _, path := range []string{
		"theirs/cert.pem", "theirs/new/deep/cert.pem", // his folder
		"theirs/roots/cert.pem",  // he may put another folder in its place
		"theirs/away/cert.pem",   // his link
		"chain/cert.pem",         // our link to his
		"handed/cert.pem",        // his link in our folder
		"open/cert.pem",          // everybody's
		"roots/../open/cert.pem", // the same
		"theirs/../theirs/cert.pem",
	} {
		mkdir := func(path string, _ []byte) error { return MkdirAll(filepath.Dir(path)) }
		for name, do := range map[string]func(string, []byte) error{"Write": Write, "Create": Create, "MkdirAll": mkdir} {
			if err := do(in(path), []byte("x")); !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), "hint") {
				t.Errorf("%s %s: %v", name, path, err)
			}
		}
	}
	if err := Write(in("loop/cert.pem"), nil); err == nil {
		t.Error("a link to itself was followed")
	}
	for dir, want := range map[string]int{"theirs": 2, "theirs/roots": 0, "roots": 1, "open": 0} { // as before
		if list, err := os.ReadDir(in(dir)); err != nil || len(list) != want {
			t.Errorf("%s holds %v %v", dir, list, err)
		}
	}

	for _, path := range []string{"roots/cert.pem", "roots/same/new/cert.pem", "sticky/cert.pem", "sticky/new/cert.pem"} {
		if err := Write(in(path), []byte("x")); err != nil {
			t.Error(err)
		}
	}
}

package security

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestLayout: two homes of one cluster, laid out twice; the second time changes nothing.
func TestLayout(t *testing.T) {
	now := time.Now()
	f1, f2 := InHome(t.TempDir()), InHome(t.TempDir())
	lay := func() {
		t.Helper()
		ca, gossip, err := Found(f1, "prod", now)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(ca.Admit(f1, "m1", []string{"h1"}, gossip, now), ca.Admit(f2, "m2", nil, gossip, now)); err != nil {
			t.Fatal(err)
		}
	}
	lay()
	before := contents(t, f1, f2)
	if len(before) != 9 { // five of the founder, four of the other
		t.Errorf("%d files", len(before))
	}
	if before[f1.GossipKey] != before[f2.GossipKey] || before[f1.CA] != before[f2.CA] || before[f1.Key] == before[f2.Key] {
		t.Error("what is everybody's and what is one member's own are mixed up")
	}
	lay()
	for file, text := range contents(t, f1, f2) {
		if before[file] != text {
			t.Errorf("%s was replaced", file)
		}
	}
	for id, f := range map[string]Files{"m1": f1, "m2": f2} {
		if _, err := Open(Config{Files: f, Member: id}); err != nil {
			t.Error(err)
		}
	}
}

func contents(t *testing.T, list ...Files) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, f := range list {
		err := filepath.WalkDir(filepath.Dir(f.Key), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			info, err := d.Info()
			if err == nil && info.Mode().Perm() != 0o600 {
				t.Errorf("%s has mode %o", path, info.Mode().Perm())
			}
			all[path] = string(must(os.ReadFile(path))(t))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// TestInterruptedLayout: whichever of the files were written before, the next try completes them.
func TestInterruptedLayout(t *testing.T) {
	now := time.Now()
	whole := InHome(t.TempDir())
	ca, gossip, err := Found(whole, "prod", now)
	if err != nil {
		t.Fatal(err)
	}
	if err := ca.Admit(whole, "m1", nil, gossip, now); err != nil {
		t.Fatal(err)
	}
	order := []func(Files) string{ // as they are written
		func(f Files) string { return f.CAKey }, func(f Files) string { return f.CA }, func(f Files) string { return f.GossipKey },
		func(f Files) string { return f.Key }, func(f Files) string { return f.Cert },
	}
	for n := range len(order) + 1 {
		f := InHome(t.TempDir())
		if err := os.MkdirAll(filepath.Dir(f.Key), 0o700); err != nil {
			t.Fatal(err)
		}
		for _, name := range order[:n] {
			copyFile(t, name(whole), name(f))
		}
		ca, gossip, err := Found(f, "prod", now)
		if err != nil {
			t.Fatalf("after %d files: %v", n, err)
		}
		if err := ca.Admit(f, "m1", nil, gossip, now); err != nil {
			t.Fatalf("after %d files: %v", n, err)
		}
		for _, name := range order[:n] {
			if string(must(os.ReadFile(name(f)))(t)) != string(must(os.ReadFile(name(whole)))(t)) {
				t.Errorf("after %d files: %s was replaced", n, name(f))
			}
		}
		if _, err := Open(Config{Files: f, Member: "m1"}); err != nil {
			t.Errorf("after %d files: %v", n, err)
		}
	}
}

// TestLayoutRefuses what does not fit, and changes none of it.
func TestLayoutRefuses(t *testing.T) {
	now := time.Now()
	foreign := must(NewCA("prod", now))(t)
	for name, spoil := range map[string]func(f Files){
		"a CA without its key": func(f Files) { write(t, f.CA, foreign.Cert()) },
		"another CA's key": func(f Files) {
			write(t, f.CA, must(NewCA("prod", now))(t).Cert())
			write(t, f.CAKey, must(foreign.Key())(t))
		},
		"no key in the file":    func(f Files) { write(t, f.CAKey, []byte("x")) },
		"a short gossip key":    func(f Files) { write(t, f.GossipKey, []byte("x")) },
		"another certificate":   func(f Files) { issue(t, f, foreign, "m1", MemberLife); remove(t, f.CA) },
		"another member's one":  func(f Files) { issue(t, f, must(founded(t, f))(t), "m2", MemberLife) },
		"an expired one":        func(f Files) { issue(t, f, must(founded(t, f))(t), "m1", -time.Minute) },
		"a key without a block": func(f Files) { write(t, f.Key, []byte("x")) },
	} {
		f := InHome(t.TempDir())
		if err := os.MkdirAll(filepath.Dir(f.Key), 0o700); err != nil {
			t.Fatal(err)
		}
		spoil(f)
		before := contents(t, f)
		ca, gossip, err := Found(f, "prod", now)
		if err == nil {
			err = ca.Admit(f, "m1", nil, gossip, now)
		}
		if err == nil {
			t.Errorf("%s: no error", name)
		}
		for file, text := range before {
			if string(must(os.ReadFile(file))(t)) != text {
				t.Errorf("%s: %s was replaced", name, file)
			}
		}
	}
}

// founded is Found for its CA alone.
func founded(t *testing.T, f Files) (*CA, error) {
	t.Helper()
	ca, _, err := Found(f, "prod", time.Now())
	return ca, err
}

func remove(t *testing.T, file string) {
	t.Helper()
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
}

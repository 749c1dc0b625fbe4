package versions

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestEnsure(t *testing.T) {
	h := home(t)
	want := []string{"current", "versions", "versions/genesis", "versions/genesis/run.toml"}
	for range 2 {
		if got := names(t, h.dir); !slices.Equal(got, want) {
			t.Errorf("%q", got)
		}
		if to, err := os.Readlink(h.link()); err != nil || to != "versions/genesis" {
			t.Errorf("%q %v", to, err)
		}
		v, err := h.Current()
		if err != nil || v.Tag != Genesis || v.Binary != "" || v.Args != nil || v.Sidecars != nil || v.Dir != h.folder(Genesis) {
			t.Errorf("%+v %v", v, err)
		}
		if err := h.Ensure(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestEnsureRepairs what is missing, and leaves alone what somebody put there.
func TestEnsureRepairs(t *testing.T) {
	h := home(t)
	version(t, h, "v1.2.2")
	if err := h.Switch("v1.2.2"); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(h.folder(Genesis), runName), []byte("# mine\n[node]\nargs = [\"--x\"]\n"), 0o600)
	write(t, filepath.Join(h.folder(Genesis), ".run.toml.123"), nil, 0o600)
	write(t, filepath.Join(h.folder(stagingPrefix+"v1.2.3"), "half"), nil, 0o600)
	write(t, filepath.Join(h.folder(removedPrefix+"v1.2.3"), "half"), nil, 0o600)
	write(t, filepath.Join(h.downloads("v1.2.4"), partName), nil, 0o600)
	if err := os.Symlink("versions/v1.2.3", filepath.Join(h.dir, freshLink)); err != nil {
		t.Fatal(err)
	}
	if err := h.Ensure(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(h.downloads("v1.2.4"), partName)); err != nil {
		t.Errorf("a download is kept: %v", err)
	}
	_ = os.RemoveAll(h.downloads("v1.2.4"))
	noRest(t, h)
	if v, err := h.Current(); err != nil || v.Tag != "v1.2.2" {
		t.Errorf("%+v %v", v, err)
	}
	if v, err := h.Load(Genesis); err != nil || len(v.Args) != 1 {
		t.Errorf("genesis was changed: %+v %v", v, err)
	}
	if err := os.RemoveAll(h.folder(Genesis)); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(h.link()); err != nil {
		t.Fatal(err)
	}
	if err := h.Ensure(); err != nil {
		t.Fatal(err)
	}
	if v, err := h.Current(); err != nil || v.Tag != Genesis || v.Args != nil {
		t.Errorf("%+v %v", v, err)
	}
}

// TestBrokenLink: Ensure leaves it, Current says what is wrong, Switch puts it right where it can.
func TestBrokenLink(t *testing.T) {
	link := func(to string) func(*Home) error { return func(h *Home) error { return os.Symlink(to, h.link()) } }
	cases := map[string]struct {
		make    func(h *Home) error
		message string
		stays   bool
	}{
		"dangling":       {link("versions/v9.9.9"), "which is not there", false},
		"out of it":      {link("../elsewhere"), "none of the versions", false},
		"too deep":       {link("versions/genesis/x"), "none of the versions", false},
		"the folder":     {link("versions"), "none of the versions", false},
		"up":             {link("versions/.."), "none of the versions", false},
		"absolute":       {link("/bin"), "none of the versions", false},
		"a file":         {func(h *Home) error { return os.WriteFile(h.link(), nil, 0o600) }, "not a symbolic link", false},
		"a folder":       {func(h *Home) error { return os.Mkdir(h.link(), 0o700) }, "not a symbolic link", true},
		"a file's inner": {link("versions/genesis/run.toml/"), "none of the versions", false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			h := home(t)
			version(t, h, "v1.2.2")
			if err := os.Remove(h.link()); err != nil {
				t.Fatal(err)
			}
			if err := tc.make(h); err != nil {
				t.Fatal(err)
			}
			if err := h.Ensure(); err != nil {
				t.Fatal(err)
			}
			_, err := h.Current()
			wantKind(t, err, ErrCurrent, tc.message)
			wantKind(t, h.Remove("v1.2.2"), ErrInUse)
			err = h.Switch("v1.2.2")
			if tc.stays {
				wantKind(t, err, ErrCurrent, "not a symbolic link", "move it away")
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if v, err := h.Current(); err != nil || v.Tag != "v1.2.2" {
				t.Errorf("%+v %v", v, err)
			}
			noRest(t, h)
		})
	}
	t.Run("none", func(t *testing.T) {
		_, err := bareHome(t, t.TempDir()).Current()
		wantKind(t, err, ErrCurrent, "there is no", "ln -sfn versions/")
	})
	t.Run("broken run.toml", func(t *testing.T) {
		h := home(t)
		write(t, filepath.Join(h.folder(Genesis), runName), []byte("x"), 0o600)
		if err := h.Ensure(); err != nil {
			t.Fatal(err)
		}
		_, err := h.Current()
		wantKind(t, err, ErrRunFile, "run.toml:1")
	})
	t.Run("an absolute one is as good, and so is a home behind a link", func(t *testing.T) {
		h := home(t)
		if err := os.Remove(h.link()); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(h.folder(Genesis), h.link()); err != nil {
			t.Fatal(err)
		}
		other := filepath.Join(t.TempDir(), "home")
		if err := os.Symlink(h.dir, other); err != nil {
			t.Fatal(err)
		}
		if v, err := bareHome(t, other).Current(); err != nil || v.Tag != Genesis {
			t.Errorf("%+v %v", v, err)
		}
	})
}

func TestSwitch(t *testing.T) {
	h := home(t)
	version(t, h, "v1.2.2")
	for _, tag := range []string{"v1.2.2", "v1.2.2", Genesis, "v1.2.2"} {
		if err := h.Switch(tag); err != nil {
			t.Fatal(err)
		}
		if v, err := h.Current(); err != nil || v.Tag != tag {
			t.Errorf("%+v %v", v, err)
		}
	}
	wantKind(t, h.Switch("v1.2.3"), ErrUnknown, "v1.2.3", "ls ")
	wantKind(t, h.Switch("../x"), ErrTag)
	write(t, filepath.Join(h.folder("v1.2.4"), runName), []byte("[node]\nbinary = \"gone\"\n"), 0o600)
	wantKind(t, h.Switch("v1.2.4"), ErrRunFile, "gone")
	if v, err := h.Current(); err != nil || v.Tag != "v1.2.2" {
		t.Errorf("a switch that failed changed something: %+v %v", v, err)
	}
	moved := filepath.Join(t.TempDir(), "moved")
	if err := os.Rename(h.dir, moved); err != nil {
		t.Fatal(err)
	}
	if v, err := bareHome(t, moved).Current(); err != nil || v.Binary != filepath.Join(moved, "versions/v1.2.2/nodeos") {
		t.Errorf("a home that was moved: %+v %v", v, err)
	}
}

func TestRemoveAndList(t *testing.T) {
	h := home(t)
	version(t, h, "v1.2.2")
	version(t, h, "a")
	write(t, filepath.Join(h.folder("b"), "file"), nil, 0o600)
	write(t, h.folder("c"), nil, 0o600)
	write(t, filepath.Join(h.folder(stagingPrefix+"d"), "file"), nil, 0o600)
	if err := h.Switch("v1.2.2"); err != nil {
		t.Fatal(err)
	}
	all, err := h.List()
	if err != nil {
		t.Fatal(err)
	}
	var tags []string
	for _, l := range all {
		tags = append(tags, l.Tag)
		if l.Current != (l.Tag == "v1.2.2") || (l.Err != nil) != (l.Tag == "b") {
			t.Errorf("%+v", l)
		}
	}
	if !slices.Equal(tags, []string{Genesis, "a", "b", "v1.2.2"}) {
		t.Errorf("%q", tags)
	}
	wantKind(t, h.Remove("v1.2.2"), ErrInUse, "is the current version")
	wantKind(t, h.Remove(Genesis), ErrInUse, "stays")
	wantKind(t, h.Remove("x"), ErrUnknown)
	wantKind(t, h.Remove(".."), ErrTag)
	for _, tag := range []string{"a", "b"} {
		if err := h.Remove(tag); err != nil {
			t.Fatal(err)
		}
		if _, err := h.Load(tag); !errors.Is(err, ErrUnknown) {
			t.Errorf("%s: %v", tag, err)
		}
	}
}

func TestCheckTag(t *testing.T) {
	for _, tag := range []string{"v1.2.2", "genesis", "1", "v1.3.0-rc1", "v1.2.2+tuned", "leap_5"} {
		if err := CheckTag(tag); err != nil {
			t.Error(err)
		}
	}
	long := make([]byte, 65)
	for i := range long {
		long[i] = 'a'
	}
	for _, tag := range []string{"", ".", "..", ".x", "-x", "a/b", "a\\b", "a b", "a\n", "ü", "{tag}", string(long)} {
		wantKind(t, CheckTag(tag), ErrTag, "looks like")
	}
}

func TestSameVersion(t *testing.T) {
	cases := []struct {
		said, tag string
		want      bool
	}{
		{"v1.2.2", "v1.2.2", true},
		{"v1.2.2-04bdb089edc7e3c3f954e0aab4a7f3cb48635788", "v1.2.2", true},
		{"v1.2.2-04bdb089edc7e3c3f954e0aab4a7f3cb48635788\n", "1.2.2", true},
		{"1.2.2", "v1.2.2+tuned", true},
		{"v1.3.0-rc1-04bdb089", "v1.3.0-rc1", true},
		{"v1.3.0-rc1", "v1.3.0", false},
		{"v1.2.1", "v1.2.2", false},
		{"", "v1.2.2", false},
		{"v1.2.22", "v1.2.2", false},
	}
	for _, tc := range cases {
		if got := same(tc.said, tc.tag); got != tc.want {
			t.Errorf("%q for %q: %v", tc.said, tc.tag, got)
		}
	}
}

func TestOpenWithoutVersion(t *testing.T) {
	_, err := Open(Config{Dir: t.TempDir()})
	wantKind(t, err, ErrHome)
}

// TestLock: one at a time, a waiting one gives up with its context, and a folder that was removed in between does not count.
func TestLock(t *testing.T) {
	h := home(t)
	first, err := h.lockStage(t.Context(), "v1.2.2")
	if err != nil {
		t.Fatal(err)
	}
	if second, err := h.tryStage("v1.2.2"); second != nil || err != nil {
		t.Fatal("locked twice", err)
	}
	other, err := h.tryStage("v1.2.3")
	if other == nil || err != nil {
		t.Fatal("another tag is not locked", err)
	}
	other()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.lockStage(ctx, "v1.2.2"); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	first()
	second, err := h.tryStage("v1.2.2")
	if second == nil || err != nil {
		t.Fatal(err)
	}
	second()
	if left := names(t, filepath.Join(h.dir, downloadsName)); len(left) != 0 {
		t.Errorf("left: %q", left)
	}
}

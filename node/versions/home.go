package versions

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"roundtable/durable"
)

// The names in a home.
const (
	versionsName  = "versions"
	currentName   = "current"
	downloadsName = "downloads"

	stagingPrefix = ".staging-"    // versions/.staging-<tag>: not whole yet
	removedPrefix = ".removed-"    // versions/.removed-<tag>: not gone yet
	freshPrefix   = ".fresh-"      // versions/.fresh-<tag>: a link to a folder elsewhere, before it gets its name
	freshLink     = ".current.new" // the link before it gets its name
)

// genesisText is the run.toml of genesis.
const genesisText = `# The version that is there from the start. Without a binary of its own, it is what config.toml's node.path says.
# Every other version has a folder like this one, with its binaries: see docs/reference/versions.md.
name = "genesis"

# [node]
# binary = "nodeos"        # relative to this folder, or absolute
# args = []                # after those of config.toml
# config = "overlay.ini"   # lines of config.ini, laid over node.config_template
`

// Config is what a Home is opened with.
type Config struct {
	Dir string // the manager's home; it is there
	// Version asks a binary for its version: "v1.2.2", with or without a commit. It returns when ctx ends.
	Version func(ctx context.Context, path string) (string, error)

	// What follows may be left out.

	Transport *http.Transport                  // nil: a copy of http.DefaultTransport
	Free      func(dir string) (uint64, error) // bytes that this user may still write there; nil: statfs
	Stall     time.Duration                    // a download without a byte for so long is dead; 0: 30 s
	OS, Arch  string                           // what {os} and {arch} stand for; "": this machine's
	Release   string                           // base URL of the API behind github.com/OWNER/REPO; "": https://api.github.com
}

// Home is the folder of one manager, as far as versions go. Its methods may be called from any goroutine and from several
// processes at once: what changes something takes a lock.
type Home struct {
	cfg    Config
	dir    string
	step   func(op string)                                  // after each change of a file; tests end the process there
	pause  func(ctx context.Context, d time.Duration) error // between two tries
	limits limits
}

// Open makes a Home of a folder, and changes nothing in it: see Ensure.
func Open(cfg Config) (*Home, error) {
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, problem(ErrHome, "name the home by a full path", "home %s", cfg.Dir).because(err)
	}
	if cfg.Version == nil {
		return nil, problem(ErrHome, "this is a mistake in the program", "no way to ask a binary for its version")
	}
	if cfg.Transport == nil {
		if t, ok := http.DefaultTransport.(*http.Transport); ok {
			cfg.Transport = t
		}
	}
	if cfg.Free == nil {
		cfg.Free = free
	}
	cfg.Stall = cmp.Or(cfg.Stall, 30*time.Second)
	cfg.OS = cmp.Or(cfg.OS, runtime.GOOS)
	cfg.Arch = cmp.Or(cfg.Arch, runtime.GOARCH)
	cfg.Release = cmp.Or(cfg.Release, "https://api.github.com")
	return &Home{cfg: cfg, dir: dir, step: func(string) {}, pause: pause, limits: standard}, nil
}

func (h *Home) versions() string          { return filepath.Join(h.dir, versionsName) }
func (h *Home) folder(tag string) string  { return filepath.Join(h.dir, versionsName, tag) }
func (h *Home) link() string              { return filepath.Join(h.dir, currentName) }
func (h *Home) downloads(t string) string { return filepath.Join(h.dir, downloadsName, t) }
func (h *Home) staging(tag string) string { return h.folder(stagingPrefix + tag) }

// Ensure lays out what is missing: versions/genesis with its run.toml, and `current`, which then leads to genesis. It may be
// repeated, and ended at any point. What a killed process left half done is cleared away, but a download, which goes on.
//
// It repairs only a link that is not there. One that is there and leads nowhere, or to a version that is broken, was put there
// by a switch or an operator: genesis in its place would be an older nodeos on newer data, unasked. Then Ensure says nothing,
// Current says what is wrong, and Switch puts it right: the caller knows from the cluster's state what is to run. The same
// goes for something at the link's place that is no link, but Switch cannot replace that: an operator has to.
func (h *Home) Ensure() error {
	if err := durable.MkdirAll(h.versions()); err != nil {
		return broken(h.dir, err)
	}
	h.step("mkdir versions")
	unlock, err := h.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if err := durable.Create(filepath.Join(h.folder(Genesis), runName), []byte(genesisText)); err != nil && !errors.Is(err, fs.ErrExist) {
		return broken(h.folder(Genesis), err)
	}
	h.step("create genesis/run.toml")
	if err := durable.Sync(h.versions()); err != nil {
		return broken(h.versions(), err)
	}
	h.step("sync versions")
	if err := h.tidy(); err != nil {
		return err
	}
	if _, err := os.Lstat(h.link()); errors.Is(err, fs.ErrNotExist) {
		return h.swap(Genesis)
	} else if err != nil {
		return broken(h.link(), err)
	}
	return nil
}

// tidy clears away what killed processes left behind; what a living one is at is locked, and stays.
func (h *Home) tidy() error {
	entries, err := os.ReadDir(h.versions())
	if err != nil {
		return broken(h.versions(), err)
	}
	var rest []string
	for _, e := range entries {
		if tag, ok := strings.CutPrefix(e.Name(), stagingPrefix); ok && CheckTag(tag) == nil {
			unlock, err := h.tryStage(tag)
			if err != nil {
				return err
			}
			if unlock == nil {
				continue // somebody is staging it
			}
			err = os.RemoveAll(h.folder(e.Name()))
			unlock()
			if err != nil {
				return broken(h.folder(e.Name()), err)
			}
			h.step("remove " + e.Name())
		}
		if strings.HasPrefix(e.Name(), removedPrefix) || strings.HasPrefix(e.Name(), freshPrefix) {
			rest = append(rest, h.folder(e.Name()))
		}
	}
	if _, err := os.Lstat(filepath.Join(h.dir, freshLink)); err == nil {
		rest = append(rest, filepath.Join(h.dir, freshLink))
	}
	if left, err := filepath.Glob(filepath.Join(h.folder(Genesis), "."+runName+".*")); err == nil {
		rest = append(rest, left...) // durable's
	}
	for _, path := range rest {
		if err := os.RemoveAll(path); err != nil {
			return broken(path, err)
		}
		h.step("remove " + filepath.Base(path))
	}
	return nil
}

// Current is the version that `current` leads to, checked as Load does. ErrCurrent if there is no link, or one that leads
// nowhere or out of this home's versions. With an error, too, it has its Tag if the link names one.
func (h *Home) Current() (Version, error) {
	tag, err := h.current()
	if err != nil {
		return Version{}, err
	}
	v, err := h.Load(tag)
	if errors.Is(err, ErrUnknown) {
		return v, h.nowhere(tag)
	}
	return v, err
}

// current is the tag behind the link, whether or not there is such a version.
func (h *Home) current() (string, error) {
	target, err := os.Readlink(h.link())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", problem(ErrCurrent, h.relink(), "there is no %s: it says which version to run", h.link())
	case errors.Is(err, unix.EINVAL):
		return "", problem(ErrCurrent, "a copy may have followed the link; move it away and restart, or "+h.relink(), "%s is not a symbolic link", h.link())
	case err != nil:
		return "", broken(h.link(), err)
	}
	full := target
	if !filepath.IsAbs(full) {
		full = filepath.Join(h.dir, target)
	}
	tag := filepath.Base(full)
	if !sameFolder(filepath.Dir(full), h.versions()) || CheckTag(tag) != nil {
		return "", problem(ErrCurrent, h.relink(), "%s leads to %s: that is none of the versions in %s", h.link(), target, h.versions())
	}
	return tag, nil
}

func (h *Home) nowhere(tag string) error {
	return problem(ErrCurrent, h.relink(), "%s leads to %s, which is not there", h.link(), h.folder(tag))
}

// sameFolder also sees through links in the way to a home.
func sameFolder(a, b string) bool {
	if a == b {
		return true
	}
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}

// relink is the hint for a link that is not right.
func (h *Home) relink() string {
	return "link it to the version that was running: ln -sfn versions/TAG " + h.link()
}

// Load reads a version that is there and checks what its run.toml names; it runs nothing. ErrUnknown if it is not there.
func (h *Home) Load(tag string) (Version, error) {
	if err := CheckTag(tag); err != nil {
		return Version{}, err
	}
	return load(h.folder(tag), tag)
}

// Listed is a version in a home.
type Listed struct {
	Version
	Current bool
	Err     error // why it cannot be run, nil if it can
}

// List gives the versions that are there, genesis first, the others by tag.
func (h *Home) List() ([]Listed, error) {
	entries, err := os.ReadDir(h.versions())
	if err != nil {
		return nil, broken(h.versions(), err)
	}
	current, _ := h.current() // broken: none is
	var all []Listed
	for _, e := range entries {
		if CheckTag(e.Name()) != nil || e.Type().IsRegular() {
			continue
		}
		l := Listed{Current: e.Name() == current}
		l.Version, l.Err = h.Load(e.Name())
		all = append(all, l)
	}
	slices.SortStableFunc(all, func(a, b Listed) int {
		switch {
		case a.Tag == Genesis:
			return -1
		case b.Tag == Genesis:
			return 1
		}
		return strings.Compare(a.Tag, b.Tag)
	})
	return all, nil
}

// Remove deletes a version. ErrInUse for genesis and for the current one; and, as nobody can say which that is, for any while
// the link is broken.
func (h *Home) Remove(tag string) error {
	if err := CheckTag(tag); err != nil {
		return err
	}
	unlock, err := h.lock()
	if err != nil {
		return err
	}
	defer unlock()
	current, err := h.current()
	if err == nil {
		if _, stat := os.Stat(h.folder(current)); stat != nil {
			err = h.nowhere(current)
		}
	}
	switch {
	case err != nil:
		return problem(ErrInUse, Hint(err), "nothing is removed while it is not known which version is in use").because(err)
	case tag == current:
		return problem(ErrInUse, "upgrade to another version first", "%s is the current version", tag)
	case tag == Genesis:
		return problem(ErrInUse, "it needs no room", "%s stays: a home whose link is lost begins with it", tag)
	}
	if _, err := os.Lstat(h.folder(tag)); errors.Is(err, fs.ErrNotExist) {
		return problem(ErrUnknown, "see which there are: ls "+h.versions(), "there is no version %s", tag)
	}
	gone := h.folder(removedPrefix + tag)
	if err := os.RemoveAll(gone); err != nil {
		return broken(gone, err)
	}
	h.step("remove " + filepath.Base(gone))
	if err := os.Rename(h.folder(tag), gone); err != nil { // at once: half a version is never seen
		return broken(h.folder(tag), err)
	}
	h.step("rename " + tag)
	if err := durable.Sync(h.versions()); err != nil {
		return broken(h.versions(), err)
	}
	h.step("sync versions")
	if err := os.RemoveAll(gone); err != nil {
		return broken(gone, err)
	}
	h.step("remove " + filepath.Base(gone))
	return nil
}

// Switch makes a version the current one. It is checked as Load does, and nothing is changed where that fails. At every moment
// `current` leads to the one or to the other version, and after a return without an error it does so on the disk, too.
func (h *Home) Switch(tag string) error {
	if _, err := h.Load(tag); err != nil {
		return err
	}
	if err := durable.MkdirAll(h.versions()); err != nil {
		return broken(h.dir, err)
	}
	unlock, err := h.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := os.Stat(h.folder(tag)); err != nil { // Remove may have been faster
		return problem(ErrUnknown, "stage it again", "the version %s was removed", tag)
	}
	return h.swap(tag)
}

// swap points the link to a version, under the lock. The link is relative: a home may be moved, or mounted elsewhere.
func (h *Home) swap(tag string) error {
	fresh := filepath.Join(h.dir, freshLink)
	if err := os.Remove(fresh); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return broken(fresh, err)
	}
	h.step("remove " + freshLink)
	if err := os.Symlink(filepath.Join(versionsName, tag), fresh); err != nil {
		return broken(fresh, err)
	}
	h.step("symlink " + freshLink)
	if err := os.Rename(fresh, h.link()); err != nil {
		_ = os.Remove(fresh)
		if info, stat := os.Lstat(h.link()); stat == nil && info.IsDir() {
			return problem(ErrCurrent, "a copy may have followed the link; move it away and restart", "%s is a folder, not a symbolic link", h.link())
		}
		return broken(h.link(), err)
	}
	h.step("rename " + freshLink)
	if err := durable.Sync(h.dir); err != nil {
		return broken(h.dir, err)
	}
	h.step("sync home")
	return nil
}

// broken is a problem with the home as such.
func broken(path string, err error) error {
	if full(err) {
		return problem(ErrNoSpace, "free some room on that disk", "no room at %s", path).because(err)
	}
	return problem(ErrHome, "the home must be writable, and belong to the user that runs roundtable", "%s", path).because(err)
}

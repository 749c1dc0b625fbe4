package versions

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of names, in bytes.
const (
	maxName = 1024
	maxPart = 255
)

// limits bound what an asset may be and hold.
type limits struct {
	asset    int64 // bytes as fetched
	unpacked int64 // bytes when unpacked
	ratio    int64 // of the two, once slack bytes are unpacked
	slack    int64
	entries  int
}

var standard = limits{asset: 4 << 30, unpacked: 16 << 30, ratio: 100, slack: 64 << 20, entries: 20_000}

const unsafeHint = "nothing was unpacked; do not use this asset, and find out where it comes from"

// errEnded wraps the end of a context while an archive is read.
var errEnded = errors.New("ended")

func refuse(format string, args ...any) error { return problem(ErrUnsafe, unsafeHint, format, args...) }

// what a path of the archive is.
type what int

const (
	absent  what = iota
	implied      // a folder that only others' names speak of
	folder
	file
	symlink
)

// tree checks an archive entry by entry and, where it has a root, unpacks it there. Every write goes through the root, which
// the system keeps from leading out, whatever a check has missed.
type tree struct {
	ctx    context.Context
	limits limits
	packed int64 // size of the archive
	root   *os.Root
	step   func(op string)
	report func(bytes int64)

	seen    map[string]what
	files   []string // regular ones, hard links among them, in order
	runs    map[string]bool
	links   []string
	total   int64
	entries int
}

func newTree(ctx context.Context, l limits, packed int64, root *os.Root, step func(string), report func(int64)) *tree {
	return &tree{ctx: ctx, limits: l, packed: packed, root: root, step: step, report: report, seen: map[string]what{".": implied}, runs: map[string]bool{}}
}

// cleanName is a name of an archive as a path below its root, "." for the root itself. It refuses all that could lead
// elsewhere, or that could not be shown to an operator.
func cleanName(name string) (string, error) {
	switch {
	case name == "" || len(name) > maxName:
		return "", refuse("a name of %d bytes in the archive", len(name))
	case !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }):
		return "", refuse("the name %.200q in the archive cannot be printed", name)
	case strings.ContainsAny(name, `\`):
		return "", refuse("the name %.200q in the archive has a backslash", name)
	case name[0] == '/':
		return "", refuse("%.200q in the archive is an absolute path", name)
	}
	var parts []string
	for part := range strings.SplitSeq(name, "/") {
		switch {
		case part == "..":
			return "", refuse("%.200q in the archive leads out of it", name)
		case len(part) > maxPart:
			return "", refuse("a name of %d bytes in the archive", len(part))
		case part != "" && part != ".":
			parts = append(parts, part)
		}
	}
	if len(parts) == 0 {
		return ".", nil
	}
	return strings.Join(parts, "/"), nil
}

// linkTarget is where a symbolic link leads, below the root. A target goes up first and down then, and never further up than
// the root: as no folder on the way to a link is a link itself, it stays inside, whatever the links on its way down are.
func linkTarget(at, target string) (string, error) {
	if target == "" || len(target) > maxName || target[0] == '/' || strings.ContainsAny(target, "\\\x00") {
		return "", refuse("the link %.200q in the archive leads to %.200q", at, target)
	}
	to, down := path.Dir(at), false
	for part := range strings.SplitSeq(target, "/") {
		switch part {
		case "", ".":
		case "..":
			if down || to == "." {
				return "", refuse("the link %.200q in the archive leads out of it: %.200q", at, target)
			}
			to = path.Dir(to)
		default:
			to, down = path.Join(to, part), true
		}
	}
	return to, nil
}

// visit checks one entry, and unpacks it.
func (t *tree) visit(e entry) error {
	if t.ctx.Err() != nil {
		return errors.Join(errEnded, t.ctx.Err())
	}
	if t.entries++; t.entries > t.limits.entries {
		return refuse("the archive has more than %d entries", t.limits.entries)
	}
	name, err := cleanName(e.name)
	if err != nil {
		return err
	}
	if e.mode&(fs.ModeSetuid|fs.ModeSetgid) != 0 {
		return refuse("%.200q in the archive is setuid or setgid", name)
	}
	if name == "." {
		if !e.mode.IsDir() {
			return refuse("the archive's root is a file in it")
		}
		return nil
	}
	if err := t.above(name); err != nil {
		return err
	}
	was := t.seen[name]
	if was != absent && (!e.mode.IsDir() || was != implied && was != folder) {
		return refuse("%.200q is in the archive twice", name)
	}
	switch {
	case e.hard:
		return t.hardlink(name, e.link)
	case e.mode.Type() == fs.ModeSymlink:
		return t.symlink(name, e.link)
	case e.mode.IsDir():
		t.seen[name] = folder
		return t.mkdir(name)
	case e.mode.IsRegular():
		return t.file(name, e)
	}
	return refuse("%.200q in the archive is neither a file, a folder nor a link", name)
}

// above makes the folders on the way to a name; none of them may be anything else.
func (t *tree) above(name string) error {
	dir := path.Dir(name)
	if dir == "." {
		return nil
	}
	if err := t.above(dir); err != nil {
		return err
	}
	switch t.seen[dir] {
	case file, symlink:
		return refuse("%.200q in the archive is below something that is no folder", name)
	case absent:
		t.seen[dir] = implied
		return t.mkdir(dir)
	}
	return nil
}

func (t *tree) mkdir(name string) error {
	if t.root == nil {
		return nil
	}
	if err := t.root.Mkdir(name, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	t.step("unpack a folder")
	return nil
}

func (t *tree) symlink(name, target string) error {
	if _, err := linkTarget(name, target); err != nil {
		return err
	}
	t.seen[name] = symlink
	t.links = append(t.links, name)
	if t.root == nil {
		return nil
	}
	if err := t.root.Symlink(target, name); err != nil {
		return err
	}
	t.step("unpack a link")
	return nil
}

func (t *tree) hardlink(name, target string) error {
	to, err := cleanName(target)
	if err != nil {
		return err
	}
	if t.seen[to] != file {
		return refuse("%.200q in the archive is a hard link to %.200q, which is no file before it", name, target)
	}
	t.seen[name] = file
	t.files = append(t.files, name)
	t.runs[name] = t.runs[to]
	if t.root == nil {
		return nil
	}
	if err := t.root.Link(to, name); err != nil {
		return err
	}
	t.step("unpack a hard link")
	return nil
}

// file counts the bytes that come, not those that a header speaks of.
func (t *tree) file(name string, e entry) (err error) {
	t.seen[name] = file
	t.files = append(t.files, name)
	mode := fs.FileMode(0o644)
	if e.mode&0o111 != 0 {
		mode, t.runs[name] = 0o755, true
	}
	to := io.Discard
	if t.root != nil {
		f, err := t.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
		if err != nil {
			return err
		}
		defer func() {
			if err == nil {
				err = f.Chmod(mode) // whatever the umask is
			}
			if err == nil {
				err = f.Sync()
			}
			_ = f.Close()
			t.step("unpack a file")
		}()
		to = f
	}
	buffer := make([]byte, 128<<10)
	for {
		if t.ctx.Err() != nil {
			return errors.Join(errEnded, t.ctx.Err())
		}
		n, err := e.body.Read(buffer)
		t.total += int64(n)
		if t.total > t.limits.unpacked || t.total > t.limits.slack && t.total/t.limits.ratio > t.packed {
			return refuse("the archive of %s unpacks to more than %s: a bomb", mebibytes(uint64(t.packed)), mebibytes(uint64(t.total))) //nolint:gosec // both are positive
		}
		if n > 0 {
			t.report(t.total)
			if _, err := to.Write(buffer[:n]); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return damaged(err)
		}
	}
}

// finish checks what can only be seen at the end, and makes the folders last.
func (t *tree) finish() error {
	if t.root == nil {
		return nil
	}
	for _, l := range t.links {
		if _, err := t.root.Stat(l); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return refuse("the link %.200q in the archive leads out of it: %v", l, err)
		}
	}
	for name, is := range t.seen {
		if is != folder && is != implied {
			continue
		}
		d, err := t.root.Open(name)
		if err != nil {
			return err
		}
		err = d.Sync()
		_ = d.Close()
		if err != nil {
			return err
		}
	}
	t.step("sync the folders")
	return nil
}

package versions

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
	"golang.org/x/sys/unix"

	"roundtable/durable"
)

// stagedName is the file in a version's folder that says where it came from. A folder that an operator made has none.
const stagedName = ".staged.json"

// versionTimeout is how long a binary may take to say its version.
const versionTimeout = 30 * time.Second

// Request is a version that is wanted.
type Request struct {
	Tag string
	// Source is where it comes from if it is not there: see docs/reference/versions.md. "": it must be there.
	Source string
	SHA256 string // of the asset, 64 hex digits; "": what the release or a checksum file beside it says
	// Asset is which of a release's: a name or a pattern as of path.Match, with placeholders. "": the only one that may be it.
	Asset string
	// Binary is nodeos in the asset: a name, wherever it is there, or a path. "": nodeos. It does not count where the asset has
	// a run.toml.
	Binary    string
	Checksums string // the checksum file: a URL, or a name beside the asset, {asset} being its name; "": the usual ones
	TokenFile string // holds the bearer token for Source's host; "": none
	// ConnectionRetries is how often a lost connection is tried again without having come further.
	ConnectionRetries int
}

// Staged is a version that is there and is what it says.
type Staged struct {
	Tag     string `json:"tag"`
	Version string `json:"version"`          // what the binary says of itself; "" for genesis
	SHA256  string `json:"sha256,omitempty"` // of the asset; "" where an operator made the folder
	By      string `json:"by,omitempty"`     // who said so: "request", "release", or a checksum file's name
	Size    int64  `json:"size,omitempty"`   // of the asset, in bytes
	Source  string `json:"source,omitempty"` // of the asset
	How     string `json:"how"`              // HowFolder where it was there already

	// Unchecked: a checksum was asked for, and there is none of a folder that an operator made.
	Unchecked bool `json:"-"`
}

// Resolve looks up the asset of a request without fetching it: what it is called, how large it is, and which checksum it will be
// held to. A Request with that SHA256 fetches the same bytes on every member, or nothing.
func (h *Home) Resolve(ctx context.Context, req Request) (Asset, error) {
	if err := h.check(req); err != nil {
		return Asset{}, err
	}
	c, done, err := h.client(req)
	if err != nil {
		return Asset{}, err
	}
	defer done()
	return h.resolve(ctx, c, req)
}

// check refuses a request that cannot be fetched.
func (h *Home) check(req Request) error {
	if err := CheckTag(req.Tag); err != nil {
		return err
	}
	if req.Tag == Genesis {
		return problem(ErrUnknown, "restart the manager, which makes it", "%s is not there, and is not fetched", Genesis)
	}
	if req.Source == "" {
		return problem(ErrMissing, "put the folder there, or configure where versions come from", "version %s is not there: no folder %s", req.Tag, h.folder(req.Tag))
	}
	_, err := parseSum(req.SHA256)
	return err
}

// Stage sees to it that a version is there: it takes the folder that is there, or fetches one. Either way its binary must run
// and must say the tag. It disturbs no node, and may be repeated, cancelled and killed: a version is there as a whole or not at all,
// and a download goes on where it was. Others that stage the same tag wait. progress may be nil; it is called on Stage's goroutine, with
// bytes.
func (h *Home) Stage(ctx context.Context, req Request, progress func(done, total int64, text string)) (Staged, error) {
	if err := CheckTag(req.Tag); err != nil {
		return Staged{}, err
	}
	if progress == nil {
		progress = func(int64, int64, string) {}
	}
	if err := durable.MkdirAll(h.versions()); err != nil {
		return Staged{}, broken(h.dir, err)
	}
	unlock, err := h.lockStage(ctx, req.Tag)
	if err != nil {
		return Staged{}, err
	}
	defer unlock()
	if _, err := os.Lstat(h.folder(req.Tag)); err == nil {
		s, err := h.there(ctx, req)
		if err == nil { // a kill may have come before that
			(&download{h: h, dir: h.downloads(req.Tag)}).discard()
		}
		return s, err
	}
	if err := h.check(req); err != nil {
		return Staged{}, err
	}
	return h.install(ctx, req, report(progress).every())
}

// there is Stage for a folder that is there.
func (h *Home) there(ctx context.Context, req Request) (Staged, error) {
	v, err := h.Load(req.Tag)
	if err != nil {
		return Staged{}, err
	}
	var s Staged
	want, err := parseSum(req.SHA256)
	if err != nil {
		return s, err
	}
	if s, err = readOrigin(v); err != nil {
		return s, err
	}
	if want != "" && s.SHA256 != "" && want != s.SHA256 {
		return s, problem(ErrChecksum, "if the new one is right, remove the version and stage it again: rm -r "+v.Dir,
			"version %s is there, from an asset with SHA-256 %s, and %s was asked for", req.Tag, s.SHA256, want)
	}
	s.How, s.Unchecked = HowFolder, want != "" && s.SHA256 == ""
	if v.Binary != "" {
		s.Version, err = h.ask(ctx, v.Binary, req.Tag)
	}
	return s, err
}

// Origin says where a version that is there came from; of a folder that an operator made it knows the tag alone. ErrUnknown if it is
// not there.
func (h *Home) Origin(tag string) (Staged, error) {
	v, err := h.Load(tag)
	if err != nil {
		return Staged{}, err
	}
	return readOrigin(v)
}

func readOrigin(v Version) (Staged, error) {
	s := Staged{How: HowFolder}
	if text, err := readSmall(filepath.Join(v.Dir, stagedName)); err == nil {
		if err := json.Unmarshal(text, &s); err != nil {
			return s, problem(ErrHome, "remove the version's folder and stage it again", "%s", filepath.Join(v.Dir, stagedName)).because(err)
		}
	}
	s.Tag = v.Tag
	return s, nil
}

// ask asks a binary for its version, which must be the tag's; genesis is whatever it is.
func (h *Home) ask(ctx context.Context, binary, tag string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, versionTimeout)
	defer cancel()
	said, err := h.cfg.Version(ctx, binary)
	for range 20 {
		if !errors.Is(err, unix.ETXTBSY) {
			break
		}
		// Somebody forked while the binary was being written, and holds it open until it execs: golang.org/issue/22315.
		if err := pause(ctx, lockPoll); err != nil {
			return "", err
		}
		said, err = h.cfg.Version(ctx, binary)
	}
	switch {
	case err != nil && errors.Is(ctx.Err(), context.Canceled):
		return "", ctx.Err()
	case err != nil:
		return "", problem(ErrBinary, "is it for this machine ("+h.cfg.OS+"/"+h.cfg.Arch+"), with its libraries installed? Try: "+binary+" --version", "%s of version %s cannot say its version", binary, tag).because(err)
	case tag != Genesis && !same(said, tag):
		return said, problem(ErrLies, "the asset is not the one of that tag: look at the source", "%s of version %s says that it is %.80q", binary, tag, said)
	}
	return strings.TrimSpace(said), nil
}

// install fetches a version, unpacks and checks it beside the others, and gives it its name.
func (h *Home) install(ctx context.Context, req Request, report report) (s Staged, err error) {
	c, done, err := h.client(req)
	if err != nil {
		return s, err
	}
	defer done()
	report(0, 0, "looking it up")
	asset, err := h.resolve(ctx, c, req)
	if err != nil {
		return s, err
	}
	d := &download{h: h, c: c, a: asset, dir: h.downloads(req.Tag), report: report}
	archive, size, err := d.fetch(ctx)
	if err != nil {
		return s, err
	}
	s = Staged{Tag: req.Tag, SHA256: asset.SHA256, By: asset.By, Size: size, Source: asset.Source, How: asset.How}
	staging := h.staging(req.Tag)
	defer func() {
		if err != nil && ctx.Err() == nil {
			d.discard() // the same bytes would fail again, and need room
		}
		if left := os.RemoveAll(staging); err == nil && left != nil {
			err = broken(staging, left)
		}
		h.step("remove the staging folder")
	}()
	if err := os.RemoveAll(staging); err != nil {
		return s, broken(staging, err)
	}
	h.step("remove the staging folder")
	if err := h.unpack(ctx, archive, size, staging, req, report); err != nil {
		return s, err
	}
	whole, err := h.complete(ctx, staging, req, &s)
	if err != nil {
		return s, err
	}
	if err := h.publish(whole, req.Tag); err != nil {
		return s, err
	}
	d.discard()
	report(size, size, "staged")
	return s, nil
}

// unpack looks through the whole archive first, so that nothing is written of one that is not safe or does not fit.
func (h *Home) unpack(ctx context.Context, archive string, size int64, staging string, req Request, report report) error {
	f, err := os.Open(archive)
	if err != nil {
		return broken(archive, err)
	}
	defer f.Close()
	bare := cmp.Or(req.Binary, "nodeos")
	look := newTree(ctx, h.limits, size, nil, h.step, func(n int64) { report(n, 0, "looking through it") })
	if err := ended(walk(f, size, bare, look.visit), archive); err != nil {
		return err
	}
	if err := h.room("unpacking "+req.Tag, look.total); err != nil {
		return err
	}
	if err := os.Mkdir(staging, 0o755); err != nil {
		return broken(staging, err)
	}
	h.step("make the staging folder")
	root, err := os.OpenRoot(staging)
	if err != nil {
		return broken(staging, err)
	}
	defer func() { _ = root.Close() }()
	t := newTree(ctx, h.limits, size, root, h.step, func(n int64) { report(n, look.total, "unpacking") })
	if err := ended(walk(f, size, bare, t.visit), staging); err != nil {
		return err
	}
	if err := ended(t.finish(), staging); err != nil {
		return err
	}
	if t.seen[runName] != absent || t.only() != "" {
		return nil
	}
	binary, err := t.binary(bare)
	if err != nil {
		return err
	}
	if err := root.Chmod(binary, 0o755); err != nil { // a .zip may know of no such thing
		return broken(binary, err)
	}
	h.step("chmod the binary")
	return h.writeRun(staging, req.Tag, binary)
}

// ended makes a context's end, and a full disk, what they are.
func ended(err error, where string) error {
	var p *Problem
	switch {
	case err == nil, errors.As(err, &p):
		return err
	case errors.Is(err, context.Canceled):
		return context.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		return context.DeadlineExceeded
	}
	return broken(where, err)
}

// writeRun writes the run.toml of an asset that has none.
func (h *Home) writeRun(dir, tag, binary string) error {
	var r struct {
		Name string `toml:"name"`
		Node struct {
			Binary string `toml:"binary"`
		} `toml:"node"`
	}
	r.Name, r.Node.Binary = tag, binary
	text, err := toml.Marshal(r)
	if err == nil {
		err = durable.Write(filepath.Join(dir, runName), append([]byte("# Written by roundtable: the asset had none.\n"), text...))
	}
	if err != nil {
		return broken(dir, err)
	}
	h.step("write run.toml")
	return nil
}

// complete checks what was unpacked, and notes where it came from. It returns the folder that is to become the version's.
func (h *Home) complete(ctx context.Context, staging string, req Request, s *Staged) (string, error) {
	whole := staging
	if _, err := os.Lstat(filepath.Join(staging, runName)); errors.Is(err, fs.ErrNotExist) {
		entries, err := os.ReadDir(staging)
		if err != nil || len(entries) != 1 {
			return "", broken(staging, errors.Join(err, fmt.Errorf("%d entries", len(entries))))
		}
		whole = filepath.Join(staging, entries[0].Name())
	}
	v, err := load(whole, req.Tag)
	if err != nil {
		return "", err
	}
	if v.Binary == "" {
		return "", problem(ErrNoBinary, "name it in run.toml", "the run.toml in the archive names no binary")
	}
	if s.Version, err = h.ask(ctx, v.Binary, req.Tag); err != nil {
		return "", err
	}
	text, err := json.MarshalIndent(s, "", "  ")
	if err == nil {
		err = durable.Write(filepath.Join(whole, stagedName), append(text, '\n'))
	}
	if err != nil {
		return "", broken(whole, err)
	}
	h.step("note where it came from")
	return whole, nil
}

// publish gives a whole version its name.
func (h *Home) publish(dir, tag string) error {
	unlock, err := h.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if err := durable.Sync(filepath.Dir(dir)); err != nil {
		return broken(dir, err)
	}
	h.step("sync the staging folder's names")
	if err := os.Rename(dir, h.folder(tag)); err != nil {
		return broken(h.folder(tag), err)
	}
	h.step("rename to " + tag)
	if err := durable.Sync(h.versions()); err != nil {
		return broken(h.versions(), err)
	}
	h.step("sync versions")
	return nil
}

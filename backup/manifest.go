package backup

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"unicode/utf8"
)

// manifest is what a backup is: its files, and which objects their segments are in. As an object it is manifestMagic, the sum
// of what follows, and the JSON of it, compressed by zstd.
type manifest struct {
	Version    int       `json:"version"`
	Repository string    `json:"repository"`
	ID         string    `json:"id"`
	Ahead      bool      `json:"ahead,omitempty"` // what Source.Ahead leaves: the files are not all there, and not whole
	Meta       Meta      `json:"meta"`
	Size       int64     `json:"size"`
	Data       int64     `json:"data"`
	Entries    int64     `json:"entries"` // of all files together
	Files      []file    `json:"files"`   // sorted by path, folders as well
	Packs      []packRef `json:"packs"`
	Tables     []packRef `json:"tables"`

	object sum   // of the object it was read from
	bytes  int64 // that object's size
}

// file is a file or a folder in a manifest.
type file struct {
	Path  string `json:"path"` // slashes
	Dir   bool   `json:"dir,omitempty"`
	Mode  uint32 `json:"mode"`            // permissions
	MTime int64  `json:"mtime"`           // Unix ns
	CTime int64  `json:"ctime,omitempty"` // Unix ns; 0 where it is too young to tell one change from the next
	Inode uint64 `json:"inode,omitempty"`
	Size  int64  `json:"size,omitempty"`
	Shift law    `json:"shift,omitempty"` // how it is cut
	First int64  `json:"first,omitempty"` // its first entry in the tables; the others follow
}

func (f *file) count() int64 { return f.Shift.count(f.Size) }

// packRef names a pack or a table, and says what must be in it.
type packRef struct {
	Of     string `json:"of"` // the backup that wrote it
	Number uint32 `json:"number"`
	Size   int64  `json:"size"`
	Sum    sum    `json:"blake2b"`
}

const (
	manifestMagic = "RTMANI1\n"
	maxManifest   = 1 << 28 // bytes of JSON
	maxPath       = 4096
)

func (m *manifest) encode() ([]byte, error) {
	plain, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	e := newEncoder()
	defer func() { _ = e.Close() }()
	compressed := e.EncodeAll(plain, nil)
	s := sumOf(compressed)
	return slices.Concat([]byte(manifestMagic), s[:], compressed), nil
}

// parseManifest reads what encode wrote. What it gives can be trusted to make sense in itself.
func parseManifest(body []byte) (*manifest, error) {
	rest, ok := bytes.CutPrefix(body, []byte(manifestMagic))
	if !ok || len(rest) < len(sum{}) {
		return nil, errors.New("it is no manifest")
	}
	if sumOf(rest[len(sum{}):]) != sum(rest[:len(sum{})]) {
		return nil, errors.New("the manifest has another sum than it says")
	}
	d := newDecoder(maxManifest)
	defer d.Close()
	plain, err := d.DecodeAll(rest[len(sum{}):], nil)
	if err != nil {
		return nil, fmt.Errorf("decompress the manifest: %w", err)
	}
	var m manifest
	if err := json.Unmarshal(plain, &struct {
		Version *int `json:"version"`
	}{&m.Version}); err != nil {
		return nil, fmt.Errorf("read the manifest: %w", err)
	}
	if m.Version > formatVersion {
		return nil, fmt.Errorf("%w: the manifest has version %d, known is %d", ErrNewer, m.Version, formatVersion)
	}
	decoder := json.NewDecoder(bytes.NewReader(plain))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&m); err != nil {
		return nil, fmt.Errorf("read the manifest: %w", err)
	}
	if err := m.check(); err != nil {
		return nil, err
	}
	return &m, nil
}

// check says what does not fit in a manifest, which anybody may have written who can write into the store.
func (m *manifest) check() error {
	if m.Version != formatVersion || m.Entries < 0 || m.Size < 0 || m.Data < 0 {
		return errors.New("the manifest's figures make no sense")
	}
	if err := validID(m.ID); err != nil {
		return err
	}
	for _, p := range slices.Concat(m.Packs, m.Tables) {
		if err := validID(p.Of); err != nil {
			return err
		}
		if p.Size <= 0 || p.Size > 2*maxPackBytes {
			return fmt.Errorf("the manifest has a pack of %d bytes", p.Size)
		}
	}
	if int64(len(m.Tables)) != (m.Entries+tableEntries-1)/tableEntries {
		return fmt.Errorf("the manifest has %d tables for %d segments", len(m.Tables), m.Entries)
	}
	folders, next := map[string]bool{".": true}, int64(0)
	for i := range m.Files {
		f := &m.Files[i]
		if err := validPath(f.Path); err != nil {
			return err
		}
		if i > 0 && m.Files[i-1].Path >= f.Path {
			return fmt.Errorf("the manifest has %.200q twice, or not in its order", f.Path)
		}
		if !folders[path.Dir(f.Path)] {
			return fmt.Errorf("the manifest has %.200q, but not its folder", f.Path)
		}
		if fs.FileMode(f.Mode)&^fs.ModePerm != 0 {
			return fmt.Errorf("the manifest has %.200q with mode %o", f.Path, f.Mode)
		}
		if f.Dir {
			folders[f.Path] = true
			if f.Size != 0 || f.First != 0 || f.Shift != 0 {
				return fmt.Errorf("the manifest has the folder %.200q with segments", f.Path)
			}
			continue
		}
		if f.Size < 0 || f.Size > maxSize || f.Shift < minShift || f.Shift > maxShift || f.First != next {
			return fmt.Errorf("the manifest's figures of %.200q make no sense", f.Path)
		}
		if next += f.count(); next > m.Entries {
			return fmt.Errorf("the manifest has %d segments, its files have more", m.Entries)
		}
	}
	if next != m.Entries {
		return fmt.Errorf("the manifest has %d segments, its files have %d", m.Entries, next)
	}
	return nil
}

// validPath says whether a path may be in a backup: below the folder, and nothing that is never in one.
func validPath(p string) error {
	if !fs.ValidPath(p) || p == "." || len(p) > maxPath || !utf8.ValidString(p) || strings.ContainsAny(p, "\x00\\") {
		return fmt.Errorf("%.200q is no path that a backup may have", p)
	}
	for name := range strings.SplitSeq(p, "/") {
		if secret(name) {
			return fmt.Errorf("%.200q is never in a backup", p)
		}
	}
	return nil
}

// secret says whether something with this name is left out of every backup, and never touched by a restore: what a finalizer
// has voted for. An old one makes it vote twice.
func secret(name string) bool { return name == "finalizers" || name == "safety.dat" }

// info is what the manifest says of itself.
func (m *manifest) info() Info {
	i := Info{ID: m.ID, Meta: m.Meta, Size: m.Size, Data: m.Data}
	if !m.Ahead {
		i.Manifest = m.object.String()
	}
	i.Stored = m.bytes
	for _, f := range m.Files {
		if !f.Dir {
			i.Files++
		}
	}
	others := map[string]bool{}
	for _, p := range slices.Concat(m.Packs, m.Tables) {
		if p.Of == m.ID {
			i.Stored += p.Size
		} else if !others[p.Of] {
			others[p.Of] = true
			i.Bases = append(i.Bases, p.Of)
		}
	}
	slices.Sort(i.Bases)
	return i
}

// manifest reads one, which is at one of manifestsAt, pendingAt and aheadAt: ErrNotFound, *Damage.
func (r *Repository) manifest(ctx context.Context, at, id string) (*manifest, error) {
	object, err := r.store.Get(ctx, at+id)
	if err != nil {
		return nil, fmt.Errorf("read the manifest of backup %s: %w", id, err)
	}
	return r.parse(at, id, object)
}

// parse is manifest for an object that was read already. The object may be gone afterwards.
func (r *Repository) parse(at, id string, object []byte) (*manifest, error) {
	s, size := sumOf(object), int64(len(object))
	damaged := func(err error) (*manifest, error) {
		if errors.Is(err, ErrNewer) || errors.Is(err, ErrKey) {
			return nil, fmt.Errorf("read the manifest of backup %s: %w", id, err)
		}
		return nil, &Damage{Backup: id, Objects: []string{at + id}, Err: err}
	}
	body, err := r.keys.open(object)
	if err != nil {
		return damaged(err)
	}
	m, err := parseManifest(body)
	if err != nil {
		return damaged(err)
	}
	if m.ID != id || m.Repository != r.format.id || m.Ahead != (at == aheadAt) {
		return damaged(fmt.Errorf("it is the manifest of backup %s of repository %s", m.ID, m.Repository))
	}
	m.object, m.bytes = s, size
	return m, nil
}

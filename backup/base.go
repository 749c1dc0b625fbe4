package backup

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

// base is an earlier backup that a new one may refer to. Its methods are for one goroutine, but for usable.
type base struct {
	reader
	local   bool // its inode numbers are of the machine that the new one is made on
	byPath  map[string]*file
	byInode map[uint64]*file
	gone    []bool // by pack: it is not in the store, or not with the size it must have
	broken  bool   // its tables cannot be read
}

// basesTried is how many of Source.Bases are looked at, and basesUsed how many of them are used.
const (
	basesTried = 4
	basesUsed  = 2
)

func (r *Repository) newBase(m *manifest, src Source, present map[string]int64) *base {
	b := &base{reader: reader{r: r, m: m}, local: m.Meta.Member == src.Meta.Member, byPath: map[string]*file{}, byInode: map[uint64]*file{}, gone: make([]bool, len(m.Packs))}
	for i := range m.Files {
		f := &m.Files[i]
		if f.Dir {
			continue
		}
		b.byPath[f.Path] = f
		if f.Inode != 0 && b.local {
			b.byInode[f.Inode] = f
		}
	}
	for i, p := range m.Packs {
		b.gone[i] = present[numbered(packsAt, p.Of, p.Number)] != p.Size
	}
	return b
}

// usable says whether a segment of the base is still there, as far as one can tell without reading it.
func (b *base) usable(e entry) bool {
	return e.hole() || int(e.pack) < len(b.gone) && !b.gone[e.pack]
}

// bases loads what the new backup may refer to: what an earlier run of its own has left first, then the best of the others.
// One that is damaged is not used.
func (r *Repository) bases(ctx context.Context, id string, src Source, present map[string]int64) ([]*base, error) {
	var own, others []*base
	load := func(at, of string) (*base, error) {
		m, err := r.manifest(ctx, at, of)
		var damage *Damage
		switch {
		case errors.Is(err, ErrNotFound):
			return nil, nil
		case errors.As(err, &damage):
			r.log.Warn("an earlier backup is not used", "backup", of, "error", err)
			return nil, nil
		case err != nil:
			return nil, err
		case m.Meta.ChainID != "" && src.Meta.ChainID != "" && m.Meta.ChainID != src.Meta.ChainID:
			return nil, fmt.Errorf("%w: backup %s is of chain %.16s, this node has chain %.16s", ErrChain, of, m.Meta.ChainID, src.Meta.ChainID)
		}
		return r.newBase(m, src, present), nil
	}
	b, err := load(aheadAt, id)
	if err != nil {
		return nil, err
	}
	if b != nil {
		own = append(own, b)
	}
	if len(src.Bases) == 0 && src.Meta.ChainID != "" { // what is there may be another cluster's
		for object, err := range r.store.List(ctx, manifestsAt) {
			if err != nil {
				return nil, err
			}
			if _, err := load(manifestsAt, strings.TrimPrefix(object.Name, manifestsAt)); err != nil {
				return nil, err
			}
			break // all the others are of the same chain
		}
	}
	for _, of := range src.Bases[:min(len(src.Bases), basesTried)] {
		if err := validID(of); err != nil {
			return nil, err
		}
		b, err := load(manifestsAt, of)
		if err != nil {
			return nil, err
		}
		if b != nil {
			others = append(others, b)
		}
	}
	slices.SortStableFunc(others, func(a, b *base) int {
		return -cmp.Or(
			cmp.Compare(truth(a.m.Meta.Kind == src.Meta.Kind), truth(b.m.Meta.Kind == src.Meta.Kind)),
			cmp.Compare(truth(a.local), truth(b.local)),
			cmp.Compare(a.m.Meta.Created, b.m.Meta.Created))
	})
	return append(own, others[:min(len(others), basesUsed)]...), nil
}

func truth(b bool) int {
	if b {
		return 1
	}
	return 0
}

// match is a file of a base that may have what a file of the new backup has.
type match struct {
	base  *base
	file  *file
	grown bool // and what it has, the new one begins with, as far as one can tell without reading
	same  bool // nothing was written into it since
}

// matches gives those for one file.
func matches(bases []*base, f *found) []match {
	var all []match
	for _, b := range bases {
		if b.broken {
			continue
		}
		of := b.byPath[f.Path]
		if i := b.byInode[f.Inode]; i != nil && i != of && f.class == archive && (of == nil || of.Inode != f.Inode) {
			of = i // it was renamed when the stride was closed
		}
		if name, ok := live(path.Base(f.Path)); of == nil && ok {
			for _, folder := range []string{path.Dir(f.Path), path.Dir(path.Dir(f.Path))} { // of another member's
				if of == nil {
					of = b.byPath[path.Join(folder, name)]
				}
			}
		}
		if of == nil || of.Shift != f.Shift {
			continue
		}
		mine := b.local && of.Inode == f.Inode && f.Inode != 0
		all = append(all, match{
			base: b, file: of,
			grown: mine && (f.class == grows || f.class == archive) && f.Size >= of.Size && f.MTime >= of.MTime,
			same:  mine && f.class != state && !b.m.Ahead && same(of, &f.file),
		})
	}
	return all
}

// entries gives those of the base's file from segment i on, at most n; none where they cannot be read because the base is
// damaged.
func (m match) entries(ctx context.Context, i, n int64) ([]entry, error) {
	n = min(n, m.file.count()-i)
	if n <= 0 || m.base.broken {
		return nil, nil
	}
	all, err := m.base.entries(ctx, make([]entry, 0, n), m.file.First+i, n)
	var damage *Damage
	if errors.As(err, &damage) {
		m.base.r.log.Warn("an earlier backup is not used", "backup", m.base.m.ID, "error", err)
		m.base.broken = true
		return nil, nil
	}
	return all, err
}

// stock is what earlier runs of the same backup have put into packs, sorted by the sum of the segment.
type stock struct {
	entries []entry // with an index in refs as their pack
	refs    []packRef
}

func (s *stock) find(of sum) (entry, packRef, bool) {
	i, ok := slices.BinarySearchFunc(s.entries, of, func(e entry, of sum) int { return bytes.Compare(e.sum[:], of[:]) })
	if !ok {
		return entry{}, packRef{}, false
	}
	return s.entries[i], s.refs[s.entries[i].pack], true
}

// stock finds the packs of earlier runs, and gives the highest number that is taken. A pack that cannot be read is left to the
// sweep.
func (r *Repository) stock(ctx context.Context, id string, present map[string]int64, known map[uint32]record) (*stock, uint32, error) {
	s, highest := &stock{}, uint32(0)
	for name, size := range present {
		at, of, number, ok := numberOf(name)
		if !ok || at != packsAt || of != id {
			continue
		}
		highest = max(highest, number)
		rec, ok := known[number]
		if !ok || rec.size != size {
			object, err := r.store.Get(ctx, name)
			if errors.Is(err, ErrNotFound) {
				continue
			}
			if err != nil {
				return nil, 0, fmt.Errorf("read %s: %w", name, err)
			}
			rec = record{number: number, size: int64(len(object)), sum: sumOf(object)}
			body, err := r.keys.open(object)
			if err == nil {
				rec.directory, err = parsePack(body)
			}
			if err != nil {
				r.log.Warn("a pack of an earlier run is not used", "object", name, "error", err)
				continue
			}
		}
		for _, e := range rec.directory {
			e.pack = uint32(len(s.refs))
			s.entries = append(s.entries, e)
		}
		s.refs = append(s.refs, packRef{Of: id, Number: rec.number, Size: rec.size, Sum: rec.sum})
	}
	slices.SortFunc(s.entries, func(a, b entry) int { return bytes.Compare(a.sum[:], b.sum[:]) })
	return s, highest, nil
}

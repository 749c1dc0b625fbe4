package backup

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// piece is a segment of a file, and where it is stored.
type piece struct {
	entry
	file    uint32 // index in the manifest
	segment uint32 // of the file
}

// check is one reading of a backup, pack by pack: every pack is read once, and a bounded number of entries is in memory.
type check struct {
	r        *Repository
	m        *manifest
	want     func(packRef) bool                              // whether to read this pack
	need     func(piece) (bool, error)                       // nil: all; whether to visit a segment. By one goroutine
	hole     func(piece) error                               // nil: none; visits the segments of zeros, before all others. By one goroutine
	visit    func(h *checker, p piece, segment []byte) error // nil: none; by several goroutines
	first    bool                                            // end with the first damage
	progress *progress

	loaded [][]entry // the tables, if they are few
	mu     sync.Mutex
	damage *Damage
	names  [2]map[string]bool // of damaged objects and files
}

// checker is what one goroutine of a check works with.
type checker struct {
	decoder *zstd.Decoder
	buffer  []byte
	target  target // where a restore writes to
}

// damaged notes what was found. It gives an error if that is to be the end.
func (c *check) damaged(object string, err error, files ...uint32) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.damage == nil {
		c.damage = &Damage{Backup: c.m.ID, Err: err}
		c.names = [2]map[string]bool{{}, {}}
	}
	if len(c.damage.Objects) < maxDamage && !c.names[0][object] {
		c.names[0][object] = true
		c.damage.Objects = append(c.damage.Objects, object)
	}
	for _, f := range files {
		if p := c.m.Files[f].Path; len(c.damage.Files) < maxDamage && !c.names[1][p] {
			c.names[1][p] = true
			c.damage.Files = append(c.damage.Files, p)
		}
	}
	if c.first {
		return c.damage
	}
	return nil
}

// result is the damage in the order that is promised, or nil.
func (c *check) result() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.damage == nil {
		return nil
	}
	slices.Sort(c.damage.Objects)
	slices.Sort(c.damage.Files)
	return c.damage
}

// run reads the backup: *Damage, or an error about the way to the store.
func (c *check) run(ctx context.Context) error {
	c.progress.total(c.packBytes())
	counts := make([]int64, len(c.m.Packs)) // how many segments each pack has of this backup
	err := c.entries(ctx, func(p piece) error {
		if !p.hole() {
			counts[p.pack]++
		} else if c.hole != nil {
			return c.hole(p)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for from := 0; from < len(counts); {
		to, n := from, int64(0)
		for to < len(counts) && (to == from || n+counts[to] <= int64(c.r.pass)) {
			n += counts[to]
			to++
		}
		if err := c.packs(ctx, uint32(from), uint32(to), n); err != nil {
			return err
		}
		from = to
	}
	return c.result()
}

// packBytes is how much there is to read.
func (c *check) packBytes() (n int64) {
	for _, p := range c.m.Packs {
		if c.want == nil || c.want(p) {
			n += p.Size
		}
	}
	return n
}

// entries visits all segments of the backup in the order of the tables.
func (c *check) entries(ctx context.Context, visit func(piece) error) error {
	keep := c.m.Entries <= int64(c.r.pass)
	var table []entry
	number := -1
	for i := range c.m.Files {
		f := &c.m.Files[i]
		for s := range f.count() {
			at := int((f.First + s) / tableEntries)
			if at != number {
				number = at
				var err error
				if table, err = c.table(ctx, at, keep); err != nil {
					return err
				}
			}
			if table == nil {
				continue // damaged, and noted
			}
			e := table[(f.First+s)%tableEntries]
			_, n := f.Shift.span(s, f.Size)
			if err := e.check(n, len(c.m.Packs)); err != nil {
				if err := c.damaged(numbered(tablesAt, c.m.Tables[at].Of, c.m.Tables[at].Number), err, uint32(i)); err != nil {
					return err
				}
				continue
			}
			if err := visit(piece{e, uint32(i), uint32(s)}); err != nil {
				return err
			}
		}
	}
	return nil
}

// table gives one of the tables, and nil for one that is damaged.
func (c *check) table(ctx context.Context, i int, keep bool) ([]entry, error) {
	if i < len(c.loaded) {
		return c.loaded[i], nil
	}
	entries, err := c.r.table(ctx, c.m, i)
	var damage *Damage
	if errors.As(err, &damage) {
		from := int64(i) * tableEntries
		var files []uint32
		for f := range c.m.Files {
			if first := c.m.Files[f].First; first < from+tableEntries && first+c.m.Files[f].count() > from {
				files = append(files, uint32(f))
			}
		}
		err = c.damaged(damage.Objects[0], damage.Err, files...)
	}
	if err != nil {
		return nil, err
	}
	if keep {
		c.loaded = append(c.loaded, entries)
	}
	return entries, nil
}

// packs reads the packs from one to another, of which the backup has n segments.
func (c *check) packs(ctx context.Context, from, to uint32, n int64) error {
	pieces := make([]piece, 0, n)
	err := c.entries(ctx, func(p piece) error {
		if p.hole() || p.pack < from || p.pack >= to || c.want != nil && !c.want(c.m.Packs[p.pack]) {
			return nil
		}
		if c.need != nil {
			if ok, err := c.need(p); !ok || err != nil {
				return err
			}
		}
		pieces = append(pieces, p)
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortFunc(pieces, func(a, b piece) int {
		return cmp.Or(cmp.Compare(a.pack, b.pack), cmp.Compare(a.off, b.off), cmp.Compare(a.len, b.len), cmp.Compare(a.file, b.file), cmp.Compare(a.segment, b.segment))
	})
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	type job struct {
		pack   uint32
		pieces []piece
	}
	jobs := make(chan job)
	var all sync.WaitGroup
	for range c.r.parallel {
		all.Go(func() {
			h := &checker{decoder: newDecoder(maxSegment)}
			defer h.decoder.Close()
			defer h.target.close()
			for j := range jobs {
				if ctx.Err() == nil {
					if err := c.pack(ctx, h, c.m.Packs[j.pack], j.pieces); err != nil {
						cancel(err)
					}
				}
			}
		})
	}
	for i := from; i < to && ctx.Err() == nil; i++ {
		n, _ := slices.BinarySearchFunc(pieces, i+1, func(p piece, i uint32) int { return cmp.Compare(p.pack, i) })
		switch {
		case c.want != nil && !c.want(c.m.Packs[i]):
			continue
		case n == 0 && c.need != nil:
			c.progress.add(c.m.Packs[i].Size, 0)
			continue
		}
		select {
		case jobs <- job{i, pieces[:n]}:
		case <-ctx.Done():
		}
		pieces = pieces[n:]
	}
	close(jobs)
	all.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// pack reads one pack, and the segments in it, which are sorted by their place.
func (c *check) pack(ctx context.Context, h *checker, ref packRef, pieces []piece) error {
	name := numbered(packsAt, ref.Of, ref.Number)
	body, err := c.r.object(ctx, c.m, packsAt, ref)
	var damage *Damage
	if errors.As(err, &damage) {
		return c.damaged(name, damage.Err, filesOf(pieces)...)
	}
	if err != nil {
		return err
	}
	var segment []byte
	for i, p := range pieces {
		f := &c.m.Files[p.file]
		_, n := f.Shift.span(int64(p.segment), f.Size)
		if i == 0 || pieces[i-1].entry != p.entry || int64(len(segment)) != n {
			segment, err = h.segment(body, p.entry, n)
		}
		if err != nil {
			if err := c.damaged(name, err, p.file); err != nil {
				return err
			}
			continue
		}
		if c.visit != nil {
			if err := c.visit(h, p, segment); err != nil {
				return err
			}
		}
	}
	c.progress.add(ref.Size, 0)
	return nil
}

// segment takes one of n bytes out of a pack.
func (h *checker) segment(body []byte, e entry, n int64) ([]byte, error) {
	end := int64(e.off) + int64(e.len)
	if end > int64(len(body)) {
		return nil, errors.New("a segment lies outside of its pack")
	}
	if int64(cap(h.buffer)) < n {
		h.buffer = make([]byte, 0, max(n, batch))
	}
	segment, err := inflate(h.decoder, body[e.off:end], n, h.buffer)
	if err != nil {
		return nil, err
	}
	if s := sumOf(segment); !bytes.Equal(s[:], e.sum[:]) {
		return nil, fmt.Errorf("a segment has the sum %s, it was %s", s, e.sum)
	}
	return segment, nil
}

func filesOf(pieces []piece) []uint32 {
	files := make([]uint32, 0, len(pieces))
	for _, p := range pieces {
		files = append(files, p.file)
	}
	slices.Sort(files)
	return slices.Compact(files)
}

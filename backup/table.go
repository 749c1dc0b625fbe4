package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/klauspost/compress/zstd"
)

// A table is tableEntries entries, in the manifest's last one what is left, compressed by zstd.
const tableEntries = 1 << 16

// tables writes them, one after the other; by one goroutine.
type tables struct {
	r       *Repository
	id      string
	encoder *zstd.Encoder
	sealed  bytes.Buffer
	plain   []byte
	packed  []byte
	next    atomic.Uint32
	refs    []packRef
	count   int64
}

func (t *tables) add(ctx context.Context, entries []entry) error {
	for _, e := range entries {
		t.plain = e.append(t.plain)
		t.count++
		if len(t.plain) == tableEntries*entryBytes {
			if err := t.flush(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *tables) flush(ctx context.Context) error {
	if len(t.plain) == 0 {
		return nil
	}
	t.packed = t.encoder.EncodeAll(t.plain, t.packed[:0])
	t.plain = t.plain[:0]
	object, err := t.r.keys.seal(t.packed, &t.sealed)
	if err != nil {
		return err
	}
	ref := packRef{Of: t.id, Size: int64(len(object)), Sum: sumOf(object)}
	if ref.Number, err = t.r.putNumbered(ctx, tablesAt, t.id, &t.next, object); err != nil {
		return fmt.Errorf("write a table: %w", err)
	}
	t.refs = append(t.refs, ref)
	return nil
}

// putNumbered stores an object under the next number that nobody has taken.
func (r *Repository) putNumbered(ctx context.Context, at, id string, next *atomic.Uint32, object []byte) (uint32, error) {
	for {
		n := next.Add(1)
		if err := r.store.Put(ctx, numbered(at, id, n), object); !errors.Is(err, ErrExists) {
			return n, err
		}
	}
}

// object reads one that a manifest refers to, and compares it: *Damage, without the files.
func (r *Repository) object(ctx context.Context, m *manifest, at string, ref packRef) ([]byte, error) {
	name := numbered(at, ref.Of, ref.Number)
	damaged := func(err error) ([]byte, error) {
		return nil, &Damage{Backup: m.ID, Objects: []string{name}, Err: err}
	}
	object, err := r.store.Get(ctx, name)
	switch {
	case errors.Is(err, ErrNotFound):
		return damaged(err)
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", name, err)
	case int64(len(object)) != ref.Size:
		return damaged(fmt.Errorf("it has %d bytes, %d were written", len(object), ref.Size))
	case sumOf(object) != ref.Sum:
		return damaged(errors.New("its bytes have changed"))
	}
	body, err := r.keys.open(object)
	if err != nil {
		return damaged(err)
	}
	return body, nil
}

// table reads the entries of table i of a manifest, and checks what can be checked without the files.
func (r *Repository) table(ctx context.Context, m *manifest, i int) ([]entry, error) {
	body, err := r.object(ctx, m, tablesAt, m.Tables[i])
	if err != nil {
		return nil, err
	}
	entries, err := parseTable(body, min(tableEntries, m.Entries-int64(i)*tableEntries))
	if err != nil {
		return nil, &Damage{Backup: m.ID, Objects: []string{numbered(tablesAt, m.Tables[i].Of, m.Tables[i].Number)}, Err: err}
	}
	return entries, nil
}

// parseTable reads a table of n entries.
func parseTable(body []byte, n int64) ([]entry, error) {
	d := newDecoder(tableEntries * entryBytes)
	defer d.Close()
	plain, err := d.DecodeAll(body, make([]byte, 0, n*entryBytes))
	if err != nil {
		return nil, fmt.Errorf("decompress a table: %w", err)
	}
	if int64(len(plain)) != n*entryBytes {
		return nil, fmt.Errorf("a table of %d bytes cannot have %d entries", len(plain), n)
	}
	entries := make([]entry, n)
	for i := range entries {
		entries[i] = entryAt(plain[i*entryBytes:])
	}
	return entries, nil
}

// reader gives the entries of a manifest; it keeps the latest tables. By one goroutine.
type reader struct {
	r      *Repository
	m      *manifest
	number [2]int // of the tables, plus one
	table  [2][]entry
}

// entries appends those from the given one on, of all files counted together.
func (t *reader) entries(ctx context.Context, to []entry, from, n int64) ([]entry, error) {
	for n > 0 {
		i := int(from / tableEntries)
		if t.number[0] != i+1 {
			t.number[0], t.number[1] = t.number[1], t.number[0]
			t.table[0], t.table[1] = t.table[1], t.table[0]
		}
		if t.number[0] != i+1 {
			loaded, err := t.r.table(ctx, t.m, i)
			if err != nil {
				return nil, err
			}
			t.number[0], t.table[0] = i+1, loaded
		}
		part := t.table[0][from%tableEntries:]
		part = part[:min(n, int64(len(part)))]
		to = append(to, part...)
		from += int64(len(part))
		n -= int64(len(part))
	}
	return to, nil
}

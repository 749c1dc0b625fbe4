package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"
)

// hands is what a reader works with.
type hands struct {
	encoder *zstd.Encoder
	buffer  []byte
	packed  []byte
}

// read does jobs until there are no more; after the first error of anybody it only takes them away.
func (w *writer) read(ctx context.Context) {
	h := &hands{encoder: newEncoder()}
	defer func() { _ = h.encoder.Close() }()
	for j := range w.jobs {
		if ctx.Err() == nil {
			if err := w.do(ctx, h, j); err != nil {
				w.fail(err)
			}
		}
		w.release(j.work)
	}
}

func (w *writer) do(ctx context.Context, h *hands, j job) error {
	if j.open == nil {
		f, err := os.Open(j.real)
		if errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("%w: %w", ErrChanged, err)
		}
		if err != nil {
			return err
		}
		j.open = f // it is the only job; release closes it
		if err := j.unchanged(w.src.Ahead); err != nil {
			return err
		}
	}
	start, _ := j.Shift.at(j.first)
	last, n := j.Shift.span(j.first+j.n-1, j.file.Size)
	size := int(last + n - start)
	if cap(h.buffer) < size {
		h.buffer = make([]byte, max(size, batch))
	}
	all := h.buffer[:size]
	if err := readFull(j.open, all, start); err != nil {
		return err
	}
	for i := range j.n {
		off, n := j.Shift.span(j.first+i, j.file.Size)
		segment := all[off-start:][:n]
		if !zeros(segment) {
			e, err := w.segment(ctx, h, segment, j.rivals, i)
			if err != nil {
				return err
			}
			j.entries[j.first+i] = e
		}
		w.progress.add(n, 0)
	}
	return nil
}

// segment finds the segment where it is already, or packs it. It is number i of those that the rivals have.
func (w *writer) segment(ctx context.Context, h *hands, segment []byte, rivals []rival, i int64) (entry, error) {
	s := sumOf(segment)
	for _, rival := range rivals {
		if i >= int64(len(rival.entries)) {
			continue
		}
		if e := rival.entries[i]; !e.hole() && e.sum == s && rival.base.usable(e) {
			e.pack = w.packer.refer(rival.base.m.Packs[e.pack])
			return e, nil
		}
	}
	if e, ref, ok := w.stock.find(s); ok {
		e.pack = w.packer.refer(ref)
		return e, nil
	}
	h.packed = h.encoder.EncodeAll(segment, h.packed[:0])
	stored := h.packed
	if len(stored) >= len(segment) {
		stored = segment
	}
	return w.packer.add(ctx, s, stored, len(segment))
}

// readFull reads what a file must have.
func readFull(f *os.File, b []byte, off int64) error {
	n, err := f.ReadAt(b, off)
	if n < len(b) && (err == nil || errors.Is(err, io.EOF)) {
		return fmt.Errorf("%w: %s has shrunk", ErrChanged, f.Name())
	}
	if n < len(b) {
		return err
	}
	return nil
}

var nothing [4096]byte

// zeros says whether b has nothing else.
func zeros(b []byte) bool {
	for len(b) > len(nothing) {
		if !bytes.Equal(b[:len(nothing)], nothing[:]) {
			return false
		}
		b = b[len(nothing):]
	}
	return bytes.Equal(b, nothing[:len(b)])
}

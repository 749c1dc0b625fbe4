package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync/atomic"
)

// noFollow: what is opened is no link.
const noFollow = 0x20000 // unix.O_NOFOLLOW

// batch is how many bytes of a file are read at a time, where its segments are not larger.
const batch = 1 << 20

// work is a file on its way through the pipeline.
type work struct {
	*found
	file    file // as the manifest will have it
	entries []entry
	open    *os.File // nil: whoever has its only job opens it
	left    atomic.Int64
	done    chan struct{}
}

// job is a run of segments that must be read.
type job struct {
	*work
	first, n int64
	rivals   []rival
}

// rival is what a base has at the place of a job's segments; there may be fewer.
type rival struct {
	base    *base
	entries []entry
}

// feed plans file by file, and gives what must be read to the readers.
func (w *writer) feed(ctx context.Context) error {
	for _, f := range w.found {
		k := &work{found: f, file: f.file, done: make(chan struct{})}
		k.left.Store(1)
		if f.CTime > w.young || f.MTime > w.young {
			k.file.CTime = 0
		}
		if w.src.Ahead && !f.Dir {
			k.file.Size, _ = f.Shift.at(f.Shift.whole(f.Size))
		}
		if !f.Dir {
			k.entries = make([]entry, k.file.count())
		}
		err := w.plan(ctx, k)
		if w.src.Ahead && errors.Is(err, fs.ErrNotExist) {
			w.r.log.Info("left out of the backup", "path", f.Path, "reason", err)
			w.release(k)
			continue
		}
		if err == nil {
			select {
			case w.files <- k:
			case <-ctx.Done():
				err = context.Cause(ctx)
			}
		}
		w.release(k)
		if err != nil {
			return err
		}
	}
	return nil
}

// plan finds out which segments of a file must be read.
func (w *writer) plan(ctx context.Context, k *work) error {
	if len(k.entries) == 0 {
		return nil
	}
	all := matches(w.bases, k.found)
	for _, m := range all {
		if m.same {
			if ok, err := w.reuse(ctx, k, m, 0, int64(len(k.entries)), false); ok || err != nil {
				return err
			}
		}
	}
	if k.file.Size <= batch && k.file.Size >= 0 && !w.src.Ahead {
		return w.send(ctx, k, all, 0, int64(len(k.entries)))
	}
	f, err := os.Open(k.real)
	if err != nil {
		return err
	}
	k.open = f
	if err := k.unchanged(w.src.Ahead); err != nil {
		return err
	}
	var grown *match
	var kept int64 // segments that are taken from the base
	for i := range all {
		if all[i].grown && grown == nil {
			if kept, err = w.prefix(ctx, k, all[i]); err != nil {
				return err
			}
			if kept > 0 {
				grown = &all[i]
			}
		}
	}
	if grown != nil {
		if err := w.keep(ctx, k, all, *grown, kept); err != nil {
			return err
		}
	}
	return w.rest(ctx, k, all, kept)
}

// rest sends all segments from one on to the readers, but for holes.
func (w *writer) rest(ctx context.Context, k *work, all []match, from int64) error {
	var first, n int64 // adjacent ones go together
	err := layout(k.open, k.Shift, from, int64(len(k.entries)), k.Size, func(p part, at, count int64) error {
		if p == holes {
			return nil
		}
		if n > 0 && first+n != at {
			if err := w.send(ctx, k, all, first, n); err != nil {
				return err
			}
			n = 0
		}
		if n == 0 {
			first = at
		}
		n += count
		return nil
	})
	if err == nil && n > 0 {
		err = w.send(ctx, k, all, first, n)
	}
	return err
}

// keep takes the first segments of a file from a base, but for those that lie at the edge of a hole, which may be another one
// than it was: they are read.
func (w *writer) keep(ctx context.Context, k *work, all []match, m match, kept int64) error {
	return layout(k.open, k.Shift, 0, kept, k.Size, func(p part, at, count int64) error {
		switch p {
		case holes:
			return nil
		case mixed:
			return w.send(ctx, k, all, at, count)
		}
		for at < kept && count > 0 {
			n := min(count, tableEntries)
			ok, err := w.reuse(ctx, k, m, at, n, true)
			if err != nil {
				return err
			}
			if !ok {
				if err := w.send(ctx, k, all, at, n); err != nil {
					return err
				}
			}
			at, count = at+n, count-n
		}
		return nil
	})
}

// reuse takes entries of a base as they are, if all of them can be had and their packs are still there. Where the file is dense,
// without a hole, what were zeros is read.
func (w *writer) reuse(ctx context.Context, k *work, m match, at, n int64, dense bool) (bool, error) {
	entries, err := m.entries(ctx, at, n)
	if err != nil || int64(len(entries)) != n {
		return false, err
	}
	for _, e := range entries {
		if !m.base.usable(e) {
			return false, nil
		}
	}
	var bytes int64
	last, index := packRef{}, uint32(0)
	for i, e := range entries {
		if e.hole() {
			if dense {
				if err := w.send(ctx, k, nil, at+int64(i), 1); err != nil {
					return false, err
				}
			}
			continue
		}
		if ref := m.base.m.Packs[e.pack]; ref != last {
			last, index = ref, w.packer.refer(ref)
		}
		e.pack = index
		k.entries[at+int64(i)] = e
		_, size := k.Shift.span(at+int64(i), k.file.Size)
		bytes += size
	}
	w.progress.add(bytes, 0)
	return true, nil
}

// prefix gives how many segments a file that grows has in common with a base: all that were whole then, if the first and the
// last of them are what they were. A log whose end was written again, because the chain has switched to another fork, has
// fewer: what was written again goes from one segment up to the end.
func (w *writer) prefix(ctx context.Context, k *work, m match) (int64, error) {
	n := min(k.Shift.whole(m.file.Size), int64(len(k.entries)))
	if n == 0 {
		return 0, nil
	}
	if ok, err := w.compare(ctx, k, m, 0); !ok || err != nil {
		return 0, err
	}
	for ; n > 1; n-- {
		if ok, err := w.compare(ctx, k, m, n-1); ok || err != nil {
			return n, err
		}
	}
	return n, nil
}

// compare reads a whole segment, and says whether it is that of the base.
func (w *writer) compare(ctx context.Context, k *work, m match, i int64) (bool, error) {
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	entries, err := m.entries(ctx, i, 1)
	if err != nil || len(entries) == 0 {
		return false, err
	}
	off, size := k.Shift.at(i)
	b := make([]byte, size)
	if err := readFull(k.open, b, off); err != nil {
		return false, err
	}
	if zeros(b) {
		return entries[0].hole(), nil
	}
	return sumOf(b) == entries[0].sum, nil
}

// send gives segments to the readers, in batches.
func (w *writer) send(ctx context.Context, k *work, all []match, first, n int64) error {
	for n > 0 {
		count, bytes := int64(0), int64(0)
		for count < n {
			_, size := k.Shift.span(first+count, k.file.Size)
			if count > 0 && bytes+size > batch {
				break
			}
			count, bytes = count+1, bytes+size
		}
		j := job{work: k, first: first, n: count}
		for _, m := range all {
			entries, err := m.entries(ctx, first, count)
			if err != nil {
				return err
			}
			if len(entries) > 0 {
				j.rivals = append(j.rivals, rival{m.base, entries})
			}
		}
		k.left.Add(1)
		select {
		case w.jobs <- j:
		case <-ctx.Done():
			w.release(k)
			return context.Cause(ctx)
		}
		first, n = first+count, n-count
	}
	return nil
}

// release is called once for each job, and once by the feeder. The last one closes the file.
func (w *writer) release(k *work) {
	if k.left.Add(-1) > 0 {
		return
	}
	if k.open != nil {
		if err := k.unchanged(w.src.Ahead); err != nil {
			w.fail(err)
		}
		k.open.Close()
	}
	close(k.done)
}

// unchanged says whether the file is what it was when the walk came by.
func (k *work) unchanged(ahead bool) error {
	info, err := k.open.Stat()
	if err != nil {
		return err
	}
	now, err := factsOf(info)
	if err != nil {
		return err
	}
	changed := func(what string) error {
		return fmt.Errorf("%w: %s %s (hint: stop the node, or whatever else writes there)", ErrChanged, k.real, what)
	}
	switch {
	case now.Inode != k.Inode:
		return changed("is another file now")
	case ahead && now.Size < k.file.Size, !ahead && now.Size < k.Size:
		return changed("has shrunk")
	case ahead:
		return nil
	case now.Size > k.Size:
		return changed("has grown")
	case now.MTime != k.MTime || now.CTime != k.CTime:
		return changed("was written to")
	}
	return nil
}

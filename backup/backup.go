package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Backup stores a folder: packs and tables, and then pending/<id>. Called again after it has failed or was killed it goes on
// with the packs that are there; once it is pending or committed, it only tells what is in it. With Source.Ahead it leaves
// packs, tables and ahead/<id>, for the real run with the same id.
//
// Errors: ErrSource, ErrChanged where a file was written to meanwhile, ErrChain; others are about the store or the disk, and it
// may be called again. say may be nil; it is called by one goroutine at a time.
func (r *Repository) Backup(ctx context.Context, id string, src Source, say func(Progress)) (Info, error) {
	if err := validID(id); err != nil {
		return Info{}, err
	}
	for _, at := range []string{manifestsAt, pendingAt} {
		m, err := r.manifest(ctx, at, id)
		if err == nil {
			newProgress(say, "stored", 0).end("stored")
			return m.info(), nil
		}
		if damage := new(Damage); at == pendingAt && errors.As(err, &damage) {
			if err := r.store.Delete(ctx, pendingAt+id); err != nil { // nobody can need it
				return Info{}, fmt.Errorf("delete a damaged manifest: %w", err)
			}
			continue
		}
		if !errors.Is(err, ErrNotFound) {
			return Info{}, err
		}
	}
	w, err := r.newWriter(ctx, id, src)
	if err != nil {
		return Info{}, fmt.Errorf("backup %s: %w", id, err)
	}
	defer w.journal.close()
	m, err := w.run(ctx, say)
	if err != nil {
		return Info{}, fmt.Errorf("backup %s: %w", id, err)
	}
	return m.info(), nil
}

// writer is one run of Backup.
type writer struct {
	r        *Repository
	id       string
	src      Source
	found    []*found
	bases    []*base
	stock    *stock
	journal  *journal
	packer   *packer
	tables   *tables
	progress *progress
	young    int64 // Unix ns: a file that was changed after it may change again without another time

	fail  func(error)
	jobs  chan job
	files chan *work
	m     *manifest
}

// youth is how long after a change of a file another one may leave its time as it is, with room for file systems with coarse
// clocks.
const youth = 2 * time.Second

func (r *Repository) newWriter(ctx context.Context, id string, src Source) (*writer, error) {
	w := &writer{r: r, id: id, src: src, young: time.Now().Add(-youth).UnixNano()}
	var err error
	if w.found, err = walk(src, r.log); err != nil {
		return nil, err
	}
	w.found = slices.DeleteFunc(w.found, func(f *found) bool {
		return src.Ahead && !f.Dir && (f.class != grows && f.class != archive || f.Shift.whole(f.Size) == 0)
	})
	if !src.Ahead && !slices.ContainsFunc(w.found, func(f *found) bool { return !f.Dir }) {
		return nil, fmt.Errorf("%w: no file in %s", ErrSource, src.Dir)
	}
	present := map[string]int64{}
	for object, err := range r.store.List(ctx, packsAt) {
		if err != nil {
			return nil, fmt.Errorf("list the packs: %w", err)
		}
		present[object.Name] = object.Size
	}
	if w.bases, err = r.bases(ctx, id, src, present); err != nil {
		return nil, err
	}
	var known map[uint32]record
	w.journal, known = r.openJournal(id)
	var highest uint32
	if w.stock, highest, err = r.stock(ctx, id, present, known); err != nil {
		w.journal.close()
		return nil, err
	}
	w.packer = newPacker(r, id, highest, w.journal, func(n int64) { w.progress.add(0, n) })
	w.tables = &tables{r: r, id: id}
	return w, nil
}

// run reads, packs and stores at the same time, and writes the manifest at the end.
func (w *writer) run(ctx context.Context, say func(Progress)) (*manifest, error) {
	var total int64
	for _, f := range w.found {
		total += min(f.Size, f.blocks)
	}
	w.progress = newProgress(say, "storing", total)
	w.m = &manifest{
		Version: formatVersion, Repository: w.r.format.id, ID: w.id, Ahead: w.src.Ahead, Meta: w.src.Meta,
		Files: []file{}, Packs: []packRef{}, Tables: []packRef{},
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	w.fail = func(err error) { cancel(err) }
	w.jobs, w.files = make(chan job, 2*w.r.parallel), make(chan *work, 256)

	var readers, writers, collector sync.WaitGroup
	for range w.r.parallel {
		readers.Go(func() { w.read(ctx) })
	}
	for range putters {
		writers.Go(func() { w.packer.store(ctx, w.fail) })
	}
	collector.Go(func() { w.collect(ctx) })
	if err := w.feed(ctx); err != nil {
		w.fail(err)
	}
	close(w.jobs)
	close(w.files)
	readers.Wait()
	if err := w.packer.flush(ctx); err != nil {
		w.fail(err)
	}
	close(w.packer.full)
	writers.Wait()
	collector.Wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err := w.finish(ctx); err != nil {
		return nil, err
	}
	w.progress.end("stored")
	return w.m, nil
}

// collect writes the entries of the files into tables, in the order of the files.
func (w *writer) collect(ctx context.Context) {
	w.tables.encoder = newEncoder()
	defer func() { _ = w.tables.encoder.Close() }()
	for f := range w.files {
		select {
		case <-f.done:
		case <-ctx.Done():
			continue
		}
		if ctx.Err() != nil {
			continue
		}
		f.file.First = w.tables.count
		if f.file.Dir {
			f.file.First = 0
		}
		for i, e := range f.entries {
			if _, n := f.file.Shift.span(int64(i), f.file.Size); !e.hole() {
				w.m.Data += n
			}
		}
		w.m.Size += f.file.Size
		w.m.Files = append(w.m.Files, f.file)
		if err := w.tables.add(ctx, f.entries); err != nil {
			w.fail(err)
		}
	}
	if ctx.Err() == nil {
		if err := w.tables.flush(ctx); err != nil {
			w.fail(err)
		}
	}
}

// finish writes the manifest. Everything it refers to is stored.
func (w *writer) finish(ctx context.Context) error {
	m := w.m
	m.Packs, m.Tables, m.Entries = append(m.Packs, w.packer.all()...), append(m.Tables, w.tables.refs...), w.tables.count
	if err := m.check(); err != nil {
		return err
	}
	body, err := m.encode()
	if err != nil {
		return err
	}
	var sealed bytes.Buffer
	object, err := w.r.keys.seal(body, &sealed)
	if err != nil {
		return err
	}
	m.object, m.bytes = sumOf(object), int64(len(object))
	if m.Ahead {
		if err := w.r.store.Delete(ctx, aheadAt+w.id); err != nil {
			return fmt.Errorf("delete an older manifest: %w", err)
		}
		err = w.r.store.Put(ctx, aheadAt+w.id, object)
	} else {
		err = w.r.store.Put(ctx, pendingAt+w.id, object)
	}
	if errors.Is(err, ErrExists) { // somebody has made the same backup meanwhile, or an error hid that this one was stored
		at := pendingAt
		if m.Ahead {
			at = aheadAt
		}
		w.m, err = w.r.manifest(ctx, at, w.id)
	}
	if err != nil {
		return fmt.Errorf("write the manifest: %w", err)
	}
	return nil
}

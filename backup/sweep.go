package backup

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// defaultGrace is Keep.Grace where none is given.
const defaultGrace = 7 * 24 * time.Hour

// sweep is one run of Sweep.
type sweep struct {
	r        *Repository
	keep     map[string]bool
	drop     map[string]bool
	grace    time.Duration
	swept    Swept
	progress *progress
	now      time.Time // by the store's clock

	objects []Object             // in packs/ and tables/
	roots   map[string][]string  // id -> where it has a manifest, pending and ahead among them
	newest  map[string]time.Time // id -> when its youngest object was written
	sizes   map[string]int64     // of the roots, by name
	needed  map[string]bool      // packs and tables that are referred to
	left    map[string]bool      // ids that have something left
}

// Sweep deletes the backups of Keep.Drop, then packs and tables that no manifest refers to any more. It leaves alone what belongs
// to a backup of Keep.Keep that has no manifest yet, what is unknown and has one, and what is unknown and younger than the
// grace. A manifest that should be kept and cannot be read is an error, and then nothing but Keep.Drop was deleted: what it
// refers to is not known. Called again after a kill it goes on.
//
// Who calls it must have every backup in Keep.Keep that is done or running, and those that a running one was given as bases.
func (r *Repository) Sweep(ctx context.Context, keep Keep, say func(Progress)) (Swept, error) {
	s := &sweep{
		r: r, keep: map[string]bool{}, drop: map[string]bool{}, grace: keep.Grace, progress: newProgress(say, "sweeping", 0),
		roots: map[string][]string{}, newest: map[string]time.Time{}, sizes: map[string]int64{}, needed: map[string]bool{}, left: map[string]bool{},
	}
	if s.grace <= 0 {
		s.grace = defaultGrace
	}
	for _, id := range keep.Keep {
		s.keep[id] = true
	}
	for _, id := range keep.Drop {
		s.drop[id] = !s.keep[id]
	}
	if err := s.run(ctx); err != nil {
		return s.swept, fmt.Errorf("sweep: %w", err)
	}
	for id, drop := range s.drop {
		if drop && !s.left[id] {
			s.swept.Gone = append(s.swept.Gone, id)
		}
	}
	slices.Sort(s.swept.Gone)
	s.progress.end("swept")
	return s.swept, nil
}

func (s *sweep) run(ctx context.Context) error {
	if err := s.clock(ctx); err != nil {
		return err
	}
	// The packs first: a manifest that comes after them refers to nothing that was not there for it.
	if err := s.list(ctx); err != nil {
		return err
	}
	s.progress.total(int64(len(s.objects) + len(s.sizes)))
	if err := s.dropRoots(ctx); err != nil {
		return err
	}
	if err := s.mark(ctx); err != nil {
		return err
	}
	for _, o := range s.objects {
		if err := ctx.Err(); err != nil {
			return err
		}
		_, id, _, ok := numberOf(o.Name)
		if ok && !s.needed[o.Name] && s.garbage(id) {
			if s.delete(ctx, o.Name, o.Size) {
				s.swept.Packs++
			} else {
				s.left[id] = true
			}
		}
		s.progress.add(1, 0)
	}
	return nil
}

// clock asks the store for its time, with an object that is deleted again: its clock need not be ours.
func (s *sweep) clock(ctx context.Context) error {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	own := clockAt + hex.EncodeToString(b[:])
	if err := s.r.store.Put(ctx, own, []byte("what time is it\n")); err != nil {
		return fmt.Errorf("ask the store for its time: %w", err)
	}
	var others []string
	for o, err := range s.r.store.List(ctx, clockAt) {
		if err != nil {
			return fmt.Errorf("ask the store for its time: %w", err)
		}
		if others = append(others, o.Name); o.Name == own {
			s.now = o.Modified
		}
	}
	for _, name := range others { // those of sweeps that were killed, too
		if err := s.r.store.Delete(ctx, name); err != nil {
			return fmt.Errorf("delete %s: %w", name, err)
		}
	}
	if s.now.IsZero() {
		return errors.New("the store does not list what was just written into it")
	}
	return nil
}

func (s *sweep) list(ctx context.Context) error {
	note := func(id string, o Object) {
		if o.Modified.After(s.newest[id]) {
			s.newest[id] = o.Modified
		}
	}
	for _, at := range []string{packsAt, tablesAt} {
		for o, err := range s.r.store.List(ctx, at) {
			if err != nil {
				return fmt.Errorf("list %s: %w", at, err)
			}
			if _, id, _, ok := numberOf(o.Name); ok {
				s.objects = append(s.objects, o)
				note(id, o)
			}
		}
	}
	for _, at := range []string{aheadAt, pendingAt, manifestsAt} { // a backup goes this way: none is missed
		for o, err := range s.r.store.List(ctx, at) {
			if err != nil {
				return fmt.Errorf("list %s: %w", at, err)
			}
			if id := strings.TrimPrefix(o.Name, at); validID(id) == nil {
				s.roots[id] = append(s.roots[id], at)
				s.sizes[o.Name] = o.Size
				note(id, o)
			}
		}
	}
	return nil
}

// garbage says whether what a backup has written, and nothing refers to, may be deleted.
func (s *sweep) garbage(id string) bool {
	switch {
	case s.drop[id] || slices.Contains(s.roots[id], manifestsAt):
		return true // nobody goes on with it
	case s.keep[id]:
		return false // it is running
	}
	return s.now.Sub(s.newest[id]) > s.grace
}

// dropRoots deletes the manifests of what is to go, and what is left over of unfinished ones.
func (s *sweep) dropRoots(ctx context.Context) error {
	for id, ats := range s.roots {
		committed := slices.Contains(ats, manifestsAt)
		var stay []string
		for _, at := range ats {
			if err := ctx.Err(); err != nil {
				return err
			}
			s.progress.add(1, 0)
			if !s.drop[id] && (at == manifestsAt || !committed && !s.garbage(id)) {
				stay = append(stay, at)
				continue
			}
			switch {
			case !s.delete(ctx, at+id, s.sizes[at+id]):
				stay = append(stay, at)
				s.left[id] = true
			case at == manifestsAt:
				s.swept.Manifests++
			default:
				s.swept.Pending++
			}
		}
		s.roots[id] = stay
	}
	return nil
}

// mark finds out what is needed.
func (s *sweep) mark(ctx context.Context) error {
	for id, ats := range s.roots {
		for _, at := range ats {
			m, err := s.r.manifest(ctx, at, id)
			var damage *Damage
			switch {
			case errors.Is(err, ErrNotFound) && at != manifestsAt:
				// it was committed, or failed, since; its manifest is read below or its packs are its own
				if err := s.markCommitted(ctx, id); err != nil {
					return err
				}
				continue
			case errors.Is(err, ErrNotFound):
				continue
			case errors.As(err, &damage) && at == aheadAt:
				continue // nobody will use it
			case err != nil:
				return fmt.Errorf("what is needed cannot be told (hint: let backup %s be dropped, if it is of no use any more): %w", id, err)
			}
			s.need(m)
		}
	}
	return nil
}

// markCommitted is for a backup that went on between the listing and the reading.
func (s *sweep) markCommitted(ctx context.Context, id string) error {
	m, err := s.r.manifest(ctx, manifestsAt, id)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("what is needed cannot be told: %w", err)
	}
	s.need(m)
	return nil
}

func (s *sweep) need(m *manifest) {
	for _, p := range m.Packs {
		s.needed[numbered(packsAt, p.Of, p.Number)] = true
	}
	for _, p := range m.Tables {
		s.needed[numbered(tablesAt, p.Of, p.Number)] = true
	}
}

// delete removes an object, and counts it; an error is noted.
func (s *sweep) delete(ctx context.Context, name string, size int64) bool {
	if err := s.r.store.Delete(ctx, name); err != nil {
		s.swept.Failed++
		if s.swept.Problem == "" {
			s.swept.Problem = fmt.Sprintf("delete %s: %v", name, err)
		}
		return false
	}
	s.swept.Bytes += size
	return true
}

package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"roundtable/durable"
)

// Marker is the file in a folder that a restore has made or is making. Settle removes it once the folder is put in place.
const Marker = ".roundtable-restore"

// mark is what is in the marker.
type mark struct {
	Repository string `json:"repository"`
	Backup     string `json:"backup"`
	Manifest   string `json:"manifest"`
	Done       bool   `json:"done"`
}

// Restore writes a committed backup into a folder, which is missing, empty, or one that Restore of the same backup has begun:
// then what is there already is compared, and what is missing is fetched. Every segment is verified before it is written; the
// first damage is an error. Holes are holes, and what has only zeros may be one. All is on disk when it returns. The Marker
// stays in the folder.
//
// Errors: ErrNoBackup, *Damage, ErrFolder; after others it may be called again.
func (r *Repository) Restore(ctx context.Context, id, dir string, say func(Progress)) (Info, error) {
	m, err := r.find(ctx, id, manifestsAt)
	if err != nil {
		return Info{}, err
	}
	if err := r.restore(ctx, m, dir, say); err != nil {
		return Info{}, fmt.Errorf("restore backup %s into %s: %w", id, dir, err)
	}
	return m.info(), nil
}

// Restored tells whether a folder was made by Restore, from which backup, and whether that is complete.
func Restored(dir string) (id string, done, ok bool) {
	m, err := readMark(dir)
	return m.Backup, m.Done, err == nil
}

// Settle removes the Marker. Without one it does nothing.
func Settle(dir string) error {
	if err := os.Remove(filepath.Join(dir, Marker)); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	return durable.Sync(dir)
}

func readMark(dir string) (mark, error) {
	content, err := os.ReadFile(filepath.Join(dir, Marker))
	if err != nil {
		return mark{}, err
	}
	var m mark
	return m, json.Unmarshal(content, &m)
}

func writeMark(dir string, m mark) error {
	content, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return durable.Write(filepath.Join(dir, Marker), append(content, '\n'))
}

// restorer is one run of Restore.
type restorer struct {
	m     *manifest
	root  *os.Root // nothing outside of it can be reached
	again bool     // there may be something in the folder already
}

func (r *Repository) restore(ctx context.Context, m *manifest, dir string, say func(Progress)) error {
	marked := mark{Repository: r.format.id, Backup: m.ID, Manifest: m.object.String()}
	again, err := ready(dir, marked)
	if err != nil {
		return err
	}
	if err := writeMark(dir, marked); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	s := &restorer{m: m, root: root, again: again}
	if err := s.layOut(ctx); err != nil {
		return err
	}
	c := &check{r: r, m: m, first: true, visit: s.write, progress: newProgress(say, "restoring", 0)}
	var have target
	defer have.close()
	if again {
		c.hole = func(p piece) error {
			f, err := have.of(s, p.file)
			if err != nil || ctx.Err() != nil {
				return errors.Join(err, context.Cause(ctx))
			}
			off, n := m.Files[p.file].Shift.span(int64(p.segment), m.Files[p.file].Size)
			return punch(f, off, n)
		}
		c.need = func(p piece) (bool, error) {
			if ctx.Err() != nil {
				return false, context.Cause(ctx)
			}
			ok, err := have.has(s, p)
			return !ok, err
		}
	}
	if err := c.run(ctx); err != nil {
		return err
	}
	if err := s.settle(ctx, r.parallel); err != nil {
		return err
	}
	marked.Done = true
	if err := writeMark(dir, marked); err != nil {
		return err
	}
	c.progress.end("restored")
	return nil
}

// ready makes the folder, or says whether it is one that may be gone on with.
func ready(dir string, want mark) (again bool, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return false, err
	}
	names, err := os.ReadDir(dir)
	if err != nil {
		return false, err
	}
	for _, d := range names {
		if strings.HasPrefix(d.Name(), "."+Marker) { // of a marker that was being written
			if err := os.Remove(filepath.Join(dir, d.Name())); err != nil {
				return false, err
			}
			continue
		}
		again = true
	}
	if !again {
		return false, nil
	}
	have, err := readMark(dir)
	have.Done = false
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, fmt.Errorf("%w (hint: restore into a new one)", ErrFolder)
	case err != nil:
		return false, fmt.Errorf("%w, and its %s cannot be read: %w", ErrFolder, Marker, err)
	case have != want:
		return false, fmt.Errorf("%w: it has what was restored from backup %.100s (hint: restore into a new one)", ErrFolder, have.Backup)
	}
	return true, nil
}

// layOut makes all folders, and all files with their size and nothing in them.
func (s *restorer) layOut(ctx context.Context) error {
	for i := range s.m.Files {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := s.make(&s.m.Files[i]); err != nil {
			return err
		}
	}
	return nil
}

func (s *restorer) make(f *file) error {
	info, err := s.root.Lstat(f.Path)
	there := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if f.Dir {
		if !there {
			return s.root.Mkdir(f.Path, 0o700)
		}
		if !info.IsDir() {
			return fmt.Errorf("%w: %s is no folder", ErrFolder, f.Path)
		}
		return s.root.Chmod(f.Path, 0o700)
	}
	if there {
		if !info.Mode().IsRegular() {
			return fmt.Errorf("%w: %s is no file", ErrFolder, f.Path)
		}
		if err := s.root.Chmod(f.Path, 0o600); err != nil {
			return err
		}
	}
	o, err := s.root.OpenFile(f.Path, os.O_RDWR|os.O_CREATE|noFollow, 0o600)
	if err != nil {
		return err
	}
	defer o.Close()
	if there && info.Size() != f.Size {
		if err := o.Truncate(0); err != nil {
			return err
		}
	}
	return o.Truncate(f.Size)
}

// settle gives files and folders their modes and times, and makes all of it last.
func (s *restorer) settle(ctx context.Context, parallel int) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	jobs := make(chan *file)
	var all sync.WaitGroup
	for range 2 * parallel { // it is the disk that is waited for
		all.Go(func() {
			for f := range jobs {
				if ctx.Err() != nil {
					continue
				}
				if err := s.last(f); err != nil {
					cancel(err)
				}
			}
		})
	}
	for i := range s.m.Files {
		if f := &s.m.Files[i]; !f.Dir && ctx.Err() == nil {
			select {
			case jobs <- f:
			case <-ctx.Done():
			}
		}
	}
	close(jobs)
	all.Wait()
	for i := len(s.m.Files) - 1; i >= 0 && ctx.Err() == nil; i-- { // what is in a folder comes after it
		if f := &s.m.Files[i]; f.Dir {
			if err := s.last(f); err != nil {
				cancel(err)
			}
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// last gives a file or folder its mode and times, and syncs it.
func (s *restorer) last(f *file) error {
	o, err := s.root.OpenFile(f.Path, os.O_RDONLY|noFollow, 0)
	if err != nil {
		return err
	}
	defer o.Close()
	if err := o.Chmod(fs.FileMode(f.Mode)); err != nil {
		return err
	}
	at := time.Unix(0, f.MTime)
	if err := s.root.Chtimes(f.Path, at, at); err != nil {
		return err
	}
	return o.Sync()
}

package backup

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// found is a file or folder of a Source, as it was when the walk came by.
type found struct {
	file          // Size is all of it; CTime is set whatever its age
	real   string // where it is read from
	class  class
	blocks int64 // bytes on disk
}

// walker finds what is to be stored.
type walker struct {
	src   Source
	log   *slog.Logger
	all   []*found
	taken map[string]bool      // which of Source.Files were there
	above map[fileID]bool      // the folders that the walk is in, by device and inode: a link may lead back to one
	left  func(path, r string) // what was left out, and why
}

type fileID struct{ device, inode uint64 }

// walk gives all files and folders of a source, sorted by path. Links are followed: what they lead to is stored.
func walk(src Source, log *slog.Logger) ([]*found, error) {
	w := &walker{src: src, log: log, taken: map[string]bool{}, above: map[fileID]bool{}}
	w.left = func(p, reason string) { log.Debug("left out of the backup", "path", p, "reason", reason) }
	for _, p := range slices.Concat(src.Files, src.Except) {
		if !fs.ValidPath(p) {
			return nil, fmt.Errorf("%w: %.200q is no path in the folder", ErrSource, p)
		}
	}
	info, err := os.Stat(src.Dir)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSource, err)
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("%w: %s is no folder", ErrSource, src.Dir)
	}
	if err := w.folder(".", src.Dir, info); err != nil {
		return nil, err
	}
	for _, p := range src.Files {
		if !w.taken[p] && !src.Ahead {
			return nil, fmt.Errorf("%w: %s is not in %s", ErrSource, p, src.Dir)
		}
	}
	slices.SortFunc(w.all, func(a, b *found) int { return cmp.Compare(a.Path, b.Path) })
	return w.all, nil
}

func (w *walker) folder(p, real string, info fs.FileInfo) error {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("the system tells nothing of %s", real)
	}
	id := fileID{s.Dev, s.Ino}
	if w.above[id] {
		w.left(p, "a link leads back to it")
		return nil
	}
	w.above[id] = true
	defer delete(w.above, id)
	names, err := os.ReadDir(real)
	if err != nil {
		return err
	}
	for _, d := range names {
		if err := w.thing(path.Join(p, d.Name()), filepath.Join(real, d.Name()), d); err != nil {
			return err
		}
	}
	return nil
}

// thing looks at what a folder has, whatever it is.
func (w *walker) thing(p, real string, d fs.DirEntry) error {
	if !w.wanted(p) {
		return nil
	}
	if secret(d.Name()) || passing(d.Name()) {
		w.left(p, "by its name")
		return nil
	}
	info, err := d.Info()
	if err == nil && info.Mode().Type() == fs.ModeSymlink {
		var to string
		if to, err = filepath.EvalSymlinks(real); err == nil {
			if slices.ContainsFunc(strings.Split(to, "/"), secret) {
				w.left(p, "it leads to what is never in a backup")
				return nil
			}
			info, err = os.Stat(real)
		}
	}
	if errors.Is(err, fs.ErrNotExist) { // deleted since, or a link to nothing
		w.log.Warn("left out of the backup", "path", p, "reason", err)
		return nil
	}
	if err != nil {
		return err
	}
	if err := validPath(p); err != nil {
		return err
	}
	switch {
	case info.IsDir():
		if err := w.add(p, real, info); err != nil {
			return err
		}
		return w.folder(p, real, info)
	case info.Mode().IsRegular():
		return w.add(p, real, info)
	}
	w.left(p, "it is no file")
	return nil
}

// wanted says whether the source asks for a path, or for something below it.
func (w *walker) wanted(p string) bool {
	for _, e := range w.src.Except {
		if matched, err := path.Match(e, p); e == p || err == nil && matched {
			w.left(p, "as asked for")
			return false
		}
	}
	if len(w.src.Files) == 0 {
		return true
	}
	wanted := false
	for _, f := range w.src.Files {
		if f == "." || p == f || strings.HasPrefix(p, f+"/") {
			w.taken[f], wanted = true, true
		}
		wanted = wanted || strings.HasPrefix(f, p+"/")
	}
	return wanted
}

func (w *walker) add(p, real string, info fs.FileInfo) error {
	f, err := factsOf(info)
	if err != nil {
		return err
	}
	f.Path, f.real, f.class = p, real, classOf(p)
	if !f.Dir {
		f.Shift = f.class.law()
	}
	w.all = append(w.all, f)
	return nil
}

// factsOf is what the file system says of a file.
func factsOf(info fs.FileInfo) (*found, error) {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil, fmt.Errorf("the system tells nothing of %s", info.Name())
	}
	f := &found{file: file{Dir: info.IsDir(), Mode: uint32(info.Mode().Perm()), MTime: s.Mtim.Nano(), CTime: s.Ctim.Nano(), Inode: s.Ino}, blocks: s.Blocks * 512}
	if !f.Dir {
		f.Size = s.Size
	}
	return f, nil
}

// same says whether nothing was written into a file since: only where no other file got its name or its number.
func same(a, b *file) bool {
	return a.Size == b.Size && a.MTime == b.MTime && a.CTime == b.CTime && a.CTime != 0 && a.Inode == b.Inode
}

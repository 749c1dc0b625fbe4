package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"roundtable/backup"
	"roundtable/durable"
)

// unfinished is the folder, within the store, of files that are being written. They get their name when they are whole and on the
// disk. Whoever writes one holds a lock on it: what nobody holds was left by a process that died, and is swept by the next Open.
const unfinished = ".unfinished"

// folder is a store in a local file system, or in one that looks like it. Files and folders are for the owner alone.
type folder struct {
	root   string
	limits *Limits
}

func openFile(u *url.URL, o Options) (driver, error) {
	root, err := folderOf(u)
	if err != nil {
		return nil, problem(BadURL, err, "")
	}
	create, _ := strconv.ParseBool(u.Query().Get("create_dir"))
	f := &folder{root: root, limits: o.Limits}
	if create {
		if err := durable.MkdirAll(f.root); err != nil {
			v := f.diagnose(err)
			return nil, &Problem{Code: v.code, Hint: cmp.Or(v.hint, meanings[v.code].hint), Err: err}
		}
	}
	f.sweep()
	return f, nil
}

// folderOf is the folder that a URL names.
func folderOf(u *url.URL) (string, error) {
	if u.Host != "" && u.Host != "localhost" || !filepath.IsAbs(u.Path) || filepath.Clean(u.Path) == "/" {
		return "", errors.New("write file:///folder, with three slashes")
	}
	return filepath.Clean(u.Path), nil
}

func (f *folder) path(name string) string { return filepath.Join(f.root, filepath.FromSlash(name)) }

// put writes a file under another name, syncs it, and gives it its own if there is none.
func (f *folder) put(ctx context.Context, name string, body []byte) (err error) {
	if err := f.present(); err != nil {
		return err
	}
	final := f.path(name)
	if _, err := os.Lstat(final); err == nil {
		return fs.ErrExist
	}
	const tries = 10 // somebody who deletes the last file of a folder, and a sweeper, may be faster
	for range tries {
		if err = f.write(ctx, final, body); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return err
}

func (f *folder) write(ctx context.Context, final string, body []byte) (err error) {
	for _, dir := range []string{filepath.Join(f.root, unfinished), filepath.Dir(final)} {
		if err := f.mkdir(dir); err != nil {
			return err
		}
	}
	file, err := os.CreateTemp(filepath.Join(f.root, unfinished), filepath.Base(final)+".*") // 0600
	if err != nil {
		return err
	}
	defer file.Close() // ends the lock; after the rename
	defer func() {
		if err != nil {
			_ = os.Remove(file.Name())
		}
	}()
	_ = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB) // where there are no locks, age alone counts
	limiter := f.limits.upwards()
	for rest := body; len(rest) > 0; {
		n := step(limiter, len(rest))
		if err := pay(ctx, limiter, n); err != nil {
			return err
		}
		if _, err := file.Write(rest[:n]); err != nil {
			return err
		}
		rest = rest[n:]
	}
	if err := file.Sync(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if err := name(file.Name(), final); err != nil {
		return err
	}
	return durable.Sync(filepath.Dir(final))
}

// name moves a file to where none may be. Not every file system can do it in one step, and not every one has links.
func name(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.EINVAL), errors.Is(err, syscall.ENOSYS), errors.Is(err, syscall.ENOTSUP):
		return link(from, to)
	}
	return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
}

func link(from, to string) error {
	if err := os.Link(from, to); err != nil {
		return err
	}
	return os.Remove(from)
}

// mkdir makes the folders that are missing between the root and one of its own, so that their names last.
func (f *folder) mkdir(dir string) error {
	if _, err := os.Lstat(dir); err == nil {
		return nil
	}
	if dir == f.root || len(dir) < len(f.root) {
		return errNoRoot
	}
	parent := filepath.Dir(dir)
	if parent != f.root {
		if err := f.mkdir(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return durable.Sync(parent)
}

// errNoRoot says that the folder of the store is not there, which is not made in passing: it may be a disk that is not mounted.
var errNoRoot = errors.New("the folder is not there")

func (f *folder) present() error {
	info, err := os.Stat(f.root)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errNoRoot
	case err != nil:
		return err
	case !info.IsDir():
		return &fs.PathError{Op: "open", Path: f.root, Err: syscall.ENOTDIR}
	}
	return nil
}

func (f *folder) get(ctx context.Context, name string, limit int64) ([]byte, error) {
	file, err := os.Open(f.path(name))
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			if err := f.present(); err != nil {
				return nil, err
			}
		}
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, &fs.PathError{Op: "open", Path: file.Name(), Err: fs.ErrNotExist}
	case info.Size() > limit:
		return nil, fmt.Errorf("%d bytes: %w", info.Size(), errTooBig)
	}
	body := make([]byte, info.Size())
	limiter := f.limits.downwards()
	for rest := body; len(rest) > 0; {
		n := step(limiter, len(rest))
		if err := pay(ctx, limiter, n); err != nil {
			return nil, err
		}
		if _, err := io.ReadFull(file, rest[:n]); err != nil {
			return nil, err
		}
		rest = rest[n:]
	}
	return body, nil
}

// page lists everything at once.
func (f *folder) page(ctx context.Context, prefix, _ string) (objects []backup.Object, next string, err error) {
	if err := f.present(); err != nil {
		return nil, "", err
	}
	top := f.root
	if i := strings.LastIndexByte(prefix, '/'); i >= 0 {
		top = f.path(prefix[:i])
	}
	err = filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // nothing begins with that, or it was deleted just now
		}
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		name, err := filepath.Rel(f.root, path)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		if d.IsDir() {
			hidden := name != "." && !named(name) || name == "lost+found" // what a file system keeps for itself
			if hidden || name != "." && !strings.HasPrefix(name, prefix) && !strings.HasPrefix(prefix, name) {
				return fs.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() || !strings.HasPrefix(name, prefix) || !named(name) {
			return nil
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		objects = append(objects, backup.Object{Name: name, Size: info.Size(), Modified: info.ModTime()})
		return nil
	})
	return objects, "", err
}

// remove deletes a file, and the folders that are empty then.
func (f *folder) remove(_ context.Context, name string) error {
	if err := os.Remove(f.path(name)); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			if err := f.present(); err != nil {
				return err
			}
		}
		return err
	}
	for dir, empty := filepath.Dir(f.path(name)), true; empty && len(dir) > len(f.root); dir = filepath.Dir(dir) {
		empty = unix.Rmdir(dir) == nil
	}
	return nil
}

// swept is how old an unfinished file must be where a file system has no locks.
const swept = 24 * time.Hour

// sweep removes what processes that died have left. What cannot be removed is left to the next one.
func (f *folder) sweep() {
	dir := filepath.Join(f.root, unfinished)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		file, err := os.OpenFile(path, os.O_RDWR|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
		if err != nil {
			continue
		}
		info, err := file.Stat()
		if err == nil && info.Mode().IsRegular() {
			err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
			locks := err == nil || errors.Is(err, unix.EWOULDBLOCK)
			if err == nil || !locks && time.Since(info.ModTime()) > swept {
				_ = os.Remove(path)
			}
		}
		_ = file.Close()
	}
	_ = unix.Rmdir(dir) // if it is empty
}

func (f *folder) diagnose(err error) verdict {
	is := func(all ...syscall.Errno) bool {
		return slices.ContainsFunc(all, func(e syscall.Errno) bool { return errors.Is(err, e) })
	}
	switch {
	case errors.Is(err, errNoRoot), is(syscall.ENOTDIR):
		return verdict{code: NoBucket, hint: "is the disk mounted? If the folder is new: mkdir -p " + f.root + ", or create_dir=true in the URL"}
	case errors.Is(err, durable.ErrForeign):
		return verdict{code: Permission, hint: "root writes into nobody else's folder: run it as its owner, or give it a folder of root's"}
	case errors.Is(err, errTooBig):
		return verdict{code: TooBig}
	case errors.Is(err, fs.ErrNotExist):
		return verdict{code: NotFound}
	case errors.Is(err, fs.ErrExist):
		return verdict{code: Exists}
	case is(syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG):
		return verdict{code: NoSpace}
	case is(syscall.EROFS):
		return verdict{code: ReadOnly}
	case errors.Is(err, fs.ErrPermission):
		return verdict{code: Permission, hint: "the user that roundtable runs as must own the folder, or be allowed to write into it"}
	case is(syscall.ESTALE, syscall.ETIMEDOUT, syscall.EAGAIN, syscall.EINTR, syscall.EHOSTDOWN, syscall.ENOTCONN):
		return verdict{code: Lost, temporary: true} // a network's file system
	case errors.Is(err, io.ErrUnexpectedEOF), is(syscall.EIO):
		return verdict{code: Server, hint: "the disk or its file system has a fault: dmesg, smartctl"}
	}
	return verdict{code: Refused}
}

func (f *folder) close() error { return nil }

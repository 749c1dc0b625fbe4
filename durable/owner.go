package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// ErrForeign is returned to root where somebody else could change what the path leads to. Nothing was changed.
var ErrForeign = errors.New("root writes nothing into somebody else's folder")

// maxLinks are so many symbolic links in one path as the kernel follows.
const maxLinks = 40

// ours refuses, to root, a folder whose path goes through anything that belongs to somebody else, or that everybody may
// change; a folder with the sticky bit, such as /tmp, is none of those. What passes can be changed by nobody but root until it
// is used. What is not there yet counts as what it will be made in.
func ours(dir string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	at, rest, links := "/", strings.Split(dir, "/"), 0
	for {
		info, err := os.Lstat(at)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		}
		if err := foreign(at, info); err != nil {
			return err
		}
		if info.Mode().Type() == fs.ModeSymlink {
			to, err := os.Readlink(at)
			if err != nil {
				return err
			}
			if links++; links > maxLinks {
				return &fs.PathError{Op: "open", Path: dir, Err: syscall.ELOOP}
			}
			rest = append(strings.Split(to, "/"), rest...)
			if at = filepath.Dir(at); filepath.IsAbs(to) {
				at = "/"
			}
			continue
		}
		if len(rest) == 0 {
			return nil
		}
		at, rest = filepath.Join(at, rest[0]), rest[1:] // "..": at has no links in it
	}
}

func foreign(path string, info fs.FileInfo) error {
	const others = 0o002
	s, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case ok && s.Uid != 0:
		name := strconv.FormatUint(uint64(s.Uid), 10)
		hint := "run it as the user with that number"
		if u, err := user.LookupId(name); err == nil {
			name, hint = u.Username, "run it as that user: runuser -u "+u.Username+" -- roundtable ..."
		}
		return fmt.Errorf("%w: %s belongs to %s (hint: %s)", ErrForeign, path, name, hint)
	case info.IsDir() && info.Mode().Perm()&others != 0 && info.Mode()&fs.ModeSticky == 0:
		return fmt.Errorf("%w: everybody may write into %s (hint: chmod o-w %s)", ErrForeign, path, path)
	}
	return nil
}

package versions

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

const (
	// reserve is left free on a disk: a nodeos that runs writes to it, too.
	reserve = 64 << 20
	// growth is what an archive of unknown contents is taken to unpack to, in tenths of its size. The archives of nodeos that
	// were looked at are below it.
	growth = 22
)

// free is what this user may still write to the file system of a folder, in bytes.
func free(dir string) (uint64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, err
	}
	return s.Bavail * uint64(s.Bsize), nil //nolint:gosec // a block's size is positive
}

// full reports whether a write failed for want of room.
func full(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// unpacked is what an archive of that size is taken to unpack to.
func unpacked(size int64) int64 { return size * growth / 10 }

// room refuses to go on where less than need bytes, and a reserve, are free.
func (h *Home) room(what string, need int64) error {
	have, err := h.cfg.Free(h.dir)
	if err != nil {
		return broken(h.dir, err)
	}
	if want := uint64(max(need, 0)) + reserve; have < want {
		return problem(ErrNoSpace, "free some room there, or remove versions that are no longer needed", "%s needs %s of room in %s, and %s are free",
			what, mebibytes(want), h.dir, mebibytes(have))
	}
	return nil
}

// mebibytes is a size for people.
func mebibytes(n uint64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

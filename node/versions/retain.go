package versions

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Retain removes the versions that were fetched, but for the newest keep of them, the current one and those that are needed; it
// returns the tags of those it removed. What an operator put there is his to remove.
func (h *Home) Retain(keep int, needed ...string) (removed []string, err error) {
	all, err := h.List()
	if err != nil {
		return nil, err
	}
	type fetched struct {
		tag string
		at  time.Time
	}
	var old []fetched
	for _, v := range all {
		info, err := os.Lstat(filepath.Join(h.folder(v.Tag), stagedName))
		if err != nil || v.Current || slices.Contains(needed, v.Tag) {
			continue
		}
		if link, err := os.Readlink(h.folder(v.Tag)); err == nil && link != "" {
			continue // Link's, so an operator's
		}
		old = append(old, fetched{v.Tag, info.ModTime()})
	}
	slices.SortFunc(old, func(a, b fetched) int { return b.at.Compare(a.at) })
	for _, v := range old[min(max(keep, 0), len(old)):] {
		if failed := h.Remove(v.tag); failed != nil {
			err = errors.Join(err, failed)
			continue
		}
		removed = append(removed, v.tag)
	}
	return removed, err
}

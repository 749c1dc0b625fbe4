package versions

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"roundtable/durable"
)

// Link makes a folder elsewhere the version of a tag: versions/<tag> leads to it. The current version is not made another one
// so, and a folder of versions is not replaced. It may be repeated, and ended at any point.
func (h *Home) Link(tag, folder string) error {
	if err := CheckTag(tag); err != nil {
		return err
	}
	if info, err := os.Stat(folder); err != nil || !info.IsDir() {
		return problem(ErrUnknown, "put the version there, with its run.toml, or name the folder that has it", "there is no folder %s for version %s", folder, tag).because(err)
	}
	if err := durable.MkdirAll(h.versions()); err != nil {
		return broken(h.dir, err)
	}
	unlock, err := h.lock()
	if err != nil {
		return err
	}
	defer unlock()
	there, err := os.Readlink(h.folder(tag))
	current, _ := h.current()
	switch {
	case err == nil && there == folder:
		return nil
	case tag == Genesis, errors.Is(err, unix.EINVAL):
		return problem(ErrInUse, "remove the one or the other", "version %s is in %s, so %s is not used", tag, h.folder(tag), folder)
	case err == nil && tag == current:
		return problem(ErrInUse, "give the other one another tag", "version %s is the current one and leads to %s, not to %s", tag, there, folder)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return broken(h.folder(tag), err)
	}
	fresh := h.folder(freshPrefix + tag) // not the staging folder: somebody may be at it
	if err := os.RemoveAll(fresh); err != nil {
		return broken(fresh, err)
	}
	if err := os.Symlink(folder, fresh); err != nil {
		return broken(fresh, err)
	}
	h.step("symlink " + filepath.Base(fresh))
	if err := os.Rename(fresh, h.folder(tag)); err != nil {
		return broken(h.folder(tag), err)
	}
	h.step("rename to " + tag)
	if err := durable.Sync(h.versions()); err != nil {
		return broken(h.versions(), err)
	}
	h.step("sync versions")
	return nil
}

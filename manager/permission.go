package manager

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"roundtable/durable"
)

// foundFile is a home's permission to found the cluster, once: init writes it for one member, and its manager deletes it when
// the cluster exists. Without it an empty raft folder is one that was lost.
const foundFile = "found"

// PermitFounding gives a home the permission.
func PermitFounding(home string) error {
	return durable.Write(filepath.Join(home, foundFile), []byte("The permission to found the cluster, once. The manager deletes it when the cluster exists. Never copy it to a member of one.\n"))
}

// mayFound reports whether a home has the permission.
func mayFound(home string) (bool, error) {
	_, err := os.Stat(filepath.Join(home, foundFile))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// hasFounded takes the permission away, durably.
func hasFounded(home string) error {
	if err := os.Remove(filepath.Join(home, foundFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return durable.Sync(home)
}

// Package durable writes small files that must survive a crash: keys, certificates, configurations.
//
// A reader sees either all the old or all the new bytes, whenever the machine stops, and nobody but the owner may read
// them. Root writes only where nobody else can change what a path leads to: into somebody's folder it writes nothing, for its
// owner could make a link of what root is about to write or give away. It never appends, and never keeps a file open.
package durable

import (
	"fmt"
	"os"
	"path/filepath"
)

// Write replaces a file. A folder that is missing is made, for the owner alone.
func Write(path string, data []byte) error {
	return write(path, data, os.Rename)
}

// Create writes a file that must not be there yet: fs.ErrExist otherwise, and nothing was changed.
func Create(path string, data []byte) error {
	return write(path, data, func(temporary, path string) error {
		if err := os.Link(temporary, path); err != nil { // unlike a rename it never replaces
			return err
		}
		return os.Remove(temporary)
	})
}

// write fills a temporary file beside the final one and lets place give it its name.
func write(path string, data []byte, place func(temporary, path string) error) (err error) {
	dir := filepath.Dir(path)
	if err := makeAll(dir); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*") // 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
			err = fmt.Errorf("write %s: %w", path, err)
		}
	}()
	if _, err = f.Write(data); err != nil {
		return err
	}
	if err = f.Sync(); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	if err = place(f.Name(), path); err != nil {
		return err
	}
	return Sync(dir)
}

// MkdirAll makes a folder and those above it that are missing, for the owner alone, so that their names last. Root makes, and
// uses, none in somebody's folder: ErrForeign.
func MkdirAll(dir string) error {
	missing := dir
	for { // what is above the first one that is there need not be synced
		if _, err := os.Lstat(missing); err == nil || missing == filepath.Dir(missing) {
			break
		}
		missing = filepath.Dir(missing)
	}
	if err := makeAll(dir); err != nil {
		return fmt.Errorf("make %s: %w", dir, err)
	}
	for at := filepath.Clean(dir); at != filepath.Clean(missing); {
		at = filepath.Dir(at)
		if err := Sync(at); err != nil {
			return fmt.Errorf("make %s: %w", dir, err)
		}
	}
	return nil
}

// makeAll makes a folder and those above it, for the owner alone.
func makeAll(dir string) error {
	if err := ours(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return ours(dir) // somebody may have been faster, in a folder such as /tmp
}

// Sync makes the names in a folder last: what was written, renamed or removed in it.
func Sync(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"roundtable/durable"
	"roundtable/security"
)

// moveIn copies a home that was laid out elsewhere to where its manager will find it, once: the manager renews its certificate,
// and removes the first tokens, so a second copy would bring back what is over. The member's own key comes last and tells
// that all of it is there.
func (a *app) moveIn(l layout) error {
	if l.home == "" || l.id != "" || l.join != "" || l.dir != "" || len(l.members) > 0 {
		return usagef("such as --home /var/lib/roundtable --from /seed", "--from goes with --home alone")
	}
	last := security.InHome("").Key
	if _, err := os.Stat(filepath.Join(l.home, last)); err == nil {
		a.say("nothing to do: %s is a manager's home already", l.home)
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	files, err := filesBelow(l.from, "")
	if err != nil {
		return err
	}
	i := slices.Index(files, last)
	if i < 0 {
		return &failure{exitFailed, l.from + " holds no member's home: it has no " + last, "make one with: roundtable init --dir DIR --members ..."}
	}
	for _, name := range append(slices.Delete(files, i, i+1), last) {
		content, err := os.ReadFile(filepath.Join(l.from, name))
		if err != nil {
			return err
		}
		if err := durable.Write(filepath.Join(l.home, name), content); err != nil {
			return err
		}
	}
	a.say("%s is laid out from %s", l.home, l.from)
	return nil
}

// filesBelow names the files of a home and of the folders in it. A link counts as what it leads to; what begins with two dots is
// Kubernetes' own.
func filesBelow(root, dir string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(root, dir))
	if err != nil {
		return nil, err
	}
	var list []string
	for _, e := range entries {
		name := filepath.Join(dir, e.Name())
		if strings.HasPrefix(e.Name(), "..") || name == "current" { // a link to a version: the manager makes its own
			continue
		}
		info, err := os.Stat(filepath.Join(root, name))
		switch {
		case err != nil:
			return nil, err
		case info.IsDir():
			below, err := filesBelow(root, name)
			if err != nil {
				return nil, err
			}
			list = append(list, below...)
		case info.Mode().IsRegular():
			list = append(list, name)
		default:
			return nil, fmt.Errorf("%s is no file", filepath.Join(root, name))
		}
	}
	return list, nil
}

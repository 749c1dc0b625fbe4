package watch

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// maxLinks are so many symbolic links in one path as the kernel follows.
const maxLinks = 40

// trails are the names on which any of the paths depends, sorted.
func trails(paths []string) []string {
	var all []string
	for _, path := range paths {
		if !filepath.IsAbs(path) {
			here, err := os.Getwd()
			if err != nil {
				continue // the slow look still sees it
			}
			path = here + "/" + path // not cleaned: the kernel follows a link before the ".." after it
		}
		all = append(all, trail(path)...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// trail are the names that decide which file a path leads to and what is in it, each in its real folder: every link on the
// way, and the file itself, or the first name that is missing.
func trail(path string) []string {
	var names []string
	at, rest, links := "/", parts(path), 0
	for len(rest) > 0 {
		name := filepath.Join(at, rest[0]) // at has no links: ".." is the folder above it
		rest = rest[1:]
		info, err := os.Lstat(name)
		switch {
		case err != nil:
			return append(names, name)
		case info.Mode()&fs.ModeSymlink != 0:
			names = append(names, name)
			to, err := os.Readlink(name)
			if links++; err != nil || links > maxLinks {
				return names
			}
			if filepath.IsAbs(to) {
				at = "/"
			}
			rest = append(parts(to), rest...)
		case len(rest) == 0:
			names = append(names, name)
		default:
			at = name
		}
	}
	return names
}

// parts are the names in a path.
func parts(path string) []string {
	return slices.DeleteFunc(strings.Split(path, "/"), func(s string) bool { return s == "" || s == "." })
}

package node

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// FileKind says how nodeos changes a file of its data.
type FileKind string

// The kinds. They are hints to whoever copies: only a file of a stopped node is sure not to change.
const (
	FileImmutable FileKind = "immutable" // a full stride of the block log: never again, until it is deleted or archived
	FileAppended  FileKind = "appended"  // grows at its end: blocks.log and blocks.index, unless the log is pruned
	FileChanged   FileKind = "changed"   // rewritten in place or as a whole
)

// DataFile is one file that a data backup must hold.
type DataFile struct {
	Name string // in the backup, with slashes: "blocks/blocks.log". Layout.Place gives its path on any node
	Path string // here
	Kind FileKind
	Size int64
}

// Files lists what a node needs to go on where it stopped (FACT 18), in the order of the names: the block log with its index and its
// retained strides, the fork database, and the whole state directory. The set is complete only after a clean stop
// (Supervisor.StoppedCleanly): fork_db.dat and chain_head.dat do not exist while nodeos runs. Before it stops, what is immutable or
// appended may be stored ahead.
//
// A file that only grows can begin anew: with blocks-log-stride the full blocks.log is renamed to a stride and an empty one takes
// its name, so whoever remembers how much of it is stored looks at its size and its beginning first.
//
// Not in it: snapshots, finalizers (never), archived strides (nodeos reads them no more), state history, and what a recovery moved aside.
func (l Layout) Files() ([]DataFile, error) {
	var all []DataFile
	growing := FileAppended
	if head, err := readLogHead(l.log()); err == nil && head.pruned {
		growing = FileChanged // its front is punched out and its tail holds a counter
	}
	add := func(name, path string, kind FileKind) error {
		info, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
			return nil
		}
		if err == nil {
			all = append(all, DataFile{Name: name, Path: path, Kind: kind, Size: info.Size()})
		}
		return err
	}
	err := errors.Join(add("blocks/blocks.log", l.log(), growing), add("blocks/blocks.index", l.index(), growing),
		add("blocks/reversible/fork_db.dat", l.forkDB(), FileChanged))
	strides, serr := l.strides()
	for _, s := range strides {
		folder := "blocks/"
		if l.Retained != l.Blocks {
			folder = "retained/"
		}
		for _, ext := range []string{".log", ".index"} {
			err = errors.Join(err, add(folder+s.name+ext, filepath.Join(l.Retained, s.name+ext), FileImmutable))
		}
	}
	names, derr := list(l.State)
	for _, name := range names {
		err = errors.Join(err, add("state/"+name, filepath.Join(l.State, name), FileChanged))
	}
	if err = errors.Join(err, serr, derr); err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b DataFile) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// list gives the names in a directory, none where there is none.
func list(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, err
}

package node

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// Layout is where a nodeos keeps its chain (FACT 16), each an absolute path if the data directory is one. It is made from options
// alone: nothing needs to exist.
type Layout struct {
	Data       string
	Blocks     string // blocks.log, blocks.index and reversible/
	Retained   string // full strides of the block log (blocks-log-stride); Blocks where nothing else is said
	Archive    string // strides that nodeos reads no more; "" = it deletes them
	State      string
	Snapshots  string
	Finalizers string // safety.dat: in no backup, and no restore touches it (FACTS 38, 39)
}

// DefaultLayout is nodeos' own.
func DefaultLayout(dataDir string) Layout { return layoutOf(nil, dataDir) }

// LayoutOf gives the layout of a nodeos that is started with this config.ini and these arguments, which win. A config.ini that cannot
// be read counts as empty: nodeos does not start with it either.
func LayoutOf(configDir, dataDir string, args []string) Layout {
	said := map[string]string{}
	if text, err := os.ReadFile(filepath.Join(configDir, "config.ini")); err == nil {
		if all, err := ParseINI(string(text)); err == nil {
			for _, set := range all {
				said[set.Key] = set.Value
			}
		}
	}
	for i, a := range args {
		name, ok := strings.CutPrefix(a, "--")
		if !ok {
			continue
		}
		if key, value, ok := strings.Cut(name, "="); ok {
			said[key] = value
		} else if i+1 < len(args) {
			said[name] = args[i+1]
		}
	}
	return layoutOf(said, dataDir)
}

func layoutOf(said map[string]string, dataDir string) Layout {
	place := func(base, key, standard string) string {
		dir := said[key]
		if dir == "" {
			dir = standard
		}
		if filepath.IsAbs(dir) {
			return filepath.Clean(dir)
		}
		return filepath.Join(base, dir)
	}
	l := Layout{
		Data: dataDir, Blocks: place(dataDir, "blocks-dir", "blocks"), State: place(dataDir, "state-dir", "state"),
		Snapshots: place(dataDir, "snapshots-dir", "snapshots"), Finalizers: place(dataDir, "finalizers-dir", "finalizers"),
	}
	l.Retained = place(l.Blocks, "blocks-retained-dir", ".")
	if said["blocks-archive-dir"] != "" {
		l.Archive = place(l.Blocks, "blocks-archive-dir", "")
	}
	return l
}

func (l Layout) log() string       { return filepath.Join(l.Blocks, "blocks.log") }
func (l Layout) index() string     { return filepath.Join(l.Blocks, "blocks.index") }
func (l Layout) forkDB() string    { return filepath.Join(l.Blocks, "reversible", "fork_db.dat") }
func (l Layout) memory() string    { return filepath.Join(l.State, "shared_memory.bin") }
func (l Layout) chainHead() string { return filepath.Join(l.State, "chain_head.dat") }

// Place says where the file of a backup belongs: name is a DataFile's, or "snapshots/snapshot-<id>.bin". Anything else is refused, so
// that no backup, whoever wrote it, can write anywhere else.
func (l Layout) Place(name string) (string, error) {
	folder, rest, _ := strings.Cut(name, "/")
	dir := map[string]string{"blocks": l.Blocks, "retained": l.Retained, "state": l.State, "snapshots": l.Snapshots}[folder]
	if dir == "" || rest == "" || path.Clean(name) != name || !filepath.IsLocal(rest) {
		return "", fmt.Errorf("node: %q is no file of a chain's data", name)
	}
	return filepath.Join(dir, filepath.FromSlash(rest)), nil
}

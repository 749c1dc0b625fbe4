package sim

import (
	"bufio"
	"encoding/json"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// folders are nodeos' places inside the data directory.
type folders struct{ data, blocks, reversible, retained, archive, state, snapshots string }

func newFolders(o *options) folders {
	blocks := o.path(o.dataDir, o.get("blocks-dir"))
	f := folders{
		data: o.dataDir, blocks: blocks, reversible: filepath.Join(blocks, "reversible"), retained: o.path(blocks, o.get("blocks-retained-dir")),
		state: o.path(o.dataDir, o.get("state-dir")), snapshots: o.path(o.dataDir, o.get("snapshots-dir")),
	}
	if archive := o.get("blocks-archive-dir"); archive != "" {
		f.archive = o.path(blocks, archive)
	}
	return f
}

func (f folders) log() string    { return filepath.Join(f.blocks, "blocks.log") }
func (f folders) index() string  { return filepath.Join(f.blocks, "blocks.index") }
func (f folders) forkDB() string { return filepath.Join(f.reversible, "fork_db.dat") }
func (f folders) head() string   { return filepath.Join(f.state, "chain_head.dat") }
func (f folders) memory() string { return filepath.Join(f.state, "shared_memory.bin") }
func (f folders) exists(p string) bool {
	_, err := os.Stat(p)
	return err == nil
}

// savedNode is a node of the fork database on disk: in fork_db.dat, chain_head.dat and snapshots.
type savedNode struct {
	Block        *Block            `json:"block"`
	Lib          uint32            `json:"lib"`
	LastProduced map[string]uint32 `json:"last_produced,omitempty"`
	LastImplied  map[string]uint32 `json:"last_implied,omitempty"`
}

func save(n *node) savedNode { return savedNode{n.block, n.lib, n.lastProduced, n.lastImplied} }

func (s savedNode) node() *node {
	return &node{block: s.Block, id: s.Block.ID(), num: s.Block.Num(), lib: s.Lib, lastProduced: s.LastProduced, lastImplied: s.LastImplied}
}

type savedForks struct {
	Root   savedNode `json:"root"`
	Blocks []*Block  `json:"blocks"` // parents before children
}

type savedHead struct {
	Head Hash      `json:"head"`
	Num  uint32    `json:"num"`
	Node savedNode `json:"node"`
}

// snapshotFile is the first line of a chain snapshot; the state's data follows. (nodeos has a format of its own.)
type snapshotFile struct {
	Magic   string          `json:"magic"`
	Genesis json.RawMessage `json:"genesis"`
	Chain   Hash            `json:"chain_id"`
	Head    savedNode       `json:"head"`
	Size    int64           `json:"size"` // of the data
	Sum     uint32          `json:"sum"`
}

const snapshotMagic = "SIMSNAP1"

// readSnapshot reads and checks all of it.
func readSnapshot(path string) (*snapshotFile, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	bad := func(what string, line int) error {
		return newError(3240000, "snapshot_exception", "Snapshot exception", what, "", site{"snapshot.cpp", line, "validate"})
	}
	in := bufio.NewReader(file)
	line, err := in.ReadBytes('\n')
	var s snapshotFile
	if err != nil || json.Unmarshal(line, &s) != nil || s.Magic != snapshotMagic || s.Head.Block == nil {
		return nil, bad("Binary snapshot has unexpected magic number!", 265)
	}
	h := crc32.New(castagnoli)
	if n, err := io.Copy(h, in); err != nil || n != s.Size || h.Sum32() != s.Sum {
		return nil, bad("Binary snapshot is truncated or damaged", 270) // not recorded
	}
	return &s, nil
}

func writeJSON(path string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o644)
}

func readJSON(path string, v any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, v)
}

// removeState empties state/, as --replay-blockchain does.
func (f folders) removeState() error {
	return errors.Join(removeInside(f.state), removeIfThere(f.forkDB()))
}

func removeInside(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	return err
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// ledger is the append-only record of every block this process signed, for the drills' verdict.
type ledger struct{ file *os.File }

type ledgerLine struct {
	Slot     uint32 `json:"slot"`
	Num      uint32 `json:"num"`
	ID       Hash   `json:"id"`
	Digest   Hash   `json:"digest"`
	Node     string `json:"node"`
	SignedAt string `json:"signed_at"`
}

func openLedger(path string) (*ledger, error) {
	if path == "" {
		return nil, nil
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	return &ledger{f}, nil
}

// record writes one line with one write.
func (l *ledger) record(line ledgerLine) error {
	if l == nil {
		return nil
	}
	data, err := json.Marshal(line)
	if err != nil {
		return err
	}
	_, err = l.file.Write(append(data, '\n'))
	return err
}

func quoteJSON(s string) string {
	data, _ := json.Marshal(s) // a string always marshals
	return strings.NewReplacer(`\u003c`, "<", `\u003e`, ">", `\u0026`, "&").Replace(string(data))
}

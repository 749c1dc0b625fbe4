package sim

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

const (
	blockLogMagic = "SIMBLOG1"
	stateMagic    = "SIMSTATE"
	dirtyOffset   = 8
)

// folders are nodeos' places inside the data directory.
type folders struct{ data, blocks, reversible, state, snapshots string }

func newFolders(o *options) folders {
	blocks := o.path(o.dataDir, o.get("blocks-dir"))
	return folders{
		data: o.dataDir, blocks: blocks, reversible: filepath.Join(blocks, "reversible"),
		state: o.path(o.dataDir, o.get("state-dir")), snapshots: o.path(o.dataDir, o.get("snapshots-dir")),
	}
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

// blockLog is blocks.log with blocks.index: the irreversible blocks only. The log begins with the genesis and the first
// block's number; the index has 8 bytes per block. Used by the main thread, and by network threads for reading.
type blockLog struct {
	file, index *os.File
	genesis     json.RawMessage
	first, last uint32 // 0, 0 when empty
	end         int64
}

type logHeader struct {
	Genesis json.RawMessage `json:"genesis"`
	First   uint32          `json:"first"`
}

// openBlockLog opens both files, nil where there is no log.
func openBlockLog(f folders) (*blockLog, error) {
	if !f.exists(f.log()) {
		return nil, nil
	}
	file, err := os.OpenFile(f.log(), os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	l := &blockLog{file: file}
	var head [12]byte
	if _, err := io.ReadFull(file, head[:]); err != nil || string(head[:8]) != blockLogMagic {
		return nil, errors.Join(newError(3190001, "block_log_unsupported_version", "unsupported version of block log",
			"Unsupported version of block log", "", site{"block_log.cpp", 137, "read_preamble"}), file.Close())
	}
	data := make([]byte, binary.LittleEndian.Uint32(head[8:]))
	var h logHeader
	if _, err := io.ReadFull(file, data); err != nil || json.Unmarshal(data, &h) != nil {
		return nil, errors.Join(errors.New("blocks.log: broken header"), file.Close())
	}
	l.genesis, l.first = h.Genesis, h.First
	idx, err := os.ReadFile(f.index())
	if err != nil || len(idx) < 8 || len(idx)%8 != 0 {
		return l, newError(3190000, "block_log_exception", "Block log exception",
			f.index()+" file is empty, please use spring-util to fix the problem.",
			fmt.Sprintf(`{"index_file":%q}`, f.index()), site{"block_log.cpp", 744, "open"})
	}
	l.last = l.first + uint32(len(idx)/8) - 1
	last, err := l.readAt(int64(binary.LittleEndian.Uint64(idx[len(idx)-8:])))
	if err != nil {
		return l, newError(3190000, "block_log_exception", "Block log exception",
			"block log file "+f.log()+" is damaged", "", site{"block_log.cpp", 750, "open"})
	}
	if l.end, err = file.Seek(0, io.SeekEnd); err != nil {
		return nil, err
	}
	if last.Num() != l.last {
		return l, newError(3190000, "block_log_exception", "Block log exception",
			"block log and index do not agree", "", site{"block_log.cpp", 751, "open"})
	}
	l.index, err = os.OpenFile(f.index(), os.O_RDWR|os.O_APPEND, 0o644)
	return l, err
}

// createBlockLog makes an empty log that will begin with block first.
func createBlockLog(f folders, genesis json.RawMessage, first uint32) (*blockLog, error) {
	file, err := os.Create(f.log())
	if err != nil {
		return nil, err
	}
	index, err := os.OpenFile(f.index(), os.O_CREATE|os.O_TRUNC|os.O_RDWR|os.O_APPEND, 0o644)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	data, err := json.Marshal(logHeader{Genesis: genesis, First: first})
	if err != nil {
		return nil, err
	}
	buf := binary.LittleEndian.AppendUint32([]byte(blockLogMagic), uint32(len(data)))
	buf = append(buf, data...)
	if _, err := file.Write(buf); err != nil {
		return nil, err
	}
	return &blockLog{file: file, index: index, genesis: genesis, first: first, last: first - 1, end: int64(len(buf))}, nil
}

func (l *blockLog) append(b *Block) error {
	if b.Num() != l.last+1 {
		return fmt.Errorf("blocks.log: block %d after %d", b.Num(), l.last)
	}
	data, err := json.Marshal(b)
	if err != nil {
		return err
	}
	buf := binary.LittleEndian.AppendUint32(nil, uint32(len(data)))
	buf = append(buf, data...)
	if _, err := l.file.WriteAt(buf, l.end); err != nil {
		return err
	}
	if _, err := l.index.Write(binary.LittleEndian.AppendUint64(nil, uint64(l.end))); err != nil {
		return err
	}
	l.end += int64(len(buf))
	l.last++
	return nil
}

func (l *blockLog) readAt(pos int64) (*Block, error) {
	var n [4]byte
	if _, err := l.file.ReadAt(n[:], pos); err != nil {
		return nil, err
	}
	size := binary.LittleEndian.Uint32(n[:])
	if size > 16<<20 {
		return nil, fmt.Errorf("blocks.log: entry of %d bytes", size)
	}
	data := make([]byte, size)
	if _, err := l.file.ReadAt(data, pos+4); err != nil {
		return nil, err
	}
	return decodeBlock(data)
}

// read gives block num, nil where the log does not have it.
func (l *blockLog) read(num uint32) (*Block, error) {
	if num < l.first || num > l.last {
		return nil, nil
	}
	var pos [8]byte
	if _, err := l.index.ReadAt(pos[:], int64(num-l.first)*8); err != nil {
		return nil, err
	}
	return l.readAt(int64(binary.LittleEndian.Uint64(pos[:])))
}

func (l *blockLog) close() error {
	if l == nil {
		return nil
	}
	return errors.Join(l.file.Close(), l.index.Close())
}

// state is state/shared_memory.bin: a sparse file with a dirty byte, set while a process has it open. There is no lock:
// a second process on a live directory sees "dirty", as with nodeos.
type stateFile struct{ file *os.File }

var errDirty = &chainError{code: 13, name: "N5boost10wrapexceptISt12system_errorEE", what: "Database dirty flag set", exit: 2,
	entries: []errorEntry{{"rethrow Database dirty flag set: ", `{"what":"Database dirty flag set"}`, chainInitSite}}}

var chainInitSite = site{"chain_plugin.cpp", 1130, "plugin_initialize"}

func openState(f folders, mib int64) (s *stateFile, fresh bool, err error) {
	fresh = !f.exists(f.memory())
	file, err := os.OpenFile(f.memory(), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, false, err
	}
	if fresh {
		if err := file.Truncate(mib << 20); err != nil {
			return nil, false, err
		}
		if _, err := file.WriteAt([]byte(stateMagic+"\x00"), 0); err != nil {
			return nil, false, err
		}
	}
	var head [9]byte
	if _, err := file.ReadAt(head[:], 0); err != nil {
		return nil, false, errors.Join(badState("Failed to read DB header"), file.Close())
	}
	if !bytes.Equal(head[:8], []byte(stateMagic)) {
		const text = `"state" database format not compatible with this version of chainbase.: Database format not compatible with this version of chainbase`
		return nil, false, errors.Join(badState(text), file.Close())
	}
	if head[dirtyOffset] != 0 {
		return nil, false, errors.Join(errDirty, file.Close())
	}
	s = &stateFile{file: file}
	return s, fresh, s.mark(1)
}

func badState(what string) *chainError {
	data, _ := json.Marshal(map[string]string{"what": what})
	return &chainError{code: 13, name: "N5boost10wrapexceptISt12system_errorEE", what: what,
		entries: []errorEntry{{"rethrow " + what + ": ", string(data), chainInitSite}}}
}

func (s *stateFile) mark(dirty byte) error {
	_, err := s.file.WriteAt([]byte{dirty}, dirtyOffset)
	return err
}

// close clears the dirty byte; only a clean shutdown gets here.
func (s *stateFile) close() error {
	return errors.Join(s.mark(0), s.file.Close())
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
	Head Hash   `json:"head"`
	Num  uint32 `json:"num"`
}

type snapshotFile struct {
	Magic   string          `json:"magic"`
	Genesis json.RawMessage `json:"genesis"`
	Head    savedNode       `json:"head"`
}

const snapshotMagic = "SIMSNAP1"

func readSnapshot(path string) (*snapshotFile, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var s snapshotFile
	if json.Unmarshal(data, &s) != nil || s.Magic != snapshotMagic || s.Head.Block == nil {
		return nil, newError(3240000, "snapshot_exception", "Snapshot exception", "Binary snapshot has unexpected magic number!", "",
			site{"snapshot.cpp", 265, "validate"})
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

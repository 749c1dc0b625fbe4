package node

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Contents is what a data directory holds of a chain: by the files' names and first bytes, nothing is proved by it.
type Contents struct {
	Log         bool           // blocks.log
	Index       bool           // blocks.index; nodeos does not start without it (FACT 18)
	First, Last uint32         // blocks in blocks.log and its retained strides; 0, 0: none, or it cannot be told
	Pruned      bool           // block-log-retain-blocks: the log's front is gone
	Memory      bool           // state/shared_memory.bin
	ChainHead   bool           // state/chain_head.dat
	ForkDB      bool           // blocks/reversible/fork_db.dat
	Snapshots   []SnapshotFile // the finished ones, by their blocks
	Leftovers   []string       // paths of snapshots that never became irreversible (FACT 22)
	Safety      bool           // there is something in finalizers/
}

// SnapshotFile is a chain snapshot on disk.
type SnapshotFile struct {
	Path string
	ID   string // of its block, 64 hex digits
	Num  uint32
	Size int64
}

// Empty reports whether there is neither a state nor a block: a node of a plain start would begin a chain from its genesis.
func (c Contents) Empty() bool { return !c.Memory && c.Last == 0 }

// Clean reports whether there is a state with what only a clean stop writes and each start deletes (FACT 16). It is false while nodeos
// runs and after it was killed.
func (c Contents) Clean() bool { return c.Memory && c.ChainHead && c.ForkDB }

// Replayable reports whether the blocks alone suffice: from the first one, with their index (FACTS 18, 19).
func (c Contents) Replayable() bool {
	return c.Log && c.Index && !c.Pruned && c.First == 1 && c.Last >= 1
}

// Holds tells what a data directory with nodeos' own layout holds; see Layout.Holds.
func Holds(dir string) (Contents, error) { return DefaultLayout(dir).Holds() }

// Holds looks at the files. A directory that does not exist holds nothing; an error is one of the file system.
func (l Layout) Holds() (Contents, error) {
	var c Contents
	var errs []error
	there := func(path string) bool {
		info, err := os.Stat(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
		return err == nil && info.Mode().IsRegular()
	}
	c.Log, c.Index, c.Memory = there(l.log()), there(l.index()), there(l.memory())
	c.ChainHead, c.ForkDB = there(l.chainHead()), there(l.forkDB())

	strides, err := l.strides()
	errs = append(errs, err)
	if head, err := readLogHead(l.log()); err == nil {
		c.First, c.Last, c.Pruned = head.first, head.last, head.pruned
	}
	for _, s := range slices.Backward(strides) { // those without a gap before what is there
		switch {
		case c.Last == 0:
			c.First, c.Last = s.first, s.last
		case s.last+1 == c.First:
			c.First = s.first
		}
	}

	names, err := list(l.Snapshots)
	errs = append(errs, err)
	for _, name := range names {
		path := filepath.Join(l.Snapshots, name)
		if leftover(name) {
			c.Leftovers = append(c.Leftovers, path)
		} else if m := snapshotRE.FindStringSubmatch(name); m != nil {
			s := SnapshotFile{Path: path, ID: m[1], Num: numOf(m[1])}
			if info, err := os.Stat(path); err == nil {
				s.Size = info.Size()
			}
			c.Snapshots = append(c.Snapshots, s)
		}
	}
	slices.SortFunc(c.Snapshots, func(a, b SnapshotFile) int { return strings.Compare(a.ID, b.ID) })
	safety, err := list(l.Finalizers)
	c.Safety = len(safety) > 0
	if err = errors.Join(append(errs, err)...); err != nil {
		return Contents{}, fmt.Errorf("node: looking at the data directory: %w", err)
	}
	return c, nil
}

var snapshotRE = regexp.MustCompile(`^snapshot-([0-9a-f]{64})\.bin$`)

// numOf is the height in the first digits of a block id.
func numOf(id string) uint32 {
	num, _ := strconv.ParseUint(id[:min(len(id), 8)], 16, 32)
	return uint32(num)
}

// leftover reports a snapshot that is being made, or was when nodeos died: nodeos never deletes it then (FACT 22).
func leftover(name string) bool {
	return strings.HasPrefix(name, ".pending-snapshot-") || strings.HasPrefix(name, ".incomplete-snapshot-")
}

// DropLeftovers deletes the snapshots that a dead nodeos left unfinished and gives their paths. Never while nodeos runs.
func (l Layout) DropLeftovers() (dropped []string, err error) {
	names, err := list(l.Snapshots)
	for _, name := range names {
		if path := filepath.Join(l.Snapshots, name); leftover(name) {
			if rerr := os.Remove(path); rerr != nil {
				err = errors.Join(err, rerr)
				continue
			}
			dropped = append(dropped, path)
		}
	}
	return dropped, err
}

// stride is a full part of the block log, blocks-<first>-<last>.log and .index.
type stride struct {
	name        string // without its extension
	first, last uint32
}

var strideRE = regexp.MustCompile(`^(blocks-(\d{1,10})-(\d{1,10}))\.log$`)

// strides lists the retained ones, by their blocks.
func (l Layout) strides() ([]stride, error) {
	names, err := list(l.Retained)
	var all []stride
	for _, name := range names {
		m := strideRE.FindStringSubmatch(name)
		if m == nil {
			continue
		}
		first, err1 := strconv.ParseUint(m[2], 10, 32)
		last, err2 := strconv.ParseUint(m[3], 10, 32)
		if err1 == nil && err2 == nil && first <= last {
			all = append(all, stride{m[1], uint32(first), uint32(last)})
		}
	}
	slices.SortFunc(all, func(a, b stride) int { return int(int64(a.first) - int64(b.first)) })
	return all, err
}

// logHead is what the beginning of a blocks.log and the length of its index tell. The format is read from Spring's source
// (libraries/chain/block_log.cpp) and was not recorded: a version of four bytes, whose highest bit says pruned, then from version
// 2 on the number of the first block; one index entry of eight bytes per block from that one on; a pruned log ends with the count
// of blocks it still has.
type logHead struct {
	first, last uint32 // 0, 0 without a block
	pruned      bool
}

const (
	logPruned     = 1 << 31
	logMaxVersion = 16 // 3 is the newest known
)

var errLogHead = errors.New("node: no block log")

func readLogHead(path string) (logHead, error) {
	file, err := os.Open(path)
	if err != nil {
		return logHead{}, err
	}
	defer func() { _ = file.Close() }()
	var b [8]byte
	if _, err := file.ReadAt(b[:], 0); err != nil {
		return logHead{}, errLogHead
	}
	version, first := binary.LittleEndian.Uint32(b[:4]), binary.LittleEndian.Uint32(b[4:])
	h := logHead{pruned: version&logPruned != 0}
	if version &^= logPruned; version == 0 || version > logMaxVersion {
		return logHead{}, errLogHead
	}
	if version == 1 {
		first = 1
	}
	index, err := os.Stat(strings.TrimSuffix(path, ".log") + ".index")
	if err != nil || index.Size() < 8 {
		return h, nil
	}
	blocks := index.Size() / 8
	if first == 0 || blocks > math.MaxUint32-int64(first) {
		return logHead{}, errLogHead
	}
	h.first, h.last = first, first+uint32(blocks)-1
	if info, err := file.Stat(); err == nil && h.pruned && info.Size() >= 12 {
		if _, err := file.ReadAt(b[:4], info.Size()-4); err == nil {
			if n := binary.LittleEndian.Uint32(b[:4]); n >= 1 && n <= h.last-h.first+1 {
				h.first = h.last - n + 1
			}
		}
	}
	return h, nil
}

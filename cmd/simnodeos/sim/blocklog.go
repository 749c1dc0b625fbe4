package sim

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
)

// blockLog is the irreversible blocks: blocks.log with blocks.index, and before it the full strides that were split off (option
// blocks-log-stride). As in nodeos a file begins with its version and the number of its first block, in four bytes each, and ends with the
// position of its last block; the index has 8 bytes per block. What stands between is the double's own. Used by the main
// thread, and by network threads for reading.
//
// Recorded is the plain log alone. Strides are as Spring's source has them (libraries/chain/block_log.cpp and its log_catalog): the log is
// renamed to <retained>/blocks-<first>-<last>.log once a block's number is a multiple of the stride, and an empty one takes its place.
type blockLog struct {
	dirs    folders
	rule    strideRule
	genesis json.RawMessage
	old     []*logFile // strides, by their blocks
	cur     *logFile   // blocks.log
}

// strideRule is what the options say of strides.
type strideRule struct {
	stride uint32 // 0: none
	keep   int    // that many strides stay
}

func (o *options) strides() strideRule {
	r := strideRule{stride: uint32(max(o.num("blocks-log-stride"), 0)), keep: math.MaxInt} //nolint:gosec // a block number
	if o.get("max-retained-block-files") != "" {
		r.keep = int(o.num("max-retained-block-files"))
	}
	return r
}

// logFile is one file of blocks with its index.
type logFile struct {
	path        string // of the file of blocks
	file, index *os.File
	first, last uint32 // last = first - 1 when empty
	end         int64
}

type logHeader struct {
	Genesis json.RawMessage `json:"genesis"`
}

const (
	logVersion = 3
	logFixed   = 12 // version, first block, length of the header that follows
)

func (l *blockLog) first() uint32 {
	if len(l.old) > 0 {
		return l.old[0].first
	}
	return l.cur.first
}

func (l *blockLog) last() uint32 { return l.cur.last }

// openBlockLog opens what there is, nil where there is no log.
func openBlockLog(f folders, rule strideRule) (*blockLog, error) {
	l := &blockLog{dirs: f, rule: rule}
	paths, err := filepath.Glob(filepath.Join(f.retained, "blocks-*-*.log"))
	if err != nil {
		return nil, err
	}
	for _, p := range paths {
		if m := strideName.FindStringSubmatch(filepath.Base(p)); m != nil {
			s, genesis, err := openLogFile(p)
			if err != nil {
				return l, err
			}
			l.old, l.genesis = append(l.old, s), genesis
		}
	}
	slices.SortFunc(l.old, func(a, b *logFile) int { return int(int64(a.first) - int64(b.first)) })
	if f.exists(f.log()) {
		cur, genesis, err := openLogFile(f.log())
		if cur != nil {
			l.cur, l.genesis = cur, genesis
		}
		if err != nil {
			return l, err
		}
	}
	switch {
	case len(l.old) == 0 && l.cur == nil:
		return nil, nil
	case len(l.old) > 0 && (l.cur == nil || l.cur.last < l.cur.first): // the strides alone
		if l.cur != nil {
			_ = l.cur.close()
		}
		l.cur, err = createLogFile(f.log(), l.genesis, l.old[len(l.old)-1].last+1)
		return l, err
	}
	return l, nil
}

var strideName = regexp.MustCompile(`^blocks-(\d+)-(\d+)\.log$`)

// createBlockLog makes an empty log that will begin with block first.
func createBlockLog(f folders, rule strideRule, genesis json.RawMessage, first uint32) (*blockLog, error) {
	cur, err := createLogFile(f.log(), genesis, first)
	return &blockLog{dirs: f, rule: rule, genesis: genesis, cur: cur}, err
}

func logError(message, data string, line int) error {
	return newError(3190000, "block_log_exception", "Block log exception", message, data, site{"block_log.cpp", line, "open"})
}

func indexPath(log string) string { return log[:len(log)-len(".log")] + ".index" }

// openLogFile opens a file of blocks and its index; they must agree on the last block.
func openLogFile(path string) (*logFile, json.RawMessage, error) {
	file, err := os.OpenFile(path, os.O_RDWR, 0o644)
	if err != nil {
		return nil, nil, err
	}
	var head [logFixed]byte
	if _, err := io.ReadFull(file, head[:]); err != nil || binary.LittleEndian.Uint32(head[:]) != logVersion {
		version := binary.LittleEndian.Uint32(head[:])
		return nil, nil, errors.Join(newError(3190001, "block_log_unsupported_version", "unsupported version of block log",
			fmt.Sprintf("Unsupported version of block log. Block log version is %d while code supports version(s) [1,3], log file: %s", version, path),
			fmt.Sprintf(`{"version":%d,"min":1,"max":3,"log":%q}`, version, path), site{"block_log.cpp", 74, "read_from"}), file.Close())
	}
	size := binary.LittleEndian.Uint32(head[8:])
	data := make([]byte, min(size, 1<<20))
	var h logHeader
	if _, err := io.ReadFull(file, data); err != nil || json.Unmarshal(data, &h) != nil {
		return nil, nil, errors.Join(errors.New("blocks.log: broken header"), file.Close())
	}
	l := &logFile{path: path, file: file, first: binary.LittleEndian.Uint32(head[4:])}
	if l.end, err = file.Seek(0, io.SeekEnd); err != nil {
		return nil, nil, err
	}
	idx, err := os.ReadFile(indexPath(path))
	empty := l.end == logFixed+int64(size)
	if !empty && (err != nil || len(idx) == 0) {
		return l, h.Genesis, logError(indexPath(path)+" file is empty, please use spring-util to fix the problem.", fmt.Sprintf(`{"index_file":%q}`, indexPath(path)), 744)
	}
	if len(idx)%8 != 0 {
		return l, h.Genesis, logError(indexPath(path)+" file is invalid, please use spring-util to reconstruct the index.", "", 747)
	}
	l.last = l.first + uint32(len(idx)/8) - 1
	if len(idx) > 0 {
		var tail [8]byte
		_, err := file.ReadAt(tail[:], l.end-8)
		at, want := binary.LittleEndian.Uint64(tail[:]), binary.LittleEndian.Uint64(idx[len(idx)-8:])
		if err != nil || at > uint64(l.end) { //nolint:gosec // a file's length
			return l, h.Genesis, newError(3190000, "block_log_exception", "Block log exception",
				fmt.Sprintf("Read outside of file: position %d, blknum_offset 14, file size %d", at, l.end), "", site{"block_log.cpp", 261, "block_num_at"})
		}
		last, err := l.readAt(int64(want)) //nolint:gosec // checked by the read
		if at != want || err != nil || last.Num() != l.last {
			return l, h.Genesis, logError(fmt.Sprintf("The last block position from %s is at %d which does not match the last block position %d from %s, "+
				"please use spring-util to fix the inconsistency.", path, at, want, indexPath(path)), "", 756)
		}
	}
	l.index, err = os.OpenFile(indexPath(path), os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o644)
	return l, h.Genesis, err
}

func createLogFile(path string, genesis json.RawMessage, first uint32) (*logFile, error) {
	file, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	index, err := os.OpenFile(indexPath(path), os.O_CREATE|os.O_TRUNC|os.O_RDWR|os.O_APPEND, 0o644)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	data, err := json.Marshal(logHeader{Genesis: genesis})
	if err != nil {
		return nil, err
	}
	buf := binary.LittleEndian.AppendUint32(nil, logVersion)
	buf = binary.LittleEndian.AppendUint32(buf, first)
	buf = append(binary.LittleEndian.AppendUint32(buf, uint32(len(data))), data...)
	if _, err := file.Write(buf); err != nil {
		return nil, err
	}
	return &logFile{path: path, file: file, index: index, first: first, last: first - 1, end: int64(len(buf))}, nil
}

func (l *blockLog) append(b *Block) error {
	if b.Num() != l.cur.last+1 {
		return fmt.Errorf("blocks.log: block %d after %d", b.Num(), l.cur.last)
	}
	if err := l.cur.append(b); err != nil {
		return err
	}
	if l.rule.stride > 0 && b.Num()%l.rule.stride == 0 {
		return l.split()
	}
	return nil
}

func (l *logFile) append(b *Block) error {
	data, err := json.Marshal(b)
	if err != nil {
		return err
	}
	buf := binary.LittleEndian.AppendUint32(nil, uint32(len(data)))
	buf = append(buf, data...)
	buf = binary.LittleEndian.AppendUint64(buf, uint64(l.end)) //nolint:gosec // a file's length
	if _, err := l.file.WriteAt(buf, l.end); err != nil {
		return err
	}
	if _, err := l.index.Write(binary.LittleEndian.AppendUint64(nil, uint64(l.end))); err != nil { //nolint:gosec // the same
		return err
	}
	l.end += int64(len(buf))
	l.last++
	return nil
}

// split makes the full log a stride and begins a new one.
func (l *blockLog) split() error {
	full := l.cur
	path := filepath.Join(l.dirs.retained, "blocks-"+strconv.FormatUint(uint64(full.first), 10)+"-"+strconv.FormatUint(uint64(full.last), 10)+".log")
	if err := full.moveTo(path); err != nil {
		return err
	}
	l.old = append(l.old, full)
	for len(l.old) > l.rule.keep {
		oldest := l.old[0]
		l.old = l.old[1:]
		err := errors.Join(oldest.close())
		if l.dirs.archive != "" {
			err = errors.Join(err, oldest.moveTo(filepath.Join(l.dirs.archive, filepath.Base(oldest.path))))
		} else {
			err = errors.Join(err, os.Remove(oldest.path), os.Remove(indexPath(oldest.path)))
		}
		if err != nil {
			return err
		}
	}
	cur, err := createLogFile(l.dirs.log(), l.genesis, full.last+1)
	l.cur = cur
	return err
}

func (l *logFile) moveTo(path string) error {
	err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.Rename(l.path, path), os.Rename(indexPath(l.path), indexPath(path)))
	l.path = path
	return err
}

func (l *logFile) readAt(pos int64) (*Block, error) {
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
	for _, f := range append(l.old[:len(l.old):len(l.old)], l.cur) {
		if num >= f.first && num <= f.last {
			var pos [8]byte
			if _, err := f.index.ReadAt(pos[:], int64(num-f.first)*8); err != nil {
				return nil, err
			}
			return f.readAt(int64(binary.LittleEndian.Uint64(pos[:]))) //nolint:gosec // checked by the read
		}
	}
	return nil, nil
}

func (l *logFile) close() error {
	if l.index == nil {
		return l.file.Close()
	}
	return errors.Join(l.file.Close(), l.index.Close())
}

func (l *blockLog) close() error {
	if l == nil {
		return nil
	}
	var err error
	for _, f := range l.old {
		err = errors.Join(err, f.close())
	}
	if l.cur != nil {
		err = errors.Join(err, l.cur.close())
	}
	return err
}

package backup

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// journal is a file on this machine that tells which packs a backup has written, and what is in them, so that they need not be
// read back to go on after a kill. Whatever is lost or torn of it is read from the store instead. Records: the sum of what
// follows, its length as 4 bytes, the pack's number as 4 and its size as 8 bytes, its sum, its directory; all little endian.
type journal struct {
	log  *slog.Logger
	mu   sync.Mutex
	file *os.File // nil: there is none
}

const (
	journalHead  = 32 + 4
	journalFixed = 4 + 8 + 32
	journalEnd   = ".journal"
	journalAge   = 7 * 24 * time.Hour // what is older belongs to a backup that nobody goes on with
)

// record is a pack in a journal.
type record struct {
	number    uint32
	size      int64
	sum       sum
	directory []entry
}

func (r *Repository) journalPath(id string) string {
	return filepath.Join(r.cache, r.format.id+"-"+id+journalEnd)
}

// openJournal gives what an earlier run has noted, and a journal to go on with. That it cannot be had is no error.
func (r *Repository) openJournal(id string) (*journal, map[uint32]record) {
	j := &journal{log: r.log}
	if r.cache == "" {
		return j, nil
	}
	r.forgetJournals()
	f, err := openCache(r.cache, r.journalPath(id))
	if err != nil {
		r.log.Warn("no journal for this backup: after a kill, what it has stored is read back", "error", err)
		return j, nil
	}
	content, err := os.ReadFile(f.Name())
	known, good := parseJournal(content)
	if err == nil {
		err = f.Truncate(int64(good)) // what is torn is written again
	}
	if err != nil {
		r.log.Warn("no journal for this backup: after a kill, what it has stored is read back", "error", err)
		f.Close()
		return j, nil
	}
	j.file = f
	return j, known
}

func openCache(dir, path string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND|noFollow, 0o600)
}

// forgetJournals removes those of this repository that nobody has written to for long.
func (r *Repository) forgetJournals() {
	names, err := os.ReadDir(r.cache)
	if err != nil {
		return
	}
	for _, d := range names {
		if !strings.HasPrefix(d.Name(), r.format.id+"-") || !strings.HasSuffix(d.Name(), journalEnd) {
			continue
		}
		if info, err := d.Info(); err == nil && info.Mode().IsRegular() && time.Since(info.ModTime()) > journalAge {
			_ = os.Remove(filepath.Join(r.cache, d.Name()))
		}
	}
}

// dropJournal is for a backup that is done.
func (r *Repository) dropJournal(id string) {
	if r.cache == "" {
		return
	}
	if err := os.Remove(r.journalPath(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.log.Warn("the journal of a backup is left", "error", err)
	}
}

// parseJournal gives the records by number, and how many bytes of the journal are good.
func parseJournal(b []byte) (known map[uint32]record, good int) {
	known = map[uint32]record{}
	for rest := b; len(rest) >= journalHead; {
		n := int64(binary.LittleEndian.Uint32(rest[32:]))
		if n < journalFixed || int64(len(rest)) < journalHead+n {
			break
		}
		body := rest[32 : journalHead+n]
		if sumOf(body) != sum(rest[:32]) {
			break
		}
		body = body[4:]
		rec := record{number: binary.LittleEndian.Uint32(body), size: int64(binary.LittleEndian.Uint64(body[4:])), sum: sum(body[12:44])}
		directory, err := parseDirectory(body[journalFixed:], maxPackBytes)
		if err != nil || len(directory)*entryBytes != len(body)-journalFixed {
			break
		}
		rec.directory = directory
		known[rec.number] = rec
		good += int(journalHead + n)
		rest = rest[journalHead+n:]
	}
	return known, good
}

func encodeRecord(ref packRef, directory []entry) []byte {
	n := journalFixed + len(directory)*entryBytes
	b := make([]byte, 32, journalHead+n)
	b = binary.LittleEndian.AppendUint32(b, uint32(n))
	b = binary.LittleEndian.AppendUint32(b, ref.Number)
	b = binary.LittleEndian.AppendUint64(b, uint64(ref.Size))
	b = append(b, ref.Sum[:]...)
	for _, e := range directory {
		b = e.append(b)
	}
	s := sumOf(b[32:])
	copy(b, s[:])
	return b
}

// add notes a pack that was stored. The first error ends the journal.
func (j *journal) add(ref packRef, directory []entry) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.file == nil {
		return
	}
	if _, err := j.file.Write(encodeRecord(ref, directory)); err != nil {
		j.log.Warn("the journal of this backup ends: after a kill, what it stores from now on is read back", "error", err)
		j.file.Close()
		j.file = nil
	}
}

func (j *journal) close() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.file != nil {
		j.file.Close()
		j.file = nil
	}
}

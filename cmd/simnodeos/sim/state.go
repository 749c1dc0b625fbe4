package sim

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"os/signal"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// stateFile is state/shared_memory.bin: a sparse file with a dirty byte, set while a process has it open, and with data in
// it that each block changes in place. There is no lock that another nodeos would heed: a second process on a live directory sees
// "dirty". (The POSIX lock of nodeos is there, as recorded; it comes after the look at the flag.)
//
// Its data stands in runs of 64 KiB, spread over the file so that there are holes between them. A clean stop writes a checksum over it,
// and the head it belongs to, and each start checks them: a copy with a wrong page ends as a damaged state does, by SIGSEGV without a word
// (recording 03-errors/a.11), and one that does not fit its chain_head.dat by an exception.
type stateFile struct {
	file  *os.File
	head  stateHead
	churn int // pages per block
}

// stateHead stands behind the dirty byte.
type stateHead struct {
	Size    int64           `json:"size"`
	Runs    int64           `json:"runs"`
	Sum     uint32          `json:"sum"`  // over the runs, at the last clean stop
	Head    Hash            `json:"head"` // the same
	Genesis json.RawMessage `json:"genesis"`
}

const (
	stateMagic  = "SIMSTATE"
	dirtyOffset = 8
	headOffset  = 64
	pageSize    = 4 << 10
	runSize     = 64 << 10
	runsBegin   = 1 << 20
)

var errDirty = &chainError{code: 13, name: "N5boost10wrapexceptISt12system_errorEE", what: "Database dirty flag set", exit: 2,
	entries: []errorEntry{{"rethrow Database dirty flag set: ", `{"what":"Database dirty flag set"}`, chainInitSite}}}

var chainInitSite = site{"chain_plugin.cpp", 1130, "plugin_initialize"}

// stateSize is what the options say of the state.
type stateSize struct{ mib, data, churn int64 }

func (o *options) stateSize() stateSize {
	return stateSize{o.num("chain-state-db-size-mb"), o.num("sim-state-mb"), o.num("sim-state-churn")}
}

func openState(f folders, size stateSize, genesis json.RawMessage) (s *stateFile, fresh bool, err error) {
	fresh = !f.exists(f.memory())
	file, err := os.OpenFile(f.memory(), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, false, err
	}
	s = &stateFile{file: file, churn: int(size.churn << 10 / pageSize)}
	if fresh {
		s.head = stateHead{Size: size.mib << 20, Genesis: genesis}
		s.head.Runs = max(min(size.data<<20, s.head.Size-runsBegin)/runSize, 0)
		return s, true, errors.Join(file.Truncate(s.head.Size), s.write([]byte(stateMagic+"\x00"), 0), s.lock(), s.mark(1), s.fill(), s.writeHead())
	}
	var magic [9]byte
	if _, err := file.ReadAt(magic[:], 0); err != nil {
		return nil, false, errors.Join(badState("Failed to read DB header"), file.Close())
	}
	if !bytes.Equal(magic[:8], []byte(stateMagic)) {
		const text = `"state" database format not compatible with this version of chainbase.: Database format not compatible with this version of chainbase`
		return nil, false, errors.Join(badState(text), file.Close())
	}
	if magic[dirtyOffset] != 0 {
		return nil, false, errors.Join(errDirty, file.Close())
	}
	if err := s.check(); err != nil {
		return nil, false, err
	}
	if want := size.mib << 20; want > s.head.Size { // a smaller one than is there is no error (03-errors/a.28b)
		s.head.Size = want
		if err := errors.Join(file.Truncate(want), s.writeHead()); err != nil {
			return nil, false, err
		}
	}
	if err := s.lock(); err != nil {
		return nil, false, errors.Join(badState("Could not gain write access to the shared memory file"), file.Close())
	}
	return s, false, s.mark(1)
}

// check reads the header and the data of a state that was closed cleanly. A file that is too short hangs nodeos for ever (fact 21), a
// wrong page ends it.
func (s *stateFile) check() error {
	head := make([]byte, pageSize-headOffset)
	if _, err := s.file.ReadAt(head, headOffset); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	n := binary.LittleEndian.Uint32(head)
	if n > uint32(len(head)-4) || json.Unmarshal(head[4:4+n], &s.head) != nil {
		dieOf(syscall.SIGSEGV)
	}
	if info, err := s.file.Stat(); err != nil || info.Size() < s.head.Size {
		signal.Ignore(syscall.SIGTERM, syscall.SIGINT)
		for {
			_ = spin(1 << 20)
		}
	}
	sum, err := s.sum(nil)
	if err == nil && sum != s.head.Sum {
		dieOf(syscall.SIGSEGV)
	}
	return err
}

func badState(what string) *chainError {
	data, _ := json.Marshal(map[string]string{"what": what})
	return &chainError{code: 13, name: "N5boost10wrapexceptISt12system_errorEE", what: what,
		entries: []errorEntry{{"rethrow " + what + ": ", string(data), chainInitSite}}}
}

func (s *stateFile) lock() error {
	return unix.FcntlFlock(s.file.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
}

func (s *stateFile) write(b []byte, at int64) error {
	_, err := s.file.WriteAt(b, at)
	return err
}

func (s *stateFile) mark(dirty byte) error { return s.write([]byte{dirty}, dirtyOffset) }

func (s *stateFile) writeHead() error {
	data, err := json.Marshal(s.head)
	if err != nil {
		return err
	}
	if len(data)+4 > pageSize-headOffset {
		return errors.New("shared_memory.bin: its header is too long")
	}
	return s.write(append(binary.LittleEndian.AppendUint32(nil, uint32(len(data))), data...), headOffset)
}

// run is where a run begins.
func (s *stateFile) run(i int64) int64 {
	step := (s.head.Size - runsBegin) / max(s.head.Runs, 1) / runSize * runSize
	return runsBegin + i*step
}

// fill writes all runs.
func (s *stateFile) fill() error {
	buf := make([]byte, runSize)
	for i := range s.head.Runs {
		for p := range int64(runSize / pageSize) {
			page(buf[p*pageSize:][:pageSize], uint64(i*runSize/pageSize+p))
		}
		if err := s.write(buf, s.run(i)); err != nil {
			return err
		}
	}
	return nil
}

// touch changes some pages, as applying a block does.
func (s *stateFile) touch(id Hash) error {
	if s == nil || s.head.Runs == 0 {
		return nil
	}
	pages := uint64(s.head.Runs) * (runSize / pageSize)
	buf := make([]byte, pageSize)
	seed := binary.LittleEndian.Uint64(id[8:])
	for range s.churn {
		seed = next(seed)
		page(buf, seed)
		p := int64(seed % pages) //nolint:gosec // less than pages
		if err := s.write(buf, s.run(p*pageSize/runSize)+p*pageSize%runSize); err != nil {
			return err
		}
	}
	return nil
}

// page makes the content of a page: half of it cannot be compressed, as in a real state.
func page(b []byte, seed uint64) {
	x := next(seed ^ 0x9e3779b97f4a7c15)
	for i := 0; i < len(b)/2; i += 8 {
		x = next(x)
		binary.LittleEndian.PutUint64(b[i:], x)
	}
	for i := len(b) / 2; i < len(b); i += 16 {
		binary.LittleEndian.PutUint64(b[i:], seed)
		binary.LittleEndian.PutUint64(b[i+8:], uint64(i)) //nolint:gosec // an offset
	}
}

// next is xorshift64.
func next(x uint64) uint64 {
	if x == 0 {
		x = 1
	}
	x ^= x << 13
	x ^= x >> 7
	return x ^ x<<17
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sum reads all runs, also into w where there is one.
func (s *stateFile) sum(w io.Writer) (uint32, error) {
	h := crc32.New(castagnoli)
	both := io.Writer(h)
	if w != nil {
		both = io.MultiWriter(h, w)
	}
	for i := range s.head.Runs {
		if _, err := io.Copy(both, io.NewSectionReader(s.file, s.run(i), runSize)); err != nil {
			return 0, err
		}
	}
	return h.Sum32(), nil
}

// close ends it cleanly at a head; the zero head leaves it as it was opened.
func (s *stateFile) close(head Hash) error {
	var err error
	if head != (Hash{}) {
		if s.head.Sum, err = s.sum(nil); err == nil {
			s.head.Head = head
			err = s.writeHead()
		}
	}
	return errors.Join(err, s.mark(0), s.file.Close())
}

// dieOf ends the process by a signal without a word, which Go's own handler would not allow: it would print, and exit with code 2.
func dieOf(sig syscall.Signal) {
	_ = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
	var standard struct { // kernel_sigaction: SIG_DFL, no flags
		handler, flags, restorer, mask uintptr
	}
	_, _, _ = unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(&standard)), 0, 8, 0, 0)
	_ = unix.Kill(os.Getpid(), sig)
	select {}
}

package backup

import (
	"errors"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// target is the file that a goroutine of a restore works on; segments of the same file mostly come together.
type target struct {
	open   *os.File
	index  uint32
	buffer []byte
}

func (t *target) of(s *restorer, index uint32) (*os.File, error) {
	if t.open != nil && t.index == index {
		return t.open, nil
	}
	t.close()
	f, err := s.root.OpenFile(s.m.Files[index].Path, os.O_RDWR|noFollow, 0)
	if err != nil {
		return nil, err
	}
	t.open, t.index = f, index
	return f, nil
}

func (t *target) close() {
	if t.open != nil {
		t.open.Close()
		t.open = nil
	}
}

// page is the unit in which zeros become holes, in bytes. Segments begin at multiples of it.
const page = 4096

// write puts a verified segment in its place.
func (s *restorer) write(h *checker, p piece, segment []byte) error {
	f, err := h.target.of(s, p.file)
	if err != nil {
		return err
	}
	off, n := s.m.Files[p.file].Shift.span(int64(p.segment), s.m.Files[p.file].Size)
	if s.again {
		if err := punch(f, off, n); err != nil {
			return err
		}
	}
	for len(segment) > 0 {
		n := 0
		for n < len(segment) && zeros(segment[n:min(n+page, len(segment))]) {
			n = min(n+page, len(segment))
		}
		segment, off = segment[n:], off+int64(n)
		n = 0
		for n < len(segment) && !zeros(segment[n:min(n+page, len(segment))]) {
			n = min(n+page, len(segment))
		}
		if _, err := f.WriteAt(segment[:n], off); err != nil {
			return err
		}
		segment, off = segment[n:], off+int64(n)
	}
	return nil
}

// punch makes a hole, or writes zeros where the file system has none.
func punch(f *os.File, off, n int64) error {
	err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n)
	if !errors.Is(err, syscall.EOPNOTSUPP) && !errors.Is(err, syscall.ENOSYS) {
		return err
	}
	for zero := make([]byte, min(n, batch)); n > 0; {
		k, err := f.WriteAt(zero[:min(n, int64(len(zero)))], off)
		if err != nil {
			return err
		}
		off, n = off+int64(k), n-int64(k)
	}
	return nil
}

// has says whether the segment is in its place already.
func (t *target) has(s *restorer, p piece) (bool, error) {
	f, err := t.of(s, p.file)
	if err != nil {
		return false, err
	}
	off, n := s.m.Files[p.file].Shift.span(int64(p.segment), s.m.Files[p.file].Size)
	if int64(cap(t.buffer)) < n {
		t.buffer = make([]byte, max(n, batch))
	}
	b := t.buffer[:n]
	if k, err := f.ReadAt(b, off); int64(k) < n {
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		return false, err
	}
	return sumOf(b) == p.sum, nil
}

package backup

import (
	"errors"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// part is what a run of segments is to the file system.
type part int

const (
	holes part = iota // nothing but holes
	data              // no hole
	mixed             // both
)

// layout visits the segments from one to another, of a file of this size, in runs. What lies between two holes is data, zeros
// or not.
func layout(f *os.File, l law, from, to, size int64, visit func(p part, first, n int64) error) error {
	for next := from; next < to; {
		start, _ := l.at(next)
		d, err := f.Seek(start, unix.SEEK_DATA)
		if errors.Is(err, syscall.ENXIO) {
			return visit(holes, next, to-next)
		}
		if err != nil {
			return err
		}
		h, err := f.Seek(d, unix.SEEK_HOLE)
		if errors.Is(err, syscall.ENXIO) {
			return io.ErrUnexpectedEOF // cut off between the two
		}
		if err != nil {
			return err
		}
		first, last := min(l.index(d), to), min(l.index(h-1), to-1)
		if first > next {
			if err := visit(holes, next, first-next); err != nil {
				return err
			}
		}
		next = max(last+1, first)
		if first > last {
			continue
		}
		if begin, _ := l.at(first); d > begin {
			if err := visit(mixed, first, 1); err != nil {
				return err
			}
			first++
		}
		if first > last {
			continue
		}
		end, n := l.span(last, size)
		if h < end+n {
			last--
		}
		if first <= last {
			if err := visit(data, first, last+1-first); err != nil {
				return err
			}
		}
		if h < end+n {
			if err := visit(mixed, last+1, 1); err != nil {
				return err
			}
		}
	}
	return nil
}

package clock

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The file: four words in the machine's own order.
const (
	wordVersion = iota // odd while the others are being written
	wordOffset         // ns
	wordRate           // parts per billion that it runs fast, from base on
	wordBase           // Unix ns of the machine's clock
	words
)

const size = words * 8

// page is a mapped file.
type page [words]int64

// Clock reads such a file. Its methods may be called from any goroutine, and on nil.
type Clock struct{ page *page }

// Open maps a clock's file, and makes one that tells the machine's time where there is none. The mapping stays for as long
// as the process.
func Open(path string) (*Clock, error) {
	p, err := open(path)
	if err != nil {
		return nil, err
	}
	return &Clock{p}, nil
}

// Now is the moved time. Its monotonic part is not moved, as by a real step: the difference of two is the time that passed.
func (c *Clock) Now() time.Time {
	now := time.Now()
	if c == nil {
		return now
	}
	return moveWall(now, time.Duration(c.shift(now.UnixNano())))
}

// Shift is how far the clock is ahead of the machine's now.
func (c *Clock) Shift() time.Duration {
	if c == nil {
		return 0
	}
	return time.Duration(c.shift(time.Now().UnixNano()))
}

func (c *Clock) shift(now int64) int64 {
	offset, rate, base := c.read()
	return offset + drift(now-base, rate)
}

// read gives the words of one and the same Write.
func (c *Clock) read() (offset, rate, base int64) {
	for {
		version := atomic.LoadInt64(&c.page[wordVersion])
		offset, rate, base = atomic.LoadInt64(&c.page[wordOffset]), atomic.LoadInt64(&c.page[wordRate]), atomic.LoadInt64(&c.page[wordBase])
		if version%2 == 0 && atomic.LoadInt64(&c.page[wordVersion]) == version {
			return offset, rate, base
		}
	}
}

// drift is what a clock that is off by so many parts per billion gains in a time; in two parts, or it would not fit.
func drift(passed, rate int64) int64 {
	const second = int64(time.Second)
	return passed/second*rate + passed%second*rate/second
}

// Write moves the clock of a file: ahead by offset now, and from now on by ratePPB nanoseconds per second more. There may be
// only one writer at a time.
func Write(path string, offset time.Duration, ratePPB int64) error {
	p, err := open(path)
	if err != nil {
		return err
	}
	atomic.AddInt64(&p[wordVersion], 1)
	atomic.StoreInt64(&p[wordOffset], int64(offset))
	atomic.StoreInt64(&p[wordRate], ratePPB)
	atomic.StoreInt64(&p[wordBase], time.Now().UnixNano())
	atomic.AddInt64(&p[wordVersion], 1)
	if err := unix.Munmap(unsafe.Slice((*byte)(unsafe.Pointer(p)), size)); err != nil {
		return fmt.Errorf("clock: %w", err)
	}
	return nil
}

func open(path string) (*page, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("clock: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("clock: %w", err)
	}
	if info.Size() > size {
		return nil, fmt.Errorf("clock: %s: %w", path, errors.Join(errFile, fs.ErrInvalid))
	}
	if info.Size() < size { // new: all zero is the machine's time
		if err := f.Truncate(size); err != nil {
			return nil, fmt.Errorf("clock: %w", err)
		}
	}
	b, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("clock: map %s: %w", path, err)
	}
	return (*page)(unsafe.Pointer(&b[0])), nil //nolint:gosec // the map is a page, aligned and long enough
}

var errFile = errors.New("not a clock's file")

package versions

import (
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"roundtable/durable"
)

// lockPoll is how often a lock that somebody has is asked for again. An flock cannot be waited for and given up.
const lockPoll = 50 * time.Millisecond

// lock takes the lock of the whole home, for the short time that names are changed in it. It is a flock on the folder of
// versions: it ends with the process, and leaves no file.
func (h *Home) lock() (unlock func(), err error) {
	d, err := os.Open(h.versions())
	if err != nil {
		return nil, broken(h.versions(), err)
	}
	for {
		if err = unix.Flock(int(d.Fd()), unix.LOCK_EX); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		_ = d.Close()
		return nil, broken(h.versions(), err)
	}
	return func() { _ = d.Close() }, nil
}

// lockStage takes the lock of a tag's download folder, for as long as that version is staged.
func (h *Home) lockStage(ctx context.Context, tag string) (unlock func(), err error) {
	for {
		unlock, err := h.tryStage(tag)
		if unlock != nil || err != nil {
			return unlock, err
		}
		if err := pause(ctx, lockPoll); err != nil {
			return nil, err
		}
	}
}

// tryStage is lockStage without waiting: nil where somebody else has it. Unlocking removes the folder if nothing is in it.
func (h *Home) tryStage(tag string) (unlock func(), err error) {
	dir := h.downloads(tag)
	if err := durable.MkdirAll(dir); err != nil {
		return nil, broken(dir, err)
	}
	d, err := os.Open(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil // the one before has just removed it
	}
	if err != nil {
		return nil, broken(dir, err)
	}
	if err := unix.Flock(int(d.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = d.Close()
		if errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, unix.EINTR) {
			return nil, nil
		}
		return nil, broken(dir, err)
	}
	locked, err := d.Stat()
	if err == nil {
		var there os.FileInfo
		if there, err = os.Stat(dir); err == nil && os.SameFile(locked, there) {
			return func() {
				_ = os.Remove(dir) // not while a download waits in it
				_ = d.Close()
			}, nil
		}
	}
	_ = d.Close() // it was removed before it was locked: that lock means nothing
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, broken(dir, err)
	}
	return nil, nil
}

// pause waits, or returns the context's error.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// LockName is the file in the data directory that holds its lock.
const LockName = "roundtable.lock"

// ErrLocked says that another manager has the data directory. The error's text names its pid and what to do.
var ErrLocked = errors.New("data directory is locked")

// Lock is the manager's hold on a data directory. nodeos has none of its own: a second nodeos on a live data directory
// sees "dirty", and a replay there destroys the first one's state (FACT 11).
//
// The lock is a flock on an open file, so it goes away with the manager however that dies. The file also remembers the child, so
// that the next manager can make sure it is dead.
type Lock struct {
	dir  string
	mu   sync.Mutex
	file *os.File
	note lockNote
}

// lockNote is what stands in the lock file.
type lockNote struct {
	Manager process   `json:"manager"`
	Since   time.Time `json:"since"`
	Child   *process  `json:"child,omitempty"`
}

// AcquireLock takes the lock of a data directory, which is made where it is missing. ErrLocked if somebody else has it.
func AcquireLock(dir string) (*Lock, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("node: data directory: %w", err)
	}
	path := filepath.Join(dir, LockName)
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("node: lock: %w", err)
	}
	l := &Lock{dir: dir, file: file}
	note, _ := l.read() // only to say who holds it
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = file.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("node: %w: %s is held by pid %d since %s; stop that manager first (`kill %d`), or give this one its own node.data_dir",
				ErrLocked, path, note.Manager.PID, note.Since.Format(time.RFC3339), note.Manager.PID)
		}
		return nil, fmt.Errorf("node: lock %s: %w", path, err)
	}
	// Only what was read under the lock counts for the child.
	if note, err := l.read(); err == nil {
		l.note.Child = note.Child
	}
	l.note.Manager, l.note.Since = processOf(os.Getpid()), time.Now().UTC()
	if err := l.write(); err != nil {
		_ = file.Close()
		return nil, err
	}
	return l, nil
}

// Orphan returns the pid of a child that an earlier manager left behind and that is still alive, 0 for none.
func (l *Lock) Orphan() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.note.Child == nil {
		return 0
	}
	fd, err := l.note.Child.open()
	if err != nil || fd < 0 {
		return 0
	}
	defer func() { _ = unix.Close(fd) }()
	if gone, _ := waitPidfd(context.Background(), fd, 0); gone {
		return 0
	}
	return l.note.Child.PID
}

// Reap makes sure that the child of an earlier manager is dead: SIGTERM, at most stopTimeout, SIGKILL, wait. A nodeos
// whose manager is gone writes its state and then dies of SIGPIPE, clean (FACT 13). clean is false if it had to be killed.
// It gives an error, and then nothing may be started, if the process could not be waited for.
func (l *Lock) Reap(ctx context.Context, stopTimeout time.Duration, log *slog.Logger) (clean bool, err error) {
	l.mu.Lock()
	child := l.note.Child
	l.mu.Unlock()
	if child == nil {
		return true, nil
	}
	fd, err := child.open()
	if err != nil {
		return false, err
	}
	if fd < 0 {
		return true, l.SetChild(0)
	}
	defer func() { _ = unix.Close(fd) }()
	clean = true
	gone, err := waitPidfd(ctx, fd, 0)
	if err == nil && !gone {
		log.Warn("a node of an earlier manager is still alive, stopping it", "pid", child.PID)
		_ = unix.PidfdSendSignal(fd, unix.SIGTERM, nil, 0)
		if gone, err = waitPidfd(ctx, fd, stopTimeout); err == nil && !gone {
			clean = false
			log.Warn("it does not stop, killing it", "pid", child.PID, "after", stopTimeout)
			_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
			gone, err = waitPidfd(ctx, fd, time.Minute)
		}
	}
	if err != nil {
		return false, fmt.Errorf("node: waiting for the earlier node, pid %d: %w", child.PID, err)
	}
	if !gone {
		return false, fmt.Errorf("node: the earlier node, pid %d, survives SIGKILL (a stuck disk?); nothing is started on its data", child.PID)
	}
	return clean, l.SetChild(0)
}

// SetChild remembers the running child; 0 says there is none.
func (l *Lock) SetChild(pid int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.note.Child = nil
	if pid != 0 {
		p := processOf(pid)
		l.note.Child = &p
	}
	return l.write()
}

// Release gives the lock up. The file stays: removing it would let two managers lock two files.
func (l *Lock) Release() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
	return err
}

func (l *Lock) read() (note lockNote, err error) {
	b, err := io.ReadAll(io.NewSectionReader(l.file, 0, 64<<10))
	if err != nil {
		return note, err
	}
	return note, json.Unmarshal(b, &note)
}

func (l *Lock) write() error {
	if l.file == nil {
		return errors.New("node: the lock was released")
	}
	b, err := json.Marshal(l.note)
	if err != nil {
		return err
	}
	if err := l.file.Truncate(0); err != nil {
		return fmt.Errorf("node: lock file: %w", err)
	}
	if _, err := l.file.WriteAt(append(b, '\n'), 0); err != nil {
		return fmt.Errorf("node: lock file: %w", err)
	}
	return nil
}

package node

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// ErrNotClean says that what is on disk is not what a clean stop leaves: a copy of it would not start.
var ErrNotClean = errors.New("the node did not end cleanly")

// Layout tells where the node keeps its chain: by the present config.ini and the arguments of the program chosen last.
func (s *Supervisor) Layout() Layout {
	s.mu.Lock()
	defer s.mu.Unlock()
	return LayoutOf(s.cfg.ConfigDir, s.cfg.DataDir, s.lastArgs)
}

// StoppedCleanly is nil if the node is down and its data may be copied as a whole: it was not killed, nobody else has the data open,
// and there is what nodeos writes only at a clean stop and deletes at each start (FACT 16). So it tells also for a node that an
// earlier manager stopped. It holds until the next Start, from which the caller keeps everybody. ErrInUse otherwise if somebody has
// the data open, else ErrNotClean.
func (s *Supervisor) StoppedCleanly() error {
	st := s.Status()
	if st.State != StateStopped && st.State != StateFailed || st.PID != 0 {
		return fmt.Errorf("node: %w: it is %s", ErrNotClean, st.State)
	}
	layout := s.Layout()
	if err := layout.occupied(); err != nil {
		return err
	}
	if e := st.LastExit; e != nil && e.Suspect {
		return fmt.Errorf("node: %w: %s", ErrNotClean, e)
	}
	c, err := layout.Holds()
	switch {
	case err != nil:
		return err
	case !c.Memory:
		return fmt.Errorf("node: %w: there is no state in %s", ErrNotClean, layout.State)
	case !c.Clean():
		return fmt.Errorf("node: %w: fork_db.dat or chain_head.dat is missing, which a clean stop writes", ErrNotClean)
	}
	return nil
}

// occupied is ErrInUse if another process has the chain's files open, or its state locked. nodeos locks shared_memory.bin while it runs
// (recording g-disk-layout/proc-locks.txt), though no other nodeos heeds it (FACT 11): the lock shows also a process of another
// user or container, whose open files we cannot see.
func (l Layout) occupied() error {
	if pid := holder(l.Blocks, l.State); pid != 0 {
		return fmt.Errorf("%w: pid %d has files of %s open; stop it first", ErrInUse, pid, l.Data)
	}
	if pid, held := locker(l.memory()); held {
		return fmt.Errorf("%w: pid %d (as seen from here) holds the lock of %s; stop it first", ErrInUse, pid, l.memory())
	}
	return nil
}

// locker returns the process that holds a POSIX lock on a file; a pid of 0 or less is not one of this container's.
func locker(path string) (pid int, held bool) {
	f, err := os.Open(path)
	if err != nil {
		return 0, false
	}
	defer func() { _ = f.Close() }()
	lock := unix.Flock_t{Type: unix.F_WRLCK} // the whole file
	if err := unix.FcntlFlock(f.Fd(), unix.F_GETLK, &lock); err != nil || lock.Type == unix.F_UNLCK {
		return 0, false
	}
	return int(lock.Pid), true
}

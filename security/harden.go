package security

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// NoCoreDumps keeps what this process has in memory to itself: the kernel writes no core file of it or of its children, and
// no other process of the same user may read its memory or attach to it. (root may; root may everything.) A child that
// executes another program can be attached to again.
func NoCoreDumps() error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("security: no limit of core dumps: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("security: the memory stays readable: %w", err)
	}
	return nil
}

package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// process names one process for ever: a pid alone may be used again.
type process struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // clock ticks since boot, field 22 of /proc/pid/stat
	Boot  string `json:"boot"`  // /proc/sys/kernel/random/boot_id
}

func processOf(pid int) process {
	boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	start, _ := startTicks(pid)
	return process{PID: pid, Start: start, Boot: strings.TrimSpace(string(boot))}
}

// startTicks reads field 22 of /proc/pid/stat; the second field may hold blanks and brackets.
func startTicks(pid int) (uint64, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, err
	}
	rest := string(b[strings.LastIndexByte(string(b), ')')+1:])
	fields := strings.Fields(rest)
	if len(fields) < 20 {
		return 0, fmt.Errorf("node: /proc/%d/stat has %d fields", pid, len(fields))
	}
	return strconv.ParseUint(fields[19], 10, 64)
}

// open returns a pidfd of the process, or -1 if it is gone (or its pid belongs to another one now).
func (p process) open() (int, error) {
	fd, err := unix.PidfdOpen(p.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return -1, nil
	}
	if err != nil {
		return -1, fmt.Errorf("node: pidfd_open %d: %w", p.PID, err)
	}
	if now := processOf(p.PID); now != p {
		_ = unix.Close(fd)
		return -1, nil
	}
	return fd, nil
}

// waitPidfd waits at most timeout for the end of all threads of a process. It need not be a child.
func waitPidfd(ctx context.Context, fd int, timeout time.Duration) (gone bool, err error) {
	for deadline := time.Now().Add(timeout); ; {
		left := min(time.Until(deadline), 50*time.Millisecond)
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(max(left, 0)/time.Millisecond))
		if err != nil && !errors.Is(err, unix.EINTR) {
			return false, err
		}
		if n > 0 {
			return true, nil
		}
		if err := ctx.Err(); err != nil {
			return false, err
		}
		if !time.Now().Before(deadline) {
			return false, nil
		}
	}
}

// holder returns the pid of a process other than this one that has a file under one of the directories open for writing, as every nodeos
// has its blocks.log, 0 for none. Who only reads, such as a worker at a backup or somebody's copy, is in nobody's way.
// It sees only processes whose /proc/pid/fd may be read: those of the same user, or all for root.
func holder(dirs ...string) int {
	var inside []string
	for _, dir := range dirs {
		abs, err := filepath.Abs(dir)
		if err != nil {
			continue
		}
		if target, err := filepath.EvalSymlinks(abs); err == nil {
			abs = target
		}
		inside = append(inside, abs+"/")
	}
	procs, err := os.ReadDir("/proc")
	if err != nil {
		return 0
	}
	for _, entry := range procs {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		fds := filepath.Join("/proc", entry.Name(), "fd")
		names, err := os.ReadDir(fds)
		if err != nil {
			continue
		}
		for _, fd := range names {
			target, err := os.Readlink(filepath.Join(fds, fd.Name()))
			if err == nil && slices.ContainsFunc(inside, func(dir string) bool { return strings.HasPrefix(target, dir) }) &&
				writes(filepath.Join("/proc", entry.Name(), "fdinfo", fd.Name())) {
				return pid
			}
		}
	}
	return 0
}

// writes reports whether a descriptor, by its file in /proc/pid/fdinfo, is open for writing. One that cannot be told counts as such; one
// that is closed meanwhile does not.
func writes(fdinfo string) bool {
	b, err := os.ReadFile(fdinfo)
	if err != nil {
		return !errors.Is(err, os.ErrNotExist)
	}
	for line := range strings.Lines(string(b)) {
		if octal, ok := strings.CutPrefix(line, "flags:"); ok {
			flags, err := strconv.ParseInt(strings.TrimSpace(octal), 8, 64)
			return err != nil || flags&unix.O_ACCMODE != unix.O_RDONLY
		}
	}
	return true
}

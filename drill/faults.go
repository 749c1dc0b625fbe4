package drill

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"roundtable/clock"
)

// ErrNoTarget is of a fault that found nothing to fall on: an earlier one had ended it, or froze it.
var ErrNoTarget = errors.New("nothing to do it to")

// What says which processes of a member a fault falls on.
type What int

// The processes of a member.
const (
	Manager What = 1 << iota
	Node
	Workers // what stores or reads a backup; Thaw takes them for the node
	Both    = Manager | Node
	All     = Both | Workers
)

func (w What) String() string {
	switch w {
	case Manager:
		return "manager"
	case Node:
		return "node"
	case Workers:
		return "workers"
	case Both:
		return "manager and node"
	case All:
		return "all processes"
	}
	return "What(" + strconv.Itoa(int(w)) + ")"
}

// frozenTime bounds the wait until a process has stopped; one that writes to a slow disk takes its time.
const frozenTime = 5 * time.Second

// Freeze stops a member's manager, its node, or both with SIGSTOP, and returns when they have stopped. What is frozen
// already stays so. The manager of a frozen node may kill it; the node of a frozen manager goes on, and blocks once its
// pipes are full.
func (s *Sandbox) Freeze(m *Member, what What) error {
	if !m.Running() {
		return fmt.Errorf("drill: freeze %s: %w: it does not run", m.ID, ErrNoTarget)
	}
	var pids []int
	if what&Manager != 0 {
		pids = append(pids, m.process.cmd.Process.Pid)
	}
	if what&Node != 0 {
		pid, err := s.NodePID(m)
		if err != nil {
			return err
		}
		pids = append(pids, pid)
	}
	if what&Workers != 0 {
		_, workers, err := s.childrenOf(m)
		if err != nil {
			return err
		}
		pids = append(pids, workers...)
	}
	for _, pid := range pids { // all at once, as far as one can
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			return fmt.Errorf("drill: freeze %s: pid %d: %w", m.ID, pid, err)
		}
		m.mu.Lock()
		if !slices.Contains(m.frozen, pid) {
			m.frozen = append(m.frozen, pid)
		}
		m.mu.Unlock()
	}
	ctx, cancel := context.WithTimeout(context.Background(), frozenTime)
	defer cancel()
	for _, pid := range pids {
		if err := Poll(ctx, time.Millisecond, func(context.Context) error { return stopped(pid) }); err != nil {
			return fmt.Errorf("drill: freeze %s: %w", m.ID, err)
		}
	}
	return nil
}

// stopped is nil when the process is stopped by a signal, or gone.
func stopped(pid int) error {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return nil //nolint:nilerr // it has ended: the fault came too late, as a fault may
	}
	if state := processState(stat); state != 'T' && state != 'Z' {
		return fmt.Errorf("drill: pid %d does not stop, its state is %c", pid, state)
	}
	return nil
}

// Thaw lets what Freeze stopped go on: those processes and no others. One that has died in the meantime is no error.
func (s *Sandbox) Thaw(m *Member, what What) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all error
	var still []int
	for _, pid := range m.frozen {
		manager := m.process != nil && pid == m.process.cmd.Process.Pid
		if manager && what&Manager == 0 || !manager && what&Node == 0 {
			still = append(still, pid)
			continue
		}
		if err := syscall.Kill(pid, syscall.SIGCONT); err != nil && !errors.Is(err, syscall.ESRCH) {
			all = errors.Join(all, fmt.Errorf("drill: thaw %s: pid %d: %w", m.ID, pid, err))
		}
	}
	m.frozen = still
	return all
}

// StepClock sets a member's wall clock, its manager's and its simulated node's, off from the machine's by so much, at
// once: further steps do not add up.
func (s *Sandbox) StepClock(m *Member, offset time.Duration) error {
	if s.opts.Secure {
		return errSandboxOnly
	}
	return clock.Write(m.clockFile(), offset, 0)
}

// SkewClock lets a member's wall clock run fast by so many parts per million from now on, or slow; it begins at the
// machine's time.
func (s *Sandbox) SkewClock(m *Member, ppm int) error {
	if s.opts.Secure {
		return errSandboxOnly
	}
	return clock.Write(m.clockFile(), 0, int64(ppm)*1000)
}

// ResetClock puts a member's wall clock right: a step back, unless it was right.
func (s *Sandbox) ResetClock(m *Member) error { return clock.Write(m.clockFile(), 0, 0) }

// StallDisk lets every write that a member's manager wants on disk hang, until UnstallDisk; a manager that starts meanwhile
// hangs, too.
func (s *Sandbox) StallDisk(m *Member) error {
	if s.opts.Secure {
		return errSandboxOnly
	}
	if err := os.WriteFile(m.stallFile(), nil, 0o600); err != nil {
		return fmt.Errorf("drill: %w", err)
	}
	return nil
}

// UnstallDisk lets the writes go on.
func (s *Sandbox) UnstallDisk(m *Member) error {
	if err := os.Remove(m.stallFile()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("drill: %w", err)
	}
	return nil
}

// HangNode blocks the main thread of a member's simulated node, as a disk or a long transaction would.
func (s *Sandbox) HangNode(ctx context.Context, m *Member, length time.Duration) error {
	return s.control(ctx, m, "hang", length.String())
}

// NodeExit lets a member's simulated node end by itself, at once and without cleaning up; its manager starts it again.
func (s *Sandbox) NodeExit(ctx context.Context, m *Member) error {
	err := s.control(ctx, m, "exit", "")
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
		return nil // it had no time to answer
	}
	return err
}

// control asks simnodeos itself (--sim-control).
func (s *Sandbox) control(ctx context.Context, m *Member, what, body string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, m.NodeHTTP()+"/sim/"+what, strings.NewReader(body))
	if err != nil {
		return fmt.Errorf("drill: %w", err)
	}
	resp, err := s.http.Do(req)
	if err != nil {
		return fmt.Errorf("drill: %s of the node of %s: %w: %w", what, m.ID, ErrNoTarget, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		return fmt.Errorf("drill: %s of the node of %s: %s", what, m.ID, resp.Status)
	}
	return nil
}

package drill

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"
)

// KillMember kills a manager and its node with SIGKILL.
func (s *Sandbox) KillMember(ctx context.Context, m *Member) error {
	nodes, err := children(m.process.cmd.Process.Pid)
	if err != nil {
		return err
	}
	if err := m.process.signal(syscall.SIGKILL); err != nil {
		return err
	}
	for _, pid := range nodes { // the manager's death takes it along; that is not relied on here
		err = errors.Join(err, killPid(ctx, pid))
	}
	<-m.process.done
	return err
}

// KillManager kills a manager alone with SIGKILL and waits for its end. Its node is left to the kernel, which ends it by
// the parent-death signal.
func (s *Sandbox) KillManager(m *Member) error { return m.process.kill() }

// StopManager asks a manager to end in order with SIGTERM and waits for it; the error tells of an exit other than 0.
func (s *Sandbox) StopManager(ctx context.Context, m *Member) error {
	if err := m.process.stop(ctx); err != nil {
		return err
	}
	return m.process.err
}

// KillNode kills a manager's node with SIGKILL; its manager starts it again.
func (s *Sandbox) KillNode(ctx context.Context, m *Member) error {
	pid, err := s.NodePID(m)
	if err != nil {
		return err
	}
	return killPid(ctx, pid)
}

// NodePID is the process id of a manager's node.
func (s *Sandbox) NodePID(m *Member) (int, error) {
	nodes, others, err := s.childrenOf(m)
	if err != nil {
		return 0, err
	}
	if len(nodes) != 1 {
		return 0, fmt.Errorf("drill: %w: %s has %d child processes that are nodes, not one (of %d)", ErrNoTarget, m.ID, len(nodes), len(nodes)+len(others))
	}
	return nodes[0], nil
}

// KillWorkers kills with SIGKILL what else a manager has started: what stores or reads a backup for it.
func (s *Sandbox) KillWorkers(ctx context.Context, m *Member) error {
	_, workers, err := s.childrenOf(m)
	if err == nil && len(workers) == 0 {
		err = fmt.Errorf("drill: %w: %s has no child process but its node", ErrNoTarget, m.ID)
	}
	for _, pid := range workers {
		err = errors.Join(err, killPid(ctx, pid))
	}
	return err
}

// childrenOf are the processes that a manager has started: nodes, and others.
func (s *Sandbox) childrenOf(m *Member) (nodes, others []int, err error) {
	if m.process == nil {
		return nil, nil, fmt.Errorf("drill: %w: %s was not started", ErrNoTarget, m.ID)
	}
	list, err := children(m.process.cmd.Process.Pid)
	if err != nil {
		return nil, nil, err
	}
	programs, err := s.programs(m)
	if err != nil {
		return nil, nil, err
	}
	for _, pid := range list { // a child may also be a check's script, or not be nodeos yet
		is, err := os.Stat(filepath.Join("/proc", strconv.Itoa(pid), "exe"))
		if err == nil && slices.ContainsFunc(programs, func(p os.FileInfo) bool { return os.SameFile(p, is) }) {
			nodes = append(nodes, pid)
		} else {
			others = append(others, pid)
		}
	}
	return nodes, others, nil
}

// programs are the binaries that a member's node may be.
func (s *Sandbox) programs(m *Member) ([]os.FileInfo, error) {
	files, err := filepath.Glob(filepath.Join(m.Home, "versions", "*", "*"))
	if err != nil {
		return nil, fmt.Errorf("drill: %w", err)
	}
	files = append(files, s.opts.Nodeos)
	if s.opts.NodeosNext != "" {
		files = append(files, s.opts.NodeosNext)
	}
	var programs []os.FileInfo
	for _, name := range files {
		if info, err := os.Stat(name); err == nil && info.Mode().IsRegular() {
			programs = append(programs, info)
		}
	}
	return programs, nil
}

// Kill ends whatever still runs of the sandbox, without ceremony. For cleaning up.
func (s *Sandbox) Kill() error {
	defer s.closeNetwork()
	defer s.closeSigners()
	var all error
	for _, m := range s.ends() {
		if m.process != nil {
			all = errors.Join(all, m.process.kill())
		}
	}
	return all
}

// Revive starts every manager again that ended by itself, as the service manager of its machine would (Restart=always), and
// returns how many meant to. A manager ends itself where it must not go on: its disk hangs, its clock jumped, its binary is wrong.
func (s *Sandbox) Revive() (int, error) {
	n := 0
	for _, m := range s.Members {
		if m.process == nil || m.process.running() || m.process.told {
			continue
		}
		crashed := m.crashed()
		if err := s.StartMember(m); err != nil {
			return n, err
		}
		if !crashed {
			n++
		}
	}
	return n, nil
}

// crashed notes how the member's last process ended, if not as one that means to: by a signal that the drill did not send, or
// with exit code 2, which is a panic's.
func (m *Member) crashed() bool {
	if m.process == nil || m.process.running() {
		return false
	}
	state := m.process.cmd.ProcessState
	status, _ := state.Sys().(syscall.WaitStatus)
	if (!status.Signaled() || m.process.told) && status.ExitStatus() != 2 {
		return false
	}
	m.crashes = append(m.crashes, fmt.Sprintf("the manager of %s crashed: %s (see %s)", m.ID, state, filepath.Join(m.Home, "manager.log")))
	return true
}

// crashes lists them all, once; the managers that still run are not asked.
func (s *Sandbox) crashes() (list []string) {
	for _, m := range s.Members {
		m.crashed()
		list = append(list, m.crashes...)
		m.crashes = nil
	}
	return list
}

// Running reports whether the manager's process runs.
func (m *Member) Running() bool { return m.remote || m.process != nil && m.process.running() }

// PID is the process id of the manager as it was started last; 0 before that.
func (m *Member) PID() int { return int(m.pid.Load()) }

// P2P is the address of the member's node for other nodes.
func (m *Member) P2P() string { return m.p2pBind() }

// NodeHTTP is the URL of the member's node.
func (m *Member) NodeHTTP() string { return "http://" + local(m.http) }

// FreePort finds a port of loopback, TCP and UDP, that no sandbox of this process has.
func FreePort() (int, error) { return freePort() }

// Settle waits until every member is fit, one of them holds, and its blocks come.
func (s *Sandbox) Settle(ctx context.Context) error { return (&drill{Sandbox: s}).settle(ctx) }

// Check lets the checker count what happened from slot first to last.
func (s *Sandbox) Check(ctx context.Context, first, last uint64) (Report, error) {
	var r Report
	err := (&drill{Sandbox: s}).check(ctx, &r, first, last, nil)
	return r, err
}

// SlotNow is the chain's slot now.
func SlotNow() uint64 { return slotAt(time.Now()) }

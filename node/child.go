package node

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// child is one running nodeos.
type child struct {
	pid  int
	done chan struct{} // closed when it is dead and reaped

	mu     sync.Mutex
	cmd    *exec.Cmd
	reaped bool
	code   int            // exit code, -1 for a death by signal; after done
	signal syscall.Signal // 0 for an exit; after done
}

// startChild starts cmd in a process group of its own that dies with this process. PR_SET_PDEATHSIG speaks of the *thread*
// that forked, so the fork happens on a thread locked to one goroutine that lives as long as the child (lease.md, L10).
func startChild(cmd *exec.Cmd) (*child, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	c := &child{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread() // the child is dead by then
		err := cmd.Start()
		if err == nil {
			c.pid = cmd.Process.Pid
		}
		started <- err
		if err == nil {
			c.wait()
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return c, nil
}

// wait reaps the child. As long as it is not reaped its pid and its group's number cannot be used again, so whatever it
// left behind in its group (the helpers of EOS-VM-OC) can be killed safely.
func (c *child) wait() {
	for {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PID, c.pid, &info, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	c.mu.Lock()
	_ = unix.Kill(-c.pid, unix.SIGKILL)
	_ = c.cmd.Wait() // the exit status says it all
	c.reaped = true
	c.code = -1
	if ws, ok := c.cmd.ProcessState.Sys().(syscall.WaitStatus); ok {
		if ws.Signaled() {
			c.signal = ws.Signal()
		} else {
			c.code = ws.ExitStatus()
		}
	}
	c.mu.Unlock()
	close(c.done)
}

// send signals the child, and its whole group for SIGKILL.
func (c *child) send(sig syscall.Signal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reaped {
		return
	}
	if sig == syscall.SIGKILL {
		_ = unix.Kill(-c.pid, sig)
	}
	_ = c.cmd.Process.Signal(sig)
}

// pipe makes a pipe with a large buffer, so that a short stall of ours does not stall nodeos at once.
func pipe() (r, w *os.File, err error) {
	r, w, err = os.Pipe()
	if err == nil {
		_, _ = unix.FcntlInt(w.Fd(), unix.F_SETPIPE_SZ, 1<<20) // at least it stays 64 KiB
	}
	return r, w, err
}

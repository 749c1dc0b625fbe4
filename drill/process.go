package drill

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is a manager that the sandbox started, with its log in a file.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended and was waited for
	err  error         // how it ended; read after done
	told bool          // we ended it, or asked it to end
}

// startProcess starts a command in a namespace and in its own process group; the sandbox's death takes it along.
func startProcess(where *namespace, name string, args []string, dir, log string, env []string) (*process, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("drill: log of %s: %w", filepath.Base(name), err)
	}
	defer out.Close()
	p := &process{cmd: exec.Command(name, args...), done: make(chan struct{})} //nolint:noctx // it outlives any one context; Stop and Kill end it
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = dir, out, out
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // the parent-death signal speaks of the thread that forked; it ends with the process
		defer runtime.UnlockOSThread()
		err := where.run(p.cmd.Start)
		started <- err
		if err == nil {
			p.err = p.cmd.Wait()
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("drill: start %s: %w", name, err)
	}
	return p, nil
}

func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// signal sends a signal to the process alone.
func (p *process) signal(sig syscall.Signal) error {
	p.told = p.told || sig == syscall.SIGKILL || sig == syscall.SIGTERM
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("drill: signal %s: %w", sig, err)
	}
	return nil
}

// stop asks the process to end, and kills it when ctx ends first.
func (p *process) stop(ctx context.Context) error {
	if err := p.signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return errors.Join(fmt.Errorf("drill: pid %d did not end on SIGTERM", p.cmd.Process.Pid), p.kill())
	}
}

// kill ends the process with SIGKILL and waits for it.
func (p *process) kill() error {
	if err := p.signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-p.done
	return nil
}

// killPid kills a process that is not our child (a manager's node) and waits until it is gone or a zombie.
func killPid(ctx context.Context, pid int) error {
	if pid <= 1 {
		return fmt.Errorf("drill: no process %d to kill", pid)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("drill: kill %d: %w", pid, err)
	}
	return Poll(ctx, 5*time.Millisecond, func(context.Context) error {
		stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
		if err == nil && processState(stat) != 'Z' {
			return fmt.Errorf("drill: pid %d is still there", pid)
		}
		return nil
	})
}

// children lists the processes whose parent is pid.
func children(pid int) ([]int, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, fmt.Errorf("drill: %w", err)
	}
	var list []int
	for _, name := range stats {
		stat, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		i := bytes.LastIndexByte(stat, ')') // the command may hold anything
		fields := strings.Fields(string(stat[i+1:]))
		child, _ := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		if len(fields) > 1 && fields[1] == strconv.Itoa(pid) {
			list = append(list, child)
		}
	}
	return list, nil
}

// processState is the state letter in /proc/PID/stat: the first after the command's closing parenthesis.
func processState(stat []byte) byte {
	for i := len(stat) - 1; i > 1; i-- {
		if stat[i-2] == ')' && stat[i-1] == ' ' {
			return stat[i]
		}
	}
	return 0
}

// stop is an error that ends a poll at once.
type stop struct{ error }

// Poll calls f until it gives no error or a stop, or ctx ends; then it returns f's last error, or the one before it where
// the last is only about ctx's end.
func Poll(ctx context.Context, every time.Duration, f func(context.Context) error) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	var last error
	for {
		err := f(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil || last == nil {
			last = err
		}
		if final, ok := errors.AsType[stop](err); ok {
			return final.error
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", last, ctx.Err())
		case <-tick.C:
		}
	}
}

var ports struct {
	sync.Mutex
	given map[int]*os.File // each locked for as long as this process lives
}

// freePort finds a TCP and UDP port of loopback that nobody listens on and that was not given out before, to this process or another one that lives:
// a member that was killed listens nowhere, and wants its port again. It looks below the range from which the kernel takes the ports of
// outgoing connections: one of those would be taken again by chance.
func freePort() (int, error) {
	ports.Lock()
	defer ports.Unlock()
	if ports.given == nil {
		ports.given = map[int]*os.File{}
	}
	dir := filepath.Join(os.TempDir(), "roundtable-ports")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return 0, fmt.Errorf("drill: %w", err)
	}
	for range 1000 {
		port := 12000 + rand.IntN(20000)
		if ports.given[port] != nil {
			continue
		}
		file, err := os.OpenFile(filepath.Join(dir, strconv.Itoa(port)), os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return 0, fmt.Errorf("drill: %w", err)
		}
		locked := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil //nolint:gosec // G115: a file descriptor
		if !locked || !listens("tcp", "127.0.0.1", port) || !listens("udp", "127.0.0.1", port) {
			_ = file.Close()
			continue
		}
		ports.given[port] = file
		return port, nil
	}
	return 0, errors.New("drill: no free port on loopback")
}

// listens reports whether one can listen there. No process is started meanwhile: the child would have the socket until it
// execs, and whoever listens next would find the address in use.
func listens(network, host string, port int) bool {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	address := net.JoinHostPort(host, strconv.Itoa(port))
	var c io.Closer
	var err error
	if network == "udp" {
		c, err = net.ListenPacket(network, address) //nolint:noctx // closed at once
	} else {
		c, err = net.Listen(network, address) //nolint:noctx // closed at once
	}
	if err != nil {
		return false
	}
	return c.Close() == nil
}

package drill

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// namespace is a network namespace that has no name: it is there as long as a process in it, a socket made in it, or our
// file of it. So the kernel removes it, and all links in it, however the drill ends, and nobody else's can be mistaken for
// it. A nil one is the network that the drill was started in.
type namespace struct {
	file *os.File
	name string // net:[INODE], as links in /proc have it
}

// ownNamespace is that of the calling thread.
const ownNamespace = "/proc/thread-self/ns/net"

func newNamespace() (*namespace, error) {
	var n namespace
	err := onThread(func() (err error) {
		if err = unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return os.NewSyscallError("unshare", err)
		}
		if n.file, err = os.Open(ownNamespace); err == nil {
			n.name, err = os.Readlink(ownNamespace)
		}
		return err
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("drill: no network namespace: %w", err), n.close())
	}
	return &n, nil
}

func (n *namespace) close() error {
	if n == nil || n.file == nil {
		return nil
	}
	return n.file.Close()
}

// run calls f on a thread that is in the namespace: a socket made by f, and a process started by it, are in it for good.
func (n *namespace) run(f func() error) error {
	if n == nil {
		return f()
	}
	return onThread(func() error {
		if err := setNamespace(n.file); err != nil {
			return err
		}
		return f()
	})
}

// onThread calls f, which may change the thread's namespace, and then puts the thread back to where it was.
func onThread(f func() error) error {
	runtime.LockOSThread()
	before, err := os.Open(ownNamespace)
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("drill: %w", err)
	}
	defer before.Close()
	err = f()
	if back := setNamespace(before); back != nil {
		return errors.Join(err, back) // and the thread stays locked: it ends with this goroutine
	}
	runtime.UnlockOSThread()
	return err
}

func setNamespace(file *os.File) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return fmt.Errorf("drill: %w", err)
	}
	var set error
	err = raw.Control(func(fd uintptr) { set = unix.Setns(int(fd), unix.CLONE_NEWNET) })
	if err = errors.Join(err, os.NewSyscallError("setns", set)); err != nil {
		return fmt.Errorf("drill: %w", err)
	}
	return nil
}

// path is a name of the namespace for other programs.
func (n *namespace) path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.file.Fd()) }

// tool runs a program in the namespace, with a script for its standard input.
func (n *namespace) tool(script, name string, args ...string) error {
	var out bytes.Buffer
	cmd := exec.Command(name, args...) //nolint:noctx // it takes milliseconds, and half of it done helps nobody
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(script), &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // ^C is not for it
	if err := n.run(cmd.Start); err != nil {
		return fmt.Errorf("drill: %w", err)
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("drill: %s: %w: %s", name, err, strings.TrimSpace(out.String()))
	}
	return nil
}

// write sets one of the namespace's parameters below /proc/sys/net.
func (n *namespace) write(name, value string) error {
	if err := n.run(func() error { return os.WriteFile(filepath.Join("/proc/sys/net", name), []byte(value), 0) }); err != nil {
		return fmt.Errorf("drill: %w", err)
	}
	return nil
}

// listen is net.Listen in the namespace.
func (n *namespace) listen(address string) (l net.Listener, err error) {
	err = n.run(func() error {
		l, err = net.Listen("tcp", address) //nolint:noctx // at the start only
		return err
	})
	return l, err
}

// dial dials from the namespace. The address must be of numbers: then nothing of it happens on another thread.
func (n *namespace) dial(ctx context.Context, address string) (c net.Conn, err error) {
	err = n.run(func() error {
		c, err = (&net.Dialer{}).DialContext(ctx, "tcp", address)
		return err
	})
	return c, err
}

package node

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"time"
)

const (
	hookLimit = 10 * time.Minute // of a hook whose context sets no deadline
	hookLines = 20               // of its output, the last ones
	hookLine  = 1 << 10          // bytes of each
)

// HookError says how a hook failed.
type HookError struct {
	Path  string
	Text  string   // how it ended, or why it did not start
	Lines []string // the last lines of its output, masked
	Err   error    // the context's error if that ended it; else nil, or why it did not start
}

// Error gives all of it.
func (e *HookError) Error() string {
	s := "node: hook " + e.Path + ": " + e.Text
	if len(e.Lines) > 0 {
		s += "; it said: " + strings.Join(e.Lines, " | ")
	}
	return s
}

// Unwrap gives the context's error, or why it did not start.
func (e *HookError) Unwrap() error { return e.Err }

// RunHook runs an operator's executable to its end, in a process group of its own and with nothing on stdin. env is added to this
// process's environment less what is not for others (ROUNDTABLE_*). It gives the last lines of stdout and stderr, masked. Anything but
// exit code 0 is a *HookError. At ctx's end, or after ten minutes if ctx sets no deadline, it is killed with its whole group.
func RunHook(ctx context.Context, path string, args, env []string) ([]string, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, hookLimit)
		defer cancel()
	}
	if err := ctx.Err(); err != nil {
		return nil, &HookError{Path: path, Text: "not started", Err: err}
	}
	begun := time.Now()
	var lines []string // of the reader until finish
	c, finish, err := startHelper(path, args, helperEnv(nil, env), func(b []byte) { lines = lastLines(lines, b) })
	if err != nil {
		return nil, &HookError{Path: path, Text: err.Error(), Err: err}
	}
	select {
	case <-c.done:
	case <-ctx.Done():
		c.send(syscall.SIGKILL)
		<-c.done
	}
	finish()
	if c.code == 0 {
		return lines, nil
	}
	e := &HookError{Path: path, Text: exitOf(c), Lines: lines}
	if err := ctx.Err(); err != nil && c.signal == syscall.SIGKILL {
		e.Text, e.Err = fmt.Sprintf("killed after %s: %v", time.Since(begun).Round(100*time.Millisecond), err), err
	}
	return lines, e
}

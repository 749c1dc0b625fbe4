package node

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	workerLine     = 1 << 20          // bytes of a line of stdout, at most
	workerPatience = 10 * time.Second // SIGTERM to SIGKILL
	workerWords    = 10 * time.Second // what is waited for its last lines once it is dead
)

// WorkerConfig says what RunWorker runs.
type WorkerConfig struct {
	Path  string
	Args  []string
	Env   []string  // added to this process's environment less what is not for others (ROUNDTABLE_*)
	Stdin io.Reader // read to its end, by a goroutine of its own: it must not block for ever, such as a bytes.Reader; nil = nothing

	// Line gets each line of stdout without its newline, from one goroutine and never after RunWorker has returned; it must not keep the
	// bytes. While it does not return, the worker's writes wait. nil = nobody.
	Line func([]byte)

	Nice     bool          // nice 19 and the idle I/O class: it gets what nobody else wants
	Patience time.Duration // SIGTERM to SIGKILL at ctx's end; 0 = 10 s
}

// WorkerError says how a worker failed.
type WorkerError struct {
	Path   string
	Text   string         // how it ended, or why it did not start
	Code   int            // exit code, -1 for a death by signal, or for no process at all
	Signal syscall.Signal // 0 for an exit
	Lines  []string       // the last lines of stderr, masked
	Err    error          // the context's error if that ended it, or why it did not start; else nil
}

// Error gives all of it.
func (e *WorkerError) Error() string {
	s := "node: worker " + e.Path + ": " + e.Text
	if len(e.Lines) > 0 {
		s += "; it said: " + strings.Join(e.Lines, " | ")
	}
	return s
}

// Unwrap gives the context's error, or why it did not start.
func (e *WorkerError) Unwrap() error { return e.Err }

// RunWorker runs a program of ours to its end, in a process group of its own that dies with this process. Anything but exit code 0
// is a *WorkerError, also a line of stdout of more than 1 MiB, which Line does not get. At ctx's end it gets SIGTERM, and SIGKILL for
// its whole group after Patience; an error wraps ctx's then, but a worker that ended well nevertheless is no error.
func RunWorker(ctx context.Context, cfg WorkerConfig) error {
	fail := func(err error) error {
		return &WorkerError{Path: cfg.Path, Text: err.Error(), Code: -1, Err: err}
	}
	if err := ctx.Err(); err != nil {
		return fail(err)
	}
	setDefault(&cfg.Patience, workerPatience)
	cmd := exec.Command(cfg.Path, cfg.Args...) //nolint:noctx // it is ended by signals, SIGTERM first
	cmd.Env, cmd.Stdin = helperEnv(nil, cfg.Env), cfg.Stdin
	cmd.WaitDelay = time.Second // for Stdin

	var said []string // of stderr's reader until finish
	tooLong := false  // of stdout's
	c, finish, err := startRead(cmd, []output{
		{limit: workerLine, line: func(b []byte, cut bool) {
			switch {
			case cut:
				tooLong = true
			case cfg.Line != nil:
				cfg.Line(trimEnd(b))
			}
		}},
		{limit: lineKept, line: func(b []byte, _ bool) { said = lastLines(said, b) }},
	})
	if err != nil {
		return fail(err)
	}
	if cfg.Nice {
		lowPriority(c.pid)
	}
	killed := false
	select {
	case <-c.done:
	case <-ctx.Done():
		c.send(syscall.SIGTERM)
		if !within(c.done, cfg.Patience) {
			killed = true
			c.send(syscall.SIGKILL)
			<-c.done
		}
	}
	all := finish(workerWords)
	e := &WorkerError{Path: cfg.Path, Text: exitOf(c), Code: c.code, Signal: c.signal, Lines: said}
	switch {
	case c.code != 0 && ctx.Err() != nil:
		if e.Err = ctx.Err(); killed {
			e.Text = fmt.Sprintf("killed %s after it was told to end", cfg.Patience)
		}
		e.Text += ": " + e.Err.Error()
	case c.code != 0:
	case tooLong:
		e.Text = fmt.Sprintf("a line of its output is longer than %d bytes", workerLine)
	case !all:
		e.Text = "its output was not read to the end: somebody else holds the pipe"
	default:
		return nil
	}
	return e
}

// lowPriority gives all threads of a process group, and whatever they start, nice 19 and the idle class of I/O. That it does not
// work (an odd kernel, a seccomp filter) is no reason to fail.
func lowPriority(pgid int) {
	const (
		whoGroup  = 2       // IOPRIO_WHO_PGRP
		classIdle = 3 << 13 // IOPRIO_CLASS_IDLE; the classes are above 13 bits of level
	)
	_ = unix.Setpriority(unix.PRIO_PGRP, pgid, 19)
	_, _, _ = unix.Syscall(unix.SYS_IOPRIO_SET, whoGroup, uintptr(pgid), classIdle)
}

// lastLines adds a line, masked and cut, and keeps the last ones.
func lastLines(lines []string, b []byte) []string {
	text := Mask(string(trimEnd(b)))
	if lines = append(lines, text[:min(len(text), hookLine)]); len(lines) > hookLines {
		lines = append(lines[:0], lines[1:]...)
	}
	return lines
}

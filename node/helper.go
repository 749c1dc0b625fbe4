package node

import (
	"bytes"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"time"
)

// startHelper starts a process that is not nodeos, in a group of its own that dies with this process, and gives each line of
// its stdout and stderr to line, from one goroutine. Call finish once the child is done: it waits a second for the last
// lines, since somebody who left the group may hold the pipe open for ever.
func startHelper(path string, args, env []string, line func([]byte)) (c *child, finish func(), err error) {
	cmd := exec.Command(path, args...) //nolint:noctx // it is ended by signals to its group
	cmd.Env = env
	c, finished, err := startRead(cmd, []output{{limit: lineKept, line: func(b []byte, _ bool) { line(b) }}})
	return c, func() { finished(time.Second) }, err
}

// output is who takes the lines of a stream: each up to limit bytes, cut says that it was longer.
type output struct {
	limit int
	line  func(b []byte, cut bool)
}

// startRead starts cmd with its stdout read by the first output and its stderr by the last, which may be the same, each in a
// goroutine of its own. Call finish once the child is done: it waits so long for the last lines and says whether all were read.
func startRead(cmd *exec.Cmd, outs []output) (c *child, finish func(time.Duration) bool, err error) {
	var ours, theirs []*os.File
	defer func() {
		for _, f := range theirs {
			_ = f.Close()
		}
		if err != nil {
			for _, f := range ours {
				_ = f.Close()
			}
		}
	}()
	for range outs {
		r, w, err := pipe()
		if err != nil {
			return nil, nil, err
		}
		ours, theirs = append(ours, r), append(theirs, w)
	}
	cmd.Stdout, cmd.Stderr = theirs[0], theirs[len(theirs)-1]
	if c, err = startChild(cmd); err != nil {
		return nil, nil, err
	}
	var readers sync.WaitGroup
	for i, f := range ours {
		readers.Go(func() { _ = readLines(f, outs[i].limit, outs[i].line) }) // the pipe's end, or its close below
	}
	drained := make(chan struct{})
	go func() { readers.Wait(); close(drained) }()
	return c, func(patience time.Duration) bool {
		all := within(drained, patience)
		for _, f := range ours {
			_ = f.Close()
		}
		<-drained
		return all
	}, nil
}

// trimEnd takes the end of the line off.
func trimEnd(b []byte) []byte { return bytes.TrimRight(b, "\r\n") }

// helperEnv is an environment for a helper: base as nodeos would get it, and what is added.
func helperEnv(base, added []string) []string { return slices.Concat(environment(base), added) }

// exitOf tells in words how a child ended.
func exitOf(c *child) string {
	if c.signal != 0 {
		return "it died of signal " + c.signal.String()
	}
	return "exit code " + strconv.Itoa(c.code)
}

package node

import (
	"os/exec"
	"slices"
	"strconv"
	"time"
)

// startHelper starts a process that is not nodeos, in a group of its own that dies with this process, and gives each line of
// its stdout and stderr to line, from one goroutine. Call finish once the child is done: it waits a second for the last
// lines, since somebody who left the group may hold the pipe open for ever.
func startHelper(path string, args, env []string, line func([]byte)) (c *child, finish func(), err error) {
	r, w, err := pipe()
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = w.Close() }()
	cmd := exec.Command(path, args...) //nolint:noctx // it is ended by signals to its group
	cmd.Env, cmd.Stdout, cmd.Stderr = env, w, w
	if c, err = startChild(cmd); err != nil {
		_ = r.Close()
		return nil, nil, err
	}
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		_ = readLines(r, func(b []byte, _ bool) { line(b) }) // the pipe's end, or its close below
	}()
	return c, func() {
		t := time.NewTimer(time.Second)
		defer t.Stop()
		select {
		case <-drained:
		case <-t.C:
		}
		_ = r.Close()
		<-drained
	}, nil
}

// helperEnv is an environment for a helper: base as nodeos would get it, and what is added.
func helperEnv(base, added []string) []string { return slices.Concat(environment(base), added) }

// exitOf tells in words how a child ended.
func exitOf(c *child) string {
	if c.signal != 0 {
		return "it died of signal " + c.signal.String()
	}
	return "exit code " + strconv.Itoa(c.code)
}

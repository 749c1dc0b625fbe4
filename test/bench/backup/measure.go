package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// usage is what one run of a program took.
type usage struct {
	seconds float64
	cpu     float64 // s of all cores; says more than seconds on a machine that others use
	rss     float64 // MiB, at most
}

// measured is what measure tells.
type measured struct {
	Seconds float64
	CPU     float64
	KiB     int64
	Code    int
}

// measure runs a program and writes into a file what it took. It is a process of its own because the kernel counts for a program
// what the one that started it had in memory (ru_maxrss lasts through exec): a small one must start it.
func measure(file string, args []string) {
	c := exec.Command(args[0], args[1:]...) //nolint:noctx // whoever started us ends us with it
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	start := time.Now()
	err := c.Run()
	m := measured{Seconds: time.Since(start).Seconds()}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		m.Code = 1
	}
	if c.ProcessState != nil {
		if r, ok := c.ProcessState.SysUsage().(*syscall.Rusage); ok {
			m.KiB = r.Maxrss
		}
		m.CPU = (c.ProcessState.UserTime() + c.ProcessState.SystemTime()).Seconds()
	}
	text, err := json.Marshal(m)
	if err == nil {
		err = os.WriteFile(file, text, 0o600)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		m.Code = 1
	}
	os.Exit(m.Code)
}

// execute runs a program in a folder.
func execute(ctx context.Context, dir, stdin string, env []string, program string, args ...string) (string, usage, error) {
	self, err := os.Executable()
	if err != nil {
		return "", usage{}, err
	}
	file, err := os.CreateTemp("", "roundtable-bench-")
	if err != nil {
		return "", usage{}, err
	}
	defer func() { _ = os.Remove(file.Name()) }()
	defer file.Close()
	c := exec.CommandContext(ctx, self, append([]string{"measure", file.Name(), program}, args...)...)
	c.Dir, c.Stdin = dir, strings.NewReader(stdin)
	c.Env = append(os.Environ(), env...)
	var out, said strings.Builder
	c.Stdout, c.Stderr = &out, &said
	if err := c.Run(); err != nil {
		return "", usage{}, fmt.Errorf("%s: %w: %s%s", program, err, said.String(), tail(out.String()))
	}
	var m measured
	if err := json.NewDecoder(file).Decode(&m); err != nil {
		return "", usage{}, err
	}
	return out.String(), usage{seconds: m.Seconds, cpu: m.CPU, rss: float64(m.KiB) / 1024}, nil
}

func tail(s string) string { return s[max(0, len(s)-2000):] }

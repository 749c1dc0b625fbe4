package main

import (
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	wall "roundtable/clock"
)

// localSocket is where a manager of the usual home listens (config.toml's manager.home of the packages and images).
const localSocket = "/var/lib/roundtable/api.sock"

// machine is what commands see of the machine that they run on. The tests have their own.
type machine struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	environ        func(string) string // os.Getenv
	now            func() time.Time
	synced         func() (bool, error) // whether the kernel knows that the clock is right
	socket         string               // asked where nothing names a server, if it is there
}

func thisMachine() machine {
	return machine{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, environ: os.Getenv, now: time.Now, synced: wall.Synchronised, socket: localSocket}
}

// columns is the width of the terminal behind f; 0 where it is none.
func columns(f any) int {
	file, ok := f.(*os.File)
	if !ok {
		return 0
	}
	size, err := unix.IoctlGetWinsize(int(file.Fd()), unix.TIOCGWINSZ)
	switch {
	case err != nil:
		return 0
	case size.Col == 0: // a terminal that does not know
		return 80
	}
	return int(size.Col)
}

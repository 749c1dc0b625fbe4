package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// Volume is a driver for snapshots of a volume (ZFS, LVM, a cloud's disks): an executable of the operator. With one a data backup
// keeps the node down only as long as the image of its data takes, and is made from the image. What it is called with, always with
// absolute paths, from any working directory, with this process's environment less ROUNDTABLE_*:
//
//	PATH take ID DIR   make an image of the folder DIR as it is now, and print the folder where it can be read as the last line of
//	                   stdout. The same ID again gives the same image, or makes it anew if it was not finished
//	PATH release ID    remove the image and all that was made for it; an unknown ID is no error
//
// Exit code 0 is success, else the last lines of stderr tell why. At its context's end it gets SIGTERM, and SIGKILL ten seconds
// later; each of the two may be called again after that. deploy/volume has a driver that copies, and examples for others.
type Volume struct {
	Path string
	Env  []string // added to this process's environment
}

const (
	volumeLimit = 10 * time.Minute // of a call whose context sets no deadline
	volumeLines = 1000             // of stdout, the last ones
)

var volumeID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// ErrVolume says that a driver failed or does not keep to its contract. The text tells more.
var ErrVolume = errors.New("volume driver failed")

// Take makes the image and gives its folder, which is there. After an error, whatever it is, call Release: something may be left.
func (v Volume) Take(ctx context.Context, id, dir string) (mountpoint string, err error) {
	dir, err = filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("node: %w: %w", ErrVolume, err)
	}
	lines, err := v.run(ctx, "take", id, dir)
	if err != nil {
		return "", err
	}
	if len(lines) == 0 {
		return "", fmt.Errorf("node: %w: %s take printed no folder", ErrVolume, v.Path)
	}
	mountpoint = lines[len(lines)-1]
	if info, err := os.Stat(mountpoint); err != nil || !info.IsDir() || !filepath.IsAbs(mountpoint) {
		return "", fmt.Errorf("node: %w: %s take printed %.200q, which is no folder here", ErrVolume, v.Path, mountpoint)
	}
	return mountpoint, nil
}

// Release removes an image.
func (v Volume) Release(ctx context.Context, id string) error {
	_, err := v.run(ctx, "release", id)
	return err
}

// run calls the driver and gives the lines of stdout that are not blank.
func (v Volume) run(ctx context.Context, args ...string) (lines []string, err error) {
	if !volumeID.MatchString(args[1]) {
		return nil, fmt.Errorf("node: %w: %.200q is no id", ErrVolume, args[1])
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, volumeLimit)
		defer cancel()
	}
	err = RunWorker(ctx, WorkerConfig{Path: v.Path, Args: args, Env: v.Env, Line: func(b []byte) {
		if text := strings.TrimSpace(string(b)); text != "" {
			if lines = append(lines, text); len(lines) > volumeLines {
				lines = append(lines[:0], lines[1:]...)
			}
		}
	}})
	if err != nil {
		return nil, fmt.Errorf("node: %w: %s %s: %w", ErrVolume, v.Path, args[0], err)
	}
	return lines, nil
}

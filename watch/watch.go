// Package watch notices changes of files, however they are made: written in place, replaced by a rename as editors do it, by
// a link that turns (a ConfigMap of Kubernetes), removed and come back, on a file system that tells nothing.
//
// It owns no file, keeps none open, and does not say what a change means: whoever is told reads the file. It is a leaf. Read
// this file first, then trail.go.
package watch

import (
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"

	"roundtable/pulse"
)

const (
	settle    = 20 * time.Millisecond // several events make one change, several files change one after the other
	lookEvery = 5 * time.Second       // where the system tells nothing: a network's file system, some mounts
)

// Files tells of files that changed, by the paths that it was given. The first message comes at once and names all of them:
// what happened before the watch began is not known to it. Each later one names those whose bytes are others than at the
// message before, or that are there now and were not, or the other way round; bytes that are written again are no change.
// While nobody receives, further changes are added to the message. A file may be seen half written: who finds it so waits for
// the next message, or looks again a moment later.
//
// The channel is closed when ctx has ended and nothing of the watch is left: who receives waits for that.
func Files(ctx context.Context, log *slog.Logger, paths ...string) <-chan []string {
	told, err := fsnotify.NewWatcher()
	if err != nil {
		log.Warn("changes of files are noticed a few seconds late", "err", err)
		told = nil
	}
	return start(ctx, log, told, lookEvery, paths)
}

// start is Files with what it rests on; told may be nil.
func start(ctx context.Context, log *slog.Logger, told *fsnotify.Watcher, every time.Duration, paths []string) <-chan []string {
	w := &watcher{log: log, told: told, every: every, paths: paths, sums: map[string]string{}, out: make(chan []string)}
	go w.run(ctx)
	return w.out
}

// watcher is for one goroutine.
type watcher struct {
	log   *slog.Logger
	told  *fsnotify.Watcher // by the system; nil where it tells nothing
	every time.Duration
	paths []string
	sums  map[string]string // by path: what was there when it was last looked at
	names []string          // on which the paths depend now (trail.go)
	deaf  string            // why a folder is not watched; "" where all are
	out   chan []string
}

func (w *watcher) run(ctx context.Context) {
	defer close(w.out)
	var events <-chan fsnotify.Event
	var failures <-chan error
	if w.told != nil {
		defer func() { _ = w.told.Close() }()
		events, failures = w.told.Events, w.told.Errors
	}
	look := time.NewTimer(pulse.Next(w.every))
	defer look.Stop()
	var settled <-chan time.Time
	w.arm()
	w.changed()
	waiting := slices.Clone(w.paths)
	for {
		var out chan<- []string
		if len(waiting) > 0 {
			out = w.out
		}
		select {
		case <-ctx.Done():
			return
		case out <- waiting:
			waiting = nil
			continue
		case e := <-events:
			if w.concerns(e.Name) {
				settled = time.After(settle)
			}
			continue
		case err := <-failures: // something was lost, say: look
			w.log.Debug("watching files", "err", err)
			settled = time.After(settle)
			continue
		case <-settled:
		case <-look.C:
			look.Reset(pulse.Next(w.every))
		}
		w.arm()
		for _, path := range w.changed() {
			if !slices.Contains(waiting, path) {
				waiting = append(waiting, path)
			}
		}
	}
}

// changed looks at all files and returns those that are not as they were.
func (w *watcher) changed() []string {
	var list []string
	for _, path := range w.paths {
		if now := sum(path); w.sums[path] != now {
			w.sums[path] = now
			list = append(list, path)
		}
	}
	return list
}

// sum tells two states of a file from each other.
func sum(path string) string {
	info, err := os.Stat(path) // first: to open a pipe would wait for a writer
	if err == nil && !info.Mode().IsRegular() {
		return "not a file"
	}
	var b []byte
	if err == nil {
		b, err = os.ReadFile(path)
	}
	if err != nil {
		return "error: " + reason(err).Error()
	}
	hash := sha256.Sum256(b)
	return string(hash[:])
}

// reason is an error of the file system without its path.
func reason(err error) error {
	var no syscall.Errno
	if errors.As(err, &no) {
		return no
	}
	return err
}

// arm has the system tell of every name on which the paths depend now, and of no other folder.
func (w *watcher) arm() {
	if w.told == nil {
		return
	}
	for range maxLinks { // a link that turned while its folder was not watched yet
		names := trails(w.paths)
		if slices.Equal(names, w.names) && w.listen() {
			return
		}
		w.names = names
		w.listen()
	}
}

// listen watches the folders of the names; false when one of them is gone meanwhile.
func (w *watcher) listen() bool {
	var folders []string
	deaf, all := "", true
	for _, name := range w.names {
		dir := filepath.Dir(name)
		if slices.Contains(folders, dir) {
			continue
		}
		folders = append(folders, dir)
		switch err := w.told.Add(dir); { // also where it is watched: it may be another folder of that name
		case errors.Is(err, os.ErrNotExist):
			all = false
		case err != nil:
			deaf = dir + ": " + err.Error()
		}
	}
	for _, dir := range w.told.WatchList() {
		if !slices.Contains(folders, dir) {
			_ = w.told.Remove(dir) // it may be gone
		}
	}
	if deaf != "" && deaf != w.deaf {
		w.log.Warn("changes of files are noticed a few seconds late", "err", deaf)
	}
	w.deaf = deaf
	return all
}

// concerns tells whether an event is about one of the names, or about a folder of theirs as a whole.
func (w *watcher) concerns(event string) bool {
	event = filepath.Clean(event) // in the root folder it begins with two slashes
	return slices.ContainsFunc(w.names, func(name string) bool { return name == event || filepath.Dir(name) == event })
}

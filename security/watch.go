package security

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"
)

var errNotRenewed = errors.New("security: tls.renew is off")

const (
	settle    = 20 * time.Millisecond // several files change one after the other
	lookAgain = 2 * time.Second       // before files that do not fit together are a problem
	lookEvery = time.Minute           // even where the system tells nothing: some file systems never do
)

// Run reads the files again when they change and renews the certificate in time, until ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	events, failures, stop := k.watch()
	defer stop()
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	settled := time.NewTimer(0) // files may have changed since Open
	defer settled.Stop()
	r := k.plan(renewal{})
	next := time.NewTimer(0)
	defer next.Stop()
	unfit := 0
	for {
		next.Reset(max(r.at.Sub(k.cfg.Now()), 0))
		select {
		case <-ctx.Done():
			return nil
		case err := <-failures: // something was lost, say: look
			k.log.Debug("tls: watching the files", "err", err)
			settled.Reset(settle)
			continue
		case <-events:
			settled.Reset(settle)
			continue
		case <-next.C:
			r = k.due(ctx, r)
			continue
		case <-look.C:
		case <-settled.C:
		}
		before := k.loaded.Load()
		err := k.Reload()
		if k.loaded.Load() != before {
			r = k.plan(renewal{})
		}
		switch {
		case err == nil:
			if k.loaded.Load() != before || unfit > 0 {
				k.well()
			}
			unfit = 0
		case unfit == 0:
			unfit++
			settled.Reset(lookAgain)
		default:
			k.troubled("the files in the tls folder cannot be used", err)
		}
	}
}

// watch tells of changes in the folders of the files: a file that is replaced, also by a link that turns (Kubernetes), is
// never changed itself. Without the system's help the slow look has to do.
func (k *Keeper) watch() (events <-chan fsnotify.Event, failures <-chan error, stop func()) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		k.log.Warn("tls: changes are noticed within a minute only", "err", err)
		return nil, nil, func() {}
	}
	var dirs []string
	for _, f := range []string{k.cfg.CA, k.cfg.Cert, k.cfg.Key} {
		if dir := filepath.Dir(f); !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	for _, dir := range dirs {
		if err := w.Add(dir); err != nil {
			k.log.Warn("tls: changes are noticed within a minute only", "folder", dir, "err", err)
		}
	}
	return w.Events, w.Errors, func() { _ = w.Close() }
}

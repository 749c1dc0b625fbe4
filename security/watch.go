package security

import (
	"context"
	"errors"
	"slices"
	"time"

	"roundtable/watch"
)

var errNotRenewed = errors.New("security: tls.renew is off")

const (
	lookAgain = 2 * time.Second // before files that do not fit together are a problem
	lookEvery = time.Minute     // while they are one: a certificate may become valid with time
)

// Run reads the files again when they change and renews the certificate in time, until ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	changes := watch.Files(ctx, k.log, k.cfg.CA, k.cfg.Cert, k.cfg.Key) // the first message comes at once: they may have changed since Open
	r := k.plan(renewal{})
	next := time.NewTimer(0)
	defer next.Stop()
	var again <-chan time.Time // where the files could not be used
	unfit := 0
	for {
		next.Reset(max(r.at.Sub(k.cfg.Now()), 0))
		select {
		case <-next.C:
			r = k.due(ctx, r)
			continue
		case <-k.moved:
			r = k.plan(renewal{})
			continue
		case <-again:
		case _, open := <-changes:
			if !open {
				return nil // ctx has ended
			}
		}
		again = nil
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
			again = time.After(lookAgain)
		default:
			k.troubled("the files in the tls folder cannot be used", err)
			again = time.After(lookEvery)
		}
	}
}

// SetHosts changes the hosts by which others reach this member: a certificate that lacks one of them is renewed at once.
func (k *Keeper) SetHosts(hosts []string) {
	hosts = slices.Clone(hosts)
	k.hosts.Store(&hosts)
	select {
	case k.moved <- struct{}{}:
	default: // it will look
	}
}

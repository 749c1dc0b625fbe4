package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"time"

	"roundtable/backup"
)

// Bucket is an open store. It is safe for concurrent use. Every method ends soon after its context does, but for a file system
// that hangs.
type Bucket struct {
	url     string // masked
	driver  driver
	options Options
	secrets secrets
}

var _ backup.Store = (*Bucket)(nil)

// String is the store's URL without secrets.
func (b *Bucket) String() string { return b.url }

// Close ends the connections.
func (b *Bucket) Close() error { return b.driver.close() }

// Put writes a whole object, which lasts once Put returns. It replaces none: backup.ErrExists. Where an answer was lost, the object
// that is there then is compared with the body.
func (b *Bucket) Put(ctx context.Context, name string, body []byte) error {
	if err := checkName(name); err != nil {
		return err
	}
	unsure := false // an attempt before may have succeeded
	return b.try(ctx, "write "+name, func() error {
		err := b.driver.put(ctx, name, body)
		if err == nil {
			return nil
		}
		v := b.driver.diagnose(err)
		if v.code == Exists && unsure {
			there, e := b.driver.get(ctx, name, int64(len(body)))
			switch {
			case e == nil && bytes.Equal(there, body):
				return nil
			case e != nil && b.driver.diagnose(e).temporary:
				return e
			}
		}
		unsure = unsure || v.temporary
		return err
	})
}

// Get reads a whole object: backup.ErrNotFound.
func (b *Bucket) Get(ctx context.Context, name string) (body []byte, err error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	err = b.try(ctx, "read "+name, func() (err error) {
		body, err = b.driver.get(ctx, name, b.options.MaxObject)
		return err
	})
	return body, err
}

// List shows all objects whose name begins with the prefix, in no certain order.
func (b *Bucket) List(ctx context.Context, prefix string) iter.Seq2[backup.Object, error] {
	return listing(func(from string) (objects []backup.Object, next string, err error) {
		err = b.try(ctx, "list "+prefix, func() (err error) {
			objects, next, err = b.driver.page(ctx, prefix, from)
			return err
		})
		return objects, next, err
	})
}

// Delete removes an object. One that is gone already is no error.
func (b *Bucket) Delete(ctx context.Context, name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	err := b.try(ctx, "delete "+name, func() error { return b.driver.remove(ctx, name) })
	if errors.Is(err, NotFound) {
		return nil
	}
	return err
}

const (
	firstPause = 250 * time.Millisecond
	lastPause  = 15 * time.Second
)

// try does something until it works, fails for good, or may not be tried any longer. The pauses double, and are shortened by
// chance, so that many do not come back together.
func (b *Bucket) try(ctx context.Context, what string, do func() error) error {
	var since time.Time // of the first failure
	pause := firstPause
	for {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("%s: %s: %w", b.url, what, context.Cause(ctx))
		}
		err := do()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%s: %s: %w", b.url, what, context.Cause(ctx))
		}
		p, temporary := b.problem(what, err)
		if since.IsZero() {
			since = time.Now()
		}
		wait := pause/2 + rand.N(pause/2)
		if !temporary || time.Since(since)+wait > b.options.Patience {
			return p
		}
		pause = min(2*pause, lastPause)
		if b.options.Retry != nil {
			b.options.Retry(Retry{What: what, Err: p, Pause: wait})
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

// problem says what an error of the driver means.
func (b *Bucket) problem(what string, err error) (p *Problem, temporary bool) {
	v := b.driver.diagnose(err)
	text := v.text
	if text == "" {
		text = err.Error()
	}
	p = problem(v.code, &masked{b.secrets.mask(text), err}, "%s: %s", b.url, what)
	if v.hint != "" {
		p.Hint = v.hint
	}
	return p, v.temporary
}

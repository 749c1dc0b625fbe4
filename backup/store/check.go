package store

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"roundtable/backup"
)

// checkOver is the age at which what a check wrote is left over: none takes that long.
const checkOver = time.Hour

// Check writes an object, writes it once more, which the store must refuse, reads, lists and deletes it: all that a repository needs.
// It tries nothing again for long. What earlier ones left, say where nothing could be deleted then, it deletes as far as it can.
func (b *Bucket) Check(ctx context.Context) error {
	quick := *b
	quick.options.Patience = min(b.options.Patience, 3*time.Second)
	name, body := backup.CheckAt+rand.Text(), []byte("roundtable was here: "+rand.Text())
	if err := quick.Put(ctx, name, body); err != nil {
		return err
	}
	left, err := quick.checkObject(ctx, name, body)
	if e := quick.Delete(ctx, name); e != nil {
		if err == nil && errors.Is(e, Permission) {
			p, _ := errors.AsType[*Problem](e)
			p.Hint = "what has expired could never be deleted: allow it to delete objects, too; " + name + " is left there"
		}
		return errors.Join(err, e)
	}
	if err != nil {
		return err
	}
	if _, err := quick.Get(ctx, name); !errors.Is(err, NotFound) {
		if err == nil {
			err = problem(Wrong, errors.New("an object is there after it was deleted"), "%s: read %s", b.url, name)
		}
		return err
	}
	for _, name := range left {
		_ = quick.Delete(ctx, name) // it is in nobody's way
	}
	return nil
}

// checkObject does with the object what can be done, and finds what is left of earlier ones.
func (b *Bucket) checkObject(ctx context.Context, name string, body []byte) (left []string, err error) {
	other := append(bytes.Clone(body), '.')
	if err := b.Put(ctx, name, other); err == nil {
		return nil, problem(Replaces, nil, "%s: write %s", b.url, name)
	} else if !errors.Is(err, Exists) {
		return nil, fmt.Errorf("write an object that is there: %w", err)
	}
	got, err := b.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(got, body) {
		return nil, problem(Wrong, nil, "%s: read %s", b.url, name)
	}
	var own *backup.Object
	var others []backup.Object
	for o, err := range b.List(ctx, backup.CheckAt) {
		if err != nil {
			return nil, err
		}
		if o.Name == name && o.Size == int64(len(body)) {
			own = &o
		} else {
			others = append(others, o)
		}
	}
	if own == nil {
		return nil, problem(Wrong, errors.New("the list does not show it"), "%s: list %s", b.url, backup.CheckAt)
	}
	for _, o := range others {
		if own.Modified.Sub(o.Modified) > checkOver {
			left = append(left, o.Name)
		}
	}
	return left, nil
}

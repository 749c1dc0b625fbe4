package store

import (
	"context"
	"errors"
	"fmt"
	"io"

	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"

	"roundtable/backup"
)

// errTooBig is an object larger than was allowed.
var errTooBig = errors.New("larger than allowed")

// pageSize is how many objects are asked for at a time.
const pageSize = 1000

// cloud is a bucket by gocloud.dev/blob, with what its library does better by hand.
type cloud struct {
	bucket *blob.Bucket // all of it, without the prefix
	prefix string
	travel *transport                                                // nil in tests
	create func(ctx context.Context, name string, body []byte) error // by the full name; only if there is none
	erase  func(ctx context.Context, name string) error              // by the full name; nil: gocloud's
	know   func(err error) (v verdict, ok bool)                      // what the library's errors mean
}

func (c *cloud) put(ctx context.Context, name string, body []byte) error {
	return c.noBucket(c.create(ctx, c.prefix+name, body))
}

// errNoBucket is what "not found" means where no object was asked for.
var errNoBucket = errors.New("the bucket is not there")

func (c *cloud) noBucket(err error) error {
	if err != nil && c.diagnose(err).code == NotFound {
		return fmt.Errorf("%w: %w", errNoBucket, err)
	}
	return err
}

func (c *cloud) get(ctx context.Context, name string, limit int64) ([]byte, error) {
	r, err := c.bucket.NewReader(ctx, c.prefix+name, nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }()
	size := r.Size()
	if size < 0 || size > limit {
		return nil, fmt.Errorf("%d bytes: %w", size, errTooBig)
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(r, body); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	if _, err := io.ReadFull(r, make([]byte, 1)); err != io.EOF { // libraries check sums at the end
		if err == nil {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return body, nil
}

func (c *cloud) page(ctx context.Context, prefix, from string) ([]backup.Object, string, error) {
	token := blob.FirstPageToken
	if from != "" {
		token = []byte(from)
	}
	list, next, err := c.bucket.ListPage(ctx, token, pageSize, &blob.ListOptions{Prefix: c.prefix + prefix})
	if err != nil {
		return nil, "", c.noBucket(err)
	}
	var objects []backup.Object
	for _, o := range list {
		name := o.Key[min(len(c.prefix), len(o.Key)):]
		if named(name) { // others are markers of folders, and not ours
			objects = append(objects, backup.Object{Name: name, Size: o.Size, Modified: o.ModTime})
		}
	}
	return objects, string(next), nil
}

func (c *cloud) remove(ctx context.Context, name string) error {
	if c.erase != nil {
		return c.erase(ctx, c.prefix+name)
	}
	return c.bucket.Delete(ctx, c.prefix+name)
}

func (c *cloud) diagnose(err error) verdict {
	v, ok := c.know(err)
	if errors.Is(err, errNoBucket) {
		v.code = NoBucket
	}
	if !ok {
		v, ok = network(err)
	}
	if !ok {
		v = general(err)
	}
	if c.travel != nil {
		v = c.travel.skewed(v)
	}
	return v
}

// general says what is left of an error in gocloud's few words.
func general(err error) verdict {
	switch {
	case errors.Is(err, errTooBig):
		return verdict{code: TooBig}
	case gcerrors.Code(err) == gcerrors.NotFound:
		return verdict{code: NotFound}
	case gcerrors.Code(err) == gcerrors.FailedPrecondition:
		return verdict{code: Exists}
	case gcerrors.Code(err) == gcerrors.PermissionDenied:
		return verdict{code: Permission}
	case gcerrors.Code(err) == gcerrors.ResourceExhausted:
		return verdict{code: Throttled, temporary: true}
	}
	return verdict{code: Refused}
}

func (c *cloud) close() error {
	if c.travel != nil {
		defer c.travel.base.CloseIdleConnections()
	}
	return c.bucket.Close()
}

// Package store keeps the objects of a repository: in a folder, on S3 or what speaks like it, on Google Storage, on Azure.
//
// It owns how objects travel: conditions, so that none is ever replaced; limits of bandwidth; the watch over transfers that stand
// still; trying again what may work the next time, and only that; and errors that say what to do. It knows nothing of what is in an
// object, and keeps no more than the one that it was given in memory. It never deletes what it was not told to, but for its own
// unfinished files of a process that died. No secret gets into an error. Read bucket.go first, then one driver: file.go.
package store

import (
	"context"
	"fmt"
	"iter"
	"net/url"
	"path"
	"strings"
	"time"

	"roundtable/backup"
)

// Options are how a store is used. The zero value does for most.
type Options struct {
	Env       []string      // NAME=value, what the cloud's library reads of the environment; first of all, then our environment
	Limits    *Limits       // shared by all that are given the same one; nil: none
	Stall     time.Duration // a transfer that moves nothing for so long is ended and tried again; 0: 1 min
	Patience  time.Duration // for how long what may work the next time is tried again; 0: 2 min, negative: not at all
	MaxObject int64         // bytes; Get refuses larger ones; 0: 1 GiB
	Retry     func(Retry)   // is told of each, by the goroutine that tries again; nil: nobody
}

// Retry is one more attempt that is about to be made.
type Retry struct {
	What  string        // what failed
	Err   error         // a *Problem
	Pause time.Duration // what is waited before
}

// driver is a kind of store. Its errors are those of its library; diagnose says what they mean.
type driver interface {
	put(ctx context.Context, name string, body []byte) error
	get(ctx context.Context, name string, limit int64) ([]byte, error)
	// page lists some objects from a place on; next is "" at the end.
	page(ctx context.Context, prefix, from string) (objects []backup.Object, next string, err error)
	remove(ctx context.Context, name string) error // errGone is fine
	diagnose(err error) verdict
	close() error
}

// verdict is what an error means.
type verdict struct {
	code      Code
	temporary bool
	hint      string // instead of the code's; may be ""
	text      string // instead of the error's; may be ""
}

// Open gives the store that a URL names:
//
//	file:///folder               create_dir=true makes the folder
//	s3://bucket/prefix           region, endpoint (http or https), s3ForcePathStyle (true if there is an endpoint), profile, role,
//	                             anonymous, ssetype, kmskeyid, request_checksum_calculation, response_checksum_validation
//	gs://bucket/prefix           endpoint (of an emulator; as STORAGE_EMULATOR_HOST), anonymous
//	azblob://container/prefix    storage_account, domain, protocol, localemu
//
// It asks the network nothing that the search for credentials does not need. Close ends it.
func Open(ctx context.Context, raw string, o Options) (*Bucket, error) {
	if o.Stall <= 0 {
		o.Stall = time.Minute
	}
	if o.Patience == 0 {
		o.Patience = 2 * time.Minute
	}
	if o.MaxObject <= 0 {
		o.MaxObject = 1 << 30
	}
	b := &Bucket{url: Mask(raw), options: o, secrets: newSecrets(o.Env)}
	u, prefix, err := parse(raw)
	if err != nil {
		return nil, err
	}
	if b.driver, err = find(ctx, u, prefix, o); err != nil {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("open %s: %w", b.url, context.Cause(ctx))
		}
		if p, ok := err.(*Problem); ok { //nolint:errorlint // one of our own, not wrapped
			p.Message = b.url
			if p.Err != nil {
				p.Err = &masked{b.secrets.mask(p.Err.Error()), p.Err}
			}
			return nil, p
		}
		return nil, problem(Credentials, &masked{b.secrets.mask(err.Error()), err}, "%s", b.url)
	}
	return b, nil
}

// find opens what a URL names.
func find(ctx context.Context, u *url.URL, prefix string, o Options) (driver, error) {
	switch u.Scheme {
	case "s3":
		return openS3(ctx, u, prefix, o)
	case "gs":
		return openGCS(ctx, u, prefix, o)
	case "azblob":
		return openAzure(ctx, u, prefix, o)
	}
	return openFile(u, o)
}

// prefixOf is what every object's name begins with, "" or ending with a slash.
func prefixOf(u *url.URL) (string, error) {
	p := strings.Trim(u.Path, "/")
	if p == "" {
		return "", nil
	}
	if path.Clean(p) != p || strings.HasPrefix(p, "..") {
		return "", fmt.Errorf("its path has empty, . or .. parts")
	}
	return p + "/", nil
}

// checkName says whether an object may be called that.
func checkName(name string) error {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/"
	wrong := func(r rune) bool { return !strings.ContainsRune(letters, r) }
	if name == "" || len(name) > 500 || strings.ContainsFunc(name, wrong) {
		return fmt.Errorf("%.120q is no name of an object: a-z A-Z 0-9 . _ - and slashes", name)
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || strings.HasPrefix(part, ".") {
			return fmt.Errorf("%.120q is no name of an object: no part of it may be empty or begin with a dot", name)
		}
	}
	return nil
}

func named(name string) bool { return checkName(name) == nil }

// listing turns pages into a sequence.
func listing(page func(from string) ([]backup.Object, string, error)) iter.Seq2[backup.Object, error] {
	return func(yield func(backup.Object, error) bool) {
		from := ""
		for {
			objects, next, err := page(from)
			if err != nil {
				yield(backup.Object{}, err)
				return
			}
			for _, o := range objects {
				if !yield(o, nil) {
					return
				}
			}
			if next == "" {
				return
			}
			from = next
		}
	}
}

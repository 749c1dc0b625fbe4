package backup

import (
	"context"
	"errors"
	"iter"
	"time"
)

// What a Store says; wrapped, so that errors.Is finds them. Other errors are about the way to the store, and worth another try.
var (
	ErrExists   = errors.New("there is an object with this name already")
	ErrNotFound = errors.New("there is no such object")
)

// Store keeps objects by name. It is safe for concurrent use. Names are made of a-z A-Z 0-9 . _ - and slashes between.
type Store interface {
	// Put writes a whole object; it lasts once Put returns. It never replaces one: ErrExists, and nothing was changed. The body
	// is the caller's again when Put returns.
	Put(ctx context.Context, name string, body []byte) error
	// Get reads a whole object: ErrNotFound. What it returns is the caller's.
	Get(ctx context.Context, name string) ([]byte, error)
	// List shows all objects whose name begins with the prefix, in no certain order. It ends with the first error, and then
	// has not shown all.
	List(ctx context.Context, prefix string) iter.Seq2[Object, error]
	// Delete removes an object. One that is gone already is no error.
	Delete(ctx context.Context, name string) error
}

// Object is what a store tells of an object without reading it.
type Object struct {
	Name     string
	Size     int64     // bytes
	Modified time.Time // by the store's clock
}

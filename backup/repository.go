package backup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"time"
)

// Repository is a store with backups in it. It is safe for concurrent use; a backup is written by one at a time, and where two
// write the same one nevertheless, none harms the other.
type Repository struct {
	store    Store
	format   format
	keys     keys
	log      *slog.Logger
	now      func() time.Time
	parallel int
	pack     int // bytes
	cache    string
	pass     int // how many entries a check holds in memory
}

// passEntries bounds the memory of a check: about 52 bytes for each.
const passEntries = 1 << 19

// Init makes a repository in an empty store: ErrExists where there is one, ErrNotEmpty.
func Init(ctx context.Context, s Store, o Options) (*Repository, error) {
	r := newRepository(s, o)
	if _, err := readFormat(ctx, s); !errors.Is(err, ErrNotFound) {
		if err == nil {
			err = fmt.Errorf("make a repository: %w", ErrExists)
		}
		return nil, err
	}
	for object, err := range s.List(ctx, "") {
		if err != nil {
			return nil, fmt.Errorf("make a repository: %w", err)
		}
		if strings.HasPrefix(object.Name, CheckAt) {
			continue
		}
		return nil, fmt.Errorf("make a repository: %w, such as %.200q (hint: use an empty bucket, folder or prefix; if a repository was here, its object %q was lost)", ErrNotEmpty, object.Name, formatName)
	}
	f, err := newFormat(r.keys)
	if err != nil {
		return nil, fmt.Errorf("make a repository: %w", err)
	}
	if err := f.fits(r.keys); err != nil { // before anything is in it that nobody could read
		return nil, fmt.Errorf("make a repository: %w", err)
	}
	if err := s.Put(ctx, formatName, f.encode()); err != nil {
		return nil, fmt.Errorf("make a repository: %w", err)
	}
	r.format = f
	return r, nil
}

// Open finds the repository in a store: ErrNoRepository, ErrKey, ErrNewer. With Options.Create it makes one in an empty store.
func Open(ctx context.Context, s Store, o Options) (*Repository, error) {
	f, err := readFormat(ctx, s)
	if errors.Is(err, ErrNotFound) {
		if !o.Create {
			return nil, fmt.Errorf("%w in this store", ErrNoRepository)
		}
		r, err := Init(ctx, s, o)
		if !errors.Is(err, ErrExists) {
			return r, err
		}
		f, err = readFormat(ctx, s) // somebody was faster
		if err != nil {
			return nil, fmt.Errorf("open the repository: %w", err)
		}
	} else if err != nil {
		return nil, fmt.Errorf("open the repository: %w", err)
	}
	r := newRepository(s, o)
	if err := f.fits(r.keys); err != nil {
		return nil, fmt.Errorf("open the repository: %w", err)
	}
	r.format = f
	return r, nil
}

func newRepository(s Store, o Options) *Repository {
	r := &Repository{
		store: s, keys: keys{o.Identities, o.Recipients}.complete(), log: o.Log, now: o.Now, parallel: o.Parallel,
		pack: o.PackBytes, cache: o.Cache, pass: passEntries,
	}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	if r.now == nil {
		r.now = time.Now
	}
	if r.parallel <= 0 {
		r.parallel = min(runtime.GOMAXPROCS(0), 4)
	}
	if r.pack <= 0 {
		r.pack = packBytes
	}
	r.pack = min(r.pack, maxPackBytes)
	return r
}

// ID is the repository's own, 32 hex digits, given when it was made.
func (r *Repository) ID() string { return r.format.id }

// Encrypted says whether it is.
func (r *Repository) Encrypted() bool { return r.keys.encrypted() }

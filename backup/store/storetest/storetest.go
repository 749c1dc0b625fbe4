// Package storetest has the one suite of tests that everything must pass that wants to be a backup.Store. Open a new, empty store in
// each call.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"roundtable/backup"
)

// Suite runs all of it.
func Suite(t *testing.T, open func(t *testing.T) backup.Store) {
	for name, test := range map[string]func(*testing.T, backup.Store){
		"whole objects come back":         wholeObjects,
		"nothing is replaced":             nothingReplaced,
		"one of many writers wins":        oneWins,
		"what is not there":               notThere,
		"delete":                          deletes,
		"list":                            lists,
		"a long list":                     longList,
		"many at a time":                  many,
		"a context that ended":            ended,
		"names that are none":             badNames,
		"a body is the caller's after it": bodies,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

// noise is what does not compress, the same for the same seed.
func noise(seed uint64, size int) []byte {
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	b := make([]byte, size)
	_, _ = r.Read(b)
	return b
}

func put(t *testing.T, s backup.Store, name string, body []byte) {
	t.Helper()
	if err := s.Put(t.Context(), name, body); err != nil {
		t.Fatal(err)
	}
}

func holds(t *testing.T, s backup.Store, name string, want []byte) {
	t.Helper()
	got, err := s.Get(t.Context(), name)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s holds %d bytes %v, want %d", name, len(got), err, len(want))
	}
}

// names gives what a list shows, sorted.
func names(t *testing.T, s backup.Store, prefix string) []string {
	t.Helper()
	var all []string
	for o, err := range s.List(t.Context(), prefix) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, o.Name)
	}
	slices.Sort(all)
	return all
}

func wholeObjects(t *testing.T, s backup.Store) {
	for i, size := range []int{0, 1, 4095, 100_000, 1 << 20, 17<<20 + 3} {
		name, body := fmt.Sprintf("packs/backup-1/%06d", i), noise(uint64(i), size)
		put(t, s, name, body)
		holds(t, s, name, body)
	}
}

func nothingReplaced(t *testing.T, s backup.Store) {
	put(t, s, "manifests/a", []byte("one"))
	for _, body := range []string{"two", "one", ""} {
		if err := s.Put(t.Context(), "manifests/a", []byte(body)); !errors.Is(err, backup.ErrExists) {
			t.Errorf("the second time: %v", err)
		}
	}
	holds(t, s, "manifests/a", []byte("one"))
}

func oneWins(t *testing.T, s backup.Store) {
	const writers = 8
	var (
		group sync.WaitGroup
		errs  [writers]error
	)
	for i := range writers {
		group.Go(func() { errs[i] = s.Put(t.Context(), "manifests/one", noise(uint64(i), 300_000)) })
	}
	group.Wait()
	winner := -1
	for i, err := range errs {
		switch {
		case err == nil && winner >= 0:
			t.Errorf("%d and %d wrote it", winner, i)
		case err == nil:
			winner = i
		case !errors.Is(err, backup.ErrExists):
			t.Errorf("%d: %v", i, err)
		}
	}
	if winner < 0 {
		t.Fatal("nobody wrote it")
	}
	holds(t, s, "manifests/one", noise(uint64(winner), 300_000))
}

func notThere(t *testing.T, s backup.Store) {
	if _, err := s.Get(t.Context(), "manifests/none"); !errors.Is(err, backup.ErrNotFound) {
		t.Errorf("read: %v", err)
	}
	if err := s.Delete(t.Context(), "manifests/none"); err != nil {
		t.Errorf("delete: %v", err)
	}
	for _, prefix := range []string{"", "manifests/", "mani"} {
		if got := names(t, s, prefix); len(got) > 0 {
			t.Errorf("an empty store lists %v", got)
		}
	}
}

func deletes(t *testing.T, s backup.Store) {
	put(t, s, "packs/a/1", []byte("one"))
	put(t, s, "packs/a/2", []byte("two"))
	for range 2 {
		if err := s.Delete(t.Context(), "packs/a/1"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Get(t.Context(), "packs/a/1"); !errors.Is(err, backup.ErrNotFound) {
		t.Errorf("read after delete: %v", err)
	}
	holds(t, s, "packs/a/2", []byte("two"))
	if got := names(t, s, ""); !slices.Equal(got, []string{"packs/a/2"}) {
		t.Errorf("left: %v", got)
	}
	put(t, s, "packs/a/1", []byte("three"))
	holds(t, s, "packs/a/1", []byte("three"))
}

func lists(t *testing.T, s backup.Store) {
	before := time.Now().Add(-time.Minute)
	all := []string{"config", "manifests/a", "manifests/a.b", "packs/a/1", "packs/a/10", "packs/ab/1", "packs/a.b/1", "x/y/z/w"}
	for i, name := range all {
		put(t, s, name, noise(1, i))
	}
	sizes := map[string]int64{}
	for o, err := range s.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		if _, twice := sizes[o.Name]; twice {
			t.Errorf("%s is shown twice", o.Name)
		}
		sizes[o.Name] = o.Size
		if o.Modified.Before(before) || o.Modified.After(time.Now().Add(time.Minute)) {
			t.Errorf("%s is of %s", o.Name, o.Modified)
		}
	}
	if len(sizes) != len(all) {
		t.Errorf("shown: %v", sizes)
	}
	for i, name := range all {
		if size, ok := sizes[name]; !ok || size != int64(i) {
			t.Errorf("%s has %d bytes, want %d", name, size, i)
		}
	}
	for _, prefix := range []string{"packs/", "packs/a", "packs/a/", "packs/a/1", "packs/ab/", "manifests/a", "x", "x/y/", "x/y/z/w", "none/", "packs/c", "config", "config/"} {
		var want []string
		for _, name := range all {
			if strings.HasPrefix(name, prefix) {
				want = append(want, name)
			}
		}
		slices.Sort(want)
		if got := names(t, s, prefix); !slices.Equal(got, want) {
			t.Errorf("list %q: %v, want %v", prefix, got, want)
		}
	}
	for _, err := range s.List(t.Context(), "") {
		if err != nil {
			t.Error(err)
		}
		break // whoever has seen enough may go
	}
}

func longList(t *testing.T, s backup.Store) {
	const objects = 1100 // more than a page
	var group sync.WaitGroup
	for w := range 8 {
		group.Go(func() {
			for i := w; i < objects; i += 8 {
				if err := s.Put(t.Context(), fmt.Sprintf("packs/b%02d/%05d", i%20, i), []byte{1}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	if got := names(t, s, "packs/"); len(got) != objects || len(slices.Compact(got)) != objects {
		t.Errorf("%d shown, want %d", len(got), objects)
	}
}

func many(t *testing.T, s backup.Store) {
	var group sync.WaitGroup
	for w := range 8 {
		group.Go(func() {
			for i := range 6 {
				name, body := fmt.Sprintf("packs/w%d/%d", w, i), noise(uint64(w*10+i), 50_000*(i+1))
				if err := s.Put(t.Context(), name, body); err != nil {
					t.Error(err)
					return
				}
				if got, err := s.Get(t.Context(), name); err != nil || !bytes.Equal(got, body) {
					t.Errorf("%s: %d bytes %v", name, len(got), err)
				}
				if i%2 == 0 {
					if err := s.Delete(t.Context(), name); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	group.Wait()
	if got := names(t, s, ""); len(got) != 8*3 {
		t.Errorf("left: %v", got)
	}
}

func ended(t *testing.T, s backup.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Put(ctx, "config", []byte("x")); !errors.Is(err, context.Canceled) {
		t.Errorf("put: %v", err)
	}
	if _, err := s.Get(ctx, "config"); !errors.Is(err, context.Canceled) {
		t.Errorf("get: %v", err)
	}
	if err := s.Delete(ctx, "config"); !errors.Is(err, context.Canceled) {
		t.Errorf("delete: %v", err)
	}
	shown := 0
	for _, err := range s.List(ctx, "") {
		if shown++; !errors.Is(err, context.Canceled) {
			t.Errorf("list: %v", err)
		}
	}
	if shown != 1 {
		t.Errorf("a list that failed shows %d", shown)
	}
	if got := names(t, s, ""); len(got) > 0 {
		t.Errorf("left: %v", got)
	}
}

func badNames(t *testing.T, s backup.Store) {
	for _, name := range []string{"", "/", "/config", "a//b", "a/", "..", "../x", "a/../b", "a/.b", "a b", "ä", "a\x00b", "a\nb", strings.Repeat("a", 600)} {
		if err := s.Put(t.Context(), name, []byte("x")); err == nil {
			t.Errorf("%q was written", name)
		}
		if _, err := s.Get(t.Context(), name); err == nil {
			t.Errorf("%q was read", name)
		}
	}
}

func bodies(t *testing.T, s backup.Store) {
	body := bytes.Repeat([]byte("a"), 1000)
	put(t, s, "config", body)
	clear(body)
	got, err := s.Get(t.Context(), "config")
	if err != nil {
		t.Fatal(err)
	}
	clear(got)
	holds(t, s, "config", bytes.Repeat([]byte("a"), 1000))
}

package backup_test

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"roundtable/backup"
	"roundtable/backup/backuptest"
)

// freezer stops whoever comes to a certain operation, once, until it is thawed.
type freezer struct {
	frozen, thaw chan struct{}
	once         atomic.Bool
}

func freeze(s *backuptest.Memory, operation, prefix string) *freezer {
	f := &freezer{frozen: make(chan struct{}), thaw: make(chan struct{})}
	s.Hook(func(o, name string) error {
		if o == operation && strings.HasPrefix(name, prefix) && f.once.CompareAndSwap(false, true) {
			close(f.frozen)
			<-f.thaw
		}
		return nil
	})
	return f
}

// TestFrozenSweeper freezes a sweep at each of its kinds of deletion; another one does all of its work, backups are made that
// refer to what was kept, and then it goes on.
func TestFrozenSweeper(t *testing.T) {
	for _, at := range []string{"manifests/", "packs/", "tables/", "clock/"} {
		t.Run(strings.TrimSuffix(at, "/"), func(t *testing.T) {
			s := &backuptest.Memory{}
			r := open(t, s, backup.Options{Create: true, PackBytes: 1 << 19})
			dir := node(t, 1)
			src := backup.Source{Dir: dir, Meta: meta("a")}
			done(t, r, "one", src)
			appendTo(t, filepath.Join(dir, "blocks/blocks.log"), noise(2, 1<<20))
			src.Bases = []string{"one"}
			done(t, r, "two", src)

			f := freeze(s, "delete", at)
			var zombie sync.WaitGroup
			zombie.Go(func() {
				if _, err := r.Sweep(t.Context(), backup.Keep{Keep: []string{"two"}, Drop: []string{"one"}, Grace: time.Hour}, nil); err != nil && at != "clock/" {
					t.Error(err)
				}
			})
			<-f.frozen
			if at != "clock/" { // it would take the other one's time away: which says so, and is called again
				sweep(t, r, backup.Keep{Keep: []string{"two"}, Drop: []string{"one"}, Grace: time.Hour})
			}
			appendTo(t, filepath.Join(dir, "blocks/blocks.log"), noise(3, 1<<20))
			src.Bases = []string{"two"}
			done(t, r, "three", src)
			appendTo(t, filepath.Join(dir, "blocks/blocks.log"), noise(4, 1<<20))
			src.Bases = []string{"three"}
			if _, err := r.Backup(t.Context(), "four", src, nil); err != nil { // still running, and unknown to the zombie
				t.Fatal(err)
			}
			close(f.thaw)
			zombie.Wait()
			s.Hook(nil)
			if _, err := r.Commit(t.Context(), "four"); err != nil {
				t.Fatal(err)
			}
			var infos []backup.Info
			for _, id := range []string{"two", "three", "four"} {
				if err := r.Verify(t.Context(), id, nil); err != nil {
					t.Error(err)
				}
				i, err := r.Info(t.Context(), id)
				if err != nil {
					t.Fatal(err)
				}
				infos = append(infos, i)
			}
			equal(t, tree(t, dir), restored(t, r, "four"))
			sweep(t, r, backup.Keep{Keep: []string{"two", "three", "four"}, Drop: []string{"one"}})
			// What "two" uses of "one" stays, and is nobody's own: the rest is gone.
			for _, i := range infos {
				if err := r.Verify(t.Context(), i.ID, nil); err != nil {
					t.Error(err)
				}
			}
			sweep(t, r, backup.Keep{Drop: []string{"two", "three", "four"}, Grace: time.Nanosecond})
			if names := s.Names(); !slices.Equal(names, []string{"format"}) {
				t.Errorf("left are %v", names)
			}
		})
	}
}

// TestFrozenWriter freezes a writer at each of its kinds of writing. Either somebody else makes the same backup, or it has failed
// and was swept; then the first one goes on.
func TestFrozenWriter(t *testing.T) {
	for _, at := range []string{"packs/", "tables/", "pending/", "manifests/"} {
		for _, redone := range []bool{true, false} {
			name := strings.TrimSuffix(at, "/")
			if !redone {
				name += " swept"
			}
			t.Run(name, func(t *testing.T) {
				s := &backuptest.Memory{}
				o := backup.Options{Create: true, PackBytes: 1 << 19}
				r := open(t, s, o)
				dir := node(t, 1)
				src := backup.Source{Dir: dir, Meta: meta("a")}
				zero := done(t, r, "zero", src)
				appendTo(t, filepath.Join(dir, "blocks/blocks.log"), noise(2, 1<<20))
				appendTo(t, filepath.Join(dir, "blocks/blocks.index"), noise(2, 1<<10))
				src.Bases = []string{"zero"}

				f := freeze(s, "put", at)
				var zombie sync.WaitGroup
				var err error
				zombie.Go(func() { _, err = all(t.Context(), r, "one", src) })
				<-f.frozen
				var infos []backup.Info
				var damage *backup.Damage
				if redone {
					infos = append(infos, done(t, open(t, s, o), "one", src), zero)
				} else {
					sweep(t, r, backup.Keep{Keep: []string{"zero"}, Drop: []string{"one"}})
					infos = append(infos, zero)
				}
				close(f.thaw)
				zombie.Wait()
				s.Hook(nil)
				if redone && err != nil || err != nil && !errors.Is(err, backup.ErrNoBackup) && !errors.As(err, &damage) {
					t.Errorf("the thawed one says %v", err)
				}
				committed := len(infos)
				if err == nil && !redone { // nothing of it was there yet to be swept
					committed++
				}
				list, err := r.List(t.Context())
				if err != nil || len(list) != committed {
					t.Errorf("%+v %v", list, err)
				}
				for _, i := range list {
					if err := r.Verify(t.Context(), i.ID, nil); err != nil {
						t.Error(err)
					}
				}
				if redone {
					equal(t, tree(t, dir), restored(t, r, "one"))
				}
				keep := backup.Keep{Keep: []string{"zero", "one"}}
				if !redone {
					keep = backup.Keep{Keep: []string{"zero"}, Drop: []string{"one"}}
				}
				sweep(t, r, keep)
				clean(t, s, infos...)
			})
		}
	}
}

// TestWhatIsUnknown: manifests of others stay, and what has none stays as long as somebody may be at work.
func TestWhatIsUnknown(t *testing.T) {
	s := &backuptest.Memory{}
	r := open(t, s, backup.Options{Create: true})
	long := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC) // the store's clock is far behind
	s.SetNow(long)
	src := backup.Source{Dir: tiny(t), Meta: meta("a")}
	done(t, r, "others", src)
	if _, err := r.Backup(t.Context(), "unfinished", src, nil); err != nil {
		t.Fatal(err)
	}
	early := src
	early.Dir, early.Ahead = node(t, 1), true
	if _, err := r.Backup(t.Context(), "begun", early, nil); err != nil {
		t.Fatal(err)
	}
	s.Set("clock/left-over", []byte("of a sweep that was killed"))
	s.Set("notes.txt", []byte("of somebody else"))
	s.SetNow(long.Add(6 * 24 * time.Hour))
	if swept := sweep(t, r, backup.Keep{}); swept.Packs+swept.Pending+swept.Manifests > 0 {
		t.Errorf("%+v", swept)
	}
	s.SetNow(long.Add(8 * 24 * time.Hour))
	if swept := sweep(t, r, backup.Keep{Keep: []string{"unfinished", "begun"}}); swept.Packs+swept.Pending+swept.Manifests > 0 {
		t.Errorf("%+v", swept)
	}
	if swept := sweep(t, r, backup.Keep{}); swept.Manifests > 0 || swept.Pending != 2 || swept.Packs < 4 {
		t.Errorf("%+v", swept)
	}
	if err := r.Verify(t.Context(), "others", nil); err != nil {
		t.Error(err)
	}
	others, err := r.Info(t.Context(), "others")
	if err != nil {
		t.Fatal(err)
	}
	s.Set("notes.txt", nil)
	clean(t, s, others)
}

// TestFailedDeletions are counted, and done by the next sweep.
func TestFailedDeletions(t *testing.T) {
	s := &backuptest.Memory{}
	r := open(t, s, backup.Options{Create: true})
	done(t, r, "one", backup.Source{Dir: tiny(t), Meta: meta("a")})
	s.Hook(func(operation, name string) error {
		if operation == "delete" && !strings.HasPrefix(name, "clock/") {
			return errors.New("not allowed")
		}
		return nil
	})
	drop := backup.Keep{Drop: []string{"one"}}
	swept, err := r.Sweep(t.Context(), drop, nil)
	if err != nil || swept.Failed != 1 || swept.Problem != "delete manifests/one: not allowed" || swept.Gone != nil {
		t.Errorf("%+v %v", swept, err)
	}
	s.Hook(func(operation, name string) error {
		if operation == "delete" && strings.HasPrefix(name, "packs/") {
			return errors.New("not allowed")
		}
		return nil
	})
	swept, err = r.Sweep(t.Context(), drop, nil)
	if err != nil || swept.Failed != 1 || swept.Manifests != 1 || swept.Packs != 1 || swept.Gone != nil {
		t.Errorf("%+v %v", swept, err)
	}
	s.Hook(nil)
	if swept := sweep(t, r, drop); swept.Packs != 1 || !slices.Equal(swept.Gone, []string{"one"}) {
		t.Errorf("%+v", swept)
	}
	clean(t, s)
}

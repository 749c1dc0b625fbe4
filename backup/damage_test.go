package backup_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"roundtable/backup"
	"roundtable/backup/backuptest"
)

// tiny is a folder of which every kind of object is small.
func tiny(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "blocks/blocks.log"), noise(1, 3000))
	write(t, filepath.Join(dir, "blocks/blocks.index"), []byte(strings.Repeat("index ", 500)))
	sparse(t, filepath.Join(dir, "state/shared_memory.bin"), 1<<20, map[int64][]byte{40000: noise(2, 5000)})
	return dir
}

// TestEveryBitCounts flips a bit in each object, at many places: nothing can be used as if it were whole.
func TestEveryBitCounts(t *testing.T) {
	modes(t, func(t *testing.T, o backup.Options) {
		o.PackBytes = 8000
		dir := tiny(t)
		whole := &backuptest.Memory{}
		r := open(t, whole, o)
		done(t, r, "one", backup.Source{Dir: dir, Meta: meta("a")})
		appendTo(t, filepath.Join(dir, "blocks/blocks.log"), noise(3, 2000))
		done(t, r, "two", backup.Source{Dir: dir, Meta: meta("a"), Bases: []string{"one"}})
		o.Create = false
		tries := 0
		for _, name := range whole.Names() {
			body := whole.Body(name)
			for i := range body {
				if name != "format" && i > 12 && i < len(body)-12 && rand.IntN(len(body)/40+1) > 0 {
					continue // in the middle one is as good as another
				}
				bad := slices.Clone(body)
				bad[i] ^= 1 << rand.IntN(8)
				if !found(t, whole, name, bad, o) {
					t.Errorf("%s: nobody sees that byte %d of %d has changed", name, i, len(body))
				}
				tries++
			}
			for _, bad := range [][]byte{body[:len(body)-1], append(slices.Clone(body), 0), {}, body[:len(body)/2]} {
				if !found(t, whole, name, bad, o) {
					t.Errorf("%s: nobody sees that it has %d of %d bytes", name, len(bad), len(body))
				}
			}
			if !found(t, whole, name, nil, o) {
				t.Errorf("%s: nobody misses it", name)
			}
		}
		t.Logf("%d flips in %d objects", tries, len(whole.Names()))
	})
}

// found reports whether Verify and Restore both see what has become of an object.
func found(t *testing.T, whole *backuptest.Memory, name string, bad []byte, o backup.Options) bool {
	t.Helper()
	s := whole.Clone()
	s.Set(name, bad)
	r, err := backup.Open(t.Context(), s, o)
	if err != nil {
		return true
	}
	seen := false
	for _, id := range []string{"one", "two"} {
		verify := r.Verify(t.Context(), id, nil)
		if verify == nil && rand.IntN(50) > 0 { // to restore what is whole takes long
			continue
		}
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			t.Fatal(err)
		}
		_, restore := r.Restore(t.Context(), id, dir, nil)
		if (verify == nil) != (restore == nil) {
			t.Errorf("%s: verify says %v, restore %v", name, verify, restore)
		}
		if _, done, _ := backup.Restored(dir); done && restore != nil {
			t.Errorf("%s: the restore has failed, and left a folder that says it is complete", name)
		}
		var damage *backup.Damage
		switch {
		case verify == nil:
			continue
		case errors.Is(verify, backup.ErrNoBackup) && bad == nil:
		case !errors.As(verify, &damage) || !slices.Equal(damage.Objects, []string{name}) || damage.Backup != id:
			t.Errorf("%s: %v", name, verify)
		case strings.HasPrefix(name, "packs/") && len(damage.Files) == 0 || strings.HasPrefix(name, "tables/") && len(damage.Files) == 0:
			t.Errorf("%s: no file is named: %v", name, verify)
		}
		seen = true
	}
	return seen
}

// TestDamageIsToldWhole: a verification goes on after the first damage.
func TestDamageIsToldWhole(t *testing.T) {
	s := &backuptest.Memory{}
	r := open(t, s, backup.Options{Create: true, PackBytes: 1 << 20})
	done(t, r, "one", backup.Source{Dir: node(t, 1), Meta: meta("a")})
	names := slices.DeleteFunc(s.Names(), func(n string) bool { return !strings.HasPrefix(n, "packs/") })
	if len(names) < 4 {
		t.Fatal(names)
	}
	s.Set(names[0], nil)
	s.Set(names[2], []byte("other"))
	var damage *backup.Damage
	err := r.Verify(t.Context(), "one", nil)
	if !errors.As(err, &damage) || !slices.Equal(damage.Objects, []string{names[0], names[2]}) || len(damage.Files) < 2 || !slices.IsSorted(damage.Files) {
		t.Errorf("%v: %+v", err, damage)
	}
	if err := r.Readback(t.Context(), "one", nil); !errors.As(err, &damage) {
		t.Error(err)
	}
	if err := r.Whole(t.Context(), "one"); !errors.As(err, &damage) || len(damage.Objects) != 2 {
		t.Error(err)
	}
	// A new backup does not refer to what is not there, or not as large as it was.
	done(t, r, "two", backup.Source{Dir: node(t, 1), Meta: meta("a"), Bases: []string{"one"}})
	if err := r.Verify(t.Context(), "two", nil); err != nil {
		t.Error(err)
	}
}

// TestListWithDamage gives what can be read.
func TestListWithDamage(t *testing.T) {
	s := &backuptest.Memory{}
	r := open(t, s, backup.Options{Create: true})
	dir := tiny(t)
	for i := range 3 {
		done(t, r, fmt.Sprint("b", i), backup.Source{Dir: dir, Meta: meta("a")})
	}
	whole := s.Body("manifests/b2")
	s.Set("manifests/b1", []byte("nonsense"))
	all, err := r.List(t.Context())
	var damage *backup.Damage
	if len(all) != 2 || !errors.As(err, &damage) || damage.Backup != "b1" {
		t.Errorf("%+v %v", all, err)
	}
	s.Set("manifests/b2", []byte("nonsense"))
	_, err = r.List(t.Context())
	var torn []string
	for _, d := range backup.Damages(err) {
		torn = append(torn, d.Backup)
	}
	if slices.Sort(torn); !slices.Equal(torn, []string{"b1", "b2"}) || backup.Damages(errors.New("x")) != nil || len(backup.Damages(damage)) != 1 {
		t.Errorf("%q %v", torn, err)
	}
	s.Set("manifests/b2", whole)
	// A damaged base is not used, and not an error.
	if i := done(t, r, "b4", backup.Source{Dir: dir, Meta: meta("a"), Bases: []string{"b1"}}); i.Bases != nil {
		t.Errorf("%+v", i)
	}
	// A sweep does not guess what a damaged manifest needs.
	if swept, err := r.Sweep(t.Context(), backup.Keep{Keep: []string{"b0", "b1", "b2", "b4"}, Grace: 1}, nil); err == nil || swept.Packs > 0 {
		t.Errorf("%+v %v", swept, err)
	}
	if _, err := r.Sweep(t.Context(), backup.Keep{Keep: []string{"b0", "b2", "b4"}, Drop: []string{"b1"}, Grace: 1}, nil); err != nil {
		t.Error(err)
	}
	if all, err = r.List(t.Context()); len(all) != 3 || err != nil {
		t.Errorf("%+v %v", all, err)
	}
}

package backup

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"roundtable/api"
	"roundtable/backup"
	"roundtable/backup/store"
	"roundtable/fsm"
	"roundtable/test/box"
	"roundtable/test/servers"
)

// depot is where a repository is: a folder, or a bucket of an S3 server.
type depot struct {
	url    string
	env    []string        // of whoever opens it
	file   string          // with the same, for the members; "" for none
	dir    string          // where its objects are files
	server *servers.Server // nil for a folder
}

// inFolder is a repository in a folder.
func inFolder(t *testing.T) *depot {
	t.Helper()
	dir := t.TempDir()
	return &depot{url: "file://" + dir, dir: dir}
}

// onServer is a repository on an S3 server that is started for it.
func onServer(t *testing.T) *depot {
	t.Helper()
	s := servers.S3(t)
	dir := filepath.Join(s.Dir, "backups")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	d := &depot{url: at(s, "backups"), env: credentials(servers.RootKey, servers.RootSecret), file: filepath.Join(t.TempDir(), "s3.env"), dir: dir, server: s}
	box.Write(t, d.file, strings.Join(d.env, "\n")+"\n")
	return d
}

// at is the URL of a bucket.
func at(s *servers.Server, bucket string) string { return "s3://" + bucket + "?endpoint=" + s.URL }

func credentials(key, secret string) []string {
	return []string{"AWS_ACCESS_KEY_ID=" + key, "AWS_SECRET_ACCESS_KEY=" + secret}
}

// section are the lines of it in a member's config.toml.
func (d *depot) section(more ...string) string {
	lines := []string{fmt.Sprintf("url = %q", d.url)}
	if d.file != "" {
		lines = append(lines, fmt.Sprintf("env_file = %q", d.file))
	}
	return strings.Join(append(lines, more...), "\n") + "\n"
}

// open opens the store as no member does.
func (d *depot) open(t *testing.T) *watched {
	t.Helper()
	s, err := store.Open(t.Context(), d.url, store.Options{Env: d.env})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return &watched{Store: s, read: map[string]bool{}}
}

// watched is a store that knows what was read from it.
type watched struct {
	backup.Store
	mu   sync.Mutex
	read map[string]bool
}

// Get reads an object.
func (w *watched) Get(ctx context.Context, name string) ([]byte, error) {
	w.mu.Lock()
	w.read[name] = true
	w.mu.Unlock()
	return w.Store.Get(ctx, name)
}

// objects are the names of all that is in the store, sorted.
func objects(t *testing.T, list iter.Seq2[backup.Object, error]) (names []string) {
	t.Helper()
	for o, err := range list {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, o.Name)
	}
	slices.Sort(names)
	return names
}

// proved reads every backup that the catalogue calls done, whole and without the managers' help, and fails the test where one of them
// is not, where the store has a finished backup that the catalogue does not call done, or, with swept, an object that
// none of them needs.
func (b *sandbox) proved(swept bool) {
	b.T.Helper()
	ctx, w := b.T.Context(), b.depot.open(b.T)
	r, err := backup.Open(ctx, w, backup.Options{})
	if err != nil {
		b.T.Fatal(err)
	}
	done := map[string]api.Backup{}
	for _, one := range b.catalogue(fsm.BackupDone) {
		done[one.ID] = one
	}
	for _, id := range slices.Sorted(maps.Keys(done)) {
		if err := r.Verify(ctx, id, nil); err != nil {
			b.T.Errorf("%s is done, says the catalogue: %v", id, err)
		}
	}
	list, err := r.List(ctx)
	if err != nil {
		b.T.Fatal(err)
	}
	for _, i := range list {
		one, ok := done[i.ID]
		if !ok && swept {
			b.T.Errorf("the repository has %s, and the catalogue does not call it done", i.ID)
		}
		if ok && (one.Head != i.Meta.Head || one.Manifest != i.Manifest || one.Kind != i.Meta.Kind) {
			b.T.Errorf("%s is up to block %d (manifest %s), says the catalogue, and its manifest: block %d (%s)", i.ID, one.Head, one.Manifest, i.Meta.Head, i.Manifest)
		}
	}
	if len(list) < len(done) {
		b.T.Errorf("%d backups are done, and the repository has %d", len(done), len(list))
	}
	if !swept {
		return
	}
	for _, name := range objects(b.T, w.List(ctx, "")) {
		if !w.read[name] {
			b.T.Errorf("garbage: no backup needs %s", name)
		}
	}
}

// scratch restores a backup into a folder without the managers' help, and returns it.
func (b *sandbox) scratch(id string) string {
	b.T.Helper()
	dir := filepath.Join(b.T.TempDir(), id)
	r, err := backup.Open(b.T.Context(), b.depot.open(b.T), backup.Options{})
	if err != nil {
		b.T.Fatal(err)
	}
	if _, err := r.Restore(b.T.Context(), id, dir, nil); err != nil {
		b.T.Fatalf("restore of %s by hand: %v", id, err)
	}
	return dir
}

// flip changes one bit of an object in a folder; again changes it back.
func flip(t *testing.T, file string, offset int64) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	one := make([]byte, 1)
	if _, err := f.ReadAt(one, offset); err != nil {
		t.Fatal(err)
	}
	one[0] ^= 1 << (offset % 8)
	if _, err := f.WriteAt(one, offset); err != nil {
		t.Fatal(err)
	}
}

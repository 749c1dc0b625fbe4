package backup_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"roundtable/backup"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// identity is made once: it is not what the tests are about.
var identity = func() *age.X25519Identity {
	i, err := age.GenerateX25519Identity()
	if err != nil {
		panic(err)
	}
	return i
}()

// modes runs a test on a plain and on an encrypted repository.
func modes(t *testing.T, test func(t *testing.T, o backup.Options)) {
	t.Run("plain", func(t *testing.T) { test(t, backup.Options{Create: true}) })
	t.Run("encrypted", func(t *testing.T) {
		test(t, backup.Options{Create: true, Identities: []age.Identity{identity}})
	})
}

func write(t testing.TB, path string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8(sha256.Sum256([]byte(fmt.Sprint(seed)))).Read(b) // never fails
	return b
}

// sparse writes pieces into a file that is otherwise a hole.
func sparse(t testing.TB, path string, size int64, pieces map[int64][]byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	for at, b := range pieces {
		if _, err := f.WriteAt(b, at); err != nil {
			t.Fatal(err)
		}
	}
}

// appendTo makes a log longer.
func appendTo(t testing.TB, path string, more []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(more); err != nil {
		t.Fatal(err)
	}
}

// node lays out a small data folder like that of a stopped nodeos.
func node(t testing.TB, seed uint64) string {
	t.Helper()
	dir := t.TempDir()
	at := func(p string) string { return filepath.Join(dir, p) }
	write(t, at("blocks/blocks.log"), noise(seed, 5<<20/2))
	write(t, at("blocks/blocks.index"), noise(seed+1, 10<<10))
	write(t, at("blocks/reversible/fork_db.dat"), []byte("fork database"))
	write(t, at("blocks/retained/blocks-1-100.log"), noise(seed+2, 1<<20))
	write(t, at("state/chain_head.dat"), []byte("head"))
	sparse(t, at("state/shared_memory.bin"), 8<<20, map[int64][]byte{0: noise(seed+3, 100<<10), 5<<20 + 8192: noise(seed+4, 4096), 8<<20 - 3: {1, 2, 3}})
	write(t, at("state-history/trace_history.log"), make([]byte, 1<<20)) // zeros, not a hole
	write(t, at("snapshots/snapshot-0a.bin"), []byte(strings.Repeat("snapshot ", 1000)))
	write(t, at("snapshots/.pending-snapshot-0b.bin"), []byte("half"))
	write(t, at("finalizers/safety.dat"), []byte("secret"))
	for i := range 20 {
		write(t, at(fmt.Sprintf("config/protocol_features/f%d.json", i)), fmt.Appendf(nil, `{"feature":%d}`, i))
	}
	write(t, at("empty"), nil)
	if err := os.Mkdir(at("empty-folder"), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(at("config/protocol_features/f1.json"), 0o640); err != nil {
		t.Fatal(err)
	}
	age := time.Now().Add(-time.Hour)
	for p := range tree(t, dir) {
		if err := os.Chtimes(at(p), age, age); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// fact is what must come back of a file.
type fact struct {
	Mode  fs.FileMode
	Size  int64
	MTime int64
	Sum   string
}

// tree gives all of a folder but for what is never in a backup, and the marker of a restore.
func tree(t testing.TB, dir string) map[string]fact {
	t.Helper()
	all := map[string]fact{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil || rel == "." || rel == backup.Marker || strings.HasPrefix(d.Name(), ".pending-") {
			return err
		}
		if d.Name() == "finalizers" {
			return filepath.SkipDir
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		f := fact{Mode: info.Mode(), MTime: info.ModTime().UnixNano()}
		if info.Mode().IsRegular() {
			content, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			f.Size, f.Sum = info.Size(), fmt.Sprintf("%x", sha256.Sum256(content))
		}
		all[filepath.ToSlash(rel)] = f
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// onDisk gives how many bytes a file takes.
func onDisk(t testing.TB, path string) int64 {
	t.Helper()
	var s syscall.Stat_t
	if err := syscall.Stat(path, &s); err != nil {
		t.Fatal(err)
	}
	return s.Blocks * 512
}

func equal(t testing.TB, want map[string]fact, dir string) {
	t.Helper()
	if diff := cmp.Diff(want, tree(t, dir)); diff != "" {
		t.Errorf("what was restored is not what was there (-want +got):\n%s", diff)
	}
}

func meta(member string) backup.Meta {
	return backup.Meta{Kind: "data", Cluster: "c", ChainID: "cf057bbfb726", Member: member, Created: time.Now().UnixMilli()}
}

func open(t testing.TB, s backup.Store, o backup.Options) *backup.Repository {
	t.Helper()
	r, err := backup.Open(t.Context(), s, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// done makes a backup, all the way to its commit.
func done(t testing.TB, r *backup.Repository, id string, src backup.Source) backup.Info {
	t.Helper()
	i, err := all(t.Context(), r, id, src)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func all(ctx context.Context, r *backup.Repository, id string, src backup.Source) (backup.Info, error) {
	if _, err := r.Backup(ctx, id, src, nil); err != nil {
		return backup.Info{}, err
	}
	if err := r.Readback(ctx, id, nil); err != nil {
		return backup.Info{}, err
	}
	return r.Commit(ctx, id)
}

// restored gives the folder that a backup was restored into.
func restored(t testing.TB, r *backup.Repository, id string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "restored")
	if _, err := r.Restore(t.Context(), id, dir, nil); err != nil {
		t.Fatal(err)
	}
	return dir
}

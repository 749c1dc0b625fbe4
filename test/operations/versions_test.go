package operations

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"roundtable/drill"
	"roundtable/test/box"
)

// The two versions that every member has (drill.Options.Versions).
const (
	now  = "v1.2.2" // what the stand-in is
	next = "v1.2.3"
)

// tell is the beginning of a script that says that it is a version of nodeos.
func tell(tag string) string {
	return "#!/bin/sh\ncase \"$1\" in --version|--full-version) echo " + tag + "; exit 0;; esac\n"
}

// good is a version that works; its script takes more arguments for the stand-in.
func good(tag string, args ...string) string {
	return tell(tag) + fmt.Sprintf("exec '%s' --sim-version %s %s \"$@\"\n", filepath.Join(built, "simnodeos"), tag, strings.Join(args, " "))
}

// exits is a version that ends at once, as one does that lacks a library.
func exits(tag string) string {
	return tell(tag) + "echo 'error while loading shared libraries: libfoo.so.7' >&2\nexit 127\n"
}

// deaf is a version that starts, and never gets a block from anybody.
func deaf(tag string) string { return good(tag, "--sim-never-sync") }

// dies is a version that starts and ends itself soon after.
func dies(tag string) string { return good(tag, "--sim-exit-after", "1500ms") }

// lay puts a version into a member's home as an operator would.
func (b *sandbox) lay(m *drill.Member, tag, script string) {
	b.T.Helper()
	dir := filepath.Join(m.Home, "versions", tag)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		b.T.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "nodeos"), []byte(script), 0o700); err != nil { //nolint:gosec // a program
		b.T.Fatal(err)
	}
	box.Write(b.T, filepath.Join(dir, "run.toml"), fmt.Sprintf("name = %q\n[node]\nbinary = \"nodeos\"\n", tag))
}

// layAll puts it into everybody's.
func (b *sandbox) layAll(tag string, script func(m *drill.Member) string) {
	b.T.Helper()
	for _, m := range b.Members {
		b.lay(m, tag, script(m))
	}
}

// shelf is an HTTP server that has assets.
type shelf struct {
	*httptest.Server
	mu    sync.Mutex
	files map[string][]byte
}

func newShelf(t *testing.T) *shelf {
	s := &shelf{files: map[string][]byte{}}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		body, ok := s.files[r.URL.Path]
		s.mu.Unlock()
		if !ok {
			http.NotFound(w, r)
			return
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
	}))
	t.Cleanup(s.Close)
	return s
}

// put has a file.
func (s *shelf) put(path string, body []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[path] = body
}

// asset has a version's archive, and the checksum beside it.
func (s *shelf) asset(tag string, archive []byte) {
	s.put("/"+tag+"/nodeos.zip", archive)
	s.put("/"+tag+"/nodeos.zip.sha256", []byte(sum(archive)+"  nodeos.zip\n"))
}

// source is what a member's configuration says of it.
func (s *shelf) source() string { return s.URL + "/{tag}/nodeos.zip" }

func sum(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

// entry is a file in an archive.
type entry struct{ name, body string }

// archive makes a zip; nothing in it is compressed.
func archive(t *testing.T, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, e := range entries {
		h := &zip.FileHeader{Name: e.name, Method: zip.Store}
		h.SetMode(0o755)
		w, err := z.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(e.body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

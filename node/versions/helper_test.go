package versions

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// said reads the version out of a stand-in for nodeos, "#!nodeos v1.2.2": what is tested here starts no process.
func said(_ context.Context, path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(string(b), "\n")
	v, ok := strings.CutPrefix(line, "#!nodeos ")
	if !ok {
		return "", errors.New("exec format error")
	}
	return v, nil
}

// nodeos is a stand-in of that version.
func nodeos(version string) []byte {
	return []byte("#!nodeos " + version + "\n" + strings.Repeat("x", 3000))
}

// home opens an ensured home in a new folder.
func home(t testing.TB, change ...func(*Config)) *Home {
	t.Helper()
	h := bareHome(t, t.TempDir(), change...)
	if err := h.Ensure(); err != nil {
		t.Fatal(err)
	}
	return h
}

// bareHome opens a home, and its pauses take no time.
func bareHome(t testing.TB, dir string, change ...func(*Config)) *Home {
	t.Helper()
	cfg := Config{Dir: dir, Version: said, OS: "linux", Arch: "amd64", Free: func(string) (uint64, error) { return 1 << 40, nil }}
	for _, c := range change {
		c(&cfg)
	}
	h, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	h.pause = func(ctx context.Context, _ time.Duration) error { return ctx.Err() }
	return h
}

// version makes a version's folder by hand, as an operator would.
func version(t testing.TB, h *Home, tag string) {
	t.Helper()
	write(t, filepath.Join(h.folder(tag), "nodeos"), nodeos(tag), 0o755)
	write(t, filepath.Join(h.folder(tag), runName), []byte("[node]\nbinary = \"nodeos\"\n"), 0o644)
}

func write(t testing.TB, path string, data []byte, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func sumOf(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// wantKind looks for a kind of problem, with a message and a hint.
func wantKind(t testing.TB, err, kind error, parts ...string) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Fatalf("want %q, got: %v", kind, err)
	}
	if Hint(err) == "" {
		t.Errorf("no hint: %v", err)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error()+" | "+Hint(err), p) {
			t.Errorf("%q is not in: %v | %s", p, err, Hint(err))
		}
	}
}

// tarOf makes a tar of headers; a file's body is in its Xattrs-free PAXRecords' stead in bodies, by name.
func tarOf(t testing.TB, entries ...tarEntry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := e.head
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		h.Size = int64(len(e.body))
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(e.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

type tarEntry struct {
	head tar.Header
	body []byte
}

func reg(name string, body []byte) tarEntry {
	return tarEntry{tar.Header{Name: name, Typeflag: tar.TypeReg}, body}
}

func exe(name string, body []byte) tarEntry {
	return tarEntry{tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o755}, body}
}

func dir(name string) tarEntry {
	return tarEntry{tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: 0o755}, nil}
}

func sym(name, to string) tarEntry {
	return tarEntry{tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: to}, nil}
}

func hard(name, to string) tarEntry {
	return tarEntry{tar.Header{Name: name, Typeflag: tar.TypeLink, Linkname: to}, nil}
}

func gz(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	return squeeze(t, b, &out, gzip.NewWriter(&out))
}

func zst(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := zstd.NewWriter(&out, zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	return squeeze(t, b, &out, w)
}

func xzed(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := xz.NewWriter(&out)
	if err != nil {
		t.Fatal(err)
	}
	return squeeze(t, b, &out, w)
}

func squeeze(t testing.TB, b []byte, out *bytes.Buffer, w io.WriteCloser) []byte {
	t.Helper()
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// deb makes a Debian package around its data.
func deb(ending string, data []byte) []byte {
	var b bytes.Buffer
	b.WriteString(arMagic)
	member := func(name string, body []byte) {
		fmt.Fprintf(&b, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", name, 0, 0, 0, "100644", len(body))
		b.Write(body)
		if len(body)%2 == 1 {
			b.WriteByte('\n')
		}
	}
	member("debian-binary", []byte("2.0\n"))
	member("control.tar.gz", []byte("odd"))
	member("data.tar"+ending, data)
	return b.Bytes()
}

// zipOf makes a .zip of names and bodies.
func zipOf(t testing.TB, entries ...zipEntry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, e := range entries {
		h := &zip.FileHeader{Name: e.name, Method: zip.Deflate}
		if e.mode != 0 {
			h.SetMode(e.mode)
		}
		f, err := w.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(e.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

type zipEntry struct {
	name string
	mode os.FileMode
	body []byte
}

// names are all paths below a folder, sorted.
func names(t testing.TB, dir string) []string {
	t.Helper()
	var list []string
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if rel, _ := filepath.Rel(dir, path); rel != "." {
			list = append(list, rel)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// noRest checks that nothing half done is in a home.
func noRest(t testing.TB, h *Home) {
	t.Helper()
	for _, n := range names(t, h.dir) {
		for part := range strings.SplitSeq(n, "/") {
			if strings.HasPrefix(part, stagingPrefix) || strings.HasPrefix(part, removedPrefix) || strings.HasPrefix(part, freshPrefix) || part == freshLink ||
				part == partName || part == noteName || strings.HasPrefix(part, ".run.toml.") || strings.HasPrefix(part, ".asset") {
				t.Errorf("left behind: %s", n)
			}
		}
	}
}

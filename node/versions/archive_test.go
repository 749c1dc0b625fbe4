package versions

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// put writes an asset where a file:// source finds it, and gives the request for it.
func put(t testing.TB, name string, asset []byte) Request {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	write(t, path, asset, 0o644)
	return Request{Tag: "v1.2.2", Source: "file://" + path, SHA256: sumOf(asset)}
}

// TestKinds stages every kind of asset.
func TestKinds(t *testing.T) {
	n := nodeos("v1.2.2")
	whole := tarOf(t, dir("./"), dir("./usr"), dir("./usr/bin/"), exe("./usr/bin/nodeos", n), reg("./usr/share/doc", nil), sym("./usr/bin/spring", "nodeos"), hard("./usr/bin/again", "./usr/bin/nodeos"))
	own := tarOf(t, reg("run.toml", []byte("[node]\nbinary = \"bin/n\"\nargs = [\"--mine\"]\n")), exe("bin/n", n))
	cases := []struct {
		name, binary string
		asset        []byte
		want         string // the binary
		run          bool   // it has a run.toml
	}{
		{"a.tar", "", whole, "usr/bin/nodeos", false},
		{"a.tar.gz", "", gz(t, whole), "usr/bin/nodeos", false},
		{"a.tgz", "usr/bin/nodeos", gz(t, whole), "usr/bin/nodeos", false},
		{"a.tar.zst", "", zst(t, whole), "usr/bin/nodeos", false},
		{"a.tar.xz", "", xzed(t, whole), "usr/bin/nodeos", false},
		{"gz.deb", "", deb(".gz", gz(t, whole)), "usr/bin/nodeos", false},
		{"xz.deb", "", deb(".xz", xzed(t, whole)), "usr/bin/nodeos", false},
		{"zst.deb", "", deb(".zst/", zst(t, whole)), "usr/bin/nodeos", false},
		{"plain.deb", "", deb("", whole), "usr/bin/nodeos", false},
		{"bare", "", n, "nodeos", false},
		{"bare-named", "bin/mine", n, "bin/mine", false},
		{"a.zip", "", zipOf(t, zipEntry{"bin/", 0, nil}, zipEntry{"bin/nodeos", 0, n}, zipEntry{"bin/link", 0o777 | os.ModeSymlink, []byte("nodeos")}), "bin/nodeos", false},
		{"own.tar.gz", "other", gz(t, own), "bin/n", true},
		{"own.zip", "", zipOf(t, zipEntry{"run.toml", 0o644, []byte("[node]\nbinary = \"bin/n\"\nargs = [\"--mine\"]\n")}, zipEntry{"bin/n", 0o755, n}), "bin/n", true},
		{"one-folder.tar.gz", "", gz(t, tarOf(t, reg("x/run.toml", []byte("name = \"v1.2.2\"\n[node]\nbinary = \"bin/n\"\nargs = [\"--mine\"]\n")), exe("x/bin/n", n))), "bin/n", true},
		{"mislabelled.zip", "", gz(t, whole), "usr/bin/nodeos", false},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			h := home(t)
			req := put(t, tc.name, tc.asset)
			req.Binary = tc.binary
			s, err := h.Stage(t.Context(), req, nil)
			if err != nil {
				t.Fatal(err, Hint(err))
			}
			if s.How != HowFile || s.SHA256 != req.SHA256 || s.By != "request" || s.Size != int64(len(tc.asset)) || s.Version != "v1.2.2" || s.Source != req.Source {
				t.Errorf("%+v", s)
			}
			v, err := h.Load("v1.2.2")
			if err != nil {
				t.Fatal(err)
			}
			if v.Binary != filepath.Join(v.Dir, tc.want) || tc.run != slices.Equal(v.Args, []string{"--mine"}) {
				t.Errorf("%+v", v)
			}
			noRest(t, h)
			again, err := h.Stage(t.Context(), req, nil)
			if err != nil || again.How != HowFolder || again.SHA256 != s.SHA256 || again.Version != s.Version || again.Size != s.Size {
				t.Errorf("again: %+v %v", again, err)
			}
			if err := h.Switch("v1.2.2"); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestRealDeb is a package that dpkg itself has made.
func TestRealDeb(t *testing.T) {
	if _, err := exec.LookPath("dpkg-deb"); err != nil {
		t.Skip("no dpkg-deb on this machine: TestKinds has packages of our own")
	}
	for _, z := range []string{"gzip", "xz", "zstd", "none"} {
		t.Run(z, func(t *testing.T) {
			tree := t.TempDir()
			write(t, filepath.Join(tree, "DEBIAN/control"), []byte("Package: nodeos\nVersion: 1.2.2\nArchitecture: all\nMaintainer: x <x@example.org>\nDescription: x\n"), 0o644)
			write(t, filepath.Join(tree, "usr/bin/nodeos"), nodeos("v1.2.2"), 0o755)
			if err := os.Symlink("nodeos", filepath.Join(tree, "usr/bin/eosio")); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(tree, 0o755); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(t.TempDir(), "nodeos.deb")
			if out, err := exec.CommandContext(t.Context(), "dpkg-deb", "-Z"+z, "--root-owner-group", "-b", tree, file).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			asset, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			h := home(t)
			if _, err := h.Stage(t.Context(), put(t, "x.deb", asset), nil); err != nil {
				t.Fatal(err)
			}
			if v, err := h.Load("v1.2.2"); err != nil || v.Binary != filepath.Join(v.Dir, "usr/bin/nodeos") {
				t.Errorf("%+v %v", v, err)
			}
		})
	}
}

// TestUnsafe: each archive is refused, nothing of it is kept, and nothing outside has changed.
func TestUnsafe(t *testing.T) {
	n := exe("nodeos", nodeos("v1.2.2"))
	mode := func(m int64, typ byte) tarEntry {
		return tarEntry{tar.Header{Name: "x", Mode: m, Typeflag: typ}, nil}
	}
	long := strings.Repeat("a", 256)
	archives := map[string][]byte{
		"zip slip":                     zipOf(t, zipEntry{"../../evil", 0, []byte("x")}),
		"zip slip, deep":               zipOf(t, zipEntry{"a/../../evil", 0, []byte("x")}),
		"zip, absolute":                zipOf(t, zipEntry{"/tmp/evil", 0, []byte("x")}),
		"zip, backslash":               zipOf(t, zipEntry{`..\evil`, 0, []byte("x")}),
		"zip, link out":                zipOf(t, zipEntry{"x", 0o777 | os.ModeSymlink, []byte("../../x")}),
		"zip, setuid":                  zipOf(t, zipEntry{"x", 0o755 | os.ModeSetuid, nil}),
		"zip, device":                  zipOf(t, zipEntry{"x", 0o644 | os.ModeDevice, nil}),
		"zip, twice":                   zipOf(t, zipEntry{"x", 0, nil}, zipEntry{"x", 0, nil}),
		"tar, up":                      tarOf(t, n, reg("../evil", []byte("x"))),
		"tar, up in the middle":        tarOf(t, n, reg("a/../../evil", []byte("x"))),
		"tar, inner up":                tarOf(t, n, reg("a/../b", nil)),
		"tar, absolute":                tarOf(t, n, reg("/evil", []byte("x"))),
		"tar, link out":                tarOf(t, n, sym("x", "../x")),
		"tar, link out, deep":          tarOf(t, n, sym("a/x", "../../x")),
		"tar, link absolute":           tarOf(t, n, sym("x", "/etc/passwd")),
		"tar, link down and up":        tarOf(t, n, dir("a/b"), sym("a/b/y", "../.."), sym("x", "a/b/y/../x")),
		"tar, link to nothing":         tarOf(t, n, tarEntry{tar.Header{Name: "x", Typeflag: tar.TypeSymlink}, nil}),
		"tar, file through a link":     tarOf(t, n, dir("a"), sym("x", "a"), reg("x/evil", []byte("x"))),
		"tar, file over a link":        tarOf(t, n, sym("x", "nodeos"), reg("x", []byte("x"))),
		"tar, link over a folder":      tarOf(t, n, reg("a/x", nil), sym("a", "nodeos")),
		"tar, file over a folder":      tarOf(t, n, reg("a/x", nil), reg("a", nil)),
		"tar, file below a file":       tarOf(t, n, reg("a", nil), reg("a/x", nil)),
		"tar, folder over a file":      tarOf(t, n, reg("a", nil), dir("a")),
		"tar, twice":                   tarOf(t, n, reg("x", nil), reg("./x", nil)),
		"tar, twice run.toml":          tarOf(t, n, reg("run.toml", nil), reg(".//run.toml", nil)),
		"tar, hard link out":           tarOf(t, n, hard("x", "../../x")),
		"tar, hard link absolute":      tarOf(t, n, hard("x", "/etc/passwd")),
		"tar, hard link to a link":     tarOf(t, n, sym("y", "nodeos"), hard("x", "y")),
		"tar, hard link to what comes": tarOf(t, hard("x", "nodeos"), n),
		"tar, setuid":                  tarOf(t, n, mode(0o4755, tar.TypeReg)),
		"tar, setgid folder":           tarOf(t, n, mode(0o2755, tar.TypeDir)),
		"tar, device":                  tarOf(t, n, mode(0o644, tar.TypeChar)),
		"tar, block device":            tarOf(t, n, mode(0o644, tar.TypeBlock)),
		"tar, fifo":                    tarOf(t, n, mode(0o644, tar.TypeFifo)),
		"tar, long name":               tarOf(t, n, reg(long, nil)),
		"tar, very long name":          tarOf(t, n, reg(strings.Repeat("a/", 600)+"x", nil)),
		"tar, a line end in a name":    tarOf(t, n, reg("a\nb", nil)),
		"tar, the root a file":         tarOf(t, n, sym("./", "x")),
		"deb, up":                      deb(".gz", gz(t, tarOf(t, n, reg("../evil", []byte("x"))))),
	}
	for name, asset := range archives {
		t.Run(name, func(t *testing.T) {
			h := home(t)
			before := names(t, h.dir)
			_, err := h.Stage(t.Context(), put(t, "asset", asset), nil)
			wantKind(t, err, ErrUnsafe, "nothing was unpacked")
			if after := names(t, h.dir); !slices.Equal(slices.DeleteFunc(after, func(s string) bool { return s == downloadsName }), before) {
				t.Errorf("%q", after)
			}
		})
	}
}

// TestBombs: bounded by what comes out, whatever the headers say.
func TestBombs(t *testing.T) {
	n := exe("nodeos", nodeos("v1.2.2"))
	zeros := make([]byte, 3<<20)
	cases := map[string]struct {
		asset  []byte
		limits limits
	}{
		"ratio":          {gz(t, tarOf(t, n, reg("zeros", zeros))), limits{asset: 1 << 30, unpacked: 1 << 30, ratio: 50, slack: 1 << 20, entries: 100}},
		"ratio of a zip": {zipOf(t, zipEntry{"zeros", 0, zeros}), limits{asset: 1 << 30, unpacked: 1 << 30, ratio: 50, slack: 1 << 20, entries: 100}},
		"ratio of zstd":  {zst(t, tarOf(t, n, reg("zeros", zeros))), limits{asset: 1 << 30, unpacked: 1 << 30, ratio: 50, slack: 1 << 20, entries: 100}},
		"size":           {tarOf(t, n, reg("zeros", zeros)), limits{asset: 1 << 30, unpacked: 2 << 20, ratio: 50, slack: 1 << 20, entries: 100}},
		"entries":        {tarOf(t, n, reg("a", nil), reg("b", nil), reg("c", nil)), limits{asset: 1 << 30, unpacked: 1 << 30, ratio: 50, slack: 1 << 20, entries: 3}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			h := home(t)
			h.limits = tc.limits
			_, err := h.Stage(t.Context(), put(t, "asset", tc.asset), nil)
			wantKind(t, err, ErrUnsafe)
			noRest(t, h)
		})
	}
	t.Run("asset", func(t *testing.T) {
		h := home(t)
		h.limits.asset = 1000
		_, err := h.Stage(t.Context(), put(t, "asset", nodeos("v1.2.2")), nil)
		wantKind(t, err, ErrSource, "more than a version may have")
		noRest(t, h)
	})
}

func TestBadArchives(t *testing.T) {
	n := exe("nodeos", nodeos("v1.2.2"))
	whole := tarOf(t, n)
	cases := map[string]struct {
		asset  []byte
		binary string
		kind   error
		parts  []string
	}{
		"a web page":             {[]byte("<!DOCTYPE html><p>not found</p>" + strings.Repeat(" ", 600)), "", ErrArchive, []string{".tar.gz"}},
		"empty":                  {nil, "", ErrArchive, nil},
		"an empty tar":           {tarOf(t), "", ErrArchive, []string{"empty"}},
		"cut off":                {gz(t, whole)[:len(gz(t, whole))-30], "", ErrArchive, []string{"damaged"}},
		"cut off xz":             {xzed(t, whole)[:40], "", ErrArchive, []string{"damaged"}},
		"cut off zst":            {zst(t, whole)[:20], "", ErrArchive, []string{"damaged"}},
		"cut off zip":            {zipOf(t, zipEntry{"nodeos", 0, nodeos("v1.2.2")})[:60], "", ErrArchive, []string{"damaged"}},
		"a gz that is no tar":    {gz(t, nodeos("v1.2.2")), "", ErrArchive, []string{"damaged"}},
		"a deb without data":     {deb("", nil)[:100], "", ErrArchive, []string{"data.tar"}},
		"a deb that is none":     {[]byte(arMagic + strings.Repeat("x", 80)), "", ErrArchive, []string{"told apart"}},
		"no nodeos":              {tarOf(t, exe("bin/cleos", nil)), "", ErrNoBinary, []string{"no nodeos", "bin/cleos"}},
		"no such path":           {whole, "bin/nodeos", ErrNoBinary, []string{"no bin/nodeos", "nodeos"}},
		"two":                    {tarOf(t, exe("a/nodeos", nil), exe("b/nodeos", nil)), "", ErrNoBinary, []string{"a/nodeos, b/nodeos", "by its path"}},
		"lies":                   {tarOf(t, exe("nodeos", nodeos("v1.2.1"))), "", ErrLies, []string{"v1.2.1", "v1.2.2"}},
		"cannot be run":          {tarOf(t, exe("nodeos", []byte("\x7fELF of a VAX"))), "", ErrBinary, []string{"exec format error", "linux/amd64"}},
		"its run.toml is broken": {tarOf(t, n, reg("run.toml", []byte("[x]\n"))), "", ErrRunFile, []string{"unknown key"}},
		"its run.toml is another's": {tarOf(t, n, reg("run.toml", []byte("name = \"v1\"\n[node]\nbinary = \"nodeos\"\n"))), "", ErrRunFile,
			[]string{`name = "v1"`}},
		"its run.toml leads out": {tarOf(t, n, reg("run.toml", []byte("[node]\nbinary = \"../genesis/run.toml\"\n"))), "", ErrRunFile, []string{"stays in"}},
		"its run.toml is a link": {tarOf(t, n, sym("run.toml", "nodeos")), "", ErrRunFile, []string{"run.toml:2"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			h := home(t)
			req := put(t, "asset", tc.asset)
			req.Binary = tc.binary
			_, err := h.Stage(t.Context(), req, nil)
			wantKind(t, err, tc.kind, tc.parts...)
			noRest(t, h)
			if _, err := h.Load("v1.2.2"); !errors.Is(err, ErrUnknown) {
				t.Errorf("it is there: %v", err)
			}
		})
	}
}

// TestBusyBinary: a fork elsewhere may hold a fresh binary open for a moment.
func TestBusyBinary(t *testing.T) {
	busy := 2
	h := home(t, func(c *Config) {
		c.Version = func(ctx context.Context, path string) (string, error) {
			if busy--; busy >= 0 {
				return "", fmt.Errorf("fork/exec: %w", unix.ETXTBSY)
			}
			return said(ctx, path)
		}
	})
	if _, err := h.Stage(t.Context(), put(t, "nodeos", nodeos("v1.2.2")), nil); err != nil {
		t.Fatal(err)
	}
}

// FuzzArchivePath: whatever names, link targets and kinds an archive has, nothing outside of its folder is made or
// changed, and what the look-through accepted unpacks.
func FuzzArchivePath(f *testing.F) {
	f.Add("a", "b/c", "d", "../a", byte('2'), byte('0'))
	f.Add("../x", "/x", "a/../../x", "", byte('0'), byte('0'))
	f.Add("a/b/y", "x", "../..", "a/b/y/..", byte('2'), byte('2'))
	f.Add("l", "l/x", ".", "", byte('2'), byte('0'))
	f.Add("a//b", "./a/b", "", "", byte('5'), byte('5'))
	f.Add("a", "b", "", "a", byte('0'), byte('1'))
	f.Add("a\x00b", "a\\b", "x\x00", "..", byte('2'), byte('2'))
	outer := f.TempDir()
	canary := filepath.Join(outer, "canary")
	write(f, canary, []byte("alive"), 0o644)
	f.Fuzz(func(t *testing.T, name1, name2, link1, link2 string, kind1, kind2 byte) {
		inner := filepath.Join(outer, "in", "inner")
		if err := os.MkdirAll(inner, 0o755); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = os.RemoveAll(filepath.Join(outer, "in")) }()
		kind := func(b byte, name, link string) entry {
			e := entry{name: name, mode: 0o644, body: strings.NewReader("evil")}
			switch b {
			case '1':
				e.hard, e.link = true, link
			case '2':
				e.mode, e.link = os.ModeSymlink|0o777, link
			case '5':
				e.mode = os.ModeDir | 0o755
			}
			return e
		}
		all := func(tr *tree) error {
			for _, e := range []entry{kind(kind1, name1, link1), kind(kind2, name2, link2), kind('0', name2+"/deeper", ""), kind('0', name1+"/deeper", "")} {
				if err := tr.visit(e); err != nil {
					return err
				}
			}
			return tr.finish()
		}
		nothing := func(int64) {}
		look := newTree(t.Context(), standard, 1000, nil, func(string) {}, nothing)
		accepted := all(look)
		if accepted != nil {
			wantKind(t, accepted, ErrUnsafe)
		}
		root, err := os.OpenRoot(inner)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = root.Close() }()
		if err := all(newTree(t.Context(), standard, 1000, root, func(string) {}, nothing)); (err == nil) != (accepted == nil) {
			t.Fatalf("looked through: %v, unpacked: %v", accepted, err)
		}
		if b, err := os.ReadFile(canary); err != nil || string(b) != "alive" {
			t.Fatalf("the canary: %q %v", b, err)
		}
		for _, d := range []string{outer, filepath.Dir(inner)} {
			entries, err := os.ReadDir(d)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				if n := e.Name(); n != "canary" && n != "in" && n != "inner" {
					t.Fatalf("%s is outside", n)
				}
			}
		}
		// no link in it leads out, however it is followed
		real, err := filepath.EvalSymlinks(inner)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range names(t, inner) {
			if to, err := filepath.EvalSymlinks(filepath.Join(inner, n)); err == nil && to != real && !strings.HasPrefix(to, real+"/") {
				t.Fatalf("%s leads to %s", n, to)
			}
		}
	})
}

// FuzzArchive: no bytes make the readers panic, or give an error without a hint.
func FuzzArchive(f *testing.F) {
	whole := tarOf(f, exe("nodeos", nodeos("v1.2.2")), sym("x", "nodeos"))
	for _, b := range [][]byte{whole, gz(f, whole), zst(f, whole), xzed(f, whole), deb(".gz", gz(f, whole)), zipOf(f, zipEntry{"nodeos", 0, nil}), nodeos("v1"), nil} {
		f.Add(b)
	}
	path := filepath.Join(f.TempDir(), "asset")
	f.Fuzz(func(t *testing.T, b []byte) {
		write(t, path, b, 0o644)
		file, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		small := limits{unpacked: 1 << 20, ratio: 100, slack: 1 << 20, entries: 100}
		tr := newTree(t.Context(), small, int64(len(b)), nil, func(string) {}, func(int64) {})
		if err := walk(file, int64(len(b)), "nodeos", tr.visit); err != nil && Hint(err) == "" {
			t.Fatalf("no hint: %v", err)
		}
		if tr.total > small.unpacked+128<<10 {
			t.Fatalf("%d bytes", tr.total)
		}
	})
}

// FuzzChecksums: a checksum file gives a SHA-256 or nothing.
func FuzzChecksums(f *testing.F) {
	sum := strings.Repeat("ab", 32)
	f.Add(sum+"  nodeos.deb\n", "nodeos.deb")
	f.Add("SHA256 (nodeos.deb) = "+sum, "nodeos.deb")
	f.Add(sum, "x")
	f.Fuzz(func(t *testing.T, text, name string) {
		if got := findSum(text, name); got != "" && (!sumRE.MatchString(got) || !strings.Contains(strings.ToLower(text), got)) {
			t.Fatalf("%q", got)
		}
	})
}

package backup

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// TestLaw: segments follow one another without a gap, whatever the size, and index is the opposite of at.
func TestLaw(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := law(rapid.IntRange(minShift, maxShift).Draw(t, "shift"))
		size := rapid.OneOf(rapid.Int64Range(1, 1<<22), rapid.Int64Range(1, maxSize)).Draw(t, "size")
		n := l.count(size)
		i := rapid.Int64Range(0, n-1).Draw(t, "segment")
		off, length := l.span(i, size)
		if length <= 0 || length > max(maxSegment, int64(1)<<l) || off+length > size || l.index(off) != i || l.index(off+length-1) != i {
			t.Fatalf("segment %d of %d: %d bytes at %d", i, n, length, off)
		}
		if next, _ := l.at(i + 1); i+1 < n && next != off+length || i+1 == n && off+length != size {
			t.Fatalf("segment %d of %d ends at %d", i, n, off+length)
		}
		if whole := l.whole(size); whole != n && whole != n-1 {
			t.Fatalf("%d of %d are whole", whole, n)
		} else if end, _ := l.at(whole); end > size {
			t.Fatalf("%d whole ones end at %d", whole, end)
		}
	})
	if l := law(shiftState); l.count(64<<30) > 700000 { // what a table of a large state takes
		t.Errorf("%d", l.count(64<<30))
	}
}

// TestLayout compares with a look at each segment.
func TestLayout(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		const l, unit = law(14), 4096
		size := rapid.Int64Range(1, 40<<14).Draw(rt, "size")
		f, err := os.CreateTemp(dir, "")
		if err != nil {
			rt.Fatal(err)
		}
		defer f.Close()
		if err := f.Truncate(size); err != nil {
			rt.Fatal(err)
		}
		full := make([]bool, (size+unit-1)/unit)
		for range rapid.IntRange(0, 8).Draw(rt, "pieces") {
			at := rapid.IntRange(0, len(full)-1).Draw(rt, "at")
			for i := at; i < min(len(full), at+rapid.IntRange(1, 20).Draw(rt, "pages")); i++ {
				full[i] = true
				if _, err := f.WriteAt([]byte{1}, min(int64(i)*unit, size-1)); err != nil {
					rt.Fatal(err)
				}
			}
		}
		if d, err := f.Seek(0, unix.SEEK_DATA); err == nil && d != int64(slices.Index(full, true))*unit {
			t.Skip("this file system has no holes, or larger ones")
		}
		n := l.count(size)
		from := rapid.Int64Range(0, n-1).Draw(rt, "from")
		to := rapid.Int64Range(from, n).Draw(rt, "to")
		var got []part
		next := from
		if err := layout(f, l, from, to, size, func(p part, first, n int64) error {
			if first != next || n <= 0 {
				rt.Fatalf("%d segments from %d, after %d", n, first, next)
			}
			next += n
			got = append(got, slices.Repeat([]part{p}, int(n))...)
			return nil
		}); err != nil {
			rt.Fatal(err)
		}
		for i := from; i < to; i++ {
			off, length := l.span(i, size)
			pages := full[off/unit : (off+length+unit-1)/unit]
			want := mixed
			if !slices.Contains(pages, true) {
				want = holes
			} else if !slices.Contains(pages, false) {
				want = data
			}
			if i-from >= int64(len(got)) || got[i-from] != want {
				rt.Fatalf("segment %d of %d..%d: %v, want %v", i, from, to, got, want)
			}
		}
	})
}

// sample is a manifest that is good.
func sample() *manifest {
	return &manifest{
		Version: 1, Repository: strings.Repeat("ab", 16), ID: "one", Meta: Meta{Kind: "data"}, Size: 3 << 20, Data: 3 << 20, Entries: 4,
		Files: []file{
			{Path: "blocks", Dir: true, Mode: 0o755},
			{Path: "blocks/blocks.log", Mode: 0o644, Size: 3 << 20, Shift: 20},
			{Path: "empty", Mode: 0o644, Shift: 20, First: 3},
			{Path: "small", Mode: 0o600, Size: 3, Shift: 14, First: 3},
		},
		Packs:  []packRef{{Of: "one", Number: 1, Size: 100}, {Of: "zero", Number: 3, Size: 7}},
		Tables: []packRef{{Of: "one", Number: 1, Size: 100}},
	}
}

// TestManifestsThatLie are refused: anybody may have written them who can write into the store.
func TestManifestsThatLie(t *testing.T) {
	good, err := sample().encode()
	if err != nil {
		t.Fatal(err)
	}
	m, err := parseManifest(good)
	if err != nil || !reflect.DeepEqual(m, sample()) {
		t.Fatalf("%+v %v", m, err)
	}
	for name, lie := range map[string]func(m *manifest){
		"up":               func(m *manifest) { m.Files[3].Path = "../small" },
		"up inside":        func(m *manifest) { m.Files[3].Path = "small/../../x" },
		"absolute":         func(m *manifest) { m.Files[3].Path = "/small" },
		"dot":              func(m *manifest) { m.Files[0].Path = "." },
		"no path":          func(m *manifest) { m.Files[0].Path = "" },
		"backslash":        func(m *manifest) { m.Files[3].Path = `small\x` },
		"zero byte":        func(m *manifest) { m.Files[3].Path = "small\x00" },
		"not UTF-8":        func(m *manifest) { m.Files[3].Path = "small\xff/x" },
		"finalizers":       func(m *manifest) { m.Files[0].Path, m.Files[1].Path = "finalizers", "finalizers/safety" },
		"safety.dat":       func(m *manifest) { m.Files[1].Path = "blocks/safety.dat" },
		"twice":            func(m *manifest) { m.Files[3].Path = "empty" },
		"order":            func(m *manifest) { m.Files[3].Path = "a" },
		"no folder":        func(m *manifest) { m.Files[3].Path = "x/small" },
		"below a file":     func(m *manifest) { m.Files[3].Path = "empty/small" },
		"setuid":           func(m *manifest) { m.Files[3].Mode = 0o4755 },
		"device":           func(m *manifest) { m.Files[3].Mode = 1 << 26 },
		"size":             func(m *manifest) { m.Files[3].Size = -1 },
		"huge":             func(m *manifest) { m.Files[3].Size = 1 << 62 },
		"more segments":    func(m *manifest) { m.Files[3].Size = 1 << 20 },
		"fewer segments":   func(m *manifest) { m.Files[1].Size = 1 << 20 },
		"first":            func(m *manifest) { m.Files[3].First = 2 },
		"shift":            func(m *manifest) { m.Files[3].Shift = 40 },
		"no shift":         func(m *manifest) { m.Files[3].Shift = 0 },
		"folder with size": func(m *manifest) { m.Files[0].Size = 1 },
		"entries":          func(m *manifest) { m.Entries = 1 << 40 },
		"minus entries":    func(m *manifest) { m.Entries = -1 },
		"tables":           func(m *manifest) { m.Tables = nil },
		"pack of":          func(m *manifest) { m.Packs[0].Of = "../x" },
		"pack size":        func(m *manifest) { m.Packs[0].Size = 1 << 50 },
		"table of":         func(m *manifest) { m.Tables[0].Of = "" },
		"id":               func(m *manifest) { m.ID = "a/b" },
		"version":          func(m *manifest) { m.Version = 0 },
	} {
		m := sample()
		lie(m)
		body, err := m.encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseManifest(body); err == nil {
			t.Errorf("%s: it is believed", name)
		}
	}
	newer := sample()
	newer.Version = 2
	body, err := newer.encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parseManifest(body); !errors.Is(err, ErrNewer) {
		t.Error(err)
	}
}

// TestRestoreStaysInside: what lies in the folder already, links above all, leads nowhere.
func TestRestoreStaysInside(t *testing.T) {
	for _, at := range []string{"blocks", "blocks/blocks.log", "small"} {
		dir, far := t.TempDir(), t.TempDir()
		if at == "blocks/blocks.log" {
			if err := os.Mkdir(filepath.Join(dir, "blocks"), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		to := far
		if at != "blocks" {
			to = filepath.Join(far, "file")
			if err := os.WriteFile(to, []byte("old"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Symlink(to, filepath.Join(dir, at)); err != nil {
			t.Fatal(err)
		}
		root, err := os.OpenRoot(dir)
		if err != nil {
			t.Fatal(err)
		}
		s := &restorer{m: sample(), root: root, again: true}
		if err := s.layOut(t.Context()); !errors.Is(err, ErrFolder) {
			t.Errorf("%s: %v", at, err)
		}
		_ = root.Close()
		names, err := os.ReadDir(far)
		if content, _ := os.ReadFile(filepath.Join(far, "file")); err != nil || at == "blocks" && len(names) > 0 || at != "blocks" && string(content) != "old" {
			t.Errorf("%s: %v %q %v", at, names, content, err)
		}
	}
}

func TestNames(t *testing.T) {
	for name, want := range map[string]bool{
		"packs/one/00000001": true, "tables/a.b-C_9/00000000": true, "packs/one/123456789": true, "packs/one/1": false, "packs/one/000000001": false,
		"packs//00000001": false, "packs/00000001": false, "packs/one/two/00000001": false, "other/one/00000001": false, "packs/.one/00000001": false,
		"packs/one/-0000001": false, "packs/one/99999999999": false,
	} {
		if _, _, _, ok := numberOf(name); ok != want {
			t.Errorf("%s: %v", name, ok)
		}
	}
}

func TestClasses(t *testing.T) {
	for p, want := range map[string]class{
		"blocks/blocks.log": grows, "blocks/blocks.index": grows, "blocks/reversible/fork_db.dat": plain, "blocks/retained/blocks-1-500.log": archive,
		"state/shared_memory.bin": state, "state/chain_head.dat": state, "shared_memory.bin": state, "elsewhere/code_cache.bin": plain,
		"state-history/trace_history.log": grows, "history/chain_state_history.index": grows, "state-history/retained/trace_history-1-2.log": archive,
		"snapshots/snapshot-0a.bin": plain, "nodeos.log": plain, "config/config.ini": plain,
	} {
		if got := classOf(p); got != want {
			t.Errorf("%s: %v", p, got)
		}
	}
}

func FuzzManifest(f *testing.F) {
	good, err := sample().encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good, false)
	plain, err := json.Marshal(sample())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(plain, true)
	f.Fuzz(func(t *testing.T, b []byte, inner bool) {
		if inner { // behind sum and compression, where a fuzzer does not come by itself
			e := newEncoder()
			defer func() { _ = e.Close() }()
			compressed := e.EncodeAll(b, nil)
			s := sumOf(compressed)
			b = slices.Concat([]byte(manifestMagic), s[:], compressed)
		}
		m, err := parseManifest(b)
		if err != nil {
			return
		}
		body, err := m.encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := parseManifest(body)
		if err != nil {
			t.Fatalf("%v: %+v", err, m)
		}
		a, err1 := json.Marshal(m)
		z, err2 := json.Marshal(again)
		if err1 != nil || err2 != nil || !bytes.Equal(a, z) {
			t.Fatalf("%s\n%s", a, z)
		}
		_ = m.info()
	})
}

func FuzzPack(f *testing.F) {
	var p pack
	p.reset()
	p.add(sum{1}, []byte("stored"), 10)
	p.add(sum{2}, []byte("raw"), 3)
	f.Add(p.finish())
	f.Fuzz(func(t *testing.T, b []byte) {
		directory, err := parsePack(b)
		if err != nil {
			return
		}
		for _, e := range directory {
			if int(e.off)+int(e.len) > len(b) || e.len == 0 || e.len > e.pack {
				t.Fatalf("%+v", e)
			}
		}
	})
}

func FuzzTable(f *testing.F) {
	e := newEncoder()
	defer func() { _ = e.Close() }()
	f.Add(e.EncodeAll(entry{sum: sum{1}, len: 2}.append(entry{}.append(nil)), nil), uint16(2))
	f.Fuzz(func(t *testing.T, b []byte, n uint16) {
		entries, err := parseTable(b, int64(n))
		if err == nil && len(entries) != int(n) {
			t.Fatal(len(entries))
		}
		for _, e := range entries {
			_ = e.check(1<<20, 10)
		}
	})
}

func FuzzFormat(f *testing.F) {
	f.Add(format{version: 1, id: strings.Repeat("0f", 16)}.encode())
	f.Add(format{version: 1, id: strings.Repeat("0f", 16), check: []byte("age")}.encode())
	f.Add(format{version: 2, id: "x"}.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, err := parseFormat(b); err == nil && !bytes.Equal(got.encode(), b) {
			t.Fatalf("%q", b)
		}
	})
}

func FuzzJournal(f *testing.F) {
	one := encodeRecord(packRef{Number: 1, Size: 100, Sum: sum{9}}, []entry{{sum: sum{1}, pack: 10, off: 8, len: 6}})
	two := encodeRecord(packRef{Number: 2, Size: 1 << 40}, nil)
	f.Add(slices.Concat(one, two))
	f.Add(slices.Concat(one, two[:len(two)-1]))
	f.Fuzz(func(t *testing.T, b []byte) {
		known, good := parseJournal(b)
		if good > len(b) {
			t.Fatal(good)
		}
		again, all := parseJournal(b[:good])
		if all != good || !reflect.DeepEqual(known, again) {
			t.Fatal("what is good of it is read otherwise alone")
		}
	})
}

// TestJournal survives that it is cut off anywhere.
func TestJournal(t *testing.T) {
	one := encodeRecord(packRef{Number: 1, Size: 100, Sum: sum{9}}, []entry{{sum: sum{1}, pack: 10, off: 8, len: 6}})
	two := encodeRecord(packRef{Number: 2, Size: 1 << 40}, nil)
	all := slices.Concat(one, two)
	for n := range len(all) + 1 {
		known, good := parseJournal(all[:n])
		want := 0
		if n >= len(one) {
			want++
		}
		if n == len(all) {
			want++
		}
		if len(known) != want || good > n {
			t.Errorf("%d bytes: %v", n, known)
		}
		if want > 0 && (known[1].size != 100 || known[1].sum != sum{9} || known[1].directory[0].off != 8) {
			t.Errorf("%+v", known[1])
		}
	}
}

// FuzzSegment takes a segment out of a pack that lies.
func FuzzSegment(f *testing.F) {
	e := newEncoder()
	defer func() { _ = e.Close() }()
	body := e.EncodeAll(make([]byte, 100000), nil)
	f.Add(body, uint32(0), uint32(len(body)), int64(100000))
	f.Fuzz(func(t *testing.T, body []byte, off, n uint32, size int64) {
		h := &checker{decoder: newDecoder(maxSegment)}
		defer h.decoder.Close()
		size = min(max(size, 1), maxSegment)
		if segment, err := h.segment(body, entry{off: off, len: n, sum: sum{1}}, size); err == nil {
			t.Fatalf("%d bytes", len(segment))
		}
	})
}

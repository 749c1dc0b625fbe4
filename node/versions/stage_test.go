package versions

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// TestFolder: a folder that is there is taken, if it is what it says.
func TestFolder(t *testing.T) {
	h := home(t)
	version(t, h, "v1.2.2")
	for range 2 {
		s, err := h.Stage(t.Context(), Request{Tag: "v1.2.2", Source: "https://nobody.invalid/x", SHA256: sumOf(nil)}, nil)
		if err != nil || s != (Staged{Tag: "v1.2.2", Version: "v1.2.2", How: HowFolder, Unchecked: true}) {
			t.Errorf("%+v %v", s, err)
		}
	}
	if s, err := h.Stage(t.Context(), Request{Tag: Genesis}, nil); err != nil || s != (Staged{Tag: Genesis, How: HowFolder}) {
		t.Errorf("%+v %v", s, err)
	}
	write(t, filepath.Join(h.folder("v1.2.2"), "nodeos"), nodeos("v1.2.1"), 0o755)
	_, err := h.Stage(t.Context(), Request{Tag: "v1.2.2"}, nil)
	wantKind(t, err, ErrLies, "v1.2.1")
	write(t, filepath.Join(h.folder("v1.2.2"), "nodeos"), []byte("junk"), 0o755)
	_, err = h.Stage(t.Context(), Request{Tag: "v1.2.2"}, nil)
	wantKind(t, err, ErrBinary, "--version")
	write(t, filepath.Join(h.folder("v1.2.2"), "nodeos"), nodeos("v1.2.2"), 0o644)
	_, err = h.Stage(t.Context(), Request{Tag: "v1.2.2"}, nil)
	wantKind(t, err, ErrRunFile, "cannot be executed", "chmod +x")
	if _, err := os.Stat(h.folder("v1.2.2")); err != nil {
		t.Error("an operator's folder was removed")
	}
	write(t, filepath.Join(h.folder(Genesis), runName), []byte("[node]\nbinary = \"nodeos\"\n"), 0o644)
	write(t, filepath.Join(h.folder(Genesis), "nodeos"), nodeos("v0.9.9"), 0o755)
	if s, err := h.Stage(t.Context(), Request{Tag: Genesis}, nil); err != nil || s.Version != "v0.9.9" {
		t.Errorf("genesis is whatever it is: %+v %v", s, err)
	}
}

// TestFolderOfAnotherAsset: what was staged is remembered, and is not passed off as something else.
func TestFolderOfAnotherAsset(t *testing.T) {
	h := home(t)
	req := put(t, "nodeos", nodeos("v1.2.2"))
	if _, err := h.Stage(t.Context(), req, nil); err != nil {
		t.Fatal(err)
	}
	req.SHA256 = sumOf([]byte("another"))
	_, err := h.Stage(t.Context(), req, nil)
	wantKind(t, err, ErrChecksum, "is there, from an asset with", "rm -r "+h.folder("v1.2.2"))
	if err := h.Remove("v1.2.2"); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(h.folder("v1.2.2"), stagedName), []byte("{"), 0o600)
	write(t, filepath.Join(h.folder("v1.2.2"), "nodeos"), nodeos("v1.2.2"), 0o755)
	write(t, filepath.Join(h.folder("v1.2.2"), runName), []byte("[node]\nbinary = \"nodeos\"\n"), 0o644)
	_, err = h.Stage(t.Context(), req, nil)
	wantKind(t, err, ErrHome, stagedName)
}

// TestAssetThatWasReplaced: the folder of a tag stays what it is when the source has another asset of that tag. Who asks the source
// first, and then for what it said, gets that or nothing.
func TestAssetThatWasReplaced(t *testing.T) {
	beside := func(req Request) Request {
		write(t, strings.TrimPrefix(req.Source, "file://")+".sha256", []byte(req.SHA256+"\n"), 0o644)
		req.SHA256 = ""
		return req
	}
	h, fresh := home(t), home(t)
	first, err := h.Stage(t.Context(), beside(put(t, "nodeos", nodeos("v1.2.2"))), nil)
	if err != nil {
		t.Fatal(err)
	}
	replaced := beside(put(t, "nodeos", append(nodeos("v1.2.2"), "other"...)))
	asset, err := h.Resolve(t.Context(), replaced)
	if err != nil || asset.SHA256 == first.SHA256 {
		t.Fatalf("%+v %v", asset, err)
	}
	if o, err := h.Origin("v1.2.2"); err != nil || o.SHA256 != first.SHA256 || o.Tag != "v1.2.2" {
		t.Errorf("%+v %v", o, err)
	}
	replaced.SHA256 = asset.SHA256
	_, err = h.Stage(t.Context(), replaced, nil)
	wantKind(t, err, ErrChecksum, "from an asset with SHA-256 "+first.SHA256, "rm -r")
	if s, err := fresh.Stage(t.Context(), replaced, nil); err != nil || s.SHA256 != asset.SHA256 || s.Unchecked {
		t.Errorf("%+v %v", s, err)
	}
}

// TestChecksumOfAFolder: there is nothing to compare it with, and the result says so.
func TestChecksumOfAFolder(t *testing.T) {
	h := home(t)
	version(t, h, "v1.2.2")
	for sum, unchecked := range map[string]bool{"": false, sumOf(nil): true} {
		if s, err := h.Stage(t.Context(), Request{Tag: "v1.2.2", SHA256: sum}, nil); err != nil || s.Unchecked != unchecked || s.SHA256 != "" {
			t.Errorf("%q: %+v %v", sum, s, err)
		}
	}
	if o, err := h.Origin("v1.2.2"); err != nil || o != (Staged{Tag: "v1.2.2", How: HowFolder}) {
		t.Errorf("%+v %v", o, err)
	}
	_, err := h.Origin("v9")
	wantKind(t, err, ErrUnknown)
}

// TestTogether: of many that stage one tag at once, one fetches; another tag does not wait for them.
func TestTogether(t *testing.T) {
	body := random("v1.2.2", 1<<20)
	s := serve(t, false)
	s.add(assetPath, body)
	dir := t.TempDir()
	var fetched atomic.Int32
	var group sync.WaitGroup
	for range 6 {
		h := bareHome(t, dir) // as if in other processes
		group.Go(func() {
			if err := h.Ensure(); err != nil {
				t.Error(err)
			}
			got, err := h.Stage(context.Background(), Request{Tag: "v1.2.2", Source: source(s), SHA256: sumOf(body)}, nil)
			if err != nil {
				t.Error(err)
			}
			if got.How == HowURL {
				fetched.Add(1)
			}
			if err := h.Switch("v1.2.2"); err != nil {
				t.Error(err)
			}
			if v, err := h.Current(); err != nil || v.Tag != "v1.2.2" {
				t.Errorf("%+v %v", v, err)
			}
		})
	}
	group.Wait()
	if fetched.Load() != 1 || s.count(assetPath) != 1 {
		t.Errorf("%d fetched, %d asked", fetched.Load(), s.count(assetPath))
	}
	noRest(t, bareHome(t, dir))
}

// TestEnsureDuringStage: a manager that starts, or another command, takes nothing away from a living one.
func TestEnsureDuringStage(t *testing.T) {
	h := home(t)
	ensured := false
	h.step = func(op string) {
		if op == "unpack a file" {
			ensured = true
			if err := bareHome(t, h.dir).Ensure(); err != nil {
				t.Error(err)
			}
		}
	}
	if _, err := h.Stage(t.Context(), put(t, "nodeos", nodeos("v1.2.2")), nil); err != nil || !ensured {
		t.Fatal(err, ensured)
	}
}

// TestNoSpace is asked before the download, and again when it is known what unpacks.
func TestNoSpace(t *testing.T) {
	body := random("v1.2.2", 1<<20)
	s := serve(t, false)
	s.add(assetPath, body)
	stage := func(free ...uint64) (*Home, error) {
		h := home(t, func(c *Config) {
			c.Free = func(string) (uint64, error) {
				f := free[0]
				if len(free) > 1 {
					free = free[1:]
				}
				return f, nil
			}
		})
		_, err := h.Stage(t.Context(), Request{Tag: "v1.2.2", Source: source(s), SHA256: sumOf(body)}, nil)
		return h, err
	}
	enough := uint64(reserve + (1<<20)*32/10)
	h, err := stage(enough - 1)
	wantKind(t, err, ErrNoSpace, "fetching", "MiB", "free some room")
	wantClean(t, h)
	h, err = stage(enough, reserve+(1<<20)-1)
	wantKind(t, err, ErrNoSpace, "unpacking", "needs 65.0 MiB")
	wantClean(t, h)
	if _, err = stage(enough, reserve+(1<<20)); err != nil {
		t.Error(err)
	}
	h = home(t, func(c *Config) { c.Free = func(string) (uint64, error) { return 0, unix.EIO } })
	_, err = h.Stage(t.Context(), Request{Tag: "v1.2.2", Source: source(s), SHA256: sumOf(body)}, nil)
	wantKind(t, err, ErrHome)
}

// TestFullDisk fills a real file system: what was not foreseen is said as clearly, and what was there is whole.
func TestFullDisk(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting a tmpfs takes root; TestNoSpace has a stand-in")
	}
	mount := t.TempDir()
	if err := unix.Mount("tmpfs", mount, "tmpfs", 0, "size=2m,mode=700"); err != nil {
		t.Skipf("no tmpfs can be mounted here: %v; TestNoSpace has a stand-in", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(mount, unix.MNT_DETACH) })
	real, err := Open(Config{Dir: mount, Version: said})
	if err != nil {
		t.Fatal(err)
	}
	if err := real.Ensure(); err != nil {
		t.Fatal(err)
	}
	s := serve(t, false)
	small := random("v1.2.2", 1<<10)
	s.add(assetPath, small)
	req := Request{Tag: "v1.2.2", Source: source(s), SHA256: sumOf(small)}
	_, err = real.Stage(t.Context(), req, nil)
	wantKind(t, err, ErrNoSpace, "needs 64.0 MiB", "2.0 MiB are free") // the reserve
	h := bareHome(t, mount)                                            // believes that there is room
	for name, asset := range map[string][]byte{
		"download": random("v1.2.2", 3<<20),
		"unpack":   gz(t, tarOf(t, exe("nodeos", nodeos("v1.2.2")), reg("zeros", make([]byte, 3<<20)))),
	} {
		s.add(assetPath, asset)
		req.SHA256 = sumOf(asset)
		_, err := h.Stage(t.Context(), req, nil)
		wantKind(t, err, ErrNoSpace, "no room")
		if !errors.Is(err, unix.ENOSPC) {
			t.Errorf("%s: %v", name, err)
		}
		wantClean(t, h)
		if v, err := h.Current(); err != nil || v.Tag != Genesis {
			t.Errorf("%s: %+v %v", name, v, err)
		}
	}
	s.add(assetPath, small)
	req.SHA256 = sumOf(small)
	if _, err := h.Stage(t.Context(), req, nil); err != nil {
		t.Error(err)
	}
	// without a free byte, a switch still works or changes nothing
	filler, err := os.Create(filepath.Join(mount, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	defer filler.Close()
	for err == nil {
		_, err = filler.Write(make([]byte, 4096))
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	want := "v1.2.2"
	if err := h.Switch(want); err != nil {
		wantKind(t, err, ErrNoSpace)
		want = Genesis
	}
	if v, err := h.Current(); err != nil || v.Tag != want {
		t.Errorf("%+v %v", v, err)
	}
}

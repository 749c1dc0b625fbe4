package manager

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"roundtable/cmd/roundtable/config"
	"roundtable/fsm"
	"roundtable/node"
)

// beside is a rig with an empty home and the repository and the genesis of another one.
func (r *rig) beside(t *testing.T) *rig {
	t.Helper()
	next := newRig(t)
	next.cfg.Backup = r.cfg.Backup
	next.cfg.Node.Args = r.cfg.Node.Args
	next.cfg.Signer.KeyFile = r.cfg.Signer.KeyFile
	return next
}

// begins opens and runs a rig and waits until its node is up.
func (r *rig) begins() node.Info {
	r.t.Helper()
	if err := r.open(); err != nil {
		r.t.Fatal(err)
	}
	r.run()
	r.until("up", func() bool { return r.supervisor.Status().State == node.StateRunning })
	return r.head(0)
}

// TestBootstrap begins nodes with all that a configuration may say.
func TestBootstrap(t *testing.T) {
	if testing.Short() {
		t.Skip("builds simnodeos")
	}
	t.Parallel()
	first := producing(t)
	first.head(8)
	data := first.backUp(task(1, fsm.KindBackup, fsm.CopiesData, dataID))
	first.produce()
	first.head(data.Head + 3)
	shot := first.backUp(task(2, fsm.KindBackup, fsm.CopiesSnapshot, shotID))
	first.produce()
	first.head(shot.Head)
	first.end()
	archive := packed(t, first.cfg.Node.DataDir)
	sum := sha256.Sum256(archive)
	broken := atomic.Bool{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if broken.Load() {
			http.Error(w, "no", http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write(archive)
	}))
	t.Cleanup(server.Close)

	t.Run("a named backup, once", func(t *testing.T) {
		r := first.beside(t)
		r.cfg.Bootstrap = config.Bootstrap{Backup: dataID, Genesis: "/nowhere"}
		if got := r.begins(); got.HeadNum < data.Head || got.ChainID != data.ChainID {
			t.Errorf("%+v, backed up %+v", got, data)
		}
		r.produce()
		at := r.head(data.Head + 5).HeadNum
		r.end()
		if got := r.begins(); got.HeadNum < at {
			t.Errorf("it began anew: #%d, it was #%d", got.HeadNum, at)
		}
		r.end()
		// Another name is another one, and what is there is moved aside.
		r.cfg.Bootstrap = config.Bootstrap{Snapshot: shotID}
		if got := r.begins(); got.HeadNum < shot.Head || got.HeadNum >= at {
			t.Errorf("#%d, the chain snapshot is of #%d", got.HeadNum, shot.Head)
		}
		for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			if _, ok := r.vault.unsettled(); !ok {
				break
			} else if time.Now().After(deadline) {
				t.Fatal("it is not settled")
			}
		}
		if aside, _ := filepath.Glob(r.vault.data(asideFolder, "*", "blocks", "blocks.log")); len(aside) != 1 {
			t.Errorf("aside: %q", aside)
		}
	})
	t.Run("a named file", func(t *testing.T) {
		r := first.beside(t)
		file := filepath.Join(t.TempDir(), "snap.bin")
		r.cfg.Bootstrap = config.Bootstrap{Snapshot: file}
		if err := r.open(); err != nil {
			t.Fatal(err)
		}
		r.run()
		r.ringsOf("there is no file")
		if err := r.supervisor.Start(t.Context()); err == nil || r.supervisor.Status().LastExit.Cause != node.CauseCannotStart || !strings.Contains(err.Error(), "there is no file") {
			t.Errorf("a node is started with something else: %v", err)
		}
		r.end()
		r.cfg.Bootstrap = config.Bootstrap{Genesis: filepath.Join(first.cfg.Manager.Home, "genesis.json")}
		r.cfg.Node.Args = withoutGenesis(r.cfg.Node.Args)
		if got := r.begins(); got.ChainID != data.ChainID {
			t.Errorf("%+v", got)
		}
	})
	t.Run("the latest", func(t *testing.T) {
		r := first.beside(t)
		r.cfg.Bootstrap = config.Bootstrap{Latest: true, Archive: "/nowhere"}
		if err := r.open(); err != nil {
			t.Fatal(err)
		}
		r.run()
		r.ringsOf("not known yet")
		var view stateView = newStillView(data.ChainID)
		r.home.cluster.Store(&view)
		r.until("up", func() bool { return r.supervisor.Status().State == node.StateRunning })
		if got := r.head(0); got.HeadNum < shot.Head || got.HeadNum > shot.Head+100 {
			t.Errorf("%+v, the chain snapshot is of #%d", got, shot.Head)
		}
	})
	t.Run("an archive", func(t *testing.T) {
		r := first.beside(t)
		broken.Store(true)
		r.cfg.Bootstrap = config.Bootstrap{Archive: strings.Replace(server.URL, "http://", "http://u:secret@", 1), SHA256: strings.Repeat("0", 64)}
		if err := r.open(); err != nil {
			t.Fatal(err)
		}
		r.run()
		r.ringsOf("503")
		broken.Store(false)
		r.ringsOf("SHA-256 is " + hex.EncodeToString(sum[:]))
		next := *r.cfg
		next.Bootstrap.SHA256 = hex.EncodeToString(sum[:])
		r.home.configure(&next)
		r.until("up", func() bool { return r.supervisor.Status().State == node.StateRunning })
		if got := r.head(0); got.HeadNum < shot.Head || got.ChainID != data.ChainID {
			t.Errorf("%+v", got)
		}
		if strings.Contains(r.said()+strings.Join(r.rang(), ""), "secret") {
			t.Error("a password is shown")
		}
		if _, err := os.Stat(r.vault.data("finalizers", "safety.dat")); err == nil {
			t.Error("finalizers came with it")
		}
	})
	t.Run("a script", func(t *testing.T) {
		r := first.beside(t)
		r.cfg.Bootstrap = config.Bootstrap{Script: r.write("fill", "#!/bin/sh\nmkdir $ROUNDTABLE_FOLDER/x && cp -a "+first.cfg.Node.DataDir+"/blocks "+first.cfg.Node.DataDir+"/state $ROUNDTABLE_FOLDER/x/\n")}
		if got := r.begins(); got.HeadNum < shot.Head || got.ChainID != data.ChainID {
			t.Errorf("%+v", got)
		}
	})
	t.Run("what is there", func(t *testing.T) {
		r := first.copied(t)
		r.cfg.Bootstrap = config.Bootstrap{Latest: true, Script: "/nowhere", Archive: "/nowhere", Genesis: "/nowhere"}
		if got := r.begins(); got.HeadNum < shot.Head {
			t.Errorf("%+v", got)
		}
	})
}

// ringsOf waits for an alarm.
func (r *rig) ringsOf(text string) {
	r.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !strings.Contains(strings.Join(r.rang(), "\n"), text); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("no alarm of %q in %q", text, r.rang())
		}
	}
}

// packed is a .tar.zst of a folder, in a folder.
func packed(t *testing.T, dir string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := must[*zstd.Encoder](t)(zstd.NewWriter(&b))
	w := tar.NewWriter(z)
	put := func(h *tar.Header, text []byte) {
		t.Helper()
		h.Size = int64(len(text))
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(text); err != nil {
			t.Fatal(err)
		}
	}
	put(&tar.Header{Name: "data/", Typeflag: tar.TypeDir, Mode: 0o755}, nil)
	put(&tar.Header{Name: "data/finalizers/safety.dat", Typeflag: tar.TypeReg, Mode: 0o644}, []byte("bad"))
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		rel, _ := filepath.Rel(dir, path)
		if err != nil || !e.Type().IsRegular() || !strings.HasPrefix(rel, "blocks") && !strings.HasPrefix(rel, "state") {
			return err
		}
		put(&tar.Header{Name: "data/" + rel, Typeflag: tar.TypeReg, Mode: 0o644}, must[[]byte](t)(os.ReadFile(path)))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// stillView is a cluster's state that does not change.
type stillView struct{ s *fsm.State }

func newStillView(chain string) stillView {
	s := fsm.New()
	s.Cluster.ChainID = chain
	return stillView{s}
}

func (v stillView) View() (*fsm.State, <-chan struct{}) { return v.s, nil }

func (v stillView) Barrier(context.Context) error { return nil }

// archiveOf is an uncompressed archive.
func archiveOf(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(make([]byte, h.Size)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestUntarRefuses what could write elsewhere; nothing is written there.
func TestUntarRefuses(t *testing.T) {
	file := func(name string) tar.Header {
		return tar.Header{Name: name, Typeflag: tar.TypeReg, Size: 3, Mode: 0o644}
	}
	for want, archive := range map[string][]byte{
		"leads out":            archiveOf(t, file("../x")),
		"leads out of it":      archiveOf(t, file("blocks/../../x")),
		`"/x" in it leads out`: archiveOf(t, file("/x")),
		"neither a file":       archiveOf(t, tar.Header{Name: "blocks", Typeflag: tar.TypeSymlink, Linkname: ".."}, file("blocks/x")),
		"neither":              archiveOf(t, tar.Header{Name: "x", Typeflag: tar.TypeLink, Linkname: "/etc/passwd"}),
		`"pipe" in it`:         archiveOf(t, tar.Header{Name: "pipe", Typeflag: tar.TypeFifo}),
		"twice":                archiveOf(t, file("x"), file("./x")),
		"too short":            {1},
		"cannot be read":       archiveOf(t, file("x"))[:513],
	} {
		dir := filepath.Join(t.TempDir(), "side")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		root := must[*os.Root](t)(os.OpenRoot(dir))
		err := untar(t.Context(), bufio.NewReader(bytes.NewReader(archive)), root)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
		if around := must[[]os.DirEntry](t)(os.ReadDir(filepath.Dir(dir))); len(around) != 1 {
			t.Errorf("%s: it wrote %v", want, around)
		}
		if err := root.Close(); err != nil {
			t.Error(err)
		}
	}
	// Holes stay holes, and votes stay away.
	dir := t.TempDir()
	root := must[*os.Root](t)(os.OpenRoot(dir))
	defer func() { _ = root.Close() }()
	archive := archiveOf(t, tar.Header{Name: "state/shared_memory.bin", Typeflag: tar.TypeReg, Size: 8 << 20}, file("finalizers/safety.dat"), file("x/finalizers/safety.dat"))
	if err := untar(t.Context(), bufio.NewReader(bytes.NewReader(archive)), root); err != nil {
		t.Fatal(err)
	}
	info := must[os.FileInfo](t)(os.Stat(filepath.Join(dir, "state", "shared_memory.bin")))
	if found, _ := filepath.Glob(filepath.Join(dir, "*", "*")); len(found) != 1 || info.Size() != 8<<20 || allocated(info) > 64<<10 {
		t.Errorf("%q, %d bytes of %d on the disk", found, allocated(info), info.Size())
	}
}

// FuzzUntar: whatever the bytes are, there is an answer, and nothing is written outside.
func FuzzUntar(f *testing.F) {
	f.Add(archiveOf(f, tar.Header{Name: "blocks/x", Typeflag: tar.TypeReg, Size: 3}))
	f.Add(archiveOf(f, tar.Header{Name: "../x", Typeflag: tar.TypeReg, Size: 3}))
	f.Add([]byte{0x28, 0xb5, 0x2f, 0xfd, 0})
	f.Add([]byte{0x1f, 0x8b, 0, 0})
	f.Fuzz(func(t *testing.T, archive []byte) {
		dir := filepath.Join(t.TempDir(), "side")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		root := must[*os.Root](t)(os.OpenRoot(dir))
		defer func() { _ = root.Close() }()
		_ = untar(t.Context(), bufio.NewReader(bytes.NewReader(archive)), root)
		if around := must[[]os.DirEntry](t)(os.ReadDir(filepath.Dir(dir))); len(around) != 1 {
			t.Errorf("it wrote %v", around)
		}
	})
}

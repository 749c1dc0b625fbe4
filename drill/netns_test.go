package drill

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// programs builds what a sandbox runs; without the race detector, as test/binaries does.
func programs(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	args := []string{"build", "-ldflags", "-s -w", "-o", dir + "/"}
	for _, name := range names {
		args = append(args, "roundtable/cmd/"+name)
	}
	build := exec.Command("go", args...)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", build, err, out)
	}
	return dir
}

func closeSandbox(t *testing.T, s *Sandbox) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		t.Error(err)
	}
}

// TestNamespaces cuts the holder off in the kernel: another one takes over, after the heal everybody is well, nothing was
// signed twice, and nothing is left.
func TestNamespaces(t *testing.T) {
	if testing.Short() {
		t.Skip("starts real processes")
	}
	needBridge(t)
	bin, before := programs(t, "roundtable", standIn), outside(t)
	s, err := NewSandbox(Options{Dir: t.TempDir(), Roundtable: filepath.Join(bin, "roundtable"), Nodeos: filepath.Join(bin, "simnodeos"), Namespaces: true, Keosd: true})
	if err != nil {
		t.Fatal(err)
	}
	closed := false
	t.Cleanup(func() {
		if !closed {
			closeSandbox(t, s)
		}
	})
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	d := &drill{Sandbox: s}
	if err := d.settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := outside(t); !slices.Equal(got, before) {
		t.Errorf("the sandbox shows in the machine's network: %v, there were %v", got, before)
	}
	w, names := witness(t, s.Members[0].namespace.Load().path()), s.network.(*bridge).names()
	first := slotAt(time.Now()) + 1
	m, err := d.holder(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	cut := time.Now()
	if err := d.cutOff(m, true, true); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), handoffTime)
	defer cancel()
	if err := Poll(ctx, 20*time.Millisecond, func(ctx context.Context) error {
		v, err := d.look(ctx)
		if err != nil {
			return err
		}
		if v.Holder == "" || v.Holder == m.ID || v.Heads[v.Holder] <= slotAt(cut)+2 {
			return errors.New("nobody has taken over")
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	t.Logf("another one produced %v after %s was cut off", time.Since(cut).Round(time.Millisecond), m.ID)
	if err := s.Heal(); err != nil {
		t.Fatal(err)
	}
	if err := d.settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("all were well %v after that began", time.Since(cut).Round(time.Millisecond))
	r, err := s.Check(t.Context(), first, slotAt(time.Now())-1)
	if err != nil {
		t.Fatal(err)
	}
	if r.Doubled > 0 || !r.OK() {
		var text strings.Builder
		r.Write(&text)
		t.Errorf("the checker found:%s", &text)
	}
	closed = true
	closeSandbox(t, s)
	w.gone(t, names...)
	if got := outside(t); !slices.Equal(got, before) {
		t.Errorf("in the machine's network are %v, there were %v", got, before)
	}
}

// TestNamespacesOfAFailedStart: a sandbox whose network and other producers run, and whose managers cannot start.
func TestNamespacesOfAFailedStart(t *testing.T) {
	if testing.Short() {
		t.Skip("starts real processes")
	}
	needBridge(t)
	bin := programs(t, standIn)
	broken := filepath.Join(t.TempDir(), "roundtable")
	if err := os.WriteFile(broken, []byte("no program"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := NewSandbox(Options{Dir: t.TempDir(), Roundtable: broken, Nodeos: filepath.Join(bin, "simnodeos"), Namespaces: true, Keosd: true, Producers: 2})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err == nil {
		t.Error("what is no program was started")
	}
	if !s.Rest().Running() {
		t.Error("there was no process to end")
	}
	w, names := witness(t, s.Members[0].namespace.Load().path()), s.network.(*bridge).names()
	closeSandbox(t, s)
	w.gone(t, names...)
}

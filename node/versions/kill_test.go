package versions

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// The environment of a process that is killed by itself: after which change of a file, in which home, doing what.
const (
	killAt   = "ROUNDTABLE_VERSIONS_KILL"
	killHome = "ROUNDTABLE_VERSIONS_HOME"
	killDoes = "ROUNDTABLE_VERSIONS_DOES"
	killSum  = "ROUNDTABLE_VERSIONS_SUM"
	killFrom = "ROUNDTABLE_VERSIONS_FROM"
)

// killed is the whole of such a process. It prints each change that it survived.
func killed() {
	at, _ := strconv.Atoi(os.Getenv(killAt))
	h, err := Open(Config{Dir: os.Getenv(killHome), Version: said, Free: func(string) (uint64, error) { return 1 << 40, nil }})
	if err != nil {
		panic(err)
	}
	n := 0
	h.step = func(op string) {
		if n++; n == at {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
		fmt.Println(op) //nolint:forbidigo // what the test reads
	}
	if err := do(context.Background(), h, os.Getenv(killDoes), os.Getenv(killFrom), os.Getenv(killSum)); err != nil {
		panic(err)
	}
	os.Exit(0)
}

// do is what is killed, and repeated.
func do(ctx context.Context, h *Home, what, from, sum string) error {
	switch what {
	case "ensure":
		return h.Ensure()
	case "switch":
		return h.Switch("v1.2.2")
	case "back":
		return h.Switch(Genesis)
	case "remove":
		return h.Remove("v1.2.2")
	case "folder":
		return h.Link("v1.2.2", filepath.Join(filepath.Dir(h.dir), "elsewhere"))
	}
	_, err := h.Stage(ctx, Request{Tag: "v1.2.2", Source: from, SHA256: sum}, nil)
	return err
}

// child runs one, and says which changes it made and whether it was killed.
func child(t *testing.T, at int, home, does, from, sum string) (steps []string, died bool) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), killAt+"="+strconv.Itoa(at), killHome+"="+home, killDoes+"="+does, killFrom+"="+from, killSum+"="+sum)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		status, ok := exit.Sys().(syscall.WaitStatus)
		died = ok && status.Signaled() && status.Signal() == syscall.SIGKILL
	}
	if err != nil && !died {
		t.Fatalf("%s, killed at %d: %v\n%s", does, at, err, errs.String())
	}
	return strings.Fields(strings.ReplaceAll(strings.TrimSpace(strings.ReplaceAll(out.String(), " ", "_")), "\n", " ")), died
}

// TestKilled kills a process after each change of a file, one after another. Whatever it was doing, the home boots, with the
// old or the new version; what is seen is whole; and a repeat by the next process succeeds and leaves nothing behind.
func TestKilled(t *testing.T) {
	archive := gz(t, tarOf(t, dir("usr/bin"), exe("usr/bin/nodeos", random("v1.2.2", 1<<20)), sym("usr/bin/link", "nodeos"), hard("usr/bin/hard", "usr/bin/nodeos"), reg("usr/share/doc", []byte("x"))))
	for name, tc := range map[string]struct {
		does     string
		prepare  func(t *testing.T, h *Home)
		old, new string // what is current before and after; "" before there is a home
		least    int    // changes that there are at the least
	}{
		"ensure":       {"ensure", func(*testing.T, *Home) {}, "", Genesis, 6},
		"ensure again": {"ensure", ensured, Genesis, Genesis, 3},
		"switch":       {"switch", staged, Genesis, "v1.2.2", 4},
		"switch back":  {"back", func(t *testing.T, h *Home) { staged(t, h); must(t, h.Switch("v1.2.2")) }, "v1.2.2", Genesis, 4},
		"remove":       {"remove", staged, Genesis, Genesis, 4},
		"a folder":     {"folder", elsewhere, Genesis, Genesis, 3},
		"stage":        {"stage", ensured, Genesis, Genesis, 20},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, false)
			s.add("/asset", archive)
			from := s.URL + "/asset"
			var all []string
			partial := 0
			for at := 1; ; at++ {
				dir := filepath.Join(t.TempDir(), "home")
				h := bareHome(t, dir)
				tc.prepare(t, h)
				steps, died := child(t, at, dir, tc.does, from, sumOf(archive))
				boots(t, h, tc.old, tc.new, at, steps)
				if tc.does == "folder" {
					if _, err := h.Load("v1.2.2"); err != nil {
						t.Fatalf("killed at %d, after %q: neither the one nor the other folder: %v", at, steps, err)
					}
				}
				if !died {
					if len(steps) != at-1 || len(steps) < tc.least {
						t.Errorf("%d changes, and it was to be killed at %d", len(steps), at)
					}
					all = steps
					break
				}
				// the next process: as a manager that starts, and asks for the same
				again := bareHome(t, dir)
				if err := again.Ensure(); err != nil {
					t.Fatal(err)
				}
				if v, err := again.Current(); err != nil {
					t.Fatalf("killed at %d, after %q: after Ensure: %+v %v", at, steps, v, err)
				}
				if _, err := again.Load("v1.2.2"); tc.does != "remove" || err == nil {
					if err := do(t.Context(), again, tc.does, from, sumOf(archive)); err != nil {
						t.Fatalf("killed at %d, after %q: repeated: %v", at, steps, err)
					}
				}
				v, err := again.Current()
				if err != nil || v.Tag != tc.new {
					t.Errorf("killed at %d, after %q: repeated: %+v %v", at, steps, v, err)
				}
				if _, err := again.Load("v1.2.2"); tc.does == "stage" && err != nil {
					t.Errorf("killed at %d, after %q: repeated: %v", at, steps, err)
				}
				if err := again.Ensure(); err != nil {
					t.Error(err)
				}
				noRest(t, again)
			}
			if tc.does == "stage" {
				for _, r := range s.requests("/asset") {
					if r.Header.Get("Range") != "" {
						partial++
					}
				}
				if writes := slices.Index(all, "sync_the_part") - slices.Index(all, "write_to_the_part"); partial < writes-1 || writes < 3 { // the last part may be the whole
					t.Errorf("%d downloads went on where they were, of %d that were killed with a part", partial, writes)
				}
			}
			t.Logf("killed after each of %d changes: %s", len(all), strings.Join(all, ", "))
			ordered(t, all)
		})
	}
}

func ensured(t *testing.T, h *Home) {
	t.Helper()
	must(t, os.MkdirAll(h.dir, 0o700))
	must(t, h.Ensure())
}

func staged(t *testing.T, h *Home) {
	t.Helper()
	ensured(t, h)
	version(t, h, "v1.2.2")
}

// elsewhere makes a version beside the home, and a link to another that was there before.
func elsewhere(t *testing.T, h *Home) {
	t.Helper()
	ensured(t, h)
	for _, name := range []string{"elsewhere", "before"} {
		dir := filepath.Join(filepath.Dir(h.dir), name)
		write(t, filepath.Join(dir, "nodeos"), nodeos("v1.2.2"), 0o755)
		write(t, filepath.Join(dir, runName), []byte("[node]\nbinary = \"nodeos\"\n"), 0o644)
		if name == "before" {
			must(t, os.Symlink(dir, h.folder("v1.2.2")))
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// boots checks a home as a killed process has left it.
func boots(t *testing.T, h *Home, was, will string, at int, steps []string) {
	t.Helper()
	v, err := h.Current()
	switch {
	case was == "" && err != nil: // before there was a home: Ensure makes it
	case err != nil:
		t.Fatalf("killed at %d, after %q: the home does not boot: %v", at, steps, err)
	case v.Tag != was && v.Tag != will:
		t.Fatalf("killed at %d, after %q: %s is current", at, steps, v.Tag)
	}
	if _, err := os.Stat(h.versions()); err != nil {
		return
	}
	all, err := h.List()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range all {
		if l.Err != nil && (was != "" || l.Tag != Genesis) {
			t.Fatalf("killed at %d, after %q: half a version is seen: %v", at, steps, l.Err)
		}
		if l.Tag == "v1.2.2" {
			if _, err := said(t.Context(), l.Binary); err != nil {
				t.Fatalf("killed at %d, after %q: %v", at, steps, err)
			}
		}
	}
}

// ordered checks what a kill cannot show and a power cut would: what a name stands for is synced before the name is given,
// and the name after it.
func ordered(t *testing.T, steps []string) {
	t.Helper()
	for before, after := range map[string]string{
		"symlink_.current.new": "rename_.current.new", "rename_.current.new": "sync_home",
		"sync_the_folders": "rename_to_v1.2.2", "note_where_it_came_from": "sync_the_staging_folder's_names",
		"sync_the_staging_folder's_names": "rename_to_v1.2.2", "sync_the_part": "make_the_staging_folder",
	} {
		i, j := slices.Index(steps, before), slices.Index(steps, after)
		if i >= 0 && j < i {
			t.Errorf("%s comes before %s in %q", after, before, steps)
		}
	}
}

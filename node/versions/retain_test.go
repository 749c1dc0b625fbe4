package versions

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"
)

// aged makes a version that was fetched some days ago.
func aged(t *testing.T, h *Home, tag string, days int) {
	t.Helper()
	version(t, h, tag)
	note, at := filepath.Join(h.folder(tag), stagedName), time.Now().AddDate(0, 0, -days)
	write(t, note, []byte("{}"), 0o600)
	if err := os.Chtimes(note, at, at); err != nil {
		t.Fatal(err)
	}
}

func listed(t *testing.T, h *Home) (list []string) {
	t.Helper()
	all, err := h.List()
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range all {
		list = append(list, v.Tag)
	}
	return list
}

func TestRetain(t *testing.T) {
	h := home(t)
	for i := 1; i <= 6; i++ {
		aged(t, h, "v1."+strconv.Itoa(i), 10-i) // the higher the newer
	}
	version(t, h, "v0.1")
	if err := h.Switch("v1.1"); err != nil {
		t.Fatal(err)
	}
	removed, err := h.Retain(2, "v1.2")
	if err != nil || !slices.Equal(removed, []string{"v1.4", "v1.3"}) {
		t.Errorf("removed %v, %v", removed, err)
	}
	if got := listed(t, h); !slices.Equal(got, []string{"genesis", "v0.1", "v1.1", "v1.2", "v1.5", "v1.6"}) {
		t.Errorf("left %v", got)
	}
	if removed, err := h.Retain(0); err != nil || len(removed) != 3 {
		t.Errorf("removed %v, %v", removed, err)
	}
	if got := listed(t, h); !slices.Equal(got, []string{"genesis", "v0.1", "v1.1"}) {
		t.Errorf("left %v", got)
	}
}

func TestLink(t *testing.T) {
	h := home(t)
	elsewhere := home(t)
	version(t, elsewhere, "mine")
	version(t, elsewhere, "other")
	folder := elsewhere.folder("mine")
	for range 2 {
		if err := h.Link("v2.0.0", folder); err != nil {
			t.Fatal(err)
		}
		if v, err := h.Load("v2.0.0"); err != nil || v.Tag != "v2.0.0" || v.Binary != filepath.Join(h.folder("v2.0.0"), "nodeos") {
			t.Errorf("%+v %v", v, err)
		}
	}
	if err := h.Link("v2.0.0", elsewhere.folder("other")); err != nil {
		t.Error("another folder for a version that does not run:", err)
	}
	if err := h.Switch("v2.0.0"); err != nil {
		t.Fatal(err)
	}
	if v, err := h.Current(); err != nil || v.Tag != "v2.0.0" {
		t.Errorf("%+v %v", v, err)
	}
	version(t, h, "v3.0.0")
	for what, c := range map[string]struct {
		tag, folder string
		want        error
	}{
		"the current one":   {"v2.0.0", folder, ErrInUse},
		"a folder is there": {"v3.0.0", folder, ErrInUse},
		"genesis":           {Genesis, folder, ErrInUse},
		"no such folder":    {"v4.0.0", folder + "no", ErrUnknown},
		"a file":            {"v4.0.0", filepath.Join(folder, runName), ErrUnknown},
		"no tag":            {"../v4", folder, ErrTag},
	} {
		if err := h.Link(c.tag, c.folder); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := h.Switch(Genesis); err != nil {
		t.Fatal(err)
	}
	if err := h.Remove("v2.0.0"); err != nil {
		t.Fatal(err)
	}
	if _, err := elsewhere.Load("mine"); err != nil {
		t.Error("what a link leads to was removed with it:", err)
	}
	if _, err := elsewhere.Load("other"); err != nil {
		t.Error("what a link leads to was removed with it:", err)
	}
}

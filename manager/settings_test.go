package manager

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"roundtable/cluster/control"
)

func TestSettingsAreKept(t *testing.T) {
	home, log := t.TempDir(), slog.New(slog.DiscardHandler)
	if s := lastSettings(home, log); s != nil {
		t.Fatalf("before the first start: %+v", s)
	}
	want := control.Settings{Priority: -3, NoFailover: true}
	if err := keepSettings(home, want); err != nil {
		t.Fatal(err)
	}
	if s := lastSettings(home, log); s == nil || *s != want {
		t.Fatalf("%+v, want %+v", s, want)
	}
	if err := os.WriteFile(filepath.Join(home, settingsFile), []byte(`{"priority":`), 0o600); err != nil {
		t.Fatal(err)
	}
	if s := lastSettings(home, log); s != nil {
		t.Fatalf("half a file was read: %+v", s)
	}
}

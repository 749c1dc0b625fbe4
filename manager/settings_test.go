package manager

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"roundtable/cluster/control"
	"roundtable/cmd/roundtable/config"
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

// TestAnEmptiedFounderFoundsNothing: beside a cluster that goes on, a second one would sign too.
func TestAnEmptiedFounderFoundsNothing(t *testing.T) {
	c := config.Default()
	c.Manager.Home = t.TempDir()
	check := func(when string, may bool) {
		t.Helper()
		if err := mayStart(c); (err == nil) != may {
			t.Errorf("%s: %v", when, err)
		}
	}
	check("the first start", true)
	if err := keepSettings(c.Manager.Home, control.Settings{}); err != nil {
		t.Fatal(err)
	}
	check("without its raft folder", false)
	if err := os.Mkdir(c.RaftDir(), 0o700); err != nil {
		t.Fatal(err)
	}
	check("with an empty raft folder", false)
	c.Manager.Join = []string{"127.0.0.1:9060"}
	check("with somebody to join", true)
	c.Manager.Join = nil
	if err := os.WriteFile(filepath.Join(c.RaftDir(), "raft.db"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	check("with its log", true)
}

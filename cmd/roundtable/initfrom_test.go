package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"roundtable/fsm"
	"roundtable/security"
)

// initOK runs roundtable init and wants it to succeed.
func initOK(t *testing.T, args ...string) string {
	t.Helper()
	code, out, errs := command(append([]string{"init"}, args...)...)
	if code != exitDone {
		t.Fatalf("init %s: exit code %d\n%s", strings.Join(args, " "), code, errs)
	}
	return out
}

func contentOf(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestMoveIn copies a home once, from a folder of links as Kubernetes mounts a Secret; what the manager changed since is not
// brought back.
func TestMoveIn(t *testing.T) {
	dir := t.TempDir()
	initOK(t, "--dir", dir, "--members", "m1,m2", "--cluster", "demo", "--producers", "bp", "--demo-chain", "--token-dir", filepath.Join(dir, "tokens"))
	seed := t.TempDir()
	if err := os.Rename(filepath.Join(dir, "m1"), filepath.Join(seed, "..data")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"tls", "keys", "genesis.json", "tokens.json", "found"} {
		if err := os.Symlink(filepath.Join("..data", name), filepath.Join(seed, name)); err != nil {
			t.Fatal(err)
		}
	}
	home := filepath.Join(t.TempDir(), "home")
	initOK(t, "--home", home, "--from", seed)
	for _, name := range []string{"tls/ca.pem", "tls/ca.key", "tls/cert.pem", "tls/key.pem", "tls/gossip.key", "keys", "genesis.json", "tokens.json", "found"} {
		if contentOf(t, filepath.Join(home, name)) != contentOf(t, filepath.Join(seed, name)) {
			t.Errorf("%s is not the same", name)
		}
		if info, err := os.Stat(filepath.Join(home, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", name, info.Mode(), err)
		}
	}
	// As the founder does when the tokens are in the state.
	if err := os.Remove(filepath.Join(home, "tokens.json")); err != nil {
		t.Fatal(err)
	}
	if said := initOK(t, "--home", home, "--from", seed); !strings.Contains(said, "nothing to do") {
		t.Errorf("again: %s", said)
	}
	if _, err := os.Stat(filepath.Join(home, "tokens.json")); err == nil {
		t.Error("the first tokens are back")
	}
}

// TestMoveInGoesOn: a copy that was interrupted is completed.
func TestMoveInGoesOn(t *testing.T) {
	dir := t.TempDir()
	initOK(t, "--dir", dir, "--members", "m1,m2", "--cluster", "demo", "--producers", "bp", "--demo-chain", "--token-dir", filepath.Join(dir, "tokens"))
	seed, home := filepath.Join(dir, "m2"), t.TempDir()
	if err := os.WriteFile(filepath.Join(home, "keys"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	initOK(t, "--home", home, "--from", seed)
	if _, err := os.Lstat(filepath.Join(home, "current")); err == nil {
		t.Error("the link to a version came along as something else")
	}
	for _, name := range []string{"keys", "tls/key.pem", "config.toml"} {
		if contentOf(t, filepath.Join(home, name)) != contentOf(t, filepath.Join(seed, name)) {
			t.Errorf("%s is not the same", name)
		}
	}
}

func TestMoveInRefuses(t *testing.T) {
	empty := t.TempDir()
	for name, c := range map[string]struct {
		args []string
		code int
		want string
	}{
		"no home":          {[]string{"--from", empty}, exitUsage, "--home alone"},
		"two things":       {[]string{"--from", empty, "--home", "x", "--id", "m1"}, exitUsage, "--home alone"},
		"nothing there":    {[]string{"--from", empty, "--home", filepath.Join(empty, "home")}, exitFailed, "no member's home"},
		"no such folder":   {[]string{"--from", filepath.Join(empty, "none"), "--home", filepath.Join(empty, "home")}, exitFailed, "no such file"},
		"scraper of a one": {[]string{"--home", filepath.Join(empty, "home"), "--id", "m1", "--cluster", "c", "--producers", "bp", "--advertise", "h", "--scraper-dir", empty}, exitUsage, "go with --dir"},
	} {
		t.Run(name, func(t *testing.T) {
			if code, _, errs := command(append([]string{"init"}, c.args...)...); code != c.code || !strings.Contains(errs, c.want) {
				t.Errorf("exit code %d, not %d:\n%s", code, c.code, errs)
			}
			if _, err := os.Stat(filepath.Join(empty, "home")); err == nil {
				t.Error("it made a home")
			}
		})
	}
}

// TestScraper: Prometheus gets the CA and a token that may look, and nothing else; its text is kept nowhere else.
func TestScraper(t *testing.T) {
	dir, scraper := t.TempDir(), t.TempDir()
	args := []string{"--dir", dir, "--members", "m1,m2", "--cluster", "demo", "--producers", "bp", "--demo-chain", "--scraper-dir", scraper}
	said := initOK(t, args...)
	token := strings.TrimSpace(contentOf(t, filepath.Join(scraper, "token")))
	if contentOf(t, filepath.Join(scraper, "ca.pem")) != contentOf(t, filepath.Join(dir, "m1/tls/ca.pem")) {
		t.Error("the CA is not the cluster's")
	}
	if strings.Contains(said, token) {
		t.Error("the token is shown")
	}
	var kept []fsm.Token
	if err := json.Unmarshal([]byte(contentOf(t, filepath.Join(dir, "m1/tokens.json"))), &kept); err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, k := range kept {
		if k.Hash == security.HashToken(token) && k.Role == fsm.RoleRead && k.Name == "prometheus" {
			found++
		}
	}
	if found != 1 || len(kept) != 4 {
		t.Errorf("kept are %+v", kept)
	}
	initOK(t, args...)
	if strings.TrimSpace(contentOf(t, filepath.Join(scraper, "token"))) != token {
		t.Error("a second run made another token, which the cluster does not know")
	}
}

package main

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"roundtable/cmd/roundtable/config"
	"roundtable/fsm"
	"roundtable/security"
)

// tree is every file below a folder with its text.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		if d.Type() == fs.ModeSymlink {
			all[rel], err = os.Readlink(path)
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %o", path, info.Mode().Perm())
		}
		text, err := os.ReadFile(path)
		all[rel] = string(text)
		return err
	})
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return all
}

// done runs a command line that must succeed.
func done(t *testing.T, args ...string) string {
	t.Helper()
	code, out, errs := command(args...)
	if code != exitDone {
		t.Fatalf("roundtable %s: exit %d: %s%s", strings.Join(args, " "), code, out, errs)
	}
	return out
}

const producerKey = "5KQwrPbwdL6PhXujxW37FSSQZ1JiwsST4cqQzDeyXtP79zkvFD3"

func keyFile(t *testing.T, mode os.FileMode) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "producer.key")
	if err := os.WriteFile(file, []byte(producerKey+"\n"), mode); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestInitFounder: what is made is a home that a manager starts with, and the tokens are in the output alone.
func TestInitFounder(t *testing.T) {
	home, key := filepath.Join(t.TempDir(), "m1"), keyFile(t, 0o600)
	args := []string{"init", "--home", home, "--id", "m1", "--cluster", "prod", "--producers", "bp,bp2", "--advertise", "bp1.example.org", "--host", "lb.example.org", "--nodeos", "/bin/true", "--key-file", key}
	out := done(t, args...)
	c, err := config.Load(filepath.Join(home, "config.toml"), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.Manager.ID != "m1" || c.APIURL() != "https://bp1.example.org:9080" || len(c.Manager.Join) != 0 || !slices.Equal(c.Node.Producers, []string{"bp", "bp2"}) || c.Signer.KeyFile != key {
		t.Errorf("%+v", c)
	}
	k, err := security.Open(security.Config{Files: security.InHome(home), Member: "m1", Now: func() time.Time { return testNow }})
	if err != nil {
		t.Fatal(err)
	}
	if hosts := k.Status().Hosts; !slices.Contains(hosts, "bp1.example.org") || !slices.Contains(hosts, "lb.example.org") || !slices.Equal(c.Hosts(), []string{"bp1.example.org", "lb.example.org"}) {
		t.Errorf("hosts %q, configured %q", hosts, c.Hosts())
	}
	if tree(t, home)["found"] == "" {
		t.Error("no permission to found the cluster")
	}
	if held := tree(t, home); held["current"] != "versions/genesis" || !strings.Contains(held["versions/genesis/run.toml"], "genesis") {
		t.Errorf("the first version: current leads to %q, run.toml says %q", held["current"], held["versions/genesis/run.toml"])
	}
	var tokens []fsm.Token
	if err := json.Unmarshal([]byte(tree(t, home)["tokens.json"]), &tokens); err != nil || len(tokens) != 3 {
		t.Fatalf("%v %v", tokens, err)
	}
	for _, tok := range tokens {
		_, rest, _ := strings.Cut(out, "\n  "+tok.Role+" ")
		text, _, _ := strings.Cut(strings.TrimSpace(rest), "\n")
		if id, err := security.ParseToken(text); err != nil || id != tok.ID || security.HashToken(text) != tok.Hash {
			t.Errorf("the token of %s: %q %v", tok.Role, text, err)
		}
		for file, held := range tree(t, home) {
			if strings.Contains(held, text) {
				t.Errorf("%s holds the token of %s", file, tok.Role)
			}
		}
	}
	if !strings.Contains(out, key) || strings.Contains(out, producerKey) {
		t.Errorf("what is said of the producer's key: %s", out)
	}

	before := tree(t, home)
	code, _, errs := command(args...)
	if code != exitFailed || !strings.Contains(errs, "nothing was changed") || !strings.Contains(errs, "hint: ") {
		t.Errorf("again: exit %d: %s", code, errs)
	}
	if d := cmp.Diff(before, tree(t, home)); d != "" {
		t.Errorf("again: %s", d)
	}
}

// TestInitShowsHowToUpgrade: the section that config.toml shows is one, as soon as it is no comment any more.
func TestInitShowsHowToUpgrade(t *testing.T) {
	home := filepath.Join(t.TempDir(), "m1")
	done(t, "init", "--home", home, "--id", "m1", "--cluster", "prod", "--producers", "bp", "--advertise", "h1", "--nodeos", "/bin/true", "--key-file", keyFile(t, 0o600))
	file := filepath.Join(home, "config.toml")
	before, after, found := strings.Cut(contentOf(t, file), "# [upgrade]\n")
	section, rest, _ := strings.Cut(after, "\n\n")
	if !found || rest == "" {
		t.Fatalf("no section:\n%s", contentOf(t, file))
	}
	text := before + "[upgrade]\n" + strings.ReplaceAll("\n"+section, "\n# ", "\n") + "\n\n" + rest
	plant(t, file, text)
	if err := os.WriteFile(filepath.Join(home, "before-upgrade"), []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(file, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if u := c.Upgrade; !u.AutoInstall || u.Source == "" || u.Asset == "" || u.Rollout != config.RolloutManual || u.Hook != filepath.Join(home, "before-upgrade") {
		t.Errorf("%+v", u)
	}
}

// TestInitInterrupted: whatever was there before, the next run makes a home of it, with the same CA.
func TestInitInterrupted(t *testing.T) {
	whole := filepath.Join(t.TempDir(), "m1")
	args := func(home string) []string {
		return []string{"init", "--home", home, "--id", "m1", "--cluster", "prod", "--producers", "bp", "--advertise", "h1", "--witness"}
	}
	done(t, args(whole)...)
	order := []string{"tls/ca.key", "tls/ca.pem", "tls/gossip.key", "tls/key.pem", "tls/cert.pem", "tokens.json"}
	for n := range len(order) + 1 {
		home := filepath.Join(t.TempDir(), "m1")
		for _, name := range order[:n] {
			plant(t, filepath.Join(home, name), tree(t, whole)[name])
		}
		done(t, args(home)...)
		got := tree(t, home)
		for _, name := range order[:min(n, 5)] {
			if got[name] != tree(t, whole)[name] {
				t.Errorf("after %d files: %s was replaced", n, name)
			}
		}
		if _, err := config.Load(filepath.Join(home, "config.toml"), nil, nil); err != nil {
			t.Errorf("after %d files: %v", n, err)
		}
	}
}

func plant(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestInitBadInput: a clear error, a hint, and nothing made.
func TestInitBadInput(t *testing.T) {
	open, rubbish, member := keyFile(t, 0o644), filepath.Join(t.TempDir(), "x"), filepath.Join(t.TempDir(), "member")
	plant(t, rubbish, "5KnotAKey")
	plant(t, filepath.Join(member, "raft", "log"), "")
	founder := []string{"--id", "m1", "--cluster", "c", "--producers", "bp", "--advertise", "h"}
	all := []string{"--cluster", "c", "--producers", "bp"}
	for name, tc := range map[string]struct {
		args []string
		code int
		want string
	}{
		"nothing":             {nil, exitUsage, "name either"},
		"two forms":           {append([]string{"--home", "H", "--join", "x"}, founder...), exitUsage, "name either"},
		"no home":             {founder, exitUsage, "--home is missing"},
		"no cluster":          {[]string{"--home", "H", "--id", "m1", "--advertise", "h"}, exitUsage, "--cluster and --producers"},
		"a bad id":            {[]string{"--home", "H", "--id", "m 1", "--cluster", "c", "--producers", "bp", "--advertise", "h"}, exitFailed, "manager.id"},
		"a bad account":       {[]string{"--home", "H", "--id", "m1", "--cluster", "c", "--producers", "BP", "--advertise", "h"}, exitFailed, "account"},
		"a port to advertise": {[]string{"--home", "H", "--id", "m1", "--cluster", "c", "--producers", "bp", "--advertise", "h:1"}, exitFailed, "manager.advertise"},
		"an open nodeos":      {append([]string{"--home", "H", "--http", "0.0.0.0:8888"}, founder...), exitFailed, "node.http"},
		"one port twice":      {append([]string{"--home", "H", "--api", "0.0.0.0:9070"}, founder...), exitFailed, "manager.raft"},
		"a wildcard":          {append([]string{"--home", "H", "--host", "*.example"}, founder...), exitUsage, "--host"},
		"a second signer":     {append([]string{"--home", "H", "--node-arg", "--signature-provider=EOS1=KEY:5K"}, founder...), exitFailed, "node.args"},
		"an open key":         {append([]string{"--home", "H", "--key-file", open}, founder...), exitFailed, "key file"},
		"no key":              {append([]string{"--home", "H", "--key-file", rubbish}, founder...), exitFailed, "line 1"},
		"a member's home":     {append([]string{"--home", member}, founder...), exitFailed, "raft log"},
		"no members":          {append([]string{"--dir", "H"}, all...), exitUsage, "go together"},
		"no dir":              {append([]string{"--members", "m1"}, all...), exitUsage, "go together"},
		"an id twice":         {append([]string{"--dir", "H", "--members", "m1,m1=h"}, all...), exitUsage, "twice"},
		"a bad host":          {append([]string{"--dir", "H", "--members", "m1=a:b"}, all...), exitUsage, "--members"},
		"an unknown witness":  {append([]string{"--dir", "H", "--members", "m1", "--witnesses", "m2"}, all...), exitUsage, "none of --members"},
		"a demo's own key":    {append([]string{"--dir", "H", "--members", "m1", "--demo-chain", "--key-file", keyFile(t, 0o600)}, all...), exitUsage, "draws its own key"},
		"a demo of one":       {append([]string{"--home", "H", "--demo-chain"}, founder...), exitUsage, "--demo-chain goes with --dir"},
		"no join string":      {[]string{"--home", "H", "--join", "rtj1_x", "--advertise", "h"}, exitUsage, "not copied whole"},
		"a join and a name":   {[]string{"--home", "H", "--join", "rtj1_x", "--cluster", "c"}, exitUsage, "told by the cluster"},
	} {
		dir := t.TempDir()
		args := []string{"init"}
		for _, a := range tc.args {
			if a == "H" {
				a = filepath.Join(dir, "home")
			}
			args = append(args, a)
		}
		code, _, errs := command(args...)
		if code != tc.code || !strings.Contains(errs, tc.want) || strings.Contains(errs, "5K") {
			t.Errorf("%s: exit %d: %s", name, code, errs)
		}
		if left := tree(t, dir); len(left) > 0 {
			t.Errorf("%s: made %v", name, left)
		}
	}
}

// TestInitAll: every home of a cluster at once; again there is nothing to do, and what is missing is completed.
func TestInitAll(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "homes")
	base := []string{"init", "--dir", dir, "--members", "m1=h1,m2=h2,w", "--witnesses", "w", "--cluster", "prod", "--producers", "bp", "--demo-chain", "--nodeos", "/bin/true", "--at", "/var/lib/roundtable"}
	out := done(t, base...)
	if !strings.Contains(out, "admin ") {
		t.Errorf("no tokens: %s", out)
	}
	whole := tree(t, dir)
	wantJoin := map[string][]string{"m1": {"h2:9060", "w:9060"}, "m2": {"h1:9060", "w:9060"}, "w": {"h1:9060", "h2:9060"}}
	for id, join := range wantJoin {
		c, err := config.Load(filepath.Join(dir, id, "config.toml"), nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(c.Manager.Join, join) || c.Manager.Witness != (id == "w") || c.Manager.Home != filepath.Join(dir, id) {
			t.Errorf("%s: %+v", id, c.Manager)
		}
		if _, err := security.Open(security.Config{Files: security.InHome(filepath.Join(dir, id)), Member: id, Now: func() time.Time { return testNow }}); err != nil {
			t.Error(err)
		}
		if (whole[id+"/found"] != "") != (id == "m1") {
			t.Errorf("%s: the permission to found the cluster is one member's: %q", id, whole[id+"/found"])
		}
		if id != "m1" && (whole[id+"/tls/ca.key"] != "" || whole[id+"/tokens.json"] != "" || whole[id+"/tls/gossip.key"] != whole["m1/tls/gossip.key"]) {
			t.Errorf("%s has what is the founder's, or another gossip key", id)
		}
	}
	if whole["w/current"] != "" || whole["m2/current"] != "versions/genesis" {
		t.Errorf("versions: of the witness %q, of another %q", whole["w/current"], whole["m2/current"])
	}
	if whole["m1/keys"] == "" || whole["m1/keys"] != whole["m2/keys"] || whole["m1/genesis.json"] != whole["m2/genesis.json"] || whole["w/keys"] != "" {
		t.Error("the demo chain's key or genesis is not in both homes with a node, or in the witness'")
	}
	if !strings.Contains(whole["m2/config.toml"], `"/var/lib/roundtable/genesis.json"`) {
		t.Errorf("where the home will be found does not count:\n%s", whole["m2/config.toml"])
	}

	if out := done(t, base...); !strings.Contains(out, "nothing to do") {
		t.Errorf("again: %s", out)
	}
	if d := cmp.Diff(whole, tree(t, dir)); d != "" {
		t.Errorf("again: %s", d)
	}
	for _, lost := range [][]string{{"m2/config.toml", "m2/tls/cert.pem"}, {"m1/config.toml"}, {"w/config.toml", "m2/config.toml", "m2/keys"}} {
		for _, name := range lost {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
		done(t, base...)
		got := tree(t, dir)
		for name, text := range whole {
			if got[name] == "" || got[name] != text && name != "m2/tls/cert.pem" && name != "m1/tokens.json" {
				t.Errorf("after the loss of %v: %s is another one", lost, name)
			}
		}
	}

	four := slices.Clone(base)
	four[4] = "m1=h1,m2=h2,w,m4"
	out = done(t, four...)
	if got := tree(t, dir); got["m4/config.toml"] == "" || got["m1/config.toml"] != whole["m1/config.toml"] || strings.Contains(out, "rt1_") {
		t.Errorf("one more: %s", out)
	}
	if err := os.Remove(filepath.Join(dir, "m1/tls/ca.key")); err != nil {
		t.Fatal(err)
	}
	four[4] = "m1=h1,m2=h2,w,m4,m5"
	if code, _, errs := command(four...); code != exitFailed || !strings.Contains(errs, "roundtable member add") {
		t.Errorf("without the CA's key: exit %d: %s", code, errs)
	}
}

// TestInitTokenDir writes the tokens to files, and shows none.
func TestInitTokenDir(t *testing.T) {
	dir := t.TempDir()
	out := done(t, "init", "--home", filepath.Join(dir, "m1"), "--id", "m1", "--cluster", "c", "--producers", "bp", "--advertise", "h", "--witness", "--token-dir", filepath.Join(dir, "tokens"))
	files := tree(t, filepath.Join(dir, "tokens"))
	for _, role := range []string{"admin", "operate", "read"} {
		if _, err := security.ParseToken(strings.TrimSpace(files[role+".token"])); err != nil {
			t.Errorf("%s: %v", role, err)
		}
	}
	if strings.Contains(out, "rt1_") || len(files) != 3 {
		t.Errorf("%d files, said: %s", len(files), out)
	}
}

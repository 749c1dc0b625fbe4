package versions

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLoad(t *testing.T) {
	h := home(t)
	version(t, h, "v1.2.2")
	d := h.folder("v1.2.2")
	write(t, filepath.Join(d, "extra.ini"), []byte("chain-threads = 3\n"), 0o644)
	write(t, filepath.Join(d, "bin/side"), nil, 0o755)
	outside := filepath.Join(t.TempDir(), "outside")
	write(t, outside, nil, 0o755)
	if err := os.Symlink("nodeos", filepath.Join(d, "link")); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(d, runName), []byte(`
name = "v1.2.2"
[node]
binary = "link"
args = ["--x", "y"]
config = "extra.ini"
[[sidecar]]
name = "side"
binary = "bin/side"
args = ["--z"]
env = { A = "b=c" }
[[sidecar]]
name = "other"
binary = "`+outside+`"
`), 0o644)
	got, err := h.Load("v1.2.2")
	if err != nil {
		t.Fatal(err)
	}
	want := Version{Tag: "v1.2.2", Dir: d, Binary: filepath.Join(d, "link"), Args: []string{"--x", "y"}, Config: filepath.Join(d, "extra.ini"),
		Sidecars: []Sidecar{{Name: "side", Binary: filepath.Join(d, "bin/side"), Args: []string{"--z"}, Env: map[string]string{"A": "b=c"}}, {Name: "other", Binary: outside}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestBadRunFile(t *testing.T) {
	cases := []struct{ name, text, message, hint string }{
		{"syntax", "[node\n", "run.toml:1:", "TOML"},
		{"unknown key", "[node]\nbinary = \"nodeos\"\nbinarys = \"x\"\n", "run.toml:3:1: node.binarys: unknown key", "[node] binary"},
		{"unknown section", "[nodes]\nbinary = \"nodeos\"\n", "run.toml:1:2: nodes: unknown key", "[[sidecar]]"},
		{"unknown key of a sidecar", "[node]\nbinary = \"nodeos\"\n[[sidecar]]\nname = \"x\"\npath = \"y\"\n", "run.toml:5:1: sidecar.path: unknown key", "[[sidecar]]"},
		{"wrong kind", "[node]\nargs = \"x\"\n", "run.toml:2:", "TOML"},
		{"twice", "[node]\nbinary = \"nodeos\"\nbinary = \"nodeos\"\n", "run.toml:3:", "TOML"},
		{"another name", "name = \"v1.2.3\"\n[node]\nbinary = \"nodeos\"\n", `name = "v1.2.3"`, "folder's"},
		{"a bad name", "name = \"../x\"\n", "is no tag", "folder's"},
		{"no binary", "", "node.binary: is missing", "only genesis"},
		{"not there", "[node]\nbinary = \"gone\"\n", `node.binary = "gone": no such file`, "relative"},
		{"out of it", "[node]\nbinary = \"../genesis/run.toml\"\n", "node.binary", "stays in the version's folder"},
		{"out of it, by a link", "[node]\nbinary = \"out\"\n", "node.binary", "stays in the version's folder"},
		{"out of it, by a folder's link", "[node]\nbinary = \"outdir/outside\"\n", "node.binary", "stays in the version's folder"},
		{"a folder", "[node]\nbinary = \".\"\n", "is not a file", "name a file"},
		{"not executable", "[node]\nbinary = \"run.toml\"\n", "cannot be executed", "chmod +x"},
		{"absolute, not there", "[node]\nbinary = \"/nowhere/nodeos\"\n", "no such file", "put the file there"},
		{"no overlay", "[node]\nbinary = \"nodeos\"\nconfig = \"gone.ini\"\n", "node.config", "put the file there"},
		{"overlay out of it", "[node]\nbinary = \"nodeos\"\nconfig = \"../x\"\n", "node.config", "stays in"},
		{"a zero byte", "[node]\nbinary = \"a\\u0000b\"\n", "zero byte", "stays in"},
		{"a zero byte in an argument", "[node]\nbinary = \"nodeos\"\nargs = [\"\\u0000\"]\n", "node.args", "zero bytes"},
		{"many arguments", "[node]\nbinary = \"nodeos\"\nargs = [" + strings.Repeat(`"x",`, maxArgs+1) + "]\n", "node.args", "256"},
		{"a sidecar without a name", "[node]\nbinary = \"nodeos\"\n[[sidecar]]\nbinary = \"nodeos\"\n", "sidecar 1", "a name is"},
		{"a sidecar twice", "[node]\nbinary = \"nodeos\"\n[[sidecar]]\nname = \"s\"\nbinary = \"nodeos\"\n[[sidecar]]\nname = \"s\"\nbinary = \"nodeos\"\n", "there twice", "own name"},
		{"a sidecar without a binary", "[node]\nbinary = \"nodeos\"\n[[sidecar]]\nname = \"s\"\n", "has no binary", "stays in"},
		{"a sidecar out of it", "[node]\nbinary = \"nodeos\"\n[[sidecar]]\nname = \"s\"\nbinary = \"../x\"\n", "sidecar s: binary", "stays in"},
		{"a sidecar's argument", "[node]\nbinary = \"nodeos\"\n[[sidecar]]\nname = \"s\"\nbinary = \"nodeos\"\nargs = [\"\\u0000\"]\n", "sidecar s: args", "zero"},
		{"a sidecar's variable", "[node]\nbinary = \"nodeos\"\n[[sidecar]]\nname = \"s\"\nbinary = \"nodeos\"\nenv = { \"a=b\" = \"c\" }\n", "sidecar s: env", "variable"},
		{"many sidecars", "[node]\nbinary = \"nodeos\"\n" + strings.Repeat("[[sidecar]]\nname = \"s\"\nbinary = \"nodeos\"\n", maxSidecars+1), "17 of them", "at most 16"},
		{"long", strings.Repeat("# long\n", maxRunFile/7+1), "more than", "write one"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			h := home(t)
			version(t, h, "v1.2.2")
			d, outside := h.folder("v1.2.2"), t.TempDir()
			write(t, filepath.Join(outside, "outside"), nil, 0o755)
			for name, to := range map[string]string{"out": filepath.Join(outside, "outside"), "outdir": outside} {
				if err := os.Symlink(to, filepath.Join(d, name)); err != nil {
					t.Fatal(err)
				}
			}
			write(t, filepath.Join(d, runName), []byte(tc.text), 0o644)
			_, err := h.Load("v1.2.2")
			wantKind(t, err, ErrRunFile, tc.message, tc.hint)
		})
	}
	t.Run("none", func(t *testing.T) {
		h := home(t)
		write(t, filepath.Join(h.folder("v1.2.2"), "nodeos"), nil, 0o755)
		_, err := h.Load("v1.2.2")
		wantKind(t, err, ErrRunFile, "no such file", "write one")
	})
	t.Run("not a folder", func(t *testing.T) {
		h := home(t)
		write(t, h.folder("v1.2.2"), nil, 0o755)
		_, err := h.Load("v1.2.2")
		wantKind(t, err, ErrUnknown, "not a folder", "move it away")
	})
}

// FuzzRunFile: whatever a run.toml says, there is a version whose files are inside or absolute, or a problem with a hint.
func FuzzRunFile(f *testing.F) {
	f.Add([]byte("name = \"v1\"\n[node]\nbinary = \"nodeos\"\nargs = [\"a\"]\nconfig = \"run.toml\"\n[[sidecar]]\nname = \"s\"\nbinary = \"nodeos\"\nenv = {A = \"b\"}\n"))
	f.Add([]byte("[node]\nbinary = \"../v1/nodeos\"\n"))
	f.Add([]byte("[[node]]\n"))
	f.Add([]byte("sidecar = 1979-05-27T07:32:00Z\n"))
	f.Add([]byte("[node]\nbinary = \"sub/../../x\"\n"))
	dir := filepath.Join(f.TempDir(), "v1")
	write(f, filepath.Join(dir, "nodeos"), nil, 0o755)
	f.Fuzz(func(t *testing.T, text []byte) {
		write(t, filepath.Join(dir, runName), text, 0o644)
		v, err := load(dir, "v1")
		if err != nil {
			var p *Problem
			if !errors.As(err, &p) || p.Hint == "" || p.Message == "" {
				t.Fatalf("%v", err)
			}
			return
		}
		paths := []string{v.Binary}
		if v.Config != "" {
			paths = append(paths, v.Config)
		}
		for _, s := range v.Sidecars {
			paths = append(paths, s.Binary)
		}
		for _, p := range paths {
			if !filepath.IsAbs(p) {
				t.Fatalf("%q is not absolute", p)
			}
			if _, err := os.Stat(p); err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(p, filepath.Dir(dir)) && !strings.HasPrefix(p, dir+"/") && !strings.Contains(string(text), filepath.Dir(dir)) {
				t.Fatalf("%q is outside of %s", p, dir)
			}
		}
	})
}

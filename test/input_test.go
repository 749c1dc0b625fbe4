package test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"roundtable/api"
	"roundtable/drill"
	"roundtable/node/k1"
)

// command runs the binary to its end and returns its exit code and all that it printed.
func command(t *testing.T, args ...string) (code int, output string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	c := exec.CommandContext(ctx, filepath.Join(built, "roundtable"), args...)
	out, err := c.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || ctx.Err() != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return c.ProcessState.ExitCode(), string(out)
}

// tree is every file below a folder with its content, but what a start that is refused late may leave: empty folders,
// raft's own empty log, locks and sockets. Nothing of the operator's may change.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	if err := filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(file)
		files[file] = string(text)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return files
}

// edit replaces a text in a member's config.toml.
func edit(t *testing.T, m *drill.Member, pattern, by string) {
	t.Helper()
	file := filepath.Join(m.Home, "config.toml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	changed := regexp.MustCompile(pattern).ReplaceAllString(string(text), by)
	if changed == string(text) {
		t.Fatalf("%s has no %s", file, pattern)
	}
	if err := os.WriteFile(file, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
}

// configured is the value of a key in a member's config.toml.
func configured(t *testing.T, m *drill.Member, key string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(m.Home, "config.toml"))
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^` + key + ` = "(.*)"$`).FindSubmatch(text)
	if found == nil {
		t.Fatalf("no %s in %s", key, text)
	}
	return string(found[1])
}

// occupy listens on an address for the rest of the test.
func occupy(t *testing.T, address string) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
}

// newKey makes a private key that no log may ever show.
func newKey(t *testing.T) (wif, public string) {
	t.Helper()
	key, err := k1.Generate(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key.Export(), key.Public().String()
}

// TestRefusedStart gives the real binary what it must refuse: exit code 1, an error that names the thing, a hint, no
// private key, and nothing changed.
func TestRefusedStart(t *testing.T) {
	secret, public := newKey(t)
	for _, c := range []struct {
		name  string
		spoil func(t *testing.T, b *box, m *drill.Member)
		want  []string // in what is printed
	}{
		{"unknown key", func(t *testing.T, _ *box, m *drill.Member) { edit(t, m, `(?m)^id =`, "idd = \"x\"\nid =") }, []string{"manager.idd", "unknown key", "did you mean manager.id?"}},
		{"unknown section", func(t *testing.T, _ *box, m *drill.Member) { edit(t, m, `\[signer\]`, "[leese]\nslots = 4\n[signer]") }, []string{"leese", "unknown key", "did you mean [lease]?"}},
		{"loose permissions", func(t *testing.T, b *box, _ *drill.Member) {
			if err := os.Chmod(b.keyFile(), 0o644); err != nil {
				t.Fatal(err)
			}
		}, []string{"signer.key_file", "chmod 600"}},
		{"not a key", func(t *testing.T, b *box, _ *drill.Member) { put(t, b.keyFile(), secret[:40]+"\n") }, []string{"producer.key", "line 1"}},
		{"a public key", func(t *testing.T, b *box, _ *drill.Member) { put(t, b.keyFile(), public+"\n") }, []string{"producer.key", "line 1"}},
		{"an empty key file", func(t *testing.T, b *box, _ *drill.Member) { put(t, b.keyFile(), "# none\n") }, []string{"producer.key", "no key in it"}},
		{"no key file", func(t *testing.T, _ *box, m *drill.Member) { edit(t, m, `key_file = .*`, `key_file = "nowhere"`) }, []string{"signer.key_file", "nowhere"}},
		{"API port in use", func(t *testing.T, _ *box, m *drill.Member) { occupy(t, configured(t, m, "api")) }, []string{"manager.api", "in use"}},
		{"raft port in use", func(t *testing.T, _ *box, m *drill.Member) { occupy(t, configured(t, m, "raft")) }, []string{"raft", "in use"}},
		{"gossip port in use", func(t *testing.T, _ *box, m *drill.Member) { occupy(t, configured(t, m, "gossip")) }, []string{"gossip", "in use"}},
		{"a key in the template", func(t *testing.T, _ *box, m *drill.Member) {
			put(t, filepath.Join(m.Home, "template.ini"), "signature-provider = "+public+"=KEY:"+secret+"\n")
			edit(t, m, `\[node\]`, "[node]\nconfig_template = \"template.ini\"")
		}, []string{"signature-provider", "signs blocks past the gate", "[signer]"}},
		{"a key in the arguments", func(t *testing.T, _ *box, m *drill.Member) {
			edit(t, m, `args = \[`, `args = ["--signature-provider", "`+public+"=KEY:"+secret+`", `)
		}, []string{"node.args", "signature-provider"}},
		{"no nodeos", func(t *testing.T, _ *box, m *drill.Member) { edit(t, m, `path = .*`, `path = "/nowhere/nodeos"`) }, []string{"node.path", "/nowhere/nodeos"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := layOut(t, drill.Options{Managers: 1})
			m := b.Members[0]
			c.spoil(t, b, m)
			before := tree(t, b.Dir)
			code, out := command(t, "run", "--home", m.Home)
			if code != 1 {
				t.Errorf("exit code %d", code)
			}
			for _, want := range append(c.want, "error: ", "hint: ") {
				if !strings.Contains(out, want) {
					t.Errorf("%q is not in what it printed", want)
				}
			}
			if strings.Contains(out, secret[:40]) {
				t.Error("the private key was printed")
			}
			after := tree(t, b.Dir)
			for file, text := range before {
				if file == filepath.Join(m.Home, "found") && c.name == "gossip port in use" {
					continue // the group was founded before, and is there at the next start: the permission is used up
				}
				if after[file] != text {
					t.Errorf("%s was changed", file)
				}
			}
			for file, text := range after {
				if before[file] == "" && strings.Contains(text, secret[:40]) {
					t.Errorf("%s holds the private key", file)
				}
			}
			if t.Failed() {
				t.Logf("it printed:\n%s", out)
			}
		})
	}
}

func put(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestRefusedRequests asks a running cluster for what it must refuse, through the real command: an exit code as promised,
// an error with a hint, and the same lease as before.
func TestRefusedRequests(t *testing.T) {
	t.Parallel()
	b := start(t, drill.Options{})
	o := b.overview()
	holder := b.member(o.Holder())
	standby := b.other(holder.ID)
	third := b.other(holder.ID, standby.ID)
	refuse := func(t *testing.T, code int, want []string, args ...string) {
		t.Helper()
		before := b.overview().Lease.Epoch
		got, out := command(t, args...)
		if got != code {
			t.Errorf("exit code %d, not %d", got, code)
		}
		for _, w := range append(want, "error: ", "hint: ") {
			if !strings.Contains(out, w) {
				t.Errorf("%q is not in what it printed", w)
			}
		}
		o, err := b.Overview(t.Context())
		if err != nil || o.Lease.Epoch != before || len(o.Operations) > 0 {
			t.Errorf("epoch %d before, %d after, operations %v, %v", before, o.Lease.Epoch, o.Operations, err)
		}
		if t.Failed() {
			t.Logf("it printed:\n%s", out)
		}
	}
	t.Run("home in use", func(t *testing.T) {
		refuse(t, 1, []string{"in use by another manager"}, "run", "--home", standby.Home)
		if err := b.one(t.Context()); err != nil {
			t.Error(err)
		}
	})
	t.Run("unknown member", func(t *testing.T) {
		refuse(t, 1, []string{"nobody"}, "handoff", "--to", "nobody", "--server", standby.API)
	})
	t.Run("the holder itself", func(t *testing.T) {
		refuse(t, 1, []string{"holds the lease already"}, "handoff", "--to", holder.ID, "--server", standby.API)
	})
	t.Run("usage", func(t *testing.T) {
		refuse(t, 2, []string{"--when"}, "handoff", "--when", "never", "--server", standby.API)
	})
	t.Run("unknown field", func(t *testing.T) {
		a, err := ask(t.Context(), standby, http.MethodPost, "/cluster/handoff", `{"too":"m2"}`)
		if err != nil || a.status != http.StatusBadRequest || !bytes.Contains(a.body, []byte("too")) || !bytes.Contains(a.body, []byte(`"hint":"`)) {
			t.Errorf("%v %d %s", err, a.status, a.body)
		}
	})
	t.Run("nobody there", func(t *testing.T) {
		port, err := drill.FreePort()
		if err != nil {
			t.Fatal(err)
		}
		refuse(t, 3, []string{"no manager answered"}, "status", "--server", fmt.Sprintf("http://127.0.0.1:%d", port))
	})
	t.Run("unfit target", func(t *testing.T) {
		if err := b.KillMember(t.Context(), third); err != nil {
			t.Fatal(err)
		}
		eventually(t, 10*time.Second, "the others to notice", func(ctx context.Context) error {
			var o drill.Overview
			if err := get(ctx, holder, "/cluster", &o); err != nil {
				return err
			}
			for _, v := range o.Members {
				if v.ID == third.ID && v.Fit {
					return fmt.Errorf("%s is fit", v.ID)
				}
			}
			return b.one(ctx)
		})
		refuse(t, 1, []string{third.ID, "handoff.unfit"}, "handoff", "--to", third.ID, "--server", holder.API)
	})
	t.Run("no leader", func(t *testing.T) {
		if err := b.KillMember(t.Context(), standby); err != nil {
			t.Fatal(err)
		}
		eventually(t, 10*time.Second, "the last one to step down", func(ctx context.Context) error {
			var o drill.Overview
			if err := get(ctx, holder, "/cluster", &o); err != nil {
				return err
			}
			if o.Leader != "" {
				return fmt.Errorf("%s leads", o.Leader)
			}
			return nil
		})
		refuse(t, 1, []string{"no_leader", "majority"}, "handoff", "--to", standby.ID, "--server", holder.API)
	})
	for _, m := range []*drill.Member{standby, third} {
		if err := b.StartMember(m); err != nil {
			t.Fatal(err)
		}
	}
	b.settle()
	b.check()
}

// TestWrongKey gives a manager a good key that is not the producer's: its node cannot sign, production comes to nobody by
// it, and what is wrong can be read.
func TestWrongKey(t *testing.T) {
	t.Parallel()
	b := layOut(t, drill.Options{})
	wrong := b.Members[0]
	secret, _ := newKey(t)
	put(t, filepath.Join(wrong.Home, "wrong.key"), secret+"\n")
	edit(t, wrong, `key_file = .*`, `key_file = "wrong.key"`)
	if err := b.Start(); err != nil {
		t.Fatal(err)
	}
	var o drill.Overview
	took := eventually(t, 40*time.Second, "a holder with the right key, and a reason for the other", func(ctx context.Context) (err error) {
		if o, err = b.Overview(ctx); err != nil {
			return err
		}
		if o.Holder() == "" || o.Holder() == wrong.ID {
			return fmt.Errorf("%q holds: %s", o.Holder(), o.Lease.Reason)
		}
		i := slices.IndexFunc(o.Members, func(m api.Member) bool { return m.ID == wrong.ID })
		if i < 0 || o.Members[i].Fit || !strings.Contains(o.Members[i].Reason, "key") { // "the node is starting" comes before
			return fmt.Errorf("what is wrong with %s is not said: %+v", wrong.ID, o.Members)
		}
		return b.flows(ctx, b.member(o.Holder()))
	})
	i := slices.IndexFunc(o.Members, func(m api.Member) bool { return m.ID == wrong.ID })
	t.Logf("after %v: %s", took.Round(time.Millisecond), o.Members[i].Reason)
	if found := grep(t, b.Dir, secret); len(found) != 1 {
		t.Errorf("the private key stands in %v", found)
	}
}

package backup_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"

	"roundtable/backup"
	"roundtable/backup/backuptest"
)

// TestRestoreWithoutUs restores with docs/reference/restore.py, which knows no more than the description of the format.
func TestRestoreWithoutUs(t *testing.T) {
	modes(t, func(t *testing.T, o backup.Options) {
		tools := []string{"python3", "zstd"}
		if o.Identities != nil {
			tools = append(tools, "age")
		}
		for _, tool := range tools {
			if _, err := exec.LookPath(tool); err != nil && os.Getenv("CI") == "true" {
				t.Fatalf("%s is missing: .ci/run installs it", tool)
			} else if err != nil {
				t.Skipf("%s is missing", tool)
			}
		}
		at := filepath.Join(t.TempDir(), "repository")
		o.PackBytes = 1 << 20
		r := open(t, backuptest.Folder(at), o)
		dir := node(t, 1)
		done(t, r, "one", backup.Source{Dir: dir, Meta: meta("a")})
		appendTo(t, filepath.Join(dir, "blocks/blocks.log"), []byte(strings.Repeat("more blocks ", 1<<17)))
		done(t, r, "two", backup.Source{Dir: dir, Meta: meta("a"), Bases: []string{"one"}})
		python := func(args ...string) (string, error) {
			args = append([]string{"../docs/reference/restore.py", at}, args...)
			if o.Identities != nil {
				file := filepath.Join(t.TempDir(), "identity")
				write(t, file, []byte(o.Identities[0].(*age.X25519Identity).String()+"\n"))
				args = append(args, "--identity", file)
			}
			out, err := exec.CommandContext(t.Context(), "python3", args...).CombinedOutput()
			return string(out), err
		}
		if out, err := python(); err != nil || !strings.Contains(out, "one {") || !strings.Contains(out, `two {"chain_id"`) {
			t.Fatalf("%v: %s", err, out)
		}
		to := filepath.Join(t.TempDir(), "to")
		if out, err := python("two", to); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		equal(t, tree(t, dir), to)
		if was, is := onDisk(t, filepath.Join(dir, "state/shared_memory.bin")), onDisk(t, filepath.Join(to, "state/shared_memory.bin")); is > was {
			t.Errorf("the restored state takes %d bytes, it took %d", is, was)
		}
		whole, err := os.ReadFile(filepath.Join(at, "manifests/one"))
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(at, "manifests/one"), whole[:len(whole)/2])
		if out, err := python(); err == nil || strings.Contains(out, "one {") || !strings.Contains(out, `two {"chain_id"`) || !strings.Contains(out, "\nbackup one cannot be read: ") {
			t.Errorf("%v: %s", err, out)
		}
		write(t, filepath.Join(at, "manifests/one"), whole)
		packs, err := filepath.Glob(filepath.Join(at, "packs/one/*"))
		if err != nil || len(packs) < 2 {
			t.Fatal(packs, err)
		}
		overwrite(t, packs[0], 1000, []byte{1, 2, 3})
		if out, err := python("two", filepath.Join(t.TempDir(), "bad")); err == nil || !strings.Contains(out, "is damaged") {
			t.Errorf("%v: %s", err, out)
		}
	})
}

package drill

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// program writes a script that says a version, and with --sim-version another one.
func program(t *testing.T, name, says string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "it's here", name)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	script := "#!/bin/sh\nsays=" + says + "\n[ \"$1\" = --sim-version ] && says=$2 && shift 2\n[ \"$1\" = --version ] && echo $says\n"
	if err := os.WriteFile(file, []byte(script), 0o700); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	return file
}

// TestVersions: every member has two versions whose binaries run and say what their tags say, and an upgrade goes from one to the
// other and back, whatever the link leads to.
func TestVersions(t *testing.T) {
	for _, c := range []struct {
		name, nodeos, next string
		tags, says         []string
	}{
		{name: "the stand-in", nodeos: program(t, standIn, "v1.2.9"), tags: []string{"v1.2.9", "v1.2.10"}, says: []string{"v1.2.9", "v1.2.10"}},
		{name: "a nodeos", nodeos: program(t, "nodeos", "v1.2.2"), tags: []string{"v1.2.2", "v1.2.2+again"}, says: []string{"v1.2.2", "v1.2.2"}},
		{name: "a nodeos and its next", nodeos: program(t, "nodeos", "v1.2.2"), next: program(t, "nodeos", "v1.3.0"), tags: []string{"v1.2.2", "v1.3.0"}, says: []string{"v1.2.2", "v1.3.0"}},
		{name: "two builds of one version", nodeos: program(t, "nodeos", "v1.2.2"), next: program(t, "nodeos", "v1.2.2"), tags: []string{"v1.2.2", "v1.2.2+next"}, says: []string{"v1.2.2", "v1.2.2"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := NewSandbox(Options{Dir: t.TempDir(), Managers: 2, Roundtable: c.nodeos, Nodeos: c.nodeos, NodeosNext: c.next, Versions: true})
			if err != nil {
				t.Fatal(err)
			}
			m := s.Members[1]
			for i, v := range s.versions {
				dir := filepath.Join(m.Home, "versions", v.tag)
				run, err := os.ReadFile(filepath.Join(dir, "run.toml"))
				if err != nil {
					t.Fatal(err)
				}
				_, binary, _ := strings.Cut(string(run), `binary = "`)
				binary, _, _ = strings.Cut(binary, `"`)
				if !filepath.IsAbs(binary) {
					binary = filepath.Join(dir, binary)
				}
				if says, err := versionOf(t.Context(), binary); err != nil || v.tag != c.tags[i] || v.says != c.says[i] || says != v.says {
					t.Errorf("version %d has the tag %s and says %s (%v), its record %s; wanted %s and %s", i, v.tag, says, err, v.says, c.tags[i], c.says[i])
				}
			}
			for from, to := range map[string]string{genesisTag: c.tags[1], c.tags[0]: c.tags[1], c.tags[1]: c.tags[0]} {
				link := filepath.Join(m.Home, "current")
				_ = os.Remove(link)
				if err := os.Symlink(filepath.Join("versions", from), link); err != nil {
					t.Fatal(err)
				}
				if v, err := s.nextVersion(m); err != nil || v.tag != to {
					t.Errorf("from %s to %s (%v), wanted %s", from, v.tag, err, to)
				}
			}
		})
	}
}

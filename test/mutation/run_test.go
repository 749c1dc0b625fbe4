package mutation_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// limit is how long the suite may take to notice, building included.
const limit = 5 * time.Minute

// env names the variable that asks for the mutants.
const env = "ROUNDTABLE_MUTANTS"

// finding is what came of one mutant.
type finding struct {
	mutant
	took  time.Duration
	cpu   time.Duration
	words string // what the failure said
}

// TestMutants runs every mutant, one at a time: its tests must pass without it and fail with it.
func TestMutants(t *testing.T) {
	which := os.Getenv(env)
	if asked := flag.Lookup("test.run"); which == "" && asked != nil && strings.Contains(asked.Value.String(), "Mutants") {
		which = "1"
	}
	if which == "" {
		t.Skip("takes some minutes: " + env + "=1 runs them")
	}
	var only *regexp.Regexp
	if which != "1" && which != "write" {
		only = regexp.MustCompile(which)
	}
	var findings []finding
	sound := map[string]error{} // what a package's tests say without any mutant
	for _, m := range mutants() {
		if only != nil && !only.MatchString(m.name) && !only.MatchString(m.guard) {
			continue
		}
		t.Run(m.name, func(t *testing.T) {
			if _, ok := sound[m.pkg]; !ok {
				r, err := suite(t, catchers(m.pkg), "")
				if err == nil && (r.exit != 0 || strings.Contains(r.output, "no tests to run")) {
					err = fmt.Errorf("without any mutant:\n%s", r.output)
				}
				sound[m.pkg] = err
			}
			if err := sound[m.pkg]; err != nil {
				t.Fatal(err)
			}
			fresh := ""
			if which == "write" { // so that the figures are those of a build, not of the build cache
				fresh = "\n// " + time.Now().String() + "\n"
			}
			f, err := try(t, m, fresh)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("caught in %.1f s: %s", f.took.Seconds(), f.words)
			findings = append(findings, f)
		})
	}
	var took, cpu time.Duration
	for _, f := range findings {
		took, cpu = took+f.took, cpu+f.cpu
	}
	t.Logf("%d mutants caught in %v, %v of CPU", len(findings), took.Round(time.Second), cpu.Round(time.Second))
	if which == "write" && !t.Failed() {
		if err := write(findings); err != nil {
			t.Fatal(err)
		}
	}
}

// try runs a mutant's tests against it; end is put at the end of its file.
func try(t *testing.T, m mutant, end string) (finding, error) {
	text, err := m.text()
	if err != nil {
		return finding{}, err
	}
	dir := t.TempDir()
	abs, err := filepath.Abs(filepath.Join(root, m.file))
	if err != nil {
		return finding{}, err
	}
	changed, overlay := filepath.Join(dir, filepath.Base(m.file)), filepath.Join(dir, "overlay.json")
	list, err := json.Marshal(map[string]map[string]string{"Replace": {abs: changed}})
	if err != nil {
		return finding{}, err
	}
	if err := errors.Join(os.WriteFile(changed, []byte(text+end), 0o600), os.WriteFile(overlay, list, 0o600)); err != nil {
		return finding{}, err
	}
	r, err := suite(t, m, overlay)
	if err != nil {
		return finding{}, err
	}
	switch {
	case r.exit == 0:
		return finding{}, fmt.Errorf("it survives %v of %s:\n%s", m.by, m.pkg, r.output)
	case strings.Contains(r.output, "[build failed]") || strings.Contains(r.output, "[setup failed]"):
		return finding{}, fmt.Errorf("it does not compile:\n%s", r.output)
	case strings.Contains(r.output, "panic: test timed out"):
		return finding{}, fmt.Errorf("a test hangs instead of failing:\n%s", r.output)
	}
	for _, test := range m.by {
		if !regexp.MustCompile(`(?m)^--- FAIL: ` + test + ` `).MatchString(r.output) {
			return finding{}, fmt.Errorf("%s does not notice it:\n%s", test, r.output)
		}
	}
	return finding{m, r.took, r.cpu, words(r.output, m.by[0])}, nil
}

// catchers is no mutant: it stands for all tests of a package that the table names.
func catchers(pkg string) mutant {
	all := mutant{name: pkg + " as it is", pkg: pkg}
	for _, m := range mutants() {
		if m.pkg == pkg {
			all.by = append(all.by, m.by...)
		}
	}
	slices.Sort(all.by)
	all.by = slices.Compact(all.by)
	return all
}

// pattern selects the mutant's tests.
func (m mutant) pattern() string { return "^(" + strings.Join(m.by, "|") + ")$" }

// result is a run of `go test`.
type result struct {
	exit      int
	output    string
	took, cpu time.Duration
}

// suite runs a mutant's tests with the overlay; "" for the code as it is. An error says that there was no verdict.
func suite(t *testing.T, m mutant, overlay string) (result, error) {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	args := []string{"test", "-p=1", "-count=1", "-vet=off", "-timeout=" + (limit - 20*time.Second).String(), "-run=" + m.pattern(), "./" + m.pkg}
	if usesRapid(m.pkg) { // the same examples each time, no files left in the tree, no long search for the smallest one
		args = append(args, "-rapid.seed=1", "-rapid.checks=300", "-rapid.nofailfile", "-rapid.shrinktime=1s")
	}
	c := exec.CommandContext(ctx, "go", args...)
	c.Dir = root
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, env+"=") && !strings.HasPrefix(e, "GOFLAGS=") {
			c.Env = append(c.Env, e)
		}
	}
	flags := os.Getenv("GOFLAGS")
	if overlay != "" { // not an argument: a test that builds binaries must build the mutant
		flags += " -overlay=" + overlay
	}
	c.Env = append(c.Env, "GOFLAGS="+strings.TrimSpace(flags))
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // the tests' processes, too, end with it
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
	since := time.Now()
	out, err := c.CombinedOutput()
	took := time.Since(since)
	var exit *exec.ExitError
	if ctx.Err() != nil {
		return result{}, fmt.Errorf("%s: no verdict after %v:\n%s", m.name, took, out)
	}
	if err != nil && !errors.As(err, &exit) {
		return result{}, err
	}
	s := c.ProcessState
	return result{s.ExitCode(), string(out), took, s.UserTime() + s.SystemTime()}, nil
}

// usesRapid reports whether the tests of a package take rapid's flags.
func usesRapid(pkg string) bool {
	files, _ := filepath.Glob(filepath.Join(root, pkg, "*_test.go"))
	return slices.ContainsFunc(files, func(f string) bool {
		text, err := os.ReadFile(f)
		return err == nil && strings.Contains(string(text), `"pgregory.net/rapid"`)
	})
}

var (
	failed  = regexp.MustCompile(`^\s*--- FAIL: [^/ ]+(?:/(\S+))? `)
	message = regexp.MustCompile(`^\s+\w+\.go:\d+: (.*)$`)
	rapid   = regexp.MustCompile(`^\[rapid\] failed after \d+ tests?: `)
	change  = regexp.MustCompile(`^\s+[-+][\s\x{a0}]+\S`) // a line of a cmp.Diff, which has blanks of two kinds
	dump    = regexp.MustCompile(`: (&\{|\{").*$`)
)

// words is the first thing that a failing test says: the subtest, if any, and its message without where it stands.
func words(output, test string) string {
	_, after, _ := strings.Cut(output, "--- FAIL: "+test+" ")
	sub, diff := "", false
	for line := range strings.Lines(after) {
		line = strings.TrimRight(line, "\n")
		if f := failed.FindStringSubmatch(line); f != nil && f[1] != "" {
			sub = strings.ReplaceAll(f[1], "_", " ") + ": "
		}
		if diff && change.MatchString(line) {
			return sub + strings.Join(strings.Fields(line), " ")
		}
		found := message.FindStringSubmatch(line)
		if found == nil {
			continue
		}
		text := strings.TrimSpace(rapid.ReplaceAllString(found[1], ""))
		switch diff = diff || strings.HasSuffix(text, "({"); {
		case diff, text == "", strings.HasPrefix(text, "[rapid]"):
		default:
			return sub + strings.TrimSuffix(dump.ReplaceAllString(text, ""), ":")
		}
	}
	return ""
}

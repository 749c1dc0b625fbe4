// Package mutation_test takes the guards of the slot lease out of the product's code, one at a time, and asks the suite
// whether it notices. A guard that can be removed without a failing test is a guard nobody will miss until it is needed.
//
// A mutant is an edit of a product file in a temporary copy that the go command reads instead (-overlay), also where a
// test builds binaries itself (by GOFLAGS); the tree is never touched and the code has no seams for it. Read table_test.go
// (how a mutant is written) first; lease_test.go, gate_test.go and control_test.go hold the mutants by layer, run_test.go
// runs them and report_test.go writes docs/mutations.md.
//
// A plain `go test` checks that the table has not rotted: each text to replace stands in its file exactly once, and what
// comes out type-checks. ROUNDTABLE_MUTANTS=1, or -run Mutants, runs the mutants; ROUNDTABLE_MUTANTS=write also writes
// the table; any other value is a regular expression for the names of those to run.
package mutation_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// root is the module's folder, as tests of this package see it.
const root = "../.."

// TestTable checks the table without running anything: the texts, the names, and that each mutant compiles.
func TestTable(t *testing.T) {
	names, guarded := map[string]bool{}, map[string]bool{}
	all := mutants()
	dirs := []string{}
	for _, m := range all {
		if names[m.name] || m.name == "" || m.world == "" || len(m.by) == 0 {
			t.Errorf("%q: a mutant needs a name of its own, its tests and what it would do in the world", m.name)
		}
		names[m.name], guarded[m.guard] = true, true
		if dir := "./" + filepath.Dir(m.file); !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	for _, g := range guards {
		if !guarded[g] {
			t.Errorf("no mutant removes %s", g)
		}
	}
	p := loadPackages(t, dirs)
	var rounds []map[string]mutant // by file: type-checking takes long, so those of several files are looked at together
	for _, m := range all {
		i := slices.IndexFunc(rounds, func(r map[string]mutant) bool { _, ok := r[m.file]; return !ok })
		if i < 0 {
			i, rounds = len(rounds), append(rounds, map[string]mutant{})
		}
		rounds[i][m.file] = m
	}
	for _, round := range rounds {
		texts := map[string]string{}
		for file, m := range round {
			text, err := m.text()
			if err != nil {
				t.Error(err)
				continue
			}
			texts[file] = text
		}
		if p.check(texts) == nil {
			continue
		}
		for file, text := range texts {
			if err := p.check(map[string]string{file: text}); err != nil {
				t.Errorf("%s does not compile: %v", round[file].name, err)
			}
		}
	}
	if !t.Failed() {
		t.Logf("%d mutants of %d guards in %d packages stand and type-check", len(all), len(guards), len(dirs))
	}
}

// packages are what `go list` knows of the mutated packages and of all that they import, with compiled export data.
type packages struct {
	byDir  map[string]listed // by folder, relative to the module
	fset   *token.FileSet
	parsed map[string]*ast.File
	imp    types.Importer
}

type listed struct {
	ImportPath, Dir, Export string
	GoFiles                 []string
}

func loadPackages(t *testing.T, dirs []string) *packages {
	t.Helper()
	abs, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), "go", append([]string{"list", "-export", "-deps", "-json=ImportPath,Dir,Export,GoFiles"}, dirs...)...)
	c.Dir = abs
	var stderr bytes.Buffer
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &stderr)
	}
	p := &packages{byDir: map[string]listed{}, fset: token.NewFileSet(), parsed: map[string]*ast.File{}}
	exports := map[string]string{}
	for dec := json.NewDecoder(bufio.NewReader(bytes.NewReader(out))); ; {
		var l listed
		if err := dec.Decode(&l); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		exports[l.ImportPath] = l.Export
		if rel, err := filepath.Rel(abs, l.Dir); err == nil && !strings.HasPrefix(rel, "..") {
			p.byDir[rel] = l
		}
	}
	p.imp = importer.ForCompiler(p.fset, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })
	return p
}

// check type-checks the packages of files with other texts for those files.
func (p *packages) check(texts map[string]string) error {
	var errs []error
	dirs := map[string]bool{}
	for file := range texts {
		dirs[filepath.Dir(file)] = true
	}
	for dir := range dirs {
		errs = append(errs, p.checkOne(dir, texts))
	}
	return errors.Join(errs...)
}

func (p *packages) checkOne(dir string, texts map[string]string) error {
	l := p.byDir[dir]
	var files []*ast.File
	for _, name := range l.GoFiles {
		if text, changed := texts[filepath.Join(dir, name)]; changed {
			f, err := parser.ParseFile(p.fset, name, text, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			files = append(files, f)
			continue
		}
		path := filepath.Join(l.Dir, name)
		if p.parsed[path] == nil {
			f, err := parser.ParseFile(p.fset, path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			p.parsed[path] = f
		}
		files = append(files, p.parsed[path])
	}
	conf := types.Config{Importer: p.imp}
	_, err := conf.Check(l.ImportPath, p.fset, files, nil)
	return err
}

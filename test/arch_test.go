package test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// module is the name in go.mod.
const module = "roundtable"

// siblings says which packages of this module the ones below a folder may import; the longest folder that fits counts.
// A package may always import its own subpackages. What is not listed is free: cmd wires everything together, test starts
// real binaries.
var siblings = map[string][]string{
	"chain":           {},
	"pulse":           {},
	"meter":           {},
	"logkey":          {},
	"clock":           {},
	"durable":         {},
	"watch":           {"pulse"},
	"security":        {"durable", "watch"},
	"fsm":             {"chain"},
	"cluster":         {"chain", "fsm", "pulse", "meter", "logkey", "durable", "cluster/health"},
	"cluster/health":  {"chain"},
	"cluster/control": {"chain", "fsm", "meter", "logkey", "cluster/health"},
	"node":            {"chain", "pulse", "meter", "logkey", "clock"},
	"node/versions":   {"durable"}, // files and downloads; who runs a node glues the two
	"backup":          {"chain", "durable"},
	"backup/store":    {"backup", "durable"},
	"backup/worker":   {"backup", "backup/store"},
	"test/baseline":   {}, // what it shows must not be due to code of ours
	"api":             {"chain", "fsm", "meter", "logkey", "security", "cluster", "cluster/health", "cluster/control"},
}

// only says which folders may import what others must not: raft is the business of cluster (and of the baseline that the
// drills compare it with), processes are node's (and the drill's, which starts whole managers).
var only = []struct {
	imported string
	folders  []string
	inTests  bool // whether test files are held to it as well
}{
	{"github.com/hashicorp/raft", []string{"cluster", "test/baseline", "drill", "test/sim"}, true},
	{"os/exec", []string{"node", "drill", "cmd", "test"}, false},
	{"github.com/labstack/echo", []string{"api", "cmd"}, false},
	{"github.com/spf13/cobra", []string{"cmd"}, false},
}

type source struct {
	file    string // relative to the module
	dir     string // of the package, relative to the module
	isTest  bool
	imports []string
	doc     bool
}

// sources parses the package clauses and imports of the whole tree; it does not matter whether it compiles.
func sources(t *testing.T) []source {
	t.Helper()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	var all []source
	err = filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if file != root && (strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") || name == "testdata" || name == "vendor" || name == "bin") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		s := source{file: rel, dir: path.Dir(rel), isTest: strings.HasSuffix(name, "_test.go"), doc: documented(f)}
		for _, i := range f.Imports {
			p, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			s.imports = append(s.imports, p)
		}
		all = append(all, s)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 10 {
		t.Fatalf("found only %d files", len(all))
	}
	return all
}

// documented reports whether the file has a package comment in godoc's form.
func documented(f *ast.File) bool {
	if f.Doc == nil {
		return false
	}
	text := f.Doc.Text()
	return strings.HasPrefix(text, "Package "+f.Name.Name+" ") || f.Name.Name == "main" && strings.HasPrefix(text, "Command ")
}

// within reports whether p is the folder or below it.
func within(p, folder string) bool { return p == folder || strings.HasPrefix(p, folder+"/") }

func TestWhoMayImportWhom(t *testing.T) {
	for _, s := range sources(t) {
		if s.isTest {
			continue
		}
		rule, found := "", false
		for folder := range siblings {
			if within(s.dir, folder) && len(folder) > len(rule) {
				rule, found = folder, true
			}
		}
		if !found {
			continue
		}
		for _, i := range s.imports {
			imported, ok := strings.CutPrefix(i, module+"/")
			if !ok {
				continue
			}
			allowed := within(imported, rule)
			for _, a := range siblings[rule] {
				allowed = allowed || imported == a
			}
			if rule == "cluster" && within(imported, "cluster/control") {
				allowed = false // controllers act through a small interface of their own, not the other way round
			}
			if !allowed {
				t.Errorf("%s imports %s: %s may import only %v", s.file, i, rule, siblings[rule])
			}
		}
	}
}

func TestWhoAloneMayImport(t *testing.T) {
	for _, s := range sources(t) {
		for _, o := range only {
			if s.isTest && !o.inTests {
				continue
			}
			for _, i := range s.imports {
				if !strings.HasPrefix(i, o.imported) {
					continue
				}
				allowed := false
				for _, folder := range o.folders {
					allowed = allowed || within(s.dir, folder)
				}
				if within(s.dir, "cluster/control") || within(s.dir, "cluster/health") {
					allowed = false // they plan and report; they neither replicate nor start processes
				}
				if !allowed {
					t.Errorf("%s imports %s: only %v may", s.file, i, o.folders)
				}
			}
		}
	}
}

func TestEveryPackageIsDocumented(t *testing.T) {
	documented, all := map[string]bool{}, map[string]bool{}
	for _, s := range sources(t) {
		if s.isTest && s.dir == "test" {
			continue // has nothing but tests, this among them
		}
		all[s.dir] = true
		documented[s.dir] = documented[s.dir] || s.doc
	}
	for dir := range all {
		if !documented[dir] {
			t.Errorf("package %s has no package comment that begins with \"Package NAME\" (or \"Command NAME\" for a program)", dir)
		}
	}
}

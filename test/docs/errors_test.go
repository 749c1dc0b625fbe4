package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// sources are the folders whose errors an operator may see with a code.
var sources = []string{"fsm", "cluster", "cluster/control", "api"}

// codes finds every error code in the sources, with where it stands: the rule of a fsm.Refusal, the code of an api.Error,
// what is assigned to one, and what follows a status in a call.
func codes(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, folder := range sources {
		named := map[string]string{} // constants of the package, by name
		files, err := filepath.Glob(filepath.Join(root, folder, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			set := token.NewFileSet()
			parsed, err := parser.ParseFile(set, file, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(parsed, func(n ast.Node) bool {
				if v, ok := n.(*ast.ValueSpec); ok && len(v.Names) == len(v.Values) {
					for i, name := range v.Names {
						if list := texts(v.Values[i], nil); len(list) == 1 {
							named[name.Name] = list[0]
						}
					}
				}
				if _, assigns := n.(*ast.AssignStmt); assigns && folder != "api" {
					return true // a code of something else
				}
				for _, e := range codeOf(n) {
					for _, code := range texts(e, named) {
						found[code] = set.Position(e.Pos()).String()
					}
				}
				return true
			})
		}
	}
	return found
}

// codeOf gives the expressions of codes that stand directly in a node.
func codeOf(n ast.Node) (list []ast.Expr) {
	switch v := n.(type) {
	case *ast.CompositeLit:
		name := ""
		switch typed := v.Type.(type) {
		case *ast.Ident:
			name = typed.Name
		case *ast.SelectorExpr:
			name = typed.Sel.Name
		}
		for i, e := range v.Elts {
			pair, keyed := e.(*ast.KeyValueExpr)
			switch {
			case name == "Refusal" && !keyed && i == 0:
				list = append(list, e)
			case keyed && (name == "Refusal" && isName(pair.Key, "Rule") || name == "Error" && isName(pair.Key, "Code")):
				list = append(list, pair.Value)
			}
		}
	case *ast.AssignStmt:
		for i, left := range v.Lhs {
			if field, ok := left.(*ast.SelectorExpr); ok && field.Sel.Name == "Code" && i < len(v.Rhs) {
				list = append(list, v.Rhs[i])
			}
		}
	case *ast.CallExpr:
		for i := 1; i < len(v.Args); i++ {
			if s, ok := v.Args[i-1].(*ast.SelectorExpr); ok && isName(s.X, "http") && strings.HasPrefix(s.Sel.Name, "Status") {
				list = append(list, v.Args[i])
			}
		}
	}
	return list
}

func isName(e ast.Expr, name string) bool {
	id, ok := e.(*ast.Ident)
	return ok && id.Name == name
}

var codeShape = regexp.MustCompile(`^[a-z]+([._][a-z]+)*$`)

// texts are the codes that an expression can have: a literal, a constant, or the one that is put together of an operation's
// outcome.
func texts(e ast.Expr, named map[string]string) []string {
	switch v := e.(type) {
	case *ast.Ident:
		if code, ok := named[v.Name]; ok {
			return []string{code}
		}
	case *ast.BasicLit:
		if s, err := strconv.Unquote(v.Value); err == nil && codeShape.MatchString(s) {
			return []string{s}
		}
	case *ast.BinaryExpr:
		if prefix, ok := v.X.(*ast.BasicLit); ok && prefix.Value == `"operation."` {
			return []string{"operation.failed", "operation.canceled", "operation.expired"}
		}
	}
	return nil
}

var errorRow = regexp.MustCompile("^\\| <a id=\"([a-z._-]+)\"></a>`([a-z._]+)` \\| \\d{3}(, \\d{3})* \\|")

// TestEveryErrorIsExplained wants a row of docs/reference/errors.md for each code, with an anchor, and none for a code that is
// not there.
func TestEveryErrorIsExplained(t *testing.T) {
	inCode := codes(t)
	if len(inCode) < 25 {
		t.Fatalf("only %d codes were found in the code: %v", len(inCode), slices.Sorted(maps.Keys(inCode)))
	}
	rows := map[string]bool{}
	for i, line := range pageOf(t, "docs/reference/errors.md").lines {
		m := errorRow.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		if m[1] != m[2] || rows[m[2]] {
			t.Errorf("errors.md:%d: the anchor of %s is %q, or it stands there twice", i+1, m[2], m[1])
		}
		rows[m[2]] = true
	}
	for code, where := range inCode {
		if !rows[code] {
			t.Errorf("%s: the code %s is not in docs/reference/errors.md", where, code)
		}
	}
	for code := range rows {
		if inCode[code] == "" {
			t.Errorf("docs/reference/errors.md explains %s, which is in no source", code)
		}
	}
}

var (
	gateReason = regexp.MustCompile(`Reason\w+ += "([a-z_]+)"`)
	gateRow    = regexp.MustCompile("^\\| <a id=\"gate-([a-z_]+)\"></a>`([a-z_]+)` \\|")
)

// TestEveryGateReasonIsExplained does the same for the reasons of the signing gate.
func TestEveryGateReasonIsExplained(t *testing.T) {
	source, err := os.ReadFile(filepath.Join(root, "node", "gate", "refusal.go"))
	if err != nil {
		t.Fatal(err)
	}
	var inCode, rows []string
	for _, m := range gateReason.FindAllStringSubmatch(string(source), -1) {
		inCode = append(inCode, m[1])
	}
	for _, line := range pageOf(t, "docs/reference/errors.md").lines {
		if m := gateRow.FindStringSubmatch(line); m != nil && m[1] == m[2] {
			rows = append(rows, m[1])
		}
	}
	slices.Sort(inCode)
	slices.Sort(rows)
	if len(inCode) < 10 || !slices.Equal(inCode, rows) {
		t.Errorf("the gate's reasons are\n%v, docs/reference/errors.md has\n%v", inCode, rows)
	}
}

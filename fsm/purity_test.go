package fsm

import (
	"go/parser"
	"go/token"
	"os"
	"strconv"
	"strings"
	"testing"
)

// The state machine must give the same state from the same log on every member, whenever and wherever it runs: no clock,
// no I/O, no goroutine, no randomness. Of its siblings it may know chain only.
func TestPurity(t *testing.T) {
	allowed := map[string]bool{
		"bytes": true, "cmp": true, "encoding/json": true, "errors": true, "fmt": true, "maps": true, "slices": true, "strings": true,
		"unicode/utf8": true, "roundtable/chain": true,
	}
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".go") || strings.HasSuffix(f.Name(), "_test.go") {
			continue
		}
		src, err := parser.ParseFile(token.NewFileSet(), f.Name(), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range src.Imports {
			path, _ := strconv.Unquote(i.Path.Value)
			if !allowed[path] {
				t.Errorf("%s imports %s: the state machine has to stay pure", f.Name(), path)
			}
		}
		for _, word := range []string{"go func", "chan ", "float64", "float32", "println(", "fmt.Print", "fmt.Fprint"} {
			if body, err := os.ReadFile(f.Name()); err != nil || strings.Contains(string(body), word) {
				t.Errorf("%s contains %q (%v)", f.Name(), word, err)
			}
		}
	}
}

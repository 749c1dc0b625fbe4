package config

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var rewrite = flag.Bool("rewrite", false, "write docs/reference/config.md anew")

// reference is where the operators read the keys.
var reference = filepath.Join("..", "..", "..", "docs", "reference", "config.md")

const referenceHead = `# Configuration: config.toml

<!-- Written by: go test ./cmd/roundtable/config -run Reference -rewrite. Change the comments in config.go instead. -->

` + "`roundtable init`" + ` writes the file, ` + "`roundtable run --home DIR`" + ` reads ` + "`DIR/config.toml`" + `.

- A variable of the environment wins over the file. A list is written with commas: ` + "`ROUNDTABLE_MANAGER_JOIN=a:9060,b:9060`" + `.
- An unknown key, or a variable that starts like a section of ours and is none, stops the start. All problems are told at once,
  each with file, key, value and hint.
- A relative path starts in the home. A duration is written ` + "`300ms`, `2m`, `1h30m`" + `, a size in bytes ` + "`20MiB`, `500GB`, `4096`" + `.
- A change of the file is noticed, however it is made, and checked as a whole. A bad one is refused, with a line of the log and an
  alarm for what is wrong, and what was in force stays. When a good one takes effect is said in the column *change*:
  ` + "`live`" + `, at once; ` + "`node`" + `, with the node's next start, which a rollout brings about member by member; ` + "`manager`" + `, with the manager's next
  start, one member at a time: [planned reboot](../handbook.md#planned-reboot). The log names the keys that wait for it.
- Secrets never stand in this file: they are in files of their own, and the keys below name those.
`

// TestReference holds docs/reference/config.md to the keys, defaults and comments of this package.
func TestReference(t *testing.T) {
	want := referenceText(t)
	if *rewrite {
		if err := os.WriteFile(reference, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, string(have)); d != "" {
		t.Errorf("docs/reference/config.md is not what the code says (go test ./cmd/roundtable/config -run Reference -rewrite):\n%s", d)
	}
}

// referenceText is the page: a table for each section, in the order of the structs.
func referenceText(t *testing.T) string {
	t.Helper()
	said := structComments(t)
	var b strings.Builder
	b.WriteString(referenceHead)
	section, tables := "-", ""
	for _, f := range Default().fields() {
		in, name, nested := strings.Cut(f.key, ".")
		if !nested {
			in, name = "", in
		}
		owner := sectionType(in)
		if in != section {
			b.WriteString(tables)
			section, tables = in, ""
			heading, about := "## ["+in+"]", said[owner.Name()]
			if in == "" {
				heading, about = "## At the top", "Before the first section."
			}
			fmt.Fprintf(&b, "\n%s\n\n%s\n\n| key | value | default | environment | change | meaning |\n|---|---|---|---|---|---|\n", heading, about)
		}
		if of, ok := tableOf(f.value.Type()); ok {
			tables = tableText(t, f, of, said)
		}
		meaning, byDefault := meanings(t, said, owner, f)
		fmt.Fprintf(&b, "| `%s` | %s | %s | `%s` | %s | %s |\n", name, kindWords(t, f), byDefault, env(f.key), f.class, meaning)
	}
	return b.String() + tables
}

// tableText is a section of its own for the entries of a table.
func tableText(t *testing.T, f field, of reflect.Type, said map[string]string) string {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "\n### [%s.NAME]\n\n%s Each counts at once (`%s`); the environment has only `%s`, for all of them, as TOML.\n\n| key | value | default | meaning |\n|---|---|---|---|\n",
		f.key, said[of.Name()], f.class, env(f.key))
	for _, in := range f.inside("") {
		meaning, byDefault := meanings(t, said, of, in)
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", names([]field{in})[0], kindWords(t, in), byDefault, meaning)
	}
	return b.String()
}

// meanings are what a key's comment says: what it is, and its default.
func meanings(t *testing.T, said map[string]string, owner reflect.Type, f field) (meaning, byDefault string) {
	t.Helper()
	if meaning = said[owner.Name()+"."+names([]field{f})[0]]; meaning == "" {
		t.Errorf("%s has no comment: the reference is made of it", f.key)
	}
	meaning, byDefault, _ = strings.Cut(strings.ReplaceAll(meaning, "|", `\|`), "; default: ")
	if byDefault == "" {
		byDefault = defaultWords(f)
	}
	return meaning, byDefault
}

// sectionType is the struct of a section; that of the whole for "".
func sectionType(section string) reflect.Type {
	whole := reflect.TypeFor[Config]()
	for i := range whole.NumField() {
		if section != "" && whole.Field(i).Tag.Get("toml") == section {
			return whole.Field(i).Type
		}
	}
	return whole
}

func kindWords(t *testing.T, f field) string {
	t.Helper()
	switch f.value.Interface().(type) {
	case Duration:
		return "duration"
	case Size:
		return "size"
	case map[string]Repository:
		return "table of sections"
	case string:
		return "text"
	case bool:
		return "true, false"
	case int:
		return "number"
	case []string:
		return "list of texts"
	case map[string]string:
		return "table of texts"
	}
	t.Errorf("%s: no words for a %s", f.key, f.value.Type())
	return ""
}

func defaultWords(f field) string {
	if _, ok := f.value.Interface().(Size); ok && f.value.IsZero() || f.value.IsZero() && f.value.Kind() != reflect.Bool && f.value.Kind() != reflect.Int {
		return ""
	}
	return fmt.Sprintf("`%v`", f.value.Interface())
}

// structComments reads what the package's source says: by "Type" the doc comment of a struct without its name, by
// "Type.key" the comment of a field.
func structComments(t *testing.T) map[string]string {
	t.Helper()
	said := map[string]string{}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range parsed.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.TYPE {
				continue
			}
			for _, spec := range g.Specs {
				s := spec.(*ast.TypeSpec)
				if body, ok := s.Type.(*ast.StructType); ok {
					said[s.Name.Name] = sentence(strings.TrimPrefix(strings.TrimPrefix(g.Doc.Text(), s.Name.Name+" "), "is "))
					fieldComments(said, s.Name.Name, body)
				}
			}
		}
	}
	return said
}

func fieldComments(said map[string]string, owner string, body *ast.StructType) {
	for _, f := range body.Fields.List {
		if f.Tag == nil {
			continue
		}
		tag, err := strconv.Unquote(f.Tag.Value)
		if err != nil {
			continue
		}
		said[owner+"."+reflect.StructTag(tag).Get("toml")] = oneLine(f.Doc.Text() + " " + f.Comment.Text())
	}
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

func sentence(s string) string {
	s = oneLine(s)
	return strings.ToUpper(s[:1]) + s[1:]
}

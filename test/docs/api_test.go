package docs

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

var rewrite = flag.Bool("rewrite", false, "write docs/reference/api.md anew")

const (
	contract  = "api/openapi.yaml"
	reference = "docs/reference/api.md"
)

// object is a mapping of the contract that keeps the order of its keys.
type object struct {
	keys   []string
	values map[string]*yaml.Node
}

func objectOf(n *yaml.Node) object {
	o := object{values: map[string]*yaml.Node{}}
	for i := 0; n != nil && n.Kind == yaml.MappingNode && i < len(n.Content); i += 2 {
		o.keys = append(o.keys, n.Content[i].Value)
		o.values[n.Content[i].Value] = n.Content[i+1]
	}
	return o
}

func (o object) object(key string) object { return objectOf(o.values[key]) }

func (o object) text(key string) string {
	if n := o.values[key]; n != nil && n.Kind == yaml.ScalarNode {
		return strings.Join(strings.Fields(n.Value), " ")
	}
	return ""
}

// paragraphs is a longer text, as it is to stand on the page.
func (o object) paragraphs(key string) string {
	n := o.values[key]
	if n == nil {
		return ""
	}
	var list []string
	for p := range strings.SplitSeq(n.Value, "\n\n") {
		list = append(list, strings.TrimSpace(p))
	}
	return strings.Join(list, "\n\n")
}

func (o object) list(key string) (list []object) {
	if n := o.values[key]; n != nil {
		for _, e := range n.Content {
			list = append(list, objectOf(e))
		}
	}
	return list
}

func (o object) texts(key string) (list []string) {
	if n := o.values[key]; n != nil {
		for _, e := range n.Content {
			list = append(list, e.Value)
		}
	}
	return list
}

// spec is the whole contract.
type spec struct{ object }

func readSpec(t *testing.T) spec {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, contract))
	if err != nil {
		t.Fatal(err)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(content, &doc); err != nil {
		t.Fatal(err)
	}
	return spec{objectOf(doc.Content[0])}
}

// follow resolves a $ref within the file.
func (s spec) follow(o object) object {
	ref, ok := strings.CutPrefix(o.text("$ref"), "#/")
	if !ok {
		return o
	}
	at := s.object
	for part := range strings.SplitSeq(ref, "/") {
		at = at.object(part)
	}
	return at
}

// name is the last part of a $ref, or "".
func name(o object) string {
	ref := o.text("$ref")
	return ref[strings.LastIndexByte(ref, '/')+1:]
}

var methods = []string{"get", "post", "put", "patch", "delete"}

// TestAPIReference holds docs/reference/api.md to the contract.
func TestAPIReference(t *testing.T) {
	want := apiText(readSpec(t))
	if *rewrite {
		if err := os.WriteFile(filepath.Join(root, reference), []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(filepath.Join(root, reference))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, string(have)); d != "" {
		t.Errorf("%s is not what %s says (go test ./test/docs -run APIReference -rewrite):\n%s", reference, contract, d)
	}
}

const apiHead = `# The HTTP API

<!-- Written by: go test ./test/docs -run APIReference -rewrite. Change api/openapi.yaml instead. -->

Every manager serves it (` + "`manager.api`" + `, port 9080), any member answers, and what must go to the leader is sent there. The contract is
` + "`api/openapi.yaml`" + `, served at ` + "`GET /openapi.yaml`" + `. Errors: [errors.md](errors.md). Who may ask for what: [security.md](../security.md#who-may-ask-for-what).

`

func apiText(s spec) string {
	var b strings.Builder
	b.WriteString(apiHead)
	if about := s.object.object("info").paragraphs("description"); about != "" {
		b.WriteString(about + "\n\n")
	}
	b.WriteString("| request | role | |\n|---|---|---|\n")
	paths := s.object.object("paths")
	each := func(f func(method, path string, op, all object)) {
		for _, path := range paths.keys {
			all := paths.object(path)
			for _, m := range methods {
				if slices.Contains(all.keys, m) {
					f(strings.ToUpper(m), path, all.object(m), all)
				}
			}
		}
	}
	each(func(method, path string, op, _ object) {
		fmt.Fprintf(&b, "| [`%s %s`](#%s) | %s | %s |\n", method, path, slug(method, path), role(op), op.text("summary"))
	})
	each(func(method, path string, op, all object) {
		fmt.Fprintf(&b, "\n## <a id=\"%s\"></a>%s %s\n\n", slug(method, path), method, path)
		s.operation(&b, op, all)
	})
	b.WriteString("\n# Shapes\n")
	schemas := s.object.object("components").object("schemas")
	for _, n := range schemas.keys {
		fmt.Fprintf(&b, "\n## <a id=\"shape-%s\"></a>%s\n\n", strings.ToLower(n), n)
		s.schema(&b, schemas.object(n))
	}
	return b.String()
}

func slug(method, path string) string {
	return strings.ToLower(method + strings.NewReplacer("/", "-", "{", "", "}", "", ".", "-").Replace(path))
}

// role is what a request needs, as the contract's x-role has it.
func role(op object) string {
	if r := op.text("x-role"); r != "" {
		return r
	}
	return "none"
}

func (s spec) operation(b *strings.Builder, op, all object) {
	fmt.Fprintf(b, "%s.\n\n", strings.TrimSuffix(op.text("summary"), "."))
	if about := op.paragraphs("description"); about != "" {
		fmt.Fprintf(b, "%s\n\n", about)
	}
	fmt.Fprintf(b, "Role: %s.\n", role(op))
	if list := append(all.list("parameters"), op.list("parameters")...); len(list) > 0 {
		b.WriteString("\n| parameter | in | value | |\n|---|---|---|---|\n")
		for _, p := range list {
			p = s.follow(p)
			fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", p.text("name"), p.text("in"), s.kind(p.object("schema")), cell(p.text("description")))
		}
	}
	if body := s.follow(op.object("requestBody")); len(body.keys) > 0 {
		schema := body.object("content").object("application/json").object("schema")
		fmt.Fprintf(b, "\nBody: %s.\n", s.kind(schema))
		if name(schema) == "" {
			b.WriteByte('\n')
			s.schema(b, schema)
		}
	}
	b.WriteString("\n| status | answer | |\n|---|---|---|\n")
	responses := op.object("responses")
	for _, status := range responses.keys {
		r := s.follow(responses.object(status))
		if status == "default" {
			continue // any request may fail: errors.md
		}
		var shapes []string
		content := r.object("content")
		for _, media := range content.keys {
			shape := s.kind(content.object(media).object("schema"))
			if media != "application/json" {
				shape = "`" + media + "`"
			}
			if !slices.Contains(shapes, shape) {
				shapes = append(shapes, shape)
			}
		}
		fmt.Fprintf(b, "| %s | %s | %s |\n", status, strings.Join(shapes, " or "), cell(r.text("description")))
	}
}

// schema writes the fields of an object as a table; of anything else one line.
func (s spec) schema(b *strings.Builder, o object) {
	if about := o.paragraphs("description"); about != "" {
		fmt.Fprintf(b, "%s\n\n", about)
	}
	fields := s.fields(o)
	if len(fields) == 0 {
		fmt.Fprintf(b, "%s\n", s.kind(o))
		return
	}
	b.WriteString("| field | value | |\n|---|---|---|\n")
	for _, f := range fields {
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", f.name, s.kind(f.schema), cell(f.schema.text("description")))
	}
}

type namedSchema struct {
	name   string
	schema object
}

// fields are those of an object and of all that it is made of.
func (s spec) fields(o object) (list []namedSchema) {
	o = s.follow(o)
	for _, part := range o.list("allOf") {
		list = append(list, s.fields(part)...)
	}
	properties := o.object("properties")
	for _, p := range properties.keys {
		list = append(list, namedSchema{p, properties.object(p)})
	}
	return list
}

// kind says in a few words what a value is.
func (s spec) kind(o object) string {
	switch {
	case name(o) != "":
		return fmt.Sprintf("[%s](#shape-%s)", name(o), strings.ToLower(name(o)))
	case len(o.texts("enum")) > 0:
		return "`" + strings.Join(o.texts("enum"), "`, `") + "`"
	case o.text("const") != "":
		return "`" + o.text("const") + "`"
	case o.text("type") == "array":
		return "list of " + s.kind(o.object("items"))
	case len(o.list("oneOf"))+len(o.list("anyOf"))+len(o.list("allOf")) > 0:
		var parts []string
		for _, p := range slices.Concat(o.list("oneOf"), o.list("anyOf"), o.list("allOf")) {
			parts = append(parts, s.kind(p))
		}
		return strings.Join(parts, " or ")
	case o.text("type") == "object" && slices.Contains(o.keys, "additionalProperties") && len(s.fields(o)) == 0:
		if inner := o.object("additionalProperties"); len(inner.keys) > 0 {
			return "table of " + s.kind(inner)
		}
		return "object"
	}
	text := o.text("type")
	if text == "" {
		text = strings.Join(o.texts("type"), " or ")
	}
	switch format := o.text("format"); format {
	case "", "int32", "int64", "uint32", "uint64", "double", "float":
	default:
		text += " (" + format + ")"
	}
	return text
}

func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }

var request = regexp.MustCompile(`\b(GET|POST|PUT|PATCH|DELETE) (/[a-z][a-zA-Z0-9/:{}._-]*)`)

// TestRequestsExist looks up every request that the documentation names in the contract.
func TestRequestsExist(t *testing.T) {
	paths := readSpec(t).object.object("paths")
	known := map[string]bool{}
	variable := regexp.MustCompile(`\{[^}]*\}|:[a-z]+`)
	for _, p := range paths.keys {
		for _, m := range paths.object(p).keys {
			known[strings.ToUpper(m)+" "+variable.ReplaceAllString(p, "*")] = true
		}
	}
	found := 0
	for _, p := range pages(t) {
		if p.file == reference || strings.HasPrefix(p.file, "docs/decisions/") {
			continue
		}
		for i, line := range p.lines {
			for _, m := range request.FindAllStringSubmatch(line, -1) {
				found++
				path := strings.TrimRight(m[2], "./")
				if strings.HasPrefix(path, "/v1/") || strings.HasPrefix(path, "/health") { // nodeos', and one path for each check
					continue
				}
				if !known[m[1]+" "+variable.ReplaceAllString(path, "*")] {
					t.Errorf("%s:%d: %s is not in %s", p.file, i+1, m[0], contract)
				}
			}
		}
	}
	if found < 3 {
		t.Errorf("only %d requests were found", found)
	}
}

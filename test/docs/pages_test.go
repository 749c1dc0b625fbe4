package docs

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode"
)

// root is the module's folder.
const root = "../.."

// page is one file of the documentation, split into what is code and what is text.
type page struct {
	file    string   // relative to the module, such as docs/handbook.md
	lines   []string // as they stand
	text    []string // the same lines, code in them blanked
	blocks  []block
	spans   []span // `code` within the text
	anchors map[string]bool
}

// block is a fenced or indented piece of code.
type block struct {
	info string // what stands behind the fence, such as "sh"; "" for an indented one
	line int    // of its first line of code, from 1
	code []string
}

// span is a piece of code within a line of text.
type span struct {
	line int
	code string
}

var (
	inlineCode = regexp.MustCompile("`([^`]+)`")
	anchorTag  = regexp.MustCompile(`<a (?:id|name)="([^"]+)">`)
	comment    = regexp.MustCompile(`<!--.*?-->`)
)

// pages reads everything that is written for people.
func pages(t *testing.T) []*page {
	t.Helper()
	var all []*page
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if n := d.Name(); file != root && (strings.HasPrefix(n, ".") || n == "bin" || n == "testdata") {
				return filepath.SkipDir
			}
			return nil
		}
		if filepath.Ext(file) != ".md" {
			return nil
		}
		rel, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		content, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		all = append(all, parse(filepath.ToSlash(rel), string(content)))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 10 {
		t.Fatalf("only %d pages were found", len(all))
	}
	return all
}

// goFiles are the sources of the program, without tests.
func goFiles(t *testing.T) []string {
	t.Helper()
	var list []string
	if err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if n := d.Name(); d.IsDir() && file != root && (strings.HasPrefix(n, ".") || n == "test" || n == "bin") {
			return filepath.SkipDir
		}
		if filepath.Ext(file) == ".go" && !strings.HasSuffix(file, "_test.go") {
			list = append(list, file)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return list
}

// pageOf is the page of a file.
func pageOf(t *testing.T, file string) *page {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, file))
	if err != nil {
		t.Fatal(err)
	}
	return parse(file, string(content))
}

// parse reads as much of Markdown as the pages use.
func parse(file, content string) *page {
	p := &page{file: file, lines: strings.Split(content, "\n"), anchors: map[string]bool{}}
	fence, indented := false, false
	for i, line := range p.lines {
		trimmed := strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(trimmed, "```"):
			if fence = !fence; fence {
				p.blocks = append(p.blocks, block{info: strings.TrimPrefix(trimmed, "```"), line: i + 2})
			}
			p.text = append(p.text, "")
			continue
		case fence:
			last := &p.blocks[len(p.blocks)-1]
			last.code = append(last.code, line)
			p.text = append(p.text, "")
			continue
		case strings.HasPrefix(line, "    ") && trimmed != "" && (indented || i == 0 || strings.TrimSpace(p.lines[i-1]) == ""):
			if !indented {
				p.blocks = append(p.blocks, block{line: i + 1})
			}
			indented = true
			last := &p.blocks[len(p.blocks)-1]
			last.code = append(last.code, trimmed)
			p.text = append(p.text, "")
			continue
		}
		indented = false
		p.prose(i, comment.ReplaceAllString(line, ""))
	}
	return p
}

// prose takes one line of text.
func (p *page) prose(i int, line string) {
	for _, m := range inlineCode.FindAllStringSubmatch(line, -1) {
		p.spans = append(p.spans, span{i + 1, m[1]})
	}
	for _, m := range anchorTag.FindAllStringSubmatch(line, -1) {
		p.anchors[m[1]] = true
	}
	if heading := strings.TrimLeft(line, "#"); heading != line && strings.HasPrefix(heading, " ") {
		p.heading(strings.TrimSpace(heading))
	}
	p.text = append(p.text, inlineCode.ReplaceAllString(line, ""))
}

// heading adds the anchor that the usual viewers give to a heading.
func (p *page) heading(text string) {
	text = anchorTag.ReplaceAllString(strings.ReplaceAll(text, "</a>", ""), "")
	var slug strings.Builder
	for _, r := range strings.ToLower(strings.TrimSpace(text)) {
		switch {
		case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
			slug.WriteRune(r)
		case r == ' ':
			slug.WriteByte('-')
		}
	}
	name := slug.String()
	for n := 1; p.anchors[name]; n++ {
		name = slug.String() + "-" + strconv.Itoa(n)
	}
	p.anchors[name] = true
}

var link = regexp.MustCompile(`\[[^\]]*\]\(([^)\s]+)\)`)

// TestLinks follows every link that stays in this repository.
func TestLinks(t *testing.T) {
	known := map[string]*page{}
	for _, p := range pages(t) {
		known[p.file] = p
	}
	followed := 0
	for _, p := range known {
		for i, line := range p.lines {
			if p.text[i] == "" {
				continue // code
			}
			for _, m := range link.FindAllStringSubmatch(line, -1) {
				target, anchor, _ := strings.Cut(m[1], "#")
				if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
					continue
				}
				followed++
				file := p.file
				if target != "" {
					file = path.Join(path.Dir(p.file), target)
				}
				if _, err := os.Stat(filepath.Join(root, file)); err != nil {
					t.Errorf("%s:%d: the link %s leads nowhere: %v", p.file, i+1, m[1], err)
				} else if to := known[file]; anchor != "" && (to == nil || !to.anchors[anchor]) {
					t.Errorf("%s:%d: %s has no anchor #%s", p.file, i+1, file, anchor)
				}
			}
		}
	}
	if followed < 20 {
		t.Errorf("only %d links were found", followed)
	}
}

// ours are the first parts of paths in this repository.
var ours = regexp.MustCompile(`^(api|backup|chain|clock|cluster|cmd|deploy|docs|drill|fsm|manager|node|pulse|security|test)/[\w./*-]*$`)

// TestFilesExist looks for the files and folders of this repository that the text names.
func TestFilesExist(t *testing.T) {
	ignored, err := os.ReadFile(filepath.Join(root, ".gitignore"))
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, p := range pages(t) {
		if p.file == "docs/reference/files.md" {
			continue // its paths are below a manager's home
		}
		for _, s := range p.spans {
			if !ours.MatchString(s.code) || strings.Contains(string(ignored), "\n/"+strings.TrimSuffix(s.code, "/")+"/\n") {
				continue // what git ignores is made by whoever needs it
			}
			found++
			matches, err := filepath.Glob(filepath.Join(root, s.code) + "*") // also docs/decisions/0006
			if err != nil || len(matches) == 0 {
				t.Errorf("%s:%d: there is no %s", p.file, s.line, s.code)
			}
		}
	}
	if found < 20 {
		t.Errorf("only %d files were found in the text", found)
	}
}

// TestIndex wants every page below docs in its index; of the decisions the folder is there.
func TestIndex(t *testing.T) {
	index := strings.Join(pageOf(t, "docs/README.md").lines, "\n")
	for _, p := range pages(t) {
		rel, ok := strings.CutPrefix(p.file, "docs/")
		if ok && rel != "README.md" && !strings.HasPrefix(rel, "decisions/") && !strings.Contains(index, "("+rel+")") {
			t.Errorf("docs/README.md does not name %s", rel)
		}
	}
}

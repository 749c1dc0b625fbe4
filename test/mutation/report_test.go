package mutation_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// page holds the table between the marks; what stands around it is written by hand.
const (
	page  = "docs/mutations.md"
	begin = "<!-- written by ROUNDTABLE_MUTANTS=write go test ./test/mutation: begin -->\n"
	end   = "<!-- end -->\n"
	most  = 120 // characters of a failure's words
)

// write replaces the table in the page.
func write(findings []finding) error {
	file := filepath.Join(root, page)
	old, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	before, rest, ok := bytes.Cut(old, []byte(begin))
	_, after, ok2 := bytes.Cut(rest, []byte(end))
	if !ok || !ok2 {
		return errors.New("no marks in " + page)
	}
	var b bytes.Buffer
	b.Write(before)
	b.WriteString(begin)
	table(&b, findings)
	b.WriteString(end)
	b.Write(after)
	return os.WriteFile(file, b.Bytes(), 0o644)
}

func table(b *bytes.Buffer, findings []finding) {
	fmt.Fprintf(b, "| guard | mutant | caught by | seconds | the failure said | in the world |\n|---|---|---|---|---|---|\n")
	guard := ""
	var cpu, longest time.Duration
	for _, f := range findings {
		g := ""
		if f.guard != guard {
			guard, g = f.guard, "**"+f.guard+"**"
		}
		fmt.Fprintf(b, "| %s | %s (`%s`) | %s (`%s`) | %.1f | %s | %s |\n", g, f.name, f.file, strings.Join(f.by, ", "), f.pkg, f.took.Seconds(), cell(f.words), f.world)
		cpu, longest = cpu+f.cpu, max(longest, f.took)
	}
	fmt.Fprintf(b, "\n%d mutants, all caught; the slowest in %.1f s; %d s of CPU in all, building included.\n", len(findings), longest.Seconds(), int(cpu.Seconds()))
}

// cell makes a failure's words fit a cell.
func cell(s string) string {
	if utf8.RuneCountInString(s) > most {
		s = string([]rune(s)[:most]) + "..."
	}
	return strings.NewReplacer("|", "\\|", "<", "&lt;", "\n", " ").Replace(s)
}

// TestPage checks that the page has a row for every mutant, and no row for one that is gone.
func TestPage(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, page))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), begin)
	rows, _, _ := strings.Cut(rest, end)
	all := mutants()
	for _, m := range all {
		if !strings.Contains(rows, "| "+m.name+" (`"+m.file+"`)") {
			t.Errorf("%s has no row for %q: write it with %s=write", page, m.name, env)
		}
	}
	if n := strings.Count(rows, "\n| "); n != len(all) {
		t.Errorf("%s has %d rows for %d mutants: write it with %s=write", page, n, len(all), env)
	}
}

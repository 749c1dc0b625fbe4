package docs

import (
	"maps"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// command is one command of the program with what its help says.
type command struct {
	names    []string // its aliases
	children map[string]*command
	flags    []string // "--to"
}

var (
	helpChild = regexp.MustCompile(`^  ([a-z][a-z-]*)\s`)
	helpFlag  = regexp.MustCompile(`^\s+(?:-\w, )?(--[a-z][a-z-]*)`)
)

// tree asks the program for all its commands.
func tree(t *testing.T, words ...string) *command {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), filepath.Join(built, "roundtable"), append(words, "--help")...).Output()
	if err != nil {
		t.Fatalf("roundtable %v --help: %v", words, err)
	}
	c := &command{children: map[string]*command{}}
	section := "Usage:" // the heading that a line stands below; the first commands are in groups with headings of their own
	for line := range strings.SplitSeq(string(out), "\n") {
		switch {
		case strings.HasSuffix(line, ":") && !strings.HasPrefix(line, " "):
			section = line
		case strings.HasPrefix(section, "Flags"):
			if m := helpFlag.FindStringSubmatch(line); m != nil {
				c.flags = append(c.flags, m[1])
			}
		case section == "Aliases:":
			c.names = append(c.names, strings.FieldsFunc(line, func(r rune) bool { return r == ',' || r == ' ' })...)
		case section == "Commands:", len(words) == 0 && section != "Usage:":
			if m := helpChild.FindStringSubmatch(line); m != nil {
				c.children[m[1]] = nil
			}
		}
	}
	for _, name := range slices.Collect(maps.Keys(c.children)) {
		if name == "help" {
			continue
		}
		child := tree(t, append(slices.Clone(words), name)...)
		for _, n := range append(child.names, name) {
			c.children[n] = child
		}
	}
	return c
}

var (
	separators  = regexp.MustCompile(`[|;&<>()#]+|\$\(`)
	placeholder = regexp.MustCompile(`[A-Z]{2,}|\.\.\.|^[-\[\]]`)
	// notCalled are the words before the program's name where a user, a unit or a file of that name is meant.
	notCalled = regexp.MustCompile(`^(-u|-n|-o|-g|--user|\d+|stop|start|restart|status|reload|enable|disable|--now|chown|chmod|edit|mask|into|root:.*)$`)
)

// invocations are the calls of roundtable in a line of shell: what follows its name.
func invocations(line string) (list [][]string) {
	for _, part := range separators.Split(line, -1) {
		words := strings.Fields(part)
		for i, w := range words {
			called := w == "roundtable" || strings.HasSuffix(w, "/roundtable")
			if called && i+1 < len(words) && (i == 0 || !notCalled.MatchString(words[i-1])) {
				list = append(list, words[i+1:])
				break
			}
		}
	}
	return list
}

// TestCommandsExist looks up every roundtable command of the documentation, with its flags, in the program's own help. (What
// the program itself tells to type is looked up by a test of cmd/roundtable.)
func TestCommandsExist(t *testing.T) {
	all, found := tree(t), 0
	for _, p := range pages(t) {
		check := func(line int, code string) {
			for _, words := range invocations(code) {
				found++
				if problem := lookUp(all, words); problem != "" {
					t.Errorf("%s:%d: %s: %s", p.file, line, strings.TrimSpace(code), problem)
				}
			}
		}
		for _, b := range p.blocks {
			if b.info != "" && b.info != "sh" && !strings.HasPrefix(b.info, "sh ") {
				continue
			}
			for i, line := range joined(b.code) {
				line, _, _ = strings.Cut(line, " # ")
				line, _, _ = strings.Cut(line, "   ") // an explanation in the next column
				check(b.line+i, line)
			}
		}
		for _, s := range p.spans {
			check(s.line, s.code)
		}
	}
	if found < 20 {
		t.Errorf("only %d commands were found", found)
	}
}

// joined puts lines that end with a backslash together; the lines keep their numbers.
func joined(code []string) []string {
	out := slices.Clone(code)
	for i := len(out) - 2; i >= 0; i-- {
		if head, ok := strings.CutSuffix(strings.TrimRight(out[i], " "), `\`); ok {
			out[i], out[i+1] = head+" "+strings.TrimSpace(out[i+1]), ""
		}
	}
	return out
}

// lookUp says what of a command line the program does not know, or "".
func lookUp(c *command, words []string) string {
	for _, w := range words {
		w = strings.Trim(w, "[]'\"`,")
		name, _, _ := strings.Cut(w, "=")
		switch child, known := c.children[w]; {
		case w == "help" || strings.HasPrefix(name, "--help") || name == "--version":
			return ""
		case strings.HasPrefix(name, "--"):
			if !slices.Contains(c.flags, name) {
				return "there is no flag " + name
			}
		case known && child != nil:
			c = child
		case len(c.children) > 0 && len(c.flags) <= 2 && !placeholder.MatchString(w):
			return "there is no command " + w
		}
	}
	return ""
}

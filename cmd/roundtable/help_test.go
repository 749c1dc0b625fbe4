package main

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

// commands are all there are but cobra's own, each before those below it.
func commands(c *cobra.Command) []*cobra.Command {
	list := []*cobra.Command{c}
	for _, below := range c.Commands() {
		if name := below.Name(); name != "help" && name != "completion" && !below.Hidden {
			list = append(list, commands(below)...)
		}
	}
	return list
}

// TestHelp: every command's help has an example that works as far as the command line goes, and the exit codes.
func TestHelp(t *testing.T) {
	for _, c := range commands(rootCommand(thisMachine()))[1:] {
		path := strings.Fields(c.CommandPath())[1:]
		code, out, errs := command(append(path, "--help")...)
		if code != exitDone || errs != "" || !strings.Contains(out, exitHelp) {
			t.Errorf("%s: exit %d: %s%s", c.CommandPath(), code, out, errs)
		}
		if !strings.Contains(out, "Examples:\n  roundtable ") {
			t.Errorf("%s has no example", c.CommandPath())
		}
		for _, l := range strings.Split(out, "\n") {
			if len(l) > 140 {
				t.Errorf("%s: %d characters: %s", c.CommandPath(), len(l), l)
			}
		}
		for example := range strings.SplitSeq(c.Example, "\n") {
			example, _, _ = strings.Cut(example, " >")
			example, _, _ = strings.Cut(example, " #")
			args := strings.Fields(strings.TrimPrefix(example, "roundtable "))
			found, rest, err := rootCommand(thisMachine()).Find(args)
			if err == nil {
				err = found.ParseFlags(rest)
			}
			if err == nil {
				err = found.ValidateArgs(found.Flags().Args())
			}
			if err != nil || !strings.HasPrefix(example, "roundtable ") {
				t.Errorf("%s: the example %q: %v", c.CommandPath(), example, err)
			}
		}
	}
	_, out, _ := command("--help")
	golden(t, "help", out)
	_, out, _ = command("members", "remove", "--help")
	golden(t, "help-remove", out)
}

const referenceHead = `# Commands

<!-- Written by: go test ./cmd/roundtable -run Reference -rewrite. Change the commands' help instead. -->

Every command says this itself: ` + "`roundtable COMMAND --help`" + `. What each command prints with ` + "`--output json`" + ` is the API's answer ([api.md](api.md)).

## Exit codes

| code | meaning |
|---|---|
| 0 | done |
| 1 | refused or failed; the message says by which rule, the hint what to do |
| 2 | wrong usage; nothing was sent |
| 3 | no manager answered; the message says which were asked |
| 4 | timed out: it may still be running; the hint says where to look |

## Completion

` + "`source <(roundtable completion bash)`" + ` completes commands and flags, and asks the cluster for members, operations and tokens; zsh, fish and powershell
have theirs.

## Which cluster, and as whom

A command that asks a manager finds it by its flags, else by the environment, else by a context, else by this machine: the
socket of a manager in /var/lib/roundtable if there is one, else port 9080 of 127.0.0.1. The current context counts only where nothing
else names a server, so that its token goes to no other one. With several servers the next one is asked when one is slow or gone; a
change that reaches two of them happens once.

`

// reference is docs/reference/cli.md.
func reference() string {
	var b bytes.Buffer
	b.WriteString(referenceHead)
	all := commands(rootCommand(thisMachine()))
	var most *cobra.Command
	for _, c := range all {
		if c.Name() == "status" {
			most = c
		}
	}
	fmt.Fprintf(&b, "These flags most commands have; they are left out below.\n\n```text\n%s```\n\n", flagUsage(most, true))
	for _, c := range all {
		text := c.Long
		if text == "" {
			text = c.Short + "."
		}
		fmt.Fprintf(&b, "%s %s\n\n```text\n%s\n\n%s```\n\n", strings.Repeat("#", min(2+strings.Count(c.CommandPath(), " "), 4)), c.CommandPath(), text, strings.TrimSuffix(usage(c, false), "\n"+exitHelp+"\n"))
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// TestReference: docs/reference/cli.md is what the commands say.
func TestReference(t *testing.T) {
	file := filepath.Join("..", "..", "docs", "reference", "cli.md")
	got := reference()
	if *rewrite {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s is not what the commands say (go test ./cmd/roundtable -run Reference -rewrite):\n%s", file, d)
	}
}

var mention = regexp.MustCompile(`\broundtable ([a-z]+)(?: ([a-z]+))?`)

// prose are words that follow "roundtable" in a sentence.
var prose = strings.Fields("sets may can must is was on runs binary process manager managers command commands program before cluster owns")

// notCommands are texts that begin like one.
var notCommands = []string{"roundtable backup repository"} // the first words of a repository's format

// TestNamedCommands: what the messages and hints of the whole program tell an operator to type exists.
func TestNamedCommands(t *testing.T) {
	root := rootCommand(thisMachine())
	root.InitDefaultCompletionCmd("")
	found := 0
	for _, folder := range []string{"api", "backup", "cluster", "cmd/roundtable", "drill", "fsm", "manager", "node", "security"} {
		err := filepath.WalkDir(filepath.Join("..", "..", folder), func(file string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
				return err
			}
			parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			ast.Inspect(parsed, func(n ast.Node) bool {
				l, ok := n.(*ast.BasicLit)
				if !ok || l.Kind != token.STRING {
					return true
				}
				for _, m := range mention.FindAllStringSubmatch(l.Value, -1) {
					if slices.Contains(prose, m[1]) || slices.Contains(notCommands, m[0]) {
						continue
					}
					found++
					c, rest, err := root.Find(slices.DeleteFunc(m[1:], func(s string) bool { return s == "" }))
					if err != nil || c == root || c.HasSubCommands() && c.Args(c, rest) != nil {
						t.Errorf("%s names %q, which is no command", file, m[0])
					}
				}
				return true
			})
			return nil
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
	if found < 20 {
		t.Errorf("only %d mentions of commands were found", found)
	}
}

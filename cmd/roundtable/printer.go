package main

import (
	"fmt"
	"io"
	"reflect"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// printer writes for people: in colour and to the width of their terminal where there is one, plainly elsewhere.
type printer struct {
	io.Writer
	colour bool
	width  int // columns of the terminal; 0: it is none
}

func (a *app) printer(w io.Writer) *printer {
	p := &printer{Writer: w, width: columns(w)}
	switch a.flags.color {
	case "always":
		p.colour = true
	case "auto":
		p.colour = p.width > 0 && a.environ("NO_COLOR") == "" && a.environ("TERM") != "dumb"
	}
	return p
}

// inked is a text in a colour.
type inked struct{ ink, text string }

// The inks are parameters of the terminal's SGR sequence.
func bold(s string) inked   { return inked{"1", s} }
func red(s string) inked    { return inked{"31", s} }
func green(s string) inked  { return inked{"1;32", s} }
func yellow(s string) inked { return inked{"33", s} }

// text makes an argument safe: what other programs said (a nodeos' version, a reason) must not steer the terminal. Only
// the printer's own inks get through.
func (p *printer) text(v any) string {
	i, ok := v.(inked)
	switch {
	case !ok:
		return printable(fmt.Sprint(v))
	case !p.colour || i.ink == "" || i.text == "":
		return printable(i.text)
	}
	return "\x1b[" + i.ink + "m" + printable(i.text) + "\x1b[0m"
}

// line writes a line of text. Verbs are those of strings (%s) and numbers.
func (p *printer) line(format string, args ...any) {
	for i, v := range args {
		switch k := reflect.ValueOf(v).Kind(); {
		case k >= reflect.Bool && k <= reflect.Float64: // steers nothing, and may have a verb for numbers
		default:
			args[i] = p.text(v)
		}
	}
	fmt.Fprintf(p, format+"\n", args...)
}

// para writes a label and a text after it, which on a terminal is broken into lines below each other.
func (p *printer) para(ink, label, s string) {
	lines := []string{printable(s)}
	if p.width > 0 {
		lines = strings.Split(text.WrapSoft(lines[0], max(p.width-len(label), 20)), "\n")
	}
	for i, l := range lines {
		if i > 0 {
			label = strings.Repeat(" ", len(label))
		}
		fmt.Fprintln(p, p.text(inked{ink, strings.TrimRight(label+l, " ")}))
	}
}

// table prints rows under a header: with lines on a terminal that is wide enough, as plain columns elsewhere.
func (p *printer) table(header []string, rows [][]any) {
	lines := p.render(p.width > 0, header, rows)
	if text.StringWidthWithoutEscSequences(lines[0]) > p.width {
		lines = p.render(false, header, rows)
	}
	p.lines(lines)
}

// columns prints plain columns, and on a terminal cuts what does not fit out of the last one.
func (p *printer) columns(header []string, rows [][]any) {
	lines := p.render(false, header, rows)
	if p.width > 0 {
		for i, l := range lines {
			lines[i] = text.Snip(strings.TrimRight(l, " "), p.width, "~")
		}
	}
	p.lines(lines)
}

func (p *printer) lines(lines []string) {
	for _, l := range lines {
		fmt.Fprintln(p, strings.TrimRight(l, " "))
	}
}

func (p *printer) render(ruled bool, header []string, rows [][]any) []string {
	t := table.NewWriter()
	style := table.StyleLight
	if !ruled {
		style = table.StyleDefault
		style.Options = table.OptionsNoBordersAndSeparators
		style.Box.PaddingLeft, style.Box.PaddingRight = "", "  "
	}
	style.Format.Header = text.FormatDefault
	t.SetStyle(style)
	head := make(table.Row, len(header))
	for i, h := range header {
		head[i] = p.text(bold(strings.ToUpper(h)))
	}
	t.AppendHeader(head)
	for _, r := range rows {
		cells := make(table.Row, len(r))
		for i, c := range r {
			cells[i] = p.text(c)
		}
		t.AppendRow(cells)
	}
	return strings.Split(t.Render(), "\n")
}

// printable keeps control characters out of a text.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0) {
			return ' '
		}
		return r
	}, s)
}

// good is a yes or, in red, a no.
func good(yes bool) any {
	if yes {
		return "yes"
	}
	return red("no")
}

// bad is a no or, in red, a yes.
func bad(yes bool) any {
	if yes {
		return red("yes")
	}
	return "no"
}

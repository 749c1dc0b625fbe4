package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"go.yaml.in/yaml/v3"
)

// show prints an answer as --output says.
func (a *app) show(raw []byte, table func(w *printer)) error {
	switch a.flags.output {
	case "json":
		var b bytes.Buffer
		if err := json.Indent(&b, bytes.TrimSpace(raw), "", "  "); err != nil {
			return err
		}
		_, err := fmt.Fprintln(a.out, b.String())
		return err
	case "yaml":
		b, err := toYAML(raw)
		if err != nil {
			return err
		}
		_, err = a.out.Write(b)
		return err
	}
	table(a.out)
	return nil
}

// toYAML rewrites JSON, which is YAML already, in the block style that people expect, with the keys in their order.
func toYAML(raw []byte) ([]byte, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(raw, &doc); err != nil {
		return nil, err
	}
	var plain func(n *yaml.Node)
	plain = func(n *yaml.Node) {
		n.Style = 0
		for _, c := range n.Content {
			plain(c)
		}
	}
	plain(&doc)
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(&doc); err != nil {
		return nil, err
	}
	return b.Bytes(), e.Close()
}

// clock shortens the API's time to its time of day, UTC; "-" for none.
func clock(t string) string {
	at, err := time.Parse(time.RFC3339, t)
	if err != nil {
		return "-"
	}
	return at.UTC().Format("15:04:05.000")
}

// moment is a time with its date, to the second, UTC.
func moment(t string) string {
	at, err := time.Parse(time.RFC3339, t)
	if err != nil {
		return "-"
	}
	return at.UTC().Format("2006-01-02 15:04:05")
}

// since says how long ago a time of the API's was, or how far ahead it is.
func since(t string, now time.Time) string {
	at, err := time.Parse(time.RFC3339, t)
	switch {
	case err != nil:
		return "-"
	case at.Sub(now) > time.Hour:
		return "in " + age(at.Sub(now).Round(time.Minute))
	case at.After(now):
		return "in " + age(at.Sub(now).Round(time.Second))
	}
	return age(now.Sub(at)) + " ago"
}

// age is a length of time as people say it: its two greatest units.
func age(d time.Duration) string {
	whole := func(unit time.Duration) int { return int(d / unit) }
	pair := func(unit, rest time.Duration, a, b string) string {
		n, m := whole(unit), int(d%unit/rest)
		if m == 0 {
			return fmt.Sprintf("%d %s", n, a)
		}
		return fmt.Sprintf("%d %s %d %s", n, a, m, b)
	}
	const day = 24 * time.Hour
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", whole(time.Second))
	case d < time.Hour:
		return fmt.Sprintf("%d min", whole(time.Minute))
	case d < day:
		return pair(time.Hour, time.Minute, "h", "min")
	}
	return pair(day, time.Hour, "d", "h")
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

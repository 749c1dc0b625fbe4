package node

import (
	"errors"
	"fmt"
	"strings"
)

// Setting is one `key = value` of a config.ini. Keys may repeat.
type Setting struct {
	Key, Value string
}

// ParseINI reads a config.ini as nodeos does (boost program_options): `#` starts a comment anywhere, blanks around key
// and value do not count, `[section]` prefixes the keys after it with "section.". An error names the line.
func ParseINI(text string) ([]Setting, error) {
	var all []Setting
	section := ""
	n := 0
	for line := range strings.SplitSeq(text, "\n") {
		n++
		line, _, _ = strings.Cut(line, "#")
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		if line[0] == '[' && line[len(line)-1] == ']' {
			if section = strings.TrimSpace(line[1 : len(line)-1]); section != "" && !strings.HasSuffix(section, ".") {
				section += "."
			}
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		key = strings.TrimSpace(key)
		if !ok || key == "" {
			// The line is not shown: it could hold a key.
			return nil, fmt.Errorf("node: config template, line %d: want `key = value`", n)
		}
		all = append(all, Setting{Key: section + key, Value: strings.TrimSpace(value)})
	}
	return all, nil
}

var errUnwritable = errors.New("cannot stand in a config.ini")

// writeINI renders settings; a value that nodeos would read back differently is an error.
func writeINI(all []Setting) ([]byte, error) {
	var b strings.Builder
	for _, s := range all {
		if s.Key == "" || strings.ContainsAny(s.Key, "#=\n\r[]") || strings.TrimSpace(s.Key) != s.Key {
			return nil, fmt.Errorf("node: key %q: %w", s.Key, errUnwritable)
		}
		if strings.ContainsAny(s.Value, "#\n\r\x00") || strings.TrimSpace(s.Value) != s.Value {
			return nil, fmt.Errorf("node: the value of %s: %w", s.Key, errUnwritable)
		}
		b.WriteString(s.Key + " = " + s.Value + "\n")
	}
	return []byte(b.String()), nil
}

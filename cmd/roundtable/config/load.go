package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// maxFile bounds a config.toml in bytes.
const maxFile = 1 << 20

// Load reads a config.toml, lays the environment (os.Environ's shape) and then the flags (key to value, "lease.slots" to
// "6") over it, fills in the defaults and checks everything. The error lists every problem that was found; see Problems.
func Load(file string, environ []string, flags map[string]string) (*Config, error) {
	if abs, err := filepath.Abs(file); err == nil {
		file = abs
	}
	info, err := os.Stat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, &Problem{File: file, Message: "no such file", Hint: "name the folder that holds config.toml with --home"}
	case err != nil:
		return nil, &Problem{File: file, Message: err.Error(), Hint: "the file must be readable by the user that runs roundtable"}
	case info.Size() > maxFile:
		return nil, &Problem{File: file, Message: fmt.Sprintf("%d bytes are more than a configuration has", info.Size()), Hint: "is it the right file?"}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, &Problem{File: file, Message: err.Error(), Hint: "the file must be readable by the user that runs roundtable"}
	}
	c, err := Parse(file, text, environ, flags)
	if err != nil {
		return nil, err
	}
	return c, c.Finish()
}

// Again is what the file says now, with the environment and the flags of the first time over it: Load once more.
func (c *Config) Again() (*Config, error) { return Load(c.file, c.environ, c.flags) }

// Parse is Load without the file system: no defaults are filled in and nothing is checked but names and kinds.
func Parse(file string, text []byte, environ []string, flags map[string]string) (*Config, error) {
	c := Default()
	c.file, c.environ, c.flags = file, environ, flags
	var doc map[string]any
	if err := toml.Unmarshal(text, &doc); err != nil {
		p := &Problem{File: file, Message: strings.TrimPrefix(err.Error(), "toml: "), Hint: "the file must be TOML: key = value lines under [section] headings"}
		var at *toml.DecodeError
		if errors.As(err, &at) {
			row, col := at.Position()
			p.File = fmt.Sprintf("%s:%d:%d", file, row, col)
		}
		return nil, p
	}
	var found problems
	c.putAll(doc, "", &found)
	c.overlay(environ, flags, &found)
	return c, errors.Join(found...)
}

// putAll stores a decoded table.
func (c *Config) putAll(table map[string]any, prefix string, found *problems) {
	sections := c.sections()
	for _, name := range slices.Sorted(maps.Keys(table)) {
		key := prefix + name
		inner, isTable := table[name].(map[string]any)
		f, known := c.field(key)
		switch {
		case prefix == "" && slices.Contains(sections, name):
			if isTable {
				c.set[name] = true
				c.putAll(inner, name+".", found)
				continue
			}
			*found = append(*found, &Problem{File: c.file, Key: key, Message: "is a section, not a key", Hint: "write it as [" + name + "]"})
		case !known || strings.Contains(name, "."):
			*found = append(*found, &Problem{File: c.file, Key: key, Message: "unknown key", Hint: c.suggest(key)})
		default:
			c.set[key] = true
			c.origin[key] = c.file
			if _, ok := tableOf(f.value.Type()); ok {
				c.putTable(f, table[name], c.file, found)
			} else if err := f.put(table[name]); err != nil {
				*found = append(*found, &Problem{File: c.file, Key: key, Value: showRaw(key, table[name]), Message: err.Error(), Hint: seeReference})
			}
		}
	}
}

// suggest is the hint for an unknown key.
func (c *Config) suggest(key string) string {
	if !strings.Contains(key, ".") {
		if n := nearest(key, c.sections()); n != "" {
			return "did you mean [" + n + "]?"
		}
	}
	if strings.HasPrefix(key, repositoriesKey+".") {
		return "only the file has it; here " + repositoriesKey + " is given as a whole, as TOML"
	}
	var keys []string
	for _, f := range c.fields() {
		keys = append(keys, f.key)
		if _, name, ok := strings.Cut(f.key, "."); ok && name == key[strings.LastIndexByte(key, '.')+1:] {
			return "did you mean " + f.key + "?" // the right name in the wrong section
		}
	}
	if n := nearest(key, keys); n != "" {
		return "did you mean " + n + "?"
	}
	return "the sections are " + strings.Join(c.sections(), ", ")
}

// Kubernetes puts such variables into every container for each service, whatever its name.
var kubernetes = regexp.MustCompile(`_SERVICE_(HOST|PORT.*)$|_PORT(_\d+_(TCP|UDP|SCTP).*)?$`)

// overlay lays the environment and then the flags over the file. A variable that starts like one of a section but is no
// key's is a mistake; any other ROUNDTABLE_ variable is somebody else's (ROUNDTABLE_SERVER is the client's).
func (c *Config) overlay(environ []string, flags map[string]string, found *problems) {
	keys := map[string]string{}
	var names []string
	for _, f := range c.fields() {
		keys[env(f.key)] = f.key
		names = append(names, env(f.key))
	}
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		key, known := keys[name]
		if known {
			c.parse(key, value, "environment "+name, found)
			continue
		}
		ours := slices.ContainsFunc(c.sections(), func(s string) bool { return strings.HasPrefix(name, env(s)+"_") })
		if ours && !kubernetes.MatchString(name) {
			hint := "unset it"
			if n := nearest(name, names); n != "" {
				hint = "did you mean " + n + "?"
			}
			*found = append(*found, &Problem{File: "environment", Key: name, Message: "unknown key", Hint: hint})
		}
	}
	for _, key := range slices.Sorted(maps.Keys(flags)) {
		if !slices.ContainsFunc(c.fields(), func(f field) bool { return f.key == key }) {
			*found = append(*found, &Problem{File: "flags", Key: key, Message: "unknown key", Hint: c.suggest(key)})
			continue
		}
		c.parse(key, flags[key], "flags", found)
	}
}

func (c *Config) parse(key, value, origin string, found *problems) {
	f, _ := c.field(key)
	c.set[key] = true
	if section, _, ok := strings.Cut(key, "."); ok {
		c.set[section] = true
	}
	c.origin[key] = origin
	if _, ok := tableOf(f.value.Type()); ok {
		var doc struct{ V any }
		if err := toml.Unmarshal([]byte("V = "+value), &doc); err != nil {
			*found = append(*found, &Problem{File: origin, Key: key, Message: "is not written as in TOML", Hint: `such as { NAME = { url = "file:///folder" } }`})
			return
		}
		c.putTable(f, doc.V, origin, found)
	} else if err := f.parse(value); err != nil {
		*found = append(*found, &Problem{File: origin, Key: key, Value: showRaw(key, value), Message: err.Error(), Hint: seeReference})
	}
}

// showRaw is a value of the wrong kind for a message.
func showRaw(key string, v any) string {
	if secret(key) || holdsURL(key) {
		return "(not shown)"
	}
	if s, ok := v.(string); ok {
		return strconv.Quote(s)
	}
	s := fmt.Sprint(v)
	return s[:min(len(s), 80)]
}

// Finish fills in what was left out and checks everything, as Load does; for a configuration made in code, from Default.
func (c *Config) Finish() error {
	c.fill()
	return c.validate()
}

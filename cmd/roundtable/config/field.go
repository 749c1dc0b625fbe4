package config

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
)

// field is one key and the place its value goes to.
type field struct {
	key   string // "lease.slots"
	value reflect.Value
	class Class
}

// fields lists every key of the configuration, in the order of the structs.
func (c *Config) fields() []field { return fieldsOf(reflect.ValueOf(c).Elem(), "") }

func fieldsOf(v reflect.Value, prefix string) []field {
	var list []field
	for i := range v.NumField() {
		tag := v.Type().Field(i).Tag
		name := tag.Get("toml")
		switch {
		case name == "":
		case v.Field(i).Kind() == reflect.Struct:
			list = append(list, fieldsOf(v.Field(i), name+".")...)
		default:
			list = append(list, field{prefix + name, v.Field(i), Class(tag.Get("change"))})
		}
	}
	return list
}

// sections are the tables of config.toml.
func (c *Config) sections() []string {
	var list []string
	for _, f := range c.fields() {
		if section, _, ok := strings.Cut(f.key, "."); ok && !slices.Contains(list, section) {
			list = append(list, section)
		}
	}
	return list
}

func (c *Config) field(key string) (field, bool) {
	for _, f := range c.fields() {
		if f.key == key {
			return f, true
		}
		rest, below := strings.CutPrefix(key, f.key+".")
		if name, _, nested := strings.Cut(rest, "."); below && nested {
			for _, in := range f.inside(name) {
				if in.key == key {
					return in, true
				}
			}
		}
	}
	return field{}, false
}

// env is the environment variable of a key.
func env(key string) string {
	return "ROUNDTABLE_" + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

// put stores a value decoded from TOML.
func (f field) put(v any) error {
	switch dst := f.value.Addr().Interface().(type) {
	case *Duration:
		s, ok := v.(string)
		d, err := time.ParseDuration(s)
		if !ok || err != nil || d < 0 {
			return errors.New(`must be a duration, such as "300ms" or "2m"`)
		}
		*dst = Duration(d)
	case *string:
		s, ok := v.(string)
		if !ok {
			return errors.New(`must be a text, in "quotes"`)
		}
		*dst = s
	case *bool:
		b, ok := v.(bool)
		if !ok {
			return errors.New("must be true or false")
		}
		*dst = b
	case *int:
		n, ok := v.(int64)
		if !ok {
			return errors.New("must be a whole number")
		}
		*dst = int(n)
	case *Size:
		text, ok := v.(string)
		if n, whole := v.(int64); whole {
			text, ok = strconv.FormatInt(n, 10), true
		}
		n, err := parseSize(text)
		if !ok || err != nil {
			return errSize
		}
		*dst = n
	case *[]string:
		list, ok := v.([]any)
		texts := make([]string, len(list))
		for i, e := range list {
			var text bool
			texts[i], text = e.(string)
			ok = ok && text
		}
		if !ok {
			return errors.New(`must be a list of texts, such as ["a", "b"]`)
		}
		*dst = texts
	case *map[string]string:
		table, ok := v.(map[string]any)
		texts := make(map[string]string, len(table))
		for k, e := range table {
			var text bool
			texts[k], text = e.(string)
			ok = ok && text
		}
		if !ok {
			return errors.New(`must be a table of texts, such as { NAME = "value" }`)
		}
		*dst = texts
	default:
		return fmt.Errorf("a %s cannot be configured", f.value.Type())
	}
	return nil
}

// parse stores a value from the environment or a flag, where everything is a text. Lists are separated by commas; lists
// and tables may also be written as in TOML.
func (f field) parse(s string) error {
	switch f.value.Interface().(type) {
	case bool:
		b, err := strconv.ParseBool(s)
		if err != nil {
			return errors.New("must be true or false")
		}
		return f.put(b)
	case int:
		n, err := strconv.ParseInt(s, 10, 32)
		if err != nil {
			return errors.New("must be a whole number")
		}
		return f.put(n)
	case []string, map[string]string:
		if strings.HasPrefix(s, "[") || strings.HasPrefix(s, "{") {
			var doc struct{ V any }
			if err := toml.Unmarshal([]byte("V = "+s), &doc); err != nil {
				return fmt.Errorf("is not written as in TOML: %w", err)
			}
			return f.put(doc.V)
		}
		list := []any{}
		for e := range strings.SplitSeq(s, ",") {
			if e = strings.TrimSpace(e); e != "" {
				list = append(list, e)
			}
		}
		return f.put(list)
	}
	return f.put(s)
}

// show is a key's value for a message.
func (c *Config) show(key string) string {
	f, ok := c.field(key)
	if !ok {
		return ""
	}
	if _, table := tableOf(f.value.Type()); table || secret(key) {
		return "(not shown)"
	}
	if holdsURL(key) {
		return strconv.Quote(maskQuery(maskURL(f.value.String())))
	}
	switch v := f.value.Interface().(type) {
	case string:
		return strconv.Quote(v)
	case []string:
		return fmt.Sprintf("%q", v)
	default:
		return fmt.Sprint(v)
	}
}

// secret tells that a key's value must never be printed.
func secret(key string) bool { return key == "node.args" || key == "node.env" }

// holdsURL tells that a password may stand in a key's value.
func holdsURL(key string) bool {
	return key == "signer.url" || key == "upgrade.source" || key == "upgrade.checksums" || key == "bootstrap.archive" ||
		strings.HasPrefix(key, repositoriesKey+".") && strings.HasSuffix(key, ".url")
}

// nearest is the known name that a mistyped one most likely means, or "".
func nearest(name string, known []string) string {
	best, distance := "", len(name)/2+1
	for _, k := range known {
		if d := edits(name, k); d < distance {
			best, distance = k, d
		}
	}
	return best
}

// edits is the Levenshtein distance. Long names are cut: a name is typed by people.
func edits(a, b string) int {
	a, b = a[:min(len(a), 64)], b[:min(len(b), 64)]
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(diagonal+cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

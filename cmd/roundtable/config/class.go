package config

import (
	"reflect"
	"strings"
)

// Class says when a key that was changed in the file takes effect, while a manager runs.
type Class string

// The classes. Each field of the configuration names its own by a change tag.
const (
	Live      Class = "live"    // at once
	AtNode    Class = "node"    // with the next start of this member's node
	AtManager Class = "manager" // with the next start of this manager
)

// Changes are the keys of a class whose values another configuration has otherwise, in the order of the structs.
func (c *Config) Changes(to *Config, class Class) []string {
	var list []string
	others := to.fields()
	for i, f := range c.fields() {
		if f.class == class && !same(f.value, others[i].value) {
			list = append(list, f.key)
		}
	}
	return list
}

// same compares two values; an empty list is the same as none.
func same(a, b reflect.Value) bool {
	if k := a.Kind(); (k == reflect.Slice || k == reflect.Map) && a.Len() == 0 && b.Len() == 0 {
		return true
	}
	return reflect.DeepEqual(a.Interface(), b.Interface())
}

// Adopt returns a copy with the values that another configuration has for the keys of some classes. Check says whether what
// comes out is one that could stand in a file.
func (c *Config) Adopt(from *Config, classes ...Class) *Config {
	next := *c
	others := from.fields()
	for i, f := range next.fields() {
		for _, class := range classes {
			if f.class == class {
				f.value.Set(others[i].value)
			}
		}
	}
	next.set, next.origin = from.set, from.origin
	return &next
}

// Check is what Finish checks, of a configuration that is filled in.
func (c *Config) Check() error { return c.validate() }

// Words are problems in one line, for the log and the history: what is wrong and what to do, at most so many of them. No
// secret is in them.
func Words(err error, most int) string {
	all := Problems(err)
	var list []string
	for i, p := range all {
		if i == most {
			list = append(list, "and more")
			break
		}
		text := p.Error()
		if p.Hint != "" {
			text += " (hint: " + p.Hint + ")"
		}
		list = append(list, text)
	}
	if len(all) == 0 {
		return err.Error()
	}
	return strings.Join(list, "; ")
}

package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing that is wrong with the configuration.
type Problem struct {
	File    string // where the key stands: a file, "environment" or "flags"
	Key     string // such as "lease.slots"; empty where the file as a whole is meant
	Value   string // as given, masked where it may be secret; empty where there is none
	Message string
	Hint    string // what to do about it
}

// Error names file, key and value.
func (p *Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Key != "" {
		b.WriteString(": " + p.Key)
		if p.Value != "" {
			b.WriteString(" = " + p.Value)
		}
	}
	return b.String() + ": " + p.Message
}

// Problems lists the problems in an error of this package.
func Problems(err error) []*Problem {
	var list []*Problem
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			list = append(list, Problems(e)...)
		}
		return list
	}
	var p *Problem
	if errors.As(err, &p) {
		list = append(list, p)
	}
	return list
}

// problems collects.
type problems []error

// add notes a problem with a key; file and value are looked up.
func (l *problems) add(c *Config, key, hint, format string, args ...any) {
	file := c.origin[key]
	if file == "" {
		file = c.file
	}
	if file == "" {
		file = "configuration"
	}
	*l = append(*l, &Problem{File: file, Key: key, Value: c.show(key), Message: fmt.Sprintf(format, args...), Hint: hint})
}

// join is all of them in one, in the order of the keys; nil for none.
func (l problems) join() error {
	slices.SortStableFunc(l, func(a, b error) int { return strings.Compare(keyOf(a), keyOf(b)) })
	return errors.Join(l...)
}

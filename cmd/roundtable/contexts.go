package main

import (
	"bytes"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"roundtable/durable"
)

// contexts is the file contexts.toml: named profiles, one of them current. It may hold tokens, so only its owner may read it.
type contexts struct {
	Current  string             `toml:"current,omitempty"`
	Contexts map[string]profile `toml:"contexts,omitempty"`
	file     string
	closed   error // why the file could not be looked at: somebody else's home, as under sudo, or none
}

var contextName = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z._-]{0,63}$`)

// contexts reads the file; one that is not there is empty.
func (a *app) contexts() (*contexts, error) {
	dir := a.environ("XDG_CONFIG_HOME")
	if dir == "" && a.environ("HOME") != "" {
		dir = filepath.Join(a.environ("HOME"), ".config")
	}
	all := &contexts{Contexts: map[string]profile{}}
	if dir == "" {
		return all, nil
	}
	all.file = filepath.Join(dir, "roundtable", "contexts.toml")
	f, err := os.Open(all.file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return all, nil
	case err != nil:
		all.closed = err
		return all, nil
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, &failure{exitFailed, all.file + ": others may read or change it, and it may hold a token", "chmod 600 " + all.file + "; if others could read a token there, revoke it: roundtable token revoke"}
	}
	d := toml.NewDecoder(f).DisallowUnknownFields()
	if err := d.Decode(all); err != nil {
		return nil, &failure{exitFailed, all.file + ": " + whatIsWrong(err), "its keys are current, and contexts.NAME with servers, home, ca, token, token_file; or make it anew: roundtable context add"}
	}
	if all.Contexts == nil {
		all.Contexts = map[string]profile{}
	}
	for name, p := range all.Contexts { // paths are relative to the file
		for _, path := range []*string{&p.Home, &p.CA, &p.TokenFile} {
			if *path != "" && *path != "-" && !filepath.IsAbs(*path) {
				*path = filepath.Join(filepath.Dir(all.file), *path)
			}
		}
		all.Contexts[name] = p
	}
	return all, nil
}

// whatIsWrong names the line, and nothing of what stands there: it may be a token.
func whatIsWrong(err error) string {
	var unknown *toml.StrictMissingError
	if errors.As(err, &unknown) && len(unknown.Errors) > 0 {
		return "unknown key " + strings.Join(unknown.Errors[0].Key(), ".")
	}
	var at *toml.DecodeError
	if errors.As(err, &at) {
		row, _ := at.Position()
		return "line " + strconv.Itoa(row) + " is not understood"
	}
	return "it is not understood"
}

// pick finds a context by its name; "" is the current one, or an empty one where none is.
func (c *contexts) pick(name string) (profile, error) {
	if name == "" && c.Current == "" {
		return profile{}, nil
	}
	p, ok := c.Contexts[firstOf(name, c.Current)]
	if !ok {
		return p, c.unknown(firstOf(name, c.Current))
	}
	return p, nil
}

func (c *contexts) unknown(name string) error {
	if c.closed != nil {
		return usagef("the contexts of the user that HOME or XDG_CONFIG_HOME names; --server or --home do without", "%v", c.closed)
	}
	hint := "there is none yet; add one with: roundtable context add NAME --server URL --ca FILE --token-file FILE"
	if len(c.Contexts) > 0 {
		hint = "there are: " + strings.Join(c.names(), ", ")
	}
	return usagef(hint, "no context %q", name)
}

func (c *contexts) names() []string { return slices.Sorted(maps.Keys(c.Contexts)) }

func (c *contexts) save() error {
	if c.file == "" || c.closed != nil {
		return usagef("set HOME or XDG_CONFIG_HOME", "there is no folder of this user's for contexts")
	}
	var b bytes.Buffer
	b.WriteString("# Clusters that the roundtable command knows; changed by: roundtable context. It may hold tokens: keep it to yourself.\n")
	if err := toml.NewEncoder(&b).Encode(c); err != nil {
		return err
	}
	return durable.Write(c.file, b.Bytes())
}

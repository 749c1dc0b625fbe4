package config

import (
	"maps"
	"reflect"
	"slices"
	"strings"
)

// A table of tables, such as [backup.repositories.NAME], is one key of the configuration whose value is a map of structs: it has one
// class, is compared and adopted as a whole, and can be given in the environment or by a flag only as a whole, as TOML. What stands in
// it is checked as strictly as the rest, key by key.

// tableOf reports whether values of a type are such tables, and of what.
func tableOf(t reflect.Type) (reflect.Type, bool) {
	if t.Kind() != reflect.Map || t.Elem().Kind() != reflect.Struct {
		return nil, false
	}
	return t.Elem(), true
}

// inside lists the keys of one entry of a table; the values are a copy.
func (f field) inside(name string) []field {
	t, ok := tableOf(f.value.Type())
	if !ok {
		return nil
	}
	entry := reflect.New(t).Elem()
	if there := f.value.MapIndex(reflect.ValueOf(name)); there.IsValid() {
		entry.Set(there)
	}
	list := fieldsOf(entry, f.key+"."+name+".")
	for i := range list {
		list[i].class = f.class
	}
	return list
}

// putTable stores a table of tables and reports all that is wrong with it.
func (c *Config) putTable(f field, v any, origin string, found *problems) {
	bad := func(key, message, hint string) {
		*found = append(*found, &Problem{File: origin, Key: key, Message: message, Hint: hint})
	}
	table, ok := v.(map[string]any)
	if !ok {
		bad(f.key, "must be a table", "write a section ["+f.key+".NAME]")
		return
	}
	t, _ := tableOf(f.value.Type())
	all := reflect.MakeMap(f.value.Type())
	for _, name := range slices.Sorted(maps.Keys(table)) {
		key := f.key + "." + name
		c.origin[key] = origin
		inner, ok := table[name].(map[string]any)
		if !ok {
			hint := "write a section [" + key + "]"
			if n := nearest(name, names(f.inside(""))); n != "" {
				hint = "write it in a section [" + f.key + ".NAME]"
			}
			bad(key, "must be a section", hint)
			continue
		}
		entry := reflect.New(t).Elem()
		fields := fieldsOf(entry, key+".")
		for _, k := range slices.Sorted(maps.Keys(inner)) {
			i := slices.IndexFunc(fields, func(o field) bool { return o.key == key+"."+k })
			if i < 0 || strings.Contains(k, ".") {
				hint := "known are " + strings.Join(names(fields), ", ")
				if n := nearest(k, names(fields)); n != "" {
					hint = "did you mean " + n + "?"
				}
				bad(key+"."+k, "unknown key", hint)
				continue
			}
			c.origin[fields[i].key] = origin
			if err := fields[i].put(inner[k]); err != nil {
				*found = append(*found, &Problem{File: origin, Key: fields[i].key, Value: showRaw(fields[i].key, inner[k]), Message: err.Error(), Hint: seeReference})
			}
		}
		all.SetMapIndex(reflect.ValueOf(name), entry)
	}
	f.value.Set(all)
}

// names are the last parts of keys.
func names(fields []field) []string {
	list := make([]string, len(fields))
	for i, f := range fields {
		list[i] = f.key[strings.LastIndexByte(f.key, '.')+1:]
	}
	return list
}

const seeReference = "see the configuration keys in the documentation"

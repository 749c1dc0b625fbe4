package versions

import (
	"path"
	"slices"
	"strings"
)

// only is the archive's one folder, if it has nothing beside it and a run.toml within: that folder is the version.
func (t *tree) only() string {
	var top string
	for name := range t.seen {
		first, _, _ := strings.Cut(name, "/")
		if first == "." {
			continue
		}
		if top != "" && top != first {
			return ""
		}
		top = first
	}
	if t.seen[top+"/"+runName] != file {
		return ""
	}
	return top
}

// binary finds nodeos among the files: by its path, or by its name wherever it is.
func (t *tree) binary(want string) (string, error) {
	if strings.Contains(want, "/") {
		name, err := cleanName(want)
		if err == nil && t.seen[name] == file {
			return name, nil
		}
		return "", problem(ErrNoBinary, "name the binary as it is there; it has: "+t.some(), "there is no %s in the archive", want)
	}
	var all, executable []string
	for _, f := range t.files {
		if path.Base(f) == want {
			all = append(all, f)
			if t.runs[f] {
				executable = append(executable, f)
			}
		}
	}
	if len(executable) > 0 {
		all = executable
	}
	switch len(all) {
	case 0:
		return "", problem(ErrNoBinary, "name the binary as it is there; it has: "+t.some(), "there is no %s in the archive", want)
	case 1:
		return all[0], nil
	}
	return "", problem(ErrNoBinary, "name one of them by its path", "the archive has %d files called %s: %s", len(all), want, strings.Join(all[:min(len(all), 10)], ", "))
}

// some are the archive's first files, those that can be run before the others.
func (t *tree) some() string {
	list := slices.Clone(t.files)
	slices.SortStableFunc(list, func(a, b string) int {
		switch {
		case t.runs[a] == t.runs[b]:
			return 0
		case t.runs[a]:
			return -1
		}
		return 1
	})
	return strings.Join(list[:min(len(list), 10)], ", ")
}

package versions

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"golang.org/x/sys/unix"
)

// runName is the file in a version's folder that says what to run.
const runName = "run.toml"

// Bounds of what run.toml says.
const (
	maxRunFile  = 1 << 20 // bytes
	maxSidecars = 16
	maxArgs     = 256
)

// Version is a version that can be run. All paths are absolute, and none leads through `current`.
type Version struct {
	Tag      string
	Dir      string // its folder
	Binary   string // nodeos; "" only for genesis: what config.toml's node.path says
	Args     []string
	Config   string // file with lines of config.ini, laid over the template; "" for none
	Sidecars []Sidecar
}

// Sidecar is a process that runs as one unit with the node.
type Sidecar struct {
	Name   string
	Binary string
	Args   []string
	Env    map[string]string
}

// runFile is run.toml as it stands.
type runFile struct {
	Name string `toml:"name"`
	Node struct {
		Binary string   `toml:"binary"`
		Args   []string `toml:"args"`
		Config string   `toml:"config"`
	} `toml:"node"`
	Sidecars []struct {
		Name   string            `toml:"name"`
		Binary string            `toml:"binary"`
		Args   []string          `toml:"args"`
		Env    map[string]string `toml:"env"`
	} `toml:"sidecar"`
}

var (
	nameRE = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z._-]{0,31}$`)
	envRE  = regexp.MustCompile(`^[A-Za-z_][0-9A-Za-z_]*$`)
)

const (
	runKeys = "its keys are name, [node] binary, args, config, and [[sidecar]] name, binary, args, env"
	leaving = "a path without a leading slash stays in the version's folder, links included; write an absolute path to name a file elsewhere"
)

// parseRun reads a run.toml without looking at any other file. name is for messages.
func parseRun(name string, text []byte) (runFile, error) {
	var r runFile
	d := toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		var unknown *toml.StrictMissingError
		var at *toml.DecodeError
		switch {
		case errors.As(err, &unknown) && len(unknown.Errors) > 0:
			row, col := unknown.Errors[0].Position()
			return r, problem(ErrRunFile, runKeys, "%s:%d:%d: %s: unknown key", name, row, col, strings.Join(unknown.Errors[0].Key(), "."))
		case errors.As(err, &at):
			row, col := at.Position()
			return r, problem(ErrRunFile, "the file must be TOML; "+runKeys, "%s:%d:%d: %s", name, row, col, strings.TrimPrefix(at.Error(), "toml: "))
		}
		return r, problem(ErrRunFile, "the file must be TOML; "+runKeys, "%s: %s", name, strings.TrimPrefix(err.Error(), "toml: "))
	}
	bad := func(key, hint, format string, args ...any) (runFile, error) {
		return r, problem(ErrRunFile, hint, "%s: %s: %s", name, key, fmt.Sprintf(format, args...))
	}
	if r.Name != "" && CheckTag(r.Name) != nil {
		return bad("name", "leave it out, or write the folder's name", "%.80q is no tag", r.Name)
	}
	if hint := checkArgs(r.Node.Args); hint != "" {
		return bad("node.args", hint, "cannot be given to a process")
	}
	for _, p := range []string{r.Node.Binary, r.Node.Config} {
		if strings.ContainsRune(p, 0) {
			return bad("node", leaving, "a path with a zero byte")
		}
	}
	if len(r.Sidecars) > maxSidecars {
		return bad("sidecar", "at most 16 run beside a node", "%d of them", len(r.Sidecars))
	}
	names := map[string]bool{}
	for i, s := range r.Sidecars {
		key := fmt.Sprintf("sidecar %d", i+1)
		switch {
		case !nameRE.MatchString(s.Name):
			return bad(key, "a name is up to 32 letters, digits and . _ -", "%.40q is not a name", s.Name)
		case names[s.Name]:
			return bad(key, "each sidecar has its own name", "the name %s is there twice", s.Name)
		case s.Binary == "" || strings.ContainsRune(s.Binary, 0):
			return bad("sidecar "+s.Name, leaving, "has no binary")
		}
		names[s.Name] = true
		if hint := checkArgs(s.Args); hint != "" {
			return bad("sidecar "+s.Name+": args", hint, "cannot be given to a process")
		}
		for k, v := range s.Env {
			if !envRE.MatchString(k) || strings.ContainsRune(v, 0) {
				return bad("sidecar "+s.Name+": env", "a variable's name has letters, digits and _ only", "%.40q is no variable", k)
			}
		}
	}
	return r, nil
}

// checkArgs is the hint for arguments that no process could be given, "" where they are fine.
func checkArgs(args []string) string {
	if len(args) > maxArgs {
		return "at most 256 arguments"
	}
	for _, a := range args {
		if strings.ContainsRune(a, 0) {
			return "an argument has no zero bytes"
		}
	}
	return ""
}

// load reads a version's folder and checks all that its run.toml names.
func load(dir, tag string) (Version, error) {
	v := Version{Tag: tag, Dir: dir}
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return v, problem(ErrUnknown, "see which there are: ls "+filepath.Dir(dir), "there is no version %s: no folder %s", tag, dir)
	case err != nil:
		return v, problem(ErrHome, "the folder must belong to the user that runs roundtable", "version %s", tag).because(err)
	case !info.IsDir():
		return v, problem(ErrUnknown, "move it away", "%s is not a folder", dir)
	}
	name := filepath.Join(dir, runName)
	text, err := readSmall(name)
	if err != nil {
		return v, problem(ErrRunFile, "write one: name = \""+tag+"\" and, below [node], binary = \"nodeos\"", "version %s", tag).because(err)
	}
	r, err := parseRun(name, text)
	if err != nil {
		return v, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return v, problem(ErrHome, "the folder must belong to the user that runs roundtable", "version %s", tag).because(err)
	}
	defer func() { _ = root.Close() }()
	if r.Name != "" && r.Name != tag {
		return v, problem(ErrRunFile, "name must be the folder's, or be left out", "%s: name = %q: the folder is %s", name, r.Name, tag)
	}
	if r.Node.Binary == "" && tag != Genesis {
		return v, problem(ErrRunFile, "binary = \"nodeos\" is the file nodeos beside run.toml; only genesis takes config.toml's node.path", "%s: node.binary: is missing", name)
	}
	v.Args = r.Node.Args
	if r.Node.Binary != "" {
		if v.Binary, err = within(root, name, "node.binary", r.Node.Binary, true); err != nil {
			return v, err
		}
	}
	if r.Node.Config != "" {
		if v.Config, err = within(root, name, "node.config", r.Node.Config, false); err != nil {
			return v, err
		}
	}
	for _, s := range r.Sidecars {
		binary, err := within(root, name, "sidecar "+s.Name+": binary", s.Binary, true)
		if err != nil {
			return v, err
		}
		v.Sidecars = append(v.Sidecars, Sidecar{Name: s.Name, Binary: binary, Args: s.Args, Env: s.Env})
	}
	return v, nil
}

// within is the absolute path of a file that run.toml names: it is a file, stays in the folder unless it was written
// absolute, and can be executed where it has to be.
func within(root *os.Root, name, key, path string, executable bool) (string, error) {
	full, stat := path, os.Stat
	if !filepath.IsAbs(path) {
		full, stat = filepath.Join(root.Name(), path), func(string) (fs.FileInfo, error) { return root.Stat(path) }
	}
	info, err := stat(full)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", problem(ErrRunFile, "the path is relative to the version's folder; put the file there", "%s: %s = %q: no such file", name, key, path)
	case err != nil:
		return "", problem(ErrRunFile, leaving, "%s: %s = %q", name, key, path).because(err)
	case !info.Mode().IsRegular():
		return "", problem(ErrRunFile, "name a file", "%s: %s = %q: is not a file", name, key, path)
	}
	if executable && unix.Access(full, unix.X_OK) != nil {
		return "", problem(ErrRunFile, "chmod +x "+full+", unless the file system is mounted noexec", "%s: %s = %q: cannot be executed", name, key, path)
	}
	return full, nil
}

// readSmall reads a file that is no longer than a run.toml may be.
func readSmall(name string) ([]byte, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0) // a pipe would be waited for
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(err, fmt.Errorf("%s is not a file", name))
	}
	b, err := io.ReadAll(io.LimitReader(f, maxRunFile+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxRunFile {
		return nil, fmt.Errorf("%s has more than %d bytes", name, maxRunFile)
	}
	return b, nil
}

package store

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"syscall"
)

// maxEnv is how large a file of credentials may be, in bytes.
const maxEnv = 64 << 10

// envNames are the variables that a file of credentials may hold: what the clouds' libraries know.
var envNames = regexp.MustCompile(`^(AWS|AZURE|GOOGLE|GCE|STORAGE_EMULATOR|SSL_CERT)_[A-Z0-9_]+$`)

// ReadEnv reads a file of credentials, one NAME=value a line, for Options.Env. Empty lines and those that begin with # do not count;
// "export " before the name and quotes around the value may be there. A file that anybody but its owner may read is refused, and so
// is one of another user than us or root. No error shows a value.
func ReadEnv(path string) ([]string, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a named pipe must not hold us up
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, &Problem{Code: BadEnv, Message: path, Hint: "make it, or correct its path", Err: err}
		}
		return nil, problem(BadEnv, err, "%s", path)
	}
	defer f.Close()
	info, err := f.Stat()
	switch s, ok := info.Sys().(*syscall.Stat_t); {
	case err != nil:
		return nil, problem(BadEnv, err, "%s", path)
	case !info.Mode().IsRegular():
		return nil, problem(BadEnv, errors.New("it is no file"), "%s", path)
	case info.Mode().Perm()&0o077 != 0:
		return nil, &Problem{Code: BadEnv, Message: path, Hint: "chmod 600 " + path, Err: errors.New("others than its owner may read it")}
	case ok && s.Uid != 0 && int(s.Uid) != os.Geteuid():
		return nil, &Problem{Code: BadEnv, Message: path, Hint: "chown it to the user that roundtable runs as", Err: errors.New("it belongs to somebody else")}
	}
	data, err := io.ReadAll(io.LimitReader(f, maxEnv+1))
	if err != nil {
		return nil, problem(BadEnv, err, "%s", path)
	}
	env, line, err := parseEnv(data)
	if err != nil {
		return nil, problem(BadEnv, err, "%s, line %d", path, line)
	}
	return env, nil
}

// parseEnv reads what ReadEnv takes. With an error it says in which line.
func parseEnv(data []byte) (env []string, line int, err error) {
	if len(data) > maxEnv {
		return nil, 1, errors.New("it is too long for a file of credentials")
	}
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, maxEnv+1)
	for lines.Scan() {
		line++
		text := strings.TrimSpace(lines.Text())
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		name, value, ok := strings.Cut(strings.TrimPrefix(text, "export "), "=")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		if !ok {
			return nil, line, errors.New("it is not NAME=value")
		}
		if !envNames.MatchString(name) {
			return nil, line, errors.New("the name is none that a cloud's library knows: AWS_..., GOOGLE_..., AZURE_..., STORAGE_EMULATOR_HOST, SSL_CERT_FILE")
		}
		if n := len(value); n >= 2 && (value[0] == '"' || value[0] == '\'') {
			if value[n-1] != value[0] {
				return nil, line, errors.New("the quote does not end")
			}
			value = value[1 : n-1]
		}
		if strings.ContainsRune(value, 0) {
			return nil, line, errors.New("there is a zero byte in it")
		}
		env = append(env, name+"="+value)
	}
	return env, line, lines.Err()
}

// environment looks variables up: the last one of the list, else our own.
type environment []string

func (e environment) get(names ...string) string {
	for _, name := range names {
		if v, ok := e.own(name); ok && v != "" {
			return v
		}
		if v := os.Getenv(name); v != "" {
			return v
		}
	}
	return ""
}

// own looks in the list alone.
func (e environment) own(name string) (value string, ok bool) {
	for _, pair := range e {
		if v, found := strings.CutPrefix(pair, name+"="); found {
			value, ok = v, true
		}
	}
	return value, ok
}

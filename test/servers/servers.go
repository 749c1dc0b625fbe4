// Package servers installs and starts the real servers that tests of repositories store into: versitygw, which speaks S3, and
// fake-gcs-server, which speaks Google Storage. They can be killed and started again where they were, with what they had.
// It is for tests alone, and ends no process that it did not start. The Makefile says which versions.
package servers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The one who may do everything in an S3 server.
const (
	RootKey    = "roundtable"
	RootSecret = "roundtable-secret"
)

// Server is a server that may be running. Start and Kill may be called by anybody at any time.
type Server struct {
	URL string // http://127.0.0.1:port, the same after a restart
	Dir string // where it keeps its buckets, a folder each

	path   string
	args   []string
	env    []string
	health string // its path says when it is ready

	mu  sync.Mutex
	cmd *exec.Cmd
	log *bytes.Buffer // of the last start; only read once the process has ended
}

// User is one more who may be known to an S3 server. What he may do, policies of the buckets say.
type User struct{ Key, Secret string }

// S3 starts a server with an empty folder. The test ends it.
func S3(t testing.TB, users ...User) *Server {
	t.Helper()
	return S3In(t, t.TempDir(), users...)
}

// S3In starts a server that keeps its buckets in a folder.
func S3In(t testing.TB, dir string, users ...User) *Server {
	t.Helper()
	s := &Server{path: Path(t, "versitygw"), Dir: dir}
	iam := t.TempDir()
	accounts := map[string]any{}
	for i, u := range users {
		accounts[u.Key] = map[string]any{"access": u.Key, "secret": u.Secret, "role": "user", "userID": 1000 + i, "groupID": 1000 + i}
	}
	file, err := json.Marshal(map[string]any{"accessAccounts": accounts})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(iam, "users.json"), file, 0o600); err != nil {
		t.Fatal(err)
	}
	address := s.address(t)
	s.args = []string{"--port", address, "--quiet", "--health", "/health", "--iam-dir", iam, "posix"}
	if !attributes(dir) {
		s.args = append(s.args, "--sidecar", t.TempDir())
	}
	s.args = append(s.args, dir)
	s.env = []string{"ROOT_ACCESS_KEY_ID=" + RootKey, "ROOT_SECRET_ACCESS_KEY=" + RootSecret}
	s.begin(t, "/health")
	return s
}

// GCS starts a server with one empty bucket. The test ends it.
func GCS(t testing.TB, bucket string) *Server {
	t.Helper()
	s := &Server{path: Path(t, "fake-gcs-server"), Dir: t.TempDir()}
	if err := os.Mkdir(filepath.Join(s.Dir, bucket), 0o700); err != nil {
		t.Fatal(err)
	}
	host, port, _ := net.SplitHostPort(s.address(t))
	s.args = []string{"-scheme", "http", "-host", host, "-port", port, "-public-host", host + ":" + port, "-external-url", s.URL,
		"-filesystem-root", s.Dir, "-log-level", "error"}
	s.begin(t, "/_internal/healthcheck")
	return s
}

func (s *Server) begin(t testing.TB, health string) {
	t.Helper()
	s.health = health
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Kill)
}

// address finds a free one.
func (s *Server) address(t testing.TB) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s.URL = "http://" + l.Addr().String()
	return l.Addr().String()
}

// Start starts it, once more after Kill, and returns when it answers.
func (s *Server) Start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = &bytes.Buffer{}
	s.cmd = exec.Command(s.path, s.args...) //nolint:noctx // until Kill
	s.cmd.Env = append(os.Environ(), s.env...)
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	if err := s.cmd.Start(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+s.health, nil)
		if err != nil {
			return err
		}
		if resp, err := http.DefaultClient.Do(req); err == nil {
			resp.Body.Close()
			http.DefaultClient.CloseIdleConnections()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			s.kill()
			return fmt.Errorf("%s does not answer: %w\n%s", filepath.Base(s.path), ctx.Err(), s.log)
		}
	}
}

// Kill ends it with SIGKILL. A second time it does nothing.
func (s *Server) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kill()
}

func (s *Server) kill() {
	if s.cmd != nil && s.cmd.ProcessState == nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
	}
}

// attributes reports whether a file system keeps the ones of files' users.
func attributes(dir string) bool {
	return unix.Setxattr(dir, "user.roundtable", []byte("1"), 0) == nil && unix.Removexattr(dir, "user.roundtable") == nil
}

// Path is a server's program, which `make NAME` installs if need be. Without a network the test is skipped, but not with CI=true.
func Path(t testing.TB, name string) string {
	t.Helper()
	path, err := install(name)
	switch {
	case err == nil:
		return path
	case os.Getenv("CI") == "true":
		t.Fatal(err)
	}
	t.Skip(err)
	return ""
}

// install has one process at a time do it.
func install(name string) (string, error) {
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	tools := filepath.Join(root, ".tools")
	if err := os.MkdirAll(tools, 0o755); err != nil {
		return "", err
	}
	lock, err := os.OpenFile(filepath.Join(tools, "servers.lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return "", err
	}
	make := exec.Command("make", "-s", "-C", root, name) //nolint:noctx // the go command bounds the test
	make.Env = append(os.Environ(), "MAKEFLAGS=", "MAKELEVEL=")
	var stderr bytes.Buffer
	make.Stderr = &stderr
	out, err := make.Output()
	if err != nil {
		return "", fmt.Errorf("make %s: %w\n%s", name, err, stderr.String())
	}
	lines := strings.Fields(string(out))
	if len(lines) == 0 {
		return "", errors.New("make " + name + " says no path")
	}
	return lines[len(lines)-1], nil
}

func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		} else if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("no go.mod above " + strconv.Quote(dir))
		}
		dir = filepath.Dir(dir)
	}
}

package versions

import (
	"bytes"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// server is a real HTTP server with files. It remembers what it was asked, and can be made to fail.
type server struct {
	*httptest.Server
	mu    sync.Mutex
	files map[string]*served
	asked []*http.Request
}

// served is one file of a server.
type served struct {
	body     []byte
	etag     string
	modified time.Time
	cut      []int // the next answers end, and the connection with them, after so many bytes; -1: a whole answer
	status   []int // the next answers
	stall    bool  // half of it, and then nothing more
	handle   http.HandlerFunc
}

func serve(t testing.TB, tls bool) *server {
	t.Helper()
	s := &server{files: map[string]*served{}}
	s.Server = httptest.NewUnstartedServer(s)
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // it would speak of each connection that is cut
	if tls {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s
}

// add puts a file there.
func (s *server) add(path string, body []byte) *served {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := &served{body: body, etag: `"` + sumOf(body)[:8] + `"`}
	s.files[path] = f
	return f
}

// change changes a file while the server runs.
func (s *server) change(f *served, how func(f *served)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	how(f)
}

// count is how often a path was asked for.
func (s *server) count(path string) (n int) {
	for _, r := range s.requests(path) {
		_ = r
		n++
	}
	return n
}

func (s *server) requests(path string) (list []*http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.asked {
		if r.URL.Path == path {
			list = append(list, r)
		}
	}
	return list
}

// ServeHTTP implements http.Handler.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.asked = append(s.asked, r)
	f := s.files[r.URL.Path]
	if f == nil {
		s.mu.Unlock()
		http.NotFound(w, r)
		return
	}
	body, etag, modified, stall, handle := f.body, f.etag, f.modified, f.stall, f.handle
	cut, status := -1, http.StatusOK
	if len(f.cut) > 0 {
		cut, f.cut = f.cut[0], f.cut[1:]
	}
	if len(f.status) > 0 {
		status, f.status = f.status[0], f.status[1:]
	}
	s.mu.Unlock()
	switch {
	case handle != nil:
		handle(w, r)
	case status != http.StatusOK:
		w.WriteHeader(status)
	case stall:
		w.Header().Set("Content-Length", "1000000")
		_, _ = w.Write(body[:len(body)/2])
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	default:
		if etag != "" {
			w.Header().Set("ETag", etag)
		}
		if cut >= 0 {
			w = &cutter{w, cut}
		}
		http.ServeContent(w, r, "", modified, bytes.NewReader(body))
	}
}

// cutter ends the connection after so many bytes.
type cutter struct {
	http.ResponseWriter
	left int
}

// Write implements io.Writer.
func (c *cutter) Write(b []byte) (int, error) {
	n, err := c.ResponseWriter.Write(b[:min(len(b), c.left)])
	if c.left -= n; c.left == 0 {
		_ = http.NewResponseController(c.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	return n, err
}

// trusting lets a home trust a TLS server.
func trusting(s *server) func(*Config) {
	return func(c *Config) {
		if t, ok := s.Client().Transport.(*http.Transport); ok {
			c.Transport = t
		}
	}
}

// random is a stand-in for nodeos of that size, which does not compress.
func random(version string, size int) []byte {
	b := []byte("#!nodeos " + version + "\n")
	x := uint32(1)
	for len(b) < size {
		x = x*1664525 + 1013904223
		b = append(b, byte(x>>24))
	}
	return b
}

// wantClean checks that nothing of a failed fetch is left.
func wantClean(t testing.TB, h *Home) {
	t.Helper()
	noRest(t, h)
	if _, err := h.Load("v1.2.2"); err == nil {
		t.Error("the version is there")
	}
	if l := strings.Join(names(t, h.dir), " "); strings.Contains(l, "v1.2.2") {
		t.Errorf("left: %s", l)
	}
}

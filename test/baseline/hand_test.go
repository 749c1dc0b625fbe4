package baseline

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// fakeNode answers like nodeos and remembers what it was asked.
type fakeNode struct {
	mu     sync.Mutex
	paused bool
	asked  []string
}

func (f *fakeNode) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	what := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	switch what {
	case "pause":
		f.paused = true
	case "resume":
		f.paused = false
	case "paused":
		if f.paused {
			_, _ = w.Write([]byte("true"))
			return
		}
		_, _ = w.Write([]byte("false"))
		return
	}
	f.asked = append(f.asked, what)
	w.WriteHeader(http.StatusCreated)
	_, _ = w.Write([]byte(`{"result":"ok"}`))
}

func (f *fakeNode) set(paused bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.paused = paused
}

func (f *fakeNode) said() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(f.asked, " ")
}

func TestHandDoesWhatTheRoleSays(t *testing.T) {
	f := &fakeNode{paused: true}
	server := httptest.NewServer(f)
	defer server.Close()
	node := newNodeos(strings.TrimPrefix(server.URL, "http://"))
	defer node.http.CloseIdleConnections()
	var leads atomic.Bool
	h := newHand(node, leads.Load, time.Hour, slog.New(slog.DiscardHandler))
	step := func(what string, changed bool, want string) {
		t.Helper()
		if err := h.apply(t.Context(), changed); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if got := f.said(); got != want {
			t.Errorf("%s: asked %q, want %q", what, got, want)
		}
	}
	step("a standby that is paused is left alone", false, "")
	leads.Store(true)
	step("elected", true, "resume")
	step("a poll finds nothing to do", false, "resume")
	f.set(true)
	step("a node that was restarted", false, "resume resume")
	if err := h.stop(t.Context()); err != nil {
		t.Error(err)
	}
	step("given up: not resumed, though still the leader", false, "resume resume pause")
	h.keep()
	step("kept after all", false, "resume resume pause resume")
	leads.Store(false)
	step("not the leader any more", true, "resume resume pause resume pause")
}

func TestReleaseWaitsForTheLastBlock(t *testing.T) {
	f := &fakeNode{}
	server := httptest.NewServer(f)
	defer server.Close()
	node := newNodeos(strings.TrimPrefix(server.URL, "http://"))
	defer node.http.CloseIdleConnections()
	h := newHand(node, func() bool { return true }, time.Hour, slog.New(slog.DiscardHandler))
	since := time.Now()
	if err := h.release(t.Context()); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(since); took < slot {
		t.Errorf("over after %v", took)
	}
	h.keep()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if h.release(ended) == nil {
		t.Error("a release without its pause")
	}
	if !h.wants() {
		t.Error("a release that failed left production given up")
	}
}

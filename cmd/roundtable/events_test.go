package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"roundtable/api"
)

// exampleHistory is what the API has, newest first: two lines of one index among them.
func exampleHistory() []api.Event {
	return []api.Event{
		{Index: 71, At: "2026-11-21T11:59:30.000Z", Kind: "operation.failed", By: "a", Actor: "token:ops", Subject: "b", Text: "handoff 60: b did not produce"},
		{Index: 70, At: "2026-11-21T11:59:00.000Z", Kind: "operation.done", By: "a", Subject: "b", Text: "handoff 60"},
		{Index: 70, At: "2026-11-21T11:59:00.000Z", Kind: "lease.granted", By: "a", Subject: "b", Text: "epoch 5, an\x1b[31m escape"},
		{Index: 3, At: "2026-11-21T10:00:00.000Z", Kind: "cluster.set", By: "a"},
	}
}

func TestEvents(t *testing.T) {
	noLeaks(t)
	f := newFakeAPI(t)
	s := &transcript{t: t, api: f}
	f.on("GET /cluster/history", exampleHistory())
	s.run("events")
	s.run("events --since 1h")
	s.run("events --since 2026-11-21T11:59:10Z")
	s.run("events --since 70.1 --output json")
	s.run("events --since 70 --output yaml")
	s.run("events --kind lease")
	s.run("events --since yesterday")
	golden(t, "events", s.text.String())
}

// streamer is a member's event stream: it replays what it has after the last id, then waits until it dies.
type streamer struct {
	*httptest.Server
	mu      sync.Mutex
	from    []string // Last-Event-ID of each request
	history []string // ids
	text    string   // sent after them
	dying   chan struct{}
	silent  bool // takes the request and says nothing
}

func newStreamer(t *testing.T, history ...string) *streamer {
	t.Helper()
	s := &streamer{history: history, dying: make(chan struct{})}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/cluster":
			_ = json.NewEncoder(w).Encode(api.Overview{Index: 1})
			return
		case "/cluster/members":
			_ = json.NewEncoder(w).Encode([]api.Member{{ID: "a", API: s.URL}, {ID: "x", API: "ftp://x"}})
			return
		}
		s.mu.Lock()
		s.from = append(s.from, r.Header.Get("Last-Event-ID"))
		silent := s.silent
		s.mu.Unlock()
		if silent {
			<-r.Context().Done()
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = fmt.Fprint(w, "retry: 1000\n\nevent: lease\ndata: {}\n\n: still here\n\n")
		last, _ := parseCursor(r.Header.Get("Last-Event-ID"))
		for _, id := range s.history {
			if at, _ := parseCursor(id); at.after(last) {
				_, _ = fmt.Fprintf(w, "id: %s\nevent: history\ndata: {\"index\":%d,\"at\":\"2026-11-21T12:00:00.000Z\",\"kind\":\"test.line\",\"text\":%q}\n\n", id, at.index, id)
			}
		}
		_, _ = fmt.Fprint(w, s.text)
		_ = http.NewResponseController(w).Flush()
		select {
		case <-s.dying:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *streamer) asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string{}, s.from...)
}

// lines collects what is written, line by line.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
	more chan struct{}
}

func newLines() *lines { return &lines{more: make(chan struct{}, 1000)} }

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(p)
	l.more <- struct{}{}
	return len(p), nil
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// await waits until something stands there.
func (l *lines) await(t *testing.T, text string) {
	t.Helper()
	timer := time.NewTimer(10 * time.Second)
	defer timer.Stop()
	for !strings.Contains(l.String(), text) {
		select {
		case <-l.more:
		case <-timer.C:
			t.Fatalf("no %q in %q", text, l.String())
		}
	}
}

// following runs a follower until the test has seen enough.
func following(t *testing.T, silence time.Duration, servers ...*streamer) (out, errs *lines, end func() error) {
	t.Helper()
	out, errs = newLines(), newLines()
	a := &app{machine: machine{stdout: out, stderr: errs, environ: func(string) string { return "" }, now: time.Now}, flags: flags{output: "table", color: "auto"}}
	if err := a.prepare(); err != nil {
		t.Fatal(err)
	}
	for _, s := range servers {
		a.servers = append(a.servers, &server{name: s.URL, base: s.URL, client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}})
	}
	f := &follower{app: a, wanted: wanted{after: cursor{1, 1}}, silence: silence}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.run(ctx) }()
	return out, errs, func() error {
		cancel()
		return <-ended
	}
}

// shownIDs are the events that were shown.
func shownIDs(out *lines) string {
	var ids []string
	for l := range strings.Lines(out.String()) {
		ids = append(ids, strings.Fields(l)[2])
	}
	return strings.Join(ids, " ")
}

// TestFollowLoss: a member that goes away is no loss: another one goes on after the last line, whatever it had itself.
func TestFollowLoss(t *testing.T) {
	noLeaks(t)
	one := newStreamer(t, "1.1", "2.1", "2.2", "5.1")
	two := newStreamer(t, "2.1", "2.2", "5.1", "5.2", "7.1")
	out, errs, end := following(t, time.Minute, one, two)
	out.await(t, "5.1")
	close(one.dying)
	out.await(t, "7.1")
	if err := end(); err != nil {
		t.Error(err)
	}
	if got := shownIDs(out); got != "2.1 2.2 5.1 5.2 7.1" {
		t.Errorf("shown: %s", got)
	}
	if got := two.asked(); len(got) != 1 || got[0] != "5.1" {
		t.Errorf("the second was asked for what follows %q", got)
	}
	if !strings.Contains(errs.String(), one.URL+": the stream ended: EOF\n"+two.URL+" goes on\n") {
		t.Errorf("it said: %s", errs)
	}
}

// TestFollowTwice: a member that sends again what was shown changes nothing.
func TestFollowTwice(t *testing.T) {
	noLeaks(t)
	s := newStreamer(t, "2.1")
	s.text = "id: 2.1\nevent: history\ndata: {\"index\":2,\"at\":\"2026-11-21T12:00:00.000Z\",\"kind\":\"again\"}\n\nid: 1.1\nevent: history\ndata: {\"index\":1,\"kind\":\"older\"}\n\n" +
		"event: gap\ndata: {\"after\":\"1.1\",\"oldest\":2}\n\nid: 3.1\nevent: history\ndata: {\"index\":3,\"at\":\"2026-11-21T12:00:00.000Z\",\"kind\":\"new\"}\n\n"
	out, errs, end := following(t, time.Minute, s)
	out.await(t, "3.1")
	if err := end(); err != nil {
		t.Error(err)
	}
	if got := shownIDs(out); got != "2.1 3.1" {
		t.Errorf("shown: %s", got)
	}
	if !strings.Contains(errs.String(), "the history reaches back no longer to event 2.1") {
		t.Errorf("it said: %s", errs)
	}
}

// TestFollowFrozen: a member that says nothing for too long is left for another one.
func TestFollowFrozen(t *testing.T) {
	noLeaks(t)
	frozen, good := newStreamer(t, "2.1"), newStreamer(t, "2.1", "3.1")
	out, errs, end := following(t, 200*time.Millisecond, frozen, good)
	out.await(t, "3.1")
	if err := end(); err != nil {
		t.Error(err)
	}
	if got := shownIDs(out); got != "2.1 3.1" || !strings.Contains(errs.String(), frozen.URL+": the stream ended: nothing came for 200ms") {
		t.Errorf("shown: %s; it said: %s", got, errs)
	}
}

// TestFollowLearns: the other members take over although only one was named.
func TestFollowLearns(t *testing.T) {
	noLeaks(t)
	named := newStreamer(t, "2.1")
	other := newStreamer(t, "2.1", "3.1")
	members := named.Config.Handler
	named.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/cluster/members" {
			_ = json.NewEncoder(w).Encode([]api.Member{{ID: "a", API: named.URL}, {ID: "b", API: other.URL}})
			return
		}
		members.ServeHTTP(w, r)
	})
	out, _, end := following(t, time.Minute, named)
	out.await(t, "2.1")
	close(named.dying)
	out.await(t, "3.1")
	if err := end(); err != nil || shownIDs(out) != "2.1 3.1" {
		t.Errorf("%v, shown: %s", err, shownIDs(out))
	}
}

// TestFollowEnds: nobody there, or one that refuses, is an end with its exit code.
func TestFollowEnds(t *testing.T) {
	noLeaks(t)
	f := newFakeAPI(t)
	f.on("GET /cluster", api.Overview{Index: 5})
	f.answer("GET /cluster/events", http.StatusUnauthorized, `{"error":{"code":"unauthenticated","message":"the token is expired"}}`)
	if code, _, errs := command("events", "--follow", "--server", f.URL); code != exitFailed || !strings.Contains(errs, "the token is expired") || !strings.Contains(errs, "--token-file") {
		t.Errorf("exit %d: %s", code, errs)
	}
	if got := f.asked[1].Header.Get("Last-Event-ID"); got != "5.2147483647" {
		t.Errorf("asked for what follows %q", got)
	}
	f.answer("GET /cluster/events", http.StatusServiceUnavailable, `{"error":{"code":"too_many_streams","message":"there are 64 event streams"}}`)
	if code, _, errs := command("events", "--follow", "--since", "1h", "--server", f.URL); code != exitUnreachable || !strings.Contains(errs, "there are 64 event streams") {
		t.Errorf("exit %d: %s", code, errs)
	}
	if got := f.asked[len(f.asked)-1].Header.Get("Last-Event-ID"); got != "0" {
		t.Errorf("asked for what follows %q", got)
	}
	if code, _, errs := command("events", "--follow", "--server", "127.0.0.1:1"); code != exitUnreachable || !strings.Contains(errs, "http://127.0.0.1:1: ") {
		t.Errorf("exit %d: %s", code, errs)
	}
	a := &follower{}
	if err := a.take("history", "x", "{}"); err == nil || errors.Is(err, context.Canceled) {
		t.Error("an id that is none is taken")
	}
}

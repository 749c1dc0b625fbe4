package api

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"roundtable/fsm"
)

// pipes is a listener without a network, for virtual time: a write waits for its reader.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
}

func newPipes() *pipes { return &pipes{make(chan net.Conn), make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	close(p.done)
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

func (p *pipes) dial(context.Context, string, string) (net.Conn, error) {
	a, b := net.Pipe()
	p.conns <- b
	return a, nil
}

// serve serves over pipes until the test ends.
func serve(t *testing.T, s *Server) *http.Client {
	l := newPipes()
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, l) }()
	client := &http.Client{Transport: &http.Transport{DialContext: l.dial, DisableKeepAlives: true}}
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return client
}

// sse is one event as a client reads it.
type sse struct{ id, kind, data string }

// subscription reads a stream.
type subscription struct {
	t    *testing.T
	resp *http.Response
	read *bufio.Scanner
}

func subscribe(t *testing.T, c *http.Client, path string, headers ...string) *subscription {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, "http://localhost"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" {
		b, _ := io.ReadAll(resp.Body)
		t.Fatalf("%d %v %s", resp.StatusCode, resp.Header, b)
	}
	read := bufio.NewScanner(resp.Body)
	read.Buffer(nil, 1<<20)
	return &subscription{t, resp, read}
}

// next is the next event or comment; ok is false when the stream has ended.
func (s *subscription) next() (e sse, ok bool) {
	for s.read.Scan() {
		name, value, _ := strings.Cut(s.read.Text(), ": ")
		switch name {
		case "id":
			e.id = value
		case "event":
			e.kind = value
		case "data", "":
			if e.data = value; value == "" {
				if e.kind != "" {
					return e, true
				}
				continue // the end of retry
			}
			if name == "" {
				return sse{kind: "comment", data: value}, true
			}
			for s.read.Scan() && s.read.Text() != "" {
				s.t.Errorf("more in an event: %q", s.read.Text())
			}
			return e, true
		}
	}
	return sse{}, false
}

// want reads an event of a kind into v.
func (s *subscription) want(kind string, v any) sse {
	s.t.Helper()
	e, ok := s.next()
	if !ok || e.kind != kind {
		s.t.Fatalf("%+v %v, want %s", e, ok, kind)
	}
	if v != nil {
		if err := json.Unmarshal([]byte(e.data), v); err != nil {
			s.t.Fatalf("%v in %s", err, e.data)
		}
	}
	return e
}

func TestEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ended := w.start(t)
		w.apply(t, fsm.FinishOperation{ID: ended, Outcome: fsm.Canceled})
		client := serve(t, w.server(t))
		stream := subscribe(t, client, "/cluster/events")

		// At first, where things stand; nothing of what is over.
		var l Lease
		if e := stream.want("lease", &l); l.Holder != "a" || l.Epoch != 1 || e.id != "" {
			t.Errorf("%+v", l)
		}
		// A change is told at once, and an extension is none.
		begun := time.Now()
		w.apply(t, fsm.Extend{Epoch: 1, Incarnation: strings.Repeat("a", 32), Last: slotNow + 5})
		index := w.apply(t, fsm.RaiseAlarm{Name: "test", Subject: "x", Text: "two\nlines"})
		var h Event
		first := stream.want("history", &h)
		if h.Text != "two\nlines" || h.Index != index || first.id != fmt.Sprintf("%d.1", index) || time.Since(begun) > 0 {
			t.Errorf("%+v %+v after %s", first, h, time.Since(begun))
		}
		// An operation with its history line; its end.
		id := w.start(t)
		var o Operation
		if stream.want("history", &h); h.Kind != "operation.started" {
			t.Errorf("%+v", h)
		}
		if stream.want("operation", &o); o.ID != fmt.Sprint(id) || o.Step != fsm.StepValidate {
			t.Errorf("%+v", o)
		}
		w.apply(t, fsm.Release{Epoch: 1, Incarnation: strings.Repeat("a", 32), Signed: slotNow})
		if stream.want("history", &h); h.Kind != "lease.released" {
			t.Errorf("%+v", h)
		}
		if stream.want("lease", &l); !l.Released {
			t.Errorf("%+v", l)
		}
		// Silence is broken now and then.
		begun = time.Now()
		if e, _ := stream.next(); e.kind != "comment" || time.Since(begun) != streamBeat {
			t.Errorf("%+v after %s", e, time.Since(begun))
		}

		// Another member takes the client on where it was: it misses nothing and hears nothing twice.
		again := subscribe(t, client, "/cluster/events", "Last-Event-ID", first.id)
		if again.want("history", &h); h.Kind != "operation.started" {
			t.Errorf("%+v", h)
		}
		if e := again.want("history", &h); h.Kind != "lease.released" || e.id == "" {
			t.Errorf("%+v", h)
		}
		again.want("lease", nil)
		again.want("operation", nil) // it still runs

		// From the beginning; an index stands for all its lines.
		all := subscribe(t, client, "/cluster/events?since=0")
		state, _ := w.View()
		for i := range state.History {
			if all.want("history", &h); h.Index != state.History[i].Index {
				t.Errorf("line %d: %+v", i, h)
			}
		}
		since := subscribe(t, client, fmt.Sprintf("/cluster/events?since=%d", h.Index))
		since.want("lease", nil)
	})
}

// TestEventsGap: what is forgotten is told.
func TestEventsGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for i := range 2 * historyLines {
			w.apply(t, fsm.RaiseAlarm{Name: "test", Subject: fmt.Sprint(i)})
		}
		state, _ := w.View()
		if len(state.History) != historyLines {
			t.Fatalf("the state keeps %d lines, not %d", len(state.History), historyLines)
		}
		oldest := state.History[0].Index
		client := serve(t, w.server(t))
		for since, want := range map[string]struct {
			gap   bool
			lines int
		}{
			"1.1": {true, historyLines}, "0": {true, historyLines}, fmt.Sprint(oldest): {true, historyLines - 1}, fmt.Sprint(oldest + 1): {false, historyLines - 2},
		} {
			stream := subscribe(t, client, "/cluster/events?since="+since)
			if want.gap {
				var g Gap
				if stream.want("gap", &g); g.Oldest != oldest {
					t.Errorf("%+v", g)
				}
			}
			for range want.lines {
				stream.want("history", nil)
			}
			stream.want("lease", nil)
		}
	})
}

// TestSlowReader: a client that takes nothing is cut off, and holds up neither the state nor another client.
func TestSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := w.server(t)
		client := serve(t, s)
		slow, quick := subscribe(t, client, "/cluster/events"), subscribe(t, client, "/cluster/events")
		quick.want("lease", nil)
		begun := time.Now()
		for i := range 10 {
			w.apply(t, fsm.RaiseAlarm{Name: "test", Subject: fmt.Sprint(i), Text: strings.Repeat("x", 300)})
			quick.want("history", nil)
		}
		if took := time.Since(begun); took > 0 {
			t.Errorf("the other client waited %s", took)
		}
		time.Sleep(2 * streamTime)
		s.streams.mu.Lock()
		left := s.streams.total
		s.streams.mu.Unlock()
		if left != 1 {
			t.Errorf("%d streams are left", left)
		}
		for {
			if _, ok := slow.next(); !ok {
				break
			}
		}
	})
}

// TestStreamsAreBounded, and who is nobody any more is cut off.
func TestStreamsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s, tokens := guarded(t, w)
		client := serve(t, s)
		state, _ := w.View()
		var list []*subscription
		for range maxStreamsEach {
			list = append(list, subscribe(t, client, "/cluster/events", "Authorization", "Bearer "+tokens[Read]))
		}
		req, _ := http.NewRequest(http.MethodGet, "http://localhost/cluster/events", nil)
		req.Header.Set("Authorization", "Bearer "+tokens[Read])
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusTooManyRequests || s.Refused()[reasonStreams] != 1 {
			t.Errorf("%d, %v", resp.StatusCode, s.Refused())
		}
		for id, token := range state.Tokens {
			if token.Name == string(Read) {
				w.apply(t, fsm.RemoveToken{ID: id})
			}
		}
		for _, stream := range list {
			for {
				if _, ok := stream.next(); !ok {
					break
				}
			}
		}
		synctest.Wait()
		s.streams.mu.Lock()
		defer s.streams.mu.Unlock()
		if s.streams.total != 0 || len(s.streams.each) != 0 {
			t.Errorf("%d streams are left, %v", s.streams.total, s.streams.each)
		}
	})
}

func FuzzCursor(f *testing.F) {
	for _, s := range []string{"1.1", "0", "", ".", "18446744073709551616.1", "1.-1", "1.1.1", "1.\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parseCursor(text)
		if err != nil {
			if e := toError(err); e.Status != http.StatusBadRequest || e.Hint == "" {
				t.Fatalf("%+v", e)
			}
			return
		}
		if again, err := parseCursor(c.String()); err != nil || again != c {
			t.Fatalf("%q is %+v, which is %+v", text, c, again)
		}
	})
}

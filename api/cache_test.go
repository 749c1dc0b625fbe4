package api

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"roundtable/cluster/health"
	"roundtable/fsm"
)

// steady is a world whose look at the peers is one map until it changes, as gossip's is.
type steady struct {
	*world
	looked map[string]health.Peer
}

func (s *steady) Peers() map[string]health.Peer { return s.looked }

// TestShared: an answer is given again for a moment, unless something happened.
func TestShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		y := &steady{w, w.Peers()}
		made := 0
		s := w.server(t)
		s.cfg.Cluster = y
		s.cfg.Certificate = func() (time.Time, string) { // asked once for each look
			made++
			return time.Time{}, ""
		}
		s.handler = s.router()
		get := func() (o Overview) {
			got := httptest.NewRecorder()
			s.ServeHTTP(got, httptest.NewRequest(http.MethodGet, "http://localhost/cluster", nil))
			if err := json.Unmarshal(got.Body.Bytes(), &o); err != nil {
				t.Fatal(err)
			}
			return o
		}
		want := func(what string, n int) {
			t.Helper()
			if made != n {
				t.Fatalf("%s: made %d times, not %d", what, made, n)
			}
		}
		get()
		get()
		want("nothing happened", 1)
		time.Sleep(keptFor - time.Nanosecond)
		get()
		want("still nothing", 1)
		time.Sleep(time.Nanosecond)
		get()
		want("it is old", 2)
		w.apply(t, fsm.RaiseAlarm{Name: "test"})
		if o := get(); o.Index != w.state.Index {
			t.Error("an entry was applied, and the answer does not show it")
		}
		want("an entry", 3)
		y.looked = maps.Clone(y.looked)
		p := y.looked["b"]
		p.Report.LIB = 4711
		y.looked["b"] = p
		if o := get(); o.Members[1].LIB != 4711 {
			t.Error("a report came in, and the answer does not show it")
		}
		want("a report", 4)
		var wg sync.WaitGroup
		time.Sleep(keptFor)
		for range 20 {
			wg.Go(func() { get() })
		}
		wg.Wait()
		want("many at once", 5)
	})
}

func BenchmarkOverview(b *testing.B) {
	w := newWorld(b)
	s := w.server(b)
	for _, c := range []struct {
		name    string
		cluster Cluster
	}{{"made", w}, {"kept", &steady{w, w.Peers()}}} {
		s.cfg.Cluster = c.cluster
		s.handler = s.router()
		b.Run(c.name, func(b *testing.B) {
			r := httptest.NewRequest(http.MethodGet, "http://localhost/cluster", nil)
			r.RemoteAddr = "@"
			for b.Loop() {
				s.clients = clients{}
				s.ServeHTTP(httptest.NewRecorder(), r)
			}
		})
	}
}

// TestLength: a long answer is not sent in chunks, and HEAD tells its length.
func TestLength(t *testing.T) {
	srv := listen(t, newWorld(t).server(t))
	const buffer = 2048 // of net/http: what is longer would go in chunks
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		if resp := ask(t, srv, method, "/cluster", "", nil); resp.ContentLength <= buffer || len(resp.TransferEncoding) > 0 {
			t.Errorf("%s: %d bytes %v", method, resp.ContentLength, resp.TransferEncoding)
		}
	}
}

package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"roundtable/api"
)

// TestNextServer: one that is down and one that knows no leader are passed over, with the same idempotency key.
func TestNextServer(t *testing.T) {
	noLeaks(t)
	cut, good := newFakeAPI(t), newFakeAPI(t)
	cut.answer("POST /cluster/handoff", http.StatusServiceUnavailable, `{"error":{"code":"no_leader","message":"no leader"}}`)
	good.answer("POST /cluster/handoff", http.StatusAccepted, api.Started{Operation: "7"})
	code, out, errs := command("handoff", "--server", "127.0.0.1:1,"+cut.URL, "--server", good.URL)
	if code != exitDone || !strings.Contains(out, "operation 7") {
		t.Fatalf("exit %d: %s%s", code, out, errs)
	}
	one, two := cut.asked[0].Header.Get("Idempotency-Key"), good.asked[0].Header.Get("Idempotency-Key")
	if one == "" || one != two {
		t.Errorf("keys %q and %q", one, two)
	}
	if code, _, errs = command("handoff", "--server", "127.0.0.1:1,"+cut.URL); code != exitFailed || !strings.Contains(errs, "no leader [no_leader]") {
		t.Errorf("exit %d: %s", code, errs)
	}
}

// frozen is a server that takes requests and never answers.
func frozen(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // or the end of the connection is not seen
		<-r.Context().Done()
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// TestFrozenServers: what does not answer costs little when another one does, and a bounded time when none does.
func TestFrozenServers(t *testing.T) {
	noLeaks(t)
	one, two, f := frozen(t), frozen(t), newFakeAPI(t)
	f.on("GET /cluster", exampleOverview())
	timed := func(args ...string) (code int, out, errs string, took time.Duration) {
		begun := time.Now()
		code, out, errs = command(args...)
		return code, out, errs, time.Since(begun)
	}
	if code, out, errs, took := timed("status", "--server", one+","+two+","+f.URL); code != exitDone || !strings.HasPrefix(out, "ok: ") || errs != "" || took > readTime {
		t.Errorf("exit %d in %s: %s%s", code, took, out, errs)
	}
	servers := "--server=" + one + "," + f.URL
	asking := "no answer from " + one + " yet, asking " + f.URL + " ...\n"
	f.answer("POST /cluster/handoff", http.StatusServiceUnavailable, `{"error":{"code":"no_leader","message":"no leader","hint":"a majority"}}`)
	if code, _, errs, took := timed("handoff", servers); code != exitFailed || errs != asking+"no answer from "+one+": it may still do it when it gets the request\nerror: no leader [no_leader]\nhint: a majority\n" || took > readTime {
		t.Errorf("exit %d in %s: %s", code, took, errs)
	}
	f.answer("POST /cluster/handoff", http.StatusAccepted, api.Started{Operation: "7"})
	if code, out, errs, took := timed("handoff", servers); code != exitDone || !strings.Contains(out, "operation 7") || errs != asking || took > readTime {
		t.Errorf("exit %d in %s: %s%s", code, took, out, errs)
	}
	for _, wait := range []string{"--wait", "--wait=false"} {
		code, _, errs, took := timed("handoff", wait, "--timeout", "700ms", "--server", one+","+two)
		if code != exitTimeout || !strings.Contains(errs, "no manager answered in time") || !strings.Contains(errs, "hint: look with") || !strings.HasPrefix(errs, "no answer from "+one+" yet, asking "+two) || took > readTime {
			t.Errorf("exit %d in %s: %s", code, took, errs)
		}
	}
}

// TestPrefer: the server that answered is asked first the next time.
func TestPrefer(t *testing.T) {
	x, y, z := &server{name: "x"}, &server{name: "y"}, &server{name: "z"}
	a := &app{servers: []*server{x, y, z}}
	a.prefer(y)
	if got := names(a.servers); got != "y, x, z" {
		t.Error(got)
	}
}

// TestHandoffTarget: the member may be named with and without --to.
func TestHandoffTarget(t *testing.T) {
	noLeaks(t)
	f := newFakeAPI(t)
	f.answer("POST /cluster/handoff", http.StatusAccepted, api.Started{Operation: "7"})
	for args, want := range map[string]string{
		"handoff b": `{"to":"b","when":"safe"}`, "handoff --to b": `{"to":"b","when":"safe"}`, "handoff b --to b": `{"to":"b","when":"safe"}`, "handoff": `{"to":"","when":"safe"}`,
	} {
		code, _, errs := command(append(strings.Fields(args), "--server", f.URL)...)
		if got := f.bodies[len(f.bodies)-1]; code != exitDone || got != want {
			t.Errorf("%s: exit %d, %s: %s", args, code, errs, got)
		}
	}
}

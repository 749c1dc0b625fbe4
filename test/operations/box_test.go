package operations

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"roundtable/api"
	"roundtable/drill"
	"roundtable/test/binaries"
)

// built is the folder of the programs under test.
var built string

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "5"); err != nil { // they mostly wait
		panic(err)
	}
	os.Exit(binaries.Main(m, &built, "cmd/roundtable", "cmd/simnodeos"))
}

// box is a sandbox of real processes.
type box struct {
	*drill.Sandbox
	t     *testing.T
	first uint64 // slot from which on the checker counts
}

// layOut makes a sandbox that was not started. Whatever runs of it at the end of the test is killed; its folder is kept where the
// test failed.
func layOut(t *testing.T, o drill.Options) *box {
	t.Helper()
	if testing.Short() {
		t.Skip("starts real processes")
	}
	dir, err := os.MkdirTemp("", "rt-op-")
	if err != nil {
		t.Fatal(err)
	}
	o.Dir, o.Roundtable, o.Nodeos, o.Versions = dir, filepath.Join(built, "roundtable"), filepath.Join(built, "simnodeos"), true
	s, err := drill.NewSandbox(o)
	if err != nil {
		t.Fatal(err)
	}
	b := &box{Sandbox: s, t: t}
	t.Cleanup(func() {
		if err := b.Kill(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("logs and ledgers are left in %s", dir)
			return
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return b
}

// configure adds to every member's config.toml: keys of [node], and whole sections.
func (b *box) configure(node, sections func(m *drill.Member) string) {
	b.t.Helper()
	for _, m := range b.Members {
		file := filepath.Join(m.Home, "config.toml")
		text := read(b.t, file)
		if node != nil {
			text = strings.Replace(text, "[node]\n", "[node]\n"+node(m), 1)
		}
		if sections != nil {
			text += "\n" + sections(m)
		}
		write(b.t, file, text)
	}
}

// up starts the sandbox and waits until production runs.
func (b *box) up() *box {
	b.t.Helper()
	if err := b.Start(); err != nil {
		b.t.Fatal(err)
	}
	b.settle()
	b.first = drill.SlotNow() + 1
	return b
}

// settle waits until the cluster is whole: all nodes run, one member holds, nothing is under way.
func (b *box) settle() {
	b.t.Helper()
	if err := b.Settle(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
}

// check lets the checker count, and fails the test where anything was signed twice, or, where nothing was killed, missed.
func (b *box) check(missed bool) drill.Report {
	b.t.Helper()
	r, err := b.Check(b.t.Context(), b.first, drill.SlotNow()-1)
	if err != nil {
		b.t.Fatal(err)
	}
	if !r.OK() {
		var text strings.Builder
		r.Write(&text)
		b.t.Errorf("the checker found:%s", &text)
	}
	if r.Missed.Total > 0 && !missed {
		b.t.Errorf("%d of %d slots were missed", r.Missed.Total, r.SlotsDue)
	}
	return r
}

// overview is how the cluster is, as soon as one member leads and one holds.
func (b *box) overview() drill.Overview {
	b.t.Helper()
	return b.seen("nobody leads or holds", func(o drill.Overview) bool { return o.Leader != "" && o.Holder() != "" })
}

// seen is how the cluster is, as soon as that is so.
func (b *box) seen(otherwise string, so func(drill.Overview) bool) drill.Overview {
	b.t.Helper()
	var o drill.Overview
	b.eventually(10*time.Second, "how the cluster is", func(ctx context.Context) (err error) {
		if o, err = b.Overview(ctx); err == nil && !so(o) {
			err = errors.New(otherwise)
		}
		return err
	})
	return o
}

func (b *box) member(id string) *drill.Member {
	b.t.Helper()
	m, err := b.Member(id)
	if err != nil {
		b.t.Fatal(err)
	}
	return m
}

// other is a member that is none of these.
func (b *box) other(ids ...string) *drill.Member {
	b.t.Helper()
	i := slices.IndexFunc(b.Members, func(m *drill.Member) bool { return !slices.Contains(ids, m.ID) })
	if i < 0 {
		b.t.Fatalf("there is no member but %v", ids)
	}
	return b.Members[i]
}

// eventually polls until f gives no error, for at most d.
func (b *box) eventually(d time.Duration, what string, f func(context.Context) error) {
	b.t.Helper()
	if err := within(b.t.Context(), d, f); err != nil {
		b.t.Fatalf("%s: not within %v: %v", what, d, err)
	}
}

// within polls until f gives no error.
func within(ctx context.Context, d time.Duration, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		err := f(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil || last == nil { // an error by ctx's end tells nothing
			last = err
		}
		select {
		case <-ctx.Done():
			return last
		case <-tick.C:
		}
	}
}

// fields are a JSON object.
type fields map[string]any

// send asks any running member; it tries the same request again while nobody leads, which a kill may well bring about, and another one
// where an operation is not begun because of how the cluster is at this moment: a machine that is busy with several may hold up all.
func (b *box) send(method, path string, body fields, want int, v any) {
	b.t.Helper()
	key := rand.Text()
	b.eventually(15*time.Second, method+" "+path, func(ctx context.Context) error {
		status, text, err := b.ask(ctx, b.running(), method, path, body, key)
		switch {
		case err != nil:
			return err
		case status == http.StatusConflict && strings.Contains(string(text), "is not begun: "):
			key = rand.Text()
			fallthrough
		case status == http.StatusServiceUnavailable:
			return fmt.Errorf("%d %s", status, text)
		case status != want:
			b.t.Fatalf("%s %s %v: %d %s", method, path, body, status, text)
		}
		if v == nil {
			return nil
		}
		return json.Unmarshal(text, v)
	})
}

// ask asks one member. Whoever repeats a request that changes something gives it a key.
func (b *box) ask(ctx context.Context, m *drill.Member, method, path string, body fields, key ...string) (int, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var send io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return 0, nil, err
		}
		send = strings.NewReader(string(text))
	}
	req, err := http.NewRequestWithContext(ctx, method, m.API+path, send)
	if err != nil {
		return 0, nil, err
	}
	for _, k := range key {
		req.Header.Set("Idempotency-Key", k)
	}
	resp, err := m.Client().Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, text, err
}

// running is a member whose manager runs.
func (b *box) running() *drill.Member {
	b.t.Helper()
	i := slices.IndexFunc(b.Members, (*drill.Member).Running)
	if i < 0 {
		b.t.Fatal("no manager runs")
	}
	return b.Members[i]
}

// begin starts an operation and returns its id.
func (b *box) begin(path string, body fields) string {
	b.t.Helper()
	var answer struct{ Operation string }
	b.send(http.MethodPost, path, body, http.StatusAccepted, &answer)
	return answer.Operation
}

// operation is how an operation stands, as the member says that has come furthest with it.
func (b *box) operation(ctx context.Context, id string) (o api.Operation, err error) {
	err = errors.New("nobody answers")
	for _, m := range b.Members {
		if !m.Running() {
			continue
		}
		var one api.Operation
		status, text, failed := b.ask(ctx, m, http.MethodGet, "/cluster/operations/"+id, nil)
		if failed == nil && status == http.StatusOK {
			failed = json.Unmarshal(text, &one)
		} else if failed == nil {
			failed = fmt.Errorf("%d %s", status, text)
		}
		if failed == nil && (err != nil || one.Ended != "" || len(one.Steps) > len(o.Steps)) {
			o, err = one, nil
		}
	}
	return o, err
}

// end waits for an operation's end.
func (b *box) end(id string, limit time.Duration) api.Operation {
	b.t.Helper()
	var o api.Operation
	b.eventually(limit, "the end of operation "+id, func(ctx context.Context) (err error) {
		if o, err = b.operation(ctx, id); err == nil && o.Ended == "" {
			err = fmt.Errorf("it is at: %s", o.Message)
		}
		return err
	})
	return o
}

// done does an operation to a good end.
func (b *box) done(path string, body fields, limit time.Duration) api.Operation {
	b.t.Helper()
	o := b.end(b.begin(path, body), limit)
	if o.Outcome != "done" {
		b.t.Fatalf("%s %v is %s: %s", path, body, o.Outcome, o.Reason)
	}
	return o
}

// nodes are the process ids of the nodes.
func (b *box) nodes() map[string]int {
	b.t.Helper()
	pids := map[string]int{}
	for _, m := range b.Members {
		pid, err := b.NodePID(m)
		if err != nil {
			b.t.Fatal(err)
		}
		pids[m.ID] = pid
	}
	return pids
}

// tags is the version that each member's link leads to.
func (b *box) tags() map[string]string {
	b.t.Helper()
	tags := map[string]string{}
	for _, m := range b.Members {
		target, err := os.Readlink(filepath.Join(m.Home, "current"))
		if err != nil {
			b.t.Fatal(err)
		}
		tags[m.ID] = filepath.Base(target)
	}
	return tags
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

package observe

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"roundtable/drill"
	"roundtable/test/binaries"
)

// built is the folder of the programs under test.
var built string

func TestMain(m *testing.M) {
	os.Exit(binaries.Main(m, &built, "cmd/roundtable", "cmd/simnodeos"))
}

// box is a sandbox of real processes.
type box struct {
	*drill.Sandbox
	t *testing.T
}

// start starts a sandbox and waits until production runs. What still runs at the end of the test is killed; its folder is
// kept where the test failed.
func start(t *testing.T, o drill.Options) *box {
	t.Helper()
	dir, err := os.MkdirTemp("", "rt-observe-")
	if err != nil {
		t.Fatal(err)
	}
	o.Dir, o.Roundtable, o.Nodeos = dir, filepath.Join(built, "roundtable"), filepath.Join(built, "simnodeos")
	s, err := drill.NewSandbox(o)
	if err != nil {
		t.Fatal(err)
	}
	b := &box{s, t}
	t.Cleanup(func() {
		if err := b.Kill(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("the sandbox is left in %s", dir)
			return
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := b.Start(); err != nil {
		t.Fatal(err)
	}
	b.settle()
	return b
}

func (b *box) settle() {
	b.t.Helper()
	if err := b.Settle(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
}

func (b *box) overview() drill.Overview {
	b.t.Helper()
	o, err := b.Overview(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	return o
}

// holder is who produces.
func (b *box) holder() *drill.Member {
	b.t.Helper()
	m, err := b.Member(b.overview().Holder())
	if err != nil {
		b.t.Fatal(err)
	}
	return m
}

// bystander neither holds nor leads.
func (b *box) bystander() *drill.Member {
	b.t.Helper()
	o := b.overview()
	i := slices.IndexFunc(b.Members, func(m *drill.Member) bool { return m.ID != o.Holder() && m.ID != o.Leader })
	return b.Members[i] // of three members there is always one
}

// change asks a member for a change, which must be accepted; again with the same key where the leader was lost meanwhile.
func (b *box) change(m *drill.Member, method, path, body string) {
	b.t.Helper()
	key := fmt.Sprint(time.Now().UnixNano())
	until(b.t, 30*time.Second, method+" "+path, func(ctx context.Context) error {
		status, text, err := ask(ctx, m, method, path, body, "Idempotency-Key", key)
		if err == nil && status != http.StatusServiceUnavailable && status != http.StatusTooManyRequests && status >= 300 {
			b.t.Fatalf("%s %s of %s: %d: %s", method, path, m.ID, status, text)
		}
		if err == nil && status >= 300 {
			err = fmt.Errorf("%d: %s", status, text)
		}
		return err
	})
}

// ask asks a member as an admin.
func ask(ctx context.Context, m *drill.Member, method, path, body string, headers ...string) (int, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, m.API+path, strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	return do(m.Client(), req)
}

func do(c *http.Client, req *http.Request) (int, []byte, error) {
	resp, err := c.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, bytes.TrimSpace(text), err
}

// until polls until f gives no error, for at most d.
func until(t *testing.T, d time.Duration, what string, f func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	if err := drill.Poll(ctx, 100*time.Millisecond, f); err != nil {
		t.Fatalf("%s: not within %v: %v", what, d, err)
	}
}

// handoff hands production to somebody else than who has it.
func (b *box) handoff() {
	b.t.Helper()
	from := b.holder()
	b.change(from, http.MethodPost, "/cluster/handoff?wait=20s", `{"when":"now"}`)
	until(b.t, 10*time.Second, "another holder than "+from.ID, func(ctx context.Context) error {
		o, err := b.Overview(ctx)
		if err == nil && (o.Holder() == "" || o.Holder() == from.ID || len(o.Operations) > 0) {
			err = fmt.Errorf("it is %q", o.Holder())
		}
		return err
	})
}

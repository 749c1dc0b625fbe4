package test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"roundtable/drill"
	"roundtable/manager"
	"roundtable/test/binaries"
)

// built is the folder of the programs under test.
var built string

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "3"); err != nil { // they mostly wait
		panic(err)
	}
	os.Exit(binaries.Main(m, &built, "cmd/roundtable", "cmd/simnodeos"))
}

// box is a sandbox of real processes, and the hold file of its handoffs (manager.EnvHold).
type box struct {
	*drill.Sandbox
	t     *testing.T
	hold  string
	first uint64 // slot from which on the checker counts
}

// layOut makes a sandbox that was not started. Whatever runs of it at the end of the test is killed; its folder is kept
// where the test failed.
func layOut(t *testing.T, o drill.Options) *box {
	t.Helper()
	dir, err := os.MkdirTemp("", "rt-")
	if err != nil {
		t.Fatal(err)
	}
	b := &box{t: t, hold: filepath.Join(dir, "hold")}
	o.Dir, o.Roundtable, o.Nodeos = dir, filepath.Join(built, "roundtable"), filepath.Join(built, "simnodeos")
	o.Env = append(o.Env, manager.EnvHold+"="+b.hold)
	if b.Sandbox, err = drill.NewSandbox(o); err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(b.keyFile())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Kill(); err != nil {
			t.Error(err)
		}
		if found := grep(t, dir, strings.TrimSpace(string(key))); len(found) > 1 {
			t.Errorf("the private key stands in %v", found)
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

// start starts a sandbox and waits until production runs.
func start(t *testing.T, o drill.Options) *box {
	t.Helper()
	b := layOut(t, o)
	if err := b.Start(); err != nil {
		t.Fatal(err)
	}
	b.settle()
	b.first = drill.SlotNow() + 1
	return b
}

// settle waits until every member is well in everybody's eyes: what one of them knows may be older than a restart.
func (b *box) settle() {
	b.t.Helper()
	if err := b.Settle(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
	eventually(b.t, 30*time.Second, "everybody fit in everybody's eyes", func(ctx context.Context) error {
		for _, m := range b.Members {
			var o drill.Overview
			if err := get(ctx, m, "/cluster", &o); err != nil {
				return err
			}
			for _, v := range o.Members {
				if !v.Alive || !v.Fit {
					return fmt.Errorf("%s says: %s is not fit: %s", m.ID, v.ID, v.Reason)
				}
			}
		}
		return b.one(ctx)
	})
}

// check lets the checker count, and fails the test where anything was signed twice or by nobody.
func (b *box) check() drill.Report {
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
	return r
}

// keyFile holds the producer's private key.
func (b *box) keyFile() string { return filepath.Join(b.Dir, "producer.key") }

func (b *box) overview() drill.Overview {
	b.t.Helper()
	o, err := b.Overview(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
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
func eventually(t *testing.T, d time.Duration, what string, f func(context.Context) error) time.Duration {
	t.Helper()
	took, err := await(t.Context(), d, f)
	if err != nil {
		t.Fatalf("%s: not within %v: %v", what, d, err)
	}
	return took
}

// await polls until f gives no error, and says how long that took.
func await(ctx context.Context, d time.Duration, f func(context.Context) error) (time.Duration, error) {
	since := time.Now()
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	err := drill.Poll(ctx, 10*time.Millisecond, f)
	return time.Since(since), err
}

// answer is what an API said.
type answer struct {
	status int
	body   []byte
}

// ask asks a member's API with a short timeout: a frozen or dead one must not hold up a test.
func ask(ctx context.Context, m *drill.Member, method, path, body string) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, m.API+path, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := m.Client().Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, text}, err
}

// get decodes a good answer into v.
func get(ctx context.Context, m *drill.Member, path string, v any) error {
	a, err := ask(ctx, m, http.MethodGet, path, "")
	if err != nil {
		return err
	}
	if a.status != http.StatusOK {
		return fmt.Errorf("GET %s of %s: %d: %s", path, m.ID, a.status, a.body)
	}
	return json.Unmarshal(a.body, v)
}

// metric sums a metric of a member over its labels; labels, such as `reason="no_lease"`, select some.
func metric(ctx context.Context, m *drill.Member, name string, labels ...string) (float64, error) {
	a, err := ask(ctx, m, http.MethodGet, "/metrics", "")
	if err != nil {
		return 0, err
	}
	sum, found := 0.0, false
	for line := range strings.Lines(string(a.body)) {
		full, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		plain, rest, _ := strings.Cut(full, "{")
		if !ok || plain != name || slices.ContainsFunc(labels, func(l string) bool { return !strings.Contains(rest, l) }) {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return 0, err
		}
		sum, found = sum+v, true
	}
	if !found && len(labels) == 0 && name != "roundtable_gate_refused_total" { // which has no line until the first refusal
		return 0, fmt.Errorf("%s has no metric %s", m.ID, name)
	}
	return sum, nil
}

// one is every running member's agreement: one open lease, the same for all, its holder's gate the only open one, no
// operation under way, and blocks that come.
func (b *box) one(ctx context.Context) error {
	var holder string
	var epoch uint64
	for _, m := range b.Members {
		if !m.Running() {
			continue
		}
		var o drill.Overview
		if err := get(ctx, m, "/cluster", &o); err != nil {
			return err
		}
		switch {
		case o.Holder() == "":
			return fmt.Errorf("%s knows no holder: %s", m.ID, o.Lease.Reason)
		case len(o.Operations) > 0:
			return fmt.Errorf("%s shows operation %s running at step %q", m.ID, o.Operations[0].ID, o.Operations[0].Step)
		case holder != "" && (holder != o.Holder() || epoch != o.Lease.Epoch):
			return fmt.Errorf("%s shows %s as the holder of epoch %d, another one %s of %d", m.ID, o.Holder(), o.Lease.Epoch, holder, epoch)
		}
		holder, epoch = o.Holder(), o.Lease.Epoch
	}
	open := ""
	for _, m := range b.Members {
		if !m.Running() {
			continue
		}
		v, err := metric(ctx, m, "roundtable_gate_open")
		if err != nil {
			return err
		}
		if v == 1 {
			open += m.ID
		}
	}
	if open != holder {
		return fmt.Errorf("%s holds, the gates of %q are open", holder, open)
	}
	return b.flows(ctx, b.member(holder))
}

// flows wants a block of the last slots at the head of a member's node.
func (b *box) flows(ctx context.Context, m *drill.Member) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, m.NodeHTTP()+"/v1/chain/get_info", nil)
	if err != nil {
		return err
	}
	resp, err := m.Client().Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var info struct {
		At string `json:"head_block_time"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&info); err != nil {
		return err
	}
	at, err := time.Parse("2006-01-02T15:04:05.000", info.At)
	if err != nil {
		return err
	}
	if age := time.Since(at); age > 1200*time.Millisecond {
		return fmt.Errorf("the head of %s is %v old", m.ID, age.Round(time.Millisecond))
	}
	return nil
}

// grep finds the files below a folder whose content holds the text, the node's sparse databases left out.
func grep(t *testing.T, dir, text string) []string {
	t.Helper()
	var found []string
	if err := filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) { // it is just going
			return nil
		}
		if err != nil || !d.Type().IsRegular() || filepath.Ext(file) == ".bin" {
			return err
		}
		content, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if bytes.Contains(content, []byte(text)) {
			found = append(found, file)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return found
}

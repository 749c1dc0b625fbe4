package gate

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"roundtable/chain"
	"roundtable/node/k1"
)

const (
	devPrivate = "5KQwrPbwdL6PhXujxW37FSSQZ1JiwsST4cqQzDeyXtP79zkvFD3"
	devPublic  = "EOS6MRyAjQq8ud7hVNYcfnVPJqcVpscN5So8BhtHuGYqET5GDW5CV"
	secondWIF  = "5HpHagT65TZzG1PH3CSu63k8DbpvD8s5ip4nEB3kEsreAnchuDf" // private key 1
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start is the clock of most tests, and base its slot.
var (
	start = time.Date(2026, 11, 21, 0, 33, 2, 0, time.UTC)
	base  = chain.SlotAt(start.UnixMilli())
)

// keys is a Signer over private keys that can be told to fail, to lie or to wait.
type keys struct {
	keys  map[string]*k1.PrivateKey
	names []string
	hook  func(ctx context.Context, digest [32]byte) (string, error)

	mu    sync.Mutex
	asked []string // digests, hex
}

func newKeys(t testing.TB, wifs ...string) *keys {
	t.Helper()
	s := &keys{keys: map[string]*k1.PrivateKey{}}
	for _, w := range wifs {
		k, err := k1.ParsePrivate(w)
		if err != nil {
			t.Fatal(err)
		}
		s.keys[k.Public().String()] = k
		s.names = append(s.names, k.Public().String())
	}
	return s
}

func (s *keys) Keys() []string { return s.names }

func (s *keys) Sign(ctx context.Context, digest [32]byte, key string) (string, error) {
	s.mu.Lock()
	s.asked = append(s.asked, hex.EncodeToString(digest[:]))
	s.mu.Unlock()
	if s.hook != nil {
		if sig, err := s.hook(ctx, digest); sig != "" || err != nil {
			return sig, err
		}
	}
	return s.keys[key].Sign(digest).String(), nil
}

func newGate(t testing.TB, change func(*Config)) *Gate {
	t.Helper()
	cfg := Config{Socket: filepath.Join(t.TempDir(), "gate.sock"), Producers: []string{"eosio", "prodb"}, Signer: newKeys(t, devPrivate, secondWIF), Now: func() time.Time { return start }}
	if change != nil {
		change(&cfg)
	}
	g, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// fakeNode writes to the gate as nodeos does.
type fakeNode struct {
	t   testing.TB
	out *os.File
	g   *Gate
}

func openNode(t testing.TB, g *Gate) *fakeNode {
	t.Helper()
	out, err := g.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = out.Close() })
	return &fakeNode{t, out, g}
}

func (n *fakeNode) raw(packets ...string) {
	n.t.Helper()
	for _, p := range packets {
		if _, err := n.out.WriteString(p); err != nil {
			n.t.Fatal(err)
		}
	}
}

// say writes texts as console_appender.cpp does: each text and its newline in two writes.
func (n *fakeNode) say(texts ...string) {
	n.t.Helper()
	for _, text := range texts {
		n.raw(text, "\n")
	}
}

func stamp(s chain.Slot) string { return time.UnixMilli(s.UnixMilli()).UTC().Format(timeLayout) }

func logged(level, thread, file string, line int, method, message string) string {
	cut := func(s string, n int) string { return fmt.Sprintf("%-*.*s", n, n, s) }
	return cut(level, 5) + " 2026-11-21T00:33:02.275 " + cut(thread, 9) + " " + cut(file[:min(22, len(file))]+":"+fmt.Sprintf("%-6d", line), 29) + " " + cut(method, 20) + " ] " + message
}

func startLine(num uint32, slot chain.Slot, producer string) string {
	return logged("debug", "nodeos", "producer_plugin.cpp", 2086, "start_block", fmt.Sprintf("Starting block #%d %s producer %s, deadline 2026-11-21T00:33:02.463", num, stamp(slot), producer))
}

func timerLine(num uint32) string {
	return logged("debug", "nodeos", "producer_plugin.cpp", 2750, "operator()", fmt.Sprintf("Produce block timer for %d running at 2026-11-21T00:33:02.463", num))
}

func abortLine() string {
	return logged("debug", "nodeos", "producer_plugin.cpp", 2795, "maybe_produce_block", "Aborting block due to produce_block error")
}

func returnedLine(num uint32) string {
	return logged("debug", "nodeos", "producer_plugin.cpp", 2755, "operator()", fmt.Sprintf("Producing Block #%d returned: true", num))
}

func otherLine() string {
	return logged("debug", "nodeos", "producer_plugin.cpp", 1900, "start_block", "Not starting block until 2026-11-21T00:33:02.463")
}

func (n *fakeNode) announce(num uint32, slot chain.Slot) {
	n.t.Helper()
	n.say(startLine(num, slot, "eosio"), otherLine(), timerLine(num))
}

func digestOf(s string) (d [32]byte) {
	copy(d[:], s)
	return d
}

func public(t testing.TB, text string) k1.PublicKey {
	t.Helper()
	k, err := k1.ParsePublic(text)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// ask asks the gate for a signature, past the socket, and checks it. It returns the refusal's reason, "" for a signature.
func (n *fakeNode) ask(digest string, key ...string) (reason string) {
	n.t.Helper()
	return n.askRun(n.g.Status().Run, digest, key...)
}

func (n *fakeNode) askRun(run uint64, digest string, key ...string) (reason string) {
	n.t.Helper()
	q := request{run: run, digest: digestOf(digest), key: public(n.t, append(key, devPublic)[0]), hungUp: func() error { return nil }}
	text, _, err := n.g.sign(context.Background(), q)
	if err != nil {
		var r Refusal
		if !errors.As(err, &r) {
			return err.Error()
		}
		return r.Reason
	}
	sig, err := k1.ParseSignature(text)
	if err != nil {
		n.t.Fatal(err)
	}
	if got, err := k1.Recover(q.digest, sig); err != nil || got != q.key {
		n.t.Fatalf("the signature is not by the key that was asked for (%v)", err)
	}
	return ""
}

// serveGate runs Serve until stop is called or the test ends; then every callback has returned.
func serveGate(t testing.TB, g *Gate) (stop func()) {
	t.Helper()
	if err := g.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Serve(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// nodeosRequest is what nodeos sends, byte for byte (e-signature-provider/signer-8.log).
func nodeosRequest(socket string, digest [32]byte, key string) string {
	body := fmt.Sprintf(`["%x","%s"]`, digest, key)
	return fmt.Sprintf("POST / HTTP/1.1\r\nHost: %s\r\nUser-Agent: Boost.Beast/347\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", socket, len(body), body)
}

func dial(t testing.TB, g *Gate) *net.UnixConn {
	t.Helper()
	c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: g.cfg.Socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// exchange sends raw bytes and returns status and body of the answer.
func exchange(t testing.TB, g *Gate, raw string) (int, string) {
	t.Helper()
	c := dial(t, g)
	defer func() { _ = c.Close() }()
	if _, err := io.WriteString(c, raw); err != nil {
		t.Fatal(err)
	}
	return readAnswer(t, c)
}

func readAnswer(t testing.TB, c io.Reader) (int, string) {
	t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if !resp.Close {
		t.Error("the answer does not say Connection: close")
	}
	return resp.StatusCode, string(body)
}

// reasonOf reads the reason out of a refusal's body.
func reasonOf(t testing.TB, body string) string {
	t.Helper()
	var e struct {
		Code    int
		Message string
		Error   struct {
			Code    int
			Name    string
			What    string
			Details []struct{ Message string }
		}
	}
	if err := json.Unmarshal([]byte(body), &e); err != nil || e.Code != 500 || e.Error.Name == "" || len(e.Error.Details) != 1 {
		t.Fatalf("not an EOSIO error: %s (%v)", body, err)
	}
	if strings.Contains(body, "SIG_K1") {
		t.Fatalf("a refusal with a signature: %s", body)
	}
	return e.Error.Name
}

package sim

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"roundtable/node/k1"
)

// rawSigner is a wallet that keeps every byte it was sent.
type rawSigner struct {
	t   *testing.T
	l   net.Listener
	key *k1.PrivateKey

	mu       sync.Mutex
	answer   func(digest string) string // the whole HTTP answer; "" hangs
	requests []string
	conns    int
}

func newRawSigner(t *testing.T, network, addr string) *rawSigner {
	t.Helper()
	l, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	key, err := k1.ParsePrivate(devPriv)
	if err != nil {
		t.Fatal(err)
	}
	s := &rawSigner{t: t, l: l, key: key}
	s.answer = s.sign
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns++
			s.mu.Unlock()
			go s.serve(c)
		}
	}()
	return s
}

func httpAnswer(status, extra, body string) string {
	return fmt.Sprintf("HTTP/1.1 %s\r\n%sContent-Length: %d\r\n\r\n%s", status, extra, len(body), body)
}

func (s *rawSigner) sign(digest string) string {
	return httpAnswer("201 Created", "", s.signature(digest))
}

func (s *rawSigner) signature(digest string) string {
	var d Hash
	if err := d.UnmarshalText([]byte(digest)); err != nil {
		s.t.Error(err)
	}
	return `"` + s.key.Sign(d).String() + `"`
}

func (s *rawSigner) serve(c net.Conn) {
	defer c.Close()
	in := bufio.NewReader(c)
	for {
		var head strings.Builder
		for !strings.HasSuffix(head.String(), "\r\n\r\n") {
			b, err := in.ReadByte()
			if err != nil {
				return
			}
			head.WriteByte(b)
		}
		body := make([]byte, 124)
		if _, err := io.ReadFull(in, body); err != nil {
			return
		}
		s.mu.Lock()
		s.requests = append(s.requests, head.String()+string(body))
		answer := s.answer(string(body[2:66]))
		s.mu.Unlock()
		if answer == "drop" {
			return
		}
		if _, err := io.WriteString(c, answer); err != nil || strings.Contains(answer, "Connection: close") {
			return
		}
	}
}

func (s *rawSigner) set(f func(digest string) string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = f
}

func (s *rawSigner) seen() (requests []string, conns int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.requests...), s.conns
}

func keosdConfig(url string) string {
	return "producer-name = eosio\nsignature-provider = " + devPub + "=KEOSD:" + url + "\nkeosd-provider-timeout = 400"
}

func TestKeosdRequestsToTheLetter(t *testing.T) {
	t.Parallel()
	sock := filepath.Join(t.TempDir(), "s.sock")
	for _, c := range []struct{ name, network, listen, url, path, host string }{
		{"tcp", "tcp", "127.0.0.1:0", "http://user:pw@ADDR/v1/wallet/sign_digest?x=y", "/v1/wallet/sign_digest", "ADDR"},
		{"tcp without a path", "tcp", "127.0.0.1:0", "http://ADDR", "/", "ADDR"},
		{"unix", "unix", sock, "unix://" + sock, "/", sock},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newRawSigner(t, c.network, c.listen)
			addr := s.l.Addr().String()
			r := newRig(t, "a", writeGenesis(t), keosdConfig(strings.ReplaceAll(c.url, "ADDR", addr)))
			p := r.start("-e", "--genesis-json", r.genesis)
			p.produced(3)
			if code := p.term(); code != 0 {
				t.Errorf("exit code %d", code)
			}
			requests, conns := s.seen()
			led := p.readLedger()
			if conns != 1 || len(requests) < len(led) {
				t.Errorf("%d connections, %d requests for %d blocks", conns, len(requests), len(led))
			}
			for i, l := range led {
				want := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: Boost.Beast/347\r\nContent-Type: application/json\r\nContent-Length: 124\r\n\r\n[\"%s\",\"%s\"]",
					c.path, strings.ReplaceAll(c.host, "ADDR", addr), l.Digest, devPub)
				if requests[i] != want {
					t.Errorf("request\n%q, want\n%q", requests[i], want)
				}
			}
		})
	}
}

func TestRefusedBlockIsDroppedUntilTheNextSlot(t *testing.T) {
	t.Parallel()
	s := newRawSigner(t, "tcp", "127.0.0.1:0")
	r := newRig(t, "a", writeGenesis(t), keosdConfig("http://"+s.l.Addr().String()))
	r.write("config/logging.json", strings.Replace(twoStream, `"appenders":["o"]`, `"appenders":["e"]`, 1))
	p := r.start("-e", "--genesis-json", r.genesis)
	p.produced(2)
	s.set(func(string) string {
		return httpAnswer("500 Internal Server Error", "", `{"code":500,"message":"Internal Service Error","error":{"code":3120003,"name":"no_lease",`+
			`"what":"signing refused: this node does not hold the lease","details":[{"message":"lease held by node-b until 12:00:00"}]}}`)
	})
	refusal := `^warn  (\S+) nodeos    producer_plugin.cpp:2981      maybe_produce_block  \] 3120003 no_lease: signing refused: this node does not hold the lease
lease held by node-b until 12:00:00
    \{\}
    nodeos  http_client.cpp:315 post_sync

debug \S+ nodeos    producer_plugin.cpp:\d+ +maybe_produce_block  \] Aborting block due to produce_block error
debug \S+ nodeos    producer_plugin.cpp:\d+ +maybe_produce_block  \] Not starting block until \S+
(?s:.*?)Producing Block #(\d+) returned: false$`
	found := p.stderr.wait(t, 3, refusal)
	if found[1][2] != found[2][2] {
		t.Errorf("the refused block's number moved from %s to %s", found[1][2], found[2][2])
	}
	gap := parseTime(t, found[2][1]).Sub(parseTime(t, found[1][1]))
	if gap < 300*time.Millisecond || gap > 1100*time.Millisecond {
		t.Errorf("next attempt after %s", gap)
	}
	if code, body := p.post("/v1/producer/paused", ""); code != 201 || body != "false" {
		t.Errorf("paused: %d %s", code, body)
	}
	have := len(p.readLedger())
	s.set(s.sign)
	p.produced(have + 1)
	// A 403 with a good signature is accepted; so is Connection: close, each time on a new connection.
	s.set(func(d string) string { return httpAnswer("403 Forbidden", "Connection: close\r\n", s.signature(d)) })
	_, before := s.seen()
	p.produced(have + 4)
	if _, conns := s.seen(); conns < before+2 {
		t.Errorf("%d connections after %d, though each was closed", conns, before)
	}
	// A lost connection costs the slot.
	s.set(func(string) string { return "drop" })
	p.stderr.wait(t, 1, `10 assert_exception: Assert Exception\n!ec: Failed to read response: end of stream\n    \{"message":"end of stream"\}\n    nodeos  http_client.cpp:294 post_sync\n\n`)
	other, err := k1.Generate(strings.NewReader(strings.Repeat("x", 64)))
	if err != nil {
		t.Fatal(err)
	}
	s.set(func(d string) string {
		var h Hash
		_ = h.UnmarshalText([]byte(d)) // sign has checked it before
		return httpAnswer("200 OK", "", `"`+other.Sign(h).String()+`"`)
	})
	p.stderr.wait(t, 1, `3030008 wrong_signing_key: Block is not signed with expected key\nblock signed by unexpected key: \["`+other.Public().String()+`"\], expected: \[0,`)
}

func TestSlowSignerTimesOut(t *testing.T) {
	t.Parallel()
	s := newRawSigner(t, "tcp", "127.0.0.1:0")
	s.set(func(string) string { return "" })
	r := newRig(t, "a", writeGenesis(t), "producer-name = eosio", "signature-provider = "+devPub+"=KEOSD:http://"+s.l.Addr().String())
	p := r.start("-e", "--genesis-json", r.genesis)
	p.stderr.wait(t, 2, `10 assert_exception: Assert Exception\n!ec: Failed to read response: Connection timed out\n    \{"message":"Connection timed out"\}\n    nodeos  http_client.cpp:294 post_sync\n\n`)
	if n := len(p.readLedger()); n != 0 {
		t.Errorf("%d blocks in the ledger", n)
	}
	if code := p.term(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// TestAnswersAreReadAsFcReadsThem checks the messages of the recordings e-signature-provider.
func TestAnswersAreReadAsFcReadsThem(t *testing.T) {
	p := &keosdProvider{url: "http://127.0.0.1:18950/v1/wallet/sign_digest"}
	for _, c := range []struct {
		status int
		body   string
		want   string
	}{
		{500, "no", "0 exception: unspecified\nRequest failed with 500 response, but response was not parseable\n    {}\n    nodeos  http_client.cpp:325 post_sync\n"},
		{404, "nope", "0 exception: unspecified\nURL not found: http://127.0.0.1:18950/v1/wallet/sign_digest\n    {\"url\":\"http://127.0.0.1:18950/v1/wallet/sign_digest\"}\n    nodeos  http_client.cpp:328 post_sync\n"},
		{403, `{"code":403}`, "7 bad_cast_exception: Bad Cast\nInvalid cast from object_type to string\n    {\"type\":\"object_type\"}\n    nodeos  variant.cpp:498 as_string\n"},
		{403, "no", "10 assert_exception: Assert Exception\npivot != std::string::npos: No delimiter in string, cannot determine type: no\n    {\"str\":\"no\"}\n    nodeos  signature.cpp:24 sig_parse_base58\n" +
			"error parsing signature\n    {\"str\":\"no\"}\n    nodeos  signature.cpp:32 sig_parse_base58\n"},
		{200, "null", "10 assert_exception: Assert Exception\npivot != std::string::npos: No delimiter in string, cannot determine type: \n    {\"str\":\"\"}\n    nodeos  signature.cpp:24 sig_parse_base58\n" +
			"error parsing signature\n    {\"str\":\"\"}\n    nodeos  signature.cpp:32 sig_parse_base58\n"},
	} {
		_, err := p.read(c.status, c.body)
		e, ok := err.(*chainError) //nolint:errorlint // read returns it bare
		if !ok || e.detail() != c.want {
			t.Errorf("%d %q gives\n%v\nwant\n%s", c.status, c.body, err, c.want)
		}
	}
}

func TestUnixURLWithAPathHangs(t *testing.T) {
	t.Parallel()
	sock := filepath.Join(t.TempDir(), "s.sock")
	newRawSigner(t, "unix", sock)
	r := newRig(t, "a", writeGenesis(t), keosdConfig("unix://"+sock+"/v1/wallet/sign_digest"))
	p := r.start("-e", "--genesis-json", r.genesis)
	p.stderr.wait(t, 1, `for API categories: all$`)
	until(t, "busy", func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
		if err != nil {
			return false
		}
		f := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		return atoi(f[11]) > 100 // a second of user time
	})
	if a := p.info(); a.Head != 1 {
		t.Errorf("head %d", a.Head)
	}
	p.signal(syscall.SIGTERM)
	select {
	case <-p.done:
		t.Error("SIGTERM was honoured")
	case <-time.After(300 * time.Millisecond):
	}
}

var slotLine = regexp.MustCompile(`Starting block #(\d+) (\S+) producer (\S+), deadline `)

func TestPackets(t *testing.T) {
	t.Parallel()
	// A packet pipe keeps the boundaries of write(2): text and newline come apart.
	var fds [2]int
	if err := syscall.Pipe2(fds[:], syscall.O_DIRECT|syscall.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	out, in := os.NewFile(uintptr(fds[0]), "r"), os.NewFile(uintptr(fds[1]), "w")
	defer out.Close()
	r := newRig(t, "a", writeGenesis(t), keyConfig)
	r.write("config/logging.json", twoStream)
	cmd := r.command("-e", "--genesis-json", r.genesis)
	cmd.Stdout = in
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	_ = in.Close()
	buf := make([]byte, 65536)
	slots, newline := 0, true
	for slots < 3 {
		n, err := out.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		text := string(buf[:n])
		if newline != (text != "\n") {
			t.Fatalf("text and newline do not alternate: %q", text)
		}
		newline = !newline
		if slotLine.MatchString(text) {
			slots++
		}
	}
}

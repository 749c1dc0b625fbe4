package gate

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"roundtable/chain"
	"roundtable/node/k1"
)

func TestServe(t *testing.T) {
	signed, refusedCh := make(chan Signed, 1), make(chan Refusal, 1)
	g := newGate(t, func(c *Config) {
		c.OnSigned = func(s Signed) { signed <- s }
		c.OnRefused = func(r Refusal) { refusedCh <- r }
	})
	n := openNode(t, g)
	serveGate(t, g)
	if info, err := os.Stat(g.cfg.Socket); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("socket mode %v (%v)", info.Mode(), err)
	}
	digest := digestOf("block")
	status, body := exchange(t, g, nodeosRequest(g.cfg.Socket, digest, devPublic))
	if reason := reasonOf(t, body); status != 500 || reason != ReasonNoLease {
		t.Fatalf("without a lease: %d %s", status, reason)
	}
	if r := <-refusedCh; r.Reason != ReasonNoLease || r.Key != devPublic || r.Digest != hex.EncodeToString(digest[:]) {
		t.Fatalf("OnRefused: %+v", r)
	}
	g.Permit(Permit{1, base, base + 9})
	n.announce(7, base+1)
	status, body = exchange(t, g, nodeosRequest(g.cfg.Socket, digest, devPublic))
	if status != 201 {
		t.Fatalf("status %d: %s", status, body)
	}
	sig, err := k1.ParseSignature(strings.Trim(body, `"`))
	if err != nil {
		t.Fatal(err)
	}
	if key, err := k1.Recover(digest, sig); err != nil || key.String() != devPublic {
		t.Fatalf("signed by %s (%v)", key, err)
	}
	if s := <-signed; s.Slot != base+1 || s.Num != 7 || s.Epoch != 1 || !s.Given {
		t.Fatalf("OnSigned: %+v", s)
	}
	if h := g.Status().SignSeconds; h.Count != 1 || h.Sum <= 0 {
		t.Fatalf("latency: %+v", h)
	}
}

func TestRequestsThatNodeosDoesNotSend(t *testing.T) {
	g := newGate(t, nil)
	n := openNode(t, g)
	g.Permit(Permit{1, base, base + 9})
	n.announce(7, base+1)
	serveGate(t, g)
	good := nodeosRequest("x", digestOf("d"), devPublic)
	head, body, _ := strings.Cut(good, "\r\n\r\n")
	for name, raw := range map[string]string{
		"get":             strings.Replace(good, "POST", "GET", 1),
		"http/2":          strings.Replace(good, "HTTP/1.1", "HTTP/2.0", 1),
		"no path":         strings.Replace(good, "POST / ", "POST x ", 1),
		"no length":       strings.Replace(good, "Content-Length", "Content-Size", 1),
		"two lengths":     head + "\r\nContent-Length: 124\r\n\r\n" + body,
		"huge length":     strings.Replace(good, ": 124", ": 99999999", 1),
		"negative length": strings.Replace(good, ": 124", ": -1", 1),
		"chunked":         head + "\r\nTransfer-Encoding: chunked\r\n\r\n" + body,
		"not a header":    head + "\r\nnonsense\r\n\r\n" + body,
		"long head":       head + "\r\nX: " + strings.Repeat("x", maxHead) + "\r\n\r\n" + body,
		"two requests":    good + good,
		"no json":         strings.Replace(good, `["`, `{"`, 1),
		"short digest":    strings.Replace(good, hex.EncodeToString([]byte("d")), "6", 1) + "  ",
		"no hex":          strings.Replace(good, hex.EncodeToString([]byte("d")), "zz", 1),
		"bad key":         strings.Replace(good, devPublic, devPublic[:len(devPublic)-1]+"W", 1),
		"garbage":         strings.Repeat("\x00\xff", 3000),
	} {
		t.Run(name, func(t *testing.T) {
			c := dial(t, g)
			defer func() { _ = c.Close() }()
			_, _ = io.WriteString(c, raw) // the gate may close before it read all
			_ = c.CloseWrite()
			answer, _ := io.ReadAll(c)
			if !bytes.HasPrefix(answer, []byte("HTTP/1.1 500 ")) || !bytes.Contains(answer, []byte(ReasonBadRequest)) || bytes.Contains(answer, []byte("SIG_K1")) {
				t.Fatalf("answer %q", answer)
			}
		})
	}
	if st := g.Status(); st.Highest != 0 || st.Refused[ReasonBadRequest] == 0 {
		t.Fatalf("status %+v", st)
	}
	if status, body := exchange(t, g, good); status != http.StatusCreated {
		t.Fatalf("after all that: %d %s", status, body)
	}
}

func TestRequestInPieces(t *testing.T) {
	g := newGate(t, nil)
	n := openNode(t, g)
	g.Permit(Permit{1, base, base + 9})
	n.announce(7, base+1)
	serveGate(t, g)
	c := dial(t, g)
	defer func() { _ = c.Close() }()
	for _, b := range []byte(nodeosRequest("x", digestOf("d"), devPublic)) {
		if _, err := c.Write([]byte{b}); err != nil {
			t.Fatal(err)
		}
	}
	if status, body := readAnswer(t, c); status != http.StatusCreated {
		t.Fatalf("%d %s", status, body)
	}
}

// TestHungUpClientIsDropped: a request waits behind a slow one; its client hangs up; nothing is recorded for it [S6].
func TestHungUpClientIsDropped(t *testing.T) {
	signer := newKeys(t, devPrivate)
	asked, answer := make(chan struct{}, 1), make(chan struct{})
	signer.hook = func(context.Context, [32]byte) (string, error) { asked <- struct{}{}; <-answer; return "", nil }
	refused := make(chan Refusal, 4)
	g := newGate(t, func(c *Config) {
		c.Signer, c.SignTimeout, c.OnRefused = signer, time.Minute, func(r Refusal) { refused <- r }
	})
	n := openNode(t, g)
	g.Permit(Permit{1, base, base + 9})
	serveGate(t, g)
	n.announce(7, base+1)
	first := dial(t, g)
	defer func() { _ = first.Close() }()
	_, _ = io.WriteString(first, nodeosRequest("x", digestOf("a"), devPublic))
	<-asked
	// nodeos gives the first up, announces the next block, asks, and gives that up too.
	_ = first.Close()
	n.say(abortLine())
	n.announce(8, base+2)
	second := dial(t, g)
	_, _ = io.WriteString(second, nodeosRequest("x", digestOf("b"), devPublic))
	_ = second.Close()
	close(answer)
	if r := <-refused; r.Reason != ReasonClientGone {
		t.Fatalf("refused %+v", r)
	}
	if st := g.Status(); st.Highest != base+1 {
		t.Fatalf("a request that nobody waits for was recorded: %+v", st)
	}
	if last := g.Close(1); last.Slot != base+1 {
		t.Fatalf("Close: %+v", last)
	}
}

func TestSocketFile(t *testing.T) {
	t.Run("left behind", func(t *testing.T) {
		g := newGate(t, nil)
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: g.cfg.Socket, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		l.SetUnlinkOnClose(false)
		_ = l.Close()
		serveGate(t, g)
		exchange(t, g, nodeosRequest("x", digestOf("a"), devPublic))
	})
	t.Run("in use", func(t *testing.T) {
		g := newGate(t, nil)
		serveGate(t, g)
		other := newGate(t, func(c *Config) { c.Socket = g.cfg.Socket })
		if err := other.Serve(context.Background()); !errors.Is(err, ErrSocketInUse) {
			t.Fatalf("a second gate on the socket: %v", err)
		}
	})
	t.Run("no socket", func(t *testing.T) {
		g := newGate(t, nil)
		if err := os.WriteFile(g.cfg.Socket, []byte("precious"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := g.Listen(); err == nil {
			t.Fatal("a file was replaced")
		}
	})
	t.Run("gone after Serve", func(t *testing.T) {
		g := newGate(t, nil)
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := g.Serve(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Lstat(g.cfg.Socket); !errors.Is(err, os.ErrNotExist) {
			t.Fatalf("the socket is still there: %v", err)
		}
	})
}

func TestOpenGivesAPacketPipe(t *testing.T) {
	g := newGate(t, nil)
	n := openNode(t, g)
	flags, err := unix.FcntlInt(n.out.Fd(), unix.F_GETFL, 0)
	if err != nil || flags&unix.O_DIRECT == 0 || flags&unix.O_NONBLOCK != 0 {
		t.Fatalf("flags %x (%v)", flags, err)
	}
	if size, err := unix.FcntlInt(n.out.Fd(), unix.F_GETPIPE_SZ, 0); err != nil || size < 64<<10 {
		t.Fatalf("pipe of %d bytes (%v)", size, err)
	}
}

// TestSlowOnLineNeverBlocksTheNode: more lines than queue and pipe hold are written while OnLine is stuck.
func TestSlowOnLineNeverBlocksTheNode(t *testing.T) {
	stuck := make(chan struct{})
	g := newGate(t, func(c *Config) { c.OnLine = func([]byte) { <-stuck } })
	n := openNode(t, g)
	for range lineQueue + 600 {
		n.say("x")
	}
	g.Permit(Permit{1, base, base + 9})
	n.announce(7, base+1)
	if got := n.ask("d"); got != "" {
		t.Fatal(got)
	}
	if g.Status().Dropped == 0 {
		t.Error("nothing was dropped")
	}
	close(stuck)
}

// TestAFloodIsReadWithoutPauses: a node that writes more than the pipe holds waits for one look at most, and then no more.
func TestAFloodIsReadWithoutPauses(t *testing.T) {
	n := openNode(t, newGate(t, nil))
	n.say(slices.Repeat([]string{"x"}, 600)...) // the reader knows now
	begun := time.Now()
	for range 20 { // each fills half of the pipe
		n.say(slices.Repeat([]string{"x"}, 64)...)
	}
	if took := time.Since(begun); took > 4*lookEvery {
		t.Errorf("2560 packets took %v", took)
	}
}

// TestCloseAgainstConcurrentRequests: a node produces without a pause over the socket while epochs are closed and the
// next begins after what Close reported. No slot may be signed twice, and no epoch beyond its Close.
func TestCloseAgainstConcurrentRequests(t *testing.T) {
	signer := newKeys(t, devPrivate)
	var mu sync.Mutex
	given := map[chain.Slot]Signed{}
	var bad error
	g := newGate(t, func(c *Config) {
		c.Signer = signer
		c.MaxAhead = 1 << 20
		c.OnSigned = func(s Signed) {
			mu.Lock()
			defer mu.Unlock()
			if before, ok := given[s.Slot]; ok {
				bad = fmt.Errorf("slot %d signed twice: %+v, %+v", s.Slot, before, s)
			}
			given[s.Slot] = s
		}
	})
	n := openNode(t, g)
	stopServing := serveGate(t, g)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for num := uint32(2); ; num++ {
			select {
			case <-stop:
				return
			default:
			}
			slot := base + chain.Slot(num/2) // each slot is tried twice
			n.announce(num, slot)
			if status, _ := exchange(t, g, nodeosRequest("x", digestOf(fmt.Sprint("d", num)), devPublic)); status == http.StatusCreated {
				n.say(returnedLine(num))
			} else {
				n.say(abortLine())
			}
		}
	}()
	first, ends := base, map[uint64]chain.Slot{}
	for epoch := uint64(1); epoch <= 25; epoch++ {
		g.Permit(Permit{epoch, first, first + 1<<20})
		for g.Status().Last.Epoch != epoch { // until it signed something
			events := g.Events()
			if g.Status().Last.Epoch == epoch {
				break
			}
			<-events
		}
		last := g.Close(epoch)
		ends[epoch] = last.Slot
		first = last.Slot + 1
	}
	close(stop)
	<-done
	stopServing()
	mu.Lock()
	defer mu.Unlock()
	if bad != nil {
		t.Fatal(bad)
	}
	if len(given) < 25 {
		t.Fatalf("only %d slots signed", len(given))
	}
	for slot, s := range given {
		if slot > ends[s.Epoch] || slot <= ends[s.Epoch-1] {
			t.Fatalf("slot %d signed in epoch %d, which ended at %d", slot, s.Epoch, ends[s.Epoch])
		}
	}
}

func FuzzReadRequest(f *testing.F) {
	good := nodeosRequest("/data/e/s8.sock", digestOf("d"), devPublic)
	f.Add([]byte(good))
	f.Add([]byte(strings.Replace(good, "124", "0", 1)))
	f.Add([]byte("POST / HTTP/1.1\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, key, err := readRequest(bytes.NewReader(b))
		if (err == nil) == key.IsZero() {
			t.Fatalf("key %s with error %v", key, err)
		}
		if err != nil && !errors.Is(err, errRequest) && !errors.Is(err, io.EOF) {
			t.Fatalf("unknown error %v", err)
		}
	})
}

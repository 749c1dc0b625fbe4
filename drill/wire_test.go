package drill

import (
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// wired is a wire from a to an echo server (TCP and UDP) of b. The test is a; it dials the front.
type wired struct {
	*wire
	a, b   *Member
	front  string
	server net.Listener
	got    chan net.Conn // accepted by the server
}

func newWired(t *testing.T, latency time.Duration, loss float64) *wired {
	t.Helper()
	t.Cleanup(func() { goleak.VerifyNone(t) }) // after everything else
	x := &wired{a: &Member{ID: "a"}, b: &Member{ID: "b"}, got: make(chan net.Conn, 16)}
	x.wire = newWire(func(net.Conn) *Member { return x.a }, latency, loss)
	var err error
	if x.server, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	x.front = local(port)
	if err := x.tcp(x.b, false, x.front, x.server.Addr().String()); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(x.got)
		for {
			c, err := x.server.Accept()
			if err != nil {
				return
			}
			x.got <- c
		}
	}()
	t.Cleanup(func() {
		x.close()
		x.server.Close()
		for c := range x.got {
			c.Close()
		}
	})
	return x
}

func (x *wired) dial(t *testing.T) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", x.front)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { hangUp(c) })
	return c.(*net.TCPConn)
}

// accept takes the next connection that came through to the server.
func (x *wired) accept(t *testing.T) *net.TCPConn {
	t.Helper()
	select {
	case c := <-x.got:
		t.Cleanup(func() { hangUp(c) })
		return c.(*net.TCPConn)
	case <-time.After(5 * time.Second):
		t.Fatal("no connection came through")
		return nil
	}
}

func (x *wired) cutOff(from, to *Member) {
	_ = x.change(func(cuts map[link]bool) { cuts[link{from, to, false}] = true })
}

func (x *wired) heal() { _ = x.change(func(cuts map[link]bool) { clear(cuts) }) }

func send(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := c.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
}

// expect reads a text, and how long that took.
func expect(t *testing.T, c net.Conn, text string) time.Duration {
	t.Helper()
	begun := time.Now()
	_ = c.SetReadDeadline(begun.Add(5 * time.Second))
	buf := make([]byte, len(text))
	if _, err := io.ReadFull(c, buf); err != nil {
		t.Fatalf("wanted %q: %v", text, err)
	}
	if string(buf) != text {
		t.Fatalf("got %q, want %q", buf, text)
	}
	return time.Since(begun)
}

// silent fails the test if anything comes within a moment.
func silent(t *testing.T, c net.Conn) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(150 * time.Millisecond))
	n, err := c.Read(make([]byte, 100))
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("read %d bytes, %v from a cut link", n, err)
	}
}

func TestWireCutsOneWay(t *testing.T) {
	x := newWired(t, 0, 0)
	c := x.dial(t)
	s := x.accept(t)
	send(t, c, "one")
	expect(t, s, "one")
	x.cutOff(x.a, x.b)
	send(t, c, "two")
	silent(t, s)
	send(t, s, "back") // the other way still goes
	expect(t, c, "back")
	late := x.dial(t) // accepted by the wire, as a connect hangs: nothing comes of it
	send(t, late, "new")
	select {
	case <-x.got:
		t.Fatal("a new connection came through a cut link")
	case <-time.After(100 * time.Millisecond):
	}
	givenUp := x.dial(t)
	send(t, givenUp, "never")
	_ = givenUp.CloseWrite()
	if _, err := givenUp.Read(make([]byte, 1)); err == nil { // until the wire has noticed
		t.Fatal("an answer from nobody")
	}
	x.heal()
	expect(t, s, "two")
	s2 := x.accept(t)
	expect(t, s2, "new")
	silent(t, s2)
	select {
	case <-x.got:
		t.Fatal("a connection that was given up came through")
	default:
	}
	x.cutOff(x.b, x.a)
	send(t, c, "three")
	expect(t, s, "three")
	send(t, s, "held")
	hangUp(s)
	silent(t, c)
	x.heal()
	expect(t, c, "held")
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Fatalf("the end did not come through: %v", err)
	}
}

func TestWireRefuses(t *testing.T) {
	x := newWired(t, 0, 0)
	x.server.Close()
	c, err := net.Dial("tcp", x.front)
	if err != nil {
		return // so soon
	}
	defer c.Close()
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("a connection to nobody was not refused: %v", err)
	}
}

func TestWireLatency(t *testing.T) {
	x := newWired(t, 80*time.Millisecond, 0)
	c := x.dial(t)
	send(t, c, "ping")
	begun := time.Now()
	s := x.accept(t)
	expect(t, s, "ping")
	if took := time.Since(begun); took < 200*time.Millisecond { // three ways: open, answer, data
		t.Errorf("the first data took %v", took)
	}
	send(t, s, "pong")
	if took := expect(t, c, "pong"); took < 70*time.Millisecond || took > 400*time.Millisecond {
		t.Errorf("one way took %v", took)
	}
}

func TestWireLosesAndResendsInOrder(t *testing.T) {
	x := newWired(t, 0, 1)
	c := x.dial(t)
	s := x.accept(t)
	send(t, c, "first")
	if took := expect(t, s, "first"); took < resend-20*time.Millisecond {
		t.Errorf("a lost piece came after %v", took)
	}
	x.mu.Lock()
	x.loss = 0.5
	x.mu.Unlock()
	var want []byte
	for i := range 50 {
		piece := slices.Repeat([]byte{byte(i)}, 100)
		want = append(want, piece...)
		send(t, c, string(piece))
	}
	expect(t, s, string(want))
}

func TestWireDatagrams(t *testing.T) {
	x := newWired(t, 0, 0)
	open := func() *net.UDPConn {
		c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { hangUp(c) })
		return c
	}
	server, client := open(), open()
	sender := func(a *net.UDPAddr) *Member {
		if a.Port == client.LocalAddr().(*net.UDPAddr).Port {
			return x.a
		}
		return nil
	}
	if err := x.udp(x.b, x.front, server.LocalAddr().String(), sender); err != nil {
		t.Fatal(err)
	}
	front, err := net.ResolveUDPAddr("udp", x.front)
	if err != nil {
		t.Fatal(err)
	}
	say := func(text string) {
		if _, err := client.WriteTo([]byte(text), front); err != nil {
			t.Fatal(err)
		}
	}
	say("one")
	expect(t, server, "one")
	x.cutOff(x.b, x.a) // the other way
	say("two")
	expect(t, server, "two")
	x.cutOff(x.a, x.b)
	say("lost")
	silent(t, server)
	x.heal()
	silent(t, server) // nobody sends a datagram again
	say("three")
	expect(t, server, "three")
	x.mu.Lock()
	x.loss, x.latency = 1, 0
	x.mu.Unlock()
	say("lost")
	silent(t, server)
	x.mu.Lock()
	x.loss, x.latency = 0, 100*time.Millisecond
	x.mu.Unlock()
	say("late")
	if took := expect(t, server, "late"); took < 80*time.Millisecond {
		t.Errorf("it took %v", took)
	}
}

func TestCallerOfAConnection(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dialled, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer dialled.Close()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s := &Sandbox{Members: []*Member{{ID: "m1"}, {ID: "m2"}}}
	if m := s.caller(c); m != nil {
		t.Errorf("%s has dialled without a process", m.ID)
	}
	s.Members[1].pid.Store(int64(os.Getpid()))
	if m := s.caller(c); m != s.Members[1] {
		t.Errorf("the caller is %v, not m2", m)
	}
	s.Members[1].pid.Store(0)
	s.Members[0].pid.Store(int64(os.Getppid())) // then this process is its node
	if m := s.caller(c); m != s.Members[0] {
		t.Errorf("the caller is %v, not m1", m)
	}
}

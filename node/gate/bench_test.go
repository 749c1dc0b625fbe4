package gate

import (
	"context"
	"io"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"roundtable/chain"
)

// BenchmarkGateSign is one block as nodeos does it: the lines on the pipe, a new connection, the request, the answer.
func BenchmarkGateSign(b *testing.B) {
	path := b.TempDir() + "/keys"
	if err := os.WriteFile(path, []byte(devPrivate), 0o600); err != nil {
		b.Fatal(err)
	}
	signer, err := NewFileSigner(path)
	if err != nil {
		b.Fatal(err)
	}
	g := newGate(b, func(c *Config) { c.Signer, c.MaxAhead, c.OnLine = signer, 1<<30, func([]byte) {} })
	n := openNode(b, g)
	g.Permit(Permit{1, base, base + 1<<30})
	serveGate(b, g)
	num := uint32(1)
	measure(b, g.cfg.Socket, func() {
		num++
		n.announce(num, base+chain.Slot(num))
	})
}

// BenchmarkPlainSign is the same socket, request, key and answer without a gate: what the gate adds is the difference.
func BenchmarkPlainSign(b *testing.B) {
	signer := newKeys(b, devPrivate)
	socket := b.TempDir() + "/plain.sock"
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.AcceptUnix()
			if err != nil {
				return
			}
			if digest, key, err := readRequest(c); err == nil {
				text, _ := signer.Sign(context.Background(), digest, key.String())
				_, _ = c.Write(response(201, []byte(`"`+text+`"`)))
			}
			_ = c.Close()
		}
	}()
	g := newGate(b, nil)
	n := openNode(b, g)
	num := uint32(1)
	measure(b, socket, func() {
		num++
		n.announce(num, base+chain.Slot(num))
	})
	_ = l.Close()
	<-done
}

// measure sends one request per iteration, each for another digest, and reports the latencies that nodeos would see.
func measure(b *testing.B, socket string, before func()) {
	took := make([]time.Duration, 0, b.N)
	var digest [32]byte
	for b.Loop() {
		before()
		digest[0], digest[1], digest[2] = byte(len(took)), byte(len(took)>>8), byte(len(took)>>16)
		request := nodeosRequest(socket, digest, devPublic)
		began := time.Now()
		c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: socket, Net: "unix"})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.WriteString(c, request); err != nil {
			b.Fatal(err)
		}
		answer, err := io.ReadAll(c)
		_ = c.Close()
		took = append(took, time.Since(began))
		if err != nil || string(answer[:12]) != "HTTP/1.1 201" {
			b.Fatalf("answer %q (%v)", answer, err)
		}
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}

// BenchmarkReader is what reading one line of nodeos' log costs when nobody asks for a signature.
func BenchmarkReader(b *testing.B) {
	g := newGate(b, func(c *Config) { c.OnLine = func([]byte) {} })
	n := openNode(b, g)
	line := otherLine()
	for b.Loop() {
		n.say(line)
	}
}

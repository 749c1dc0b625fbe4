package node

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// catcher is a slog handler that keeps messages, or blocks until it is let go.
type catcher struct {
	mu    sync.Mutex
	got   []string
	block chan struct{}
}

func (c *catcher) Enabled(context.Context, slog.Level) bool { return true }
func (c *catcher) WithAttrs([]slog.Attr) slog.Handler       { return c }
func (c *catcher) WithGroup(string) slog.Handler            { return c }
func (c *catcher) Handle(_ context.Context, r slog.Record) error {
	if c.block != nil {
		<-c.block
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.got = append(c.got, r.Level.String()+" "+r.Message)
	return nil
}

func TestPipelineJoinsMessagesAndChoosesLevels(t *testing.T) {
	c := &catcher{}
	p := NewPipeline(PipelineConfig{Log: slog.New(c)})
	in := strings.Join([]string{
		"<6>info  2026-11-21T00:34:32.241 nodeos    main.cpp:158                  main                 ] nodeos started",
		"APPBASE: Warning: The following configuration items in the config.ini file are redundantly set to",
		"         their default value:",
		"             p2p-accept-transactions",
		"info  2026-11-21T00:33:01.901 nodeos    http_plugin.cpp:525           log_add_handler      ] add node api url: /v1/chain/get_info on 127.0.0.1:18801 ",
		"warn  2026-11-21T00:55:47.964 nodeos    producer_plugin.cpp:2981      maybe_produce_block  ] 3120003 no_lease: signing refused",
		"lease held by node-b until 12:00:00",
		"    {}",
		"    nodeos  http_client.cpp:315 post_sync",
		"",
		"warn  2026-11-21T00:33:51.200 nodeos    producer_plugin.cpp:2090      determine_pending_bl ] Not producing block because production is explicitly paused, block 2026-11-21T00:33:52.000",
		"what is this",
		"appbase: exception thrown during plugin \"eosio::chain_plugin\" initialization.",
		"Database dirty flag set",
		"error 2026-11-21T00:44:03.929 nodeos    main.cpp:222                  main                 ] database dirty flag set (likely due to unclean shutdown): replay required",
	}, "\n")
	if err := p.Read("stderr", strings.NewReader(in)); err != nil {
		t.Fatal(err)
	}
	p.Close()
	want := []string{
		"INFO nodeos started",
		"WARN APPBASE: Warning: The following configuration items in the config.ini file are redundantly set to\n         their default value:\n             p2p-accept-transactions",
		"DEBUG add node api url: /v1/chain/get_info on 127.0.0.1:18801 ",
		"WARN 3120003 no_lease: signing refused\nlease held by node-b until 12:00:00\n    {}\n    nodeos  http_client.cpp:315 post_sync",
		"DEBUG Not producing block because production is explicitly paused, block 2026-11-21T00:33:52.000\nwhat is this",
		"WARN appbase: exception thrown during plugin \"eosio::chain_plugin\" initialization.",
		"WARN Database dirty flag set",
		"ERROR database dirty flag set (likely due to unclean shutdown): replay required",
	}
	for i := range max(len(want), len(c.got)) {
		if i >= len(want) || i >= len(c.got) || want[i] != c.got[i] {
			t.Fatalf("message %d of %d:\n%q", i, len(c.got), c.got)
		}
	}
	if s := p.Stats(); s.Unknown != 0 || s.Lines != 15 || s.Dropped != 0 {
		t.Errorf("%+v", s)
	}
}

func TestPipelineCountsUnknownLinesAndKeepsTheLast(t *testing.T) {
	p := NewPipeline(PipelineConfig{Lines: 3})
	for i := range 5 {
		p.Line("stdout", fmt.Appendf(nil, "odd %d\r\n", i))
	}
	if got := strings.Join(p.Lines(0), ","); got != "odd 2,odd 3,odd 4" {
		t.Error(got)
	}
	if got := strings.Join(p.Lines(1), ","); got != "odd 4" {
		t.Error(got)
	}
	mark := p.mark()
	p.Line("stdout", []byte("after"))
	if got := strings.Join(p.since(mark), ","); got != "after" {
		t.Error(got)
	}
	p.Close()
	if s := p.Stats(); s.Unknown != 6 {
		t.Errorf("%+v", s)
	}
	p.Line("stdout", []byte("late")) // after Close: only the ring
	p.Close()
}

func TestPipelineNeverKeepsAKey(t *testing.T) {
	text := must[[]byte](t)(os.ReadFile("testdata/exits/key-mismatch.txt"))
	if !bytes.Contains(text, []byte("5KQwr")) {
		t.Fatal("the recording has lost its key")
	}
	c := &catcher{}
	var events []Event
	p := NewPipeline(PipelineConfig{Log: slog.New(c), OnEvent: func(e Event) { events = append(events, e) }})
	if err := p.Read("stderr", bytes.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	p.Close()
	if all := fmt.Sprint(c.got, events, p.Lines(0)); strings.Contains(all, "5KQwr") || !strings.Contains(all, "KEY:***") {
		t.Error("a private key got through")
	}
}

// TestPipelineReadsOnBehindABlockedSink: nodeos stops producing when its stderr is not read (FACT 12).
func TestPipelineReadsOnBehindABlockedSink(t *testing.T) {
	c := &catcher{block: make(chan struct{})}
	p := NewPipeline(PipelineConfig{Log: slog.New(c)})
	r, w := io.Pipe() // no buffer: each write waits for the reader
	done := make(chan error, 1)
	go func() { done <- p.Read("stderr", r) }()
	const lines = 20000
	for i := range lines {
		if _, err := fmt.Fprintf(w, "info  2026-11-21T00:34:32.241 nodeos    main.cpp:158                  main                 ] line %d\n", i); err != nil {
			t.Fatal(err)
		}
	}
	_ = w.Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if s := p.Stats(); s.Lines != lines || s.Dropped < lines-recordQueue-2 {
		t.Errorf("%+v", s)
	}
	close(c.block)
	p.Close()
}

// TestPipelineLongLine: a line of 200 MiB needs no memory to speak of, and the next line is whole.
func TestPipelineLongLine(t *testing.T) {
	const size = 200 << 20
	p := NewPipeline(PipelineConfig{})
	defer p.Close()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	in := io.MultiReader(io.LimitReader(endless{}, size), strings.NewReader("\nnext\n"))
	if err := p.Read("stderr", in); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 4<<20 {
		t.Errorf("a line of %d bytes allocated %d", size, used)
	}
	lines := p.Lines(0)
	if len(lines) != 2 || len(lines[0]) != ringKept || lines[1] != "next" {
		t.Errorf("%d lines", len(lines))
	}
	if s := p.Stats(); s.Truncated != 1 || s.Lines != 2 {
		t.Errorf("%+v", s)
	}
}

type endless struct{}

func (endless) Read(b []byte) (int, error) {
	n := copy(b, xs)
	for n < len(b) {
		n += copy(b[n:], b[:n])
	}
	return len(b), nil
}

var xs = bytes.Repeat([]byte("x"), 64<<10)

// TestPipelineFlushesTheLastMessage: a message is not held back until the next one comes.
func TestPipelineFlushesTheLastMessage(t *testing.T) {
	c := &catcher{}
	p := NewPipeline(PipelineConfig{Log: slog.New(c)})
	defer p.Close()
	p.Line("stderr", []byte("info  2026-11-21T00:34:32.241 nodeos    main.cpp:158                  main                 ] nodeos started"))
	eventually(t, 5*time.Second, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.got) == 1
	})
}

// eventually polls a condition that other processes or goroutines make true.
func eventually(t testing.TB, limit time.Duration, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatal("it did not come true in " + limit.String())
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func BenchmarkPipelineLine(b *testing.B) {
	p := NewPipeline(PipelineConfig{})
	defer p.Close()
	line := []byte("info  2026-11-21T00:37:36.888 nodeos    controller.cpp:3592           log_applied          ] Produced block cc8e90a4ebbb01f2... #53 @ 2026-11-21T00:37:37.000 signed by eosio [trxs: 0, lib: 52, confirmed: 0, net: 0, cpu: 100 us, elapsed: 37 us, producing time: 462 us]\n")
	b.ReportAllocs()
	for b.Loop() {
		p.Line("stderr", line)
	}
}

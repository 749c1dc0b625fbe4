package cluster

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
)

// TestNothingIsWrittenIntoASilentStream: after a request that was never answered, the next one certainly did not happen,
// also before the reader has noticed that the stream was closed.
func TestNothingIsWrittenIntoASilentStream(t *testing.T) {
	here, there := net.Pipe()
	defer there.Close()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		var req request
		done <- readFrame(there, &req)
		cancel()
	}()
	p := &forwardPeer{conn: here, waiting: map[uint64]chan response{}}
	if _, err := p.do(ctx, request{}); !errors.Is(err, ErrUnknownOutcome) {
		t.Errorf("a request without an answer: %v", err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if _, err := p.do(t.Context(), request{}); !errors.Is(err, errNotAppended) {
		t.Errorf("a request after it: %v", err)
	}
}

// TestADeadStreamIsAsked while its reader finds out why it ended: with -race nobody reads the reason unguarded.
func TestADeadStreamIsAsked(t *testing.T) {
	for range 200 {
		ours, theirs := net.Pipe()
		p := &forwardPeer{conn: ours, waiting: map[uint64]chan response{}}
		p.end(errSilent)
		var wg sync.WaitGroup
		wg.Go(p.read)
		wg.Go(func() {
			if _, err := p.do(context.Background(), request{Op: opPing}); err == nil {
				t.Error("a dead stream answers")
			}
		})
		wg.Wait()
		if err := theirs.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

package gate

import (
	"testing"
	"time"
)

// TestMetricsWaitForNobody reads the counts while the gate's lock, which signing needs, is held, and while a request has
// the turn.
func TestMetricsWaitForNobody(t *testing.T) {
	g := newGate(t, nil)
	g.Permit(Permit{1, base, base + 9})
	g.turn <- struct{}{}
	g.mu.Lock()
	defer g.mu.Unlock()
	read := make(chan Metrics, 1)
	go func() { read <- g.Metrics() }()
	select {
	case m := <-read:
		if !m.Open || m.Sealed != "" || len(m.Refused) != len(reasons) {
			t.Errorf("%+v", m)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the counts wait for the gate's lock")
	}
}

// TestMetricsFollowTheGate looks at what is told of it after each change.
func TestMetricsFollowTheGate(t *testing.T) {
	g := newGate(t, nil)
	want := func(open bool, sealed string) {
		t.Helper()
		if m := g.Metrics(); m.Open != open || m.Sealed != sealed {
			t.Errorf("open %v, sealed %q", m.Open, m.Sealed)
		}
	}
	want(false, "")
	g.Permit(Permit{1, base, base + 9})
	want(true, "")
	g.Close(1)
	want(false, "")
	g.Permit(Permit{2, base + 10, base + 19})
	want(true, "")
	g.Seal("a reason")
	want(false, "a reason")
}

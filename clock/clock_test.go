package clock

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

func TestClock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "clock")
	c, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if s := c.Shift(); s != 0 {
		t.Errorf("a new clock is ahead by %v", s)
	}
	if err := Write(path, -3*time.Second, 0); err != nil {
		t.Fatal(err)
	}
	if s := c.Shift(); s != -3*time.Second {
		t.Errorf("shift %v", s)
	}
	if d := time.Duration(c.Now().UnixNano() - time.Now().UnixNano()); d > -3*time.Second || d < -4*time.Second {
		t.Errorf("the clock is off by %v", d)
	}
	if err := Write(path, 0, 500_000_000); err != nil { // half a second per second
		t.Fatal(err)
	}
	_, _, base := c.read()
	for passed, want := range map[time.Duration]time.Duration{0: 0, time.Second: time.Second / 2, 20 * time.Hour: 10 * time.Hour, 300 * 24 * time.Hour: 150 * 24 * time.Hour} {
		if got := time.Duration(c.shift(base + int64(passed))); got != want {
			t.Errorf("after %v it is ahead by %v, not %v", passed, got, want)
		}
	}
}

func TestNilIsTheMachine(t *testing.T) {
	var c *Clock
	if d := time.Until(c.Now()).Abs(); d > time.Second || c.Shift() != 0 {
		t.Errorf("off by %v", d)
	}
}

func TestReadersSeeWholeWrites(t *testing.T) {
	path := filepath.Join(t.TempDir(), "clock")
	c, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(done)
		for i := range int64(2000) {
			if err := Write(path, time.Duration(i), i); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for {
		select {
		case <-done:
			wg.Wait()
			return
		default:
		}
		if offset, rate, _ := c.read(); offset != rate {
			t.Fatalf("half a write: offset %d, rate %d", offset, rate)
		}
	}
}

func TestOpenRefusesOtherFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(path, make([]byte, 100), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path); err == nil {
		t.Error("another file was taken for a clock")
	}
}

func TestAStepMovesTheCalendarAlone(t *testing.T) {
	now := time.Now()
	for _, by := range []time.Duration{0, 3 * time.Second, -1500 * time.Millisecond, 40 * 24 * time.Hour, 7} {
		moved := moveWall(now, by)
		if got, want := moved.UnixNano(), now.UnixNano()+int64(by); got != want {
			t.Errorf("moved by %v it says %d, not %d", by, got, want)
		}
		if d := moved.Sub(now); d != 0 {
			t.Errorf("moved by %v, %v passed", by, d)
		}
		if got := moved.Add(time.Second).Sub(now); got != time.Second {
			t.Errorf("a second after it, %v passed", got)
		}
	}
}

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// serviceManager is systemd's end of the notification socket.
type serviceManager struct {
	t    *testing.T
	conn *net.UnixConn
}

func listenNotify(t *testing.T) *serviceManager {
	t.Helper()
	dir, err := os.MkdirTemp("", "rt-") // t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	address := &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"}
	conn, err := net.ListenUnixgram("unixgram", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	t.Setenv("NOTIFY_SOCKET", address.Name)
	return &serviceManager{t, conn}
}

// next is the next message; "" when none comes within d.
func (m *serviceManager) next(d time.Duration) string {
	m.t.Helper()
	if err := m.conn.SetReadDeadline(time.Now().Add(d)); err != nil {
		m.t.Fatal(err)
	}
	b := make([]byte, 4096)
	n, err := m.conn.Read(b)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return ""
	}
	if err != nil {
		m.t.Fatal(err)
	}
	return string(b[:n])
}

// await reads until a message that f takes.
func (m *serviceManager) await(what string, f func(string) bool) string {
	m.t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		if s := m.next(time.Until(end)); f(s) {
			return s
		}
	}
	m.t.Fatalf("%s: not within 10 s", what)
	return ""
}

func isPing(s string) bool { return s == "WATCHDOG=1" }

// silence wants no ping for d; one that was under way is let pass.
func (m *serviceManager) silence(d time.Duration) {
	m.t.Helper()
	m.next(100 * time.Millisecond)
	for end := time.Now().Add(d); time.Now().Before(end); {
		if s := m.next(time.Until(end)); isPing(s) {
			m.t.Error("a ping although the check does not pass")
		}
	}
}

// fakeService is a manager whose health the test sets.
type fakeService struct {
	mu    sync.Mutex
	line  string
	err   error
	hangs bool
}

func (f *fakeService) set(line string, err error, hangs bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.line, f.err, f.hangs = line, err, hangs
}

func (f *fakeService) Line() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.line
}

func (f *fakeService) Check(ctx context.Context) error {
	f.mu.Lock()
	err, hangs := f.err, f.hangs
	f.mu.Unlock()
	if hangs {
		<-ctx.Done()
		return ctx.Err()
	}
	return err
}

// running starts notifyRunning; the returned function ends it and waits.
func running(t *testing.T, s service, log *slog.Logger) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		notifyRunning(ctx, log, s)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
}

func TestNotifyTellsTheServiceManager(t *testing.T) {
	m := listenNotify(t)
	const interval = 200 * time.Millisecond
	t.Setenv("WATCHDOG_USEC", fmt.Sprint(interval.Microseconds()))
	var log bytes.Buffer
	f := &fakeService{line: "standby; m1 holds epoch 3"}
	t.Run("while it runs", func(t *testing.T) {
		running(t, f, slog.New(slog.NewTextHandler(&log, nil)))
		if s := m.next(5 * time.Second); s != "READY=1\nSTATUS=standby; m1 holds epoch 3" {
			t.Errorf("first it says %q", s)
		}
		m.await("a ping", isPing)
		m.await("another one", isPing)

		f.set("holder of epoch 4", nil, false)
		m.await("the new status", func(s string) bool { return s == "STATUS=holder of epoch 4" })

		f.set("holder of epoch 4", errors.New("the disk is gone"), false)
		m.silence(2 * interval)
		f.set("holder of epoch 4", nil, false)
		m.await("a ping when it is well again", isPing)

		f.set("holder of epoch 4", nil, true)
		m.silence(2 * interval)
	})
	if n := strings.Count(log.String(), "the disk is gone"); n != 1 {
		t.Errorf("the log tells of the trouble %d times:\n%s", n, &log)
	}
	notifyStopping(170 * time.Second)
	if s := m.await("stopping", func(s string) bool { return strings.HasPrefix(s, "STOPPING=1\n") }); !strings.Contains(s, "\nEXTEND_TIMEOUT_USEC=170000000") {
		t.Errorf("at the end it says %q", s)
	}
}

func TestNotifyWithoutAWatchdog(t *testing.T) {
	m := listenNotify(t)
	running(t, &fakeService{line: "x"}, slog.New(slog.DiscardHandler))
	if s := m.next(5 * time.Second); !strings.HasPrefix(s, "READY=1") {
		t.Errorf("first it says %q", s)
	}
	m.silence(300 * time.Millisecond)
}

func TestNotifyWithoutAServiceManager(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	notifyRunning(t.Context(), slog.New(slog.DiscardHandler), &fakeService{}) // returns at once
	t.Setenv("NOTIFY_SOCKET", "/nowhere/notify")
	notifyRunning(t.Context(), slog.New(slog.DiscardHandler), &fakeService{})
}

func TestLinesForTheJournal(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(newJournalHandler(&out, func(w io.Writer) slog.Handler {
		return slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}})
	})).With("member", "m1")
	log.Debug("a")
	log.WithGroup("g").Info("b", "k", "v")
	log.Warn("c")
	log.Error("d")
	const want = "<7>level=DEBUG msg=a member=m1\n<6>level=INFO msg=b member=m1 g.k=v\n<4>level=WARN msg=c member=m1\n<3>level=ERROR msg=d member=m1\n"
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", &out, want)
	}
}

func TestWhatGoesToTheJournal(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	info, err := w.Stat()
	if err != nil {
		t.Fatal(err)
	}
	st := info.Sys().(*syscall.Stat_t)
	stream := fmt.Sprintf("%d:%d", st.Dev, st.Ino)
	for _, c := range []struct {
		w      io.Writer
		stream string
		want   bool
	}{{w, stream, true}, {w, "", false}, {w, "1:2", false}, {&bytes.Buffer{}, stream, false}} {
		if got := toJournal(c.w, c.stream); got != c.want {
			t.Errorf("%T with JOURNAL_STREAM=%q: %v", c.w, c.stream, got)
		}
	}
}

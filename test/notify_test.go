package test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"roundtable/drill"
)

// notices are what a manager told the service manager, as it came.
type notices struct {
	conn *net.UnixConn
	mu   sync.Mutex
	list []string
	done chan struct{}
}

func listenNotices(t *testing.T, path string) *notices {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	n := &notices{conn: conn, done: make(chan struct{})}
	go func() {
		defer close(n.done)
		b := make([]byte, 4096)
		for {
			k, err := conn.Read(b)
			if err != nil {
				return
			}
			n.mu.Lock()
			n.list = append(n.list, string(b[:k]))
			n.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		_ = conn.Close()
		<-n.done
	})
	return n
}

// has wants a message with the text among those from number on; it returns the number after it.
func (n *notices) has(text string, from int) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i := from; i < len(n.list); i++ {
		if strings.Contains(n.list[i], text) {
			return i + 1, nil
		}
	}
	return 0, fmt.Errorf("nothing with %q among %q", text, n.list[min(from, len(n.list)):])
}

func (n *notices) count() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.list)
}

// TestServiceManager runs a real manager as systemd would: it is ready, says what it is, pings while its disk answers and
// not while that hangs, and says how long its end may take. Its nodeos is told of none of it.
func TestServiceManager(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "rt-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "notify")
	n := listenNotices(t, socket)
	b := start(t, drill.Options{Managers: 1, Env: []string{"NOTIFY_SOCKET=" + socket, "WATCHDOG_USEC=2000000"}})
	m := b.Members[0]
	told := func(text string, from int) int {
		t.Helper()
		next := 0
		eventually(t, 20*time.Second, "it says "+text, func(context.Context) (err error) {
			next, err = n.has(text, from)
			return err
		})
		return next
	}
	told("READY=1\nSTATUS=", 0)
	told("STATUS=holder of epoch ", 0)
	told("WATCHDOG=1", 0)

	node, err := b.NodePID(m)
	if err != nil {
		t.Fatal(err)
	}
	environ, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(node), "environ"))
	if err != nil {
		t.Fatal(err)
	}
	if s := string(environ); !strings.Contains(s, "PATH=") || strings.Contains(s, "NOTIFY_SOCKET") || strings.Contains(s, "WATCHDOG_") {
		t.Errorf("the node's environment is %q", s)
	}

	stall := filepath.Join(m.Home, "stall")
	if err := os.WriteFile(stall, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	from := told("THE DISK DOES NOT ANSWER", 0)
	time.Sleep(4 * time.Second) // twice the interval: systemd would have ended it
	if _, err := n.has("WATCHDOG=1", from); err == nil {
		t.Error("it pings although its disk hangs")
	}
	if err := os.Remove(stall); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	told("WATCHDOG=1", n.count())
	b.settle()

	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := b.StopManager(ctx, m); err != nil {
		t.Fatal(err)
	}
	from = told("STOPPING=1\n", 0)
	if _, err := n.has("EXTEND_TIMEOUT_USEC=", from-1); err != nil {
		t.Error(err)
	}
}

package test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"roundtable/drill"
	"roundtable/fsm"
)

// TestNodeDiesWithItsManager kills a holder's manager alone: the kernel ends its node by the parent-death signal, for
// without the gate nobody would watch what it does.
func TestNodeDiesWithItsManager(t *testing.T) {
	t.Parallel()
	b := start(t, drill.Options{})
	holder := b.member(b.overview().Holder())
	node, err := b.NodePID(holder)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.KillManager(holder); err != nil {
		t.Fatal(err)
	}
	took := eventually(t, 2*time.Second, "the node's death", func(context.Context) error {
		// Nobody of ours may be left to wait for it: a zombie counts as dead.
		stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(node), "stat"))
		if errors.Is(err, os.ErrNotExist) || err == nil && strings.Contains(string(stat), ") Z ") {
			return nil
		}
		return fmt.Errorf("node %d lives: %w", node, err)
	})
	t.Logf("the node died within %v", took.Round(time.Millisecond))
	took = eventually(t, 10*time.Second, "another holder", b.one)
	t.Logf("another one holds and signs after %v", took.Round(time.Millisecond))
	if err := b.StartMember(holder); err != nil {
		t.Fatal(err)
	}
	b.settle()
	b.check()
}

// TestSIGTERMIsAHandoff stops each holder in turn: nothing is missed, the process ends with 0, and its node in order.
func TestSIGTERMIsAHandoff(t *testing.T) {
	t.Parallel()
	b := start(t, drill.Options{})
	for range b.Members {
		holder := b.member(b.overview().Holder())
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		since := time.Now()
		err := b.StopManager(ctx, holder)
		cancel()
		if err != nil {
			t.Fatalf("%s: SIGTERM: %v", holder.ID, err)
		}
		took := eventually(t, 5*time.Second, "another holder", b.one)
		t.Logf("%s stopped in %v, another one holds %v later", holder.ID, (time.Since(since) - took).Round(time.Millisecond), took.Round(time.Millisecond))
		log, err := os.ReadFile(filepath.Join(holder.Home, "manager.log"))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(log), "nodeos successfully exiting") {
			t.Errorf("the node of %s was not ended in order", holder.ID)
		}
		if err := b.StartMember(holder); err != nil {
			t.Fatal(err)
		}
		b.settle()
	}
	if r := b.check(); r.Missed.Total != 0 {
		t.Errorf("%d of %d slots were missed", r.Missed.Total, r.SlotsDue)
	}
}

// TestNotReadyBeforeTheStop: a manager that was told to stop says so first, then hands production over with its API still
// there, and takes no change meanwhile.
func TestNotReadyBeforeTheStop(t *testing.T) {
	t.Parallel()
	b := start(t, drill.Options{})
	holder := b.member(b.overview().Holder())
	put(t, b.hold, fsm.StepStop) // the handoff goes no further for now
	stopped := make(chan error, 1)
	go func() { stopped <- b.StopManager(t.Context(), holder) }()
	says := func(method, path, body string, status int, text string) func(context.Context) error {
		return func(ctx context.Context) error {
			a, err := ask(ctx, holder, method, path, body)
			if err == nil && (a.status != status || !strings.Contains(string(a.body), text)) {
				err = fmt.Errorf("%s: %d %s", path, a.status, a.body)
			}
			return err
		}
	}
	eventually(t, 5*time.Second, "not ready", says(http.MethodGet, "/health/ready", "", http.StatusServiceUnavailable, "stopping"))
	for _, f := range []func(context.Context) error{
		says(http.MethodGet, "/health/live", "", http.StatusOK, "ok"),
		says(http.MethodGet, "/cluster", "", http.StatusOK, "handoff"),
		says(http.MethodPost, "/cluster/maintenance", `{"on":true}`, http.StatusServiceUnavailable, "closing"),
	} {
		eventually(t, 5*time.Second, "the API until production is handed over", f)
	}
	if err := os.Remove(b.hold); err != nil {
		t.Fatal(err)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	eventually(t, 10*time.Second, "another holder", b.one)
	if err := b.StartMember(holder); err != nil {
		t.Fatal(err)
	}
	b.settle()
	if r := b.check(); r.Missed.Total != 0 {
		t.Errorf("%d of %d slots were missed", r.Missed.Total, r.SlotsDue)
	}
}

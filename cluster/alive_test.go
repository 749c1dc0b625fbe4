package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"roundtable/cluster"
)

// alive asks every member, and wants it to be alive but for those named; what these answer is given back.
func alive(w *world, limit time.Duration, but ...string) (map[string]error, error) {
	found := map[string]error{}
	for _, id := range but {
		found[id] = nil
	}
	for id, m := range w.members {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		err := m.Alive(ctx)
		cancel()
		if _, excused := found[id]; excused {
			found[id] = err
		} else if err != nil {
			return nil, fmt.Errorf("%s: %w", id, err)
		}
	}
	return found, nil
}

// TestVirtualAlive: leader, followers and a member that is cut off are alive; one whose main loop hangs in a write is not,
// and says nothing until the caller gives up.
func TestVirtualAlive(t *testing.T) {
	logs, stall := map[string]*stallingLog{}, make(chan struct{})
	virtualOf(t, 21, func(w *world) {
		stall = make(chan struct{})
		w.prepare = func(cfg *cluster.Config) {
			logs[cfg.ID] = newStallingLog(cfg.Stores.Log)
			cfg.Stores.Log = logs[cfg.ID]
		}
	}, func(w *world) error {
		goOn := sync.OnceFunc(func() { close(stall) })
		defer goOn()
		if _, err := alive(w, time.Second); err != nil {
			return err
		}
		w.hub.Isolate("m1")
		if err := w.until("another leader", func() bool { l := w.leader(); return l != "" && l != "m1" }); err != nil {
			return err
		}
		if _, err := alive(w, 2*time.Second); err != nil {
			return fmt.Errorf("with m1 cut off: %w", err)
		}
		w.hub.Heal()
		if err := w.propose("m1", "healed"); err != nil {
			return err
		}
		leader := w.leader()
		hung := w.other(leader)
		logs[hung].set(stall)
		if err := w.propose(leader, "a write that hangs"); err != nil {
			return err
		}
		found, err := alive(w, 300*time.Millisecond, hung) // before the hang counts as a stall
		if err != nil {
			return err
		}
		if !errors.Is(found[hung], context.DeadlineExceeded) {
			return fmt.Errorf("%s hangs, and says %w", hung, found[hung])
		}
		time.Sleep(5 * time.Second)
		if found, err = alive(w, time.Second, hung); err != nil {
			return err
		}
		if !errors.Is(found[hung], cluster.ErrStalled) {
			return fmt.Errorf("the disk of %s has stalled, and it says %w", hung, found[hung])
		}
		goOn()
		if err := w.until("it answers again", func() bool { _, err := alive(w, time.Second); return err == nil }); err != nil {
			return err
		}
		return w.equal()
	})
}

package cluster_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"roundtable/cluster"
	"roundtable/fsm"
)

// TestVirtualRecover loses two of three members, goes on with the third, and has the lost ones come back as they were: both
// together, which is the old majority. They end themselves, and nothing of the new group moves; emptied, they join it.
func TestVirtualRecover(t *testing.T) {
	dir := t.TempDir()
	var fatal chan error
	virtualOf(t, 11, func(w *world) {
		fatal = make(chan error, 9)
		w.prepare = func(cfg *cluster.Config) {
			cfg.Dir, cfg.Stores = filepath.Join(dir, cfg.ID), cluster.Stores{}
			cfg.OnFatal = func(err error) { fatal <- err }
		}
	}, func(w *world) error {
		for _, id := range w.ids {
			if err := w.put(id); err != nil {
				return err
			}
		}
		if err := w.equal(); err != nil {
			return err
		}
		for _, id := range w.ids {
			if err := w.crash(id); err != nil {
				return err
			}
		}
		survivor, lost := "m3", []string{"m1", "m2"}
		r, err := cluster.OpenRecovery(filepath.Join(dir, survivor), survivor)
		if err != nil {
			return err
		}
		how := fsm.Recovery{By: survivor, Lost: lost, At: time.Now().UnixMilli(), Beyond: 900}
		if _, err = r.Run(how, w.hub.RaftAddr(survivor), time.Now()); err == nil {
			err = r.Close()
		}
		if err != nil {
			return err
		}
		if err := w.open(survivor); err != nil {
			return err
		}
		if err := w.propose(survivor, "alone"); err != nil {
			return err
		}
		term := w.members[survivor].Raft().Term

		for _, id := range lost { // as they were
			if err := w.open(id); err != nil {
				return err
			}
		}
		for range lost {
			select {
			case err := <-fatal:
				if !errors.Is(err, cluster.ErrSuperseded) {
					return err
				}
			case <-time.After(20 * time.Second):
				return errors.New("the old majority goes on")
			}
		}
		for _, id := range lost {
			if w.members[id].IsLeader() {
				return fmt.Errorf("%s calls itself the leader", id)
			}
			if s, _ := w.members[id].View(); s.Lease.Fenced() {
				return fmt.Errorf("%s was given the new group's state", id)
			}
			if err := w.crash(id); err != nil { // its process ends
				return err
			}
		}
		if now := w.members[survivor].Raft(); now.Term != term || len(now.Peers) != 1 {
			return fmt.Errorf("disturbed: term %d was %d, %v", now.Term, term, now.Peers)
		}

		for _, id := range lost { // emptied
			if err := os.RemoveAll(filepath.Join(dir, id)); err != nil {
				return err
			}
			cfg := w.configs[id]
			cfg.Join = []string{w.hub.GossipAddr(survivor)}
			w.configs[id] = cfg
			if err := w.open(id); err != nil {
				return err
			}
		}
		if err := w.until("three voters", func() bool {
			for _, id := range lost {
				if !w.recorded(id) {
					return false
				}
			}
			return w.voters() == "m3 voter,m1 voter,m2 voter," || w.voters() == "m3 voter,m2 voter,m1 voter,"
		}); err != nil {
			return fmt.Errorf("%w: %s", err, w.voters())
		}
		for _, id := range w.ids {
			if err := w.propose(id, "of "+id); err != nil {
				return err
			}
		}
		select {
		case err := <-fatal:
			return fmt.Errorf("fatal: %w", err)
		default:
		}
		return w.equal()
	})
}

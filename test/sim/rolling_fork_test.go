package sim_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"roundtable/cluster/control"
	"roundtable/fsm"
)

// forks asks for a hard fork some blocks from now, and waits until all nodes were told to stop there.
func (w *world) forks(blocks uint32, limit time.Duration) (id uint64, at uint32, err error) {
	w.peers.fork = true
	at = w.members[0].node.top().Num + blocks
	id, err = w.someone().manager.Upgrade(context.Background(), control.UpgradeRequest{Upgrade: fsm.Upgrade{Tag: newVersion, AtBlock: at, HardFork: true}, Limit: limit}, "")
	if err == nil {
		_, err = w.await(id, 10*time.Minute, func(o fsm.Operation) bool { return o.Current().Name == fsm.StepFork })
	}
	return id, at, err
}

// oldBehind says whose node has a block behind the hard fork with the old version.
func (w *world) oldBehind(at uint32) error {
	for _, m := range w.members {
		if top := m.node.top(); m.up() && top.Num > at && m.homeNow.View().Runs == oldVersion {
			return fmt.Errorf("%s is at block %d with the old version, the hard fork is at %d", m.id, top.Num, at)
		}
	}
	return nil
}

// TestANodeThatForgetsTheHardFork: between the order to stop at a block and the block a node ends and is started again, by its manager or
// with it, or production moves. No block behind it comes from the old version.
func TestANodeThatForgetsTheHardFork(t *testing.T) {
	crash := func(who string) func(*world) error {
		return func(w *world) error {
			m := w.who(who)
			m.node.die()
			if err := w.pass(time.Second); err != nil {
				return err
			}
			m.homeNow.boot() // the supervisor
			return nil
		}
	}
	for name, happens := range map[string]func(*world) error{
		"the holder's": crash("holder"), "a standby's": crash("standby"),
		"with its manager": func(w *world) error {
			m := w.who("holder")
			if err := w.kill(m); err != nil {
				return err
			}
			if err := w.pass(time.Second); err != nil {
				return err
			}
			return w.start(m)
		},
		"production moves": func(w *world) error {
			m := w.who("holder")
			m.node.freeze(5 * time.Second)
			return w.pass(6 * time.Second)
		},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, 21, func(w *world) error {
				id, at, err := w.forks(700, 0)
				if err == nil {
					err = w.pass(10 * time.Second)
				}
				if err == nil {
					err = happens(w)
				}
				for range 20_000 {
					if err != nil {
						return err
					}
					if err = w.pass(20 * time.Millisecond); err == nil {
						err = w.oldBehind(at)
					}
					s, _ := w.someone().cluster.View()
					if o, _ := s.Operation(id); o.Outcome != fsm.Running {
						break
					}
				}
				if err == nil {
					err = w.ends(id, fsm.Done, "is behind the hard fork")
				}
				if err == nil {
					err = w.runAll(newVersion)
				}
				return err
			})
		})
	}
}

// TestADeadMemberInAHardFork costs the others half a minute, not the time that it was given; and it is put right when it is back.
func TestADeadMemberInAHardFork(t *testing.T) {
	for name, dies := range map[string]func(*world, *member) error{
		"its machine": (*world).kill,
		"its node":    func(_ *world, m *member) error { m.node.die(); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			play(t, 22, func(w *world) error {
				id, at, err := w.forks(700, 10*time.Minute)
				if err != nil {
					return err
				}
				m := w.who("standby")
				if err := dies(w, m); err != nil {
					return err
				}
				live := w.who("holder")
				for live.node.top().Num < at {
					if err := w.pass(200 * time.Millisecond); err != nil {
						return err
					}
				}
				begun := time.Now()
				for live.node.top().Num <= at && time.Since(begun) < time.Hour {
					if err := w.pass(200 * time.Millisecond); err != nil {
						return err
					}
				}
				if d := time.Since(begun); d > 50*time.Second {
					return fmt.Errorf("nobody produced for %s because of %s", d, m.id)
				}
				if m.up() {
					m.homeNow.boot()
				} else {
					err = w.start(m)
				}
				if err == nil {
					_, err = w.await(id, 20*time.Minute, over)
				}
				for until := time.Now().Add(20 * time.Minute); err == nil && w.runAll(newVersion) != nil && time.Now().Before(until); {
					err = w.pass(time.Second)
				}
				if err == nil {
					err = w.runAll(newVersion)
				}
				return err
			})
		})
	}
}

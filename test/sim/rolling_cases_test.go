package sim_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"roundtable/cluster/control"
	"roundtable/fsm"
)

// gapless says which slots were missed since a slot.
func (w *world) gapless(from uint64) error {
	if missed := w.missedSince(from); len(missed) > 0 {
		return fmt.Errorf("missed %v", missed)
	}
	return nil
}

// TestAnUpgradeThatFails: whatever fails, the cluster is whole afterwards, no slot is missed, and the reason is named.
func TestAnUpgradeThatFails(t *testing.T) {
	for name, c := range map[string]struct {
		u      fsm.Upgrade
		reason []string
		undone int
		after  map[string]string // what runs afterwards, "" for all the others
	}{
		"it exits at once":                     {fsm.Upgrade{Tag: brokenVersion}, []string{"m3: nodeos ended at once", "rolled back: m3"}, 1, nil},
		"it never syncs":                       {fsm.Upgrade{Tag: deafVersion}, []string{"m3: not done within 20s: catching up", "rolled back: m3"}, 1, nil},
		"there is no such thing":               {fsm.Upgrade{Tag: noVersion}, []string{"m1, m2, m3: no such asset"}, 0, nil},
		"at the last member":                   {fsm.Upgrade{Tag: unevenVersion}, []string{"m1: nodeos ended at once", "rolled back: m1", "through: m3, m2"}, 1, map[string]string{"m2": unevenVersion, "m3": unevenVersion}},
		"at the last member, and all are back": {fsm.Upgrade{Tag: unevenVersion, UndoAll: true}, []string{"m1: nodeos ended at once", "rolled back: m1"}, 3, nil},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, 4, func(w *world) error {
				from := uint64(w.peers.next())
				id, err := w.upgrade(c.u)
				if err == nil {
					err = w.ends(id, fsm.Failed, "")
				}
				if err != nil {
					return err
				}
				s, _ := w.someone().cluster.View()
				o, _ := s.Operation(id)
				for _, part := range c.reason {
					if !strings.Contains(o.Reason, part) {
						err = errors.Join(err, fmt.Errorf("the reason is %q, want %q in it", o.Reason, part))
					}
				}
				if len(o.Roll.Undone) != c.undone {
					err = errors.Join(err, fmt.Errorf("rolled back: %v", o.Roll.Undone))
				}
				for _, m := range w.members {
					want := oldVersion
					if v, ok := c.after[m.id]; ok {
						want = v
					}
					if v := m.homeNow.View(); v.Runs != want {
						err = errors.Join(err, fmt.Errorf("%s runs %s and not %s", m.id, v.Runs, want))
					}
				}
				return errors.Join(err, w.gapless(from))
			})
		})
	}
}

// TestAnUpgradeWaits for a block or a row of a table; meanwhile other operations run, and it can be canceled.
func TestAnUpgradeWaits(t *testing.T) {
	row := &fsm.TableRow{Code: "c", Scope: "c", Table: "t", Field: "f", Value: "1"}
	for name, u := range map[string]fsm.Upgrade{"block": {Tag: newVersion}, "row": {Tag: newVersion, Row: row}} {
		t.Run(name, func(t *testing.T) {
			play(t, 5, func(w *world) error {
				from := uint64(w.peers.next())
				if u.Row == nil {
					u.AtBlock = w.members[0].node.top().Num + 120
				}
				id, err := w.upgrade(u)
				if err == nil {
					_, err = w.await(id, time.Minute, func(o fsm.Operation) bool { return o.Current().Name == fsm.StepTrigger })
				}
				if err != nil {
					return err
				}
				if u.Row == nil {
					other, err := w.restart(control.RestartRequest{Member: w.who("standby").id})
					if err != nil {
						return err
					}
					if o, err := w.await(other, time.Minute, over); err != nil || o.Outcome != fsm.Done {
						return fmt.Errorf("a restart meanwhile: %w, %s: %s", err, o.Outcome, o.Reason)
					}
				}
				if err := w.ends(id, fsm.Done, ""); err != nil {
					return err
				}
				s, _ := w.someone().cluster.View()
				o, _ := s.Operation(id)
				if begun := o.Steps[len(o.Steps)-1].Since; u.Row == nil && w.members[0].node.at(begun) < u.AtBlock {
					return fmt.Errorf("it began before block %d", u.AtBlock)
				}
				return errors.Join(w.runAll(newVersion), w.gapless(from))
			})
		})
	}
	t.Run("canceled", func(t *testing.T) {
		play(t, 6, func(w *world) error {
			id, err := w.upgrade(fsm.Upgrade{Tag: newVersion, AtBlock: 1 << 30})
			if err == nil {
				_, err = w.await(id, time.Minute, func(o fsm.Operation) bool { return o.Current().Name == fsm.StepTrigger })
			}
			if err == nil {
				_, err = w.someone().manager.Cancel(context.Background(), id, "")
			}
			if err == nil {
				err = w.ends(id, fsm.Canceled, "0 of 3 were done")
			}
			return errors.Join(err, w.runAll(oldVersion))
		})
	})
}

// at is the height of the chain at a time.
func (n *node) at(millis int64) uint32 {
	b := n.top()
	for b.below != nil && b.Slot.UnixMilli() > millis {
		b = b.below
	}
	return b.Num
}

// TestCancel: a rolling operation ends after the member at work, and says how far it came.
func TestCancel(t *testing.T) {
	play(t, 7, func(w *world) error {
		from := uint64(w.peers.next())
		w.hold.at("stop restart")
		id, err := w.restart(control.RestartRequest{})
		if err != nil {
			return err
		}
		if _, err := w.reached(time.Minute); err != nil {
			return err
		}
		if _, err := w.someone().manager.Cancel(context.Background(), id, ""); err != nil {
			return err
		}
		w.hold.let()
		return errors.Join(w.ends(id, fsm.Canceled, "1 of 3 were done: m3"), w.gapless(from))
	})
}

// TestQueue: an operation that may wait does, and then is done.
func TestQueue(t *testing.T) {
	play(t, 8, func(w *world) error {
		from := uint64(w.peers.next())
		first, err := w.restart(control.RestartRequest{})
		if err != nil {
			return err
		}
		if _, err := w.restart(control.RestartRequest{Member: "m2"}); !errors.Is(err, fsm.ErrBusy) {
			return fmt.Errorf("a second one: %w", err)
		}
		second, err := w.restart(control.RestartRequest{Member: "m2", Queue: 10 * time.Minute})
		if err != nil {
			return err
		}
		if o, err := w.await(first, time.Minute, over); err != nil || o.Outcome != fsm.Done {
			return fmt.Errorf("%w, %s: %s", err, o.Outcome, o.Reason)
		}
		return errors.Join(w.ends(second, fsm.Done, ""), w.gapless(from))
	})
}

// TestAHolderThatStops in the middle of a rolling operation hands production over, and the operation goes on when it is back.
func TestAHolderThatStops(t *testing.T) {
	for _, moment := range []string{"stop restart", "prove restart", "plan restart", "plan hand over"} {
		t.Run(moment, func(t *testing.T) {
			play(t, 9, func(w *world) error {
				from := uint64(w.peers.next())
				if err := w.members[1].cluster.TransferLeadership(context.Background(), "m2"); err != nil {
					return err
				}
				w.hold.at(moment)
				id, err := w.restart(control.RestartRequest{})
				if err != nil {
					return err
				}
				if _, err := w.reached(time.Minute); err != nil {
					return err
				}
				m := w.who("holder")
				begun := time.Now()
				if err := w.stop(m); err != nil {
					return err
				}
				if d := time.Since(begun); d > 9*time.Second {
					return fmt.Errorf("the stop took %s", d)
				}
				w.hold.let()
				if err := w.pass(2 * time.Second); err != nil {
					return err
				}
				if err := w.start(m); err != nil {
					return err
				}
				return errors.Join(w.ends(id, fsm.Done, ""), w.gapless(from))
			})
		})
	}
}

// TestProductionComesToTheTarget in the moment before its node is stopped, because nobody else is fit: it is not stopped, and when
// another one is fit it gives production away and is restarted.
func TestProductionComesToTheTarget(t *testing.T) {
	play(t, 10, func(w *world) error {
		w.hold.at("stop restart")
		id, err := w.restart(control.RestartRequest{Limit: time.Minute})
		if err != nil {
			return err
		}
		m3, err := w.reached(time.Minute)
		if err != nil {
			return err
		}
		m1, m2 := w.members[0], w.members[1]
		m2.node.die()
		if err := w.pass(2 * time.Second); err != nil {
			return err
		}
		if err := w.kill(m1); err != nil {
			return err
		}
		if err := w.pass(5 * time.Second); err != nil {
			return err
		}
		if s, _ := m3.cluster.View(); s.Lease.Holder != m3.id {
			return fmt.Errorf("%s holds: %s", s.Lease.Holder, w.someone().manager.LeaseReason())
		}
		w.hold.let()
		if err := w.pass(3 * time.Second); err != nil {
			return err
		}
		if m3.node.stopped() {
			return errors.New("the holder's node was stopped")
		}
		from := uint64(w.peers.next())
		m2.homeNow.boot()
		if err := w.start(m1); err != nil {
			return err
		}
		return errors.Join(w.ends(id, fsm.Done, ""), w.gapless(from))
	})
}

// offerAll gives all members another configuration.
func (w *world) offerAll(config string) {
	for _, m := range w.members {
		m.homeNow.offer(config)
	}
}

// rollouts are those that there were.
func (w *world) rollouts() (list []fsm.Operation) {
	s, _ := w.someone().cluster.View()
	for _, o := range s.Operations {
		if o.Kind == fsm.KindRollout {
			list = append(list, o)
		}
	}
	return list
}

// TestRollout: a change that reaches all members is one operation, and comes to all of them.
func TestRollout(t *testing.T) {
	for _, takeOver := range []bool{false, true} {
		t.Run(fmt.Sprintf("take over %v", takeOver), func(t *testing.T) {
			play(t, 11, func(w *world) error {
				from := uint64(w.peers.next())
				holder := w.who("holder").id
				if takeOver {
					if _, err := w.someone().manager.PatchCluster(context.Background(), fsm.PatchCluster{TakeOver: &takeOver}, ""); err != nil {
						return err
					}
				}
				w.offerAll("c2")
				if err := w.pass(time.Minute); err != nil {
					return err
				}
				list := w.rollouts()
				if len(list) != 1 || list[0].Outcome != fsm.Done {
					return fmt.Errorf("%+v", list)
				}
				if now := w.who("holder").id; takeOver != (now == holder) {
					return fmt.Errorf("%s held before, now %s", holder, now)
				}
				for _, m := range w.members {
					if v := m.homeNow.View(); v.Config != "c2" || v.Offers != "" {
						return fmt.Errorf("%s: %+v", m.id, v)
					}
				}
				return errors.Join(w.settle(), w.gapless(from))
			})
		})
	}
}

// TestABadConfiguration is rolled back on the first member, never reaches the second, and is not tried again by itself.
func TestABadConfiguration(t *testing.T) {
	play(t, 12, func(w *world) error {
		from := uint64(w.peers.next())
		starts := map[string]uint64{}
		for _, m := range w.members {
			starts[m.id] = m.node.View().Run
		}
		w.offerAll(badConfig)
		if err := w.pass(30 * time.Second); err != nil {
			return err
		}
		list := w.rollouts()
		if len(list) != 1 || list[0].Outcome != fsm.Failed || !strings.Contains(list[0].Reason, "m3: nodeos ended at once") || len(list[0].Roll.Undone) != 1 {
			return fmt.Errorf("%+v", list)
		}
		for _, m := range w.members[:2] {
			if n := m.node.View().Run - starts[m.id]; n != 0 {
				return fmt.Errorf("the node of %s was started %d times", m.id, n)
			}
		}
		if v := w.members[2].homeNow.View(); v.Config != "c1" {
			return fmt.Errorf("%+v", v)
		}
		w.offerAll("c3") // a good one
		if err := w.pass(6 * time.Minute); err != nil {
			return err
		}
		list = w.rollouts()
		if len(list) != 2 || list[1].Outcome != fsm.Done {
			return fmt.Errorf("%+v", list)
		}
		return errors.Join(w.settle(), w.gapless(from))
	})
}

// TestHardFork: all nodes stop at one block, are switched, and production goes on behind it.
func TestHardFork(t *testing.T) {
	for name, die := range map[string]string{"": "", "a standby dies before": "standby", "the holder dies before": "holder", "the leader dies before": "leader"} {
		t.Run(name, func(t *testing.T) {
			play(t, 13, func(w *world) error {
				w.peers.fork = true
				at := w.members[0].node.top().Num + 700
				id, err := w.upgrade(fsm.Upgrade{Tag: newVersion, AtBlock: at, HardFork: true})
				if err != nil {
					return err
				}
				if _, err := w.await(id, 5*time.Minute, func(o fsm.Operation) bool { return o.Current().Name == fsm.StepFork }); err != nil {
					return err
				}
				if die != "" {
					m := w.who(die)
					if err := w.kill(m); err != nil {
						return err
					}
					if err := w.pass(5 * time.Second); err != nil {
						return err
					}
					if err := w.start(m); err != nil {
						return err
					}
				}
				if err := w.ends(id, fsm.Done, "is behind the hard fork"); err != nil {
					return err
				}
				for b := w.members[0].node.top(); b.Num > at; b = b.below {
					if b.below.Num == at {
						if gap := b.Slot - b.below.Slot; gap < 2 || gap > 20 {
							return fmt.Errorf("%d slots between block %d and the next", gap, at)
						}
					}
				}
				return w.runAll(newVersion)
			})
		})
	}
	t.Run("all fail", func(t *testing.T) {
		play(t, 14, func(w *world) error {
			w.peers.fork = true
			id, err := w.upgrade(fsm.Upgrade{Tag: brokenVersion, AtBlock: w.members[0].node.top().Num + 100, HardFork: true})
			if err == nil {
				err = w.ends(id, fsm.Failed, "rolled back: ")
			}
			return errors.Join(err, w.runAll(oldVersion))
		})
	})
	t.Run("canceled before", func(t *testing.T) {
		play(t, 15, func(w *world) error {
			from := uint64(w.peers.next())
			at := w.members[0].node.top().Num + 900
			id, err := w.upgrade(fsm.Upgrade{Tag: newVersion, AtBlock: at, HardFork: true})
			if err == nil {
				_, err = w.await(id, time.Minute, func(o fsm.Operation) bool { return o.Current().Name == fsm.StepTrigger })
			}
			if err == nil {
				_, err = w.someone().manager.Cancel(context.Background(), id, "")
			}
			if err == nil {
				err = w.pass(8 * time.Minute) // beyond the block
			}
			return errors.Join(err, w.settle(), w.runAll(oldVersion), w.gapless(from))
		})
	})
}

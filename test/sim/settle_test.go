package sim_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"

	"roundtable/chain"
	"roundtable/fsm"
)

// unsettled says what is still to come after the trouble is over, or "".
// thoroughly it looks at everything, which takes a while.
func (w *world) unsettled(thoroughly bool) string {
	for _, m := range w.members {
		if !m.up() {
			return m.id + " is down"
		}
	}
	leader := w.leader()
	if leader == nil {
		return "no leader"
	}
	first, _ := leader.cluster.View()
	holder := w.named(first.Lease.Holder)
	if !first.Lease.Open() || holder == nil || first.Lease.Incarnation != first.Members[holder.id].Incarnation {
		return fmt.Sprintf("no living holder: %+v; %s", first.Lease, leader.manager.LeaseReason())
	}
	if ops := first.RunningOperations(); len(ops) > 0 {
		return fmt.Sprintf("operation %d runs, at step %q; %s", ops[0].ID, ops[0].Current().Name, leader.manager.OperationReason(ops[0].ID))
	}
	for _, m := range w.members {
		if h, v := first.Homes[m.id], m.homeNow.View(); h.Tag != "" && h.Tag != v.Runs {
			return fmt.Sprintf("%s runs %s, wanted is %s", m.id, v.Runs, h.Tag)
		}
	}
	if len(first.Members) < len(w.members) {
		return fmt.Sprintf("%d members", len(first.Members))
	}
	for _, m := range w.members {
		if id, _ := m.cluster.Leader(); id != leader.id {
			return fmt.Sprintf("%s follows %q", m.id, id)
		}
		s, _ := m.cluster.View()
		if s.Lease.Epoch != first.Lease.Epoch || s.Members[m.id].Incarnation != m.incarnation {
			return m.id + " lags"
		}
		v := m.node.View()
		if v.Paused != (m != holder) {
			return fmt.Sprintf("the node of %s: paused %v", m.id, v.Paused)
		}
		if now := chain.SlotAt(m.clock.Now().UnixMilli()); v.Head.Slot+2 < now {
			return fmt.Sprintf("the head of %s is at slot %d of %d", m.id, v.Head.Slot, now)
		}
		if !thoroughly {
			continue
		}
		for _, c := range m.manager.Candidates() {
			if !c.Fit {
				return fmt.Sprintf("%s sees %s unfit: %s", m.id, c.ID, c.Reason)
			}
		}
		voters := 0
		for _, p := range m.cluster.Raft().Peers {
			if p.Suffrage == "voter" {
				voters++
			}
		}
		if voters != len(w.members) {
			return fmt.Sprintf("%s knows %d voters", m.id, voters)
		}
	}
	return ""
}

// settle waits until the cluster is whole and has been so for a second.
func (w *world) settle() error {
	const step, whole = 100 * time.Millisecond, 10
	why, since := "", 0
	for tries, rolling := 0, 0; tries < 600 && rolling < 6000; {
		if w.rolls() {
			rolling++ // it has deadlines of its own
		} else {
			tries++
		}
		w.mu.Lock()
		err := w.fatal
		w.mu.Unlock()
		if err != nil {
			return err
		}
		if why = w.unsettled(since == 0 || since == whole-1); why != "" {
			since = 0
		} else if since++; since >= whole {
			return w.equal()
		}
		if err := w.pass(step); err != nil {
			return err
		}
	}
	return fmt.Errorf("not settled within a virtual minute: %s", why)
}

// rolls reports whether an operation of several steps runs or is to be begun.
func (w *world) rolls() bool {
	m := w.someone()
	if m == nil {
		return false
	}
	s, _ := m.cluster.View()
	mend := func(m *member) bool {
		h := s.Homes[m.id]
		return h.Tag != "" && h.Tag != m.homeNow.View().Runs
	}
	return slices.ContainsFunc(s.RunningOperations(), func(o fsm.Operation) bool { return o.Rolling() || o.Task != nil }) || slices.ContainsFunc(w.members, mend)
}

// equal waits until all states are at one index, and compares them byte by byte. Whenever two are, they must be equal.
func (w *world) equal() error {
	for range 1000 {
		byIndex := map[uint64][]byte{}
		for _, m := range w.members {
			s, _ := m.cluster.View()
			b, err := s.Marshal()
			if err != nil {
				return err
			}
			if have, ok := byIndex[s.Index]; ok && !bytes.Equal(have, b) {
				return fmt.Errorf("states differ at index %d:\n%s\n%s", s.Index, have, b)
			}
			byIndex[s.Index] = b
		}
		if len(byIndex) == 1 {
			return nil
		}
		time.Sleep(3 * time.Millisecond)
	}
	return errors.New("the members never came to the same index")
}

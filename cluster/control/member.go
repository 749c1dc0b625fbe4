package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"time"

	"roundtable/fsm"
)

// memberController keeps this member's record in the state: at each process start it brings the new incarnation, without
// which nothing is granted.
type memberController struct {
	*Manager
	log    *slog.Logger
	knows  bool      // all that was committed before this start is applied here
	effect *Settings // what the configuration said when it last took effect; nil: at the start
	kept   *Settings // what is kept for the next start
}

// Settings are what a manager's configuration says of its record and an operator may change there.
type Settings struct {
	Priority   int  `json:"priority"`
	NoFailover bool `json:"nofailover"`
}

// Configure takes what the configuration says from now on; what it says otherwise than before takes effect. Any goroutine may call
// it.
func (m *Manager) Configure(s Settings) { m.configured.Store(&s) }

// planSettings chooses between what the configuration says now and what stands in the state, where an operator may have
// changed it since. last is what the configuration said when it last took effect, nil where that is not known: whoever did not
// change the configuration since did not mean to undo what an operator did.
func planSettings(last *Settings, now, state Settings) Settings {
	if last == nil {
		return now
	}
	if now.Priority == last.Priority {
		now.Priority = state.Priority
	}
	if now.NoFailover == last.NoFailover {
		now.NoFailover = state.NoFailover
	}
	return now
}

// Name is the controller's.
func (*memberController) Name() string { return "member" }

// Reconcile proposes the record where the state has another.
func (c *memberController) Reconcile(ctx context.Context, s *fsm.State) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if !c.knows { // a state from before the last stop, or an empty one, does not say what an operator set since
		if err := c.cluster.Barrier(ctx); err != nil {
			return 0, err
		}
		c.knows = true
		s, _ = c.cluster.View()
	}
	want := c.record
	if c.node != nil {
		n := c.node.View()
		want.Node, want.Finalizers = n.Version, n.Finalizers
	}
	if len(want.Finalizers) == 0 {
		want.Finalizers = nil // as it comes back from the log: else it would be proposed for ever
	}
	have, known := s.Members[c.id]
	want.Joined, want.Maintenance, want.Nonvoter = have.Joined, have.Maintenance, have.Nonvoter
	start, state := Settings{c.record.Priority, c.record.NoFailover}, Settings{have.Priority, have.NoFailover}
	switch {
	case known && have.Incarnation == want.Incarnation: // the start took effect
		if proposed, err := c.set(ctx, start, state); proposed || err != nil {
			return 0, err // the record is looked at when that is applied
		}
		want.Priority, want.NoFailover = state.Priority, state.NoFailover
	case known:
		merged := planSettings(c.last, start, state)
		want.Priority, want.NoFailover = merged.Priority, merged.NoFailover
	}
	if reflect.DeepEqual(have, want) {
		return 0, nil
	}
	want.Nonvoter = false // the state keeps it by itself, and a program of version 1 does not know it
	_, err := c.cluster.Propose(ctx, fsm.PutMember{Member: want}, "")
	// A paused node still votes: one with another's key must not run. And who is too old for the log waits for nothing.
	if refused := (*fsm.Refusal)(nil); errors.As(err, &refused) && c.onFatal != nil && (errors.Is(err, fsm.ErrFinalizer) || errors.Is(err, fsm.ErrTooOld)) {
		c.onFatal(fmt.Errorf("this member's record is refused: %w (hint: %s)", err, refused.Hint))
	}
	return 0, err
}

// set proposes what the configuration says since it last took effect, and keeps it for the next start once it has: if it were kept
// before, a change of the configuration would be lost with an entry that never came through.
func (c *memberController) set(ctx context.Context, start, state Settings) (proposed bool, err error) {
	now := start
	if s := c.configured.Load(); s != nil {
		now = *s
	}
	if want := planSettings(cmp.Or(c.effect, &start), now, state); want != state {
		change := fsm.SetMember{ID: c.id}
		if want.Priority != state.Priority {
			change.Priority = &want.Priority
		}
		if want.NoFailover != state.NoFailover {
			change.NoFailover = &want.NoFailover
		}
		if _, err := c.cluster.Propose(ctx, change, ""); err != nil {
			return false, err
		}
		proposed = true
	}
	c.effect = &now
	if c.keepSettings == nil || c.kept != nil && *c.kept == now {
		return proposed, nil
	}
	c.kept = &now // a file that cannot be written costs an operator's change at the next start, not more
	if err := c.keepSettings(now); err != nil {
		c.log.Warn("what the configuration says of this member was not kept", "err", err)
	}
	return proposed, nil
}

// configController writes the cluster's first configuration; it runs only while this member leads.
type configController struct {
	*Manager
	log *slog.Logger
}

// Name is the controller's.
func (*configController) Name() string { return "config" }

// Reconcile proposes the configuration that this manager was started with where the cluster has none.
func (c *configController) Reconcile(ctx context.Context, s *fsm.State) (time.Duration, error) {
	want := s.Cluster.Version1()
	if want.Name == "" {
		want = c.first
	}
	if want.ChainID == "" && c.node != nil {
		want.ChainID = c.node.View().ChainID
	}
	if want.Name == "" || reflect.DeepEqual(want, s.Cluster.Version1()) {
		return 0, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_, err := c.cluster.Propose(ctx, fsm.SetCluster{Cluster: want}, "")
	return 0, err
}

package control

import (
	"context"
	"time"

	"roundtable/fsm"
)

// homeController tells the cluster which version and configuration this member's node runs, and what it offers. Where nobody used
// anything of entry version 3 yet that waits for the first offer that is to be rolled out by itself, so that the members can go back to a former program
// (docs/decisions/0008).
type homeController struct{ *Manager }

// Name is the controller's.
func (*homeController) Name() string { return "home" }

// Reconcile proposes what runs where the state says otherwise.
func (c *homeController) Reconcile(ctx context.Context, s *fsm.State) (time.Duration, error) {
	runs := runsOf(c.home.View())
	switch {
	case s.Homes[c.id].Runs == runs, s.Members[c.id].Incarnation != c.incarnation, s.EntryVersion() < 3, s.Level < 3 && !runs.Auto:
		return 0, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_, err := c.cluster.Propose(ctx, fsm.PutHome{Member: c.id, Runs: runs}, "")
	if refused(err) {
		return 0, nil
	}
	return 0, err
}

// runsOf is what a member says of its home.
func runsOf(v HomeView) fsm.Runs {
	return fsm.Runs{Tag: v.Runs, Config: v.Config, Offers: v.Offers, Auto: v.Auto && v.Offers != "", Overlaid: v.Overlaid}
}

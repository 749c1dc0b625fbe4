package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"roundtable/fsm"
	"roundtable/logkey"
)

// planLeader fires the plans; it runs only while this member leads. A leader whose clock is off, or that has not heard of everybody yet,
// fires nothing.
type planLeader struct {
	*Manager
	log   *slog.Logger
	since time.Time
	put   map[string]putOffUntil
}

// putOffUntil is what the state said of a plan, and when it is asked again.
type putOffUntil struct {
	at     time.Time
	tries  int
	reason string
}

const (
	fireAgain = time.Second      // how often a plan that is due and waits is looked at
	putFirst  = 10 * time.Second // after a refusal, the first time
	putMost   = 5 * time.Minute
	// maxApart is how far two clocks may differ, where there is no third one to say which is right.
	maxApart = time.Minute
)

// Name is the controller's.
func (*planLeader) Name() string { return "plans" }

// Reconcile looks at every plan.
func (c *planLeader) Reconcile(ctx context.Context, s *fsm.State) (time.Duration, error) {
	now := c.now()
	reasons := map[string]string{}
	defer func() { c.plans.set(reasons) }()
	whole := c.clockDoubt()
	if whole == "" && now.Sub(c.since) < hearTime {
		whole = "the leader is new"
	}
	var errs error
	for _, id := range slices.Sorted(maps.Keys(s.Plans)) {
		put := c.put[id]
		switch {
		case whole != "":
			reasons[id] = whole
			continue
		case now.Before(put.at):
			reasons[id] = put.reason
			continue
		}
		fire, reason := planFire(c.firing(s, s.Plans[id], c.since))
		reasons[id] = reason
		if fire == nil {
			continue
		}
		if c.hold("plan fire") {
			return holdWait, errs
		}
		errs = errors.Join(errs, c.fire(ctx, *fire, now))
	}
	return fireAgain, errs
}

// firing is a look at a plan; since is when the leader began to lead.
func (m *Manager) firing(s *fsm.State, p fsm.Plan, since time.Time) fireInput {
	in := planInput{state: s, peers: m.cluster.Peers(), at: m.now(), since: since}
	return fireInput{look: newLook(in), plan: p, id: m.backupID(), limit: m.taskTime(p.Name, 0)}
}

// clockDoubt says why nothing is done by this member's clock that is due at a time, or "".
func (m *Manager) clockDoubt() string {
	_, apart, _ := m.clocks.judge(m.now())
	switch {
	case m.clockOff():
		return leaderClockOff
	case apart > maxApart:
		return fmt.Sprintf("the two clocks that are left differ by %s and nobody can say which is right", apart.Round(time.Second))
	}
	return ""
}

// fire proposes it; what the state refuses is asked again later.
func (c *planLeader) fire(ctx context.Context, f fsm.FirePlan, now time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_, err := c.cluster.Propose(ctx, f, "")
	if !refused(err) {
		delete(c.put, f.ID)
		return err
	}
	if c.put == nil {
		c.put = map[string]putOffUntil{}
	}
	tries := c.put[f.ID].tries
	c.put[f.ID] = putOffUntil{at: now.Add(min(putFirst<<min(tries, 8), putMost)), tries: tries + 1, reason: err.Error()}
	c.log.Debug("a plan does not fire", "plan", f.ID, logkey.Err, err)
	return nil
}

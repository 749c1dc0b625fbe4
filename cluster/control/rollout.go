package control

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"time"

	"roundtable/cluster/health"
	"roundtable/fsm"
	"roundtable/logkey"
)

const (
	defaultLimit = 10 * time.Minute
	// offerTime is how long what members offer must stay the same: a change that reaches all of them is one operation.
	offerTime = 3 * time.Second
	// mendTime is how long a member must run what it is not to run before its node is restarted for it, and mendAgain how long
	// after such a restart that failed it is tried again, the first time; each time after it twice as long.
	mendTime  = 3 * time.Second
	mendAgain = time.Minute
	mendMost  = time.Hour
	// rolloutAgain is how long after a rollout that failed, for another reason than a configuration, it is tried again.
	rolloutAgain = 5 * time.Minute
	// manyRollouts of a member's configuration within an hour that nobody asked for look like a generator that writes the time into it:
	// from then on there is one in rolloutRest.
	manyRollouts = 4
	rolloutRest  = 10 * time.Minute
)

// rolloutController starts a rollout of what members offer by themselves; it runs only while this member leads.
type rolloutController struct {
	*Manager
	log    *slog.Logger
	offers map[string]string
	since  time.Time // since when they are the same
}

// Name is the controller's.
func (*rolloutController) Name() string { return "rollout" }

// Reconcile starts a rollout where planRollout says so.
func (c *rolloutController) Reconcile(ctx context.Context, s *fsm.State) (time.Duration, error) {
	now := c.now()
	offers := planRollout(s, c.cluster.Peers(), now)
	if !maps.Equal(offers, c.offers) {
		c.offers, c.since = offers, now
	}
	if len(offers) == 0 {
		return 0, nil
	}
	if wait := offerTime - now.Sub(c.since); wait > 0 {
		return wait, nil
	}
	members := slices.Sorted(maps.Keys(offers))
	if reason := c.cannotRoll(s, members); reason != "" {
		return 0, nil // it would only fail
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_, err := c.startRolling(ctx, fsm.StartOperation{Name: fsm.KindRollout, Roll: &fsm.Roll{
		Members: members, Limit: c.limit(0).Milliseconds(), Configs: offers, TakeOver: s.Cluster.TakeOver,
	}}, 0, "")
	if refused(err) {
		return time.Second, nil
	}
	c.log.Info("a changed configuration is rolled out", "members", members, logkey.Err, err)
	return time.Second, err
}

// planRollout lists what is to be rolled out without being asked for, by member: what those that are there offer and did not refuse.
// Nothing while another operation is at work or the cluster is in maintenance, nor what an operator has canceled, nor at once what has
// just failed for another reason; and nothing at all while what failed on one member still lies there: the others' may be the same mistake,
// come a minute later with a ConfigMap, say.
func planRollout(s *fsm.State, peers map[string]health.Peer, now time.Time) map[string]string {
	offers := map[string]string{}
	if s.Cluster.Maintenance || disrupted(s) || failedOffer(s) != "" {
		return offers
	}
	for id, h := range s.Homes {
		m, ok := s.Members[id]
		if p := peers[id]; !p.Alive || p.Report.Incarnation != m.Incarnation {
			continue
		}
		if !ok || m.Witness || !h.Runs.Auto || h.Runs.Offers == "" || h.Runs.Offers == h.Runs.Config || h.Runs.Overlaid != s.Cluster.Overlaid {
			continue
		}
		if putOff(s, id, h.Runs.Offers, now) || now.Before(RolloutAfter(s, id)) {
			continue
		}
		offers[id] = h.Runs.Offers
	}
	return offers
}

// RolloutAfter is when a member's configuration may be rolled out by itself again, because it was so often lately; zero where it was not.
func RolloutAfter(s *fsm.State, member string) time.Time {
	var ended []int64 // newest first
	for _, o := range slices.Backward(s.Operations) {
		if o.Kind == fsm.KindRollout && o.Actor == "" && o.Outcome != fsm.Running && o.Roll != nil && slices.Contains(o.Roll.Done, member) {
			ended = append(ended, o.Ended)
		}
	}
	if len(ended) < manyRollouts || ended[0]-ended[manyRollouts-1] > time.Hour.Milliseconds() {
		return time.Time{}
	}
	return time.UnixMilli(ended[0]).Add(rolloutRest)
}

// failedOffer names a member whose configuration failed there and still lies there, or still runs; "" for nobody.
func failedOffer(s *fsm.State) string {
	for _, id := range s.MemberIDs() {
		if h := s.Homes[id]; h.Refused != "" && (h.Runs.Offers == h.Refused || h.Runs.Config == h.Refused) {
			return id
		}
	}
	return ""
}

// disrupted reports whether an operation runs that nothing disruptive may be begun beside.
func disrupted(s *fsm.State) bool {
	return slices.ContainsFunc(s.RunningOperations(), fsm.Operation.Disruptive)
}

// putOff reports whether the last rollout of a configuration to a member ended so that it is not to be tried now.
func putOff(s *fsm.State, member, config string, now time.Time) bool {
	for _, o := range slices.Backward(s.Operations) {
		if o.Kind != fsm.KindRollout || o.Roll == nil || o.Roll.Configs[member] != config {
			continue
		}
		switch o.Outcome {
		case fsm.Canceled:
			return true
		default:
			return now.Sub(time.UnixMilli(o.Ended)) < rolloutAgain
		}
	}
	return false
}

// limit is how long a member may take where nobody said.
func (m *Manager) limit(asked time.Duration) time.Duration {
	if asked > 0 {
		return asked
	}
	if m.home != nil {
		if d := m.home.View().Limit; d > 0 {
			return d
		}
	}
	return defaultLimit
}

// unmended reports whether a member runs what it is not to run: an operation ended while it was away.
func unmended(want fsm.Home, runs fsm.Runs) bool {
	return want.Tag != "" && runs.Tag != want.Tag || want.Refused != "" && want.Config != "" && runs.Config == want.Refused && want.Config != want.Refused
}

// mendController restarts the nodes of members that run what they are not to run, each as an operation of its own: so one after
// another, none of a holder, and proved. It runs only while this member leads.
type mendController struct {
	*Manager
	log   *slog.Logger
	since map[string]time.Time // since when a member is to be mended
	next  map[string]time.Time // when it may be tried (again)
	tries map[string]int
}

// Name is the controller's.
func (*mendController) Name() string { return "mend" }

// Reconcile starts the restart of one member.
func (c *mendController) Reconcile(ctx context.Context, s *fsm.State) (time.Duration, error) {
	if c.since == nil {
		c.since, c.next, c.tries = map[string]time.Time{}, map[string]time.Time{}, map[string]int{}
	}
	now, peers := c.now(), c.cluster.Peers()
	busy := s.Cluster.Maintenance || disrupted(s)
	for _, id := range s.MemberIDs() {
		h := s.Homes[id]
		p := peers[id]
		if !unmended(h, h.Runs) {
			delete(c.tries, id)
			delete(c.next, id)
		}
		if busy || !unmended(h, h.Runs) || !p.Alive || p.Report.Incarnation != s.Members[id].Incarnation || s.Lease.Open() && s.Lease.Holder == id {
			delete(c.since, id)
			continue
		}
		if c.since[id].IsZero() {
			c.since[id] = now
		}
		if now.Sub(c.since[id]) < mendTime || now.Before(c.next[id]) {
			continue
		}
		if reason := c.cannotRoll(s, []string{id}); reason != "" {
			continue
		}
		c.next[id] = now.Add(min(mendAgain<<min(c.tries[id], 10), mendMost))
		c.tries[id]++
		c.log.Info("a node runs what it is not to run, and is restarted", "of", id, "runs", h.Runs.Tag, "wanted", h.Tag)
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		_, err := c.startRolling(ctx, fsm.StartOperation{Name: fsm.KindRestart, Roll: &fsm.Roll{Members: []string{id}, Limit: c.limit(0).Milliseconds()}}, 0, "")
		if refused(err) {
			err = nil
		}
		return time.Second, err
	}
	return time.Second, nil
}

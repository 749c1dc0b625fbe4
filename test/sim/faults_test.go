package sim_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"roundtable/clock"
	"roundtable/cluster"
	"roundtable/cluster/clustertest"
	"roundtable/cluster/control"
	"roundtable/fsm"
)

const unlimited = 1 << 30

// trouble is a step under way.
type trouble struct {
	until time.Time
	kind  string
	end   func() error
}

// kind is a kind of step. begin makes it happen to m, which is whom the step names, and returns how it ends: nil where it
// has ended already.
type kind struct {
	limit func(st step) int // the most slots it may miss, alone
	begin func(w *world, st step, m *member) (end func() error, err error)
}

// slots is a limit.
func slots(n int) func(step) int { return func(step) int { return n } }

// ofHolder is a limit for a trouble of the holder; of anybody else it costs nothing.
func ofHolder(n int) func(step) int {
	return func(st step) int {
		if st.Who == "holder" {
			return n
		}
		return 0
	}
}

// kinds are all of them. The limits are those of the drills on real processes (issue 3), where it names one.
var kinds map[string]kind

func init() {
	kinds = map[string]kind{
		"handoff":    {slots(0), (*world).handoff},
		"leadership": {slots(0), (*world).transferLeadership},
		"stop":       {ofHolder(0), func(w *world, _ step, m *member) (func() error, error) { return w.down(m, w.stop) }},
		// A node dies with its manager (PR_SET_PDEATHSIG), so this is kill-manager, too.
		"kill":           {ofHolder(6), func(w *world, _ step, m *member) (func() error, error) { return w.down(m, w.kill) }},
		"rolling":        {slots(0), (*world).rolling},
		"operation":      {slots(0), (*world).operation},
		"kill-node":      {ofHolder(4), (*world).killNode},
		"freeze-node":    {ofHolder(7), func(w *world, st step, m *member) (func() error, error) { return w.freeze(m, st, false, true) }},
		"freeze-manager": {ofHolder(7), func(w *world, st step, m *member) (func() error, error) { return w.freeze(m, st, true, false) }},
		"freeze":         {ofHolder(7), func(w *world, st step, m *member) (func() error, error) { return w.freeze(m, st, true, true) }},
		"signer-dead":    {ofHolder(7), (*world).signer},
		"signer-slow":    {slots(0), (*world).signer},
		"partition":      {ofHolder(7), (*world).partition},
		"cut":            {slots(unlimited), (*world).cutOne},
		"disk-stall":     {stalled, (*world).stall},
		"clock":          {stepped, (*world).stepClock},
		"network":        {slots(0), (*world).shape},
		"network-bad":    {badNetwork, (*world).shape},
		"peerless":       {slots(0), (*world).peerless},
		"behind":         {slots(0), (*world).behind},
	}
}

// badNetwork is a limit: losses and delays beyond an election timeout may cost the leader or the holder a failover.
func badNetwork(st step) int {
	if st.Who == "other" {
		return 0
	}
	return unlimited
}

func stalled(st step) int {
	if st.Who == "other" {
		return 0
	}
	return 8
}

// stepped is what a clock's jump may cost: the holder's process ends for it, and of anybody else it costs nothing. A jump
// that is too small for that costs nothing either. One that leaves the clock near the others' may find the same member holding
// again when it is set back, which is a second jump.
func stepped(st step) int {
	switch by := time.Duration(st.By).Abs(); {
	case st.Who != "holder" || by <= clock.MaxJump:
		return 0
	case by <= nearClock:
		return 12
	}
	return 6
}

// nearClock is the most that a member may be off after a jump and still be fit: half a second off the median, and their own
// skews (draw).
const nearClock = 900 * time.Millisecond

// pass lets time go by; troubles end when theirs has come, and who ended itself is started again.
func (w *world) pass(d time.Duration) error {
	until := time.Now().Add(d)
	for {
		slices.SortStableFunc(w.active, func(a, b trouble) int { return a.until.Compare(b.until) })
		last := len(w.active) == 0 || w.active[0].until.After(until)
		next := until
		if !last {
			next = w.active[0].until
		}
		select {
		case l := <-w.gone:
			w.active = append(w.active, trouble{time.Now().Add(reviveTime), l.of.id + "'s end", func() error { return w.revive(l) }})
			continue
		case <-time.After(time.Until(next)):
		}
		if last {
			return nil
		}
		t := w.active[0]
		w.active = w.active[1:]
		w.note("%s ends", t.kind)
		if err := t.end(); err != nil {
			return fmt.Errorf("end of %s: %w", t.kind, err)
		}
	}
}

// begin makes a step happen.
func (w *world) begin(st step) error {
	m := w.who(st.Who)
	if st.Who != "" && m == nil {
		w.note("%s: there is no %s", st.Kind, st.Who)
		return nil
	}
	w.note("%s %s %v %v %s", st.Kind, st.Who, time.Duration(st.For), time.Duration(st.By), st.Way)
	end, err := kinds[st.Kind].begin(w, st, m)
	if err != nil {
		return fmt.Errorf("%s: %w", st.Kind, err)
	}
	if end != nil {
		w.active = append(w.active, trouble{time.Now().Add(time.Duration(st.For)), st.Kind, end})
	}
	return nil
}

// rest ends all troubles in their time.
func (w *world) rest() error {
	for len(w.active) > 0 {
		last := slices.MaxFunc(w.active, func(a, b trouble) int { return a.until.Compare(b.until) }).until
		if err := w.pass(time.Until(last)); err != nil {
			return err
		}
	}
	return nil
}

// down ends a member's processes until the trouble is over.
func (w *world) down(m *member, by func(*member) error) (func() error, error) {
	if m.cluster == nil {
		return nil, nil
	}
	if err := by(m); err != nil {
		return nil, err
	}
	return func() error {
		if m.cluster != nil || m.disk.frozen() != nil {
			return nil // it is back, or its disk's trouble ends later and brings it back
		}
		return w.start(m)
	}, nil
}

// rolling restarts all members, the holder last.
func (w *world) rolling(st step, _ *member) (func() error, error) {
	holder := w.who("holder")
	for _, m := range append(w.others(holder), holder) {
		if err := w.stop(m); err != nil {
			return nil, err
		}
		time.Sleep(time.Duration(st.For))
		if err := w.start(m); err != nil {
			return nil, err
		}
		if err := w.settle(); err != nil {
			return nil, fmt.Errorf("%s is back: %w", m.id, err)
		}
	}
	return nil, nil
}

// operation starts a rolling one, and where nothing else is wrong waits for its end.
func (w *world) operation(st step, asked *member) (func() error, error) {
	if asked == nil || !asked.up() {
		return nil, nil
	}
	for range 100 { // gossip may take a member for dead once more, as for a handoff
		id, err := w.begins(st.Way, asked)
		w.note("%s, asked at %s: operation %d, %v", st.Way, asked.id, id, err)
		if !st.Settle || len(w.active) > 0 {
			return nil, nil
		}
		if err == nil {
			want := fsm.Done
			if st.Way == "bad upgrade" {
				want = fsm.Failed
			}
			_, err = w.await(id, time.Minute, func(o fsm.Operation) bool { return o.Outcome == want })
			return nil, err
		}
		if !errors.Is(err, control.ErrRestart) && !errors.Is(err, control.ErrUpgrade) {
			return nil, err
		}
		time.Sleep(100 * time.Millisecond)
	}
	return nil, errors.New("never taken on")
}

// begins asks a member for an operation.
func (w *world) begins(what string, asked *member) (uint64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	upgrade := control.UpgradeRequest{Upgrade: fsm.Upgrade{Tag: newVersion, UndoAll: true}}
	switch runs := asked.homeNow.View().Runs; {
	case what == "restart":
		return asked.manager.Restart(ctx, control.RestartRequest{}, "")
	case what == "bad upgrade":
		upgrade.Upgrade = fsm.Upgrade{Tag: brokenVersion}
	case runs == newVersion:
		upgrade.Tag = oldVersion
	}
	return asked.manager.Upgrade(ctx, upgrade, "")
}

func (w *world) killNode(_ step, m *member) (func() error, error) {
	if !m.up() {
		return nil, nil
	}
	m.node.die()
	g, manager := m.gate, m.manager
	return func() error {
		if m.gate == g && m.cluster != nil && !m.exited.Load() { // else it was booted by its next manager, or will be
			m.node.boot(g, manager.Saw)
		}
		return nil
	}, nil
}

func (w *world) freeze(m *member, st step, manager, node bool) (func() error, error) {
	if !m.up() {
		return nil, nil
	}
	if node {
		m.node.freeze(time.Duration(st.For))
	}
	if !manager {
		return func() error { return nil }, nil
	}
	frozen := m.frozen
	m.icy = true
	frozen.freeze()
	w.hub.Freeze(m.id)
	return func() error {
		if m.frozen == frozen && m.cluster != nil {
			m.icy = false
			w.hub.Thaw(m.id)
		}
		frozen.thaw()
		return nil
	}, nil
}

func (w *world) signer(st step, m *member) (func() error, error) {
	g := m.gate
	g.signer(st.Kind == "signer-dead", time.Duration(st.By))
	return func() error { g.signer(false, 0); return nil }, nil
}

// cutWays cuts ways off until the trouble is over.
func (w *world) cutWays(m *member, others []*member, out, in bool) func() error {
	do := func(f func(from, to *member)) {
		for _, o := range others {
			if out {
				f(m, o)
			}
			if in {
				f(o, m)
			}
		}
	}
	do(w.cut)
	return func() error { do(w.heal); return nil }
}

func (w *world) partition(st step, m *member) (func() error, error) {
	return w.cutWays(m, w.others(m), st.Way != "in", st.Way != "out"), nil
}

func (w *world) cutOne(st step, m *member) (func() error, error) {
	o := w.who(st.To)
	if o == nil || o == m {
		return nil, nil
	}
	return w.cutWays(m, []*member{o}, true, false), nil
}

// stall makes a member's disk stall. Where its manager ends itself for it, it is started again after it.
func (w *world) stall(_ step, m *member) (func() error, error) {
	if m.cluster == nil || m.disk.frozen() != nil {
		return nil, nil
	}
	m.disk.freeze()
	return func() error {
		if m.exited.Load() && m.cluster != nil {
			if err := w.kill(m); err != nil {
				return err
			}
		}
		m.disk.thaw()
		w.mu.Lock()
		m.thawed = time.Now()
		w.mu.Unlock()
		if m.cluster == nil {
			return w.start(m)
		}
		return nil
	}, nil
}

func (w *world) stepClock(st step, m *member) (func() error, error) {
	by := time.Duration(st.By)
	return func() error { return m.clock.step(-by) }, m.clock.step(by)
}

// shape makes one member's network worse, or everybody's.
func (w *world) shape(st step, m *member) (func() error, error) {
	var ways [][2]string
	for _, a := range w.members {
		for _, b := range w.members {
			if a != b && (m == nil || m == a || m == b) {
				ways = append(ways, [2]string{a.id, b.id})
			}
		}
	}
	for _, way := range ways {
		w.hub.SetPath(way[0], way[1], clustertest.Path{Latency: time.Duration(st.By + w.sched.Wire), Loss: st.Loss})
		w.mu.Lock()
		w.slow[way] = clustertest.Path{Latency: time.Duration(st.By)}
		w.mu.Unlock()
	}
	return func() error {
		for _, way := range ways {
			w.hub.ClearPath(way[0], way[1])
			w.mu.Lock()
			delete(w.slow, way)
			w.mu.Unlock()
		}
		return nil
	}, nil
}

// p2pWays cuts a node off from the others, in or both ways; managers hear each other.
func (w *world) p2pWays(m *member, out bool) func() error {
	add := func(n int) {
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, o := range w.others(m) {
			w.p2pCuts[[2]string{o.id, m.id}] += n
			if out {
				w.p2pCuts[[2]string{m.id, o.id}] += n
			}
		}
	}
	add(1)
	return func() error { add(-1); w.peers.meet(); return nil }
}

func (w *world) peerless(_ step, m *member) (func() error, error) { return w.p2pWays(m, true), nil }
func (w *world) behind(_ step, m *member) (func() error, error)   { return w.p2pWays(m, false), nil }

// unfit is the refusal of a handoff to a member that cannot take it now.
var unfit = &fsm.Refusal{Rule: "handoff.unfit"}

// handoff asks for one, and where nothing else is wrong waits for its end. Gossip may take a member that was suspected
// before a heal for dead once more, for a moment, some time after it: then it is refused, and asked for again.
func (w *world) handoff(st step, asked *member) (func() error, error) {
	to := w.who(st.To)
	if asked == nil || !asked.up() || to == nil {
		return nil, nil
	}
	for range 100 {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		id, err := asked.manager.Handoff(ctx, to.id, st.When, "")
		cancel()
		w.note("handoff to %s, asked at %s: operation %d, %v", to.id, asked.id, id, err)
		if !st.Settle || len(w.active) > 0 {
			return nil, nil
		}
		switch {
		case err == nil:
			if again, err := w.ended(asked, id); !again {
				return nil, err
			}
		case errors.Is(err, fsm.ErrBusy):
			return nil, nil // a rolling operation moves production by itself
		case !errors.Is(err, unfit):
			return nil, err
		}
		time.Sleep(100 * time.Millisecond)
	}
	return nil, errors.New("never taken on")
}

// ended waits for a handoff's end, which must be a good one.
func (w *world) ended(asked *member, id uint64) (again bool, err error) {
	for range 1000 {
		s, _ := asked.cluster.View()
		o, ok := s.Operation(id)
		switch {
		case !ok || o.Outcome == fsm.Running:
		case o.Outcome == fsm.Failed && len(o.Steps) == 1 && strings.Contains(o.Reason, "not alive in gossip"):
			return true, nil
		case o.Outcome != fsm.Done || s.Lease.Holder != o.Handoff.To:
			return false, fmt.Errorf("handoff to %s: %s: %s; the holder is %s", o.Handoff.To, o.Outcome, o.Reason, s.Lease.Holder)
		default:
			return false, nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return false, fmt.Errorf("operation %d did not end", id)
}

func (w *world) transferLeadership(st step, _ *member) (func() error, error) {
	to := w.who(st.To)
	if to == nil || !to.up() {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err := to.cluster.TransferLeadership(ctx, to.id)
	if st.Settle && len(w.active) == 0 && !errors.Is(err, cluster.ErrTransfer) { // it may be refused or lost, in an election that nobody wins at first
		return nil, err
	}
	return nil, nil
}

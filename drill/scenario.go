package drill

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// scenario is something that is done to a cluster again and again. act does it and undoes it; what follows is the
// cluster's to settle.
type scenario struct {
	name  string
	says  string         // in the command's help
	needs func(*Options) // what its sandbox must have
	act   func(d *drill, ctx context.Context) (Event, error)
	// harmless is what must not move production: where it does, that is a false failover.
	harmless bool
	planned  bool   // it may come at any moment
	free     bool   // it must cost nothing
	ours     string // why the usual ways of doing the job are not hit by it; "" where they are
}

var scenarios = []scenario{
	{name: "handoff", says: "hand production to another member", act: (*drill).handoff, planned: true, free: true},
	on("kill-holder", "SIGKILL the holder, manager and node", killBoth, (*drill).holder),
	on("kill-manager", "SIGKILL the holder's manager", killManager, (*drill).holder),
	on("kill-node", "SIGKILL the holder's node", killNode, (*drill).holder),
	costless(harmless(on("kill-leader", "SIGKILL the raft leader, which is not the holder", killBoth, (*drill).leader))),
	on("freeze-manager", "SIGSTOP the holder's manager for 0.1 to 60 s", freezeManager, (*drill).holder),
	on("freeze-node", "SIGSTOP the holder's node for 0.1 to 60 s", freezeNode, (*drill).holder),
	on("freeze-holder", "SIGSTOP the holder, manager and node, for 0.1 to 60 s", freezeBoth, (*drill).holder),
	on("partition", "cut the holder off: raft, gossip and p2p, both ways", partition, (*drill).holder),
	on("partition-oneway", "cut one direction of the holder's links", oneway, (*drill).holder),
	oursAlone(on("disk-stall", "the holder's disk takes no write", diskStall, (*drill).holder), "what the drill stalls is our raft log"),
	on("clock-step", "the clock of the holder, manager and node, steps by up to 20 s", clockStep, (*drill).holder),
	oursAlone(on("signer-slow", "the holder's key answers late, or not at all", signerSlow, (*drill).holder), "nodeos itself has the key there"),
	{name: "rolling-restart", says: "restart every member, one after the other, each holder after a handoff", act: (*drill).rolling, planned: true, free: true},
	{name: "restart", says: "restart every node by one rolling operation", act: (*drill).restart, planned: true, free: true, ours: noOperations},
	{name: "upgrade", says: "bring every node to another version, and back in the next run, by one rolling operation", needs: versions, act: (*drill).upgrade, planned: true, free: true, ours: noOperations},
	{name: "backup", says: "have a standby make a backup of each kind: a chain snapshot, and the data of a node that is stopped for it", act: (*drill).backup, harmless: true, planned: true, free: true, ours: noOperations},
	{name: "restore", says: "have a backup of one kind made, and restored to a standby's node", act: (*drill).restore, harmless: true, planned: true, free: true, ours: noOperations},
	harmless(on("load", "keep every core busy; see --length", busy, (*drill).holder)),
	{name: "mix", says: "faults of all kinds on any member, also two at once, also during a handoff", needs: needsOf(faults), act: (*drill).mix},
}

const noOperations = "they have no such operation"

// versions are what an upgrade needs.
func versions(o *Options) { o.Versions = true }

// Scenarios lists what Run knows.
func Scenarios() []string {
	names := make([]string, len(scenarios))
	for i, s := range scenarios {
		names[i] = s.name
	}
	return names
}

// Describe says a line about each scenario.
func Describe() string {
	var b strings.Builder
	for _, s := range scenarios {
		fmt.Fprintf(&b, "  %-17s %s\n", s.name, s.says)
	}
	return b.String()
}

func scenarioOf(name string) (scenario, error) {
	i := slices.IndexFunc(scenarios, func(s scenario) bool { return s.name == name })
	if i < 0 {
		return scenario{}, fmt.Errorf("drill: no scenario %q: there are %s", name, strings.Join(Scenarios(), ", "))
	}
	return scenarios[i], nil
}

func harmless(s scenario) scenario {
	s.harmless = true
	return s
}

func costless(s scenario) scenario {
	s.free = true
	return s
}

func oursAlone(s scenario, why string) scenario {
	s.ours = why
	return s
}

// victim chooses who is hit, and sees to it that there is such a member.
type victim func(d *drill, ctx context.Context) (*Member, error)

// holder is who produces.
func (d *drill) holder(ctx context.Context) (*Member, error) {
	v, err := d.look(ctx)
	if err != nil {
		return nil, err
	}
	return d.Member(v.Holder)
}

// leader is the raft leader, after a handoff if that is the holder. A system without raft has somebody else than the
// holder.
func (d *drill) leader(ctx context.Context) (*Member, error) {
	v, err := d.look(ctx)
	if err != nil {
		return nil, err
	}
	if v.Leader == "" {
		return d.other(v.Holder), nil
	}
	if v.Leader == v.Holder && d.system == (ours{}) { // with "leader signs" they are one
		if err := d.Handoff(ctx, d.Members[0], d.other(v.Holder).ID); err != nil {
			return nil, err
		}
		if err := d.settle(ctx); err != nil {
			return nil, err
		}
		if v, err = d.look(ctx); err != nil {
			return nil, err
		}
		if v.Leader == v.Holder {
			return nil, errors.New("drill: the raft leader is the holder again")
		}
	}
	return d.Member(v.Leader)
}

// on is the scenario of one fault on one kind of member.
func on(name, says string, f fault, who victim) scenario {
	return scenario{name: name, says: says, needs: f.needs, act: func(d *drill, ctx context.Context) (Event, error) {
		m, err := who(d, ctx)
		if err != nil {
			return Event{What: name}, err
		}
		return d.suffer(ctx, f, m)
	}}
}

// suffer does a fault to a member for its time and undoes it.
func (d *drill) suffer(ctx context.Context, f fault, m *Member) (e Event, err error) {
	hurt := f.draw(d.rand)
	length := d.logUniform(f.least, f.most)
	if d.length != nil {
		length = d.length(length)
	}
	d.lasting = length
	e = Event{What: hurt.says(f.name) + " of " + m.ID, From: m.ID, At: time.Now()}
	if f.mends {
		length = 0
	} else {
		e.What += " for " + length.Round(time.Millisecond).String()
	}
	if v, err := d.look(ctx); err == nil {
		e.From = v.Holder
	}
	e.At = time.Now()
	e.FirstSlot = slotAt(e.At)
	if err := hurt.do(d, ctx, m); errors.Is(err, ErrNoTarget) {
		e.What += ", which came to nothing"
	} else if err != nil {
		return e, fmt.Errorf("%s: %w", f.name, err)
	}
	waited := d.watch(ctx, length)
	e.HealedAt = time.Now()
	if err := hurt.undo(d, context.WithoutCancel(ctx), m); err != nil {
		return e, fmt.Errorf("%s undone: %w", f.name, err)
	}
	e.Took = time.Since(e.At)
	return e, waited
}

// logUniform draws a time so that each order of magnitude is as likely as the next.
func (d *drill) logUniform(least, most time.Duration) time.Duration {
	return time.Duration(float64(least) * math.Pow(float64(most)/float64(least), d.rand.Float64()))
}

// handoff hands production to another member.
func (d *drill) handoff(ctx context.Context) (Event, error) {
	v, err := d.look(ctx)
	if err != nil {
		return Event{What: "handoff"}, err
	}
	// Any member takes the request.
	return d.handTo(ctx, d.Members[d.rand.IntN(len(d.Members))], v.Holder, d.other(v.Holder).ID)
}

// handTo hands production over and watches a few slots more.
func (d *drill) handTo(ctx context.Context, ask *Member, from, to string) (Event, error) {
	e := Event{What: "handoff to " + to, From: from, To: to, At: time.Now()}
	e.FirstSlot = slotAt(e.At)
	err := d.Handoff(ctx, ask, to)
	e.Took = time.Since(e.At)
	if err == nil {
		err = wait(ctx, after*500*time.Millisecond)
	}
	e.LastSlot = slotAt(time.Now())
	return e, err
}

// Handoff asks a member for a handoff and waits for its outcome.
func (s *Sandbox) Handoff(ctx context.Context, ask *Member, to string) error {
	limit := handoffTime
	if s.gapped() {
		limit += time.Duration(12*s.opts.Producers) * 500 * time.Millisecond // it waits for the gap
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return s.system.handoff(ctx, s, ask, to)
}

// rolling restarts every member, as an operator does it: standbys first, then production moves, then the old holder.
func (d *drill) rolling(ctx context.Context) (Event, error) {
	v, err := d.look(ctx)
	if err != nil {
		return Event{What: "rolling restart"}, err
	}
	e := Event{What: "rolling restart", From: v.Holder, At: time.Now()}
	e.FirstSlot = slotAt(e.At)
	list := slices.DeleteFunc(slices.Clone(d.Members), func(m *Member) bool { return m.ID == v.Holder })
	last, err := d.Member(v.Holder)
	if err != nil {
		return e, err
	}
	for _, m := range append(list, last) {
		if m == last {
			if err := d.Handoff(ctx, list[0], list[d.rand.IntN(len(list))].ID); err != nil {
				return e, fmt.Errorf("handoff: %w", err)
			}
		}
		stop, cancel := context.WithTimeout(ctx, closeTime)
		err := d.StopManager(stop, m)
		cancel()
		if err != nil {
			return e, fmt.Errorf("stop %s: %w", m.ID, err)
		}
		if err := d.StartMember(m); err != nil {
			return e, err
		}
		if err := d.settle(ctx); err != nil {
			return e, fmt.Errorf("%s is back: %w", m.ID, err)
		}
	}
	e.Took = time.Since(e.At)
	return e, nil
}

// mix draws one or two faults for any members, and sometimes a handoff meanwhile, which may fail.
func (d *drill) mix(ctx context.Context) (Event, error) {
	v, err := d.look(ctx)
	if err != nil {
		return Event{What: "mix"}, err
	}
	target := d.Members[d.rand.IntN(len(d.Members))]
	if m, err := d.Member(v.Holder); err == nil && d.rand.IntN(2) == 0 { // the holder is the one that matters
		target = m
	}
	if d.rand.IntN(4) == 0 { // a request that may be refused or lost
		ask, to := d.Members[d.rand.IntN(len(d.Members))], d.other(v.Holder).ID
		lead := time.Duration(d.rand.IntN(1200)) * time.Millisecond
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = d.Handoff(ctx, ask, to)
		}()
		defer func() { <-done }()
		if err := wait(ctx, lead); err != nil {
			return Event{What: "mix"}, err
		}
	}
	list := slices.DeleteFunc(slices.Clone(faults), func(f fault) bool { return f.standIn && !d.simulated() || f.within && d.opts.Secure })
	first := list[d.rand.IntN(len(list))]
	if d.rand.IntN(3) > 0 {
		return d.suffer(ctx, first, target)
	}
	return d.sufferTwo(ctx, first, target, list[d.rand.IntN(len(list))], d.Members[d.rand.IntN(len(d.Members))])
}

// sufferTwo does a fault while another one lasts.
func (d *drill) sufferTwo(ctx context.Context, f fault, m *Member, g fault, n *Member) (Event, error) {
	hurt := g.draw(d.rand)
	overlap := d.logUniform(100*time.Millisecond, 4*time.Second) // short: no bound is needed
	if m == n && f.name == g.name {
		return d.suffer(ctx, f, m)
	}
	at, slot := time.Now(), slotAt(time.Now())
	d.lasting = overlap
	if err := hurt.do(d, ctx, n); err != nil && !errors.Is(err, ErrNoTarget) {
		return Event{What: g.name, At: at, FirstSlot: slot}, err
	}
	err := wait(ctx, overlap)
	e := Event{}
	if err == nil {
		e, err = d.suffer(ctx, f, m)
	}
	e.What = fmt.Sprintf("%s of %s, then %s", hurt.says(g.name), n.ID, e.What)
	e.At, e.FirstSlot, e.HealedAt = at, slot, time.Now()
	return e, errors.Join(err, hurt.undo(d, context.WithoutCancel(ctx), n))
}

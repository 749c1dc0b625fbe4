package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"roundtable/fsm"
	"roundtable/logkey"
	"roundtable/pulse"
)

const (
	membershipEvery = 500 * time.Millisecond
	stableFor       = 1500 * time.Millisecond // a nonvoter must be heard for so long before it gets a vote
	caughtUp        = 128                     // and be no more entries behind than this
	// fewestVoters is what the clean-up never goes below by itself.
	fewestVoters = 3
)

// change is one step of raft's configuration.
type change struct {
	do      changeKind
	id      string
	address string
	reason  string
}

type changeKind string

const (
	addNonvoter changeKind = "add as nonvoter"
	promote     changeKind = "promote to voter"
	demote      changeKind = "demote to nonvoter"
	resign      changeKind = "give the leadership away" // a leader that is to lose its vote: the next one takes it
	readdress   changeKind = "change the address"
	remove      changeKind = "remove"
)

// membershipInput is all that planMembership looks at.
type membershipInput struct {
	self     string
	address  string // ours
	group    string
	servers  []raft.Server
	nodes    map[string]Node      // gossip's, ours not included
	since    map[string]time.Time // since when each has been as it is now, alive or not, as this leader saw it
	removed  map[string]bool      // removed by an operator
	nonvoter map[string]bool      // an operator took their votes
	applied  uint64
	now      time.Time
	dead     time.Duration
	left     time.Duration
}

// planMembership chooses the next change: at most one at a time, each is a committed entry. It never plans a step after
// which the live voters are no quorum, and never removes a voter by itself when fewer than three would remain.
func planMembership(in membershipInput) (change, bool) {
	servers := slices.Clone(in.servers)
	slices.SortFunc(servers, func(a, b raft.Server) int { return compare(a.ID, b.ID) })
	for _, s := range servers {
		if c, ok := in.tend(s, servers); ok {
			return c, true
		}
	}
	ids := make([]string, 0, len(in.nodes))
	for id := range in.nodes {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		n := in.nodes[id]
		if !n.Alive || n.Raft == "" || in.removed[id] || n.Group != "" && n.Group != in.group || holds(servers, id) {
			continue
		}
		if old, ok := at(servers, n.Raft); ok {
			// A new member at the address of an old one, which raft does not allow: the old one must go first.
			if old := string(old.ID); old != in.self && !in.nodes[old].Alive && in.safeWithout(old, 1) {
				return change{remove, old, n.Raft, "its address is " + id + "'s now"}, true
			}
			continue
		}
		return change{addNonvoter, id, n.Raft, "found by gossip"}, true
	}
	return change{}, false
}

// tend plans what is to be done about one server of the configuration.
func (in membershipInput) tend(s raft.Server, servers []raft.Server) (change, bool) {
	id := string(s.ID)
	n, known := in.nodes[id]
	lasted := in.now.Sub(in.since[id])
	switch {
	case id == in.self:
		if _, taken := at(servers, in.address); !taken && in.address != "" {
			return change{readdress, id, in.address, "this member moved, and nobody led who could have said so"}, true
		}
		if s.Suffrage == raft.Voter && in.nonvoter[id] && in.safeWithout(id, 1) {
			return change{resign, id, string(s.Address), "an operator took its vote"}, true
		}
	case in.removed[id]:
		if s.Suffrage != raft.Voter || in.safeWithout(id, 1) {
			return change{remove, id, string(s.Address), "removed by an operator"}, true
		}
	case known && n.Alive && n.Group != "" && n.Group != in.group:
		return change{}, false // a stranger under this name
	case known && n.Alive && n.Raft != "" && n.Raft != string(s.Address):
		if _, taken := at(servers, n.Raft); !taken {
			return change{readdress, id, n.Raft, "it moved"}, true
		}
	case s.Suffrage == raft.Voter && in.nonvoter[id]:
		if in.safeWithout(id, 1) {
			return change{demote, id, string(s.Address), "an operator took its vote"}, true
		}
	case known && n.Alive && s.Suffrage != raft.Voter && !in.nonvoter[id]:
		// One that is filling would be needed for the next election, and give no vote: a leader that is lost now would be the last.
		if lasted >= stableFor && in.now.Sub(n.Seen) < freshFor && n.Applied+caughtUp >= in.applied && n.Group == in.group && !n.Stalled && !n.Filling {
			return change{promote, id, string(s.Address), "caught up"}, true
		}
	case !n.Alive && (lasted >= in.dead || n.Left && lasted >= in.left):
		if s.Suffrage != raft.Voter || in.safeWithout(id, fewestVoters) {
			return change{remove, id, string(s.Address), fmt.Sprintf("unseen for %v", lasted.Round(time.Second))}, true
		}
	}
	return change{}, false
}

// live reports whether a member was heard just now: gossip's own detector takes ten seconds to miss one, in which a vote too
// many could be taken.
func (in membershipInput) live(id string) bool {
	n := in.nodes[id]
	return id == in.self || n.Alive && in.now.Sub(n.Seen) < freshFor
}

// safeWithout reports whether the live voters are a quorum before and after a voter goes, and enough voters remain.
func (in membershipInput) safeWithout(id string, fewest int) bool {
	voters, live, left, liveLeft := 0, 0, 0, 0
	for _, s := range in.servers {
		if s.Suffrage != raft.Voter {
			continue
		}
		alive := in.live(string(s.ID))
		voters++
		if alive {
			live++
		}
		if string(s.ID) != id {
			left++
			if alive {
				liveLeft++
			}
		}
	}
	return left >= fewest && live > voters/2 && liveLeft > left/2
}

func compare(a, b raft.ServerID) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func holds(servers []raft.Server, id string) bool {
	return slices.ContainsFunc(servers, func(s raft.Server) bool { return string(s.ID) == id })
}

func at(servers []raft.Server, address string) (raft.Server, bool) {
	for _, s := range servers {
		if string(s.Address) == address {
			return s, true
		}
	}
	return raft.Server{}, false
}

// removedMembers are those that are banned, and those whose last word in the history is their removal and who have no record:
// gossip does not bring them back. An invite that is used does, or putting a record again; for those that are not banned also the
// history's end (512 lines).
func removedMembers(s *fsm.State) map[string]bool {
	removed := map[string]bool{}
	for _, e := range s.History {
		switch e.Kind {
		case "member.removed":
			removed[e.Subject] = true
		case "member.admitted":
			delete(removed, e.Subject)
		}
	}
	for id := range s.Members {
		delete(removed, id)
	}
	for id := range s.Banned {
		removed[id] = true
	}
	return removed
}

// proof is what an attempt to reach a member at an address said.
type proof struct {
	ok    bool
	tried time.Time
}

// proofs are those of one leadership. Not for several goroutines.
type proofs struct{ of map[string]proof }

// proveAgain is when one that failed is tried again.
const proveAgain = 5 * time.Second

// prove has every manager that gossip brings to an address where raft has nobody or somebody else prove by a certificate that it
// is the one: else raft would be told to talk to whoever kept the key of gossip. One that did not is left without an address.
func (c *Cluster) prove(ctx context.Context, p *proofs, state *fsm.State, servers []raft.Server, nodes map[string]Node) {
	if c.cfg.TLS == nil {
		return // nobody can prove anything: one machine, and who is on it
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	failed := map[string]error{}
	for id, n := range nodes {
		s, listed := c.server(id)
		if !n.Alive || n.Raft == "" || listed && string(s.Address) == n.Raft && s.Suffrage == raft.Voter {
			continue
		}
		key := fmt.Sprint(id, " ", n.Raft, " ", n.Incarnation, " ", state.Admitted(id))
		mu.Lock()
		old := p.of[key]
		mu.Unlock()
		switch {
		case old.ok:
			continue
		case c.cfg.Now().Sub(old.tried) < proveAgain:
			mu.Lock()
			failed[id] = nil
			mu.Unlock()
			continue
		}
		wg.Go(func() {
			_, err := c.groupOf(ctx, id, n.Raft)
			ok := err == nil || errors.Is(err, io.EOF) // a program of version 1 hangs up, once it has shown its certificate
			mu.Lock()
			defer mu.Unlock()
			p.of[key] = proof{ok, c.cfg.Now()}
			if !ok {
				failed[id] = err
			}
		})
	}
	wg.Wait()
	for id, err := range failed {
		n := nodes[id]
		if err != nil && ctx.Err() == nil {
			c.log.Warn("gossip names a manager that does not prove to be it", logkey.Peer, id, "address", n.Raft, logkey.Err, err)
		}
		n.Raft = ""
		nodes[id] = n
	}
	if len(p.of) > maxProofs {
		p.of = map[string]proof{}
	}
}

// maxProofs bounds what strangers can have us remember.
const maxProofs = 256

// nonvoters are the members whose votes an operator took.
func nonvoters(s *fsm.State) map[string]bool {
	list := map[string]bool{}
	for id, m := range s.Members {
		list[id] = m.Nonvoter
	}
	return list
}

// tendMembership runs while this member leads: it keeps raft's configuration in step with who is there.
func (c *Cluster) tendMembership(ctx context.Context, _ time.Time) {
	proofs := proofs{of: map[string]proof{}}
	since := map[string]time.Time{}
	alive := map[string]bool{}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		now := c.cfg.Now()
		nodes := c.gossip.snapshot()
		servers := c.servers()
		for _, id := range append(keys(nodes), ids(servers)...) {
			if _, ok := since[id]; !ok || alive[id] != nodes[id].Alive {
				since[id], alive[id] = now, nodes[id].Alive
			}
		}
		state, _ := c.View()
		c.prove(ctx, &proofs, state, servers, nodes)
		in := membershipInput{
			self: c.cfg.ID, address: c.streams.advertise, group: c.streams.groupID(), servers: servers, nodes: nodes, since: since, removed: removedMembers(state), nonvoter: nonvoters(state),
			applied: c.raft.AppliedIndex(), now: now, dead: c.cfg.DeadAfter, left: c.cfg.LeftAfter,
		}
		if ch, ok := planMembership(in); ok {
			if err := c.changeMembership(ctx, ch); err != nil && ctx.Err() == nil {
				c.log.Warn("membership not changed", "change", ch.do, logkey.Peer, ch.id, logkey.Err, err)
			} else if err == nil {
				c.log.Info("membership changed", "change", ch.do, logkey.Peer, ch.id, "address", ch.address, "reason", ch.reason)
				continue // the next step at once
			}
		}
		timer.Reset(pulse.Next(membershipEvery))
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-c.gossip.changed:
		}
	}
}

func keys(m map[string]Node) []string {
	out := make([]string, 0, len(m))
	for id := range m {
		out = append(out, id)
	}
	return out
}

func ids(servers []raft.Server) []string {
	out := make([]string, 0, len(servers))
	for _, s := range servers {
		out = append(out, string(s.ID))
	}
	return out
}

func (c *Cluster) changeMembership(ctx context.Context, ch change) error {
	id, address := raft.ServerID(ch.id), raft.ServerAddress(ch.address)
	return c.wait(ctx, func() raft.Future {
		switch ch.do {
		case remove:
			return c.raft.RemoveServer(id, 0, 0)
		case promote:
			return c.raft.AddVoter(id, address, 0, 0)
		case demote:
			return c.raft.DemoteVoter(id, 0, 0)
		case resign:
			return c.raft.LeadershipTransfer()
		case readdress:
			if s, ok := c.server(ch.id); ok && s.Suffrage == raft.Voter {
				return c.raft.AddVoter(id, address, 0, 0)
			}
		}
		return c.raft.AddNonvoter(id, address, 0, 0)
	})
}

// Remove takes a member out of the group, for an operator: its record first, then raft's configuration. Gossip does not
// bring it back. Refused where the live voters that remain would be no quorum, or by the state (it holds the lease). On a
// follower it is forwarded to the leader. A leader that is to remove itself gives the leadership away first.
func (c *Cluster) Remove(ctx context.Context, id string) error {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	index, err := c.deliver(ctx, true, func(s *standing) (uint64, error) {
		if s.leading {
			return c.removeHere(ctx, id, Actor(ctx))
		}
		req := request{Op: opRemove, Member: id}
		if state, _ := c.View(); state.EntryVersion() >= 2 { // a leader of version 1 takes no request with what it does not know
			req.Actor = Actor(ctx)
		}
		return c.askLeader(ctx, s, req)
	})
	if err != nil {
		return err
	}
	return c.WaitIndex(ctx, index)
}

// answerTime is how long a member may take to answer a ping.
const answerTime = time.Second

// mayLoseVote reports on the leader that the group would be without a quorum of live voters if a member had no vote; nil for one
// that has none. Gossip is not asked who lives, which takes seconds to miss somebody, but everybody himself.
func (c *Cluster) mayLoseVote(ctx context.Context, id string) error {
	s, ok := c.server(id)
	if !ok || s.Suffrage != raft.Voter {
		return nil
	}
	in := membershipInput{self: c.cfg.ID, servers: c.servers(), nodes: map[string]Node{}, now: c.cfg.Now()}
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	var wg sync.WaitGroup
	var mu sync.Mutex
	for _, o := range c.otherVoters() {
		wg.Go(func() {
			if c.answers(ctx, o) {
				mu.Lock()
				in.nodes[string(o.ID)] = Node{Alive: true, Seen: in.now}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if !in.safeWithout(id, 1) {
		return fmt.Errorf("%w: without %s the live voters are no majority", ErrQuorum, id)
	}
	return nil
}

// removeHere removes a member, on the leader. Repeating it is harmless. While some member is at entry version 1 its id is not
// banned: gossip still does not bring it back.
func (c *Cluster) removeHere(ctx context.Context, id, actor string) (uint64, error) {
	state, _ := c.View()
	_, recorded := state.Members[id]
	s, listed := c.server(id)
	if !recorded && !listed {
		return 0, fmt.Errorf("%w: %s", ErrUnknownMember, id)
	}
	// What is going to be refused changes nothing, not even who leads.
	if err := c.mayLoseVote(ctx, id); err != nil {
		return 0, err
	}
	if o, ok := state.HandoffOf(id); ok {
		return 0, &fsm.Refusal{Rule: fsm.ErrBusy.Rule, Message: fmt.Sprintf("%s: %s %d from %s to %s names the member", fsm.ErrBusy.Message, o.Kind, o.ID, o.Handoff.From, o.Handoff.To), Hint: fsm.ErrBusy.Hint}
	}
	ban := state.EntryVersion() >= 2
	entry := fsm.Entry{Index: state.Index + 1, At: c.cfg.Now().UnixMilli(), By: c.cfg.ID, Actor: actor, Command: fsm.RemoveMember{ID: id, Ban: ban}}
	if _, tried := state.Apply(entry); recorded && tried.Err != nil {
		return 0, tried.Err
	}
	if id == c.cfg.ID {
		if err := c.transferHere(ctx, ""); err != nil {
			return 0, err
		}
		return 0, notAppended(errNotLeading) // the next try goes to the new leader
	}
	var index uint64
	if recorded || ban && state.Banned[id] == 0 {
		var err error
		index, err = c.appendEntry(ctx, entry)
		if err != nil && !errors.Is(err, fsm.ErrMember) {
			return 0, err
		}
	}
	if listed {
		if err := c.wait(ctx, func() raft.Future { return c.raft.RemoveServer(s.ID, 0, 0) }); err != nil {
			return 0, unknownOutcome(err)
		}
	}
	c.gossip.forget(id)
	return index, nil
}

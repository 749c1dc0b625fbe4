package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"roundtable/logkey"
)

// A voter that lost its raft folder has forgotten what it acknowledged and whom it voted for; raft takes it for a member that
// never forgets. If it voted at once, two members that lack an entry could be a majority, and what was committed would be gone,
// with the lease in it. So a member that starts without a raft state is filling until it has regained all of it:
//
//  1. It takes entries from no leader that has not committed an entry without it. That one's majority has met every majority
//     with this member in it, so no later leader was elected with its forgotten vote: what was committed with its forgotten
//     acknowledgements is in that leader's log. A leader that was cut off or frozen meanwhile cannot show this.
//  2. It votes for nobody and is no candidate, until its own record with this process's incarnation is applied here. That entry
//     was appended after the loss, by such a leader; all that was committed before the loss is before it in the log.
//
// docs/decisions/0011-founding-and-filling.md has the argument. A new member is in the same case, and the steps cost it
// some milliseconds.

// fillingKey holds something in the stable store while the member is filling. It outlives restarts.
var fillingKey = []byte("roundtable/filling")

// never is the heartbeat timeout of a member that must not be a candidate.
const never = 100_000 * time.Hour

var errFilling = errors.New("this member has lost its log and has not regained it yet")

// markFilling begins it, durably, before anything is taken from anybody.
func (c *Cluster) markFilling() error {
	if err := c.stores.Stable.Set(fillingKey, []byte(c.cfg.Incarnation+"\n")); err != nil {
		return fmt.Errorf("cluster: note that there is no log yet: %w", err)
	}
	c.filling.Store(true)
	return nil
}

// fill ends it when the member's record of this process is applied here.
func (c *Cluster) fill() {
	for c.filling.Load() {
		s, changed := c.View()
		if m, ok := s.Members[c.cfg.ID]; ok && m.Incarnation == c.cfg.Incarnation {
			err := c.stores.Stable.Set(fillingKey, nil)
			if err == nil {
				err = c.mayVote()
			}
			if err == nil {
				c.log.Info("this member has all of the log and may vote", "index", s.Index)
				return
			}
			c.log.Error("this member does not vote yet", logkey.Err, err)
		}
		select {
		case <-c.ctx.Done():
			return
		case <-changed:
		}
	}
}

// mayVote lets raft vote and be a candidate from now on.
func (c *Cluster) mayVote() error {
	c.filling.Store(false)
	r := c.raft.ReloadableConfig()
	r.HeartbeatTimeout, r.ElectionTimeout = c.cfg.Heartbeat, c.cfg.Election
	if err := c.raft.ReloadConfig(r); err != nil {
		return fmt.Errorf("cluster: raft's timeouts: %w", err)
	}
	return nil
}

// credible refuses raft's streams of a member that has not shown that it leads without this one's help. Once raft has a term, it
// is one of such a leader, and raft itself refuses older ones.
func (c *Cluster) credible(leader string) error {
	if !c.filling.Load() || c.raft.CurrentTerm() > 0 {
		return nil
	}
	select {
	case c.proving <- struct{}{}:
		defer func() { <-c.proving }()
	case <-c.streams.ctx.Done():
		return ErrClosed
	}
	if c.proven == leader {
		return nil
	}
	n, ok := c.gossip.node(leader)
	if !ok || n.Raft == "" {
		return fmt.Errorf("%w; gossip does not know yet where %s is", errFilling, leader)
	}
	ctx, cancel := context.WithTimeout(c.streams.ctx, answerTime)
	defer cancel()
	p, err := c.forwarding.to(ctx, leader, n.Raft)
	if err != nil {
		return fmt.Errorf("%w; %s is not reached: %w", errFilling, leader, err)
	}
	resp, err := p.do(ctx, request{Op: opBarrier, LimitMs: answerTime.Milliseconds()})
	if err == nil && (resp.Code != "" || resp.Refusal != nil) {
		err = errors.New(resp.Text)
	}
	if err != nil {
		return fmt.Errorf("%w; %s commits nothing without it: %w", errFilling, leader, err)
	}
	c.proven = leader
	return nil
}

// Consumer implements raft.Transport: a filling member's answers to votes are given here.
func (t *transport) Consumer() <-chan raft.RPC {
	in := t.NetworkTransport.Consumer()
	if !t.filling() {
		return in
	}
	out := make(chan raft.RPC)
	t.inflight.Go(func() {
		for {
			select {
			case rpc := <-in:
				if t.deny(rpc) {
					continue
				}
				select {
				case out <- rpc:
				case <-t.stop:
					return
				}
			case <-t.stop:
				return
			}
		}
	})
	return out
}

// deny answers what a filling member must not do, and reports whether it has.
func (t *transport) deny(rpc raft.RPC) bool {
	if !t.filling() {
		return false
	}
	switch req := rpc.Command.(type) {
	case *raft.RequestVoteRequest:
		rpc.Respond(&raft.RequestVoteResponse{RPCHeader: t.self, Term: req.Term}, nil)
	case *raft.RequestPreVoteRequest:
		rpc.Respond(&raft.RequestPreVoteResponse{RPCHeader: t.self, Term: req.Term}, nil)
	case *raft.TimeoutNowRequest: // it would be a candidate at once
		rpc.Respond(nil, errFilling)
	default:
		return false
	}
	return true
}

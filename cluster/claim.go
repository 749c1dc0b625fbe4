package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"roundtable/fsm"
	"roundtable/logkey"
)

// A claim is what gossip says of a manager: that it is in another group than ours. Whoever has the key of gossip can say that
// under any name, and a member that was removed still has it: so nothing follows from a claim but that we ask.
type claim struct {
	id, group string
	raft      string // its raft address, as it says
}

const (
	claimEvery = time.Second      // one and the same member's claim is looked at so often
	claimAlarm = 10 * time.Minute // and is an alarm so often
	// claimPatience is how long a member that was one of our group in this process's life must be away from it, and prove to be
	// in the other one meanwhile: a copy of its home may run somewhere just while it is restarted.
	claimPatience = 30 * time.Second
)

// claimed is what this member found about the claims of one other member.
type claimed struct {
	looked, said, alarmed time.Time
	since                 time.Time // since when each look confirmed it; zero: the last one did not
}

// yield ends this process when a group took the place of ours by a recovery: a lost majority that was declared dead, and comes
// back, would go on granting leases. A member of ours must prove that it is in that group. It is no fence (what it is not told it
// cannot know); the operator's word that the lost members' nodes are off is.
func (c *Cluster) yield() {
	claims := map[string]*claimed{} // of members of ours; everybody else is one
	for {
		select {
		case <-c.ctx.Done():
			return
		case cl := <-c.gossip.claims:
			key := cl.id
			if !c.member(key) {
				key = ""
			}
			if claims[key] == nil {
				claims[key] = &claimed{}
			}
			if c.consider(cl, claims[key]) {
				return
			}
		}
	}
}

// consider looks at a claim; true if it ended this process.
func (c *Cluster) consider(cl claim, found *claimed) bool {
	now, ours := time.Now(), c.streams.groupID()
	if now.Sub(found.looked) < claimEvery {
		return false
	}
	found.looked = now
	if supersedes(ours, cl.group) {
		if now.Sub(found.said) >= claimAlarm {
			found.said = now
			c.log.Warn("a manager of the group before the recovery runs: stop it and empty its raft folder, then it may join again", logkey.Peer, cl.id, "group", cl.group)
		}
		return false
	}
	if !supersedes(cl.group, ours) {
		return false
	}
	group, err := c.verify(c.ctx, cl)
	if c.ctx.Err() != nil {
		return true
	}
	if err == nil {
		if found.since.IsZero() {
			found.since = now
		}
		if !c.streams.spoke(cl.id) || now.Sub(found.since) >= claimPatience {
			c.fatal(fmt.Errorf("%w: its group is %s now, as %s proves, and this member's is %s (hint: stop this manager, empty its raft folder %s and start it: it joins again)", ErrSuperseded, group, cl.id, ours, c.cfg.Dir))
			return true
		}
		return false
	}
	found.since = time.Time{}
	if now.Sub(found.alarmed) >= claimAlarm {
		found.alarmed = now
		c.log.Error("somebody says in gossip that the cluster was recovered without this member, and that is not so", logkey.Peer, cl.id, "address", cl.raft, "group", cl.group, logkey.Err, err)
		c.wg.Go(func() {
			c.raise(cl.id, fmt.Sprintf("it says at %s that the cluster was recovered, and is not believed: %v", cl.raft, err), now)
		})
	}
	return false
}

// verify asks whether a claim is true: nil if a member of ours proved over a stream of its own that it is in a group that took
// the place of ours, and it is not at the same time in ours. Else a home of ours was copied and recovered somewhere, or it is
// no member.
func (c *Cluster) verify(ctx context.Context, cl claim) (group string, err error) {
	if !c.member(cl.id) || c.banned(cl.id) {
		return "", errors.New("it is no member")
	}
	if group, err = c.groupOf(ctx, cl.id, cl.raft); err != nil {
		return "", fmt.Errorf("it does not prove to be that member: %w", err)
	}
	if ours := c.streams.groupID(); !supersedes(group, ours) {
		return "", fmt.Errorf("the member there is in the group %s", group)
	}
	for _, address := range c.addressesOf(cl.id) {
		if address == cl.raft {
			continue
		}
		if g, err := c.groupOf(ctx, cl.id, address); err == nil && g == c.streams.groupID() {
			return "", fmt.Errorf("a copy of its home was recovered: the member itself is at %s", address)
		}
	}
	return group, nil
}

// addressesOf are those that the log has of a member.
func (c *Cluster) addressesOf(id string) []string {
	var list []string
	if s, ok := c.server(id); ok {
		list = append(list, string(s.Address))
	}
	state, _ := c.View()
	if m, ok := state.Members[id]; ok && m.Raft != "" && (len(list) == 0 || list[0] != m.Raft) {
		list = append(list, m.Raft)
	}
	return list
}

// groupOf asks a member at an address in which group it is. With TLS it has proven then that it is that member.
func (c *Cluster) groupOf(ctx context.Context, id, address string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	conn, err := c.streams.dial(ctx, kindGroup, address, id)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	_ = conn.SetReadDeadline(deadline)
	return readName(conn)
}

// raise puts an alarm into the history; the other members, which see the same, do not put it there again.
func (c *Cluster) raise(subject, text string, now time.Time) {
	ctx, cancel := context.WithTimeout(c.ctx, proposeTimeout)
	defer cancel()
	key := fmt.Sprintf("superseded-%d", now.UnixMilli()/claimAlarm.Milliseconds())
	if _, err := c.Propose(ctx, fsm.RaiseAlarm{Name: "superseded", Subject: subject, Text: text}, WithKey(key)); err != nil && c.ctx.Err() == nil {
		c.log.Warn("an alarm is not in the history", "alarm", "superseded", logkey.Err, err)
	}
}

package cluster

import (
	"fmt"

	"github.com/hashicorp/raft"
)

// Members are known by id and move between addresses. Raft's configuration has an address for each, which the leader keeps up
// to date (membership.go); but where so many moved at once that there is no leader, nobody could do that. So raft is told
// where a member is now by gossip, and the configuration's address is the fallback. Whoever is dialed has to prove its id.

// whereabouts tells raft's transport where a member is now.
type whereabouts struct{ *Cluster }

// ServerAddr implements raft.ServerAddressProvider. Raft calls it from many goroutines.
func (c whereabouts) ServerAddr(id raft.ServerID) (raft.ServerAddress, error) {
	if string(id) == c.cfg.ID {
		return raft.ServerAddress(c.streams.advertise), nil
	}
	if addr := c.heardAt(string(id)); addr != "" {
		return raft.ServerAddress(addr), nil
	}
	if s, ok := c.server(string(id)); ok {
		return s.Address, nil
	}
	return "", fmt.Errorf("%w: %s", ErrUnknownMember, id)
}

// heardAt is the raft address that a live member of our group has by gossip; "" if it was not heard.
func (c *Cluster) heardAt(id string) string {
	g := c.talking.Load()
	if g == nil {
		return "" // raft was opened before gossip
	}
	if n, ok := g.node(id); ok && n.Alive && n.Group == c.streams.groupID() {
		return n.Raft
	}
	return ""
}

// idOf finds the member behind a raft address, for the dialer to insist on; "" where none is known. Where gossip and the
// configuration name two, it is gossip's: the other one moved away, or is about to be dialed elsewhere.
func (c *Cluster) idOf(address string) string {
	node := c.transport.node.Load()
	if node == nil {
		return ""
	}
	servers := node.GetConfiguration().Configuration().Servers
	for _, s := range servers {
		if c.heardAt(string(s.ID)) == address {
			return string(s.ID)
		}
	}
	s, _ := at(servers, address)
	return string(s.ID)
}

// settled is the address that raft's configuration has of a member; "" where it has none.
func (c *Cluster) settled(id string) string {
	node := c.transport.node.Load()
	if node == nil || id == "" {
		return ""
	}
	for _, s := range node.GetConfiguration().Configuration().Servers {
		if string(s.ID) == id {
			return string(s.Address)
		}
	}
	return ""
}

// member reports whether a manager is in the state or in raft's configuration.
func (c *Cluster) member(id string) bool {
	if _, ok := c.machine.view.Load().state.Members[id]; ok {
		return true
	}
	_, ok := c.server(id)
	return ok
}

// evict ends the streams of members that an operator removes, and those that were opened before their member was let in anew:
// they are of the machine that had the id before.
func (c *Cluster) evict() {
	for {
		s, changed := c.View()
		c.streams.evict(func(p peer) bool {
			_, banned := s.Banned[p.id]
			return banned || p.admitted < s.Admitted(p.id)
		})
		select {
		case <-c.ctx.Done():
			return
		case <-changed:
		}
	}
}

// admitted is when a member was let in by an invite, for all that is applied here.
func (c *Cluster) admitted(id string) int64 { return c.machine.view.Load().state.Admitted(id) }

// banned reports whether an operator removed a member, and no invite of it was used since.
func (c *Cluster) banned(id string) bool {
	_, banned := c.machine.view.Load().state.Banned[id]
	return banned
}

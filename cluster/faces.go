package cluster

import (
	"encoding/json"
	"time"

	"github.com/hashicorp/memberlist"
)

// The faces that memberlist calls, from its own goroutines; none may block.
type (
	delegate struct{ *gossip }
	events   struct{ *gossip }
	pings    struct{ *gossip }
	doorman  struct{ *gossip }
)

// NotifyAlive implements memberlist.AliveDelegate: a manager that an operator removed is not let in again.
func (d doorman) NotifyAlive(n *memberlist.Node) error {
	if d.banned(n.Name) {
		return errBanned
	}
	return nil
}

// NodeMeta implements memberlist.Delegate.
func (d delegate) NodeMeta(limit int) []byte {
	b, err := json.Marshal(d.local())
	if err != nil || len(b) > limit {
		d.log.Error("addresses too long for gossip", "bytes", len(b), "limit", limit)
		return nil
	}
	return b
}

// NotifyMsg implements memberlist.Delegate.
func (d delegate) NotifyMsg(b []byte) { d.heard(b) }

// GetBroadcasts implements memberlist.Delegate: beats go to each member directly.
func (delegate) GetBroadcasts(int, int) [][]byte { return nil }

// LocalState implements memberlist.Delegate.
func (delegate) LocalState(bool) []byte { return nil }

// MergeRemoteState implements memberlist.Delegate.
func (delegate) MergeRemoteState([]byte, bool) {}

// NotifyJoin implements memberlist.EventDelegate.
func (e events) NotifyJoin(n *memberlist.Node) { e.saw(n, true) }

// NotifyLeave implements memberlist.EventDelegate.
func (e events) NotifyLeave(n *memberlist.Node) { e.saw(n, false) }

// NotifyUpdate implements memberlist.EventDelegate.
func (e events) NotifyUpdate(n *memberlist.Node) { e.saw(n, true) }

// AckPayload implements memberlist.PingDelegate.
func (pings) AckPayload() []byte { return nil }

// NotifyPingComplete implements memberlist.PingDelegate. A round trip that took longer than a probe should measured how long a
// process was stopped: taken for the way, it would put the other clock ahead by half of it (health.Peer.Offset).
func (p pings) NotifyPingComplete(n *memberlist.Node, rtt time.Duration, _ []byte) {
	if rtt > probeTimeout {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	peer := p.peers[n.Name]
	peer.RTT = rtt
	p.peers[n.Name] = peer
	p.looked = nil
}

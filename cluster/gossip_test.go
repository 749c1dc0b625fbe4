package cluster

import (
	"testing"
	"time"

	"github.com/hashicorp/memberlist"

	"roundtable/cluster/health"
)

// TestAStallIsNoRoundTrip: a ping that a stopped process answered late says nothing of the way, nor of the clock.
func TestAStallIsNoRoundTrip(t *testing.T) {
	p := pings{&gossip{peers: map[string]health.Peer{}}}
	for _, rtt := range []time.Duration{40 * time.Millisecond, 1700 * time.Millisecond} {
		p.NotifyPingComplete(&memberlist.Node{Name: "b"}, rtt, nil)
	}
	if got := p.peers["b"].RTT; got != 40*time.Millisecond {
		t.Errorf("round trip %v", got)
	}
}

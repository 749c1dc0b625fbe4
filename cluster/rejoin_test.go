package cluster

import (
	"net"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
)

// TestWhoIsMissing: the founder joins nobody, so those that found each other first must go on looking for it. A configured
// address that answers and belongs to nobody by name is left alone for a while.
func TestWhoIsMissing(t *testing.T) {
	self := memberlist.Node{Name: "m2", Addr: net.ParseIP("10.0.0.2"), Port: 9060}
	g := &gossip{
		id: "m2", cfg: Config{Join: []string{"m1:9060", "m2:9060", "m3:9060", "10.0.0.2:9060"}, GossipAdvertise: "m2:9060"},
		nodes: map[string]*Node{}, live: map[string]memberlist.Node{"m2": self},
	}
	answered := map[string]time.Time{}
	want := func(when string, list ...string) {
		t.Helper()
		if got := g.missing(answered); !slices.Equal(got, list) {
			t.Errorf("%s: %q, want %q", when, got, list)
		}
	}
	want("alone", "m1:9060", "m3:9060")

	g.nodes["m3"] = &Node{ID: "m3", Gossip: "m3:9060", Alive: true}
	g.live["m3"] = memberlist.Node{Name: "m3", Addr: net.ParseIP("10.0.0.3"), Port: 9060}
	want("m3 is found", "m1:9060")

	answered["m1:9060"] = time.Now()
	want("m1 answered, and goes by another name")
	answered["m1:9060"] = time.Now().Add(-2 * answeredFor)
	want("that was long ago", "m1:9060")

	g.nodes["m1"] = &Node{ID: "m1", Gossip: "m1:9060", Alive: true}
	g.live["m1"] = memberlist.Node{Name: "m1", Addr: net.ParseIP("10.0.0.1"), Port: 9060}
	want("all are found")

	g.nodes["m3"].Alive = false
	delete(g.live, "m3")
	want("m3 is gone", "m3:9060")

	g.recalled = map[string]string{"m4": "m4:9060", "m1": "m1:9060"}
	want("m4 was known before the restart", "m3:9060", "m4:9060")
}

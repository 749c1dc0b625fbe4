package cluster

import (
	"encoding/json"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"

	"roundtable/chain"
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

// TestViewIsTrueWhenAsked: a look is kept while it is true, and no longer.
func TestViewIsTrueWhenAsked(t *testing.T) {
	now := time.UnixMilli(1)
	g := &gossip{
		id: "a", cfg: Config{ID: "a", Now: func() time.Time { return now }}, log: slog.New(slog.DiscardHandler),
		banned: func(string) bool { return false }, member: func(string) bool { return true }, local: func() meta { return meta{} },
		nodes: map[string]*Node{}, live: map[string]memberlist.Node{}, peers: map[string]health.Peer{},
		changed: make(chan struct{}, 1), moved: make(chan struct{}, 1), publish: make(chan struct{}, 1),
	}
	say := func(head uint32) {
		msg, err := json.Marshal(beat{ID: "b", Report: &health.Report{Head: chain.Block{Num: head}}})
		if err != nil {
			t.Fatal(err)
		}
		g.heard(msg)
	}
	expect := func(what string, alive bool, head uint32, rtt time.Duration) {
		t.Helper()
		for range 2 {
			if p := g.view()["b"]; p.Alive != alive || p.Report.Head.Num != head || p.RTT != rtt {
				t.Errorf("%s: %+v", what, p)
			}
		}
	}
	b := &memberlist.Node{Name: "b", Meta: []byte("{}")}
	expect("unknown", false, 0, 0)
	g.saw(b, true)
	if _, ok := g.view()["b"]; !ok {
		t.Error("introduced, and not seen")
	}
	say(1)
	expect("heard", true, 1, 0)
	now = now.Add(freshFor / 2)
	g.setReport(health.Report{Head: chain.Block{Num: 7}})
	if got := g.view()["a"].Report.Head.Num; got != 7 {
		t.Errorf("our own report: head %d", got)
	}
	say(2)
	expect("heard again", true, 2, 0)
	pings{g}.NotifyPingComplete(b, time.Millisecond, nil)
	expect("measured", true, 2, time.Millisecond)
	now = now.Add(freshFor - 1)
	expect("just fresh", true, 2, time.Millisecond)
	now = now.Add(1)
	expect("stale", false, 2, time.Millisecond)
	say(3)
	expect("back", true, 3, time.Millisecond)
	g.saw(b, false)
	expect("gone", false, 3, time.Millisecond)
}

// TestWhereAManagerIsFoundLater: a member that is known by a name is looked for by it, whatever its address was.
func TestWhereAManagerIsFoundLater(t *testing.T) {
	n := &memberlist.Node{Addr: net.ParseIP("10.0.0.7"), Port: 9060}
	for raft, want := range map[string]string{
		"m2.example.org:9070": "m2.example.org:9060", "10.0.0.7:9070": "10.0.0.7:9060", "[fd00::1]:9070": "10.0.0.7:9060", "": "10.0.0.7:9060", ":9070": "10.0.0.7:9060",
	} {
		if got := lastingAddress(n, raft); got != want {
			t.Errorf("%q: %s, want %s", raft, got, want)
		}
	}
}

package cluster

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestPlanFound: only who hears all others, and a group of none of them, founds one.
func TestPlanFound(t *testing.T) {
	now := time.Unix(1000, 0)
	heard := func(change func(*Node)) Node {
		n := Node{Alive: true, Seen: now}
		change(&n)
		return n
	}
	fresh := heard(func(*Node) {})
	for _, c := range []struct {
		name    string
		unheard []string
		m1, m3  Node
		want    founding
		why     string
	}{
		{"all are heard", nil, fresh, fresh, foundNow, "m1, m3"},
		{"an address is silent", []string{"m4:9060"}, fresh, fresh, waitOn, "m4:9060"},
		{"one has a group", nil, fresh, heard(func(n *Node) { n.Group = "g/m3" }), giveUp, "m3 is in the group g/m3"},
		{"one has a group, and another is silent", []string{"m1:9060"}, fresh, heard(func(n *Node) { n.Group = "g/m3" }), giveUp, "m3 is in the group g/m3"},
		{"one had a group, and is gone", nil, fresh, Node{Group: "g/m3"}, giveUp, "m3 is in the group g/m3"},
		{"one is gone", nil, fresh, heard(func(n *Node) { n.Alive = false }), waitOn, "m3 is silent"},
		{"one said nothing of late", nil, fresh, heard(func(n *Node) { n.Seen = now.Add(-freshFor) }), waitOn, "m3 is silent"},
		{"one said nothing yet", nil, Node{Alive: true}, fresh, waitOn, "m1 is silent"},
		{"two may, and this one comes first", nil, fresh, heard(func(n *Node) { n.Founds = true }), foundNow, "m1, m3"},
		{"two may, and the other one comes first", nil, heard(func(n *Node) { n.Founds = true }), fresh, waitOn, "m1 has a permission"},
	} {
		got, why := planFound("m2", c.unheard, map[string]Node{"m1": c.m1, "m3": c.m3}, now)
		if got != c.want || !strings.Contains(why, c.why) {
			t.Errorf("%s: %v, %q", c.name, got, why)
		}
	}
}

// TestFoundingOnce: a member with nothing founds a group only with a permission, which is gone then; what is left of a raft
// folder is no permission, whatever it is.
func TestFoundingOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "raft")
	founded := 0
	cfg := Config{ID: "m1", Dir: dir, Incarnation: incarnation(1), RaftBind: "127.0.0.1:0", GossipBind: "127.0.0.1:0", Founded: func() error { founded++; return nil }}
	refused := func(when string) {
		t.Helper()
		var refusal *ConfigError
		if err := MayStart(dir, false, nil); !errors.As(err, &refusal) || !strings.Contains(refusal.Hint, "manager.join") {
			t.Fatalf("%s: %v", when, err)
		}
		if c, err := Open(t.Context(), cfg); !errors.As(err, &refusal) {
			t.Fatalf("%s: opened %v: %v", when, c, err)
		}
	}
	opened := func(when string) string {
		t.Helper()
		if err := MayStart(dir, cfg.Found, nil); err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		c, err := Open(t.Context(), cfg)
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		eventually(t, when+": it leads", c.IsLeader)
		group := c.streams.groupID()
		if err := c.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		return group
	}
	refused("without a permission")
	cfg.Found = true
	group := opened("with it")
	if founded != 1 || !strings.HasSuffix(group, "/m1") {
		t.Fatalf("founded %d times, %q", founded, group)
	}
	if again := opened("again, with a permission that was left"); again != group || founded != 2 {
		t.Errorf("%q then %q, taken away %d times", group, again, founded)
	}
	cfg.Found = false
	if again := opened("again, without"); again != group || founded != 2 {
		t.Errorf("%q then %q, taken away %d times", group, again, founded)
	}
}

// TestFoundingInterrupted stops a founding after each of its writes: the next start takes it up, with and without somebody
// to join; without the permission it is not taken up.
func TestFoundingInterrupted(t *testing.T) {
	const group = "00112233aabbccdd/m1"
	for name, writes := range map[string]func(Stores) error{
		"the group's id": func(s Stores) error { return s.Stable.Set(groupKey, []byte(group)) },
		"the group's id, with raft running": func(s Stores) error {
			return errors.Join(s.Stable.Set(fillingKey, []byte("x")), s.Stable.Set(groupKey, []byte(group)))
		},
		"raft's term": func(s Stores) error {
			return errors.Join(s.Stable.Set(groupKey, []byte(group)), s.Stable.SetUint64(currentTerm, 1))
		},
	} {
		for _, join := range [][]string{nil, {"127.0.0.1:1"}} {
			stores := MemoryStores()
			if err := writes(stores); err != nil {
				t.Fatal(err)
			}
			founded := 0
			c, err := Open(t.Context(), Config{
				ID: "m1", Stores: stores, Join: join, RaftBind: "127.0.0.1:0", GossipBind: "127.0.0.1:0",
				Found: true, Founded: func() error { founded++; return nil },
			})
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			eventually(t, name+": it leads", c.IsLeader)
			if got := c.streams.groupID(); got != group || founded != 1 {
				t.Errorf("%s: group %q, founded %d times", name, got, founded)
			}
			if err := c.Close(context.Background()); err != nil {
				t.Error(err)
			}
			if c, err = Open(t.Context(), Config{ID: "m1", Stores: stores, Join: join, RaftBind: "127.0.0.1:0", GossipBind: "127.0.0.1:0"}); err != nil {
				t.Fatalf("%s: again: %v", name, err)
			}
			eventually(t, name+": it leads again", c.IsLeader)
			if err := c.Close(context.Background()); err != nil {
				t.Error(err)
			}
		}
	}
	h := holding{empty: true, group: group}
	if !h.began("m1") || h.began("m2") {
		t.Error("whose founding it was")
	}
	if h.group = recoveredGroup(group, "m1"); h.began("m1") {
		t.Error("a recovery is taken for a founding")
	}
	if h = (holding{group: group}); h.began("m1") {
		t.Error("a group with entries is founded again")
	}
}

package cluster

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"pgregory.net/rapid"

	"roundtable/fsm"
)

func server(id string, suffrage raft.ServerSuffrage) raft.Server {
	return raft.Server{ID: raft.ServerID(id), Address: raft.ServerAddress(id + ":1"), Suffrage: suffrage}
}

func aliveNode(id string, now time.Time) Node {
	return Node{ID: id, Raft: id + ":1", Group: "g", Alive: true, Seen: now, Applied: 1000}
}

func TestPlanMembership(t *testing.T) {
	now := time.Unix(1e9, 0)
	base := func() membershipInput {
		in := membershipInput{
			self: "m1", address: "m1:1", group: "g", now: now, applied: 1000, dead: 24 * time.Hour, left: time.Hour,
			servers: []raft.Server{server("m1", raft.Voter), server("m2", raft.Voter), server("m3", raft.Voter)},
			nodes:   map[string]Node{"m2": aliveNode("m2", now), "m3": aliveNode("m3", now)},
			since:   map[string]time.Time{}, removed: map[string]bool{}, nonvoter: map[string]bool{},
		}
		for _, id := range []string{"m1", "m2", "m3", "m4", "m5"} {
			in.since[id] = now.Add(-10 * time.Second)
		}
		return in
	}
	edit := func(in *membershipInput, id string, f func(*Node)) {
		n := in.nodes[id]
		f(&n)
		in.nodes[id] = n
	}
	five := func(in *membershipInput) {
		in.servers = append(in.servers, server("m4", raft.Voter), server("m5", raft.Voter))
		in.nodes["m4"], in.nodes["m5"] = aliveNode("m4", now), aliveNode("m5", now)
	}
	died := func(in *membershipInput, id string, ago time.Duration) {
		edit(in, id, func(n *Node) { n.Alive = false })
		in.since[id] = now.Add(-ago)
	}
	for name, tc := range map[string]struct {
		change func(*membershipInput)
		want   string // kind and member, "" for nothing
	}{
		"all well":                  {func(*membershipInput) {}, ""},
		"a new one":                 {func(in *membershipInput) { in.nodes["m4"] = aliveNode("m4", now) }, "add as nonvoter m4"},
		"a new one, no group":       {func(in *membershipInput) { n := aliveNode("m4", now); n.Group = ""; in.nodes["m4"] = n }, "add as nonvoter m4"},
		"a stranger":                {func(in *membershipInput) { n := aliveNode("m4", now); n.Group = "other"; in.nodes["m4"] = n }, ""},
		"one not alive":             {func(in *membershipInput) { n := aliveNode("m4", now); n.Alive = false; in.nodes["m4"] = n }, ""},
		"one removed":               {func(in *membershipInput) { in.nodes["m4"] = aliveNode("m4", now); in.removed["m4"] = true }, ""},
		"removed, still listed":     {func(in *membershipInput) { in.removed["m3"] = true }, "remove m3"},
		"moved":                     {func(in *membershipInput) { edit(in, "m2", func(n *Node) { n.Raft = "else:1" }) }, "change the address m2"},
		"moved onto another":        {func(in *membershipInput) { edit(in, "m2", func(n *Node) { n.Raft = "m3:1" }) }, ""},
		"caught up":                 {func(in *membershipInput) { in.servers[2].Suffrage = raft.Nonvoter }, "promote to voter m3"},
		"demoted":                   {func(in *membershipInput) { in.nonvoter["m3"] = true }, "demote to nonvoter m3"},
		"demoted and dead":          {func(in *membershipInput) { in.nonvoter["m3"] = true; died(in, "m3", time.Minute) }, "demote to nonvoter m3"},
		"demoted, another one dead": {func(in *membershipInput) { in.nonvoter["m3"] = true; died(in, "m2", time.Minute) }, ""},
		"demoted long ago": {func(in *membershipInput) {
			in.nonvoter["m3"] = true
			in.servers[2].Suffrage = raft.Nonvoter
		}, ""},
		"demoted, and moved": {func(in *membershipInput) {
			in.nonvoter["m2"] = true
			edit(in, "m2", func(n *Node) { n.Raft = "else:1" })
		}, "change the address m2"},
		"demoted, another one silent": {func(in *membershipInput) {
			in.nonvoter["m3"] = true
			edit(in, "m2", func(n *Node) { n.Seen = now.Add(-freshFor) })
		}, ""},
		"the leader moved":              {func(in *membershipInput) { in.address = "else:1" }, "change the address m1"},
		"the leader moved onto another": {func(in *membershipInput) { in.address = "m2:1" }, ""},
		"the leader demoted":            {func(in *membershipInput) { in.nonvoter["m1"] = true }, "give the leadership away m1"},
		"the leader alone demoted":      {func(in *membershipInput) { in.nonvoter["m1"] = true; in.servers = in.servers[:1]; in.nodes = nil }, ""},
		"the leader demoted, no one":    {func(in *membershipInput) { in.nonvoter["m1"] = true; died(in, "m2", time.Minute) }, ""},
		"too new": {func(in *membershipInput) {
			in.servers[2].Suffrage = raft.Nonvoter
			in.since["m3"] = now.Add(-time.Second)
		}, ""},
		"behind": {func(in *membershipInput) {
			in.servers[2].Suffrage = raft.Nonvoter
			edit(in, "m3", func(n *Node) { n.Applied = 500 })
		}, ""},
		"stalled nonvoter": {func(in *membershipInput) {
			in.servers[2].Suffrage = raft.Nonvoter
			edit(in, "m3", func(n *Node) { n.Stalled = true })
		}, ""},
		"nonvoter that would give no vote": {func(in *membershipInput) {
			in.servers[2].Suffrage = raft.Nonvoter
			edit(in, "m3", func(n *Node) { n.Filling = true })
		}, ""},
		"silent nonvoter": {func(in *membershipInput) {
			in.servers[2].Suffrage = raft.Nonvoter
			edit(in, "m3", func(n *Node) { n.Seen = now.Add(-time.Minute) })
		}, ""},
		"dead of three": {func(in *membershipInput) { died(in, "m3", 1000*time.Hour) }, ""},
		"dead of five":  {func(in *membershipInput) { five(in); died(in, "m4", 25*time.Hour) }, "remove m4"},
		"not dead long": {func(in *membershipInput) { five(in); died(in, "m4", 23*time.Hour) }, ""},
		"left of five": {func(in *membershipInput) {
			five(in)
			died(in, "m4", 2*time.Hour)
			edit(in, "m4", func(n *Node) { n.Left = true })
		}, "remove m4"},
		"two dead of five": {func(in *membershipInput) { five(in); died(in, "m4", 25*time.Hour); died(in, "m5", 25*time.Hour) }, "remove m4"},
		"three dead of five": {func(in *membershipInput) {
			five(in)
			for _, id := range []string{"m3", "m4", "m5"} {
				died(in, id, 25*time.Hour)
			}
		}, ""},
		"dead nonvoter": {func(in *membershipInput) { in.servers[2].Suffrage = raft.Nonvoter; died(in, "m3", 25*time.Hour) }, "remove m3"},
		"replaced": {func(in *membershipInput) {
			died(in, "m3", time.Minute)
			n := aliveNode("m4", now)
			n.Raft = "m3:1"
			in.nodes["m4"] = n
		}, "remove m3"},
		"replaced, the old one lives": {func(in *membershipInput) { n := aliveNode("m4", now); n.Raft = "m3:1"; in.nodes["m4"] = n }, ""},
	} {
		in := base()
		tc.change(&in)
		got := ""
		if c, ok := planMembership(in); ok {
			got = fmt.Sprintf("%s %s", c.do, c.id)
		}
		if got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}

// TestPlanNeverBreaksQuorum: whatever the world looks like, a planned removal leaves a quorum of live voters, and fewer
// than three voters only where an operator or a successor at the same address asked for it.
func TestPlanNeverBreaksQuorum(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Unix(1e9, 0)
		in := membershipInput{self: "m0", group: "g", now: now, applied: 1000, dead: time.Hour, left: time.Minute, nodes: map[string]Node{}, since: map[string]time.Time{}, removed: map[string]bool{}, nonvoter: map[string]bool{}}
		for i := range rapid.IntRange(1, 8).Draw(t, "n") {
			id := fmt.Sprintf("m%d", i)
			if i == 0 || rapid.Bool().Draw(t, "listed") {
				s := server(id, raft.Voter)
				if i > 0 && rapid.Bool().Draw(t, "nonvoter") {
					s.Suffrage = raft.Nonvoter
				}
				in.servers = append(in.servers, s)
			}
			in.since[id] = now.Add(-time.Duration(rapid.IntRange(0, 7200).Draw(t, "since")) * time.Second)
			if i > 0 && rapid.Bool().Draw(t, "known") {
				n := aliveNode(id, now)
				n.Alive, n.Left = rapid.Bool().Draw(t, "alive"), rapid.Bool().Draw(t, "left")
				n.Raft = fmt.Sprintf("m%d:1", rapid.IntRange(0, 8).Draw(t, "address"))
				in.nodes[id] = n
			}
			in.removed[id] = i > 0 && rapid.IntRange(0, 4).Draw(t, "removed") == 0
			in.nonvoter[id] = rapid.IntRange(0, 4).Draw(t, "demoted") == 0
		}
		c, ok := planMembership(in)
		if ok && c.do == promote && in.nonvoter[c.id] {
			t.Fatal("it gets the vote that an operator took")
		}
		if !ok || c.do != remove && c.do != demote && c.do != resign {
			return
		}
		voters, live := 0, 0
		was := false
		for _, s := range in.servers {
			if s.Suffrage != raft.Voter {
				continue
			}
			if string(s.ID) == c.id {
				was = true
				continue
			}
			voters++
			if string(s.ID) == in.self || in.nodes[string(s.ID)].Alive {
				live++
			}
		}
		if c.id == in.self && c.do != resign {
			t.Fatalf("the leader does it to itself: %+v", c)
		}
		if was && live <= voters/2 {
			t.Fatalf("%+v leaves %d live of %d voters", c, live, voters)
		}
		if was && voters < fewestVoters && !in.removed[c.id] && c.reason[:4] == "unse" {
			t.Fatalf("%+v leaves %d voters", c, voters)
		}
	})
}

func TestRemovedMembers(t *testing.T) {
	s, hash := fsm.New(), strings.Repeat("0", 64)
	for i, c := range []fsm.Command{
		fsm.PutMember{Member: fsm.Member{ID: "m1", Incarnation: fmt.Sprintf("%032d", 1)}},
		fsm.PutMember{Member: fsm.Member{ID: "m2", Incarnation: fmt.Sprintf("%032d", 2)}},
		fsm.PutMember{Member: fsm.Member{ID: "m3", Incarnation: fmt.Sprintf("%032d", 3)}},
		fsm.RemoveMember{ID: "m2"}, fsm.RemoveMember{ID: "m3"},
		fsm.PutMember{Member: fsm.Member{ID: "m3", Incarnation: fmt.Sprintf("%032d", 4)}},
		fsm.RemoveMember{ID: "m4", Ban: true}, fsm.RemoveMember{ID: "m5", Ban: true},
		fsm.RemoveMember{ID: "m6", Ban: true},
		fsm.PutInvite{Invite: fsm.Invite{ID: "i", Member: "m4", Hash: hash, Expires: 1}}, fsm.UseInvite{ID: "i", Hash: hash, Member: "m4"},
		fsm.PutInvite{Invite: fsm.Invite{ID: "j", Member: "m6", Hash: hash, Expires: 1}}, // nobody used it
	} {
		next, r := s.Apply(fsm.Entry{Index: uint64(i + 1), Command: c})
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		s = next
	}
	if got := removedMembers(s); len(got) != 3 || !got["m2"] || !got["m5"] || !got["m6"] {
		t.Fatalf("removed: %v", got)
	}
}

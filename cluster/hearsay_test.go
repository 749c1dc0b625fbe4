package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/hashicorp/raft"

	"roundtable/chain"
	"roundtable/cluster/health"
	"roundtable/fsm"
)

// ghost has the key of gossip and no certificate: a member that was removed has it for ever.
type ghost struct {
	*memberlist.Memberlist
	meta []byte
}

func (g ghost) NodeMeta(int) []byte           { return g.meta }
func (ghost) NotifyMsg([]byte)                {}
func (ghost) GetBroadcasts(int, int) [][]byte { return nil }
func (ghost) LocalState(bool) []byte          { return nil }
func (ghost) MergeRemoteState([]byte, bool)   {}

// haunt joins the gossip of a group under a name.
func (g *group) haunt(name string, says meta) ghost {
	g.t.Helper()
	text, err := json.Marshal(says)
	if err != nil {
		g.t.Fatal(err)
	}
	who := ghost{meta: text}
	mc := memberlist.DefaultLANConfig()
	mc.Name, mc.Label, mc.SecretKey, mc.Delegate, mc.Logger = name, "test", g.key, who, log.New(io.Discard, "", 0)
	mc.BindAddr, mc.BindPort, mc.AdvertisePort = "127.0.0.1", 0, 0
	if who.Memberlist, err = memberlist.Create(mc); err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { _ = who.Shutdown() })
	if _, err := who.Join([]string{g.members["m1"].GossipAddress()}); err != nil {
		g.t.Fatal(err)
	}
	return who
}

// superseding is a group's id that would have taken the place of ours.
func superseding(c *Cluster, survivor string) string {
	origin, _, _ := lineage(c.streams.groupID()) // stands in everybody's meta
	return "00.99." + origin + "/" + survivor
}

// TestGossipEndsNobody: a stranger says in gossip that the cluster was recovered without all of its members, that it has a raft
// address, and reports. Nobody ends (OnFatal would panic), nobody is added, no report counts; there is an alarm.
func TestGossipEndsNobody(t *testing.T) {
	g := newGroup(t, 3)
	m1 := g.members["m1"]
	who := g.haunt("ghost", meta{Raft: "127.0.0.1:1", Group: superseding(m1, "ghost")})
	beat, err := json.Marshal(beat{ID: "ghost", Group: superseding(m1, "ghost"), Applied: 1 << 40, Report: &health.Report{Node: "running"}})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "an alarm, and the report heard", func() bool {
		for _, n := range who.Members() {
			if n.Name != "ghost" {
				_ = who.SendBestEffort(n, beat)
			}
		}
		for _, c := range g.members {
			s, _ := c.View()
			if alarms(s) == 0 || c.Nodes()["ghost"].Applied == 0 {
				return false
			}
		}
		return true
	})
	for id, c := range g.members {
		if _, counts := c.Peers()["ghost"]; counts {
			t.Errorf("%s: a stranger's report counts", id)
		}
		if s, _ := c.View(); alarms(s) > 2 { // one for all members, each ten minutes by the clock
			t.Errorf("%s: %d alarms", id, alarms(s))
		}
		propose(t, c, alarm("goes on"))
	}
}

func alarms(s *fsm.State) int {
	n := 0
	for _, e := range s.History {
		if e.Kind == "alarm.superseded" && e.Subject == "ghost" {
			n++
		}
	}
	return n
}

// elsewhere serves the streams of a member at an address of its own, in another group: a copy of its home, recovered.
func (g *group) elsewhere(as, group string) string {
	g.t.Helper()
	cfg := g.config(as)
	cfg.Network = realNetwork{}
	cfg, err := cfg.withDefaults()
	if err != nil {
		g.t.Fatal(err)
	}
	s, err := listenStreams(cfg)
	if err != nil {
		g.t.Fatal(err)
	}
	s.group.Store(&group)
	s.banned = func(string) bool { return false }
	s.serve()
	g.t.Cleanup(func() { s.close(); s.wg.Wait() })
	return s.advertise
}

// TestWhatIsBelieved of a claim that the cluster was recovered: what a member of ours proves that is not in our group at the same
// time.
func TestWhatIsBelieved(t *testing.T) {
	g := newGroup(t, 3)
	m1, m2, m3 := g.members["m1"], g.members["m2"], g.members["m3"]
	theirs := superseding(m1, "m3")
	copied, foreign := g.elsewhere("m3", theirs), g.elsewhere("m9", theirs)
	for name, c := range map[string]struct {
		claim claim
		want  string // of the error; "" believed
	}{
		"a stranger":                    {claim{"m9", theirs, foreign}, "no member"},
		"a stranger in a member's name": {claim{"m3", theirs, foreign}, "does not prove"},
		"another member's address":      {claim{"m3", theirs, m2.RaftAddress()}, "does not prove"},
		"nobody there":                  {claim{"m3", theirs, "127.0.0.1:1"}, "does not prove"},
		"forged, of the member itself":  {claim{"m3", theirs, m3.RaftAddress()}, "is in the group " + m3.streams.groupID()},
		"a copy of a member that lives": {claim{"m3", theirs, copied}, "the member itself is at " + m3.RaftAddress()},
	} {
		if _, err := m1.verify(t.Context(), c.claim); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	g.crash("m3")
	if group, err := m1.verify(t.Context(), claim{"m3", "what gossip says", copied}); err != nil || group != theirs {
		t.Errorf("a recovered member: %q, %v", group, err)
	}
	// It was one of ours since this process began: it may only be restarted, and its copy runs in a drill.
	found := &claimed{}
	if m1.consider(claim{"m3", theirs, copied}, found) || found.since.IsZero() || !found.alarmed.IsZero() {
		t.Errorf("not waited for: %+v", found)
	}
	found.looked, found.since = time.Time{}, time.Now().Add(-claimPatience)
	ended := make(chan error, 1)
	m1.cfg.OnFatal = func(err error) { ended <- err }
	if !m1.consider(claim{"m3", theirs, copied}, found) {
		t.Fatal("it goes on beside a group that took its place")
	}
	if err := <-ended; !errors.Is(err, ErrSuperseded) {
		t.Error(err)
	}
}

// TestGossipAddsNobody who does not prove to be the manager that gossip brings.
func TestGossipAddsNobody(t *testing.T) {
	g := newGroup(t, 1)
	m1 := g.leader()
	group := "another" // it is not added
	nodes := map[string]Node{
		"ghost": {ID: "ghost", Raft: g.elsewhere("m9", group), Alive: true}, "m4": {ID: "m4", Raft: g.elsewhere("m4", group), Alive: true},
		"m5": {ID: "m5", Raft: m1.RaftAddress(), Alive: true},
	}
	p := proofs{of: map[string]proof{}}
	s, _ := m1.View()
	for range 2 {
		m1.prove(t.Context(), &p, s, m1.servers(), nodes)
		if nodes["ghost"].Raft != "" || nodes["m4"].Raft == "" || nodes["m5"].Raft != "" {
			t.Errorf("%+v", nodes)
		}
	}
}

type oneConn struct {
	net.Listener
	conn net.Conn
}

// Dial implements raft.StreamLayer.
func (o oneConn) Dial(raft.ServerAddress, time.Duration) (net.Conn, error) { return o.conn, nil }

// TestStreamsEndWithABan: a member's streams from before its removal end, and nothing that is said over them counts.
func TestStreamsEndWithABan(t *testing.T) {
	g := newGroup(t, 3)
	ctx, cancel := within(30 * time.Second)
	defer cancel()
	leader, bad := g.leader(), g.follower()
	var open []net.Conn
	for _, kind := range []byte{kindRaft, kindForward} {
		conn, err := bad.streams.dial(ctx, kind, leader.RaftAddress(), leader.cfg.ID)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, conn)
	}
	if err := leader.Remove(ctx, bad.cfg.ID); err != nil {
		t.Fatal(err)
	}
	for i, conn := range open {
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, context.DeadlineExceeded) || isTimeout(err) {
			t.Errorf("stream %d lives on: %v", i, err)
		}
	}
	term := leader.Raft().Term
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tr := raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{Stream: oneConn{listener, open[0]}, MaxPool: 1, Timeout: time.Second, Logger: raftLogger(leader.log)})
	defer func() { _ = tr.Close() }()
	var resp raft.AppendEntriesResponse
	header := raft.RPCHeader{ProtocolVersion: 3, ID: []byte(bad.cfg.ID), Addr: []byte(bad.RaftAddress())}
	if err := tr.AppendEntries(raft.ServerID(leader.cfg.ID), raft.ServerAddress(leader.RaftAddress()), &raft.AppendEntriesRequest{RPCHeader: header, Term: term + 1000}, &resp); err == nil {
		t.Errorf("answered: %+v", resp)
	}
	if now := leader.Raft().Term; now >= term+1000 || !leader.IsLeader() {
		t.Errorf("a removed member deposed the leader: term %d was %d", now, term)
	}
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

// TestNothingIsReadAfterABan: from the moment that the ban is known, whether the stream was ended for it yet or not.
func TestNothingIsReadAfterABan(t *testing.T) {
	theirs, ours := net.Pipe()
	defer theirs.Close()
	var banned atomic.Bool
	s := &streams{open: map[*stream]struct{}{}, banned: func(id string) bool { return id == "m2" && banned.Load() }, admitted: func(string) int64 { return 5 }}
	conn, _ := s.track(ours)
	s.know(conn, "m2")
	go func() {
		for range 2 {
			_, _ = theirs.Write([]byte("x"))
		}
	}()
	if n, err := conn.Read(make([]byte, 1)); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	banned.Store(true)
	if n, err := conn.Read(make([]byte, 1)); n != 0 || !errors.Is(err, errBanned) || len(s.open) != 0 {
		t.Errorf("%d bytes, %v, %d streams", n, err, len(s.open))
	}
	if conn.peer.Load().admitted != 5 || !s.spoke("m2") || s.spoke("m3") {
		t.Error("not known")
	}
}

// TestARefusedRemovalMovesNothing: not even who leads.
func TestARefusedRemovalMovesNothing(t *testing.T) {
	g := newGroup(t, 3)
	ctx, cancel := within(30 * time.Second)
	defer cancel()
	l := g.leader()
	id := l.cfg.ID
	for i, m := range []string{"m1", "m2", "m3"} {
		propose(t, l, fsm.PutMember{Member: fsm.Member{ID: m, Incarnation: incarnation(i), EntryVersion: 2}})
	}
	s, _ := l.View()
	propose(t, l, fsm.Grant{Epoch: 1, Holder: id, Incarnation: s.Members[id].Incarnation, First: 1, Last: 2})
	still := func(what string, err error, want error) {
		t.Helper()
		if leads, _ := g.follower().Leader(); !errors.Is(err, want) || leads != id {
			t.Errorf("%s: %v, and %s leads instead of %s", what, err, leads, id)
		}
	}
	still("the holder", l.Remove(ctx, id), fsm.ErrHolds)
	other := g.follower().cfg.ID
	propose(t, l, fsm.StartOperation{Name: fsm.KindHandoff, Handoff: &fsm.Handoff{To: other, When: "now"}, Deadline: time.Now().Add(time.Minute).UnixMilli()})
	still("the target of a handoff", l.Remove(ctx, other), fsm.ErrBusy)
}

// TestSigned: a member is asked itself what it signed, whoever leads.
func TestSigned(t *testing.T) {
	g := newGroup(t, 3)
	blocks := []chain.Block{{Slot: 5, Num: 3, ID: "a"}}
	for id, c := range g.members {
		c.Signs(func(slot chain.Slot) []chain.Block {
			if id == "m2" && slot == 5 {
				return blocks
			}
			return nil
		})
	}
	for _, tc := range []struct {
		asker, asked string
		slot         chain.Slot
		want         int
	}{{"m1", "m2", 5, 1}, {"m3", "m2", 5, 1}, {"m1", "m2", 6, 0}, {"m2", "m1", 5, 0}} {
		if got, err := g.members[tc.asker].Signed(t.Context(), tc.asked, tc.slot); err != nil || len(got) != tc.want || len(got) == 1 && got[0] != blocks[0] {
			t.Errorf("%+v: %v, %v", tc, got, err)
		}
	}
	if _, err := g.members["m1"].Signed(t.Context(), "m9", 5); !errors.Is(err, ErrUnknownMember) {
		t.Errorf("a stranger: %v", err)
	}
	g.crash("m2")
	if got, err := g.members["m1"].Signed(t.Context(), "m2", 5); err == nil {
		t.Errorf("a dead one answers %v", got)
	}
}

// TestAForgedAddress: where gossip has a member at an address at which it is not, raft still reaches it.
func TestAForgedAddress(t *testing.T) {
	g := newGroup(t, 2)
	m1 := g.members["m1"]
	eventually(t, "heard", func() bool { return m1.heardAt("m2") != "" })
	forged := g.elsewhere("m9", "another")
	m1.gossip.mu.Lock()
	m1.gossip.nodes["m2"].Raft = forged
	m1.gossip.mu.Unlock()
	conn, err := raftLayer{m1.streams}.Dial(raft.ServerAddress(forged), 4*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if s, ok := conn.(*stream); !ok || certified(s.Conn) != "m2" {
		t.Errorf("talks with %q", certified(s.Conn))
	}
	_ = conn.Close()
}

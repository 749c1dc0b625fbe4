package cluster

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/hashicorp/raft"

	"roundtable/fsm"
)

// TestForeignCertificates: who has no certificate of the cluster's CA, or another member's, reaches neither raft nor the
// forwarding, and is not taken for a member when dialed.
func TestForeignCertificates(t *testing.T) {
	g := newGroup(t, 1)
	m1 := g.members["m1"]
	group := m1.streams.groupID()
	try := func(as Credentials, from, to string) error {
		ctx, cancel := within(2 * time.Second)
		defer cancel()
		s := &streams{id: from, network: realNetwork{}, tls: as, open: map[*stream]struct{}{}}
		s.group.Store(&group)
		conn, err := s.dial(ctx, kindForward, m1.RaftAddress(), to)
		if err == nil {
			_ = conn.Close()
		}
		return err
	}
	foreign := newCA(t)
	mixed := mixed{shown: foreign.credentials(t, "m2"), Credentials: g.ca.credentials(t, "m2")} // trusts us, is not trusted by us
	for name, tc := range map[string]struct {
		as       Credentials
		from, to string
		ok       bool
	}{
		"ours":             {g.ca.credentials(t, "m2"), "m2", "m1", true},
		"not knowing whom": {g.ca.credentials(t, "m2"), "m2", "", true},
		"foreign CA":       {foreign.credentials(t, "m2"), "m2", "m1", false},
		"foreign client":   {mixed, "m2", "m1", false},
		"another's name":   {g.ca.credentials(t, "m3"), "m2", "m1", false},
		"wrong server":     {g.ca.credentials(t, "m2"), "m2", "m4", false},
		"plain":            {nil, "m2", "m1", false},
	} {
		if err := try(tc.as, tc.from, tc.to); (err == nil) != tc.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// mixed believes one CA and shows a certificate of another.
type mixed struct {
	Credentials
	shown Credentials
}

func (m mixed) Client(id string) *tls.Config {
	c := m.Credentials.Client(id)
	c.GetClientCertificate = m.shown.Client(id).GetClientCertificate
	return c
}

// TestSnapshotAndRestart: a snapshot is taken, the log behind it is cut, a member restarts from it and another one that
// never saw the entries gets it over the wire; all states are equal byte by byte.
func TestSnapshotAndRestart(t *testing.T) {
	g := newGroup(t, 1)
	cfg := g.configs["m1"]
	g.stop("m1")
	cfg.SnapshotThreshold, cfg.TrailingLogs = 8, 4
	m1 := g.start(cfg)
	g.leader()
	for i := range 40 {
		propose(t, m1, alarm(fmt.Sprint(i)), WithKey(fmt.Sprint("key ", i)))
	}
	if err := m1.raft.Snapshot().Error(); err != nil {
		t.Fatal(err)
	}
	first, err := m1.stores.Log.FirstIndex()
	if err != nil || first < 20 {
		t.Fatalf("the log still begins at %d (%v)", first, err)
	}
	if st := m1.Raft(); len(st.Snapshots) == 0 || st.LogBytes == 0 {
		t.Fatalf("status: %+v", st)
	}
	before, _ := m1.View()
	want, err := before.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	g.crash("m1")
	m1 = g.start(g.configs["m1"])
	after, _ := m1.View()
	got, err := after.Marshal()
	if err != nil || !bytes.Equal(want, got) {
		// The entries after the snapshot are applied once this member leads again.
		g.leader()
		ctx, cancel := within(5 * time.Second)
		defer cancel()
		if err := m1.WaitIndex(ctx, before.Index); err != nil {
			t.Fatal(err)
		}
		after, _ = m1.View()
		if got, err = after.Marshal(); err != nil || !bytes.Equal(want, got) {
			t.Fatalf("after the restart: %v\n%s\n%s", err, want, got)
		}
	}
	cfg = g.config("m2")
	cfg.Join = []string{"127.0.0.1:1", m1.GossipAddress()} // one address that nobody listens at
	g.start(cfg)
	g.waitVoters(2)
	g.equal()
}

// TestUndecodableEntry: such an entry stops the member; it is never skipped.
func TestUndecodableEntry(t *testing.T) {
	fatal := make(chan error, 1)
	m := newMachine(100, func(err error) { fatal <- err })
	good, err := fsm.Encode(fsm.Entry{Command: alarm("good")})
	if err != nil {
		t.Fatal(err)
	}
	m.Apply(&raft.Log{Index: 1, Data: good})
	m.Apply(&raft.Log{Index: 2, Data: []byte(`{"v":99,"kind":"from.the.future","body":{}}`)})
	m.Apply(&raft.Log{Index: 3, Data: good})
	if err := <-fatal; err == nil {
		t.Fatal("no fatal error")
	}
	if s := m.view.Load().state; s.Index != 1 {
		t.Fatalf("applied up to %d", s.Index)
	}
	if _, err := m.Snapshot(); !errors.Is(err, errBroken) {
		t.Fatalf("a snapshot beyond the state: %v", err)
	}
}

// TestAdmit: the leader's last word, also for what is forwarded.
func TestAdmit(t *testing.T) {
	g := &group{t: t, ca: newCA(t), members: map[string]*Cluster{}, configs: map[string]Config{}}
	t.Cleanup(func() {
		for id := range g.members {
			g.stop(id)
		}
	})
	no := errors.New("not admitted")
	cfg := g.config("m1")
	cfg.Found = true
	cfg.Admit = func(c fsm.Command) (fsm.Command, error) {
		a, ok := c.(fsm.RaiseAlarm)
		if ok && a.Text == "refuse" {
			return nil, no
		}
		a.Text = "clamped"
		return a, nil
	}
	m1 := g.start(cfg)
	g.leader()
	propose(t, m1, alarm("any"))
	s, _ := m1.View()
	if e := s.History[len(s.History)-1]; e.Text != "clamped" || e.By != "m1" || e.At == 0 {
		t.Fatalf("the entry: %+v", e)
	}
	ctx, cancel := within(5 * time.Second)
	defer cancel()
	if _, err := m1.Propose(ctx, alarm("refuse")); !errors.Is(err, no) {
		t.Fatal(err)
	}
}

// TestNoLeader: a member that nobody added says so, and that nothing happened.
func TestNoLeader(t *testing.T) {
	cfg := Config{ID: "m9", Dir: t.TempDir(), RaftBind: "127.0.0.1:0", GossipBind: "127.0.0.1:0", Join: []string{"127.0.0.1:1"}}
	c, err := Open(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := within(300 * time.Millisecond)
	defer cancel()
	if _, err := c.Propose(ctx, alarm("x")); !errors.Is(err, ErrNoLeader) {
		t.Error(err)
	}
	if _, err := Open(ctx, cfg); err == nil {
		t.Error("one folder was opened twice")
	}
	if err := c.Close(context.Background()); err != nil {
		t.Error(err)
	}
	if _, err := c.Propose(context.Background(), alarm("x")); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if err := c.Close(context.Background()); err != nil {
		t.Error("closing twice:", err)
	}
}

// TestForeignGossip: who has no key of gossip, or another one, is not talked with, and what goes over the wire tells nothing.
func TestForeignGossip(t *testing.T) {
	g := newGroup(t, 1)
	m1 := g.members["m1"]
	try := func(key []byte) error {
		mc := memberlist.DefaultLocalConfig()
		mc.Name, mc.Label, mc.SecretKey, mc.BindAddr, mc.BindPort, mc.LogOutput = "m2", "test", key, "127.0.0.1", 0, io.Discard
		list, err := memberlist.Create(mc)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = list.Shutdown() }()
		_, err = list.Join([]string{m1.GossipAddress()})
		return err
	}
	for name, tc := range map[string]struct {
		key []byte
		ok  bool
	}{"ours": {g.key, true}, "another key": {bytes.Repeat([]byte{8}, 32), false}, "none": {nil, false}} {
		if err := try(tc.key); (err == nil) != tc.ok {
			t.Errorf("%s: %v", name, err)
		}
	}

	// A listener that gossip is sent to: the address is remembered from a member that has gone.
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = udp.Close() }()
	at := memberlist.Node{Name: "eve", Addr: net.IPv4(127, 0, 0, 1), Port: uint16(udp.LocalAddr().(*net.UDPAddr).Port)}
	if err := m1.gossip.list.SendBestEffort(&at, []byte("a report of m1")); err != nil {
		t.Fatal(err)
	}
	packet := make([]byte, 2048)
	_ = udp.SetReadDeadline(time.Now().Add(5 * time.Second))
	n, _, err := udp.ReadFrom(packet)
	if err != nil || bytes.Contains(packet[:n], []byte("report")) {
		t.Errorf("in the clear: %q %v", packet[:n], err)
	}
}

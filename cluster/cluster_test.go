package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"roundtable/durable"
	"roundtable/fsm"
	"roundtable/security"
)

// memberlist's Shutdown does not wait for a probe under way; it ends within a probe interval.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/hashicorp/memberlist.(*Memberlist).probeNode"))
}

// ca signs certificates for tests.
type ca struct{ *security.CA }

func newCA(t testing.TB) ca {
	t.Helper()
	c, err := security.NewCA("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return ca{c}
}

// credentials are a member's, as a running manager has them.
func (c ca) credentials(t testing.TB, id string) Credentials {
	t.Helper()
	key, request, err := security.NewRequest(id, nil)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := c.Sign(request, id, time.Hour, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	f := security.InHome(t.TempDir())
	for file, data := range map[string][]byte{f.CA: c.Cert(), f.Cert: cert, f.Key: key} {
		if err := durable.Write(file, data); err != nil {
			t.Fatal(err)
		}
	}
	k, err := security.Open(security.Config{Files: f, Member: id})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// group is a cluster of real members on loopback, with TLS and encrypted gossip.
type group struct {
	t       testing.TB
	ca      ca
	key     []byte
	members map[string]*Cluster
	configs map[string]Config
}

func newGroup(t testing.TB, n int) *group {
	t.Helper()
	t.TempDir() // the first one has all of them removed, which must come after the members' end: cleanups run backwards
	g := &group{t: t, ca: newCA(t), key: bytes.Repeat([]byte{7}, 32), members: map[string]*Cluster{}, configs: map[string]Config{}}
	t.Cleanup(func() {
		for id := range g.members {
			g.stop(id)
		}
	})
	for i := range n {
		id := fmt.Sprintf("m%d", i+1)
		cfg := g.config(id)
		cfg.Found = i == 0
		if i > 0 {
			cfg.Join = []string{g.members[fmt.Sprintf("m%d", i)].GossipAddress()} // through the newest: any one will do
		}
		g.start(cfg)
	}
	g.waitVoters(n)
	return g
}

func (g *group) config(id string) Config {
	return Config{
		ID: id, Dir: g.t.TempDir(), Name: "test", Incarnation: fmt.Sprintf("%032x", time.Now().UnixNano()),
		RaftBind: "127.0.0.1:0", GossipBind: "127.0.0.1:0", TLS: g.ca.credentials(g.t, id), GossipKeys: keyring(g.key), Log: testLog(g.t, id),
	}
}

func testLog(_ testing.TB, id string) *slog.Logger {
	if os.Getenv("CLUSTER_LOG") == "" {
		return nil
	}
	level := slog.LevelInfo
	if os.Getenv("CLUSTER_LOG") == "debug" {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})).With("me", id)
}

func (g *group) start(cfg Config) *Cluster {
	g.t.Helper()
	c, err := Open(context.Background(), cfg)
	if err != nil {
		g.t.Fatal(err)
	}
	cfg.RaftBind, cfg.GossipBind = c.RaftAddress(), c.GossipAddress()
	g.members[cfg.ID], g.configs[cfg.ID] = c, cfg
	return c
}

func (g *group) stop(id string) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := g.members[id].Close(ctx); err != nil {
		g.t.Error(id, err)
	}
	delete(g.members, id)
}

// crash ends a member without a goodbye.
func (g *group) crash(id string) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := g.members[id].Close(ctx); err != nil {
		g.t.Error(id, err)
	}
	delete(g.members, id)
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (g *group) waitVoters(n int) {
	g.t.Helper()
	eventually(g.t, fmt.Sprintf("%d voters", n), func() bool {
		for id, c := range g.members {
			if c.filling.Load() {
				g.record(id)
				return false
			}
			voters := 0
			for _, p := range c.Raft().Peers {
				if p.Suffrage == "voter" {
					voters++
				}
			}
			if id, _ := c.Leader(); voters != n || id == "" {
				return false
			}
		}
		return true
	})
}

// record proposes a member's record, as its manager does at each start; it may fail, and be tried again.
func (g *group) record(id string) {
	ctx, cancel := within(200 * time.Millisecond)
	defer cancel()
	_, _ = g.members[id].Propose(ctx, fsm.PutMember{Member: fsm.Member{ID: id, Incarnation: g.configs[id].Incarnation, EntryVersion: fsm.EntryVersion}})
}

func (g *group) leader() *Cluster {
	g.t.Helper()
	var leader *Cluster
	eventually(g.t, "a leader", func() bool {
		for _, c := range g.members {
			if c.IsLeader() && c.leadership.now.Load().leading {
				leader = c
				return true
			}
		}
		return false
	})
	return leader
}

func (g *group) follower() *Cluster {
	g.t.Helper()
	leader := g.leader()
	for _, c := range g.members {
		if c != leader {
			return c
		}
	}
	g.t.Fatal("no follower")
	return nil
}

func (g *group) equal() {
	g.t.Helper()
	eventually(g.t, "equal states", func() bool {
		var first []byte
		for _, c := range g.members {
			s, _ := c.View()
			b, err := s.Marshal()
			if err != nil {
				g.t.Fatal(err)
			}
			if first == nil {
				first = b
			}
			if !bytes.Equal(first, b) {
				return false
			}
		}
		return true
	})
}

func alarm(text string) fsm.Command {
	return fsm.RaiseAlarm{Name: "test", Subject: "s", Text: text}
}

func within(d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), d)
}

func propose(t testing.TB, c *Cluster, cmd fsm.Command, opts ...Option) uint64 {
	t.Helper()
	ctx, cancel := within(5 * time.Second)
	defer cancel()
	index, err := c.Propose(ctx, cmd, opts...)
	if err != nil {
		t.Fatal(err)
	}
	if s, _ := c.View(); s.Index < index {
		t.Fatalf("applied here: %d, proposed: %d", s.Index, index)
	}
	return index
}

func TestThreeMembers(t *testing.T) {
	g := newGroup(t, 3)
	for id, c := range g.members {
		propose(t, c, alarm("from "+id))
	}
	g.equal()

	// A refusal keeps its name across the hop.
	ctx, cancel := within(5 * time.Second)
	defer cancel()
	_, err := g.follower().Propose(ctx, fsm.RemoveMember{ID: "nobody"})
	if !errors.Is(err, fsm.ErrMember) {
		t.Fatalf("a refused command: %v", err)
	}

	// The leader dies; the others go on; it comes back from its disk, where its Join may be as old as it likes.
	old := g.leader().cfg.ID
	g.crash(old)
	propose(t, g.follower(), alarm("while "+old+" is away"))
	g.start(g.configs[old])
	propose(t, g.members[old], alarm("back"))
	g.waitVoters(3)
	g.equal()

	// Leadership moves where it is told to, asked of any member.
	to := g.follower().cfg.ID
	for _, c := range g.members {
		if !c.IsLeader() && c.cfg.ID != to {
			if err := c.TransferLeadership(ctx, to); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := g.leader().cfg.ID; got != to {
		t.Fatalf("%s leads, not %s", got, to)
	}
}

func TestRefusedConfigurations(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"no id":         {func(c *Config) { c.ID = "" }, "id"},
		"plain raft":    {func(c *Config) { c.RaftBind = "0.0.0.0:0" }, "without TLS"},
		"plain address": {func(c *Config) { c.RaftAdvertise = "10.1.2.3:7000" }, "without TLS"},
		"any interface": {func(c *Config) { c.RaftBind = ":0" }, "without TLS"},
		"plain gossip":  {func(c *Config) { c.GossipBind = "0.0.0.0:0" }, "without a key"},
		"short key":     {func(c *Config) { c.GossipKeys = [][]byte{[]byte("short")} }, "bytes"},
		"fast":          {func(c *Config) { c.Heartbeat = 50 * time.Millisecond }, "too short"},
		"no folder":     {func(c *Config) { c.Dir = "" }, "folder"},
		"bad port":      {func(c *Config) { c.RaftBind = "127.0.0.1:99999" }, "listen"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := Config{ID: "m1", Dir: t.TempDir(), RaftBind: "127.0.0.1:0", GossipBind: "127.0.0.1:0"}
			tc.change(&cfg)
			c, err := Open(context.Background(), cfg)
			if err == nil {
				_ = c.Close(context.Background())
				t.Fatal("opened")
			}
			var ce *ConfigError
			if !errors.As(err, &ce) || ce.Hint == "" || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("error: %v", err)
			}
		})
	}
}

package manager

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"roundtable/backup/worker"
	"roundtable/chain"
	"roundtable/cmd/roundtable/config"
	"roundtable/node"
	"roundtable/node/k1"
)

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "worker" { // as cmd/roundtable does
		if worker.Run(context.Background(), os.Stdin, os.Stdout) != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	if home := os.Getenv("MANAGER_TEST_HOME"); home != "" {
		play := turnAndDie
		if scenario := os.Getenv("MANAGER_TEST_SCENARIO"); scenario != "" {
			play = func(home string) error { return playAndDie(home, scenario) }
		}
		if err := play(home); err != nil {
			_, _ = os.Stdout.WriteString(err.Error())
			os.Exit(1)
		}
		os.Exit(0)
	}
	flag.Parse()
	if err := flag.Set("test.parallel", "6"); err != nil { // they mostly wait for nodes
		panic(err)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if simDir != "" {
			_ = os.RemoveAll(simDir)
		}
		os.Exit(code)
	}))
}

func TestBlocksOfTheNodeAreCounted(t *testing.T) {
	n := &localNode{}
	see := func(num uint32, slot chain.Slot) { n.saw(chain.Block{Num: num, Slot: slot}) }
	if _, ok := n.Signed(1, 12); ok {
		t.Error("nothing was seen, yet it can tell")
	}
	for i := range uint32(10) {
		see(100+i, chain.Slot(200+i))
	}
	for _, c := range []struct {
		first, last chain.Slot
		want        int
		ok          bool
	}{{201, 209, 9, true}, {205, 230, 5, true}, {200, 205, 0, false}, {190, 205, 0, false}, {300, 311, 0, true}} {
		if got, ok := n.Signed(c.first, c.last); ok != c.ok || ok && got != c.want {
			t.Errorf("%d..%d: %d %v, want %d %v", c.first, c.last, got, ok, c.want, c.ok)
		}
	}
	see(105, 215) // a fork switch: 105 and what followed were replaced
	if got, _ := n.Signed(201, 230); got != 5 {
		t.Errorf("after a fork switch: %d, want 5", got)
	}
	see(120, 230) // a hole: what is older cannot be counted with
	if _, ok := n.Signed(201, 230); ok {
		t.Error("it counts across a hole")
	}
	for i := range uint32(3 * keptBlocks) {
		see(121+i, chain.Slot(231+i))
	}
	if len(n.blocks) > keptBlocks {
		t.Errorf("%d blocks are kept", len(n.blocks))
	}
}

func TestStackClosesInReverseAndGoesOnAfterAFailure(t *testing.T) {
	var order []string
	s := &stack{log: slog.New(slog.DiscardHandler)}
	part := func(name string, err error) {
		s.push(name, 50*time.Millisecond, func(ctx context.Context) error {
			order = append(order, name)
			if name == "slow" {
				<-ctx.Done()
				return ctx.Err()
			}
			return err
		})
	}
	broken := errors.New("broken")
	part("first", nil)
	part("slow", nil)
	part("broken", broken)
	err := s.close(t.Context())
	if want := []string{"broken", "slow", "first"}; !slices.Equal(order, want) {
		t.Errorf("closed %v, want %v", order, want)
	}
	if !errors.Is(err, broken) || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "close slow") {
		t.Errorf("the error does not tell both: %v", err)
	}
	if err := s.close(t.Context()); err != nil || len(order) != 3 {
		t.Errorf("closing again did something: %v, %v", err, order)
	}
}

// TestWitness runs a whole manager without a node, twice on one home, and refuses a second one beside it.
func TestWitness(t *testing.T) {
	c := config.Default()
	c.Sandbox = true
	c.Manager.ID, c.Manager.Home, c.Manager.Witness = "w1", t.TempDir(), true
	c.Manager.API, c.Manager.Raft, c.Manager.Gossip = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	c.Cluster.Name, c.Cluster.Producers = "t", []string{"bp"}
	if err := Run(t.Context(), t.Context(), c, Options{}); err == nil || !strings.Contains(err.Error(), "no permission to found") || !strings.Contains(err.Error(), "manager.join") {
		t.Fatalf("without a permission: %v", err)
	}
	if err := PermitFounding(c.Manager.Home); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		ctx, cancel := context.WithCancel(t.Context())
		ready, ended := make(chan struct{}), make(chan error, 1)
		go func() { ended <- Run(ctx, t.Context(), c, Options{Ready: func(Live) { close(ready) }}) }()
		select {
		case <-ready:
		case err := <-ended:
			t.Fatal(err)
		}
		if err := Run(t.Context(), t.Context(), c, Options{}); err == nil || !strings.Contains(err.Error(), "in use by another manager") {
			t.Errorf("a second manager on one home: %v", err)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if left, err := mayFound(c.Manager.Home); err != nil || left {
			t.Errorf("the permission is left: %v", err)
		}
	}
	// It ran, so there is a cluster that others may be in: what it lost is no permission, whatever is left in the folder.
	for _, lost := range []string{"raft.db", "snapshots"} {
		if err := os.RemoveAll(filepath.Join(c.RaftDir(), lost)); err != nil {
			t.Fatal(err)
		}
	}
	if err := Run(t.Context(), t.Context(), c, Options{}); err == nil || !strings.Contains(err.Error(), "no permission to found") {
		t.Errorf("with its log lost: %v", err)
	}
}

func TestRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*config.Config)
		want   string
	}{
		"fence pause":      {func(c *config.Config) { c.Manager.Witness, c.Node.Fence = false, "pause" }, "gate"},
		"every interface":  {func(c *config.Config) { c.Manager.Raft = "0.0.0.0:9070" }, "advertise"},
		"no key file":      {func(c *config.Config) { c.Manager.Witness = false; c.Signer.KeyFile = "/nowhere/keys" }, "/nowhere/keys"},
		"the port is used": {func(c *config.Config) { c.Manager.API = "256.0.0.1:1" }, "manager.api"},
	} {
		t.Run(name, func(t *testing.T) {
			conf := config.Default()
			conf.Sandbox = true
			conf.Manager.ID, conf.Manager.Home, conf.Manager.Witness = "m1", t.TempDir(), true
			conf.Manager.API, conf.Manager.Raft, conf.Manager.Gossip = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
			conf.Node.Producers = []string{"bp"}
			if err := PermitFounding(conf.Manager.Home); err != nil {
				t.Fatal(err)
			}
			c.change(conf)
			err := Run(t.Context(), t.Context(), conf, Options{})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v does not say %q", err, c.want)
			}
		})
	}
}

// TestKeyless: a member whose signer holds none of the keys that the chain wants for its producer can never sign.
func TestKeyless(t *testing.T) {
	const mine = "EOS6MRyAjQq8ud7hVNYcfnVPJqcVpscN5So8BhtHuGYqET5GDW5CV"
	key, err := k1.Generate(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other := key.Public().Modern()
	n := &localNode{producers: []string{"bp"}, keys: []string{mine}}
	for want, s := range map[string][]node.Producer{
		"":   {{Name: "bp", Keys: []string{other, mine}}, {Name: "else", Keys: []string{other}}},
		"bp": {{Name: "else", Keys: []string{mine}}, {Name: "bp", Keys: []string{other}}},
	} {
		if got := n.keyless(node.Schedule{Producers: s}); got != want {
			t.Errorf("%v: %q, not %q", s, got, want)
		}
	}
	if got := n.keyless(node.Schedule{Producers: []node.Producer{{Name: "bp", Keys: []string{"PUB_R1_x"}}}}); got != "" {
		t.Errorf("a key of a kind that is not understood: %q", got)
	}
}

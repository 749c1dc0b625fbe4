package gate

import (
	"context"
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"roundtable/chain"
	"roundtable/node/k1"
)

func TestNewRefusesBadConfig(t *testing.T) {
	good := Config{Socket: "/tmp/x.sock", Producers: []string{"eosio"}, Signer: newKeys(t, devPrivate)}
	for name, change := range map[string]func(*Config){
		"no socket":    func(c *Config) { c.Socket = "" },
		"long socket":  func(c *Config) { c.Socket = string(make([]byte, 108)) },
		"no producers": func(c *Config) { c.Producers = nil },
		"bad producer": func(c *Config) { c.Producers = []string{"Eosio!"} },
		"no signer":    func(c *Config) { c.Signer = nil },
		"no keys":      func(c *Config) { c.Signer = newKeys(t) },
		"bad key":      func(c *Config) { c.Signer = &keys{names: []string{"EOSnonsense"}} },
	} {
		cfg := good
		change(&cfg)
		if _, err := New(cfg); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := New(good); err != nil {
		t.Error(err)
	}
}

func TestPermitAndClose(t *testing.T) {
	g := newGate(t, nil)
	n := openNode(t, g)
	num := uint32(1)
	want := func(reason string, slot chain.Slot) {
		t.Helper()
		num++
		n.announce(num, slot)
		if got := n.ask(stamp(slot)); got != reason {
			t.Fatalf("slot base+%d: refused %q, want %q", slot-base, got, reason)
		}
	}
	want(ReasonNoLease, base)
	g.Permit(Permit{5, base, base + 3})
	want("", base)
	want(ReasonBelowHighest, base)
	want("", base+1)
	want(ReasonOutOfRange, base+4)
	g.Permit(Permit{5, base, base + 5}) // extended
	want("", base+4)
	g.Permit(Permit{4, base, base + 12}) // an older state: ignored
	want(ReasonOutOfRange, base+6)
	g.Permit(Permit{})
	want(ReasonNoLease, base+5)
	g.Permit(Permit{5, base, base + 6})
	want("", base+5)

	last := g.Close(5)
	if last.Slot != base+5 || last.Epoch != 5 || last.Num != num || !last.Given || last.Digest == "" {
		t.Fatalf("Close: %+v", last)
	}
	want(ReasonClosed, base+6)
	g.Permit(Permit{5, base, base + 12}) // a lost answer: the state still shows the epoch open [S1]
	want(ReasonClosed, base+7)
	if again := g.Close(5); again != last {
		t.Fatalf("Close again: %+v", again)
	}
	if none := g.Close(6); none != (Signed{}) {
		t.Fatalf("Close of an epoch without a signature: %+v", none)
	}
	g.Permit(Permit{6, base + 6, base + 12})
	want(ReasonClosed, base+8)
	g.Permit(Permit{7, base + 6, base + 12})
	want("", base+8)
	want(ReasonBelowHighest, base+7) // in range, but an old slot: a thawed node

	g.Seal("drill")
	g.Seal("second reason")
	g.Permit(Permit{9, base, base + 12})
	want(ReasonSealed, base+9)
	st := g.Status()
	if st.Sealed != "drill" || st.Open || st.Highest != base+8 || st.LastStarted != base+9 || st.Last.Slot != base+8 || st.Refused[ReasonClosed] != 3 || st.Signatures != 5 {
		t.Fatalf("status: %+v", st)
	}
}

func TestOneDigestPerLineForAllKeys(t *testing.T) {
	signer := newKeys(t, devPrivate, secondWIF)
	g := newGate(t, func(c *Config) { c.Signer = signer })
	n := openNode(t, g)
	g.Permit(Permit{1, base, base + 9})
	n.announce(7, base+1)
	stranger, err := k1.Generate(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range []struct{ digest, key, want string }{
		{"one", signer.names[0], ""},
		{"one", signer.names[1], ""}, // a multi-key authority [L8]
		{"one", signer.names[0], ""}, // the same again
		{"two", signer.names[0], ReasonSecondDigest},
		{"two", signer.names[1], ReasonSecondDigest},
		{"one", stranger.Public().String(), ReasonWrongKey},
	} {
		if got := n.ask(c.digest, c.key); got != c.want {
			t.Errorf("request %d: %q, want %q", i, got, c.want)
		}
	}
	if len(signer.asked) != 2 {
		t.Errorf("the signer was asked %d times, want once per key", len(signer.asked))
	}
	n.say(returnedLine(7))
	if got := n.ask("one"); got != ReasonStaleLine {
		t.Errorf("after the block was done: %q", got)
	}
	n.announce(7, base+1) // the same block once more, as after a restart of the loop
	if got := n.ask("one"); got != ReasonBelowHighest {
		t.Errorf("the same slot announced anew: %q", got)
	}
}

func TestSavannaDigestNamesTheBlock(t *testing.T) {
	savanna := false
	g := newGate(t, func(c *Config) { c.Savanna = func() bool { return savanna } })
	n := openNode(t, g)
	g.Permit(Permit{1, base, base + 9})
	n.announce(7, base+1)
	if got := n.ask("\x00\x00\x00\x08rest"); got != "" {
		t.Fatalf("legacy: %q", got)
	}
	savanna = true
	n.announce(8, base+2)
	if got := n.ask("\x00\x00\x00\x07rest"); got != ReasonDigestMismatch {
		t.Fatalf("another block's digest: %q", got)
	}
	if got := n.ask("\x00\x00\x00\x08rest"); got != "" {
		t.Fatalf("the block's digest: %q", got)
	}
	if last := g.Status().Last; last.ID != last.Digest || last.ID == "" {
		t.Fatalf("under Savanna the digest is the id: %+v", last)
	}
}

func TestSignerFailureCountsAsSigned(t *testing.T) {
	other := newKeys(t, secondWIF)
	for name, hook := range map[string]func(context.Context, [32]byte) (string, error){
		"error":     func(context.Context, [32]byte) (string, error) { return "", errors.New("locked") },
		"timeout":   func(ctx context.Context, _ [32]byte) (string, error) { <-ctx.Done(); return "", ctx.Err() },
		"garbage":   func(context.Context, [32]byte) (string, error) { return "SIG_K1_x", nil },
		"wrong key": func(ctx context.Context, d [32]byte) (string, error) { return other.Sign(ctx, d, other.names[0]) },
		"other digest": func(ctx context.Context, d [32]byte) (string, error) {
			d[0]++
			return newKeys(t, devPrivate).Sign(ctx, d, devPublic)
		},
	} {
		t.Run(name, func(t *testing.T) {
			signer := newKeys(t, devPrivate)
			signer.hook = hook
			g := newGate(t, func(c *Config) { c.Signer, c.SignTimeout = signer, 10*time.Millisecond })
			n := openNode(t, g)
			g.Permit(Permit{1, base, base + 9})
			n.announce(7, base+1)
			if got := n.ask("d"); got != ReasonSignerError {
				t.Fatalf("refused %q", got)
			}
			if last := g.Close(1); last.Slot != base+1 || last.Given {
				t.Fatalf("Close: %+v", last)
			}
		})
	}
}

func TestCloseDoesNotWaitForTheKeyButCountsIt(t *testing.T) {
	signer := newKeys(t, devPrivate)
	asked, answer := make(chan struct{}), make(chan struct{})
	signer.hook = func(context.Context, [32]byte) (string, error) { close(asked); <-answer; return "", nil }
	g := newGate(t, func(c *Config) { c.Signer, c.SignTimeout = signer, time.Minute })
	n := openNode(t, g)
	g.Permit(Permit{1, base, base + 9})
	n.announce(7, base+1)
	done := make(chan string)
	go func() { done <- n.ask("d") }()
	<-asked
	if last := g.Close(1); last.Slot != base+1 || last.Given {
		t.Fatalf("Close during a signature: %+v", last)
	}
	events := g.Events()
	close(answer)
	if got := <-done; got != "" {
		t.Fatalf("the signature under way: %q", got)
	}
	<-events
	if last := g.Close(1); last.Slot != base+1 || !last.Given {
		t.Fatalf("Close after it: %+v", last)
	}
}

func TestNewRunVoidsTheOldLine(t *testing.T) {
	g := newGate(t, nil)
	old := openNode(t, g)
	g.Permit(Permit{1, base, base + 9})
	old.announce(7, base+1)
	before := g.Status().Run
	n := openNode(t, g)
	if got := n.ask("d"); got != ReasonNoLine {
		t.Fatalf("a new run with the old one's line: %q", got)
	}
	old.announce(8, base+2)
	if got := n.ask("d"); got != ReasonNoLine {
		t.Fatalf("the old run's pipe moves the gate: %q", got)
	}
	n.announce(8, base+2)
	if got := n.askRun(before, "d"); got != ReasonStaleLine {
		t.Fatalf("a request of the old run: %q", got)
	}
	if got := n.ask("d"); got != "" {
		t.Fatalf("the new run: %q", got)
	}
	n.announce(9, base+3)
	_ = n.out.Close()
	if got := n.ask("e"); got != ReasonStaleLine {
		t.Fatalf("the node is gone: %q", got)
	}
}

func TestProduced(t *testing.T) {
	g := newGate(t, nil)
	n := openNode(t, g)
	g.Permit(Permit{1, base, base + 9})
	n.announce(7, base+1)
	if got := n.ask("d"); got != "" {
		t.Fatal(got)
	}
	full := "00000007b81842dd9cb39c0d8080d2cd83a5a8181250dfb6e697600e56c699b0"
	events := g.Events()
	if err := g.Produced(7, full[8:24], base+1); err != nil {
		t.Fatal(err)
	}
	<-events
	if err := g.Produced(7, full, base+1); err != nil {
		t.Fatal(err)
	}
	if r, ok := g.Record(base + 1); !ok || r.ID != full {
		t.Fatalf("record %+v", r)
	}
	for name, err := range map[string]error{
		"another number": g.Produced(8, full, base+1),
		"another id":     g.Produced(7, "ffffffffffffffff", base+1),
		"never signed":   g.Produced(8, full, base+2),
	} {
		if !errors.Is(err, ErrMismatch) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if st := g.Status(); st.Mismatches != 3 || st.Sealed != "" {
		t.Errorf("status %+v", st)
	}
}

func TestManyRecords(t *testing.T) {
	g := newGate(t, nil)
	openNode(t, g)
	g.mu.Lock()
	for i := range chain.Slot(keptRecords + 20) {
		g.record(Signed{Epoch: 1, Slot: base + i}, request{})
	}
	g.mu.Unlock()
	if _, ok := g.Record(base + 5); ok || len(g.records) != keptRecords {
		t.Error("records are never forgotten")
	}
	if err := g.Produced(7, "b81842dd9cb39c0d", base+5); err != nil {
		t.Errorf("a forgotten slot: %v", err)
	}
	if last := g.Close(1); last.Slot != base+keptRecords+19 {
		t.Errorf("Close: %+v", last)
	}
}

func TestEachGuardMatters(t *testing.T) {
	for guard, scenario := range map[string]func(t *testing.T, g *Gate, n *fakeNode) (broken bool){
		"range": func(_ *testing.T, _ *Gate, n *fakeNode) bool {
			n.announce(7, base+11)
			return n.ask("a") == "" // beyond Last
		},
		"epoch": func(_ *testing.T, g *Gate, n *fakeNode) bool {
			g.Permit(Permit{2, base, base + 1})
			g.Permit(Permit{1, base, base + 9}) // a late call with an older state
			n.announce(7, base+5)
			return n.ask("a") == ""
		},
		"highest": func(_ *testing.T, _ *Gate, n *fakeNode) bool {
			n.announce(7, base+1)
			n.ask("a")
			n.announce(7, base+1)
			return n.ask("b") == "" // two blocks for one slot
		},
		"record before sign": func(t *testing.T, g *Gate, n *fakeNode) bool {
			asked, answer := make(chan struct{}), make(chan struct{})
			g.cfg.Signer.(*keys).hook = func(context.Context, [32]byte) (string, error) { close(asked); <-answer; return "", nil }
			n.announce(7, base+1)
			done := make(chan string)
			go func() { done <- n.ask("a") }()
			<-asked
			last := g.Close(1)
			close(answer)
			return <-done == "" && last.Slot < base+1 // signed past what Close reported
		},
		"drain in handler": func(_ *testing.T, g *Gate, n *fakeNode) bool {
			g.mu.Lock() // the reader cannot run: a request finds only what it reads itself
			n.announce(8, base+2)
			block := g.run.block
			reason, _ := g.check(request{run: 1, digest: digestOf("x"), key: public(n.t, devPublic), hungUp: func() error { return nil }}, false)
			stale := g.run.block == block
			g.mu.Unlock()
			return stale && reason == ReasonNoLine // decided without the newest line
		},
		"finality of close": func(_ *testing.T, g *Gate, n *fakeNode) bool {
			g.Close(1)
			n.announce(7, base+1)
			return n.ask("a") == ""
		},
		"packet trust": func(_ *testing.T, _ *Gate, n *fakeNode) bool {
			n.say("agent\n" + startLine(7, base+3, "eosio") + "\n" + timerLine(7))
			return n.ask("a") == ""
		},
	} {
		t.Run(guard, func(t *testing.T) {
			for _, without := range []bool{false, true} {
				g := newGate(t, nil)
				if without {
					g.Without(guard)
				}
				n := openNode(t, g)
				g.Permit(Permit{1, base, base + 9})
				if broken := scenario(t, g, n); broken != without {
					t.Errorf("guard taken away: %v, broken: %v", without, broken)
				}
			}
		})
	}
}

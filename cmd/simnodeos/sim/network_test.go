package sim

import (
	"crypto/rand"
	"fmt"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"
)

func peers(rigs ...*rig) []string {
	var out []string
	for _, r := range rigs {
		out = append(out, "--p2p-peer-address", r.p2p)
	}
	return out
}

func args(base []string, more ...[]string) []string {
	out := append([]string(nil), base...)
	for _, m := range more {
		out = append(out, m...)
	}
	return out
}

func TestPausedPeerFollowsWithLatency(t *testing.T) {
	t.Parallel()
	g := writeGenesis(t)
	ra, rb := newRig(t, "a", g, keyConfig), newRig(t, "b", g, keyConfig)
	a := ra.start(args([]string{"-e", "--genesis-json", g, "--sim-p2p-latency", "80ms"}, peers(rb))...)
	a.produced(3)
	b := rb.start(args([]string{"-e", "-x", "--genesis-json", g, "--sim-p2p-latency", "80ms"}, peers(ra))...)
	b.stderr.wait(t, 2, `old state in sync becoming|becoming in sync`)
	got := b.stderr.wait(t, 7, `^info  (\S+) nodeos    controller.cpp:3616           log_applied          \] `+receivedPattern)
	m := got[len(got)-1]
	var sent string
	for _, l := range ra.readLedger() {
		if l.ID.Short() == m[2] {
			sent = l.SignedAt
		}
	}
	signed, err := time.Parse(time.RFC3339Nano, sent)
	if err != nil {
		t.Fatalf("b has %v, which a did not produce", m)
	}
	if d := parseTime(t, m[1]).Sub(signed); d < 78*time.Millisecond {
		t.Errorf("block took %s", d)
	}
	b.stderr.wait(t, 2, `Not producing block because production is explicitly paused, block`)
	// Both list each other: one of the two links goes as a duplicate and stays away.
	until(t, "one connection each", func() bool {
		_, x := ra.post("/v1/net/connections", "")
		_, y := rb.post("/v1/net/connections", "")
		return strings.Count(x, `"is_socket_open":true`) == 1 && strings.Count(y, `"is_socket_open":true`) == 1
	})
	// Handover with the pause's last block awaited: no fork.
	a.post("/v1/producer/pause", "")
	a.stderr.wait(t, 1, `explicitly paused`)
	head := a.info()
	until(t, "b has a's last block", func() bool { return b.info().HeadID == head.HeadID })
	b.post("/v1/producer/resume", "")
	b.produced(3)
	until(t, "a follows b", func() bool { return a.info().Head >= head.Head+3 })
	for name, p := range map[string]*proc{"a": a, "b": b} {
		if s := p.stderr.String(); strings.Contains(s, "switching forks") || strings.Contains(s, "Unlinkable") {
			t.Errorf("%s: forks or unlinkable blocks:\n%s", name, tail(s))
		}
	}
}

// TestTwoProducersSplit: one key, both producing, transactions flowing: different blocks for the same slots, and the chain
// splits for good, as in the recordings f-double-production.
func TestTwoProducersSplit(t *testing.T) {
	t.Parallel()
	g := writeGenesis(t)
	ra, rb, rc := newRig(t, "a", g, keyConfig), newRig(t, "b", g, keyConfig), newRig(t, "c", g)
	a := ra.start(args([]string{"-e", "--genesis-json", g}, peers(rb, rc))...)
	b := rb.start(args([]string{"-e", "-x", "--genesis-json", g}, peers(ra, rc))...)
	c := rc.start(args([]string{"--genesis-json", g}, peers(ra, rb))...)
	c.stderr.wait(t, 2, `Received block`)
	b.stderr.wait(t, 2, `Received block`)
	b.post("/v1/producer/resume", "")
	until(t, "a slot signed twice with different blocks", func() bool {
		ids := map[uint32]Hash{}
		for _, l := range append(ra.readLedger(), rb.readLedger()...) {
			if id, ok := ids[l.Slot]; ok && id != l.ID {
				return true
			}
			ids[l.Slot] = l.ID
		}
		return false
	})
	until(t, "somebody sees it", func() bool {
		all := a.stderr.String() + b.stderr.String()
		return strings.Contains(all, "producing, fork database head at: #") && strings.Contains(all, "Unlinkable block (3030001)") &&
			strings.Contains(all, "not accepted, closing connection immediately") && strings.Contains(all, "received go_away_message, reason = chain is forked")
	})
}

// TestForkSwitch lets two halves of a three-producer chain run apart and together again.
func TestForkSwitch(t *testing.T) {
	t.Parallel()
	g := writeGenesis(t)
	conf := func(names ...string) string {
		return "producer-name = " + strings.Join(names, "\nproducer-name = ") + "\nsim-schedule = 3\nsim-control = true\nsignature-provider = " + devPub + "=KEY:" + devPriv
	}
	ra, rb := newRig(t, "a", g, conf("prodaaaa", "prodbbbb", "prodcccc")), newRig(t, "b", g, conf("prodaaaa", "prodbbbb", "prodcccc"))
	a := ra.start("-e", "--genesis-json", g)
	b := rb.start(args([]string{"-e", "-x", "--genesis-json", g}, peers(ra))...)
	b.stderr.wait(t, 2, `Received block .* signed by prod(aaaa|bbbb|cccc) `)
	if code, _ := b.post("/sim/cut", "a"); code != 200 {
		t.Fatal("no control")
	}
	a.post("/v1/producer/pause", "")
	a.stderr.wait(t, 1, "explicitly paused")
	b.post("/v1/producer/resume", "")
	b.produced(1)
	b.post("/v1/producer/pause", "")
	b.stderr.wait(t, 2, "explicitly paused")
	a.post("/v1/producer/resume", "")
	until(t, "a is longer", func() bool { return a.info().Head > b.info().Head+1 })
	if s := b.stderr.String(); strings.Contains(s, "switching forks") {
		t.Fatalf("the cut link leaks:\n%s", tail(s))
	}
	b.post("/sim/heal", "a")
	b.stderr.wait(t, 1, `switching forks from [0-9a-f]{64} \(block number \d+ prod....\) \[ irreversible_blocknum: \d+, block_num: \d+, timestamp: \S+, id: [0-9a-f]{64} \] to [0-9a-f]{64} \(`)
	b.stderr.wait(t, 1, `successfully switched fork to new head [0-9a-f]{64}, removed \{\d+:[0-9a-f]{64}.*\}, applied \{\d+:[0-9a-f]{64}.*\}$`)
	until(t, "same chain", func() bool { return a.info().HeadID == b.info().HeadID })
	if lib := a.info().Lib; lib != 1 {
		t.Errorf("three producers, one round not over, irreversible %d", lib)
	}
}

// TestForgedNewline: what a peer says in its handshake is printed as it is.
func TestForgedNewline(t *testing.T) {
	t.Parallel()
	r := newRig(t, "a", writeGenesis(t), keyConfig)
	p := r.start("-e", "--genesis-json", r.genesis)
	p.produced(1)
	c, err := net.Dial("tcp", r.p2p)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	h, err := ReadHandshake(c)
	if err != nil {
		t.Fatal(err)
	}
	forged := "debug 2026-11-21T00:00:00.000 nodeos    producer_plugin.cpp:2227      start_block          ] Starting block #99 2026-11-21T00:00:00.000 producer eosio, deadline 2026-11-21T00:00:00.000"
	_, _ = rand.Read(h.NodeID[:])
	h.P2PAddress, h.HeadNum = "x\n"+forged+"\ny", 0
	if err := WriteHandshake(c, h); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	p.stderr.wait(t, 1, "^"+regexp.QuoteMeta(forged)+"$")
}

func TestOnlySoManyPeersPerHost(t *testing.T) {
	t.Parallel()
	g := writeGenesis(t)
	ra, rb, rc := newRig(t, "a", g, keyConfig), newRig(t, "b", g), newRig(t, "c", g)
	a := ra.start("-e", "--genesis-json", g, "--p2p-max-nodes-per-host", "1")
	a.produced(1)
	b := rb.start(args([]string{"--genesis-json", g}, peers(ra))...)
	b.stderr.wait(t, 2, `Received block`)
	c := rc.start(args([]string{"--genesis-json", g}, peers(ra))...)
	c.stderr.wait(t, 2, `Peer closed connection|Connection reset by peer`)
	if strings.Contains(c.stderr.String(), "Received block") {
		t.Error("c got in")
	}
}

// TestThreeProducersOnTwoNodes crosses a window's border for real.
func TestThreeProducersOnTwoNodes(t *testing.T) {
	t.Parallel()
	g := writeGenesis(t)
	conf := func(names ...string) string {
		return "sim-schedule = prodaaaa,prodbbbb,prodcccc\nproducer-name = " + strings.Join(names, "\nproducer-name = ") + "\nsignature-provider = " + devPub + "=KEY:" + devPriv
	}
	ra, rb := newRig(t, "a", g, conf("prodaaaa")), newRig(t, "b", g, conf("prodbbbb", "prodcccc"))
	a := ra.start(args([]string{"-e", "--genesis-json", g}, peers(rb))...)
	b := rb.start(args([]string{"-e", "--genesis-json", g}, peers(ra))...)
	a.stderr.wait(t, 3, `Received block .* signed by prod(bbbb|cccc) `)
	until(t, "a block of each on both", func() bool {
		return strings.Contains(a.stderr.String(), "Produced block") && strings.Contains(b.stderr.String(), "Produced block") &&
			strings.Contains(b.stderr.String(), "Received block")
	})
	for _, p := range []*proc{a, b} {
		for _, l := range p.readLedger() {
			owner := []string{"prodaaaa", "prodbbbb", "prodcccc"}[l.Slot%36/12]
			if !strings.Contains(strings.Join(p.config, "\n"), "producer-name = "+owner) {
				t.Errorf("%s signed slot %d of %s", p.name, l.Slot, owner)
			}
		}
	}
	_, body := a.post("/v1/chain/get_producer_schedule", "")
	if strings.Count(body, `"producer_name":"prod`) != 3 {
		t.Error(body)
	}
}

func TestFinalityLag(t *testing.T) {
	for _, c := range []struct{ producers, least, most int }{{1, 1, 1}, {3, 24, 49}, {21, 170, 345}} {
		names := make([]string, c.producers)
		for i := range names {
			names[i] = fmt.Sprintf("p%c", 'a'+i)
		}
		rule := finality{names: names}
		n := &node{block: &Block{}, num: 1, lib: 1}
		sched := schedule{names: names}
		for slot := uint32(1); slot < 2000; slot++ {
			b := &Block{Header: Header{Slot: slot, Producer: sched.producer(slot), Previous: n.id}}
			if slot == 1 {
				b.Previous[3] = 1
			}
			n = rule.extend(n, b)
			if lag := int(n.num - n.lib); slot > 1500 && (lag < c.least || lag > c.most) {
				t.Fatalf("%d producers: irreversible lags %d at block %d", c.producers, lag, n.num)
			}
		}
	}
	rule := finality{savanna: true}
	n := &node{block: &Block{}, num: 9, lib: 7}
	b := &Block{}
	b.Previous[3] = 9
	if next := rule.extend(n, b); next.lib != 8 {
		t.Errorf("Savanna: irreversible %d at block %d", next.lib, next.num)
	}
}

// TestRefusedStandbyLagsBehind: an unpaused standby whose signer refuses is in producing mode all the time. It applies
// received blocks only when its head is no longer on what they make irreversible, so it lags and would build on a stale head.
func TestRefusedStandbyLagsBehind(t *testing.T) {
	t.Parallel()
	g := writeGenesis(t)
	s := newRawSigner(t, "tcp", "127.0.0.1:0")
	s.set(func(string) string { return httpAnswer("500 Internal Server Error", "", "no") })
	ra, rb := newRig(t, "a", g, keyConfig), newRig(t, "b", g, keosdConfig("http://"+s.l.Addr().String()))
	a := ra.start("-e", "--genesis-json", g)
	b := rb.start(args([]string{"-e", "-x", "--genesis-json", g}, peers(ra))...)
	b.stderr.wait(t, 2, `Received block`)
	b.post("/v1/producer/resume", "")
	b.stderr.wait(t, 6, `^info  \S+ nodeos    producer_plugin.cpp:925       on_incoming_block    \] producing, fork database head at: #\d+ id: [0-9a-f]{64}$`)
	most, goal := uint32(0), b.info().Head+6
	until(t, "it follows nevertheless", func() bool {
		ahead, mine := a.info().Head, b.info().Head
		if ahead > mine {
			most = max(most, ahead-mine)
		}
		return mine >= goal
	})
	if most < 1 || most > 3 {
		t.Errorf("its head was up to %d blocks behind", most)
	}
	if n := len(b.readLedger()); n != 0 {
		t.Errorf("%d blocks signed", n)
	}
}

package control

import (
	"strings"
	"testing"
	"time"

	"roundtable/chain"
	"roundtable/cluster/health"
	"roundtable/fsm"
)

const (
	incA = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	incB = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	incC = "cccccccccccccccccccccccccccccccc"
)

var testNow = time.UnixMilli(chain.Slot(103).UnixMilli())

// world is a state of three members with a lease of a, slots 100..104, and their reports.
func world() (*fsm.State, map[string]health.Peer) {
	s := fsm.New()
	s.Cluster = fsm.Cluster{Name: "t", ChainID: strings.Repeat("c1", 32), Producers: []string{"bp"}, Slots: 4}
	s.Lease = fsm.Lease{Epoch: 3, Holder: "a", Incarnation: incA, First: 100, Last: 104}
	s.Round.Schedule = []string{"bp"}
	peers := map[string]health.Peer{}
	for id, inc := range map[string]string{"a": incA, "b": incB, "c": incC} {
		s.Members[id] = fsm.Member{ID: id, Incarnation: inc, EntryVersion: 1}
		peers[id] = health.Peer{Alive: true, Seen: testNow, Report: health.Report{Member: id, Incarnation: inc, Node: "running", Fit: true, Head: chain.Block{Slot: 101, Num: 50}}}
	}
	return s, peers
}

// restores is an operation that restored a member's node, started at a slot.
func restores(at chain.Slot, member string, auto bool) []fsm.Operation {
	return []fsm.Operation{{ID: 9, Kind: fsm.KindRestore, Outcome: fsm.Done, Started: at.UnixMilli(), Task: &fsm.Task{Member: member, Auto: auto}}}
}

// snapshots is an operation that has a member's nodeos write a chain snapshot.
func snapshots(member string) []fsm.Operation {
	step := fsm.Step{Name: fsm.StepSnapshot, Assignee: member, Parts: []fsm.Part{{Member: member, Incarnation: incB}}}
	return []fsm.Operation{{ID: 9, Kind: fsm.KindBackup, Outcome: fsm.Running, Task: &fsm.Task{Member: member, Copies: fsm.CopiesSnapshot}, Steps: []fsm.Step{step}}}
}

func TestPlanLease(t *testing.T) {
	type change struct {
		s     *fsm.State
		peers map[string]health.Peer
		in    *leaseInput
	}
	report := func(c change, id string, f func(*health.Peer)) {
		p := c.peers[id]
		f(&p)
		c.peers[id] = p
	}
	for _, c := range []struct {
		name   string
		change func(change)
		holder string // "" for no grant
		first  chain.Slot
		reason string
	}{
		{"held", func(c change) { c.in.now = 103 }, "", 0, "is held"},
		{"used up: a holder that did not extend comes last", func(c change) { c.in.now = 104 }, "b", 105, "failover"},
		{"and not for the blocks that nobody else has", func(c change) {
			c.in.now = 104
			report(c, "a", func(p *health.Peer) { p.Report.Head.Slot = 104 })
			report(c, "b", func(p *health.Peer) { p.Report.Head.Slot = 99 })
			report(c, "c", func(p *health.Peer) { p.Report.Head.Slot = 100 })
		}, "c", 105, "failover"},
		{"whose node is to get other data comes late", func(c change) {
			c.in.now = 104
			o := restores(90, "b", false)
			o[0].Outcome, o[0].Steps = fsm.Running, []fsm.Step{{Name: fsm.StepFetch, Assignee: "b", Parts: []fsm.Part{{Member: "b", Incarnation: incB}}}}
			c.s.Operations = o
		}, "c", 105, "failover"},
		{"who stands still for a snapshot comes late", func(c change) {
			c.in.now = 104
			c.s.Operations = snapshots("b")
		}, "c", 105, "failover"},
		{"and is better than nobody", func(c change) {
			c.in.now = 104
			c.s.Operations = snapshots("b")
			for _, id := range []string{"a", "c"} {
				report(c, id, func(p *health.Peer) { p.Alive = false })
			}
		}, "b", 105, "failover"},
		{"a node that is behind the others is still no choice", func(c change) {
			c.in.now = 104
			report(c, "a", func(p *health.Peer) { p.Report.Head.Slot = 104 })
			report(c, "b", func(p *health.Peer) { p.Report.Head.Slot, p.Report.Fit = 100, false })
			report(c, "c", func(p *health.Peer) { p.Report.Head.Slot = 97 })
		}, "a", 105, "used up"},
		{"used up, but the leader's clock jumped", func(c change) { c.in.now, c.in.jumped = 136, true }, "", 0, "jumped"},
		{"used up, holder dead", func(c change) { c.in.now = 104; report(c, "a", func(p *health.Peer) { p.Alive = false }) }, "b", 105, "failover"},
		{"long dead: from the slot now on", func(c change) { c.in.now = 150; report(c, "a", func(p *health.Peer) { p.Alive = false }) }, "b", 150, "failover"},
		{"used up, holder silent but not yet dead in gossip", func(c change) {
			c.in.now = 104
			report(c, "a", func(p *health.Peer) { p.Seen = testNow.Add(-2 * time.Second) })
		}, "b", 105, "failover"},
		{"a leader whose clock is off grants nothing", func(c change) { c.in.now, c.in.ahead = 104, 600*time.Millisecond }, "", 0, "clock"},
		{"a new leader that heard nobody's clock waits", func(c change) { c.in.now, c.in.since, c.in.offsets, c.s.Lease.Released = 105, 102, nil, true }, "", 0, "clocks"},
		{"but not for ever", func(c change) { c.in.now, c.in.since, c.in.offsets, c.s.Lease.Released = 106, 102, nil, true }, "b", 106, "released"},
		{"whose clock is off comes last", func(c change) { c.in.now, c.in.offsets["b"] = 104, -600*time.Millisecond }, "c", 105, "failover"},
		{"and is taken where there is nobody else", func(c change) {
			c.in.now = 104
			for _, id := range []string{"a", "b", "c"} {
				c.in.offsets[id] = 600 * time.Millisecond
			}
		}, "b", 105, "failover"},
		{"a new leader waits", func(c change) { c.in.now, c.in.since = 104, 103 }, "", 0, "gives the holder time"},
		{"a new leader grants what was released at once", func(c change) { c.in.now, c.in.since = 102, 102; c.s.Lease.Released = true }, "b", 105, "released"},
		{"the only one that is left has old data", func(c change) {
			c.in.now, c.s.Lease.Released = 102, true
			c.s.Round.Windows = []fsm.Window{{First: 480, Due: 12, Signed: 12}, {First: 900, Due: 12, Missed: 12}}
		}, "", 0, "slots behind what we signed"},
		{"it has not much less", func(c change) {
			c.in.now, c.s.Lease.Released = 102, true
			c.s.Round.Windows = []fsm.Window{{First: 456, Due: 12, Signed: 1}}
		}, "b", 105, "released"},
		{"old data, and a handoff that told of newer", func(c change) { c.in.now, c.s.Lease.Released, c.s.LastBlock.Slot = 102, true, 600 }, "", 0, "slots behind what we signed"},
		{"old data that an operator wants", func(c change) {
			c.in.now, c.s.Lease.Released = 102, true
			c.s.Round.Windows = []fsm.Window{{First: 480, Due: 12, Signed: 12}}
			c.s.Operations = restores(505, "c", false)
		}, "c", 105, "released"},
		{"old data that nobody asked for", func(c change) {
			c.in.now, c.s.Lease.Released = 102, true
			c.s.Round.Windows = []fsm.Window{{First: 480, Due: 12, Signed: 12}}
			c.s.Operations = restores(505, "c", true)
		}, "", 0, "slots behind what we signed"},
		{"old data that was wanted while somebody signed", func(c change) {
			c.in.now, c.s.Lease.Released = 102, true
			c.s.Round.Windows = []fsm.Window{{First: 480, Due: 12, Signed: 12}}
			c.s.Operations = restores(504, "c", false)
		}, "", 0, "slots behind what we signed"},
		{"who gave it up gets it where nobody else is fit", func(c change) {
			c.in.now, c.s.Lease.Released = 102, true
			report(c, "b", func(p *health.Peer) { p.Alive = false })
			report(c, "c", func(p *health.Peer) { p.Alive = false })
		}, "a", 105, "released"},
		{"who gave it up before comes after who did not", func(c change) {
			c.in.now, c.s.Lease.Released = 102, true
			c.s.Past = []fsm.Lease{{Epoch: 2, Holder: "b", Incarnation: incB, First: 90, Last: 99, Released: true}}
		}, "c", 105, "released"},
		{"restarted holder: beyond its old range at once", func(c change) {
			m := c.s.Members["a"]
			m.Incarnation = strings.Repeat("e", 32)
			c.s.Members["a"] = m
			c.in.now = 102
		}, "b", 105, "restarted"},
		{"priority decides between standbys", func(c change) {
			c.in.now = 110
			report(c, "a", func(p *health.Peer) { p.Report.Fit = false })
			m := c.s.Members["c"]
			m.Priority = 5
			c.s.Members["c"] = m
		}, "c", 110, ""},
		{"a node that is behind never wins", func(c change) {
			c.in.now = 110
			report(c, "a", func(p *health.Peer) { p.Report.Fit = false })
			report(c, "b", func(p *health.Peer) { p.Report.Head.Slot = 98 })
		}, "c", 110, ""},
		{"nobody fit: nobody gets it, with the reasons", func(c change) {
			c.in.now = 110
			for _, id := range []string{"a", "b", "c"} {
				report(c, id, func(p *health.Peer) { p.Report.Fit, p.Report.Reason = false, "node down" })
			}
		}, "", 0, "a node down; b node down; c node down"},
		{"cluster maintenance: only the holder again", func(c change) {
			c.in.now, c.s.Cluster.Maintenance = 110, true
			report(c, "a", func(p *health.Peer) { p.Alive = false })
		}, "", 0, "in maintenance: fit, but production is not moved to them: b c"},
		{"two clocks, far apart", func(c change) { c.in.now, c.in.apart = 104, 600*time.Millisecond }, "", 0, "two clocks"},
		{"the first lease starts beyond every head seen", func(c change) {
			c.in.now, c.s.Lease = 103, fsm.Lease{}
			report(c, "b", func(p *health.Peer) { p.Report.Head.Slot = 105 })
			report(c, "a", func(p *health.Peer) { p.Report.Head.Slot = 105 })
			report(c, "c", func(p *health.Peer) { p.Report.Head.Slot = 105 })
		}, "a", 106, "first lease"},
		{"after a recovery: beyond the fence and every head seen", func(c change) {
			c.in.now = 103
			c.s.Lease = fsm.Lease{Epoch: 4, First: 90, Last: 100, Released: true}
			for _, id := range []string{"a", "b", "c"} {
				report(c, id, func(p *health.Peer) { p.Report.Head.Slot = 105 })
			}
		}, "a", 106, "after a recovery"},
		{"after a recovery: the fence is not over", func(c change) {
			c.in.now = 103
			c.s.Lease = fsm.Lease{Epoch: 4, First: 90, Last: 118, Released: true}
		}, "a", 119, "after a recovery"},
		{"after a recovery: a head that is early, as heads are", func(c change) {
			c.in.now = 103
			c.s.Lease = fsm.Lease{Epoch: 4, First: 90, Last: 100, Released: true}
			for _, id := range []string{"a", "b", "c"} {
				report(c, id, func(p *health.Peer) { p.Report.Head.Slot = 103 + headAhead })
			}
		}, "a", 116, "after a recovery"},
		{"after a recovery: a head that the leader's clock has not reached", func(c change) {
			c.in.now = 103
			c.s.Lease = fsm.Lease{Epoch: 4, First: 90, Last: 100, Released: true}
			report(c, "c", func(p *health.Peer) { p.Report.Head.Slot = 104 + headAhead })
		}, "", 0, "13 slots ahead of the leader's clock: set the clock"},
		{"a head far ahead is none for the first lease of all", func(c change) {
			c.in.now, c.s.Lease = 103, fsm.Lease{}
			for _, id := range []string{"a", "b", "c"} {
				report(c, id, func(p *health.Peer) { p.Report.Head.Slot = 1000 })
			}
		}, "a", 115, "first lease"},
		{"after a recovery, in maintenance", func(c change) {
			c.in.now, c.s.Cluster.Maintenance = 130, true
			c.s.Lease = fsm.Lease{Epoch: 4, First: 90, Last: 118, Released: true}
		}, "", 0, "end it"},
		{"no configuration", func(c change) { c.s.Cluster = fsm.Cluster{}; c.in.now = 200 }, "", 0, "no configuration"},
	} {
		s, peers := world()
		in := leaseInput{state: s, peers: peers, now: 103, at: testNow, since: 10, offsets: map[string]time.Duration{"b": 0, "c": 0}}
		c.change(change{s, peers, &in})
		d := planLease(in)
		if !strings.Contains(d.reason, c.reason) {
			t.Errorf("%s: reason %q does not say %q", c.name, d.reason, c.reason)
		}
		switch {
		case d.grant == nil && c.holder != "":
			t.Errorf("%s: no grant: %s", c.name, d.reason)
		case d.grant != nil && (d.grant.Holder != c.holder || d.grant.First != c.first):
			t.Errorf("%s: granted %s from %d, want %q from %d", c.name, d.grant.Holder, d.grant.First, c.holder, c.first)
		case d.grant != nil:
			if _, r := s.Apply(fsm.Entry{Index: 9, Command: *d.grant}); r.Err != nil {
				t.Errorf("%s: the state refuses the grant: %v", c.name, r.Err)
			}
		}
	}
}

func TestUnfit(t *testing.T) {
	for name, change := range map[string]func(*fsm.Member, *health.Peer){
		"witness":             func(m *fsm.Member, _ *health.Peer) { m.Witness = true },
		"in maintenance":      func(m *fsm.Member, _ *health.Peer) { m.Maintenance = true },
		"nofailover":          func(m *fsm.Member, _ *health.Peer) { m.NoFailover = true },
		"not alive":           func(_ *fsm.Member, p *health.Peer) { p.Alive = false },
		"restarted":           func(_ *fsm.Member, p *health.Peer) { p.Report.Incarnation = incC },
		"gate sealed":         func(_ *fsm.Member, p *health.Peer) { p.Report.Sealed = "doubled" },
		"on another chain":    func(_ *fsm.Member, p *health.Peer) { p.Report.Chain = "ffff" },
		"disk stalled":        func(_ *fsm.Member, p *health.Peer) { p.Report.Stalled = true },
		"report is 1.3 s old": func(_ *fsm.Member, p *health.Peer) { p.Seen = testNow.Add(-1300 * time.Millisecond) },
		"not fit":             func(_ *fsm.Member, p *health.Peer) { p.Report.Fit = false },
		"clock":               func(_ *fsm.Member, p *health.Peer) { p.Report.OffsetMs = -501 },
		"3 slots behind":      func(_ *fsm.Member, p *health.Peer) { p.Report.Head.Slot = 98 },
		"":                    func(_ *fsm.Member, p *health.Peer) { p.Report.Head.Slot = 99; p.Report.OffsetMs = 500 },
	} {
		s, peers := world()
		m, p := s.Members["b"], peers["b"]
		change(&m, &p)
		s.Members["b"] = m
		if got := unfit(s, "b", p, 101, testNow, false); !strings.Contains(got, name) || (name == "" && got != "") {
			t.Errorf("want %q, got %q", name, got)
		}
	}
}

func TestPlanProduction(t *testing.T) {
	healthy := NodeView{State: "running", Healthy: true}
	base := productionInput{lease: fsm.Lease{Epoch: 1, First: 100, Last: 104}, mine: true, node: healthy, now: 101, open: true, hasAfter: true}
	for _, c := range []struct {
		name   string
		change func(*productionInput)
		want   bool
	}{
		{"ours", func(*productionInput) {}, true},
		{"not ours", func(in *productionInput) { in.mine = false }, false},
		{"last slot of the range", func(in *productionInput) { in.now = 104 }, true},
		{"range used up", func(in *productionInput) { in.now = 105 }, false},
		{"range not begun", func(in *productionInput) { in.now = 98 }, false},
		{"the first slot is next", func(in *productionInput) { in.now = 99 }, true},
		{"sick node", func(in *productionInput) { in.node.Healthy = false }, false},
		{"the gate is not open yet", func(in *productionInput) { in.open = false }, false},
		{"the last block is missing", func(in *productionInput) { in.hasAfter = false }, false},
		{"one slot's patience is not over when the slot turns", func(in *productionInput) { in.hasAfter, in.now, in.waited = false, 102, 499*time.Millisecond }, false},
		{"one slot's patience", func(in *productionInput) { in.hasAfter, in.now, in.waited = false, 102, 500*time.Millisecond }, true},
	} {
		in := base
		c.change(&in)
		if got, reason := planProduction(in); got != c.want {
			t.Errorf("%s: %v (%s)", c.name, got, reason)
		}
	}
}

func TestPlanExtend(t *testing.T) {
	l := fsm.Lease{Epoch: 1, First: 90, Last: 104}
	for _, c := range []struct {
		name         string
		now, started chain.Slot
		want         chain.Slot
	}{
		{"nothing to add", 100, 100, 0},
		{"from the slot now", 101, 90, 105},
		{"from the slot being built", 100, 101, 105},
		{"plain production at the end of a window", 105, 107, 111},
		{"plain production at its start: no further", 106, 108, 112},
		{"blocks fill: to the end of the window", 100, 103, 107}, // the window is 96..107
		{"running ahead across the window's end", 100, 108, 116}, // bounded by slot(now)+MaxLease
		{"a started slot beyond belief is bounded", 100, 1000, 116},
	} {
		if got := planExtend(l, 4, c.now, c.started); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

func TestPlanRelease(t *testing.T) {
	healthy := NodeView{State: "running", Healthy: true}
	for _, c := range []struct {
		name   string
		change func(*releaseInput)
		want   string
	}{
		{"keeps", func(*releaseInput) {}, ""},
		{"not ours", func(in *releaseInput) { in.ours = false; in.stalled = true }, ""},
		{"a handoff is handing it on", func(in *releaseInput) { in.handingOn = true; in.gate.Closed = 3 }, ""},
		{"closed gate", func(in *releaseInput) { in.gate.Closed = 3 }, "final"},
		{"sealed", func(in *releaseInput) { in.gate.Sealed = "x" }, "sealed"},
		{"disk", func(in *releaseInput) { in.stalled = true }, "disk"},
		{"clock", func(in *releaseInput) { in.clock = -600 * time.Millisecond }, "clock"},
		{"cut off from the chain", func(in *releaseInput) { in.cutOff = "no p2p peers" }, "p2p"},
		{"node down", func(in *releaseInput) { in.node = NodeView{State: "failed", Reason: "exit 1"} }, "exit 1"},
		{"3 silent slots are noise", func(in *releaseInput) { in.now = 104 }, ""},
		{"4 silent slots are not", func(in *releaseInput) { in.now = 105 }, "unsigned"},
		{"silence before the node was resumed does not count", func(in *releaseInput) { in.now, in.resumed = 105, 104 }, ""},
	} {
		s, _ := world()
		in := releaseInput{state: s, ours: true, node: healthy, now: 101, resumed: 99, gate: GateView{Given: 100}}
		c.change(&in)
		if got := planRelease(in); !strings.Contains(got, c.want) || (c.want == "" && got != "") {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestPlanAwait(t *testing.T) {
	s, _ := world()
	s.Cluster.Producers = []string{"us"}
	s.Round.Schedule = []string{"us", "x", "y"} // our windows: slots 0..11, 36..47
	for _, c := range []struct {
		now  chain.Slot
		when string
		want chain.Slot
	}{{5, "safe", 12}, {5, "now", 5}, {11, "safe", 12}, {12, "safe", 12}, {20, "safe", 20}, {33, "safe", 48}, {30, "safe", 30}, {35, "safe", 48}, {46, "safe", 48}, {47, "safe", 48}} {
		if got := planAwait(s, c.when, c.now); got != c.want {
			t.Errorf("now %d, %s: %d, want %d", c.now, c.when, got, c.want)
		}
	}
	s.Round.Schedule = []string{"us"}
	if got := planAwait(s, "safe", 7); got != 7 {
		t.Errorf("a chain without a gap has nothing to wait for, got %d", got)
	}
}

func TestAdmitClampsTheReach(t *testing.T) {
	now := time.UnixMilli(chain.Slot(1000).UnixMilli())
	m := NewManager(Config{Now: func() time.Time { return now }})
	for _, c := range []struct {
		in   fsm.Command
		want chain.Slot
	}{
		{fsm.Extend{Last: 1010}, 1010}, {fsm.Extend{Last: 1020}, 1016}, {fsm.Grant{First: 1005, Last: 1019}, 1016},
		{fsm.Transfer{Signed: 1000, Last: 1030}, 1016}, {fsm.Grant{First: 1030, Last: 1040}, 1030},
	} {
		out, err := m.Admit(c.in)
		if err != nil {
			t.Fatal(err)
		}
		var last chain.Slot
		switch v := out.(type) {
		case fsm.Extend:
			last = v.Last
		case fsm.Grant:
			last = v.Last
		case fsm.Transfer:
			last = v.Last
		}
		if last != c.want {
			t.Errorf("%#v: clamped to %d, want %d", c.in, last, c.want)
		}
	}
}

// TestAdmitAfterAJump: a leader whose clock jumped gives out no slots, as holder or for others; what gives slots up passes.
func TestAdmitAfterAJump(t *testing.T) {
	m := NewManager(Config{Jumped: func() bool { return true }})
	for _, c := range []fsm.Command{fsm.Extend{Last: 1}, fsm.Grant{First: 1, Last: 2}, fsm.Transfer{Signed: 1, Last: 2}} {
		if out, err := m.Admit(c); err == nil {
			t.Errorf("%#v admitted as %#v", c, out)
		}
	}
	if _, err := m.Admit(fsm.Release{}); err != nil {
		t.Error(err)
	}
}

func TestPlanWindow(t *testing.T) {
	s, _ := world() // the first lease that is remembered starts at slot 100; windows: 96..107, 108..119
	all := func(first, last chain.Slot) (int, bool) { return int(last - first + 1), true }
	one := func(chain.Slot, chain.Slot) (int, bool) { return 1, true }
	none := func(chain.Slot, chain.Slot) (int, bool) { return 0, false }
	for _, c := range []struct {
		name   string
		now    chain.Slot
		signed func(first, last chain.Slot) (int, bool)
		want   fsm.Window
		ok     bool
	}{
		{"not settled", 111, all, fsm.Window{}, false},
		{"the first window is not whole", 112, all, fsm.Window{Producer: "bp", First: 96, Due: 8, Signed: 8}, true},
		{"misses", 112, one, fsm.Window{Producer: "bp", First: 96, Due: 8, Signed: 1, Missed: 7}, true},
		{"unknown is not guessed", 112, none, fsm.Window{}, false},
		{"a whole window", 124, all, fsm.Window{Producer: "bp", First: 108, Due: 12, Signed: 12}, true},
	} {
		if got, ok := planWindow(s, c.now, c.signed); ok != c.ok || got != c.want {
			t.Errorf("%s: %+v %v, want %+v", c.name, got, ok, c.want)
		}
	}
}

func TestLeftover(t *testing.T) {
	l := fsm.Lease{Epoch: 3, First: 100, Last: 110}
	rec := func(epoch uint64, slot chain.Slot) Record {
		return Record{Epoch: epoch, Block: chain.Block{Slot: slot, Num: 7}}
	}
	for _, c := range []struct {
		name string
		rec  Record
		now  chain.Slot
		want chain.Slot
		num  uint32
	}{
		{"in production: what was signed ahead of time", rec(3, 104), 103, 104, 7},
		{"slots that are over go to nobody", rec(3, 104), 108, 107, 7},
		{"the whole range is over", rec(3, 104), 200, 110, 7},
		{"nothing signed yet", Record{Epoch: 3}, 98, 99, 0},
		{"nothing signed in this epoch", rec(2, 90), 105, 104, 0},
	} {
		signed, block := leftover(l, c.rec, c.now)
		if signed != c.want || block.Num != c.num {
			t.Errorf("%s: signed %d, block %d, want %d, %d", c.name, signed, block.Num, c.want, c.num)
		}
	}
}

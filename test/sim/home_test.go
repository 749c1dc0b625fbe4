package sim_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"roundtable/chain"
	"roundtable/cluster/control"
	"roundtable/fsm"
)

// The versions of nodeos that there are.
const (
	oldVersion    = "v1"
	newVersion    = "v2"
	brokenVersion = "v3-exits"  // ends at once
	deafVersion   = "v4-deaf"   // runs, and never gets a block
	noVersion     = "v5-absent" // cannot be staged
	unevenVersion = "v6-not-m1" // ends at once at one of the members
)

// badConfig is a configuration with which no version starts.
const badConfig = "bad"

// homeDisk is what a member's home folder says; it outlives the processes.
type homeDisk struct {
	mu      sync.Mutex
	current string
	config  string // that the node is started with
	offers  string // that lies there
	staged  map[string]bool

	// What operations on backups left there (vault_test.go).

	fetched map[string]bool
	data    string // the backup that the node runs with; "": its own
	aside   string // what it ran with before, until that is settled
	swapped bool   // aside is there
	of      uint64 // the operation that replaced it
	dirty   bool   // the node does not start with what is there
}

func newHomeDisk() *homeDisk {
	return &homeDisk{current: oldVersion, config: "c1", staged: map[string]bool{oldVersion: true}, fetched: map[string]bool{}}
}

// How long a node takes to stop and to answer after its start.
const (
	stopTime  = 300 * time.Millisecond
	startTime = 700 * time.Millisecond
)

// home is control.Home of one life of a manager.
type home struct {
	disk *homeDisk
	node *node
	gate *gate
	saw  func(chain.Block, string)
	dead chan struct{}
	now  func() time.Time

	mu      sync.Mutex
	runs    string
	config  string
	changed chan struct{}
	armed   uint32
	calls   int // under way
}

var _ control.Home = (*home)(nil)

// newHome is made before the manager of this life; the node starts with what the disk says.
func newHome(m *member) *home {
	d := m.home
	d.mu.Lock()
	defer d.mu.Unlock()
	h := &home{disk: d, node: m.node, gate: m.gate, dead: m.process.dead, now: m.clock.Now, runs: d.current, config: d.config, changed: make(chan struct{})}
	h.saw = func(b chain.Block, producer string) { m.manager.Saw(b, producer) }
	return h
}

func (h *home) beat() { close(h.changed); h.changed = make(chan struct{}) }

// View implements control.Home.
func (h *home) View() control.HomeView {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	h.mu.Lock()
	defer h.mu.Unlock()
	v := control.HomeView{Tag: h.disk.current, Runs: h.runs, Config: h.config, Auto: true, Limit: 20 * time.Second}
	if h.disk.offers != h.config {
		v.Offers = h.disk.offers
	}
	return v
}

// Changed implements control.Home.
func (h *home) Changed() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.changed
}

// offer puts a configuration there.
func (h *home) offer(config string) {
	h.disk.mu.Lock()
	h.disk.offers = config
	h.disk.mu.Unlock()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.beat()
}

// alone is the contract: one call at a time, but for Prove and Resolve.
func (h *home) alone() func() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.calls++; h.calls > 1 {
		panic("two calls of a home at once")
	}
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.calls--
	}
}

// Stage implements control.Home.
func (h *home) Stage(ctx context.Context, u fsm.Upgrade, say func(int, string)) (string, error) {
	defer h.alone()()
	say(10, "fetching")
	pause(ctx, time.Second)
	if u.Tag == noVersion {
		return "", errors.New("no such asset")
	}
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	h.disk.staged[u.Tag] = true
	return "sha256 00", ctx.Err()
}

// Ready implements control.Home.
func (h *home) Ready(context.Context, fsm.Upgrade) error { return nil }

func (h *home) isDead() bool {
	select {
	case <-h.dead:
		return true
	default:
		return false
	}
}

// Become implements control.Home.
func (h *home) Become(ctx context.Context, tag, config string, say func(int, string)) error {
	defer h.alone()()
	h.disk.mu.Lock()
	known := tag == "" || h.disk.staged[tag]
	h.disk.mu.Unlock()
	if !known {
		return fmt.Errorf("version %s is not here", tag)
	}
	if h.isDead() {
		return context.Canceled
	}
	if reason := h.node.stop(); reason != "" {
		h.node.peers.complain(h.node.id + " " + reason)
	}
	say(10, "stopping")
	pause(ctx, stopTime)
	if h.isDead() || ctx.Err() != nil {
		return context.Canceled
	}
	h.disk.mu.Lock()
	if tag != "" {
		h.disk.current = tag
	}
	if config != "" {
		h.disk.config = config
	}
	runs, conf := h.disk.current, h.disk.config
	h.disk.mu.Unlock()
	say(50, "starting")
	pause(ctx, startTime)
	if h.isDead() || ctx.Err() != nil {
		return context.Canceled
	}
	h.mu.Lock()
	h.runs, h.config, h.armed = runs, conf, 0
	h.beat()
	h.mu.Unlock()
	if !h.boot() {
		return errors.New("nodeos ended at once: exit code 1")
	}
	return nil
}

// boot starts the node as it is to be started now; false where it ends at once.
func (h *home) boot() bool {
	h.mu.Lock()
	runs, conf := h.runs, h.config
	h.mu.Unlock()
	h.disk.mu.Lock()
	dirty := h.disk.dirty
	h.disk.mu.Unlock()
	if dirty || runs == brokenVersion || conf == badConfig || strings.HasSuffix(runs, "-not-"+h.node.id) {
		return false
	}
	h.node.deaf(runs == deafVersion)
	h.node.boot(h.gate, h.saw)
	return true
}

// Prove implements control.Home.
func (h *home) Prove(ctx context.Context, best func() chain.Slot, peers func() bool, say func(int, string)) error {
	from := uint32(0)
	for {
		v := h.node.View()
		switch {
		case v.State != "running":
			say(0, "not running")
			from = 0
		case v.Head.Slot+2 < best() || v.Head.Slot+3 < chain.SlotAt(h.now().UnixMilli()):
			say(0, "catching up")
			from = 0
		case from == 0:
			from = v.Head.Num
		case v.Head.Num >= from+5 && peers():
			return nil
		}
		if pause(ctx, 100*time.Millisecond); ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// Snapshot implements control.Home.
func (h *home) Snapshot(ctx context.Context) (string, error) {
	defer h.alone()()
	pause(ctx, time.Second)
	return "snapshot-1.bin", ctx.Err()
}

// Arm implements control.Home.
func (h *home) Arm(_ context.Context, num uint32) error {
	defer h.alone()()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.armed = num
	h.node.stopAt(num)
	return nil
}

// Disarm implements control.Home.
func (h *home) Disarm(context.Context) error {
	defer h.alone()()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.armed = 0
	h.node.stopAt(0)
	return nil
}

// Resolve implements control.Home.
func (h *home) Resolve(_ context.Context, u fsm.Upgrade) (string, error) { return u.SHA256, nil }

// Triggered implements control.Home.
func (h *home) Triggered(context.Context, fsm.Upgrade) (bool, string, error) {
	defer h.alone()()
	return h.node.View().Head.Slot%40 < 8, "a row says so", nil
}

package gate

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"roundtable/chain"
	"roundtable/clock"
	"roundtable/logkey"
	"roundtable/meter"
	"roundtable/node/k1"
)

// Permit is what this manager's applied state allows: the lease, if it is this incarnation's and not released. The zero
// Permit allows nothing.
type Permit struct {
	Epoch uint64     `json:"epoch"`
	First chain.Slot `json:"first"` // both
	Last  chain.Slot `json:"last"`  // included
}

// Signed is a slot that counts as signed. Given tells whether there is a signature that may have left the gate: it is
// false while the key is still being asked and after the signer failed.
type Signed struct {
	Epoch  uint64     `json:"epoch"`
	Slot   chain.Slot `json:"slot"`
	Num    uint32     `json:"num"`
	Digest string     `json:"digest"`       // 64 hex digits
	ID     string     `json:"id,omitempty"` // the block's id: the digest itself under Savanna, else what Produced attached, or ""
	Given  bool       `json:"given"`
	At     time.Time  `json:"at"`
}

// Config is what a gate needs. Socket, Producers and Signer are required.
type Config struct {
	Socket      string           // path of the unix socket; made with mode 0600
	Producers   []string         // ours
	Signer      Signer           // holds or reaches the keys
	SignTimeout time.Duration    // how long the signer may take; default 1 s
	Now         func() time.Time // nil: time.Now
	// WallShift is how far a sandbox has moved the wall clock, Now's included; nil: not at all.
	WallShift func() time.Duration
	// Savanna tells whether the chain has instant finality: then nodeos signs the block id, whose first 4 bytes are the
	// block number (Spring block_state::sign), and the gate checks it [S5]. nil or unknown: false.
	Savanna  func() bool
	MaxAhead chain.Slot // how far past the clock's slot a block may be; default 12
	Log      *slog.Logger
	// OnLine gets every text nodeos writes to stdout, without its newline (one text may hold newlines of its own, and is
	// cut at 64 KiB), in order, from one goroutine per Open. The slice is the callee's. When it is slow, lines are dropped
	// and counted: nodeos never waits for it.
	OnLine func(line []byte)
	// OnRefused and OnSigned are called after the request was answered, from its own goroutine and outside every lock:
	// they may call the gate. Serve waits for them.
	OnRefused func(Refusal)
	OnSigned  func(Signed)
}

const (
	defaultMaxAhead    = 12
	defaultSignTimeout = time.Second
	keptRecords        = 512 // signed slots remembered: more than two rounds of 21 producers
)

// ErrConfig is wrapped by New's errors.
var ErrConfig = errors.New("gate configuration")

// ErrMismatch is returned by Produced when a block is not what this gate signed for its slot.
var ErrMismatch = errors.New("block is not what the gate signed")

// guards are the rules that a test takes away, one at a time, to show that its absence breaks something. All false in
// the program: only export_test.go sets them.
type guards struct {
	noRange, noEpoch, noHighest, lateRecord, noDrain, noFinality, noTrust bool
}

// Gate is one node's signing gate. All methods may be called from any goroutine.
type Gate struct {
	cfg  Config
	keys map[k1.PublicKey]string // what the signer holds, with its name for it
	ours map[string]bool
	off  guards
	turn chan struct{} // one request at a time

	mu          sync.Mutex // one lock for the announced block, the check, the record and close [S4]
	permit      Permit
	newest      uint64 // highest epoch ever permitted
	closed      uint64 // this epoch and all before it never sign again [S1]
	sealed      string
	records     []*Signed               // ascending by slot and by epoch; the newest keptRecords
	answers     map[chain.Slot][]string // signatures given for the slots of records
	confirmed   chain.Block             // newest block that Confirm agreed to
	highest     chain.Slot
	given       chain.Slot // highest slot for which there is a signature
	lastStarted chain.Slot
	buf         []byte // one packet, for draining
	run         *run   // the newest Open; nil before the first
	runs        uint64
	changed     chan struct{}
	listener    *net.UnixListener
	count       counters
	jumps       *clock.Jumps
	jumped      time.Duration // the first jump seen, for good
}

// New checks the configuration and makes a gate that permits nothing. It starts nothing.
func New(cfg Config) (*Gate, error) {
	if cfg.Socket == "" || len(cfg.Producers) == 0 || cfg.Signer == nil {
		return nil, fmt.Errorf("%w: socket, producers and signer are required", ErrConfig)
	}
	if len(cfg.Socket) > maxSocketPath {
		return nil, fmt.Errorf("%w: socket path %q has %d characters, the system's limit is %d; use a shorter home", ErrConfig, cfg.Socket, len(cfg.Socket), maxSocketPath)
	}
	g := &Gate{
		jumps: clock.NewJumps(cfg.WallShift),
		cfg:   cfg, keys: map[k1.PublicKey]string{}, ours: map[string]bool{}, answers: map[chain.Slot][]string{},
		buf: newPacketBuffer(), turn: make(chan struct{}, 1), changed: make(chan struct{}),
	}
	g.count.begin()
	for _, p := range cfg.Producers {
		if !isName(p) {
			return nil, fmt.Errorf("%w: %q is not an account name", ErrConfig, p)
		}
		g.ours[p] = true
	}
	for _, text := range cfg.Signer.Keys() {
		key, err := k1.ParsePublic(text)
		if err != nil {
			return nil, fmt.Errorf("%w: the signer's key %q: %w", ErrConfig, text, err)
		}
		g.keys[key] = text
	}
	if len(g.keys) == 0 {
		return nil, fmt.Errorf("%w: the signer holds no key", ErrConfig)
	}
	if g.cfg.Now == nil {
		g.cfg.Now = time.Now
	}
	if g.cfg.MaxAhead == 0 {
		g.cfg.MaxAhead = defaultMaxAhead
	}
	if g.cfg.SignTimeout == 0 {
		g.cfg.SignTimeout = defaultSignTimeout
	}
	if g.cfg.Log == nil {
		g.cfg.Log = slog.New(slog.DiscardHandler)
	}
	return g, nil
}

// Permit follows the applied state. An epoch older than one already permitted is ignored, and one that was closed never
// opens again. The zero Permit takes the permission away.
func (g *Gate) Permit(p Permit) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if p.Epoch != 0 && p.Epoch < g.newest && !g.off.noEpoch || p == g.permit {
		return
	}
	if p.Epoch != g.permit.Epoch {
		g.cfg.Log.Debug("gate permit", "epoch", p.Epoch, "first", p.First, "last", p.Last, "before", g.permit.Epoch)
	}
	g.newest = max(g.newest, p.Epoch)
	g.permit = p
	g.notify()
}

// Close ends signing in an epoch and in all before it, for good, whatever becomes of the release or transfer that the
// caller is about to propose [S1]. It returns the highest slot recorded in that epoch, the zero Signed if there is none;
// that slot counts as signed even if its signature is still under way. Nothing above it will be signed in this epoch.
func (g *Gate) Close(epoch uint64) Signed {
	g.mu.Lock()
	defer g.mu.Unlock()
	last := g.lastOf(epoch)
	if epoch > g.closed {
		g.closed = epoch
		g.cfg.Log.Debug("gate closed", "epoch", epoch, "signed", last.Slot, "num", last.Num)
		g.notify()
	}
	return last
}

// Seal closes the gate for good, until the process restarts: an alarm (a block of ours that the gate did not sign, two
// blocks for one slot, a jump of the clocks) [S9, S10].
func (g *Gate) Seal(reason string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.seal(reason)
}

// seal is Seal with g.mu held.
func (g *Gate) seal(reason string) {
	if g.sealed == "" {
		g.sealed = reason
		g.cfg.Log.Error("gate sealed until restart", "reason", reason)
		g.notify()
	}
}

// Produced compares a `Produced block` line of our node with what was signed, and attaches the block's id to the record.
// It returns ErrMismatch for a block the gate did not sign so, and for a second id of one slot; the first id stays. It
// does not seal the gate: that line comes over stderr, where a peer's text can forge it [S5]. Whoever sees the mismatch
// looks at the chain and calls Seal.
func (g *Gate) Produced(num uint32, id string, slot chain.Slot) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	r := g.recordOf(slot)
	var err error
	switch {
	case r == nil && len(g.records) == keptRecords && slot < g.records[0].Slot:
		return nil // forgotten long ago
	case r == nil:
		err = fmt.Errorf("%w: slot %d was never signed here", ErrMismatch, slot)
	case r.Num != num:
		err = fmt.Errorf("%w: slot %d is block %d, signed was block %d", ErrMismatch, slot, num, r.Num)
	case !r.Given:
		err = fmt.Errorf("%w: slot %d got no signature here", ErrMismatch, slot)
	case r.ID != "" && !chain.SameID(r.ID, id):
		err = fmt.Errorf("%w: slot %d is block %s, known as %s", ErrMismatch, slot, id, r.ID)
	}
	if err != nil {
		g.count.mismatches.Add(1)
		g.cfg.Log.Error("produced block does not agree with the gate", logkey.Err, err, "slot", slot, "num", num, "id", id)
		return err
	}
	if len(id) > len(r.ID) {
		r.ID = id
		g.notify()
	}
	return nil
}

// Confirm compares a block of ours on the node's chain, with its signature as the node's API tells it, with what was signed
// here for its slot. This is no hearsay: nodeos has verified the signature, and nobody but this gate gave those it knows.
// It returns ErrMismatch for a block in a slot that was recorded here and that carries another signature: somebody else
// has the key [S10]. A slot that was not signed here is not this gate's to judge.
func (g *Gate) Confirm(b chain.Block, signature string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	r := g.recordOf(b.Slot)
	if r == nil {
		return nil
	}
	if r.Num != b.Num || !slices.Contains(g.answers[b.Slot], signature) {
		g.count.mismatches.Add(1)
		return fmt.Errorf("%w: block %d %s in slot %d carries a signature that this gate did not give; it was asked for block %d", ErrMismatch, b.Num, b.ID, b.Slot, r.Num)
	}
	r.ID = b.ID // whatever the log said
	if b.Slot > g.confirmed.Slot {
		g.confirmed = b
	}
	g.notify()
	return nil
}

// Record returns what was signed for a slot, false if nothing was or it is more than some 500 signed slots ago.
func (g *Gate) Record(slot chain.Slot) (Signed, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if r := g.recordOf(slot); r != nil {
		return *r, true
	}
	return Signed{}, false
}

// LastStarted is the slot of the newest block of ours that nodeos said it started in this run, 0 if none.
func (g *Gate) LastStarted() chain.Slot {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.lastStarted
}

// Events returns a channel that is closed at the next change: a slot recorded, a signature given or failed, a block id
// attached, a permit, a close, a seal. Take the channel first, then look at Status, then wait.
func (g *Gate) Events() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.changed
}

func (g *Gate) notify() {
	g.count.stand(g.open(), g.sealed)
	close(g.changed)
	g.changed = make(chan struct{})
}

// open reports whether a block in the permit's range could be signed.
func (g *Gate) open() bool { return g.sealed == "" && g.permit.Epoch > g.closed }

// lastOf is the newest record of an epoch; the zero Signed if none. Old epochs may be forgotten: they are over anyway.
func (g *Gate) lastOf(epoch uint64) Signed {
	for i := len(g.records) - 1; i >= 0; i-- {
		if g.records[i].Epoch == epoch {
			return *g.records[i]
		}
	}
	return Signed{}
}

func (g *Gate) recordOf(slot chain.Slot) *Signed {
	for i := len(g.records) - 1; i >= 0 && g.records[i].Slot >= slot; i-- {
		if g.records[i].Slot == slot {
			return g.records[i]
		}
	}
	return nil
}

// Status is a snapshot for people, metrics and controllers.
type Status struct {
	Permit      Permit             `json:"permit"`
	Closed      uint64             `json:"closed"`           // this epoch and all before it are over
	Sealed      string             `json:"sealed,omitempty"` // why the gate is closed for good
	Open        bool               `json:"open"`             // a block in the permit's range could be signed
	Highest     chain.Slot         `json:"highest"`          // highest slot ever recorded
	Given       chain.Slot         `json:"given"`            // highest slot for which there is a signature
	LastStarted chain.Slot         `json:"last_started"`
	Last        Signed             `json:"last"`      // newest record
	Confirmed   chain.Block        `json:"confirmed"` // newest block of the node's chain that carries a signature of ours
	Block       Announced          `json:"block"`
	Run         uint64             `json:"run"` // how often Open was called
	LastRequest time.Time          `json:"last_request"`
	Signatures  uint64             `json:"signatures"`
	Refused     map[string]uint64  `json:"refused"`    // by reason
	Mismatches  uint64             `json:"mismatches"` // blocks that Produced found not to agree
	Oddities    uint64             `json:"oddities"`   // packets on stdout that fit no log line
	Dropped     uint64             `json:"dropped"`    // lines OnLine was too slow for
	SignSeconds meter.Distribution `json:"sign_seconds"`
}

// Announced is the block that nodeos last said it is building.
type Announced struct {
	Phase    string     `json:"phase"` // none, started, armed, void
	Num      uint32     `json:"num,omitempty"`
	Slot     chain.Slot `json:"slot,omitempty"`
	Producer string     `json:"producer,omitempty"`
}

// Status returns a snapshot that shares nothing with the gate.
func (g *Gate) Status() Status {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := Status{
		Permit: g.permit, Closed: g.closed, Sealed: g.sealed, Open: g.open(),
		Highest: g.highest, Given: g.given, LastStarted: g.lastStarted, Run: g.runs, LastRequest: g.count.lastRequest,
		Signatures: g.count.signatures.Load(), Refused: g.count.refused.Read(),
		Confirmed: g.confirmed, Mismatches: g.count.mismatches.Load(), Oddities: g.count.oddities.Load(), Dropped: g.count.dropped.Load(),
		SignSeconds: g.count.latency.Read(), Block: Announced{Phase: phaseNone.String()},
	}
	if n := len(g.records); n > 0 {
		s.Last = *g.records[n-1]
	}
	if g.run != nil {
		b := g.run.block
		s.Block = Announced{Phase: b.phase.String(), Num: b.num, Slot: b.slot, Producer: b.producer}
	}
	return s
}

package control

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"roundtable/chain"
	"roundtable/fsm"
	"roundtable/meter"
)

// Config is what a Manager is made of.
type Config struct {
	Record  fsm.Member  // this member's record, with ID and the incarnation drawn at process start [S2]
	First   fsm.Cluster // the configuration to write where the cluster has none yet; empty Name: never
	Cluster Cluster
	Node    Node  // nil for a witness
	Gate    Gate  // nil for a witness
	Home    Home  // nil for a witness; also where nothing can be restarted or upgraded
	Vault   Vault // nil for a witness; also where nothing is backed up
	// TaskLimit is how long a step of an operation on a backup may take where nobody said; 0: two hours.
	TaskLimit time.Duration
	OnFatal   func(error) // called when this manager, and its node with it, must not go on; nil: it is only logged
	Now       func() time.Time
	Log       *slog.Logger
	// Hold is a seam for tests that end a process at an exact moment of an operation: asked when this member comes to a step
	// of its own ("transfer" is the moment between the closed gate of a handoff and its entry; for those of rolling operations see
	// rolling_member.go and operation_leader.go), it keeps the member from going on for as long as it says true. nil: never, which is all
	// that an operator's manager knows.
	Hold func(step string) bool
	// Jumped reports whether this machine's wall clock jumped since the process started: nothing is granted or extended by it
	// any more. nil: it never does.
	Jumped func() bool
	// Last is what the configuration said of this member at the last start, nil where that is not known; Keep keeps what it
	// says now for the next one (member.go). nil: nothing is kept.
	Last *Settings
	Keep func(Settings) error
	// MinSlots is the shortest lease that the raft timing of this manager allows; 0: any.
	MinSlots uint64
}

// Manager runs the controllers of one member.
type Manager struct {
	id, incarnation string
	record          fsm.Member
	first           fsm.Cluster
	cluster         Cluster
	node            Node
	gate            Gate
	home            Home
	vault           Vault
	taskLimit       time.Duration
	backupIDs       atomic.Uint64 // how many ids of backups were made
	now             func() time.Time
	log             *slog.Logger
	hold            func(step string) bool
	jumped          func() bool
	watch           *watchController
	onFatal         func(error)
	minSlots        uint64
	last            *Settings
	keepSettings    func(Settings) error
	configured      atomic.Pointer[Settings] // since the start; nil: as at the start
	turns           turns

	clocks      clocks
	stops       sync.Mutex    // of who stops the node for an operation, until it is started again
	busy        atomic.Bool   // an operation has the node stopped, or starting
	resumes     atomic.Uint64 // of the node by us: each makes it forget where to stop
	waiting     waits[uint64] // why operations do not go on
	plans       waits[string] // and why plans that are due do not fire
	handing     atomic.Uint64 // epoch that a handoff of ours closed and whose transfer is under way
	stopping    atomic.Bool   // it is about to stop, and must be given nothing any more
	doubled     atomic.Uint64 // blocks of ours that were not ours to be
	extensions  *meter.Histogram
	unextended  atomic.Uint64 // extensions that did not come through
	leaving     atomic.Uint64 // epoch of the newest release that was logged
	leaseReason atomic.Pointer[string]
	said        said
}

// NewManager makes a Manager; it starts nothing. The cluster may be set later, by SetCluster, since it wants Admit first.
func NewManager(c Config) *Manager {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Jumped == nil {
		c.Jumped = func() bool { return false }
	}
	if c.Hold == nil {
		c.Hold = func(string) bool { return false }
	}
	m := &Manager{
		id: c.Record.ID, incarnation: c.Record.Incarnation, record: c.Record, first: c.First,
		cluster: c.Cluster, node: c.Node, gate: c.Gate, home: c.Home, vault: c.Vault, taskLimit: c.TaskLimit, now: c.Now, log: c.Log, onFatal: c.OnFatal, hold: c.Hold, jumped: c.Jumped, minSlots: c.MinSlots,
		last: c.Last, keepSettings: c.Keep,
		extensions: meter.NewHistogram(meter.Commits),
	}
	m.watch = &watchController{Manager: m, log: m.log}
	return m
}

// SetCluster gives the manager its cluster; before Run.
func (m *Manager) SetCluster(c Cluster) { m.cluster = c }

func (m *Manager) slotNow() chain.Slot { return chain.SlotAt(m.now().UnixMilli()) }

// Saw takes each block of the local node's chain, from the node's API. It never blocks; any goroutine may call it.
func (m *Manager) Saw(b chain.Block, producer string) { m.watch.saw(b, producer) }

// Mismatch takes a block of the local node's chain in a slot that the local gate signed, which is not what it signed; problem
// says how that is known. It never blocks; any goroutine may call it.
func (m *Manager) Mismatch(b chain.Block, producer, problem string) {
	m.watch.add(seenBlock{b, producer, problem})
}

// Doubled counts the blocks of ours that this member saw and this cluster did not sign, or signed differently.
func (m *Manager) Doubled() uint64 { return m.doubled.Load() }

// Extensions are the extensions of the lease that this member proposed.
type Extensions struct {
	Failed  uint64             // not committed within a slot
	Seconds meter.Distribution // of those that were, until they were applied here
}

// Extensions tells of them since the start.
func (m *Manager) Extensions() Extensions {
	return Extensions{Failed: m.unextended.Load(), Seconds: m.extensions.Read()}
}

// LeaseReason says why the lease is where it is, or why nobody gets it, as this member last decided while it led.
func (m *Manager) LeaseReason() string {
	if r := m.leaseReason.Load(); r != nil {
		return *r
	}
	return ""
}

// Candidates weighs every member as a holder, best first.
func (m *Manager) Candidates() []Candidate {
	s, _ := m.cluster.View()
	return weigh(s, m.cluster.Peers(), m.now(), false)
}

// Run runs the controllers that every member has, until ctx ends; then it waits for them.
func (m *Manager) Run(ctx context.Context) {
	var wg sync.WaitGroup
	start := func(c Controller, wakes ...func() <-chan struct{}) {
		wg.Go(func() { m.run(ctx, c, wakes...) })
	}
	start(&memberController{Manager: m, log: m.log})
	start(&chronicle{Manager: m, log: m.log})
	if m.node == nil {
		start(&reportController{Manager: m})
		wg.Wait()
		return
	}
	start(&permitController{m})
	start(&productionController{Manager: m, log: m.log}, m.node.Changed, m.gate.Changed)
	start(&extendController{m, m.log}, m.gate.Changed)
	start(&releaseController{Manager: m, log: m.log}, m.node.Changed)
	start(&handoffMember{m, m.log}, m.node.Changed)
	start(&roundController{m})
	start(&reportController{Manager: m}, m.node.Changed)
	start(m.watch)
	worker := newRollingMember(m, m.log)
	wg.Go(func() {
		m.run(ctx, worker, m.node.Changed, worker.changed)
		worker.end()
	})
	tasks := newTaskMember(m, m.log)
	wg.Go(func() {
		m.run(ctx, tasks, m.node.Changed, tasks.changed)
		tasks.end()
	})
	if m.vault != nil {
		start(&retentionController{Manager: m, log: m.log})
		start(&dirtyController{Manager: m, log: m.log})
	}
	if m.home != nil {
		start(&homeController{m}, m.home.Changed)
	}
	wg.Wait()
}

// Lead runs the controllers of the leader until ctx ends. since is when the leadership's barrier was done.
func (m *Manager) Lead(ctx context.Context, since time.Time) {
	var wg sync.WaitGroup
	start := func(c Controller, wakes ...func() <-chan struct{}) {
		wg.Go(func() { m.run(ctx, c, wakes...) })
	}
	start(&configController{m, m.log})
	start(&leaseController{Manager: m, log: m.log, since: chain.SlotAt(since.UnixMilli())})
	start(&handoffLeader{m, m.log})
	start(&operationLeader{Manager: m, log: m.log, since: since, refused: map[uint64]uint64{}, said: map[uint64]string{}})
	start(&planLeader{Manager: m, log: m.log, since: since})
	start(&sweepController{Manager: m, log: m.log})
	start(&rolloutController{Manager: m, log: m.log})
	start(&mendController{Manager: m, log: m.log})
	start(&clockController{m, m.log})
	wg.Wait()
}

// StepAside gives production away before this manager stops: a handoff to the best standby, or where there is none or it
// fails a release, so that nobody waits for the range to end. In the cluster's maintenance nothing moves by itself: it is
// a release, and production waits for this member to come back or for an operator. It returns when this member holds no open
// lease, or with ctx's error. The node may be stopped after it.
func (m *Manager) StepAside(ctx context.Context) error {
	asked := false
	m.stopping.Store(true)
	s, _ := m.cluster.View()
	m.cluster.Publish(m.report(s))
	for {
		s, changed := m.cluster.View()
		l := s.Lease
		if m.node == nil || !m.holds(l) {
			return nil
		}
		running, parent := underWay(s)
		switch {
		case running: // another handoff, which may be what we want
		case asked:
			return m.giveUp(ctx, l, "the manager stops")
		case s.Cluster.Maintenance:
			return m.giveUp(ctx, l, "the manager stops; the cluster is in maintenance, so production waits for it to come back")
		default:
			asked = true
			if _, err := m.handOff(ctx, "", "now", parent, ""); errors.Is(err, fsm.ErrBusy) || errors.Is(err, fsm.ErrEnded) {
				asked = false // somebody was faster, or what it would have belonged to has ended: it is seen at the next change
			} else if err != nil {
				m.log.Warn("no handoff before the stop", "err", err)
				return m.giveUp(ctx, l, "the manager stops and there is no fit standby")
			} else {
				continue
			}
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), m.release(context.WithoutCancel(ctx), l, "the manager stops"))
		case <-changed:
		}
	}
}

// underWay reports whether a handoff is under way, and which rolling operation a handoff now would have to belong to: it does not
// wait for the end of that one.
func underWay(s *fsm.State) (handoff bool, parent uint64) {
	for _, o := range s.RunningOperations() {
		switch {
		case o.Handoff != nil:
			handoff = true
		case o.Disruptive():
			parent = o.ID
		}
	}
	return handoff, parent
}

// heardTime is how long a report takes to be heard, with a margin: gossip sends at most four a second.
const heardTime = 400 * time.Millisecond

// giveUp releases the lease of a member that stops, once the others have heard that it does: the leader would else give a released
// lease back to the only one that it holds for fit.
func (m *Manager) giveUp(ctx context.Context, l fsm.Lease, reason string) error {
	sleep(ctx, heardTime)
	return m.release(ctx, l, reason)
}

package control

import (
	"context"
	"time"

	"roundtable/chain"
	"roundtable/cluster/health"
	"roundtable/fsm"
)

// Cluster is what the controllers need of the raft group and of gossip. All methods may be called from any goroutine.
type Cluster interface {
	// View returns the applied state and a channel that is closed at the next change.
	View() (*fsm.State, <-chan struct{})
	// Propose returns once the command is applied here, with the index under which it took effect; a *fsm.Refusal, or
	// an error that may mean "unknown outcome". key is the idempotency key, "" for none.
	Propose(ctx context.Context, c fsm.Command, key string) (uint64, error)
	// Barrier returns once everything that was committed when it was called is applied here.
	Barrier(ctx context.Context) error
	Peers() map[string]health.Peer
	Publish(health.Report)
	IsLeader() bool
	// Leader is who leads as far as known here; "" for nobody.
	Leader() (id, addr string)
	// TransferLeadership gives raft's leadership to another member; to may be "".
	TransferLeadership(ctx context.Context, to string) error
	// Signed asks a member, who proves who it is, which blocks it says it signed in a slot.
	Signed(ctx context.Context, member string, slot chain.Slot) ([]chain.Block, error)
	// Stalled reports that this member's disk does not answer.
	Stalled() bool
}

// Node is what the controllers need of the local nodeos.
type Node interface {
	// View never blocks.
	View() NodeView
	// Changed is closed at the next change of the view that is more than a block that came.
	Changed() <-chan struct{}
	// Pause and Resume set nodeos' production flag; a pause does not stop the block in progress.
	Pause(context.Context) error
	Resume(context.Context) error
	// Block returns the block at that height on the node's chain; false if it has none.
	Block(ctx context.Context, num uint32) (chain.Block, bool, error)
	// Signed returns how many slots of first..last have a block in the node's chain; false if that cannot be told.
	Signed(first, last chain.Slot) (int, bool)
}

// NodeView is the local node as it was lately seen. It is immutable.
type NodeView struct {
	State       string // "starting", "running", "stopping", "stopped", "failed"
	Run         uint64 // counts the starts: each start begins paused
	Healthy     bool   // running, answering, head moving
	Reason      string // why not healthy
	Head        chain.Block
	LIB         uint32
	Paused      bool // nodeos' production flag; only if PausedKnown
	PausedKnown bool
	Peers       int      // connected p2p peers
	Configured  []string // p2p-peer-address entries
	ChainID     string
	Schedule    []string // active producers in the chain's order; empty: unknown
	ScheduleVer uint32
	Version     string
	Finalizers  []string // public BLS keys
}

// Gate is what the controllers need of the signing gate. No method blocks for longer than a check.
type Gate interface {
	// Permit follows the applied lease: as far as it is this incarnation's and not released; epoch 0 permits nothing.
	Permit(epoch uint64, first, last chain.Slot)
	// Close is final for the epoch and all before it, and returns what was signed, or may have been, in it [S1].
	Close(epoch uint64) Record
	// Seal closes the gate until the process ends [S10].
	Seal(reason string)
	View() GateView
	// Changed is closed at the next event: a slot started, a signature, a refusal, a block confirmed.
	Changed() <-chan struct{}
}

// Record is the highest slot of an epoch that a gate recorded. It counts as signed even if no signature was given [S4].
type Record struct {
	Epoch uint64
	Block chain.Block // zero Slot: none; the ID may be unknown yet
}

// GateView is the gate as it stands. It is immutable.
type GateView struct {
	Permitted uint64     // epoch that it signs in; 0 for none
	Closed    uint64     // highest epoch that was closed for good
	Started   chain.Slot // slot of the newest block of ours that the node began
	Signed    Record     // the newest record
	Given     chain.Slot // newest slot for which a signature was really given
	// Confirmed is the newest block of the node's chain that carries a signature which this gate gave.
	Confirmed chain.Block
	Sealed    string // why it is closed for good
}

// Home is what the controllers need of the local node's versions and configurations. The methods with a context may take long;
// but for Resolve and Prove they are called from one goroutine at a time, and end with the context. All are idempotent: after a crash they are called again.
// say tells how far they are: percent 0 to 100, and a few words; it never blocks.
type Home interface {
	// View never blocks.
	View() HomeView
	// Changed is closed at the next change of the view.
	Changed() <-chan struct{}
	// Resolve gives the SHA-256 that a version's asset must have, 64 hex digits, as its source says now, so that all members can be held
	// to the same bytes; "" where none says it: versions are put there by hand, or are asked for by their checksum already.
	Resolve(ctx context.Context, u fsm.Upgrade) (sha256 string, err error)
	// Stage makes a version ready to be switched to, and changes nothing else. what is for the operator: its checksum, where it came
	// from, what it says of itself.
	Stage(ctx context.Context, u fsm.Upgrade, say func(percent int, text string)) (what string, err error)
	// Ready runs what an operator wants done before this node is stopped for an upgrade; nothing was stopped yet where it fails.
	Ready(ctx context.Context, u fsm.Upgrade) error
	// Become stops the node, makes the version (tag) and the configuration (hash) the present ones, "" for what is there, and starts
	// it: it returns once nodeos' HTTP answers, or with the reason why it does not. The node is stopped and started even where both
	// are the present ones already. A version or a configuration that is not here is an error before anything is stopped.
	Become(ctx context.Context, tag, config string, say func(percent int, text string)) error
	// Prove returns once the node is proved back: running, its head within 2 slots of best, p2p peers where it has any configured
	// that are no members, and 5 blocks in a row that came about 500 ms apart.
	Prove(ctx context.Context, best func() chain.Slot, peers func() bool, say func(percent int, text string)) error
	// Snapshot has nodeos make a chain snapshot.
	Snapshot(ctx context.Context) (what string, err error)
	// Arm tells nodeos to stop at a block (pause_at_block); Disarm takes it back (resume does; the node stays paused without a lease).
	Arm(ctx context.Context, block uint32) error
	Disarm(ctx context.Context) error
	// Triggered asks the node whether the feature is activated or the row says so; what is the evidence.
	Triggered(ctx context.Context, u fsm.Upgrade) (yes bool, what string, err error)
}

// HomeView is the local node's version and configuration as they stand. It is immutable.
type HomeView struct {
	Tag      string        // of the version that `current` names; "" where there are no versions
	Runs     string        // of the version that the node was started with last; "" where none could be, as for a `current` that leads nowhere
	Config   string        // hash of the configuration that the node was started with last
	Offers   string        // hash of a configuration that lies there and differs from it, one that failed there too; "" for none
	Overlaid uint64        // Cluster.Overlaid of the overlay that Offers was told with
	Auto     bool          // offers are rolled out without being asked for
	Limit    time.Duration // how long this member may take from its stop to its proof, as configured; a request may say otherwise
}

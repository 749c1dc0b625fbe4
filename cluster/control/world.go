package control

import (
	"context"

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

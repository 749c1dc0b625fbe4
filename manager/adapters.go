package manager

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"roundtable/chain"
	"roundtable/cluster"
	"roundtable/cluster/control"
	"roundtable/fsm"
	"roundtable/node"
	"roundtable/node/gate"
	"roundtable/node/k1"
)

// group is the raft group as the controllers want it.
type group struct{ *cluster.Cluster }

// Propose passes the idempotency key on.
func (g group) Propose(ctx context.Context, c fsm.Command, key string) (uint64, error) {
	if key == "" {
		return g.Cluster.Propose(ctx, c)
	}
	return g.Cluster.Propose(ctx, c, cluster.WithKey(key))
}

// IsLeader is as cheap as the controllers need it.
func (g group) IsLeader() bool { return g.Cluster.IsLeader() }

// keptBlocks bounds the memory of the node's chain: more than two rounds of 21 producers.
const keptBlocks = 1024

// toldFor is how long what nodeos was told about pausing outweighs an older observation of it.
const toldFor = time.Second

// localNode is the node as the controllers want it.
type localNode struct {
	client     *node.Client
	supervisor *node.Supervisor
	monitor    *node.Monitor
	configured func() []string // p2p-peer-address entries
	finalizers func() []string
	producers  []string // ours
	keys       []string // public keys that the signer holds
	now        func() time.Time

	mu     sync.Mutex
	blocks []chain.Block // the newest of the node's chain, ascending without holes
	told   bool          // what nodeos was last told: paused or not
	toldAt time.Time
}

// View puts process and chain together.
func (n *localNode) View() control.NodeView {
	st := n.supervisor.Status()
	v, _ := n.monitor.View()
	out := control.NodeView{
		State: string(st.State), Run: uint64(st.Starts), Healthy: v.Healthy && st.State == node.StateRunning, Reason: v.Reason,
		Head: v.Head, LIB: v.LIB, Paused: v.Paused, PausedKnown: v.PausedKnown, Peers: v.Peers,
		Configured: n.configured(), ChainID: v.ChainID, ScheduleVer: v.Schedule.Version, Version: v.Version, Finalizers: n.finalizers(),
	}
	if v.ScheduleKnown {
		out.Schedule = v.Schedule.Names()
	}
	if name := n.keyless(v.Schedule); name != "" && out.Healthy {
		out.Healthy, out.Reason = false, "its signer holds no key that the chain has for "+name
	}
	if st.State != node.StateRunning {
		out.Reason = "the node is " + stateWords(st.State)
		if st.Reason != "" {
			out.Reason += ": " + st.Reason
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.now().Sub(n.toldAt) < toldFor && n.toldAt.After(st.StartedAt) {
		out.Paused, out.PausedKnown = n.told, true
	}
	return out
}

// stateWords is a state as people say it.
func stateWords(s node.State) string {
	if s == node.StateBackoff {
		return "waiting to be started again"
	}
	return string(s)
}

// keyless names a producer of ours for whose blocks the signer holds none of the keys that the chain wants; "" for nobody.
func (n *localNode) keyless(s node.Schedule) string {
	held := func(key string) bool {
		if slices.Contains(n.keys, key) {
			return true // parsing costs more than all the rest of a look
		}
		want, err := k1.ParsePublic(key)
		return err != nil || slices.ContainsFunc(n.keys, func(k string) bool { // a key that is not understood is no proof
			have, err := k1.ParsePublic(k)
			return err == nil && have == want
		})
	}
	for _, p := range s.Producers {
		if slices.Contains(n.producers, p.Name) && len(p.Keys) > 0 && !slices.ContainsFunc(p.Keys, held) {
			return p.Name
		}
	}
	return ""
}

// Changed is closed at the next change of the monitor's view, which follows the process too; a block that came is none.
func (n *localNode) Changed() <-chan struct{} { return n.monitor.Turned() }

// Pause sets the production flag.
func (n *localNode) Pause(ctx context.Context) error { return n.tell(ctx, true, n.client.Pause) }

// Resume clears it.
func (n *localNode) Resume(ctx context.Context) error { return n.tell(ctx, false, n.client.Resume) }

func (n *localNode) tell(ctx context.Context, paused bool, call func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, chain.SlotMillis*time.Millisecond)
	defer cancel()
	if err := call(ctx); err != nil {
		return err
	}
	n.mu.Lock()
	n.told, n.toldAt = paused, n.now()
	n.mu.Unlock()
	n.monitor.Poke()
	return nil
}

// Block asks the node itself.
func (n *localNode) Block(ctx context.Context, num uint32) (chain.Block, bool, error) {
	b, err := n.client.BlockInfo(ctx, num)
	switch {
	case errors.Is(err, node.ErrUnknownBlock):
		return chain.Block{}, false, nil
	case err != nil:
		return chain.Block{}, false, err
	}
	return b.Block(), true, nil
}

// saw keeps a block of the node's chain. A number that comes again replaces what followed it: a fork switch.
func (n *localNode) saw(b chain.Block) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if i := slices.IndexFunc(n.blocks, func(o chain.Block) bool { return o.Num >= b.Num }); i >= 0 {
		n.blocks = n.blocks[:i]
	}
	if len(n.blocks) > 0 && n.blocks[len(n.blocks)-1].Num+1 != b.Num {
		n.blocks = nil // a hole: what is older cannot be counted with
	}
	if len(n.blocks) == keptBlocks {
		n.blocks = slices.Delete(n.blocks, 0, keptBlocks/4)
	}
	n.blocks = append(n.blocks, b)
}

// Signed counts the blocks of the slots; it cannot tell where its memory does not reach back far enough or the head is
// not beyond last yet.
func (n *localNode) Signed(first, last chain.Slot) (int, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.blocks) == 0 || n.blocks[0].Slot >= first {
		return 0, false
	}
	count := 0
	for _, b := range n.blocks {
		if b.Slot >= first && b.Slot <= last {
			count++
		}
	}
	return count, true
}

// localGate is the gate as the controllers want it.
type localGate struct{ *gate.Gate }

// Permit follows the applied lease.
func (g localGate) Permit(epoch uint64, first, last chain.Slot) {
	g.Gate.Permit(gate.Permit{Epoch: epoch, First: first, Last: last})
}

// Close is final for the epoch.
func (g localGate) Close(epoch uint64) control.Record {
	return record(g.Gate.Close(epoch))
}

// Changed is closed at the next event.
func (g localGate) Changed() <-chan struct{} { return g.Events() }

// View translates the status.
func (g localGate) View() control.GateView {
	s := g.Status()
	return control.GateView{Permitted: s.Permit.Epoch, Closed: s.Closed, Started: s.LastStarted, Signed: record(s.Last), Given: s.Given, Sealed: s.Sealed, Confirmed: s.Confirmed}
}

func record(s gate.Signed) control.Record {
	return control.Record{Epoch: s.Epoch, Block: chain.Block{Slot: s.Slot, Num: s.Num, ID: s.ID}}
}

var (
	_ control.Cluster = group{}
	_ control.Node    = (*localNode)(nil)
	_ control.Gate    = localGate{}
	_ control.Home    = (*home)(nil)
)

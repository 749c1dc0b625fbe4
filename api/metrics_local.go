package api

import (
	"roundtable/chain"
	"roundtable/meter"
)

// Local is this manager's own part, as it stands.
type Local struct {
	Node *LocalNode // nil: a witness
	Gate *LocalGate // nil: a witness, or a node that is fenced by pausing it
}

// LocalNode is the node's part. The counts are since this manager started.
type LocalNode struct {
	State    string // "running", ... one of NodeStates
	Head     chain.Block
	LIB      uint32
	Peers    int
	Paused   bool
	Starts   uint64
	Restarts uint64            // starts after an end that nobody asked for
	Lines    map[string]uint64 // of its log, by level
	Unknown  uint64            // lines in no known format
	Dropped  uint64            // lines that did not reach our log
	DB       LocalDB           // zero: not known
}

// LocalDB is how full the node's state database is, in bytes.
type LocalDB struct{ Size, Used, Free, Reclaimable uint64 }

// NodeStates are the states of a node.
var NodeStates = []string{"stopped", "starting", "running", "stopping", "backoff", "failed"}

// LocalGate is the gate's part. The counts are since this manager started.
type LocalGate struct {
	Open        bool
	Sealed      string // why it is closed until the manager is started again; "": it is not
	Signatures  uint64
	Refused     map[string]uint64 // by reason
	Mismatches  uint64
	SignSeconds meter.Distribution
}

func (n *LocalNode) collect(v sight, out sample) {
	lag := chain.Slot(0)
	if best := v.bestHead(); best > n.Head.Slot {
		lag = best - n.Head.Slot
	}
	running := n.State == "running"
	out.mark(famNodeUp, running)
	for _, s := range NodeStates {
		out.mark(famNodeState, s == n.State, s)
	}
	out.put(famNodeHead, float64(n.Head.Num))
	out.put(famNodeLIB, float64(n.LIB))
	out.put(famNodeLag, float64(lag))
	out.put(famNodePeers, float64(n.Peers))
	out.mark(famNodePaused, n.Paused)
	out.count(famNodeStarts, n.Starts)
	out.count(famNodeRestarts, n.Restarts)
	for level, lines := range n.Lines {
		out.count(famLogLines, lines, level)
	}
	out.count(famLogUnknown, n.Unknown)
	out.count(famLogDropped, n.Dropped)

	out.put(famHeadNumber, float64(n.Head.Num))
	out.put(famHeadDrift, drift(v.now, n.Head))
	out.put(famOldPeers, float64(n.Peers))
	out.mark(famProducing, running && !n.Paused)
	out.put(famDBSize, float64(n.DB.Size), "size")
	out.put(famDBSize, float64(n.DB.Used), "used")
	out.put(famDBSize, float64(n.DB.Free), "free")
	out.put(famDBSize, float64(n.DB.Reclaimable), "reclaimable")
}

func (g *LocalGate) collect(v sight, out sample) {
	out.mark(famGateOpen, g.Open)
	out.mark(famGateSealed, g.Sealed != "" || v.peers[v.self].Report.Sealed != "")
	out.count(famSignatures, g.Signatures)
	for reason, n := range g.Refused {
		out.count(famRefused, n, reason)
	}
	out.count(famMismatches, g.Mismatches)
	out.spread(famSignSeconds, g.SignSeconds)
}

// Package health is what members tell each other by gossip: facts that change every second and need no agreement.
//
// It is a leaf under cluster, shared by cluster (which carries reports), control (which decides on them) and api (which
// shows them). It decides nothing itself. Nothing that a signature depends on may rest on a report: they are hearsay.
package health

import (
	"time"

	"roundtable/chain"
)

// Report is one member's word about itself. Encoded it must stay under about 1,200 bytes: it travels in UDP packets.
type Report struct {
	Member      string      `json:"m"`
	Incarnation string      `json:"i"`
	At          int64       `json:"t"`           // Unix ms, the member's own clock when it was written
	Node        string      `json:"n"`           // "running", "starting", "stopped", "failed", "none" (witness) ...
	Fit         bool        `json:"f"`           // running, answering, its head moving: the member's own judgement of its node
	Reason      string      `json:"r,omitempty"` // why not fit
	Head        chain.Block `json:"h"`           // its node's head
	LIB         uint32      `json:"l"`           // last irreversible block number
	Paused      bool        `json:"p"`           // nodeos production paused
	Peers       int         `json:"o"`           // connected p2p peers, members' nodes included
	Started     chain.Slot  `json:"s,omitempty"` // last slot of ours its node started
	Signed      chain.Block `json:"g,omitzero"`  // last block its gate signed
	Confirmed   chain.Block `json:"gc,omitzero"` // last block on its node's chain with a signature of its gate
	Sealed      string      `json:"z,omitempty"` // why its gate is closed for good
	Stalled     bool        `json:"d,omitempty"` // its disk does not answer
	Doubled     uint64      `json:"u,omitempty"` // blocks of ours it saw that were not signed by this cluster, or signed twice
	OffsetMs    int64       `json:"c,omitempty"` // its clock against the median of the members' clocks
	Chain       string      `json:"b,omitempty"` // first 16 digits of its node's chain id
	Finalizers  []string    `json:"k,omitempty"` // public BLS keys of its node

	// Repositories are the names of those for backups that are configured there; nil: it does not say, because its program is older, or
	// they would not fit.
	Repositories []string `json:"e,omitzero"`
}

// Peer is a member as gossip sees it from here.
type Peer struct {
	Report Report
	Seen   time.Time // when the newest report arrived, by the local clock; zero if none did
	Alive  bool      // gossip holds it for alive, and a report arrived lately
	RTT    time.Duration
}

// Offset is how far the peer's clock seems ahead of ours: its stamp against our receive time less half a round trip.
func (p Peer) Offset() time.Duration {
	return time.Duration(p.Report.At)*time.Millisecond - time.Duration(p.Seen.UnixMilli())*time.Millisecond + p.RTT/2
}

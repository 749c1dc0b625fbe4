// Package logkey names the keys of the managers' log. They are a contract, as the names of the metrics are: log searches
// and alerts of operators rest on them. docs/reference/log.md lists them with the lines of the state changes.
//
// It is a leaf without code.
package logkey

// On every line.
const (
	Member = "member" // the member whose log this is
	Part   = "part"   // which part of it: control, cluster, gossip, raft, gate, node, nodeos, api
)

// On a line of the history (control's chronicle).
const (
	Event   = "event"   // its kind, such as lease.granted
	Index   = "index"   // of the log entry that made it
	By      = "by"      // the member that proposed it
	Subject = "subject" // whom it is about: a member mostly
	Text    = "text"    // for people
	Actor   = "actor"   // on whose behalf, where somebody asked for it
)

// On lines about one thing.
const (
	Err    = "err"
	Reason = "reason"
	Peer   = "peer" // another member
	Epoch  = "epoch"
	Leader = "leader"
	Term   = "term"
)

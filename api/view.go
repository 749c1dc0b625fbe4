package api

import (
	"time"

	"roundtable/chain"
	"roundtable/fsm"
)

// The shapes that programs read. Times are RFC 3339 in UTC with milliseconds, "" where there is none. Slots are numbers
// (chain.Slot); where people want to know when, the slot's time stands beside it as ..._at.

// Overview is GET /cluster.
type Overview struct {
	Cluster     string      `json:"cluster"`
	ChainID     string      `json:"chain_id"`
	Producers   []string    `json:"producers"`
	Maintenance bool        `json:"maintenance"`
	Member      string      `json:"member"` // who answers: it shows what it knows
	At          string      `json:"at"`
	Index       uint64      `json:"index"`  // of the last entry applied there
	Alarms      []string    `json:"alarms"` // what is wrong, the worst first; empty: nothing
	Leader      string      `json:"leader"` // "" where none is known
	Term        uint64      `json:"term"`
	Lease       Lease       `json:"lease"`
	Round       Round       `json:"round"`
	Members     []Member    `json:"members"`
	Operations  []Operation `json:"operations"` // those running

	Backups []BackupStanding `json:"backups"` // by repository and kind
}

// Lease is the slot lease; GET /cluster/lease adds Candidates and Past.
type Lease struct {
	Epoch      uint64      `json:"epoch"` // 0: there was none yet
	Holder     string      `json:"holder"`
	First      chain.Slot  `json:"first"`
	FirstAt    string      `json:"first_at"`
	Last       chain.Slot  `json:"last"`
	LastAt     string      `json:"last_at"`
	Released   bool        `json:"released"`
	Slot       chain.Slot  `json:"slot"`       // now, by the clock of the member that answers
	SlotsLeft  int64       `json:"slots_left"` // after that slot; negative: the range is used up
	Reason     string      `json:"reason"`     // why the lease is where it is, or why nobody has it
	Candidates []Candidate `json:"candidates,omitempty"`
	Past       []PastLease `json:"past,omitempty"` // newest first
}

// Candidate is a member weighed as a holder, best first.
type Candidate struct {
	Member string `json:"member"`
	Fit    bool   `json:"fit"`
	Reason string `json:"reason,omitempty"` // why it is not fit
}

// PastLease is an earlier lease, with the range that it could sign.
type PastLease struct {
	Epoch    uint64     `json:"epoch"`
	Holder   string     `json:"holder"`
	First    chain.Slot `json:"first"`
	FirstAt  string     `json:"first_at"`
	Last     chain.Slot `json:"last"`
	Released bool       `json:"released"`
}

// Block is a block of the chain.
type Block struct {
	Num  uint32     `json:"num"`
	Slot chain.Slot `json:"slot"`
	ID   string     `json:"id,omitempty"`
}

// The roles of a member.
const (
	RoleHolder  = "holder"
	RoleStandby = "standby"
	RoleWitness = "witness"
)

// Member is a manager with its node, by its record and its newest gossip.
type Member struct {
	ID            string  `json:"id"`
	Role          string  `json:"role"` // holder, standby, witness
	Leader        bool    `json:"leader"`
	Alive         bool    `json:"alive"`
	SeenSeconds   float64 `json:"seen_seconds"` // since its newest report; -1: none ever came
	Fit           bool    `json:"fit"`          // could be given the lease
	Reason        string  `json:"reason"`       // why it is not fit
	Node          string  `json:"node"`         // running, starting, stopping, stopped, backoff (ended, will be started again), failed, none
	Head          Block   `json:"head"`
	Lag           uint64  `json:"lag"` // slots behind the best head among live members
	LIB           uint32  `json:"lib"`
	Peers         int     `json:"peers"`
	Paused        bool    `json:"paused"`
	ClockOffsetMs int64   `json:"clock_offset_ms"`
	RTTMs         float64 `json:"rtt_ms"`
	Sealed        string  `json:"sealed,omitempty"` // why its gate is closed for good
	Stalled       bool    `json:"stalled,omitempty"`
	Doubled       uint64  `json:"doubled"`
	Priority      int     `json:"priority"`
	NoFailover    bool    `json:"nofailover"`
	Maintenance   bool    `json:"maintenance"`
	Suffrage      string  `json:"suffrage"`           // voter, nonvoter, none (not in the raft group), unknown
	Nonvoter      bool    `json:"nonvoter,omitempty"` // an operator took its vote
	Fence         string  `json:"fence"`
	Version       string  `json:"version"`
	NodeVersion   string  `json:"node_version"`
	EntryVersion  uint32  `json:"entry_version"`
	API           string  `json:"api"`
	Raft          string  `json:"raft"`
	P2P           string  `json:"p2p"`
	Joined        string  `json:"joined"`
	Started       string  `json:"started"`
	Home          *Home   `json:"home,omitempty"` // of its node; absent where it has said nothing of it
}

// Home is what a member's node is to run, and what it runs as the member says. Configurations are named by their hashes.
type Home struct {
	Tag        string `json:"tag"` // the version that it is to run; "": what is there
	RunsTag    string `json:"runs_tag"`
	Config     string `json:"config"` // the same of the configuration
	RunsConfig string `json:"runs_config"`
	Offers     string `json:"offers,omitempty"`  // a configuration that lies there and waits to be rolled out
	Auto       bool   `json:"auto,omitempty"`    // that is done without being asked for
	Refused    string `json:"refused,omitempty"` // one that failed there
}

// Round is GET /cluster/round: the production round.
type Round struct {
	Version       uint32          `json:"version"`  // of the on-chain schedule
	Schedule      []string        `json:"schedule"` // empty: not known yet
	Window        uint64          `json:"window"`
	WindowFirst   chain.Slot      `json:"window_first"`
	WindowFirstAt string          `json:"window_first_at"`
	Producers     []ProducerRound `json:"producers"` // ours
	Windows       []Window        `json:"windows"`   // finished ones of ours, newest first
	Due           int             `json:"due"`       // of those windows together
	Signed        int             `json:"signed"`
	Missed        int             `json:"missed"`
}

// ProducerRound is one producer's standing.
type ProducerRound struct {
	Producer   string        `json:"producer"`
	State      fsm.Producing `json:"state"`
	InSchedule bool          `json:"in_schedule"`
}

// Window is a finished window's account.
type Window struct {
	Producer string     `json:"producer"`
	First    chain.Slot `json:"first"`
	FirstAt  string     `json:"first_at"`
	Due      int        `json:"due"`
	Signed   int        `json:"signed"`
	Missed   int        `json:"missed"`
}

// Event is a line of GET /cluster/history.
type Event struct {
	Index   uint64 `json:"index"`
	At      string `json:"at"`
	Kind    string `json:"kind"`
	By      string `json:"by"`
	Actor   string `json:"actor,omitempty"` // on whose behalf, such as token:alice; absent for what the cluster did by itself
	Subject string `json:"subject"`
	Text    string `json:"text"`
}

// Gap is an event that says that the history no longer reaches back to where a stream is to be resumed.
type Gap struct {
	After  string `json:"after"`  // id of the last line that the client has
	Oldest uint64 `json:"oldest"` // index of the oldest line that is left
}

// Started answers a request that started an operation: 202, or 200 when it was waited for and is done.
type Started struct {
	Operation string     `json:"operation"`
	Details   *Operation `json:"details,omitempty"`
}

// Version is GET /version.
type Version struct {
	Version      string `json:"version"`
	Go           string `json:"go"`
	EntryVersion uint32 `json:"entry_version"`
}

const timeFormat = "2006-01-02T15:04:05.000Z"

// stamp writes Unix milliseconds as a time; "" for 0.
func stamp(ms int64) string {
	if ms == 0 {
		return ""
	}
	return time.UnixMilli(ms).UTC().Format(timeFormat)
}

// slotAt is a slot's time; "" for slot 0.
func slotAt(s chain.Slot) string {
	if s == 0 {
		return ""
	}
	return stamp(s.UnixMilli())
}

func seconds(from, to int64) float64 { return float64(to-from) / 1000 }

func viewEvent(e fsm.Event) Event {
	return Event{Index: e.Index, At: stamp(e.At), Kind: e.Kind, By: e.By, Actor: e.Actor, Subject: e.Subject, Text: e.Text}
}

func viewRound(s *fsm.State) Round {
	r := s.Round
	v := Round{
		Version: r.Version, Schedule: append([]string{}, r.Schedule...), Window: r.Window, WindowFirst: chain.Slot(r.Window * chain.WindowSlots),
		Producers: []ProducerRound{}, Windows: []Window{},
	}
	v.WindowFirstAt = slotAt(v.WindowFirst)
	for _, p := range s.Cluster.Producers {
		standing, ok := r.Producers[p]
		if !ok {
			standing.State = fsm.Unknown
		}
		v.Producers = append(v.Producers, ProducerRound{p, standing.State, standing.InSchedule})
	}
	for i := len(r.Windows) - 1; i >= 0; i-- {
		w := r.Windows[i]
		v.Windows = append(v.Windows, Window{w.Producer, w.First, slotAt(w.First), w.Due, w.Signed, w.Missed})
		v.Due, v.Signed, v.Missed = v.Due+w.Due, v.Signed+w.Signed, v.Missed+w.Missed
	}
	return v
}

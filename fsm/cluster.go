package fsm

import (
	"fmt"
	"slices"
)

// Cluster is the configuration that all members share. It is written at the cluster's birth and changed by entries only.
type Cluster struct {
	Name      string   `json:"name"`
	ChainID   string   `json:"chain_id,omitempty"` // 64 hex digits; learned from the first node, then every node must have it
	Producers []string `json:"producers"`          // ours
	Slots     uint64   `json:"slots"`              // L: how far past the slot now the holder extends; 1..MaxLease-2
	// Maintenance stops every automatic move of the lease; planned handoffs are still allowed and the holder goes on extending.
	Maintenance bool `json:"maintenance,omitempty"`

	// Of entry version 3, and changed by PatchCluster alone.

	Overlay  string  `json:"overlay,omitempty"`   // lines of config.ini for every member's node, laid over its own template
	Overlaid uint64  `json:"overlaid,omitempty"`  // index of the entry that changed Overlay last
	Proven   *string `json:"proven,omitempty"`    // the overlay before Overlay, until a rollout has brought Overlay to all
	TakeOver bool    `json:"take_over,omitempty"` // after a rollout the member that was restarted last takes production over
}

// Version1 is the configuration without what came later: what SetCluster may say.
func (c Cluster) Version1() Cluster {
	c.Overlay, c.Overlaid, c.Proven, c.TakeOver = "", 0, nil, false
	return c
}

// MaxOverlay bounds the overlay, in bytes.
const MaxOverlay = 8 << 10

// DefaultSlots is L where the configuration says nothing: L x 500 ms must exceed the worst election plus two slots
// (libraries.md: 300 ms timeouts elect within 820 ms).
const DefaultSlots = 4

// MaxSlots is the largest L: the reach past slot(now) is bounded by MaxLease, and the slot being built may be ahead.
const MaxSlots = MaxLease - 2

// Ours reports whether the producer is one of the cluster's.
func (c Cluster) Ours(producer string) bool { return slices.Contains(c.Producers, producer) }

// SetCluster replaces the configuration, but for what only PatchCluster changes: who looked at an older state would undo it. A chain
// id that is known never changes.
type SetCluster struct {
	Cluster Cluster `json:"cluster"`
}

// Kind names the entry.
func (SetCluster) Kind() string { return "cluster.set" }

// PatchCluster changes parts of the configuration, and nothing else of it; nil leaves a part as it is. Version 2.
type PatchCluster struct {
	Producers   *[]string `json:"producers,omitempty"`
	Slots       *uint64   `json:"slots,omitempty"`
	Maintenance *bool     `json:"maintenance,omitempty"`
	Overlay     *string   `json:"overlay,omitempty"`   // version 3
	TakeOver    *bool     `json:"take_over,omitempty"` // version 3
}

func (c SetCluster) needs() uint32 { return sinceIf(3, c.beyond()) }

func (c SetCluster) beyond() bool {
	n := c.Cluster
	return n.Overlay != "" || n.Overlaid != 0 || n.Proven != nil || n.TakeOver
}

func (c PatchCluster) needs() uint32 { return sinceIf(3, c.Overlay != nil || c.TakeOver != nil) }

// Kind names the entry.
func (PatchCluster) Kind() string { return "cluster.patch" }

// On is a configuration with the parts changed.
func (c PatchCluster) On(n Cluster) Cluster {
	if c.Producers != nil {
		n.Producers = *c.Producers
	}
	if c.Slots != nil {
		n.Slots = *c.Slots
	}
	if c.Maintenance != nil {
		n.Maintenance = *c.Maintenance
	}
	if c.TakeOver != nil {
		n.TakeOver = *c.TakeOver
	}
	if c.Overlay != nil && *c.Overlay != n.Overlay {
		if n.Proven == nil {
			proven := n.Overlay
			n.Proven = &proven
		}
		if n.Overlay = *c.Overlay; n.Overlay == *n.Proven {
			n.Proven = nil
		}
	}
	return n
}

func (c PatchCluster) apply(s *State, e Entry) error {
	if c == (PatchCluster{}) {
		return ErrConfig.with("nothing to change is named")
	}
	n := c.On(s.Cluster)
	if n.Overlay != s.Cluster.Overlay {
		n.Overlaid = e.Index
	}
	return s.setCluster(e, n)
}

func (c SetCluster) apply(s *State, e Entry) error {
	if c.beyond() {
		return ErrConfig.with("overlay and take_over are changed by %s", PatchCluster{}.Kind())
	}
	n, old := c.Cluster, s.Cluster
	n.Overlay, n.Overlaid, n.Proven, n.TakeOver = old.Overlay, old.Overlaid, old.Proven, old.TakeOver
	return s.setCluster(e, n)
}

func (s *State) setCluster(e Entry, n Cluster) error {
	switch {
	case n.Name == "":
		return ErrConfig.with("the cluster needs a name")
	case n.Slots < 1 || n.Slots > MaxSlots:
		return ErrConfig.with("lease slots %d, must be 1 to %d", n.Slots, MaxSlots)
	case len(n.Producers) == 0 || slices.Contains(n.Producers, ""):
		return ErrConfig.with("no producer, or one without a name")
	case s.Cluster.ChainID != "" && n.ChainID != s.Cluster.ChainID:
		return ErrConfig.with("the chain id is %s and never changes", s.Cluster.ChainID)
	case len(n.Overlay) > MaxOverlay:
		return ErrConfig.with("an overlay of %d bytes: at most %d are taken", len(n.Overlay), MaxOverlay)
	case s.Cluster.Name != "" && n.Name != s.Cluster.Name:
		return ErrConfig.with("the cluster's name is %q and never changes", s.Cluster.Name)
	}
	overlay := ""
	if n.Overlay != s.Cluster.Overlay {
		overlay = fmt.Sprintf(", another overlay, of %d bytes", len(n.Overlay))
	}
	s.Cluster = n
	s.note(e, "cluster.set", n.Name, "producers %v, lease of %d slots, maintenance %v%s", n.Producers, n.Slots, n.Maintenance, overlay)
	return nil
}

// NoteLeader puts a line into the history: an operator moved raft's leadership. Version 2; it is proposed once the new leader
// has committed an entry.
type NoteLeader struct {
	Leader string `json:"leader"`
	Term   uint64 `json:"term"`
}

// Kind names the entry.
func (NoteLeader) Kind() string { return "leader.transferred" }

func (c NoteLeader) apply(s *State, e Entry) error {
	if _, ok := s.Members[c.Leader]; !ok {
		return ErrMember.with("%q", c.Leader)
	}
	s.note(e, "leader.transferred", c.Leader, "term %d", c.Term)
	return nil
}

// RaiseAlarm puts a line into the history that an operator must see: a doubled slot, an unknown block of ours.
type RaiseAlarm struct {
	Name    string `json:"name"` // such as "doubled"
	Subject string `json:"subject"`
	Text    string `json:"text"`
}

// Kind names the entry.
func (RaiseAlarm) Kind() string { return "alarm.raise" }

func (c RaiseAlarm) apply(s *State, e Entry) error {
	if c.Name == "" {
		return ErrConfig.with("an alarm needs a name")
	}
	s.note(e, "alarm."+c.Name, c.Subject, "%s", c.Text)
	return nil
}

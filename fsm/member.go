package fsm

import "fmt"

// Member is a manager in the cluster's state. It is not the same as being in raft's configuration: a member may be
// removed from raft by the clean-up of dead servers and keep its record.
type Member struct {
	ID           string   `json:"id"`
	Incarnation  string   `json:"incarnation"`              // 32 hex digits: 128 random bits drawn at process start, never stored by the process [S2]
	Raft         string   `json:"raft"`                     // host:port of its raft transport
	API          string   `json:"api"`                      // URL of its API
	P2P          string   `json:"p2p,omitempty"`            // host:port of its node's p2p endpoint, to tell members from outside peers [L7]
	Priority     int      `json:"priority,omitempty"`       // higher is preferred as holder
	NoFailover   bool     `json:"nofailover,omitempty"`     // never chosen by itself; a planned handoff may still name it
	Witness      bool     `json:"witness,omitempty"`        // votes, has no node
	Maintenance  bool     `json:"maintenance,omitempty"`    // not a candidate while set
	EntryVersion uint32   `json:"entry_version"`            // the highest entry version it understands
	Version      string   `json:"version,omitempty"`        // of the roundtable binary
	Node         string   `json:"node,omitempty"`           // version of its nodeos
	Fence        string   `json:"fence,omitempty"`          // "gate" or "pause": how its node is fenced
	Finalizers   []string `json:"finalizer_keys,omitempty"` // public BLS keys of its node; no two members share one
	Joined       int64    `json:"joined"`                   // Unix ms of its first join
	Started      int64    `json:"started"`                  // Unix ms of this incarnation
	Nonvoter     bool     `json:"nonvoter,omitempty"`       // an operator took its vote; version 2
}

// PutMember adds a member or renews its record at each process start: addresses, versions and the new incarnation. What
// the operator set on the member's record (maintenance, nonvoter) is kept. A finalizer key that another member has is refused,
// and so are a member that an operator removed, until it is invited again, and a program that is older than what is in the log
// (no program of version 1 ever applies that: it reads no such log).
type PutMember struct {
	Member Member `json:"member"`
}

// SetMember changes what operators may change; nil leaves a field as it is.
type SetMember struct {
	ID          string `json:"id"`
	Priority    *int   `json:"priority,omitempty"`
	NoFailover  *bool  `json:"nofailover,omitempty"`
	Maintenance *bool  `json:"maintenance,omitempty"`
	Nonvoter    *bool  `json:"nonvoter,omitempty"` // version 2; the last member with a vote keeps it
}

// RemoveMember forgets a member. The holder of an open lease is refused. Ban (version 2) keeps the id out until an invite for it
// is used; a banned id need not have a record, and must not be the source or the target of a handoff under way.
type RemoveMember struct {
	ID  string `json:"id"`
	Ban bool   `json:"ban,omitempty"`
}

// Kind names the entry.
func (PutMember) Kind() string { return "member.put" }

// Kind names the entry.
func (SetMember) Kind() string { return "member.set" }

// Kind names the entry.
func (RemoveMember) Kind() string { return "member.remove" }

func (c PutMember) needs() uint32 { return versionIf(c.Member.Nonvoter) }

func (c SetMember) needs() uint32 { return versionIf(c.Nonvoter != nil) }

func (c RemoveMember) needs() uint32 { return versionIf(c.Ban) }

// versionIf is the entry version of a command with a field of version 2, if it is used.
func versionIf(used bool) uint32 { return sinceIf(2, used) }

// sinceIf is the entry version of a command with a part that is known since a version, if it is used.
func sinceIf(version uint32, used bool) uint32 {
	if used {
		return version
	}
	return 1
}

func (c PutMember) apply(s *State, e Entry) error {
	m := c.Member
	if _, banned := s.Banned[m.ID]; banned {
		return ErrRemoved.with("%q", m.ID)
	}
	if m.ID == "" || len(m.Incarnation) != 32 {
		return ErrMemberBad.with("id %q, incarnation of %d digits", m.ID, len(m.Incarnation))
	}
	if version := max(m.EntryVersion, 1); version < s.Level { // it could read no such log, and as a member keep all from using that version
		return ErrTooOld.with("%q understands entry version %d, the log has %d", m.ID, version, s.Level)
	}
	for _, id := range s.MemberIDs() { // in order: which conflict is found first stands in the refusal, and that in the state
		other := s.Members[id]
		if id == m.ID {
			continue
		}
		if key, ok := common(other.Finalizers, m.Finalizers); ok {
			return ErrFinalizer.with("%s, of %q and %q", key, id, m.ID)
		}
		if other.Incarnation == m.Incarnation {
			return ErrMemberBad.with("the incarnation of %q is another member's: was its process image copied?", m.ID)
		}
	}
	old, known := s.Members[m.ID]
	if known {
		m.Maintenance, m.Nonvoter, m.Joined = old.Maintenance, old.Nonvoter, old.Joined
	} else {
		if len(s.Members) >= maxMembers {
			return ErrMemberBad.with("there are %d members, the most there may be: remove the dead ones", len(s.Members))
		}
		m.Joined, m.Nonvoter = e.At, false
	}
	s.Members, s.Lost = withMember(s.Members, m), without(s.Lost, m.ID)
	if !known {
		s.Invites = dropInvites(s.Invites, unused(m.ID)) // it is here: whoever has one of them has no business with it any more
	}
	switch {
	case !known:
		s.note(e, "member.joined", m.ID, "raft %s", m.Raft)
	case old.Incarnation != m.Incarnation:
		s.note(e, "member.started", m.ID, "a new incarnation")
	}
	return nil
}

func (c SetMember) apply(s *State, e Entry) error {
	m, ok := s.Members[c.ID]
	if !ok {
		return ErrMember.with("%q", c.ID)
	}
	if c.Priority != nil {
		m.Priority = *c.Priority
	}
	if c.NoFailover != nil {
		m.NoFailover = *c.NoFailover
	}
	if c.Maintenance != nil {
		m.Maintenance = *c.Maintenance
	}
	suffix := ""
	if c.Nonvoter != nil {
		if *c.Nonvoter && !s.votes(c.ID) {
			return ErrLastVoter.with("%q", c.ID)
		}
		m.Nonvoter = *c.Nonvoter
		suffix = fmt.Sprintf(", nonvoter %v", m.Nonvoter)
	}
	s.Members = withMember(s.Members, m)
	s.note(e, "member.set", c.ID, "priority %d, nofailover %v, maintenance %v%s", m.Priority, m.NoFailover, m.Maintenance, suffix)
	return nil
}

// votes reports whether a member other than this one may vote.
func (s *State) votes(but string) bool {
	for id, m := range s.Members {
		if id != but && !m.Nonvoter {
			return true
		}
	}
	return false
}

func (c RemoveMember) apply(s *State, e Entry) error {
	_, known := s.Members[c.ID]
	if !known && (!c.Ban || c.ID == "") {
		return ErrMember.with("%q", c.ID)
	}
	if s.Lease.Open() && s.Lease.Holder == c.ID {
		return ErrHolds.with("%q", c.ID)
	}
	if known && !s.votes(c.ID) {
		return ErrLastVoter.with("%q", c.ID)
	}
	if o, ok := s.HandoffOf(c.ID); ok && c.Ban { // version 1 did not look, and it reads what has no ban: its answer must stay
		return ErrBusy.with("%s %d from %q to %q names the member", o.Kind, o.ID, o.Handoff.From, o.Handoff.To)
	}
	if o, ok := s.Working(c.ID); ok {
		return ErrBusy.with("%s %d has the node of %q stopped", o.Kind, o.ID, c.ID)
	}
	s.Invites = dropInvites(s.Invites, unused(c.ID))
	if c.Ban {
		s.Invites = dropInvites(s.Invites, func(n Invite) bool { return n.Member == c.ID }) // the ban says more than when it was admitted
		s.Banned = putBounded(s.Banned, c.ID, e.At, maxBanned, func(at int64) int64 { return at })
	}
	members := make(map[string]Member, len(s.Members))
	for id, m := range s.Members {
		if id != c.ID {
			members[id] = m
		}
	}
	s.Members = members
	s.forget(e, c.ID)
	s.note(e, "member.removed", c.ID, "")
	return nil
}

// withMember returns a copy of the map with one record replaced: published states share the old map.
func withMember(members map[string]Member, m Member) map[string]Member {
	next := make(map[string]Member, len(members)+1)
	for id, o := range members {
		next[id] = o
	}
	next[m.ID] = m
	return next
}

func common(a, b []string) (string, bool) {
	for _, x := range a {
		for _, y := range b {
			if x == y {
				return x, true
			}
		}
	}
	return "", false
}

package fsm

import (
	"encoding/json"
	"fmt"
	"slices"
	"unicode/utf8"

	"roundtable/chain"
)

// Bounds of what the state remembers: it must stay small, for every raft snapshot carries all of it.
const (
	maxHistory    = 512
	maxPast       = 128 // earlier leases
	maxOperations = 64  // ended ones
	maxWindows    = 32  // finished windows
	maxRequests   = 256 // idempotency keys
	maxMembers    = 64
	maxTokens     = 64
	maxInvites    = 64
	maxBanned     = 256
	maxText       = 400 // bytes of a text in the history, of an operation's reason and of a refusal's message
)

// State is everything that the members agree on. It is immutable once published: Apply copies what it changes, so that
// readers need no lock and a raft snapshot is just a pointer.
type State struct {
	Index      uint64            `json:"index"` // of the last entry applied
	Cluster    Cluster           `json:"cluster"`
	Members    map[string]Member `json:"members"`
	Lease      Lease             `json:"lease"`
	Past       []Lease           `json:"past"`       // earlier leases, oldest first, bounded
	After      chain.Block       `json:"after"`      // the block that the holder's head must contain before it resumes; zero: none [L2]
	LastBlock  chain.Block       `json:"last_block"` // the last block that a release or transfer named
	Round      Round             `json:"round"`
	Operations []Operation       `json:"operations"` // running and ended, oldest first, the ended ones bounded
	History    []Event           `json:"history"`    // bounded
	Requests   []Request         `json:"requests"`   // idempotency keys, oldest first, bounded

	// What follows is of entry version 2 and absent until it is used: a program of version 1 reads no state that has it.

	Level   uint32            `json:"level,omitempty"`   // highest entry version in the log; absent: 1
	Tokens  map[string]Token  `json:"tokens,omitempty"`  // by id, bounded
	Invites map[string]Invite `json:"invites,omitempty"` // by id, bounded
	Banned  map[string]int64  `json:"banned,omitempty"`  // members that an operator removed, and when (Unix ms), until an invite is used; bounded
	Lost    map[string]string `json:"lost,omitempty"`    // p2p addresses of the members that a recovery removed, until they join again

	// Of entry version 3.

	Homes map[string]Home `json:"homes,omitempty"` // by member: what its node is to run, and runs

	// Of entry version 4.

	Backups map[string]Backup `json:"backups,omitempty"` // the catalogue, by id, bounded
	Dropped []Dropped         `json:"dropped,omitempty"` // backups that were in it, oldest first, bounded
	Plans   map[string]Plan   `json:"plans,omitempty"`   // by id, bounded
}

// Event is one line of the history.
type Event struct {
	Index   uint64 `json:"index"` // of the entry that made it
	At      int64  `json:"at"`    // Unix ms, the proposer's clock
	Kind    string `json:"kind"`  // such as "lease.granted"
	By      string `json:"by"`    // the member that proposed it
	Subject string `json:"subject"`
	Text    string `json:"text,omitempty"`
	Actor   string `json:"actor,omitempty"` // on whose behalf; absent for what the cluster did by itself
}

// Request remembers the outcome of an entry that carried an idempotency key.
type Request struct {
	Key     string   `json:"key"`
	Index   uint64   `json:"index"`
	Refusal *Refusal `json:"refusal,omitempty"`
}

// New returns the empty state that every log starts from.
func New() *State { return &State{Members: map[string]Member{}} }

// note appends a line to the history.
func (s *State) note(e Entry, kind, subject, format string, args ...any) {
	s.History = appendBounded(s.History, Event{Index: e.Index, At: e.At, Kind: clip(kind), By: clip(e.By), Subject: clip(subject), Text: clip(fmt.Sprintf(format, args...)), Actor: clip(e.Actor)}, maxHistory)
}

// clip shortens a text to maxText bytes at most, between two runes: half a rune would not survive a raft snapshot.
func clip(text string) string { return cut(text, maxText) }

func cut(text string, most int) string {
	if len(text) <= most {
		return text
	}
	for most > 0 && !utf8.RuneStart(text[most]) {
		most--
	}
	return text[:most]
}

// appendBounded appends to a copy (published states share the old array) and drops the oldest beyond limit.
func appendBounded[T any](list []T, v T, limit int) []T {
	if drop := len(list) + 1 - limit; drop > 0 {
		list = list[drop:]
	}
	next := make([]T, len(list)+1)
	copy(next, list)
	next[len(list)] = v
	return next
}

// MemberIDs lists the members in the order of their ids.
func (s *State) MemberIDs() []string {
	ids := make([]string, 0, len(s.Members))
	for id := range s.Members {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// EntryVersion is the highest entry version that every member understands: no manager may propose a newer kind.
func (s *State) EntryVersion() uint32 {
	lowest := uint32(EntryVersion)
	for _, m := range s.Members {
		lowest = min(lowest, max(m.EntryVersion, 1)) // a record that does not say must not stop the cluster for ever
	}
	return lowest
}

// BeyondVersion1 reports that there are entries of version 2 in the log and that every member knows them: one more closes no way
// back to a program of version 1.
func (s *State) BeyondVersion1() bool { return s.Level >= 2 && s.EntryVersion() >= 2 }

// NamesActor reports whether an entry with this command may say on whose behalf it is: that needs version 2 of every member,
// and it is left out as well while nothing else of version 2 was ever used, so that the members can still go back to a
// program of version 1.
func (s *State) NamesActor(c Command) bool {
	return s.BeyondVersion1() || s.EntryVersion() >= 2 && Needs(c) >= 2
}

// snapshotVersion is the layout of Marshal's output.
const snapshotVersion = 1

type snapshot struct {
	Version int    `json:"version"`
	State   *State `json:"state"`
}

// Marshal encodes the whole state for a raft snapshot. Equal states give equal bytes.
func (s *State) Marshal() ([]byte, error) { return json.Marshal(snapshot{snapshotVersion, s}) }

// Unmarshal decodes what Marshal wrote. A newer layout or an unknown field is an error: guessing would diverge.
func Unmarshal(b []byte) (*State, error) {
	var snap snapshot
	if err := strict(b, &snap); err != nil {
		return nil, fmt.Errorf("fsm: decode state: %w", err)
	}
	if snap.Version != snapshotVersion {
		return nil, fmt.Errorf("fsm: state has layout %d, this program knows %d", snap.Version, snapshotVersion)
	}
	if snap.State == nil {
		return nil, fmt.Errorf("fsm: decode state: it is empty")
	}
	if snap.State.Members == nil {
		snap.State.Members = map[string]Member{}
	}
	return snap.State, nil
}

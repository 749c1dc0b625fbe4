package drill

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"roundtable/fsm"
)

// EpochSpan is one epoch of the lease as the raft logs have it: who could sign, and for which slots.
type EpochSpan struct {
	Epoch       uint64    `json:"epoch"`
	Holder      string    `json:"holder"`
	Incarnation string    `json:"incarnation"`
	First       uint64    `json:"first"`
	Last        uint64    `json:"last"` // after every extension and the release
	Released    bool      `json:"released"`
	By          string    `json:"by"`    // kind of the entry that granted it; "" where only a snapshot knows of it
	Index       uint64    `json:"index"` // of that entry
	At          time.Time `json:"at,omitzero"`
	Reason      string    `json:"reason,omitempty"` // the leader's, for a grant
	Extensions  int       `json:"extensions"`
}

// Replay is what the raft logs of a cluster say when they are replayed.
type Replay struct {
	Epochs []EpochSpan
	Base   uint64   // where the replay began: 0, or the index of a snapshot
	Last   uint64   // of the entries that more than half of the members hold
	Common uint64   // up to here every member's log was replayed
	States []string // the folders whose states were compared, in the order given
}

// ReplayLogs replays the raft folders of a cluster's members and compares: the logs must match as raft promises, each log
// must replay to the same bytes as the others' at its own last index and at the lowest one that all have, and every
// snapshot must be what the entries before it make. Any difference is an error.
//
// Entries that no majority of the folders holds are not replayed: nobody can have applied them. All managers must have
// ended. It shares the rules (fsm) with the product, on purpose: it shows that the members agree, not that the rules are
// right. Overlapping and Outside judge what the rules led to, without them.
func ReplayLogs(dirs []string) (Replay, error) {
	if len(dirs) == 0 {
		return Replay{}, errors.New("drill: no raft folder to replay")
	}
	logs := make([]raftLog, len(dirs))
	for i, dir := range dirs {
		var err error
		if logs[i], err = readRaftLog(dir); err != nil {
			return Replay{}, err
		}
	}
	return replay(logs)
}

func replay(logs []raftLog) (Replay, error) {
	for i := range logs {
		for j := range i {
			if err := mustMatch(logs[j], logs[i]); err != nil {
				return Replay{}, err
			}
		}
	}
	entries, last := committed(logs)
	base, err := oldestBase(logs, entries, last)
	if err != nil {
		return Replay{}, err
	}
	r := Replay{Base: base.index, Last: last, Common: last, Epochs: known(base.state)}
	// The reference: all that the logs have together. Its state is kept where a member's is to be compared with it.
	own := make([]span, len(logs))
	want := map[uint64]string{}
	for i, l := range logs {
		if own[i], err = l.span(entries, last); err != nil {
			return Replay{}, err
		}
		r.Common = min(r.Common, own[i].last)
		r.States = append(r.States, l.dir)
		for _, s := range l.snapshots {
			want[s.index] = ""
		}
		want[own[i].last] = ""
	}
	want[r.Common] = ""
	if err := run(base, entries, last, want, &r.Epochs); err != nil {
		return r, err
	}
	for i, l := range logs {
		if err := l.compare(own[i], r.Common, base.index, want); err != nil {
			return r, err
		}
	}
	return r, nil
}

// oldestBase is the earliest state from which the entries run on to the last without a hole.
func oldestBase(logs []raftLog, entries map[uint64]raft.Log, last uint64) (baseState, error) {
	bases := []baseState{{0, fsm.New(), nil}}
	for _, l := range logs {
		bases = append(bases, l.snapshots...)
	}
	slices.SortStableFunc(bases, func(a, b baseState) int { return int(int64(a.index) - int64(b.index)) })
	for _, b := range bases {
		if whole(entries, b.index+1, last) {
			return b, nil
		}
	}
	return baseState{}, fmt.Errorf("drill: the raft logs have holes before entry %d, and no snapshot covers them", last)
}

func whole(entries map[uint64]raft.Log, from, to uint64) bool {
	for i := from; i <= to; i++ {
		if _, ok := entries[i]; !ok {
			return false
		}
	}
	return true
}

// span is what one log can be replayed from, and how far.
type span struct {
	base baseState
	last uint64
}

// span finds the newest base of a log and its last entry that is committed.
func (l raftLog) span(committed map[uint64]raft.Log, last uint64) (span, error) {
	s := span{base: baseState{0, fsm.New(), nil}}
	if n := len(l.snapshots); l.first != 1 && n > 0 {
		s.base = l.snapshots[n-1]
	}
	s.last = s.base.index
	for i := s.base.index + 1; i <= min(l.last, last); i++ {
		e, ok := l.entries[i]
		if !ok {
			return s, fmt.Errorf("drill: the raft log %s lacks entry %d", l.dir, i)
		}
		if e.Term != committed[i].Term {
			break // the rest never came to anything
		}
		s.last = i
	}
	return s, nil
}

// compare replays one log alone and checks its states against the reference's.
func (l raftLog) compare(s span, common, base uint64, reference map[uint64]string) error {
	mine := map[uint64]string{s.last: ""}
	if common >= s.base.index {
		mine[common] = ""
	}
	if err := run(s.base, l.entries, s.last, mine, nil); err != nil {
		return fmt.Errorf("%s: %w", l.dir, err)
	}
	for _, snap := range l.snapshots {
		mine[snap.index] = string(snap.bytes)
	}
	for _, i := range slices.Sorted(maps.Keys(mine)) {
		// What lies before the reference's own beginning, or beyond what is committed, cannot be compared.
		if theirs := reference[i]; theirs != "" && i >= base && mine[i] != theirs {
			return fmt.Errorf("drill: %s gives another state at index %d than the others: %s", l.dir, i, firstDifference(mine[i], theirs))
		}
	}
	return nil
}

func firstDifference(a, b string) string {
	i := 0
	for i < min(len(a), len(b)) && a[i] == b[i] {
		i++
	}
	around := func(s string) string { return s[min(len(s), max(0, i-30)):min(len(s), i+30)] }
	return fmt.Sprintf("...%s... here, ...%s... there", around(a), around(b))
}

// run applies entries from a base on. It keeps the encoded state at each index in keep, and follows the epochs if asked to.
func run(base baseState, entries map[uint64]raft.Log, last uint64, keep map[uint64]string, epochs *[]EpochSpan) error {
	state := base.state
	for i := base.index; ; i++ {
		if e := entries[i]; i > base.index && e.Type == raft.LogCommand {
			entry, err := fsm.Decode(e.Data)
			if err != nil {
				return fmt.Errorf("drill: entry %d: %w", i, err)
			}
			entry.Index = i
			before := state
			state, _ = state.Apply(entry)
			if epochs != nil {
				*epochs = follow(*epochs, before, state, entry)
			}
		}
		if _, wanted := keep[i]; wanted {
			b, err := state.Marshal()
			if err != nil {
				return fmt.Errorf("drill: state at %d: %w", i, err)
			}
			keep[i] = string(bytes.TrimSpace(b))
		}
		if i >= last {
			return nil
		}
	}
}

// follow keeps the list of epochs in step with an entry.
func follow(list []EpochSpan, before, after *fsm.State, e fsm.Entry) []EpochSpan {
	if after.Lease == before.Lease {
		return list
	}
	if n := len(list); n > 0 && before.Lease.Epoch == list[n-1].Epoch {
		old := before.Lease
		if p := len(after.Past); after.Lease.Epoch != before.Lease.Epoch && p > 0 {
			old = after.Past[p-1] // with what a transfer shrank it to
		} else if after.Lease.Epoch == before.Lease.Epoch {
			old = after.Lease
		}
		if old.Last > before.Lease.Last {
			list[n-1].Extensions++
		}
		list[n-1].Last, list[n-1].Released = uint64(old.Last), old.Released
	}
	if after.Lease.Epoch != before.Lease.Epoch {
		s := spanOf(after.Lease)
		s.By, s.Index, s.At = e.Command.Kind(), e.Index, time.UnixMilli(e.At).UTC()
		if g, ok := e.Command.(fsm.Grant); ok {
			s.Reason = g.Reason
		}
		list = append(list, s)
	}
	return list
}

func spanOf(l fsm.Lease) EpochSpan {
	return EpochSpan{Epoch: l.Epoch, Holder: l.Holder, Incarnation: l.Incarnation, First: uint64(l.First), Last: uint64(l.Last), Released: l.Released}
}

// known lists the epochs that a snapshot remembers.
func known(s *fsm.State) []EpochSpan {
	var list []EpochSpan
	for _, l := range s.Past {
		list = append(list, spanOf(l))
	}
	if s.Lease.Epoch > 0 {
		list = append(list, spanOf(s.Lease))
	}
	return list
}

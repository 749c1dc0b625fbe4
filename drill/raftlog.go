package drill

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"

	"roundtable/fsm"
)

// raftLog is what a member that has ended left in its raft folder.
type raftLog struct {
	dir       string
	entries   map[uint64]raft.Log
	first     uint64 // 0: the log is empty
	last      uint64
	snapshots []baseState // oldest first
}

// baseState is a state to replay from: a snapshot's, or the empty one at index 0.
type baseState struct {
	index uint64
	state *fsm.State
	bytes []byte // as it lay on the disk; nil for the empty one
}

// readRaftLog reads a raft folder. The database is copied first: a living manager would have it locked, and opening it must
// leave no trace. The copy of a database that is being written may be torn, so the manager must have ended.
func readRaftLog(dir string) (raftLog, error) {
	l := raftLog{dir: dir, entries: map[uint64]raft.Log{}}
	copied, err := copyAside(filepath.Join(dir, "raft.db"))
	if err != nil {
		return l, fmt.Errorf("drill: raft log of %s: %w", dir, err)
	}
	defer os.Remove(copied) //nolint:errcheck // a temporary file
	db, err := raftboltdb.New(raftboltdb.Options{Path: copied, BoltOptions: &bbolt.Options{ReadOnly: true, Timeout: time.Second}})
	if err != nil {
		return l, fmt.Errorf("drill: raft log of %s: %w", dir, err)
	}
	defer db.Close() //nolint:errcheck // nothing was written
	if l.first, err = db.FirstIndex(); err == nil {
		l.last, err = db.LastIndex()
	}
	for i := l.first; err == nil && i > 0 && i <= l.last; i++ {
		var e raft.Log
		if err = db.GetLog(i, &e); errors.Is(err, raft.ErrLogNotFound) {
			err = nil // a hole: replay finds out whether it matters
			continue
		}
		l.entries[i] = e
	}
	if err != nil {
		return l, fmt.Errorf("drill: raft log of %s: %w", dir, err)
	}
	l.snapshots, err = readSnapshots(filepath.Join(dir, "snapshots"))
	return l, err
}

func copyAside(name string) (string, error) {
	in, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer in.Close()
	out, err := os.CreateTemp("", "raft-*.db")
	if err != nil {
		return "", err
	}
	_, err = io.Copy(out, in)
	if err = errors.Join(err, out.Close()); err != nil {
		return "", errors.Join(err, os.Remove(out.Name()))
	}
	return out.Name(), nil
}

// readSnapshots reads raft's file snapshots: a folder each, with meta.json and state.bin. One that was never finished
// (.tmp) is left out, as raft does.
func readSnapshots(dir string) ([]baseState, error) {
	folders, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("drill: raft snapshots: %w", err)
	}
	var list []baseState
	for _, f := range folders {
		if !f.IsDir() || filepath.Ext(f.Name()) == ".tmp" {
			continue
		}
		var meta struct{ Index uint64 }
		b, err := os.ReadFile(filepath.Join(dir, f.Name(), "meta.json"))
		if err == nil {
			err = json.Unmarshal(b, &meta)
		}
		if err == nil {
			b, err = os.ReadFile(filepath.Join(dir, f.Name(), "state.bin"))
		}
		var state *fsm.State
		if err == nil {
			state, err = fsm.Unmarshal(b)
		}
		if err != nil {
			return nil, fmt.Errorf("drill: raft snapshot %s: %w", filepath.Join(dir, f.Name()), err)
		}
		list = append(list, baseState{meta.Index, state, b})
	}
	slices.SortFunc(list, func(a, b baseState) int { return cmp.Compare(a.index, b.index) })
	return list, nil
}

// mustMatch checks raft's log matching between two logs: where both hold an entry with the same index and term, they are
// the same, and so is every entry before it that both hold. What differs only at the end was never committed on one side.
func mustMatch(a, b raftLog) error {
	agreed := false
	for i := min(a.last, b.last); i > 0 && i >= max(a.first, b.first); i-- {
		x, okX := a.entries[i]
		y, okY := b.entries[i]
		switch {
		case !okX || !okY:
		case x.Term == y.Term && (x.Type != y.Type || !bytes.Equal(x.Data, y.Data)):
			return fmt.Errorf("drill: entry %d of term %d is not the same in %s and %s", i, x.Term, a.dir, b.dir)
		case x.Term == y.Term:
			agreed = true
		case agreed:
			return fmt.Errorf("drill: entry %d is of term %d in %s and of term %d in %s, and later ones agree", i, x.Term, a.dir, y.Term, b.dir)
		}
	}
	return nil
}

// committed merges the logs to the entries that more than half of them hold: every entry that anybody applied is among
// them. A folder whose log no longer reaches back to an entry has it in its snapshot, and counts. Where that leaves two
// terms to choose from it is the higher one: its leader would have had a committed entry of the lower.
func committed(logs []raftLog) (entries map[uint64]raft.Log, last uint64) {
	entries = map[uint64]raft.Log{}
	var highest uint64
	for _, l := range logs {
		highest = max(highest, l.last)
	}
	for i := uint64(1); i <= highest; i++ {
		votes := map[uint64]int{} // by term
		compacted := 0
		held := map[uint64]raft.Log{}
		for _, l := range logs {
			if e, ok := l.entries[i]; ok {
				votes[e.Term]++
				held[e.Term] = e
			} else if n := len(l.snapshots); n > 0 && i <= l.snapshots[n-1].index {
				compacted++
			}
		}
		var best uint64
		for term, n := range votes {
			if 2*(n+compacted) > len(logs) && term >= best {
				entries[i], last, best = held[term], i, term
			}
		}
	}
	return entries, last
}

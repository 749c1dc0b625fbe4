package drill

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"

	"roundtable/chain"
	"roundtable/fsm"
)

var incarnations = map[string]string{"m1": strings.Repeat("1", 32), "m2": strings.Repeat("2", 32), "m3": strings.Repeat("3", 32)}

// history is a log as a leader writes it: three members, an epoch extended twice and handed over, and one granted anew.
func history(t *testing.T) []raft.Log {
	t.Helper()
	var log []raft.Log
	add := func(kind raft.LogType, data []byte) {
		log = append(log, raft.Log{Index: uint64(len(log)) + 1, Term: 1, Type: kind, Data: data})
	}
	add(raft.LogConfiguration, []byte("of no interest"))
	add(raft.LogNoop, nil)
	for i, id := range []string{"m1", "m2", "m3"} {
		add(raft.LogCommand, command(t, int64(i), fsm.PutMember{Member: fsm.Member{ID: id, Incarnation: incarnations[id], EntryVersion: 1}}))
	}
	for i, c := range []fsm.Command{
		fsm.Grant{Epoch: 1, Holder: "m1", Incarnation: incarnations["m1"], First: 100, Last: 104, Reason: "the first"}, // 6
		fsm.Extend{Epoch: 1, Incarnation: incarnations["m1"], Last: 106},
		fsm.Extend{Epoch: 1, Incarnation: incarnations["m1"], Last: 108},
		fsm.Extend{Epoch: 7, Incarnation: incarnations["m1"], Last: 110},                                                                                            // refused
		fsm.Transfer{Epoch: 1, Incarnation: incarnations["m1"], Signed: 107, To: "m2", ToIncarnation: incarnations["m2"], Last: 111, Block: chain.Block{Slot: 107}}, // 10
		fsm.Extend{Epoch: 2, Incarnation: incarnations["m2"], Last: 112},
		fsm.Grant{Epoch: 3, Holder: "m3", Incarnation: incarnations["m3"], First: 113, Last: 116}, // 12
		fsm.Release{Epoch: 3, Incarnation: incarnations["m3"], Signed: 115},
	} {
		add(raft.LogCommand, command(t, 1000*int64(i), c))
	}
	return log
}

func command(t *testing.T, at int64, c fsm.Command) []byte {
	t.Helper()
	b, err := fsm.Encode(fsm.Entry{At: at, By: "m1", Command: c})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func logOf(dir string, entries []raft.Log, snapshots ...baseState) raftLog {
	l := raftLog{dir: dir, entries: map[uint64]raft.Log{}, snapshots: snapshots}
	for _, e := range entries {
		l.entries[e.Index] = e
	}
	if len(entries) > 0 {
		l.first, l.last = entries[0].Index, entries[len(entries)-1].Index
	}
	return l
}

// stateAt is the state after the first n entries.
func stateAt(t *testing.T, log []raft.Log, n uint64) baseState {
	t.Helper()
	state := fsm.New()
	for _, e := range log[:n] {
		if e.Type == raft.LogCommand {
			entry, err := fsm.Decode(e.Data)
			if err != nil {
				t.Fatal(err)
			}
			entry.Index = e.Index
			state, _ = state.Apply(entry)
		}
	}
	b, err := state.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	back, err := fsm.Unmarshal(b)
	if err != nil {
		t.Fatal(err)
	}
	return baseState{n, back, b}
}

func TestReplay(t *testing.T) {
	h := history(t)
	stale := func(from int, term uint64) []raft.Log { // entries of a leader that nobody followed
		list := slices.Clone(h)
		for i := from; i < len(list); i++ {
			list[i].Term, list[i].Type, list[i].Data = term, raft.LogNoop, nil
		}
		return list
	}
	changed := slices.Clone(h)
	changed[8].Data = command(t, 0, fsm.Extend{Epoch: 1, Incarnation: incarnations["m1"], Last: 110})
	elsewhere := slices.Clone(h)
	elsewhere[8].Term = 9
	garbage := slices.Clone(h)
	garbage[8].Data = []byte("garbage")
	good, wrong := stateAt(t, h, 11), stateAt(t, h, 11)
	wrong.bytes = bytes.Replace(wrong.bytes, []byte(`"last":112`), []byte(`"last":113`), 1)
	if bytes.Equal(good.bytes, wrong.bytes) {
		t.Fatal("the wrong snapshot is right")
	}
	other := stateAt(t, append(slices.Clone(h[:10]), changed[8]), 11) // a state that other entries made
	other.index = 11
	n := uint64(len(h))
	for _, c := range []struct {
		name               string
		logs               []raftLog
		base, last, common uint64
		epochs             int
		err                string
	}{
		{"equal logs", []raftLog{logOf("m1", h), logOf("m2", h), logOf("m3", h)}, 0, n, n, 3, ""},
		{"one alone", []raftLog{logOf("m1", h)}, 0, n, n, 3, ""},
		{"one lags", []raftLog{logOf("m1", h), logOf("m2", h[:9]), logOf("m3", h)}, 0, n, 9, 3, ""},
		{"one had begun nothing", []raftLog{logOf("m1", h), logOf("m2", nil), logOf("m3", h)}, 0, n, 0, 3, ""},
		{"the end is on one only", []raftLog{logOf("m1", h), logOf("m2", h[:9]), logOf("m3", h[:10])}, 0, 10, 9, 2, ""},
		{"an old leader's end", []raftLog{logOf("m1", stale(9, 7)), logOf("m2", h), logOf("m3", h)}, 0, n, 9, 3, ""},
		{"a snapshot and the rest", []raftLog{logOf("m1", h[11:], good), logOf("m2", h), logOf("m3", h)}, 0, n, n, 3, ""},
		{"a snapshot beyond what one has", []raftLog{logOf("m1", h[11:], good), logOf("m2", h[:9]), logOf("m3", h)}, 0, n, 9, 3, ""},
		{"snapshots everywhere", []raftLog{logOf("m1", h[11:], good), logOf("m2", h[11:], good)}, 11, n, n, 3, ""},

		{"the same entry with other data", []raftLog{logOf("m1", h), logOf("m2", changed), logOf("m3", h)}, 0, 0, 0, 0, "entry 9 of term 1 is not the same in m1 and m2"},
		{"another term in the middle", []raftLog{logOf("m1", h), logOf("m2", h), logOf("m3", elsewhere)}, 0, 0, 0, 0, "and later ones agree"},
		{"a hole", []raftLog{logOf("m1", append(slices.Clone(h[:5]), h[6:]...)), logOf("m2", append(slices.Clone(h[:5]), h[6:]...))}, 0, 0, 0, 0, "holes"},
		{"an entry nobody can read", []raftLog{logOf("m1", garbage)}, 0, 0, 0, 0, "entry 9"},
		{"a snapshot that is not what the log makes", []raftLog{logOf("m1", h), logOf("m2", h, wrong), logOf("m3", h)}, 0, 0, 0, 0, "m2 gives another state at index 11"},
		{"a replay from a wrong snapshot", []raftLog{logOf("m1", h), logOf("m2", h[11:], other), logOf("m3", h)}, 0, 0, 0, 0, "m2 gives another state"},
	} {
		r, err := replay(c.logs)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: %v, want an error with %q", c.name, err, c.err)
			}
			continue
		}
		if err != nil || r.Base != c.base || r.Last != c.last || r.Common != c.common || len(r.Epochs) != c.epochs {
			t.Errorf("%s: base %d, last %d, common %d, %d epochs, %v", c.name, r.Base, r.Last, r.Common, len(r.Epochs), err)
		}
	}
}

func TestReplayTellsTheEpochs(t *testing.T) {
	h := history(t)
	r, err := replay([]raftLog{logOf("m1", h)})
	if err != nil {
		t.Fatal(err)
	}
	want := []EpochSpan{
		{1, "m1", incarnations["m1"], 100, 107, true, "lease.grant", 6, time.UnixMilli(0).UTC(), "the first", 2},
		{2, "m2", incarnations["m2"], 108, 112, false, "lease.transfer", 10, time.UnixMilli(4000).UTC(), "", 1},
		{3, "m3", incarnations["m3"], 113, 115, true, "lease.grant", 12, time.UnixMilli(6000).UTC(), "", 0},
	}
	if !slices.Equal(r.Epochs, want) {
		t.Errorf("%+v\nwant %+v", r.Epochs, want)
	}
}

// The folders are written as cluster/stores.go does: raft-boltdb and raft's own file snapshots.
func TestReplayLogsReadsFolders(t *testing.T) {
	h := history(t)
	t.Setenv("TMPDIR", t.TempDir())
	folder := func(name string, entries []raft.Log, snapshot *baseState) string {
		dir := filepath.Join(t.TempDir(), name)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		db, err := raftboltdb.New(raftboltdb.Options{Path: filepath.Join(dir, "raft.db")})
		if err != nil {
			t.Fatal(err)
		}
		var logs []*raft.Log
		for _, e := range entries {
			logs = append(logs, &e)
		}
		if err := db.StoreLogs(logs); err != nil {
			t.Fatal(err)
		}
		if snapshot != nil {
			store, err := raft.NewFileSnapshotStoreWithLogger(dir, 2, hclog.NewNullLogger())
			if err != nil {
				t.Fatal(err)
			}
			sink, err := store.Create(1, snapshot.index, 1, raft.Configuration{}, 1, nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := sink.Write(snapshot.bytes); err != nil {
				t.Fatal(err)
			}
			if err := sink.Close(); err != nil {
				t.Fatal(err)
			}
		}
		t.Cleanup(func() { _ = db.Close() }) // open meanwhile, as under a manager that hangs
		return dir
	}
	snap := stateAt(t, h, 8)
	dirs := []string{folder("m1", h, nil), folder("m2", h[8:], &snap), folder("m3", h[:12], nil)}
	before, err := os.ReadFile(filepath.Join(dirs[0], "raft.db"))
	if err != nil {
		t.Fatal(err)
	}
	r, err := ReplayLogs(dirs)
	if err != nil || len(r.Epochs) != 3 || r.Common != 12 || r.Last != uint64(len(h)) || !slices.Equal(r.States, dirs) {
		t.Errorf("%+v, %v", r, err)
	}
	after, err := os.ReadFile(filepath.Join(dirs[0], "raft.db"))
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("reading changed the log: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(os.TempDir(), "raft-*.db")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if _, err := ReplayLogs([]string{t.TempDir()}); err == nil {
		t.Error("a folder without a log passed")
	}
	if _, err := ReplayLogs(nil); err == nil {
		t.Error("no folder at all passed")
	}
}

func TestTermsThatNobodyFollowed(t *testing.T) {
	a, b := raft.Log{Index: 1, Term: 1}, raft.Log{Index: 1, Term: 2}
	snap := baseState{index: 3}
	entries, last := committed([]raftLog{logOf("a", []raft.Log{a}), logOf("b", []raft.Log{b}), logOf("c", nil, snap)})
	if last != 1 || entries[1].Term != 2 {
		t.Errorf("entry 1 is of term %d, last %d: want the higher term", entries[1].Term, last)
	}
}

package cluster

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"roundtable/fsm"
)

var recoverAt = time.Unix(1_700_000_000, 0)

// raftFolder is the folder of m3, of three members, as its process left it: with a raft snapshot in the middle or without, with
// a lease of m1. More entries may be added behind.
func raftFolder(t *testing.T, snapshot bool, more ...fsm.Command) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "raft")
	stores, err := fileStores(dir, raftLogger(Config{}.quiet().Log), false)
	if err != nil {
		t.Fatal(err)
	}
	three := raft.Configuration{Servers: []raft.Server{server("m1", raft.Voter), server("m2", raft.Voter), server("m3", raft.Voter)}}
	log := []*raft.Log{{Index: 1, Term: 1, Type: raft.LogConfiguration, Data: raft.EncodeConfiguration(three)}}
	commands := []fsm.Command{fsm.SetCluster{Cluster: fsm.Cluster{Name: "t", Producers: []string{"bp"}, Slots: 4}}}
	for i := 1; i <= 3; i++ {
		commands = append(commands, fsm.PutMember{Member: fsm.Member{ID: fmt.Sprintf("m%d", i), Incarnation: incarnation(i), Raft: fmt.Sprintf("m%d:1", i), EntryVersion: fsm.EntryVersion}})
	}
	commands = append(commands, fsm.Grant{Epoch: 1, Holder: "m1", Incarnation: incarnation(1), First: 100, Last: 104}, fsm.Extend{Epoch: 1, Incarnation: incarnation(1), Last: 106})
	m := newMachine(1<<62, func(err error) { t.Error(err) })
	for i, c := range append(commands, more...) {
		data, err := fsm.Encode(fsm.Entry{At: recoverAt.UnixMilli() + int64(i), By: "m1", Command: c})
		if err != nil {
			t.Fatal(err)
		}
		l := &raft.Log{Index: uint64(i + 2), Term: 1, Type: raft.LogCommand, Data: data}
		log = append(log, l)
		m.Apply(l)
		if snapshot && i == 3 {
			_, transport := raft.NewInmemTransport("m3:1")
			sink, err := stores.Snapshots.Create(1, l.Index, 1, three, 1, transport)
			if err != nil {
				t.Fatal(err)
			}
			s, _ := m.Snapshot()
			if err := s.Persist(sink); err != nil {
				t.Fatal(err)
			}
		}
	}
	err = errors.Join(stores.Log.StoreLogs(log), stores.Stable.Set(groupKey, []byte("00112233aabbccdd/m1")), stores.Stable.SetUint64([]byte("CurrentTerm"), 3))
	if snapshot { // that one lost its log before, and had not regained all of it
		err = errors.Join(err, stores.Stable.Set(fillingKey, []byte("x")))
	}
	err = errors.Join(err, stores.Close())
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func incarnation(n int) string { return fmt.Sprintf("%032d", n) }

func (c Config) quiet() Config {
	c.ID, c.Dir = "m3", "x"
	c, _ = c.withDefaults()
	return c
}

var withoutTwo = fsm.Recovery{By: "m3", Lost: []string{"m1", "m2"}, At: recoverAt.UnixMilli() + 99, Beyond: 900}

var errStop = errors.New("stop")

// openFolder opens a member on a folder, on loopback.
func openFolder(dir string) (*Cluster, error) {
	return Open(context.Background(), Config{ID: "m3", Dir: dir, RaftBind: "127.0.0.1:0", GossipBind: "127.0.0.1:0", Incarnation: incarnation(33)})
}

// TestRecoverInterrupted stops a recovery before each of its steps, and within raft's own. A manager does not start on what is
// half done; run again it ends as one that was never stopped: one epoch, one member, and all that the log held.
func TestRecoverInterrupted(t *testing.T) {
	for _, snapshot := range []bool{false, true} {
		for _, stop := range []string{"", stepCopy, stepGroup, stepSnapshot, "delete", stepFinish} {
			t.Run(fmt.Sprintf("snapshot %v, stopped before %q", snapshot, stop), func(t *testing.T) {
				dir := raftFolder(t, snapshot)
				runs := 2
				if stop == "" {
					runs = 1
				}
				for n := range runs {
					r, err := OpenRecovery(dir, "m3")
					if err != nil {
						t.Fatal(err)
					}
					if r.Done(withoutTwo.Lost) || r.Found().Filling != snapshot {
						t.Fatalf("before it began: %+v", r.Found())
					}
					r.step = func(name string) error {
						if name == stop && n == 0 {
							return errStop
						}
						return nil
					}
					if stop == "delete" && n == 0 {
						r.stores.Log = stuckLog{r.stores.Log}
					}
					saved, err := r.Run(withoutTwo, "127.0.0.1:7070", recoverAt.Add(time.Duration(n)*time.Second))
					if wantErr := n < runs-1; wantErr != (err != nil && strings.HasSuffix(err.Error(), errStop.Error())) || !wantErr && err != nil {
						t.Fatalf("run %d: %v", n, err)
					}
					if saved != "" {
						before, err := OpenRecovery(saved, "m3") // the folder as it was found
						if err != nil {
							t.Fatal(err)
						}
						if n == 0 && (before.Found().Group != "00112233aabbccdd/m1" || before.Found().State.Lease.Epoch != 1) {
							t.Errorf("kept: %+v", before.Found())
						}
						if err := before.Close(); err != nil {
							t.Fatal(err)
						}
					}
					if err := r.Close(); err != nil {
						t.Fatal(err)
					}
					if half := n == 0 && (stop == stepSnapshot || stop == "delete" || stop == stepFinish); half {
						var refused *ConfigError
						if c, err := openFolder(dir); !errors.As(err, &refused) || !strings.Contains(refused.Hint, "roundtable recover") {
							t.Fatalf("a manager starts on half a recovery: %v, %v", c, err)
						}
					}
				}
				recovered(t, dir)
			})
		}
	}
}

// stuckLog fails where RecoverCluster drops the old log, its last step.
type stuckLog struct{ raft.LogStore }

func (stuckLog) DeleteRange(uint64, uint64) error { return errStop }

// recovered checks a folder after its recovery, and that a member goes on with it.
func recovered(t *testing.T, dir string) {
	t.Helper()
	r, err := OpenRecovery(dir, "m3")
	if err != nil {
		t.Fatal(err)
	}
	f := r.Found()
	origin, n, ok := lineage(f.Group)
	if !r.Done(withoutTwo.Lost) || !ok || origin != "00112233aabbccdd" || n < 1 || !strings.HasSuffix(f.Group, "/m3") || f.Unfinished || f.Filling || len(f.Unsure) != 0 {
		t.Errorf("%+v", f)
	}
	if fmt.Sprint(f.Members()) != "[m3]" || f.Address("m3") != "127.0.0.1:7070" || f.Snapshot.Index != 7 || f.Snapshot.Term != 1 {
		t.Errorf("members %v at %s, snapshot %+v", f.Members(), f.Address("m3"), f.Snapshot)
	}
	if want := (fsm.Lease{Epoch: 2, First: 107, Last: 900, Released: true}); f.State.Lease != want || f.State.Past[0].Last != 106 {
		t.Errorf("%+v, before it %+v", f.State.Lease, f.State.Past)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	c, err := openFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := c.Propose(ctx, fsm.RaiseAlarm{Name: "on"}); err != nil {
		t.Errorf("it does not go on: %v", err)
	}
	if s, _ := c.View(); s.History[len(s.History)-2].Kind != "cluster.recovered" || s.Index <= 7 {
		t.Errorf("at %d: %+v", s.Index, s.History)
	}
	if err := c.Close(ctx); err != nil {
		t.Error(err)
	}
}

// TestRecoverRefuses what it cannot read, and says what it found where it can.
func TestRecoverRefuses(t *testing.T) {
	var refused *ConfigError
	if _, err := OpenRecovery(t.TempDir(), "m3"); !errors.As(err, &refused) {
		t.Errorf("an empty folder: %v", err)
	}
	dir := raftFolder(t, true, fsm.RaiseAlarm{Name: "late"})
	if _, err := OpenRecovery(dir, "m9"); !errors.As(err, &refused) || !strings.Contains(refused.Message, "m1, m2, m3") {
		t.Errorf("a stranger: %v", err)
	}
	r, err := OpenRecovery(dir, "m3")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenRecovery(dir, "m3"); !errors.As(err, &refused) || !strings.Contains(refused.Message, "in use") {
		t.Errorf("opened twice: %v", err)
	}
	f := r.Found()
	if f.LastIndex != 8 || f.LastTerm != 1 || f.Snapshot.Index != 5 || len(f.Unsure) != 3 || f.Unsure[2].Kind != "alarm.raise" || f.Unsure[2].By != "m1" || f.Newest != recoverAt.UnixMilli()+6 {
		t.Errorf("%+v", f)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if r, err = OpenRecovery(dir, "m3"); err != nil {
		t.Fatal(err)
	}
	if again := r.Found(); !reflect.DeepEqual(f, again) {
		t.Errorf("looking changed the folder: %+v, then %+v", f, again)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	// An entry of a later program stops it: nothing may be skipped.
	stores, err := fileStores(dir, raftLogger(Config{}.quiet().Log), false)
	if err == nil {
		err = errors.Join(stores.Log.StoreLog(&raft.Log{Index: 9, Term: 1, Type: raft.LogCommand, Data: []byte(`{"v":99,"kind":"x","at":1,"body":{}}`)}), stores.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenRecovery(dir, "m3"); err == nil || !strings.Contains(err.Error(), "upgrade it") {
		t.Errorf("an unknown entry: %v", err)
	}
}

func TestLineage(t *testing.T) {
	founded := foundedGroup("m1")
	once := recoveredGroup(founded, "m2")
	twice, other := recoveredGroup(once, "m3"), recoveredGroup(founded, "m.1/x")
	for _, c := range []struct {
		theirs, ours string
		want         bool
	}{
		{once, founded, true}, {founded, once, false}, {twice, once, true}, {twice, founded, true}, {once, twice, false}, {once, once, false},
		{founded, founded, false}, {once, foundedGroup("m1"), false}, {"", founded, false}, {once, "", false}, {"x.1/y", founded, false},
		{strings.Split(founded, "/")[0] + ".x." + strings.Split(founded, "/")[0] + "/m2", founded, false},
	} {
		if got := supersedes(c.theirs, c.ours); got != c.want {
			t.Errorf("%q supersedes %q: %v", c.theirs, c.ours, got)
		}
	}
	if supersedes(once, other) == supersedes(other, once) {
		t.Errorf("of two survivors one must go: %q, %q", once, other)
	}
	if len(recoveredGroup(twice, strings.Repeat("m", maxName/2))) > maxName {
		t.Error("a recovered group's id is too long for a hello")
	}
}

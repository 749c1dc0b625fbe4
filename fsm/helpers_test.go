package fsm

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"roundtable/chain"
)

// Incarnations of the members that the tests use: inc("a", 0) is the first process of member a.
func inc(id string, n int) string {
	return strings.Repeat(id, 30) + string([]byte{'0' + byte(n/10), '0' + byte(n%10)})
}

func member(id string, n int) Member {
	return Member{ID: id, Incarnation: inc(id, n), Raft: id + ":9070", API: "https://" + id + ":9080", EntryVersion: EntryVersion, Fence: "gate"}
}

func block(slot chain.Slot) chain.Block {
	return chain.Block{Slot: slot, Num: uint32(slot) + 2, ID: strings.Repeat("0", 60) + "beef"}
}

// must applies commands in order, stamping the index and a time of 1000 ms per entry, and fails on a refusal.
func must(t testing.TB, s *State, commands ...Command) *State {
	t.Helper()
	for _, c := range commands {
		next, r := s.Apply(stamp(s, c))
		if r.Err != nil {
			t.Fatalf("%s %+v refused: %v", c.Kind(), c, r.Err)
		}
		s = next
	}
	return s
}

func stamp(s *State, c Command) Entry {
	return Entry{Index: s.Index + 1, At: int64(s.Index+1) * 1000, By: "a", Command: c}
}

// born is a cluster of a, b, c with nodes and the witness w, without a lease.
func born(t testing.TB) *State {
	t.Helper()
	w := member("d", 0)
	w.ID, w.Witness = "w", true
	return must(t, New(),
		SetCluster{Cluster{Name: "demo", Producers: []string{"alice", "bob"}, Slots: DefaultSlots}},
		PutMember{member("a", 0)}, PutMember{member("b", 0)}, PutMember{member("c", 0)}, PutMember{w})
}

// leased is born with epoch 1 granted to a for slots 100..107.
func leased(t testing.TB) *State {
	t.Helper()
	return must(t, born(t), Grant{Epoch: 1, Holder: "a", Incarnation: inc("a", 0), First: 100, Last: 107})
}

// handing is leased with a handoff from a to b under way, at the given step. Its id is returned.
func handing(t testing.TB, step string) (*State, uint64) {
	t.Helper()
	s := leased(t)
	id := s.Index + 1
	s = must(t, s, StartOperation{Name: KindHandoff, Handoff: &Handoff{To: "b", When: "safe"}, Deadline: 20_000})
	for _, next := range []struct {
		step string
		by   Command
	}{
		{StepAwait, AdvanceOperation{ID: id, From: StepValidate, To: StepAwait, Assignee: "a", Deadline: 30_000}},
		{StepStop, AdvanceOperation{ID: id, From: StepAwait, To: StepStop, Assignee: "a", Deadline: 40_000}},
		{StepStart, Transfer{Epoch: 1, Incarnation: inc("a", 0), Signed: 103, Block: block(103), To: "b", ToIncarnation: inc("b", 0), Last: 107, Operation: id, Deadline: 50_000}},
		{StepVerify, AdvanceOperation{ID: id, From: StepStart, To: StepVerify, Deadline: 60_000}},
	} {
		if o, _ := s.Operation(id); o.Current().Name == step {
			break
		}
		s = must(t, s, next.by)
	}
	if o, _ := s.Operation(id); o.Current().Name != step {
		t.Fatalf("the handoff is at %q, want %q", o.Current().Name, step)
	}
	return s, id
}

// bytesOf is the state as it would stand in a raft snapshot.
func bytesOf(t testing.TB, s *State) []byte {
	t.Helper()
	b, err := s.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// sameBut fails unless got is want in everything but the index and the log's level (and, with a key, the memory of idempotency
// keys).
func sameBut(t testing.TB, want, got *State, key string) {
	t.Helper()
	g := *got
	g.Index, g.Level = want.Index, want.Level
	if key != "" {
		g.Requests = want.Requests
	}
	if a, b := bytesOf(t, want), bytesOf(t, &g); !bytes.Equal(a, b) {
		t.Fatalf("a refused command changed the state\n before %s\n after  %s", a, b)
	}
}

// refusal of a result, or nil.
func refusal(r Result) *Refusal {
	var f *Refusal
	if errors.As(r.Err, &f) {
		return f
	}
	return nil
}

func ptr[T any](v T) *T { return &v }

package fsm

import (
	"bytes"
	"errors"
	"testing"

	"pgregory.net/rapid"
	"roundtable/chain"
)

var lostTwo = Recovery{By: "c", Lost: []string{"b", "a", "w"}, At: 99_000, Beyond: 500}

func TestRecovered(t *testing.T) {
	old := must(t, leased(t), SetMember{ID: "c", Nonvoter: ptr(true)})
	before := bytesOf(t, old)
	s := old.Recovered(lostTwo)
	if !bytes.Equal(before, bytesOf(t, old)) {
		t.Fatal("the published state was modified")
	}
	if len(s.Members) != 1 || s.Members["c"].Nonvoter || s.Index != old.Index {
		t.Errorf("members %v, index %d", s.Members, s.Index)
	}
	if want := (Lease{Epoch: 2, First: 108, Last: 500, Released: true}); s.Lease != want || !s.Lease.Fenced() || s.Past[len(s.Past)-1] != old.Lease {
		t.Errorf("%+v, before it %+v", s.Lease, s.Past)
	}
	if last := s.History[len(s.History)-1]; last.Kind != "cluster.recovered" || last.Subject != "c" || last.At != 99_000 || last.Text != "without a, b, w; epoch 2 signs nothing, the next one from slot 501" {
		t.Errorf("%+v", last)
	}
	// The node's p2p peers are remembered as what they were, until the lost ones join again: else nobody would be fit [L7].
	b := member("b", 0)
	b.P2P = "b:9876"
	with := must(t, old, PutMember{b}).Recovered(lostTwo)
	if len(with.Lost) != 1 || with.Lost["b"] != "b:9876" || with.Level != 2 || s.Lost != nil || s.Level != old.Level {
		t.Errorf("lost: %v, %v", with.Lost, s.Lost)
	}
	if back := must(t, with, PutMember{b}); back.Lost != nil || len(with.Lost) != 1 {
		t.Errorf("lost after it is back: %v", back.Lost)
	}
	// Slots of the fence may have been signed by the lost ones: their blocks are no alarm. Beyond it nobody signed.
	for slot, want := range map[chain.Slot]bool{107: true, 108: true, 500: true, 501: false} {
		if ok, known := s.Signable(slot); ok != want || !known {
			t.Errorf("slot %d: signable %v, known %v", slot, ok, known)
		}
	}
	for name, c := range map[string]struct {
		do   Command
		want *Refusal
	}{
		"the old holder extends":           {Extend{1, inc("a", 0), 110}, ErrEpoch},
		"the old holder releases":          {Release{Epoch: 1, Incarnation: inc("a", 0), Signed: 104}, ErrEpoch},
		"the old holder hands over":        {Transfer{Epoch: 1, Incarnation: inc("a", 0), Signed: 104, To: "c", ToIncarnation: inc("c", 0), Last: 110}, ErrEpoch},
		"nobody extends the fence":         {Extend{2, "", 501}, ErrReleased},
		"nobody hands the fence over":      {Transfer{Epoch: 2, Signed: 500, To: "c", ToIncarnation: inc("c", 0), Last: 510}, ErrReleased},
		"a grant that the lost ones voted": {Grant{2, "c", inc("c", 0), 108, 112, ""}, ErrEpoch},
		"a grant within the fence":         {Grant{3, "c", inc("c", 0), 500, 504, ""}, ErrRange},
		"a grant to a lost one":            {Grant{3, "a", inc("a", 0), 501, 504, ""}, ErrMember},
		"a handoff":                        {start("c", "now"), ErrHandoff},
		"a grant beyond it":                {Grant{3, "c", inc("c", 0), 501, 504, ""}, nil},
		"an emptied one joins again":       {PutMember{member("a", 1)}, nil},
	} {
		next, r := s.Apply(stamp(s, c.do))
		if c.want == nil && r.Err != nil || c.want != nil && !errors.Is(r.Err, c.want) {
			t.Errorf("%s: %v", name, r.Err)
		}
		if c.want != nil {
			sameBut(t, s, next, "")
		}
	}
}

func TestRecoveredAgain(t *testing.T) {
	once := leased(t).Recovered(lostTwo)
	if again := once.Recovered(lostTwo); !bytes.Equal(bytesOf(t, once), bytesOf(t, again)) {
		t.Errorf("\n%s\n%s", bytesOf(t, once), bytesOf(t, again))
	}
	later := lostTwo
	later.Beyond = 900
	if again := once.Recovered(later); again.Lease.Epoch != 2 || again.Lease.Last != 900 || again.Lease.First != once.Lease.First || len(again.History) != len(once.History) {
		t.Errorf("%+v", again.Lease)
	}
	// A cluster that went on and lost its majority again is fenced again.
	on := must(t, once, PutMember{member("a", 1)}, Grant{3, "a", inc("a", 1), 501, 504, ""})
	if s := on.Recovered(Recovery{By: "c", Lost: []string{"a"}, Beyond: 400}); s.Lease != (Lease{Epoch: 4, First: 505, Last: 505, Released: true}) {
		t.Errorf("%+v", s.Lease)
	}
	if s := New().Recovered(Recovery{By: "c", Beyond: 400}); !s.Lease.Fenced() || s.Lease.Last != 400 {
		t.Errorf("nothing was known of a lease: %+v", s.Lease)
	}
}

// TestRecoveredIsBeyondAll: whatever state the survivor has, what it may sign after the recovery is beyond every slot that its
// own log ever allowed and beyond what the lost ones may have signed, and the result outlives a raft snapshot.
func TestRecoveredIsBeyondAll(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tb := &testing.T{}
		s := rapid.SampledFrom([]func(testing.TB) *State{func(testing.TB) *State { return New() }, born, leased, released, banned, guarded, func(testing.TB) *State { return filled() }}).Draw(t, "from")(tb)
		beyond := chain.Slot(rapid.IntRange(0, 9000).Draw(t, "beyond"))
		most := max(s.Lease.Last, s.LastBlock.Slot)
		for _, l := range s.Past {
			most = max(most, l.Last)
		}
		next := s.Recovered(Recovery{By: "a", Lost: []string{"b", "c", "w"}, Beyond: beyond})
		if next.Lease.Epoch != s.Lease.Epoch+1 || next.Lease.Last < beyond || next.Lease.Last <= most || next.Lease.Open() {
			t.Fatalf("%+v after %+v", next.Lease, s.Lease)
		}
		raw, err := next.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		restored, err := Unmarshal(raw)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := restored.Marshal(); err != nil || !bytes.Equal(b, raw) {
			t.Fatalf("%v: the restored state differs", err)
		}
	})
}

package fsm

import (
	"fmt"
	"testing"
)

func put(change func(*Member)) PutMember {
	m := member("b", 1)
	change(&m)
	return PutMember{m}
}

func withKeys(t testing.TB) *State {
	a, c := member("a", 0), member("c", 0)
	a.Finalizers, c.Finalizers = []string{"BLS-1", "BLS-2"}, []string{"BLS-3"}
	return must(t, born(t), PutMember{a}, PutMember{c})
}

func full(t testing.TB) *State {
	s := born(t)
	for i := len(s.Members); i < maxMembers; i++ {
		m := member("e", i)
		m.ID = fmt.Sprintf("e%02d", i)
		s = must(t, s, PutMember{m})
	}
	return s
}

func lonely(t testing.TB) *State { return must(t, New(), PutMember{member("a", 0)}) }

func inMaintenance(t testing.TB) *State {
	return must(t, born(t), SetMember{ID: "b", Maintenance: ptr(true)})
}

var memberRules = []rule{
	{name: "a first member", on: func(testing.TB) *State { return New() }, do: PutMember{member("a", 0)}, check: func(s *State) bool {
		return s.Members["a"].Joined == 1000 && s.History[0].Kind == "member.joined"
	}},
	{name: "a restart", on: inMaintenance, do: put(func(m *Member) { m.API = "https://new:9080"; m.Joined = 5 }), check: func(s *State) bool {
		m := s.Members["b"] // what the operator set and the first join stay
		return m.Incarnation == inc("b", 1) && m.API == "https://new:9080" && m.Maintenance && m.Joined == 3000 && s.History[len(s.History)-1].Kind == "member.started"
	}},
	{name: "the same record again", on: born, do: PutMember{member("b", 0)}, check: func(s *State) bool { return len(s.History) == 5 }},
	{name: "no id", on: born, do: put(func(m *Member) { m.ID = "" }), want: ErrMemberBad},
	{name: "a short incarnation", on: born, do: put(func(m *Member) { m.Incarnation = "b0" }), want: ErrMemberBad},
	{name: "another's incarnation", on: born, do: put(func(m *Member) { m.Incarnation = inc("c", 0) }), want: ErrMemberBad},
	{name: "another's finalizer key", on: withKeys, do: put(func(m *Member) { m.Finalizers = []string{"BLS-9", "BLS-2"} }), want: ErrFinalizer},
	{name: "its own finalizer keys", on: withKeys, do: put(func(m *Member) { m.Finalizers = []string{"BLS-9"} }), check: func(s *State) bool { return s.Members["b"].Finalizers[0] == "BLS-9" }},
	{name: "a program that is older than the log", on: guarded, do: put(func(m *Member) { m.EntryVersion = 1 }), want: ErrTooOld},
	{name: "a program that does not say what it knows", on: guarded, do: put(func(m *Member) { m.EntryVersion = 0 }), want: ErrTooOld},
	{name: "an old program, where nothing newer is used", on: born, do: put(func(m *Member) { m.EntryVersion = 1 }), check: func(s *State) bool { return s.EntryVersion() == 1 }},
	{name: "one member too many", on: full, do: PutMember{member("f", 0)}, want: ErrMemberBad},
	{name: "a restart in a full house", on: full, do: PutMember{member("b", 1)}, check: func(s *State) bool { return len(s.Members) == maxMembers }},

	{name: "set", on: born, do: SetMember{ID: "b", Priority: ptr(7), NoFailover: ptr(true), Maintenance: ptr(true)}, check: func(s *State) bool {
		m := s.Members["b"]
		return m.Priority == 7 && m.NoFailover && m.Maintenance
	}},
	{name: "set one thing", on: inMaintenance, do: SetMember{ID: "b", Priority: ptr(-1)}, check: func(s *State) bool {
		m := s.Members["b"]
		return m.Priority == -1 && !m.NoFailover && m.Maintenance
	}},
	{name: "set a stranger", on: born, do: SetMember{ID: "x"}, want: ErrMember},

	{name: "remove", on: leased, do: RemoveMember{ID: "b"}, check: func(s *State) bool { _, ok := s.Members["b"]; return !ok && len(s.Members) == 3 }},
	{name: "remove a stranger", on: leased, do: RemoveMember{ID: "x"}, want: ErrMember},
	{name: "remove the holder", on: leased, do: RemoveMember{ID: "a"}, want: ErrHolds},
	{name: "remove who held", on: released, do: RemoveMember{ID: "a"}, check: func(s *State) bool { return len(s.Members) == 3 }},
	{name: "remove the last one", on: lonely, do: RemoveMember{ID: "a"}, want: ErrLastVoter},
}

// A member may collide with two others at once; the refusal stands in the state when the entry has a key, so it must not
// depend on the order of a map.
func TestConflictsAreFoundInOrder(t *testing.T) {
	s := withKeys(t)
	m := member("b", 0)
	m.Finalizers, m.Incarnation = []string{"BLS-3", "BLS-2"}, inc("d", 0)
	e := stamp(s, PutMember{m})
	e.Key = "k"
	first, _ := s.Apply(e)
	p := stamp(s, PutRound{Producers: map[string]ProducerRound{"x": {State: "?"}, "y": {State: Unknown}, "z": {State: "!"}, "alice": {State: "?"}}})
	p.Key = "k"
	firstRound, _ := s.Apply(p)
	for range 50 {
		if again, _ := s.Apply(e); string(bytesOf(t, again)) != string(bytesOf(t, first)) {
			t.Fatal("one member.put gave two states")
		}
		if again, _ := s.Apply(p); string(bytesOf(t, again)) != string(bytesOf(t, firstRound)) {
			t.Fatal("one round.put gave two states")
		}
	}
}

func TestEntryVersionIsTheLowest(t *testing.T) {
	if got := New().EntryVersion(); got != EntryVersion {
		t.Fatalf("no members: %d", got)
	}
	later := member("b", 0)
	later.EntryVersion = EntryVersion + 5
	silent := member("c", 0)
	silent.EntryVersion = 0
	s := must(t, New(), PutMember{later})
	if got := s.EntryVersion(); got != EntryVersion {
		t.Fatalf("a newer member: %d", got)
	}
	if got := must(t, s, PutMember{silent}).EntryVersion(); got != 1 {
		t.Fatalf("a member that does not say: %d", got)
	}
}

func TestMemberIDsAreSorted(t *testing.T) {
	if got := fmt.Sprint(born(t).MemberIDs()); got != "[a b c w]" {
		t.Fatal(got)
	}
}

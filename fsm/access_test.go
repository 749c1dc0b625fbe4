package fsm

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

var hash1, hash2 = strings.Repeat("0123456789abcdef", 4), strings.Repeat("f", 64)

func tokenOf(id string) Token {
	return Token{ID: id, Name: "alice", Role: RoleOperate, Hash: hash1, Expires: 1 << 40}
}

func inviteOf(id, member string) Invite {
	return Invite{ID: id, Member: member, Hash: hash1, Expires: 1 << 40}
}

// guarded is born with a token, and an invite for x.
func guarded(t testing.TB) *State {
	return must(t, born(t), PutToken{tokenOf("t1")}, PutInvite{inviteOf("i1", "x")})
}

func admitted(t testing.TB) *State {
	return must(t, guarded(t), UseInvite{"i1", hash1, "x"})
}

// banned is leased without b, which an operator removed.
func banned(t testing.TB) *State { return must(t, leased(t), RemoveMember{ID: "b", Ban: true}) }

// invitedBack is banned with an invite for b that nobody used.
func invitedBack(t testing.TB) *State {
	return must(t, banned(t), PutInvite{inviteOf("i1", "b")}, RaiseAlarm{"test", "", ""})
}

// twice is guarded with a second invite for x, and one for y.
func twice(t testing.TB) *State {
	return must(t, guarded(t), PutInvite{inviteOf("i2", "x")}, PutInvite{inviteOf("i3", "y")})
}

// came is admitted with x there.
func came(t testing.TB) *State { return must(t, admitted(t), PutMember{member("x", 5)}) }

func manyTokens(expires int64) func(testing.TB) *State {
	return func(t testing.TB) *State {
		s := born(t)
		for i := range maxTokens {
			k := tokenOf(fmt.Sprintf("t%02d", i))
			if i < 2 {
				k.Expires = expires
			}
			s = must(t, s, PutToken{k})
		}
		return s
	}
}

func change[T any](v T, f func(*T)) T {
	f(&v)
	return v
}

var accessRules = []rule{
	{name: "a token", on: born, do: PutToken{change(tokenOf("t1"), func(k *Token) { k.Created, k.Actor = 7, "forged" })}, check: func(s *State) bool {
		k := s.Tokens["t1"] // when and by whom is the entry's to say
		return k.Created == 6000 && k.Actor == "" && k.Hash == hash1 && s.History[5].Kind == "token.created" && s.History[5].Text == "alice, role operate"
	}},
	{name: "the same token again", on: guarded, do: PutToken{tokenOf("t1")}, check: func(s *State) bool { return len(s.History) == 7 && s.Tokens["t1"].Created == 6000 }},
	{name: "another token of one id", on: guarded, do: PutToken{change(tokenOf("t1"), func(k *Token) { k.Hash = hash2 })}, want: ErrToken},
	{name: "the same token with more rights", on: guarded, do: PutToken{change(tokenOf("t1"), func(k *Token) { k.Role = RoleAdmin })}, want: ErrToken},
	{name: "a token of no role", on: born, do: PutToken{change(tokenOf("t1"), func(k *Token) { k.Role = "root" })}, want: ErrToken},
	{name: "a token without an id", on: born, do: PutToken{tokenOf("")}, want: ErrToken},
	{name: "a token with a newline in its name", on: born, do: PutToken{change(tokenOf("t1"), func(k *Token) { k.Name = "a\nb" })}, want: ErrToken},
	{name: "a token with a long name", on: born, do: PutToken{change(tokenOf("t1"), func(k *Token) { k.Name = strings.Repeat("x", maxNamed+1) })}, want: ErrToken},
	{name: "a token with its text for a hash", on: born, do: PutToken{change(tokenOf("t1"), func(k *Token) { k.Hash = "rt1_abc_secret" })}, want: ErrToken},
	{name: "a token with a hash in capitals", on: born, do: PutToken{change(tokenOf("t1"), func(k *Token) { k.Hash = strings.ToUpper(hash1) })}, want: ErrToken},
	{name: "a token of long ago", on: born, do: PutToken{change(tokenOf("t1"), func(k *Token) { k.Expires = -1 })}, want: ErrToken},
	{name: "a token for ever", on: born, do: PutToken{change(tokenOf("t1"), func(k *Token) { k.Expires = 0 })}, check: func(s *State) bool { return s.Tokens["t1"].Expires == 0 }},
	{name: "one token too many", on: manyTokens(0), do: PutToken{tokenOf("t99")}, want: ErrToken},
	{name: "a token in the place of an expired one", on: manyTokens(1), do: PutToken{tokenOf("t99")}, check: func(s *State) bool {
		_, old := s.Tokens["t00"]
		_, ok := s.Tokens["t99"]
		return ok && !old && len(s.Tokens) == maxTokens-1
	}},
	{name: "a token taken away", on: guarded, do: RemoveToken{"t1"}, check: func(s *State) bool { return s.Tokens == nil && s.History[7].Kind == "token.removed" }},
	{name: "a token that nobody knows taken away", on: guarded, do: RemoveToken{"t2"}, want: ErrNoToken},

	{name: "an invite", on: born, do: PutInvite{change(inviteOf("i1", "x"), func(n *Invite) { n.Created, n.Used, n.Actor = 1, 2, "forged" })}, check: func(s *State) bool {
		n := s.Invites["i1"]
		return n.Created == 6000 && n.Used == 0 && n.Actor == "" && s.History[5].Kind == "member.invited" && s.History[5].Subject == "x"
	}},
	{name: "an invite for a member", on: born, do: PutInvite{inviteOf("i1", "b")}, want: ErrInviteBad},
	{name: "an invite for nobody", on: born, do: PutInvite{inviteOf("i1", "")}, want: ErrInviteBad},
	{name: "an invite of yesterday", on: born, do: PutInvite{change(inviteOf("i1", "x"), func(n *Invite) { n.Expires = 6000 })}, want: ErrInviteBad},
	{name: "an invite with a secret for a hash", on: born, do: PutInvite{change(inviteOf("i1", "x"), func(n *Invite) { n.Hash = "secret" })}, want: ErrInviteBad},
	{name: "a second invite of one id", on: guarded, do: PutInvite{inviteOf("i1", "y")}, want: ErrInviteBad},
	{name: "a second invite for one member", on: guarded, do: PutInvite{inviteOf("i2", "x")}, check: func(s *State) bool { return len(s.Invites) == 2 }},
	{name: "an invite for who was removed", on: banned, do: PutInvite{inviteOf("i1", "b")}, check: func(s *State) bool { return s.Banned["b"] == 7000 && len(s.Invites) == 1 }},
	{name: "an invite for who was removed, unused: its record", on: invitedBack, do: PutMember{member("b", 1)}, want: ErrRemoved},
	{name: "an invite for who was removed, used too late", on: invitedBack, at: 1 << 40, do: UseInvite{"i1", hash1, "b"}, want: ErrInviteLate},
	{name: "an invite for who was removed, used", on: invitedBack, do: UseInvite{"i1", hash1, "b"}, check: func(s *State) bool { return s.Banned == nil && s.Admitted("b") == 10_000 && len(s.Invites) == 1 }},

	{name: "an invite used", on: guarded, do: UseInvite{"i1", hash1, "x"}, check: func(s *State) bool {
		return s.Invites["i1"].Used == 8000 && s.History[7].Kind == "member.admitted" && s.History[7].Subject == "x"
	}},
	{name: "an invite of who is there", on: func(t testing.TB) *State {
		s := *guarded(t)
		s.Members = withMember(s.Members, member("x", 0)) // by a program that kept the invite
		return &s
	}, do: UseInvite{"i1", hash1, "x"}, want: ErrInviteBad},
	{name: "one of two invites used", on: twice, do: UseInvite{"i2", hash1, "x"}, check: func(s *State) bool {
		return len(s.Invites) == 2 && s.Invites["i2"].Used != 0 && s.Invites["i3"].Member == "y"
	}},
	{name: "one comes, another way, and leaves an invite", on: twice, do: PutMember{member("x", 5)}, check: func(s *State) bool { return len(s.Invites) == 1 && s.Invites["i3"].Member == "y" }},
	{name: "one comes by its invite", on: admitted, do: PutMember{member("x", 5)}, check: func(s *State) bool { return s.Admitted("x") == 8000 }},
	{name: "one goes that has an invite", on: twice, do: RemoveMember{ID: "x", Ban: true}, check: func(s *State) bool { return len(s.Invites) == 1 && s.Admitted("x") == 0 && s.Banned["x"] != 0 }},
	{name: "one goes that came by an invite", on: came, do: RemoveMember{ID: "x", Ban: true}, check: func(s *State) bool { return s.Invites == nil && s.Banned["x"] != 0 }},
	{name: "one goes that came by an invite, without a ban", on: came, do: RemoveMember{ID: "x"}, check: func(s *State) bool { return s.Admitted("x") == 8000 }},
	{name: "an invite used twice", on: admitted, do: UseInvite{"i1", hash1, "x"}, want: ErrInviteUsed},
	{name: "an invite that nobody made", on: guarded, do: UseInvite{"i2", hash1, "x"}, want: ErrInvite},
	{name: "an invite guessed", on: guarded, do: UseInvite{"i1", hash2, "x"}, want: ErrInviteWrong},
	{name: "a used invite guessed", on: admitted, do: UseInvite{"i1", hash2, "x"}, want: ErrInviteWrong}, // nothing is told to who has no secret
	{name: "an invite for another", on: guarded, do: UseInvite{"i1", hash1, "y"}, want: ErrInviteWrong},
	{name: "an invite at its end", on: guarded, at: 1 << 40, do: UseInvite{"i1", hash1, "x"}, want: ErrInviteLate},
	{name: "an invite a moment before", on: guarded, at: 1<<40 - 1, do: UseInvite{"i1", hash1, "x"}, check: func(s *State) bool { return s.Invites["i1"].Used == 1<<40-1 }},

	{name: "remove and ban", on: leased, do: RemoveMember{ID: "b", Ban: true}, check: func(s *State) bool {
		_, member := s.Members["b"]
		return !member && s.Banned["b"] == 7000 && s.History[len(s.History)-1].Kind == "member.removed"
	}},
	{name: "ban the holder", on: leased, do: RemoveMember{ID: "a", Ban: true}, want: ErrHolds},
	{name: "ban who never came", on: leased, do: RemoveMember{ID: "x", Ban: true}, check: func(s *State) bool { return s.Banned["x"] == 7000 && len(s.Members) == 4 }},
	{name: "ban nobody", on: leased, do: RemoveMember{Ban: true}, want: ErrMember},
	{name: "ban the target of a handoff", on: atStep(StepAwait), do: RemoveMember{ID: "b", Ban: true}, want: ErrBusy},
	{name: "ban the source of a handoff", on: atStep(StepVerify), do: RemoveMember{ID: "a", Ban: true}, want: ErrBusy},
	{name: "ban one that a handoff does not name", on: atStep(StepAwait), do: RemoveMember{ID: "c", Ban: true}, check: func(s *State) bool { return s.Banned["c"] != 0 }},
	{name: "remove the target of a handoff, as version 1 does", on: atStep(StepAwait), do: RemoveMember{ID: "b"}, check: func(s *State) bool { return len(s.Members) == 3 }},
	{name: "ban the last one", on: lonely, do: RemoveMember{ID: "a", Ban: true}, want: ErrLastVoter},
	{name: "ban the last one with a vote", on: oneVote, do: RemoveMember{ID: "a", Ban: true}, want: ErrLastVoter},
	{name: "the banned one comes back", on: banned, do: PutMember{member("b", 1)}, want: ErrRemoved},
	{name: "another one comes", on: banned, do: PutMember{member("e", 0)}, check: func(s *State) bool { return len(s.Members) == 4 }},

	{name: "demote", on: born, do: SetMember{ID: "b", Nonvoter: ptr(true)}, check: func(s *State) bool {
		return s.Members["b"].Nonvoter && strings.HasSuffix(s.History[5].Text, "nonvoter true")
	}},
	{name: "promote", on: oneVote, do: SetMember{ID: "b", Nonvoter: ptr(false)}, check: func(s *State) bool { return !s.Members["b"].Nonvoter }},
	{name: "demote the last one", on: oneVote, do: SetMember{ID: "a", Nonvoter: ptr(true)}, want: ErrLastVoter},
	{name: "a demoted one restarts", on: oneVote, do: PutMember{member("b", 1)}, check: func(s *State) bool { return s.Members["b"].Nonvoter }},
	{name: "one comes and says it is demoted", on: born, do: PutMember{change(member("e", 0), func(m *Member) { m.Nonvoter = true })}, check: func(s *State) bool { return !s.Members["e"].Nonvoter }},
	{name: "one restarts and says it is demoted", on: born, do: PutMember{change(member("b", 1), func(m *Member) { m.Nonvoter = true })}, check: func(s *State) bool { return !s.Members["b"].Nonvoter }},

	{name: "leader noted", on: born, do: NoteLeader{"b", 9}, check: func(s *State) bool {
		last := s.History[len(s.History)-1]
		return last.Kind == "leader.transferred" && last.Subject == "b" && last.Text == "term 9"
	}},
	{name: "a strange leader noted", on: born, do: NoteLeader{"x", 9}, want: ErrMember},
}

// oneVote: everybody but a was demoted.
func oneVote(t testing.TB) *State {
	return must(t, born(t), SetMember{ID: "b", Nonvoter: ptr(true)}, SetMember{ID: "c", Nonvoter: ptr(true)}, SetMember{ID: "w", Nonvoter: ptr(true)})
}

func TestOldestInvitesAndBansMakeRoom(t *testing.T) {
	s := born(t)
	for i := range maxInvites + 3 {
		s = must(t, s, PutInvite{inviteOf(fmt.Sprintf("i%03d", i), "x")})
	}
	if ids := slices.Sorted(maps.Keys(s.Invites)); len(ids) != maxInvites || ids[0] != "i003" {
		t.Errorf("%d invites, from %s", len(ids), ids[0])
	}
	used := must(t, guarded(t), UseInvite{"i1", hash1, "x"})
	for i := range maxInvites + 3 {
		used = must(t, used, PutInvite{inviteOf(fmt.Sprintf("j%03d", i), "y")})
	}
	if len(used.Invites) != maxInvites || used.Admitted("x") != 8000 {
		t.Errorf("%d invites, and x was admitted at %d: a certificate of who had the id before counts again", len(used.Invites), used.Admitted("x"))
	}
	for i := range maxBanned + 3 {
		s = must(t, s, RemoveMember{ID: fmt.Sprintf("b%03d", i), Ban: true})
	}
	if ids := slices.Sorted(maps.Keys(s.Banned)); len(ids) != maxBanned || ids[0] != "b003" {
		t.Errorf("%d bans, from %s", len(ids), ids[0])
	}
	if raw := bytesOf(t, s); len(raw) > 128<<10 {
		t.Errorf("the state has grown to %d bytes", len(raw))
	}
}

func TestTheActorStandsInTheHistory(t *testing.T) {
	s := leased(t)
	e := stamp(s, start("b", "now"))
	e.Actor = "token:" + strings.Repeat("ä", maxText)
	id := e.Index
	s, r := s.Apply(e)
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	o, _ := s.Operation(id)
	if last := s.History[len(s.History)-1]; last.Actor != o.Actor || !strings.HasPrefix(o.Actor, "token:ä") || len(o.Actor) > maxText {
		t.Fatalf("operation of %q, history of %q", o.Actor, last.Actor)
	}
	again, err := Unmarshal(bytesOf(t, s))
	if err != nil || !bytes.Equal(bytesOf(t, s), bytesOf(t, again)) {
		t.Fatalf("%v: the restored state differs", err)
	}
}

// TestAnEntryHasTheLowestVersion: what a cluster writes by itself, and what an operator asks of what version 1 has, stands in
// the log as version 1 and nothing new in it, and leaves a state without a new key: a member with a program of version 1 reads
// both.
func TestAnEntryHasTheLowestVersion(t *testing.T) {
	type wanted struct {
		e Entry
		v uint32
	}
	var list []wanted
	for _, table := range [][]rule{leaseRules, memberRules, clusterRules, roundRules, operationRules} {
		for _, r := range table {
			if Since(r.do.Kind()) == 1 { // none of them uses what is new
				list = append(list, wanted{Entry{At: 1, By: "a", Key: "k", Command: r.do}, 1})
			}
		}
	}
	if len(list) < 100 {
		t.Fatalf("only %d entries of version 1", len(list))
	}
	one := func(c Command) wanted { return wanted{Entry{At: 1, By: "a", Command: c}, 1} }
	two := func(c Command) wanted { return wanted{Entry{At: 1, By: "a", Command: c}, 2} }
	three := func(c Command) wanted { return wanted{Entry{At: 1, By: "a", Command: c}, 3} }
	list = append(list,
		wanted{Entry{At: 1, By: "a", Actor: "token:alice", Command: Extend{1, "x", 2}}, 2},
		two(SetMember{ID: "a", Nonvoter: ptr(false)}), two(RemoveMember{ID: "a", Ban: true}),
		two(PutMember{change(member("a", 0), func(m *Member) { m.Nonvoter = true })}),
		two(PutToken{tokenOf("t")}), two(RemoveToken{"t"}), two(PutInvite{inviteOf("i", "x")}), two(UseInvite{"i", hash1, "x"}), two(PatchCluster{Slots: ptr(uint64(5))}), two(NoteLeader{"a", 1}),
		three(restart()), three(queued(start("b", "now"))), three(child(3, "b", 0)), three(finish(1, StepRestart, Failed)), three(ExpireOperation{ID: 3, Number: 1}),
		three(turn(1, StepRestart)), three(report(1, "b")), three(CancelOperation{ID: 1}), three(PutHome{Member: "a"}),
		three(PatchCluster{Overlay: ptr("")}), three(PatchCluster{TakeOver: ptr(false)}), three(PatchCluster{Slots: ptr(uint64(5)), TakeOver: ptr(false)}),
		three(SetCluster{Cluster{Overlay: "x"}}), three(SetCluster{Cluster{Overlaid: 1}}), three(SetCluster{Cluster{Proven: ptr("")}}), three(SetCluster{Cluster{TakeOver: true}}),
		one(SetCluster{Cluster{Overlay: "x", Overlaid: 1, Proven: ptr(""), TakeOver: true}.Version1()}),
		wanted{Entry{At: 1, By: "a", Actor: "token:alice", Command: restart()}, 3},
	)
	for _, w := range list {
		raw, err := Encode(w.e)
		if err != nil {
			t.Fatal(err)
		}
		var got struct {
			V uint32 `json:"v"`
		}
		if err := json.Unmarshal(raw, &got); err != nil || got.V != w.v {
			t.Errorf("version %d, not %d (%v): %s", got.V, w.v, err, raw)
		}
		if w.v == 1 {
			for _, key := range []string{`"actor"`, `"nonvoter"`, `"ban"`, `"roll"`, `"parent"`, `"queue"`, `"number"`, `"overlay"`, `"overlaid"`, `"proven"`, `"take_over"`} {
				if bytes.Contains(raw, []byte(key)) {
					t.Errorf("an entry of version 1 has %s: %s", key, raw)
				}
			}
			continue
		}
		// What needs a version is not read under the name of the one before: such a program would have stopped on it.
		if _, err := Decode(bytes.Replace(raw, fmt.Appendf(nil, `"v":%d`, w.v), fmt.Appendf(nil, `"v":%d`, w.v-1), 1)); err == nil {
			t.Errorf("read as version %d: %s", w.v-1, raw)
		}
	}
}

// TestAStateOfVersion1HasNoNewKeys: the keys of a raft snapshot are those that the frozen one of version 1 has, as long as
// nothing of version 2 was used; and one entry of version 2, even a refused one, says so for ever.
func TestAStateOfVersion1HasNoNewKeys(t *testing.T) {
	for _, s := range []*State{New(), born(t), leased(t), released(t), inRound(t), counted(t), filled()} {
		raw := bytesOf(t, s)
		for _, key := range append([]string{"actor", "nonvoter", "level", "tokens", "invites", "banned", "lost"}, version3...) {
			if bytes.Contains(raw, []byte(`"`+key+`":`)) {
				t.Errorf("a state of version 1 has the key %s", key)
			}
		}
		if s.NamesActor(start("b", "now")) {
			t.Error("actors would be named")
		}
		if next, r := s.Apply(stamp(s, RemoveToken{"nobody"})); r.Err == nil || next.Level != 2 {
			t.Errorf("level %d after a refused entry of version 2", next.Level)
		} else if next = must(t, next, RaiseAlarm{"test", "", ""}); next.Level != 2 {
			t.Error("the level was forgotten")
		}
	}
	all := New()
	for _, id := range []string{"a", "b"} {
		all = must(t, all, PutMember{change(member(id, 0), func(m *Member) { m.EntryVersion = 2 })})
	}
	if all.NamesActor(start("b", "now")) {
		t.Error("actors are named although nothing of version 2 was used: no way back")
	}
	if !all.NamesActor(RemoveToken{"t1"}) {
		t.Error("no actor is named where the entry is of version 2 anyway")
	}
	used := must(t, all, PutToken{tokenOf("t1")})
	if !used.NamesActor(start("b", "now")) {
		t.Error("actors are not named")
	}
	old := *used // as a program left it that still took such a record
	old.Members = withMember(used.Members, change(member("b", 1), func(m *Member) { m.EntryVersion = 1 }))
	if old.NamesActor(start("b", "now")) {
		t.Error("actors are named although b does not know them")
	}
}

// version3 are the keys of a raft snapshot that came with version 3.
var version3 = []string{"homes", "overlay", "overlaid", "proven", "take_over", "roll", "parent", "parts"}

// TestAStateOfVersion2HasNoNewKeys: as above, for what was used before version 3.
func TestAStateOfVersion2HasNoNewKeys(t *testing.T) {
	mid, _ := handing(t, StepStart)
	for _, s := range []*State{guarded(t), admitted(t), banned(t), oneVote(t), must(t, mid, PutToken{tokenOf("t1")}), must(t, leased(t), PatchCluster{Slots: ptr(uint64(5))})} {
		raw := bytesOf(t, s)
		for _, key := range version3 {
			if bytes.Contains(raw, []byte(`"`+key+`":`)) {
				t.Errorf("a state of version 2 has the key %s", key)
			}
		}
		if next, r := s.Apply(stamp(s, CancelOperation{ID: 1})); r.Err == nil || next.Level != 3 || s.Level != 2 {
			t.Errorf("level %d after a refused entry of version 3", next.Level)
		}
	}
}

// TestAdmitted is when a member came in by its newest invite that was used.
func TestAdmitted(t *testing.T) {
	s := New()
	s.Invites = map[string]Invite{
		"a": {ID: "a", Member: "m2", Used: 100}, "b": {ID: "b", Member: "m2", Used: 300}, "c": {ID: "c", Member: "m2", Used: 200},
		"d": {ID: "d", Member: "m3"}, "e": {ID: "e", Member: "m4", Used: 400},
	}
	for member, want := range map[string]int64{"m1": 0, "m2": 300, "m3": 0, "m4": 400} {
		if got := s.Admitted(member); got != want {
			t.Errorf("%s: %d, not %d", member, got, want)
		}
	}
}

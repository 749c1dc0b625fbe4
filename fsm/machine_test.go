package fsm

import (
	"bytes"
	"fmt"
	"sync"
	"testing"

	"pgregory.net/rapid"
	"roundtable/chain"
)

// machine throws mostly near-valid commands at two replicas and keeps its own account of what each epoch may sign.
type machine struct {
	live    *State // has never been restored
	replica *State // goes through the log's encoding, and now and then through a raft snapshot
	rig     map[string]int
	kinds   []string // what is drawn

	signs    map[chain.Slot]uint64 // slot -> epoch that may sign it, by the accepted commands alone
	over     map[uint64]bool       // epochs that were released
	log      []Entry
	answers  map[string]Result // first answer by idempotency key
	fires    map[string]uint64 // plan and when it was due -> the entry that it fired by
	foreign  map[string]bool   // backups that were there before the chain was learned
	lastKeys []string
	seen     []published
}

// failer is what a check needs of a test.
type failer interface {
	Helper()
	Errorf(string, ...any)
	Fatalf(string, ...any)
	Fatal(...any)
}

type published struct {
	s *State
	b []byte
}

// filled is a state whose bounded memories are all full, so that short sequences run into the bounds.
var filled = sync.OnceValue(func() *State {
	t := &testing.T{}
	s := counted(t)
	s = must(t, s, Grant{1, "a", inc("a", 0), 100, 107, ""})
	for range max(maxHistory, maxPast) {
		s = must(t, s, Grant{s.Lease.Epoch + 1, "a", inc("a", 0), s.Lease.Last + 1, s.Lease.Last + 8, ""})
	}
	for range maxOperations {
		id := s.Index + 1
		s = must(t, s, StartOperation{Name: KindHandoff, Handoff: &Handoff{To: "b", When: "now"}}, FinishOperation{ID: id, Outcome: Failed, Step: StepValidate})
	}
	for i := range maxRequests {
		e := stamp(s, Extend{s.Lease.Epoch, inc("a", 0), s.Lease.Last + 1})
		e.Key = fmt.Sprint("old", i)
		s, _ = s.Apply(e)
	}
	return s
})

// near draws v or, now and then, a neighbour of it or something far off.
func near(t *rapid.T, v uint64, name string) uint64 {
	switch rapid.IntRange(0, 9).Draw(t, name+"?") {
	case 0:
		return v + rapid.Uint64Range(0, 20).Draw(t, name+"+")
	case 1:
		return v - min(v, rapid.Uint64Range(0, 20).Draw(t, name+"-"))
	case 2:
		return rapid.SampledFrom([]uint64{0, 1, uint64(maxSlot), 1<<64 - 1}).Draw(t, name+"!")
	}
	return v
}

func slotNear(t *rapid.T, v chain.Slot, name string) chain.Slot {
	return chain.Slot(near(t, uint64(v), name))
}

// often draws v, or now and then one of the others.
func often[T any](t *rapid.T, v T, others []T, name string) T {
	if rapid.IntRange(0, 5).Draw(t, name+"?") > 0 {
		return v
	}
	return rapid.SampledFrom(others).Draw(t, name)
}

var people = []string{"a", "b", "c", "w", "x"}

func (m *machine) incarnations() []string {
	all := []string{"", inc("x", 0)}
	for _, id := range m.live.MemberIDs() {
		all = append(all, m.live.Members[id].Incarnation, inc(id, 0), inc(id, 1))
	}
	return all
}

// allKinds are what draw makes up, and how often.
var allKinds = []string{
	"grant", "grant", "extend", "extend", "release", "transfer", "transfer", "put", "set", "remove", "cluster", "round", "window", "alarm",
	"token", "token gone", "invite", "admit", "patch", "leader",
	"start", "advance", "advance", "hand", "hand", "finish", "expire",
	"roll", "turn", "turn", "turn", "turn", "report", "report", "report", "end", "cancel", "home", "overlay", "within",
	"task", "task", "catalogue", "plan", "fire",
}

// draw makes up a command.
func (m *machine) draw(t *rapid.T) Command {
	s, l := m.live, m.live.Lease
	id := rapid.SampledFrom(people).Draw(t, "who")
	of := often(t, s.Members[id].Incarnation, m.incarnations(), "whose")
	own := often(t, l.Incarnation, m.incarnations(), "own")
	epoch := near(t, l.Epoch, "epoch")
	signed := l.First + chain.Slot(rapid.IntRange(-1, 8).Draw(t, "signed"))
	var op Operation
	for _, o := range s.RunningOperations() {
		if o.Handoff != nil || op.ID == 0 {
			op = o
		}
	}
	opID := often(t, op.ID, []uint64{0, 1, op.ID + 1}, "operation")
	steps := []string{StepValidate, StepAwait, StepStop, StepStart, StepVerify, ""}
	step := often(t, op.Current().Name, steps, "step")
	deadline := int64(s.Index+uint64(rapid.IntRange(0, 5).Draw(t, "deadline"))) * 1000
	switch rapid.SampledFrom(m.kinds).Draw(t, "kind") {
	case "grant":
		first := slotNear(t, l.Last+1, "first")
		return Grant{near(t, l.Epoch+1, "next"), id, of, first, slotNear(t, first+7, "last"), ""}
	case "extend":
		return Extend{epoch, own, slotNear(t, l.Last+2, "last")}
	case "release":
		return Release{epoch, own, slotNear(t, min(signed, l.Last), "signed"), block(signed), ""}
	case "transfer":
		return Transfer{epoch, own, slotNear(t, min(signed, l.Last), "signed"), block(signed), id, of, slotNear(t, signed+8, "last"), 0, 0}
	case "hand":
		to := "b"
		if op.Handoff != nil {
			to = op.Handoff.To
		}
		to = often(t, to, people, "to")
		return Transfer{epoch, own, signed, block(signed), to, s.Members[to].Incarnation, slotNear(t, signed+8, "last"), opID, deadline}
	case "put":
		r := member(id, 0)
		m.rig[id] += rapid.IntRange(0, 1).Draw(t, "restart")
		r.Incarnation = often(t, inc(id, m.rig[id]%100), []string{"", inc("b", 0), inc(id, 0)}, "drawn")
		r.Witness = id == "w"
		r.Finalizers = rapid.SliceOfN(rapid.SampledFrom([]string{"k1", "k2", "k3", "k4"}), 0, 2).Draw(t, "keys")
		return PutMember{r}
	case "set":
		return SetMember{ID: id, Priority: ptr(rapid.IntRange(-2, 2).Draw(t, "priority")), Maintenance: ptr(rapid.Bool().Draw(t, "maintenance")), Nonvoter: rapid.SampledFrom([]*bool{nil, ptr(true), ptr(false)}).Draw(t, "nonvoter")}
	case "remove":
		return RemoveMember{ID: id, Ban: rapid.Bool().Draw(t, "ban")}
	case "token":
		k := tokenOf(fmt.Sprint("t", rapid.IntRange(0, 90).Draw(t, "token")))
		k.Hash, k.Expires = rapid.SampledFrom([]string{hash1, hash2, ""}).Draw(t, "hash"), deadline
		return PutToken{k}
	case "token gone":
		return RemoveToken{fmt.Sprint("t", rapid.IntRange(0, 90).Draw(t, "token"))}
	case "invite":
		n := inviteOf(fmt.Sprint("i", rapid.IntRange(0, 90).Draw(t, "invite")), id)
		n.Expires = deadline
		return PutInvite{n}
	case "admit":
		return UseInvite{fmt.Sprint("i", rapid.IntRange(0, 90).Draw(t, "invite")), rapid.SampledFrom([]string{hash1, hash2}).Draw(t, "hash"), id}
	case "patch":
		return PatchCluster{Slots: ptr(near(t, 4, "slots")), Maintenance: rapid.SampledFrom([]*bool{nil, ptr(true), ptr(false)}).Draw(t, "maintenance")}
	case "leader":
		return NoteLeader{id, 3}
	case "cluster":
		return SetCluster{Cluster{Name: "demo", ChainID: rapid.SampledFrom([]string{"", "c0ffee"}).Draw(t, "chain"), Producers: []string{"alice", "bob"}, Slots: near(t, 4, "slots")}}
	case "round":
		standing := rapid.MapOf(rapid.SampledFrom([]string{"alice", "bob", "carol"}), rapid.Custom(func(t *rapid.T) ProducerRound {
			return ProducerRound{rapid.SampledFrom([]Producing{Unknown, ProducingNow, NotProducing, "?"}).Draw(t, "standing"), true}
		})).Draw(t, "standings")
		return PutRound{uint32(rapid.IntRange(1, 3).Draw(t, "version")), []string{"alice"}, standing, near(t, s.Round.Window+1, "window")}
	case "window":
		due := rapid.IntRange(0, 13).Draw(t, "due")
		got := rapid.IntRange(0, due).Draw(t, "got")
		return PutWindow{Window{"alice", 12 * chain.Slot(rapid.IntRange(0, 200).Draw(t, "first")), due, got, due - got}}
	case "alarm":
		return RaiseAlarm{rapid.SampledFrom([]string{"doubled", ""}).Draw(t, "name"), id, rapid.StringN(0, 200, -1).Draw(t, "text")}
	case "start":
		return StartOperation{Name: often(t, KindHandoff, []string{"dance"}, "operation kind"), Handoff: &Handoff{To: id, When: often(t, "safe", []string{"now", "?"}, "when")}, Deadline: deadline}
	case "roll":
		return m.drawRoll(t)
	case "turn":
		return m.drawTurn(t)
	case "report":
		return m.drawReport(t)
	case "end":
		return m.drawEnd(t)
	case "cancel":
		return CancelOperation{ID: m.drawRolling(t).ID}
	case "home":
		return PutHome{id, Runs{Tag: rapid.SampledFrom(tags).Draw(t, "tag"), Config: rapid.SampledFrom(tags).Draw(t, "config"), Offers: rapid.SampledFrom(tags).Draw(t, "offers")}}
	case "overlay":
		return PatchCluster{Overlay: ptr(rapid.SampledFrom(tags).Draw(t, "overlay")), TakeOver: rapid.SampledFrom([]*bool{nil, ptr(true), ptr(false)}).Draw(t, "take over")}
	case "task":
		return m.drawTask(t)
	case "catalogue":
		return m.drawCatalogue(t)
	case "plan":
		return m.drawPlan(t)
	case "fire":
		return m.drawFire(t)
	case "within":
		return child(m.drawRolling(t).ID, id, deadline)
	case "advance":
		return AdvanceOperation{opID, step, often(t, handoffSteps[step], steps, "next step"), id, deadline}
	case "finish":
		return FinishOperation{ID: opID, Step: step, Outcome: rapid.SampledFrom([]Outcome{Done, Failed, Canceled, Running}).Draw(t, "outcome"), Reason: ""}
	}
	return ExpireOperation{ID: opID, Step: step}
}

// apply puts an entry through both replicas and checks all that must hold after any entry.
func (m *machine) apply(t failer, e Entry) {
	e.Index = m.live.Index + 1
	before := m.live
	next, result := before.Apply(e)
	again, repeated := m.answers[e.Key]

	raw, err := Encode(e)
	if err != nil {
		t.Fatalf("encode: %v", err)
	}
	logged, err := Decode(raw)
	if err != nil {
		t.Fatalf("decode: %v", err)
	}
	logged.Index = e.Index
	replica, other := m.replica.Apply(logged)
	if fmt.Sprint(result.Err) != fmt.Sprint(other.Err) || result.Index != other.Index {
		t.Fatalf("the replicas answer %v and %v", result, other)
	}
	now, err := next.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if b, err := replica.Marshal(); err != nil || !bytes.Equal(now, b) {
		t.Fatalf("the replicas differ (%v)\n%s\n%s", err, now, b)
	}
	if len(m.seen) > 0 { // one of the last few per entry
		p := m.seen[int(e.Index)%len(m.seen)]
		if b, err := p.s.Marshal(); err != nil || !bytes.Equal(p.b, b) {
			t.Fatalf("a published state was modified (%v)\n was %s\n is  %s", err, p.b, b)
		}
	}
	if next.Index != e.Index {
		t.Fatalf("index %d, want %d", next.Index, e.Index)
	}

	switch {
	case repeated && e.Key != "":
		if fmt.Sprint(result.Err) != fmt.Sprint(again.Err) || result.Index != again.Index {
			t.Fatalf("the key %s was answered %v, now %v", e.Key, again, result)
		}
		m.unchanged(t, before, next, now, "")
	case result.Err != nil:
		m.unchanged(t, before, next, now, e.Key)
		if refusal(result) == nil {
			t.Fatalf("refused with %v", result.Err)
		}
	default:
		m.account(t, before, next, e.Command)
	}
	for id := range next.Banned {
		if _, ok := next.Members[id]; ok {
			t.Fatalf("%s is banned and a member", id)
		}
	}
	if len(before.Members) > 0 && !next.votes("") && before.votes("") {
		t.Fatal("nobody has a vote any more")
	}
	if e.Key != "" && !repeated {
		m.answers[e.Key] = result
		m.lastKeys = append(m.lastKeys, e.Key)
	}
	if next.Lease.Epoch < before.Lease.Epoch || next.Lease.Epoch > before.Lease.Epoch+1 {
		t.Fatalf("the epoch went from %d to %d", before.Lease.Epoch, next.Lease.Epoch)
	}
	if m.over[next.Lease.Epoch] && (!next.Lease.Released || next.Lease.Last != before.Lease.Last && next.Lease.Epoch == before.Lease.Epoch && before.Lease.Released) {
		t.Fatalf("the release of epoch %d was not final: %+v", next.Lease.Epoch, next.Lease)
	}
	m.rolling(t, before, next, e, result)
	m.backups(t, before, next, e, result)
	if len(next.History) > maxHistory || len(next.Past) > maxPast || len(next.Operations) > maxOperations+maxRunning || len(next.Requests) > maxRequests ||
		len(next.Round.Windows) > maxWindows || len(next.Members) > maxMembers || len(next.Tokens) > maxTokens || len(next.Invites) > maxInvites || !ordered(next) {
		t.Fatalf("a bound is broken: %s", now)
	}
	m.log = append(m.log, e)
	m.seen = append(m.seen, published{next, now})
	if len(m.seen) > 4 {
		m.seen = m.seen[1:]
	}
	m.live, m.replica = next, replica
}

// unchanged compares by what a raft snapshot would hold; now is that of after.
func (m *machine) unchanged(t failer, before, after *State, now []byte, key string) {
	c := *before
	c.Index, c.Level = after.Index, after.Level
	if key != "" {
		c.Requests = after.Requests
	}
	if b, err := c.Marshal(); err != nil || !bytes.Equal(b, now) {
		t.Fatalf("a command without effect changed the state (%v)\n%s\n%s", err, b, now)
	}
}

// account keeps the set of slots that each epoch may sign, from the accepted commands alone: a gate may sign all that was
// ever granted or added; where its own incarnation released, it had closed before, so nothing above `signed`.
func (m *machine) account(t failer, before, after *State, c Command) {
	give := func(epoch uint64, first, last chain.Slot) {
		if last-first > 2*MaxLease {
			t.Fatalf("epoch %d gets %d..%d at once", epoch, first, last)
		}
		for s := first; s <= last; s++ {
			if other, ok := m.signs[s]; ok && other != epoch {
				t.Fatalf("slot %d may be signed in epoch %d and in epoch %d", s, other, epoch)
			}
			m.signs[s] = epoch
		}
	}
	shrink := func(epoch uint64, incarnation string, signed chain.Slot) {
		if incarnation != before.Lease.Incarnation || m.over[epoch] {
			t.Fatalf("epoch %d was released by %q [S3]", epoch, incarnation)
		}
		for s, e := range m.signs {
			if e == epoch && s > signed {
				delete(m.signs, s)
			}
		}
		m.over[epoch] = true
	}
	fresh := func(id, incarnation string) {
		if r := before.Members[id]; r.Incarnation != incarnation || r.Witness {
			t.Fatalf("granted to %q, incarnation %q [S2]", id, incarnation)
		}
	}
	switch c := c.(type) {
	case Grant:
		fresh(c.Holder, c.Incarnation)
		give(c.Epoch, c.First, c.Last)
	case Extend:
		if m.over[c.Epoch] {
			t.Fatalf("epoch %d was extended after its release", c.Epoch)
		}
		give(c.Epoch, before.Lease.Last+1, c.Last)
	case Release:
		shrink(c.Epoch, c.Incarnation, c.Signed)
	case Transfer:
		shrink(c.Epoch, c.Incarnation, c.Signed)
		fresh(c.To, c.ToIncarnation)
		give(c.Epoch+1, c.Signed+1, c.Last)
	default:
		if before.Lease != after.Lease {
			t.Fatalf("%s changed the lease", c.Kind())
		}
	}
	for _, s := range []chain.Slot{after.Lease.First, after.Lease.Last} { // what members believe of past blocks [S10]
		e, may := m.signs[s]
		if ok, known := after.Signable(s); known && ok != (may && e > 0) {
			t.Fatalf("slot %d: Signable says %v, it may be signed: %v", s, ok, may)
		}
	}
}

func newMachine(s *State, kinds []string) *machine {
	m := &machine{live: s, replica: s, kinds: kinds, rig: map[string]int{}, signs: map[chain.Slot]uint64{}, over: map[uint64]bool{}, answers: map[string]Result{}, fires: map[string]uint64{}, foreign: map[string]bool{}}
	for _, l := range append([]Lease{s.Lease}, s.Past...) {
		for slot := l.First; l.Epoch > 0 && slot <= l.Last; slot++ {
			m.signs[slot] = l.Epoch
		}
		m.over[l.Epoch] = l.Released
	}
	return m
}

func TestMachine(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tb := &testing.T{}
		var s *State
		switch rapid.IntRange(0, 31).Draw(t, "from") {
		case 0:
			s = New()
		case 1:
			s = filled()
		case 2, 3, 4:
			s, _ = handing(tb, rapid.SampledFrom([]string{StepValidate, StepAwait, StepStop, StepStart, StepVerify}).Draw(t, "at"))
		case 5, 6, 7, 8:
			s = homed(tb)
		case 9, 10, 11, 12, 13, 14:
			s = rapid.SampledFrom(midway).Draw(t, "midway")(tb)
		default:
			s = leased(tb)
		}
		m := newMachine(s, allKinds)
		t.Repeat(map[string]func(*rapid.T){
			"command": func(t *rapid.T) { m.apply(t, Entry{At: int64(m.live.Index) * 1000, By: "a", Command: m.draw(t)}) },
			"again": func(t *rapid.T) {
				m.apply(t, Entry{At: int64(m.live.Index) * 1000, By: "b", Actor: rapid.SampledFrom([]string{"", "token:alice"}).Draw(t, "actor"), Command: m.draw(t)})
			},
			"keyed": func(t *rapid.T) {
				m.apply(t, Entry{At: int64(m.live.Index) * 1000, By: "c", Key: fmt.Sprint("k", m.live.Index), Command: m.draw(t)})
			},
			"same key": func(t *rapid.T) {
				if len(m.lastKeys) == 0 {
					t.Skip("no key yet")
				}
				m.apply(t, Entry{At: 1, By: "c", Key: rapid.SampledFrom(m.lastKeys).Draw(t, "key"), Command: m.draw(t)})
			},
			"duplicate": func(t *rapid.T) {
				if len(m.log) == 0 {
					t.Skip("no entry yet")
				}
				m.apply(t, rapid.SampledFrom(m.log).Draw(t, "entry"))
			},
			"restore": func(t *rapid.T) {
				b, err := m.replica.Marshal()
				if err != nil {
					t.Fatal(err)
				}
				if m.replica, err = Unmarshal(b); err != nil {
					t.Fatal(err)
				}
			},
		})
	})
}

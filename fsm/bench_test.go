package fsm

import (
	"fmt"
	"strings"
	"testing"
)

// BenchmarkExtend is what every member does twice a second while there is a holder, on a state with full memories.
func BenchmarkExtend(b *testing.B) {
	s := filled()
	b.ReportAllocs()
	for b.Loop() {
		next, r := s.Apply(Entry{Index: s.Index + 1, By: "a", Command: Extend{s.Lease.Epoch, s.Lease.Incarnation, s.Lease.Last + 1}})
		if r.Err != nil {
			b.Fatal(r.Err)
		}
		s = next
	}
}

// BenchmarkExtendDecoded adds what the log costs.
func BenchmarkExtendDecoded(b *testing.B) {
	s := filled()
	b.ReportAllocs()
	for b.Loop() {
		raw, err := Encode(Entry{Index: s.Index + 1, By: "a", Command: Extend{s.Lease.Epoch, s.Lease.Incarnation, s.Lease.Last + 1}})
		if err != nil {
			b.Fatal(err)
		}
		e, err := Decode(raw)
		if err != nil {
			b.Fatal(err)
		}
		e.Index = s.Index + 1
		s, _ = s.Apply(e)
	}
}

// BenchmarkSnapshot reports the size of a raft snapshot when every bounded memory is full.
func BenchmarkSnapshot(b *testing.B) {
	s := filled()
	size := 0
	for b.Loop() {
		raw, err := s.Marshal()
		if err != nil {
			b.Fatal(err)
		}
		size = len(raw)
	}
	b.ReportMetric(float64(size), "bytes/snapshot")
}

// crowd is a state whose memory is full of rolling operations of as many members as there may be, each with all that it may say: no
// state is larger.
func crowd(tb testing.TB, members int, said string) *State {
	s := must(tb, New(), SetCluster{Cluster{Name: "demo", Producers: []string{"alice"}, Slots: 4}})
	for i := range members {
		m := member("e", i)
		m.ID = fmt.Sprintf("e%02d", i)
		s = must(tb, s, PutMember{m}, PutHome{m.ID, Runs{Tag: "v1.0.0", Config: "0123456789abcdef"}})
	}
	s = must(tb, s, Grant{1, "e00", s.Members["e00"].Incarnation, 100, 107, ""})
	for n := range maxOperations {
		start := upgrade(undoAll, func(u *Upgrade) { u.Tag = fmt.Sprintf("v2.%d.0", n) })
		start.Deadline = int64(s.Index+1) * 1000
		s = must(tb, s, start)
		id, ids := s.Index, s.MemberIDs()
		turn := func(step, fault string, who ...string) {
			o, _ := s.Operation(id)
			s = must(tb, s, TurnOperation{ID: id, Number: o.Number(), Step: step, Members: who, Fault: fault, Deadline: int64(s.Index+1) * 1000})
			o, _ = s.Operation(id)
			for _, p := range o.Current().Parts {
				report := ReportOperation{ID: id, Number: o.Number(), Member: p.Member, Incarnation: p.Incarnation, Text: said, Ended: true}
				if step == StepUndo {
					report.Fault = said
				}
				s = must(tb, s, report)
			}
		}
		turn(StepStage, "", ids...)
		for _, who := range ids[1:] {
			turn(StepSwitch, "", who)
		}
		for _, who := range ids[1:] {
			turn(StepUndo, "x", who)
		}
		o, _ := s.Operation(id)
		s = must(tb, s, FinishOperation{ID: id, Step: o.Current().Name, Number: o.Number(), Outcome: Failed, Reason: said})
	}
	return s
}

// BenchmarkReport is what a member says of its part of a step, decoded from the log, where a hundred others of the same size are
// remembered.
func BenchmarkReport(b *testing.B) {
	s := crowd(b, 3, "starting, 50 % of the blocks are there")
	start := upgrade()
	start.Deadline = int64(s.Index+1) * 1000
	s = play(b, must(b, s, start), "stage e00 e01 e02")
	o := newest(b, s)
	raw, err := Encode(Entry{At: 1, By: "e01", Command: ReportOperation{ID: o.ID, Number: 2, Member: "e01", Incarnation: s.Members["e01"].Incarnation, Percent: 50, Text: "fetches"}})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		e, err := Decode(raw)
		if err != nil {
			b.Fatal(err)
		}
		e.Index = s.Index + 1
		next, r := s.Apply(e)
		if r.Err != nil {
			b.Fatal(r.Err)
		}
		s = next
	}
}

// BenchmarkTurn is a step that the leader begins, on the same.
func BenchmarkTurn(b *testing.B) {
	s := crowd(b, 3, "starting, 50 % of the blocks are there")
	start := upgrade()
	start.Deadline = int64(s.Index+1) * 1000
	s = play(b, must(b, s, start), "stage e00 e01 e02", "ok e00", "ok e01", "ok e02")
	e := word(b, s, "switch e01")
	b.ReportAllocs()
	for b.Loop() {
		if _, r := s.Apply(e); r.Err != nil {
			b.Fatal(r.Err)
		}
	}
}

// BenchmarkSnapshotOfOperations reports the size of a raft snapshot when all operations that are remembered are upgrades of three that
// were taken back.
func BenchmarkSnapshotOfOperations(b *testing.B) {
	s := crowd(b, 3, "starting, 50 % of the blocks are there")
	size := 0
	for b.Loop() {
		raw, err := s.Marshal()
		if err != nil {
			b.Fatal(err)
		}
		size = len(raw)
	}
	b.ReportMetric(float64(size), "bytes/snapshot")
}

// TestTheStateStaysSmall: whatever is asked for and said, a raft snapshot can be written and sent in a moment.
func TestTheStateStaysSmall(t *testing.T) {
	if n := len(bytesOf(t, crowd(t, 3, "starting, 50 % of the blocks are there"))); n > 256<<10 {
		t.Errorf("%d bytes with three members", n)
	}
	if n := len(bytesOf(t, crowd(t, maxMembers, strings.Repeat("ä", maxText)))); n > 8<<20 {
		t.Errorf("%d bytes with as many members as there may be, and all that they may say", n)
	}
}

package fsm

import "testing"

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

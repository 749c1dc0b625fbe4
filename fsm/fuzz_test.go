package fsm

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"testing"
)

// FuzzDecode: no bytes make Decode panic, and what it accepts means the same after another trip through the log, and can
// be applied to any state without a panic or a change of the state it started from. Each input is tried on a fifth of the states.
func FuzzDecode(f *testing.F) {
	states := []*State{New(), born(f), leased(f)}
	mid, _ := handing(f, StepStop)
	states = append(states, mid, guarded(f), banned(f))
	for _, state := range midway {
		states = append(states, state(f))
	}
	for _, table := range allRules {
		for i, r := range table.rules {
			for _, actor := range []string{"", "token:alice"}[:1+i%2] {
				raw, err := Encode(Entry{At: 1, By: "a", Key: r.name, Actor: actor, Command: r.do})
				if err != nil {
					f.Fatal(err)
				}
				f.Add(raw)
			}
		}
	}
	for version := 1; version <= EntryVersion; version++ {
		for line := range bytes.Lines(testdata(f, fmt.Sprintf("v%d.log", version))) {
			f.Add(bytes.TrimSpace(line))
		}
	}
	f.Add([]byte(`{"v":1,"kind":"lease.grant","body":{}} `))
	befores := make([][]byte, len(states))
	for i, s := range states {
		befores[i] = bytesOf(f, s)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		e, err := Decode(raw)
		if err != nil {
			return
		}
		once, err := Encode(e)
		if err != nil {
			return // over the bounds
		}
		again, err := Decode(once)
		if err != nil {
			t.Fatalf("what was encoded cannot be decoded: %v\n%s", err, once)
		}
		twice, err := Encode(again)
		if err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("%v\n%s\n%s", err, once, twice)
		}
		for i, s := range states {
			before := befores[i]
			if (crc32.ChecksumIEEE(raw)+uint32(i))%5 != 0 {
				continue
			}
			e.Index, again.Index = s.Index+1, s.Index+1
			a, _ := s.Apply(e)
			b, _ := s.Apply(again)
			if !bytes.Equal(bytesOf(t, a), bytesOf(t, b)) {
				t.Fatal("two replicas differ")
			}
			if restored, err := Unmarshal(bytesOf(t, a)); err != nil || !bytes.Equal(bytesOf(t, a), bytesOf(t, restored)) {
				t.Fatalf("%v: the restored state differs", err)
			}
			if !bytes.Equal(before, bytesOf(t, s)) {
				t.Fatal("the published state was modified")
			}
		}
	})
}

// FuzzUnmarshal: no bytes make Unmarshal panic, and what it accepts means the same after another trip.
func FuzzUnmarshal(f *testing.F) {
	mid, _ := handing(f, StepStart)
	for _, s := range []*State{New(), born(f), leased(f), released(f), inRound(f), counted(f), mid, guarded(f), admitted(f), banned(f), oneVote(f)} {
		f.Add(bytesOf(f, s))
	}
	for _, state := range midway {
		f.Add(bytesOf(f, state(f)))
	}
	f.Add(testdata(f, "v3.snapshot"))
	f.Add(testdata(f, "v4.snapshot"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := Unmarshal(raw)
		if err != nil {
			return
		}
		once := bytesOf(t, s)
		again, err := Unmarshal(once)
		if err != nil {
			t.Fatalf("what was encoded cannot be decoded: %v\n%s", err, once)
		}
		if twice := bytesOf(t, again); !bytes.Equal(once, twice) {
			t.Fatalf("\n%s\n%s", once, twice)
		}
	})
}

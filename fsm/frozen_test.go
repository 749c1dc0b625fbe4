package fsm

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
)

// The log and the raft snapshot of each entry version, as its program wrote them: every kind, accepted and refused, on many
// lines of testdata/v1.log, its answers in v1.answers, the state that they lead to in v1.snapshot. They are frozen. A later
// program must read them and come to the same answers and the same state, for ever; if this test fails, the program is
// wrong and not the files.
func TestEachVersionIsReadForEver(t *testing.T) {
	for version := uint32(1); version <= EntryVersion; version++ {
		t.Run(fmt.Sprint("v", version), func(t *testing.T) { readForEver(t, version) })
	}
}

// TestARecoveredStateIsReadForEver: what a recovery writes is no entry's doing.
func TestARecoveredStateIsReadForEver(t *testing.T) {
	frozen := testdata(t, "v2.recovered.snapshot")
	s, err := Unmarshal(frozen)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(bytesOf(t, s), frozen) || !s.Lease.Fenced() || len(s.Lost) != 1 {
		t.Fatalf("read as\n%s\nand was\n%s", bytesOf(t, s), frozen)
	}
}

func testdata(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func readForEver(t *testing.T, version uint32) {
	name := fmt.Sprint("v", version)
	log, answers, frozen := testdata(t, name+".log"), testdata(t, name+".answers"), testdata(t, name+".snapshot")
	lines := bytes.Split(bytes.TrimSpace(log), []byte("\n"))
	want, err := Unmarshal(frozen)
	if err != nil {
		t.Fatal(err)
	}
	met := map[string]bool{}
	for cut := range lines { // and from a raft snapshot at any point
		s, got := New(), strings.Builder{}
		for i, line := range lines {
			e, err := Decode(line)
			if err != nil {
				t.Fatalf("line %d: %v", i+1, err)
			}
			if again, err := Encode(e); err != nil || !bytes.Equal(again, line) {
				t.Fatalf("line %d is written as %s (%v)", i+1, again, err)
			}
			e.Index = uint64(i + 1)
			met[e.Command.Kind()] = true
			var r Result
			s, r = s.Apply(e)
			answer := "ok"
			if f := refusal(r); f != nil {
				answer = f.Rule
			}
			fmt.Fprintln(&got, r.Index, answer)
			if i == cut {
				if s, err = Unmarshal(bytesOf(t, s)); err != nil {
					t.Fatal(err)
				}
			}
		}
		if got.String() != string(answers) {
			t.Fatalf("the answers are\n%s", &got)
		}
		if !bytes.Equal(bytesOf(t, s), bytesOf(t, want)) {
			t.Fatalf("the state is\n%s\nand was\n%s", bytesOf(t, s), bytesOf(t, want))
		}
	}
	for kind, k := range kinds {
		if k.since == version && !met[kind] {
			t.Errorf("the log of version %d has no %s", version, kind)
		}
	}
}

package fsm

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
)

// The log and the raft snapshot of entry version 1, as its program wrote them: every kind, accepted and refused, on many
// lines of testdata/v1.log, its answers in v1.answers, the state that they lead to in v1.snapshot. They are frozen. A later
// program must read them and come to the same answers and the same state, for ever; if this test fails, the program is
// wrong and not the files.
func TestVersion1IsReadForEver(t *testing.T) {
	log, err := os.ReadFile("testdata/v1.log")
	if err != nil {
		t.Fatal(err)
	}
	answers, err := os.ReadFile("testdata/v1.answers")
	if err != nil {
		t.Fatal(err)
	}
	frozen, err := os.ReadFile("testdata/v1.snapshot")
	if err != nil {
		t.Fatal(err)
	}
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
		if k.since == 1 && !met[kind] {
			t.Errorf("the log of version 1 has no %s", kind)
		}
	}
}

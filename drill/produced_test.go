package drill

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The recordings are nodeos 1.2.2's: two nodes unpaused on one chain with one key (f-double-production), and a Savanna chain.
func TestProducedLinesOfRealNodes(t *testing.T) {
	a, err := ReadProduced("a", "testdata/double-a.stderr")
	if err != nil {
		t.Fatal(err)
	}
	b, err := ReadProduced("b", "testdata/double-b.stderr")
	if err != nil {
		t.Fatal(err)
	}
	if len(a) != 90 || len(b) != 50 {
		t.Errorf("%d and %d blocks, grep counts 90 and 50", len(a), len(b))
	}
	want := Signature{Slot: slotAt(time.Date(2026, 11, 21, 1, 17, 54, 0, time.UTC)), Num: 2, ID: a[0].ID, Node: "a", SignedAt: a[0].SignedAt}
	if a[0] != want || len(a[0].ID) != 16 || !strings.HasPrefix(a[0].SignedAt, "2026-11-21T01:17:53.9") {
		t.Errorf("the first is %+v, want %+v", a[0], want)
	}
	if d := Doubles(a); d != nil {
		t.Errorf("a alone: %v", d)
	}
	// Counted apart, by a script: 91 slots, 49 of them signed by both, one with a byte-identical block.
	doubles, same := Doubles(append(a, b...)), 0
	for _, d := range doubles {
		if d.Signatures[0].ID == d.Signatures[1].ID {
			same++
		}
	}
	if len(doubles) != 49 || same != 1 {
		t.Errorf("%d slots signed twice, %d of them identical: want 49 and 1", len(doubles), same)
	}
	savanna, err := ReadProduced("c", "testdata/savanna-c.stderr")
	if err != nil || len(savanna) != 27 || savanna[0].Num != 615 {
		t.Errorf("savanna: %d, %v", len(savanna), err)
	}
}

func TestProducedLinesOfAManager(t *testing.T) {
	const line = `time=2026-11-21T14:38:48.901Z level=DEBUG msg="Produced block cc8e90a4ebbb01f2... #53 @ 2026-11-21T00:37:37.000 signed by eosio [trxs: 0, lib: 52, confirmed: 0, net: 0, cpu: 100 us, elapsed: 37 us, producing time: 462 us]" member=m1 part=nodeos thread=nodeos file=controller.cpp func=log_applied`
	const record = `{"time":"2026-11-21T14:38:48.901Z","level":"DEBUG","msg":"Produced block cc8e90a4ebbb01f2... #53 @ 2026-11-21T00:37:37.000 signed by eosio [trxs: 0, lib: 52]"}`
	want := Signature{Slot: slotAt(time.Date(2026, 11, 21, 0, 37, 37, 0, time.UTC)), Num: 53, ID: "cc8e90a4ebbb01f2", Node: "m1", SignedAt: "2026-11-21T14:38:48.901Z"}
	spoken := `time=2026-11-21T14:38:48.901Z level=INFO msg="somebody wrote: Produced block x" member=m1` + "\n"
	for _, c := range []struct {
		name, text string
		want       int
		err        string
	}{
		{"text", line + "\n", 1, ""},
		{"JSON", record + "\n", 1, ""},
		{"others", spoken + `time=x level=DEBUG msg="Received block cc8e90a4ebbb01f2... #53"` + "\n", 0, ""},
		{"cut short by a kill", line + "\n" + line[:100], 1, ""},
		{"broken in the middle", line[:100] + "\n" + line + "\n", 0, "line 1"},
		{"no slot", strings.Replace(line, "00:37:37.000", "00:37:37", 1) + "\n" + line + "\n", 0, "block time"},
	} {
		name := filepath.Join(t.TempDir(), "manager.log")
		if err := os.WriteFile(name, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := ReadProduced("m1", name)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: %v, %v, want an error with %q", c.name, got, err, c.err)
			}
			continue
		}
		if err != nil || len(got) != c.want || c.want > 0 && got[0] != want {
			t.Errorf("%s: %+v, %v", c.name, got, err)
		}
	}
	if _, err := ReadProduced("m1", "testdata/nowhere"); err == nil {
		t.Error("no log at all passed")
	}
}

package fsm

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var freeze = flag.Bool("freeze", false, "write the log of the newest entry version anew: only while no program of it was released")

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

// TestFreeze writes the log of the newest version: a walk from the beginning, with keys and actors, some of them met again.
func TestFreeze(t *testing.T) {
	if !*freeze {
		t.Skip("-freeze writes it")
	}
	var log, answers bytes.Buffer
	w := newTaskWalk(t, 7)
	w.machine = newMachine(New(), nil)
	put := func(e Entry) {
		raw, err := Encode(e)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&log, "%s\n", raw)
		next, r := w.live.Apply(Entry{Index: w.live.Index + 1, At: e.At, By: e.By, Key: e.Key, Actor: e.Actor, Command: e.Command})
		answer := "ok"
		if f := refusal(r); f != nil {
			answer = f.Rule
		}
		fmt.Fprintln(&answers, r.Index, answer)
		w.apply(t, e)
		if w.live.Index != next.Index {
			t.Fatal("another entry was applied")
		}
	}
	birth := []Command{SetCluster{Cluster{Name: "demo", Producers: []string{"alice", "bob"}, Slots: DefaultSlots}}}
	for _, id := range []string{"a", "b", "c"} {
		birth = append(birth, PutMember{member(id, 0)})
	}
	witness := member("w", 0)
	witness.Witness = true
	birth = append(birth, PutMember{witness}, Grant{1, "a", inc("a", 0), 100, 107, "the first fit candidate"}, PutHome{"b", Runs{Tag: "v1.0.0", Config: "c1"}}, restart("b"), CancelOperation{ID: 8})
	for i, c := range birth {
		put(Entry{At: int64(1000 * (i + 1)), By: "a", Command: c})
	}
	script := func(lines ...string) {
		for _, line := range lines {
			put(word(t, w.live, line))
		}
	}
	start := func(c Command, lines ...string) {
		put(stamp(w.live, c))
		script(lines...)
	}
	start(makes("s1", func(t *Task) { t.Keep = 86_400_000 }), made...)
	start(makes("s2", ofChain, avoid("c")), "snapshot b", "ok b", "store b", "ok b", "done")
	start(PutPlan{planned(func(p *Plan) { p.Due = int64(w.live.Index)*1000 + 500 })})
	start(fires(func(c *FirePlan) {
		c.Due = w.live.Plans["nightly"].Due
		c.Next = c.Due + 1000
		c.Start.Deadline = c.Due + 90_000
	}), "prepare c", "bad c no room", "failed c: no room")
	start(change(again(0), func(c *FirePlan) { c.Due = w.live.Plans["nightly"].Due; c.Start.Deadline = c.Due + 90_000 }), "prepare b", "ok b", "copy b", "cancel", "bad b canceled", "canceled by an operator")
	start(RemovePlan{"nightly"})
	start(change(asks(KindRestore, func(t *Task) { t.Backup, t.Member, t.Auto = "s1", "a", true }), func(c *StartOperation) { c.Deadline = 200_000 }), "fetch a") // the holder
	script("cancel")
	start(change(asks(KindRestore, func(t *Task) { t.Backup, t.Member = "s1", "c" }), func(c *StartOperation) { c.Deadline = 200_000 }), "fetch c", "ok c", "replace c", "ok c", "done")
	start(change(asks(KindVerify, func(t *Task) { t.Backup = "s2" }), func(c *StartOperation) { c.Deadline = 200_000 }), "check b")
	now := newest(t, w.live)
	start(ReportOperation{ID: now.ID, Number: 2, Member: "b", Incarnation: inc("b", 0), Ended: true, Fault: "pack 7 has other bytes", Damaged: true}, "failed")
	start(ExpireBackup{ID: "s2", Why: "by an operator"})
	start(SetBackup{ID: "s1", Pinned: ptr(true)})
	start(change(asks(KindSweep, unknown), func(c *StartOperation) { c.Deadline = 200_000 }), "sweep b")
	start(finds("x1", func(c *PutBackup) { c.Operation, c.Incarnation = w.live.RunningOperations()[0].ID, inc("b", 0) }))
	start(DropBackup{"s2"})
	start(DropBackup{"x1"}, "ok b", "done")
	w.at = int64(w.live.Index) * 1000
	var keyed []Entry
	for i := range 93 {
		e := w.next()
		switch {
		case i%31 == 30: // asked for again
			e = keyed[len(keyed)-1]
		case i%7 == 3:
			e.Key, e.Actor = fmt.Sprint("key-", i), "token:alice"
			keyed = append(keyed, e)
		}
		put(e)
	}
	name := fmt.Sprint("testdata/v", EntryVersion)
	for file, b := range map[string][]byte{".log": log.Bytes(), ".answers": answers.Bytes(), ".snapshot": bytesOf(t, w.live)} {
		if err := os.WriteFile(name+file, b, 0o644); err != nil {
			t.Fatal(err)
		}
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

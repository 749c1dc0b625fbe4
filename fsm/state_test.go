package fsm

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestAKeyHasOneEffect(t *testing.T) {
	s := born(t)
	e := stamp(s, Grant{1, "a", inc("a", 0), 100, 107, ""})
	e.Key = "grant-1"
	s1, r1 := s.Apply(e)
	if r1.Err != nil || r1.Index != e.Index {
		t.Fatal(r1)
	}
	again := e
	again.Index++
	s2, r2 := s1.Apply(again)
	if r2 != r1 || s2.Index != again.Index {
		t.Fatalf("the repeated key gives %v at %d, want %v", r2, s2.Index, r1)
	}
	sameBut(t, s1, s2, "")

	// A refusal is remembered as well, even where the command would now be accepted.
	bad := stamp(s2, RemoveMember{ID: "a"})
	bad.Key = "remove-a"
	s3, r3 := s2.Apply(bad)
	if !errors.Is(r3.Err, ErrHolds) {
		t.Fatal(r3)
	}
	sameBut(t, s2, s3, bad.Key)
	s4 := must(t, s3, Release{Epoch: 1, Incarnation: inc("a", 0), Signed: 100})
	restored, err := Unmarshal(bytesOf(t, s4))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*State{s4, restored} {
		bad.Index = s.Index + 1
		s5, r5 := s.Apply(bad)
		if !errors.Is(r5.Err, ErrHolds) || r5.Index != r3.Index || r5.Err.Error() != r3.Err.Error() {
			t.Fatalf("the repeated key gives %v, want %v", r5, r3)
		}
		sameBut(t, s, s5, "")
	}
}

func TestRequestsAreBounded(t *testing.T) {
	s := born(t)
	for i := range maxRequests + 9 {
		e := stamp(s, RaiseAlarm{"test", "", ""})
		e.Key = fmt.Sprint(i)
		s, _ = s.Apply(e)
	}
	if len(s.Requests) != maxRequests || s.Requests[0].Key != "9" {
		t.Fatalf("%d keys are remembered, from %q", len(s.Requests), s.Requests[0].Key)
	}
}

func TestHistoryAndPastAreBounded(t *testing.T) {
	s := leased(t)
	for range maxHistory + 9 {
		s = must(t, s, Grant{s.Lease.Epoch + 1, "b", inc("b", 0), s.Lease.Last + 1, s.Lease.Last + 2, ""})
	}
	if len(s.History) != maxHistory || len(s.Past) != maxPast || s.History[maxHistory-1].Index != s.Index || s.Past[maxPast-1].Epoch+1 != s.Lease.Epoch {
		t.Fatalf("%d history lines, %d past leases", len(s.History), len(s.Past))
	}
	if _, known := s.Signable(100); known {
		t.Fatal("a lease that is forgotten is still known")
	}
}

// A text that is cut inside a rune would be encoded differently before and after a raft snapshot.
func TestTextsAreClippedBetweenRunes(t *testing.T) {
	for pad := range 4 {
		text := strings.Repeat("x", pad) + strings.Repeat("ä€𝄞", maxText)
		if got := clip(text); len(got) > maxText || len(got) < maxText-3 || !utf8.ValidString(got) || !strings.HasPrefix(text, got) {
			t.Fatalf("clipped to %d bytes", len(got))
		}
		s := must(t, born(t), RaiseAlarm{text, text, text})
		s, r := s.Apply(Entry{Index: 99, Key: "k", Command: RemoveMember{ID: text}})
		if len(refusal(r).Message) > maxText {
			t.Fatal("a refusal's message is not bounded")
		}
		restored, err := Unmarshal(bytesOf(t, s))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(bytesOf(t, s), bytesOf(t, restored)) {
			t.Fatal("the restored state differs")
		}
	}
	if clip("short") != "short" {
		t.Fatal("a short text was changed")
	}
}

func TestEntriesAreBounded(t *testing.T) {
	if _, err := Encode(Entry{Command: RaiseAlarm{"test", "", strings.Repeat("x", MaxEntry)}}); err == nil {
		t.Fatal("an entry of any size is taken")
	}
	if _, err := Encode(Entry{Key: strings.Repeat("x", MaxKey+1), Command: RaiseAlarm{"test", "", ""}}); err == nil {
		t.Fatal("a key of any size is taken")
	}
	if _, err := Encode(Entry{}); err == nil {
		t.Fatal("an entry without a command is taken")
	}
	schedule := make([]string, 21)
	for i := range schedule {
		schedule[i] = strings.Repeat("p", 13)
	}
	if _, err := Encode(Entry{Command: PutRound{Schedule: schedule}}); err != nil {
		t.Fatal(err)
	}
}

// What a node wrote before it ended may be long: that must not keep its fault, or the end of an operation, out of the log.
func TestLongReasonsAreCutBeforeTheLog(t *testing.T) {
	text := strings.Repeat("\x01ä", MaxEntry)
	for _, c := range []Command{
		TurnOperation{ID: 1, Number: 1, Step: StepUndo, Members: []string{"a"}, Fault: text}, ReportOperation{ID: 1, Number: 1, Member: "a", Text: text, Ended: true, Fault: text},
		FinishOperation{ID: 1, Step: StepUndo, Number: 1, Outcome: Failed, Reason: text}, CancelOperation{ID: 1, Reason: text},
	} {
		raw, err := Encode(Entry{Command: c})
		if err != nil {
			t.Errorf("%s: %v", c.Kind(), err)
			continue
		}
		if _, err := Decode(raw); err != nil || !bytes.Contains(raw, []byte("ä")) {
			t.Errorf("%s: %v: %s", c.Kind(), err, raw)
		}
	}
}

func TestDecodeNeverGuesses(t *testing.T) {
	good, err := Encode(Entry{At: 7, By: "a", Key: "k", Command: Extend{1, "x", 2}})
	if err != nil {
		t.Fatal(err)
	}
	if e, err := Decode(good); err != nil || e != (Entry{At: 7, By: "a", Key: "k", Command: Extend{1, "x", 2}}) {
		t.Fatalf("%+v, %v", e, err)
	}
	for name, raw := range map[string]string{
		"nothing":               "",
		"no entry":              "null",
		"no kind":               `{"v":1,"at":1,"body":{}}`,
		"unknown kind":          `{"v":1,"kind":"lease.steal","at":1,"body":{}}`,
		"no version":            strings.Replace(string(good), `"v":1`, `"v":0`, 1),
		"newer version":         strings.Replace(string(good), `"v":1`, fmt.Sprintf(`"v":%d`, EntryVersion+1), 1),
		"unknown field":         strings.Replace(string(good), `"v":1`, `"v":1,"ttl":3`, 1),
		"unknown field in body": strings.Replace(string(good), `"epoch":1`, `"epoch":1,"force":true`, 1),
		"negative slot":         strings.Replace(string(good), `"last":2`, `"last":-2`, 1),
		"half a slot":           strings.Replace(string(good), `"last":2`, `"last":2.5`, 1),
		"no body":               `{"v":1,"kind":"lease.extend","at":1}`,
		"null body":             `{"v":1,"kind":"lease.extend","at":1,"body":null}`,
		"something behind":      string(good) + "{}",
		"cut":                   string(good[:len(good)-1]),
	} {
		if e, err := Decode([]byte(raw)); err == nil {
			t.Errorf("%s was decoded as %+v", name, e)
		}
	}
	if Since("lease.grant") != 1 || Since("lease.steal") != 0 {
		t.Error("Since is wrong")
	}
}

func TestUnmarshalNeverGuesses(t *testing.T) {
	good := string(bytesOf(t, leased(t)))
	if _, err := Unmarshal([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for name, raw := range map[string]string{
		"nothing":          "",
		"no state":         `{"version":1}`,
		"null state":       `{"version":1,"state":null}`,
		"no version":       strings.Replace(good, `"version":1`, `"version":0`, 1),
		"newer layout":     strings.Replace(good, `"version":1`, `"version":2`, 1),
		"unknown field":    strings.Replace(good, `"index"`, `"quorum":3,"index"`, 1),
		"something behind": good + "x",
		"cut":              good[:len(good)-1],
	} {
		if _, err := Unmarshal([]byte(raw)); err == nil {
			t.Errorf("%s was decoded", name)
		}
	}
	s, err := Unmarshal([]byte(`{"version":1,"state":{}}`))
	if err != nil || s.Members == nil {
		t.Fatalf("a state without members: %v, %v", s, err)
	}
}

// Each kind is a name for ever: taking one away, or renaming it, breaks every log that holds it.
func TestKindsAreForEver(t *testing.T) {
	want := []string{
		"alarm.raise", "cluster.set", "lease.extend", "lease.grant", "lease.release", "lease.transfer", "member.put", "member.remove", "member.set",
		"operation.advance", "operation.expire", "operation.finish", "operation.start", "round.put", "round.window",
	}
	var got []string
	for kind := range kinds {
		got = append(got, kind)
	}
	slices.Sort(got)
	for _, kind := range want {
		if !slices.Contains(got, kind) {
			t.Errorf("the kind %s is gone", kind)
		}
	}
	for kind, k := range kinds {
		c, err := k.decode([]byte("{}"))
		if err != nil || c.Kind() != kind {
			t.Errorf("kind %s decodes to %T, %v", kind, c, err)
		}
		if k.since < 1 || k.since > EntryVersion {
			t.Errorf("kind %s is said to exist since version %d", kind, k.since)
		}
	}
}

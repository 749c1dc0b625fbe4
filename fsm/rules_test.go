package fsm

import (
	"bytes"
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"
)

// rule is one line of a table: a command on a state, and the rule that refuses it (nil: accepted, with what must then hold).
type rule struct {
	name  string
	on    func(testing.TB) *State
	do    Command
	at    int64 // the entry's time; 0: as stamp does
	want  *Refusal
	check func(*State) bool
}

// allRules are the tables.
var allRules = []struct {
	name  string
	rules []rule
}{
	{"lease", leaseRules}, {"member", memberRules}, {"cluster", clusterRules}, {"round", roundRules}, {"operation", operationRules}, {"access", accessRules},
	{"start", startRules}, {"turn", turnRules}, {"report", reportRules}, {"finish", finishRules}, {"cancel", cancelRules}, {"home", homeRules},
	{"task start", taskStartRules}, {"task turn", taskTurnRules}, {"task report", taskReportRules}, {"task end", taskEndRules}, {"catalogue", catalogueRules}, {"plan", planRules},
}

// TestRules runs every table: each command and each refusal. A refusal changes nothing but the index, an acceptance
// never changes the state it started from, and every named error is reached at least once.
func TestRules(t *testing.T) {
	reached := map[string]bool{}
	for _, table := range allRules {
		for _, r := range table.rules {
			t.Run(table.name+"/"+r.name, func(t *testing.T) {
				s := r.on(t)
				before := bytesOf(t, s)
				e := stamp(s, r.do)
				if r.at != 0 {
					e.At = r.at
				}
				// As on a member: what is applied has been through the log.
				raw, err := Encode(e)
				if err != nil {
					t.Fatal(err)
				}
				decoded, err := Decode(raw)
				if err != nil {
					t.Fatal(err)
				}
				decoded.Index = e.Index
				next, result := s.Apply(decoded)
				if !bytes.Equal(before, bytesOf(t, s)) {
					t.Fatal("the published state was modified")
				}
				if next.Index != e.Index || result.Index != e.Index {
					t.Fatalf("index %d, result %d, want %d", next.Index, result.Index, e.Index)
				}
				if r.want == nil {
					if result.Err != nil {
						t.Fatalf("refused: %v", result.Err)
					}
					if r.check != nil && !r.check(next) {
						t.Fatalf("accepted, but the state is not as it should be: %s", bytesOf(t, next))
					}
					return
				}
				if !errors.Is(result.Err, r.want) {
					t.Fatalf("got %v, want %s", result.Err, r.want.Rule)
				}
				reached[r.want.Rule] = true
				sameBut(t, s, next, "")
			})
		}
	}
	for _, name := range namedRules(t) {
		if !reached[name] {
			t.Errorf("no table reaches the refusal %s", name)
		}
	}
}

// namedRules reads the names of all rules from errors.go.
func namedRules(t *testing.T) []string {
	t.Helper()
	src, err := os.ReadFile("errors.go")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range regexp.MustCompile(`= &Refusal\{"([^"]+)"`).FindAllSubmatch(src, -1) {
		names = append(names, string(m[1]))
	}
	if len(names) < 18 {
		t.Fatalf("found only %v", names)
	}
	return names
}

func TestRefusalsAreComparedByRule(t *testing.T) {
	err := ErrEpoch.with("7 is not %d", 8)
	if !errors.Is(err, ErrEpoch) || errors.Is(err, ErrRange) || errors.Is(err, errors.New("lease.epoch")) {
		t.Fatal("errors.Is must go by the rule")
	}
	if err.Hint != ErrEpoch.Hint || !strings.HasSuffix(err.Error(), ": 7 is not 8") || !strings.HasPrefix(err.Error(), "lease.epoch: ") {
		t.Fatalf("message %q, hint %q", err, err.Hint)
	}
}

package model

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
)

// explore goes breadth-first through every world within the bounds, at most limit of them. It returns how many it met, the
// depth that it saw in full, and the shortest trace to a doubled slot, or nil.
func explore(t *table, limit int) (met, depth int, trace []string) {
	type origin struct {
		parent int32
		step   uint16
	}
	first := t.first()
	seen := map[world]struct{}{first: {}}
	worlds, origins := []world{first}, []origin{{-1, 0}}
	var buf []step
	path := func(i int) []string {
		var lines []string
		for ; origins[i].parent >= 0; i = int(origins[i].parent) {
			lines = append(lines, t.steps(worlds[origins[i].parent], nil)[origins[i].step].text())
		}
		for a, b := 0, len(lines)-1; a < b; a, b = a+1, b-1 {
			lines[a], lines[b] = lines[b], lines[a]
		}
		return lines
	}
	for from, end := 0, 1; from < len(worlds); depth, from, end = depth+1, end, len(worlds) {
		for i := from; i < end; i++ {
			buf = t.steps(worlds[i], buf[:0])
			for n, s := range buf {
				if _, ok := seen[s.to]; ok {
					continue
				}
				seen[s.to] = struct{}{}
				worlds, origins = append(worlds, s.to), append(origins, origin{int32(i), uint16(n)})
				if s.to.doubled != 0 {
					return len(worlds), depth, append(path(len(worlds)-1), fmt.Sprintf("slot %d is signed twice", s.to.doubled))
				}
				if len(worlds) >= limit {
					return len(worlds), depth, nil
				}
			}
		}
	}
	return len(worlds), depth, nil
}

// walk takes random steps; it returns the trace where a slot was doubled.
func walk(t *table, seed uint64, length int) (trace []string) {
	rng := rand.New(rand.NewPCG(seed, 1))
	w := t.first()
	var buf []step
	var lines []string
	for range length {
		buf = t.steps(w, buf[:0])
		if len(buf) == 0 {
			return nil
		}
		s := buf[rng.IntN(len(buf))]
		lines = append(lines, s.text())
		if w = s.to; w.doubled != 0 {
			return append(lines, fmt.Sprintf("slot %d is signed twice", w.doubled))
		}
	}
	return nil
}

var without = []struct {
	name  string
	rules Rules
}{
	{"S1", Rules{S1: false, S2: true, S3: true, S4: true}},
	{"S2", Rules{S1: true, S2: false, S3: true, S4: true}},
	{"S3", Rules{S1: true, S2: true, S3: false, S4: true}},
	{"S4", Rules{S1: true, S2: true, S3: true, S4: false}},
}

// What is explored. Each of these spaces is finite and is seen whole.
var (
	narrow = []Bounds{
		{Members: 2, Slots: 2, Log: 4, Sent: 4, Crashes: 1, Late: 1, Length: 1},
	}
	large = []Bounds{ // ROUNDTABLE_MODEL=large: 5.5 million worlds, some minutes
		{Members: 2, Slots: 2, Log: 4, Sent: 3, Crashes: 1, Late: 1, Length: 2},
		{Members: 2, Slots: 3, Log: 4, Sent: 3, Crashes: 1, Late: 1, Length: 2},
		{Members: 2, Slots: 2, Log: 5, Sent: 5, Crashes: 1, Late: 1, Length: 1},
		{Members: 2, Slots: 3, Log: 5, Sent: 4, Crashes: 1, Late: 1, Length: 2},
		{Members: 3, Slots: 2, Log: 4, Sent: 3, Crashes: 1, Late: 1, Length: 1},
		{Members: 2, Slots: 3, Log: 5, Sent: 4, Crashes: 2, Late: 2, Length: 2},
	}
	wide = Bounds{Members: 3, Slots: 8, Log: maxLog - 1, Sent: maxSent, Crashes: 5, Late: 4, Length: 3} // for walks
)

var isLarge = os.Getenv("ROUNDTABLE_MODEL") == "large"

func TestNoSlotIsSignedTwice(t *testing.T) {
	bounds, limit := narrow, 1_000_000
	if isLarge {
		bounds, limit = append(bounds, large...), 12_000_000
	}
	for _, b := range bounds {
		t.Run(fmt.Sprintf("%+v", b), func(t *testing.T) {
			tab := newTable(allRules, b)
			met, depth, trace := explore(tab, limit)
			if trace != nil {
				t.Fatalf("with all rules a slot is signed twice:\n%s", strings.Join(trace, "\n"))
			}
			if met >= limit && !isLarge {
				t.Fatalf("the space was not seen whole: %d worlds", met)
			}
			// The space must be worth something: later epochs, another holder, a restarted manager's new lease.
			var epochs uint64
			holders := map[string]bool{}
			for _, s := range tab.states {
				epochs = max(epochs, s.Lease.Epoch)
				if s.Lease.Epoch > 0 {
					holders[who(s.Lease.Incarnation)] = true
				}
			}
			if epochs < 3 || !holders["b0"] || !holders["a1"] {
				t.Fatalf("only %d epochs and the holders %v were met", epochs, holders)
			}
			t.Logf("%d worlds, all within %d steps; %d states of the lease, %d proposals, %d epochs", met, depth, len(tab.states), len(tab.proposals)-1, epochs)
		})
	}
}

func TestEveryRuleIsNeeded(t *testing.T) {
	for _, c := range without {
		t.Run(c.name, func(t *testing.T) {
			met, _, trace := explore(newTable(c.rules, narrow[0]), 1_000_000)
			if trace == nil {
				t.Fatalf("without %s no slot is signed twice in %d worlds: the model does not see what the rule is for", c.name, met)
			}
			t.Logf("without %s, after %d worlds:\n  %s", c.name, met, strings.Join(trace, "\n  "))
		})
	}
}

func TestRandomWalks(t *testing.T) {
	walks := 100
	if isLarge {
		walks = 100_000
	}
	tab := newTable(allRules, wide)
	for seed := range uint64(walks) {
		if trace := walk(tab, seed, 150); trace != nil {
			t.Fatalf("seed %d: with all rules a slot is signed twice:\n%s", seed, strings.Join(trace, "\n"))
		}
	}
	for _, c := range without {
		t.Run(c.name, func(t *testing.T) {
			tab := newTable(c.rules, wide)
			for seed := range uint64(20_000) {
				if trace := walk(tab, seed, 150); trace != nil {
					t.Logf("without %s, seed %d doubles after %d steps", c.name, seed, len(trace)-1)
					return
				}
			}
			t.Fatalf("no walk without %s doubles a slot", c.name)
		})
	}
}

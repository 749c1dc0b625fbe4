package sim_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"roundtable/chain"
	"roundtable/fsm"
)

// This file is the lease as design/lease.md has it ("The lease", the table), written from the page and not from package
// fsm: a register that is read, changed by four kinds of entries, and that says of each epoch which slots it may sign.

// maxLease is lease.md's MaxLease.
const maxLease = 16

// register is the model's state. It is compared with ==.
type register struct {
	lease fsm.Lease
	past  string // ranges of the epochs before, as " epoch:first-last", newest first
}

// accept is what the table says of an entry: the register after it, or refused. That the holder may produce and that the
// incarnation is in its record is not in the register; such refusals are taken as they come.
func (r register) accept(c fsm.Command) (register, bool) {
	l := r.lease
	switch c := c.(type) {
	case fsm.Grant:
		if c.Epoch != l.Epoch+1 || c.First <= l.Last || c.First > c.Last || c.Last-c.First >= maxLease {
			return r, false
		}
		return r.next(fsm.Lease{Epoch: c.Epoch, Holder: c.Holder, Incarnation: c.Incarnation, First: c.First, Last: c.Last}), true
	case fsm.Extend:
		if !r.open(c.Epoch, c.Incarnation) || c.Last <= l.Last || c.Last-l.Last > maxLease {
			return r, false
		}
		r.lease.Last = c.Last
		return r, true
	case fsm.Release:
		return r.release(c.Epoch, c.Incarnation, c.Signed)
	case fsm.Transfer:
		after, ok := r.release(c.Epoch, c.Incarnation, c.Signed)
		first := c.Signed + 1
		if !ok || first > c.Last || c.Last-first >= maxLease {
			return r, false
		}
		return after.next(fsm.Lease{Epoch: c.Epoch + 1, Holder: c.To, Incarnation: c.ToIncarnation, First: first, Last: c.Last}), true
	}
	return r, false
}

func (r register) open(epoch uint64, incarnation string) bool {
	return epoch > 0 && epoch == r.lease.Epoch && incarnation == r.lease.Incarnation && !r.lease.Released
}

func (r register) release(epoch uint64, incarnation string, signed chain.Slot) (register, bool) {
	if !r.open(epoch, incarnation) || signed+1 < r.lease.First || signed > r.lease.Last {
		return r, false
	}
	r.lease.Last, r.lease.Released = signed, true
	return r, true
}

// keptPast is how many ranges the register remembers: a gate never signs for an older one.
const keptPast = 6

func (r register) next(l fsm.Lease) register {
	if r.lease.Epoch > 0 {
		list := append([]string{fmt.Sprintf("%d:%d-%d", r.lease.Epoch, r.lease.First, r.lease.Last)}, strings.Fields(r.past)...)
		r.past = strings.Join(list[:min(len(list), keptPast)], " ")
	}
	r.lease = l
	return r
}

// signable reports whether the slot is in what the epoch may sign.
func (r register) signable(s sign) bool {
	if s.epoch == r.lease.Epoch {
		return r.lease.First <= s.slot && s.slot <= r.lease.Last
	}
	for _, text := range strings.Fields(r.past) {
		var epoch uint64
		var first, last chain.Slot
		if _, err := fmt.Sscanf(text, "%d:%d-%d", &epoch, &first, &last); err != nil {
			panic(err)
		}
		if epoch == s.epoch {
			return first <= s.slot && s.slot <= last
		}
	}
	return false
}

// ofTheRegister are the refusals that the register must agree with.
var ofTheRegister = map[string]bool{"lease.epoch": true, "lease.released": true, "lease.range": true}

// step gives the registers that an operation with this answer may leave behind; none: the answer is wrong.
func (r register) step(input, output any) []any {
	switch in := input.(type) {
	case look:
		if output.(fsm.Lease) == r.lease {
			return []any{r}
		}
		return nil
	case sign:
		if r.signable(in) {
			return []any{r}
		}
		return nil
	}
	out := output.(outcome)
	var after []any
	add := func(n register) {
		for _, have := range after {
			if have == n {
				return
			}
		}
		after = append(after, n)
	}
	for _, c := range input.(call).any {
		n, ok := r.accept(c)
		switch {
		case ok && (out.rule == "" || out.unknown):
			add(n)
		case out.rule != "" && (!ok || !ofTheRegister[out.rule]):
			add(r)
		}
	}
	if out.unknown {
		add(r) // it never happened, or was refused
	}
	return after
}

var leaseModel = porcupine.NondeterministicModel{
	Init: func() []any { return []any{register{}} },
	Step: func(state, input, output any) []any { return state.(register).step(input, output) },
	Equal: func(a, b any) bool {
		return a.(register) == b.(register)
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v -> %+v", input, output) },
}

// patience bounds a check; a history that is not decided in time is not called good.
const patience = 20 * time.Second

// linearizable checks a history against the model.
func linearizable(ops []porcupine.Operation) error {
	model := leaseModel.ToModel()
	switch porcupine.CheckOperationsTimeout(model, ops, patience) {
	case porcupine.Ok:
		return nil
	case porcupine.Unknown:
		return fmt.Errorf("lease history: not decided within %v, %d operations", patience, len(ops))
	}
	return fmt.Errorf("lease history: the %d operations cannot be put into an order that the lease allows", len(ops))
}

// TestHistories shows that the check can fail, and what it takes for good.
func TestHistories(t *testing.T) {
	ask := func(from, to int64, c fsm.Command, out outcome) porcupine.Operation {
		return porcupine.Operation{Input: call{[]fsm.Command{c}}, Call: from, Output: out, Return: to}
	}
	read := func(from, to int64, l fsm.Lease) porcupine.Operation {
		return porcupine.Operation{Input: look{}, Call: from, Output: l, Return: to}
	}
	signed := func(at int64, epoch uint64, slot chain.Slot) porcupine.Operation {
		return porcupine.Operation{Input: sign{epoch, slot}, Call: at, Return: at}
	}
	const never = math.MaxInt64
	grant := fsm.Grant{Epoch: 1, Holder: "a", Incarnation: "i", First: 10, Last: 14}
	second := fsm.Grant{Epoch: 2, Holder: "b", Incarnation: "j", First: 15, Last: 20}
	extend := fsm.Extend{Epoch: 1, Incarnation: "i", Last: 16}
	release := fsm.Release{Epoch: 1, Incarnation: "i", Signed: 12}
	transfer := fsm.Transfer{Epoch: 1, Incarnation: "i", Signed: 12, To: "b", ToIncarnation: "j", Last: 17}
	one := fsm.Lease{Epoch: 1, Holder: "a", Incarnation: "i", First: 10, Last: 14}
	wider := one
	wider.Last = 16
	begin := ask(1, 2, grant, outcome{})
	for name, c := range map[string]struct {
		good bool
		ops  []porcupine.Operation
	}{
		"a read after a grant":                    {true, []porcupine.Operation{begin, read(3, 4, one)}},
		"a stale read":                            {false, []porcupine.Operation{begin, ask(3, 4, extend, outcome{}), read(5, 6, one)}},
		"a read while the extension is under way": {true, []porcupine.Operation{begin, ask(3, 9, extend, outcome{}), read(5, 6, one), read(7, 8, wider)}},
		"reads that go back":                      {false, []porcupine.Operation{begin, ask(3, 9, extend, outcome{}), read(5, 6, wider), read(7, 8, one)}},
		"a lost answer that happened":             {true, []porcupine.Operation{begin, ask(3, never, extend, outcome{unknown: true}), read(5, 6, one), read(7, 8, wider)}},
		"a lost answer that never happened":       {true, []porcupine.Operation{begin, ask(3, never, extend, outcome{unknown: true}), read(5, 6, one), ask(7, 8, release, outcome{})}},
		"a second epoch over the first":           {false, []porcupine.Operation{begin, ask(3, 4, fsm.Grant{Epoch: 2, Holder: "b", Incarnation: "j", First: 14, Last: 20}, outcome{})}},
		"a second epoch beyond the first":         {true, []porcupine.Operation{begin, ask(3, 4, second, outcome{}), signed(5, 1, 14), signed(6, 2, 15)}},
		"two grants of one epoch":                 {false, []porcupine.Operation{begin, ask(3, 6, second, outcome{}), ask(4, 7, second, outcome{})}},
		"a refusal without a reason":              {false, []porcupine.Operation{begin, ask(3, 4, extend, outcome{rule: "lease.range"})}},
		"a release that gives back a signed slot": {false, []porcupine.Operation{begin, ask(3, 4, release, outcome{}), signed(5, 1, 13)}},
		"signed, then released":                   {true, []porcupine.Operation{begin, signed(3, 1, 12), ask(4, 5, release, outcome{})}},
		"an extension after a release":            {false, []porcupine.Operation{begin, ask(3, 4, release, outcome{}), ask(5, 6, extend, outcome{})}},
		"a transfer":                              {true, []porcupine.Operation{begin, ask(3, 4, transfer, outcome{}), signed(5, 2, 13), ask(6, 7, extend, outcome{rule: "lease.epoch"})}},
		"the old holder after a transfer":         {false, []porcupine.Operation{begin, ask(3, 4, transfer, outcome{}), signed(5, 1, 13)}},
		"a slot beyond the range":                 {false, []porcupine.Operation{begin, signed(3, 1, 15)}},
		"another incarnation's extension":         {false, []porcupine.Operation{begin, ask(3, 4, fsm.Extend{Epoch: 1, Incarnation: "x", Last: 16}, outcome{})}},
		"a range that is too long":                {false, []porcupine.Operation{ask(1, 2, fsm.Grant{Epoch: 1, Holder: "a", Incarnation: "i", First: 10, Last: 26}, outcome{})}},
	} {
		if err := linearizable(c.ops); (err == nil) != c.good {
			t.Errorf("%s: %v", name, err)
		}
	}
}

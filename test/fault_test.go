package test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"roundtable/drill"
)

// taken waits until another member than this one holds and a block of its time is there, as a third one sees it.
func (b *box) taken(from string, within time.Duration) string {
	b.t.Helper()
	since := drill.SlotNow()
	var to string
	took := eventually(b.t, within, "another holder than "+from, func(ctx context.Context) error {
		for _, m := range b.Members {
			var o drill.Overview
			if m.ID == from || get(ctx, m, "/cluster", &o) != nil {
				continue
			}
			for _, v := range o.Members {
				if to = o.Holder(); to != "" && to != from && v.ID == to && uint64(v.Head.Slot) > since+2 {
					return nil
				}
			}
		}
		return errors.New("nobody has taken over")
	})
	b.t.Logf("%s took over from %s after %v", to, from, took)
	return to
}

// TestPartitions cuts the holder off, both ways and one way, and expects another one to take over within the lease and an
// election, and everybody back after the heal.
func TestPartitions(t *testing.T) {
	if testing.Short() {
		t.Skip("starts real processes")
	}
	b := start(t, drill.Options{Wire: true, Latency: 2 * time.Millisecond})
	for _, way := range []string{"both ways", "outgoing", "incoming"} {
		from := b.overview().Holder()
		holder := b.member(from)
		for _, m := range b.Members {
			if m == holder {
				continue
			}
			var err error
			if way != "incoming" {
				err = b.Cut(holder, m)
			}
			if way != "outgoing" {
				err = errors.Join(err, b.Cut(m, holder))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		t.Logf("%s is cut off, %s", from, way)
		b.taken(from, 20*time.Second)
		if err := b.Heal(); err != nil {
			t.Fatal(err)
		}
		b.settle()
	}
	b.doubles()
}

// doubles fails the test if anything was signed twice or the chain is torn; slots may have been missed.
func (b *box) doubles() {
	b.t.Helper()
	r := b.check()
	if r.Doubled > 0 {
		b.t.Errorf("%d slots were signed twice", r.Doubled)
	}
	b.t.Logf("%d slots due, %d missed", r.SlotsDue, r.Missed.Total)
}

// TestFaultsOfTheHolder does to the holder what a sandbox can do to one process: each time another one takes over, and
// everybody is well again in the end.
func TestFaultsOfTheHolder(t *testing.T) {
	if testing.Short() {
		t.Skip("starts real processes")
	}
	b := start(t, drill.Options{})
	for _, f := range []struct {
		name     string
		do, undo func(m *drill.Member) error
	}{
		{"step of the clock", func(m *drill.Member) error { return b.StepClock(m, 10*time.Second) }, func(m *drill.Member) error { return b.ResetClock(m) }},
		{"stall of the disk", func(m *drill.Member) error { return b.StallDisk(m) }, func(m *drill.Member) error { return b.UnstallDisk(m) }},
		{"freeze", func(m *drill.Member) error { return b.Freeze(m, drill.Both) }, func(m *drill.Member) error { return b.Thaw(m, drill.Both) }},
		{"hang of the node", func(m *drill.Member) error { return b.HangNode(t.Context(), m, 8*time.Second) }, nil},
		{"exit of the node", func(m *drill.Member) error { return b.NodeExit(t.Context(), m) }, nil},
	} {
		from := b.overview().Holder()
		m := b.member(from)
		if err := f.do(m); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s at %s", f.name, from)
		b.taken(from, 20*time.Second)
		if f.undo != nil {
			if err := f.undo(m); err != nil {
				t.Fatal(err)
			}
		}
		if f.name == "step of the clock" { // it sealed the gate, and the way back is a step, too: the manager ends twice
			eventually(t, 10*time.Second, "the end of a manager whose clock jumped", func(context.Context) error {
				if m.Running() {
					return errors.New("it runs")
				}
				return nil
			})
		}
		if !m.Running() {
			if err := b.StartMember(m); err != nil {
				t.Fatal(err)
			}
		}
		b.settle()
	}
	b.doubles()
}

// TestSigners lets the holder's signer hang and die: another member signs, and when the signer is back the member is
// well again.
func TestSigners(t *testing.T) {
	if testing.Short() {
		t.Skip("starts real processes")
	}
	b := start(t, drill.Options{Keosd: true})
	for name, do := range map[string]func(m *drill.Member) error{
		"hang": b.HangSigner, "death": b.KillSigner, "slowness": func(m *drill.Member) error { return b.SlowSigner(m, time.Second) },
	} {
		from := b.overview().Holder()
		m := b.member(from)
		if err := do(m); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s of the signer of %s", name, from)
		b.taken(from, 20*time.Second)
		if err := b.HealSigner(m); err != nil {
			t.Fatal(err)
		}
		b.settle()
	}
	b.doubles()
}

// TestProducers runs chains of which one producer is ours: the members' nodes follow the chain of the others, and every
// producer's blocks come; of 21, whose round takes two minutes, those of the first ones.
func TestProducers(t *testing.T) {
	if testing.Short() {
		t.Skip("starts real processes")
	}
	for producers, seen := range map[int]int{3: 3, 21: 3} {
		b := start(t, drill.Options{Producers: producers, Wire: true})
		if n := len(b.Schedule()); n != producers {
			t.Fatalf("the schedule has %d producers, not %d", n, producers)
		}
		round := time.Duration(producers) * 6 * time.Second
		eventually(t, 2*round, fmt.Sprintf("blocks of %d producers", seen), func(ctx context.Context) error {
			chain, err := b.Chain(ctx, 2)
			if err != nil {
				return err
			}
			who := map[string]bool{}
			for _, block := range chain {
				who[block.Producer] = true
			}
			if len(who) < seen {
				return fmt.Errorf("only of %v", who)
			}
			return nil
		})
		stop, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		if err := b.Close(stop); err != nil {
			t.Error(err)
		}
		cancel()
	}
}

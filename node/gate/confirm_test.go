package gate

import (
	"errors"
	"testing"

	"roundtable/chain"
)

// TestConfirm: a block on the chain is this gate's own only with a signature that this gate gave [S10].
func TestConfirm(t *testing.T) {
	g := newGate(t, nil)
	n := openNode(t, g)
	g.Permit(Permit{1, base, base + 9})
	n.announce(7, base+1)
	if got := n.ask("d"); got != "" {
		t.Fatal(got)
	}
	given := g.answers[base+1]
	if len(given) != 1 {
		t.Fatalf("signatures kept: %v", given)
	}
	ours := chain.Block{Num: 7, Slot: base + 1, ID: "00000007aa"}
	if err := g.Produced(7, "forged", base+1); err != nil { // hearsay came first
		t.Fatal(err)
	}
	if err := g.Confirm(ours, given[0]); err != nil {
		t.Fatal(err)
	}
	if s := g.Status(); s.Confirmed != ours || s.Last.ID != ours.ID {
		t.Errorf("after the confirmation: %+v", s)
	}
	if err := g.Confirm(ours, "SIG_K1_other"); !errors.Is(err, ErrMismatch) {
		t.Errorf("another signature: %v", err)
	}
	if err := g.Confirm(chain.Block{Num: 8, Slot: base + 1}, given[0]); !errors.Is(err, ErrMismatch) {
		t.Errorf("another height: %v", err)
	}
	if err := g.Confirm(chain.Block{Num: 8, Slot: base + 2}, "SIG_K1_other"); err != nil {
		t.Errorf("a slot that was not signed here: %v", err)
	}
	if s := g.Status(); s.Confirmed != ours {
		t.Errorf("a mismatch changed what is confirmed: %+v", s.Confirmed)
	}
}

package test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"roundtable/chain"
	"roundtable/drill"
	"roundtable/test/stranger"
)

// logLine is a line of nodeos' log to the letter.
func logLine(level, thread, file, method, message string) string {
	cut := func(s string, n int) string { return fmt.Sprintf("%-*.*s", n, n, s) }
	return cut(level, 5) + " " + time.Now().UTC().Format("2006-01-02T15:04:05.000") + " " + cut(thread, 9) + " " + cut(file, 29) + " " + cut(method, 20) + " ] " + message
}

// forgery is the text of all that nodeos says before it asks for a signature, and of a block produced, for a slot of the
// attacker's choice, each on a line of its own.
func forgery(num uint32, slot chain.Slot, id string) string {
	at := time.UnixMilli(slot.UnixMilli()).UTC().Format("2006-01-02T15:04:05.000")
	return "\n" + logLine("debug", "nodeos", "producer_plugin.cpp:2086", "start_block", fmt.Sprintf("Starting block #%d %s producer bp, deadline %s", num, at, at)) +
		"\n" + logLine("debug", "nodeos", "producer_plugin.cpp:2750", "operator()", fmt.Sprintf("Produce block timer for %d running at %s", num, at)) +
		"\n" + logLine("info", "nodeos", "producer_plugin.cpp:2785", "produce_block", fmt.Sprintf("Produced block %s... #%d @ %s signed by bp [trxs: 0, lib: 1, confirmed: 0, net: 0, cpu: 100, elapsed: 100, time: 100]", id, num, at)) +
		"\n"
}

// TestForgedLine lets a stranger connect to the nodes of the holder and of a standby again and again, with newlines and
// perfect slot lines in every text that a handshake carries. nodeos prints them as they are, unescaped. The gates must not
// be moved: no slot missed, none signed out of turn, no reach that follows the forged slots, nothing sealed.
func TestForgedLine(t *testing.T) {
	t.Parallel()
	b := start(t, drill.Options{LogLevel: "debug"})
	o := b.overview()
	holder := b.member(o.Holder())
	standby := b.other(holder.ID)
	refused, err := metric(t.Context(), holder, "roundtable_gate_refused_total")
	if err != nil {
		t.Fatal(err)
	}
	attacks := 0
	until := drill.SlotNow() + 16 // longer than a window
	for drill.SlotNow() < until {
		now := chain.Slot(drill.SlotNow())
		head := b.overview().Members[0].Head.Num
		for ahead := range chain.Slot(12) {
			for _, victim := range []*drill.Member{holder, standby} {
				if err := stranger.Attack(t.Context(), victim, forgery(head+1+uint32(ahead%3), now+ahead, o.ChainID[:16])); err != nil {
					t.Fatal(err)
				}
				attacks++
			}
		}
		v := b.overview()
		if v.Lease.Epoch != o.Lease.Epoch || v.Holder() != holder.ID {
			t.Fatalf("the lease moved from epoch %d to %d, to %s: %s", o.Lease.Epoch, v.Lease.Epoch, v.Lease.Holder, v.Lease.Reason)
		}
		if v.Lease.SlotsLeft > 6 { // L and one: the reach follows the block that is really started
			t.Errorf("the lease reaches %d slots ahead: a forged slot moved it", v.Lease.SlotsLeft)
		}
		for _, m := range v.Members {
			if m.Sealed != "" || m.Doubled != 0 {
				t.Errorf("%s: sealed %q, doubled %d", m.ID, m.Sealed, m.Doubled)
			}
		}
	}
	t.Logf("%d forged handshakes", attacks)
	for _, m := range []*drill.Member{holder, standby} {
		if len(grep(t, m.Home, "forger-"+m.ID)) == 0 {
			t.Errorf("nothing of the forgeries came into the log of %s: the attack tried nothing", m.ID)
		}
	}
	now, err := metric(t.Context(), holder, "roundtable_gate_refused_total")
	if err != nil || now != refused {
		t.Errorf("refused %v before and %v after, %v", refused, now, err)
	}
	if given, err := metric(t.Context(), standby, "roundtable_gate_signatures_total"); err != nil || given != 0 {
		t.Errorf("the standby's gate gave %v signatures, %v", given, err)
	}
	if ledger, err := os.ReadFile(filepath.Join(standby.Home, "ledger.jsonl")); err == nil && len(ledger) > 0 {
		t.Errorf("the standby signed: %s", ledger)
	}
	if r := b.check(); r.Missed.Total != 0 {
		t.Errorf("%d of %d slots were missed", r.Missed.Total, r.SlotsDue)
	}
}

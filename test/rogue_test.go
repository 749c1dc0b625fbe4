package test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"roundtable/drill"
	"roundtable/test/stranger"
)

// TestRogueSigner starts a node outside of the cluster that has the producer's key and signs every slot. Nothing can keep
// it from that; but the members notice blocks of theirs that they did not sign: an alarm in the history, a count, and the
// gate of whoever saw it closed for good.
func TestRogueSigner(t *testing.T) {
	t.Parallel()
	b := start(t, drill.Options{})
	stranger.Rogue(t, b.Sandbox, filepath.Join(built, "simnodeos"))
	took := eventually(t, 30*time.Second, "the alarm", func(ctx context.Context) error {
		doubled, sealed := 0.0, ""
		for _, m := range b.Members {
			n, err := metric(ctx, m, "roundtable_slots_doubled_total")
			if err != nil {
				return err
			}
			doubled += n
		}
		o, err := b.Overview(ctx)
		if err != nil {
			return err
		}
		for _, m := range o.Members {
			sealed += m.Sealed
		}
		a, err := ask(ctx, b.Members[0], http.MethodGet, "/cluster/history", "")
		if err != nil {
			return err
		}
		if alarm := strings.Contains(string(a.body), "alarm.doubled"); doubled == 0 || sealed == "" || !alarm {
			return fmt.Errorf("doubled %v, sealed %q, an alarm: %v", doubled, sealed, alarm)
		}
		return nil
	})
	t.Logf("noticed after %v", took.Round(time.Millisecond))
	ledger, err := drill.ReadLedgers(b.Ledgers())
	if err != nil {
		t.Fatal(err)
	}
	if d := drill.Doubles(ledger); len(d) > 0 {
		t.Errorf("the members themselves signed slots twice: %v", d)
	}
	eventually(t, 5*time.Second, "a closed gate", func(ctx context.Context) error {
		o, err := b.Overview(ctx)
		if err != nil {
			return err
		}
		for _, v := range o.Members {
			if v.Sealed == "" {
				continue
			}
			open, err := metric(ctx, b.member(v.ID), "roundtable_gate_open")
			if err != nil || open != 0 || v.Fit {
				return errors.Join(err, fmt.Errorf("%s is sealed: gate open %v, fit %v", v.ID, open, v.Fit))
			}
		}
		return nil
	})
}

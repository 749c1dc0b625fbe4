package test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"roundtable/drill"
	"roundtable/node/k1"
)

// TestRogueSigner starts a node outside of the cluster that has the producer's key and signs every slot. Nothing can keep
// it from that; but the members notice blocks of theirs that they did not sign: an alarm in the history, a count, and the
// gate of whoever saw it closed for good.
func TestRogueSigner(t *testing.T) {
	t.Parallel()
	b := start(t, drill.Options{})
	b.rogue()
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

// rogue starts a node with the producer's key as KEY:, connected to every member's node.
func (b *box) rogue() {
	b.t.Helper()
	text, err := os.ReadFile(b.keyFile())
	if err != nil {
		b.t.Fatal(err)
	}
	wif := strings.TrimSpace(string(text))
	key, err := k1.ParsePrivate(wif)
	if err != nil {
		b.t.Fatal(err)
	}
	http, err1 := drill.FreePort()
	p2p, err2 := drill.FreePort()
	if err := errors.Join(err1, err2); err != nil {
		b.t.Fatal(err)
	}
	dir := b.t.TempDir()
	args := []string{
		"--config-dir", dir, "--data-dir", filepath.Join(dir, "data"), "--genesis-json", filepath.Join(b.Dir, "genesis.json"),
		"--plugin", "eosio::producer_plugin", "--plugin", "eosio::chain_api_plugin", "--plugin", "eosio::net_plugin", "--agent-name", "rogue",
		"--producer-name", b.Producer, "--signature-provider", key.Public().String() + "=KEY:" + wif, "--sim-schedule", b.Producer,
		"--sim-clock-offset", "300ms", // ahead of the holder, so that the others see its blocks first
		"--http-server-address", fmt.Sprintf("127.0.0.1:%d", http), "--p2p-listen-endpoint", fmt.Sprintf("127.0.0.1:%d", p2p),
	}
	for _, m := range b.Members {
		args = append(args, "--p2p-peer-address", m.P2P())
	}
	c := exec.CommandContext(b.t.Context(), filepath.Join(built, "simnodeos"), args...) // killed at the test's end
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		b.t.Fatal(err)
	}
	c.Stdout, c.Stderr = log, log
	if err := c.Start(); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() {
		_ = c.Wait()
		log.Close()
		if b.t.Failed() {
			if text, err := os.ReadFile(log.Name()); err == nil {
				b.t.Logf("the rogue said:\n%s", text[max(0, len(text)-3000):])
			}
		}
	})
}

// Package stranger is what comes from outside of a cluster in tests of real processes: a node that signs with a stolen key,
// and a peer that puts lines into a node's log.
package stranger

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"roundtable/cmd/simnodeos/sim"
	"roundtable/drill"
	"roundtable/node/k1"
)

// Rogue starts a node outside of the cluster, until the test's end: it has the producer's key as KEY:, is connected to every
// member's node and signs every slot. program is simnodeos.
func Rogue(t *testing.T, s *drill.Sandbox, program string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(s.Dir, "producer.key"))
	if err != nil {
		t.Fatal(err)
	}
	wif := strings.TrimSpace(string(text))
	key, err := k1.ParsePrivate(wif)
	if err != nil {
		t.Fatal(err)
	}
	http, err1 := drill.FreePort()
	p2p, err2 := drill.FreePort()
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	args := []string{
		"--config-dir", dir, "--data-dir", filepath.Join(dir, "data"), "--genesis-json", filepath.Join(s.Dir, "genesis.json"),
		"--plugin", "eosio::producer_plugin", "--plugin", "eosio::chain_api_plugin", "--plugin", "eosio::net_plugin", "--agent-name", "rogue",
		"--producer-name", s.Producer, "--signature-provider", key.Public().String() + "=KEY:" + wif, "--sim-schedule", s.Producer,
		"--sim-clock-offset", "300ms", // ahead of the holder, so that the others see its blocks first
		"--http-server-address", fmt.Sprintf("127.0.0.1:%d", http), "--p2p-listen-endpoint", fmt.Sprintf("127.0.0.1:%d", p2p),
	}
	for _, m := range s.Members {
		args = append(args, "--p2p-peer-address", m.P2P())
	}
	c := exec.CommandContext(t.Context(), program, args...) // killed at the test's end
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	c.Stdout, c.Stderr = log, log
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Wait()
		log.Close()
		if t.Failed() {
			if text, err := os.ReadFile(log.Name()); err == nil {
				t.Logf("the rogue said:\n%s", text[max(0, len(text)-3000):])
			}
		}
	})
}

// Attack connects to a member's node with a handshake that carries the text, and a message that makes the node print it.
func Attack(ctx context.Context, m *drill.Member, text string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	c, err := new(net.Dialer).DialContext(ctx, "tcp", m.P2P())
	if err != nil {
		return err
	}
	defer c.Close()
	deadline, _ := ctx.Deadline()
	if err := c.SetDeadline(deadline); err != nil {
		return err
	}
	theirs, err := sim.ReadHandshake(c)
	if err != nil {
		return err
	}
	ours := theirs
	_, _ = rand.Read(ours.NodeID[:])
	ours.P2PAddress, ours.Agent, ours.OS = "forger-"+m.ID+text, "forger"+text, "linux"+text
	if err := sim.WriteHandshake(c, ours); err != nil {
		return err
	}
	const goAway = 2 // which nodeos logs with the peer's name and the reason that it gives
	body, err := json.Marshal(map[string]string{"reason": "forger" + text})
	if err != nil {
		return err
	}
	return sim.WriteMessage(c, goAway, json.RawMessage(body))
}

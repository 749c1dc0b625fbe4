package manager

import (
	"context"
	"errors"
	"fmt"
	"time"

	"roundtable/chain"
	"roundtable/fsm"
	"roundtable/node"
)

// lookPeers is how often a proof that lacks peers looks again.
const lookPeers = 250 * time.Millisecond

// Prove returns once the node is proved back; peers says whether its p2p peers are as they must be.
func (h *home) Prove(ctx context.Context, best func() chain.Slot, peers func() bool, say func(percent int, text string)) error {
	err := node.Prove(ctx, node.ProveConfig{
		Monitor: h.monitor, Now: h.now, Best: func() chain.Block { return chain.Block{Slot: best()} },
		Progress: func(text string) { say(proofPercent(text), text) },
	})
	if err != nil {
		return err
	}
	again := time.NewTicker(lookPeers)
	defer again.Stop()
	for !peers() {
		say(90, "it has no p2p peers yet")
		select {
		case <-again.C:
		case <-ctx.Done():
			return fmt.Errorf("manager: the node is not proved back: it has no p2p peers: %w", ctx.Err())
		}
	}
	say(100, "it is back")
	return nil
}

// proofPercent is how far a proof is that says "block 3 of 5".
func proofPercent(text string) int {
	var n, of int
	if _, err := fmt.Sscanf(text, "block %d of %d", &n, &of); err != nil || of <= 0 {
		return 0
	}
	return min(max(n*90/of, 0), 90)
}

// Stage makes a version ready.
func (h *home) Stage(context.Context, fsm.Upgrade, func(percent int, text string)) (string, error) {
	return "", errNotYet
}

// Ready runs the hook.
func (h *home) Ready(context.Context, fsm.Upgrade) error { return errNotYet }

// Snapshot makes a chain snapshot.
func (h *home) Snapshot(context.Context) (string, error) { return "", errNotYet }

// Arm tells nodeos to stop at a block.
func (h *home) Arm(context.Context, uint32) error { return errNotYet }

// Disarm takes it back.
func (h *home) Disarm(context.Context) error { return errNotYet }

// Triggered asks the node.
func (h *home) Triggered(context.Context, fsm.Upgrade) (bool, string, error) {
	return false, "", errNotYet
}

var errNotYet = errors.New("manager: there are no versions in this program yet")

package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

// Alive returns nil when this member's disk answers and raft's main loop does: whoever leads, and whether anybody does, is
// not asked. It blocks for as long as the main loop does not turn, and when ctx ends first it leaves a goroutine behind that
// waits on: so not for a hot loop, and one call at a time.
func (c *Cluster) Alive(ctx context.Context) error {
	if busy := c.disk.busy(); c.disk.stalled.Load() {
		return fmt.Errorf("%w for %v", ErrStalled, busy.Round(time.Millisecond))
	}
	// The main loop answers this itself in every state; what it answers does not matter.
	err := c.wait(ctx, func() raft.Future { return c.raft.VerifyLeader() })
	if ctx.Err() != nil || errors.Is(err, raft.ErrRaftShutdown) {
		return fmt.Errorf("cluster: raft's main loop: %w", err)
	}
	return nil
}

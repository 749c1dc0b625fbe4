package cluster

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"roundtable/pulse"
)

const canaryEvery = 500 * time.Millisecond

// disk guards against a disk that does not answer. Raft alone does not: a leader whose writes hang goes on sending
// heartbeats, so nobody else is elected, and nothing is committed. Two things are watched: a canary of our own (one write
// and sync in the same folder, on its own goroutine) and the write that raft's main loop has under way.
type disk struct {
	canary  func() error
	watch   *ioWatch
	now     func() time.Time
	began   atomic.Int64 // Unix ns of the canary's write under way
	stalled atomic.Bool
	failed  atomic.Uint64 // canary writes that ended with an error
}

// busy is the longest time that something has been waiting for the disk.
func (d *disk) busy() time.Duration {
	busy := d.watch.busy()
	if began := d.began.Load(); began != 0 {
		busy = max(busy, d.now().Sub(time.Unix(0, began)))
	}
	return busy
}

// sing writes the canary until ctx ends, but not where raft wrote and synced as lately: that tells as much. It may hang in
// a write for as long as the disk does.
func (d *disk) sing(ctx context.Context) {
	written := d.watch.done.Load()
	for {
		d.began.Store(d.now().UnixNano())
		if err := d.canary(); err != nil {
			d.failed.Add(1)
		}
		d.began.Store(0)
		for quiet := false; !quiet; {
			if !sleep(ctx, pulse.Next(canaryEvery)) {
				return
			}
			quiet, written = d.watch.done.Load() == written, d.watch.done.Load()
		}
	}
}

// guardDisk notes stalls and, on a leader, gives the leadership away; where raft's main loop is stuck, too, this process
// cannot give it away and must end: its heartbeats keep the others from electing.
func (c *Cluster) guardDisk(ctx context.Context) {
	every := pulse.Fit(tick, c.cfg.StallAfter/2)
	timer := time.NewTimer(every)
	defer timer.Stop()
	for {
		timer.Reset(pulse.Next(every))
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		busy := c.disk.busy()
		stalled := busy > c.cfg.StallAfter
		if c.disk.stalled.Swap(stalled) != stalled {
			if stalled {
				c.log.Error("disk stalled", "for", busy, "leader", c.IsLeader())
			} else {
				c.log.Info("disk answers again")
			}
			poke(c.gossip.publish) // the others should know
		}
		if stalled && c.raft.State() == raft.Leader && len(c.otherVoters()) > 0 {
			c.abdicate(ctx, busy)
		}
		if c.leadership.abdicated.Load() {
			return // the process is about to end
		}
	}
}

// abdicate gives the leadership away for a stalled disk, or ends the process.
func (c *Cluster) abdicate(ctx context.Context, busy time.Duration) {
	tctx, cancel := context.WithTimeout(ctx, c.cfg.StallAfter/2)
	defer cancel()
	err := c.wait(tctx, c.raft.LeadershipTransfer)
	if ctx.Err() != nil || c.raft.State() != raft.Leader {
		c.log.Warn("leadership given away: the disk is stalled", "for", busy)
		return
	}
	if c.disk.busy() < c.cfg.StallAfter {
		return // it answers again
	}
	if tctx.Err() == nil {
		c.log.Warn("leadership not given away, trying again", "err", err) // raft answers: its main loop is alive
		return
	}
	c.fatal(fmt.Errorf("%w for %v: raft's main loop does not answer and this member leads", ErrStalled, busy.Round(time.Millisecond)))
}

// otherVoters are the voters beside this member.
func (c *Cluster) otherVoters() []raft.Server {
	var out []raft.Server
	for _, s := range c.servers() {
		if s.Suffrage == raft.Voter && string(s.ID) != c.cfg.ID {
			out = append(out, s)
		}
	}
	return out
}

// fatal ends this member's leadership here and now, as far as this package can, and has the process exit.
func (c *Cluster) fatal(err error) {
	c.fatalOnce.Do(func() {
		c.log.Error("fatal: this process must exit", "err", err)
		c.leadership.abdicated.Store(true)
		c.leadership.set(standing{})
		go c.cfg.OnFatal(err)
	})
}

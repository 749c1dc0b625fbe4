package node

import (
	"context"
	"fmt"
	"time"

	"roundtable/chain"
)

const (
	proofBlocks = 5                      // blocks in a row
	proofBehind = 2                      // slots that the head may be behind the best one
	proofSlack  = 750 * time.Millisecond // how far from its due time a block may come
	proofJump   = 6                      // heights between two heads seen that are still in a row: blocks may come closer than they are looked at
	proofSilent = 13 * chain.SlotMillis * time.Millisecond
)

// Proof proves that a node is back after a start: it runs and answers, its head is within two slots of the best one known, it has
// the p2p peers asked for, and five blocks in a row came as a live chain's come and not as those of somebody catching up. It is
// fed with what a Monitor sees, has no clock of its own, and belongs to one goroutine. The zero Proof is ready.
//
// A block counts if it came no later than 750 ms after its own timestamp, or, since clocks differ, if it came as long after the
// first one counted as its slot is after that one's, give or take 750 ms. Blocks of a live chain leave 37 to 450 ms before their
// timestamps (FACT 29), so two of them may come 0.9 s apart; a slot that somebody missed moves the time and the slot alike and so
// breaks nothing; and the full blocks of a busy chain, which come up to twelve slots early, are in time as well. Blocks fetched
// from a peer come as fast as they can be applied: they are late, and each is half a second nearer to the first than its slot
// says, so at the third of them the count starts anew. It does so too after a fork switch and when the node went down.
type Proof struct {
	Blocks int // how many; 0 = 5
	Peers  int // p2p peers that it must have; 0 = none are needed

	base, last  chain.Block // the head that the count began after, and the last one seen
	since, came time.Time   // when they came
	count       int
	why         string // why the count began anew, "" if it did not
}

// See takes what is known now: the node's view, and the best head of the other members (no slot: none is known). It says whether the
// node is proved, and if not, how far it is or what is missing. To see the same view again is no harm, and tells a chain that
// stands still.
func (p *Proof) See(v *View, best chain.Block, now time.Time) (proved bool, progress string) {
	want := p.Blocks
	if want == 0 {
		want = proofBlocks
	}
	if !v.Running {
		p.start(chain.Block{}, now, "")
		return false, v.Reason
	}
	near := v.Head.Slot+proofBehind >= best.Slot
	if v.Head != p.last {
		p.head(v.Head, v.HeadAt, near)
	}
	silent := now.Sub(p.came)
	switch {
	case !v.Healthy:
		return false, v.Reason
	case !near:
		return false, fmt.Sprintf("its head #%d is %d slots behind the best", v.Head.Num, best.Slot-v.Head.Slot)
	case p.Peers > 0 && !v.PeersKnown:
		return false, "its p2p peers are not known yet"
	case v.Peers < p.Peers:
		return false, fmt.Sprintf("%d of %d p2p peers", v.Peers, p.Peers)
	case silent >= proofSilent:
		return false, fmt.Sprintf("no block for %s: the chain stands still at #%d, or this node gets none of its blocks", silent.Truncate(time.Second), v.Head.Num)
	case p.count == 0 && p.why != "":
		return false, fmt.Sprintf("block 0 of %d: %s", want, p.why)
	case p.count < want:
		return false, fmt.Sprintf("block %d of %d", p.count, want)
	}
	return true, fmt.Sprintf("block %d of %d", want, want)
}

// head takes a new head.
func (p *Proof) head(b chain.Block, at time.Time, near bool) {
	last := p.last
	p.last, p.came = b, at
	late := at.Sub(time.UnixMilli(b.Slot.UnixMilli()))
	drift := at.Sub(p.since) - time.Duration(b.Slot-p.base.Slot)*chain.SlotMillis*time.Millisecond
	switch {
	case last.Slot == 0: // the head it came up with did not come
		p.start(b, at, "")
	case !near:
		p.start(b, at, "it is catching up")
	case b.Num <= last.Num || b.Slot <= last.Slot:
		p.start(b, at, "a fork switch")
	case b.Num > last.Num+proofJump, late > proofSlack && drift < -proofSlack:
		p.start(b, at, "blocks come in a burst, it is catching up")
	case late > proofSlack && drift > proofSlack:
		p.start(b, at, "the last block came late")
	default:
		p.count++
	}
}

// start begins the count anew, after a head.
func (p *Proof) start(b chain.Block, at time.Time, why string) {
	p.base, p.last, p.since, p.came, p.count, p.why = b, b, at, at, 0, why
}

// ProveConfig configures Prove.
type ProveConfig struct {
	Monitor interface { // a *Monitor
		View() (*View, <-chan struct{})
	}
	Best     func() chain.Block // the best head of the other members; nil = none is known
	Proof    Proof              // what is asked for
	Progress func(text string)  // gets each new text of See; nil = nobody
	Now      func() time.Time   // the Monitor's; nil = time.Now
}

// Prove waits until the node is proved back. Otherwise it ends with ctx: the error wraps ctx's and tells what was missing. Whether it is
// the right process that answers is the caller's to know: Supervisor.Start and Restart return when it is.
func Prove(ctx context.Context, cfg ProveConfig) error {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	again := time.NewTicker(time.Second) // what time alone tells, and a best head that moved
	defer again.Stop()
	for told := ""; ; {
		v, changed := cfg.Monitor.View()
		var best chain.Block
		if cfg.Best != nil {
			best = cfg.Best()
		}
		proved, text := cfg.Proof.See(v, best, cfg.Now())
		if text != told && cfg.Progress != nil {
			cfg.Progress(text)
		}
		if told = text; proved {
			return nil
		}
		select {
		case <-changed:
		case <-again.C:
		case <-ctx.Done():
			return fmt.Errorf("node: it is not proved back: %s: %w", text, ctx.Err())
		}
	}
}

package control

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"roundtable/chain"
	"roundtable/fsm"
	"roundtable/logkey"
)

// suspectSlots is how long a block of ours may lie outside every range that this member has applied before it is an
// alarm: a member that lags sees the block before the grant.
const suspectSlots = 8

// watchController compares every block of ours on the chain, as the local node sees it through its API, with what the
// cluster could have signed, with what this gate signed, and with what the other members say they signed [S10]: a mismatch
// closes the gate for good. What is said by gossip is hearsay, for which no gate is closed: the member is asked itself, and if it
// does not stand by it, or does not answer, it is an alarm only.
type watchController struct {
	*Manager
	log *slog.Logger

	mu      sync.Mutex
	pending []seenBlock
	recent  []seenBlock // the newest of ours that nothing was wrong with; only for Reconcile
	alarmed time.Time   // when hearsay was an alarm last; only for Reconcile
}

type seenBlock struct {
	block    chain.Block
	producer string
	problem  string // what is known to be wrong with it
}

// recentBlocks are looked at again, for the others tell a little later what they signed.
const recentBlocks = 16

// Name is the controller's.
func (*watchController) Name() string { return "watch" }

// saw takes a block of the local node's chain.
func (c *watchController) saw(b chain.Block, producer string) {
	c.add(seenBlock{block: b, producer: producer})
}

// add never blocks. Bounded: the newest 1024 wait for their check.
func (c *watchController) add(b seenBlock) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.pending) >= 1024 {
		c.pending = c.pending[1:]
	}
	c.pending = append(c.pending, b)
}

// Reconcile checks the blocks seen.
func (c *watchController) Reconcile(ctx context.Context, s *fsm.State) (time.Duration, error) {
	c.mu.Lock()
	pending := c.pending
	c.pending = nil
	c.mu.Unlock()
	if len(pending)+len(c.recent) == 0 {
		return 0, nil
	}
	told := c.told(s)
	c.again(ctx, told)
	var later, suspects []seenBlock
	for _, b := range pending {
		if !s.Cluster.Ours(b.producer) {
			continue
		}
		if b.problem == "" {
			b.problem = c.contradicted(b.block)
		}
		switch {
		case b.problem != "":
			c.alarm(ctx, b, b.problem)
		case signable(s, b.block) && c.doubted(ctx, b, told):
		case signable(s, b.block):
			c.recent = append(c.recent, b)
		case c.slotNow() < b.block.Slot+suspectSlots:
			later = append(later, b)
		default:
			suspects = append(suspects, b)
		}
	}
	if len(suspects) > 0 {
		// A member that is cut off, or just started and reads its log, sees on the chain what it has not applied yet. An
		// alarm seals the gate for good: this one must rest on a state that does not lag.
		try, cancel := context.WithTimeout(ctx, time.Second)
		if err := c.cluster.Barrier(try); err != nil {
			later, suspects = append(later, suspects...), nil
		}
		cancel()
		s, _ = c.cluster.View()
	}
	for _, b := range suspects {
		if !signable(s, b.block) {
			c.alarm(ctx, b, fmt.Sprintf("block %d %s in slot %d: no epoch could sign it", b.block.Num, b.block.ID, b.block.Slot))
		}
	}
	if len(later) > 0 {
		c.mu.Lock()
		c.pending = append(later, c.pending...)
		c.mu.Unlock()
	}
	return 0, nil
}

// again looks at the newest good blocks with what the others have told meanwhile.
func (c *watchController) again(ctx context.Context, told []signedBlock) {
	if n := len(c.recent); n > recentBlocks {
		c.recent = slices.Delete(c.recent, 0, n-recentBlocks)
	}
	c.recent = slices.DeleteFunc(c.recent, func(b seenBlock) bool {
		if problem := c.contradicted(b.block); problem != "" {
			c.alarm(ctx, b, problem)
			return true
		}
		return c.doubted(ctx, b, told)
	})
}

// signable reports whether some epoch could sign the block, as far as the state remembers.
func signable(s *fsm.State, b chain.Block) bool {
	ok, known := s.Signable(b.Slot)
	return ok || !known
}

// fullID is the length of a block id that was signed itself (Savanna). A shorter one was read from nodeos' stderr, where a
// peer's text can forge a line [S5]: no gate may be sealed for that.
const fullID = 64

// signedBlock is a block that another member signed.
type signedBlock struct {
	by string
	chain.Block
}

// told is what the other members say they signed last, where the lease was theirs to sign it. Whoever has the key of gossip can
// say anything in a member's name, so it is a hint at best.
func (c *watchController) told(s *fsm.State) []signedBlock {
	var list []signedBlock
	peers := c.cluster.Peers()
	for _, id := range s.MemberIDs() {
		r := peers[id].Report
		for _, b := range []chain.Block{r.Signed, r.Confirmed} {
			if id != c.id && heldBy(s, id, r.Incarnation, b.Slot) {
				list = append(list, signedBlock{id, b})
			}
		}
	}
	return list
}

// heldBy reports whether a slot lies in a lease of that process of a member.
func heldBy(s *fsm.State, id, incarnation string, slot chain.Slot) bool {
	holds := func(l fsm.Lease) bool {
		return l.Holder == id && l.Incarnation == incarnation && l.First <= slot && slot <= l.Last
	}
	return holds(s.Lease) || slices.ContainsFunc(s.Past, holds)
}

// contradicted says how a block differs from what this gate signed for its slot; "" if it does not. The height comes from the
// line that the gate trusts.
func (c *watchController) contradicted(b chain.Block) string {
	if own := c.gate.View().Signed.Block; differs(own, b) {
		return fmt.Sprintf("block %d %s in slot %d: this gate signed block %d %s for it", b.Num, b.ID, b.Slot, own.Num, own.ID)
	}
	return ""
}

// hearsayEvery is how often hearsay is an alarm.
const hearsayEvery = time.Minute

// doubted reports whether another member says that it signed another block for the slot. That is counted, and an alarm; a gate is
// closed for it only if the member itself says so, over a stream of its own.
func (c *watchController) doubted(ctx context.Context, b seenBlock, told []signedBlock) bool {
	i := slices.IndexFunc(told, func(g signedBlock) bool { return differs(g.Block, b.block) })
	if i < 0 {
		return false
	}
	g := told[i]
	if c.gate.View().Sealed == "" {
		blocks, err := c.cluster.Signed(ctx, g.by, b.block.Slot)
		if err != nil {
			c.log.Debug("not asked what it signed", logkey.Peer, g.by, logkey.Err, err)
		}
		if j := slices.IndexFunc(blocks, func(own chain.Block) bool { return differs(own, b.block) }); j >= 0 {
			c.alarm(ctx, b, fmt.Sprintf("block %d %s in slot %d: member %s signed block %d %s for it", b.block.Num, b.block.ID, b.block.Slot, g.by, blocks[j].Num, blocks[j].ID))
			return true
		}
	}
	c.doubled.Add(1)
	if now := c.now(); now.Sub(c.alarmed) >= hearsayEvery {
		c.alarmed = now
		problem := fmt.Sprintf("block %d %s in slot %d: by gossip member %s signed block %d %s for it; no gate is closed for that", b.block.Num, b.block.ID, b.block.Slot, g.by, g.Num, g.ID)
		c.log.Error("a block of ours that a member says it signed differently", "problem", problem, "producer", b.producer)
		c.raise(ctx, b, "told", problem)
	}
	return true
}

// differs reports whether the block on the chain cannot be the one that was signed for its slot.
func differs(signed, b chain.Block) bool {
	return signed.Slot == b.Slot && (signed.Num != b.Num || len(signed.ID) == fullID && !chain.SameID(signed.ID, b.ID))
}

// alarm closes the gate for good, counts, and puts the finding into the history for everybody.
func (c *watchController) alarm(ctx context.Context, b seenBlock, problem string) {
	c.doubled.Add(1)
	c.gate.Seal(problem)
	c.log.Error("a block of ours that this cluster did not sign, or signed differently", "problem", problem, "producer", b.producer)
	c.raise(ctx, b, "doubled", problem)
}

// raise puts an alarm about a block into the history, once for all members.
func (c *watchController) raise(ctx context.Context, b seenBlock, key, problem string) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if _, err := c.cluster.Propose(ctx, fsm.RaiseAlarm{Name: "doubled", Subject: b.producer, Text: problem}, fmt.Sprintf("%s-%d-%s", key, b.block.Slot, b.block.ID)); err != nil {
		c.log.Error("the alarm did not reach the history", "err", err)
	}
}

package cluster

import (
	"context"
	"errors"
	"time"

	"roundtable/chain"
)

// What a member says by gossip that it signed can be anybody's word. Where it matters it is asked over a stream, where it has
// proven who it is.

// Signs has this member answer the others what it signed in a slot. Until then, and where it signs nothing, the answer is empty.
func (c *Cluster) Signs(blocks func(chain.Slot) []chain.Block) { c.forwarding.signs.Store(&blocks) }

// Signed asks a member which blocks it says it signed in a slot: its newest 64 are known. An error says that it was not reached,
// or is of a version that does not answer.
func (c *Cluster) Signed(ctx context.Context, member string, slot chain.Slot) ([]chain.Block, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	s, ok := c.server(member)
	if !ok || c.banned(member) {
		return nil, ErrUnknownMember
	}
	address, err := whereabouts{c}.ServerAddr(s.ID)
	if err != nil {
		return nil, err
	}
	p, err := c.forwarding.to(ctx, member, string(address))
	if err != nil {
		return nil, err
	}
	deadline, _ := ctx.Deadline()
	resp, err := p.do(ctx, request{Op: opSigned, Slot: slot, LimitMs: max(1, time.Until(deadline).Milliseconds())})
	if err == nil && resp.Code != "" {
		err = errors.New(resp.Text)
	}
	return resp.Blocks, err
}

// signed answers Signed.
func (f *forwarding) signed(slot chain.Slot) []chain.Block {
	if blocks := f.signs.Load(); blocks != nil {
		return (*blocks)(slot)
	}
	return nil
}

package node

import (
	"context"
	"errors"
)

const (
	followBack = 1024 // numbers whose id is remembered
	followStep = 32   // blocks asked for at once, so that a syncing node costs little
)

// follower reports each block of the best chain in order of numbers, and a number again whose block was replaced by a
// fork switch. It belongs to one goroutine.
type follower struct {
	get     func(ctx context.Context, num uint32) (BlockInfo, error)
	report  func(BlockInfo)
	maxGap  uint32
	tip     uint32 // last number known to be on the best chain as remembered
	seen    map[uint32]string
	skipped uint64
}

// follow goes from what is known towards the head. It returns after at most followStep blocks or at the first error; the
// next call goes on from there.
func (f *follower) follow(ctx context.Context, head Info) error {
	if f.seen == nil {
		f.seen = map[uint32]string{}
	}
	if f.seen[head.HeadNum] == head.HeadID {
		f.tip = head.HeadNum // the present head is known, and so is all before it
		return nil
	}
	if f.tip == 0 {
		f.tip = head.HeadNum - min(head.HeadNum, 1) // begin with the first head seen
	}
	if f.tip >= head.HeadNum {
		f.tip = head.HeadNum - min(head.HeadNum, 1)
	}
	if head.HeadNum-f.tip > f.maxGap {
		f.skipped += uint64(head.HeadNum - f.maxGap - f.tip)
		f.tip = head.HeadNum - f.maxGap
		clear(f.seen)
	}
	for range followStep {
		if f.tip >= head.HeadNum {
			return nil
		}
		b, err := f.get(ctx, f.tip+1)
		if errors.Is(err, ErrUnknownBlock) {
			return nil // the chain got shorter meanwhile: a fork switch or a restart
		}
		if err != nil {
			return err
		}
		if known := f.seen[f.tip]; known != "" && known != b.Previous {
			f.tip-- // replaced below as well: look there first
			continue
		}
		f.tip++
		if f.seen[b.Num] == b.ID {
			continue
		}
		for n := b.Num + 1; f.seen[n] != ""; n++ { // what stood on the replaced block is off the chain too
			delete(f.seen, n)
		}
		f.seen[b.Num] = b.ID
		delete(f.seen, b.Num-followBack)
		f.report(b)
	}
	return nil
}

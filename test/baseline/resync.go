package baseline

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// resyncEvery is how often a standby compares its chain with the producer's.
const resyncEvery = 2 * time.Second

// resync is the operator who sees that a standby is on a fork for good, and starts its node again without its data. Two
// nodes that produced at a time end so: what each holds for irreversible is not what the other does.
func (m *manager) resync(ctx context.Context) {
	for wait(ctx, resyncEvery); ctx.Err() == nil; wait(ctx, resyncEvery) {
		if m.system.produces().holds() {
			continue
		}
		for _, p := range m.cfg.Peers {
			if forked, err := m.forked(ctx, p); err == nil && forked {
				m.log.Warn("the node is on a fork for good: it starts again without its data", "producer", p.ID)
				m.child.startEmpty()
				break
			}
		}
	}
}

// forked reports whether a peer produces on a chain that has another block where ours has its last irreversible one.
func (m *manager) forked(ctx context.Context, p Peer) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	s, err := ask(ctx, p)
	if err != nil || !s.Holder || s.Paused {
		return false, err
	}
	_, ours, err := m.node.info(ctx)
	if err != nil || ours.Num < 2 || ours.Num > s.HeadNum {
		return false, err
	}
	var theirs blockRef
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s/block/%d", p.API, ours.Num), nil)
	if err != nil {
		return false, fmt.Errorf("baseline: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false, fmt.Errorf("baseline: ask %s: %w", p.ID, err)
	}
	if err := answer(resp, &theirs); err != nil {
		return false, err
	}
	return theirs.ID != ours.ID, nil
}

// blockRef is a block by its number.
type blockRef struct {
	Num uint32 `json:"num"`
	ID  string `json:"id"`
}

// block asks the node for a block's id.
func (n *nodeos) block(ctx context.Context, num uint32) (blockRef, error) {
	body, err := json.Marshal(map[string]uint32{"block_num": num})
	if err != nil {
		return blockRef{}, fmt.Errorf("baseline: %w", err)
	}
	var b blockRef
	if err := n.post(ctx, "/v1/chain/get_block_info", body, &b); err != nil {
		return blockRef{}, err
	}
	return blockRef{num, b.ID}, nil
}

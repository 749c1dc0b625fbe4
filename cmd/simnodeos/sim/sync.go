package sim

import "errors"

// greeted handles a handshake: refuse whom we cannot talk to, else fetch what the peer has more than we.
func (p *peer) greeted(h Handshake) error {
	n := p.net
	p.mu.Lock()
	first := p.hello.NodeID == Hash{}
	p.hello = h
	told := p.told
	p.mu.Unlock()
	switch {
	case h.ChainID != n.chain.chainID:
		return p.sendAway(errWrongChain)
	case h.NodeID == n.nodeID:
		return p.sendAway(errSelf)
	}
	if p.outgoing != nil {
		n.mu.Lock()
		p.outgoing.node = h.NodeID
		n.mu.Unlock()
	}
	if first {
		if loser := n.duplicate(p); loser == p {
			return p.sendAway(errDuplicatePeer)
		} else if loser != nil {
			_ = loser.sendAway(errDuplicatePeer)
		}
	}
	best, root := n.chain.forks.heads()
	if h.RootNum > 0 && h.RootNum <= root.num {
		if id, ok := n.chain.idAt(h.RootNum); ok && id != h.RootID {
			n.warn(3395, "handle_message", "%s Peer chain is forked, sending: forked go away", p)
			return p.sendAway(errForked)
		}
	}
	switch {
	case n.deaf:
	case h.HeadNum <= root.num || n.chain.forks.find(h.HeadID) != nil:
		p.catchUp(h)
	case h.RootNum > best.num:
		n.info(1916, "set_state", "old state in sync becoming lib catchup")
		n.info(2016, "request_next_chunk", "%s Catching up with chain, our last req is 0, theirs is %d, next expected %d, fhead %d", p, h.RootNum, best.num+1, best.num)
		n.info(2056, "operator()", "%s requesting range %d to %d, fhead %d, froot %d", p, best.num+1, h.RootNum, best.num, root.num)
		p.ask(root.num)
	default:
		n.info(1916, "set_state", "old state in sync becoming head catchup")
		n.info(2379, "sync_recv_notice", "%s notice_message, pending %d, blk_num %d, id %s...", p, h.HeadNum, h.HeadNum, h.HeadID.Short())
		n.info(2339, "verify_catchup", "%s catch_up while in in sync, fhead = %d target froot = %d next_expected = %d, id %s...", p, h.HeadNum, h.RootNum, best.num+1, h.HeadID.Short())
		p.ask(root.num)
	}
	if first && told != best.id {
		p.sendHandshake() // the head moved before blocks were sent this way
	}
	return nil
}

// catchUp sends the peer our handshake again if it lags behind: it will then ask.
func (p *peer) catchUp(h Handshake) {
	best, _ := p.net.chain.forks.heads()
	if h.HeadNum < best.num && h.HeadID != best.id && h.Generation > 1 {
		p.sendHandshake()
	}
}

func (p *peer) ask(from uint32) {
	p.mu.Lock()
	p.asked, p.from = true, from
	p.mu.Unlock()
	p.send(msgRequest, request{From: from, Limit: syncSpan})
}

// serve sends the blocks of our best branch after a height.
func (p *peer) serve(r request) {
	best, _ := p.net.chain.forks.heads()
	last := min(best.num, r.From+max(r.Limit, 1))
	if r.From < last {
		p.net.info(1542, "blk_send_branch", "%s enqueue peer_catchup %d - %d", p, r.From+1, last)
	}
	num := r.From
	for num < last {
		b := p.net.chain.blockAt(num + 1)
		if b == nil {
			break
		}
		num++
		p.learn(b.ID())
		p.send(msgBlock, b)
	}
	p.send(msgEnd, endOfBlocks{Last: num, Head: best.num})
}

// synced comes after the blocks that were asked for: ask on, or compare heads again.
func (p *peer) synced(e endOfBlocks) {
	p.mu.Lock()
	was := p.asked
	more := was && e.Last < e.Head && e.Last > p.from
	p.asked = more
	p.mu.Unlock()
	if more {
		p.ask(e.Last)
		return
	}
	if was {
		p.net.info(1916, "set_state", "old state head catchup becoming in sync")
		p.sendHandshake()
	}
}

// gotBlock takes a block into the fork database and passes it on. A block that does not link ends the connection, unless
// we are still fetching what is before it.
func (p *peer) gotBlock(b *Block) error {
	n := p.net
	if n.deaf {
		return nil
	}
	p.learn(b.ID())
	fresh, err := n.chain.receive(b)
	if err != nil {
		p.mu.Lock()
		asked := p.asked
		p.mu.Unlock()
		if asked && errors.Is(err, errUnlinkable) {
			return nil
		}
		best, root := n.chain.forks.heads()
		if errors.Is(err, errUnlinkable) && b.Num() > best.num+1 {
			p.ask(root.num) // blocks in between were missed
			return nil
		}
		id := b.ID()
		if errors.Is(err, errUnlinkable) {
			n.info(3918, "operator()", "bad block exception connection - %d: #%d %s...: Unlinkable block (3030001)\nfork_db unlinkable block %s previous %s\n",
				p.id, b.Num(), id.Short(), id, b.Previous)
		} else {
			n.info(3918, "operator()", "bad block exception connection - %d: #%d %s...: %v", p.id, b.Num(), id.Short(), err)
		}
		n.warn(2412, "rejected_block", "%s block %d not accepted, closing connection immediately", p, b.Num())
		return err
	}
	if !fresh {
		return nil
	}
	if nd := n.chain.forks.find(b.ID()); nd != nil {
		n.broadcast(nd, p)
	}
	n.incoming()
	return nil
}

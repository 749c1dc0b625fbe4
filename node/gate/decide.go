package gate

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"

	"roundtable/chain"
	"roundtable/node/k1"
)

// request is one signature request.
type request struct {
	run    uint64 // the run of nodeos it came in
	digest [32]byte
	key    k1.PublicKey
	// hungUp tells whether nodeos still waits for the answer: nil, errHungUp, or another error. Never blocks.
	hungUp func() error
}

var errHungUp = errors.New("the client hung up")

func (g *Gate) clock() chain.Slot { return chain.SlotAt(g.cfg.Now().UnixMilli()) }

// sign decides one request and, where it may, asks the key. One caller at a time (g.turn). The error is a Refusal.
func (g *Gate) sign(ctx context.Context, q request) (signature string, signed Signed, err error) {
	record, signature, err := g.admit(q)
	if err != nil || signature != "" {
		return signature, record, err
	}
	// The lock is not held here: Close must not wait for a slow key. It need not: the slot is already recorded [S4].
	signature, failure := g.ask(ctx, q)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.off.lateRecord && failure == nil {
		g.record(record, q)
	}
	if failure != nil {
		g.notify()
		return "", record, g.refusal(ReasonSignerError, failure.Error(), q)
	}
	if b := g.run.block; b.recorded && b.digest == q.digest && b.slot == record.Slot {
		b.sigs[g.keys[q.key]] = signature
	}
	if r := g.recordOf(record.Slot); r != nil {
		g.answers[record.Slot] = append(g.answers[record.Slot], signature)
		r.Given = true
		record = *r
	}
	g.given = max(g.given, record.Slot)
	g.count.signatures.Add(1)
	g.count.lastReason = ""
	g.notify()
	return signature, record, nil
}

// admit is the decision: everything that could change it happens under the one lock. It records the slot, unless the
// same signature was given before.
func (g *Gate) admit(q request) (record Signed, signature string, err error) {
	savanna := g.cfg.Savanna != nil && g.cfg.Savanna()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.checkClocks()
	if reason, detail := g.check(q, savanna); reason != "" {
		return Signed{}, "", g.refusal(reason, detail, q)
	}
	b := g.run.block
	if b.recorded { // the same digest again
		r := g.recordOf(b.slot)
		return *r, b.sigs[g.keys[q.key]], nil
	}
	record = Signed{Epoch: g.permit.Epoch, Slot: b.slot, Num: b.num, Digest: hex.EncodeToString(q.digest[:]), At: g.cfg.Now()}
	if savanna {
		record.ID = record.Digest // what is signed is the block id (Spring block_state::sign)
	}
	if !g.off.lateRecord {
		g.record(record, q)
	}
	return record, "", nil
}

// record makes the slot count as signed. With g.mu held.
func (g *Gate) record(s Signed, q request) {
	g.highest = max(g.highest, s.Slot)
	g.records = append(g.records, &s)
	if len(g.records) > keptRecords {
		delete(g.answers, g.records[0].Slot)
		g.records = g.records[1:]
	}
	b := g.run.block
	b.recorded, b.digest, b.sigs = true, q.digest, map[string]string{}
	g.notify()
}

// check returns why the request must be refused, or "". With g.mu held. It drains the pipe first: nodeos wrote its line
// before it sent the request, so after this the line of the request is the newest one, and stays so while nodeos waits
// for the answer, which the look at the connection at the end makes sure of [S6, S8].
func (g *Gate) check(q request, savanna bool) (reason, detail string) {
	g.count.lastRequest = g.cfg.Now()
	b, empty, p := &announced{}, true, g.permit
	if g.run != nil {
		if !g.off.noDrain {
			empty = g.drain(g.run, drainMost)
		}
		b = g.run.block
	}
	switch {
	case g.keys[q.key] == "":
		return ReasonWrongKey, "the signer does not hold " + q.key.String()
	case g.sealed != "":
		return ReasonSealed, "the gate is closed for good: " + g.sealed
	case p.Epoch == 0:
		return ReasonNoLease, "this manager does not hold the lease"
	case p.Epoch <= g.closed && !g.off.noFinality:
		return ReasonClosed, fmt.Sprintf("epoch %d was given up here", p.Epoch)
	case g.run != nil && g.run.id != q.run:
		return ReasonStaleLine, "the request is not from this run of the node"
	case !empty:
		return ReasonStaleLine, "the node writes its log faster than it can be read"
	case b.phase == phaseNone:
		return ReasonNoLine, "the node has not said which block it is building; is producer_plugin's log on stdout?"
	case b.phase == phaseStarted:
		return ReasonNoLine, fmt.Sprintf("the node has not said that block %d is due", b.num)
	case b.phase == phaseVoid:
		return ReasonStaleLine, fmt.Sprintf("block %d is no longer being built", b.num)
	case !g.ours[b.producer]:
		return ReasonNotOurs, "the block is " + b.producer + "'s"
	case b.slot > g.clock()+g.cfg.MaxAhead:
		return ReasonTooFarAhead, fmt.Sprintf("slot %d is past the clock's slot %d by more than %d", b.slot, g.clock(), g.cfg.MaxAhead)
	case savanna && binary.BigEndian.Uint32(q.digest[:]) != b.num:
		return ReasonDigestMismatch, fmt.Sprintf("the digest is not of block %d", b.num)
	case (b.slot < p.First || b.slot > p.Last) && !g.off.noRange:
		return ReasonOutOfRange, fmt.Sprintf("slot %d is outside the lease's %d..%d", b.slot, p.First, p.Last)
	case b.recorded && b.digest != q.digest:
		return ReasonSecondDigest, fmt.Sprintf("block %d already has another digest", b.num)
	case !b.recorded && b.slot <= g.highest && !g.off.noHighest:
		return ReasonBelowHighest, fmt.Sprintf("slot %d is not above %d", b.slot, g.highest)
	}
	switch err := q.hungUp(); {
	case errors.Is(err, errHungUp):
		return ReasonClientGone, "the node hung up before the decision"
	case err != nil:
		return ReasonBadRequest, err.Error()
	}
	return "", ""
}

// ask asks the key and believes nothing: the signature must be canonical and this key's.
func (g *Gate) ask(ctx context.Context, q request) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, g.cfg.SignTimeout)
	defer cancel()
	text, err := g.cfg.Signer.Sign(ctx, q.digest, g.keys[q.key])
	if err != nil {
		return "", err
	}
	s, err := k1.ParseSignature(text)
	if err != nil {
		return "", fmt.Errorf("the signer's answer: %w", err)
	}
	key, err := k1.Recover(q.digest, s)
	if err != nil || key != q.key || !s.Canonical() {
		return "", errors.New("the signer's signature is not a canonical one by the key that was asked for")
	}
	return s.String(), nil
}

// refusal counts and logs a refusal: the first of a kind as a warning, its repeats for debugging. With g.mu held.
func (g *Gate) refusal(reason, detail string, q request) Refusal {
	r := Refusal{Reason: reason, Detail: detail, At: g.cfg.Now()}
	if reason != ReasonBadRequest {
		r.Digest, r.Key = hex.EncodeToString(q.digest[:]), q.key.String()
		if g.run != nil {
			r.Slot, r.Num = g.run.block.slot, g.run.block.num
		}
	}
	g.count.refused.Add(reason, 1)
	log := g.cfg.Log.Debug
	if g.count.lastReason != reason {
		log = g.cfg.Log.Warn
	}
	g.count.lastReason = reason
	log("signature refused", "reason", reason, "detail", detail, "slot", r.Slot, "num", r.Num, "epoch", g.permit.Epoch)
	return r
}

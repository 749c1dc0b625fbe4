package sim

import (
	"crypto/rand"
	"errors"
	mrand "math/rand/v2"
	"slices"
	"strings"
	"time"
)

// producer is producer_plugin: when blocks are started, finished, and given up. It is a port of start_block,
// schedule_production_loop and maybe_produce_block; names and order follow producer_plugin.cpp. Main thread only.
type producer struct {
	clock   clock
	log     *logger
	chain   *controller
	names   []string
	signers signers
	ledger  *ledger
	agent   string

	offset     time.Duration // produce-block-offset-ms: how early a window's last block is finished
	maxLibAge  time.Duration // negative: no limit
	trxRate    float64
	fill       int // random bytes in each block
	full       bool
	terminate  uint32
	broadcast  func(*node)
	quit       func()
	watermarks map[string]watermark

	enabled   bool // production is enabled: --enable-stale-production, or a fresh block came in
	paused    bool
	producing bool // mode of the pending block
	pending   *pendingBlock
	deadline  time.Time

	timerAt time.Time // zero: no timer
	timerFn func()
}

type pendingBlock struct {
	num     uint32
	slot    uint32
	owner   string
	parent  *node
	started time.Time
}

type watermark struct{ num, slot uint32 }

type startResult int

const (
	startSucceeded startResult = iota
	startFailed
	startWaitingForBlock
	startWaitingForProduction
	startExhausted
)

func prodSite(line int, fn string) site { return site{"producer_plugin.cpp", line, cut(fn, 20)} }

func (p *producer) debug(line int, fn, format string, args ...any) {
	p.log.log(logProducer, levelDebug, prodSite(line, fn), format, args...)
}

func (p *producer) owns(name string) bool { return slices.Contains(p.names, name) }

func (p *producer) setTimer(at time.Time, fn func()) { p.timerAt, p.timerFn = at, fn }

// pendingSlot is calculate_pending_block_time.
func (p *producer) pendingSlot() uint32 {
	base := slotStart(p.chain.head.block.Slot)
	if now := p.clock.now(); len(p.names) > 0 && now.After(base) {
		base = now
	}
	return nextSlot(base)
}

// blockDeadline is when the block of a slot is finished: block k of a window offset*(k+1)/12 before its timestamp.
func (p *producer) blockDeadline(slot uint32) time.Time {
	return slotStart(slot).Add(-p.offset * time.Duration(slot%12+1) / 12)
}

// determineMode is determine_pending_block_mode.
func (p *producer) determineMode(now time.Time, slot uint32, owner string) startResult {
	head := p.chain.head
	p.producing = true
	refused := false
	no := func(lv level, line int, format string, args ...any) {
		p.log.log(logProducer, lv, prodSite(line, "determine_pending_block_mode"), "Not producing block because "+format, args...)
		p.producing, refused = false, true
	}
	at := slotTime(slot)
	auth := p.chain.sched.auths[owner]
	switch {
	case !p.enabled:
		p.producing = false
		if p.owns(owner) {
			no(levelError, 2079, "stale production not enabled, block %s", at)
		}
	case !p.owns(owner):
		p.producing = false
	case !p.signers.relevant(auth):
		no(levelError, 2085, "I don't have any private keys relevant to authority: %s, block %s", auth.json(), at)
	case p.paused:
		no(levelWarn, 2090, "production is explicitly paused, block %s", at)
	case p.maxLibAge >= 0 && p.libAge(now) >= p.maxLibAge:
		no(levelError, 2094, "the irreversible block is too old [age:%ds, max:%ds], block %s", p.libAge(now)/time.Second, p.maxLibAge/time.Second, at)
	}
	if !p.producing && !refused && now.Sub(slotStart(head.block.Slot)) > 5*time.Minute {
		return startWaitingForBlock
	}
	if w, ok := p.watermarks[owner]; ok && p.producing {
		switch {
		case w.num > head.num:
			p.log.log(logProducer, levelError, prodSite(2137, "determine_pending_block_mode"),
				"Not producing block because %q signed a block at a higher block number (%d) than the current fork's head (%d)", owner, w.num, head.num)
			p.producing = false
		case w.slot >= slot:
			p.log.log(logProducer, levelError, prodSite(2143, "determine_pending_block_mode"),
				"Not producing block because %q signed a block at the next block time or later (%s) than the pending block time (%s)", owner, slotTime(w.slot), at)
			p.producing = false
		}
	}
	if p.producing && slot%12 == 0 {
		if start := slotStart(slot).Add(-slotDuration); now.Before(start) {
			p.producing = false
			p.debug(2157, "determine_pending_block_mode", "Not starting block until %s", formatTime(start))
			p.delay(start)
			return startWaitingForProduction
		}
	}
	p.deadline = p.blockDeadline(slot)
	if !p.producing && now.Add(slotDuration).After(p.deadline) {
		p.deadline = now.Add(slotDuration)
	}
	return startSucceeded
}

func (p *producer) libAge(now time.Time) time.Duration {
	_, root := p.chain.forks.heads()
	return now.Sub(slotStart(root.block.Slot))
}

// startBlock is start_block.
func (p *producer) startBlock() startResult {
	p.pending = nil
	if p.reached() {
		return startWaitingForBlock
	}
	now := p.clock.now()
	slot := p.pendingSlot()
	owner := p.chain.sched.producer(slot)
	if r := p.determineMode(now, slot, owner); r != startSucceeded {
		return r
	}
	for !p.producing || !p.chain.headDescendsFromPendingLib() {
		if len(p.names) > 0 {
			p.delay(p.deadline)
		}
		if p.chain.applyBlocks() == 0 {
			break
		}
		now = p.clock.now()
		slot = p.pendingSlot()
		owner = p.chain.sched.producer(slot)
		if r := p.determineMode(now, slot, owner); r != startSucceeded {
			return r
		}
		if !p.producing {
			break
		}
	}
	if p.terminate != 0 && p.chain.head.num >= p.terminate {
		p.log.log(logDefault, levelInfo, site{"controller.cpp", 5058, "should_terminate"}, "Block %d reached configured maximum block %d; terminating",
			p.chain.head.num, p.terminate)
		p.quit()
		return startFailed
	}
	p.pending = &pendingBlock{num: p.chain.head.num + 1, slot: slot, owner: owner, parent: p.chain.head, started: now}
	p.debug(2227, "start_block", "Starting block #%d %s producer %s, deadline %s", p.pending.num, slotTime(slot), owner, formatTime(p.deadline))
	if p.producing && p.full {
		stall(20 * time.Millisecond) // the block fills
		return startExhausted
	}
	return startSucceeded
}

// loop is schedule_production_loop.
func (p *producer) loop() {
	p.timerFn, p.timerAt = nil, time.Time{}
	switch result := p.startBlock(); {
	case result == startFailed:
		p.log.log(logProducer, levelWarn, prodSite(2870, "schedule_production_loop"), "Failed to start a pending block, will try again later")
		p.setTimer(p.clock.now().Add(slotDuration/10), p.loop)
	case result == startWaitingForBlock:
		if len(p.names) > 0 && !p.paused && p.enabled {
			p.debug(2885, "schedule_production_loop", "Waiting till another block is received and scheduling Speculative/Production Change")
			p.delayMaybe(p.wakeUp(p.pendingSlot()))
		}
	case result == startWaitingForProduction: // scheduled by startBlock
	case p.producing:
		p.scheduleProduce(result == startExhausted)
	case len(p.names) > 0 && !p.paused && p.enabled:
		p.debug(2900, "schedule_production_loop", "Speculative Block Created; Scheduling Speculative/Production Change")
		at, ok := p.wakeUp(p.pending.slot)
		if ok && p.clock.now().After(at) {
			at = p.deadline
		}
		p.delayMaybe(at, ok)
	default:
		p.debug(2912, "schedule_production_loop", "Speculative Block Created")
	}
}

// wakeUp is when the next slot after ref of one of our producers begins.
func (p *producer) wakeUp(ref uint32) (time.Time, bool) {
	for slot := ref + 1; slot <= ref+12*uint32(len(p.chain.sched.names)+1); slot++ {
		if p.owns(p.chain.sched.producer(slot)) {
			return slotStart(slot).Add(-slotDuration), true
		}
	}
	return time.Time{}, false
}

func (p *producer) delayMaybe(at time.Time, ok bool) {
	if !ok {
		p.debug(2968, "schedule_delayed_production_loop", "Not Scheduling Speculative/Production, no local producers had valid wake up times")
		return
	}
	p.delay(at)
}

// delay is schedule_delayed_production_loop.
func (p *producer) delay(at time.Time) {
	p.debug(2955, "schedule_delayed_production_loop", "Scheduling Speculative/Production Change at %s", formatTime(at))
	p.setTimer(at, p.loop)
}

// scheduleProduce is schedule_maybe_produce_block.
func (p *producer) scheduleProduce(exhausted bool) {
	now, at := p.clock.now(), p.blockDeadline(p.pending.slot)
	num := p.pending.num
	switch {
	case !exhausted && at.After(now):
		p.debug(2923, "schedule_maybe_produce_block", "Scheduling Block Production on Normal Block #%d for %s", num, formatTime(at))
	case exhausted:
		at = now
		p.debug(2929, "schedule_maybe_produce_block", "Scheduling Block Production on Exhausted Block #%d immediately", num)
	default:
		at = now
		p.debug(2929, "schedule_maybe_produce_block", "Scheduling Block Production on Deadline exceeded Block #%d immediately", num)
	}
	p.setTimer(at, func() {
		p.debug(2939, "operator()", "Produce block timer for %d running at %s", num, formatTime(p.clock.now()))
		res := p.maybeProduce()
		p.debug(2941, "operator()", "Producing Block #%d returned: %t", num, res)
	})
}

// maybeProduce is maybe_produce_block: on failure the block is given up until the next slot.
func (p *producer) maybeProduce() bool {
	err := p.produce()
	if err == nil {
		p.loop()
		return true
	}
	var e *chainError
	if !errors.As(err, &e) {
		e = newError(0, "exception", "unspecified", err.Error(), "", prodSite(2981, "maybe_produce_block"))
	}
	p.log.log(logProducer, levelWarn, prodSite(2981, "maybe_produce_block"), "%s", e.detail())
	p.debug(2984, "maybe_produce_block", "Aborting block due to produce_block error")
	p.pending = nil
	next := slotStart(p.pendingSlot())
	p.debug(2990, "maybe_produce_block", "Not starting block until %s", formatTime(next))
	p.delay(next)
	return false
}

// produce is produce_block: finish, sign, record, add to the chain, send.
func (p *producer) produce() error {
	started := p.clock.now()
	pb := p.pending
	parent := pb.parent
	b := &Block{Header: Header{Slot: pb.slot, Producer: pb.owner, Previous: parent.id, ActionRoot: actionRoot(parent.id, pb.slot)}, Trxs: p.madeUpTrxs()}
	if p.fill > 0 {
		b.Fill = make([]byte, p.fill)
		_, _ = rand.Read(b.Fill)
	}
	b.TrxRoot = trxRoot(b.Trxs, b.Fill)
	digest := b.Digest(p.chain.savanna)
	sigs, err := p.signers.sign(p.chain.sched.auths[pb.owner], digest)
	if err != nil {
		return err
	}
	b.Sigs = sigs
	now := p.clock.now()
	if err := p.ledger.record(ledgerLine{b.Slot, b.Num(), b.ID(), digest, p.agent, p.clock.real(now).UTC().Format(time.RFC3339Nano)}); err != nil {
		return err
	}
	n, err := p.chain.forks.add(b, true)
	switch {
	case errors.Is(err, errDuplicate):
		return newError(3020000, "fork_database_exception", "Fork database exception", "duplicate block added: "+b.ID().String(),
			`{"id":"`+b.ID().String()+`"}`, site{"fork_database.cpp", 290, "add_impl"})
	case err != nil:
		return newError(3020000, "fork_database_exception", "Fork database exception", err.Error(), "", site{"fork_database.cpp", 285, "add_impl"})
	}
	p.broadcast(n)
	p.note(n)
	confirmed := ", confirmed: 0"
	if p.chain.savanna {
		confirmed = ""
	}
	p.log.log(logDefault, levelInfo, site{"controller.cpp", 3592, "log_applied"},
		"Produced block %s... #%d @ %s signed by %s [trxs: %d, lib: %d%s, net: %d, cpu: %d us, elapsed: %d us, producing time: %d us]",
		n.id.Short(), n.num, slotTime(b.Slot), b.Producer, len(b.Trxs), loggedLib(n), confirmed, 120*len(b.Trxs), 100+100*len(b.Trxs),
		now.Sub(started).Microseconds(), now.Sub(pb.started).Microseconds())
	p.chain.commit(n)
	return nil
}

// maxFill keeps a block below what a peer takes as one message.
const maxFill = 4 << 20

// madeUpTrxs gives about trxRate/2 random transaction ids, so that two blocks for one slot always differ.
func (p *producer) madeUpTrxs() []Hash {
	mean := p.trxRate / 2
	n := int(mean)
	if mrand.Float64() < mean-float64(n) {
		n++
	}
	if p.trxRate > 0 && n == 0 {
		n = 1
	}
	trxs := make([]Hash, n)
	for i := range trxs {
		_, _ = rand.Read(trxs[i][:]) // never fails (crypto/rand)
	}
	return trxs
}

// note keeps the watermark: the highest block of a producer of ours that was ever seen by this process.
func (p *producer) note(n *node) {
	name := n.block.Producer
	if !p.owns(name) {
		return
	}
	w := p.watermarks[name]
	if n.num > w.num {
		p.watermarks[name] = watermark{n.num, n.block.Slot}
	}
}

// onIncoming is on_incoming_block: there are new blocks in the fork database.
func (p *producer) onIncoming() {
	best, _ := p.chain.forks.heads()
	if p.producing {
		p.log.log(logProducer, levelInfo, prodSite(925, "on_incoming_block"), "producing, fork database head at: #%d id: %s", best.num, best.id)
		return
	}
	if best.id == p.chain.head.id || p.reached() {
		return
	}
	p.pending = nil
	p.chain.applyBlocks()
	if slotStart(p.chain.head.block.Slot + 1).After(p.clock.now()) {
		p.enabled = true
	}
	p.loop()
}

// reached reports whether the head stands where pause_at_block stops it. Production only looks again at the time of each next block then
// (recording 34 to 37), and does not say so.
func (p *producer) reached() bool { return p.chain.limit != 0 && p.chain.head.num >= p.chain.limit }

func (p *producer) pause() {
	p.log.log(logProducer, levelInfo, prodSite(1716, "pause"), "Producer paused.")
	p.paused = true
}

func (p *producer) resume() {
	p.paused, p.chain.limit = false, 0
	if !p.producing {
		p.pending = nil
		p.log.log(logProducer, levelInfo, prodSite(1204, "resume"), "Producer resumed. Scheduling production.")
		p.loop()
		return
	}
	p.log.log(logProducer, levelInfo, prodSite(1207, "resume"), "Producer resumed.")
}

// startup is plugin_startup.
func (p *producer) startup() {
	if len(p.names) > 0 {
		p.log.log(logProducer, levelInfo, prodSite(1642, "plugin_startup"), "Launching block production for %d producers at %s.", len(p.names), formatTime(p.clock.now()))
	}
}

func cleanNames(names []string) []string {
	var out []string
	for _, n := range names {
		if n = strings.TrimSpace(n); n != "" && !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out
}

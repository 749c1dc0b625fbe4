package drill

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// evidence is what a check counts from, beside what the nodes signed and the raft logs.
type evidence struct {
	first, last uint64         // slots that are counted
	chain       []ChainBlock   // of the node whose head is best, whole but for the genesis
	chains      [][]ChainBlock // of every node, or the ends of theirs
	closing     time.Time      // from then on whoever holds hands over
	judged      bool           // every manager has ended, so the raft logs can be read
}

// check lets the checker count what was done on this sandbox from slot first to last. finish closes the sandbox before the
// ledgers and the raft logs are read; without it (nil) the sandbox goes on, and the raft logs stay out of it.
func (d *drill) check(ctx context.Context, r *Report, first, last uint64, finish func() error) error {
	// The last slots' blocks must have reached the node whose chain is read.
	if err := wait(ctx, time.Second+2*d.opts.Latency); err != nil {
		return err
	}
	e := evidence{first: first, last: last, judged: finish != nil && d.system == (ours{})}
	var unread error
	if e.chain, unread = d.Chain(ctx, 2); unread == nil { // block 1 is the genesis
		e.chains, unread = d.chains(ctx, e.chain, e.judged && r.Unrecovered == 0)
	}
	e.closing = time.Now()
	if finish != nil {
		unread = errors.Join(unread, finish())
		r.Failures = append(r.Failures, d.crashes()...)
	}
	return d.count(r, e, unread)
}

// count counts. unread is why the chain could not be read: then only what was signed twice is counted.
func (d *drill) count(r *Report, e evidence, unread error) error {
	// What was signed comes first: it stands however the rest ends.
	all, err := d.signatures()
	if err != nil {
		return errors.Join(err, unread)
	}
	members := make([]string, len(d.Members))
	for i, m := range d.Members {
		members[i] = m.ID
	}
	ledger := slices.DeleteFunc(all, func(s Signature) bool { return !slices.Contains(members, s.Node) })
	if n := len(all) - len(ledger); n > 0 {
		r.Failures = append(r.Failures, fmt.Sprintf("%d lines of the ledgers are of no member's node", n))
	}
	r.Doubles = Doubles(ledger)
	if r.Doubled = len(r.Doubles); unread != nil {
		return unread
	}
	var replay Replay
	if e.judged {
		if replay, err = d.replay(); err != nil {
			r.Failures = append(r.Failures, err.Error())
			e.judged = false
		}
	}
	if err := Linked(e.chain); err != nil {
		r.Failures = append(r.Failures, err.Error())
	}
	mine := []string{d.Producer}
	for _, b := range Unsigned(e.chain, mine, ledger) {
		r.Failures = append(r.Failures, fmt.Sprintf("block %d in slot %d of %s is in no ledger", b.Num, b.Slot, b.Producer))
	}
	r.Forks = len(Forks(e.chains))
	due, missed := Missed(e.chain, d.Schedule(), mine, e.first, e.last)
	r.SlotsDue = due
	r.tally(missed, Lost(e.chain, ledger), ledger)
	if e.judged {
		r.judge(replay, ledger, members, e.closing)
		if d.gapped() {
			r.Failures = append(r.Failures, d.outOfGap(slices.DeleteFunc(slices.Clone(replay.Epochs), func(s EpochSpan) bool { return s.At.After(e.closing) }))...)
		}
	}
	for i := range r.Events {
		event := &r.Events[i]
		event.Members = members
		t := timeline(*event, ledger, e.chain, replay.Epochs, event.FirstSlot-min(4, event.FirstSlot), event.LastSlot)
		event.Timeline = &t
	}
	return nil
}

// judge holds the ledger against what the raft logs say: nobody signed but the holder, no two epochs share a slot, and
// production moved only where something was done.
func (r *Report) judge(replay Replay, ledger []Signature, members []string, closing time.Time) {
	r.Epochs = replay.Epochs
	if replay.Base > 0 {
		r.Failures = append(r.Failures, fmt.Sprintf("the raft logs begin at entry %d: what came before cannot be judged", replay.Base+1))
	}
	r.Outside = Outside(ledger, members, replay)
	for _, p := range Overlapping(replay.Epochs) {
		r.Failures = append(r.Failures, fmt.Sprintf("epoch %d of %s (slots %d to %d) and epoch %d of %s (slots %d to %d) overlap",
			p[0].Epoch, p[0].Holder, p[0].First, p[0].Last, p[1].Epoch, p[1].Holder, p[1].First, p[1].Last))
	}
	if len(r.Events) == 0 {
		return
	}
	busy := []Interval{{From: closing}} // whoever ends in order hands over
	for _, e := range r.Events {
		to := e.RecoveredAt
		if e.Harmless {
			to = e.At // it may have made a handoff first
		}
		busy = append(busy, Interval{From: e.PreparedAt, To: to})
	}
	r.FalseFailovers = len(FalseFailovers(replay.Epochs, r.Events[0].PreparedAt, busy))
}

// replay reads the members' raft logs.
func (d *drill) replay() (Replay, error) {
	dirs := make([]string, len(d.Members))
	for i, m := range d.Members {
		dirs[i] = filepath.Join(m.Home, "raft")
	}
	return ReplayLogs(dirs)
}

// signatures reads what the nodes signed: the stand-in's ledgers, or a real nodeos' lines in its manager's log.
func (d *drill) signatures() ([]Signature, error) {
	if d.simulated() {
		for _, m := range d.Members {
			if _, err := os.Stat(filepath.Join(m.Home, ledgerFile)); err != nil {
				return nil, fmt.Errorf("drill: the ledger of %s is gone: %w", m.ID, err)
			}
		}
		return ReadLedgers(d.Ledgers())
	}
	var all []Signature
	for _, m := range d.Members {
		list, err := ReadProduced(m.ID, filepath.Join(m.Home, d.system.nodeLog()))
		if err != nil {
			return nil, err
		}
		all = append(all, list...)
	}
	return all, nil
}

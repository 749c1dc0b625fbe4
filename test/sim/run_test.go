package sim_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"log/slog"
	mathrand "math/rand"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"roundtable/chain"
	"roundtable/fsm"
)

// result is all that a run tells.
type result struct {
	verdict error
	class   string // of the failure: what the shrinker keeps; "" for none
	events  []event
	log     string
	virtual time.Duration // that the cluster lived
	cpu     time.Duration
	ops     int // of the lease's history
	unknown int
	coarse  string // hash of what happened: slots signed and by whom, epochs, verdict
	fine    string // and of each entry of the raft log, with the time in it
}

func (r result) what() string {
	lines := make([]string, 0, len(r.events))
	for _, e := range r.events {
		lines = append(lines, fmt.Sprintf("%s: slots %d to %d, missed %v", e.kind(), e.at, e.until, e.missed))
	}
	return strings.Join(lines, "\n")
}

type options struct {
	verbose   bool
	unchecked bool // without the lease's history: for the speed of the cluster alone
}

// run runs a schedule in a bubble. Its failure is returned: in a bubble nothing may end the goroutine.
//
// A run is one sequence of instructions as far as that can be had: one processor, the libraries' dice (raft's and
// memberlist's, math/rand) thrown from the seed, no garbage collection. What is left to chance is Go's own: the order of
// select and of maps, and the 10 ms after which the runtime takes the processor from a goroutine.
func run(t *testing.T, s schedule, o options) result {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(memory))
	mathrand.Seed(int64(s.Seed)) //nolint:staticcheck // the libraries use the global dice
	begun := cpuTime()
	var w *world
	r := result{}
	bubble(t, func() {
		w = makeWorld(s)
		w.history.off = o.unchecked
		if o.verbose {
			w.level = slog.LevelDebug
		}
		from := time.Now()
		r.class, r.verdict = w.live()
		r.virtual = time.Since(from)
		if err := w.safe(); err != nil {
			r.class, r.verdict = "unsafe", errors.Join(r.verdict, err)
		}
		w.trace(&r)
		if err := w.close(); err != nil && r.verdict == nil {
			r.class, r.verdict = "close", err
		}
	})
	r.events, r.log, r.unknown = w.events, w.log.buf.String(), w.history.unknown
	if !o.unchecked {
		ops := w.history.operations()
		r.ops = len(ops)
		if err := linearizable(ops); err != nil {
			r.class, r.verdict = "history", errors.Join(r.verdict, err)
		}
	}
	r.cpu = cpuTime() - begun
	return r
}

// bubble runs f in virtual time. Raft forgets to answer a leadership transfer that was asked of a main loop which is stuck
// on the disk and then ends: who waits for the answer (package cluster does, on a goroutine of its own) waits until the
// process is gone. Such are left behind; any other is a leak.
func bubble(t *testing.T, f func()) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		stacks := make([]byte, 1<<22)
		for _, g := range strings.Split(string(stacks[:runtime.Stack(stacks, true)]), "\n\n") {
			if strings.Contains(g, "synctest bubble") && !strings.Contains(g, "raft.(*deferError).Error") {
				panic(p)
			}
		}
	}()
	synctest.Test(t, func(*testing.T) { f() })
}

// memory bounds a run that goes without garbage collection.
const memory = 1 << 30

// live starts the cluster, lets the steps happen, and judges. class names the kind of failure.
func (w *world) live() (class string, err error) {
	for _, m := range w.members {
		if err := w.start(m); err != nil {
			return "start", err
		}
	}
	if err := w.settle(); err != nil {
		return "start", fmt.Errorf("start: %w", err)
	}
	var e *event
	for i, st := range w.sched.Steps {
		if err := w.pass(time.Duration(st.After)); err != nil {
			return "step", err
		}
		if e == nil {
			w.events = append(w.events, event{at: uint64(w.peers.next())})
			e = &w.events[len(w.events)-1]
		}
		e.steps = append(e.steps, st)
		err := w.begin(st)
		if err == nil && (st.Settle || i == len(w.sched.Steps)-1) {
			if err = w.rest(); err == nil {
				err = w.settle()
			}
			e.until = uint64(w.peers.next()) - 1
		}
		if err != nil {
			return "stuck: " + e.group(), fmt.Errorf("%s: %w", e.kind(), err)
		}
		if e.until > 0 {
			e = nil
		}
	}
	return w.judge()
}

// safe asks what must hold whatever happened: no slot was signed twice, nobody raised an alarm about a block, and no operation stopped
// the node of a holder, or two at once.
func (w *world) safe() error {
	var errs error
	if list := w.peers.doubled(); len(list) > 0 {
		errs = fmt.Errorf("signed twice: %v", list)
	}
	if wrong := w.peers.complaints(); len(wrong) > 0 {
		errs = errors.Join(errs, fmt.Errorf("nodes were stopped that must not be: %v", wrong))
	}
	for _, m := range w.members {
		if n := m.manager.Doubled(); n != 0 {
			errs = errors.Join(errs, fmt.Errorf("%s raised %d alarms about blocks", m.id, n))
		}
	}
	return errs
}

// judge asks what the events cost on the chain.
func (w *world) judge() (class string, errs error) {
	w.count()
	for _, e := range w.events {
		if n := len(e.missed); n > e.limit() {
			class = "missed: " + e.kind()
			errs = errors.Join(errs, fmt.Errorf("%s missed %d slots, the most is %d", e.kind(), n, e.limit()))
		}
	}
	return class, errs
}

// count counts the slots without a block on the chain, from the first block on, each for the event in whose time it fell.
func (w *world) count() {
	i := len(w.events) - 1
	for b := w.members[0].node.top(); b.below != nil && b.below.Num > 1; b = b.below {
		for slot := uint64(b.Slot) - 1; slot > uint64(b.below.Slot); slot-- {
			for i >= 0 && slot < w.events[i].at {
				i--
			}
			if i >= 0 {
				w.events[i].missed = append(w.events[i].missed, slot)
			}
		}
	}
}

// trace hashes what happened.
func (w *world) trace(r *result) {
	coarse, fine := sha256.New(), sha256.New()
	fmt.Fprintln(coarse, r.class, r.verdict)
	first := w.members[0].node.top()
	for b := first; b != nil; b = b.below {
		fmt.Fprintln(coarse, b.Slot, b.ID, w.peers.by(b.Slot))
	}
	best := w.members[0]
	for _, m := range w.members[1:] {
		if last(m) > last(best) {
			best = m
		}
	}
	w.traceLog(best, coarse, fine)
	r.coarse = hex.EncodeToString(coarse.Sum(nil)[:8])
	fmt.Fprintln(fine, r.coarse)
	r.fine = hex.EncodeToString(fine.Sum(nil)[:8])
}

func last(m *member) uint64 {
	n, err := m.config.Stores.Log.LastIndex()
	if err != nil {
		panic(err)
	}
	return n
}

// traceLog hashes a member's raft log: all of it, and who was granted what.
func (w *world) traceLog(m *member, coarse, fine hash.Hash) {
	first, err := m.config.Stores.Log.FirstIndex()
	if err != nil {
		panic(err)
	}
	for i := max(first, 1); i <= last(m); i++ {
		var l raft.Log
		if err := m.config.Stores.Log.GetLog(i, &l); err != nil {
			panic(err)
		}
		fmt.Fprintln(fine, l.Index, l.Term, l.Type, string(l.Data))
		if l.Type != raft.LogCommand {
			continue
		}
		e, err := fsm.Decode(l.Data)
		if err != nil {
			panic(err)
		}
		switch c := e.Command.(type) {
		case fsm.Grant:
			fmt.Fprintln(coarse, c.Epoch, c.Holder, c.First)
		case fsm.Transfer:
			fmt.Fprintln(coarse, c.Epoch+1, c.To, c.Signed+1)
		case fsm.Release:
			fmt.Fprintln(coarse, c.Epoch, c.Signed)
		}
	}
}

// by is who signed a slot.
func (p *peers) by(slot chain.Slot) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ledger[slot]
}

package api

import (
	"strings"
	"sync"
	"time"

	"roundtable/chain"
	"roundtable/fsm"
)

// past adds up what the state only remembers for a while: finished windows, ended operations, lines of the history. What
// came before this manager's start is not counted: a restart would count it twice.
type past struct {
	since int64 // Unix ms

	mu                  sync.Mutex // of scrapes that come at once
	counted             chain.Slot // first slot of the newest window that was counted
	due, signed, missed uint64
	line                uint64 // index of the newest line of the history that was counted
	changes             map[string]uint64
	alarms              uint64
	ended               map[uint64]bool // operations counted, as far as the state remembers them
	outcomes            map[[2]string]uint64
	took                map[string]float64 // seconds by kind
}

// operationKinds and operationOutcomes are there from the beginning, at 0: what appears with its first event has no rate.
var (
	operationKinds    = []string{fsm.KindHandoff}
	operationOutcomes = []fsm.Outcome{fsm.Done, fsm.Failed, fsm.Canceled, fsm.Expired}
	leaseChangeKinds  = []string{"grant", "transfer", "release", "failover"}
)

func newPast(since time.Time) *past {
	p := &past{
		since: since.UnixMilli(), counted: chain.SlotAt(since.UnixMilli()), ended: map[uint64]bool{},
		changes: map[string]uint64{}, outcomes: map[[2]string]uint64{}, took: map[string]float64{},
	}
	for _, kind := range leaseChangeKinds {
		p.changes[kind] = 0
	}
	for _, kind := range operationKinds {
		for _, outcome := range operationOutcomes {
			p.outcomes[[2]string{kind, string(outcome)}] = 0
		}
	}
	return p
}

func (p *past) collect(s *fsm.State, out sample) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.windows(s)
	out.count(famDue, p.due)
	out.count(famSigned, p.signed)
	out.count(famMissed, p.missed)
	p.history(s)
	for kind, n := range p.changes {
		out.count(famChanges, n, kind)
	}
	out.count(famAlarms, p.alarms)
	p.operations(s, out)
}

// windows leaves the newest one for the next time: it may be counted again by its holder.
func (p *past) windows(s *fsm.State) {
	list := s.Round.Windows
	for _, w := range list[:max(len(list)-1, 0)] {
		if w.First > p.counted {
			p.counted = w.First
			p.due, p.signed, p.missed = p.due+uint64(w.Due), p.signed+uint64(w.Signed), p.missed+uint64(w.Missed)
		}
	}
}

func (p *past) operations(s *fsm.State, out sample) {
	running, seen := map[string]int{}, map[uint64]bool{}
	for _, o := range s.Operations {
		switch {
		case o.Outcome == fsm.Running:
			running[o.Kind]++
		case o.Ended >= p.since:
			seen[o.ID] = true
			if !p.ended[o.ID] {
				p.outcomes[[2]string{o.Kind, string(o.Outcome)}]++
				p.took[o.Kind] += seconds(o.Started, o.Ended)
			}
		}
	}
	p.ended = seen
	counts := map[string]uint64{}
	for k, n := range p.outcomes {
		out.count(famOperations, n, k[0], k[1])
		counts[k[0]] += n
	}
	for kind, n := range counts {
		out.put(famRunning, float64(running[kind]), kind)
		out.total(famOpSeconds, n, p.took[kind], kind)
	}
}

// leaseChanges are the lines of the history that change the lease.
var leaseChanges = map[string]string{"lease.granted": "grant", "lease.transferred": "transfer", "lease.released": "release"}

// history counts its new lines.
func (p *past) history(s *fsm.State) {
	var before fsm.Event // the change of the lease before this one
	for _, e := range s.History {
		kind := leaseChanges[e.Kind]
		fresh := e.Index > p.line && e.At >= p.since
		switch {
		case fresh && kind != "":
			p.changes[kind]++
			if kind == "grant" && before.Kind != "" && before.Kind != "lease.released" && before.Subject != e.Subject {
				p.changes["failover"]++
			}
		case fresh && strings.HasPrefix(e.Kind, "alarm."):
			p.alarms++
		}
		if kind != "" {
			before = e
		}
	}
	p.line = s.Index
}

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
	operationKinds    = []string{fsm.KindHandoff, fsm.KindRestart, fsm.KindUpgrade, fsm.KindRollout, fsm.KindBackup, fsm.KindRestore, fsm.KindVerify, fsm.KindSweep, fsm.KindScan}
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

func (p *past) collect(v sight, out sample) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := v.state
	p.windows(s)
	out.count(famDue, p.due)
	out.count(famSigned, p.signed)
	out.count(famMissed, p.missed)
	p.history(s)
	for kind, n := range p.changes {
		out.count(famChanges, n, kind)
	}
	out.count(famAlarms, p.alarms)
	p.operations(v, out)
	out.count(famOldBackups, p.succeeded())
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

// operations counts those that ended, and says how the oldest of each kind that runs stands.
func (p *past) operations(v sight, out sample) {
	running, percent, age, seen := map[string]int{}, map[string]int{}, map[string]float64{}, map[uint64]bool{}
	for _, o := range v.state.Operations {
		switch {
		case o.Outcome == fsm.Running:
			if running[o.Kind]++; running[o.Kind] == 1 {
				percent[o.Kind] = percentOf(o)
			}
			if since := busySince(o); since != 0 {
				age[o.Kind] = max(age[o.Kind], seconds(since, v.now.UnixMilli()))
			}
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
		out.put(famOpPercent, float64(percent[kind]), kind)
		out.put(famOpAge, age[kind], kind)
		out.total(famOpSeconds, n, p.took[kind], kind)
	}
}

// busySince is when a running operation began to do something, Unix ms; 0 while it waits for its turn, a block or a feature, for
// which it may wait for weeks.
func busySince(o fsm.Operation) int64 {
	for i := len(o.Steps) - 1; i >= 0; i-- {
		if name := o.Steps[i].Name; name != fsm.StepQueued && name != fsm.StepTrigger {
			continue
		}
		if i+1 == len(o.Steps) {
			return 0
		}
		return o.Steps[i+1].Since
	}
	return o.Started
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

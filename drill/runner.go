package drill

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"time"
)

// Plan is what a drill is asked to do.
type Plan struct {
	Scenario  string
	Runs      int
	Only      int           // this run alone, to repeat it; 0 for all
	Seed      int64         // of every choice; run N draws from (Seed, N) alone, whatever ran before it
	Parallel  int           // sandboxes at once, each with its share of the runs; default 1
	Length    time.Duration // of every fault; 0: each draws its own
	Longest   time.Duration // no fault lasts longer; 0: as each draws
	Baselines bool          // do the same to the usual ways of doing the job, too
	Sandbox   Options
	Progress  io.Writer // a line per run; nil for none
}

const (
	settleTime  = 60 * time.Second // for a cluster to start, or a member to come back
	steady      = time.Second      // settled for so long is settled
	handoffTime = 15 * time.Second
	after       = 4 // slots that are watched after an event has ended
)

// Run runs a scenario on sandboxes of its own and lets the checker count. The report is whole even where runs failed; the
// error is for a drill that could not be done at all.
func Run(ctx context.Context, p Plan) (Report, error) {
	act, err := scenarioOf(p.Scenario)
	switch {
	case err != nil:
		return Report{}, err
	case p.Runs < 1:
		return Report{}, fmt.Errorf("drill: %d runs are not a drill", p.Runs)
	case p.Length < 0 || p.Longest < 0:
		return Report{}, fmt.Errorf("drill: a fault cannot last %s", min(p.Length, p.Longest))
	case p.Only < 0 || p.Only > p.Runs:
		return Report{}, fmt.Errorf("drill: there is no run %d of %d", p.Only, p.Runs)
	}
	p.Parallel = max(1, min(p.Parallel, p.Runs))
	p.Progress = &serial{w: cmp.Or[io.Writer](p.Progress, io.Discard)}
	if p.Sandbox.Dir == "" {
		if p.Sandbox.Dir, err = os.MkdirTemp("", "roundtable-"); err != nil {
			return Report{}, fmt.Errorf("drill: %w", err)
		}
	}
	if p.Sandbox.Namespaces {
		if err := checkBridge(); err != nil {
			return Report{}, err
		}
		if act.name == "mix" {
			if err := checkDelay(); errors.Is(err, errNoDelay) {
				fmt.Fprintf(p.Progress, "packet loss comes without its latency: %v\n", err)
			}
		}
	}
	r, err := campaign{p, act, ""}.run(ctx)
	if err != nil || !p.Baselines {
		return r, err
	}
	if act.ours != "" {
		r.Note = "not done to the baselines: " + act.ours
		return r, nil
	}
	for _, kind := range []string{LeaderSigns, Keepalived} {
		b, err := campaign{p, act, kind}.run(ctx)
		r.addBaseline(b)
		if err != nil {
			return r, fmt.Errorf("the baseline %s: %w", kind, err)
		}
	}
	return r, nil
}

// serial lets several goroutines write lines.
type serial struct {
	mu sync.Mutex
	w  io.Writer
}

func (s *serial) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(b)
}

// drill is a scenario under way on one sandbox.
type drill struct {
	*Sandbox
	rand    *rand.Rand
	load    []*process
	revived int                                     // managers that ended themselves and were started again, in this run
	lasting time.Duration                           // how long the fault is to last that is done now
	length  func(drawn time.Duration) time.Duration // how long a fault lasts that drew this; nil: so long
}

// once does the scenario once and waits until the system is whole again.
func (d *drill) once(ctx context.Context, s scenario) (Event, error) {
	if err := d.pause(ctx, 200*time.Millisecond, time.Second); err != nil {
		return Event{}, err
	}
	if d.gapped() {
		if err := d.moment(ctx, s.planned); err != nil {
			return Event{}, err
		}
	}
	prepared := time.Now()
	d.revived = 0
	e, err := s.act(d, ctx)
	e.PreparedAt, e.Harmless = prepared, s.harmless
	if err == nil {
		err = d.settle(ctx)
	}
	e.RecoveredAt = time.Now()
	if err == nil && d.gapped() {
		err = d.window(ctx)
	}
	if err == nil {
		err = wait(ctx, after*500*time.Millisecond)
	}
	e.LastSlot, e.Revived = slotAt(time.Now()), d.revived
	if v, lookErr := d.look(ctx); lookErr == nil {
		e.To = v.Holder
	}
	return e, err
}

// settle waits until every running manager is fit, one of them holds, and its blocks come, for a while: what a manager
// decided in its trouble (a release, say) may be carried out just after it.
func (d *drill) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	var since time.Time
	if err := Poll(ctx, 100*time.Millisecond, func(ctx context.Context) error {
		if err := d.revive(); err != nil {
			return stop{err}
		}
		if err := d.system.settled(ctx, d.Sandbox); err != nil {
			since = time.Time{}
			return err
		}
		if since.IsZero() {
			since = time.Now()
		}
		if time.Since(since) < steady {
			return errors.New("it was settled for a moment only")
		}
		return nil
	}); err != nil {
		return fmt.Errorf("the cluster did not settle: %w", err)
	}
	return nil
}

// revive does what a service manager does, and counts it.
func (d *drill) revive() error {
	n, err := d.Revive()
	d.revived += n
	return err
}

// watch waits, and starts again what ends itself.
func (d *drill) watch(ctx context.Context, length time.Duration) error {
	for end := time.Now().Add(length); ; {
		rest := time.Until(end)
		if rest <= 0 {
			return nil
		}
		if err := wait(ctx, min(rest, 200*time.Millisecond)); err != nil {
			return err
		}
		if err := d.revive(); err != nil {
			return err
		}
	}
}

// pause waits for a seeded moment: faults must fall on every phase of a slot.
func (d *drill) pause(ctx context.Context, least, span time.Duration) error {
	return wait(ctx, least+time.Duration(d.rand.Int64N(int64(span))))
}

func wait(ctx context.Context, t time.Duration) error {
	timer := time.NewTimer(t)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// other chooses a member that is not this one.
func (d *drill) other(id string) *Member {
	list := slices.DeleteFunc(slices.Clone(d.Members), func(m *Member) bool { return m.ID == id })
	return list[d.rand.IntN(len(list))]
}

package drill

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// campaign is all runs of a plan on one system.
type campaign struct {
	Plan
	scenario scenario
	baseline string // kind; "" for ours
}

// run spreads the runs over lanes and puts their reports together.
func (c campaign) run(ctx context.Context) (Report, error) {
	reports, errs := make([]Report, c.Parallel), make([]error, c.Parallel)
	var wg sync.WaitGroup
	for lane := range c.Parallel {
		var runs []int
		for run := lane + 1; run <= c.Runs; run += c.Parallel {
			if c.Only == 0 || run == c.Only {
				runs = append(runs, run)
			}
		}
		wg.Go(func() { reports[lane], errs[lane] = c.lane(ctx, lane, runs) })
	}
	wg.Wait()
	r := Report{Scenario: c.Scenario, System: cmp.Or(c.baseline, "roundtable"), Runs: c.Runs, Seed: c.Seed, Fence: "gate", LatencyMs: c.Sandbox.Latency.Milliseconds(), Namespaces: c.Sandbox.Namespaces, Dir: c.Sandbox.Dir}
	if c.baseline != "" {
		r.Fence = "none"
	}
	for _, part := range reports {
		r.add(part)
	}
	r.sum()
	err := errors.Join(errs...)
	planned := c.Runs
	if c.Only > 0 {
		planned = 1
	}
	if r.Runs = len(r.Events); r.Runs < planned {
		r.Failures = append(r.Failures, fmt.Sprintf("broken off after %d of %d runs: %v", r.Runs, planned, err))
	}
	return r, err
}

// again is the command that repeats a run.
func (p Plan) again(run int) string {
	text := fmt.Sprintf("drill %s --seed %d --runs %d --only %d", p.Scenario, p.Seed, p.Runs, run)
	for _, f := range []struct {
		name  string
		set   bool
		value any
	}{
		{"length", p.Length > 0, p.Length}, {"longest", p.Longest > 0, p.Longest}, {"latency", p.Sandbox.Latency > 0, p.Sandbox.Latency},
		{"producers", p.Sandbox.Producers > 1, p.Sandbox.Producers}, {"managers", p.Sandbox.Managers > 0, p.Sandbox.Managers},
		{"netns", p.Sandbox.Namespaces, true},
	} {
		if f.set {
			text += fmt.Sprintf(" --%s=%v", f.name, f.value)
		}
	}
	return text
}

// length bounds what a fault drew.
func (p Plan) length(drawn time.Duration) time.Duration {
	if p.Length > 0 {
		return p.Length
	}
	if p.Longest > 0 {
		return min(drawn, p.Longest)
	}
	return drawn
}

// lane does its runs one after the other, on one sandbox as long as it recovers each time.
func (c campaign) lane(ctx context.Context, lane int, runs []int) (Report, error) {
	var all Report
	for n := 1; len(runs) > 0; n++ {
		o := c.Sandbox
		o.Baseline = c.baseline
		o.Dir = filepath.Join(c.Sandbox.Dir, fmt.Sprintf("%s-%s-%d.%d", c.Scenario, cmp.Or(c.baseline, "roundtable"), lane+1, n))
		if c.scenario.needs != nil {
			c.scenario.needs(&o)
		}
		done, r, err := c.box(ctx, o, runs)
		all.add(r)
		if err != nil {
			return all, err
		}
		runs = runs[done:]
		if r.clean() || c.baseline != "" {
			if err := os.RemoveAll(o.Dir); err != nil {
				return all, fmt.Errorf("drill: %w", err)
			}
		}
	}
	return all, nil
}

// box does runs on a new sandbox, up to the first that it does not recover from, and says how many.
func (c campaign) box(ctx context.Context, o Options, runs []int) (done int, r Report, err error) {
	s, err := NewSandbox(o)
	if err != nil {
		return 0, Report{}, err
	}
	r.Nodeos = s.opts.Nodeos
	d := &drill{Sandbox: s, length: c.length}
	closed := false
	finish := func() error {
		if closed {
			return nil
		}
		closed = true
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTime)
		defer cancel()
		return s.Close(stop)
	}
	defer func() { err = errors.Join(err, d.calm(), finish()) }()
	if err := s.Start(); err != nil {
		return 0, r, err
	}
	if err := d.settle(ctx); err != nil {
		return 0, r, err
	}
	first := slotAt(time.Now()) + 1
	var broken error
	for _, run := range runs {
		d.rand = rand.New(rand.NewPCG(uint64(c.Seed), uint64(run))) //nolint:gosec // a seed to repeat a run with
		e, failed := d.once(ctx, c.scenario)
		if broken = ctx.Err(); broken != nil {
			break // what was done is checked all the same
		}
		done++
		e.Run = run
		line := fmt.Sprintf("%s %s run %d: %s %s -> %s", s.system.name(), c.Scenario, run, e.What, e.From, e.To)
		if failed != nil {
			e.Failure = failed.Error()
			r.Unrecovered++
			r.Failures = append(r.Failures, fmt.Sprintf("run %d (repeat it with: %s): %s: %v", run, c.again(run), e.What, failed))
			line += ": " + e.Failure
		}
		r.Events = append(r.Events, e)
		r.Revived += e.Revived
		fmt.Fprintln(c.Progress, line)
		if failed != nil {
			break
		}
	}
	last := slotAt(time.Now()) - 1
	err = d.check(context.WithoutCancel(ctx), &r, first, last, finish)
	if err != nil && c.baseline != "" { // it may well end with no chain that anybody could read; what was signed twice was counted
		r.Failures = append(r.Failures, err.Error())
		err = nil
	}
	return done, r, errors.Join(err, broken)
}

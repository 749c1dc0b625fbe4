package fsm

import (
	"fmt"
	"strings"
	"testing"
)

func planned(change ...func(*Plan)) Plan {
	p := Plan{ID: "nightly", Name: KindBackup, Task: *makes("").Task, Every: 3_600_000, Tries: 2, Due: 11_000}
	for _, f := range change {
		f(&p)
	}
	return p
}

func byBlocks(p *Plan) { p.Every, p.Due, p.Blocks, p.DueBlock = 0, 0, 1000, 5000 }

// plan is homed with a plan.
func plan(change ...func(*Plan)) func(testing.TB) *State {
	return then(homed, with(PutPlan{planned(change...)}))
}

// fires is the firing of the plan as it is due first, which starts a backup "p1".
func fires(change ...func(*FirePlan)) FirePlan {
	c := makes("p1", func(t *Task) { t.Plan = "nightly" })
	f := FirePlan{ID: "nightly", Due: 11_000, Next: 3_611_000, Start: &c}
	for _, g := range change {
		g(&f)
	}
	return f
}

func atBlock(c *FirePlan) { c.Due, c.Next, c.DueBlock, c.NextBlock = 0, 0, 5000, 6000 }

// again is a try again of what was fired, as backup "p2"; try is how many there were.
func again(try int) FirePlan {
	return fires(func(c *FirePlan) { c.Again, c.Due, c.Next, c.Try, c.Start.Task.Backup = true, 3_611_000, 0, try, "p2" })
}

func now(id string) FirePlan {
	return fires(func(c *FirePlan) { c.Now, c.Due, c.Next, c.Start.Task.Backup = true, 0, 0, id })
}

func skips(change ...func(*FirePlan)) FirePlan {
	return fires(append([]func(*FirePlan){func(c *FirePlan) { c.Start, c.Skip = nil, "nobody is fit" }}, change...)...)
}

// fired plays a script on what the plan has started.
func fired(script ...string) func(testing.TB) *State {
	return then(plan(), with(fires()), func(t testing.TB, s *State) *State { return play(t, s, script...) })
}

func nightly(s *State) Plan { return s.Plans["nightly"] }

var planRules = []rule{
	{name: "put", on: homed, do: PutPlan{planned(func(p *Plan) {
		p.Try, p.Fired, p.FiredAt, p.Operation, p.Count, p.Skipped, p.Why, p.Task.Cancel = 1, 2, 3, 4, 5, 6, "w", true // which is the state's own
	})}, check: func(s *State) bool {
		return fmt.Sprint(nightly(s)) == fmt.Sprint(planned()) && history(s).Kind == "plan.put"
	}},
	{name: "put, by a cron expression", on: homed, do: PutPlan{planned(func(p *Plan) { p.Every, p.Cron = 0, "0 3 * * *" })}, check: func(s *State) bool { return nightly(s).Cron != "" }},
	{name: "put, every so many blocks", on: homed, do: PutPlan{planned(byBlocks)}, check: func(s *State) bool { return nightly(s).DueBlock == 5000 }},
	{name: "put, of a sweep", on: homed, do: PutPlan{planned(func(p *Plan) { p.Name, p.Task = KindSweep, *asks(KindSweep).Task })}, check: func(s *State) bool { return nightly(s).Name == KindSweep }},
	{name: "put, of a verification of one", on: homed, do: PutPlan{planned(func(p *Plan) { p.Name, p.Task = KindVerify, *asks(KindVerify).Task })}, want: ErrPlan},
	{name: "put, of a restore", on: homed, do: PutPlan{planned(func(p *Plan) { p.Name = KindRestore })}, want: ErrPlan},
	{name: "put, without a name", on: homed, do: PutPlan{planned(func(p *Plan) { p.ID = "" })}, want: ErrPlan},
	{name: "put, never", on: homed, do: PutPlan{planned(func(p *Plan) { p.Every = 0 })}, want: ErrPlan},
	{name: "put, in two ways", on: homed, do: PutPlan{planned(func(p *Plan) { p.Cron = "0 3 * * *" })}, want: ErrPlan},
	{name: "put, all the time", on: homed, do: PutPlan{planned(func(p *Plan) { p.Every = 999 })}, want: ErrPlan},
	{name: "put, backwards", on: homed, do: PutPlan{planned(func(p *Plan) { p.Every = -1000 })}, want: ErrPlan},
	{name: "put, with much jitter", on: homed, do: PutPlan{planned(func(p *Plan) { p.Jitter = MaxTask + 1 })}, want: ErrPlan},
	{name: "put, with a blackout of all", on: homed, do: PutPlan{planned(func(p *Plan) { p.Blackout = MaxStep + 1 })}, want: ErrPlan},
	{name: "put, late before it is due", on: homed, do: PutPlan{planned(func(p *Plan) { p.Late = -1 })}, want: ErrPlan},
	{name: "put, with many tries", on: homed, do: PutPlan{planned(func(p *Plan) { p.Tries = 17 })}, want: ErrPlan},
	{name: "put, by a long expression", on: homed, do: PutPlan{planned(func(p *Plan) { p.Every, p.Cron = 0, strings.Repeat("*", maxNamed+1) })}, want: ErrPlan},
	{name: "put, and it is not said when it is due", on: homed, do: PutPlan{planned(func(p *Plan) { p.Due = 0 })}, want: ErrPlan},
	{name: "put, and it was due before all time", on: homed, do: PutPlan{planned(func(p *Plan) { p.Due = -1 })}, want: ErrPlan},
	{name: "put, due at a block, every hour", on: homed, do: PutPlan{planned(func(p *Plan) { p.DueBlock = 5 })}, want: ErrPlan},
	{name: "put, due at a time, every so many blocks", on: homed, do: PutPlan{planned(byBlocks, func(p *Plan) { p.Due = 5 })}, want: ErrPlan},
	{name: "put, of a backup with a name", on: homed, do: PutPlan{planned(func(p *Plan) { p.Task.Backup = "b1" })}, want: ErrPlan},
	{name: "put, with somebody to be avoided", on: homed, do: PutPlan{planned(func(p *Plan) { p.Task.Avoid = []string{"b"} })}, want: ErrPlan},
	{name: "put, of another plan", on: homed, do: PutPlan{planned(func(p *Plan) { p.Task.Plan = "weekly" })}, want: ErrPlan},
	{name: "put, and it is not said how long a step may take", on: homed, do: PutPlan{planned(func(p *Plan) { p.Task.Limit = 0 })}, check: func(s *State) bool { return nightly(s).Task.Limit == 0 }},
	{name: "put, of what cannot be asked for", on: homed, do: PutPlan{planned(func(p *Plan) { p.Task.Repository = "" })}, want: ErrAsked},
	{name: "put, for a stranger", on: homed, do: PutPlan{planned(func(p *Plan) { p.Task.Member = "x" })}, want: ErrMember},
	{name: "put, one too many", on: func(t testing.TB) *State {
		s := homed(t)
		for i := range maxPlans {
			s = must(t, s, PutPlan{planned(func(p *Plan) { p.ID = fmt.Sprint("p", i) })})
		}
		return s
	}, do: PutPlan{planned()}, want: ErrPlan},
	{name: "put again, before it fires", on: plan(), do: PutPlan{planned(func(p *Plan) { p.Due = 10_500 })}, check: func(s *State) bool { return nightly(s).Due == 10_500 }},
	{name: "put again, after it fired", on: fired(), do: PutPlan{planned(func(p *Plan) { p.Due, p.Tries = 11_001, 5 })}, check: func(s *State) bool {
		p := nightly(s)
		return p.Due == 11_001 && p.Tries == 5 && p.Count == 1 && p.FiredAt == 11_000 && p.Operation == 11 && p.Fired == 11_000
	}},
	{name: "put again, for what it fired for", on: fired(), do: PutPlan{planned()}, want: ErrPlan},
	{name: "put again, for a block after a time", on: fired(), do: PutPlan{planned(byBlocks)}, check: func(s *State) bool { return nightly(s).DueBlock == 5000 && nightly(s).FiredAt == 0 }},
	{name: "put again, for a block that it fired for", on: then(plan(byBlocks), with(fires(atBlock))), do: PutPlan{planned(byBlocks)}, want: ErrPlan},

	{name: "off", on: plan(), do: SetPlan{ID: "nightly", Disabled: true}, check: func(s *State) bool { return nightly(s).Disabled && nightly(s).Due == 11_000 }},
	{name: "on", on: then(fired(), with(SetPlan{ID: "nightly", Disabled: true})), do: SetPlan{ID: "nightly", Due: 99_000}, check: func(s *State) bool { return !nightly(s).Disabled && nightly(s).Due == 99_000 }},
	{name: "on, at no time", on: plan(), do: SetPlan{ID: "nightly"}, want: ErrPlan},
	{name: "on, at a block and at a time", on: plan(), do: SetPlan{ID: "nightly", Due: 99_000, DueBlock: 5}, want: ErrPlan},
	{name: "on, at a time and not at a block", on: plan(byBlocks), do: SetPlan{ID: "nightly", Due: 99_000}, want: ErrPlan},
	{name: "on, for what it fired for", on: fired(), do: SetPlan{ID: "nightly", Due: 11_000}, want: ErrPlan},
	{name: "off, what nobody knows", on: homed, do: SetPlan{ID: "nightly", Disabled: true}, want: ErrNoPlan},
	{name: "remove", on: fired(), do: RemovePlan{"nightly"}, check: func(s *State) bool {
		return s.Plans == nil && len(s.RunningOperations()) == 1 && history(s).Kind == "plan.removed"
	}},
	{name: "remove what nobody knows", on: homed, do: RemovePlan{"nightly"}, want: ErrNoPlan},

	{name: "fire", on: plan(), do: fires(), check: all(is(StepValidate, Running), func(s *State) bool {
		p, o := nightly(s), newest(&testing.T{}, s)
		return p.Due == 3_611_000 && p.FiredAt == 11_000 && p.Fired == 11_000 && p.Count == 1 && p.Operation == 11 && o.ID == 11 && o.Task.Plan == "nightly" && o.Task.Backup == "p1"
	})},
	{name: "fire, and say how long a step may take", on: plan(func(p *Plan) { p.Task.Limit = 0 }), do: fires(func(c *FirePlan) { c.Start.Task.Limit = 5000 }), check: all(is(StepValidate, Running), func(s *State) bool { return task(s).Limit == 5000 })},
	{name: "fire, and do not say how long a step may take", on: plan(func(p *Plan) { p.Task.Limit = 0 }), do: fires(func(c *FirePlan) { c.Start.Task.Limit = 0 }), want: ErrAsked},
	{name: "fire, and say that a step may take longer", on: plan(), do: fires(func(c *FirePlan) { c.Start.Task.Limit++ }), want: ErrPlan},
	{name: "fire, and avoid one", on: plan(), do: fires(func(c *FirePlan) { c.Start.Task.Avoid = []string{"c"} }), check: is(StepValidate, Running)},
	{name: "fire at a block", on: plan(byBlocks), do: fires(atBlock), check: func(s *State) bool {
		return nightly(s).DueBlock == 6000 && nightly(s).FiredAt == 5000 && nightly(s).Due == 0
	}},
	{name: "fire twice", on: fired("cancel"), do: fires(func(c *FirePlan) { c.Start.Task.Backup = "p2" }), want: ErrPlan},
	{name: "fire too early", on: plan(), at: 10_999, do: fires(), want: ErrPlan},
	{name: "fire for another time", on: plan(), do: fires(func(c *FirePlan) { c.Due = 10_000 }), want: ErrPlan},
	{name: "fire for another block", on: plan(byBlocks), do: fires(atBlock, func(c *FirePlan) { c.DueBlock = 4999 }), want: ErrPlan},
	{name: "fire after other tries", on: plan(), do: fires(func(c *FirePlan) { c.Try = 1 }), want: ErrPlan},
	{name: "fire, and again at once", on: plan(), do: fires(func(c *FirePlan) { c.Next = 11_000 }), want: ErrPlan},
	{name: "fire, and next at a block", on: plan(), do: fires(func(c *FirePlan) { c.NextBlock = 5 }), want: ErrPlan},
	{name: "fire at a block, and again at once", on: plan(byBlocks), do: fires(atBlock, func(c *FirePlan) { c.NextBlock = 5000 }), want: ErrPlan},
	{name: "fire at a block, and next at a time", on: plan(byBlocks), do: fires(atBlock, func(c *FirePlan) { c.Next = 5 }), want: ErrPlan},
	{name: "fire what nobody knows", on: homed, do: fires(), want: ErrNoPlan},
	{name: "fire what is off", on: then(plan(), with(SetPlan{ID: "nightly", Disabled: true})), do: fires(), want: ErrPlan},
	{name: "fire nothing", on: plan(), do: fires(func(c *FirePlan) { c.Start = nil }), want: ErrPlan},
	{name: "fire, and skip it", on: plan(), do: fires(func(c *FirePlan) { c.Skip = "x" }), want: ErrPlan},
	{name: "fire something else", on: plan(), do: fires(func(c *FirePlan) { c.Start.Name, c.Start.Task = KindSweep, asks(KindSweep).Task }), want: ErrPlan},
	{name: "fire a restart", on: plan(), do: fires(func(c *FirePlan) { c.Start.Roll = restart().Roll }), want: ErrPlan},
	{name: "fire another task", on: plan(), do: fires(func(c *FirePlan) { c.Start.Task.Repository = "other" }), want: ErrPlan},
	{name: "fire for nobody", on: plan(), do: fires(func(c *FirePlan) { c.Start.Task.Plan = "" }), want: ErrPlan},
	{name: "fire for another plan", on: plan(), do: fires(func(c *FirePlan) { c.Start.Task.Plan = "weekly" }), want: ErrPlan},
	{name: "fire while somebody else writes there", on: then(plan(), with(makes("b1"))), do: fires(), want: ErrBusy},
	{name: "fire into the queue", on: then(plan(), with(makes("b1"))), do: fires(func(c *FirePlan) { c.Start.Queue = true }), check: stands(StepQueued, Running, "")},
	{name: "fire while the last one runs", on: fired(), at: 3_611_000, do: fires(func(c *FirePlan) { c.Due, c.Next, c.Start.Task.Backup = 3_611_000, 7_211_000, "p2" }), want: ErrBusy},
	{name: "fire the next one", on: fired("cancel"), at: 3_611_000, do: fires(func(c *FirePlan) { c.Due, c.Next, c.Start.Task.Backup = 3_611_000, 7_211_000, "p2" }), check: func(s *State) bool { return nightly(s).Count == 2 && nightly(s).FiredAt == 3_611_000 }},
	{name: "fire with the last one's backup", on: fired("prepare b", "cancel"), at: 3_611_000, do: fires(func(c *FirePlan) { c.Due, c.Next = 3_611_000, 7_211_000 }), want: ErrAsked},

	{name: "skip", on: plan(), do: skips(), check: func(s *State) bool {
		p := nightly(s)
		return p.Due == 3_611_000 && p.FiredAt == 11_000 && p.Fired == 0 && p.Count == 0 && p.Skipped == 1 && p.Why == "nobody is fit" && p.Operation == 0 && len(s.Operations) == 0 && history(s).Kind == "plan.skipped"
	}},
	{name: "skip while the last one runs", on: fired(), at: 3_611_000, do: skips(func(c *FirePlan) { c.Due, c.Next = 3_611_000, 7_211_000 }), check: func(s *State) bool { return nightly(s).Skipped == 1 && nightly(s).Operation == 11 }},
	{name: "skip too early", on: plan(), at: 10_999, do: skips(), want: ErrPlan},
	{name: "skip twice", on: then(plan(), with(skips())), do: skips(), want: ErrPlan},

	{name: "again", on: fired("prepare b", "bad b x", "failed"), do: again(0), check: func(s *State) bool {
		p := nightly(s)
		return p.Try == 1 && p.Due == 3_611_000 && p.Count == 1 && p.Operation == 15 && p.Fired == 11_000 && task(s).Backup == "p2"
	}},
	{name: "again, after it expired", on: fired("prepare b", "expire"), do: again(0), check: func(s *State) bool { return nightly(s).Try == 1 }},
	{name: "again, twice", on: then(fired("prepare b", "bad b x", "failed"), with(again(0), CancelOperation{ID: 15})), do: again(0), want: ErrPlan},
	{name: "again, once too often", on: then(fired("prepare b", "bad b x", "failed"), with(again(0)), func(t testing.TB, s *State) *State {
		third := again(1)
		third.Start.Task.Backup = "p3"
		return play(t, must(t, play(t, s, "failed"), third), "failed")
	}), do: change(again(2), func(c *FirePlan) { c.Start.Task.Backup = "p4" }), want: ErrPlan},
	{name: "again, while it runs", on: fired("prepare b"), do: again(0), want: ErrPlan},
	{name: "again, though it was done", on: fired(made...), do: again(0), want: ErrPlan},
	{name: "again, though it was canceled", on: fired("cancel"), do: again(0), want: ErrPlan},
	{name: "again, before it fired", on: plan(), do: change(again(0), func(c *FirePlan) { c.Due = 11_000 }), want: ErrPlan},
	{name: "again, and nothing is started", on: fired("failed"), do: change(again(0), func(c *FirePlan) { c.Start, c.Skip = nil, "x" }), want: ErrPlan},
	{name: "again, what is off", on: then(fired("failed"), with(SetPlan{ID: "nightly", Disabled: true})), do: again(0), want: ErrPlan},

	{name: "now", on: plan(), do: now("p1"), check: func(s *State) bool {
		p := nightly(s)
		return p.Due == 11_000 && p.FiredAt == 0 && p.Count == 1 && p.Operation == 11
	}},
	{name: "now, what is off", on: then(plan(), with(SetPlan{ID: "nightly", Disabled: true})), do: now("p1"), check: is(StepValidate, Running)},
	{name: "now, while it runs", on: fired(), do: now("p2"), want: ErrBusy},
	{name: "now, after all tries", on: then(fired("failed"), with(again(0)), func(t testing.TB, s *State) *State { return play(t, s, "failed") }), do: now("p3"), check: func(s *State) bool { return nightly(s).Try == 0 && nightly(s).Count == 2 }},
	{name: "now, again", on: fired("failed"), do: change(now("p2"), func(c *FirePlan) { c.Again = true }), want: ErrPlan},
	{name: "now, and nothing is started", on: plan(), do: change(now("p1"), func(c *FirePlan) { c.Start, c.Skip = nil, "x" }), want: ErrPlan},
}

// TestAPlanFiresOnce: several members think that they lead and fire what is due, in any order and any number of times.
func TestAPlanFiresOnce(t *testing.T) {
	s := plan()(t)
	due := int64(11_000)
	for round := range 5 {
		next := due + 3_600_000
		for leader := range 4 {
			c := fires(func(c *FirePlan) {
				c.Due, c.Next = due, next+int64(leader) // each has a jitter of its own
				c.Start.Task.Backup = fmt.Sprintf("p-%d-%d", round, leader)
				c.Start.Deadline = due + 60_000
			})
			for range 2 {
				var r Result
				s, r = s.Apply(Entry{Index: s.Index + 1, At: due + int64(leader), By: "a", Command: c})
				if (r.Err == nil) != (s.Plans["nightly"].Due == next && s.Index == s.Plans["nightly"].Operation) {
					t.Fatalf("round %d, leader %d: %v", round, leader, r.Err)
				}
			}
		}
		if p := s.Plans["nightly"]; p.Count != uint64(round+1) || p.Due != next {
			t.Fatalf("round %d: fired %d times, due at %d", round, p.Count, p.Due)
		}
		s = play(t, s, "cancel")
		due = next
	}
	if len(s.Operations) != 5 {
		t.Fatalf("%d operations", len(s.Operations))
	}
}

package control

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/adhocore/gronx"
	"pgregory.net/rapid"

	"roundtable/cluster/health"
	"roundtable/fsm"
)

func TestNextDue(t *testing.T) {
	at := func(text string) time.Time {
		when, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		return when
	}
	noon := at("2026-11-22T12:00:00Z")
	for name, c := range map[string]struct {
		p     fsm.Plan
		after time.Time
		want  string // "" for a refusal
	}{
		"the first of every hour":         {fsm.Plan{Every: 3_600_000}, noon, "2026-11-22T13:00:00Z"},
		"every hour, in its rhythm":       {fsm.Plan{Every: 3_600_000, Due: noon.Add(-5 * time.Minute).UnixMilli()}, noon, "2026-11-22T12:55:00Z"},
		"every hour, exactly at one":      {fsm.Plan{Every: 3_600_000, Due: noon.UnixMilli()}, noon, "2026-11-22T13:00:00Z"},
		"every hour, before the first":    {fsm.Plan{Every: 3_600_000, Due: noon.Add(9 * time.Hour).UnixMilli()}, noon, "2026-11-22T21:00:00Z"},
		"every hour, a year later":        {fsm.Plan{Every: 3_600_000, Due: noon.UnixMilli()}, noon.AddDate(1, 0, 0).Add(time.Minute), "2027-11-22T13:00:00Z"},
		"at three":                        {fsm.Plan{Cron: "0 3 * * *"}, noon, "2026-11-23T03:00:00Z"},
		"at three, at that moment":        {fsm.Plan{Cron: "0 3 * * *"}, at("2026-11-23T03:00:00Z"), "2026-11-24T03:00:00Z"},
		"at three, of another zone":       {fsm.Plan{Cron: "0 3 * * *"}, noon.In(time.FixedZone("far", 36000)), "2026-11-23T03:00:00Z"},
		"on Sundays":                      {fsm.Plan{Cron: "30 4 * * 0"}, at("2026-11-23T00:00:00Z"), "2026-11-29T04:30:00Z"},
		"on the 29th of February":         {fsm.Plan{Cron: "0 0 29 2 *"}, noon, "2028-02-29T00:00:00Z"},
		"never":                           {fsm.Plan{Cron: "0 0 31 2 *"}, noon, ""},
		"four fields":                     {fsm.Plan{Cron: "0 3 * *"}, noon, ""},
		"six fields":                      {fsm.Plan{Cron: "0 0 3 * * *"}, noon, ""},
		"nonsense":                        {fsm.Plan{Cron: "a b c d e"}, noon, ""},
		"a minute that there is not":      {fsm.Plan{Cron: "61 3 * * *"}, noon, ""},
		"by blocks, which have no time":   {fsm.Plan{Blocks: 5}, noon, ""},
		"steps and lists":                 {fsm.Plan{Cron: "*/20 1,13 * * *"}, noon, "2026-11-22T13:00:00Z"},
		"steps and lists, the next one":   {fsm.Plan{Cron: "*/20 1,13 * * *"}, noon.Add(time.Hour), "2026-11-22T13:20:00Z"},
		"steps and lists, over the night": {fsm.Plan{Cron: "*/20 1,13 * * *"}, noon.Add(100 * time.Minute), "2026-11-23T01:00:00Z"},
	} {
		t.Run(name, func(t *testing.T) {
			due, err := NextDue(c.p, c.after)
			switch {
			case c.want == "":
				if !errors.Is(err, fsm.ErrPlan) {
					t.Errorf("%s, %v", due, err)
				}
			case err != nil || due.UTC().Format(time.RFC3339) != c.want:
				t.Errorf("%s, %v, want %s", due.UTC(), err, c.want)
			}
		})
	}
}

// TestCronMinuteByMinute: no minute at which an expression is due is left out, and none is made up.
func TestCronMinuteByMinute(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		field := func(name string, low, high int) string {
			from := rapid.IntRange(low, high).Draw(t, name)
			switch rapid.IntRange(0, 3).Draw(t, "how") {
			case 0:
				return fmt.Sprint(from)
			case 1:
				return fmt.Sprintf("*/%d", rapid.IntRange(2, 9).Draw(t, "step"))
			case 2:
				return fmt.Sprintf("%d-%d", from, rapid.IntRange(from, high).Draw(t, "to"))
			}
			return "*"
		}
		p := fsm.Plan{Cron: field("minute", 0, 59) + " " + field("hour", 0, 23) + " " + field("day", 1, 31) + " * " + field("weekday", 0, 6)}
		after := time.Unix(1_795_000_000+rapid.Int64Range(0, 100_000_000).Draw(t, "after"), 0).UTC()
		due, err := NextDue(p, after)
		for minute := after.Truncate(time.Minute).Add(time.Minute); minute.Before(after.Add(6 * time.Hour)); minute = minute.Add(time.Minute) {
			is, isErr := gronx.New().IsDue(p.Cron, minute)
			switch {
			case isErr != nil:
				t.Fatal(isErr)
			case is && (err != nil || !due.Equal(minute)):
				t.Fatalf("%q after %s: %s, %v; it is due at %s", p.Cron, after, due, err, minute)
			case !is && due.Equal(minute):
				t.Fatalf("%q after %s: %s, where it is not due", p.Cron, after, due)
			case is:
				return
			}
		}
	})
}

func TestJitter(t *testing.T) {
	seen := map[int64]bool{}
	for due := range int64(1000) {
		j := jitter("p", due, 9)
		if j < 0 || j > 9 || j != jitter("p", due, 9) {
			t.Fatalf("%d", j)
		}
		seen[j] = true
	}
	if len(seen) != 10 || jitter("p", 1, 0) != 0 {
		t.Errorf("%v", seen)
	}
}

// planned is a plan in a world of three.
type planned struct {
	*rolled
	p fsm.Plan
}

// plans makes a plan of hourly backups that is due now, and has done nothing so far.
func plans(change ...func(*planned)) *planned {
	w := &planned{rolled: tasks(fsm.KindBackup, fsm.CopiesData, fsm.StepValidate, "")}
	w.p = fsm.Plan{
		ID: "p", Name: fsm.KindBackup, Task: fsm.Task{Repository: "main", Copies: fsm.CopiesData, Limit: 1000}, Every: 3_600_000, Due: w.at.UnixMilli(),
	}
	for _, f := range change {
		f(w)
	}
	return w
}

// started says what the plan started last, so long ago.
func started(id uint64, outcome fsm.Outcome, member string, ended time.Duration) func(*planned) {
	return func(w *planned) {
		at := w.at.Add(-ended).UnixMilli()
		w.p.Operation = id
		if w.p.Fired == 0 {
			w.p.Fired = at - 1000
		}
		o := fsm.Operation{ID: id, Kind: fsm.KindBackup, Task: &fsm.Task{Plan: "p", Member: member}, Outcome: outcome, Started: at - 500, Ended: at, Steps: []fsm.Step{{Name: fsm.StepValidate}}}
		w.s.Operations = append(w.s.Operations, o)
	}
}

func dueIn(d time.Duration) func(*planned) {
	return func(w *planned) { w.p.Due = w.at.Add(d).UnixMilli() }
}

func plan(change func(*fsm.Plan)) func(*planned) { return func(w *planned) { change(&w.p) } }

func seen(change func(*rolled)) func(*planned) { return func(w *planned) { change(w.rolled) } }

func made(id string, created, verified int64, trial bool) func(*planned) {
	return func(w *planned) {
		if w.s.Backups == nil {
			w.s.Backups = map[string]fsm.Backup{}
		}
		w.s.Backups[id] = fsm.Backup{ID: id, Repository: "main", State: fsm.BackupDone, Created: created, Verified: verified, Trial: trial, Of: someStored}
	}
}

func (w *planned) decide() string {
	f, reason := planFire(fireInput{look: newLook(planInput{state: w.s, peers: w.peers, at: w.at, since: w.since}), plan: w.p, id: "new"})
	if f == nil {
		return "wait: " + reason
	}
	next := fmt.Sprintf("next in %s", time.UnixMilli(f.Next).Sub(w.at))
	if w.p.Blocks != 0 {
		next = fmt.Sprintf("next at %d", f.NextBlock)
	}
	switch {
	case f.Skip != "":
		return "skip: " + f.Skip + ", " + next
	case f.Again:
		return fmt.Sprintf("again, avoiding %v", f.Start.Task.Avoid)
	}
	return fmt.Sprintf("fire %s of %q, %s", f.Start.Name, f.Start.Task.Backup, next)
}

func TestPlanFire(t *testing.T) {
	verify := plan(func(p *fsm.Plan) { p.Name, p.Task = fsm.KindVerify, fsm.Task{Repository: "main", Limit: 1000} })
	trial := plan(func(p *fsm.Plan) { p.Task.Trial = true })
	blocks := func(due uint32) func(*planned) {
		return plan(func(p *fsm.Plan) { p.Every, p.Due, p.Blocks, p.DueBlock = 0, 0, 100, due })
	}
	head := func(num uint32) func(*planned) { return seen(func(w *rolled) { w.head(num) }) }
	catchUp := plan(func(p *fsm.Plan) { p.CatchUp = true })
	tries := plan(func(p *fsm.Plan) { p.Tries = 3 })
	unfit := seen(func(w *rolled) { w.sick("b").sick("c") })
	for name, c := range map[string]struct {
		w    *planned
		want string
	}{
		"due":                           {plans(), `fire backup of "new", next in 1h0m0s`},
		"not due":                       {plans(dueIn(time.Second)), "wait: "},
		"disabled":                      {plans(plan(func(p *fsm.Plan) { p.Disabled = true })), "wait: "},
		"a little late":                 {plans(dueIn(-50 * time.Minute)), `fire backup of "new", next in 10m0s`},
		"later than it may be":          {plans(dueIn(-50*time.Minute), plan(func(p *fsm.Plan) { p.Late = 600_000 })), "skip: it was due at " + due(-50*time.Minute) + ": nobody led the cluster then, next in 10m0s"},
		"missed":                        {plans(dueIn(-150 * time.Minute)), "skip: it was due at " + due(-150*time.Minute) + ": nobody led the cluster then, next in 30m0s"},
		"missed, and made up for":       {plans(dueIn(-150*time.Minute), catchUp), `fire backup of "new", next in 30m0s`},
		"the one before still runs":     {plans(started(9, fsm.Running, "c", 0)), "wait: backup 9, which it started before, is still running"},
		"and it is due again":           {plans(dueIn(-61*time.Minute), catchUp, started(9, fsm.Running, "c", 0)), "skip: it was due at " + due(-61*time.Minute) + ": backup 9, which it started before, is still running, next in 59m0s"},
		"the one before is done":        {plans(started(9, fsm.Done, "c", time.Minute)), `fire backup of "new", next in 1h0m0s`},
		"beside another one":            {plans(seen(otherTask(fsm.KindSweep, fsm.StepSweep, "b"))), "wait: sweep 40 goes first"},
		"nobody is fit":                 {plans(unfit), "wait: nobody is fit for it: a holds the lease; b is sick; c is sick"},
		"nobody was fit for an hour":    {plans(dueIn(-time.Hour), unfit), "skip: it was due at " + due(-time.Hour) + ": nobody is fit for it: a holds the lease; b is sick; c is sick, next in 1h0m0s"},
		"nobody was, and it catches up": {plans(dueIn(-time.Hour), unfit, catchUp), "wait: nobody is fit for it: a holds the lease; b is sick; c is sick"},
		"near our window":               {plans(plan(func(p *fsm.Plan) { p.Blackout = 10_000 }), seen(gaps(21, 0))), "wait: a window of ours is near"},
		"away from it":                  {plans(plan(func(p *fsm.Plan) { p.Blackout = 10_000 }), seen(gaps(21, 9))), `fire backup of "new", next in 1h0m0s`},
		"within the jitter":             {plans(dueIn(-time.Duration(jitterOf(0)-1)*time.Millisecond), plan(func(p *fsm.Plan) { p.Jitter = jitterMost })), "wait: "},
		"failed":                        {plans(dueIn(time.Minute), tries, started(9, fsm.Failed, "c", 61*time.Second)), "again, avoiding [c]"},
		"failed a moment ago":           {plans(dueIn(time.Minute), tries, started(9, fsm.Failed, "c", 59*time.Second)), "wait: backup 9 failed: try 1 of 3 at " + due(time.Second)},
		"failed twice":                  {plans(dueIn(time.Minute), tries, plan(func(p *fsm.Plan) { p.Try = 1 }), started(8, fsm.Failed, "b", 5*time.Minute), started(9, fsm.Expired, "c", 121*time.Second)), "again, avoiding [b c]"},
		"failed twice, a moment ago":    {plans(dueIn(time.Minute), tries, plan(func(p *fsm.Plan) { p.Try = 1 }), started(9, fsm.Failed, "c", 119*time.Second)), "wait: backup 9 failed: try 2 of 3 at " + due(time.Second)},
		"failed too often":              {plans(dueIn(time.Minute), tries, plan(func(p *fsm.Plan) { p.Try = 3 }), started(9, fsm.Failed, "c", time.Hour)), "wait: "},
		"canceled":                      {plans(dueIn(time.Minute), tries, started(9, fsm.Canceled, "c", time.Hour)), "wait: "},
		"failed, and due again":         {plans(tries, started(9, fsm.Failed, "c", 61*time.Second)), `fire backup of "new", next in 1h0m0s`},
		"failed, nobody is fit":         {plans(dueIn(time.Minute), tries, unfit, started(9, fsm.Failed, "c", 61*time.Second)), "wait: nobody is fit for it: a holds the lease; b is sick; c is sick"},
		"a block that is there":         {plans(blocks(50), head(50)), `fire backup of "new", next at 150`},
		"a block that is not there":     {plans(blocks(51), head(50)), "wait: "},
		"a head that is not known":      {plans(blocks(50), seen(func(w *rolled) { w.dead("a").dead("b").dead("c") })), "wait: "},
		"blocks that were missed":       {plans(blocks(50), head(351)), "skip: it was due at block 50: nobody led the cluster then, next at 450"},
		"and are made up for":           {plans(blocks(50), head(350), catchUp), `fire backup of "new", next at 450`},
		"blocks, a little late":         {plans(blocks(50), head(149)), `fire backup of "new", next at 150`},
		"blocks, later than it may be":  {plans(blocks(50), head(71), plan(func(p *fsm.Plan) { p.Late = 10_000 })), "skip: it was due at block 50: nobody led the cluster then, next at 150"},
		"verify: nothing":               {plans(verify), "wait: " + nothingToVerify},
		"verify: nothing for an hour":   {plans(verify, catchUp, dueIn(-time.Hour)), "skip: it was due at " + due(-time.Hour) + ": " + nothingToVerify + ", next in 1h0m0s"},
		"verify: the newest one":        {plans(verify, made("x", 1, 0, false), made("y", 2, 0, false)), `fire verify of "y", next in 1h0m0s`},
		"verify: the one that was not":  {plans(verify, made("x", 1, 0, false), made("y", 2, 5, false)), `fire verify of "x", next in 1h0m0s`},
		"verify: the one long ago":      {plans(verify, made("x", 1, 4, false), made("y", 2, 5, false)), `fire verify of "x", next in 1h0m0s`},
		"verify: not by a trial":        {plans(verify, trial, made("x", 1, 4, false), made("y", 2, 5, true)), `fire verify of "x", next in 1h0m0s`},
	} {
		t.Run(name, func(t *testing.T) {
			if got := c.w.decide(); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

// due is a moment so far from the test's.
func due(d time.Duration) string { return testNow.Add(d).UTC().Format(time.RFC3339) }

const jitterMost = 60_000

// jitterOf finds a time that the plan is due so long before the test's that it is not over yet.
func jitterOf(int64) int64 {
	for ago := int64(1); ; ago++ {
		if jitter("p", testNow.UnixMilli()-ago+1, jitterMost) > ago {
			return ago
		}
	}
}

// TestAPlanFiresOnce lets several leaders, of which each sees an older state than the one before, fire a plan at any times: for each time that
// it is due it starts one operation at most, and never two at once.
func TestAPlanFiresOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := plans(dueIn(time.Minute), plan(func(p *fsm.Plan) {
			p.Every = rapid.Int64Range(60_000, 600_000).Draw(t, "every")
			p.Jitter = rapid.Int64Range(0, 30_000).Draw(t, "jitter")
			p.Tries = rapid.IntRange(0, 3).Draw(t, "tries")
			p.CatchUp = rapid.Bool().Draw(t, "catch up")
		}))
		w.s.Operations = nil
		states := []*fsm.State{w.s}
		apply := func(c fsm.Command) error {
			s := states[len(states)-1]
			next, result := s.Apply(fsm.Entry{Index: s.Index + 1, At: w.at.UnixMilli(), By: "a", Command: c})
			states = append(states, next)
			return result.Err
		}
		if err := apply(fsm.PutPlan{Plan: w.p}); err != nil {
			t.Fatal(err)
		}
		fired := map[int64]int{}
		first := w.p.Due
		for i := range 200 {
			w.later(time.Duration(rapid.Int64Range(0, 200_000).Draw(t, "pass")) * time.Millisecond)
			now := states[len(states)-1]
			now.Lease.Last = w.s.Lease.Last
			for _, o := range now.RunningOperations() {
				outcome := rapid.SampledFrom([]fsm.Outcome{fsm.Running, fsm.Failed, fsm.Failed, fsm.Canceled}).Draw(t, "outcome")
				switch outcome {
				case fsm.Canceled:
					_ = apply(fsm.CancelOperation{ID: o.ID})
				case fsm.Failed:
					if err := apply(fsm.FinishOperation{ID: o.ID, Step: o.Current().Name, Number: o.Number(), Outcome: outcome}); err != nil {
						t.Fatal(err)
					}
				}
			}
			old := states[max(0, len(states)-1-rapid.IntRange(0, 3).Draw(t, "lag"))]
			p, ok := old.Plans["p"]
			if !ok {
				continue
			}
			f, _ := planFire(fireInput{look: newLook(planInput{state: old, peers: w.peers, at: w.at, since: w.since}), plan: p, id: fmt.Sprintf("b%d", i)})
			if f == nil || apply(*f) != nil {
				continue
			}
			if f.Start != nil && !f.Again {
				fired[f.Due]++
			}
		}
		last := states[len(states)-1]
		for due, n := range fired {
			if n > 1 || (due-first)%w.p.Every != 0 {
				t.Fatalf("due at %d it fired %d times", due, n)
			}
		}
		if int(last.Plans["p"].Count) != len(fired) || len(last.RunningOperations()) > 1 {
			t.Fatalf("%d firings, counted are %d", len(fired), last.Plans["p"].Count)
		}
	})
}

func TestPlanRetention(t *testing.T) {
	now := time.UnixMilli(1_000_000)
	done := func(id string, created, expires int64, change ...func(*fsm.Backup)) fsm.Backup {
		b := fsm.Backup{ID: id, Copies: fsm.CopiesData, Repository: "main", State: fsm.BackupDone, Created: created, Expires: expires, Of: someStored}
		for _, f := range change {
			f(&b)
		}
		return b
	}
	s := fsm.New()
	s.Backups = map[string]fsm.Backup{}
	for _, b := range []fsm.Backup{
		done("old", 1, 0),
		done("late", 2, 900_000),
		done("soon", 3, 1_100_000),
		done("pinned", 4, 900_000, func(b *fsm.Backup) { b.Pinned = true }),
		done("used", 5, 900_000),
		done("damaged", 6, 900_000, func(b *fsm.Backup) { b.State = fsm.BackupDamaged }),
		done("newest", 9, 900_000),
		done("only", 2, 900_000, func(b *fsm.Backup) { b.Copies = fsm.CopiesSnapshot }),
		done("else", 2, 900_000, func(b *fsm.Backup) { b.Repository = "other" }),
	} {
		s.Backups[b.ID] = b
	}
	s.Operations = []fsm.Operation{{ID: 1, Kind: fsm.KindVerify, Task: &fsm.Task{Backup: "used", Repository: "main"}, Outcome: fsm.Running, Steps: []fsm.Step{{Name: fsm.StepCheck}}}}
	var ids []string
	for _, e := range planRetention(s, "main", func(string, []fsm.Backup, time.Time) []string { return []string{"old", "newest", "pinned"} }, now) {
		ids = append(ids, e.ID)
		if !e.Retention || e.Why == "" || e.Expires != s.Backups[e.ID].Expires {
			t.Errorf("%+v", e)
		}
	}
	if !slices.Equal(ids, []string{"late", "old"}) {
		t.Errorf("given up are %v", ids)
	}
}

func TestKeeper(t *testing.T) {
	s, peers := world()
	has := func(id string, names ...string) {
		p := peers[id]
		p.Report.Repositories = names
		peers[id] = p
	}
	if got := keeper(s, peers, "a", "main"); got != "" {
		t.Errorf("nobody has it: %q", got)
	}
	has("b", "main")
	has("c", "main")
	if got := keeper(s, peers, "a", "main"); got != "b" {
		t.Errorf("the leader has it not: %q", got)
	}
	if got := keeper(s, peers, "c", "main"); got != "c" {
		t.Errorf("the leader has it: %q", got)
	}
	peers["b"] = health.Peer{}
	if got := keeper(s, peers, "a", "main"); got != "c" {
		t.Errorf("the first is away: %q", got)
	}
}

func TestPlanSweep(t *testing.T) {
	now := time.UnixMilli(100_000_000)
	ended := func(ago time.Duration, outcome fsm.Outcome) fsm.Operation {
		return fsm.Operation{Kind: fsm.KindSweep, Task: &fsm.Task{Repository: "main"}, Outcome: outcome, Ended: now.Add(-ago).UnixMilli()}
	}
	running := fsm.Operation{ID: 7, Kind: fsm.KindBackup, Task: &fsm.Task{Repository: "main"}, Outcome: fsm.Running, Steps: []fsm.Step{{Name: fsm.StepStore}}}
	for name, c := range map[string]struct {
		state fsm.BackupState
		ops   []fsm.Operation
		want  bool
	}{
		"nothing failed":           {fsm.BackupDone, nil, false},
		"one failed":               {fsm.BackupFailed, nil, true},
		"one expired":              {fsm.BackupExpired, nil, true},
		"somebody writes":          {fsm.BackupFailed, []fsm.Operation{running}, false},
		"swept lately":             {fsm.BackupFailed, []fsm.Operation{ended(9*time.Minute, fsm.Done)}, false},
		"swept":                    {fsm.BackupFailed, []fsm.Operation{ended(11*time.Minute, fsm.Done)}, true},
		"a sweep failed":           {fsm.BackupFailed, []fsm.Operation{ended(11*time.Minute, fsm.Failed)}, false},
		"a sweep failed long ago":  {fsm.BackupFailed, []fsm.Operation{ended(21*time.Minute, fsm.Failed)}, true},
		"two failed":               {fsm.BackupFailed, []fsm.Operation{ended(50*time.Minute, fsm.Expired), ended(21*time.Minute, fsm.Failed)}, false},
		"one failed after another": {fsm.BackupFailed, []fsm.Operation{ended(50*time.Minute, fsm.Failed), ended(40*time.Minute, fsm.Done), ended(21*time.Minute, fsm.Failed)}, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := fsm.New()
			s.Backups = map[string]fsm.Backup{"x": {ID: "x", Repository: "main", State: c.state}}
			s.Operations = c.ops
			if got := len(planSweep(s, now)) == 1; got != c.want {
				t.Errorf("%v", got)
			}
		})
	}
}

func TestPlanDirty(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*fsm.State)
		want   string
		reason string
	}{
		"the highest head":           {nil, "high", ""},
		"none of the chain":          {func(s *fsm.State) { s.Cluster.ChainID = someStored.Manifest }, "", errNothing.Error()},
		"a chain that is not known":  {func(s *fsm.State) { s.Cluster.ChainID = "" }, "", "the cluster's chain is not known"},
		"it holds the lease":         {func(s *fsm.State) { s.Lease.Holder, s.Lease.Incarnation = "b", incB }, "", "it holds the lease"},
		"a process before it did":    {func(s *fsm.State) { s.Lease.Holder = "b" }, "high", ""},
		"it is being restored":       {func(s *fsm.State) { s.Operations = tasks(fsm.KindRestore, "", fsm.StepFetch, "b").listed() }, "", "restore 50 works on its node"},
		"it is being restarted":      {func(s *fsm.State) { s.Operations = rolls(fsm.KindRestart, fsm.StepRestart, "b").listed() }, "", "restart 50 works on its node"},
		"another one is":             {func(s *fsm.State) { s.Operations = rolls(fsm.KindRestart, fsm.StepRestart, "c").listed() }, "high", ""},
		"a backup is made elsewhere": {func(s *fsm.State) { s.Operations = backup(fsm.CopiesData, fsm.StepStore, "c").listed() }, "high", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := world()
			s.Backups = map[string]fsm.Backup{}
			put := func(id, repository string, state fsm.BackupState, head uint32) {
				of := someStored
				of.Head = head
				s.Backups[id] = fsm.Backup{ID: id, Repository: repository, State: state, Of: of}
			}
			put("low", "main", fsm.BackupDone, 10)
			put("high", "main", fsm.BackupDone, 20)
			put("damaged", "main", fsm.BackupDamaged, 30)
			put("elsewhere", "other", fsm.BackupDone, 40)
			if c.change != nil {
				c.change(s)
			}
			b, why := planDirty(s, "b", []string{"main"})
			if b.ID != c.want || why != c.reason {
				t.Errorf("%q, %q", b.ID, why)
			}
		})
	}
}

func (w *rolled) listed() []fsm.Operation { return []fsm.Operation{w.op} }

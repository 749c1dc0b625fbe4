package control

import (
	"strings"
	"testing"
	"time"

	"roundtable/chain"
	"roundtable/cluster/health"
	"roundtable/fsm"
)

const tasked = "20261122-010203-aaaa"

// tasks makes an operation on a backup in a world of three at a step of a member, "" for a leader's step.
func tasks(kind, copies, step, member string) *rolled {
	w := rolls(fsm.KindRestart, step)
	w.op.Kind, w.op.Roll = kind, nil
	w.op.Task = &fsm.Task{Repository: "main", Copies: copies, Backup: tasked, Limit: 7_200_000, Member: member}
	if member != "" {
		w.now().Parts = []fsm.Part{{Member: member, Incarnation: w.s.Members[member].Incarnation}}
		w.now().Assignee = member
	}
	for id := range w.peers {
		w.report(id, func(p *health.Peer) { p.Report.Repositories = []string{"main"} })
	}
	for id, m := range w.s.Members {
		m.EntryVersion = 4
		w.s.Members[id] = m
	}
	return w
}

func backup(copies, step, member string) *rolled {
	return tasks(fsm.KindBackup, copies, step, member)
}

// gaps gives others their windows: one of ours, and n-1 of others after it. Ours is the window of the slot now, that many windows ago.
func gaps(n, ago int) func(*rolled) {
	return func(w *rolled) {
		now := chain.SlotAt(w.at.UnixMilli())
		w.s.Round.Schedule = make([]string, n)
		w.s.Round.Schedule[(now - chain.Slot(ago)*chain.WindowSlots).Owner(n)] = "bp"
	}
}

// into moves the clock so that it is at that slot of its window.
func into(slot chain.Slot) func(*rolled) {
	return func(w *rolled) {
		now := chain.SlotAt(w.at.UnixMilli())
		w.later(time.Duration(now.WindowLast()+1+slot-now) * chain.SlotMillis * time.Millisecond)
	}
}

func without(ids ...string) func(*rolled) {
	return func(w *rolled) {
		for _, id := range ids {
			delete(w.s.Members, id)
			delete(w.peers, id)
		}
	}
}

func member(id string, change func(*fsm.Member)) func(*rolled) {
	return func(w *rolled) {
		m := w.s.Members[id]
		change(&m)
		w.s.Members[id] = m
	}
}

func asked(change func(*fsm.Task)) func(*rolled) {
	return func(w *rolled) { change(w.op.Task) }
}

func knows(id string, names ...string) func(*rolled) {
	return func(w *rolled) { w.report(id, func(p *health.Peer) { p.Report.Repositories = names }) }
}

// moves has a handoff to a member under way.
func moves(to string) func(*rolled) {
	return func(w *rolled) {
		w.s.Operations = append(w.s.Operations, fsm.Operation{ID: 41, Kind: fsm.KindHandoff, Outcome: fsm.Running, Handoff: &fsm.Handoff{To: to, From: "a", Epoch: w.s.Lease.Epoch}, Steps: []fsm.Step{{Name: fsm.StepAwait, Assignee: "a"}}})
	}
}

func staleLease(w *rolled) { w.s.Lease.Incarnation = "old" }

func TestPlanTask(t *testing.T) {
	data, snap := fsm.CopiesData, fsm.CopiesSnapshot
	of := func(id string) func(*rolled) { return asked(func(task *fsm.Task) { task.Member = id }) }
	restore := func(step, id string) *rolled {
		w := tasks(fsm.KindRestore, "", step, "")
		if step != fsm.StepValidate {
			w = tasks(fsm.KindRestore, "", step, id)
		}
		return w.with(of(id))
	}
	for name, c := range map[string]struct {
		w    *rolled
		want string
	}{
		"queued, and nothing is before it":    {backup(data, fsm.StepQueued, ""), "turn validate for 10m0s"},
		"queued behind another one":           {backup(data, fsm.StepQueued, "").with(otherTask(fsm.KindBackup, fsm.StepStore, "b")), "wait: another operation goes first"},
		"queued for too long":                 {backup(data, fsm.StepQueued, "").with(otherTask(fsm.KindBackup, fsm.StepStore, "b")).with(overdue), "failed: the operation before it did not end in time"},
		"data":                                {backup(data, fsm.StepValidate, ""), "turn prepare of c for 2h0m0s"},
		"a chain snapshot":                    {backup(snap, fsm.StepValidate, ""), "turn chain snapshot of c for 2h0m0s"},
		"the weakest candidate":               {backup(data, fsm.StepValidate, "").with(member("c", func(m *fsm.Member) { m.Priority = 5 })), "turn prepare of b for 2h0m0s"},
		"nobody's candidate":                  {backup(data, fsm.StepValidate, "").with(member("b", func(m *fsm.Member) { m.NoFailover = true })), "turn prepare of b for 2h0m0s"},
		"the one that is asked for":           {backup(data, fsm.StepValidate, "").with(of("b")), "turn prepare of b for 2h0m0s"},
		"who failed comes last":               {backup(data, fsm.StepValidate, "").with(asked(func(task *fsm.Task) { task.Avoid = []string{"c"} })), "turn prepare of b for 2h0m0s"},
		"who failed, but nobody else is fit":  {backup(data, fsm.StepValidate, "").with(asked(func(task *fsm.Task) { task.Avoid = []string{"c"} })).with(without("b")), "turn prepare of c for 2h0m0s"},
		"who is at work comes late":           {backup(snap, fsm.StepValidate, "").with(otherTask(fsm.KindVerify, fsm.StepCheck, "c")), "turn chain snapshot of b for 2h0m0s"},
		"who does not say comes late":         {backup(snap, fsm.StepValidate, "").with(knows("c")), "turn chain snapshot of b for 2h0m0s"},
		"who lacks the repository does not":   {backup(snap, fsm.StepValidate, "").with(knows("c", "other")).with(of("c")), `wait: nobody is fit for it: c has no repository "main" in its configuration`},
		"in maintenance":                      {backup(snap, fsm.StepValidate, "").with(member("c", func(m *fsm.Member) { m.Maintenance = true })), "turn chain snapshot of b for 2h0m0s"},
		"in maintenance, and asked for":       {backup(snap, fsm.StepValidate, "").with(member("c", func(m *fsm.Member) { m.Maintenance = true })).with(of("c")), "turn chain snapshot of c for 2h0m0s"},
		"the holder never":                    {backup(snap, fsm.StepValidate, "").with(of("a")), "wait: nobody is fit for it: a holds the lease"},
		"nobody is fit":                       {backup(snap, fsm.StepValidate, "").sick("b").dead("c"), "wait: nobody is fit for it: a holds the lease; b is sick; c is not alive"},
		"nobody was fit in time":              {backup(snap, fsm.StepValidate, "").sick("b").dead("c").with(overdue).later(10 * time.Minute), "failed: nobody is fit for it: a holds the lease; b is sick; c is not alive"},
		"data, and no other standby":          {backup(data, fsm.StepValidate, "").sick("b"), "wait: no fit standby would be left while the node of c is stopped: b is sick"},
		"a snapshot, and no other standby":    {backup(snap, fsm.StepValidate, "").sick("b"), "turn chain snapshot of c for 2h0m0s"},
		"data of two":                         {backup(data, fsm.StepValidate, "").with(without("c")), "turn prepare of b for 2h0m0s"},
		"nobody produces":                     {backup(data, fsm.StepValidate, "").outage(), "wait: the lease of a has run out"},
		"a snapshot near our window":          {backup(snap, fsm.StepValidate, "").with(gaps(21, 0)), "wait: a window of ours is near"},
		"a snapshot away from our window":     {backup(snap, fsm.StepValidate, "").with(gaps(21, 10)), "turn chain snapshot of c for 2h0m0s"},
		"at work":                             {backup(data, fsm.StepPrepare, "c"), "wait: prepare: c: begins"},
		"at work, and away":                   {backup(data, fsm.StepPrepare, "c").dead("c"), "wait: prepare: c, which is not alive"},
		"not heard of":                        {backup(data, fsm.StepPrepare, "c").with(longAgo).gone("c", 61*time.Second), `failed: c has not been heard of for 1m0s, at step "prepare"`},
		"not heard of, its node is stopped":   {backup(data, fsm.StepCopy, "c").with(longAgo).gone("c", 61*time.Second), `failed: c has not been heard of for 1m0s, at step "copy"`},
		"not heard of, but the leader is new": {backup(data, fsm.StepPrepare, "c").with(longAgo).gone("c", 61*time.Second).with(newLeader("")), "wait: prepare: c, which is not alive"},
		"its time is over":                    {backup(data, fsm.StepPrepare, "c").with(overdue), "failed: c did not store ahead what it can within 9s"},
		"prepared":                            {backup(data, fsm.StepPrepare, "c").ended("c", ""), "turn copy of c for 2h0m0s"},
		"prepare failed":                      {backup(data, fsm.StepPrepare, "c").ended("c", "no luck"), "failed: c: no luck"},
		"prepared, and the other is sick":     {backup(data, fsm.StepPrepare, "c").ended("c", "").sick("b"), "wait: no fit standby would be left while the node of c is stopped: b is sick"},
		"the same until its time is over":     {backup(data, fsm.StepPrepare, "c").ended("c", "").sick("b").with(overdue), "failed: no fit standby would be left while the node of c is stopped: b is sick"},
		"prepared, and the holder is sick":    {backup(data, fsm.StepPrepare, "c").ended("c", "").sick("a"), "wait: the holder, a, is sick"},
		"prepared, and it holds the lease":    {backup(data, fsm.StepPrepare, "c").ended("c", "").holder("c"), "wait: c holds the lease"},
		"prepared, beside a restart":          {backup(data, fsm.StepPrepare, "c").ended("c", "").beside(fsm.KindRestart, fsm.StepRestart), "wait: restart 40 goes first"},
		"prepared, in our window":             {backup(data, fsm.StepPrepare, "c").ended("c", "").with(into(3)).with(gaps(21, 0)), "wait: waits for the end of our next window"},
		"right after it":                      {backup(data, fsm.StepPrepare, "c").ended("c", "").with(into(5)).with(gaps(21, 2)), "wait: waits for the end of our next window"},
		"10 s after it":                       {backup(data, fsm.StepPrepare, "c").ended("c", "").with(into(9)).with(gaps(21, 2)), "turn copy of c for 2h0m0s"},
		"in the second half of the gap":       {backup(data, fsm.StepPrepare, "c").ended("c", "").with(into(5)).with(gaps(21, 15)), "wait: waits for the end of our next window"},
		"gaps that are too short":             {backup(data, fsm.StepPrepare, "c").ended("c", "").with(into(3)).with(gaps(4, 0)), "turn copy of c for 2h0m0s"},
		"copied":                              {backup(data, fsm.StepCopy, "c").ended("c", ""), "turn store of c for 2h0m0s"},
		"copied, and canceled":                {backup(data, fsm.StepCopy, "c").ended("c", "").with(asked(func(task *fsm.Task) { task.Cancel = true })), "canceled: while its node was stopped"},
		"at work, and nobody produces":        {backup(data, fsm.StepCopy, "c").sick("a").dead("b").outage(), "cancel: nobody else can produce"},
		"the same, ahead of it":               {backup(data, fsm.StepPrepare, "c").sick("a").dead("b").outage(), "wait: prepare: c: begins"},
		"the same, and it is canceled":        {backup(data, fsm.StepCopy, "c").sick("a").dead("b").outage().with(asked(func(task *fsm.Task) { task.Cancel = true })), "wait: copy: c: begins"},
		"at work, and somebody can produce":   {backup(data, fsm.StepCopy, "c").sick("a").outage(), "wait: copy: c: begins"},
		"a snapshot, while production moves":  {backup(snap, fsm.StepValidate, "").with(moves("c")), "turn chain snapshot of b for 2h0m0s"},
		"canceled in the middle":              {backup(data, fsm.StepCopy, "c").ended("c", "canceled by an operator").with(asked(func(task *fsm.Task) { task.Cancel = true })), "canceled: while its node was stopped"},
		"stored":                              {backup(data, fsm.StepStore, "c").ended("c", ""), "done: "},
		"not stored":                          {backup(data, fsm.StepStore, "c").ended("c", "disk full"), "failed: c: disk full"},

		"a restore":                              {restore(fsm.StepValidate, "b"), "turn fetch of b for 2h0m0s"},
		"of a node that is down":                 {restore(fsm.StepValidate, "b").down("b"), "turn fetch of b for 2h0m0s"},
		"of the holder":                          {restore(fsm.StepValidate, "a"), "wait: nobody is fit for it: a holds the lease"},
		"of a holder that was restarted":         {restore(fsm.StepValidate, "a").with(staleLease), "turn fetch of a for 2h0m0s"},
		"of one that is away":                    {restore(fsm.StepValidate, "b").dead("b"), "wait: nobody is fit for it: b is not alive"},
		"fetched":                                {restore(fsm.StepFetch, "b").ended("b", ""), "turn replace of b for 2h0m0s"},
		"fetched, the other is sick":             {restore(fsm.StepFetch, "b").ended("b", "").sick("c"), "wait: no fit standby would be left while the node of b is stopped: c is sick"},
		"fetched, both are down":                 {restore(fsm.StepFetch, "b").ended("b", "").down("b", "c"), "turn replace of b for 2h0m0s"},
		"fetched, down and in our window":        {restore(fsm.StepFetch, "b").ended("b", "").down("b").with(into(3)).with(gaps(21, 0)), "turn replace of b for 2h0m0s"},
		"fetched, down, and the holder is sick":  {restore(fsm.StepFetch, "b").ended("b", "").down("b").sick("a"), "wait: the holder, a, is sick"},
		"fetched, all are down":                  {restore(fsm.StepFetch, "b").ended("b", "").down("a", "b", "c").outage(), "turn replace of b for 2h0m0s"},
		"of the only one, whose lease is stale":  {restore(fsm.StepFetch, "a").ended("a", "").with(without("b", "c")).with(staleLease).down("a").outage(), "turn replace of a for 2h0m0s"},
		"replaced":                               {restore(fsm.StepReplace, "b").ended("b", ""), "done: "},
		"a verification":                         {tasks(fsm.KindVerify, "", fsm.StepValidate, ""), "turn check of c for 2h0m0s"},
		"by a node that is down":                 {tasks(fsm.KindVerify, "", fsm.StepValidate, "").down("b"), "turn check of b for 2h0m0s"},
		"a sweep":                                {tasks(fsm.KindSweep, "", fsm.StepValidate, ""), "turn sweep of c for 2h0m0s"},
		"a sweep by the holder, if nobody else":  {tasks(fsm.KindSweep, "", fsm.StepValidate, "").dead("b").dead("c"), "turn sweep of a for 2h0m0s"},
		"a scan where nobody has the repository": {tasks(fsm.KindScan, "", fsm.StepValidate, "").with(knows("a", "x")).with(knows("b", "x")).with(knows("c", "x")).with(of("b")), `wait: nobody is fit for it: b has no repository "main" in its configuration`},
	} {
		t.Run(name, func(t *testing.T) {
			if got := c.w.decide(); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

// overdue lets the step's deadline have passed.
func overdue(w *rolled) { w.op.Deadline = w.at.Add(-time.Second).UnixMilli() }

// longAgo lets the step have begun ten minutes ago.
func longAgo(w *rolled) {
	w.now().Since = w.at.Add(-10 * time.Minute).UnixMilli()
	w.op.Deadline = w.at.Add(time.Hour).UnixMilli()
}

// otherTask is another operation on a backup of the same repository.
func otherTask(kind, step, id string) func(*rolled) {
	return func(w *rolled) {
		w.s.Operations = append(w.s.Operations, fsm.Operation{
			ID: 40, Kind: kind, Task: &fsm.Task{Repository: "main", Member: id, Backup: "x"}, Outcome: fsm.Running,
			Steps: []fsm.Step{{Name: step, Assignee: id, Parts: []fsm.Part{{Member: id, Incarnation: w.s.Members[id].Incarnation}}}},
		})
	}
}

// TestCalm counts, slot by slot, by another way: how far it is to the next and to the last slot of ours.
func TestCalm(t *testing.T) {
	for _, sched := range []string{"o", "ox", "oxx", "oxxxx", "oxxxxxxxxxxxxxxxxxxxx", "ooxxxoxxxxxxxxxxxxxxx", "xxxx", ""} {
		s := fsm.New()
		s.Cluster.Producers = []string{"o"}
		s.Round.Schedule = strings.Split(sched, "")
		n := chain.Slot(len(sched)) * chain.WindowSlots
		own := func(slot chain.Slot) bool { return sched[slot.Owner(len(sched))] == 'o' }
		for _, margin := range []chain.Slot{0, 6, 20} {
			for i := range n {
				slot := 1000*n + i
				next, last := chain.Slot(0), chain.Slot(0)
				for next < 2*n && !own(slot+next) {
					next++
				}
				for last < 2*n && !own(slot-last) {
					last++
				}
				longest, run := chain.Slot(0), chain.Slot(0)
				for k := range 2 * n {
					if run++; own(slot + k) {
						run = 0
					}
					longest = max(longest, run)
				}
				free := next == 2*n || longest < 2*margin+chain.WindowSlots
				gap := next + last - 1
				want := free || gap >= 2*margin+chain.WindowSlots && !own(slot) && next > margin && last > margin
				if got := calm(s, slot, margin, false); got != want {
					t.Fatalf("%s, margin %d, slot %d: %v, want %v (next %d, last %d)", sched, margin, i, got, want, next, last)
				}
				if early := calm(s, slot, margin, true); early && !want || early && !free && last > gap/2 || !early && want && last <= gap/2 {
					t.Fatalf("%s, margin %d, slot %d: early %v", sched, margin, i, early)
				}
			}
		}
	}
}

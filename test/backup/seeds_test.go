package backup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"roundtable/api"
	"roundtable/drill"
	"roundtable/fsm"
	"roundtable/test/box"
)

// TestSeededKills: under a load of transactions backups of both kinds are made, and at a random moment of each somebody is killed or
// frozen: the member at work, what it started, its node, the leader, the holder, or the repository's server. What comes back, comes back.
// Then: every operation has ended; no slot was missed but where the holder itself was hit; nothing was signed twice; what the catalogue
// calls done can be read, by the managers and without them; after a sweep the store has nothing that no backup needs; and backups of
// both kinds bring a node back, as an operation and by hand.
//
// A run draws from (seed, number) alone. ROUNDTABLE_FULL=1 does 50, ROUNDTABLE_RUNS so many, ROUNDTABLE_RUN only that one.
func TestSeededKills(t *testing.T) {
	t.Parallel()
	const seed = 6
	count, lanes := 6, 2
	if os.Getenv("ROUNDTABLE_FULL") != "" {
		count = 50
	}
	count = number("ROUNDTABLE_RUNS", count)
	var runs []int
	for run := 1; run <= count; run++ {
		if only := number("ROUNDTABLE_RUN", run); only == run {
			runs = append(runs, run)
		}
	}
	for lane := range min(lanes, len(runs)) {
		t.Run(fmt.Sprintf("sandbox%d", lane+1), func(t *testing.T) {
			t.Parallel()
			d := onServer(t)
			if lane == lanes-1 {
				d = inFolder(t)
			}
			b := layOut(t, drill.Options{}, d).up()
			slots := 0
			for i := lane; i < len(runs) && !t.Failed(); i += lanes {
				slots += b.run(seed, runs[i])
			}
			r := b.Judge(true)
			t.Logf("%d of %d slots missed, all of them after a hit on the holder: %v; %d signed twice", r.Missed.Total, r.SlotsDue, r.Missed.Total == slots, r.Doubled)
		})
	}
}

func number(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}

// hit is a blow to the holder.
type hit struct{ from, to uint64 } // slots

// recovery is how many slots after its return a blow to the holder may still cost.
const recovery = 10

// run does one run and returns how many slots it cost.
func (b *sandbox) run(seed, n int) (lost int) {
	b.T.Helper()
	r := rand.New(rand.NewPCG(uint64(seed), uint64(n))) //nolint:gosec // a seed to repeat a run with
	begun, first := time.Now(), drill.SlotNow()+1
	var hits []hit
	var made []api.Backup
	story := ""
	order := slices.Clone(kinds)
	r.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	for _, kind := range order {
		id := b.Order("/cluster/backup", box.Fields{"kind": kind, "limit": limit, "queue": "1m"})
		what, hit := b.blow(r, id, map[string]time.Duration{fsm.CopiesSnapshot: 1500 * time.Millisecond, fsm.CopiesData: 4 * time.Second}[kind])
		o := b.End(id, endTime)
		b.Whole()
		story += fmt.Sprintf("; %s, %s: %s %s", kind, what, o.Outcome, o.Reason)
		if hit != nil {
			hit.to = max(hit.to, drill.SlotNow())
			hits = append(hits, *hit)
		}
		switch state := b.stateOf(o.Backup); {
		case o.Outcome == "done" && state == fsm.BackupDone:
			made = append(made, b.record(o.Backup))
			continue
		case o.Outcome == "done" || state == fsm.BackupDone || state == fsm.BackupRunning:
			b.T.Errorf("run %d: the backup is %s (%s), and %q in the catalogue", n, o.Outcome, o.Reason, state)
		case o.Reason == "":
			b.T.Errorf("run %d: the backup is %s, and does not say why", n, o.Outcome)
		}
		made = append(made, b.backup(kind, box.Fields{"queue": "1m"})) // the next one is made
	}
	b.proved(false)
	// Both bring a node back, the data last: a node that has all blocks can replay them when it is killed in the next run.
	slices.SortFunc(made, func(a, b api.Backup) int { return -cmp.Compare(a.Kind, b.Kind) })
	m := b.standby()
	for _, one := range made {
		b.known(one.ID)
		b.restore(one.ID, m.ID)
		b.Whole()
	}
	b.verify(made[r.IntN(len(made))].ID, nil)
	b.comesUp(made[r.IntN(len(made))])
	for _, old := range b.catalogue(fsm.BackupDone)[len(made):] { // newest first
		if r.IntN(2) == 0 {
			b.Send(http.MethodDelete, "/cluster/backups/"+old.ID, nil, http.StatusOK, nil)
		}
	}
	b.sweep()
	b.proved(true)
	for _, one := range b.catalogue("") {
		if one.State != fsm.BackupDone {
			b.T.Errorf("run %d: after the sweep %s is %s in the catalogue: %s", n, one.ID, one.State, one.Fault)
		}
	}
	lost = b.missed(n, first, hits)
	b.T.Logf("run %d: %.1f s%s; %d slots lost", n, time.Since(begun).Seconds(), story, lost)
	return lost
}

// missed counts the slots that no block fills, and fails the test where the holder was not hit before.
func (b *sandbox) missed(n int, first uint64, hits []hit) int {
	b.T.Helper()
	last := drill.SlotNow() - 1
	b.Eventually(10*time.Second, "the last slot's block", func(ctx context.Context) error {
		if now := drill.SlotNow(); now < last+3 {
			return errors.New("it may be on its way")
		}
		return nil
	})
	chain, err := b.Chain(b.T.Context(), 2)
	if err != nil {
		b.T.Fatal(err)
	}
	_, missed := drill.Missed(chain, b.Schedule(), []string{b.Producer}, first, last)
	for _, slot := range missed {
		if !slices.ContainsFunc(hits, func(h hit) bool { return h.from <= slot+1 && slot <= h.to+recovery }) {
			b.T.Errorf("run %d: slot %d was missed, %d after the run's first one, and the holder was not hit before: %v", n, slot, slot-first, hits)
		}
	}
	return len(missed)
}

// stateOf is what the catalogue says of a backup; "" where it does not know it.
func (b *sandbox) stateOf(id string) fsm.BackupState {
	for _, one := range b.catalogue("") {
		if one.ID == id {
			return one.State
		}
	}
	return ""
}

// blow hits somebody at a random moment of an operation, undoes it, and tells of it. within is about as long as the operation takes. Where
// that was the holder it says when.
func (b *sandbox) blow(r *rand.Rand, id string, within time.Duration) (what string, holder *hit) {
	b.T.Helper()
	ctx := b.T.Context()
	blows := []string{"nothing", "kill the member at work", "kill what it started", "kill its node", "freeze the member at work", "kill the leader", "kill the holder", "kill the repository"}
	what = blows[r.IntN(len(blows))]
	moment := time.Duration(r.Int64N(int64(within)))
	length := time.Duration(float64(200*time.Millisecond) * math.Pow(40, r.Float64())) // up to 8 s, each order of magnitude alike
	what = fmt.Sprintf("%s after %v for %v", what, moment.Round(time.Millisecond), length.Round(time.Millisecond))
	for end := time.Now().Add(moment); time.Now().Before(end); { // until the moment, or until it is over
		o, err := b.Stands(ctx, id)
		if err == nil && o.Ended != "" {
			return what + ", which came too late", nil
		}
		pause(ctx, min(time.Until(end), 50*time.Millisecond))
	}
	o, err := b.Stands(ctx, id)
	if err != nil {
		b.T.Fatal(err)
	}
	v := b.View()
	m := b.standby()
	if o.Member != "" {
		m = b.Get(o.Member)
	}
	if len(o.Steps) > 0 {
		what += fmt.Sprintf(" at step %q", o.Step)
	}
	var do func() error
	undo := func() error { return nil }
	switch blow := what; {
	case strings.HasPrefix(blow, "kill the leader"):
		m = b.Get(v.Leader)
		do, undo = func() error { return b.KillMember(ctx, m) }, func() error { return b.StartMember(m) }
	case strings.HasPrefix(blow, "kill the holder"):
		m = b.Get(v.Holder())
		do, undo = func() error { return b.KillMember(ctx, m) }, func() error { return b.StartMember(m) }
	case strings.HasPrefix(blow, "kill the member at work"):
		do, undo = func() error { return b.KillMember(ctx, m) }, func() error { return b.StartMember(m) }
	case strings.HasPrefix(blow, "kill what it started"):
		do = func() error { return b.KillWorkers(ctx, m) }
	case strings.HasPrefix(blow, "kill its node"):
		do = func() error { return b.KillNode(ctx, m) }
	case strings.HasPrefix(blow, "freeze"):
		do, undo = func() error { return b.Freeze(m, drill.All) }, func() error { return b.Thaw(m, drill.All) }
	case strings.HasPrefix(blow, "kill the repository") && b.depot.server != nil:
		do, undo = func() error { b.depot.server.Kill(); return nil }, b.depot.server.Start
	default:
		return what, nil
	}
	at := drill.SlotNow()
	if err := do(); errors.Is(err, drill.ErrNoTarget) {
		return what + ", which came to nothing", nil
	} else if err != nil {
		b.T.Fatal(err)
	}
	pause(ctx, length)
	if err := undo(); err != nil {
		b.T.Fatal(err)
	}
	if m.ID == v.Holder() && !strings.HasPrefix(what, "kill what") && !strings.HasPrefix(what, "kill the repository") {
		holder = &hit{at, drill.SlotNow()}
	}
	return fmt.Sprintf("%s (%s)", what, m.ID), holder
}

// pause lets a drawn time go by: it is the fault's, and nothing is waited for.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(max(d, 0))
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

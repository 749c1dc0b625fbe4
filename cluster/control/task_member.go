package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"roundtable/fsm"
	"roundtable/logkey"
)

// taskMember does this member's part of operations on backups. It is a worker of its own, so that what takes hours never keeps this
// node's restart from being done.
//
// While this member holds the lease, what reads or writes much is stopped, and goes on when it does not: never at the cost of a block.
type taskMember struct {
	*worker
	keeping *keeping  // the housekeeping under way; nil: none; only for Reconcile
	kept    time.Time // when it was begun last
}

func newTaskMember(m *Manager, log *slog.Logger) *taskMember {
	c := &taskMember{}
	c.worker = newWorker(m, log, func(s *fsm.State) (fsm.Operation, fsm.Part, bool) {
		return m.part(s, func(o fsm.Operation) bool { return o.Task != nil }, taskUrgency)
	})
	return c
}

// Name is the controller's.
func (*taskMember) Name() string { return "task member" }

// taskUrgency orders steps of several operations: everybody waits for what stops the node.
func taskUrgency(step string) int {
	if stops(step) {
		return 1
	}
	return 0
}

// yields reports whether a step is not gone on with while this member holds the lease. What stops the node looks for itself.
func yields(step string) bool {
	switch step {
	case fsm.StepPrepare, fsm.StepSnapshot, fsm.StepStore, fsm.StepFetch, fsm.StepCheck:
		return true
	}
	return false
}

// The reasons why a job is ended that are not its own.
var (
	errCanceled = errors.New("canceled by an operator")
	errClaimed  = errors.New("production came to this member, and did not go away again")
	errTooSlow  = errors.New("it takes too long")
)

// Reconcile starts, reports and ends jobs.
func (c *taskMember) Reconcile(ctx context.Context, s *fsm.State) (time.Duration, error) {
	o, part, ok := c.mine(s)
	if c.job != nil && (!ok || !c.job.at(o)) && !c.givenUp() {
		return 0, nil
	}
	waits := ok && yields(o.Current().Name) && c.holds(s.Lease)
	if c.job != nil && waits && !c.job.progress().ended && !c.givenUp() {
		return 0, nil
	}
	switch {
	case c.job != nil:
		if o.Task.Cancel {
			c.job.interrupt(errCanceled)
		}
		return c.tell(ctx)
	case !ok:
		return c.keep(ctx), nil
	case waits && part.Text != holdsReason:
		err := c.inform(ctx, o.ID, o.Number(), progress{percent: part.Percent, text: holdsReason})
		if refused(err) {
			err = nil
		}
		return 0, err
	case waits, !c.now().Before(time.UnixMilli(o.Deadline)): // the leader decides
		return 0, nil
	case c.hold(o.Current().Name):
		return holdWait, nil
	case !c.endKeeping():
		return 0, nil
	}
	c.kept = time.Time{} // after its end there is something to tidy up
	c.start(ctx, o, part, c.work)
	return 0, nil
}

// end waits for all that this member does, whose context has ended.
func (c *taskMember) end() {
	c.worker.end()
	if c.keeping != nil {
		<-c.keeping.done
	}
}

// work does a step and returns what came out of it.
func (c *taskMember) work(ctx context.Context, j *job) (what string, err error) {
	switch {
	case c.vault == nil:
		return "", errors.New("its program has no repositories for backups")
	case !slices.Contains(c.vault.Repositories(), j.task.Repository):
		return "", fmt.Errorf("it has no repository %q in its configuration", j.task.Repository)
	}
	t, s, err := c.vaultTask(ctx, j)
	if err != nil {
		return "", err
	}
	switch j.step {
	case fsm.StepPrepare:
		return "", c.vault.Prepare(ctx, t, j.say)
	case fsm.StepSnapshot:
		return "", c.snapshot(ctx, j, t)
	case fsm.StepCopy:
		return c.copyData(ctx, j, t)
	case fsm.StepStore:
		stored, err := c.vault.Store(ctx, t, j.say)
		j.holds(stored)
		return fmt.Sprintf("block %d, %d bytes stored", stored.Head, stored.Stored), err
	case fsm.StepFetch:
		return "", c.vault.Fetch(ctx, t, j.say)
	case fsm.StepReplace:
		return c.replace(ctx, j, t)
	case fsm.StepCheck:
		return c.vault.Check(ctx, t, j.say)
	case fsm.StepSweep:
		return c.sweep(ctx, j, t, s)
	case fsm.StepScan:
		return c.scan(ctx, j, t)
	}
	return "", fmt.Errorf("this program does not know the step %q", j.step)
}

// holds keeps what a backup holds, for the report of the end.
func (j *job) holds(stored fsm.Stored) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.now.stored = &stored
}

// vaultTask is the operation as it stands once all that was committed so far is applied here, with that state. Its step has not ended.
func (c *taskMember) vaultTask(ctx context.Context, j *job) (VaultTask, *fsm.State, error) {
	for !c.upToDate(ctx) {
		j.say(j.part.Percent, "waits for a leader")
		if !sleep(ctx, freeAgain) {
			return VaultTask{}, nil, ctx.Err()
		}
	}
	s, _ := c.cluster.View()
	if o, _ := s.Operation(j.op); o.Outcome != fsm.Running || !j.at(o) {
		return VaultTask{}, nil, context.Canceled // the controller sees it, too, and nobody waits for it
	}
	t := VaultTask{Task: *j.task, Operation: j.op, Kind: j.kind, Record: s.Backups[j.task.Backup], Cluster: s.Cluster.Name, ChainID: s.Cluster.ChainID}
	for _, id := range slices.Sorted(maps.Keys(s.Backups)) {
		b := s.Backups[id]
		if b.Repository != t.Repository {
			continue
		}
		switch {
		case b.State == fsm.BackupDone:
			t.Known = true
			if !b.Suspect || j.kind == fsm.KindSweep { // which refers to nothing, and keeps them
				t.Bases = append(t.Bases, id)
			}
		case b.State == fsm.BackupDamaged:
			t.Known = true
		case j.kind == fsm.KindSweep && (b.State == fsm.BackupFailed || b.State == fsm.BackupExpired):
			t.Drops = append(t.Drops, id)
		}
	}
	slices.SortStableFunc(t.Bases, func(a, b string) int { // the engine looks at the first few
		x, y := s.Backups[a], s.Backups[b]
		return cmp.Or(-cmpBool(x.Copies == t.Copies, y.Copies == t.Copies), -cmpBool(x.Member == c.id, y.Member == c.id), cmp.Compare(y.Created, x.Created))
	})
	for _, d := range s.Dropped {
		if j.kind == fsm.KindSweep && d.Repository == t.Repository {
			t.Dropped = append(t.Dropped, d.ID)
		}
	}
	return t, s, nil
}

// upToDate reports whether all that was committed when it was called is applied here.
func (c *taskMember) upToDate(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	return c.cluster.Barrier(ctx) == nil
}

// snapshot has nodeos make a chain snapshot. A node that was started again for something else meanwhile has forgotten it.
func (c *taskMember) snapshot(ctx context.Context, j *job, t VaultTask) error {
	for {
		run := c.node.View().Run
		err := c.vault.Snapshot(ctx, t, j.say)
		if err == nil || ctx.Err() != nil || c.node.View().Run == run {
			return err
		}
		j.say(0, "begins again: the node was started anew")
		if !sleep(ctx, retryWait) {
			return err
		}
	}
}

// claimTimeout is how long a member that is to stop its node waits while it holds the lease: nobody else's node can be stopped meanwhile.
const claimTimeout = time.Minute

// limited is the context of what stops the node: it leaves time for what has to come after it, and ends when an operator cancels the
// operation.
func (c *taskMember) limited(ctx context.Context, j *job) (context.Context, context.CancelFunc) {
	left := j.until.Sub(c.now())
	return context.WithTimeoutCause(j.cancelable(ctx), left-min(left/4, c.limit(0)), errTooSlow)
}

// stopped does what stops the node, as far as it may be stopped, and returns whether it was begun.
func (c *taskMember) stopped(ctx context.Context, j *job, work func() error) (begun bool, err error) {
	if c.home == nil {
		return false, errors.New("its program cannot prove that its node is back")
	}
	c.pauseAt(ctx, "stop "+j.step)
	claimed := time.Time{}
	each := func(reason string) error {
		switch {
		case reason != holdsReason:
			claimed = time.Time{}
		case claimed.IsZero():
			claimed = c.now()
		case c.now().Sub(claimed) > claimTimeout:
			return errClaimed
		}
		return nil
	}
	if j.task.Cancel {
		j.interrupt(errCanceled)
	}
	err = c.alone(ctx, j, each, func() error { begun = true; return work() })
	return begun, j.because(ctx, err)
}

// because is an error of work whose context has ended: with the reason for that.
func (j *job) because(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil {
		return err
	}
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errCanceled):
		return errCanceled
	case errors.Is(cause, errTooSlow):
		return errors.New(j.lateFault() + ": " + j.progress().text)
	}
	return err
}

// copyData copies the data of the node while that is stopped, and proves it back whatever came of it.
func (c *taskMember) copyData(ctx context.Context, j *job, t VaultTask) (string, error) {
	limited, cancel := c.limited(ctx, j)
	defer cancel()
	begun, err := c.stopped(limited, j, func() error { return c.vault.Copy(limited, t, j.earlier) })
	if !begun && !errors.Is(err, errCanceled) { // of an earlier process the node may have been stopped
		return "", err
	}
	c.pauseAt(ctx, "prove "+j.step)
	back := c.prove(ctx, j.later)
	switch {
	case err != nil && back != nil:
		return "", fmt.Errorf("%w; and its node is not proved back: %w", err, back)
	case back != nil:
		return "", fmt.Errorf("its node is not proved back: %w", back)
	}
	return "its node is back", err
}

// settleTime bounds what puts the former data back, beside the time that the node takes to start.
const settleTime = 5 * time.Minute

// replace puts a backup's data in the place of the node's, and proves that the node is back with it. Where it is not the former data
// comes back.
func (c *taskMember) replace(ctx context.Context, j *job, t VaultTask) (string, error) {
	limited, cancel := c.limited(ctx, j)
	defer cancel()
	begun, err := c.stopped(limited, j, func() error { return c.vault.Replace(limited, t, j.earlier) })
	if err == nil {
		c.pauseAt(limited, "prove "+j.step)
		err = j.because(limited, c.prove(limited, j.later))
	}
	if !begun || errors.Is(context.Cause(ctx), context.Canceled) { // the manager ends: its next process does the step again
		return "", err
	}
	keep, cancelKeep := context.WithTimeout(context.WithoutCancel(ctx), settleTime+c.limit(0))
	defer cancelKeep()
	if err != nil {
		if back := c.putBack(keep, t); back != nil {
			return "", fmt.Errorf("%w; and the node did not come back with its former data: %w", err, back)
		}
		return "", fmt.Errorf("%w; its node has the data that it had before", err)
	}
	if err := c.vault.Settle(keep, t, false); err != nil {
		c.log.Warn("the data that was there before the restore is not put away", "operation", j.op, logkey.Err, err)
	}
	return "runs with " + t.Backup, nil
}

// putBack puts the former data back. Where nobody else could produce this member may hold the lease by now, with a node that was not proved:
// it gives it up.
func (c *taskMember) putBack(ctx context.Context, t VaultTask) error {
	c.stops.Lock()
	defer c.stops.Unlock()
	c.busy.Store(true)
	defer c.busy.Store(false)
	s, _ := c.cluster.View()
	c.cluster.Publish(c.report(s))
	if c.holds(s.Lease) {
		if err := c.release(ctx, s.Lease, "its node goes back to the data that it had before a restore"); err != nil {
			c.log.Warn("the lease is not given up; the gate is closed", logkey.Err, err)
		}
	}
	return c.vault.Settle(ctx, t, true)
}

// sweep removes what failed or expired, by the state with which the step began: while it goes on nothing is added to the repository. What
// the catalogue does not know goes into it before it is removed, where that was asked for.
func (c *taskMember) sweep(ctx context.Context, j *job, t VaultTask, s *fsm.State) (string, error) {
	kept := map[string]bool{}
	fate := func(id string) Fate {
		condemned, known := s.Condemned(t.Repository, id)
		switch {
		case condemned:
			return FateDrop
		case known:
			return FateKeep
		case !t.Unknown:
			return FateUnknown
		}
		err := c.found(ctx, j, fsm.Backup{ID: id, Repository: t.Repository})
		if err == nil {
			view, _ := c.cluster.View()
			if gone, _ := view.Condemned(t.Repository, id); gone {
				return FateDrop
			}
		}
		kept[id] = true
		return FateKeep
	}
	dropped := func(ctx context.Context, id string) error {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		_, err := c.cluster.Propose(ctx, fsm.DropBackup{ID: id}, "")
		if refused(err) {
			return nil
		}
		return err
	}
	what, err := c.vault.Sweep(ctx, t, fate, dropped, j.say)
	if err == nil && len(kept) > 0 {
		what += "; kept, since the catalogue did not take them: " + strings.Join(slices.Sorted(maps.Keys(kept)), ", ")
	}
	return what, err
}

// scan puts what the repository holds into the catalogue, as far as the state takes it.
func (c *taskMember) scan(ctx context.Context, j *job, t VaultTask) (string, error) {
	taken, refusals := 0, []string{}
	what, err := c.vault.Scan(ctx, t, func(ctx context.Context, b fsm.Backup) error {
		b.Repository = t.Repository
		switch err := c.found(ctx, j, b); {
		case errors.Is(err, fsm.ErrBackup):
			refusals = append(refusals, b.ID+": "+err.Error())
			return nil
		case err != nil:
			return err
		}
		taken++
		return nil
	}, j.say)
	switch refused := strings.Join(refusals, "; "); {
	case err != nil || refused == "":
		return what, err
	case taken == 0:
		return "", errors.New("nothing there can be used: " + refused)
	default:
		return what + "; not taken: " + refused, nil
	}
}

// found puts a backup into the catalogue.
func (c *taskMember) found(ctx context.Context, j *job, b fsm.Backup) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_, err := c.cluster.Propose(ctx, fsm.PutBackup{Operation: j.op, Incarnation: c.incarnation, Backup: b}, "")
	return err
}

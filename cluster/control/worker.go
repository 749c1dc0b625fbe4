package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"roundtable/chain"
	"roundtable/fsm"
)

// worker does this member's part of operations of one sort. What takes long is done by one goroutine at a time, the job (job.go); the
// controller that it is part of starts it, tells the cluster how far it is, and ends it when its step is over.
//
// Config.Hold is asked in this order, each with the step's name behind it: "" before anything, "stop " right before the node is
// stopped, "prove " when it answers again, and "after " when all is done and not yet reported.
type worker struct {
	*Manager
	log  *slog.Logger
	mine func(*fsm.State) (fsm.Operation, fsm.Part, bool) // the part that is this member's to do now

	job  *job      // nil: none; only for Reconcile
	told progress  // what was reported of the job last
	when time.Time // and when

	mu   sync.Mutex
	wake chan struct{} // closed when a job has something to tell
}

// tellEvery is how often progress is told.
const tellEvery = 2 * time.Second

// tellPercent is how much of it is worth an entry where the words stay.
const tellPercent = 5

func newWorker(m *Manager, log *slog.Logger, mine func(*fsm.State) (fsm.Operation, fsm.Part, bool)) *worker {
	return &worker{Manager: m, log: log, mine: mine, wake: make(chan struct{})}
}

// changed is closed at the next word of a job.
func (c *worker) changed() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wake
}

func (c *worker) beat() {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.wake)
	c.wake = make(chan struct{})
}

// end waits for the job, whose context has ended.
func (c *worker) end() {
	if c.job != nil {
		c.job.cancel()
		<-c.job.done
	}
}

// givenUp ends the job, whose step is over or which is not to go on now, and reports whether it has ended; if not its end wakes the
// controller.
func (c *worker) givenUp() bool {
	c.job.cancel()
	select {
	case <-c.job.done:
		c.job = nil
		return true
	default:
		return false
	}
}

// at reports whether the job is the one of an operation's present step.
func (j *job) at(o fsm.Operation) bool { return j.op == o.ID && j.number == o.Number() }

// part finds the part that is this member's to do now among the operations of a sort: of several the most urgent, of these the oldest.
func (m *Manager) part(s *fsm.State, is func(fsm.Operation) bool, urgency func(step string) int) (fsm.Operation, fsm.Part, bool) {
	var found fsm.Operation
	var part fsm.Part
	if s.Members[m.id].Incarnation != m.incarnation {
		return found, part, false // what it says would not be taken
	}
	for _, o := range s.RunningOperations() {
		p, ok := o.Current().Part(m.id)
		if !is(o) || !ok || p.Ended != 0 {
			continue
		}
		if found.ID == 0 || urgency(o.Current().Name) > urgency(found.Current().Name) {
			found, part = o, p
		}
	}
	return found, part, found.ID != 0
}

// start begins a job. It ends a little before the deadline, with a better reason than that the deadline has passed.
func (c *worker) start(ctx context.Context, o fsm.Operation, part fsm.Part, work func(context.Context, *job) (string, error)) {
	left := time.UnixMilli(o.Deadline).Sub(c.now())
	ctx, over := context.WithCancelCause(ctx)
	ctx, cancel := context.WithTimeout(ctx, left-min(left/10, 2*time.Second))
	j := &job{
		op: o.ID, number: o.Number(), step: o.Current().Name, part: part, roll: o.Roll, task: o.Task, kind: o.Kind, cancel: func() { over(ErrOver) }, done: make(chan struct{}), beat: c.beat,
		given: (time.Duration(o.Deadline-o.Current().Since) * time.Millisecond).Round(time.Second), until: c.now().Add(left),
	}
	j.now.percent = part.Percent
	c.job, c.told, c.when = j, progress{percent: part.Percent, text: part.Text}, time.Time{}
	go func() {
		defer c.beat()
		defer close(j.done)
		defer over(nil)
		defer cancel()
		text, err := work(ctx, j)
		if !errors.Is(ctx.Err(), context.Canceled) { // else nobody waits for it any more
			j.ended(ctx, text, err)
		}
	}()
}

// tell reports the job: its end, or how far it is, now and then.
func (c *worker) tell(ctx context.Context) (time.Duration, error) {
	j, now := c.job, c.now()
	p := j.progress()
	switch {
	case p.ended && c.hold("after "+j.step):
		return holdWait, nil
	case p.ended:
	case gist(p.text) == gist(c.told.text) && p.percent-c.told.percent < tellPercent:
		return 0, nil
	case now.Sub(c.when) < tellEvery:
		return tellEvery - now.Sub(c.when), nil
	}
	err := c.inform(ctx, j.op, j.number, p)
	if err != nil && !refused(err) {
		return 0, err
	}
	c.told, c.when = p, now
	if err != nil && p.ended { // its step is over, which is seen soon; or what came out of it is not taken
		j.refused(err)
		sleep(ctx, retryWait)
	}
	return 0, nil
}

// refused makes a fault of an end that the state does not take, so that the operation does not wait for it until its deadline.
func (j *job) refused(err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.now.fault == "" {
		j.now.fault, j.now.stored, j.now.damaged = "what came out of it is not taken: "+err.Error(), nil, false
	}
}

// inform says how far a step is.
func (c *worker) inform(ctx context.Context, op uint64, number int, p progress) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_, err := c.cluster.Propose(ctx, fsm.ReportOperation{
		ID: op, Number: number, Member: c.id, Incarnation: c.incarnation, Percent: p.percent, Text: p.text, Ended: p.ended, Fault: p.fault,
		Stored: p.stored, Damaged: p.damaged,
	}, "")
	return err
}

// pauseAt is Config.Hold for a job.
func (c *worker) pauseAt(ctx context.Context, moment string) {
	for c.hold(moment) && sleep(ctx, holdWait) {
	}
}

// freeAgain is how often a member asks whether its node may be stopped.
const freeAgain = 200 * time.Millisecond

// alone does what stops the node, as soon as it may be stopped. Meanwhile this member is nobody's choice, and no other work comes near
// the node: what an operation that has ended had stopped may yet be on its way back. each is asked whenever it has to wait; its error
// ends that.
func (c *worker) alone(ctx context.Context, j *job, each func(reason string) error, work func() error) error {
	for !c.stops.TryLock() {
		j.say(0, "waits: the node is being started for an operation that has ended")
		if !sleep(ctx, freeAgain) {
			return ctx.Err()
		}
	}
	defer c.stops.Unlock()
	if err := c.free(ctx, j, each); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	c.busy.Store(true)
	defer c.busy.Store(false)
	s, _ := c.cluster.View()
	c.cluster.Publish(c.report(s))
	return work()
}

// free returns once the node may be stopped: all that was committed so far is applied here, the step is still to be done, this
// member does not hold the lease, and its gate signs nothing. Production may come to it until then; the leader gives it away again.
func (c *worker) free(ctx context.Context, j *job, each func(reason string) error) error {
	for {
		reason := c.notFree(ctx, j)
		if reason == "" {
			return nil
		}
		if err := each(reason); err != nil {
			return err
		}
		j.say(0, reason)
		if !sleep(ctx, freeAgain) {
			return ctx.Err()
		}
	}
}

// holdsReason is why a member does not do now what it is told to.
const holdsReason = "waits: it holds the lease"

func (c *worker) notFree(ctx context.Context, j *job) string {
	try, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := c.cluster.Barrier(try); err != nil {
		return "waits for a leader"
	}
	s, _ := c.cluster.View()
	o, part, _ := c.mine(s)
	g := c.gate.View()
	switch {
	case !j.at(o) || part.Member != c.id:
		return "its step is over"
	case s.Lease.Open() && s.Lease.Holder == c.id && (o.Kind != fsm.KindRestore || s.Lease.Incarnation == c.incarnation):
		return holdsReason // but of a process that is gone nobody can use the lease, and a node that is to be restored may be all there is
	case g.Permitted > g.Closed:
		return "waits for its gate"
	}
	return ""
}

// prove returns once the node is back.
func (c *worker) prove(ctx context.Context, say func(percent int, text string)) error {
	return c.home.Prove(ctx, c.othersHead, c.connected, say)
}

// othersHead is the newest head among the other live members.
func (c *worker) othersHead() chain.Slot {
	s, _ := c.cluster.View()
	return othersHead(s, c.cluster.Peers(), c.id)
}

// connected reports whether the node has the p2p peers that it needs.
func (c *worker) connected() bool {
	s, _ := c.cluster.View()
	return !lonely(s, c.node.View())
}

// lateFault says that a job was not done in its time.
func (j *job) lateFault() string {
	text := fmt.Sprintf("not done within %s", j.given)
	if j.task != nil {
		text += " (hint: give it longer with --limit, or with backup.step_limit)"
	}
	return text
}

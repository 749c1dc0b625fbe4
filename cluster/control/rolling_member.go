package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"roundtable/chain"
	"roundtable/fsm"
	"roundtable/logkey"
)

// rollingMember does this member's part of rolling operations. What takes long is done by one goroutine at a time, the job; the
// controller starts it, tells the cluster how far it is, and ends it when its step is over.
//
// Config.Hold is asked in this order, each with the step's name behind it: "" before anything, "stop " right before the node is
// stopped, "prove " when it answers again, and "after " when all is done and not yet reported.
type rollingMember struct {
	*Manager
	log *slog.Logger

	job   *job      // nil: none; only for Reconcile
	told  progress  // what was reported of the job last
	when  time.Time // and when
	armed uint64    // the operation that told the node to stop at a block; 0: none

	mu   sync.Mutex
	wake chan struct{} // closed when a job has something to tell
}

// tellEvery is how often progress is told.
const tellEvery = 2 * time.Second

// tellPercent is how much of it is worth an entry where the words stay.
const tellPercent = 5

func newRollingMember(m *Manager, log *slog.Logger) *rollingMember {
	return &rollingMember{Manager: m, log: log, wake: make(chan struct{})}
}

// Name is the controller's.
func (*rollingMember) Name() string { return "rolling member" }

// changed is closed at the next word of a job.
func (c *rollingMember) changed() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wake
}

func (c *rollingMember) beat() {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.wake)
	c.wake = make(chan struct{})
}

// end waits for the job, whose context has ended.
func (c *rollingMember) end() {
	if c.job != nil {
		c.job.cancel()
		<-c.job.done
	}
}

// progress is what a job has to say.
type progress struct {
	percent int
	text    string
	ended   bool
	fault   string
}

// job is the work of one step.
type job struct {
	op     uint64
	number int
	step   string
	part   fsm.Part
	roll   fsm.Roll
	kind   string
	cancel context.CancelFunc
	done   chan struct{}
	given  time.Duration // for the step

	mu   sync.Mutex
	now  progress
	beat func()
}

func (j *job) progress() progress {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.now
}

// say tells how far the job is; it never blocks.
func (j *job) say(percent int, text string) {
	j.mu.Lock()
	changed := j.now.text != text
	j.now.percent, j.now.text = min(max(percent, 0), 100), text
	j.mu.Unlock()
	if changed {
		j.beat()
	}
}

// Reconcile starts, reports and ends jobs.
func (c *rollingMember) Reconcile(ctx context.Context, s *fsm.State) (time.Duration, error) {
	o, part, ok := c.mine(s)
	if j := c.job; j != nil && (!ok || j.op != o.ID || j.number != o.Number()) {
		j.cancel()
		select {
		case <-j.done:
			c.job = nil
		default:
			return 0, nil // its end wakes us
		}
	}
	switch {
	case c.job != nil:
		return c.tell(ctx)
	case !ok:
		return 0, c.disarm(ctx, s)
	case !c.now().Before(time.UnixMilli(o.Deadline)):
		return 0, nil // the leader decides
	case c.hold(o.Current().Name):
		return holdWait, nil
	}
	c.start(ctx, o, part)
	return 0, nil
}

// mine finds the part that is this member's to do now: what stops the node goes before what waits.
func (c *rollingMember) mine(s *fsm.State) (fsm.Operation, fsm.Part, bool) {
	var found fsm.Operation
	var part fsm.Part
	if s.Members[c.id].Incarnation != c.incarnation {
		return found, part, false // what it says would not be taken
	}
	for _, o := range s.RunningOperations() {
		p, ok := o.Current().Part(c.id)
		if !o.Rolling() || !ok || p.Ended != 0 {
			continue
		}
		if found.ID == 0 || urgency(o.Current().Name) > urgency(found.Current().Name) {
			found, part = o, p
		}
	}
	return found, part, found.ID != 0
}

// urgency orders steps of several operations.
func urgency(step string) int {
	switch step {
	case fsm.StepTrigger:
		return 0
	case fsm.StepStage:
		return 1
	}
	return 2
}

// start begins a job. It ends a little before the deadline, with a better reason than that the deadline has passed.
func (c *rollingMember) start(ctx context.Context, o fsm.Operation, part fsm.Part) {
	left := time.UnixMilli(o.Deadline).Sub(c.now())
	ctx, cancel := context.WithTimeout(ctx, left-min(left/10, 2*time.Second))
	j := &job{
		op: o.ID, number: o.Number(), step: o.Current().Name, part: part, roll: *o.Roll, kind: o.Kind, cancel: cancel, done: make(chan struct{}), beat: c.beat,
		given: (time.Duration(o.Deadline-o.Current().Since) * time.Millisecond).Round(time.Second),
	}
	c.job, c.told, c.when = j, progress{percent: part.Percent, text: part.Text}, time.Time{}
	if j.step == fsm.StepArm || j.step == fsm.StepFork {
		c.armed = o.ID
	}
	go func() {
		defer c.beat()
		defer close(j.done)
		defer cancel()
		text, err := c.work(ctx, j)
		if !errors.Is(ctx.Err(), context.Canceled) { // else nobody waits for it any more
			j.ended(ctx, text, err)
		}
	}()
}

// ended keeps what came out of the work.
func (j *job) ended(ctx context.Context, text string, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	last := j.now.text
	j.now = progress{percent: j.now.percent, text: text, ended: true}
	switch {
	case err == nil:
		j.now.percent = 100
	case ctx.Err() != nil && last != "":
		j.now.text, j.now.fault = last, fmt.Sprintf("not done within %s: %s", j.given, last)
	case ctx.Err() != nil:
		j.now.fault = fmt.Sprintf("not done within %s", j.given)
	default:
		j.now.text, j.now.fault = last, err.Error()
	}
}

// tell reports the job: its end, or how far it is, now and then.
func (c *rollingMember) tell(ctx context.Context) (time.Duration, error) {
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
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_, err := c.cluster.Propose(ctx, fsm.ReportOperation{
		ID: j.op, Number: j.number, Member: c.id, Incarnation: c.incarnation, Percent: p.percent, Text: p.text, Ended: p.ended, Fault: p.fault,
	}, "")
	if err != nil && !refused(err) {
		return 0, err
	}
	c.told, c.when = p, now
	return 0, nil
}

// work does a step and returns what came out of it.
func (c *rollingMember) work(ctx context.Context, j *job) (what string, err error) {
	if c.home == nil {
		return "", errors.New("its program can neither restart nor upgrade its node")
	}
	switch j.step {
	case fsm.StepStage:
		return c.home.Stage(ctx, *j.roll.Upgrade, j.say)
	case fsm.StepTrigger:
		return c.trigger(ctx, j)
	case fsm.StepSnapshot:
		return c.home.Snapshot(ctx)
	case fsm.StepRestart, fsm.StepSwitch, fsm.StepUndo:
		return c.replace(ctx, j)
	case fsm.StepArm:
		return "", c.home.Arm(ctx, j.roll.Upgrade.AtBlock)
	case fsm.StepFork:
		return c.fork(ctx, j)
	}
	return "", fmt.Errorf("this program does not know the step %q", j.step)
}

// target is what the node is to run after a step, "" for what is there, and whether it has to be stopped for it. After a crash in
// the middle of the step the node may run it already.
func (c *rollingMember) target(j *job) (tag, config string, stop bool) {
	s, _ := c.cluster.View()
	want, view := s.Homes[c.id], c.home.View()
	down := slices.Contains([]string{"stopped", "failed", "backoff"}, c.node.View().State)
	switch {
	case j.step == fsm.StepSwitch:
		tag = j.roll.Upgrade.Tag
	case j.kind == fsm.KindRollout && j.step == fsm.StepRestart:
		config = j.roll.Configs[c.id]
	case j.step == fsm.StepUndo:
		tag, config = want.Tag, want.Config
	default: // a plain restart puts right what an operation left behind while this member was away
		if !unmended(want, fsm.Runs{Tag: view.Runs, Config: view.Config}) {
			return "", "", down || j.part.Incarnation == c.incarnation
		}
		tag = want.Tag
		if view.Config == want.Refused {
			config = want.Config
		}
		return tag, config, true
	}
	same := (tag == "" || view.Tag == tag && view.Runs == tag) && (config == "" || config == view.Config)
	return tag, config, down || !same
}

// replace stops the node, starts it as it is to run, and proves it back.
func (c *rollingMember) replace(ctx context.Context, j *job) (string, error) {
	tag, config, stop := c.target(j)
	switch {
	case stop && j.step == fsm.StepSwitch:
		if err := c.home.Ready(ctx, *j.roll.Upgrade); err != nil {
			return "", fmt.Errorf("not ready for the upgrade: %w", err)
		}
	case stop && j.step == fsm.StepRestart && tag != "": // a home that was lost has not got it
		if _, err := c.home.Stage(ctx, fsm.Upgrade{Tag: tag}, func(percent int, text string) { j.say(percent/4, text) }); err != nil {
			return "", fmt.Errorf("%s, which it is to run, cannot be made ready: %w", tag, err)
		}
	}
	if stop {
		c.pauseAt(ctx, "stop "+j.step)
		if err := c.free(ctx, j); err != nil {
			return "", err
		}
		if err := c.become(ctx, j, tag, config); err != nil {
			return "", err
		}
	}
	c.pauseAt(ctx, "prove "+j.step)
	if err := c.home.Prove(ctx, c.othersHead, c.connected, j.later); err != nil {
		return "", err
	}
	view := c.home.View()
	if tag != "" && view.Runs != tag {
		return "", fmt.Errorf("it runs %q and not %q", view.Runs, tag)
	}
	return strings.TrimSpace("runs " + cmp.Or(view.Runs, c.node.View().Version)), nil
}

// later is the second half of a job's progress: the proof.
func (j *job) later(percent int, text string) { j.say(50+percent/2, text) }

// become stops and starts the node; meanwhile this member is nobody's choice.
func (c *rollingMember) become(ctx context.Context, j *job, tag, config string) error {
	c.busy.Store(true)
	defer c.busy.Store(false)
	s, _ := c.cluster.View()
	c.cluster.Publish(c.report(s))
	return c.home.Become(ctx, tag, config, func(percent int, text string) { j.say(percent/2, text) })
}

// pauseAt is Config.Hold for a job.
func (c *rollingMember) pauseAt(ctx context.Context, moment string) {
	for c.hold(moment) && sleep(ctx, holdWait) {
	}
}

// freeAgain is how often a member asks whether its node may be stopped.
const freeAgain = 200 * time.Millisecond

// free returns once the node may be stopped: all that was committed so far is applied here, the step is still to be done, this
// member does not hold the lease, and its gate signs nothing. Production may come to it until then; the leader gives it away again.
func (c *rollingMember) free(ctx context.Context, j *job) error {
	for {
		reason := c.notFree(ctx, j)
		if reason == "" {
			return nil
		}
		if j.step == fsm.StepFork {
			c.giveUpFork(ctx, j)
		}
		j.say(0, reason)
		if !sleep(ctx, freeAgain) {
			return ctx.Err()
		}
	}
}

func (c *rollingMember) notFree(ctx context.Context, j *job) string {
	try, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := c.cluster.Barrier(try); err != nil {
		return "waits for a leader"
	}
	s, _ := c.cluster.View()
	o, part, _ := c.mine(s)
	g := c.gate.View()
	switch {
	case o.ID != j.op || o.Number() != j.number || part.Member != c.id:
		return "its step is over"
	case s.Lease.Open() && s.Lease.Holder == c.id:
		return "waits: it holds the lease"
	case g.Permitted > g.Closed:
		return "waits for its gate"
	}
	return ""
}

// othersHead is the newest head among the other live members.
func (c *rollingMember) othersHead() chain.Slot {
	s, _ := c.cluster.View()
	return othersHead(s, c.cluster.Peers(), c.id)
}

// connected reports whether the node has the p2p peers that it needs.
func (c *rollingMember) connected() bool {
	s, _ := c.cluster.View()
	return !lonely(s, c.node.View())
}

// triggerAgain is how often the chain is asked for what an upgrade waits for.
const triggerAgain = 2 * time.Second

// trigger returns once this member's node sees what the upgrade waits for.
func (c *rollingMember) trigger(ctx context.Context, j *job) (string, error) {
	u := *j.roll.Upgrade
	at := u.AtBlock
	if u.HardFork {
		at -= min(at, armBlocks)
	}
	from := c.node.View().Head.Num
	for {
		if u.AtBlock == 0 {
			yes, what, err := c.home.Triggered(ctx, u)
			switch {
			case err == nil && yes:
				return what, nil
			case err != nil && ctx.Err() == nil:
				j.say(0, "the node does not say: "+err.Error())
			case err == nil:
				j.say(0, "waits")
			}
		} else {
			head := c.node.View().Head.Num
			if head >= at {
				return fmt.Sprintf("block %d is there", head), nil
			}
			percent := 0
			if from < at && head > from {
				percent = int(100 * uint64(head-from) / uint64(at-from))
			}
			j.say(percent, fmt.Sprintf("waits for block %d", at))
		}
		if !sleep(ctx, triggerAgain) {
			return "", ctx.Err()
		}
	}
}

// forkAgain is how often the head is looked at before a hard fork, and spreadTime how long who has its block waits for the others
// to have it, too: nobody else may be there to give it to them.
const (
	forkAgain  = 200 * time.Millisecond
	spreadTime = 15 * time.Second
)

// fork switches the node at the block of the hard fork. It is not proved: nobody produces until all are through.
func (c *rollingMember) fork(ctx context.Context, j *job) (string, error) {
	u := *j.roll.Upgrade
	if view := c.home.View(); view.Runs == u.Tag && view.Tag == u.Tag && c.node.View().State == "running" {
		// It is not started anew, so what it was told of the block stands, and it would take none behind it.
		if err := c.home.Disarm(ctx); err != nil {
			return "", err
		}
		for c.node.View().Head.Num < u.AtBlock { // who is through has the block: by that the others know that it is there
			j.say(0, fmt.Sprintf("waits for block %d", u.AtBlock))
			if !sleep(ctx, forkAgain) {
				return "", ctx.Err()
			}
		}
		return "runs " + view.Runs, nil
	}
	if err := c.stays(ctx, j); err != nil {
		return "", err
	}
	c.giveUpFork(ctx, j) // at once: who holds the lease keeps the others from nothing then
	for until := c.now().Add(spreadTime); c.now().Before(until) && !c.spread(u.AtBlock); {
		c.giveUpFork(ctx, j)
		j.say(20, fmt.Sprintf("waits for the others to have block %d", u.AtBlock))
		if !sleep(ctx, forkAgain) {
			return "", ctx.Err()
		}
	}
	c.pauseAt(ctx, "stop "+j.step)
	if err := c.free(ctx, j); err != nil {
		return "", err
	}
	if err := c.become(ctx, j, u.Tag, ""); err != nil {
		return "", err
	}
	return "runs " + c.home.View().Runs, nil
}

// armAgain is how often it is looked whether the node still knows where to stop: much more often than blocks come.
const armAgain = 50 * time.Millisecond

// stays returns when the node is at the block of the hard fork. A node that was started again, by whomever, knows nothing of where
// to stop, nor does one that was resumed: it is told again.
func (c *rollingMember) stays(ctx context.Context, j *job) error {
	at := j.roll.Upgrade.AtBlock
	told, failed := struct{ run, resumes uint64 }{}, ""
	for c.node.View().Head.Num < at {
		now := told
		now.run, now.resumes = c.node.View().Run, c.resumes.Load()
		if now != told && c.node.View().State == "running" {
			if err := c.home.Arm(ctx, at); err == nil {
				told = now
			} else if ctx.Err() == nil && err.Error() != failed {
				failed = err.Error()
				c.log.Warn("the node is not told where to stop", "block", at, logkey.Err, err)
			}
		}
		j.say(0, fmt.Sprintf("waits for block %d", at))
		if !sleep(ctx, armAgain) {
			return ctx.Err()
		}
	}
	return nil
}

// giveUpFork gives a lease up at the block of a hard fork. It may have come to this member after the block did: the leader hears of
// heads a little late.
func (c *rollingMember) giveUpFork(ctx context.Context, j *job) {
	if s, _ := c.cluster.View(); c.holds(s.Lease) {
		if err := c.release(ctx, s.Lease, fmt.Sprintf("the hard fork at block %d", j.roll.Upgrade.AtBlock)); err != nil {
			j.say(10, "gives the lease up: "+err.Error())
		}
	}
}

// spread reports whether all live nodes have a block.
func (c *rollingMember) spread(num uint32) bool {
	s, _ := c.cluster.View()
	for id, p := range c.cluster.Peers() {
		if _, member := s.Members[id]; member && id != c.id && p.Alive && p.Report.Node == "running" && p.Report.Head.Num < num {
			return false
		}
	}
	return true
}

// disarm takes a stop at a block back whose hard fork does not come.
func (c *rollingMember) disarm(ctx context.Context, s *fsm.State) error {
	if c.armed == 0 || c.home == nil {
		return nil
	}
	o, _ := s.Operation(c.armed)
	if step := o.Current().Name; step == fsm.StepArm || step == fsm.StepFork {
		return nil
	}
	if through := o.Rolling() && slices.Contains(o.Roll.Done, c.id); through {
		c.armed = 0
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := c.home.Disarm(ctx); err != nil {
		return fmt.Errorf("the stop at a block is not taken back: %w", err)
	}
	c.armed = 0
	return nil
}

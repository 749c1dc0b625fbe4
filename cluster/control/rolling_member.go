package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"roundtable/fsm"
	"roundtable/logkey"
)

// rollingMember does this member's part of rolling operations.
type rollingMember struct {
	*worker
	armed uint64 // the operation that told the node to stop at a block; 0: none
}

func newRollingMember(m *Manager, log *slog.Logger) *rollingMember {
	c := &rollingMember{}
	c.worker = newWorker(m, log, func(s *fsm.State) (fsm.Operation, fsm.Part, bool) { return m.part(s, fsm.Operation.Rolling, urgency) })
	return c
}

// Name is the controller's.
func (*rollingMember) Name() string { return "rolling member" }

// Reconcile starts, reports and ends jobs.
func (c *rollingMember) Reconcile(ctx context.Context, s *fsm.State) (time.Duration, error) {
	o, part, ok := c.mine(s)
	if c.job != nil && (!ok || !c.job.at(o)) && !c.givenUp() {
		return 0, nil
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
	if step := o.Current().Name; step == fsm.StepArm || step == fsm.StepFork {
		c.armed = o.ID
	}
	c.start(ctx, o, part, c.work)
	return 0, nil
}

// urgency orders steps of several operations: what stops the node goes before what waits.
func urgency(step string) int {
	switch step {
	case fsm.StepTrigger:
		return 0
	case fsm.StepStage:
		return 1
	}
	return 2
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
		if err := c.become(ctx, j, tag, config); err != nil {
			return "", err
		}
	}
	c.pauseAt(ctx, "prove "+j.step)
	if err := c.prove(ctx, j.later); err != nil {
		return "", err
	}
	view := c.home.View()
	if tag != "" && view.Runs != tag {
		return "", fmt.Errorf("it runs %q and not %q", view.Runs, tag)
	}
	return strings.TrimSpace("runs " + cmp.Or(view.Runs, c.node.View().Version)), nil
}

// become stops and starts the node, as soon as it may be stopped.
func (c *rollingMember) become(ctx context.Context, j *job, tag, config string) error {
	each := func(string) error {
		if j.step == fsm.StepFork {
			c.giveUpFork(ctx, j)
		}
		return nil
	}
	return c.alone(ctx, j, each, func() error { return c.home.Become(ctx, tag, config, j.earlier) })
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

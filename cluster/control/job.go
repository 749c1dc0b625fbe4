package control

import (
	"context"
	"errors"
	"sync"
	"time"

	"roundtable/fsm"
)

// job is the work of one step of an operation on this member.
type job struct {
	op     uint64
	number int
	step   string
	part   fsm.Part
	roll   *fsm.Roll // of a rolling operation
	task   *fsm.Task // of one on a backup
	kind   string
	cancel context.CancelFunc
	done   chan struct{}
	given  time.Duration // for the step
	until  time.Time     // its deadline

	mu   sync.Mutex
	now  progress
	stop context.CancelCauseFunc // ends what may be canceled; nil: nothing yet
	beat func()
}

// progress is what a job has to say.
type progress struct {
	percent int
	text    string
	ended   bool
	fault   string
	stored  *fsm.Stored // what a backup holds, at the end of its last step
	damaged bool        // the fault is that the backup is not whole
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

// earlier is the first half of a job's progress, and later the second: the proof.
func (j *job) earlier(percent int, text string) { j.say(percent/2, text) }
func (j *job) later(percent int, text string)   { j.say(50+percent/2, text) }

// cancelable is a context of the work that interrupt ends while the job's own goes on.
func (j *job) cancelable(ctx context.Context) context.Context {
	ctx, stop := context.WithCancelCause(ctx)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.stop = stop
	return ctx
}

// interrupt ends what may be canceled of the job; the cause says why.
func (j *job) interrupt(cause error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.stop != nil {
		j.stop(cause)
	}
}

// ended keeps what came out of the work.
func (j *job) ended(ctx context.Context, text string, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	last := j.now.text
	j.now = progress{percent: j.now.percent, text: text, ended: true, stored: j.now.stored, damaged: errors.Is(err, ErrDamaged)}
	switch {
	case err == nil:
		j.now.percent = 100
		return
	case ctx.Err() != nil && last != "":
		j.now.text, j.now.fault = last, j.lateFault()+": "+last
	case ctx.Err() != nil:
		j.now.fault = j.lateFault()
	default:
		j.now.text, j.now.fault = last, err.Error()
	}
	j.now.stored = nil
}

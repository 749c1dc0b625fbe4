package manager

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"roundtable/cmd/roundtable/config"
	"roundtable/logkey"
	"roundtable/watch"
)

// reloader follows config.toml while the manager runs. What it says is read and checked as a whole, with the environment and
// the flags of the start over it. Something that may not stand there is refused whole: the log and an alarm tell what is wrong,
// and what was in force stays. Of a good one each key counts from the moment that its class says (config.Class):
//
//   - live: now is replaced, and onLive called;
//   - node: now is replaced, and onNode called, which has it brought to the node by a rollout;
//   - manager: it waits for this manager's next start, and Pending tells of it.
//
// It is level-triggered: it compares what lies there with what is in force, whatever was said in between.
type reloader struct {
	started *config.Config                // what this process was started with: the keys of the class manager count to its end
	now     atomic.Pointer[config.Config] // what is in force
	waiting atomic.Pointer[[]string]      // keys that wait for the next start
	onLive  func(old, now *config.Config) // from run's goroutine
	onNode  func(now *config.Config)      // the same
	alarm   func(name, subject, text string)
	log     *slog.Logger
	refused string // what was wrong when it was last said; "": nothing
	missing string // what operations on backups will not find, when it was last said; "": nothing
}

func newReloader(c *config.Config, onLive func(old, now *config.Config), onNode func(now *config.Config), alarm func(name, subject, text string), log *slog.Logger) *reloader {
	r := &reloader{started: c, onLive: onLive, onNode: onNode, alarm: alarm, log: log}
	r.now.Store(c)
	r.waiting.Store(&[]string{})
	return r
}

// Current is the configuration in force: what this process was started with, and over it the live keys and those of the node as
// the file has them now. Nobody changes it. Any goroutine may ask.
func (r *reloader) Current() *config.Config { return r.now.Load() }

// Pending are the keys that were changed in the file and wait for this manager's next start. Any goroutine may ask.
func (r *reloader) Pending() []string { return *r.waiting.Load() }

// A file that cannot be used is read once more before it is refused, for somebody may be writing it; and then now and again: what is
// wrong may be another file that it names.
const (
	reloadAgain = 2 * time.Second
	reloadEvery = time.Minute
)

// run follows the file until ctx ends. A configuration that was made in code is followed nowhere.
func (r *reloader) run(ctx context.Context) error {
	r.miss()
	if r.started.File() == "" {
		<-ctx.Done()
		return nil
	}
	changes := watch.Files(ctx, r.log, r.started.File())
	var again <-chan time.Time
	for {
		last := false
		select {
		case _, open := <-changes:
			if !open {
				return nil // ctx has ended
			}
		case <-again:
			last = true
		}
		again = nil
		err := r.reload()
		switch {
		case err == nil:
		case last:
			r.refuse(err)
			again = time.After(reloadEvery)
		default:
			again = time.After(reloadAgain)
		}
	}
}

// reload takes what the file says, or returns why not.
func (r *reloader) reload() error {
	file, err := r.started.Again()
	if err != nil {
		return err
	}
	if r.refused != "" {
		r.refused = ""
		r.log.Info("the configuration can be used again")
	}
	old := r.now.Load()
	pending := r.started.Changes(file, config.AtManager)
	next := old.Adopt(file, config.Live, config.AtNode)
	if len(pending) > 0 && next.Check() != nil { // what is new goes only with what takes a start
		next = old
	}
	live, node := old.Changes(next, config.Live), old.Changes(next, config.AtNode)
	pending = append(pending, slices.Concat(next.Changes(file, config.Live), next.Changes(file, config.AtNode))...)
	r.now.Store(next)
	if len(live) > 0 {
		r.log.Info("configuration changed", "keys", words(live))
		r.onLive(old, next)
	}
	if len(node) > 0 {
		r.log.Info("configuration of the node changed", "keys", words(node))
		r.onNode(next)
	}
	r.wait(pending)
	r.miss()
	return nil
}

// missed is what the log and the history say of them.
const missed = "operations on backups will not find what the configuration names"

// miss warns, once for each thing, of what operations on backups will not find: nothing else needs it, so it keeps nobody from starting.
func (r *reloader) miss() {
	err := r.now.Load().Missing()
	text := ""
	if err != nil {
		text = config.Words(err, wrongKeys)
	}
	if text == r.missing {
		return
	}
	if r.missing = text; text == "" {
		r.log.Info("operations on backups find what the configuration names")
		return
	}
	r.log.Warn(missed, logkey.Reason, text)
	r.alarm("backup", r.started.Manager.ID, missed+": "+config.Words(err, 1))
}

// wait says what waits for the next start, once.
func (r *reloader) wait(keys []string) {
	before := *r.waiting.Load()
	if slices.Equal(before, keys) {
		return
	}
	r.waiting.Store(&keys)
	if len(keys) == 0 {
		r.log.Info("nothing of the configuration waits for this manager's next start any more")
		return
	}
	r.log.Info("changed configuration waits for this manager's next start", "keys", words(keys))
}

// wrongKeys is how many problems of a refused file are told at once.
const wrongKeys = 5

// refuse tells what is wrong with a file, once for each thing.
func (r *reloader) refuse(err error) {
	text := config.Words(err, wrongKeys)
	if text == r.refused {
		return
	}
	r.refused = text
	r.log.Error("changed configuration refused, the former one stays in force", logkey.Reason, text)
	r.alarm("config", r.started.Manager.ID, "refused, the former one stays in force: "+config.Words(err, 1))
}

// words is a list of keys in a log line.
func words(keys []string) string { return strings.Join(keys, ", ") }

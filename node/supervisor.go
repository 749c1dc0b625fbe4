package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Errors of Start and Restart; the text holds the exit and a hint.
var (
	ErrExited    = errors.New("nodeos ended")      // it ended before HTTP answered; the supervisor may go on trying
	ErrFailed    = errors.New("nodeos stays down") // the crash budget is used up
	ErrClosed    = errors.New("supervisor has ended")
	ErrOvertaken = errors.New("another order overtook this one") // a Stop came during a Start, or a Start during a Stop
	ErrInUse     = errors.New("data directory is in use by another nodeos")
)

// Recover says what to do about a dirty database (Exit.Dirty).
type Recover string

// The recovery policies.
const (
	// RecoverReplay runs it once with --replay-blockchain, if the blocks are there from the first one on (FACT 19), or none at all and the
	// arguments name a genesis. Otherwise a replay would be refused, or begin another chain: then it is as RecoverStay.
	RecoverReplay Recover = "replay"
	// RecoverStay keeps the node down, StateFailed with LastExit.Dirty(), until Start or Restart: whoever watches chooses between a
	// replay (Start with --replay-blockchain) and a restore. Another start of the same kind would end in the same way (FACT 10).
	RecoverStay Recover = "stay"
	// RecoverNone counts it as any other exit.
	RecoverNone Recover = "none"
)

// Config configures a Supervisor. ConfigDir, DataDir and Pipeline are needed, Ready unless Client is given, and Program
// unless Path is.
type Config struct {
	ConfigDir string // must hold config.ini at each start: without one nodeos makes a default one and opens 0.0.0.0 (03-errors/a.38)
	DataDir   string // locked by New

	// Program is asked before each start, also before one after a crash, which program to run. An error, or arguments that
	// CheckArgs refuses, is an exit with CauseCannotStart. nil = always Path with Args and Env, which New checks.
	Program func(ctx context.Context) (Program, error)
	Path    string
	Args    []string
	Env     []string

	Pipeline *Pipeline
	Client   *Client                                    // asked for get_info to learn that HTTP is up
	Ready    func(ctx context.Context) error            // instead of Client
	Prepare  func(ctx context.Context, p Program) error // before each start of p, e.g. write config.ini; an error counts as an exit

	// Stdout is called anew before each start and gives the write end that becomes nodeos' stdout (the gate's packet pipe); the
	// supervisor closes its copy after the start. nil = a pipe into Pipeline.
	Stdout func() (*os.File, error)

	StartDown     bool          // wait for Start instead of starting at once
	StartTimeout  time.Duration // kill a start that says nothing for so long before HTTP is up; 0 = 60 s (FACT 21)
	ReplayTimeout time.Duration // the same with --snapshot, --replay-blockchain or --hard-replay-blockchain; 0 = 30 min
	StopTimeout   time.Duration // as in Tuning, until Tune
	Budget        Budget        // the same
	TermEvery     time.Duration // SIGTERM is sent again this often; 0 = 5 s
	Patience      time.Duration // SIGTERM to SIGKILL of a sidecar; 0 = 5 s
	Recover       Recover       // "" = RecoverReplay
	Nice          bool          // nice 19 and the idle I/O class for nodeos: never for one that may sign

	Log *slog.Logger     // nil = nowhere
	Now func() time.Time // nil = time.Now; stamps only
}

// Supervisor owns one nodeos process. Run does everything; the other methods only leave an order for it and, but for
// Status, Watch, Kill and Reload, wait until it is carried out. They may be called from any goroutine.
//
// Each start is paused (`--pause-on-startup`), also those after a crash: it never resumes production by itself.
type Supervisor struct {
	cfg  Config
	lock *Lock
	log  *slog.Logger
	wake chan struct{}

	now atomic.Pointer[moment] // what Watch tells: it waits for no lock

	mu     sync.Mutex
	order  order
	status Status
	child  *child
	exits  []time.Time // unasked ones in the budget's window
	tuning Tuning

	lastArgs []string // of the program chosen last

	// Of the present start, or the last one; only Run's goroutine knows them.
	program Program
	crew    *crew
}

// moment is a status and the channel that its successor closes.
type moment struct {
	status  Status
	changed chan struct{}
}

// order is what was last asked for.
type order struct {
	seq     uint64   // of the order
	restart uint64   // counts Restarts
	up      bool     //
	args    []string // for the next start only
}

// New takes the lock of the data directory (ErrLocked) and checks the configuration. Nothing is started before Run; Close
// instead of Run gives the lock back.
func New(cfg Config) (*Supervisor, error) {
	if cfg.Path == "" && cfg.Program == nil || cfg.ConfigDir == "" || cfg.DataDir == "" || cfg.Pipeline == nil || cfg.Client == nil && cfg.Ready == nil {
		return nil, errors.New("node: Config needs ConfigDir, DataDir, Pipeline, Path or Program, and Client or Ready")
	}
	if cfg.Program == nil {
		if err := CheckArgs(cfg.Args); err != nil {
			return nil, err
		}
		always := Program{Path: cfg.Path, Args: cfg.Args, Env: cfg.Env}
		cfg.Program = func(context.Context) (Program, error) { return always, nil }
	}
	if cfg.Ready == nil {
		cfg.Ready = func(ctx context.Context) error { _, err := cfg.Client.Info(ctx); return err }
	}
	setDefault(&cfg.StartTimeout, time.Minute)
	setDefault(&cfg.ReplayTimeout, 30*time.Minute)
	setDefault(&cfg.TermEvery, 5*time.Second)
	setDefault(&cfg.Patience, sidecarPatience)
	if cfg.Recover == "" {
		cfg.Recover = RecoverReplay
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	lock, err := AcquireLock(cfg.DataDir)
	if err != nil {
		return nil, err
	}
	s := &Supervisor{
		cfg: cfg, lock: lock, log: cfg.Log, wake: make(chan struct{}, 1),
		tuning: Tuning{cfg.StopTimeout, cfg.Budget}.withDefaults(), crew: noCrew(),
		order:  order{seq: 1, up: !cfg.StartDown},
		status: Status{State: StateStopped, Since: cfg.Now()}, lastArgs: cfg.Args,
	}
	s.now.Store(&moment{s.status, make(chan struct{})})
	return s, nil
}

func setDefault(d *time.Duration, v time.Duration) {
	if *d == 0 {
		*d = v
	}
}

// Close gives the lock back; only for a Supervisor whose Run is never called, or has returned.
func (s *Supervisor) Close() error { return s.lock.Release() }

// Status returns the present state. It never blocks.
func (s *Supervisor) Status() Status {
	st, _ := s.Watch()
	return st
}

// Watch returns the present state and a channel that is closed at the next change.
func (s *Supervisor) Watch() (Status, <-chan struct{}) {
	m := s.now.Load()
	return m.status, m.changed
}

// Start asks for the node to be up, with args for this one start, and waits until HTTP answers. It forgives earlier
// exits. ErrExited, ErrFailed, ErrOvertaken, ErrClosed, or the context's error; in the last case the start goes on. A node
// that is up already is left alone.
//
// If a node with args ends by itself before it is up, it stays down (StateFailed): a plain start after a --snapshot that was
// not read to its end, or after a --genesis-json that did not take, would begin another chain.
func (s *Supervisor) Start(ctx context.Context, args ...string) error {
	if err := CheckArgs(args); err != nil {
		return err
	}
	s.mu.Lock()
	running := s.order.up && (s.status.State == StateRunning || s.status.State == StateStarting)
	seq := s.order.seq
	if !running {
		s.exits = nil
		seq = s.put(func(o *order) { o.up, o.args = true, args })
	}
	s.mu.Unlock()
	return s.await(ctx, func(st Status) bool { return st.served >= seq }, s.isUp)
}

// Stop asks for the node to be down and waits for it; SIGTERM, and SIGKILL after StopTimeout. ErrClosed, ErrOvertaken or the context's
// error; in the last case the stop goes on.
func (s *Supervisor) Stop(ctx context.Context) error {
	s.mu.Lock()
	seq := s.put(func(o *order) { o.up, o.args = false, nil })
	s.mu.Unlock()
	return s.await(ctx, func(st Status) bool { return st.served >= seq }, func(st Status) (bool, error) {
		if st.State != StateStopped && s.peek().up {
			return false, ErrOvertaken
		}
		return st.State == StateStopped, nil
	})
}

// Restart stops the node as Stop does and starts it as Start does; args are for this one start.
func (s *Supervisor) Restart(ctx context.Context, args ...string) error {
	if err := CheckArgs(args); err != nil {
		return err
	}
	s.mu.Lock()
	s.exits = nil
	var n uint64
	s.put(func(o *order) { o.restart++; n = o.restart; o.up, o.args = true, args })
	s.mu.Unlock()
	return s.await(ctx, func(st Status) bool { return st.restart >= n }, s.isUp)
}

// Kill sends SIGKILL to the node's process group at once. The exit is Suspect and counts in the budget; the node is
// started again unless Stop was asked for. For the fence that must be sure, and for the second signal at shutdown.
func (s *Supervisor) Kill() {
	s.mu.Lock()
	c := s.child
	s.mu.Unlock()
	if c != nil {
		c.send(syscall.SIGKILL)
	}
}

// Reload sends SIGHUP: nodeos reads logging.json again (FACT 7).
func (s *Supervisor) Reload() {
	s.mu.Lock()
	c := s.child
	s.mu.Unlock()
	if c != nil {
		c.send(syscall.SIGHUP)
	}
}

// put changes the order under s.mu and wakes Run.
func (s *Supervisor) put(change func(*order)) uint64 {
	change(&s.order)
	s.order.seq++
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return s.order.seq
}

func (s *Supervisor) peek() order {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.order
}

// set publishes a new status.
func (s *Supervisor) set(change func(*Status)) Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.status.State
	change(&s.status)
	if s.status.State != before {
		s.status.Since = s.cfg.Now()
	}
	close(s.now.Swap(&moment{s.status, make(chan struct{})}).changed)
	return s.status
}

// await waits until the status answers the order and done says so.
func (s *Supervisor) await(ctx context.Context, answers func(Status) bool, done func(Status) (bool, error)) error {
	for {
		st, changed := s.Watch()
		if answers(st) {
			if ok, err := done(st); ok || err != nil {
				return err
			}
		}
		if st.over {
			return ErrClosed
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *Supervisor) isUp(st Status) (bool, error) {
	switch st.State {
	case StateRunning:
		return true, nil
	case StateStopped:
		return false, ErrOvertaken
	case StateFailed:
		return false, fmt.Errorf("node: %w: %s", ErrFailed, st.Reason)
	case StateBackoff:
		return false, fmt.Errorf("node: %w: %s", ErrExited, st.Reason)
	}
	return false, nil
}

// Run owns the process until ctx ends; then it stops the node as Stop does, gives the lock back and returns. Call it once.
// The error is not nil only if a process of an earlier manager cannot be got rid of.
func (s *Supervisor) Run(ctx context.Context) error {
	defer func() {
		s.set(func(st *Status) { st.State, st.over = StateStopped, true })
		if err := s.lock.Release(); err != nil {
			s.log.Warn("data directory lock not released", "err", err)
		}
	}()
	defer func() { <-s.crew.gone }() // whoever is left of it
	if _, err := s.lock.Reap(ctx, s.tuned().StopTimeout, s.log); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	var p plan
	for ctx.Err() == nil {
		o := s.peek()
		if !o.up {
			<-s.crew.gone
			s.set(func(st *Status) {
				st.State, st.served, st.restart, st.Reason, st.Hint = StateStopped, o.seq, o.restart, "", ""
			})
			p = plan{}
			s.idle(ctx, o.seq, 0)
			continue
		}
		s.takeArgs(o, &p)
		exit := s.run(ctx, o, p)
		if exit.Asked || ctx.Err() != nil {
			p = plan{}
			continue
		}
		next, text := s.recovery(p, exit)
		once := len(p.args) > 0 && !p.replay && !exit.up
		switch p = next; {
		case next.replay:
		case text != "":
			s.giveUp(ctx, exit, text)
		case once:
			s.giveUp(ctx, exit, "it was to be started once with arguments of its own and did not come up")
		default:
			s.pause(ctx, exit)
		}
	}
	return nil
}

// plan is how the next run differs from a plain one.
type plan struct {
	args   []string
	replay bool // by the recovery
}

// takeArgs gives an order's one-off arguments to the plan, once.
func (s *Supervisor) takeArgs(o order, p *plan) {
	if len(o.args) == 0 {
		return
	}
	*p = plan{args: o.args}
	s.mu.Lock()
	if s.order.seq == o.seq {
		s.order.args = nil
	}
	s.mu.Unlock()
}

// recovery plans the start after an exit nobody asked for: a plain one, later, or a replay at once; or a text says why none is to come.
func (s *Supervisor) recovery(p plan, exit Exit) (next plan, stay string) {
	switch {
	case !exit.Dirty() || s.cfg.Recover == RecoverNone:
		return plan{}, ""
	case s.cfg.Recover == RecoverStay:
		return plan{}, "its state is dirty"
	case p.replay:
		return plan{}, "its state is dirty after a replay"
	}
	c, err := s.Layout().Holds()
	switch {
	case err != nil:
		return plan{}, err.Error()
	case !c.Replayable() && (c.Log || !slices.ContainsFunc(s.program.Args, isGenesis)):
		return plan{}, "its state is dirty, and the blocks for a replay are not all there"
	}
	s.log.Warn("state is dirty, replaying blocks.log; reversible blocks come from peers", "args", replayFlag)
	return plan{args: []string{replayFlag}, replay: true}, ""
}

func isGenesis(arg string) bool { return strings.HasPrefix(arg, "--genesis-") }

const replayFlag = "--replay-blockchain"

// pause books an exit in the crash budget and waits for the next start, or for an order where there is none.
func (s *Supervisor) pause(ctx context.Context, exit Exit) {
	s.mu.Lock()
	var wait time.Duration
	var ok bool
	budget := s.tuning.Budget
	s.exits, wait, ok = budget.next(s.exits, s.cfg.Now())
	n, seq := len(s.exits), s.status.served // an order that came meanwhile is not waited over
	s.mu.Unlock()
	if !ok {
		s.log.Error("node stays down until it is told to start", "exits", n, "window", budget.Window, "last", exit.String(), "hint", exit.Hint())
		s.down(ctx, seq, exit, fmt.Sprintf("%d exits in %s, the last one %s", n, budget.Window, exit))
		return
	}
	s.log.Info("node will be started again", "in", wait, "exits", n)
	s.set(func(st *Status) {
		st.State, st.served, st.Hint, st.Next = StateBackoff, seq, exit.Hint(), s.cfg.Now().Add(wait)
		st.Reason = exit.String()
	})
	s.idle(ctx, seq, wait)
}

// giveUp keeps the node down after one exit.
func (s *Supervisor) giveUp(ctx context.Context, exit Exit, text string) {
	s.log.Error("node stays down until it is told to start", "reason", text, "last", exit.String(), "hint", exit.Hint())
	s.mu.Lock()
	seq := s.status.served // an order that came meanwhile is not waited over
	s.mu.Unlock()
	s.down(ctx, seq, exit, text+": "+exit.String())
}

// down waits for another order than seq.
func (s *Supervisor) down(ctx context.Context, seq uint64, exit Exit, reason string) {
	s.set(func(st *Status) { st.State, st.served, st.Reason, st.Hint = StateFailed, seq, reason, exit.Hint() })
	s.idle(ctx, seq, 0)
}

// idle waits for another order than seq, for ctx, or for d where d is not 0.
func (s *Supervisor) idle(ctx context.Context, seq uint64, d time.Duration) {
	var timeout <-chan time.Time
	if d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		timeout = t.C
	}
	for s.peek().seq == seq {
		select {
		case <-s.wake:
		case <-timeout:
			return
		case <-ctx.Done():
			return
		}
	}
}

package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"roundtable/fsm"
	"roundtable/logkey"
	"roundtable/pulse"
)

// standing is what raft says about the leadership, as last seen.
type standing struct {
	leading bool
	term    uint64 // of our leadership; 0 while not leading
	leader  string // id, "" if none is known
	address string
	changed chan struct{} // closed at the next change
}

// leadership follows raft's state. It is level-triggered: raft's own notifications may be dropped (LeaderCh), so they
// only wake it up, and a timer stands behind them.
type leadership struct {
	log       *slog.Logger
	node      *raft.Raft // set before run
	mu        sync.Mutex // of set
	told      string     // who led as last logged; with mu held
	now       atomic.Pointer[standing]
	elections atomic.Uint64 // leaderships of this member
	abdicated atomic.Bool   // a fatal trouble: never leading again, whatever raft says
}

func newLeadership(log *slog.Logger) *leadership {
	l := &leadership{log: log}
	l.now.Store(&standing{changed: make(chan struct{})})
	return l
}

// run follows raft until ctx ends; the last word is then that nobody leads.
func (l *leadership) run(ctx context.Context) {
	events := make(chan raft.Observation, 16)
	observer := raft.NewObserver(events, false, func(o *raft.Observation) bool {
		switch o.Data.(type) {
		case raft.RaftState, raft.LeaderObservation:
			return true
		}
		return false
	})
	l.node.RegisterObserver(observer)
	defer l.node.DeregisterObserver(observer)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		l.look()
		timer.Reset(pulse.Next(tick))
		select {
		case <-ctx.Done():
			l.set(standing{})
			return
		case <-events:
		case <-timer.C:
		}
	}
}

func (l *leadership) look() {
	address, id := l.node.LeaderWithID()
	s := standing{leader: string(id), address: string(address)}
	term := l.node.CurrentTerm()
	if l.node.State() == raft.Leader && l.node.CurrentTerm() == term {
		s.leading, s.term = true, term
	}
	l.set(s)
}

func (l *leadership) set(s standing) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.abdicated.Load() {
		s.leading, s.term = false, 0
	}
	old := l.now.Load()
	if old.leading == s.leading && old.term == s.term && old.leader == s.leader && old.address == s.address {
		return
	}
	if s.leading && s.term != old.term {
		l.elections.Add(1)
	}
	l.say(s.leader)
	s.changed = make(chan struct{})
	l.now.Store(&s)
	close(old.changed)
}

// say logs who leads: one line when it is another one, and one when nobody is known. With l.mu held.
func (l *leadership) say(leader string) {
	switch leader {
	case l.told:
	case "":
		l.log.Info("no leader", logkey.Leader, leader, logkey.Term, l.node.CurrentTerm(), "before", l.told)
	default:
		l.log.Info("new leader", logkey.Leader, leader, logkey.Term, l.node.CurrentTerm(), "before", l.told)
	}
	l.told = leader
}

// answerGrace is how long a leader that was asked may still answer when it is not known as the leader any more.
const answerGrace = 500 * time.Millisecond

// watch calls lost when another member, or none, has led for answerGrace since s was read. The returned function ends it.
func (l *leadership) watch(s *standing, lost func()) (stop func()) {
	done := make(chan struct{})
	go func() {
		grace := time.NewTimer(answerGrace)
		defer grace.Stop()
		known := true
		for now := s; ; now = l.now.Load() {
			if same := now.leader == s.leader; same != known {
				known = same
				grace.Reset(answerGrace)
			}
			var ended <-chan time.Time
			if !known {
				ended = grace.C
			}
			select {
			case <-done:
				return
			case <-ended:
				lost()
				return
			case <-now.changed:
			}
		}
	}()
	return func() { close(done) }
}

// Lead calls fn for every leadership of this member, after a barrier: what was committed before is applied. since is when
// that barrier was done. fn's context ends with the leadership; Lead waits for fn to return before it calls it again. An
// fn that returns early is not called again in the same leadership. Lead returns when ctx ends or the cluster is closed.
func (c *Cluster) Lead(ctx context.Context, fn func(ctx context.Context, since time.Time)) error {
	done := uint64(0) // term of the last leadership served
	for {
		s := c.leadership.now.Load()
		if s.leading && s.term != done {
			if err := c.lead(ctx, s.term, fn); err == nil {
				done = s.term
				continue
			}
			if !sleep(ctx, retryPause) {
				return ctx.Err()
			}
			select {
			case <-c.ctx.Done():
				return ErrClosed
			default:
			}
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-c.ctx.Done():
			return ErrClosed
		case <-s.changed:
		}
	}
}

// lead serves the leadership of one term; an error says that the barrier failed.
func (c *Cluster) lead(ctx context.Context, term uint64, fn func(context.Context, time.Time)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watcher := make(chan struct{})
	go func() {
		defer close(watcher)
		defer cancel()
		for {
			s := c.leadership.now.Load()
			if !s.leading || s.term != term {
				return
			}
			select {
			case <-s.changed:
			case <-ctx.Done():
				return
			}
		}
	}()
	defer func() { cancel(); <-watcher }()
	if err := c.barrier(ctx); err != nil {
		return err
	}
	fn(ctx, c.cfg.Now())
	return nil
}

// wait asks raft for something and waits for the answer or for ctx. Asking may block, too: raft's main loop may be stuck on
// the disk. Then one goroutine stays until raft goes on or the process ends.
func (c *Cluster) wait(ctx context.Context, ask func() raft.Future) error {
	answer := make(chan error, 1)
	c.asked.Add(1)
	go func() {
		defer c.asked.Add(-1)
		answer <- ask().Error()
	}()
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// barrier commits an entry of raft's own and waits until everything before it is applied here.
func (c *Cluster) barrier(ctx context.Context) error {
	return c.wait(ctx, func() raft.Future { return c.raft.Barrier(0) })
}

// Leader returns the id and raft address of the leader as known here; empty if none is.
func (c *Cluster) Leader() (id, addr string) {
	a, i := c.raft.LeaderWithID()
	return string(i), string(a)
}

// IsLeader reports whether this member believes to lead. It is never a fence: only a committed entry is.
func (c *Cluster) IsLeader() bool {
	return c.raft.State() == raft.Leader && !c.leadership.abdicated.Load()
}

// TransferLeadership moves raft's leadership to another member; to may be "": the one that is most up to date. It is
// confirmed by an entry that the new leader commits: raft itself answers nil on any loss of leadership. On a follower it
// is forwarded to the leader.
func (c *Cluster) TransferLeadership(ctx context.Context, to string) error {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	before := ""
	_, err := c.deliver(ctx, true, func(s *standing) (uint64, error) {
		switch before = s.leader; {
		case to == before && s.leading:
			return 0, c.barrier(ctx) // it leads already, if it does
		case to == before:
			return c.askLeader(ctx, s, request{Op: opBarrier})
		case s.leading:
			return 0, c.transferHere(ctx, to)
		}
		return c.askLeader(ctx, s, request{Op: opTransfer, Member: to})
	})
	switch {
	case errors.Is(err, ErrUnknownMember), errors.Is(err, ErrTransfer):
		return err
	case err != nil:
		return fmt.Errorf("%w: %w", ErrTransfer, err)
	case to == before:
		return nil
	}
	if err := c.confirmLeader(ctx, before, to); err != nil {
		return err
	}
	c.noteLeader(ctx)
	return nil
}

// noteLeader puts an operator's transfer into the history, where the log can say who that was. The transfer has happened:
// a failure here does not undo it.
func (c *Cluster) noteLeader(ctx context.Context) {
	if state, _ := c.View(); Actor(ctx) == "" || !state.BeyondVersion1() {
		return
	}
	s := c.leadership.now.Load()
	if _, err := c.Propose(ctx, fsm.NoteLeader{Leader: s.leader, Term: c.raft.CurrentTerm()}); err != nil {
		c.log.Warn("leadership transfer not noted in the history", "leader", s.leader, "err", err)
	}
}

// transferHere asks raft; its nil proves nothing.
func (c *Cluster) transferHere(ctx context.Context, to string) error {
	f := c.raft.LeadershipTransfer
	if to != "" {
		s, ok := c.server(to)
		if !ok {
			return fmt.Errorf("%w: %s", ErrUnknownMember, to)
		}
		if s.Suffrage != raft.Voter {
			return fmt.Errorf("%w: %s has no vote yet", ErrTransfer, to)
		}
		f = func() raft.Future { return c.raft.LeadershipTransferToServer(s.ID, s.Address) }
	}
	if err := c.wait(ctx, f); err != nil {
		return fmt.Errorf("%w: %w", ErrTransfer, err)
	}
	return nil
}

// confirmLeader waits until another leader has committed an entry.
func (c *Cluster) confirmLeader(ctx context.Context, before, to string) error {
	for {
		s := c.leadership.now.Load()
		if s.leader != "" && s.leader != before && !s.leading {
			if _, err := c.ask(ctx, request{Op: opBarrier}); err == nil {
				if to != "" && s.leader != to {
					return fmt.Errorf("%w: %s leads now, not %s", ErrTransfer, s.leader, to)
				}
				return nil
			}
		}
		if s.leading && before != c.cfg.ID { // it came to us
			if err := c.barrier(ctx); err == nil {
				if to != "" && to != c.cfg.ID {
					return fmt.Errorf("%w: it came here, not to %s", ErrTransfer, to)
				}
				return nil
			}
		}
		timer := time.NewTimer(retryPause)
		select {
		case <-s.changed:
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return errors.Join(ErrTransfer, ctx.Err())
		}
		timer.Stop()
	}
}

// server finds a member in raft's configuration.
func (c *Cluster) server(id string) (raft.Server, bool) {
	for _, s := range c.servers() {
		if string(s.ID) == id {
			return s, true
		}
	}
	return raft.Server{}, false
}

// servers is raft's newest configuration, read without asking its main loop.
func (c *Cluster) servers() []raft.Server {
	return c.raft.GetConfiguration().Configuration().Servers
}

package node

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"syscall"
	"time"
)

const (
	sidecarPatience = 5 * time.Second
	sidecarKilled   = 2 * time.Second // what is waited after SIGKILL: a stuck disk must not keep the node from stopping
)

// SidecarStop is the longest that a stop waits for the sidecars before the node gets its SIGTERM.
const SidecarStop = sidecarPatience + sidecarKilled

// SidecarStatus is a moment of one sidecar.
type SidecarStatus struct {
	Name     string `json:"name"`
	State    State  `json:"state"` // starting, running, backoff, failed (stays down until the node's next start), stopped
	PID      int    `json:"pid,omitempty"`
	Restarts int    `json:"restarts"`
	Reason   string `json:"reason,omitempty"` // how it ended last
}

// crew is the sidecars of one run of the node. They start once the node is up and are stopped before it gets its SIGTERM. One that
// ends by itself is started again within the budget, and stays down beyond it; Status and the log tell. It never takes the
// node down: a node that produces is worth more than what runs beside it.
type crew struct {
	leave context.CancelFunc
	gone  chan struct{} // closed when all have ended, or have outlived their SIGKILL for too long
}

// noCrew is one that is gone.
func noCrew() *crew {
	c := &crew{leave: func() {}, gone: make(chan struct{})}
	close(c.gone)
	return c
}

// muster starts the sidecars of the present program, once those of the last run are gone: a node that crashed is back before them.
func (s *Supervisor) muster(last *crew) *crew {
	list, env := s.program.Sidecars, s.program.Env
	if len(list) == 0 {
		return last
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := &crew{leave: cancel, gone: make(chan struct{})}
	go func() {
		defer close(c.gone)
		<-last.gone
		all := make([]SidecarStatus, len(list))
		for i, sc := range list {
			all[i] = SidecarStatus{Name: sc.Name, State: StateStarting}
		}
		s.set(func(st *Status) { st.Sidecars = all })
		var wg sync.WaitGroup
		for i, sc := range list {
			wg.Go(func() { s.keep(ctx, i, sc, env) })
		}
		wg.Wait()
	}()
	return c
}

// keep runs a sidecar until ctx ends.
func (s *Supervisor) keep(ctx context.Context, i int, sc Sidecar, env []string) {
	log := s.log.With("sidecar", sc.Name)
	defer s.tell(i, func(st *SidecarStatus) { st.State, st.PID = StateStopped, 0 })
	var exits []time.Time
	for ctx.Err() == nil {
		reason, err := s.accompany(ctx, i, sc, env, log)
		if err != nil {
			reason = err.Error()
		}
		if ctx.Err() != nil {
			return
		}
		var wait time.Duration
		var ok bool
		budget := s.tuned().Budget
		exits, wait, ok = budget.next(exits, s.cfg.Now())
		if !ok {
			log.Error("sidecar stays down until the node's next start", "exits", len(exits), "window", budget.Window, "last", reason)
			s.tell(i, func(st *SidecarStatus) { st.State, st.PID, st.Reason = StateFailed, 0, reason })
			<-ctx.Done()
			return
		}
		log.Warn("sidecar ended and will be started again", "last", reason, "in", wait, "exits", len(exits))
		s.tell(i, func(st *SidecarStatus) { st.State, st.PID, st.Reason = StateBackoff, 0, reason; st.Restarts++ })
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
		}
	}
}

// accompany runs a sidecar once and tells how it ended by itself; at ctx's end it is stopped: SIGTERM, patience, SIGKILL.
func (s *Supervisor) accompany(ctx context.Context, i int, sc Sidecar, env []string, log *slog.Logger) (ended string, err error) {
	if sc.Path == "" {
		return "", errors.New("no path")
	}
	c, finish, err := startHelper(sc.Path, sc.Args, helperEnv(env, sc.Env), func(b []byte) { s.cfg.Pipeline.SidecarLine(sc.Name, b) })
	if err != nil {
		return "", err
	}
	log.Info("sidecar started", "pid", c.pid)
	s.tell(i, func(st *SidecarStatus) { st.State, st.PID, st.Reason = StateRunning, c.pid, "" })
	select {
	case <-c.done:
		finish()
		return exitOf(c), nil
	case <-ctx.Done():
	}
	s.tell(i, func(st *SidecarStatus) { st.State = StateStopping })
	c.send(syscall.SIGTERM)
	if !within(c.done, s.cfg.Patience) {
		log.Warn("sidecar does not stop, killing it", "pid", c.pid, "after", s.cfg.Patience)
		c.send(syscall.SIGKILL)
		if !within(c.done, sidecarKilled) {
			log.Error("sidecar survives SIGKILL", "pid", c.pid)
			return "", nil
		}
	}
	finish()
	return "", nil
}

// within reports whether done is closed in time.
func within(done <-chan struct{}, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-done:
		return true
	case <-t.C:
		return false
	}
}

// tell publishes a change of one sidecar's status.
func (s *Supervisor) tell(i int, change func(*SidecarStatus)) {
	s.set(func(st *Status) {
		if i < len(st.Sidecars) { // else the node was started anew meanwhile, and nothing stands there yet
			st.Sidecars = slices.Clone(st.Sidecars)
			change(&st.Sidecars[i])
		}
	})
}

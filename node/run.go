package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// run starts nodeos once and stays with it until it has ended, for whatever reason.
func (s *Supervisor) run(ctx context.Context, o order, p plan) Exit {
	mark := s.cfg.Pipeline.mark()
	ups := s.cfg.Pipeline.httpUps.Load()
	begun := time.Now()
	again := s.Status().LastExit
	st := s.set(func(st *Status) {
		st.State, st.served, st.restart, st.Reason, st.Hint = StateStarting, o.seq, o.restart, "", ""
		st.Starts++
		st.StartedAt, st.Replaying, st.Next, st.Sidecars = s.cfg.Now(), p.replay, time.Time{}, nil
		if again != nil && !again.Asked {
			st.Restarts++
		}
	})
	c, drained, err := s.spawn(ctx, p)
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return s.ended(Exit{Cause: CauseCannotStart, Code: -1, Detail: err.Error(), At: s.cfg.Now(), Asked: ctx.Err() != nil})
	}
	s.mu.Lock()
	s.child = c
	s.mu.Unlock()
	s.set(func(st *Status) { st.PID = c.pid })
	s.log.Info("node started, paused", "pid", c.pid, "start", st.Starts, "program", s.program.Path, "tag", s.program.Tag,
		"extra", strings.Join(p.args, " "))

	forced, asked, up := s.attend(ctx, c, o, s.args(p), ups)

	select { // its last words; a helper process that outlives it was killed with its group
	case <-drained:
	case <-time.After(2 * time.Second):
	}
	if err := s.lock.SetChild(0); err != nil {
		s.log.Warn("lock file", "err", err)
	}
	lines := s.cfg.Pipeline.since(mark)
	exit := Exit{Code: c.code, Signal: c.signal, At: s.cfg.Now(), Ran: time.Since(begun), Asked: asked, up: up}
	exit.Cause, exit.Detail, exit.Suspect = classify(c.code, c.signal, lines)
	if forced != "" {
		exit.Cause, exit.Suspect = forced, true
	}
	if exit.Dirty() {
		if err := s.Layout().occupied(); err != nil {
			exit.Cause, exit.Detail, exit.Suspect = CauseInUse, err.Error(), false
		}
	}
	exit.Lines = lines[max(0, len(lines)-20):]
	return s.ended(exit)
}

// ended publishes an exit.
func (s *Supervisor) ended(exit Exit) Exit {
	s.mu.Lock()
	s.child = nil
	s.mu.Unlock()
	log := s.log.Warn
	if exit.Asked && !exit.Suspect {
		log = s.log.Info
	}
	log("node ended", "cause", exit.Cause, "code", exit.Code, "signal", int(exit.Signal), "detail", exit.Detail,
		"ran", exit.Ran.Round(time.Millisecond), "suspect", exit.Suspect, "asked", exit.Asked)
	s.set(func(st *Status) {
		st.PID, st.LastExit, st.Replaying = 0, &exit, false
		if st.State == StateRunning { // no moment in which a dead node looks alive
			st.State = StateStopping
		}
	})
	return exit
}

// args is the whole command line after the program's name.
func (s *Supervisor) args(p plan) []string {
	args := []string{"--config-dir", s.cfg.ConfigDir, "--data-dir", s.cfg.DataDir, "-e", "--pause-on-startup"}
	return slices.Concat(args, s.program.Args, p.args)
}

// spawn starts the process. drained is closed when all it wrote to our own pipes has been read.
func (s *Supervisor) spawn(ctx context.Context, p plan) (c *child, drained chan struct{}, err error) {
	if err := s.choose(ctx); err != nil {
		return nil, nil, err
	}
	if s.cfg.Prepare != nil {
		if err := s.cfg.Prepare(ctx, s.program); err != nil {
			return nil, nil, fmt.Errorf("prepare: %w", err)
		}
	}
	if _, err := os.Stat(filepath.Join(s.cfg.ConfigDir, "config.ini")); err != nil {
		return nil, nil, fmt.Errorf("no config.ini, and nodeos would make one that listens on 0.0.0.0: %w", err)
	}
	layout := s.Layout()
	if err := layout.occupied(); err != nil {
		return nil, nil, err
	}
	if dropped, err := layout.DropLeftovers(); err != nil || len(dropped) > 0 {
		s.log.Info("unfinished snapshots of an earlier run deleted", "paths", dropped, "err", err)
	}
	cmd := exec.Command(s.program.Path, s.args(p)...) //nolint:noctx // it is ended by the SIGTERM ladder, never by a context's SIGKILL
	cmd.Env = environment(s.program.Env)

	var ours, theirs []*os.File // our read ends, and what the child gets
	defer func() {
		for _, f := range theirs {
			_ = f.Close()
		}
		if err != nil {
			for _, f := range ours {
				_ = f.Close()
			}
		}
	}()
	stderr, w, err := pipe()
	if err != nil {
		return nil, nil, err
	}
	ours, theirs = append(ours, stderr), append(theirs, w)
	cmd.Stderr = w
	if s.cfg.Stdout != nil {
		if w, err = s.cfg.Stdout(); err != nil {
			return nil, nil, fmt.Errorf("stdout: %w", err)
		}
	} else {
		var stdout *os.File
		if stdout, w, err = pipe(); err != nil {
			return nil, nil, err
		}
		ours = append(ours, stdout)
	}
	theirs = append(theirs, w)
	cmd.Stdout = w

	s.cfg.Pipeline.activity.Store(time.Now().UnixNano())
	if c, err = startChild(cmd); err != nil {
		return nil, nil, err
	}
	if s.cfg.Nice {
		lowPriority(c.pid)
	}
	if err := s.lock.SetChild(c.pid); err != nil {
		s.log.Warn("lock file", "err", err)
	}
	return c, s.drain(ours), nil
}

// drain reads our pipes to their ends. They are named by their order: stderr, stdout.
func (s *Supervisor) drain(pipes []*os.File) chan struct{} {
	drained := make(chan struct{})
	left := make(chan struct{}, len(pipes))
	for i, f := range pipes {
		go func() {
			if err := s.cfg.Pipeline.Read([]string{"stderr", "stdout"}[i], f); err != nil {
				s.log.Warn("reading the node's output", "err", err)
			}
			_ = f.Close()
			left <- struct{}{}
		}()
	}
	go func() {
		for range pipes {
			<-left
		}
		close(drained)
	}()
	return drained
}

// environment takes out what a nodeos must not get.
func environment(env []string) []string {
	if env == nil {
		env = os.Environ()
	}
	return slices.DeleteFunc(slices.Clone(env), func(kv string) bool {
		return strings.HasPrefix(kv, "JOURNAL_STREAM=") || strings.HasPrefix(kv, "ROUNDTABLE_") || strings.HasPrefix(kv, "NOTIFY_SOCKET=")
	})
}

// attend stays with a running child until it is dead, its sidecars with it while it is up. forced names the reason if it had to
// be killed by us; up says that HTTP has answered.
func (s *Supervisor) attend(ctx context.Context, c *child, o order, args []string, ups uint64) (forced Cause, asked, up bool) {
	silence := s.cfg.StartTimeout
	if slices.ContainsFunc(args, func(a string) bool {
		return strings.HasPrefix(a, "--snapshot") || strings.HasPrefix(a, "--replay") || strings.HasPrefix(a, "--hard-replay")
	}) {
		silence = s.cfg.ReplayTimeout
	}
	readyCtx, cancel := context.WithCancel(context.Background())
	ready := make(chan struct{})
	readyDone := make(chan struct{})
	go func() { defer close(readyDone); s.untilReady(readyCtx, ups, ready) }()
	defer func() { cancel(); <-readyDone }()

	tick := time.NewTicker(min(time.Second, max(silence/4, 10*time.Millisecond)))
	defer tick.Stop()
	ctxDone := ctx.Done()
	defer func() { s.crew.leave() }()
	var alone <-chan struct{}
	var term, kill <-chan time.Time
	var patience time.Duration
	stop := func() {
		if asked {
			return
		}
		asked = true
		cancel()
		tick.Stop()
		cur := s.peek()
		s.set(func(st *Status) { st.State, st.served = StateStopping, cur.seq })
		s.crew.leave()
		alone = s.crew.gone
	}
	for {
		select {
		case <-c.done:
			return forced, asked, up
		case <-alone:
			alone = nil
			patience = s.tuned().StopTimeout
			s.log.Info("stopping the node", "pid", c.pid, "timeout", patience)
			c.send(syscall.SIGTERM)
			again, last := time.NewTicker(s.cfg.TermEvery), time.NewTimer(patience)
			defer again.Stop()
			defer last.Stop()
			term, kill = again.C, last.C
		case <-ready:
			ready, up = nil, true
			tick.Stop()
			if !asked {
				s.crew = s.muster(s.crew)
			}
			s.set(func(st *Status) {
				if st.State == StateStarting {
					st.State = StateRunning
				}
			})
			s.log.Info("node is up", "pid", c.pid)
		case <-tick.C:
			quiet := time.Since(time.Unix(0, s.cfg.Pipeline.activity.Load()))
			if quiet > silence && forced == "" {
				s.log.Error("node says nothing and HTTP is not up, killing it", "pid", c.pid, "quiet", quiet.Round(time.Millisecond))
				forced = CauseStartTimeout
				c.send(syscall.SIGKILL)
			}
		case <-s.wake:
			cur := s.peek()
			if !cur.up || cur.restart != o.restart {
				stop()
			} else {
				s.set(func(st *Status) { st.served = cur.seq })
			}
		case <-ctxDone:
			ctxDone = nil
			stop()
		case <-term:
			c.send(syscall.SIGTERM)
		case <-kill:
			s.log.Error("node does not stop, killing it", "pid", c.pid, "after", patience)
			forced = CauseStopTimeout
			c.send(syscall.SIGKILL)
		}
	}
}

// untilReady closes ready once HTTP answers. An answer alone may come from another process on the same port, whose owner ours
// is about to meet (it exits with 254 then): so it counts only with nodeos' own line `start listening on ... for API
// categories`, or, for an operator who turned that line off, if it holds for two seconds.
func (s *Supervisor) untilReady(ctx context.Context, ups uint64, ready chan struct{}) {
	var first time.Time
	for wait := 25 * time.Millisecond; ; wait = min(2*wait, 200*time.Millisecond) {
		attempt, cancel := context.WithTimeout(ctx, 2*time.Second)
		err := s.cfg.Ready(attempt)
		cancel()
		switch {
		case err != nil:
			first = time.Time{}
		case first.IsZero():
			first = time.Now()
		}
		if err == nil && (s.cfg.Pipeline.httpUps.Load() != ups || time.Since(first) > 2*time.Second) {
			close(ready)
			return
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return
		}
	}
}

// CheckArgs refuses command line arguments that would take away what the manager owns: the configuration files, the data
// directory, the signature providers. nodeos accepts abbreviated options, so every prefix of such a name is refused. And it reads `-ep x`
// as `-e -p x` (boost's "sticky" style), so a short option stands alone, without its value.
func CheckArgs(args []string) error {
	for _, a := range args {
		if strings.HasPrefix(a, "-") && !strings.HasPrefix(a, "--") && len(a) > 1 {
			if strings.ContainsRune("cdlpx", rune(a[1])) {
				return fmt.Errorf("node: argument %s is refused: %w", a[:2], ErrOwned)
			}
			if len(a) > 2 {
				return fmt.Errorf("node: an argument that begins with %s is refused: %w", a[:2], errSticky)
			}
		}
		name, ok := strings.CutPrefix(a, "--")
		if !ok {
			continue
		}
		name, _, _ = strings.Cut(name, "=")
		for _, owned := range ownedArgs {
			if strings.HasPrefix(owned, name) {
				return fmt.Errorf("node: argument --%s is refused: %w", name, ErrOwned)
			}
		}
	}
	return nil
}

// ErrOwned says that an option is the manager's to set.
var ErrOwned = errors.New("the manager sets this itself; use the config template or the manager's own settings")

var errSticky = errors.New("nodeos may read several short options in it; write --name=value")

// ownedArgs are the options that are not an operator's on the command line.
var ownedArgs = []string{
	"config", "config-dir", "data-dir", "logconf", "signature-provider", "producer-name", "pause-on-startup",
	"http-server-address", "http-category-address", "unix-socket-path", "keosd-provider-timeout", "delete-all-blocks",
}

package drill

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"
)

const (
	demoHandoffMisses = 0
	demoKillMisses    = 6
	closeTime         = 30 * time.Second
)

// up starts the sandbox, runs f once production runs, and closes everything.
func (s *Sandbox) up(ctx context.Context, f func(d *drill) error) (err error) {
	defer func() {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTime)
		defer cancel()
		err = errors.Join(err, s.Close(stop))
	}()
	if err := s.Start(); err != nil {
		return err
	}
	d := &drill{Sandbox: s, rand: rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))} //nolint:gosec // moments, not secrets
	if err := d.settle(ctx); err != nil {
		return err
	}
	return f(d)
}

// killAndTake kills the holder, manager and node, and waits until another one holds and its blocks come.
func (d *drill) killAndTake(ctx context.Context) (Event, error) {
	m, err := d.holder(ctx)
	if err != nil {
		return Event{}, err
	}
	return d.taken(ctx, "kill", m, func() error { return d.KillMember(ctx, m) })
}

// taken does something to the holder that takes production from it, and waits until another one holds and its blocks come.
func (d *drill) taken(ctx context.Context, what string, m *Member, do func() error) (Event, error) {
	e := Event{What: what, From: m.ID, At: time.Now()}
	e.FirstSlot = slotAt(e.At)
	if err := do(); err != nil {
		return e, err
	}
	taken, cancel := context.WithTimeout(ctx, handoffTime)
	defer cancel()
	if err := Poll(taken, 20*time.Millisecond, func(ctx context.Context) error {
		v, err := d.look(ctx)
		if err != nil {
			return err
		}
		if e.To = v.Holder; e.To == "" || e.To == m.ID || v.Heads[e.To] <= e.FirstSlot+2 {
			return errors.New("nobody has taken over")
		}
		return nil
	}); err != nil {
		return e, err
	}
	e.Took = time.Since(e.At)
	err := wait(ctx, after*500*time.Millisecond)
	e.LastSlot = slotAt(time.Now())
	return e, err
}

// Demo shows the main job: two handoffs, a kill, the return of the killed, and the verdict.
func (s *Sandbox) Demo(ctx context.Context, w io.Writer) error {
	begun := time.Now()
	say := func(format string, args ...any) {
		fmt.Fprintf(w, "%5.1fs  %s\n", time.Since(begun).Seconds(), fmt.Sprintf(format, args...))
	}
	say("starting %d managers, each with its own node, and one producer account on every slot (two a second, no gap)", len(s.Members))
	return s.up(ctx, func(d *drill) error {
		o, err := d.Overview(ctx)
		if err != nil {
			return err
		}
		say("the cluster is up; the raft leader is %s", o.Leader)
		for _, m := range o.Members {
			say("  %s  %-8s head #%d  peers %d  %s", m.ID, m.Role, m.Head.Num, m.Peers, m.API)
		}
		r := Report{Scenario: "demo", Fence: "gate", Nodeos: s.opts.Nodeos}
		first := slotAt(time.Now()) + 1
		back := o.Holder()
		for i, what := range []string{"hand production over", "and back"} {
			say("%s: POST /cluster/handoff", what)
			e, err := s.demoHandoff(ctx, d, i, back)
			if err != nil {
				return err
			}
			say("  done in %d ms: %s -> %s", e.Took.Milliseconds(), e.From, e.To)
			r.Events = append(r.Events, e)
		}
		say("kill the holder, manager and node, with SIGKILL")
		e, err := d.killAndTake(ctx)
		if err != nil {
			return err
		}
		say("  %s is dead; %s holds the lease and signs", e.From, e.To)
		r.Events = append(r.Events, e)
		killed, err := s.Member(e.From)
		if err != nil {
			return err
		}
		say("start %s again", killed.ID)
		if err := s.StartMember(killed); err != nil {
			return err
		}
		if err := d.settle(ctx); err != nil {
			return err
		}
		say("  it is back as a standby, in sync")
		if err := d.check(ctx, &r, first, slotAt(time.Now())-1, nil); err != nil {
			return err
		}
		return s.verdict(w, r)
	})
}

func (s *Sandbox) demoHandoff(ctx context.Context, d *drill, run int, back string) (Event, error) {
	o, err := d.Overview(ctx)
	if err != nil {
		return Event{}, err
	}
	to := back
	if o.Holder() == back {
		to = d.other(back).ID
	}
	return d.handTo(ctx, s.Members[run%len(s.Members)], o.Holder(), to)
}

// verdict prints what the ledgers and the chain say, and decides.
func (s *Sandbox) verdict(w io.Writer, r Report) error {
	var limits []int
	for _, e := range r.Events {
		if e.What == "kill" {
			limits = append(limits, demoKillMisses)
		} else {
			limits = append(limits, demoHandoffMisses)
		}
	}
	return r.tell(w, "The demo", limits)
}

// Show runs the sandbox for people to play with, until ctx ends or for so long (0: no end).
func (s *Sandbox) Show(ctx context.Context, w io.Writer, length time.Duration) error {
	return s.up(ctx, func(d *drill) error {
		o, err := d.Overview(ctx)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "the cluster is up; %s holds the lease. Try, in another terminal:\n", o.Holder())
		first := s.Members[0].asked()
		fmt.Fprintf(w, "  %s status %s\n  %s handoff --wait %s\n", s.opts.Roundtable, first, s.opts.Roundtable, first)
		fmt.Fprintf(w, "  %s backup create --wait %s\n", s.opts.Roundtable, first)
		if n := len(s.versions); n > 0 {
			fmt.Fprintf(w, "  %s upgrade %s --wait %s\n", s.opts.Roundtable, s.versions[n-1].tag, first)
		}
		if s.secure != nil {
			fmt.Fprintf(w, "its API is over TLS, by the CA in %s, with a token that roundtable token add makes\n", s.Members[0].Files().CA)
		}
		fmt.Fprintf(w, "everything is in %s; ^C ends it\n", s.Dir)
		if length > 0 {
			return wait(ctx, length)
		}
		<-ctx.Done()
		return nil
	})
}

package drill

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	mrand "math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The slots that each thing done to the containers may cost.
const (
	composeHandoffMisses    = 0
	composeKillMisses       = 7
	composeDisconnectMisses = 7 // the range of the holder that is cut off, and an election where it led
	composeRestartMisses    = 0
	uncounted               = -1 // everything is down meanwhile
)

const (
	composeUp    = 2 * time.Minute
	composeDown  = time.Minute
	composeStop  = time.Minute
	healthyTime  = time.Minute
	disconnected = 8 * time.Second // for what the cut off member believes to end, and to be missed by the others
)

// composed is the drill of the containers.
type composed struct {
	*drill
	compose *Compose
	limits  []int // of missed slots, by event
	report  Report
	say     func(format string, args ...any)
}

// RunCompose starts the cluster of docker-compose.yml in real containers under a project of its own, does to it what happens to
// machines (a handoff, docker kill, docker network disconnect, a restart of each), counts from ledgers, chains and raft logs,
// and removes everything. The error tells what did not pass; then the logs and ledgers are left in c.Dir.
func RunCompose(ctx context.Context, c Compose, w io.Writer) (r Report, err error) {
	begun := time.Now()
	d := &composed{compose: &c, report: Report{Scenario: "compose", Fence: "gate", Nodeos: standIn, Runs: 1}}
	d.say = func(format string, args ...any) {
		fmt.Fprintf(w, "%5.1fs  %s\n", time.Since(begun).Seconds(), fmt.Sprintf(format, args...))
	}
	if c.File, err = filepath.Abs(c.File); err != nil {
		return r, fmt.Errorf("drill: %w", err)
	}
	c.Project = cmp.Or(c.Project, fmt.Sprintf("rtdrill-%d-%s", os.Getpid(), strings.ToLower(rand.Text()[:4])))
	keep := c.Dir != ""
	if !keep {
		if c.Dir, err = os.MkdirTemp("", "roundtable-"); err != nil {
			return r, fmt.Errorf("drill: %w", err)
		}
	}
	if err := c.open(ctx); err != nil {
		return r, errors.Join(err, os.Remove(c.Dir))
	}
	defer func() {
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), composeDown)
		defer cancel()
		if err != nil {
			err = errors.Join(err, c.logs(clean))
		}
		err = errors.Join(err, c.down(clean))
		if err == nil && !keep {
			err = os.RemoveAll(c.Dir)
			return
		}
		fmt.Fprintf(w, "logs and ledgers are left in %s\n", c.Dir)
	}()
	if err := d.run(ctx); err != nil {
		return d.report, err
	}
	return d.report, d.report.tell(w, "The drill of the containers", d.limits)
}

// run does everything and counts.
func (d *composed) run(ctx context.Context) error {
	d.say("docker compose up: project %s, three managers, each with its node, one producer account on every slot", d.compose.Project)
	if err := d.begin(ctx); err != nil {
		return err
	}
	v, err := d.look(ctx)
	if err != nil {
		return err
	}
	d.say("the cluster is up; %s holds the lease, %s leads the raft group", v.Holder, v.Leader)
	first := slotAt(time.Now()) + 1

	steps := []composeStep{
		{"handoff", "POST /cluster/handoff, over TLS with a token", composeHandoffMisses, d.handOver},
		{"kill", "docker kill the holder", composeKillMisses, d.killContainer},
		{"disconnect", "docker network disconnect the holder", composeDisconnectMisses, d.disconnect},
	}
	for _, m := range d.Members {
		steps = append(steps, composeStep{"restart", "compose restart " + m.ID, composeRestartMisses, func(ctx context.Context) (Event, error) { return d.restart(ctx, m) }})
	}
	steps = append(steps, composeStep{"move", "every container is made anew, and gets another address", uncounted, d.move})
	for i, s := range steps {
		d.say("%s", s.says)
		act := func(_ *drill, ctx context.Context) (Event, error) { return s.act(ctx) }
		e, err := d.once(ctx, scenario{name: s.name, act: act, planned: true})
		if err != nil {
			return fmt.Errorf("%s: %w", s.says, err)
		}
		e.Run = i + 1
		d.say("  %s -> %s, settled after %.1f s", e.From, e.To, e.RecoveredAt.Sub(e.At).Seconds())
		d.report.Events, d.limits = append(d.report.Events, e), append(d.limits, s.limit)
	}
	return d.finish(ctx, first)
}

// composeStep is one thing that is done to the containers.
type composeStep struct {
	name, says string
	limit      int // of missed slots
	act        func(context.Context) (Event, error)
}

// begin starts the containers and waits until production runs.
func (d *composed) begin(ctx context.Context) error {
	up, cancel := context.WithTimeout(ctx, composeUp)
	defer cancel()
	if err := d.compose.up(up); err != nil {
		return err
	}
	client, err := d.compose.client(up)
	if err != nil {
		return err
	}
	s := &Sandbox{Dir: d.compose.Dir, Producer: "bp", opts: Options{Managers: len(services), Nodeos: standIn}, system: ours{}, http: client}
	for _, id := range services {
		m := &Member{ID: id, Home: filepath.Join(d.compose.Dir, id), remote: true}
		if err := os.MkdirAll(m.Home, 0o700); err != nil {
			return fmt.Errorf("drill: %w", err)
		}
		s.Members = append(s.Members, m)
	}
	d.drill = &drill{Sandbox: s, rand: mrand.New(mrand.NewPCG(uint64(time.Now().UnixNano()), 0))} //nolint:gosec // moments, not secrets
	for _, m := range s.Members {
		if err := d.locate(up, m); err != nil {
			return err
		}
	}
	return d.settle(up)
}

// locate finds a member's API anew.
func (d *composed) locate(ctx context.Context, m *Member) (err error) {
	m.API, err = d.compose.url(ctx, m.ID)
	return err
}

// handOver asks any member for a handoff to another one.
func (d *composed) handOver(ctx context.Context) (Event, error) { return d.handoff(ctx) }

// killContainer kills the holder's container and starts it again when another one has taken over.
func (d *composed) killContainer(ctx context.Context) (Event, error) {
	m, err := d.holder(ctx)
	if err != nil {
		return Event{}, err
	}
	e, err := d.taken(ctx, "docker kill", m, func() error {
		_, err := d.compose.docker(ctx, "kill", d.compose.containers[m.ID])
		return err
	})
	if err != nil {
		return e, err
	}
	d.say("  %s is dead, %s signs; docker start %s", e.From, e.To, m.ID)
	if _, err := d.compose.docker(ctx, "start", d.compose.containers[m.ID]); err != nil {
		return e, err
	}
	return e, d.back(ctx, m)
}

// disconnect takes the holder's container off the network for a while.
func (d *composed) disconnect(ctx context.Context) (Event, error) {
	m, err := d.holder(ctx)
	if err != nil {
		return Event{}, err
	}
	var heal func(context.Context) error
	e, err := d.taken(ctx, "docker network disconnect", m, func() (err error) {
		heal, err = d.compose.cut(ctx, m.ID)
		return err
	})
	if err == nil {
		d.say("  %s is cut off, %s signs; docker network connect in %s", e.From, e.To, disconnected)
		err = wait(ctx, disconnected)
	}
	if heal != nil { // whatever went wrong: it must be reached to be looked at
		err = errors.Join(err, heal(context.WithoutCancel(ctx)))
	}
	e.HealedAt = time.Now()
	if err != nil {
		return e, err
	}
	return e, d.back(ctx, m)
}

// restart restarts a container as an operator does: SIGTERM, so a holder hands over first.
func (d *composed) restart(ctx context.Context, m *Member) (Event, error) {
	v, err := d.look(ctx)
	if err != nil {
		return Event{}, err
	}
	e := Event{What: "restart of " + m.ID, From: v.Holder, At: time.Now()}
	e.FirstSlot = slotAt(e.At)
	stop, cancel := context.WithTimeout(ctx, composeStop)
	defer cancel()
	if _, err := d.compose.command(stop, "restart", m.ID); err != nil {
		return e, err
	}
	e.Took = time.Since(e.At)
	return e, d.back(ctx, m)
}

// move removes all containers and makes new ones, in an order that gives each another address than before. The members must
// find each other again by their names, the founder as well, which has nobody to join.
func (d *composed) move(ctx context.Context) (Event, error) {
	v, err := d.look(ctx)
	if err != nil {
		return Event{}, err
	}
	before := map[string]netip.Addr{}
	for _, m := range d.Members {
		if before[m.ID], err = d.compose.address(ctx, m.ID); err != nil {
			return Event{}, err
		}
	}
	order := slices.SortedFunc(maps.Keys(before), func(a, b string) int { return before[a].Compare(before[b]) })
	order = append(order[1:], order[0])
	e := Event{What: "move", From: v.Holder, At: time.Now()}
	e.FirstSlot = slotAt(e.At)
	up, cancel := context.WithTimeout(ctx, composeUp)
	defer cancel()
	if err := d.compose.renew(up, order); err != nil {
		return e, err
	}
	for _, m := range d.Members {
		if err := d.back(ctx, m); err != nil {
			return e, err
		}
		now, err := d.compose.address(ctx, m.ID)
		if err != nil {
			return e, err
		}
		if d.say("  %s is at %s, it was at %s", m.ID, now, before[m.ID]); now == before[m.ID] {
			return e, fmt.Errorf("drill: %s has the same address as before: nothing was tried", m.ID)
		}
	}
	e.Took = time.Since(e.At)
	return e, nil
}

// back waits until the health check of a member's container says that it is well.
func (d *composed) back(ctx context.Context, m *Member) error {
	ctx, cancel := context.WithTimeout(ctx, healthyTime)
	defer cancel()
	return Poll(ctx, 200*time.Millisecond, func(ctx context.Context) error {
		return errors.Join(d.locate(ctx, m), d.compose.healthy(ctx, m.ID))
	})
}

// finish stops everything in order and counts from what the containers leave.
func (d *composed) finish(ctx context.Context, first uint64) error {
	last := slotAt(time.Now()) - 1
	d.say("everything was done; reading the chains, stopping the containers, reading ledgers and raft logs")
	if err := wait(ctx, time.Second); err != nil { // the last slots' blocks must have reached every node
		return err
	}
	e := evidence{first: first, last: last, judged: true}
	var unread error
	for _, m := range d.Members {
		chain, err := d.compose.chain(ctx, m.ID)
		unread = errors.Join(unread, err)
		e.chains = append(e.chains, chain)
		if len(chain) > len(e.chain) {
			e.chain = chain
		}
	}
	e.closing = time.Now()
	stop, cancel := context.WithTimeout(ctx, composeStop)
	defer cancel()
	if _, err := d.compose.command(stop, "stop"); err != nil {
		return err
	}
	for _, m := range d.Members {
		if err := d.compose.collect(ctx, m.ID, m.Home); err != nil {
			return err
		}
		v, err := d.compose.inspect(ctx, m.ID)
		if err != nil {
			return err
		}
		if v.RestartCount > 0 {
			d.report.Failures = append(d.report.Failures, fmt.Sprintf("the manager of %s ended by itself and was started again %d times", m.ID, v.RestartCount))
		}
	}
	return d.count(&d.report, e, unread)
}

func portNumber(s string) int {
	n, _ := strconv.Atoi(s) // docker's own
	return n
}

package node

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// MonitorConfig configures a Monitor.
type MonitorConfig struct {
	Client    *Client
	Watch     func() (Status, <-chan struct{}) // Supervisor.Watch; nil = the process is not watched
	Producers []string                         // ours, for Stalled

	// Poll is how often get_info is asked; 0 = 250 ms. Where the pipeline's events tell of blocks (Event), it is asked at each
	// of them instead, and again only if none comes for three times as long.
	Poll       time.Duration
	Slow       time.Duration // paused and connections; 0 = 2 s. It is also how soon a stuck main thread is seen
	Rare       time.Duration // schedule, finality, state size; 0 = 10 s
	StallSlots int           // 0 = 6
	MaxGap     uint32        // longest gap OnBlock fills; 0 = 240 blocks (two minutes)

	// OnBlock gets every block of the best chain as the node's API tells it, in order of numbers, and a number again when a fork
	// switch replaced its block. From one goroutine; a slow one delays the next poll.
	OnBlock func(BlockInfo)

	Log *slog.Logger     // nil = nowhere
	Now func() time.Time // nil = time.Now
}

// Monitor watches one node through its API: what it knows is published as a View. Run does the work, in two goroutines so
// that a stuck main thread does not hide that get_info still answers.
type Monitor struct {
	cfg  MonitorConfig
	poke chan struct{} // asks runSlow
	kick chan struct{} // asks runFast

	now atomic.Pointer[sight] // what View and Turned tell: they wait for no lock

	mu      sync.Mutex // of who publishes
	process State
}

// sight is a view and the channels that its successor closes.
type sight struct {
	view            *View
	changed, turned chan struct{}
}

// NewMonitor makes a Monitor; nothing is asked before Run.
func NewMonitor(cfg MonitorConfig) *Monitor {
	setDefault(&cfg.Poll, 250*time.Millisecond)
	setDefault(&cfg.Slow, 2*time.Second)
	setDefault(&cfg.Rare, 10*time.Second)
	if cfg.StallSlots == 0 {
		cfg.StallSlots = 6
	}
	if cfg.MaxGap == 0 {
		cfg.MaxGap = 240
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	m := &Monitor{cfg: cfg, poke: make(chan struct{}, 1), kick: make(chan struct{}, 1)}
	m.now.Store(&sight{&View{Reason: "not asked yet"}, make(chan struct{}), make(chan struct{})})
	return m
}

// View returns what is known, and a channel that is closed at the next change.
func (m *Monitor) View() (*View, <-chan struct{}) {
	now := m.now.Load()
	return now.view, now.changed
}

// Turned returns a channel that is closed at the next change of the view that is more than a block that came.
func (m *Monitor) Turned() <-chan struct{} { return m.now.Load().turned }

// Poke asks for paused, connections and schedule at once, e.g. after a Pause, Resume or Connect. It does not wait.
func (m *Monitor) Poke() {
	select {
	case m.poke <- struct{}{}:
	default:
	}
}

// Event takes the pipeline's events (PipelineConfig.OnEvent); it does not block. Events only inform: what production and
// lease depend on is asked from the API.
func (m *Monitor) Event(e Event) {
	switch e.Kind {
	case EventProduced:
		m.update(func(v *View) { v.LastProduced, v.LastProducedAt = e.Block, e.Time })
		m.look()
	case EventReceived:
		m.update(func(v *View) { v.LastReceived, v.LastReceivedAt = e.Block, e.Time })
		m.look()
	case EventNotProducing:
		m.update(func(v *View) { v.LastNotProducing = e.Reason })
	case EventPaused, EventResumed:
		m.Poke()
	}
}

// look asks for the head now.
func (m *Monitor) look() {
	select {
	case m.kick <- struct{}{}:
	default:
	}
}

// update publishes a changed copy of the view.
func (m *Monitor) update(change func(*View)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	old := m.now.Load()
	next := *old.view
	change(&next)
	next.Syncing = next.Running && next.syncing(m.cfg.Producers, m.cfg.Now())
	next.judge(m.process)
	if next.Healthy != old.view.Healthy || next.Reason != old.view.Reason {
		m.cfg.Log.Info("node health", "healthy", next.Healthy, "reason", next.Reason, "head", next.Head.Num)
	}
	if equalViews(&next, old.view) {
		return
	}
	turned := !equalViews(next.still(), old.view.still())
	now := &sight{&next, make(chan struct{}), old.turned}
	if turned {
		now.turned = make(chan struct{})
	}
	m.now.Store(now)
	close(old.changed)
	if turned {
		close(old.turned)
	}
}

func equalViews(a, b *View) bool {
	x, y := *a, *b
	same := slices.Equal(x.PeerAddresses, y.PeerAddresses) && equalSchedules(x.Schedule, y.Schedule) && equalSchedules(x.Pending, y.Pending)
	if !same {
		return false
	}
	return x.Running == y.Running && x.Healthy == y.Healthy && x.Reason == y.Reason && x.Head == y.Head &&
		x.HeadProducer == y.HeadProducer && x.HeadAt.Equal(y.HeadAt) && x.LIB == y.LIB && x.LIBID == y.LIBID &&
		x.ChainID == y.ChainID && x.Version == y.Version && x.PausedKnown == y.PausedKnown && x.Paused == y.Paused &&
		x.PausedSince.Equal(y.PausedSince) && x.Stalled == y.Stalled && x.Stuck == y.Stuck && x.Syncing == y.Syncing && x.PeersKnown == y.PeersKnown &&
		x.Peers == y.Peers && x.ScheduleKnown == y.ScheduleKnown && x.Savanna == y.Savanna && x.DB == y.DB &&
		x.LastProduced == y.LastProduced && x.LastReceived == y.LastReceived && x.LastNotProducing == y.LastNotProducing && x.Skipped == y.Skipped
}

func equalSchedules(a, b Schedule) bool {
	return a.Version == b.Version && slices.EqualFunc(a.Producers, b.Producers, func(p, q Producer) bool {
		return p.Name == q.Name && p.Threshold == q.Threshold && slices.Equal(p.Keys, q.Keys)
	})
}

// Run watches until ctx ends.
func (m *Monitor) Run(ctx context.Context) {
	var wg sync.WaitGroup
	wg.Go(func() { m.runSlow(ctx) })
	m.runFast(ctx)
	wg.Wait()
}

// runFast polls get_info and follows the chain.
func (m *Monitor) runFast(ctx context.Context) {
	f := &follower{get: m.cfg.Client.BlockInfo, report: func(BlockInfo) {}, maxGap: m.cfg.MaxGap}
	if m.cfg.OnBlock != nil {
		f.report = m.cfg.OnBlock
	}
	timer := time.NewTimer(m.cfg.Poll)
	defer timer.Stop()
	for kicked := false; ; {
		up, changed := m.watch()
		before, _ := m.View()
		if up {
			m.pollHead(ctx, f)
		}
		wait := m.cfg.Poll
		if after, _ := m.View(); kicked && after.Head != before.Head {
			wait = 3 * m.cfg.Poll
		} else if kicked { // the line came before the API's cache
			wait = m.cfg.Poll / 5
		}
		timer.Reset(wait)
		last := time.Now()
		for again := false; !again; {
			again, kicked = true, false
			select {
			case <-timer.C:
			case <-changed:
			case <-m.kick:
				kicked = true
				again = time.Since(last) >= m.cfg.Poll/5 // a syncing node logs thousands a second
			case <-ctx.Done():
				return
			}
		}
	}
}

// watch looks at the process; a node whose process is not up is not running, whoever answers on its port.
func (m *Monitor) watch() (up bool, changed <-chan struct{}) {
	if m.cfg.Watch == nil {
		return true, nil
	}
	st, changed := m.cfg.Watch()
	m.mu.Lock()
	m.process = st.State
	m.mu.Unlock()
	up = st.State == StateRunning
	if !up {
		m.down()
	}
	return up, changed
}

// down forgets what only a running node can tell.
func (m *Monitor) down() {
	m.update(func(v *View) {
		v.Running, v.Stuck, v.Stalled = false, false, false
		v.PausedKnown, v.Paused, v.PausedSince = false, false, time.Time{}
		v.PeersKnown, v.Peers, v.PeerAddresses = false, 0, nil
	})
}

func (m *Monitor) pollHead(ctx context.Context, f *follower) {
	info, err := m.cfg.Client.Info(ctx)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		m.down()
		return
	}
	now := m.cfg.Now()
	before, _ := m.View()
	fresh := !before.Running
	m.update(func(v *View) {
		if head := info.Head(); v.Head != head {
			v.Head, v.HeadAt = head, now
		}
		v.Running, v.HeadProducer, v.LIB, v.LIBID = true, info.HeadProducer, info.LIBNum, info.LIBID
		v.ChainID, v.Version = info.ChainID, info.Version
		v.Stalled = v.PausedKnown && !v.Paused && stalled(v.Schedule.Names(), m.cfg.Producers, v.Head.Slot, v.PausedSince, now, m.cfg.StallSlots)
	})
	if fresh {
		m.Poke()
	}
	if m.cfg.OnBlock == nil {
		return
	}
	if err := f.follow(ctx, info); err != nil && ctx.Err() == nil {
		m.cfg.Log.Debug("following the chain", "err", err)
	}
	m.update(func(v *View) { v.Skipped = f.skipped })
}

// runSlow asks what needs nodeos' main thread.
func (m *Monitor) runSlow(ctx context.Context) {
	tick := time.NewTicker(m.cfg.Slow)
	defer tick.Stop()
	var rare time.Time
	for {
		select {
		case <-tick.C:
		case <-m.poke:
			rare = time.Time{}
		case <-ctx.Done():
			return
		}
		v, _ := m.View()
		if !v.Running {
			continue
		}
		if !m.pollSlow(ctx) {
			continue
		}
		if now := time.Now(); now.Sub(rare) >= m.cfg.Rare || !v.ScheduleKnown {
			m.pollRare(ctx)
			rare = now
		}
	}
}

// ask makes one call that needs the main thread. fine is false after an error; stuck says that it was a timeout, and then
// there is no point in asking for more.
func (m *Monitor) ask(ctx context.Context, call func(context.Context) error) (fine, stuck bool) {
	asking, cancel := context.WithTimeout(ctx, max(m.cfg.Slow, time.Second))
	defer cancel()
	err := call(asking)
	stuck = errors.Is(err, context.DeadlineExceeded)
	if ctx.Err() == nil {
		m.update(func(v *View) { v.Stuck = stuck && v.Running })
	}
	return err == nil, stuck
}

// pollSlow asks for paused and connections; false if there is no point in asking more.
func (m *Monitor) pollSlow(ctx context.Context) bool {
	var paused bool
	fine, stuck := m.ask(ctx, func(ctx context.Context) (err error) { paused, err = m.cfg.Client.Paused(ctx); return err })
	if stuck {
		return false
	}
	if now := m.cfg.Now(); fine {
		m.update(func(v *View) {
			if v.Running && (!v.PausedKnown || v.Paused != paused) {
				v.PausedKnown, v.Paused, v.PausedSince = true, paused, now
			}
		})
	}
	var all []Connection
	fine, stuck = m.ask(ctx, func(ctx context.Context) (err error) { all, err = m.cfg.Client.Connections(ctx); return err })
	if !fine {
		return !stuck
	}
	var addrs []string
	for _, c := range all {
		if c.Connected() {
			addrs = append(addrs, c.Address())
		}
	}
	slices.Sort(addrs)
	m.update(func(v *View) {
		if v.Running {
			v.PeersKnown, v.Peers, v.PeerAddresses = true, len(addrs), addrs
		}
	})
	return true
}

// pollRare asks for schedule, finality and state size.
func (m *Monitor) pollRare(ctx context.Context) {
	var s Schedules
	fine, stuck := m.ask(ctx, func(ctx context.Context) (err error) { s, err = m.cfg.Client.Schedule(ctx); return err })
	if fine {
		m.update(func(v *View) { v.ScheduleKnown, v.Schedule, v.Pending = true, s.Active, s.Pending })
	}
	if stuck {
		return
	}
	var f Finalizers
	if fine, stuck = m.ask(ctx, func(ctx context.Context) (err error) { f, err = m.cfg.Client.FinalizerInfo(ctx); return err }); fine {
		m.update(func(v *View) { v.Savanna = f.Active != nil })
	}
	if stuck {
		return
	}
	var d DBSize
	if fine, _ = m.ask(ctx, func(ctx context.Context) (err error) { d, err = m.cfg.Client.DBSize(ctx); return err }); fine {
		m.update(func(v *View) { v.DB = d })
	}
}

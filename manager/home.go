package manager

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"roundtable/cluster/control"
	"roundtable/cmd/roundtable/config"
	"roundtable/logkey"
	"roundtable/node"
	"roundtable/node/versions"
)

// home decides what the local nodeos is started with, and changes it when the controllers say so: control.Home. The node's
// supervisor asks it before each start (program, prepare), also after a crash, so that whatever became of an operation the node
// runs the version that `current` names with the configuration that was adopted last.
type home struct {
	conf       atomic.Pointer[config.Config] // see cfg
	wake       chan struct{}                 // run is to look
	clashed    chan struct{}                 // run is to stop a node that has another member's key
	settings   node.Settings                 // what roundtable owns of config.ini
	supervisor *node.Supervisor
	monitor    *node.Monitor
	client     *node.Client
	vault      *vault // nil in some tests
	versions   *versions.Home
	alarm      func(name, subject, text string)
	now        func() time.Time
	log        *slog.Logger
	step       func(op string) // after each change of the disk in turn; tests end the process there

	seen       atomic.Pointer[homeMoment]
	finalizers atomic.Pointer[[]string] // public BLS keys that the node was started with last
	peers      atomic.Pointer[[]string] // p2p-peer-address entries of config.toml, the same

	cluster atomic.Pointer[stateView] // once what its View shows is the present state
	turning sync.Mutex                // held by whoever changes what the node runs

	untidy atomic.Bool // versions and configurations may be there that nobody needs

	mu       sync.Mutex
	configs  *configs
	adopted  configuration
	lies     string  // hash of the configuration that lies there; "" where it cannot be used
	late     string  // hash of what came to lie there when the node could not start
	barred   bool    // the last start was refused for another member's key
	starting version // what program chose; prepare is called for it
	overlaid uint64  // kept.Overlaid when that was looked at
	complain string  // what was last complained of
}

// homeMoment is a view and the channel that its successor closes.
type homeMoment struct {
	view    control.HomeView
	changed chan struct{}
}

// version is what a start needs of a version of nodeos.
type version struct {
	Tag      string
	Binary   string // "": node.path
	Args     []string
	Overlay  string // lines of config.ini
	Sidecars []node.Sidecar
}

// openHome adopts the configuration that lies there, but for an overlay of the cluster that is not proved yet: after a power cycle that
// would come into force on all members at once. One that failed here before, that nodeos' config.ini cannot be made of, or that has another
// member's finalizer key, is passed over for the one that was adopted last; where there is none the error says what is wrong.
func openHome(c *config.Config, settings node.Settings, alarm func(name, subject, text string), now func() time.Time, log *slog.Logger) (*home, error) {
	h := &home{wake: make(chan struct{}, 1), clashed: make(chan struct{}, 1), settings: settings, alarm: alarm, now: now, log: log, step: func(string) {}}
	h.conf.Store(c)
	h.seen.Store(&homeMoment{changed: make(chan struct{})})
	h.finalizers.Store(new([]string)) // not an empty list: the state knows no such thing
	h.peers.Store(&[]string{})
	var err error
	if h.versions, err = layOut(c.Manager.Home); err != nil {
		return nil, err
	}
	if h.configs, err = openConfigs(filepath.Join(c.Manager.Home, configsName)); err != nil {
		return nil, err
	}
	if err := h.open(); err != nil {
		return nil, err
	}
	h.show(func(*control.HomeView) {})
	return h, nil
}

// cfg is the configuration as it is now; nobody changes it.
func (h *home) cfg() *config.Config { return h.conf.Load() }

// configure takes another config.toml: what of it is for versions and rollouts counts at once, and what is for the node is offered.
// The rest must be as it was. Any goroutine may call it.
func (h *home) configure(c *config.Config) {
	h.conf.Store(c)
	h.mu.Lock()
	h.show(func(*control.HomeView) {})
	h.mu.Unlock()
	h.poke()
}

// poke has run look at everything soon.
func (h *home) poke() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// open adopts what lies there, or keeps what was adopted.
func (h *home) open() error {
	former, lost := h.configs.get(h.configs.Adopted)
	h.adopted = former
	overlay := h.configs.Overlay
	if h.configs.Unproven && lost == nil {
		overlay = former.Overlay // a rollout brings the other one
	}
	here, err := lying(h.cfg(), overlay)
	var b built
	if err == nil {
		b, err = here.build(h.settings, version{}) // what a version lays over it is looked at when the node is started
	}
	if err == nil && lost == nil && here.hash() != h.configs.Adopted { // where there is no other, the node is not started
		err = h.configs.taken(b.BLSKeys)
	}
	switch {
	case err != nil && lost != nil:
		return err // a bad template must stop the start, not the first run of nodeos
	case err != nil:
		h.complains(notTaken + wrong(err))
	case lost == nil && here.hash() == h.configs.Refused && h.configs.Refused != h.configs.Adopted:
		h.lies = h.configs.Refused
		h.log.Warn("the configuration that lies there failed before; the node runs with the former one", "config", h.lies)
	default:
		if h.lies, err = h.configs.put(here); err != nil {
			return err
		}
		if err := h.configs.adopt(h.lies); err != nil {
			return err
		}
		h.adopted = here
	}
	h.peers.Store(&h.adopted.Peers)
	if overlay != h.configs.Overlay {
		h.look()
	}
	return nil
}

// notTaken begins what is said of a configuration that cannot be used.
const notTaken = "the configuration that lies there is not taken, the node goes on with the former one: "

// notStarted begins what is said of one that is the node's already.
const notStarted = "the node is not started: "

// complains tells the operator, once for each thing that is wrong; "" is that nothing is. Under h.mu, or before anything runs.
func (h *home) complains(text string) {
	if h.complain == text {
		return
	}
	if h.complain = text; text != "" {
		h.log.Error("configuration", logkey.Reason, text)
		h.alarm("config", h.cfg().Manager.ID, text)
	}
}

// View never blocks.
func (h *home) View() control.HomeView { return h.seen.Load().view }

// Changed is closed at the next change of the view.
func (h *home) Changed() <-chan struct{} { return h.seen.Load().changed }

// show publishes a view, under h.mu or before anything runs.
func (h *home) show(change func(*control.HomeView)) {
	old := h.seen.Load()
	next := old.view
	change(&next)
	v, _ := h.versions.Current() // it has its tag also where the version is broken
	u := h.cfg().Upgrade
	next.Tag, next.Limit, next.Auto = v.Tag, u.StepTimeout.D(), u.Rollout == config.RolloutAuto
	if next.Config == "" {
		next.Config = h.configs.Adopted
	}
	next.Offers, next.Overlaid = "", h.overlaid
	if h.lies != h.configs.Adopted { // also what failed here: an operator may want it tried again, and is to see that it still lies there
		next.Offers = h.lies
	}
	if next != old.view {
		h.seen.Store(&homeMoment{next, make(chan struct{})})
		close(old.changed)
	}
}

// config reads a configuration that is kept; "" is the adopted one.
func (h *home) config(hash string) (configuration, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if hash == "" || hash == h.configs.Adopted {
		return h.adopted, nil
	}
	return h.configs.get(hash)
}

// Become changes what the node runs, alone.
func (h *home) Become(ctx context.Context, tag, config string, say func(percent int, text string)) error {
	h.turning.Lock() // nobody holds it while a node starts
	defer h.turning.Unlock()
	return h.become(ctx, tag, config, say)
}

// become stops the node, switches, and starts it. At every moment the disk says what the next start is: a process that ends in
// the middle of it comes back with the one or the other version, and the one or the other configuration.
func (h *home) become(ctx context.Context, tag, config string, say func(percent int, text string)) error {
	v, conf, err := h.next(tag, config)
	if err != nil {
		return err
	}
	say(0, "stopping the node")
	if err := h.supervisor.Stop(ctx); err != nil {
		return errors.Join(fmt.Errorf("manager: the node was not stopped: %w", err), h.start(ctx))
	}
	if err := h.turn(v, conf); err != nil {
		return errors.Join(err, h.start(ctx))
	}
	say(50, strings.TrimSpace("starting the node "+v.Tag))
	if err := h.start(ctx); err != nil {
		return err
	}
	say(100, "the node answers")
	h.untidy.Store(true)
	h.poke()
	return nil
}

// next reads a version and a configuration, "" for the present ones, and says where a node cannot be started with them.
func (h *home) next(tag, config string) (version, configuration, error) {
	v, err := h.version(tag)
	if err != nil {
		return v, configuration{}, err
	}
	conf, err := h.config(config)
	if err != nil {
		return v, conf, err
	}
	b, err := conf.build(h.settings, v)
	if err != nil {
		return v, conf, err
	}
	h.refresh()
	h.mu.Lock()
	defer h.mu.Unlock()
	return v, conf, h.configs.taken(b.BLSKeys)
}

// turn makes a version and a configuration those of the next start, each of them at once, and the one before it known.
func (h *home) turn(v version, conf configuration) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	defer h.show(func(*control.HomeView) {})
	hash, err := h.configs.put(conf)
	if err != nil {
		return err
	}
	h.step("keep the configuration")
	if now, err := h.versions.Current(); err != nil || now.Tag != v.Tag {
		if err := h.configs.note(func(k *kept) { k.Version = cmp.Or(now.Tag, k.Version) }); err != nil {
			return err
		}
		h.step("note the version before")
		if err := h.versions.Switch(v.Tag); err != nil {
			return hinted(err)
		}
		h.step("switch")
		h.log.Info("another version of the node", "from", now.Tag, "to", v.Tag)
	}
	if hash != h.configs.Adopted {
		h.log.Info("another configuration of the node", "from", h.configs.Adopted, "to", hash)
	}
	if err := h.configs.adopt(hash); err != nil {
		return err
	}
	h.step("adopt the configuration")
	h.adopted = conf
	return nil
}

// lastLines is how many of a node's last lines an operator is shown, and lineBytes how much of each.
const (
	lastLines = 3
	lineBytes = 160
)

// lastWords are a node's last lines that say more than its exit does.
func lastWords(exit *node.Exit) (lines []string) {
	for _, line := range exit.Lines {
		if exit.Detail == "" || !strings.Contains(line, exit.Detail) {
			lines = append(lines, strings.ToValidUTF8(line[:min(len(line), lineBytes)], ""))
		}
	}
	return lines[max(0, len(lines)-lastLines):]
}

// start starts the node and returns once its HTTP answers, or with the reason why it does not. The order stands whatever becomes of
// ctx: whoever gives up must not leave the node down.
func (h *home) start(ctx context.Context) error {
	err := h.supervisor.Start(ctx)
	if err == nil {
		return nil
	}
	text := "manager: the node did not start"
	st := h.supervisor.Status()
	if exit := st.LastExit; exit != nil && !exit.Asked && (errors.Is(err, node.ErrExited) || errors.Is(err, node.ErrFailed)) {
		return exited(text, exit, err)
	}
	return fmt.Errorf("%s: %w", text, err)
}

// exited is a text with how the node ended, and what it said last.
func exited(text string, exit *node.Exit, err error) error {
	text += ": " + exit.String()
	if hint := exit.Hint(); hint != "" {
		text += " (hint: " + hint + ")"
	}
	if lines := lastWords(exit); len(lines) > 0 {
		text += "; its last lines: " + strings.Join(lines, " | ")
	}
	return &problem{text, err}
}

// problem is an error with a text of its own.
type problem struct {
	text string
	err  error
}

// Error is the text.
func (p *problem) Error() string { return p.text }

// Unwrap is what it is made of.
func (p *problem) Unwrap() error { return p.err }

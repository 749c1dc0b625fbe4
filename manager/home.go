package manager

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"roundtable/cluster/control"
	"roundtable/cmd/roundtable/config"
	"roundtable/durable"
	"roundtable/logkey"
	"roundtable/node"
)

// home decides what the local nodeos is started with, and changes it when the controllers say so: control.Home. The node's
// supervisor asks it before each start (program, prepare), also after a crash, so that whatever became of an operation the node
// runs the version that `current` names with the configuration that was adopted last.
type home struct {
	cfg        *config.Config
	settings   node.Settings // what roundtable owns of config.ini
	supervisor *node.Supervisor
	monitor    *node.Monitor
	client     *node.Client
	alarm      func(name, subject, text string)
	now        func() time.Time
	log        *slog.Logger

	seen     atomic.Pointer[homeMoment]
	finalize atomic.Pointer[[]string] // public BLS keys that the node was started with last
	peers    atomic.Pointer[[]string] // p2p-peer-address entries of config.toml, the same

	mu       sync.Mutex
	configs  *configs
	adopted  configuration
	starting version // what program chose; prepare is called for it
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

// openHome adopts the configuration that lies there. One that failed here before, or that nodeos' config.ini cannot be made of, is
// passed over for the one that was adopted last; where there is none the error says what is wrong.
func openHome(c *config.Config, settings node.Settings, alarm func(name, subject, text string), now func() time.Time, log *slog.Logger) (*home, error) {
	h := &home{cfg: c, settings: settings, alarm: alarm, now: now, log: log}
	h.seen.Store(&homeMoment{changed: make(chan struct{})})
	h.finalize.Store(&[]string{})
	h.peers.Store(&[]string{})
	var err error
	if h.configs, err = openConfigs(filepath.Join(c.Manager.Home, "configs")); err != nil {
		return nil, err
	}
	here, err := lying(c, h.configs.Overlay)
	if err == nil {
		_, err = here.build(settings, version{}) // the version is looked at when the node is started
	}
	hash := here.hash()
	former, lost := h.configs.get(h.configs.Adopted)
	switch {
	case lost != nil && err != nil:
		return nil, err // a bad template must stop the start, not the first run of nodeos
	case lost == nil && err != nil:
		h.complains("the configuration that lies there is not taken, the node runs with the former one: " + wrong(err))
		h.adopted = former
	case lost == nil && hash == h.configs.Refused && hash != h.configs.Adopted:
		h.log.Warn("the configuration that lies there failed before; the node runs with the former one", "config", hash)
		h.adopted = former
	default:
		if _, err := h.configs.put(here); err != nil {
			return nil, err
		}
		if err := h.configs.adopt(hash); err != nil {
			return nil, err
		}
		h.adopted = here
	}
	h.peers.Store(&h.adopted.Peers)
	h.show(func(v *control.HomeView) { v.Config = h.configs.Adopted })
	return h, nil
}

// complains tells the operator, once for each thing that is wrong; "" is that nothing is. Under h.mu, or before anything runs.
func (h *home) complains(text string) {
	if h.complain == text {
		return
	}
	if h.complain = text; text != "" {
		h.log.Error("configuration", logkey.Reason, text)
		h.alarm("config", h.cfg.Manager.ID, text)
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
	next.Limit = homeLimit
	if change(&next); next != old.view {
		h.seen.Store(&homeMoment{next, make(chan struct{})})
		close(old.changed)
	}
}

const homeLimit = 10 * time.Minute

// program is what the supervisor starts: the version that `current` names with the adopted configuration.
func (h *home) program(context.Context) (node.Program, error) {
	v, err := h.version("")
	if err != nil {
		return node.Program{}, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.starting = v
	return node.Program{
		Tag: v.Tag, Path: cmp.Or(v.Binary, h.cfg.Node.Path), Args: slices.Concat(h.adopted.Args, v.Args),
		Env: nodeEnv(os.Environ(), h.adopted.Env), Sidecars: v.Sidecars,
	}, nil
}

// prepare writes what nodeos reads at its start. It is called after program, by the same goroutine.
func (h *home) prepare(context.Context, node.Program) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	b, err := h.adopted.build(h.settings, h.starting)
	if err != nil {
		return err
	}
	h.finalize.Store(&b.BLSKeys)
	h.peers.Store(&h.adopted.Peers)
	if err := errors.Join(
		durable.Write(filepath.Join(h.cfg.Node.ConfigDir, "config.ini"), b.Text),
		durable.Write(filepath.Join(h.cfg.Node.ConfigDir, "logging.json"), b.logging),
	); err != nil {
		return err
	}
	h.show(func(v *control.HomeView) { v.Runs, v.Config = h.starting.Tag, h.configs.Adopted })
	return nil
}

// version reads a version of nodeos; "" is the one that `current` names.
func (h *home) version(tag string) (version, error) {
	if tag != "" {
		return version{}, fmt.Errorf("manager: version %s: %w", tag, errors.ErrUnsupported)
	}
	return version{}, nil
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

// Become stops the node, switches, and starts it. At every moment the disk says what the next start is: a process that ends in
// the middle of it comes back with the one or the other version, and the one or the other configuration.
func (h *home) Become(ctx context.Context, tag, config string, say func(percent int, text string)) error {
	v, err := h.version(tag)
	if err != nil {
		return err
	}
	conf, err := h.config(config)
	if err != nil {
		return err
	}
	if _, err := conf.build(h.settings, v); err != nil {
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
	return nil
}

// turn makes a version and a configuration those of the next start.
func (h *home) turn(v version, conf configuration) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	hash, err := h.configs.put(conf)
	if err != nil {
		return err
	}
	if err := h.configs.adopt(hash); err != nil {
		return err
	}
	h.adopted = conf
	return nil
}

// lastWords is how many of a node's last lines an operator is shown.
const lastWords = 3

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
		text += ": " + exit.String()
		if hint := exit.Hint(); hint != "" {
			text += " (hint: " + hint + ")"
		}
		if n := len(exit.Lines); n > 0 {
			text += "; its last lines: " + strings.Join(exit.Lines[max(0, n-lastWords):], " | ")
		}
		return &problem{text, err}
	}
	return fmt.Errorf("%s: %w", text, err)
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

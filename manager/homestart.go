package manager

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"roundtable/cluster/control"
	"roundtable/durable"
	"roundtable/node"
	"roundtable/node/versions"
)

// program is what the supervisor starts: the version that `current` names with the adopted configuration, and what the data that was put in
// place wants at its first start.
func (h *home) program(context.Context) (node.Program, error) {
	v, err := h.version("")
	if err != nil {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.show(func(view *control.HomeView) { view.Runs = "" }) // whatever ran before: another version mends it
		return node.Program{}, err
	}
	var first []string
	if h.vault != nil {
		if first, err = h.vault.launchArgs(); err != nil {
			return node.Program{}, err
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.starting = v
	p := h.plain(v)
	if len(first) > 0 {
		p.Args = slices.Concat(withoutGenesis(p.Args), first)
	}
	return p, nil
}

// withoutGenesis takes the genesis out of arguments: nodeos refuses one beside a chain snapshot, which holds it (chain_plugin's source), and
// one that stands there twice.
func withoutGenesis(args []string) (out []string) {
	for i := 0; i < len(args); i++ {
		switch name, _, joined := strings.Cut(args[i], "="); {
		case name != "--genesis-json" && name != "--genesis-timestamp":
			out = append(out, args[i])
		case !joined:
			i++ // its value
		}
	}
	return out
}

// plain is a version with the adopted configuration, under h.mu.
func (h *home) plain(v version) node.Program {
	return node.Program{
		Tag: v.Tag, Path: cmp.Or(v.Binary, h.adopted.Path), Args: slices.Concat(h.adopted.Args, v.Args),
		Env: nodeEnv(os.Environ(), h.adopted.Env), Sidecars: v.Sidecars,
	}
}

// chosen is what the node would be started with on data that is as usual.
func (h *home) chosen() (node.Program, error) {
	v, err := h.version("")
	if err != nil {
		return node.Program{}, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.plain(v), nil
}

// prepare writes what nodeos reads at its start. It is called after program, by the same goroutine.
func (h *home) prepare(context.Context, node.Program) error {
	h.refresh()
	h.mu.Lock()
	defer h.mu.Unlock()
	b, err := h.adopted.build(h.settings, h.starting)
	if err != nil {
		return err
	}
	if err := h.configs.taken(b.BLSKeys); err != nil {
		h.finalizers.Store(new([]string)) // no node votes with them here
		h.barred = true
		h.complains(notStarted + wrong(err))
		return err
	}
	h.finalizers.Store(&b.BLSKeys)
	h.peers.Store(&h.adopted.Peers)
	if err := errors.Join(
		durable.Write(filepath.Join(h.cfg().Node.ConfigDir, "config.ini"), b.Text),
		durable.Write(filepath.Join(h.cfg().Node.ConfigDir, "logging.json"), b.logging),
	); err != nil {
		return err
	}
	h.show(func(v *control.HomeView) { v.Runs, v.Config = h.starting.Tag, h.configs.Adopted })
	return nil
}

// version reads a version of nodeos; "" is the one that `current` names.
func (h *home) version(tag string) (version, error) {
	load := h.versions.Current
	if tag != "" {
		load = func() (versions.Version, error) { return h.versions.Load(tag) }
	}
	v, err := load()
	if err != nil {
		return version{}, hinted(err)
	}
	out := version{Tag: v.Tag, Binary: v.Binary, Args: v.Args}
	if v.Config != "" {
		text, err := os.ReadFile(v.Config)
		if err != nil {
			return out, fmt.Errorf("manager: config of run.toml, version %s: %w", v.Tag, err)
		}
		out.Overlay = string(text)
	}
	for _, s := range v.Sidecars {
		one := node.Sidecar{Name: s.Name, Path: s.Binary, Args: s.Args}
		for _, name := range slices.Sorted(maps.Keys(s.Env)) {
			one.Env = append(one.Env, name+"="+s.Env[name])
		}
		out.Sidecars = append(out.Sidecars, one)
	}
	return out, node.CheckArgs(v.Args)
}

// hinted is an error of the versions with what to do about it.
func hinted(err error) error {
	if hint := versions.Hint(err); hint != "" {
		return fmt.Errorf("manager: %w (hint: %s)", err, hint)
	}
	return fmt.Errorf("manager: %w", err)
}

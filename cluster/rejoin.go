package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// join looks for the others: through the configured addresses until one answers, then for every manager that is known
// and not heard, for ever. What was known survives a restart in a file, so that the first manager, which has nobody to
// join, finds the others again.
func (g *gossip) join(ctx context.Context) {
	wait := rejoinEvery / 4
	said := false
	for {
		targets := g.missing()
		if len(targets) == 0 {
			wait = rejoinEvery
		}
		for _, t := range targets {
			n, err := g.list.Join([]string{t})
			if ctx.Err() != nil {
				return
			}
			if err == nil && n > 0 {
				wait = rejoinEvery / 4
				continue
			}
			if !said && g.alone() && len(g.cfg.Join) > 0 {
				g.log.Info("no other manager reached yet, trying on", "address", t, "err", err)
			}
		}
		said = said || len(targets) > 0
		if !g.alone() {
			said = false
		}
		if !sleep(ctx, wait) {
			return
		}
		wait = min(wait*2, rejoinMost)
	}
}

// missing lists the addresses worth trying now.
func (g *gossip) missing() []string {
	var targets []string
	if g.alone() {
		for _, a := range g.cfg.Join {
			if a != g.address() {
				targets = append(targets, a)
			}
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, n := range g.nodes {
		if !n.Alive {
			targets = append(targets, n.Gossip)
		}
	}
	for id, a := range g.recalled {
		if g.nodes[id] == nil && id != g.id {
			targets = append(targets, a)
		}
	}
	slices.Sort(targets)
	return slices.Compact(targets)
}

// alone reports whether gossip knows nobody else that is alive.
func (g *gossip) alone() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, n := range g.nodes {
		if n.Alive {
			return false
		}
	}
	return true
}

// forget drops what is remembered of a removed manager.
func (g *gossip) forget(id string) {
	g.mu.Lock()
	if n := g.nodes[id]; n != nil && !n.Alive {
		delete(g.nodes, id)
	}
	if n := g.nodes[id]; n == nil {
		delete(g.peers, id)
		delete(g.recalled, id)
	}
	g.mu.Unlock()
	g.remember()
}

func (g *gossip) file() string { return filepath.Join(g.cfg.Dir, "gossip.json") }

func (g *gossip) recall() map[string]string {
	known := map[string]string{}
	if g.cfg.Dir == "" {
		return known
	}
	b, err := os.ReadFile(g.file())
	if err == nil {
		err = json.Unmarshal(b, &known)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		g.log.Warn("remembered gossip addresses are unreadable", "err", err)
	}
	return known
}

// addresses are those of every manager that is known: heard in this life, or recalled and not heard yet. What is not heard
// yet must not be lost: the next crash may come before it is.
func (g *gossip) addresses() map[string]string {
	g.mu.Lock()
	defer g.mu.Unlock()
	known := maps.Clone(g.recalled)
	for id, n := range g.nodes {
		known[id] = n.Gossip
	}
	return known
}

// remember keeps the addresses for the next start; losing them costs a configured join address at most.
func (g *gossip) remember() {
	if g.cfg.Dir == "" {
		return
	}
	known := g.addresses()
	b, err := json.Marshal(known)
	if err == nil {
		tmp := g.file() + ".new"
		if err = os.WriteFile(tmp, b, 0o600); err == nil {
			err = os.Rename(tmp, g.file())
		}
	}
	if err != nil {
		g.log.Warn("gossip addresses not kept", "err", err)
	}
}

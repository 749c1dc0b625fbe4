package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// join looks for the others, for ever: at the configured addresses where nobody is known to be, and for every manager that is
// known and not heard. What was known survives a restart in a file, so that the first manager, which has nobody to join, finds
// the others again; and they look for it, for at its first start it knows nobody.
func (g *gossip) join(ctx context.Context) {
	wait := rejoinEvery / 4
	said := false
	answered := map[string]time.Time{} // when a configured address did
	for {
		targets := g.missing(answered)
		if len(targets) == 0 {
			wait = rejoinEvery
		}
		for _, t := range targets {
			n, err := g.list.Join([]string{t})
			if ctx.Err() != nil {
				return
			}
			if err == nil && n > 0 {
				answered[t] = time.Now()
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

// answeredFor is how long a configured address that answered is not tried again although nobody is known by it: a member may
// go by another name.
const answeredFor = time.Minute

// missing lists the addresses worth trying now.
func (g *gossip) missing(answered map[string]time.Time) []string {
	var targets []string
	alone := g.alone()
	known := g.living()
	for _, a := range g.cfg.Join {
		if !known[a] && (alone || time.Since(answered[a]) > answeredFor) {
			targets = append(targets, a)
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

// living are the addresses by which the living are known, ours among them.
func (g *gossip) living() map[string]bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	known := map[string]bool{g.cfg.GossipAdvertise: true}
	for id, n := range g.live {
		known[nodeAddress(&n)] = true
		if o := g.nodes[id]; o != nil {
			known[o.Gossip] = true
		}
	}
	return known
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

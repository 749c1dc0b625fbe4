package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/raft"

	"roundtable/logkey"
	"roundtable/pulse"
)

// A group is founded once, by a member that was given a permission for it (Config.Found). An empty raft folder is none: that is
// what a member has that lost its disk, too, and a second group beside the first one would grant a second lease.
//
//	raft state  permission  Join   what the member does
//	yes         any         any    goes on; a permission that is left is taken away
//	no          no          empty  refuses to start
//	no          no          some   waits to be added (filling.go)
//	no          yes         empty  founds at once
//	no          yes         some   founds once the managers of all these addresses are heard and nobody who is heard has a group;
//	                               where somebody has one, it waits to be added to it
//
// So a founder that lost its disk, and was laid out anew with its permission, founds nothing beside the others: neither while one
// of them has kept its log, nor while one of them is silent. Of several members with a permission, by mistake, the one with
// the lowest id founds.

// holding is what the stores hold of a group.
type holding struct {
	existing bool   // raft has a state: a term, an entry or a snapshot
	empty    bool   // neither an entry nor a snapshot
	group    string // "": never in one
	filling  bool   // filling.go
}

func readHolding(s Stores) (h holding, err error) {
	recovering, err := storedText(s.Stable, recoveringKey)
	if err == nil && recovering != "" {
		return h, &ConfigError{"a recovery of this home was begun and not finished", "run the same command again: roundtable recover"}
	}
	group, gerr := storedText(s.Stable, groupKey)
	filling, ferr := storedText(s.Stable, fillingKey)
	existing, eerr := raft.HasExistingState(s.Log, s.Stable, s.Snapshots)
	last, lerr := s.Log.LastIndex()
	list, serr := s.Snapshots.List()
	if err := errors.Join(err, gerr, ferr, eerr, lerr, serr); err != nil {
		return h, fmt.Errorf("cluster: look for a raft state: %w", err)
	}
	return holding{existing, last == 0 && len(list) == 0, group, filling != ""}, nil
}

// mayStart is nil or a ConfigError.
func (h holding) mayStart(found bool, join []string) error {
	if h.existing || h.group != "" || found || len(join) > 0 {
		return nil
	}
	return &ConfigError{
		"this member has no raft log, nobody to join, and no permission to found a cluster: where it was in one before, it would found a second one beside it, and both would sign",
		"name the other members' gossip addresses in manager.join, and it joins them (or invite it again: roundtable member add); a new cluster is begun in a new home, with: roundtable init",
	}
}

// began reports whether a member's founding was interrupted: it is taken up again.
func (h holding) began(id string) bool {
	_, recoveries, ok := lineage(h.group)
	return h.empty && ok && recoveries == 0 && strings.HasSuffix(h.group, "/"+id)
}

// MayStart is what Open would say to a member's raft folder: nil, or a ConfigError for one that may neither go on nor found nor
// join. It is for a caller that wants to know before it opens anything else.
func MayStart(dir string, found bool, join []string) error {
	stores, err := fileStores(dir, raftLogger(quiet), false)
	if err != nil {
		return err
	}
	h, err := readHolding(stores)
	if err == nil {
		err = h.mayStart(found, join)
	}
	return errors.Join(err, stores.Close())
}

// openGroup loads the group's id and decides what this member does where there is no raft state. founds: it founds the group
// now, before raft is opened.
func (c *Cluster) openGroup() (founds bool, err error) {
	h, err := readHolding(c.stores)
	if err == nil {
		err = h.mayStart(c.cfg.Found, c.cfg.Join)
	}
	if err != nil {
		return false, err
	}
	founds = c.cfg.Found && (h.began(c.cfg.ID) || !h.existing && h.group == "" && len(c.cfg.Join) == 0)
	switch {
	case founds:
		if h.group == "" {
			h.group = foundedGroup(c.cfg.ID)
			err = c.stores.Stable.Set(groupKey, []byte(h.group))
		}
		if err == nil && h.existing { // raft was stopped between its term and its first entry, and would not begin again
			err = c.stores.Stable.SetUint64(currentTerm, 0)
		}
		if err == nil && h.filling {
			err = c.stores.Stable.Set(fillingKey, nil)
		}
		if err != nil {
			return false, fmt.Errorf("cluster: keep the group's id: %w", err)
		}
	case !h.existing:
		if err := c.markFilling(); err != nil {
			return false, err
		}
		c.expecting.Store(c.cfg.Found && h.group == "")
	case h.filling:
		c.filling.Store(true)
	}
	if c.cfg.Found && !founds && !c.expecting.Load() {
		if err := c.cfg.Founded(); err != nil {
			return false, fmt.Errorf("cluster: take away the permission to found: %w", err)
		}
	}
	c.streams.group.Store(&h.group)
	c.streams.adopt = func(group string) error {
		if err := c.stores.Stable.Set(groupKey, []byte(group)); err != nil {
			return fmt.Errorf("keep the group's id: %w", err)
		}
		return nil
	}
	return founds, nil
}

// currentTerm is where raft keeps its term in the stable store.
var currentTerm = []byte("CurrentTerm")

// alone is the configuration that a group is founded with.
func (c *Cluster) alone() raft.Configuration {
	return raft.Configuration{Servers: []raft.Server{{Suffrage: raft.Voter, ID: raft.ServerID(c.cfg.ID), Address: raft.ServerAddress(c.streams.advertise)}}}
}

// founded takes the permission away, for the group exists now.
func (c *Cluster) founded() error {
	c.log.Info("founded a cluster of one", "raft", c.streams.advertise, "group", c.streams.groupID())
	if err := c.cfg.Founded(); err != nil {
		return fmt.Errorf("cluster: the cluster is founded, and the permission for it stays: %w", err)
	}
	return nil
}

// expect founds the group when all that are to be heard are heard and have none, or gives the permission up for a group that
// there is.
func (c *Cluster) expect() {
	said := ""
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-c.ctx.Done():
			return
		case <-timer.C:
		}
		do, why := planFound(c.cfg.ID, c.gossip.unheard(c.ctx), c.gossip.snapshot(), c.cfg.Now())
		if c.streams.groupID() != "" {
			do, why = giveUp, "this member was added to a group"
		}
		if why != said {
			said = why
			c.log.Info("founding a cluster", "decision", do.String(), logkey.Reason, why)
		}
		switch do {
		case giveUp:
			c.expecting.Store(false)
			if err := c.cfg.Founded(); err != nil { // the next start tries again
				c.log.Error("the permission to found a cluster stays", logkey.Err, err)
			}
			return
		case foundNow:
			if err := c.foundLate(); err != nil {
				c.fatal(err)
			}
			return
		}
		timer.Reset(pulse.Next(tick))
	}
}

// foundLate founds the group with raft running already. Interrupted anywhere, the next start takes it up again.
func (c *Cluster) foundLate() error {
	if err := c.streams.setGroup(foundedGroup(c.cfg.ID)); err != nil {
		return err
	}
	// From here on nobody else's stream is taken, so that raft's state stays as empty as it is.
	if err := c.stores.Stable.Set(fillingKey, nil); err != nil {
		return fmt.Errorf("cluster: found: %w", err)
	}
	if err := c.wait(c.ctx, func() raft.Future { return c.raft.BootstrapCluster(c.alone()) }); err != nil {
		if c.ctx.Err() != nil {
			return nil //nolint:nilerr // closed
		}
		return fmt.Errorf("cluster: bootstrap: %w", err)
	}
	c.expecting.Store(false)
	if err := c.founded(); err != nil {
		return err
	}
	return c.mayVote()
}

// founding is what a member with a permission and somebody to join does.
type founding int

const (
	waitOn founding = iota
	foundNow
	giveUp
)

// String names it for the log.
func (f founding) String() string { return [...]string{"wait", "found", "join the others"}[f] }

// planFound decides it by what gossip knows: unheard are the addresses to join where nobody is, nodes all other managers.
func planFound(self string, unheard []string, nodes map[string]Node, now time.Time) (do founding, why string) {
	ids := keys(nodes)
	slices.Sort(ids)
	for _, id := range ids {
		if n := nodes[id]; n.Group != "" {
			return giveUp, fmt.Sprintf("%s is in the group %s", id, n.Group)
		}
	}
	if len(unheard) > 0 {
		return waitOn, "nobody is heard at " + strings.Join(unheard, ", ") + ", and whether a group exists is not known without them"
	}
	for _, id := range ids {
		switch n := nodes[id]; {
		case !n.Alive || now.Sub(n.Seen) >= freshFor:
			return waitOn, id + " is silent"
		case n.Founds && id < self:
			return waitOn, id + " has a permission to found, too, and comes first"
		}
	}
	return foundNow, "all others are heard, and none is in a group: " + strings.Join(ids, ", ")
}

// unheard lists the addresses to join at which no living manager is.
func (g *gossip) unheard(ctx context.Context) []string {
	var list []string
	known := g.living()
	for _, a := range g.cfg.Join {
		if !known[a] && !slices.ContainsFunc(numbers(ctx, a), func(n string) bool { return known[n] }) {
			list = append(list, a)
		}
	}
	return list
}

// numbers are the addresses behind the name in a host:port.
func numbers(ctx context.Context, address string) []string {
	host, port, err := net.SplitHostPort(address)
	if err != nil || net.ParseIP(host) != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	ips, _ := net.DefaultResolver.LookupHost(ctx, host)
	for i := range ips {
		ips[i] = net.JoinHostPort(ips[i], port)
	}
	return ips
}

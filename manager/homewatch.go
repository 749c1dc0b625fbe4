package manager

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"roundtable/cluster/control"
	"roundtable/fsm"
	"roundtable/logkey"
	"roundtable/pulse"
	"roundtable/watch"
)

const (
	homeSettle = time.Second // what was changed is looked at when nothing else was changed for so long
	homeLook   = time.Second // the state is looked at so often: nobody waits for it
)

// stateView is what home needs of the cluster.
type stateView interface {
	View() (*fsm.State, <-chan struct{})
	Barrier(ctx context.Context) error
}

// run follows the files and the cluster's state until ctx ends: what differs from what the node was started with is offered.
func (h *home) run(ctx context.Context, cluster stateView) error {
	watched := h.files()
	changed, stop := h.watch(ctx, watched)
	defer func() { stop() }()
	look := time.NewTimer(pulse.Next(homeLook))
	defer look.Stop()
	settled := time.NewTimer(homeSettle)
	defer settled.Stop()
	current := false // what View shows is not an older state that a restarted member goes through
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
			settled.Reset(homeSettle)
		case <-h.wake:
			if files := h.files(); !slices.Equal(files, watched) {
				stop()
				watched = files
				changed, stop = h.watch(ctx, watched)
			}
			settled.Reset(homeSettle)
		case <-look.C:
			look.Reset(pulse.Next(homeLook))
			s, _ := cluster.View()
			h.rescue(ctx, s)
			if current = current || cluster.Barrier(ctx) == nil; !current {
				continue
			}
			h.cluster.Store(&cluster)
			s, _ = cluster.View()
			if h.follow(s) {
				settled.Reset(homeSettle)
			}
			h.tidy(s)
		case <-settled.C:
			h.look()
		case <-h.clashed:
			h.halt(ctx)
		}
	}
}

// watch watches files until stop, which returns when nothing of it is left.
func (h *home) watch(ctx context.Context, files []string) (changed <-chan []string, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	changed = watch.Files(ctx, h.log, files...)
	return changed, func() {
		cancel()
		for range changed { // until it is closed
		}
	}
}

// files are those that a configuration is made of.
func (h *home) files() []string {
	c := h.cfg()
	list := []string{loggingFile(c)}
	if c.Node.ConfigTemplate != "" {
		list = append(list, c.Node.ConfigTemplate)
	}
	return list
}

// refresh follows the state as it is at this moment, where it is known.
func (h *home) refresh() {
	if c := h.cluster.Load(); c != nil {
		s, _ := (*c).View()
		h.follow(s)
	}
}

// follow keeps what the state says of this member, for the next start of this process too. It reports whether what lies there may have
// changed, or whether it can be used.
func (h *home) follow(s *fsm.State) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	before, me := h.configs.kept, h.cfg().Manager.ID
	err := h.configs.note(func(k *kept) {
		k.Overlay, k.Overlaid, k.Unproven, k.Refused, k.Others = s.Cluster.Overlay, s.Cluster.Overlaid, s.Cluster.Proven != nil, s.Homes[me].Refused, othersKeys(s, me)
	})
	if err != nil {
		h.log.Warn("what the cluster says of this node's configuration is not kept", logkey.Err, err)
		return false
	}
	if !before.same(h.configs.kept) {
		h.show(func(*control.HomeView) {})
	}
	return before.Overlaid != h.configs.Overlaid || before.Overlay != h.configs.Overlay || !maps.Equal(before.Others, h.configs.Others)
}

// look offers the configuration that lies there, if it is another one than the node's and can be used.
func (h *home) look() {
	h.mu.Lock()
	defer h.mu.Unlock()
	defer h.show(func(*control.HomeView) {})
	known := h.lies
	h.overlaid = h.configs.Overlaid
	here, err := lying(h.cfg(), h.configs.Overlay)
	var b built
	if err == nil {
		v, _ := h.version("") // a broken one is not the configuration's fault
		b, err = here.build(h.settings, v)
	}
	text := notTaken
	if err == nil {
		if err = h.configs.taken(b.BLSKeys); err != nil && here.hash() == h.configs.Adopted {
			text = notStarted
		}
	}
	if err == nil {
		h.lies, err = h.configs.put(here)
	}
	if err != nil {
		h.lies = ""
		h.complains(text + wrong(err))
		return
	}
	h.complains("")
	switch h.lies {
	case known, h.configs.Adopted:
	case h.configs.Refused:
		h.log.Warn("the configuration that lies there failed before", "config", h.lies)
	default:
		h.untidy.Store(true)
		if h.supervisor != nil && cannotStart(h.supervisor.Status()) {
			h.late = h.lies
		}
		h.log.Info("another configuration lies there", "config", h.lies, "runs", h.configs.Adopted)
	}
}

// tidy removes the versions that were fetched once, and the configurations, that nobody needs any more: when there are new ones, and
// while no operation may want one back.
func (h *home) tidy(s *fsm.State) {
	if slices.ContainsFunc(s.RunningOperations(), fsm.Operation.Rolling) || !h.untidy.Swap(false) {
		return
	}
	h.mu.Lock()
	before := h.configs.Version
	me := s.Homes[h.cfg().Manager.ID]
	err := h.configs.prune(h.lies, me.Config, me.Runs.Config, me.Runs.Offers)
	h.mu.Unlock()
	removed, failed := h.versions.Retain(h.cfg().Upgrade.Keep, before, me.Tag, me.Runs.Tag)
	if len(removed) > 0 {
		h.log.Info("versions that are no longer needed were removed", "versions", strings.Join(removed, " "))
	}
	if err = errors.Join(err, failed); err != nil {
		h.log.Warn("what is no longer needed was not removed", logkey.Err, err)
	}
}

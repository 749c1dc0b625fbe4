package manager

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"roundtable/cmd/roundtable/config"
	"roundtable/fsm"
	"roundtable/logkey"
	"roundtable/node"
)

// run follows the node's process until ctx ends: what it was up with is noted, a dirty database remembered, the first data put in place, and
// what lies aside dropped in time.
func (v *vault) run(ctx context.Context) {
	var all sync.WaitGroup
	defer all.Wait()
	all.Go(func() { v.dropping(ctx) })
	if v.waiting() {
		all.Go(func() { v.bootstrap(ctx) })
	}
	v.follow(ctx)
}

// asideLook is how often is looked for what may be dropped, at least: the policy may have changed.
const asideLook = time.Hour

func (v *vault) dropping(ctx context.Context) {
	for {
		next := v.dropAside(ctx)
		if next <= 0 || next > asideLook {
			next = asideLook
		}
		again := time.NewTimer(next)
		select {
		case <-again.C:
		case <-v.wake:
		case <-ctx.Done():
		}
		if again.Stop(); ctx.Err() != nil {
			return
		}
	}
}

// dirtiness is what was last seen of a dirty database.
type dirtiness struct {
	reason string    // nodeos' own; "": it is not known to be dirty
	since  time.Time // then, or when a replay was tried last
	tried  bool      // one was
}

// firstWait is how long a node with a dirty database waits for a restore where that comes before a replay.
const firstWait = 10 * time.Minute

// follow watches the node's process.
func (v *vault) follow(ctx context.Context) {
	for {
		st, changed := v.home.supervisor.Watch()
		v.see(st)
		late := time.NewTimer(asideLook)
		if left := v.untilReplay(); left >= 0 {
			late.Reset(left)
		}
		select {
		case <-changed:
		case <-late.C:
			if v.untilReplay() == 0 {
				v.replay()
			}
		case <-ctx.Done():
		}
		if late.Stop(); ctx.Err() != nil {
			return
		}
	}
}

// see takes in what the node's process does.
func (v *vault) see(st node.Status) {
	d := v.dirty.Load()
	switch {
	case st.State == node.StateRunning:
		if d.reason != "" {
			v.dirty.Store(new(dirtiness))
		}
		v.settleBoot()
	case st.LastExit != nil && st.LastExit.Dirty() && d.reason == "":
		v.dirty.Store(&dirtiness{reason: st.LastExit.String(), since: v.now()})
	}
}

// settleBoot notes that the node is up with its new data; what a bootstrap put in place is kept then.
func (v *vault) settleBoot() {
	s, ok := v.unsettled()
	if !ok || s.State != swapIn {
		return
	}
	err := v.wasUp()
	if err == nil && s.Operation == 0 {
		if err = v.bootApplied(s.Backup); err == nil {
			err = v.settle()
		}
		v.log.Info("the node is up with what it was to begin with", "from", s.Backup)
	}
	if err != nil {
		v.log.Warn("that the node is up with its new data is not noted", logkey.Err, err)
	}
}

// beyond are the ends of a node whose database was dirty that a restore may mend. A configuration error is none of them.
var beyond = []node.Cause{
	node.CauseDirty, node.CauseReplayRefused, node.CauseReplayRequired, node.CauseCorruptState, node.CauseCorruptBlocks, node.CauseStartTimeout, node.CauseSIGSEGV,
}

// Dirty reports that the node cannot start because its database is dirty by nodeos' own words: it stays down, nobody else has its data
// open, and neither its program nor its configuration is at fault.
func (v *vault) Dirty() (reason string, restore bool) {
	st, d := v.home.supervisor.Status(), v.dirty.Load()
	if st.State != node.StateFailed || st.LastExit == nil || !slices.Contains(beyond, st.LastExit.Cause) {
		return "", false
	}
	switch {
	case st.LastExit.Dirty():
		reason = st.LastExit.String()
	case d.reason != "":
		reason = d.reason + "; then " + st.LastExit.String()
	default:
		return "", false
	}
	c := v.cfg().Backup
	return reason, c.AutoRestore != config.RestoreOff && len(c.Repositories) > 0
}

// untilReplay is how long a node that is to be restored first waits for that; negative: it does not wait. It is replayed at once where the
// catalogue has nothing to restore, and not while it is being restored.
func (v *vault) untilReplay() time.Duration {
	if v.cfg().Backup.AutoRestore != config.RestoreFirst {
		return -1
	}
	if reason, _ := v.Dirty(); reason == "" {
		return -1
	}
	d := v.dirty.Load()
	if s, ok := v.state(); ok {
		switch {
		case restoring(s, v.cfg().Manager.ID):
			return restoreLook
		case !d.tried && !restorable(s):
			return 0
		}
	}
	return max(0, firstWait-v.now().Sub(d.since))
}

// restoreLook is how often is looked whether a restore of this node goes on: until its end nothing is replayed.
const restoreLook = time.Minute

// state is the cluster's, where it is known.
func (v *vault) state() (*fsm.State, bool) {
	c := v.home.cluster.Load()
	if c == nil {
		return nil, false
	}
	s, _ := (*c).View()
	return s, true
}

// restoring reports whether a restore of a member's node has not ended.
func restoring(s *fsm.State, member string) bool {
	return slices.ContainsFunc(s.RunningOperations(), func(o fsm.Operation) bool {
		return o.Kind == fsm.KindRestore && o.Task != nil && o.Task.Member == member
	})
}

// restorable reports whether the catalogue has something that a node could be restored from.
func restorable(s *fsm.State) bool {
	for _, b := range s.Backups {
		if b.State == fsm.BackupDone {
			return true
		}
	}
	return false
}

// replay has nodeos replay its blocks, where they suffice for it and nobody is at the node.
func (v *vault) replay() {
	d := v.dirty.Load()
	v.dirty.Store(&dirtiness{d.reason, v.now(), true}) // it is tried again in a while
	c, err := v.home.supervisor.Layout().Holds()
	if err != nil || !c.Replayable() || !v.home.turning.TryLock() {
		v.log.Warn("the node's database is dirty, and its blocks cannot be replayed", logkey.Reason, d.reason, "first", c.First, "last", c.Last)
		return
	}
	defer v.home.turning.Unlock()
	v.log.Warn("no restore has come for the node's dirty database: its blocks are replayed", logkey.Reason, d.reason)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = v.home.supervisor.Start(ctx, "--replay-blockchain") // the order stands
}

// waiting reports whether the node waits for what it is to begin with.
func (v *vault) waiting() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.waits != ""
}

// wait says why the node is not started yet; "" is that it may be.
func (v *vault) wait(format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.waits = ""
	if format != "" {
		v.waits = fmt.Sprintf(format, args...)
	}
}

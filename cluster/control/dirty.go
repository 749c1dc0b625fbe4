package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"roundtable/fsm"
	"roundtable/logkey"
)

// dirtyController has this member's node restored by itself where its database is dirty by nodeos' own words and the configuration wants
// that: as an operation as any other, at most once an hour by the state's rule.
type dirtyController struct {
	*Manager
	log   *slog.Logger
	next  time.Time // when it is asked again
	alarm string    // that was raised last
}

const (
	dirtyEvery = 2 * time.Second
	dirtyAgain = 5 * time.Minute // after it was asked for, or refused
)

// Name is the controller's.
func (*dirtyController) Name() string { return "dirty" }

// Reconcile starts a restore where planDirty says so.
func (c *dirtyController) Reconcile(ctx context.Context, s *fsm.State) (time.Duration, error) {
	reason, restore := c.vault.Dirty()
	if !restore {
		c.alarm = ""
		return dirtyEvery, nil
	}
	if s.Members[c.id].Incarnation != c.incarnation || s.EntryVersion() < 4 || c.now().Before(c.next) {
		return dirtyEvery, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 4*time.Second)
	defer cancel()
	if err := c.cluster.Barrier(ctx); err != nil { // what was restored already may not be known here yet
		return dirtyEvery, nil
	}
	s, _ = c.cluster.View()
	backup, why := planDirty(s, c.id, c.vault.Repositories())
	switch {
	case why == errNothing.Error():
		return dirtyEvery, c.complain(ctx, reason)
	case why != "":
		return dirtyEvery, nil
	}
	c.next = c.now().Add(dirtyAgain)
	t := fsm.Task{Member: c.id, Auto: true, Backup: backup.ID, Repository: backup.Repository, Limit: c.taskTime(fsm.KindRestore, 0).Milliseconds()}
	_, err := c.cluster.Propose(ctx, c.newTask(fsm.KindRestore, t, 0), "")
	switch {
	case errors.Is(err, fsm.ErrBusy):
		c.next = c.now().Add(putFirst)
		return dirtyEvery, nil
	case refused(err):
		c.log.Warn("the node's database is dirty, and it is not restored now", logkey.Reason, reason, logkey.Err, err)
		return dirtyEvery, nil
	case err != nil:
		c.next = time.Time{}
		return dirtyEvery, err
	}
	c.log.Warn("the node's database is dirty: it is restored", logkey.Reason, reason, "backup", backup.ID)
	return dirtyEvery, nil
}

var errNothing = errors.New("there is no backup of this chain to restore from")

// complain says once that there is nothing to restore from.
func (c *dirtyController) complain(ctx context.Context, reason string) error {
	text := fmt.Sprintf("the node's database is dirty (%s), and %s: restore it by hand, or let it sync anew", reason, errNothing)
	if c.alarm == text {
		return nil
	}
	if _, err := c.cluster.Propose(ctx, fsm.RaiseAlarm{Name: "dirty", Subject: c.id, Text: text}, ""); err != nil && !refused(err) {
		return err
	}
	c.alarm = text
	return nil
}

// planDirty is the backup that a member's node is restored from by itself, or why not now: of those that are done, of the cluster's chain and
// in a repository that the member has, one that is not suspect, and of these the one with the highest head. Never while the member holds the lease, nor while an operation works
// on its node.
func planDirty(s *fsm.State, member string, repositories []string) (fsm.Backup, string) {
	if l := s.Lease; l.Open() && l.Holder == member && l.Incarnation == s.Members[member].Incarnation {
		return fsm.Backup{}, "it holds the lease"
	}
	for _, o := range s.RunningOperations() {
		part, ok := o.Current().Part(member)
		if o.Task != nil && o.Kind == fsm.KindRestore && o.Task.Member == member || o.Rolling() && ok && part.Ended == 0 {
			return fsm.Backup{}, fmt.Sprintf("%s %d works on its node", o.Kind, o.ID)
		}
	}
	if s.Cluster.ChainID == "" {
		return fsm.Backup{}, "the cluster's chain is not known"
	}
	best := fsm.Backup{}
	for id, b := range s.Backups {
		if b.State != fsm.BackupDone || b.Of.ChainID != s.Cluster.ChainID || !slices.Contains(repositories, b.Repository) {
			continue
		}
		if best.ID == "" || cmp.Or(cmpBool(best.Suspect, b.Suspect), cmp.Compare(b.Of.Head, best.Of.Head), cmp.Compare(b.Created, best.Created), cmp.Compare(id, best.ID)) > 0 {
			best = b
		}
	}
	if best.ID == "" {
		return best, errNothing.Error()
	}
	return best, ""
}

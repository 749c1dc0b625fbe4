package control

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"time"

	"roundtable/cluster/health"
	"roundtable/fsm"
	"roundtable/logkey"
)

// retentionController gives up what the retention of a repository does not keep, and what has expired. It runs on every member with
// repositories, and acts on one for each of them (keeper): the leader may be a witness, or know nothing of that repository. Whatever two
// of them decide at once, the state keeps the newest one that is done of each sort.
type retentionController struct {
	*Manager
	log *slog.Logger
}

// retainEvery is how often the retention is looked at.
const retainEvery = 10 * time.Second

// Name is the controller's.
func (*retentionController) Name() string { return "retention" }

// Reconcile proposes what planRetention says.
func (c *retentionController) Reconcile(ctx context.Context, s *fsm.State) (time.Duration, error) {
	if c.clockDoubt() != "" || len(s.Backups) == 0 || s.Members[c.id].Incarnation != c.incarnation {
		return retainEvery, nil
	}
	leader, _ := c.cluster.Leader()
	var errs error
	for _, name := range c.vault.Repositories() {
		if leader == "" || keeper(s, c.cluster.Peers(), leader, name) != c.id {
			continue
		}
		for _, e := range planRetention(s, name, c.vault.Expired, c.now()) {
			errs = errors.Join(errs, c.expire(ctx, e))
		}
	}
	return retainEvery, errs
}

func (c *retentionController) expire(ctx context.Context, e fsm.ExpireBackup) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_, err := c.cluster.Propose(ctx, e, "")
	if refused(err) {
		c.log.Debug("a backup does not expire", "backup", e.ID, logkey.Err, err)
		return nil
	}
	return err
}

// keeper is who looks after the retention of a repository: the leader where it has it, else the first of those that are there and have it.
func keeper(s *fsm.State, peers map[string]health.Peer, leader, repository string) string {
	has := func(id string) bool {
		p := peers[id]
		return p.Alive && p.Report.Incarnation == s.Members[id].Incarnation && slices.Contains(p.Report.Repositories, repository)
	}
	if has(leader) {
		return leader
	}
	for _, id := range s.MemberIDs() {
		if has(id) {
			return id
		}
	}
	return ""
}

// planRetention is what is to be given up of a repository. expired is its retention. Never the newest of its sort, nor one that is pinned or
// in use: the state says the same.
func planRetention(s *fsm.State, repository string, expired func(string, []fsm.Backup, time.Time) []string, now time.Time) []fsm.ExpireBackup {
	var done []fsm.Backup
	for _, id := range slices.Sorted(maps.Keys(s.Backups)) {
		if b := s.Backups[id]; b.Repository == repository && b.State == fsm.BackupDone {
			done = append(done, b)
		}
	}
	var list []fsm.ExpireBackup
	gone := expired(repository, slices.Clone(done), now)
	for _, b := range done {
		why := ""
		switch {
		case b.Expires > 0 && b.Expires <= now.UnixMilli():
			why = "it was to be kept until " + time.UnixMilli(b.Expires).UTC().Format(time.RFC3339)
		case slices.Contains(gone, b.ID):
			why = "the retention does not keep it"
		}
		if why == "" || b.Pinned || s.Newest(b) || inUse(s, b.ID) {
			continue
		}
		list = append(list, fsm.ExpireBackup{ID: b.ID, Why: why, Retention: true, Expires: b.Expires})
	}
	return list
}

// inUse reports whether an operation that runs is about a backup.
func inUse(s *fsm.State, backup string) bool {
	return slices.ContainsFunc(s.RunningOperations(), func(o fsm.Operation) bool { return o.Task != nil && o.Task.Backup == backup })
}

// sweepController has swept what failed or expired; it runs only while this member leads.
type sweepController struct {
	*Manager
	log *slog.Logger
}

const (
	sweepEvery = 10 * time.Minute // no more often in a repository; after one that failed each time twice as long
	sweepMost  = 6 * time.Hour
)

// Name is the controller's.
func (*sweepController) Name() string { return "sweep" }

// Reconcile starts a sweep where planSweep says so.
func (c *sweepController) Reconcile(ctx context.Context, s *fsm.State) (time.Duration, error) {
	if len(s.Backups) == 0 || c.clockDoubt() != "" {
		return retainEvery, nil
	}
	for _, repository := range planSweep(s, c.now()) {
		t := fsm.Task{Repository: repository, Limit: c.taskTime(fsm.KindSweep, 0).Milliseconds()}
		if c.cannotTask(s, fsm.KindSweep, t) != "" {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		if _, err := c.cluster.Propose(ctx, c.newTask(fsm.KindSweep, t, 0), ""); !refused(err) {
			return retainEvery, err
		}
	}
	return retainEvery, nil
}

// planSweep lists the repositories that are to be swept now: something there failed or expired, nobody writes there, and the last sweep is
// long enough ago.
func planSweep(s *fsm.State, now time.Time) []string {
	due := map[string]bool{}
	for _, b := range s.Backups {
		if condemned, _ := s.Condemned(b.Repository, b.ID); condemned {
			due[b.Repository] = true
		}
	}
	for repository := range due {
		task := fsm.Operation{Kind: fsm.KindSweep, Task: &fsm.Task{Repository: repository}, Outcome: fsm.Running}
		if s.Waits(task) || now.Before(sweptAgain(s, repository)) {
			delete(due, repository)
		}
	}
	return slices.Sorted(maps.Keys(due))
}

// sweptAgain is when a repository may be swept again by itself.
func sweptAgain(s *fsm.State, repository string) time.Time {
	wait, ended := sweepEvery, int64(0)
	for _, o := range slices.Backward(s.Operations) {
		if o.Kind != fsm.KindSweep || o.Task == nil || o.Task.Repository != repository || o.Outcome == fsm.Running {
			continue
		}
		if ended = cmp.Or(ended, o.Ended); o.Outcome == fsm.Done {
			break
		}
		wait = min(2*wait, sweepMost)
	}
	if ended == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ended).Add(wait)
}

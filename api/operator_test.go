package api

import (
	"cmp"
	"context"
	"strings"
	"sync"
	"time"

	"roundtable/cluster"
	"roundtable/cluster/control"
	"roundtable/fsm"
)

// operator is the part of a world that changes something: what goes into its state goes there as an entry with the actor
// and the key, as cluster does it; what raft does is noted.
type operator struct {
	calls struct {
		sync.Mutex
		removed, transfers []string
		failing            error         // what Remove and TransferLeadership give
		limit, queue       time.Duration // of the operation that was started last
	}
	unfitFor string // why nobody may be asked for a backup
}

// propose applies an entry as a member of the cluster would.
func (w *world) propose(ctx context.Context, c fsm.Command, key string) (uint64, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	next, r := w.state.Apply(fsm.Entry{Index: w.state.Index + 1, At: now.UnixMilli(), By: "a", Actor: cluster.Actor(ctx), Key: key, Command: c})
	w.state = next
	close(w.changed)
	w.changed = make(chan struct{})
	return r.Index, r.Err
}

func (w *world) SetMaintenance(ctx context.Context, member string, on bool, key string) (uint64, error) {
	if member != "" {
		return w.propose(ctx, fsm.SetMember{ID: member, Maintenance: &on}, key)
	}
	return w.propose(ctx, fsm.PatchCluster{Maintenance: &on}, key)
}

func (w *world) SetMember(ctx context.Context, c fsm.SetMember, key string) (uint64, error) {
	return w.propose(ctx, c, key)
}

func (w *world) PatchCluster(ctx context.Context, c fsm.PatchCluster, key string) (uint64, error) {
	return w.propose(ctx, c, key)
}

func (w *world) Cancel(ctx context.Context, id uint64, _ string) (uint64, error) {
	state, _ := w.View()
	if o, _ := state.Operation(id); o.Rolling() || o.Task != nil {
		return w.propose(ctx, fsm.CancelOperation{ID: id, Reason: "by an operator"}, "")
	}
	return w.propose(ctx, fsm.FinishOperation{ID: id, Outcome: fsm.Canceled, Reason: "by an operator"}, "")
}

func (w *world) PutToken(ctx context.Context, t fsm.Token, key string) (uint64, error) {
	return w.propose(ctx, fsm.PutToken{Token: t}, key)
}

func (w *world) RemoveToken(ctx context.Context, id, key string) (uint64, error) {
	return w.propose(ctx, fsm.RemoveToken{ID: id}, key)
}

func (w *world) PutInvite(ctx context.Context, n fsm.Invite, key string) (uint64, error) {
	return w.propose(ctx, fsm.PutInvite{Invite: n}, key)
}

func (w *world) UseInvite(ctx context.Context, c fsm.UseInvite, key string) (uint64, error) {
	return w.propose(ctx, c, key)
}

func (w *world) Remove(ctx context.Context, id string) error {
	w.calls.Lock()
	defer w.calls.Unlock()
	if w.calls.failing != nil {
		return w.calls.failing
	}
	w.calls.removed = append(w.calls.removed, id)
	_, err := w.propose(ctx, fsm.RemoveMember{ID: id, Ban: true}, "")
	return err
}

func (w *world) TransferLeadership(_ context.Context, to string) error {
	w.calls.Lock()
	defer w.calls.Unlock()
	if w.calls.failing != nil {
		return w.calls.failing
	}
	w.calls.transfers = append(w.calls.transfers, to)
	w.change(func(w *world) { w.leader, w.leading = to, to == "a" })
	return nil
}

// roll starts a rolling operation, as control does; what is asked for is noted.
func (w *world) roll(ctx context.Context, kind string, r fsm.Roll, limit, queue time.Duration, key string) (uint64, error) {
	w.calls.Lock()
	w.calls.limit, w.calls.queue = limit, queue
	w.calls.Unlock()
	r.Limit = cmp.Or(limit, 10*time.Minute).Milliseconds()
	deadline := now.Add(time.Minute)
	if state, _ := w.View(); len(state.RunningOperations()) > 0 {
		deadline = now.Add(queue)
	}
	return w.propose(ctx, fsm.StartOperation{Name: kind, Roll: &r, Queue: queue > 0, Deadline: deadline.UnixMilli()}, key)
}

func (w *world) Restart(ctx context.Context, r control.RestartRequest, key string) (uint64, error) {
	var members []string
	if r.Member != "" {
		members = []string{r.Member}
	}
	return w.roll(ctx, fsm.KindRestart, fsm.Roll{Members: members}, r.Limit, r.Queue, key)
}

func (w *world) Upgrade(ctx context.Context, r control.UpgradeRequest, key string) (uint64, error) {
	return w.roll(ctx, fsm.KindUpgrade, fsm.Roll{Members: r.Members, Upgrade: &r.Upgrade}, r.Limit, r.Queue, key)
}

func (w *world) Rollout(ctx context.Context, limit, queue time.Duration, key string) (uint64, error) {
	hash := strings.Repeat("c", 64)
	return w.roll(ctx, fsm.KindRollout, fsm.Roll{Configs: map[string]string{"a": hash, "b": hash, "c": hash}}, limit, queue, key)
}

package cluster

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"roundtable/pulse"
)

// rpcTimeout bounds one raft RPC. Heartbeats have streams of their own, so that a slow disk does not delay them.
const rpcTimeout = 2 * time.Second

// transport is raft's network transport with three changes, and one more while this member is filling (filling.go), that raft leaves no other place for.
//
// 1. Raft backs off for up to 10 s after repeated failures of one follower (replication.go, failureWait), so that a
// restarted member would lag for that long. Here a failed replication is tried again at once, for as long as the
// leadership lasts and the follower belongs to the group.
//
// 2. A follower learns of a commit with the next entry or after CommitTimeout. commit tells it at once, with an append
// request without entries, just as the leader itself would send it: for an entry of the leader's own term that is
// committed, it is true for ever, and raft bears its loss, delay and repetition.
//
// 3. Raft sends heartbeats every tenth to fifth of the timeout, most of an idle manager's CPU. Here they are paced to a
// third of it at most, on beats that all followers share: one wake-up sends them all. The first one of a leadership, and one
// that is late (a follower far away), goes out at once.
type transport struct {
	*raft.NetworkTransport
	self raft.RPCHeader
	pace time.Duration             // between two heartbeats to one follower; a part of a slot
	node atomic.Pointer[raft.Raft] // nil until raft is made
	stop <-chan struct{}
	// filling reports whether this member must not vote yet (filling.go).
	filling func() bool

	mu       sync.Mutex
	commits  map[raft.ServerID]*raft.AppendEntriesRequest // newest that is not sent
	sending  map[raft.ServerID]bool
	beats    map[raft.ServerID]time.Time // of the last heartbeat
	inflight sync.WaitGroup
}

const retryPause = 100 * time.Millisecond

// AppendEntries implements raft.Transport.
func (t *transport) AppendEntries(id raft.ServerID, target raft.ServerAddress, req *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	if heartbeat := req.PrevLogEntry == 0 && len(req.Entries) == 0 && req.LeaderCommitIndex == 0; heartbeat {
		t.pause(id)
		return t.NetworkTransport.AppendEntries(id, target, req, resp)
	}
	err := t.NetworkTransport.AppendEntries(id, target, req, resp)
	for err != nil && t.worth(id, target, req.Term) {
		timer := time.NewTimer(retryPause)
		select {
		case <-timer.C:
		case <-t.stop:
			timer.Stop()
			return err
		}
		if t.worth(id, target, req.Term) {
			err = t.NetworkTransport.AppendEntries(id, target, req, resp)
		}
	}
	return err
}

// pause waits until the next heartbeat to a follower is due: at the next beat, or at once if the last one was due a whole
// pace ago.
func (t *transport) pause(id raft.ServerID) {
	t.mu.Lock()
	now := time.Now()
	wait := pulse.Until(now, t.pace)
	if now.Sub(t.beats[id]) >= t.pace {
		wait = 0
	}
	t.beats[id] = now.Add(wait)
	t.mu.Unlock()
	if wait == 0 {
		return
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.stop:
	}
}

// worth reports whether the leadership that sends still lasts and the follower is still there.
func (t *transport) worth(id raft.ServerID, target raft.ServerAddress, term uint64) bool {
	node := t.node.Load()
	if node == nil || node.State() != raft.Leader || node.CurrentTerm() != term {
		return false
	}
	for _, s := range node.GetConfiguration().Configuration().Servers {
		if s.ID == id && s.Address == target {
			return true
		}
	}
	return false
}

// commit tells the other members that an entry of this leader's term is committed.
func (t *transport) commit(index, term uint64) {
	for _, s := range t.node.Load().GetConfiguration().Configuration().Servers {
		if string(s.ID) == string(t.self.ID) {
			continue
		}
		req := &raft.AppendEntriesRequest{
			RPCHeader: t.self, Term: term, Leader: t.self.Addr, //nolint:staticcheck // raft 1.7 still reads it
			PrevLogEntry: index, PrevLogTerm: term, LeaderCommitIndex: index,
		}
		t.mu.Lock()
		if old := t.commits[s.ID]; old == nil || old.LeaderCommitIndex < index {
			t.commits[s.ID] = req
		}
		if !t.sending[s.ID] {
			t.sending[s.ID] = true
			t.inflight.Add(1)
			go t.sendCommits(s)
		}
		t.mu.Unlock()
	}
}

func (t *transport) sendCommits(s raft.Server) {
	defer t.inflight.Done()
	for {
		t.mu.Lock()
		req := t.commits[s.ID]
		delete(t.commits, s.ID)
		if req == nil {
			t.sending[s.ID] = false
			t.mu.Unlock()
			return
		}
		t.mu.Unlock()
		t.sendCommit(s, req)
	}
}

// sendCommit is best effort: CommitTimeout stands behind it. The follower may get to know of the commit before it has the
// entry (the others were the quorum): then it says no, and is asked again in a moment.
func (t *transport) sendCommit(s raft.Server, req *raft.AppendEntriesRequest) {
	for pause := time.Millisecond; pause <= 32*time.Millisecond; pause *= 2 {
		var resp raft.AppendEntriesResponse
		err := t.NetworkTransport.AppendEntries(s.ID, s.Address, req, &resp)
		if err != nil || resp.Success || resp.Term != req.Term {
			return
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-t.stop:
			timer.Stop()
			return
		}
	}
}

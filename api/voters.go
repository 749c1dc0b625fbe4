package api

import (
	"sync"
	"time"

	"roundtable/cluster"
)

const (
	votersFresh = 2 * time.Second       // how old a look at the raft group may be
	votersWait  = 50 * time.Millisecond // how long an answer waits for a new one
)

// voters knows the servers of the raft group. Cluster.Raft looks into raft's folder, which may take long on a bad disk:
// it is asked on a goroutine of its own, one at a time, and an answer that is made meanwhile shows what was known before.
type voters struct {
	raft func() cluster.RaftStatus

	mu      sync.Mutex
	servers []cluster.RaftPeer
	at      time.Time     // of servers; by the real clock, which also runs where Config.Now stands still
	asking  chan struct{} // closed when the look under way has ended; nil: none is
}

// look returns the servers as they were at most a moment ago, or before the disk stopped answering; empty: not known.
// Callers must not change them. Any goroutine may call it.
func (v *voters) look() []cluster.RaftPeer {
	v.mu.Lock()
	if time.Since(v.at) < votersFresh {
		defer v.mu.Unlock()
		return v.servers
	}
	asking := v.asking
	if asking == nil {
		asking = make(chan struct{})
		v.asking = asking
		go v.refresh(asking)
	}
	v.mu.Unlock()
	patience := time.NewTimer(votersWait)
	defer patience.Stop()
	select {
	case <-asking:
	case <-patience.C:
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.servers
}

func (v *voters) refresh(done chan struct{}) {
	servers := v.raft().Peers
	v.mu.Lock()
	defer v.mu.Unlock()
	v.servers, v.at, v.asking = servers, time.Now(), nil
	close(done)
}

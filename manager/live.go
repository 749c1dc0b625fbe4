package manager

import (
	"context"
	"fmt"
	"time"

	"roundtable/fsm"
)

// Live is what a running manager tells whoever watches over its process. Any goroutine may ask.
type Live struct{ m *manager }

// Stuck is how long a controller may not come round: what one does is bounded by a few seconds.
const Stuck = 20 * time.Second

// Check returns nil when the program does its work: the disk and raft's main loop answer, and every controller turns.
// It does not ask whether the cluster has a leader or the node is well: a new process would not mend that. It blocks for as
// long as raft's main loop does; one call at a time.
func (l Live) Check(ctx context.Context) error {
	if name, silent := l.m.control.Slowest(); silent > Stuck {
		return fmt.Errorf("manager: the controller %q has hung for %s", name, silent.Round(time.Second))
	}
	return l.m.cluster.Alive(ctx)
}

// StopBound is how long an ordered stop may take with the configuration that is in force.
func (l Live) StopBound() time.Duration { return StopBound(l.m.config().Node.StopTimeout.D()) }

// Line says in one line what this manager does now. It never blocks.
func (l Live) Line() string {
	state, _ := l.m.cluster.View()
	leader, _ := l.m.cluster.Leader()
	line := role(state, l.m.cfg.Manager.ID, l.m.incarnation)
	switch leader {
	case "":
		line += "; no raft leader"
	case l.m.cfg.Manager.ID:
		line += "; leads the raft group"
	default:
		line += "; the raft leader is " + leader
	}
	if l.m.cluster.Stalled() {
		line += "; THE DISK DOES NOT ANSWER"
	}
	return line
}

// role is what the state says of a member.
func role(s *fsm.State, id, incarnation string) string {
	own, member := s.Members[id]
	l := s.Lease
	switch {
	case !member:
		return "not a member yet"
	case l.Open() && l.Holder == id && l.Incarnation == incarnation:
		return fmt.Sprintf("holder of epoch %d", l.Epoch)
	case own.Witness:
		return "witness; " + holding(l)
	}
	return "standby; " + holding(l)
}

func holding(l fsm.Lease) string {
	if !l.Open() {
		return "nobody holds the lease"
	}
	return fmt.Sprintf("%s holds epoch %d", l.Holder, l.Epoch)
}

// StopBound is how long an ordered stop may take with this configuration; after it something is wrong.
func StopBound(stopNode time.Duration) time.Duration {
	return closeAPI + closeLease + closeControl + closeGroup + stopNode + afterNodeStop + 10*time.Second // and what is small
}

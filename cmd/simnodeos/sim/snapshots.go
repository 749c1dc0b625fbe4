package sim

import (
	"os"
)

// snapshots are the chain snapshots being made and scheduled. Main thread only.
type snapshots struct {
	node    *Node
	pending []pendingSnapshot
	asked   []*snapshotRequest
	nextID  int
}

type pendingSnapshot struct {
	at   *node
	done []func(*node, error) // who waits for it
}

type snapshotRequest struct {
	ID          int    `json:"snapshot_request_id"`
	Spacing     uint32 `json:"block_spacing"`
	Start       uint32 `json:"start_block_num"`
	End         uint32 `json:"end_block_num"`
	Description string `json:"snapshot_description"`
}

func (r *snapshotRequest) same(o *snapshotRequest) bool {
	return r.Spacing == o.Spacing && r.Start == o.Start && r.End == o.End
}

// create writes a snapshot of the head under a pending name; done is called once its block is irreversible, which is
// never while the chain stands still (fact 26).
func (s *snapshots) create(done func(*node, error)) {
	head := s.node.chain.head
	_, root := s.node.chain.forks.heads()
	for i := range s.pending {
		if s.pending[i].at.id == head.id {
			s.pending[i].done = append(s.pending[i].done, done)
			return
		}
	}
	data, err := s.node.chain.snapshotAt(head)
	if err == nil {
		err = os.WriteFile(s.node.snapshotPath(head.id, true), data, 0o644)
	}
	if err != nil {
		done(nil, err)
		return
	}
	s.pending = append(s.pending, pendingSnapshot{at: head, done: []func(*node, error){done}})
	if head.id == root.id {
		s.finish(head)
	}
}

// irreversible finishes the snapshots up to that block and starts the scheduled ones.
func (s *snapshots) irreversible(n *node) {
	s.finish(n)
	head := s.node.chain.head.num
	var left []*snapshotRequest
	for _, r := range s.asked {
		if head >= r.Start && head <= r.End && (r.Spacing == 0 || (head-r.Start)%r.Spacing == 0) {
			s.create(func(*node, error) {})
			if r.Spacing == 0 {
				continue // a finished one-shot disappears from the list
			}
		}
		if head < r.End {
			left = append(left, r)
		}
	}
	s.asked = left
}

func (s *snapshots) finish(n *node) {
	kept := s.pending[:0]
	for _, p := range s.pending {
		if p.at.num > n.num {
			kept = append(kept, p)
			continue
		}
		path := s.node.snapshotPath(p.at.id, false)
		err := os.Rename(s.node.snapshotPath(p.at.id, true), path)
		if err == nil {
			s.node.say(site{"pending_snapshot.hpp", 67, "finalize"}, "Snapshot created at block %d available at %s", p.at.num, path)
		}
		for _, done := range p.done {
			done(p.at, err)
		}
	}
	s.pending = kept
}

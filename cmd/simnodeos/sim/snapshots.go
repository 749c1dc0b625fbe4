package sim

import (
	"errors"
	"os"
	"path/filepath"
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

// errSnapshotExists is nodeos' answer for a block that a finished snapshot is there of (from its source, not recorded).
type errSnapshotExists string

func (e errSnapshotExists) Error() string { return "snapshot named " + string(e) + " already exists" }

// create writes a snapshot of the head under a pending name; done is called once its block becomes irreversible, which is
// never while the chain stands still (fact 26), even if the head is irreversible already.
func (s *snapshots) create(done func(*node, error)) {
	head := s.node.chain.head
	for i := range s.pending {
		if s.pending[i].at.id == head.id {
			s.pending[i].done = append(s.pending[i].done, done)
			return
		}
	}
	if path := s.node.snapshotPath(head.id, ""); s.node.dirs.exists(path) {
		done(nil, errSnapshotExists(path))
		return
	}
	at := site{"snapshot_scheduler.cpp", 217, "create_snapshot"}
	s.node.say(at, "Starting snapshot creation at block %d", head.num)
	if err := s.write(head); err != nil {
		done(nil, err)
		return
	}
	at.line = 226
	s.node.say(at, "Snapshot creation at block %d complete; snapshot will be available once block becomes irreversible", head.num)
	s.pending = append(s.pending, pendingSnapshot{at: head, done: []func(*node, error){done}})
}

// write makes the file: under an incomplete name first, then under a pending one. Neither is ever cleaned up (fact 22).
func (s *snapshots) write(head *node) error {
	temporary := s.node.snapshotPath(head.id, ".incomplete-")
	if err := os.MkdirAll(filepath.Dir(temporary), 0o755); err != nil {
		return err
	}
	file, err := os.Create(temporary)
	if err != nil {
		return err
	}
	if err := errors.Join(s.node.chain.writeSnapshot(file, head), file.Close()); err != nil {
		return err
	}
	return os.Rename(temporary, s.node.snapshotPath(head.id, ".pending-"))
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
		path := s.node.snapshotPath(p.at.id, "")
		err := os.Rename(s.node.snapshotPath(p.at.id, ".pending-"), path)
		if err == nil {
			s.node.say(site{"pending_snapshot.hpp", 67, "finalize"}, "Snapshot created at block %d available at %s", p.at.num, path)
		}
		for _, done := range p.done {
			done(p.at, err)
		}
	}
	s.pending = kept
}

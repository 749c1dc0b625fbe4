package drill

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"
)

// system is what a drill is done to: Roundtable, or one of the usual ways of doing the job to compare it with. Folders,
// nodes, networks, clocks and faults are the sandbox's and the same for all.
type system interface {
	// name is how the report calls it.
	name() string
	// writeConfig writes whatever the member's process reads at its start.
	writeConfig(s *Sandbox, m *Member, keyFile string) error
	// command is what runs a member, its node included.
	command(s *Sandbox, m *Member) (program string, args []string)
	// nodeLog is the file in a member's home that has its node's log.
	nodeLog() string
	// look is what the members say of themselves now.
	look(ctx context.Context, s *Sandbox) (View, error)
	// settled tells why the cluster is not whole: everybody alive, one producing, blocks coming; nil if it is.
	settled(ctx context.Context, s *Sandbox) error
	// handoff moves production to a member as its operator would, and returns when that is over. ask takes the request.
	handoff(ctx context.Context, s *Sandbox, ask *Member, to string) error
}

// View is what a drill needs to know of a running system.
type View struct {
	Holder  string            // who produces; "" for nobody, or where two say that they do
	Leader  string            // of the raft group, where there is one
	Heads   map[string]uint64 // slot of each living member's head block
	HeadNum uint32            // the highest block number of all
}

// look asks the system.
func (s *Sandbox) look(ctx context.Context) (View, error) { return s.system.look(ctx, s) }

// ours is Roundtable.
type ours struct{}

func (ours) name() string { return "roundtable" }

func (ours) nodeLog() string { return "manager.log" }

func (ours) command(s *Sandbox, m *Member) (string, []string) {
	return cmp.Or(m.Program, s.opts.Roundtable), []string{"run", "--home", m.Home}
}

func (ours) look(ctx context.Context, s *Sandbox) (View, error) {
	o, err := s.Overview(ctx)
	if err != nil {
		return View{}, err
	}
	v := View{Holder: o.Holder(), Leader: o.Leader, Heads: map[string]uint64{}}
	for _, m := range o.Members {
		if m.Alive {
			v.Heads[m.ID] = uint64(m.Head.Slot)
			v.HeadNum = max(v.HeadNum, m.Head.Num)
		}
	}
	return v, nil
}

// settled asks each member, of all: what the others know of one may be older than its restart.
func (ours) settled(ctx context.Context, s *Sandbox) error {
	var o Overview
	for _, m := range s.Members {
		own, err := s.overviewOf(ctx, m)
		if err != nil {
			return err
		}
		switch {
		case own.Holder() == "":
			return fmt.Errorf("%s knows nobody who holds the lease", m.ID)
		case o.Member != "" && own.Holder() != o.Holder():
			return fmt.Errorf("%s holds for %s, and %s for %s", own.Holder(), m.ID, o.Holder(), o.Member)
		case len(own.Operations) > 0:
			return errors.New("an operation is running")
		}
		for _, p := range s.Members {
			if err := own.well(p, s.gapped()); err != nil {
				return fmt.Errorf("%w, says %s", err, m.ID)
			}
		}
		o = own
	}
	return s.votes(ctx, o.Member)
}

// well reports whether a member is fit and, on a chain without gaps, has its newest blocks.
func (o Overview) well(m *Member, gapped bool) error {
	now := slotAt(time.Now())
	v, ok := o.member(m.ID)
	switch {
	case !ok:
		return fmt.Errorf("%s has not joined", m.ID)
	case !v.Alive || !v.Fit:
		return fmt.Errorf("%s is not fit: %s", m.ID, v.Reason)
	case v.Head.Num < 2:
		return fmt.Errorf("%s has nothing but the genesis", m.ID)
	case uint64(v.Head.Slot)+3 < now && !gapped:
		return fmt.Errorf("%s has its head at slot %d, it is %d now", m.ID, v.Head.Slot, now)
	}
	return nil
}

// votes reports whether every member votes: until then the cluster does not survive the loss of one.
func (s *Sandbox) votes(ctx context.Context, ask string) error {
	m, err := s.Member(ask)
	if err != nil {
		return err
	}
	var raft struct {
		Peers []struct {
			ID       string `json:"id"`
			Suffrage string `json:"suffrage"`
		} `json:"peers"`
	}
	if err := s.get(ctx, m.API+"/cluster/raft", &raft); err != nil {
		return err
	}
	voters := 0
	for _, p := range raft.Peers {
		if p.Suffrage == "voter" {
			voters++
		}
	}
	if voters < len(s.Members) {
		return fmt.Errorf("%d of %d members vote", voters, len(s.Members))
	}
	return nil
}

func (ours) handoff(ctx context.Context, s *Sandbox, ask *Member, to string) error {
	_, err := s.operate(ctx, ask, "/cluster/handoff", fmt.Sprintf(`{"to":%q,"when":"safe"}`, to))
	return err
}

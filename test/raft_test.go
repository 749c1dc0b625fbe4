package test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"roundtable/api"
	"roundtable/cluster"
	"roundtable/drill"
)

// group asks one member for everybody's raft, and has the answer in no time: who does not answer is said to.
func (b *box) group(ctx context.Context, m *drill.Member) (map[string]api.RaftAll, error) {
	since := time.Now()
	var list []api.RaftAll
	if err := get(ctx, m, "/cluster/raft?all=true", &list); err != nil {
		return nil, err
	}
	if took := time.Since(since); took > 3*time.Second {
		b.t.Errorf("%s took %v to ask everybody", m.ID, took)
	}
	all, leaders := map[string]api.RaftAll{}, map[uint64]string{}
	for _, r := range list {
		if (r.Error == "") != (r.Raft != nil) {
			b.t.Errorf("%s has both an answer and an error, or neither: %+v", r.Member, r)
		}
		all[r.Member] = r
		if r.Raft == nil || r.Raft.State != "leader" {
			continue
		}
		if other := leaders[r.Raft.Term]; other != "" {
			b.t.Errorf("%s and %s both say that they lead in term %d", other, r.Member, r.Raft.Term)
		}
		leaders[r.Raft.Term] = r.Member
	}
	if len(all) != len(b.Members) {
		return nil, fmt.Errorf("%s shows %d members", m.ID, len(all))
	}
	return all, nil
}

// agreed waits until everybody says of everybody that one of them leads, in one term, with all votes; and returns it.
func (b *box) agreed() (leader string, term uint64) {
	b.t.Helper()
	eventually(b.t, 30*time.Second, "one leader in everybody's eyes", func(ctx context.Context) error {
		leader = ""
		if _, err := b.Revive(); err != nil { // who had to give up
			return err
		}
		for _, m := range b.Members {
			all, err := b.group(ctx, m)
			if err != nil {
				return err
			}
			for id, r := range all {
				switch {
				case r.Raft == nil:
					return fmt.Errorf("%s of %s: %s", m.ID, id, r.Error)
				case leader == "":
					leader, term = r.Raft.Leader, r.Raft.Term
				}
				if r.Raft.Leader == "" || r.Raft.Leader != leader || r.Raft.Term != term || (r.Raft.State == "leader") != (id == leader) || votes(r.Raft) != len(b.Members) {
					return fmt.Errorf("%s of %s: %+v", m.ID, id, *r.Raft)
				}
			}
		}
		return nil
	})
	return leader, term
}

// votes counts the live voters that a member sees.
func votes(r *cluster.RaftStatus) (n int) {
	for _, p := range r.Peers {
		if p.Suffrage == "voter" && p.Alive {
			n++
		}
	}
	return n
}

// TestRaftTellsTheTruth asks for everybody's raft in an election, in a partition and while a disk does not answer.
func TestRaftTellsTheTruth(t *testing.T) {
	t.Parallel()
	b := start(t, drill.Options{Wire: true})

	t.Run("partition", func(t *testing.T) {
		old, term := b.agreed()
		alone := b.member(old)
		for _, m := range b.Members {
			if m != alone {
				if err := errors.Join(b.Cut(alone, m), b.Cut(m, alone)); err != nil {
					t.Fatal(err)
				}
			}
		}
		other := b.other(old)
		took := eventually(t, 20*time.Second, "a new leader on the one side, none on the other", func(ctx context.Context) error {
			all, err := b.group(ctx, other)
			if err != nil {
				return err
			}
			for id, r := range all {
				if id != old && (r.Raft == nil || r.Raft.Leader == "" || r.Raft.Leader == old || r.Raft.Term <= term || votes(r.Raft) != 2) {
					return fmt.Errorf("%s: %+v", id, r)
				}
			}
			own, err := b.group(ctx, alone)
			if err != nil {
				return err
			}
			if r := own[old].Raft; r == nil || r.State == "leader" || r.Leader != "" || votes(r) != 1 {
				return fmt.Errorf("%s of itself: %+v", old, r)
			}
			return nil
		})
		t.Logf("told after %v", took.Round(time.Millisecond))
		if err := b.Heal(); err != nil {
			t.Fatal(err)
		}
		b.agreed()
	})

	t.Run("election", func(t *testing.T) {
		old, term := b.agreed()
		dead, other := b.member(old), b.other(old)
		if err := b.KillManager(dead); err != nil {
			t.Fatal(err)
		}
		none := 0 // answers which say that nobody leads
		took := eventually(t, 20*time.Second, "a new leader", func(ctx context.Context) error {
			all, err := b.group(ctx, other)
			if err != nil {
				return err
			}
			if r := all[old]; r.Raft != nil {
				return fmt.Errorf("%s is dead and answers: %+v", old, r)
			}
			switch r := all[other.ID].Raft; {
			case r.Leader == "":
				none++
			case r.Leader == old && r.LastContactMs > 2000: // long beyond what an election waits for
				t.Errorf("%s is said to lead, %d ms after it was heard last", old, r.LastContactMs)
			}
			for id, r := range all {
				if id != old && r.Raft != nil && r.Raft.State == "leader" && r.Raft.Term > term {
					return nil
				}
			}
			return fmt.Errorf("nobody leads: %+v", all)
		})
		t.Logf("told after %v; %d answers before said that nobody leads", took.Round(time.Millisecond), none)
		if err := b.StartMember(dead); err != nil {
			t.Fatal(err)
		}
		if _, now := b.agreed(); now <= term {
			t.Errorf("term %d after %d", now, term)
		}
	})

	t.Run("stalled disk", func(t *testing.T) {
		leader, _ := b.agreed()
		slow := b.other(leader)
		if err := b.StallDisk(slow); err != nil {
			t.Fatal(err)
		}
		took := eventually(t, 20*time.Second, "the stalled disk is told", func(ctx context.Context) error {
			all, err := b.group(ctx, b.member(leader))
			if err != nil {
				return err
			}
			for id, r := range all {
				if r.Raft == nil || r.Raft.Stalled != (id == slow.ID) {
					return fmt.Errorf("%s: %+v", id, r)
				}
			}
			return nil
		})
		t.Logf("told after %v", took.Round(time.Millisecond))
		if err := b.UnstallDisk(slow); err != nil {
			t.Fatal(err)
		}
		b.agreed()
	})
	b.settle()
	b.check()
}

package manager

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"roundtable/chain"
	"roundtable/cluster"
	"roundtable/cmd/roundtable/config"
	"roundtable/fsm"
)

// Recovery is a home that is held against managers, to go on alone with what its raft folder holds (design/lease.md, "Lost
// quorum"). It is for one goroutine.
type Recovery struct {
	*cluster.Recovery
	cfg    *config.Config
	now    func() time.Time
	unlock func() error
}

// OpenRecovery takes the home's lock, which a running manager has, and reads the raft folder. Nothing is changed.
func OpenRecovery(c *config.Config, now func() time.Time) (*Recovery, error) {
	unlock, err := lockHome(c.Manager.Home)
	if err != nil {
		return nil, &cluster.ConfigError{Message: err.Error(), Hint: "stop the manager of this home first: a recovery is done while it does not run"}
	}
	r, err := cluster.OpenRecovery(c.RaftDir(), c.Manager.ID)
	if err != nil {
		return nil, errors.Join(err, unlock())
	}
	return &Recovery{r, c, now, unlock}, nil
}

// Close lets go of the home.
func (r *Recovery) Close() error { return errors.Join(r.Recovery.Close(), r.unlock()) }

// maxAhead is how far the newest entry may be ahead of this machine's clock.
const maxAhead = 2 * time.Second

// Check reports why the cluster cannot go on without the lost members, or nil: each other member must be named, so that
// exactly one goes on.
func (r *Recovery) Check(lost []string) error {
	f, self := r.Found(), r.cfg.Manager.ID
	known := f.Members()
	var kept []string
	for _, id := range known {
		if id != self && !slices.Contains(lost, id) {
			kept = append(kept, id)
		}
	}
	var strange []string
	for _, id := range lost {
		if !slices.Contains(known, id) {
			strange = append(strange, id)
		}
	}
	ahead := time.UnixMilli(f.Newest).Sub(r.now())
	switch {
	case len(lost) == 0:
		return &cluster.ConfigError{Message: "no lost member is named", Hint: "the members are " + strings.Join(known, ", ")}
	case slices.Contains(lost, self):
		return &cluster.ConfigError{Message: self + " is this home's own member: it is the one that goes on", Hint: "run this on the home of a member that is not lost"}
	case len(strange) > 0:
		return &cluster.ConfigError{Message: "no such member: " + strings.Join(strange, ", "), Hint: "the members are " + strings.Join(known, ", ")}
	case len(kept) > 0:
		return &cluster.ConfigError{
			Message: fmt.Sprintf("what about %s? Exactly one member goes on, and only one", strings.Join(kept, ", ")),
			Hint:    "stop the manager and the node of each, name it as lost too, and empty its raft folder afterwards: it joins again",
		}
	case ahead > maxAhead:
		return &cluster.ConfigError{
			Message: fmt.Sprintf("this machine's clock is at least %s late: the newest entry is of %s", ahead.Round(time.Second), time.UnixMilli(f.Newest).UTC().Format(time.RFC3339)),
			Hint:    "set the clock: which slots the lost members may have signed is reckoned by it",
		}
	}
	return nil
}

// Answer is an address of a lost member at which somebody listens.
type Answer struct {
	Member, What, Address string
}

// answerTime is how long an address may take to answer.
const answerTime = 2 * time.Second

// Answering asks every address that is known of the lost members: raft, API and the node's p2p, and where they are by raft's
// configuration. Who answers is not lost. Silence proves nothing.
func (r *Recovery) Answering(ctx context.Context, lost []string) []Answer {
	f := r.Found()
	var asked []Answer
	for _, id := range lost {
		m := f.State.Members[id]
		api := ""
		if u, err := url.Parse(m.API); err == nil {
			api = u.Host
		}
		seen := map[string]bool{"": true}
		for _, a := range []Answer{{id, "raft", m.Raft}, {id, "raft", f.Address(id)}, {id, "its API", api}, {id, "its node's p2p", m.P2P}} {
			if !seen[a.Address] {
				seen[a.Address] = true
				asked = append(asked, a)
			}
		}
	}
	answered := make([]bool, len(asked))
	var wg sync.WaitGroup
	for i, a := range asked {
		wg.Go(func() {
			d := net.Dialer{Timeout: answerTime}
			if conn, err := d.DialContext(ctx, "tcp", a.Address); err == nil {
				_ = conn.Close()
				answered[i] = true
			}
		})
	}
	wg.Wait()
	var list []Answer
	for i, a := range asked {
		if answered[i] {
			list = append(list, a)
		}
	}
	return list
}

// Beyond is the last slot that the lost members may have signed, by this machine's clock and all that the folder knows: nobody may
// sign for more than MaxLease slots ahead.
func (r *Recovery) Beyond() chain.Slot {
	s := r.Found().State
	return max(chain.SlotAt(r.now().UnixMilli())+fsm.MaxLease, s.Lease.Last, s.LastBlock.Slot, s.After.Slot)
}

// Go makes this member the only one, and returns where the raft folder was copied to before.
func (r *Recovery) Go(lost []string) (saved string, err error) {
	how := fsm.Recovery{By: r.cfg.Manager.ID, Lost: lost, At: r.now().UnixMilli(), Beyond: r.Beyond()}
	return r.Run(how, r.cfg.RaftAddr(), r.now())
}

package control

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"roundtable/fsm"
	"roundtable/logkey"
)

// The refusals of rolling operations that this member can see to be impossible, before anything changes.
var (
	ErrRestart = &fsm.Refusal{Rule: "restart.refused", Message: "the restart is not begun"}
	ErrUpgrade = &fsm.Refusal{Rule: "upgrade.refused", Message: "the upgrade is not begun"}
	ErrRollout = &fsm.Refusal{Rule: "rollout.refused", Message: "the rollout is not begun"}
)

// because is a refusal with its reason.
func because(r *fsm.Refusal, reason, hint string) error {
	return &fsm.Refusal{Rule: r.Rule, Message: r.Message + ": " + reason, Hint: hint}
}

const rollHint = "look at: roundtable status"

// RestartRequest asks for the restart of one member's node, or of all.
type RestartRequest struct {
	Member string        // "": all that have a node, one after another, the holder's last
	Limit  time.Duration // that each may take from its stop to the proof that it is back; 0: as configured
	Queue  time.Duration // how long it may wait for another operation's end; 0: be refused then
}

// UpgradeRequest asks for another version of nodeos.
type UpgradeRequest struct {
	fsm.Upgrade
	Members []string // none: all that have a node
	Limit   time.Duration
	Queue   time.Duration
}

// Restart starts a restart and returns the operation's id. key is an idempotency key, "" for none.
func (m *Manager) Restart(ctx context.Context, r RestartRequest, key string) (uint64, error) {
	s, _ := m.cluster.View()
	roll := &fsm.Roll{Limit: m.limit(r.Limit).Milliseconds()}
	if r.Member != "" {
		roll.Members = []string{r.Member}
	}
	if reason := m.mayRoll(s, roll.Members); reason != "" {
		return 0, because(ErrRestart, reason, rollHint)
	}
	return m.startRolling(ctx, fsm.StartOperation{Name: fsm.KindRestart, Roll: roll}, r.Queue, key)
}

// Upgrade starts an upgrade and returns the operation's id.
func (m *Manager) Upgrade(ctx context.Context, r UpgradeRequest, key string) (uint64, error) {
	s, _ := m.cluster.View()
	if r.HardFork {
		if head := m.headNum(s); r.AtBlock <= head+lateBlocks {
			return 0, because(ErrUpgrade, fmt.Sprintf("the hard fork is at block %d, the head is block %d", r.AtBlock, head), "all nodes must be ready before the block")
		}
		if len(r.Members) > 0 {
			return 0, because(ErrUpgrade, "a hard fork is for all members", "name none")
		}
	} else if reason := m.mayRoll(s, r.Members); reason != "" {
		return 0, because(ErrUpgrade, reason, rollHint)
	}
	u := r.Upgrade
	if u.SHA256 == "" {
		u.SHA256 = m.resolve(ctx, u)
	}
	return m.startRolling(ctx, fsm.StartOperation{Name: fsm.KindUpgrade, Roll: &fsm.Roll{
		Members: r.Members, Limit: m.limit(r.Limit).Milliseconds(), Upgrade: &u,
	}}, r.Queue, key)
}

// resolveTime bounds how long a source may take to say a checksum, within what a request may take.
const resolveTime = 5 * time.Second

// resolve is the checksum that all members are to be held to; "" where nobody can say it: then each goes by what its own source says.
func (m *Manager) resolve(ctx context.Context, u fsm.Upgrade) string {
	if m.home == nil {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, resolveTime)
	defer cancel()
	sum, err := m.home.Resolve(ctx, u)
	if err != nil {
		m.log.Warn("the source does not say the checksum of a version: each member takes what its own says", "version", u.Tag, logkey.Err, err)
		return ""
	}
	return sum
}

// Rollout rolls out what members offer, now, and returns the operation's id. It is tried again with those that refused it.
func (m *Manager) Rollout(ctx context.Context, limit, queue time.Duration, key string) (uint64, error) {
	s, _ := m.cluster.View()
	if s.Level < 3 { // who rolls out by hand has not said what it offers, which would have closed the way back (home.go): now it is asked for
		var err error
		if s, err = m.haveSaid(ctx); err != nil {
			return 0, err
		}
	}
	configs := map[string]string{}
	var members []string
	for _, id := range s.MemberIDs() {
		if r := s.Homes[id].Runs; r.Offers != "" && r.Offers != r.Config {
			configs[id], members = r.Offers, append(members, id)
		}
	}
	if len(members) == 0 {
		return 0, because(ErrRollout, "no member has a configuration that it does not run", "change the template of config.ini or the overlay first")
	}
	if reason := m.mayRoll(s, members); reason != "" {
		return 0, because(ErrRollout, reason, rollHint)
	}
	return m.startRolling(ctx, fsm.StartOperation{Name: fsm.KindRollout, Roll: &fsm.Roll{
		Members: members, Limit: m.limit(limit).Milliseconds(), Configs: configs, TakeOver: s.Cluster.TakeOver,
	}}, queue, key)
}

// sayTime bounds how long members are waited for that are to say what they run, for the first time.
const sayTime = 3 * time.Second

// haveSaid says what this member's node runs, which is of entry version 3, and returns when all others that are there have done so, too.
func (m *Manager) haveSaid(ctx context.Context) (*fsm.State, error) {
	ctx, cancel := context.WithTimeout(ctx, sayTime)
	defer cancel()
	runs := fsm.Runs{}
	if m.home != nil {
		runs = runsOf(m.home.View())
	}
	if _, err := m.cluster.Propose(ctx, fsm.PutHome{Member: m.id, Runs: runs}, ""); err != nil && !refused(err) { // a witness is refused, and heard
		return nil, err
	}
	for {
		s, changed := m.cluster.View()
		peers := m.cluster.Peers()
		silent := slices.ContainsFunc(s.MemberIDs(), func(id string) bool {
			_, said := s.Homes[id]
			return !said && !s.Members[id].Witness && peers[id].Alive
		})
		if !silent {
			return s, nil
		}
		select {
		case <-ctx.Done():
			return s, nil // what they offer is not known, and is rolled out another time
		case <-changed:
		}
	}
}

// startRolling proposes an operation.
func (m *Manager) startRolling(ctx context.Context, c fsm.StartOperation, queue time.Duration, key string) (uint64, error) {
	c.Queue = queue > 0
	wait := planTime
	if c.Queue { // where nothing is before it, the state gives it the time to begin
		wait = min(queue, waitTime)
	}
	c.Deadline = m.now().Add(wait).UnixMilli()
	return m.cluster.Propose(ctx, c, key)
}

// mayRoll is cannotRoll where this member can tell: without a leader the others' reports tell little, and the proposal says who was
// asked. Members that nobody knows are the state's to refuse.
func (m *Manager) mayRoll(s *fsm.State, members []string) string {
	if leader, _ := m.cluster.Leader(); leader == "" {
		return ""
	}
	if slices.ContainsFunc(members, func(id string) bool { r, ok := s.Members[id]; return !ok || r.Witness }) {
		return ""
	}
	if len(members) == 0 {
		for _, id := range s.MemberIDs() {
			if !s.Members[id].Witness {
				members = append(members, id)
			}
		}
	}
	return m.cannotRoll(s, members)
}

// cannotRoll says why the nodes of these members cannot be restarted one after another, or "": somebody else must be able to
// produce meanwhile.
func (m *Manager) cannotRoll(s *fsm.State, members []string) string {
	peers, now := m.cluster.Peers(), m.now()
	p := newLook(planInput{state: s, peers: peers, at: now})
	if p.firstUp(members) != "" {
		return ""
	}
	if reason := p.unproductive(); reason != "" && p.holder == "" {
		return reason
	}
	var dead []string
	for _, id := range members {
		if !p.alive(id) {
			dead = append(dead, id)
		}
	}
	if len(dead) > 0 {
		return "not alive: " + strings.Join(dead, ", ")
	}
	fit := 0
	candidates := weigh(s, peers, now, false)
	for _, c := range candidates {
		if c.Fit && c.ID != p.holder {
			fit++
		}
	}
	switch reason := p.unproductive(); {
	case slices.Contains(members, p.holder) && fit == 0:
		return "nobody could take production over from " + p.holder + ": " + reasons(candidates)
	case reason != "":
		return reason
	}
	return ""
}

// headNum is the highest head that is known.
func (m *Manager) headNum(s *fsm.State) uint32 {
	p := newLook(planInput{state: s, peers: m.cluster.Peers(), at: m.now()})
	return p.bestNum()
}

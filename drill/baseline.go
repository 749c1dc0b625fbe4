package drill

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"roundtable/node/k1"
)

// The baselines, as Options.Baseline names them.
const (
	LeaderSigns = "leader"     // a raft leader resumes its node, the others pause theirs
	Keepalived  = "keepalived" // VRRP adverts and a health check do so
)

// baseline is one of the usual ways of doing the job: package test/baseline, as a program of its own.
type baseline struct{ kind string }

// systemOf is the system that Options.Baseline asks for.
func systemOf(kind string) system {
	if kind == "" {
		return ours{}
	}
	return baseline{kind} // writeConfig refuses an unknown one
}

func (baseline) nodeLog() string { return "nodeos.log" }

func (b baseline) name() string {
	if b.kind == LeaderSigns {
		return "leader signs"
	}
	return b.kind
}

func (b baseline) command(s *Sandbox, m *Member) (string, []string) {
	return b.program(s), []string{b.kind, "--config", b.file(m)}
}

func (baseline) program(s *Sandbox) string {
	return filepath.Join(filepath.Dir(s.opts.Roundtable), "baseline")
}

func (baseline) file(m *Member) string { return filepath.Join(m.Home, "baseline.json") }

// baselinePeer is another member in a baseline's configuration.
type baselinePeer struct {
	ID      string `json:"id"`
	API     string `json:"api"`
	Address string `json:"address"`
}

// writeConfig writes a member's configuration. nodeos holds the key here: there is no gate.
func (b baseline) writeConfig(s *Sandbox, m *Member, keyFile string) error {
	if b.kind != LeaderSigns && b.kind != Keepalived {
		return fmt.Errorf("drill: no baseline %q: there are %s and %s", b.kind, LeaderSigns, Keepalived)
	}
	if _, err := os.Stat(b.program(s)); err != nil {
		return fmt.Errorf("drill: %w (build it with: make build)", err)
	}
	text, err := os.ReadFile(keyFile)
	if err != nil {
		return fmt.Errorf("drill: %w", err)
	}
	key, err := k1.ParsePrivate(strings.TrimSpace(string(text)))
	if err != nil {
		return fmt.Errorf("drill: %s: %w", keyFile, err)
	}
	peers := []baselinePeer{}
	for _, o := range s.Members {
		if o != m {
			_, address := b.addresses(o)
			peers = append(peers, baselinePeer{o.ID, "http://" + join(o.front, o.api), address})
		}
	}
	bind, advertise := b.addresses(m)
	config, err := json.MarshalIndent(map[string]any{
		"id": m.ID, "home": m.Home, "api": m.apiBind(),
		"bind": bind, "advertise": advertise, "peers": peers,
		"priority": 200 - 20*slices.Index(s.Members, m), // the first member is the preferred one
		"nodeos":   s.opts.Nodeos, "args": m.nodeArgs(s), "node_http": m.httpBind(), "node_p2p": m.p2pBind(), "node_peers": m.peerAddresses(s),
		"producer": s.Producer, "signature_provider": key.Public().String() + "=KEY:" + key.Export(),
	}, "", "  ")
	if err != nil {
		return fmt.Errorf("drill: %w", err)
	}
	if err := os.MkdirAll(m.Home, 0o700); err != nil {
		return fmt.Errorf("drill: %w", err)
	}
	if err := os.WriteFile(b.file(m), config, 0o600); err != nil {
		return fmt.Errorf("drill: %w", err)
	}
	return nil
}

// addresses are where the member listens for the others, and where they find it: raft's ports or those of the gossip.
func (b baseline) addresses(m *Member) (bind, advertise string) {
	if b.kind == LeaderSigns {
		return m.raftBind(), m.raftAddress()
	}
	return m.gossipBind(), m.gossipAddress()
}

// baselineStatus is what a baseline's member says of itself.
type baselineStatus struct {
	ID       string `json:"id"`
	Leader   string `json:"leader"`
	Holder   bool   `json:"holder"`
	Paused   bool   `json:"paused"`
	NodeUp   bool   `json:"node_up"`
	HeadNum  uint32 `json:"head_num"`
	HeadSlot uint64 `json:"head_slot"`
	Error    string `json:"error"`
}

// ask asks every member that runs, all at once: some may be frozen. Who does not answer is left out.
func (baseline) ask(ctx context.Context, s *Sandbox) map[string]baselineStatus {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	var mu sync.Mutex
	var all sync.WaitGroup
	said := map[string]baselineStatus{}
	for _, m := range s.Members {
		if !m.Running() {
			continue
		}
		all.Go(func() {
			var v baselineStatus
			if err := s.get(ctx, m.API+"/status", &v); err != nil {
				return
			}
			mu.Lock()
			said[m.ID] = v
			mu.Unlock()
		})
	}
	all.Wait()
	return said
}

func (b baseline) look(ctx context.Context, s *Sandbox) (View, error) {
	said := b.ask(ctx, s)
	if len(said) == 0 {
		return View{}, errors.New("drill: no manager answers")
	}
	return b.view(said), nil
}

// view puts together what the members say.
func (b baseline) view(said map[string]baselineStatus) View {
	v := View{Heads: map[string]uint64{}}
	var holders []string
	votes := map[string]int{}
	for id, m := range said {
		if m.NodeUp {
			v.Heads[id] = m.HeadSlot
			v.HeadNum = max(v.HeadNum, m.HeadNum)
		}
		if m.Holder && !m.Paused {
			holders = append(holders, id)
		}
		votes[m.Leader]++
	}
	if len(holders) == 1 {
		v.Holder = holders[0]
	}
	for id, n := range votes { // a majority, or nobody: a member that is cut off may name an old one
		if b.kind == LeaderSigns && id != "" && 2*n > len(said) {
			v.Leader = id
		}
	}
	return v
}

func (b baseline) settled(ctx context.Context, s *Sandbox) error {
	said := b.ask(ctx, s)
	holder := b.view(said).Holder
	if holder == "" {
		return errors.New("nobody produces, or more than one")
	}
	now := slotAt(time.Now())
	for _, m := range s.Members {
		v, ok := said[m.ID]
		switch {
		case !ok:
			return fmt.Errorf("%s does not answer", m.ID)
		case !v.NodeUp:
			return fmt.Errorf("the node of %s does not answer: %s", m.ID, v.Error)
		case v.Leader != holder:
			return fmt.Errorf("%s takes %q for the leader, %s produces", m.ID, v.Leader, holder)
		case m.ID != holder && (v.Holder || !v.Paused):
			return fmt.Errorf("%s is not paused, and %s produces", m.ID, holder)
		case v.HeadNum < 2:
			return fmt.Errorf("%s has nothing but the genesis", m.ID)
		case v.HeadSlot+3 < now && !s.gapped():
			return fmt.Errorf("%s has its head at slot %d, it is %d now", m.ID, v.HeadSlot, now)
		}
	}
	return nil
}

// handoff is one request: the leader pauses its node, waits for its last block, and gives leadership away.
func (baseline) handoff(ctx context.Context, s *Sandbox, ask *Member, to string) error {
	var v baselineStatus
	return s.post(ctx, ask.API+"/handoff", fmt.Sprintf(`{"to":%q}`, to), &v)
}
